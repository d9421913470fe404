//! Signs how far the ledger went, and removes sealed proofs whose time is over. Must never remove a content of the ledger
//! (`retention.rs`). Invariant: nothing is removed before the clock has stood the quiet minutes.

use crate::base::error::Result;
use crate::store::{checkpoints, proofs};
use crate::upkeep::{Report, Round};

pub(in crate::upkeep) fn run(round: &Round<'_>) -> Result<Report> {
    let due = round.up.store().read(|tx| checkpoints::is_due(tx, round.up.store().now()))?;
    let over = round.up.store().read(|tx| proofs::any_expired(tx, round.up.store().now()))?;
    if over && round.up.settled() {
        let now = round.up.store().now();
        round.step(move |tx, rows| proofs::delete_expired(tx, now, rows))?;
    }
    let rows = if due { u64::from(round.step(|tx, _| checkpoints::take(tx, false))?.is_some()) } else { 0 };
    Ok(Report { rows, note: String::new() })
}
