//! Ingest tokens from files: one token per file. Owns reading and comparing them; must never log or show one.
//! Invariant: only digests are kept in memory, and they are compared in constant time.

use std::path::PathBuf;

use crate::base::digest::{Hash, same_secret, sha256};
use crate::base::error::{Error, Result};

/// Fewest bytes of a token.
const BYTES_MIN: usize = 16;

/// The ingest tokens of this collector.
#[derive(Default)]
pub struct Tokens(Vec<Hash>);

impl Tokens {
    /// Reads the files. Errors: `Config` naming the file that is missing, unreadable or too short.
    pub fn load(files: &[PathBuf]) -> Result<Self> {
        files
            .iter()
            .map(|file| {
                let text = std::fs::read_to_string(file)
                    .map_err(|e| Error::config(format!("reading the ingest token file {}: {e}", file.display())))?;
                let token = text.trim();
                if token.len() < BYTES_MIN {
                    return Err(Error::config(format!("the ingest token in {} is too short", file.display()))
                        .remedy("use at least 16 random characters, for example: openssl rand -hex 32"));
                }
                Ok(sha256(token.as_bytes()))
            })
            .collect::<Result<Vec<Hash>>>()
            .map(Tokens)
    }

    /// Is this an ingest token?
    pub fn admit(&self, token: &str) -> bool {
        let given = sha256(token.as_bytes());
        // every one is compared, so that time tells nothing of which came close
        self.0.iter().fold(false, |found, known| same_secret(known, &given) | found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let (good, short) = (dir.path().join("good"), dir.path().join("short"));
        std::fs::write(&good, "0123456789abcdef0123\n").unwrap();
        std::fs::write(&short, "secret\n").unwrap();
        let tokens = Tokens::load(std::slice::from_ref(&good)).unwrap();
        assert!(tokens.admit("0123456789abcdef0123"));
        assert!(!tokens.admit("0123456789abcdef012") && !tokens.admit(""));
        assert!(Tokens::load(&[good, short]).is_err());
        assert!(Tokens::load(&[dir.path().join("missing")]).is_err());
    }
}
