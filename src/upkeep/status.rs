//! What upkeep tells of itself: when each care runs next and how it fared, what was removed, how full the disk is, how old
//! the oldest row is. Must never change anything. Invariant: numbers carry their unit in their name.

use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::base::error::Result;
use crate::base::time::Millis;
use crate::domain::event::Lane;
use crate::store::{ReadTx, ages, tallies};
use crate::upkeep::guard::Verdict;
use crate::upkeep::removal::Delivered;
use crate::upkeep::{CARES, Upkeep, ranges};

/// Share of the retention time at which unsent rows are warned of, percent.
pub const WARN_PERCENT: i64 = 75;

/// How upkeep fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Each care.
    pub cares: Vec<CareStatus>,
    /// May rows be removed by age: `go`, `just_started`, `clock_set`, `clock_behind`.
    pub clock_guard: &'static str,
    /// What was removed and lost so far, by running total.
    pub totals: Vec<(String, i64)>,
    /// The oldest event.
    pub oldest_at: Option<Millis>,
    /// The oldest event that a required target has not acknowledged.
    pub oldest_unsent_at: Option<Millis>,
    /// How much of the retention time that one has behind it, percent.
    pub unsent_age_percent: i64,
    /// Retention is near: what is not sent soon is lost.
    pub unsent_warning: bool,
    /// How much of the disk budget is used, percent, as the doors obey it.
    pub pressure_percent: u8,
    /// The budget, bytes; 0 before the first measuring.
    pub budget_bytes: u64,
    /// Used of it, bytes.
    pub used_bytes: u64,
    /// Free on the file system, bytes.
    pub disk_free_bytes: u64,
    /// Most rows that one step changed since start.
    pub largest_step_rows: u64,
}

/// How one care fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CareStatus {
    /// Its name.
    pub what: &'static str,
    /// When it last ran.
    pub last_at: Option<Millis>,
    /// When it runs next, where a thread lives.
    pub next_at: Option<Millis>,
    /// Rows it changed when it last ran.
    pub rows: u64,
    /// What it has to say.
    pub note: String,
    /// What went wrong when it last ran.
    pub error: Option<String>,
}

impl Upkeep {
    /// How upkeep fares. Errors: `Busy`, `Storage`.
    pub fn status(&self) -> Result<Status> {
        let (guard, _) = self.verdict()?;
        let now = self.store().now();
        let keep_ms = now.since(now.months_earlier(self.plan().retention.visits_months)).max(1);
        let (totals, oldest_at, oldest_unsent_at) = self.store().read(|tx| {
            Ok((tallies::all(tx)?, ranges::earliest(tx, |range| ages::events(tx, range))?, unsent(tx, self)?))
        })?;
        let unsent_age_percent = oldest_unsent_at.map_or(0, |at| now.since(at).max(0).saturating_mul(100) / keep_ms);
        let state = self.state();
        let measure = state.measure;
        let uptime_ms = self.uptime();
        let cares = CARES.iter().zip(&state.last).map(|(care, last)| CareStatus {
            what: care.what,
            last_at: last.at,
            next_at: last.at.map(|_| now.plus(last.next_ms.saturating_sub(uptime_ms).max(0))),
            rows: last.report.rows,
            note: last.report.note.clone(),
            error: last.error.clone(),
        });
        Ok(Status {
            cares: cares.collect(),
            clock_guard: Verdict::word(guard),
            totals,
            oldest_at,
            oldest_unsent_at,
            unsent_age_percent,
            unsent_warning: unsent_age_percent >= WARN_PERCENT,
            pressure_percent: self.store().pressure(),
            budget_bytes: measure.budget,
            used_bytes: measure.used(),
            disk_free_bytes: measure.disk_free,
            largest_step_rows: self.largest_step.load(Ordering::Relaxed),
        })
    }
}

fn unsent(tx: &ReadTx<'_>, up: &Upkeep) -> Result<Option<Millis>> {
    let delivered = Delivered::read(tx, &up.plan().targets, &up.plan().required)?;
    let mut oldest = None;
    for lane in Lane::ALL {
        let Some(upto) = delivered.required_upto(lane) else { continue };
        oldest = [oldest, ages::event_behind(tx, lane, upto)?].into_iter().flatten().min();
    }
    Ok(oldest)
}
