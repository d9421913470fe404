//! Identifiers and randomness. Owns every random byte of the program and the mint of UUIDv7.
//! Must never know what an id names. Invariant: edge and epoch print as lowercase hex strings.

use std::fmt;

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::base::error::Result;
use crate::base::text::{hex, hex_pair, unhex};
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

/// Where the digits of each byte of a UUID begin; dashes stand between.
const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

/// Adds [`uuid_text`] to a text.
pub fn push_uuid(out: &mut String, bytes: &[u8; 16]) {
    let mut text = [b'-'; 36];
    for (byte, at) in bytes.iter().zip(PLACES) {
        (text[at], text[at + 1]) = hex_pair(*byte);
    }
    out.push_str(std::str::from_utf8(&text).expect("invariant: digits and dashes are ASCII"));
}

/// The bytes of a text that is exactly [`uuid_text`] of them; anything else stays a text.
pub fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.as_bytes().try_into().ok()?;
    if [8, 13, 18, 23].iter().any(|at| text[*at] != b'-') {
        return None;
    }
    let four = |at: usize| u64::from(u32::from_le_bytes([text[at], text[at + 1], text[at + 2], text[at + 3]]));
    // eight digits each: dashes stand behind the first eight and then behind each four, to the last twelve
    let digits =
        [four(0) | four(4) << 32, four(9) | four(14) << 32, four(19) | four(24) << 32, four(28) | four(32) << 32];
    let mut out = [0; 16];
    for (bytes, digits) in out.chunks_exact_mut(4).zip(digits) {
        bytes.copy_from_slice(&unhex_eight(digits)?.to_le_bytes());
    }
    Some(out)
}

/// The four bytes of eight lower-case hexadecimal digits, both with the first lowest.
fn unhex_eight(digits: u64) -> Option<u32> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    // the high bit of each byte that is at least `low` and below `upto`: of ASCII, where no sum reaches into the next byte
    let among = |low: u64, upto: u64| {
        digits.wrapping_add(ONES * (0x80 - low)) & !digits.wrapping_add(ONES * (0x80 - upto)) & HIGH
    };
    let letters = among(0x61, 0x67);
    if digits & HIGH != 0 || letters | among(0x30, 0x3a) != HIGH {
        return None;
    }
    let worth = (digits & (ONES * 0x0f)) + (letters >> 7) * 9;
    let pairs = (worth << 4 | worth >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    Some(((fours | fours >> 16) & 0xffff_ffff) as u32)
}

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

    /// Adds its text to another.
    pub fn push_to(&self, out: &mut String) {
        match self {
            ClientId::Uuid(bytes) => push_uuid(out, bytes),
            ClientId::Text(text) => out.push_str(text),
        }
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
    fn a_uuid_reads_back_and_nothing_that_differs_by_a_byte_does() {
        for _ in 0..2_000 {
            let bytes: [u8; 16] = random_bytes();
            let text = uuid_text(&bytes);
            assert_eq!(uuid_bytes(&text), Some(bytes));
            let [at, byte] = random_bytes::<2>().map(usize::from);
            let mut other = text.clone().into_bytes();
            other[at % 36] = byte as u8;
            let Ok(other) = String::from_utf8(other) else { continue };
            let read = uuid_bytes(&other).map(|bytes| uuid_text(&bytes));
            let canonical = uuid::Uuid::try_parse(&other).is_ok_and(|uuid| uuid.hyphenated().to_string() == other);
            assert_eq!(read, canonical.then_some(other));
        }
    }

    #[test]
    fn edges_print_as_hex_and_read_back() {
        let edge = EdgeId::mint();
        assert_eq!(EdgeId::parse(&edge.to_string()).unwrap(), edge);
        assert_eq!(Epoch([0, 1, 2, 3, 4, 5, 6, 255]).to_string(), "00010203040506ff");
    }
}
