//! Keeps the companion copy of the keys up to date. Must never keep a second version of it, nor write where nothing changed.
//! Invariant: what fails here (a disk that is not there) stops nothing else; it is told by status, and tried again.

use crate::base::error::Result;
use crate::store::keys::copy_to;
use crate::upkeep::{Report, Round};

pub(in crate::upkeep) fn run(round: &Round<'_>) -> Result<Report> {
    let store = round.up.store();
    let Some(copy) = &store.options().keys.copy else { return Ok(Report::default()) };
    let copied = copy_to(store.data_dir(), copy)?;
    let keys = copied.map_or(0, |copied| copied.keys);
    Ok(Report { rows: 0, note: format!("{keys} keys in the copy") })
}
