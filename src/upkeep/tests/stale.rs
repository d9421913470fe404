//! What would stay for ever, or far too long: rows behind others dated ahead of them, and what delivered batches leave.
//! Must never wait: months pass by setting the world's clocks.

use super::retention::{months_later, until};
use super::world::{START, TARGET, World};
use crate::base::id::{ClientId, Seq};
use crate::base::time::{DAY_MS, HOUR_MS, Millis};
use crate::domain::event::Lane;
use crate::domain::line::{HoleReason, LineKind};
use crate::domain::stored::EventRow;
use crate::store::cursors::Cursor;
use crate::store::refused::Why;
use crate::store::{WriteTx, attempts, batches, cursors, events, frozen, holes, refused, visitors, visits};

#[test]
fn what_was_received_under_a_clock_that_was_ahead_holds_nothing_back() {
    let world = World::new();
    let ahead = 90 * DAY_MS;
    let (_, before) = world.visit("before", 2);
    world.clock.advance(ahead);
    let (_, future) = world.visit("future", 2);
    let line = |tx: &WriteTx<'_>| frozen::note(tx, LineKind::Clock, &serde_json::json!({}));
    world.write(line);
    world.clock.advance(-ahead);
    let (_, after) = world.visit("after", 2);
    world.write(line);
    let lines = || world.lines(Lane::Consent, LineKind::Clock).len();
    let upkeep = world.settled();
    let told = lines();
    upkeep.confirm().unwrap();
    until(&world, months_later(13).plus(HOUR_MS));
    upkeep.run_once(true).unwrap();
    upkeep.confirm().unwrap();
    upkeep.run_once(true).unwrap();
    assert_eq!(world.events(), 2, "only what its stamp says is young");
    let there = |visit| world.read(|tx| visits::get(tx, visit)).is_some();
    assert_eq!([before, future, after].map(there), [false, true, false]);
    assert_eq!(world.read(visitors::count), 1);
    assert_eq!(upkeep.status().unwrap().oldest_at, Some(START.plus(ahead)));
    until(&world, months_later(36).plus(HOUR_MS));
    upkeep.confirm().unwrap();
    upkeep.run_once(true).unwrap();
    assert_eq!(world.events(), 0);
    assert_eq!(lines(), told - 1, "and so with lines: the one behind it went");
}

#[test]
fn a_row_that_was_under_way_when_the_clock_went_back_holds_nothing_back() {
    let world = World::new();
    world.clock.advance(90 * DAY_MS);
    world.visit("ahead", 1);
    world.clock.advance(-90 * DAY_MS);
    world.visit("first", 1);
    // received before the step, written after it
    let ahead = START.plus(90 * DAY_MS);
    world.write(move |tx| {
        let last = events::oldest(tx, Seq(0), 10)?.pop().unwrap();
        let row = events::get(tx, last.seq)?.unwrap();
        let late = EventRow { seq: tx.next_seq(), event_id: ClientId::new("late"), received: ahead, ..row };
        events::insert(tx, late);
        Ok(())
    });
    world.visit("second", 1);
    let upkeep = world.settled();
    until(&world, months_later(13).plus(HOUR_MS));
    upkeep.confirm().unwrap();
    upkeep.run_once(true).unwrap();
    assert_eq!(world.events(), 2);
}

#[test]
fn delivered_batches_go_with_their_holes_and_the_newest_stays() {
    let mut world = World::new().with_target();
    world.plan.targets.push("mirror".to_owned());
    let mut bare = Vec::new();
    for n in 0..3 {
        let (_, visit) = world.visit(&format!("v{n}"), 2);
        world.seal(Lane::Pages);
        bare.push(Seq(visit));
        world.pass(DAY_MS);
    }
    let (_, last) = world.visit("last", 1);
    world.seal(Lane::Pages);
    let (holes_of, bare_of) = (bare.clone(), bare.clone());
    world.write(move |tx| {
        for seq in holes_of.iter().chain([&Seq(last)]) {
            holes::before_delete(tx, Lane::Pages, *seq, HoleReason::Quota)?;
        }
        for (target, seq) in [(TARGET, bare_of[0]), ("mirror", bare_of[2]), ("gone", bare_of[2])] {
            refused::insert(tx, target, Lane::Pages, seq, Why::BadRows)?;
        }
        let cursor = Cursor { put_no: 2, acked_no: 2, ..Cursor::default() };
        cursors::put(tx, TARGET, tx.identity().epoch_id, Lane::Pages, &cursor)?;
        cursors::put(tx, "gone", tx.identity().epoch_id, Lane::Pages, &cursor)?;
        let (attempt, _) = attempts::begin(tx, "gone", tx.identity().epoch_id, Lane::Pages, 1)?;
        attempts::end(tx, attempt, "new", 0)
    });
    let upkeep = world.settled();
    let numbers = || {
        let epoch = world.store.identity().epoch_id;
        let all = world.read(|tx| batches::list(tx, epoch, Lane::Pages, 0, 10));
        all.iter().map(|b| b.batch_no).collect::<Vec<_>>()
    };
    let left = || world.read(|tx| holes::between(tx, Lane::Pages, Seq(0), Seq(i64::MAX))).len();
    let whole = left();
    assert!(whole >= 4);
    let confirmed = |at: Millis| {
        until(&world, at);
        upkeep.confirm().unwrap();
        upkeep.run_once(true).unwrap();
    };
    assert_eq!(world.read(cursors::targets), ["gone", TARGET], "while an attempt is remembered");
    until(&world, months_later(36).plus(-3 * DAY_MS));
    upkeep.confirm().unwrap();
    upkeep.run_once(true).unwrap();
    assert_eq!(numbers(), [1, 2, 3, 4], "not before their time");
    let refused = || world.read(refused::totals).into_iter().map(|(target, _)| target).collect::<Vec<_>>();
    assert_eq!(refused(), ["mirror", TARGET], "what a forgotten target refused is forgotten with it");
    assert_eq!(world.read(cursors::targets), [TARGET], "no attempt at it is remembered");
    confirmed(months_later(36).plus(HOUR_MS));
    assert_eq!(numbers(), [2, 3, 4]);
    assert_eq!(refused(), ["mirror"], "what was refused of a batch goes with the batch, and stays as long as it");
    confirmed(months_later(36).plus(20 * DAY_MS));
    assert_eq!(numbers(), [3, 4], "a required target has not acknowledged the third");
    let kept = world.read(|tx| holes::between(tx, Lane::Pages, Seq(0), Seq(i64::MAX)));
    assert!(kept.iter().all(|hole| hole.seq >= bare[2]) && kept.iter().any(|hole| hole.seq == bare[2]), "{kept:?}");
    world.acknowledge(Lane::Pages);
    confirmed(months_later(36).plus(21 * DAY_MS));
    assert_eq!(numbers(), [4], "the next one's chain begins at it");
    assert!(left() > 0, "and what it is rendered from stays");
}
