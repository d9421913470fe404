//! What was sealed here, for jobs that pull: positions are rows of `cursors` under the cursor's name, as a target's are.
//! Must never render from anything but one snapshot in which no consent line waits. Invariant: what was given out counts as put
//! only behind everything before it, and nothing is acknowledged that was not given out.

use std::sync::Arc;

use crate::base::error::{Error, Result};
use crate::base::id::{EdgeId, Epoch};
use crate::base::text::hex;
use crate::domain::batch::Batch;
use crate::domain::event::Lane;
use crate::forward::encode::{self, Order, Rendered};
use crate::forward::pull::source::{Fence, Given, Listed, Source, Want};
use crate::forward::pull::{Named, gone};
use crate::forward::run::{Due, next_in_lane};
use crate::forward::target::Key;
use crate::forward::{Forwarder, expire, seal};
use crate::store::attempts::Pulled;
use crate::store::cursors::Cursor;
use crate::store::epochs::EpochRow;
use crate::store::lines::{self, Stretch};
use crate::store::{ReadTx, WriteTx, attempts, batches, cursors, decisions, epochs};

/// Bits of a place that hold the batch's number; above them stands the row of its epoch.
const NUMBER_BITS: u32 = 36;
/// How often a batch is tried again because a decision came in between.
const TRIES: usize = 8;

/// What was sealed here.
pub struct Own {
    forwarder: Arc<Forwarder>,
}

/// What rendering came to.
enum Looked {
    /// Rows of the consent lane are not sealed yet.
    Unsealed,
    /// The cursor was not given a consent batch yet.
    ConsentFirst,
    Gone,
    Unknown,
    Removed(Box<Due>),
    Rendered(Box<Rendered>, Pulled),
}

impl Own {
    /// The batches of this forwarder's store.
    pub fn new(forwarder: Arc<Forwarder>) -> Self {
        Own { forwarder }
    }

    fn seal_consent(&self) -> Result<()> {
        let now = self.forwarder.clock.now();
        seal::step(&self.forwarder.store, Lane::Consent, &self.forwarder.rules, now, false).map(|_| ())
    }

    /// Waits until the pen has noted what was given out just now.
    fn settle(&self) -> Result<()> {
        self.forwarder.store.pen().call(|_| Ok(()))
    }

    fn look(&self, cursor: &Named, key: Key) -> Result<Looked> {
        let keys = &self.forwarder.store.identity().edge.keys;
        let order = Order { recipient: cursor.recipient, keys, began: self.forwarder.clock.now(), refused: &[] }; // a job that pulls refuses nothing;
        self.forwarder.store.read(|tx| {
            let Some(epoch) = epochs::all(tx)?.into_iter().find(|e| e.edge == key.edge && e.epoch == key.epoch) else {
                return Ok(Looked::Gone);
            };
            if key.lane != Lane::Consent {
                let waits = Stretch {
                    lane: Lane::Consent,
                    after: batches::sealed_upto(tx, Lane::Consent)?,
                    upto: lines::newest_seq(tx)?,
                };
                if lines::first_received(tx, waits)?.is_some() {
                    return Ok(Looked::Unsealed);
                }
                if next_in_lane(tx, &cursor.name, Lane::Consent)?.is_some() {
                    return Ok(Looked::ConsentFirst);
                }
            }
            let Some(batch) = batches::get(tx, epoch.id, key.lane, key.batch_no)? else { return Ok(Looked::Unknown) };
            match encode::render(tx, &batch, &order) {
                Ok(rendered) => {
                    let pulled = Pulled {
                        epoch_id: epoch.id,
                        lane: key.lane,
                        batch_no: key.batch_no,
                        ledger: decisions::newest(tx)?,
                        began: order.began,
                        holes: rendered.holes,
                    };
                    Ok(Looked::Rendered(Box::new(rendered), pulled))
                }
                Err(error) if error.code == "rows_removed" => {
                    let cursor = cursors::get(tx, &cursor.name, epoch.id, key.lane)?;
                    Ok(Looked::Removed(Box::new(Due { epoch, batch, cursor })))
                }
                Err(error) => Err(error),
            }
        })
    }

    /// Rows of it went before this cursor was there: told as a loss, and passed over where it is the next.
    fn pass_over(&self, cursor: &Named, due: Due) -> Result<()> {
        if due.batch.batch_no != due.cursor.put_no + 1 {
            return Ok(());
        }
        let (name, epoch_id, lane, no) = (cursor.name.clone(), due.epoch.id, due.batch.lane, due.batch.batch_no);
        let begun = move |tx: &WriteTx<'_>| attempts::begin(tx, &name, epoch_id, lane, no);
        let (attempt_id, _) = self.forwarder.store.pen().call(begun)?;
        expire::skip(&self.forwarder.store, &cursor.name, &due, attempt_id)
    }
}

impl Source for Own {
    fn prepare(&self, cursor: &Named) -> Result<()> {
        for lane in Lane::ALL {
            while let Some(due) = self.forwarder.store.read(|tx| next_in_lane(tx, &cursor.name, lane))?
                && due.batch.batch_no > due.cursor.put_no + 1
            {
                expire::pass_gap(&self.forwarder.store, &cursor.name, &due)?;
            }
        }
        self.seal_consent() // what a gap left to be told, too
    }

    fn list(&self, want: &Want<'_>) -> Result<Vec<Listed>> {
        let (name, lane) = (&want.cursor.name, want.lane);
        let (after_epoch, after_no) = (want.after >> NUMBER_BITS, want.after & ((1 << NUMBER_BITS) - 1));
        self.forwarder.store.read(|tx| {
            let mut out = Vec::new();
            for epoch in epochs::all(tx)?.into_iter().filter(|epoch| epoch.id >= after_epoch) {
                if want.edge.is_some_and(|edge| edge != epoch.edge) || out.len() >= want.limit {
                    continue;
                }
                let acked = cursors::get(tx, name, epoch.id, lane)?.acked_no;
                let from = if epoch.id == after_epoch { acked.max(after_no) } else { acked };
                let room = i64::try_from(want.limit - out.len()).unwrap_or(i64::MAX);
                for batch in batches::list(tx, epoch.id, lane, from, room)? {
                    out.push(listed(&epoch, &batch, &self.forwarder)?);
                }
            }
            Ok(out)
        })
    }

    fn consent_waits(&self, cursor: &Named, edge: Option<EdgeId>) -> Result<bool> {
        let look = || -> Result<bool> {
            let due = self.forwarder.store.read(|tx| next_in_lane(tx, &cursor.name, Lane::Consent))?;
            Ok(due.is_some_and(|due| edge.is_none_or(|edge| edge == due.epoch.edge)))
        };
        if !look()? {
            return Ok(false);
        }
        self.settle()?;
        look()
    }

    fn give(&self, cursor: &Named, key: Key) -> Result<Option<Given>> {
        for tried in 0..TRIES {
            match self.look(cursor, key)? {
                Looked::Unsealed => self.seal_consent()?,
                Looked::ConsentFirst if tried == 0 => self.settle()?,
                Looked::ConsentFirst => return Err(consent_first()),
                Looked::Gone => return Ok(None),
                Looked::Unknown => return Err(unknown(key, &self.forwarder)),
                Looked::Removed(due) => {
                    self.pass_over(cursor, *due)?;
                    return Err(removed(key));
                }
                Looked::Rendered(rendered, pulled) => {
                    let rendered = rendered.compress(self.forwarder.gzip_level);
                    let manifest =
                        serde_json::to_string(&rendered.manifest).expect("invariant: a manifest has string keys");
                    let (store, name) = (Arc::clone(&self.forwarder.store), cursor.name.clone());
                    let note = move || {
                        let noted = move |tx: &WriteTx<'_>| note(tx, &name, &pulled);
                        store.pen().submit(1, noted, |done: Result<()>| {
                            if let Err(error) = done {
                                log::error!("noting what a job was given: {error}");
                            }
                        })
                    };
                    return Ok(Some(Given::new(rendered.gz, manifest, Box::new(note))));
                }
            }
        }
        Err(consent_first())
    }

    fn ack(&self, cursor: &Named, fence: &Fence, upto: Key, digest: &str) -> Result<Option<i64>> {
        let (name, fence, digest) = (cursor.name.clone(), fence.clone(), digest.to_ascii_lowercase());
        self.forwarder.store.pen().call(move |tx| {
            fence.check(tx)?;
            let known = epochs::all(tx)?;
            let Some(epoch) = known.iter().find(|epoch| epoch.edge == upto.edge && epoch.epoch == upto.epoch) else {
                return Ok(None);
            };
            let before = cursors::get(tx, &name, epoch.id, upto.lane)?;
            match batches::get(tx, epoch.id, upto.lane, upto.batch_no)? {
                Some(batch) if hex(&batch.digest) != digest => return Err(fork(upto)),
                Some(_) => {}
                None if upto.batch_no <= before.acked_no => return Ok(Some(0)), // as old as the ledger, and delivered
                None if known.last().is_some_and(|last| last.id > epoch.id) => return Err(gone(upto.edge, upto.epoch)),
                None => return Err(not_taken(upto)),
            }
            if upto.batch_no > before.put_no.max(before.acked_no) {
                return Err(not_taken(upto));
            }
            let acked_no = before.acked_no.max(upto.batch_no);
            let cursor = Cursor { put_no: before.put_no.max(acked_no), acked_no, ..Cursor::default() };
            cursors::put(tx, &name, epoch.id, upto.lane, &cursor)?;
            Ok(Some(acked_no - before.acked_no))
        })
    }

    fn newest_epoch(&self, edge: EdgeId) -> Result<Option<Epoch>> {
        let all = self.forwarder.store.read(epochs::all)?;
        Ok(all.iter().rev().find(|epoch| epoch.edge == edge).map(|epoch| epoch.epoch))
    }
}

fn listed(epoch: &EpochRow, batch: &Batch, forwarder: &Forwarder) -> Result<Listed> {
    Ok(Listed {
        key: Key { edge: epoch.edge, epoch: epoch.epoch, lane: batch.lane, batch_no: batch.batch_no },
        place: (epoch.id << NUMBER_BITS) | batch.batch_no,
        sealed: encode::sealed_text(batch)?,
        signature: hex(&batch.signature),
        public_key: hex(&encode::public_key(batch, &forwarder.store.identity().edge.keys)?),
    })
}

/// The row of the attempt, and how far the cursor was given everything.
fn note(tx: &WriteTx<'_>, name: &str, pulled: &Pulled) -> Result<()> {
    attempts::note_pulled(tx, name, pulled)?;
    let before = cursors::get(tx, name, pulled.epoch_id, pulled.lane)?;
    let mut put_no = before.put_no.max(before.acked_no);
    while was_given(tx, name, pulled, put_no + 1)? {
        put_no += 1;
    }
    if put_no > before.put_no {
        cursors::put(tx, name, pulled.epoch_id, pulled.lane, &Cursor { put_no, ..before })?;
    }
    Ok(())
}

fn was_given(tx: &ReadTx<'_>, name: &str, of: &Pulled, batch_no: i64) -> Result<bool> {
    Ok(batch_no == of.batch_no || attempts::count(tx, name, of.epoch_id, of.lane, batch_no)? > 0)
}

fn consent_first() -> Error {
    Error::conflict("consent batches wait that this cursor was not given yet")
        .code("consent_first")
        .remedy("list anew and take the batches of the lane consent before the others")
}

fn unknown(key: Key, forwarder: &Forwarder) -> Error {
    let current = forwarder.store.identity().edge.epoch;
    if key.epoch != current {
        return gone(key.edge, key.epoch);
    }
    Error::not_found(format!("there is no batch {key}"))
        .code("unknown_batch")
        .remedy("take the keys that GET /v1/batches lists")
}

fn removed(key: Key) -> Error {
    Error::not_found(format!("rows of {key} were removed after every target of that time had it"))
        .code("rows_removed")
        .remedy("go on with the next batch: the cursor has passed over this one, and a loss line tells of it")
}

fn fork(upto: Key) -> Error {
    Error::conflict(format!("under {upto} lies a batch with another digest"))
        .code("fork")
        .remedy("what you have is not what was sealed here: keep both, and look for a second database under this edge and epoch")
}

fn not_taken(upto: Key) -> Error {
    Error::conflict(format!("batches up to {upto} were not all given out to this cursor"))
        .code("not_taken")
        .remedy("take them first: an acknowledgement covers every batch of the lane and epoch up to its number")
}
