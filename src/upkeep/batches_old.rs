//! Removes what delivered batches leave behind when they are as old as the ledger: boundaries, signed bytes, holes. Then
//! positions of targets nobody configures any more. Must never remove a batch that a required target has not acknowledged,
//! nor the newest of a lane and epoch: the next one's chain begins at it.
//! Invariant: batches go from the beginning of their lane, each after its holes.

use crate::base::error::Result;
use crate::base::time::Millis;
use crate::domain::event::Lane;
use crate::store::batches::AgedBatch;
use crate::store::{ReadTx, attempts, batches, cursors, epochs, holes, limits, refused};
use crate::upkeep::removal::Gone;
use crate::upkeep::retention::repeat;
use crate::upkeep::{Plan, Round};

/// Batches looked at of each lane and epoch at once.
const LOOK_BATCHES: i64 = 200;

/// The oldest batches of each lane and epoch that every required target has (every one, where none is required).
fn delivered(tx: &ReadTx<'_>, plan: &Plan) -> Result<Vec<(i64, Lane, Vec<AgedBatch>)>> {
    let awaited = if plan.required.is_empty() { &plan.targets } else { &plan.required };
    let mut out = Vec::new();
    for epoch in epochs::all(tx)? {
        for lane in Lane::ALL {
            let upto = cursors::acked_by_all(tx, awaited, epoch.id, lane)?;
            let page = batches::oldest(tx, epoch.id, lane, upto, LOOK_BATCHES)?;
            if !page.is_empty() {
                out.push((epoch.id, lane, page));
            }
        }
    }
    Ok(out)
}

/// When the oldest batch that may go was sealed.
pub(in crate::upkeep) fn oldest(round: &Round<'_>) -> Result<Option<Millis>> {
    let all = round.up.store().read(|tx| delivered(tx, round.up.plan()))?;
    Ok(all.iter().flat_map(|(.., page)| page).map(|batch| batch.sealed_at).min())
}

pub(in crate::upkeep) fn clear(round: &Round<'_>, cut: Millis) -> Result<i64> {
    repeat(round, || {
        let all = round.up.store().read(|tx| delivered(tx, round.up.plan()))?;
        let due = all.into_iter().find_map(|(epoch_id, lane, page)| {
            // up to the last old one: a batch sealed under a clock that was ahead must leave no gap, nor hold the others back
            let old = page.iter().rposition(|batch| batch.sealed_at < cut)?;
            Some((epoch_id, lane, page[..=old].to_vec()))
        });
        let Some((epoch_id, lane, old)) = due else { return Ok(Gone::default()) };
        round.step(move |tx, rows| {
            let mut gone = Gone::default();
            for batch in &old {
                let room = rows - gone.others;
                if room < 2 {
                    break;
                }
                let n = holes::delete_between(tx, lane, batch.seqs, room - 1)?;
                gone.others += i64::try_from(n).unwrap_or(i64::MAX);
                let room = rows - gone.others;
                let n = refused::delete_between(tx, lane, batch.seqs, (room - 1).max(0))?;
                gone.others += i64::try_from(n).unwrap_or(i64::MAX);
                if gone.others < rows - 1 {
                    batches::delete(tx, epoch_id, lane, batch.batch_no)?;
                    gone.others += 1;
                }
            }
            Ok(gone)
        })
    })
}

/// Forgets targets that are configured no longer, once no attempt at them is remembered either: until then one that comes
/// back goes on where it was. Returns how many positions went.
pub(in crate::upkeep) fn strangers(round: &Round<'_>) -> Result<i64> {
    let known = &round.up.plan().targets;
    let gone = round.up.store().read(|tx| {
        let mut gone = Vec::new();
        for target in cursors::targets(tx)?.into_iter().filter(|target| !known.contains(target)) {
            if !attempts::any_of(tx, &target)? {
                gone.push(target);
            }
        }
        Ok(gone)
    })?;
    let mut sum = 0;
    for target in gone {
        sum += round.step(move |tx, rows| {
            limits::forget(tx, &target)?;
            let refused = refused::forget(tx, &target, rows)?;
            // its positions last, so that it is found again until nothing of it is left
            if i64::try_from(refused).is_ok_and(|n| n < rows) {
                Ok(refused + cursors::forget(tx, &target)?)
            } else {
                Ok(refused)
            }
        })?;
    }
    Ok(i64::try_from(sum).unwrap_or(i64::MAX))
}
