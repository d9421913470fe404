//! Goes on with erasures that are not done: a crash, a reader of an old snapshot, a copy that could not be looked into.
//! Must never know how one is done: `daemon` hands that over. Invariant: none is forgotten across a restart.

use crate::base::error::Result;
use crate::upkeep::{Report, Round};

pub(in crate::upkeep) fn run(round: &Round<'_>) -> Result<Report> {
    let (rows, note) = (round.up.hooks().erase)()?;
    Ok(Report { rows, note })
}
