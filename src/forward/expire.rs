//! Files that nobody took: a `dir` target's own batches go when they no longer fit or are too old (contract 5).
//! Must never touch what was taken. Invariant: what goes unacknowledged is told by a `loss` line committed before.

use std::collections::{BTreeMap, HashMap};

use crate::base::error::Result;
use crate::base::id::{EdgeId, Epoch};
use crate::base::time::{DAY_MS, Millis};
use crate::domain::body::LossBody;
use crate::domain::event::Lane;
use crate::domain::line::{HoleReason, LineKind};
use crate::forward::Forwarder;
use crate::forward::run::Due;
use crate::forward::target::{Held, Target};
use crate::store::cursors::Cursor;
use crate::store::epochs::EpochRow;
use crate::store::{Store, attempts, batches, cursors, epochs, frozen};

type Stretch = (EdgeId, Epoch, i64);

impl Forwarder {
    /// Removes files older than their target's `keep_days`; returns how many batches went unacknowledged.
    /// It follows the clock, so whoever calls it asks the clock guard first (contract 3). Errors: `Storage`.
    pub fn expire_by_age(&self, now: Millis) -> Result<i64> {
        let mut lost = 0;
        for target in &self.targets {
            let Some(keep) = target.keep() else { continue };
            let before = now.plus(-i64::from(keep.days) * DAY_MS);
            let held = target.held()?;
            let old: Vec<Held> = held.iter().filter(|held| held.put_at < before).copied().collect();
            let victims = from_the_beginning(&held, &old);
            lost += remove(&self.store, target.as_ref(), &victims, HoleReason::Retention)?;
        }
        Ok(lost)
    }
}

/// Removes files beyond the target's `keep_bytes`: acknowledged ones first, the consent lane last, each oldest first.
/// Returns how many batches went unacknowledged. Errors: `Storage`.
pub(in crate::forward) fn by_room(store: &Store, target: &dyn Target) -> Result<i64> {
    let Some(keep) = target.keep() else { return Ok(0) };
    let mut held = target.held()?;
    let mut bytes: u64 = held.iter().map(|held| held.bytes).sum();
    if bytes <= keep.bytes {
        return Ok(0);
    }
    let positions = positions(store, target.name())?;
    let acked = |held: &Held| positions.acked(held) >= held.key.batch_no;
    held.sort_by_key(|held| (!acked(held), held.key.lane == Lane::Consent, held.put_at, held.key.batch_no));
    let mut victims: Vec<Held> = Vec::new();
    for one in &held {
        if bytes <= keep.bytes {
            break;
        }
        bytes -= one.bytes.min(bytes);
        victims.push(*one);
    }
    let victims = from_the_beginning(&held, &victims);
    remove(store, target, &victims, HoleReason::Quota)
}

/// The victims and all that lies before them in their lanes: behind a gap nothing could ever be acknowledged.
fn from_the_beginning(held: &[Held], victims: &[Held]) -> Vec<Held> {
    let mut last: HashMap<Stretch, i64> = HashMap::new();
    for one in victims {
        let no = last.entry(stretch(one)).or_insert(0);
        *no = (*no).max(one.key.batch_no);
    }
    held.iter().filter(|one| last.get(&stretch(one)).is_some_and(|no| one.key.batch_no <= *no)).copied().collect()
}

fn stretch(held: &Held) -> Stretch {
    (held.key.edge, held.key.epoch, held.key.lane.code())
}

/// What a target has acknowledged, by epoch and lane.
struct Positions(Vec<(EpochRow, Lane, Cursor)>);

impl Positions {
    fn of(&self, held: &Held) -> Option<&(EpochRow, Lane, Cursor)> {
        self.0.iter().find(|(epoch, lane, _)| {
            epoch.epoch == held.key.epoch && epoch.edge == held.key.edge && *lane == held.key.lane
        })
    }

    fn acked(&self, held: &Held) -> i64 {
        self.of(held).map_or(0, |(.., cursor)| cursor.acked_no)
    }
}

fn positions(store: &Store, target: &str) -> Result<Positions> {
    store.read(|tx| {
        let mut out = Vec::new();
        for epoch in epochs::all(tx)? {
            for lane in Lane::ALL {
                out.push((epoch.clone(), lane, cursors::get(tx, target, epoch.id, lane)?));
            }
        }
        Ok(Positions(out))
    })
}

/// Batches of one lane that go unacknowledged.
#[derive(Clone, Copy)]
struct Loss {
    first_no: i64,
    last_no: i64,
}

fn remove(store: &Store, target: &dyn Target, victims: &[Held], reason: HoleReason) -> Result<i64> {
    if victims.is_empty() {
        return Ok(0);
    }
    let positions = positions(store, target.name())?;
    let (mut losses, mut lost) = (BTreeMap::new(), 0);
    for held in victims.iter().filter(|held| positions.acked(held) < held.key.batch_no) {
        let no = held.key.batch_no;
        let loss = losses.entry(stretch_text(held)).or_insert((*held, Loss { first_no: no, last_no: no }));
        loss.1 = Loss { first_no: loss.1.first_no.min(no), last_no: loss.1.last_no.max(no) };
        lost += 1;
    }
    if lost > 0 {
        let told = losses.into_values().map(|(held, loss)| {
            let epoch_id = positions.of(&held).map(|(epoch, ..)| epoch.id);
            (held, loss, epoch_id)
        });
        tell(store, target.name(), told.collect(), reason)?;
    }
    for held in victims {
        target.discard(held.key)?;
    }
    Ok(lost)
}

fn stretch_text(held: &Held) -> String {
    held.key.at(0).to_string()
}

/// Writes the loss lines, and moves the cursor past what can never be acknowledged now.
fn tell(store: &Store, target: &str, losses: Vec<(Held, Loss, Option<i64>)>, reason: HoleReason) -> Result<()> {
    let target = target.to_owned();
    store.pen().call(move |tx| {
        for (held, loss, epoch_id) in &losses {
            let lane = held.key.lane;
            let mut count = None;
            if let Some(epoch_id) = *epoch_id {
                count = Some(batches::sum(tx, epoch_id, lane, loss.first_no - 1, loss.last_no)?.0);
                let before = cursors::get(tx, &target, epoch_id, lane)?;
                let acked_no = loss.last_no.min(before.put_no).max(before.acked_no);
                cursors::put(tx, &target, epoch_id, lane, &Cursor { acked_no, ..before })?;
            }
            let numbers = (loss.first_no, loss.last_no);
            let origin = (held.key.edge, held.key.epoch);
            let body = LossBody::of_batches(&target, reason.word(), origin, lane, numbers, count);
            frozen::note(tx, LineKind::Loss, &body)?;
        }
        Ok(())
    })
}

/// Passes over a batch whose rows were removed before this target was there, or while it was not required: told as a loss.
pub(in crate::forward) fn skip(store: &Store, target: &str, due: &Due, attempt_id: i64) -> Result<()> {
    let (target, due) = (target.to_owned(), due.clone());
    store.pen().call(move |tx| {
        let (epoch_id, key) = (due.epoch.id, due.key());
        let before = cursors::get(tx, &target, epoch_id, key.lane)?;
        let acked_no = if before.acked_no == key.batch_no - 1 { key.batch_no } else { before.acked_no };
        let passed = Cursor { put_no: key.batch_no, acked_no, ..Cursor::default() };
        cursors::put(tx, &target, epoch_id, key.lane, &passed)?;
        attempts::end(tx, attempt_id, "rows_removed", 0)?;
        let numbers = (key.batch_no, key.batch_no);
        let reason = HoleReason::Retention.word();
        let origin = (key.edge, key.epoch);
        let body = LossBody::of_batches(&target, reason, origin, key.lane, numbers, Some(due.batch.count));
        frozen::note(tx, LineKind::Loss, &body).map(|_| ())
    })
}

/// Passes over batches that were removed, years after every required target had them, before this one got them: told as
/// a loss.
pub(in crate::forward) fn pass_gap(store: &Store, target: &str, due: &Due) -> Result<()> {
    let (target, due) = (target.to_owned(), due.clone());
    store.pen().call(move |tx| {
        let (epoch_id, key) = (due.epoch.id, due.key());
        let before = cursors::get(tx, &target, epoch_id, key.lane)?;
        let last_no = key.batch_no - 1;
        let passed = Cursor { put_no: last_no, acked_no: last_no, ..Cursor::default() };
        cursors::put(tx, &target, epoch_id, key.lane, &passed)?;
        let (reason, origin) = (HoleReason::Retention.word(), (key.edge, key.epoch));
        let body = LossBody::of_batches(&target, reason, origin, key.lane, (before.put_no + 1, last_no), None);
        frozen::note(tx, LineKind::Loss, &body).map(|_| ())
    })
}
