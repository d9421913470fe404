//! What was found out about a text before, kept to be told again: user agents, hosts. Must never hold more than so many, nor answer
//! for a text that is not the same byte for byte. Invariant: its tables are hashed under a secret of this process, so that nobody can
//! choose texts that fall together.

use std::sync::{Arc, Mutex, PoisonError};

use crate::base::table::Table;

/// Answers by text; when full all are forgotten, since the frequent ones are back at once.
#[derive(Debug)]
pub(crate) struct Known<V: ?Sized> {
    max: usize,
    all: Mutex<Table<Box<str>, Arc<V>>>,
}

impl<V: ?Sized> Known<V> {
    /// Remembers up to `max` texts.
    pub fn new(max: usize) -> Self {
        Known { max, all: Mutex::new(Table::default()) }
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
}
