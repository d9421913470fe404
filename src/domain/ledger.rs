//! The ledger's arithmetic: the canonical encoding of an entry's content, its digest (the leaf), and the chain step.
//! Must never read a row or a clock, nor hash a text whose form could vary (JSON, numbers as words).
//! Invariant: two different contents never have one encoding, and an encoding never changes: rows of old files are checked
//! with it for ever.

use crate::base::digest::{Hash, Hasher};
use crate::base::time::{HOUR_MS, MINUTE_MS, Millis};

/// What the first entry's `prev` is.
pub const GENESIS: Hash = [0; 32];
/// A clock that goes back by more than this between two entries must be explained by a `clock` entry, ms.
pub const CLOCK_BACK_MS_MAX: i64 = HOUR_MS;

const LEAF: &[u8] = b"wayside-ledger-leaf-1";
const STEP: &[u8] = b"wayside-ledger-step-1";
const CLEARED: &[u8] = b"wayside-ledger-cleared-1";
const LEFT: &[u8] = b"wayside-ledger-left-1";

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A row of `decisions`.
    Decision,
    /// Decisions of before the ledger were chained now.
    Ground,
    /// The clock was set.
    Clock,
    /// Contents were removed by age.
    Prune,
    /// A person was erased.
    Erasure,
    /// A notice was published.
    Notice,
    /// A sealed proof was opened.
    Proof,
    /// A key pair was made or came into use.
    Key,
    /// A subject request changed its state.
    Request,
    /// A backup was restored.
    Restore,
    /// An erasure is done: the digest of what the search of every file came to.
    Erase,
}

impl EntryKind {
    /// All of them.
    pub const ALL: [EntryKind; 11] = [
        EntryKind::Decision,
        EntryKind::Ground,
        EntryKind::Clock,
        EntryKind::Prune,
        EntryKind::Erasure,
        EntryKind::Notice,
        EntryKind::Proof,
        EntryKind::Key,
        EntryKind::Request,
        EntryKind::Restore,
        EntryKind::Erase,
    ];

    /// Stable word, as in the column and in the hash.
    pub fn word(self) -> &'static str {
        match self {
            EntryKind::Decision => "decision",
            EntryKind::Ground => "ground",
            EntryKind::Clock => "clock",
            EntryKind::Prune => "prune",
            EntryKind::Erasure => "erasure",
            EntryKind::Notice => "notice",
            EntryKind::Proof => "proof",
            EntryKind::Key => "key",
            EntryKind::Request => "request",
            EntryKind::Restore => "restore",
            EntryKind::Erase => "erase",
        }
    }

    /// The kind of a word.
    pub fn parse(word: &str) -> Option<EntryKind> {
        EntryKind::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// May contents be gone on the word of such an entry?
    pub fn clears(self) -> bool {
        matches!(self, EntryKind::Prune | EntryKind::Erasure)
    }
}

/// One value of a content, as a database column holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Nothing.
    Null,
    /// A whole number.
    Integer(i64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// A content in the making: named values, in the order of its kind.
pub struct Leaf(Hasher);

impl Leaf {
    /// An empty content of a kind.
    pub fn of(kind: EntryKind) -> Leaf {
        let mut hasher = Hasher::new();
        hasher.field(LEAF).field(kind.word().as_bytes());
        Leaf(hasher)
    }

    /// Adds a value: the name behind its length, then the length of what follows (u32, big endian), one letter for the
    /// type (`n` nothing, `i` whole number of 8 bytes big endian, `t` text, `b` bytes), and the value.
    pub fn add(&mut self, name: &str, value: Value<'_>) -> &mut Leaf {
        self.0.field(name.as_bytes());
        match value {
            Value::Null => self.typed(b'n', &[]),
            Value::Integer(n) => self.typed(b'i', &n.to_be_bytes()),
            Value::Text(text) => self.typed(b't', text.as_bytes()),
            Value::Bytes(bytes) => self.typed(b'b', bytes),
        }
        self
    }

    fn typed(&mut self, letter: u8, bytes: &[u8]) {
        let length = u32::try_from(bytes.len() + 1).unwrap_or(u32::MAX);
        self.0.add(&length.to_be_bytes()).add(&[letter]).add(bytes);
    }

    /// The digest of the content.
    pub fn finish(self) -> Hash {
        self.0.finish()
    }
}

/// An entry's place in the chain. What it says stands in the content its leaf is the digest of, so that the content can be
/// removed for a person's sake and the chain still be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number: 1, 2, 3 ... without gaps.
    pub no: i64,
    /// The decision's number of the one counter; of other kinds the newest number given out.
    pub seq: i64,
    /// What it is about.
    pub kind: EntryKind,
    /// When it was written, to the minute: it stays when the content goes.
    pub at: Millis,
    /// Hash of the entry before.
    pub prev: Hash,
    /// Digest of its content.
    pub leaf: Hash,
}

impl Entry {
    /// The chain step: the entry's own hash, which the next one holds as `prev`.
    pub fn hash(&self) -> Hash {
        let mut hasher = Hasher::new();
        hasher
            .field(STEP)
            .field(&self.no.to_be_bytes())
            .field(&self.seq.to_be_bytes())
            .field(self.kind.word().as_bytes())
            .field(&self.at.0.to_be_bytes())
            .field(&self.prev)
            .field(&self.leaf);
        hasher.finish()
    }
}

/// The minute an entry is dated by.
pub fn minute(at: Millis) -> Millis {
    Millis(at.0.div_euclid(MINUTE_MS) * MINUTE_MS)
}

/// Did the clock go back between two entries by more than the ledger passes over?
pub fn went_back(before: Millis, at: Millis) -> bool {
    before.since(at) > CLOCK_BACK_MS_MAX
}

/// Digest over the numbers and leaves whose contents were removed together, in order of number: what the entry that
/// removed them says of them.
#[derive(Default)]
pub struct Cleared {
    hasher: Option<Hasher>,
    /// How many.
    pub count: i64,
}

impl Cleared {
    /// One more.
    pub fn add(&mut self, no: i64, leaf: &Hash) {
        let hasher = self.hasher.get_or_insert_with(|| {
            let mut hasher = Hasher::new();
            hasher.field(CLEARED);
            hasher
        });
        hasher.field(&no.to_be_bytes()).field(leaf);
        self.count += 1;
    }

    /// The digest of all.
    pub fn finish(self) -> Hash {
        self.hasher.unwrap_or_default().finish()
    }
}

/// Digest over the removals that an anchor cuts through: of each, in order of number, what is left of it behind the anchor.
/// The entry that says why names a digest over all of them, which nobody can compute once some entries are gone; so the
/// anchor signs what is left, and no other content can go in the name of an old removal.
#[derive(Default)]
pub struct Left(Option<Hasher>);

impl Left {
    /// One more removal: the entry that says why, and what it removed behind the anchor.
    pub fn add(&mut self, by_no: i64, removed: Cleared) {
        let hasher = self.0.get_or_insert_with(|| {
            let mut hasher = Hasher::new();
            hasher.field(LEFT);
            hasher
        });
        hasher.field(&by_no.to_be_bytes()).field(&removed.count.to_be_bytes()).field(&removed.finish());
    }

    /// The digest of all; `None` where there is none.
    pub fn finish(self) -> Option<Hash> {
        self.0.map(Hasher::finish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::text::hex;

    fn leaf(values: &[(&str, Value<'_>)]) -> Hash {
        let mut leaf = Leaf::of(EntryKind::Decision);
        for (name, value) in values {
            leaf.add(name, *value);
        }
        leaf.finish()
    }

    #[test]
    fn different_contents_have_different_leaves() {
        let all = [
            leaf(&[]),
            leaf(&[("a", Value::Null)]),
            leaf(&[("a", Value::Text(""))]),
            leaf(&[("a", Value::Bytes(b""))]),
            leaf(&[("a", Value::Integer(0))]),
            leaf(&[("a", Value::Text("b")), ("c", Value::Null)]),
            leaf(&[("a", Value::Text("bc")), ("", Value::Null)]),
            leaf(&[("ab", Value::Text("c"))]),
            leaf(&[("a", Value::Integer(1)), ("b", Value::Integer(2))]),
            leaf(&[("b", Value::Integer(2)), ("a", Value::Integer(1))]),
            Leaf::of(EntryKind::Clock).finish(),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|other| other != one), "content {i}");
        }
    }

    #[test]
    fn the_encoding_never_changes() {
        let content = leaf(&[("a", Value::Text("b")), ("n", Value::Integer(-1)), ("x", Value::Null)]);
        let entry = Entry {
            no: 1,
            seq: 7,
            kind: EntryKind::Decision,
            at: Millis(1_800_000_000_000),
            prev: GENESIS,
            leaf: content,
        };
        assert_eq!(
            (hex(&content).as_str(), hex(&entry.hash()).as_str()),
            (
                "551ce179e57ba0a41c0eab8cad7d99fe8d4cfd769bed04ee6864c6ecb04d6361",
                "9243fce372f3a0707b31f4e056b01cc8e1f2da584d11d4ff2ec5e66eb2282e89"
            ),
            "files of earlier versions could no longer be verified"
        );
    }

    #[test]
    fn every_part_of_an_entry_is_in_its_hash() {
        let entry = Entry { no: 2, seq: 9, kind: EntryKind::Clock, at: Millis(60_000), prev: [1; 32], leaf: [2; 32] };
        let others = [
            Entry { no: 3, ..entry },
            Entry { seq: 8, ..entry },
            Entry { kind: EntryKind::Prune, ..entry },
            Entry { at: Millis(0), ..entry },
            Entry { prev: [3; 32], ..entry },
            Entry { leaf: [3; 32], ..entry },
        ];
        assert!(others.iter().all(|other| other.hash() != entry.hash()));
    }

    #[test]
    fn an_entry_keeps_no_more_of_the_time_than_the_minute() {
        assert_eq!(minute(Millis(119_999)), Millis(60_000));
        assert_eq!(minute(Millis(-1)), Millis(-60_000));
        assert!(!went_back(Millis(HOUR_MS), Millis(0)) && went_back(Millis(HOUR_MS + MINUTE_MS), Millis(0)));
    }

    #[test]
    fn what_was_cleared_is_named_in_order() {
        let digest = |list: &[(i64, Hash)]| {
            let mut cleared = Cleared::default();
            list.iter().for_each(|(no, leaf)| cleared.add(*no, leaf));
            cleared.finish()
        };
        assert_ne!(digest(&[(1, [1; 32]), (2, [2; 32])]), digest(&[(2, [2; 32]), (1, [1; 32])]));
        assert_ne!(digest(&[(1, [1; 32])]), digest(&[(1, [2; 32])]));
    }

    #[test]
    fn what_an_anchor_cuts_through_is_named_with_the_entry_that_says_why() {
        let digest = |list: &[(i64, &[i64])]| {
            let mut left = Left::default();
            for (by_no, nos) in list {
                let mut cleared = Cleared::default();
                nos.iter().for_each(|no| cleared.add(*no, &[7; 32]));
                left.add(*by_no, cleared);
            }
            left.finish()
        };
        assert_eq!(digest(&[]), None);
        let all =
            [digest(&[(9, &[4])]), digest(&[(8, &[4])]), digest(&[(9, &[4, 5])]), digest(&[(9, &[4]), (10, &[5])])];
        for (i, one) in all.iter().enumerate() {
            assert!(one.is_some() && all[..i].iter().all(|other| other != one), "case {i}");
        }
    }

    #[test]
    fn words_and_kinds_are_one_to_one() {
        assert!(EntryKind::ALL.into_iter().all(|kind| EntryKind::parse(kind.word()) == Some(kind)));
        assert_eq!(EntryKind::parse("other"), None);
    }
}
