//! The newest fates, for `wayside tail`: what became of each event, why, and what to do. In memory only, bounded.
//! Must never hold a visitor, an attribute or an address: a fate outlives the rights of whom it is about.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::base::time::Millis;
use crate::ingest::record::Outcome;

/// Fates remembered.
const FATES_MAX: usize = 1024;

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FateLine {
    /// Its place in the tail; rises by one.
    pub n: u64,
    /// When it was received, RFC 3339.
    pub at: String,
    /// The site.
    pub site: String,
    /// The event's name.
    pub name: String,
    /// The outcome word.
    pub outcome: String,
    /// Why.
    pub reason: Option<String>,
    /// What to do about it.
    pub remedy: Option<String>,
    /// Its number, where stored.
    pub seq: Option<i64>,
}

/// The newest fates, kept as they come: an event in a thousand is ever looked at.
#[derive(Debug, Default)]
pub struct Tail(Mutex<(u64, VecDeque<Kept>)>);

/// One fate before it is put into words.
#[derive(Debug)]
struct Kept {
    n: u64,
    at: Millis,
    site: Arc<str>,
    name: String,
    outcome: &'static str,
    explanation: (Option<String>, Option<String>),
    seq: Option<i64>,
}

impl Kept {
    fn line(&self) -> FateLine {
        FateLine {
            n: self.n,
            at: self.at.rfc3339(),
            site: self.site.to_string(),
            name: self.name.clone(),
            outcome: self.outcome.to_owned(),
            reason: self.explanation.0.clone(),
            remedy: self.explanation.1.clone(),
            seq: self.seq,
        }
    }
}

impl Tail {
    /// Adds the fates of one request.
    pub fn add<'a>(&self, at: Millis, site: &str, fates: impl Iterator<Item = (&'a str, &'a Outcome)>) {
        let site: Arc<str> = site.into();
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, outcome) in fates {
            tail.0 += 1;
            let mut kept = Kept {
                n: tail.0,
                at,
                site: Arc::clone(&site),
                name: String::new(),
                outcome: outcome.fate.word(),
                explanation: outcome.explanation(),
                seq: outcome.seq.map(|seq| seq.0),
            };
            if tail.1.len() == FATES_MAX
                && let Some(oldest) = tail.1.pop_front()
            {
                kept.name = oldest.name; // its memory is used again
                kept.name.clear();
            }
            kept.name.push_str(name);
            tail.1.push_back(kept);
        }
    }

    /// Forgets every fate: a name of an event may name somebody. Places go on from where they were.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clear();
    }

    /// The fates behind `after` and the place of the newest. A caller that fell behind misses what was forgotten.
    pub fn behind(&self, after: u64) -> (u64, Vec<FateLine>) {
        let tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (tail.0, tail.1.iter().filter(|kept| kept.n > after).map(Kept::line).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Fate;

    #[test]
    fn the_tail_is_bounded_and_in_order() {
        let tail = Tail::default();
        let outcome = Outcome::of(Fate::Accepted);
        for _ in 0..FATES_MAX + 5 {
            tail.add(Millis(0), "shop", std::iter::once(("page_viewed", &outcome)));
        }
        let (newest, all) = tail.behind(0);
        assert_eq!((newest, all.len()), (FATES_MAX as u64 + 5, FATES_MAX));
        assert_eq!(tail.behind(newest - 2).1.len(), 2);
    }
}
