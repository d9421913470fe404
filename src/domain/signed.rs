//! A statement with its signature, as exact bytes: what lies on a stick or passes through others until it is read.
//! Pure; must never choose a key. Invariant: a statement of one kind never passes for another, and says nothing unsigned.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::base::digest::{SigningKey, verify};
use crate::base::error::{Error, Result};
use crate::base::text::{hex, unhex};

/// Version of these shapes.
pub const FORMAT: u32 = 1;

/// A statement, its signature and the key that signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// The signed bytes, as a string: one JSON object with `format` and `kind`.
    pub text: String,
    /// Ed25519 signature over them, 128 hex digits.
    pub signature: String,
    /// The public key, 64 hex digits.
    pub public_key: String,
}

/// What each statement begins with.
#[derive(Deserialize)]
struct Opening {
    format: u32,
    kind: String,
}

impl Signed {
    /// Signs a statement: a struct whose first members are `format` and `kind`.
    pub fn of(statement: &impl Serialize, key: &SigningKey) -> Signed {
        let text = serde_json::to_string(statement).expect("invariant: a statement has string keys");
        let signature = hex(&key.sign(text.as_bytes()));
        Signed { text, signature, public_key: hex(&key.public()) }
    }

    /// The statement, if it is of this kind and its signature holds under its own key and, where given, under `expected`.
    /// Errors: `Invalid` with code `bad_signature`, or `bad_statement` for another kind or version.
    pub fn open<T: DeserializeOwned>(&self, kind: &str, expected: Option<&[u8; 32]>) -> Result<T> {
        let bad = |what: &str| Error::invalid(format!("{kind}: {what}")).code("bad_signature");
        let public = unhex::<32>(&self.public_key).map_err(|_| bad("it names no public key"))?;
        if expected.is_some_and(|key| *key != public) {
            return Err(bad("it is signed by another key"));
        }
        let signature = unhex::<64>(&self.signature).map_err(|_| bad("it has no signature"))?;
        if !verify(&public, self.text.as_bytes(), &signature) {
            return Err(bad("the signature does not hold"));
        }
        let strange = |what: String| Error::invalid(format!("{kind}: {what}")).code("bad_statement");
        let opening: Opening = serde_json::from_str(&self.text).map_err(|e| strange(e.to_string()))?;
        if opening.kind != kind || opening.format != FORMAT {
            return Err(strange(format!("this is {:?} of version {}", opening.kind, opening.format)));
        }
        serde_json::from_str(&self.text).map_err(|e| strange(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Said {
        format: u32,
        kind: String,
        what: String,
    }

    fn said(kind: &str) -> Said {
        Said { format: FORMAT, kind: kind.to_owned(), what: "erase".to_owned() }
    }

    #[test]
    fn a_changed_foreign_or_other_statement_says_nothing() {
        let key = SigningKey::from_seed([4; 32]);
        let good = Signed::of(&said("directive"), &key);
        assert_eq!(good.open::<Said>("directive", Some(&key.public())).unwrap(), said("directive"));
        let code =
            |signed: &Signed, kind: &str, key: Option<&[u8; 32]>| signed.open::<Said>(kind, key).unwrap_err().code;
        assert_eq!(code(&good, "directive", Some(&[1; 32])), "bad_signature");
        assert_eq!(code(&good, "report", None), "bad_statement");
        let changed = Signed { text: good.text.replace("erase", "spare"), ..good.clone() };
        assert_eq!(code(&changed, "directive", None), "bad_signature");
        let newer = Signed::of(&Said { format: 2, ..said("directive") }, &key);
        assert_eq!(code(&newer, "directive", None), "bad_statement");
        assert_eq!(code(&Signed { signature: String::new(), ..good }, "directive", None), "bad_signature");
    }
}
