//! Tables of what comes in with each event, by ids and texts of others, or by numbers of our own.
//! Must never give a hash that is stored. Invariant: what others choose is hashed under a seed of this process.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use foldhash::quality::RandomState;

/// A map that is several times as quick as the standard library's for ids and short texts.
pub type Table<K, V> = HashMap<K, V, RandomState>;

/// A map by numbers that we give out ourselves.
pub type ByNumber<T> = HashMap<i64, T, BuildHasherDefault<Spread>>;

/// Spreads our own numbers over a table: nobody else chooses them, so nobody can make them meet.
#[derive(Default)]
pub struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_i64(i64::from(*byte)));
    }

    fn write_i64(&mut self, n: i64) {
        self.0 = (self.0 ^ n.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}
