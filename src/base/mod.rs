//! Floor 0: errors, time, ids, text, gzip, digests, ciphers. Knows nothing of the domain and imports nothing of the crate.
//! Invariant: the clock, randomness and every digest of the program are reached through here.

pub mod age;
pub mod base64;
pub mod cell;
pub mod digest;
pub mod error;
pub mod gzip;
pub mod id;
pub mod piece;
pub mod table;
pub mod text;
pub mod time;
