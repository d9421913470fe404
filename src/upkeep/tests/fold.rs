//! Old entries of the ledger: in steps, once a day, behind an anchor, and never where the ledger does not hold.
//! (What verifiers make of it stands in `tests/ledger`.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::retention::{months_later, until};
use super::world::World;
use crate::base::time::{DAY_MS, HOUR_MS};
use crate::domain::ledger::EntryKind;
use crate::store::{checkpoints, ledger};
use crate::upkeep::{Hooks, Upkeep};

/// Entries that hold no content, as a clock's steps leave them.
fn entries(world: &World, n: i64) {
    world.write(move |tx| {
        (0..n).try_for_each(|n| ledger::note(tx, EntryKind::Key, &serde_json::json!({"n": n})).map(|_| ()))
    });
}

fn numbers(world: &World) -> Vec<i64> {
    world.read(|tx| ledger::page(tx, 0, 100_000)).iter().map(|found| found.entry.no).collect()
}

fn anchors(world: &World) -> Vec<i64> {
    let all = world.read(|tx| checkpoints::after(tx, 0, 100_000));
    all.iter().filter(|row| row.anchor).map(|row| row.ledger_no).collect()
}

#[test]
fn old_entries_go_in_steps_once_a_day_and_the_newest_stays() {
    let world = World::new();
    entries(&world, 2_500);
    let upkeep = world.settled();
    assert_eq!((numbers(&world).len(), anchors(&world)), (2_500, vec![]), "nothing is old");
    until(&world, months_later(36).plus(HOUR_MS));
    upkeep.confirm().unwrap();
    upkeep.run_once(true).unwrap();
    assert_eq!((numbers(&world), anchors(&world)), (vec![2_500], vec![2_499]));
    assert!(upkeep.status().unwrap().largest_step_rows <= 1_000);

    // what grows old a little at a time waits for the next day
    let later = world.now();
    entries(&world, 3);
    world.pass(HOUR_MS);
    entries(&world, 3);
    until(&world, later.months_later(36).plus(HOUR_MS / 2));
    upkeep.confirm().unwrap();
    upkeep.run_once(true).unwrap();
    assert_eq!(anchors(&world).last(), Some(&2_503));
    world.pass(2 * HOUR_MS);
    upkeep.confirm().unwrap();
    upkeep.run_once(true).unwrap();
    assert_eq!(anchors(&world).last(), Some(&2_503), "not twice a day");
    world.pass(DAY_MS);
    upkeep.confirm().unwrap();
    upkeep.run_once(true).unwrap();
    assert_eq!((numbers(&world), anchors(&world).last()), (vec![2_506], Some(&2_505)));
}

#[test]
fn a_ledger_that_does_not_hold_loses_nothing() {
    let world = World::new();
    entries(&world, 5);
    let broken = Arc::new(AtomicBool::new(true));
    let (uptime, told) = (Arc::clone(&world.uptime), Arc::clone(&broken));
    let hooks = Hooks {
        uptime_ms: Arc::new(move || uptime.load(Ordering::SeqCst)),
        ledger_fault: Arc::new(move || Ok(told.load(Ordering::SeqCst).then(|| "entry 3: it was changed".to_owned()))),
        ..Hooks::default()
    };
    let upkeep = Upkeep::new(Arc::clone(&world.store), world.plan.clone(), hooks);
    world.pass(HOUR_MS);
    until(&world, months_later(37));
    upkeep.confirm().unwrap();
    let error = upkeep.run_once(true).unwrap_err();
    assert!(error.code == "ledger_fault" && error.what.contains("entry 3"), "{error}");
    assert_eq!((numbers(&world).len(), anchors(&world)), (5, vec![]));
    broken.store(false, Ordering::SeqCst);
    upkeep.run_once(true).unwrap();
    assert_eq!((numbers(&world), anchors(&world)), (vec![5], vec![4]));
}
