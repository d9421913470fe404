//! Options of upkeep: how long rows stay, how much of the disk may be used, how often care is taken.
//! Owns the shapes and the built-in defaults; must never read a file or a clock. What contradicts is found by `config`.
//! Invariant: every number has its unit in its name, and nothing here is for ever.

use serde::{Deserialize, Serialize};

/// How long rows stay (contract 7). What a shorter time removes, it removes at the next round of retention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionOptions {
    /// Months that visits, pages and events stay, counted from when they were received.
    pub visits_months: u32,
    /// Days that personal data stays after the visitor's last visit.
    pub personal_days: u32,
    /// Months that counters stay.
    pub counts_months: u32,
    /// Months that decisions stay after the visitor's last event: the proof of consent; and that an entry of the ledger stays.
    pub ledger_months: u32,
    /// Months that an erased id is remembered, under a keyed hash: what comes late under it is not taken in.
    pub suppression_months: u32,
    /// Days that rejected spool lines stay, values masked.
    pub rejected_days: u32,
    /// Days that the files of answers to data subjects stay in `results/`.
    pub results_days: u32,
    /// Days that snapshots and databases kept aside stay.
    pub snapshots_days: u32,
}

impl Default for RetentionOptions {
    fn default() -> Self {
        RetentionOptions {
            visits_months: 13,
            personal_days: 30,
            counts_months: 25,
            ledger_months: 36,
            suppression_months: 13,
            rejected_days: 7,
            results_days: 7,
            snapshots_days: 30,
        }
    }
}

/// What happens when the disk budget is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// New events are refused (503), so that nothing acknowledged is lost.
    #[default]
    Refuse,
    /// Unsent rows of the `fine` lane are dropped, each a hole and a loss record.
    DropFine,
}

/// How much of the disk may be used (contract 7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuotaOptions {
    /// Bytes of database, outbox and spool together; none = the smaller of 10 GB and half the free space at first start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_budget_bytes: Option<u64>,
    /// Keep rows that every required target has acknowledged, even at 85 % of the budget.
    pub keep_delivered: bool,
    /// What happens when the budget is used up.
    pub when_full: WhenFull,
    /// Days that rows stay, for want of space, after every required target has acknowledged them: a receiver may lose what it
    /// has, and ask for it again.
    pub grace_days: u32,
    /// Bytes of a file that is given up when the disk is really full, so that upkeep can work; 0 = none.
    pub ballast_bytes: u64,
}

impl Default for QuotaOptions {
    fn default() -> Self {
        QuotaOptions {
            disk_budget_bytes: None,
            keep_delivered: false,
            when_full: WhenFull::Refuse,
            grace_days: 7,
            ballast_bytes: 16_777_216,
        }
    }
}

/// How often care is taken, and how gently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpkeepOptions {
    /// Seconds between two looks for visits that have ended.
    pub visits_every_seconds: u32,
    /// Seconds between two rounds of retention and quota.
    pub retention_every_seconds: u32,
    /// Rows changed in one transaction of upkeep; at most 1,000, so that events never wait long.
    pub rows_per_step: u32,
    /// Minutes after start in which nothing is removed: a wrong clock shows itself first (contract 3).
    pub start_quiet_minutes: u32,
}

impl Default for UpkeepOptions {
    fn default() -> Self {
        UpkeepOptions {
            visits_every_seconds: 30,
            retention_every_seconds: 600,
            rows_per_step: 1_000,
            start_quiet_minutes: 10,
        }
    }
}
