//! Writes into the ledger which choices are over. The work itself is handed in: decisions are another folder's.
//! Must never run while the clock may be wrong (`guard.rs`): what lapses by a wrong clock would have to be asked again.
//! Invariant: the whole list of visitors is looked at, in steps; nothing is removed.

use crate::base::error::Result;
use crate::upkeep::guard::Verdict;
use crate::upkeep::{Report, Round};

/// Seconds between two looks at all visitors: rows are refused on time without it.
pub(in crate::upkeep) const EVERY_SECONDS: u32 = 3_600;
/// Rows that writing one lapse may change.
const ROWS_EACH: i64 = 10;

pub(in crate::upkeep) fn run(round: &Round<'_>) -> Result<Report> {
    let (verdict, _) = round.up.verdict()?;
    if verdict != Verdict::Go {
        return Ok(Report { rows: 0, note: verdict.why().to_owned() });
    }
    let (mut rows, mut after) = (0, Some(0));
    while let Some(from) = after.filter(|_| round.go_on()) {
        let write = std::sync::Arc::clone(&round.up.hooks().write_lapses);
        let (written, next) = round.step(move |tx, rows| write(tx, from, (rows / ROWS_EACH).max(1)))?;
        rows += written;
        after = next;
    }
    Ok(Report { rows, note: String::new() })
}
