//! Removes old events, then visits of which none are left, then visitors without a visit, then user agents nobody has.
//! Must never remove a parent before its children. Invariant: events go oldest first, up to the first young one.

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::base::time::Millis;
use crate::domain::line::HoleReason;
use crate::domain::visit::Visit;
use crate::store::{ReadTx, WriteTx, agents, ages, events, visitors, visits};
use crate::upkeep::Round;
use crate::upkeep::removal::{Delivered, Gone, Removal};
use crate::upkeep::retention::{first_event, repeat};

/// When the oldest event, or else the oldest visit or visitor left behind, was last received.
pub(in crate::upkeep) fn oldest(tx: &ReadTx<'_>) -> Result<Option<Millis>> {
    let first = first_event(tx)?;
    let all = [ages::events(tx)?, ages::bare_visits(tx, first)?, ages::bare_visitors(tx, first)?];
    Ok(all.into_iter().flatten().min())
}

pub(in crate::upkeep) fn clear(round: &Round<'_>, cut: Millis) -> Result<i64> {
    let mut sum = repeat(round, || {
        let delivered = round.delivered()?;
        round.step(move |tx, rows| old_events(tx, delivered, cut, rows))
    })?;
    let due = move |visit: &Visit| visit.last_received < cut;
    sum += bare_visits(round, HoleReason::Retention, "retention", due)?;
    sum += repeat(round, || {
        let delivered = round.delivered()?;
        round.step(move |tx, rows| old_visitors(tx, delivered, cut, rows))
    })?;
    if sum > 0 {
        sum += repeat(round, || {
            let n = round.step(agents::delete_unused)?;
            Ok(Gone { others: i64::try_from(n).unwrap_or(i64::MAX), ..Gone::default() })
        })?;
    }
    Ok(sum)
}

fn old_events(tx: &WriteTx<'_>, delivered: Delivered, cut: Millis, rows: i64) -> Result<Gone> {
    let mut removal = Removal::begin(tx, HoleReason::Retention, delivered, rows)?;
    for event in events::oldest(tx, Seq(0), rows)?.iter().take_while(|e| e.received < cut) {
        if !removal.event(event)? {
            break;
        }
    }
    removal.finish("retention")
}

/// Visits of which no event is left, where `due` agrees. (Looked for by a reader, so that the pen is not kept.)
pub(in crate::upkeep) fn bare_visits(
    round: &Round<'_>,
    reason: HoleReason,
    name: &'static str,
    due: impl Fn(&Visit) -> bool,
) -> Result<i64> {
    let (mut after, mut sum) = (0, 0);
    while round.go_on() {
        let rows = round.rows();
        let page = round.up.store().read(|tx| visits::without_events(tx, first_event(tx)?, after, rows))?;
        let Some(last) = page.last().map(|visit| visit.id) else { break };
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

fn old_visitors(tx: &WriteTx<'_>, delivered: Delivered, cut: Millis, rows: i64) -> Result<Gone> {
    let mut removal = Removal::begin(tx, HoleReason::Retention, delivered, rows)?;
    for visitor in visitors::without_visits(tx, cut, first_event(tx)?, rows)? {
        if !removal.visitor(&visitor)? {
            break;
        }
    }
    removal.finish("retention")
}
