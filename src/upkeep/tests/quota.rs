//! The disk budget: what each level does, on a real folder.
//! Must never depend on how full the machine is: budgets are set from what the world itself uses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::world::World;
use crate::base::id::Seq;
use crate::base::time::{DAY_MS, HOUR_MS};
use crate::domain::event::Lane;
use crate::domain::line::{HoleReason, LineKind};
use crate::store::{holes, meta, visits};
use crate::upkeep::options::WhenFull;
use crate::upkeep::quota::first_budget;
use crate::upkeep::{Hooks, Stop, Upkeep, ballast};

/// Settled care of a world whose budget is used to that percentage; tells how often forwarding was kicked.
fn at_percent(world: &mut World, percent: u64) -> (Upkeep, Arc<AtomicU32>) {
    world.plan.quota.disk_budget_bytes = Some(u64::MAX);
    let used = world.settled().status().unwrap().used_bytes;
    world.plan.quota.disk_budget_bytes = Some(used * 100 / percent);
    let kicks = Arc::new(AtomicU32::new(0));
    let (counted, uptime) = (Arc::clone(&kicks), Arc::clone(&world.uptime));
    let hooks = Hooks {
        kick_forward: Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        }),
        uptime_ms: Arc::new(move || uptime.load(Ordering::SeqCst)),
        ..Hooks::default()
    };
    let upkeep = Upkeep::new(Arc::clone(&world.store), world.plan.clone(), hooks);
    upkeep.run_once(true).unwrap();
    (upkeep, kicks)
}

/// Past the first quiet minutes.
fn go(world: &World, upkeep: &Upkeep) {
    world.pass(HOUR_MS);
    upkeep.run_once(true).unwrap();
}

#[test]
fn the_budget_is_decided_at_the_first_start() {
    let world = World::new();
    let upkeep = world.upkeep();
    upkeep.run_once(true).unwrap();
    let status = upkeep.status().unwrap();
    let known = world.read(meta::disk_budget).unwrap();
    assert_eq!(known, status.budget_bytes);
    assert!(known <= first_budget(u64::MAX) && known > 0);
    assert_eq!(status.pressure_percent, world.store.pressure());
    drop(upkeep);
    let world = world.reopened();
    world.upkeep().run_once(true).unwrap();
    assert_eq!(world.read(meta::disk_budget), Some(known), "and stays");
}

#[test]
fn at_seventy_percent_rows_are_sealed_early() {
    let mut world = World::new();
    world.visit("a", 3_000);
    let (_, kicks) = at_percent(&mut world, 60);
    assert_eq!(kicks.load(Ordering::SeqCst), 0);
    let (_, kicks) = at_percent(&mut world, 75);
    assert_eq!(kicks.load(Ordering::SeqCst), 1);
    assert!((70..85).contains(&world.store.pressure()));
}

#[test]
fn at_eighty_five_percent_delivered_rows_go_oldest_first() {
    let mut world = World::new().with_target();
    let (_, first) = world.visit("a", 4_000);
    world.seal(Lane::Pages);
    world.acknowledge(Lane::Pages);
    let (_, second) = world.visit("b", 1_000);
    let (upkeep, _) = at_percent(&mut world, 92);
    assert_eq!(world.events(), 5_000, "not in the first minutes");
    go(&world, &upkeep);
    let left = world.events();
    assert!((1_000..5_000).contains(&left), "{left}");
    assert!(world.store.pressure() < 85, "{}", world.store.pressure());
    assert_eq!(world.total(&upkeep, "removed.quota_delivered.events"), 5_000 - left);
    assert!(world.read(holes::totals).is_empty(), "every target has them");
    assert!(world.lines(Lane::Consent, LineKind::Loss).is_empty());
    let oldest = world.read(|tx| crate::store::events::oldest(tx, Seq(0), 1))[0].seq;
    assert!(oldest > Seq(first) && oldest <= Seq(second));
    assert!(world.read(|tx| visits::get(tx, second)).is_some());
    assert!(upkeep.status().unwrap().largest_step_rows <= 1_000);
}

#[test]
fn what_was_not_delivered_stays_and_the_doors_are_told() {
    let mut world = World::new().with_target();
    world.visit("a", 3_000);
    world.seal(Lane::Pages);
    let (upkeep, _) = at_percent(&mut world, 97);
    go(&world, &upkeep);
    assert_eq!(world.events(), 3_000);
    assert!(world.store.pressure() >= 95);
}

#[test]
fn delivered_rows_stay_where_they_are_to_be_kept() {
    let mut world = World::new().with_target();
    world.plan.quota.keep_delivered = true;
    world.visit("a", 3_000);
    world.seal(Lane::Pages);
    world.acknowledge(Lane::Pages);
    let (upkeep, _) = at_percent(&mut world, 97);
    go(&world, &upkeep);
    assert_eq!(world.events(), 3_000);
}

#[test]
fn fine_rows_are_dropped_only_where_that_is_wanted_and_told() {
    let mut world = World::new().with_target();
    world.plan.quota.when_full = WhenFull::DropFine;
    world.visit_of("a", 2_000, super::world::rights(), "scroll");
    world.seal(Lane::Fine);
    world.visit_of("a", 2_000, super::world::rights(), "scroll");
    world.visit("b", 1_000);
    let (upkeep, _) = at_percent(&mut world, 100);
    go(&world, &upkeep);
    let gone = 5_000 - world.events();
    assert!(gone > 0 && gone <= 4_000, "{gone}");
    assert!(world.store.pressure() < 95);
    let found = world.read(|tx| holes::between(tx, Lane::Fine, Seq(0), Seq(i64::MAX)));
    assert_eq!(i64::try_from(found.len()).unwrap(), gone.min(2_000));
    assert!(found.iter().all(|h| h.reason == HoleReason::Quota));
    let losses = world.lines(Lane::Consent, LineKind::Loss);
    assert_eq!((losses.len(), losses[0]["rows"].as_i64()), (1, Some(gone)));
    assert_eq!(losses[0]["lanes"][0]["lane"], "fine");
}

#[test]
fn while_events_are_refused_the_disk_is_looked_at_every_two_seconds() {
    for (percent, seconds) in [(80, 60), (92, 2), (96, 2)] {
        let mut world = World::new();
        world.visit("a", 50);
        world.plan.quota.keep_delivered = true;
        let (upkeep, _) = at_percent(&mut world, percent);
        let cares = upkeep.status().unwrap().cares;
        let next = cares.iter().find(|care| care.what == "quota").unwrap().next_at.unwrap();
        assert_eq!(next.since(world.now()), seconds * 1_000, "at {percent} %");
    }
}

#[test]
fn delivered_rows_stay_their_days_of_grace_and_no_longer() {
    let mut world = World::new().with_target();
    world.plan.quota.grace_days = 7;
    world.visit("a", 4_000);
    world.seal(Lane::Pages);
    world.acknowledge(Lane::Pages);
    world.visit("b", 1_000);
    let (upkeep, _) = at_percent(&mut world, 97);
    for day in 0..8 {
        world.pass(if day == 0 { HOUR_MS } else { DAY_MS });
        upkeep.run_once(true).unwrap();
        assert_eq!(world.events(), 5_000, "day {day}: a receiver may still lose them");
    }
    world.pass(2 * DAY_MS);
    upkeep.run_once(true).unwrap();
    go(&world, &upkeep);
    assert!((1_000..5_000).contains(&world.events()), "{}", world.events());
    assert!(world.read(holes::totals).is_empty());
}

#[test]
fn what_is_kept_for_a_target_that_never_comes_does_not_fill_the_disk_if_nobody_requires_it() {
    let mut world = World::new().with_target();
    world.plan.targets.push("gone".to_owned());
    for n in 0..20 {
        world.visit("a", 500);
        world.seal(Lane::Pages);
        if n == 18 {
            world.acknowledge(Lane::Pages);
        }
    }
    world.visit("a", 1);
    world.seal(Lane::Pages);
    world.acknowledge(Lane::Pages);
    let (upkeep, _) = at_percent(&mut world, 2_000);
    go(&world, &upkeep);
    assert_eq!(world.events(), 0, "all of it was delivered where it must be");
    let left: i64 = world.read(holes::totals).iter().map(|(_, n)| n).sum();
    assert!(left <= 1, "{left} holes: nothing is kept in their place but for the newest batch");
    let mut held = World::new().with_target();
    held.plan.targets.push("gone".to_owned());
    held.plan.required.push("gone".to_owned());
    held.visit("a", 2_000);
    held.seal(Lane::Pages);
    held.acknowledge(Lane::Pages);
    let (upkeep, _) = at_percent(&mut held, 97);
    go(&held, &upkeep);
    assert_eq!(held.events(), 2_000, "one that is required holds them");
}

#[test]
fn the_file_shrinks_after_a_backlog_was_delivered() {
    let world = World::new().with_target();
    for _ in 0..6 {
        world.visit("a", 5_000);
    }
    world.seal(Lane::Pages);
    let file = || {
        world.write(|tx| Ok(tx.last_seq()));
        assert!(crate::store::space::empty_log(world.dir.path()).unwrap());
        std::fs::metadata(world.dir.path().join("wayside.db")).unwrap().len()
    };
    let full = file();
    world.acknowledge(Lane::Pages);
    let mut world = world;
    let (upkeep, _) = at_percent(&mut world, 300);
    go(&world, &upkeep);
    go(&world, &upkeep);
    assert!(world.events() < 10_000 && world.store.pressure() < 85);
    assert!(crate::store::space::empty_log(world.dir.path()).unwrap());
    let left = std::fs::metadata(world.dir.path().join("wayside.db")).unwrap().len();
    assert!(left * 2 < full, "{full} bytes before, {left} after");
}

#[test]
fn the_ballast_is_made_by_the_thread_and_counts_in_no_budget() {
    let mut world = World::new().with_target();
    world.plan.quota.ballast_bytes = 3 << 20;
    let upkeep = world.upkeep();
    upkeep.run_once(true).unwrap();
    assert_eq!(ballast::length(world.dir.path()), 0, "a command makes none");
    let used = upkeep.status().unwrap().used_bytes;
    let stop = Stop::new();
    super::super::quota::run(&super::super::Round::live(&upkeep, &stop)).unwrap();
    let status = upkeep.status().unwrap();
    if status.disk_free_bytes / 9 > ballast::length(world.dir.path()) && ballast::length(world.dir.path()) > 0 {
        assert_eq!(ballast::length(world.dir.path()), 3 << 20);
    }
    super::super::quota::run(&super::super::Round::live(&upkeep, &stop)).unwrap();
    assert!(upkeep.status().unwrap().used_bytes < used + (1 << 20));
    world.plan.quota.ballast_bytes = 0;
    let upkeep = world.upkeep();
    super::super::quota::run(&super::super::Round::live(&upkeep, &stop)).unwrap();
    assert_eq!(ballast::length(world.dir.path()), 0, "not wanted any more");
}
