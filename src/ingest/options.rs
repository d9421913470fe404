//! Options of taking events in: limits, ages, the spool folder, and what becomes of personal fields.
//! Owns the shapes and the built-in defaults; must never read a file. What contradicts is found by `config`.
//! Invariant: a personal field is stored sealed or not at all.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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

/// Personal fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
}
