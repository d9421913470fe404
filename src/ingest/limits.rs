//! How much a request may hold. Owns the option struct of the limits; must never decide what happens beyond them.
//! Invariant: no limit is zero, and none is wider than what the floors below can read.

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::domain::address::URL_BYTES_MAX;

/// Longest event or attribute name: bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest user agent that is kept: bytes. Longer ones are cut, not refused.
pub const USER_AGENT_BYTES_MAX: usize = 512;
/// Longest language tag: bytes.
pub const LANGUAGE_BYTES_MAX: usize = 64;
/// Deepest nesting of lists and objects in an event, the event itself included.
pub const DEPTH_MAX: usize = 8;
/// Largest whole number that every reader of the data keeps exactly: 2^53 - 1.
pub const WHOLE_MAX: i64 = (1 << 53) - 1;
/// Most words in a list of purposes; there are 32 purposes.
pub const WORDS_MAX: usize = 32;

/// Limits of requests and of what they hold (contract 7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Body as it was sent, bytes.
    pub body_bytes_max: usize,
    /// Body after decompression, bytes.
    pub decoded_bytes_max: usize,
    /// Events and decisions in one request.
    pub events_max: usize,
    /// Custom attributes of one event; its traits have the same limit of their own.
    pub attributes_max: usize,
    /// Value of one attribute or trait, bytes.
    pub attribute_bytes_max: usize,
    /// Title, keywords, category, screen or search query, bytes each.
    pub text_bytes_max: usize,
    /// Page address, bytes; at most 4096.
    pub url_bytes_max: usize,
    /// Ids, identities, versions and other short words, bytes each.
    pub id_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            body_bytes_max: 1 << 20,
            decoded_bytes_max: 8 << 20,
            events_max: 1000,
            attributes_max: 100,
            attribute_bytes_max: 1024,
            text_bytes_max: 2048,
            url_bytes_max: URL_BYTES_MAX,
            id_bytes_max: 256,
        }
    }
}

impl Limits {
    /// Do the limits make sense together? Errors: `Config`, naming the key.
    pub fn check(&self) -> Result<()> {
        let all = [
            ("body_bytes_max", self.body_bytes_max),
            ("decoded_bytes_max", self.decoded_bytes_max),
            ("events_max", self.events_max),
            ("attributes_max", self.attributes_max),
            ("attribute_bytes_max", self.attribute_bytes_max),
            ("text_bytes_max", self.text_bytes_max),
            ("url_bytes_max", self.url_bytes_max),
            ("id_bytes_max", self.id_bytes_max),
        ];
        if let Some((key, _)) = all.iter().find(|(_, limit)| *limit == 0) {
            return Err(Error::config(format!("limits: {key} is 0, so nothing could be taken"))
                .code("limits")
                .remedy("give at least 1, or leave it out"));
        }
        if self.url_bytes_max > URL_BYTES_MAX {
            return Err(Error::config(format!("limits: url_bytes_max is over {URL_BYTES_MAX}"))
                .code("limits")
                .remedy(format!("give at most {URL_BYTES_MAX}")));
        }
        if self.decoded_bytes_max < self.body_bytes_max {
            return Err(Error::config("limits: decoded_bytes_max is below body_bytes_max")
                .code("limits")
                .remedy("a body that is not compressed must fit both"));
        }
        Ok(())
    }

    /// Refuses a body of `bytes` as sent. Errors: `Invalid`, `too_large`.
    pub fn check_body(&self, bytes: usize) -> Result<()> {
        within(bytes, self.body_bytes_max, "the body")
    }

    /// Refuses a body of `bytes` after decompression. Errors: `Invalid`, `too_large`.
    pub fn check_decoded(&self, bytes: usize) -> Result<()> {
        within(bytes, self.decoded_bytes_max, "the decoded body")
    }
}

fn within(bytes: usize, bytes_max: usize, what: &str) -> Result<()> {
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(Error::invalid(format!("{what} has {bytes} bytes, at most {bytes_max} are taken"))
        .code("too_large")
        .remedy("send fewer events per request"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_may_be_as_long_as_the_limit_and_no_longer() {
        let limits = Limits::default();
        assert!(limits.check_body(1 << 20).is_ok() && limits.check_decoded(8 << 20).is_ok());
        assert_eq!(limits.check_body((1 << 20) + 1).unwrap_err().code, "too_large");
        assert_eq!(limits.check_decoded((8 << 20) + 1).unwrap_err().code, "too_large");
    }

    #[test]
    fn senseless_limits_are_named() {
        assert!(Limits::default().check().is_ok());
        for (key, limits) in [
            ("events_max", Limits { events_max: 0, ..Limits::default() }),
            ("id_bytes_max", Limits { id_bytes_max: 0, ..Limits::default() }),
            ("url_bytes_max", Limits { url_bytes_max: 4097, ..Limits::default() }),
            ("decoded_bytes_max", Limits { decoded_bytes_max: 1024, ..Limits::default() }),
        ] {
            assert!(limits.check().unwrap_err().what.contains(key), "{key}");
        }
    }

    #[test]
    fn unknown_keys_are_refused_and_missing_ones_have_defaults() {
        let some: Limits = serde_json::from_str(r#"{"events_max":7}"#).unwrap();
        assert_eq!(some, Limits { events_max: 7, ..Limits::default() });
        assert!(serde_json::from_str::<Limits>(r#"{"event_max":7}"#).is_err());
    }
}
