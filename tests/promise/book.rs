//! What the model knows: of every event its marker, its rights, and whether something covers it now. A book so simple that
//! it is right by looking at it. Must never ask the program anything.

use std::collections::{BTreeMap, BTreeSet};

/// Which decisions the model knows of one visitor.
#[derive(Clone, Debug, Default)]
pub struct Person {
    pub site: &'static str,
    pub restricted: bool,
    /// A yes to measuring, to sharing, that was neither taken back nor has lapsed.
    pub measure: bool,
    pub share: bool,
    /// Measuring was refused, withdrawn or objected to since the last yes to it.
    pub denied: bool,
    pub events: Vec<String>,
}

impl Person {
    /// Must their next event be kept? At the club measuring rests on legitimate interest, elsewhere on consent.
    pub fn is_measured(&self) -> bool {
        !self.restricted && if self.site == "club" { !self.denied } else { self.measure }
    }
}

/// One accepted event.
#[derive(Clone, Copy, Debug)]
pub struct Fact {
    /// It was accepted with the right to share.
    pub shared: bool,
    /// Measuring was taken back since: nobody gets it, nobody reads it.
    pub measure_gone: bool,
    /// Sharing was taken back since: third parties do not get it.
    pub share_gone: bool,
    /// Its person is restricted now.
    pub restricted: bool,
}

impl Fact {
    pub fn leaves(&self, third_party: bool) -> bool {
        !self.measure_gone && !self.restricted && (!third_party || self.shared && !self.share_gone)
    }
}

#[derive(Default)]
pub struct Book {
    pub people: BTreeMap<String, Person>,
    pub facts: BTreeMap<String, Fact>,
    /// Markers of events that were not accepted: they must be nowhere.
    pub refused: BTreeSet<String>,
}

/// Every marker in some bytes: `/m`, eight hexadecimal digits, `z`.
pub fn markers(bytes: &[u8]) -> Vec<String> {
    // by the searcher of the standard library, which is built for speed also where this program is not
    let text = std::str::from_utf8(bytes).expect("lines are text");
    text.match_indices("/m")
        .filter_map(|(at, _)| text.get(at + 1..at + 11))
        .filter(|m| m.ends_with('z'))
        .map(str::to_owned)
        .collect()
}

impl Book {
    fn each(&mut self, key: &str, mut change: impl FnMut(&mut Fact)) {
        let events = self.people.get(key).map(|p| p.events.clone()).unwrap_or_default();
        for marker in events {
            if let Some(fact) = self.facts.get_mut(&marker) {
                change(fact);
            }
        }
    }

    fn person(&mut self, key: &str) -> &mut Person {
        self.people.get_mut(key).expect("every person of a program is in the book")
    }

    pub fn gave_both(&mut self, key: &str) {
        self.gave_measure(key);
        self.person(key).share = true;
    }

    pub fn gave_measure(&mut self, key: &str) {
        let person = self.person(key);
        (person.measure, person.denied) = (true, false);
    }

    /// Time has gone by: no yes holds any longer. What was taken in while it held stays.
    pub fn lapsed(&mut self, key: &str) {
        let person = self.person(key);
        (person.measure, person.share) = (false, false);
    }

    pub fn measure_taken_back(&mut self, key: &str) {
        let person = self.person(key);
        (person.measure, person.share, person.denied) = (false, false, true);
        self.each(key, |fact| {
            fact.measure_gone = true;
            fact.share_gone = true;
        });
    }

    pub fn share_taken_back(&mut self, key: &str) {
        self.person(key).share = false;
        self.each(key, |fact| fact.share_gone = true);
    }

    pub fn restrict(&mut self, key: &str, restricted: bool) {
        self.person(key).restricted = restricted;
        self.each(key, |fact| fact.restricted = restricted);
    }

    /// A byte of what is covered now, or of what was never accepted, is a broken promise.
    pub fn expect_none_forbidden(&self, bytes: &[u8], third_party: bool, place: &str) {
        for marker in markers(bytes) {
            assert!(!self.refused.contains(&marker), "{place}: {marker} was never accepted");
            match self.facts.get(&marker) {
                Some(fact) => assert!(fact.leaves(third_party), "{place}: {marker} is covered: {fact:?}"),
                None => panic!("{place}: {marker} is unknown"),
            }
        }
    }
}
