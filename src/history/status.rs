//! Totals, and whether all is well, as far as the file tells: what a daemon knows beyond it is added by the door.
//! Must never repair anything. Invariant: what needs attention says what to do.

use serde::Serialize;

use crate::base::error::Result;
use crate::base::text::bytes_text;
use crate::base::time::{HOUR_MS, Millis};
use crate::domain::alarm::{self, Alarm};
use crate::domain::event::Lane;
use crate::history::counts::discreet;
use crate::history::{History, SCHEMA_VERSION};
use crate::store::{
    ReadTx, alarms, batches, counts, decisions, epochs, holes, meta, open, refused, space, sums, tallies,
};

/// Something that is not well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attention {
    /// What.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// How many rows of each kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Visitors.
    pub visitors: i64,
    /// Visits.
    pub visits: i64,
    /// Visits that have not ended.
    pub visits_open: i64,
    /// Events.
    pub events: i64,
    /// Events received since midnight, UTC.
    pub events_today: i64,
    /// Events that were only counted; `None` for fewer than five.
    pub counted: Option<i64>,
    /// The same since midnight, UTC.
    pub counted_today: Option<i64>,
    /// Decisions.
    pub decisions: i64,
}

/// The database file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DatabaseStatus {
    /// Where it lies.
    pub file: String,
    /// Its length.
    pub size_bytes: u64,
    /// Length of its write-ahead log.
    pub wal_bytes: u64,
    /// Schema version.
    pub schema: i64,
    /// This installation.
    pub edge: Option<String>,
    /// The current generation.
    pub epoch: Option<String>,
    /// Generations so far.
    pub epochs: usize,
}

/// The disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiskStatus {
    /// What the data directory uses.
    pub used_bytes: u64,
    /// What it may use; `None` before it was decided.
    pub budget_bytes: Option<u64>,
    /// What is free on its file system.
    pub free_bytes: u64,
}

/// The server's clock against the newest time the database knows of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClockStatus {
    /// Now.
    pub now_at: String,
    /// The newest commit.
    pub newest_at: Option<String>,
}

/// One lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaneStatus {
    /// Its word.
    pub lane: &'static str,
    /// Batches sealed.
    pub batches: i64,
    /// Lines in them.
    pub lines: i64,
    /// Rows that wait to be sealed.
    pub waiting: i64,
}

/// One target's position in a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetStatus {
    /// The target.
    pub target: String,
    /// The lane.
    pub lane: &'static str,
    /// Batches sealed in this epoch.
    pub sealed_no: i64,
    /// Batches put.
    pub put_no: i64,
    /// Batches acknowledged.
    pub acked_no: i64,
    /// Failures in a row.
    pub failures: i64,
    /// The next attempt, after failures.
    pub next_at: Option<String>,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// Something that lasts and needs a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AlarmStatus {
    /// Its stable word.
    pub code: String,
    /// What it is about.
    pub about: String,
    /// What happened last.
    pub what: String,
    /// When it began.
    pub first_at: String,
    /// When it was raised last.
    pub last_at: String,
    /// How often.
    pub times: i64,
}

/// A named number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// The number.
    pub count: i64,
}

/// Everything the file tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// What is not well; empty = all is well.
    pub attention: Vec<Attention>,
    /// The file.
    pub database: DatabaseStatus,
    /// Rows.
    pub totals: Totals,
    /// Lanes.
    pub lanes: Vec<LaneStatus>,
    /// Targets.
    pub targets: Vec<TargetStatus>,
    /// What lasts and needs a person.
    pub alarms: Vec<AlarmStatus>,
    /// Lines that may no longer leave, by reason.
    pub holes: Vec<Named>,
    /// Lines that a target will never take, by target: holes for it alone.
    pub refused: Vec<Named>,
    /// What was dropped, refused and removed since ever.
    pub tallies: Vec<Named>,
    /// The disk.
    pub disk: DiskStatus,
    /// The clock.
    pub clock: ClockStatus,
}

impl History {
    /// How many rows there are that may be seen. `now` decides what is today.
    pub fn totals(&self, now: Millis) -> Result<Totals> {
        self.read(|tx| totals(tx, now))
    }

    /// Totals, lanes, targets, disk and clock, and what of it is not well. Errors: `Busy`, `Storage`.
    pub fn status(&self, now: Millis) -> Result<Status> {
        let path = open::database_path(self.data_dir());
        let size_bytes = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        let wal_bytes = space::wal_bytes(self.data_dir())?;
        let (free_bytes, all_bytes) = space::free_bytes(self.data_dir())?;
        let used_bytes = space::used_bytes(self.data_dir())?;
        let (mut status, raised) = self.read(|tx| {
            let raised = alarms::list(tx)?;
            let all = epochs::all(tx)?;
            let current = all.last();
            let newest = meta::newest_at(tx)?;
            let status = Status {
                attention: Vec::new(),
                database: DatabaseStatus {
                    file: path.display().to_string(),
                    size_bytes,
                    wal_bytes,
                    schema: SCHEMA_VERSION,
                    edge: current.map(|row| row.edge.to_string()),
                    epoch: current.map(|row| row.epoch.to_string()),
                    epochs: all.len(),
                },
                totals: totals(tx, now)?,
                lanes: Lane::ALL.into_iter().map(|lane| lane_status(tx, lane)).collect::<Result<_>>()?,
                targets: targets(tx, current.map(|row| row.id))?,
                alarms: raised.iter().map(alarm_status).collect(),
                holes: named(holes::totals(tx)?),
                refused: named(refused::totals(tx)?),
                tallies: named(tallies::all(tx)?),
                disk: DiskStatus { used_bytes, budget_bytes: meta::disk_budget(tx)?, free_bytes },
                clock: ClockStatus { now_at: now.rfc3339(), newest_at: (newest.0 > 0).then(|| newest.rfc3339()) },
            };
            Ok((status, raised))
        })?;
        status.attention = attention(&status, now, all_bytes);
        let of = |a: &Alarm| Attention { what: a.told(), remedy: alarm::remedy(&a.code).to_owned() };
        status.attention.extend(raised.iter().map(of));
        Ok(status)
    }
}

fn alarm_status(a: &Alarm) -> AlarmStatus {
    AlarmStatus {
        code: a.code.clone(),
        about: a.about.clone(),
        what: a.what.clone(),
        first_at: a.first.rfc3339(),
        last_at: a.last.rfc3339(),
        times: a.times,
    }
}

fn named(list: Vec<(String, i64)>) -> Vec<Named> {
    list.into_iter().map(|(name, count)| Named { name, count }).collect()
}

fn totals(tx: &ReadTx<'_>, now: Millis) -> Result<Totals> {
    let seen = sums::visible(tx)?;
    let (last, _) = sums::newest(tx)?;
    Ok(Totals {
        visitors: seen.visitors,
        visits: seen.visits,
        visits_open: seen.visits_open,
        events: seen.events,
        events_today: sums::received_since(tx, now.day(), last)?,
        counted: discreet(counts::total(tx, None, Millis(i64::MIN))?),
        counted_today: discreet(counts::total(tx, None, now.day())?),
        decisions: decisions::count(tx)?,
    })
}

fn lane_status(tx: &ReadTx<'_>, lane: Lane) -> Result<LaneStatus> {
    let (batches, lines) = batches::totals(tx, lane)?;
    let waiting = sums::unsealed(tx, lane, batches::sealed_upto(tx, lane)?)?;
    Ok(LaneStatus { lane: lane.word(), batches, lines, waiting })
}

/// Positions in the current epoch, and in earlier ones as long as something is left to do there.
fn targets(tx: &ReadTx<'_>, current: Option<i64>) -> Result<Vec<TargetStatus>> {
    let all = sums::positions(tx)?;
    let shown = all.into_iter().filter(|p| Some(p.epoch_id) == current || p.acked_no < p.sealed_no);
    Ok(shown
        .map(|p| TargetStatus {
            target: p.target,
            lane: p.lane.word(),
            sealed_no: p.sealed_no,
            put_no: p.put_no,
            acked_no: p.acked_no,
            failures: p.failures,
            next_at: (p.failures > 0).then(|| p.next_at.rfc3339()),
            last_error: p.last_error.filter(|_| p.failures > 0),
        })
        .collect())
}

/// What of a status is not well.
fn attention(status: &Status, now: Millis, all_bytes: u64) -> Vec<Attention> {
    let mut out = Vec::new();
    let mut add = |what: String, remedy: &str| out.push(Attention { what, remedy: remedy.to_owned() });
    for t in status.targets.iter().filter(|t| t.failures > 0) {
        let why = t.last_error.as_deref().unwrap_or("no reason is known");
        add(
            format!("target {}, lane {}: {} failures in a row: {why}", t.target, t.lane, t.failures),
            "mend the target; wayside goes on by itself, or at once with `wayside forward --once`",
        );
    }
    let disk = &status.disk;
    if disk.free_bytes < all_bytes / 20 {
        add(
            format!("only {} are free on the file system", bytes_text(disk.free_bytes)),
            "free space; without any the collector refuses events with 507 until there is some",
        );
    }
    if let Some(budget) = disk.budget_bytes.filter(|budget| disk.used_bytes > budget / 10 * 9) {
        add(
            format!("{} of the budget of {} are used", bytes_text(disk.used_bytes), bytes_text(budget)),
            "acknowledge batches, shorten retention or raise disk_budget",
        );
    }
    if let Some(newest) = status.clock.newest_at.as_deref().and_then(Millis::parse)
        && newest.since(now) > HOUR_MS
    {
        add(
            format!("the clock stands before the newest commit ({newest})"),
            "set the clock; until then nothing is removed by age",
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Status {
        Status {
            attention: Vec::new(),
            database: DatabaseStatus {
                file: String::new(),
                size_bytes: 0,
                wal_bytes: 0,
                schema: 1,
                edge: None,
                epoch: None,
                epochs: 1,
            },
            totals: Totals {
                visitors: 0,
                visits: 0,
                visits_open: 0,
                events: 0,
                events_today: 0,
                counted: Some(0),
                counted_today: Some(0),
                decisions: 0,
            },
            lanes: Vec::new(),
            targets: Vec::new(),
            alarms: Vec::new(),
            holes: Vec::new(),
            refused: Vec::new(),
            tallies: Vec::new(),
            disk: DiskStatus { used_bytes: 10, budget_bytes: Some(1_000), free_bytes: 500 },
            clock: ClockStatus { now_at: String::new(), newest_at: Some(Millis(0).rfc3339()) },
        }
    }

    #[test]
    fn a_healthy_edge_needs_no_attention() {
        assert_eq!(attention(&healthy(), Millis(5), 1_000), Vec::new());
    }

    #[test]
    fn each_trouble_is_told_with_a_remedy() {
        let mut status = healthy();
        status.disk = DiskStatus { used_bytes: 950, budget_bytes: Some(1_000), free_bytes: 10 };
        status.clock.newest_at = Some(Millis(3 * HOUR_MS).rfc3339());
        status.targets.push(TargetStatus {
            target: "outbox".to_owned(),
            lane: "pages",
            sealed_no: 3,
            put_no: 2,
            acked_no: 1,
            failures: 4,
            next_at: None,
            last_error: Some("no such folder".to_owned()),
        });
        let told = attention(&status, Millis(0), 1_000);
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(told.iter().all(|a| !a.what.is_empty() && !a.remedy.is_empty()));
        assert!(told[0].what.contains("no such folder"));
    }
}
