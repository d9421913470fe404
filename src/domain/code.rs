//! The code at the end of a kiosk's receipt: eleven letters and a check letter that together open one visitor, and say
//! nothing about anybody. Must never be stored as it is (only a keyed hash). Invariant: one wrong letter, or two that were
//! swapped, is noticed before anything is looked up.

use crate::base::digest::{Hash, HashKey};
use crate::base::error::{Error, Result};

/// 23 letters: none that looks like a digit or another letter, and a prime number of them, so that the check letter finds
/// every single mistake and every swap.
const LETTERS: &[u8; 23] = b"ABCDEFGHJKLMNPQRSTVWXYZ";
/// Letters without the check letter: 23^11 codes, some 2^49.
const PAYLOAD: usize = 11;

/// A whole code, check letter included.
#[derive(Clone, PartialEq, Eq)]
pub struct Code([u8; PAYLOAD + 1]);

impl Code {
    /// The code of a decision: from the edge's secret and the row's salt, so that a repeated request is told the same one,
    /// and nobody can make it again once the row is gone.
    pub fn of(key: &HashKey, salt: &[u8], decision: i64) -> Code {
        let random = key.hmac(&[b"kiosk-code", salt, &decision.to_be_bytes()]);
        // 128 bits over 2^49 codes: no code is noticeably likelier than another
        let mut rest = u128::from_be_bytes(random[..16].try_into().unwrap_or_default());
        let mut letters = [0u8; PAYLOAD + 1];
        for letter in &mut letters[..PAYLOAD] {
            *letter = LETTERS[usize::try_from(rest % 23).unwrap_or(0)];
            rest /= 23;
        }
        letters[PAYLOAD] = check_letter(&letters[..PAYLOAD]);
        Code(letters)
    }

    /// Reads what somebody typed: any case, with spaces or dashes. Errors: `Invalid` with code `code`.
    pub fn parse(typed: &str) -> Result<Code> {
        let bad = |what: &str| {
            Error::invalid(format!("the code {what}"))
                .code("code")
                .remedy("type the twelve letters as they stand on the receipt")
        };
        let letters: Vec<u8> = typed
            .bytes()
            .filter(|b| !matches!(b, b' ' | b'-'))
            .map(|b| b.to_ascii_uppercase())
            .take(PAYLOAD + 2)
            .collect();
        let letters: [u8; PAYLOAD + 1] = letters.try_into().map_err(|_| bad("has not twelve letters"))?;
        if letters.iter().any(|b| !LETTERS.contains(b)) {
            return Err(bad("holds a letter that no code has"));
        }
        if check_letter(&letters[..PAYLOAD]) != letters[PAYLOAD] {
            return Err(bad("is mistyped: its last letter does not fit"));
        }
        Ok(Code(letters))
    }

    /// As it is printed: three groups of four.
    pub fn text(&self) -> String {
        let letters = String::from_utf8_lossy(&self.0);
        format!("{}-{}-{}", &letters[..4], &letters[4..8], &letters[8..])
    }

    /// What is stored in its place.
    pub fn hash(&self, key: &HashKey) -> Hash {
        key.hmac(&[b"kiosk-code-hash", &self.0])
    }
}

impl std::fmt::Debug for Code {
    /// A code opens a visitor: it never gets into a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Code(..)")
    }
}

/// Weighted sum modulo 23; weights differ from place to place and are never 0.
fn check_letter(letters: &[u8]) -> u8 {
    let sum = letters.iter().enumerate().fold(0, |sum, (place, letter)| {
        let value = LETTERS.iter().position(|l| l == letter).unwrap_or(0);
        sum + value * (place + 2)
    });
    LETTERS[(23 - sum % 23) % 23]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(n: i64) -> Code {
        Code::of(&HashKey::new(&[7; 32]), b"salt", n)
    }

    #[test]
    fn a_code_reads_back_however_it_is_typed() {
        for n in 0..50 {
            let (code, text) = (code(n), code(n).text());
            assert_eq!(text.len(), 14);
            for typed in [text.clone(), text.to_lowercase(), text.replace('-', ""), text.replace('-', " ")] {
                assert_eq!(Code::parse(&typed).unwrap(), code, "{typed}");
            }
        }
    }

    #[test]
    fn every_single_mistake_and_every_swap_is_noticed() {
        for n in 0..20 {
            let good = code(n).0;
            for place in 0..good.len() {
                for letter in LETTERS.iter().filter(|l| **l != good[place]) {
                    let mut typed = good;
                    typed[place] = *letter;
                    assert!(Code::parse(&String::from_utf8_lossy(&typed)).is_err());
                }
                let mut typed = good;
                typed.swap(place, (place + 1) % good.len());
                assert_eq!(Code::parse(&String::from_utf8_lossy(&typed)).is_err(), typed != good);
            }
        }
        for typed in ["", "ABCD-EFGH", "ABCD-EFGH-JKLMN", "0BCD-EFGH-JKLM", "\u{e4}BCD-EFGH-JKL"] {
            assert_eq!(Code::parse(typed).unwrap_err().code, "code", "{typed:?}");
        }
    }

    #[test]
    fn a_code_comes_of_secret_salt_and_decision() {
        let (one, other) = (HashKey::new(&[1; 32]), HashKey::new(&[2; 32]));
        let base = Code::of(&one, b"salt", 1);
        assert_eq!(base, Code::of(&one, b"salt", 1));
        for apart in [Code::of(&other, b"salt", 1), Code::of(&one, b"tlas", 1), Code::of(&one, b"salt", 2)] {
            assert_ne!(base, apart);
        }
        assert_ne!(base.hash(&one), base.hash(&other));
        assert_eq!(format!("{base:?}"), "Code(..)");
    }
}
