//! Writes into the ledger which choices are over. The work itself is handed in: decisions are another folder's.
//! Must never run while the clock may be wrong (`guard.rs`): what lapses by a wrong clock would have to be asked again.
//! Invariant: every choice that is over is found, in steps; nothing is removed.

use crate::base::error::Result;
use crate::upkeep::guard::Verdict;
use crate::upkeep::{Report, Round};

/// Seconds between two looks: rows are refused on time without it.
pub(in crate::upkeep) const EVERY_SECONDS: u32 = 3_600;
/// Rows that writing one lapse may change.
const ROWS_EACH: i64 = 10;

pub(in crate::upkeep) fn run(round: &Round<'_>) -> Result<Report> {
    let (verdict, _) = round.up.verdict()?;
    if verdict != Verdict::Go {
        return Ok(Report { rows: 0, note: verdict.why().to_owned() });
    }
    let (mut rows, mut more) = (0, true);
    while more && round.go_on() {
        let write = std::sync::Arc::clone(&round.up.hooks().write_lapses);
        let (written, left) = round.step(move |tx, rows| write(tx, (rows / ROWS_EACH).max(1)))?;
        rows += written;
        more = left;
    }
    Ok(Report { rows, note: String::new() })
}
