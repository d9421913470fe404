//! How long a choice holds: a yes lapses, a clock that goes back revives none, what was taken stays, and the ledger says so.
//! Must never test what is asked again (`tests/it/notices.rs`). Invariant: months are those of the calendar.

use super::support::*;
use crate::base::time::{DAY_MS, Millis};
use crate::consent::lapse;
use crate::domain::consent::{Action, Purposes, Refusal};
use crate::domain::event::Fate;
use crate::store::decisions;

const MEASURE: Purposes = Purposes::MEASURE;
const SHARE: Purposes = Purposes::SHARE;

/// When a choice of the beginning is over: six months later.
fn end() -> Millis {
    START.months_later(6)
}

fn fate(world: &World, path: &str) -> (Fate, Option<Refusal>) {
    let outcome = world.send(page("a", path));
    (outcome.fate, outcome.refusal)
}

fn ledger(world: &World) -> Vec<(String, String, Purposes, Purposes)> {
    let visitor = world.visitor("a").unwrap();
    let rows = world.store().read(|tx| decisions::of_subject(tx, visitor.visitor_ref, 100)).unwrap();
    rows.into_iter().map(|row| (row.action, row.method, row.before, row.after)).collect()
}

fn write_due(world: &World) -> u64 {
    let seats = world.ingest().seats().to_vec();
    world.write(move |tx| lapse::write_due(tx, &seats, 100)).written
}

#[test]
fn a_yes_stops_counting_for_new_rows_when_its_time_is_over() {
    let world = World::new();
    let given = world.give("a", MEASURE).row;
    assert_eq!(given.expires, Some(end()));
    world.clock.set(end().plus(-1));
    assert_eq!(fate(&world, "/before").0, Fate::Accepted);
    world.clock.set(end());
    assert_eq!(fate(&world, "/after"), (Fate::Counted, Some(Refusal::NoDecision)));
    assert_eq!(world.totals(), (1, 1), "what was taken while it held stays");
    assert_eq!(world.visitor("a").unwrap().measure_floor.0, 0, "and no floor covers it");
}

#[test]
fn a_clock_that_goes_back_revives_no_choice() {
    let mut world = World::new();
    world.give("a", MEASURE);
    world.clock.set(end());
    assert_eq!(fate(&world, "/1").0, Fate::Counted);
    for back in [end().plus(-1), end().plus(-30 * DAY_MS), START] {
        world.clock.set(back);
        assert_eq!(fate(&world, "/2").0, Fate::Counted, "{back}");
        world.reopen();
        assert_eq!(fate(&world, "/3").0, Fate::Counted, "{back}, after a restart");
    }
    assert_eq!(world.totals().0, 0);
    // a choice that ends later holds, although the clock once said something else
    world.clock.set(START.plus(DAY_MS));
    world.give("b", MEASURE);
    assert_eq!(world.send(page("b", "/")).fate, Fate::Accepted);
}

#[test]
fn a_new_yes_holds_its_own_time() {
    let world = World::new();
    world.give("a", MEASURE.with(SHARE));
    world.clock.set(START.plus(90 * DAY_MS));
    world.give("a", MEASURE);
    world.clock.set(end());
    let outcome = world.send(page("a", "/"));
    assert_eq!(outcome.fate, Fate::Accepted, "measure was given again");
    assert_eq!(world.event(outcome.seq).rights.flags, MEASURE, "share was not");
    assert_eq!(write_due(&world), 1);
    assert_eq!(world.visitor("a").unwrap().standing.valid_until, Some(START.plus(90 * DAY_MS).months_later(6)));
}

#[test]
fn the_ledger_says_that_a_choice_is_over() {
    let world = World::new();
    world.give("a", MEASURE.with(SHARE));
    assert_eq!(write_due(&world), 0);
    world.clock.set(end());
    assert_eq!((write_due(&world), write_due(&world)), (1, 0), "once");
    let both = MEASURE.with(SHARE);
    let last = ledger(&world).pop().unwrap();
    assert_eq!(last, ("expire".to_owned(), "expiry".to_owned(), both, Purposes::NONE));
    world.clock.set(START);
    assert_eq!(fate(&world, "/").0, Fate::Counted);
    assert_eq!(world.visitor("a").unwrap().standing.denied, Purposes::NONE, "nobody said no");
}

#[test]
fn a_decision_after_the_end_finds_the_lapse_first() {
    let world = World::new();
    world.give("a", MEASURE.with(SHARE));
    world.clock.set(end());
    assert!(world.decide(world.request("a", Action::Give, SHARE)).is_err(), "measure is over, and share rests on it");
    assert_eq!(ledger(&world).len(), 1, "what was refused changed nothing");
    world.give("a", MEASURE);
    let words: Vec<(String, Purposes)> = ledger(&world).into_iter().map(|row| (row.0, row.3)).collect();
    let told = |word: &str, after| (word.to_owned(), after);
    assert_eq!(words, [told("give", MEASURE.with(SHARE)), told("expire", Purposes::NONE), told("give", MEASURE)]);
    assert_eq!(fate(&world, "/").0, Fate::Accepted);
}

#[test]
fn a_no_never_turns_into_a_yes_by_its_age() {
    let world = World::new();
    world.give("a", MEASURE);
    world.withdraw("a", MEASURE);
    world.clock.set(end().months_later(12));
    assert_eq!(fate(&world, "/"), (Fate::Counted, Some(Refusal::Denied)));
    assert_eq!(write_due(&world), 0);
}

#[test]
fn what_is_due_is_found_in_steps_of_any_size() {
    let world = World::new();
    for key in ["a", "b", "c"] {
        world.give(key, MEASURE);
    }
    world.clock.set(end());
    let seats = world.ingest().seats().to_vec();
    let step = move || {
        let seats = seats.clone();
        let looked = world.write(move |tx| lapse::write_due(tx, &seats, 2));
        (looked.written, looked.more)
    };
    assert_eq!([step(), step(), step()], [(2, true), (1, false), (0, false)]);
}
