//! After the release of a restriction: what a floor took back meanwhile goes, events are numbered anew and visits told
//! again, so that all that is still permitted leaves once more. Must never touch a visitor whose restriction lasts.
//! Invariant: in steps; a visitor is done only when every event has its number.

use std::sync::Arc;

use crate::base::error::Result;
use crate::domain::consent::Purposes;
use crate::store::restrictions::{self, Restriction};
use crate::store::{WriteTx, again, floors, visitors, visits};
use crate::upkeep::withdrawn::{self, Part};
use crate::upkeep::{Plan, Report, Round};

/// Visitors looked at in one go.
const VISITORS: i64 = 100;

pub(in crate::upkeep) fn run(round: &Round<'_>) -> Result<Report> {
    let mut rows = 0;
    loop {
        let due = round.up.store().read(|tx| restrictions::to_resend(tx, VISITORS))?;
        if due.is_empty() {
            break;
        }
        for released in due {
            let mut done = false;
            while !done {
                if !round.go_on() {
                    return Ok(report(rows));
                }
                let plan = Arc::clone(round.up.plan());
                let part = round.step(move |tx, limit| step(tx, &plan, released, limit))?;
                rows += part.rows;
                done = part.done;
            }
        }
    }
    Ok(report(rows))
}

fn report(rows: i64) -> Report {
    Report { rows: u64::try_from(rows).unwrap_or(0), note: String::new() }
}

/// One step at a visitor; it may have been restricted again since it was looked for.
fn step(tx: &WriteTx<'_>, plan: &Plan, released: Restriction, limit: i64) -> Result<Part> {
    let visitor_id = released.visitor_id;
    if restrictions::get(tx, visitor_id)? != Some(released) {
        return Ok(Part { rows: 0, done: true });
    }
    let below = floors::of_visitor(tx, visitor_id)?;
    let floor = |purpose: Purposes| below.iter().find(|(one, _)| *one == purpose).map(|(_, floor)| *floor);
    for purpose in [Purposes::MEASURE, Purposes::PERSONAL] {
        let Some(floor) = floor(purpose) else { continue };
        let part = withdrawn::clear(tx, plan, (purpose, visitor_id, floor), limit)?;
        if part.rows > 0 || !part.done {
            return Ok(Part { done: false, ..part });
        }
    }
    let Some(visitor) = visitors::get(tx, visitor_id)? else { return Ok(Part { rows: 0, done: true }) };
    let visits = visits::tell_again(tx, visitor_id, (visitor.measure_floor, released.upto), limit)?;
    if visits > 0 {
        return Ok(Part { rows: i64::try_from(visits).unwrap_or(i64::MAX), done: false });
    }
    let numbered = again::number(tx, visitor_id, (visitor.measure_floor, released.upto), &below, limit)?;
    Ok(Part { rows: i64::try_from(numbered).unwrap_or(i64::MAX), done: numbered == 0 })
}
