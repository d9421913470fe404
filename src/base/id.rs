//! Identifiers and randomness. Owns every random byte of the program and the mint of UUIDv7.
//! Must never know what an id names. Invariant: edge and epoch print as lowercase hex strings.

use std::fmt;

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::base::error::Result;
use crate::base::text::{hex, push_hex, unhex};
use crate::base::time::Millis;

/// `N` random bytes from the operating-system-seeded generator of this thread.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut out = [0u8; N];
    rand::rng().fill_bytes(&mut out);
    out
}

/// A random number below `n` (0 when `n` is 0), for jitter.
pub fn random_below(n: u64) -> u64 {
    if n == 0 { 0 } else { u64::from_be_bytes(random_bytes()) % n }
}

/// A UUIDv7 (RFC 9562) at `now`.
pub fn mint_uuid(now: Millis) -> [u8; 16] {
    let ms = u64::try_from(now.0).unwrap_or(0);
    *uuid::Builder::from_unix_timestamp_millis(ms, &random_bytes::<10>()).as_uuid().as_bytes()
}

/// The canonical text of 16 bytes: lower case, with dashes.
pub fn uuid_text(bytes: &[u8; 16]) -> String {
    let mut out = String::with_capacity(36);
    push_uuid(&mut out, bytes);
    out
}

/// Adds [`uuid_text`] to a text.
pub fn push_uuid(out: &mut String, bytes: &[u8; 16]) {
    let mut from = 0;
    for upto in [4, 6, 8, 10] {
        push_hex(out, &bytes[from..upto]);
        out.push('-');
        from = upto;
    }
    push_hex(out, &bytes[from..]);
}

/// The bytes of a text that is exactly [`uuid_text`] of them; anything else stays a text.
pub fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    /// Where the digits of each byte begin; dashes stand between.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let text: &[u8; 36] = text.as_bytes().try_into().ok()?;
    let digit = |at: usize| DIGITS[usize::from(text[at])];
    let mut out = [0; 16];
    let mut wrong = 0;
    for (byte, at) in out.iter_mut().zip(PLACES) {
        let (high, low) = (digit(at), digit(at + 1));
        wrong |= high | low;
        *byte = high << 4 | low & 15;
    }
    let dashes = [8, 13, 18, 23].iter().all(|at| text[*at] == b'-');
    (dashes && wrong < 16).then_some(out)
}

/// What a lower-case hexadecimal digit is worth; 255 = none.
const DIGITS: [u8; 256] = {
    let mut out = [255; 256];
    let mut n = 0;
    while n < 16 {
        out[b"0123456789abcdef"[n] as usize] = n as u8;
        n += 1;
    }
    out
};

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// A random one.
            pub fn mint() -> Self {
                $name(random_bytes())
            }

            /// Parses the hex text. Errors: `Invalid`.
            pub fn parse(text: &str) -> Result<Self> {
                unhex(text).map($name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

hex_id!(
    /// One wayside installation: 128 random bits (contract 4).
    EdgeId, 16
);
hex_id!(
    /// One generation of a database: 64 random bits (contract 4).
    Epoch, 8
);
hex_id!(
    /// The only name under which a visitor leaves this machine: 128 random bits (contract 5).
    VisitorRef, 16
);
hex_id!(
    /// Stored and destroyed with its row; makes a line hash unguessable: 96 random bits (contract 5).
    Salt, 12
);

hex_id!(
    /// Under which key a personal cell is sealed: random, and nobody is known under it.
    KeyRef, 16
);

/// A number of the one counter over everything in a database (contract 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub i64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An id a client gave, or we minted: any text, kept in 16 bytes where it is a canonical UUID.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientId {
    /// A canonical UUID (lower case, dashes).
    Uuid([u8; 16]),
    /// Any other text.
    Text(Box<str>),
}

impl ClientId {
    /// The id of this text; never fails.
    pub fn new(text: &str) -> Self {
        uuid_bytes(text).map_or_else(|| ClientId::Text(text.into()), ClientId::Uuid)
    }

    /// A fresh UUIDv7.
    pub fn mint(now: Millis) -> Self {
        ClientId::Uuid(mint_uuid(now))
    }

    /// The bytes that stand for it in keyed hashes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            ClientId::Uuid(bytes) => bytes,
            ClientId::Text(text) => text.as_bytes(),
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientId::Uuid(bytes) => f.write_str(&uuid_text(bytes)),
            ClientId::Text(text) => f.write_str(text),
        }
    }
}

impl Serialize for ClientId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClientId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(from).map(|text| ClientId::new(&text))
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minted_ids_are_uuid_v7_and_sort_by_time() {
        let (early, late) = (mint_uuid(Millis(1_700_000_000_000)), mint_uuid(Millis(1_700_000_000_001)));
        assert_eq!(uuid_text(&early).as_bytes()[14], b'7');
        assert!(early < late);
    }

    #[test]
    fn a_uuid_prints_as_the_library_prints_it() {
        for _ in 0..100 {
            let bytes = random_bytes();
            assert_eq!(uuid_text(&bytes), uuid::Uuid::from_bytes(bytes).hyphenated().to_string());
        }
    }

    #[test]
    fn only_canonical_uuids_are_packed() {
        let canonical = "0192f3a0-0000-7000-8000-000000000001";
        assert!(matches!(ClientId::new(canonical), ClientId::Uuid(_)));
        for other in ["0192F3A0-0000-7000-8000-000000000001", "654E0122924F42EA82B5C581A394555D", "user 1"] {
            assert_eq!(ClientId::new(other), ClientId::Text(other.into()));
            assert_eq!(ClientId::new(other).to_string(), other);
        }
    }

    #[test]
    fn edges_print_as_hex_and_read_back() {
        let edge = EdgeId::mint();
        assert_eq!(EdgeId::parse(&edge.to_string()).unwrap(), edge);
        assert_eq!(Epoch([0, 1, 2, 3, 4, 5, 6, 255]).to_string(), "00010203040506ff");
    }
}
