//! One target's turn: the next batch by its cursor, attempt, render, put, note. One batch in flight per target.
//! Must never render before the attempt is committed. Invariant: a cursor moves only after its batch has landed.

use crate::base::error::{Error, Result};
use crate::base::id::random_below;
use crate::base::time::Millis;
use crate::domain::batch::Batch;
use crate::domain::event::Lane;
use crate::forward::encode::{self, Order, Rendered};
use crate::forward::retry::Verdict;
use crate::forward::target::{Key, Parcel, Put, Target};
use crate::forward::{Failed, Forwarder, Report, Sent, expire, seal};
use crate::store::cursors::Cursor;
use crate::store::epochs::EpochRow;
use crate::store::{ReadTx, attempts, batches, cursors, epochs};

/// Steps of the random fraction.
const JITTER_STEPS: u64 = 1 << 20;

/// The next batch of a lane that a target has not got.
#[derive(Clone, Debug)]
pub(in crate::forward) struct Due {
    pub(in crate::forward) epoch: EpochRow,
    pub(in crate::forward) batch: Batch,
    pub(in crate::forward) cursor: Cursor,
}

impl Due {
    pub(in crate::forward) fn key(&self) -> Key {
        let (edge, epoch) = (self.epoch.edge, self.epoch.epoch);
        Key { edge, epoch, lane: self.batch.lane, batch_no: self.batch.batch_no }
    }
}

/// Epochs follow each other: none is begun at a target before the one before it is done.
pub(in crate::forward) fn next_in_lane(tx: &ReadTx<'_>, target: &str, lane: Lane) -> Result<Option<Due>> {
    for epoch in epochs::all(tx)? {
        let cursor = cursors::get(tx, target, epoch.id, lane)?;
        // the next one there is: what every required target had may be gone before a new target began
        if let Some(batch) = batches::list(tx, epoch.id, lane, cursor.put_no, 1)?.pop() {
            return Ok(Some(Due { epoch, batch, cursor }));
        }
    }
    Ok(None)
}

/// The next batch to try: lanes in order, those left alone that failed lately (`now`) or in this round (`failed`).
/// While the consent lane has something to send, nothing goes before it.
fn next(tx: &ReadTx<'_>, target: &str, now: Option<Millis>, failed: &[Lane]) -> Result<Option<Due>> {
    for lane in Lane::ALL {
        let Some(due) = next_in_lane(tx, target, lane)? else { continue };
        let waits = now.is_some_and(|now| due.cursor.next_at > now) || failed.contains(&lane);
        if !waits {
            return Ok(Some(due));
        }
        if lane == Lane::Consent {
            return Ok(None);
        }
    }
    Ok(None)
}

/// How an attempt begins.
enum Begun {
    Go {
        attempt_id: i64,
        again: bool,
        at: Millis,
    },
    /// The consent lane has something that must go before.
    ConsentFirst,
}

impl Forwarder {
    /// Everything one target is due; then what it took, then what expires.
    pub(in crate::forward) fn serve(&self, target: &dyn Target, force: bool, report: &mut Report) -> Result<()> {
        let mut failed = Vec::new();
        let mut sent = false;
        while !self.bell.stopped() {
            let now = (!force).then(|| self.clock.now());
            let Some(due) = self.store.read(|tx| next(tx, target.name(), now, &failed))? else { break };
            if due.batch.batch_no > due.cursor.put_no + 1 {
                expire::pass_gap(&self.store, target.name(), &due)?;
                report.expired += 1;
                continue;
            }
            match self.begin(target, &due)? {
                Begun::ConsentFirst => {}
                Begun::Go { attempt_id, again, at } => {
                    let lane = due.batch.lane;
                    match self.attempt(target, &due, again, at) {
                        Ok((put, holes)) => {
                            self.landed(target, &due, attempt_id, put, holes)?;
                            sent = true;
                            let name = target.name().to_owned();
                            report.sent.push(Sent { target: name, key: due.key(), landed: put.landed, holes });
                        }
                        Err(error) if error.code == "rows_removed" => {
                            expire::skip(&self.store, target.name(), &due, attempt_id)?;
                            report.expired += 1;
                        }
                        Err(error) => {
                            let verdict = self.failed(target, &due, attempt_id, &error)?;
                            let name = target.name().to_owned();
                            let what = error.to_string();
                            report.failed.push(Failed { target: name, key: due.key(), code: error.code, what });
                            if verdict == Verdict::Stop {
                                break;
                            }
                            failed.push(lane);
                        }
                    }
                }
            }
        }
        report.acknowledged += self.follow(target)?;
        self.renew(target, report)?;
        if sent {
            report.expired += expire::by_room(&self.store, target)?;
        }
        Ok(())
    }

    /// Commits the attempt. Withdrawals that came meanwhile are sealed in the same transaction and go first.
    fn begin(&self, target: &dyn Target, due: &Due) -> Result<Begun> {
        let (name, rules) = (target.name().to_owned(), self.rules.clone());
        let (epoch_id, lane, batch_no) = (due.epoch.id, due.batch.lane, due.batch.batch_no);
        self.store.pen().call(move |tx| {
            if lane != Lane::Consent {
                seal::consent(tx, &rules)?;
                if next_in_lane(tx, &name, Lane::Consent)?.is_some() {
                    return Ok(Begun::ConsentFirst);
                }
            }
            let again = attempts::count(tx, &name, epoch_id, lane, batch_no)? > 0;
            let (attempt_id, _) = attempts::begin(tx, &name, epoch_id, lane, batch_no)?;
            Ok(Begun::Go { attempt_id, again, at: tx.now() })
        })
    }

    /// Renders from a snapshot taken now, after the attempt's commit, and puts.
    fn attempt(&self, target: &dyn Target, due: &Due, again: bool, at: Millis) -> Result<(Put, i64)> {
        let keys = &self.store.identity().edge.keys;
        let order = Order { recipient: target.recipient(), keys, began: at };
        let _turn = self.turn();
        let rendered: Rendered = self.store.read(|tx| encode::render(tx, &due.batch, &order))?;
        let rendered = rendered.compress(self.gzip_level);
        let put = target.put(&Parcel { key: due.key(), rendered: &rendered, again })?;
        Ok((put, rendered.holes))
    }

    fn landed(&self, target: &dyn Target, due: &Due, attempt_id: i64, put: Put, holes: i64) -> Result<()> {
        let name = target.name().to_owned();
        let (epoch_id, lane, batch_no) = (due.epoch.id, due.batch.lane, due.batch.batch_no);
        self.store.pen().call(move |tx| {
            let before = cursors::get(tx, &name, epoch_id, lane)?;
            let contiguous = put.acknowledged && before.acked_no == batch_no - 1;
            let acked_no = if contiguous { batch_no } else { before.acked_no };
            let cursor = Cursor { put_no: batch_no, acked_no, ..Cursor::default() };
            cursors::put(tx, &name, epoch_id, lane, &cursor)?;
            attempts::end(tx, attempt_id, put.landed.word(), holes)
        })
    }

    fn failed(&self, target: &dyn Target, due: &Due, attempt_id: i64, error: &Error) -> Result<Verdict> {
        let name = target.name().to_owned();
        let (epoch_id, lane) = (due.epoch.id, due.batch.lane);
        let verdict = Verdict::on(error);
        #[allow(clippy::cast_precision_loss)] // 20 bits
        let fraction = random_below(JITTER_STEPS) as f64 / JITTER_STEPS as f64;
        let (code, text) = (error.code, format!("{}: {error}", error.code));
        self.store.pen().call(move |tx| {
            let before = cursors::get(tx, &name, epoch_id, lane)?;
            let failures = before.failures + 1;
            let next_at = tx.now().plus(verdict.wait_ms(failures, fraction));
            let cursor = Cursor { failures, next_at, last_error: Some(text.clone()), ..before };
            cursors::put(tx, &name, epoch_id, lane, &cursor)?;
            attempts::end(tx, attempt_id, code, 0)?;
            Ok(verdict)
        })
    }

    /// Notes what a target has acknowledged since; returns how many batches.
    fn follow(&self, target: &dyn Target) -> Result<i64> {
        let name = target.name();
        let open = self.store.read(|tx| {
            let mut open = Vec::new();
            for epoch in epochs::all(tx)? {
                for lane in Lane::ALL {
                    let cursor = cursors::get(tx, name, epoch.id, lane)?;
                    if cursor.acked_no < cursor.put_no {
                        open.push((epoch.clone(), lane, cursor));
                    }
                }
            }
            Ok(open)
        })?;
        let mut news = Vec::new();
        for (epoch, lane, cursor) in open {
            let key = Key { edge: epoch.edge, epoch: epoch.epoch, lane, batch_no: cursor.put_no };
            let acked = target.watermark(key, cursor.acked_no, cursor.put_no)?.min(cursor.put_no);
            if acked > cursor.acked_no {
                news.push((epoch.id, key, cursor.acked_no, acked));
            }
        }
        if news.is_empty() {
            return Ok(0);
        }
        let noted = news.clone();
        let name = name.to_owned();
        self.store.pen().call(move |tx| {
            for (epoch_id, key, _, acked_no) in &noted {
                let before = cursors::get(tx, &name, *epoch_id, key.lane)?;
                cursors::put(tx, &name, *epoch_id, key.lane, &Cursor { acked_no: *acked_no, ..before })?;
            }
            Ok(())
        })?;
        let mut total = 0;
        for (_, key, before, acked) in news {
            total += acked - before;
            for batch_no in before + 1..=acked {
                target.discard(key.at(batch_no))?; // what a job left behind of a batch it took
            }
        }
        Ok(total)
    }
}
