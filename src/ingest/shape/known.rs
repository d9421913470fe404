//! What was found out about a text before, kept to be told again: user agents, hosts. Must never hold more than so many, nor answer
//! for a text that is not the same byte for byte. Invariant: its tables are hashed under a secret of this process, so that nobody can
//! choose texts that fall together.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::id::random_bytes;

/// Answers by text; when full all are forgotten, since the frequent ones are back at once.
#[derive(Debug)]
pub(crate) struct Known<V: ?Sized> {
    max: usize,
    all: Mutex<HashMap<Box<str>, Arc<V>, Keyed>>,
}

impl<V: ?Sized> Known<V> {
    /// Remembers up to `max` texts.
    pub fn new(max: usize) -> Self {
        Known { max, all: Mutex::new(HashMap::with_hasher(Keyed::new())) }
    }

    /// What is known of a text, or else what `find` tells of it.
    pub fn get(&self, text: &str, find: impl FnOnce(&str) -> Arc<V>) -> Arc<V> {
        let known = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(text) {
            return found.clone();
        }
        drop(known);
        let found = find(text);
        let mut known = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= self.max {
            known.clear();
        }
        known.insert(text.into(), found.clone());
        found
    }
}

#[cfg(test)]
impl<V: ?Sized> Known<V> {
    /// How many texts are remembered.
    pub fn count(&self) -> usize {
        self.all.lock().unwrap().len()
    }
}

/// Hashes short texts several times as quickly as the standard library: a multiplication for each eight bytes.
#[derive(Clone, Copy)]
struct Keyed([u64; 2]);

impl Keyed {
    fn new() -> Self {
        let secret = u128::from_le_bytes(random_bytes());
        Keyed([secret as u64, (secret >> 64) as u64 | 1])
    }
}

impl std::fmt::Debug for Keyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyed(..)")
    }
}

impl BuildHasher for Keyed {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded { state: self.0[0], by: self.0[1] }
    }
}

struct Folded {
    state: u64,
    by: u64,
}

impl Folded {
    /// Both halves of the product, so that each bit of it depends on all before.
    fn add(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.by);
        self.state = (product as u64 ^ (product >> 64) as u64).wrapping_add(self.by);
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for eight in &mut words {
            self.add(u64::from_le_bytes(eight.try_into().unwrap_or_default()));
        }
        let rest = words.remainder().iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        self.add(rest ^ (bytes.len() as u64) << 56);
    }

    fn write_u8(&mut self, _: u8) {
        // what the standard library puts behind a text: its length is in already
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_has_its_own_answer_and_is_asked_for_once() {
        let known: Known<str> = Known::new(100);
        let texts: Vec<String> = (0..100).map(|n| "x".repeat(n)).collect();
        for text in &texts {
            assert_eq!(&*known.get(text, |text| format!("{text}!").into()), format!("{text}!"));
        }
        for text in &texts {
            assert_eq!(&*known.get(text, |_| "asked again".into()), format!("{text}!"));
        }
        assert_eq!(&*known.get("one more", |_| "all forgotten".into()), "all forgotten");
        assert_eq!(&*known.get("x", |_| "asked again".into()), "asked again");
    }

    #[test]
    fn texts_that_differ_a_little_are_spread() {
        let keyed = Keyed::new();
        let mut low = [0; 128];
        for n in 0..128_000 {
            low[keyed.hash_one(format!("host-{n}.example")) as usize % 128] += 1;
        }
        assert!(low.iter().all(|count| (800..1_200).contains(count)), "{low:?}");
    }
}
