//! Options of taking events in: limits, ages, the spool folder, and what becomes of personal fields.
//! Owns the shapes and the built-in defaults; must never read a file. What contradicts is found by `config`.
//! Invariant: a personal field is stored sealed or not at all.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::error::Result;
use crate::domain::denied::DenyList;
use crate::ingest::limits::Limits;

/// How events are taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestOptions {
    /// Minutes after which an event is too old for the native API; 0 = any age (a kiosk may be days late).
    pub event_age_minutes_max: u32,
    /// Minutes after which an event is too old for the Journey endpoints; 0 = any age. The vendor's rule is one hour.
    pub journey_event_age_minutes_max: u32,
    /// Limits of one request.
    pub limits: Limits,
    /// The spool folder.
    pub spool: SpoolOptions,
}

impl Default for IngestOptions {
    fn default() -> Self {
        IngestOptions {
            event_age_minutes_max: 0,
            journey_event_age_minutes_max: 60,
            limits: Limits::default(),
            spool: SpoolOptions::default(),
        }
    }
}

/// The spool folder: for programs that write files instead of speaking HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpoolOptions {
    /// Take in files of `spool/` in the data directory. Whoever may write there may also record decisions.
    pub enabled: bool,
    /// Seconds between two looks into the folder.
    pub poll_seconds: u32,
    /// Longest file taken in, bytes; longer ones are rejected whole.
    pub file_bytes_max: u64,
}

impl Default for SpoolOptions {
    fn default() -> Self {
        SpoolOptions { enabled: true, poll_seconds: 1, file_bytes_max: 67_108_864 }
    }
}

/// What becomes of traits, identities and other personal fields of people with the right to `personal`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonalStore {
    /// Events are stored without them; `withheld` names what was left out.
    Off,
    /// They are stored, each sealed under a key of its visitor.
    #[default]
    Sealed,
}

/// What is done with those who say that they are minors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Minors {
    /// No profile, no marketing, no offers of theirs, unless a decision grants them afterwards.
    #[default]
    NoProfile,
    /// Nothing: the age is not looked at.
    Ignore,
}

/// Personal fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PersonalOptions {
    /// Whether they are stored.
    pub store: PersonalStore,
    /// The file of the root key; none = `root.key` in the data directory, minted at first start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_key_file: Option<PathBuf>,
    /// The one companion copy of keys.db, overwritten in place; none = there is no copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_copy: Option<PathBuf>,
    /// Leave out of events what plainly tells of health, belief and other special categories.
    pub deny_special: bool,
    /// More words to leave out; a star at the end stands for any ending.
    pub deny_words: Vec<String>,
    /// What is done with those who say that they are minors.
    pub minors: Minors,
    /// Age in years from which somebody is no minor.
    pub minors_below: u8,
}

impl Default for PersonalOptions {
    fn default() -> Self {
        PersonalOptions {
            store: PersonalStore::default(),
            root_key_file: None,
            keys_copy: None,
            deny_special: true,
            deny_words: Vec::new(),
            minors: Minors::default(),
            minors_below: 16,
        }
    }
}

impl PersonalOptions {
    /// The words that are looked for. Errors: `Invalid` for an entry that is none.
    pub fn deny_list(&self) -> Result<DenyList> {
        if self.deny_special { DenyList::new(&self.deny_words) } else { DenyList::only(&self.deny_words) }
    }

    /// The age below which somebody is a minor, if anybody is asked.
    pub fn minor_age(&self) -> Option<u8> {
        (self.minors == Minors::NoProfile).then_some(self.minors_below)
    }
}
