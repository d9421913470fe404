//! How often a code may be guessed: five wrong ones a minute from one address, sixty in all. Kept in memory; a code has 49
//! bits, so that even the whole rate for ten years finds none among a thousand. Must never keep a code.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::base::error::{Error, Result};
use crate::base::time::{MINUTE_MS, Millis};

/// Wrong codes a minute from one address.
const PER_ADDRESS_MAX: u32 = 5;
/// Wrong codes a minute in all.
const ALL_MAX: u32 = 60;
/// What a code that opens nothing is answered with.
pub const CODE_UNKNOWN: &str = "code_unknown";

/// The refusal of a code that opens nothing.
pub(in crate::consent) fn unknown() -> Error {
    Error::denied("this code opens nothing here").code(CODE_UNKNOWN).remedy(
        "compare it with the receipt; a code opens a visit at the edge that printed it, until the visit is erased",
    )
}

/// Wrong codes of the minute.
#[derive(Debug, Default)]
pub struct Guesses(Mutex<Minute>);

#[derive(Debug, Default)]
struct Minute {
    began: Option<Millis>,
    all: u32,
    by_address: HashMap<IpAddr, u32>,
}

impl Minute {
    fn at(&mut self, now: Millis) -> &mut Minute {
        // a clock that went back begins a minute too
        if self.began.is_none_or(|began| now < began || now >= began.plus(MINUTE_MS)) {
            *self = Minute { began: Some(now), ..Minute::default() };
        }
        self
    }
}

impl Guesses {
    /// May another code be tried? Errors: `Busy` with code `guesses`.
    pub fn may(&self, from: Option<IpAddr>, now: Millis) -> Result<()> {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = minute.at(now);
        let own = from.map_or(0, |ip| minute.by_address.get(&ip).copied().unwrap_or(0));
        if minute.all < ALL_MAX && own < PER_ADDRESS_MAX {
            return Ok(());
        }
        Err(Error::busy("too many codes that open nothing")
            .code("guesses")
            .remedy("wait a minute, then type it from the receipt"))
    }

    /// A code opened nothing.
    pub fn failed(&self, from: Option<IpAddr>, now: Millis) {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = minute.at(now);
        minute.all += 1;
        if let Some(ip) = from {
            *minute.by_address.entry(ip).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_stops_by_address_and_in_all_for_a_minute() {
        let guesses = Guesses::default();
        let ip = |n: u8| Some(IpAddr::from([10, 0, 0, n]));
        for n in 0..PER_ADDRESS_MAX {
            assert!(guesses.may(ip(1), Millis(0)).is_ok(), "{n}");
            guesses.failed(ip(1), Millis(0));
        }
        assert_eq!(guesses.may(ip(1), Millis(MINUTE_MS - 1)).unwrap_err().code, "guesses");
        assert!(guesses.may(ip(2), Millis(0)).is_ok() && guesses.may(None, Millis(0)).is_ok());
        assert!(guesses.may(ip(1), Millis(MINUTE_MS)).is_ok(), "the next minute");
        for _ in 0..ALL_MAX {
            guesses.failed(None, Millis(MINUTE_MS));
        }
        assert!(guesses.may(ip(9), Millis(MINUTE_MS)).is_err() && guesses.may(None, Millis(MINUTE_MS)).is_err());
        assert!(guesses.may(None, Millis(0)).is_ok(), "a clock that went back locks nobody out");
    }
}
