//! What is told upstream of upkeep's own doing: rows that were removed before they were delivered (`loss`), and steps of
//! the clock (`clock`). Must never remove anything. Invariant: a loss is on record in the transaction that caused it, and
//! told by one line per run, also across a restart.

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::base::time::Millis;
use crate::domain::body::{ClockBody, LaneLoss, RowLossBody};
use crate::domain::event::Lane;
use crate::domain::line::{HoleReason, LineKind};
use crate::store::{ReadTx, WriteTx, checkpoints, frozen, ledger, meta, tallies};
use crate::upkeep::guard::Step;
use crate::upkeep::removal::slot;

/// Why upkeep removes rows that were not delivered.
const REASONS: [HoleReason; 2] = [HoleReason::Retention, HoleReason::Quota];

/// Rows of one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rows {
    n: i64,
    seqs: (Seq, Seq),
    received: (Millis, Millis),
}

impl Rows {
    fn one(seq: Seq, received: Millis) -> Rows {
        Rows { n: 1, seqs: (seq, seq), received: (received, received) }
    }

    fn join(self, other: Rows) -> Rows {
        Rows {
            n: self.n + other.n,
            seqs: (self.seqs.0.min(other.seqs.0), self.seqs.1.max(other.seqs.1)),
            received: (self.received.0.min(other.received.0), self.received.1.max(other.received.1)),
        }
    }
}

fn joined(a: Option<Rows>, b: Option<Rows>) -> Option<Rows> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.join(b)),
        (a, b) => a.or(b),
    }
}

/// What one step lost, per lane.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::upkeep) struct Lost([Option<Rows>; 4]);

fn key(reason: HoleReason, lane: Lane, part: &str) -> String {
    format!("loss.{}.{}.{part}", reason.word(), lane.word())
}

impl Lost {
    /// One row more.
    pub(in crate::upkeep) fn add(&mut self, lane: Lane, seq: Seq, received: Millis) {
        let place = &mut self.0[slot(lane)];
        *place = joined(*place, Some(Rows::one(seq, received)));
    }

    /// Puts it on record until the run's line is made.
    pub(in crate::upkeep) fn keep(&self, tx: &WriteTx<'_>, reason: HoleReason) -> Result<()> {
        for lane in Lane::ALL {
            let Some(new) = self.0[slot(lane)] else { continue };
            tallies::add(tx, &format!("lost.{}.{}", reason.word(), lane.word()), new.n)?;
            let all = recorded(tx, reason, lane)?.map_or(new, |old| old.join(new));
            let parts = [
                ("rows", all.n),
                ("first", all.seqs.0.0),
                ("last", all.seqs.1.0),
                ("from", all.received.0.0),
                ("to", all.received.1.0),
            ];
            for (part, value) in parts {
                meta::set_fact(tx, &key(reason, lane, part), value)?;
            }
        }
        Ok(())
    }
}

fn recorded(tx: &ReadTx<'_>, reason: HoleReason, lane: Lane) -> Result<Option<Rows>> {
    let get = |part: &str| Ok(meta::fact(tx, &key(reason, lane, part))?.unwrap_or(0));
    let n = get("rows")?;
    if n == 0 {
        return Ok(None);
    }
    let seqs = (Seq(get("first")?), Seq(get("last")?));
    Ok(Some(Rows { n, seqs, received: (Millis(get("from")?), Millis(get("to")?)) }))
}

/// Is a loss on record that no line tells yet?
pub(in crate::upkeep) fn untold(tx: &ReadTx<'_>) -> Result<bool> {
    for reason in REASONS {
        for lane in Lane::ALL {
            if recorded(tx, reason, lane)?.is_some() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Makes one line per reason of the losses on record; returns how many lines.
pub(in crate::upkeep) fn tell(tx: &WriteTx<'_>) -> Result<usize> {
    let mut told = 0;
    for reason in REASONS {
        let mut all = None;
        let mut lanes = Vec::new();
        for lane in Lane::ALL {
            let Some(rows) = recorded(tx, reason, lane)? else { continue };
            meta::set_fact(tx, &key(reason, lane, "rows"), 0)?;
            all = joined(all, Some(rows));
            let (first_seq, last_seq) = (rows.seqs.0.0, rows.seqs.1.0);
            lanes.push(LaneLoss { lane: lane.word(), rows: rows.n, first_seq, last_seq });
        }
        let Some(all) = all else { continue };
        let (from, to) = (all.received.0.rfc3339(), all.received.1.rfc3339());
        let body = RowLossBody { reason: reason.word(), rows: all.n, from, to, lanes };
        frozen::note(tx, LineKind::Loss, &body)?;
        told += 1;
    }
    Ok(told)
}

/// Tells that the clock was set: upstream, and in the ledger, signed at once.
pub(in crate::upkeep) fn clock_step(tx: &WriteTx<'_>, step: Step) -> Result<()> {
    let body = ClockBody { from: step.from.rfc3339(), to: step.to.rfc3339(), step_ms: step.ms() };
    frozen::note(tx, LineKind::Clock, &body)?;
    ledger::clock(tx, step.from, step.to)?;
    checkpoints::take(tx, true).map(|_| ())
}
