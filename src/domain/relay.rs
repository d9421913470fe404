//! Words of receiving other edges' batches: the state of an edge, what a line binds a relay to. Pure.
//! Must never read a file or a row. Invariant: words are stored, and never change.

use serde::{Deserialize, Serialize};

use crate::base::id::{EdgeId, Epoch, Seq, VisitorRef};
use crate::base::time::Millis;
use crate::domain::event::Lane;

/// What a relay's word for an edge says it is.
pub const VOUCH: &str = "vouch";

/// A relay's word for an edge that sends to it: a signed statement (`domain/signed.rs`), by which whoever the relay sends to
/// knows the edge's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouch {
    /// Version of this shape.
    pub format: u32,
    /// [`VOUCH`].
    pub kind: String,
    /// The relay's own id, 32 hex digits.
    pub by: String,
    /// The edge, 32 hex digits.
    pub edge: String,
    /// What the edge signs its batches with, 64 hex digits.
    pub public_key: String,
    /// Its name for people.
    pub label: String,
    /// Whether the relay takes its batches: a word of [`EdgeState`].
    pub state: String,
    /// The edge that may send what this one left behind, 32 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
    /// The only site it may send rows of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
}

/// Whether an edge's batches are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EdgeState {
    /// It joined; the operator has not said yes yet.
    Waiting,
    /// Its batches are taken.
    Approved,
    /// They are taken no longer.
    Revoked,
    /// It is gone for good; nothing is expected of it any more.
    Retired,
}

impl EdgeState {
    /// Stable word.
    pub fn word(self) -> &'static str {
        match self {
            EdgeState::Waiting => "waiting",
            EdgeState::Approved => "approved",
            EdgeState::Revoked => "revoked",
            EdgeState::Retired => "retired",
        }
    }

    /// The state of a word.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [EdgeState::Waiting, EdgeState::Approved, EdgeState::Revoked, EdgeState::Retired];
        all.into_iter().find(|state| state.word() == word)
    }
}

/// One lane and epoch of an edge: what is numbered without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// The edge.
    pub edge: EdgeId,
    /// The epoch its batches were sealed in.
    pub epoch: Epoch,
    /// The lane.
    pub lane: Lane,
}

/// What of a visitor's rows may not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BoundKind {
    /// Measure was withdrawn: the whole row.
    Measure,
    /// Share was withdrawn: the row, to third parties.
    Share,
    /// Processing is restricted: the row, until it comes again under another number.
    Restricted,
    /// The person was erased: every line that names them.
    Erased,
}

impl BoundKind {
    /// Every kind.
    pub const ALL: [BoundKind; 4] = [BoundKind::Measure, BoundKind::Share, BoundKind::Restricted, BoundKind::Erased];

    /// Stable word.
    pub fn word(self) -> &'static str {
        match self {
            BoundKind::Measure => "measure",
            BoundKind::Share => "share",
            BoundKind::Restricted => "restricted",
            BoundKind::Erased => "erased",
        }
    }

    /// The kind of a word.
    pub fn parse(word: &str) -> Option<Self> {
        BoundKind::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// What binds a relay about one visitor: rows of that edge and epoch up to a number, and rows of other epochs received
/// until a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Whose rows.
    pub visitor: VisitorRef,
    /// Where the line that says so was born.
    pub edge: EdgeId,
    /// Its epoch.
    pub epoch: Epoch,
    /// What of them.
    pub kind: BoundKind,
    /// Up to which number of that epoch.
    pub upto: Seq,
    /// Of other epochs: received until then.
    pub until: Millis,
}

/// Rows that are gone, by number: all between are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundRows {
    /// Where they were born.
    pub edge: EdgeId,
    /// Their epoch.
    pub epoch: Epoch,
    /// The lowest.
    pub first: Seq,
    /// The highest.
    pub last: Seq,
    /// Corrected, not erased.
    pub rectified: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for word in ["waiting", "approved", "revoked", "retired"] {
            assert_eq!(EdgeState::parse(word).map(EdgeState::word), Some(word));
        }
        for kind in BoundKind::ALL {
            assert_eq!(BoundKind::parse(kind.word()), Some(kind));
        }
        assert_eq!((EdgeState::parse("Approved"), BoundKind::parse("")), (None, None));
    }
}
