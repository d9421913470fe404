//! Folds old entries of the ledger away: an anchor is signed that stands for them, then they go in steps. Must never sign for
//! a ledger that does not verify, nor run before the clock guard says so.
//! Invariant: an entry goes only after the anchor is on the disk; so a fold that was cut off goes on from there.

use crate::base::error::{Error, Result};
use crate::base::time::{DAY_MS, Millis};
use crate::store::checkpoints::{self, Cut};
use crate::store::ledger::fold;
use crate::upkeep::guard::{Verdict, confirmed};
use crate::upkeep::retention::{self, Keep, Kind, Oldest};
use crate::upkeep::{Report, Round};

/// Entries that are worth an anchor at once; fewer wait until the last one is a day old.
const ENTRIES_AT_ONCE: i64 = 1_000;

const KIND: Kind =
    Kind { what: "ledger", keep: |o| Keep::Months(o.ledger_months), oldest: Oldest::Rows(fold::oldest), clear: anchor };

pub(in crate::upkeep) fn run(round: &Round<'_>) -> Result<Report> {
    let (verdict, given) = round.up.verdict()?;
    if verdict != Verdict::Go {
        return Ok(Report { rows: 0, note: verdict.why().to_owned() });
    }
    let now = round.up.store().now();
    let before = sweep(round)?; // what an anchor of before was cut off from
    let (gone, _) = retention::one(round, &KIND, now, confirmed(now, given))?;
    let rows = u64::try_from(before + gone).unwrap_or(0);
    if rows > 0 {
        round.give_back()?;
    }
    Ok(Report { rows, note: String::new() })
}

/// Signs an anchor for what is older than `cut`, and removes it. Returns the rows removed.
fn anchor(round: &Round<'_>, cut: Millis) -> Result<i64> {
    let store = round.up.store();
    let (due, last) = store.read(|tx| Ok((fold::upto(tx, cut)?, checkpoints::newest_anchor(tx)?)))?;
    let Some((upto, count)) = due else { return Ok(0) };
    let fresh = last.is_some_and(|last| store.now().since(last.at) < DAY_MS);
    if fresh && count < ENTRIES_AT_ONCE {
        return Ok(0);
    }
    if let Some(fault) = (round.up.hooks().ledger_fault)()? {
        return Err(Error::storage(format!("the ledger does not hold, so none of it is removed: {fault}"))
            .code("ledger_fault")
            .remedy("`wayside consent verify` tells all that is wrong; keep database, edge.json and checkpoints as they are"));
    }
    let left = store.read(|tx| fold::left(tx, upto))?;
    round.step(move |tx, _| checkpoints::anchor_at(tx, upto, Cut { left }))?;
    sweep(round)
}

/// Removes what an anchor stands for.
fn sweep(round: &Round<'_>) -> Result<i64> {
    let mut sum = 0;
    while round.go_on() && round.up.store().read(fold::any)? {
        sum += round.step(fold::delete)?;
    }
    if sum > 0 && round.go_on() {
        sum += round.step(checkpoints::delete_before_anchor)?;
    }
    Ok(sum)
}
