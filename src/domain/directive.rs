//! Directives: what an enrolled centre asks of edges for a person's sake, and what an edge reports of it. Signed statements
//! (`domain/signed.rs`) that may lie on sticks and pass through others. Pure; must never act. Invariant: a directive is known by its
//! id for ever, so that the same one twice is one.

use serde::{Deserialize, Serialize};

use crate::domain::signed::{FORMAT, Signed};

/// What a directive says it is.
pub const DIRECTIVE: &str = "directive";
/// What a report says it is.
pub const REPORT: &str = "directive_report";
/// The edge of a directive that is for all.
pub const ALL: &str = "all";

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Erase the person (GDPR Art. 17).
    Erase,
    /// Take their consent back, all of it (Art. 7(3)).
    Withdraw,
    /// Keep what is stored, and do nothing else with it (Art. 18).
    Restrict,
    /// End what rests on an interest (Art. 21).
    Object,
    /// Send a copy, encrypted to the centre (Art. 15).
    Access,
    /// Correct values (Art. 16).
    Rectify,
    /// Give way to another database of the same edge: begin a new epoch. Names nobody, but a batch of the one that is meant.
    Renew,
}

impl Action {
    /// Every one.
    pub const ALL: [Action; 7] = [
        Action::Erase,
        Action::Withdraw,
        Action::Restrict,
        Action::Object,
        Action::Access,
        Action::Rectify,
        Action::Renew,
    ];

    /// Stable word.
    pub fn word(self) -> &'static str {
        match self {
            Action::Erase => "erase",
            Action::Withdraw => "withdraw",
            Action::Restrict => "restrict",
            Action::Object => "object",
            Action::Access => "access",
            Action::Rectify => "rectify",
            Action::Renew => "renew",
        }
    }

    /// What a word means.
    pub fn parse(word: &str) -> Option<Self> {
        Action::ALL.into_iter().find(|action| action.word() == word)
    }
}

/// A value that is wrong, and the right one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// Only in this field; wherever the value stands, where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The wrong value.
    pub existing: String,
    /// The right one.
    pub updated: String,
}

/// A batch that only one of two databases of an edge has sealed so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renewing {
    /// Its epoch, 16 hex digits.
    pub epoch: String,
    /// Its lane.
    pub lane: String,
    /// Its number.
    pub batch_no: i64,
    /// Its digest, 64 hex digits.
    pub digest: String,
}

/// What a centre asks of one edge, or of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directive {
    /// Version of this shape.
    pub format: u32,
    /// [`DIRECTIVE`].
    pub kind: String,
    /// Its own number: a UUID.
    pub id: String,
    /// The edge it is for, 32 hex digits, or [`ALL`].
    pub edge: String,
    /// When it was signed.
    pub issued_at: String,
    /// Until when the person is to be answered.
    pub due_at: String,
    /// What is to be done.
    pub action: Action,
    /// The person, as batches name them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visitor_ref: Option<String>,
    /// Only at this site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// The person, as the site's own systems name the customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// What is to be corrected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub corrections: Vec<Correction>,
    /// The public key (`age1...`) a copy is encrypted to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// With `renew`: the batch that tells which database is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew: Option<Renewing>,
}

impl Directive {
    /// Is it for this edge?
    pub fn is_for(&self, edge: &str) -> bool {
        self.edge == ALL || self.edge == edge
    }
}

/// How far an edge is with a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// It was carried out.
    Done,
    /// Nothing is kept here of whom it names.
    NothingFound,
    /// It was begun, and is not finished.
    Waiting,
    /// It cannot be carried out here; the report says why.
    Refused,
}

impl Progress {
    /// Stable word.
    pub fn word(self) -> &'static str {
        match self {
            Progress::Done => "done",
            Progress::NothingFound => "nothing_found",
            Progress::Waiting => "waiting",
            Progress::Refused => "refused",
        }
    }

    /// What a word means.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Progress::Done, Progress::NothingFound, Progress::Waiting, Progress::Refused];
        all.into_iter().find(|progress| progress.word() == word)
    }
}

/// What an edge says of a directive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Version of this shape.
    pub format: u32,
    /// [`REPORT`].
    pub kind: String,
    /// The directive's id.
    pub directive: String,
    /// The edge, 32 hex digits.
    pub edge: String,
    /// How far it is.
    pub state: Progress,
    /// In words and numbers, without personal values.
    pub what: String,
    /// When the directive was taken in here.
    pub taken_at: String,
    /// When this was said.
    pub at: String,
    /// The copy, encrypted to the centre: a file of age in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<String>,
}

/// What a receiver hands down to an edge that asks: the answer to `GET /v1/directives/<edge>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handed {
    /// The edge that asked, 32 hex digits.
    pub edge: String,
    /// Signed directives on which nothing was reported yet.
    pub directives: Vec<Signed>,
    /// Ids of those that were begun, and whose end was not reported yet.
    pub waiting: Vec<String>,
    /// Ask for what lies behind this number.
    pub next: i64,
    /// Does anything?
    pub more: bool,
}

impl Report {
    /// Version and kind of what is said here.
    pub fn heads() -> (u32, String) {
        (FORMAT, REPORT.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.word()), Some(action));
            assert_eq!(serde_json::to_value(action).unwrap(), action.word());
        }
        for progress in [Progress::Done, Progress::NothingFound, Progress::Waiting, Progress::Refused] {
            assert_eq!(Progress::parse(progress.word()), Some(progress));
            assert_eq!(serde_json::to_value(progress).unwrap(), progress.word());
        }
        assert_eq!((Action::parse("spare"), Progress::parse("soon")), (None, None));
    }
}
