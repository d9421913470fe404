//! Assertions of the host site: who is signed in there, as a JSON Web Token signed with a shared key (RFC 7519, HS256).
//! Must never believe another algorithm, a long life, or the same assertion twice.
//! Invariant: one assertion opens one request; those from before this process began are refused, since their use is forgotten.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use crate::base::base64::{Alphabet, decode};
use crate::base::digest::{hmac_plain, same_secret};
use crate::base::error::{Error, Result};
use crate::base::time::{MINUTE_MS, Millis, SECOND_MS};

/// Longest life of an assertion, ms.
const LIFE_MS_MAX: i64 = 5 * MINUTE_MS;
/// How far the site's clock may be ahead of ours, ms.
const AHEAD_MS_MAX: i64 = MINUTE_MS;
/// Assertions remembered at the most; more at once are refused.
const NONCES_MAX: usize = 100_000;
/// Longest assertion, bytes.
const BYTES_MAX: usize = 4_096;
/// Fewest bytes of a key.
const KEY_BYTES_MIN: usize = 32;

/// Who believes assertions.
pub struct Assertions {
    key: Vec<u8>,
    since: Millis,
    used: Mutex<HashMap<String, Millis>>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    aud: String,
    iat: i64,
    exp: i64,
    jti: String,
}

fn refused(why: &str) -> Error {
    Error::denied(format!("the assertion is not believed: {why}"))
        .code("assertion")
        .remedy("sign a fresh JWT (HS256) with sub, aud = the site, iat, exp within five minutes, and a jti used once")
}

impl Assertions {
    /// Reads the key. Errors: `Config` naming a file that is missing or too short.
    pub fn open(file: &Path, now: Millis) -> Result<Self> {
        let key = key(file)?;
        // whole seconds, as the tokens count them
        let since = Millis(now.0 / SECOND_MS * SECOND_MS);
        Ok(Assertions { key, since, used: Mutex::default() })
    }

    /// The site's own name for the customer, where the assertion holds for one of these names of the site, now, once.
    /// Errors: `Denied` with code `assertion`.
    pub fn believe(&self, token: &str, site: &dyn Fn(&str) -> bool, now: Millis) -> Result<String> {
        let (signed, signature) = token.rsplit_once('.').ok_or_else(|| refused("it has no three parts"))?;
        let (header, claims) = signed.split_once('.').ok_or_else(|| refused("it has no three parts"))?;
        let given = decode(signature, Alphabet::Url).unwrap_or_default();
        if token.len() > BYTES_MAX || !same_secret(&hmac_plain(&self.key, signed.as_bytes()), &given) {
            return Err(refused("its signature is wrong"));
        }
        let header: Header = part(header)?;
        let claims: Claims = part(claims)?;
        if header.alg != "HS256" {
            return Err(refused("its algorithm is not HS256"));
        }
        if !site(&claims.aud) {
            return Err(refused("it is for another site"));
        }
        let seconds = |n: i64| Millis(n.saturating_mul(SECOND_MS));
        let (made, ends) = (seconds(claims.iat), seconds(claims.exp));
        if ends.since(made) > LIFE_MS_MAX || made.since(now) > AHEAD_MS_MAX {
            return Err(refused("it lives longer than five minutes, or was made in the future"));
        }
        if now >= ends || made < self.since {
            return Err(refused("its time is over"));
        }
        if claims.sub.is_empty() || claims.jti.is_empty() {
            return Err(refused("it names nobody, or has no jti"));
        }
        self.once(claims.jti, ends, now)?;
        Ok(claims.sub)
    }

    fn once(&self, nonce: String, ends: Millis, now: Millis) -> Result<()> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= NONCES_MAX {
            used.retain(|_, ends| now < *ends);
        }
        if used.len() >= NONCES_MAX {
            return Err(Error::busy("too many assertions at once").remedy("try again in a minute"));
        }
        match used.insert(nonce, ends) {
            Some(_) => Err(refused("it was used before")),
            None => Ok(()),
        }
    }
}

fn key(file: &Path) -> Result<Vec<u8>> {
    let remedy = "use at least 32 random characters, for example: openssl rand -hex 32";
    let text = std::fs::read(file)
        .map_err(|e| Error::config(format!("reading the assertion key {}: {e}", file.display())).remedy(remedy))?;
    let key = text.trim_ascii();
    if key.len() < KEY_BYTES_MIN {
        return Err(Error::config(format!("the assertion key in {} is too short", file.display())).remedy(remedy));
    }
    Ok(key.to_vec())
}

/// Is there a usable key in this file? Errors: `Config`.
pub fn check(file: &Path) -> Result<()> {
    key(file).map(|_| ())
}

fn part<T: for<'a> Deserialize<'a>>(text: &str) -> Result<T> {
    let bytes = decode(text, Alphabet::Url).ok_or_else(|| refused("a part is no base64"))?;
    serde_json::from_slice(&bytes).map_err(|_| refused("a part is not the JSON it should be"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::base64::encode;

    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NOW: Millis = Millis(1_800_000_000_000);

    fn token(header: &str, claims: &str, key: &[u8]) -> String {
        let signed =
            format!("{}.{}", encode(header.as_bytes(), Alphabet::Url), encode(claims.as_bytes(), Alphabet::Url));
        let mac = hmac_plain(key, signed.as_bytes());
        format!("{signed}.{}", encode(&mac, Alphabet::Url))
    }

    fn claims(aud: &str, iat: i64, exp: i64, jti: &str) -> String {
        let (iat, exp) = (1_800_000_000 + iat, 1_800_000_000 + exp);
        format!(r#"{{"sub":"anna","aud":"{aud}","iat":{iat},"exp":{exp},"jti":"{jti}"}}"#)
    }

    fn assertions() -> Assertions {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        std::fs::write(&file, b"short\n").unwrap();
        assert!(Assertions::open(&file, NOW).is_err());
        std::fs::write(&file, [KEY, b"\n"].concat()).unwrap();
        Assertions::open(&file, NOW.plus(-60_000)).unwrap()
    }

    #[test]
    fn an_assertion_holds_once_for_its_site_and_its_time() {
        let assertions = assertions();
        let believe = |token: &str| assertions.believe(token, &|name| name == "shop", NOW);
        const HS: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
        let good = token(HS, &claims("shop", -10, 200, "n1"), KEY);
        assert_eq!(believe(&good).unwrap(), "anna");
        assert!(believe(&good).unwrap_err().what.contains("used before"));
        let wrong = [
            (token(r#"{"alg":"none"}"#, &claims("shop", -10, 200, "n2"), KEY), "algorithm"),
            (token(HS, &claims("shop", -10, 200, "n2"), b"another key of at least 32 bytes"), "signature"),
            (token(HS, &claims("blog", -10, 200, "n2"), KEY), "another site"),
            (token(HS, &claims("shop", -10, 291, "n2"), KEY), "longer"),
            (token(HS, &claims("shop", 61, 200, "n2"), KEY), "future"),
            (token(HS, &claims("shop", -20, 0, "n2"), KEY), "over"),
            (token(HS, &claims("shop", -61, 100, "n2"), KEY), "over"),
            (token(HS, &claims("shop", -10, 200, ""), KEY), "jti"),
            (token(HS, "{}", KEY), "JSON"),
            ("a.b".to_owned(), "parts"),
            ("a.b.c".to_owned(), "signature"),
            (String::new(), "parts"),
        ];
        for (token, why) in wrong {
            let error = believe(&token).unwrap_err();
            assert!(error.code == "assertion" && error.what.contains(why), "{why}: {error}");
        }
    }
}
