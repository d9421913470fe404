//! Signs how far the ledger went, and folds its oldest entries into an anchor once nothing of their contents is left.
//! Must never remove a content (`retention.rs`). Invariant: what goes has a signed anchor standing for it.

use crate::base::error::Result;
use crate::store::checkpoints;
use crate::upkeep::{Report, Round};

pub(in crate::upkeep) fn run(round: &Round<'_>) -> Result<Report> {
    let due = round.up.store().read(|tx| checkpoints::is_due(tx, round.up.store().now()))?;
    let rows = if due { u64::from(round.step(|tx, _| checkpoints::take(tx, false))?.is_some()) } else { 0 };
    Ok(Report { rows, note: String::new() })
}
