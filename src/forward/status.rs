//! How forwarding stands, what batches there are, and the acknowledgement of what a job has taken.
//! Must never send. Invariant: an acknowledgement is contiguous and never passes what was put.

use crate::base::error::{Error, Result};
use crate::base::id::{Epoch, Seq};
use crate::base::time::Millis;
use crate::domain::batch::Batch;
use crate::domain::event::Lane;
use crate::forward::Forwarder;
use crate::forward::run::next_in_lane;
use crate::forward::target::Key;
use crate::store::cursors::Cursor;
use crate::store::{ReadTx, Store, attempts, batches, cursors, epochs, lines};

/// How one lane stands at one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    /// The target.
    pub target: String,
    /// The lane.
    pub lane: Lane,
    /// The current epoch; the numbers below are of it.
    pub epoch: Epoch,
    /// Newest batch sealed.
    pub sealed_no: i64,
    /// Newest batch put.
    pub put_no: i64,
    /// Newest batch acknowledged.
    pub acked_no: i64,
    /// Rows that wait to be sealed.
    pub waiting_rows: i64,
    /// Rows not put yet, those included, all epochs.
    pub backlog_rows: i64,
    /// Earliest receiving time of a row not put yet.
    pub oldest_unsent: Option<Millis>,
    /// Failures in a row.
    pub failures: i64,
    /// Not tried before.
    pub next_at: Millis,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// How every lane stands at every one of `targets`. Errors: `Busy`, `Storage`.
pub fn status(tx: &ReadTx<'_>, targets: &[String]) -> Result<Vec<LaneStatus>> {
    let Some(current) = epochs::all(tx)?.pop() else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    for lane in Lane::ALL {
        let after = batches::sealed_upto(tx, lane)?;
        let (waiting_rows, waiting_at) = lines::backlog(tx, lane, after)?;
        let sealed_no = batches::newest(tx, current.id, lane)?.map_or(0, |batch| batch.batch_no);
        for target in targets {
            let cursor = cursors::get(tx, target, current.id, lane)?;
            let due = next_in_lane(tx, target, lane)?;
            let (rows, sealed_at) = match &due {
                Some(due) => batches::behind(tx, due.epoch.id, lane, due.batch.batch_no - 1)?,
                None => (0, None),
            };
            // what failed last may lie in an earlier epoch
            let Cursor { failures, next_at, last_error, .. } = due.map_or_else(|| cursor.clone(), |due| due.cursor);
            out.push(LaneStatus {
                target: target.clone(),
                lane,
                epoch: current.epoch,
                sealed_no,
                put_no: cursor.put_no,
                acked_no: cursor.acked_no,
                waiting_rows,
                backlog_rows: rows + waiting_rows,
                oldest_unsent: sealed_at.into_iter().chain(waiting_at).min(),
                failures,
                next_at,
                last_error,
            });
        }
    }
    Ok(out)
}

/// A stored batch and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchView {
    /// Its name.
    pub key: Key,
    /// The batch.
    pub batch: Batch,
    /// Per target: has been put, is acknowledged.
    pub reached: Vec<(String, bool, bool)>,
}

/// An attempt to send a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptView {
    /// The target.
    pub target: String,
    /// The newest decision it was checked against.
    pub ledger_seq: Seq,
    /// When it began.
    pub began: Millis,
    /// How it ended; `None` where it was cut off.
    pub outcome: Option<String>,
}

/// Which batches [`list`] shows.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// Only of this lane.
    pub lane: Option<Lane>,
    /// Only of this epoch; all where none is named.
    pub epoch: Option<Epoch>,
    /// Behind this number.
    pub after_no: i64,
    /// At most so many per lane and epoch.
    pub limit: i64,
}

/// Stored batches by epoch, lane and number. Errors: `Busy`, `Storage`.
pub fn list(tx: &ReadTx<'_>, targets: &[String], filter: Filter) -> Result<Vec<BatchView>> {
    let mut out = Vec::new();
    for epoch in epochs::all(tx)?.into_iter().filter(|e| filter.epoch.is_none_or(|wanted| wanted == e.epoch)) {
        for lane in Lane::ALL.into_iter().filter(|lane| filter.lane.is_none_or(|wanted| wanted == *lane)) {
            let mut reached = Vec::new();
            for target in targets {
                reached.push((target, cursors::get(tx, target, epoch.id, lane)?));
            }
            for batch in batches::list(tx, epoch.id, lane, filter.after_no, filter.limit)? {
                let no = batch.batch_no;
                let of = |(target, c): &(&String, Cursor)| ((*target).clone(), c.put_no >= no, c.acked_no >= no);
                let key = Key { edge: epoch.edge, epoch: epoch.epoch, lane, batch_no: no };
                out.push(BatchView { key, reached: reached.iter().map(of).collect(), batch });
            }
        }
    }
    Ok(out)
}

/// One batch and the attempts to send it; without `epoch` the newest that has this number.
/// Errors: `NotFound`, `Busy`, `Storage`.
pub fn show(
    tx: &ReadTx<'_>,
    targets: &[String],
    lane: Lane,
    batch_no: i64,
    epoch: Option<Epoch>,
) -> Result<(BatchView, Vec<AttemptView>)> {
    let filter = Filter { lane: Some(lane), epoch, after_no: batch_no - 1, limit: 1 };
    let mut found = list(tx, targets, filter)?;
    found.retain(|view| view.batch.batch_no == batch_no);
    let view = found.pop().ok_or_else(|| no_batch(lane, batch_no))?;
    let tries = attempts::of_batch(tx, view.batch.epoch_id, lane, batch_no)?;
    let of = |(target, ledger_seq, began, outcome)| AttemptView { target, ledger_seq, began, outcome };
    Ok((view, tries.into_iter().map(of).collect()))
}

fn no_batch(lane: Lane, batch_no: i64) -> Error {
    Error::not_found(format!("there is no batch {batch_no} in the lane {}", lane.word()))
        .remedy("`wayside batches list` shows those there are")
}

/// A job has everything of a lane up to batch `upto` of the newest epoch put to `target`: that and all before it is
/// acknowledged. Returns how many batches newly are. Errors: `Conflict` with code `not_put` beyond what was put, `Busy`,
/// `Storage`.
pub fn ack(store: &Store, target: &str, lane: Lane, upto: i64) -> Result<i64> {
    let target = target.to_owned();
    store.pen().call(move |tx| {
        let mut put = Vec::new();
        for epoch in epochs::all(tx)? {
            let cursor = cursors::get(tx, &target, epoch.id, lane)?;
            if cursor.put_no > 0 {
                put.push((epoch.id, cursor));
            }
        }
        let newest = put.last().map_or(0, |(_, cursor)| cursor.put_no);
        if upto > newest || upto < 1 {
            return Err(Error::conflict(format!("batch {upto} of the lane {} was not put to {target}", lane.word()))
                .code("not_put")
                .remedy(format!("acknowledge at most batch {newest}")));
        }
        let (mut news, last) = (0, put.len() - 1);
        for (i, (epoch_id, cursor)) in put.into_iter().enumerate() {
            let acked_no = if i == last { upto } else { cursor.put_no };
            if acked_no > cursor.acked_no {
                news += acked_no - cursor.acked_no;
                cursors::put(tx, &target, epoch_id, lane, &Cursor { acked_no, ..cursor })?;
            }
        }
        Ok(news)
    })
}

impl Forwarder {
    /// As [`ack`], for a configured target. Errors: `NotFound` for another one; those of [`ack`].
    pub fn ack(&self, target: &str, lane: Lane, upto: i64) -> Result<i64> {
        let names = self.target_names();
        if !names.iter().any(|name| name == target) {
            return Err(Error::not_found(format!("there is no target {target:?}"))
                .code("unknown_target")
                .remedy(format!("use one of: {}", names.join(", "))));
        }
        ack(&self.store, target, lane, upto)
    }

    /// How every lane stands at every target. Errors: `Busy`, `Storage`.
    pub fn status(&self) -> Result<Vec<LaneStatus>> {
        self.store.read(|tx| status(tx, &self.target_names()))
    }

    /// Stored batches. Errors: `Busy`, `Storage`.
    pub fn list(&self, filter: Filter) -> Result<Vec<BatchView>> {
        self.store.read(|tx| list(tx, &self.target_names(), filter))
    }

    /// One batch of a lane: the newest epoch's, with the attempts to send it. Errors: `NotFound`, `Busy`, `Storage`.
    pub fn show(&self, lane: Lane, batch_no: i64) -> Result<(BatchView, Vec<AttemptView>)> {
        self.store.read(|tx| show(tx, &self.target_names(), lane, batch_no, None))
    }
}
