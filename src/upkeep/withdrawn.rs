//! Removes in steps what a withdrawal took back, as far as the site does not keep it: everything of a visitor at or below the floor
//! under `measure`, personal fields and ties at or below the floor under `personal`. Must never touch a row above a floor, nor wait
//! for the clock.
//! Invariant: the no itself stays (`refusals`, `decisions`); lines in sealed batches leave a hole.

use std::sync::Arc;

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::domain::consent::{LawfulBasis, Purposes};
use crate::domain::line::HoleReason;
use crate::domain::visitor::Visitor;
use crate::domain::withdrawal::{self, OnWithdrawal, Withdrawal};
use crate::store::{ReadTx, WriteTx, ages, bases, floors, frozen, identities, visitors, visits};
use crate::upkeep::removal::{Delivered, Removal};
use crate::upkeep::{Plan, Report, Round};

/// Floors looked at in one go.
const FLOORS: i64 = 100;

/// How far the floors of a purpose were worked through: floor and visitor. Later decisions set higher floors.
pub(in crate::upkeep) type Mark = (Seq, i64);

/// The purposes whose floors remove rows.
const CLEARED: [Purposes; 2] = [Purposes::MEASURE, Purposes::PERSONAL];

/// What one step came to.
pub(in crate::upkeep) struct Part {
    pub(in crate::upkeep) rows: i64,
    pub(in crate::upkeep) done: bool,
}

pub(in crate::upkeep) fn run(round: &Round<'_>) -> Result<Report> {
    let mut rows = 0;
    for (place, purpose) in CLEARED.into_iter().enumerate() {
        let mut mark = round.up.marks(|marks| marks[place]);
        'floors: loop {
            let behind = round.up.store().read(|tx| floors::behind(tx, purpose, mark, FLOORS))?;
            if behind.is_empty() {
                break;
            }
            for (floor, visitor_id) in behind {
                loop {
                    if !round.go_on() {
                        break 'floors;
                    }
                    let plan = Arc::clone(round.up.plan());
                    let part = round.step(move |tx, limit| clear(tx, &plan, (purpose, visitor_id, floor), limit))?;
                    rows += part.rows;
                    if part.done {
                        break;
                    }
                }
                mark = (floor, visitor_id);
                round.up.marks(|marks| marks[place] = mark);
            }
        }
    }
    Ok(Report { rows: u64::try_from(rows).unwrap_or(0), note: String::new() })
}

/// One step at a floor of a visitor. Under restriction nothing goes: its release comes back to it (`released.rs`).
pub(in crate::upkeep) fn clear(
    tx: &WriteTx<'_>,
    plan: &Plan,
    (purpose, visitor_id, floor): (Purposes, i64, Seq),
    limit: i64,
) -> Result<Part> {
    let nothing = Part { rows: 0, done: true };
    let Some(visitor) = visitors::get(tx, visitor_id)?.filter(|v| !v.standing.restricted) else { return Ok(nothing) };
    let chosen = plan.withdrawals.get(&visitor.site_id).copied().unwrap_or_default();
    if purpose == Purposes::PERSONAL {
        if chosen.keeps_personal() { Ok(nothing) } else { personal(tx, visitor_id, floor, limit) }
    } else {
        everything(tx, &visitor, chosen, floor, limit)
    }
}

/// What of a visitor's visits goes, and how: no basis is spared where the site chose one way for all.
struct Choice {
    counted: bool,
    /// Basis rows under which what was taken in stays.
    spared: Vec<i64>,
}

/// `None`: everything stays.
fn choice(tx: &ReadTx<'_>, chosen: Withdrawal) -> Result<Option<Choice>> {
    let by_consent = chosen.of_visits(LawfulBasis::Consent);
    let spared = bases::all(tx)?
        .into_iter()
        .filter(|(_, _, text)| chosen.of_visits(withdrawal::measured_on(text)) == OnWithdrawal::Keep)
        .map(|(basis_id, ..)| basis_id)
        .collect();
    Ok((by_consent != OnWithdrawal::Keep).then_some(Choice { counted: by_consent == OnWithdrawal::Anonymise, spared }))
}

/// One step at a visitor without the right to measure.
fn everything(tx: &WriteTx<'_>, visitor: &Visitor, chosen: Withdrawal, floor: Seq, limit: i64) -> Result<Part> {
    let visitor_id = visitor.id;
    let Some(choice) = choice(tx, chosen)? else { return Ok(Part { rows: 0, done: true }) };
    // a counted event changes its cell and its hour too
    let limit = if choice.counted { limit / 3 } else { limit };
    // holes are written whatever was acknowledged: files not yet taken are rendered again
    let mut removal = Removal::begin(tx, HoleReason::Withdrawn, Delivered::default(), limit)?;
    if choice.counted {
        removal = removal.counting();
    }
    let mut done = rows_below(tx, &mut removal, &choice, visitor_id, floor)?;
    let gone_for_good =
        !visitor.standing.granted.has(Purposes::MEASURE) && visitor.standing.denied.has(Purposes::MEASURE);
    if done && gone_for_good && !visitors::any_visit(tx, visitor_id)? {
        done = removal.visitor(visitor)?;
    }
    let gone = removal.finish(if choice.counted { "anonymised" } else { "withdrawn" })?;
    Ok(Part { rows: gone.sum(), done })
}

fn rows_below(
    tx: &WriteTx<'_>,
    removal: &mut Removal<'_, '_>,
    choice: &Choice,
    visitor_id: i64,
    floor: Seq,
) -> Result<bool> {
    // where some visits stay, what was told in them is seen to by the floor under `personal`
    if choice.spared.is_empty() && !removal.fields(visitor_id, floor)? {
        return Ok(false);
    }
    // a visit at or below the floor counts as ended: none of its rows lies above (contract 2)
    for visit_id in visits::ids_upto(tx, visitor_id, floor, &choice.spared, removal.left())? {
        let Some(visit) = visits::get(tx, visit_id)? else { continue };
        if !removal.visit(&visit)? {
            return Ok(false);
        }
    }
    let lines = frozen::of_visitor_upto(tx, visitor_id, floor, removal.left().max(1))?;
    for seq in lines {
        let Some(line) = ages::line(tx, seq)? else { continue };
        if !removal.line(&line)? {
            return Ok(false);
        }
    }
    Ok(removal.has_room())
}

/// One step at a visitor without the right to personal data.
fn personal(tx: &WriteTx<'_>, visitor_id: i64, floor: Seq, limit: i64) -> Result<Part> {
    let mut removal = Removal::begin(tx, HoleReason::Withdrawn, Delivered::default(), limit)?;
    let mut done = removal.fields(visitor_id, floor)?;
    for visit_id in identities::tied_visits(tx, visitor_id, floor, limit)? {
        done = done && removal.ties(visit_id)?;
    }
    done = done && identities::tied_visits(tx, visitor_id, floor, 1)?.is_empty();
    let gone = removal.finish("withdrawn")?;
    Ok(Part { rows: gone.sum(), done })
}
