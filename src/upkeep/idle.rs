//! Visits end on their own: when they are due, and when their epoch is over. Must never end one that events still reach.
//! Owns only the decision to look; when a visit is due is a rule of `domain/visit.rs`.
//! Invariant: what has ended is snapshotted once, and again after every later change.

use crate::base::error::Result;
use crate::base::time::SECOND_MS;
use crate::domain::visit::{EndReason, Visit};
use crate::store::{WriteTx, visits};
use crate::upkeep::{Report, Round, Upkeep, snapshot};

/// A visit is left alone until nothing of it has come for this long: late events often come together.
const QUIET_MS: i64 = 60 * SECOND_MS;

/// What was done about visits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Visits that ended.
    pub ended: u64,
    /// Snapshots made.
    pub snapshots: u64,
}

pub(in crate::upkeep) fn run(round: &Round<'_>) -> Result<Report> {
    let done = end(round, QUIET_MS)?;
    Ok(Report { rows: done.ended + done.snapshots, note: String::new() })
}

impl Upkeep {
    /// Ends every visit that is due now and makes its snapshot, without waiting for late events: after an import.
    /// Errors: `Busy`, `Storage`.
    pub fn end_all_due_now(&self) -> Result<Ended> {
        end(&Round::whole(self), 0)
    }
}

fn end(round: &Round<'_>, quiet_ms: i64) -> Result<Ended> {
    let mut done = Ended::default();
    while round.go_on() {
        let (ended, looked_at) = round.step(end_step(round, quiet_ms))?;
        done.ended += ended;
        if looked_at == 0 {
            break;
        }
    }
    while round.go_on() {
        let n = round.step(move |tx, rows| snapshot::make(tx, tx.now(), quiet_ms, rows))?;
        done.snapshots += n;
        if n == 0 {
            break;
        }
    }
    Ok(done)
}

/// How many visits ended, and how many were looked at: rows may say too early a time.
type Looked = (u64, u64);

fn end_step(round: &Round<'_>, quiet_ms: i64) -> impl FnMut(&WriteTx<'_>, i64) -> Result<Looked> + Send + 'static {
    let rules = round.up.plan().visits.clone();
    move |tx, rows| {
        let earlier = visits::end_earlier_epochs(tx, tx.identity().epoch_id, rows)?;
        if earlier > 0 {
            return Ok((earlier as u64, earlier as u64));
        }
        let found = visits::due(tx, tx.now(), quiet_ms, rows)?;
        let mut ended = 0;
        for visit in &found {
            let due = visit.due(&rules);
            if due > tx.now() {
                visits::put_off(tx, visit.id, due)?;
                continue;
            }
            visits::end(tx, visit.id, due, reason(visit))?;
            ended += 1;
        }
        Ok((ended, found.len() as u64))
    }
}

/// A visit that the client named ends by its age alone.
fn reason(visit: &Visit) -> EndReason {
    if visit.client_visit.is_some() { EndReason::Expired } else { EndReason::Idle }
}
