//! Visits that end on their own, their snapshots, and the lines of counters.
//! Must never end a visit itself: upkeep does, or ingest as the world plays it.

use super::world::{START, World, rights};
use crate::base::id::{ClientId, Seq, mint_uuid};
use crate::base::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};
use crate::domain::count::{Cell, OTHER};
use crate::domain::event::Lane;
use crate::domain::line::LineKind;
use crate::domain::stored::SessionRow;
use crate::domain::visit::{EndReason, Visit, VisitOptions};
use crate::domain::visitor::Rights;
use crate::store::edge::Edge;
use crate::store::epochs::Reason;
use crate::store::{counts, sessions, sites, visits};
use crate::upkeep::Stop;

#[test]
fn a_visit_ends_by_itself_also_across_a_restart() {
    let world = World::new();
    let (_, first) = world.visit("a", 3);
    let upkeep = world.upkeep();
    world.pass(20 * MINUTE_MS - 1);
    upkeep.run_once(true).unwrap();
    assert_eq!(world.read(|tx| visits::get(tx, first)).unwrap().end, None, "a gap of less than twenty minutes");
    drop(upkeep);
    let world = world.reopened();
    world.pass(1);
    world.upkeep().run_once(true).unwrap();
    let ended = world.read(|tx| visits::get(tx, first)).unwrap().end;
    assert_eq!(ended, Some((START.plus(20 * MINUTE_MS), EndReason::Idle)), "when it was due, not when it was seen");
    let lines = world.lines(Lane::Visits, LineKind::Visit);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["end_reason"], "idle");
    assert_eq!(lines[0]["first_seq"], first);
    assert_eq!(lines[0]["entry_url"], "https://shop.example/start");
    assert_eq!(lines[0]["referrer"]["medium"], "search");
    assert_eq!(lines[0]["event_count"], 3);
    assert!(lines[0].get("ip").is_none(), "an address stays here");
}

#[test]
fn a_visit_that_events_still_reach_is_left_alone() {
    let world = World::new();
    let (_, visit) = world.visit("a", 1);
    let upkeep = world.upkeep();
    world.pass(DAY_MS);
    world.joins(visit, START.plus(MINUTE_MS));
    upkeep.run_once(true).unwrap();
    assert_eq!(world.read(|tx| visits::get(tx, visit)).unwrap().end, None, "something came a moment ago");
    world.pass(60 * SECOND_MS);
    upkeep.run_once(true).unwrap();
    assert!(world.read(|tx| visits::get(tx, visit)).unwrap().end.is_some());
}

#[test]
fn an_import_ends_its_visits_at_once() {
    let world = World::new();
    world.visit("a", 1);
    world.pass(20 * MINUTE_MS);
    let (_, fresh) = world.visit("b", 1);
    let done = world.upkeep().end_all_due_now().unwrap();
    assert_eq!((done.ended, done.snapshots), (1, 1));
    assert_eq!(world.read(|tx| visits::get(tx, fresh)).unwrap().end, None, "one that is not due stays open");
}

#[test]
fn a_visit_that_the_client_named_expires() {
    let world = World::new();
    let (_, visit) = world.visit("a", 1);
    world.write(move |tx| {
        let named = Visit { client_visit: Some(ClientId::new("v1")), ..visits::get(tx, visit)?.unwrap() };
        let again = Visit { id: tx.next_seq().0, uuid: mint_uuid(tx.now()), ..named };
        visits::keep(tx, again, &VisitOptions::default(), true);
        Ok(())
    });
    world.pass(24 * HOUR_MS);
    world.upkeep().run_once(true).unwrap();
    let reasons: Vec<_> = world
        .lines(Lane::Visits, LineKind::Visit)
        .iter()
        .map(|line| line["end_reason"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(reasons, ["idle", "expired"]);
}

#[test]
fn a_late_event_makes_a_second_snapshot_with_a_higher_number() {
    let world = World::new();
    let (_, visit) = world.visit("a", 2);
    let upkeep = world.upkeep();
    world.pass(HOUR_MS);
    upkeep.run_once(true).unwrap();
    upkeep.run_once(true).unwrap();
    assert_eq!(world.lines(Lane::Visits, LineKind::Visit).len(), 1, "no change, no snapshot");
    world.joins(visit, START.plus(5 * MINUTE_MS));
    world.pass(MINUTE_MS);
    upkeep.run_once(true).unwrap();
    let lines = world.lines(Lane::Visits, LineKind::Visit);
    assert_eq!(lines.len(), 2);
    assert!(lines[1]["seq"].as_i64() > lines[0]["seq"].as_i64());
    assert_eq!((lines[0]["event_count"].as_i64(), lines[1]["event_count"].as_i64()), (Some(2), Some(3)));
    assert_eq!(lines[0]["visit_id"], lines[1]["visit_id"]);
}

#[test]
fn a_visit_that_goes_on_after_its_end_is_not_snapshotted_meanwhile() {
    let world = World::new();
    let (_, visit) = world.visit("a", 1);
    let upkeep = world.upkeep();
    world.pass(21 * MINUTE_MS);
    upkeep.run_once(true).unwrap();
    for _ in 0..5 {
        world.joins(visit, world.now().plus(-2 * MINUTE_MS));
        world.pass(10 * MINUTE_MS);
        upkeep.run_once(true).unwrap();
    }
    assert_eq!(world.lines(Lane::Visits, LineKind::Visit).len(), 1, "its end lies ahead again");
    world.pass(HOUR_MS);
    upkeep.run_once(true).unwrap();
    assert_eq!(world.lines(Lane::Visits, LineKind::Visit).len(), 2);
}

#[test]
fn nobody_is_signed_in_beyond_the_end() {
    let world = World::new();
    let (_, visit) = world.visit("a", 1);
    world.write(move |tx| {
        let id = tx.next_seq();
        let row = SessionRow {
            id: id.0,
            uuid: mint_uuid(tx.now()),
            visit_id: visit,
            identity_id: None,
            started: tx.now(),
            ended: None,
            rights: rights(),
        };
        sessions::insert(tx, &row)?;
        let open = visits::get(tx, visit)?.unwrap();
        visits::keep(tx, Visit { session_id: Some(id.0), ..open }, &VisitOptions::default(), false);
        Ok(())
    });
    world.pass(HOUR_MS);
    world.upkeep().run_once(true).unwrap();
    let session = world.read(|tx| sessions::of_visit(tx, visit)).remove(0);
    assert_eq!(session.ended, Some(START.plus(20 * MINUTE_MS)));
    assert_eq!(world.read(|tx| visits::get(tx, visit)).unwrap().session_id, None);
    assert_eq!(world.lines(Lane::Visits, LineKind::Visit)[0]["session_count"], 1);
}

#[test]
fn what_never_leaves_makes_no_line() {
    let world = World::new();
    let exempt = Rights { exempt: true, consent_seq: Seq(0), ..rights() };
    let (_, visit) = world.visit_of("a", 1, exempt, "page_viewed");
    world.pass(HOUR_MS);
    world.upkeep().run_once(true).unwrap();
    assert!(world.read(|tx| visits::get(tx, visit)).unwrap().end.is_some());
    assert!(world.lines(Lane::Visits, LineKind::Visit).is_empty());
}

#[test]
fn a_new_epoch_ends_the_visits_of_the_one_before() {
    let world = World::new();
    let (_, visit) = world.visit("a", 1);
    Edge::new_epoch(world.dir.path(), Reason::Restore, START).unwrap();
    let world = world.reopened();
    world.upkeep().run_once(true).unwrap();
    let end = world.read(|tx| visits::get(tx, visit)).unwrap().end;
    assert_eq!(end, Some((START, EndReason::NewEpoch)));
}

#[test]
fn the_pen_knows_what_upkeep_ended() {
    let world = World::new();
    let (visitor, visit) = world.visit("a", 1);
    world.pass(HOUR_MS);
    world.upkeep().run_once(true).unwrap();
    let reach = VisitOptions::default().window_ms();
    let found = world.write(move |tx| visits::candidates(tx, visitor, START.plus(MINUTE_MS), None, reach));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].id, found[0].end.is_some()), (visit, true));
    assert!(found[0].snapshot_seq > found[0].last_seq);
}

fn raise(world: &World, path: &'static str, n: i64) {
    world.write(move |tx| {
        let site_id = sites::intern(tx, "shop")?;
        let (device, medium) = ("mobile".to_owned(), "none".to_owned());
        for _ in 0..n {
            let cell = Cell { path: path.to_owned(), device: device.clone(), medium: medium.clone(), robot: false };
            counts::raise(tx, site_id, START, cell)?;
        }
        Ok(())
    });
}

#[test]
fn an_hour_of_counters_is_told_after_it_has_ended_and_again_when_it_changed() {
    let world = World::new();
    raise(&world, "/a", 7);
    raise(&world, "/b", 3);
    let upkeep = world.upkeep();
    upkeep.run_once(true).unwrap();
    assert!(world.lines(Lane::Visits, LineKind::Count).is_empty(), "the hour is not over");
    world.pass(40 * MINUTE_MS);
    upkeep.run_once(true).unwrap();
    upkeep.run_once(true).unwrap();
    let lines = world.lines(Lane::Visits, LineKind::Count);
    assert_eq!(lines.len(), 1, "told once");
    assert_eq!(lines[0]["hour_at"], START.hour().rfc3339());
    assert_eq!(lines[0]["cells"][0]["path"], "/a");
    assert_eq!(lines[0]["cells"][0]["n"], 7);
    assert_eq!(lines[0]["cells"][1]["path"], OTHER);
    assert_eq!(lines[0]["cells"][1]["n"], "<5");
    assert_eq!(lines[0]["site"], "shop");
    raise(&world, "/b", 2);
    upkeep.run_once(true).unwrap();
    let lines = world.lines(Lane::Visits, LineKind::Count);
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[1]["cells"][1]["path"], lines[1]["cells"][1]["n"].as_i64()), (&"/b".into(), Some(5)));
}

#[test]
fn the_thread_does_what_is_due_and_ends_at_once_when_told() {
    let world = World::new();
    world.visit("a", 1);
    world.pass(HOUR_MS);
    let (upkeep, stop) = (world.upkeep(), Stop::new());
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| upkeep.live(&stop));
        while upkeep.status().unwrap().cares.iter().any(|care| care.last_at.is_none()) {
            std::thread::yield_now();
        }
        stop.set();
        thread.join().unwrap();
    });
    assert_eq!(world.lines(Lane::Visits, LineKind::Visit).len(), 1);
    let status = upkeep.status().unwrap();
    assert!(status.cares.iter().all(|care| care.error.is_none() && care.next_at > care.last_at), "{status:?}");
}
