//! What the operator's records need to know of the configuration: in force, as plain values. Filled by the daemon.
//! Must never read a file or a row. Invariant: nothing here is secret; keys and tokens are told of only as there or not.

use crate::domain::notice::{Controller, Role};
use crate::domain::site::Site;

/// The configuration in force, as far as records tell of it.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Who answers for the processing.
    pub controller: Controller,
    /// The installation's name for people; may be empty.
    pub label: String,
    /// The sites.
    pub sites: Vec<Site>,
    /// Where batches go.
    pub targets: Vec<Target>,
    /// How long rows stay.
    pub limits: Limits,
    /// How rows are protected.
    pub guards: Guards,
}

/// A place where batches go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// The recipient, as the notice names it.
    pub recipient: String,
    /// Whose hands it is in; `None` = the operator's own.
    pub role: Option<Role>,
    /// Personal fields may leave to it.
    pub personal: bool,
    /// Days that its files wait to be taken.
    pub keep_days: u32,
}

/// How long rows stay (`[retention]`, `[erase]`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Months of visits, pages and events.
    pub visits_months: u32,
    /// Days of personal fields after the last visit.
    pub personal_days: u32,
    /// Months of counters.
    pub counts_months: u32,
    /// Months of decisions.
    pub ledger_months: u32,
    /// Months that an erased id is remembered.
    pub suppression_months: u32,
    /// Days of rejected spool lines.
    pub rejected_days: u32,
    /// Days of answers to data subjects.
    pub results_days: u32,
    /// Days of snapshots and databases kept aside.
    pub snapshots_days: u32,
    /// Months of proofs after an erasure; `None` = none is kept.
    pub proof_months: Option<u32>,
}

/// How rows are protected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guards {
    /// Personal fields are stored, each sealed; else they are left out.
    pub sealed: bool,
    /// The root key lies outside the data directory.
    pub root_key_apart: bool,
    /// keys.db has a companion copy.
    pub keys_copy: bool,
    /// What plainly tells of special categories is left out.
    pub deny_special: bool,
    /// Who is younger is a minor and gets no profile; `None` = the age is not looked at.
    pub minors_below: Option<u8>,
    /// The door listens on this machine only.
    pub loopback: bool,
    /// Places are looked up by address.
    pub places: bool,
}
