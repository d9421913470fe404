//! What needs a person and does not mend itself with the next attempt: its stable words, and what to do about each.
//! Pure; must never raise one (`store/alarms.rs` keeps them). Invariant: every word has a remedy, an unknown one too.

use crate::base::time::Millis;

/// Another batch lies under a key of ours: two databases write as one edge.
pub const FORK: &str = "fork";
/// A receiver refused lines for good: they stay here, as holes for it.
pub const REFUSED_ROWS: &str = "refused_rows";
/// A receiver answered well, and its acknowledgement is not signed by the key we know.
pub const BAD_ACK: &str = "bad_ack";
/// A token or a right is missing at a target.
pub const AUTH: &str = "auth";
/// A target's certificate, or ours, is not accepted.
pub const TLS: &str = "tls";
/// A certificate is not valid at the time our clock shows, and that clock cannot be trusted.
pub const CLOCK: &str = "clock";
/// What a target's address names is not there.
pub const NOT_FOUND: &str = "not_found";
/// A target refuses a batch as it is, in a way that no retry mends.
pub const HELD: &str = "held";
/// One line alone is longer than what a target takes.
pub const TOO_LARGE_LINE: &str = "too_large_line";
/// Unsent rows had to go for want of room.
pub const QUOTA: &str = "quota";

/// One that lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Its stable word.
    pub code: String,
    /// What it is about: a target, an edge, a batch's key.
    pub about: String,
    /// What happened last.
    pub what: String,
    /// When it was raised first.
    pub first: Millis,
    /// When it was raised last.
    pub last: Millis,
    /// How often.
    pub times: i64,
}

impl Alarm {
    /// As `wayside status` tells it.
    pub fn told(&self) -> String {
        format!("{} ({}): {}", self.code, self.about, self.what)
    }
}

/// What to do about an alarm.
pub fn remedy(code: &str) -> &'static str {
    match code {
        FORK => {
            "find out which of the two databases goes on (at a wayside that receives: wayside edge list, wayside edge resolve); \
             at the other: wayside edge renew, its rows go out afresh under a new epoch"
        }
        REFUSED_ROWS => "ask the receiver why; what it refused stays here and is listed with each batch's holes",
        BAD_ACK => {
            "compare the target's receiver_key with the receiver's key; nothing counts as delivered until they agree"
        }
        AUTH => "bring the target's token, or its right at the receiver, in order; it is looked at again by itself",
        TLS => "compare ca_file, client_cert_file and the receiver's certificate; it is looked at again by itself",
        CLOCK => "set this machine's clock; it is looked at again by itself",
        NOT_FOUND => "correct the target's url, or the receiver; it is looked at again by itself",
        TOO_LARGE_LINE => "raise the limit of the receiver; the lane waits before the batch that holds this line",
        QUOTA => "bring the target back, or give wayside more room",
        _ => "mend what it tells of; it is looked at again by itself",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_has_its_own_remedy_and_an_unknown_one_has_one_too() {
        let known = [FORK, REFUSED_ROWS, BAD_ACK, AUTH, TLS, CLOCK, NOT_FOUND, TOO_LARGE_LINE, QUOTA];
        for (n, code) in known.iter().enumerate() {
            assert!(known[..n].iter().all(|other| remedy(other) != remedy(code)), "{code}");
            assert_ne!(remedy(code), remedy("something new"), "{code}");
        }
        assert!(!remedy("something new").is_empty());
    }
}
