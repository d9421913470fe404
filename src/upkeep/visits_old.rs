//! Removes old events, then visits of which none are left, then visitors without a visit, then user agents nobody has.
//! Must never remove a parent before its children. Invariant: events go oldest first, up to the first young ones; where the
//! clock went back, removing begins anew behind that place (`ranges.rs`).

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::base::time::Millis;
use crate::domain::line::HoleReason;
use crate::domain::visit::Visit;
use crate::store::ages::Range;
use crate::store::{ReadTx, WriteTx, agents, ages, events, visitors, visits};
use crate::upkeep::removal::{Delivered, Gone, Removal};
use crate::upkeep::retention::repeat;
use crate::upkeep::{Round, ranges};

/// When the oldest event, or else the oldest visit or visitor left behind, was last received.
pub(in crate::upkeep) fn oldest(tx: &ReadTx<'_>) -> Result<Option<Millis>> {
    ranges::earliest(tx, |range| {
        let bare = ranges::bare(tx, range)?;
        let all = [ages::events(tx, range)?, ages::bare_visits(tx, bare)?, ages::bare_visitors(tx, bare)?];
        Ok(all.into_iter().flatten().min())
    })
}

pub(in crate::upkeep) fn clear(round: &Round<'_>, cut: Millis) -> Result<i64> {
    let mut sum = repeat(round, || {
        let delivered = round.delivered()?;
        round.step(move |tx, rows| each_range(tx, delivered, rows, |removal, range| old_events(removal, range, cut)))
    })?;
    let due = move |visit: &Visit| visit.last_received < cut;
    sum += bare_visits(round, HoleReason::Retention, "retention", due)?;
    sum += repeat(round, || {
        let delivered = round.delivered()?;
        round.step(move |tx, rows| each_range(tx, delivered, rows, |removal, range| old_visitors(removal, range, cut)))
    })?;
    if sum > 0 {
        sum += repeat(round, || {
            let n = round.step(agents::delete_unused)?;
            Ok(Gone { others: i64::try_from(n).unwrap_or(i64::MAX), ..Gone::default() })
        })?;
    }
    Ok(sum)
}

/// One step: what is old in each range, until there is no more room.
fn each_range(
    tx: &WriteTx<'_>,
    delivered: Delivered,
    rows: i64,
    clear: impl Fn(&mut Removal<'_, '_>, Range) -> Result<bool>,
) -> Result<Gone> {
    let mut removal = Removal::begin(tx, HoleReason::Retention, delivered, rows)?;
    for range in ranges::all(tx)? {
        if !clear(&mut removal, range)? {
            break;
        }
    }
    removal.finish("retention")
}

fn old_events(removal: &mut Removal<'_, '_>, range: Range, cut: Millis) -> Result<bool> {
    let page = events::oldest(removal.tx(), range.after, ages::LOOK_ROWS)?;
    for event in page.iter().filter(|e| e.seq <= range.upto && e.received < cut) {
        if !removal.event(event)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Visits of which no event is left, where `due` agrees. (Looked for by a reader, so that the pen is not kept.)
pub(in crate::upkeep) fn bare_visits(
    round: &Round<'_>,
    reason: HoleReason,
    name: &'static str,
    due: impl Fn(&Visit) -> bool,
) -> Result<i64> {
    let mut sum = 0;
    for range in round.up.store().read(ranges::all)? {
        sum += bare_visits_of(round, range, (reason, name), &due)?;
    }
    Ok(sum)
}

fn bare_visits_of(
    round: &Round<'_>,
    range: Range,
    (reason, name): (HoleReason, &'static str),
    due: &impl Fn(&Visit) -> bool,
) -> Result<i64> {
    let (mut after, mut sum) = (range.after, 0);
    while round.go_on() {
        let rows = round.rows();
        let find = |tx: &ReadTx<'_>| visits::without_events(tx, Range { after, ..ranges::bare(tx, range)? }, rows);
        let page = round.up.store().read(find)?;
        let Some(last) = page.last().map(|visit| Seq(visit.id)) else { break };
        let old: Vec<Visit> = page.into_iter().filter(|visit| due(visit)).collect();
        if old.is_empty() {
            after = last;
            continue;
        }
        let delivered = round.delivered()?;
        let (gone, done) = round.step(move |tx, rows| {
            let mut removal = Removal::begin(tx, reason, delivered, rows)?;
            let mut done = true;
            for visit in &old {
                // an event may have joined it since it was read
                done = done && (events::any_of_visit(tx, visit.id)? || removal.visit(visit)?);
            }
            Ok((removal.finish(name)?, done))
        })?;
        sum += gone.sum();
        if done {
            after = last;
        }
    }
    Ok(sum)
}

fn old_visitors(removal: &mut Removal<'_, '_>, range: Range, cut: Millis) -> Result<bool> {
    let tx = removal.tx();
    for visitor in visitors::without_visits(tx, cut, ranges::bare(tx, range)?, removal.left().max(1))? {
        if !removal.visitor(&visitor)? {
            return Ok(false);
        }
    }
    Ok(true)
}
