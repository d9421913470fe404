//! Rows stay as long as configured, to the millisecond, and no clock removes more than it may.
//! Must never wait: months pass by setting the world's clocks.

use super::world::{START, TARGET, World, rights};
use crate::base::id::{ClientId, Seq};
use crate::base::time::{DAY_MS, HOUR_MS, MINUTE_MS, Millis};
use crate::domain::consent::{Action, Purposes};
use crate::domain::event::{Attribute, DataType, Lane};
use crate::domain::line::{HoleReason, LineKind};
use crate::domain::request::{Channel, Kind, Level, State};
use crate::domain::stored::SessionRow;
use crate::store::identities::Association;
use crate::store::requests::{self, Person, RequestRow};
use crate::store::{
    counts, decisions, departed, events, frozen, holes, identities, imports, meta, pages, personal, sessions, sites,
    space, visitors, visits,
};
use crate::upkeep::Upkeep;

pub(super) fn months_later(months: u32) -> Millis {
    // the first instant whose calendar lies that many months later
    let mut at = START.plus(i64::from(months) * 28 * DAY_MS);
    while at.months_earlier(months) < START {
        at = at.plus(DAY_MS);
    }
    at.plus(-at.months_earlier(months).since(START))
}

/// Both clocks pass to `at`.
pub(super) fn until(world: &World, at: Millis) {
    world.pass(at.since(world.now()));
}

fn verdict(upkeep: &Upkeep) -> &'static str {
    upkeep.status().unwrap().clock_guard
}

#[test]
fn events_and_visits_go_at_thirteen_months_and_not_before() {
    let world = World::new();
    let (visitor, visit) = world.visit("a", 3);
    world.pass(MINUTE_MS);
    world.visit("b", 2);
    let upkeep = world.settled();
    let snapshots = world.lines(Lane::Visits, LineKind::Visit).len();
    assert_eq!(snapshots, 2);
    until(&world, months_later(13));
    upkeep.run_once(true).unwrap();
    assert_eq!(world.events(), 5, "exactly thirteen months old");
    world.pass(1);
    upkeep.run_once(true).unwrap();
    assert_eq!(world.events(), 2);
    assert_eq!(world.read(|tx| visits::get(tx, visit)), None);
    assert_eq!(world.read(|tx| pages::read(tx, visit)), None);
    assert_eq!(world.read(|tx| visitors::get(tx, visitor)), None, "and the visitor with the last visit");
    assert_eq!(world.lines(Lane::Visits, LineKind::Visit).len(), 1, "and its snapshot");
    assert_eq!(world.read(visitors::count), 1);
}

#[test]
fn a_visitor_with_a_younger_visit_stays() {
    let world = World::new();
    let (visitor, _) = world.visit("a", 1);
    let upkeep = world.settled();
    world.pass(30 * DAY_MS);
    let (_, young) = world.visit("a", 1);
    until(&world, months_later(13).plus(HOUR_MS));
    upkeep.run_once(true).unwrap();
    assert_eq!(world.events(), 1);
    assert!(world.read(|tx| visits::get(tx, young)).is_some());
    assert!(world.read(|tx| visitors::get(tx, visitor)).is_some());
}

#[test]
fn what_was_not_delivered_leaves_holes_and_one_loss_line() {
    let world = World::new().with_target();
    let (_, visit) = world.visit("a", 1_500);
    world.seal(Lane::Pages);
    let (_, unsealed) = world.visit("b", 700);
    let upkeep = world.settled();
    until(&world, months_later(13).plus(HOUR_MS));
    assert!(upkeep.status().unwrap().unsent_warning, "it was warned before");
    upkeep.run_once(true).unwrap();
    assert_eq!(world.events(), 0);
    let found = world.read(|tx| holes::between(tx, Lane::Pages, Seq(0), Seq(i64::MAX)));
    assert_eq!(found.len(), 1_500, "what was never sealed needs none");
    assert!(found.iter().all(|h| h.reason == HoleReason::Retention && h.seq < Seq(unsealed)));
    let losses = world.lines(Lane::Consent, LineKind::Loss);
    assert_eq!(losses.len(), 1, "one line for the whole run");
    assert_eq!(losses[0]["reason"], "retention");
    let of_pages = &losses[0]["lanes"].as_array().unwrap().iter().find(|l| l["lane"] == "pages").unwrap().clone();
    assert_eq!((of_pages["rows"].as_i64(), of_pages["first_seq"].as_i64()), (Some(2_200), Some(visit)));
    assert_eq!(world.total(&upkeep, "lost.retention.pages"), 2_200);
    let largest = upkeep.status().unwrap().largest_step_rows;
    assert!((900..=1_000).contains(&largest), "{largest} rows in one step");
    upkeep.run_once(true).unwrap();
    assert_eq!(world.lines(Lane::Consent, LineKind::Loss).len(), 1, "told once");
}

#[test]
fn what_was_delivered_goes_without_a_trace() {
    let world = World::new().with_target();
    world.visit("a", 40);
    let upkeep = world.settled();
    for lane in [Lane::Pages, Lane::Visits] {
        world.seal(lane);
        world.acknowledge(lane);
    }
    until(&world, months_later(13).plus(HOUR_MS));
    upkeep.run_once(true).unwrap();
    assert_eq!(world.events(), 0);
    assert!(world.read(holes::totals).is_empty());
    assert!(world.lines(Lane::Consent, LineKind::Loss).is_empty());
    assert_eq!(upkeep.status().unwrap().oldest_unsent_at, None);
}

#[test]
fn a_target_that_is_not_required_still_gets_holes() {
    let mut world = World::new().with_target();
    world.plan.targets.push("mirror".to_owned());
    assert_eq!(world.plan.required, [TARGET]);
    world.visit("a", 4);
    world.seal(Lane::Pages);
    world.acknowledge(Lane::Pages);
    let upkeep = world.settled();
    until(&world, months_later(13).plus(HOUR_MS));
    upkeep.run_once(true).unwrap();
    assert_eq!(world.read(|tx| holes::between(tx, Lane::Pages, Seq(0), Seq(i64::MAX))).len(), 4);
    assert_eq!(world.total(&upkeep, "lost.retention.pages"), 0, "whoever is required has it");
}

#[test]
fn nothing_goes_in_the_first_ten_minutes() {
    let world = World::new();
    world.visit("a", 1);
    world.clock.set(months_later(14));
    let upkeep = world.upkeep();
    for minutes in [0, 9] {
        world.pass(minutes * MINUTE_MS);
        upkeep.run_once(true).unwrap();
        assert_eq!((world.events(), verdict(&upkeep)), (1, "just_started"));
    }
    world.pass(MINUTE_MS);
    upkeep.run_once(true).unwrap();
    assert_eq!((world.events(), verdict(&upkeep)), (0, "go"));
}

#[test]
fn a_clock_set_back_removes_nothing_and_is_told() {
    let world = World::new();
    let upkeep = world.settled();
    world.visit("a", 1);
    let back = world.now().plus(-DAY_MS);
    world.clock.set(back);
    upkeep.run_once(true).unwrap();
    assert_eq!(verdict(&upkeep), "clock_behind");
    let told = world.lines(Lane::Consent, LineKind::Clock);
    assert_eq!((told.len(), told[0]["step_ms"].as_i64()), (1, Some(-DAY_MS)));
    assert_eq!(told[0]["to"], back.rfc3339());
    world.pass(HOUR_MS);
    upkeep.run_once(true).unwrap();
    assert_eq!(verdict(&upkeep), "clock_behind", "until it has caught up");
    world.pass(DAY_MS);
    upkeep.run_once(true).unwrap();
    assert_eq!(verdict(&upkeep), "go");
    assert_eq!(world.lines(Lane::Consent, LineKind::Clock).len(), 1);
}

#[test]
fn a_clock_set_back_while_nobody_looked_is_told_at_start() {
    let world = World::new();
    drop(world.settled());
    let world = world.reopened();
    world.clock.set(START.plus(-DAY_MS));
    let upkeep = world.upkeep();
    upkeep.run_once(true).unwrap();
    assert_eq!(world.lines(Lane::Consent, LineKind::Clock).len(), 1);
    assert_eq!(verdict(&upkeep), "clock_behind");
}

/// A visit a day for ten days, then the clock is set forward by a year and more.
fn year_ahead(world: &World) -> Upkeep {
    let upkeep = world.upkeep();
    for day in 0..10 {
        world.visit(&format!("v{day}"), 10);
        world.pass(DAY_MS);
        upkeep.run_once(true).unwrap();
    }
    world.clock.set(months_later(20));
    upkeep.run_once(true).unwrap();
    upkeep
}

#[test]
fn a_clock_set_a_year_ahead_removes_two_days_worth_a_day() {
    let world = World::new();
    let upkeep = year_ahead(&world);
    assert_eq!((world.events(), verdict(&upkeep)), (100, "clock_set"));
    assert_eq!(world.lines(Lane::Consent, LineKind::Clock).len(), 1);
    world.pass(10 * MINUTE_MS);
    for _ in 0..3 {
        upkeep.run_once(true).unwrap();
        assert_eq!(world.events(), 80, "two days' worth");
        world.pass(HOUR_MS);
    }
    let held = upkeep.status().unwrap().cares.iter().any(|c| c.note.contains("--confirm"));
    assert!(held, "it says what to do");
    world.pass(DAY_MS);
    upkeep.run_once(true).unwrap();
    assert_eq!(world.events(), 60);
}

#[test]
fn the_days_worth_outlives_a_restart() {
    let world = World::new();
    let upkeep = year_ahead(&world);
    world.pass(10 * MINUTE_MS);
    upkeep.run_once(true).unwrap();
    drop(upkeep);
    let world = world.reopened();
    drop(world.settled());
    assert_eq!(world.events(), 80);
}

#[test]
fn a_confirmation_lets_everything_go() {
    let world = World::new();
    let upkeep = year_ahead(&world);
    upkeep.confirm().unwrap();
    upkeep.run_once(true).unwrap();
    assert_eq!((world.events(), verdict(&upkeep)), (0, "go"));
    world.clock.set(START.plus(10 * DAY_MS));
    upkeep.run_once(true).unwrap();
    assert_eq!(verdict(&upkeep), "clock_behind", "it was confirmed a year ahead");
    upkeep.confirm().unwrap();
    assert_eq!(verdict(&upkeep), "go", "so the right time has to be confirmed, too");
}

#[test]
fn decisions_stay_three_years_after_the_last_event() {
    let world = World::new();
    let (visitor, _) = world.visit("a", 1);
    let reference = world.read(|tx| visitors::get(tx, visitor)).unwrap().visitor_ref;
    world.decide("a", Action::Refuse, Purposes::SHARE);
    let upkeep = world.settled();
    world.pass(300 * DAY_MS);
    world.visit("a", 1);
    let last = world.now();
    upkeep.confirm().unwrap();
    until(&world, months_later(37));
    upkeep.run_once(true).unwrap();
    world.pass(DAY_MS);
    upkeep.run_once(true).unwrap();
    assert_eq!(world.read(|tx| visitors::get(tx, visitor)), None, "the visitor went with the last visit");
    assert_eq!(world.read(|tx| decisions::of_subject(tx, reference, 9)).len(), 1, "the decision is 37 months old");
    while world.now().months_earlier(36) <= last {
        world.pass(DAY_MS);
    }
    upkeep.run_once(true).unwrap();
    assert!(world.read(|tx| decisions::of_subject(tx, reference, 9)).is_empty());
    assert_eq!(world.read(|tx| departed::before(tx, Millis(i64::MAX), 9)).len(), 0);
}

#[test]
fn lines_about_nobody_stay_as_long_as_the_ledger() {
    let world = World::new();
    let upkeep = world.settled();
    world.clock.set(world.now().plus(2 * HOUR_MS));
    upkeep.run_once(true).unwrap();
    assert_eq!(world.lines(Lane::Consent, LineKind::Clock).len(), 1);
    until(&world, months_later(36).plus(-DAY_MS));
    upkeep.run_once(true).unwrap();
    assert_eq!(world.lines(Lane::Consent, LineKind::Clock).len(), 1);
    world.pass(2 * DAY_MS);
    upkeep.run_once(true).unwrap();
    assert!(world.read(|tx| frozen::oldest(tx, 9)).is_empty());
}

#[test]
fn counters_and_sources_go_in_their_time() {
    let world = World::new();
    let site = world.write(|tx| {
        let site_id = sites::intern(tx, "shop")?;
        let word = || "x".to_owned();
        let cell = crate::domain::count::Cell { path: word(), device: word(), medium: word(), robot: false };
        counts::raise(tx, site_id, tx.now(), cell)?;
        imports::set_spooled(tx, "a.ndjson", &[1; 32], 3)?;
        let taken = imports::Taken { source: [2; 32], head_bytes: 1, bytes: 1, lines: 1 };
        imports::put(tx, &taken, None)?;
        Ok(site_id)
    });
    let upkeep = world.settled();
    let total = |world: &World| world.read(|tx| counts::total(tx, Some(site), Millis(0)));
    world.pass(8 * DAY_MS);
    upkeep.run_once(true).unwrap();
    assert_eq!(world.read(|tx| imports::spooled(tx, "a.ndjson", &[1; 32])), None);
    until(&world, months_later(25).plus(-HOUR_MS));
    upkeep.run_once(true).unwrap();
    assert_eq!(total(&world), 1);
    until(&world, months_later(25));
    upkeep.run_once(true).unwrap();
    assert_eq!(total(&world), 0, "the hour is older than its last event");
}

#[test]
fn personal_fields_and_identities_go_a_month_after_the_last_visit() {
    let world = World::new();
    let (gone, visit) = world.visit("a", 1);
    let (back, _) = world.visit("b", 1);
    world.write(move |tx| {
        let site_id = sites::intern(tx, "shop")?;
        for who in [gone, back] {
            let field = Attribute { name: "email".into(), value: "x".into(), data_type: DataType::String };
            let seq = tx.next_seq();
            let of = personal::Of { seq, site_id, visitor_id: who, at: tx.now() };
            personal::insert(tx, of, &[field])?;
        }
        let how = Association::Authenticated;
        let old = identities::seen(tx, site_id, "old", how, tx.now(), rights())?;
        let young = identities::seen(tx, site_id, "young", how, tx.now().plus(DAY_MS), rights())?;
        for id in [old, young] {
            identities::tie(tx, id, (visit, gone), None, how, tx.now())?;
        }
        let session = tx.next_seq().0;
        let row = SessionRow {
            id: session,
            uuid: [5; 16],
            visit_id: visit,
            identity_id: Some(old),
            started: tx.now(),
            ended: None,
            rights: rights(),
        };
        sessions::insert(tx, &row)
    });
    let upkeep = world.settled();
    world.visit("b", 1);
    until(&world, START.plus(30 * DAY_MS));
    upkeep.run_once(true).unwrap();
    assert_eq!(world.read(|tx| identities::of_visit(tx, visit)).len(), 2, "exactly thirty days");
    world.pass(1);
    upkeep.run_once(true).unwrap();
    let left = world.read(|tx| identities::of_visit(tx, visit));
    assert_eq!(left.iter().map(|(key, _)| key.as_deref()).collect::<Vec<_>>(), [Some("young")]);
    assert_eq!(world.read(|tx| sessions::of_visit(tx, visit))[0].identity_id, None, "its number may be used again");
    assert!(world.read(|tx| personal::of_visitor(tx, gone, Seq(0))).is_empty());
    assert_eq!(world.read(|tx| personal::of_visitor(tx, back, Seq(0))).len(), 1, "this one was here again");
    assert_eq!(world.events(), 3);
}

#[test]
fn old_files_of_the_data_directory_go() {
    let world = World::new();
    let old = std::time::UNIX_EPOCH;
    let age = |millis: Millis| old + std::time::Duration::from_millis(u64::try_from(millis.0).unwrap());
    let folder = |name: &str| {
        let path = world.dir.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let file = |path: std::path::PathBuf, days: i64| {
        let file = std::fs::File::create(&path).unwrap();
        file.set_modified(age(START.plus(-days * DAY_MS))).unwrap();
        path
    };
    let rejected = folder("spool/rejected");
    let snapshots = folder("snapshots");
    let (gone, kept) = (file(rejected.join("old"), 8), file(rejected.join("new"), 6));
    let results = folder("results");
    let (read, fresh) = (file(results.join("old.json"), 8), file(results.join("new.json"), 6));
    let (copy, outside) = (file(snapshots.join("a.db"), 29), file(world.dir.path().join("b.db"), 400));
    let aside = folder("damaged/x");
    file(aside.join("wayside.db"), 31);
    std::fs::File::open(&aside).unwrap().set_modified(age(START.plus(-31 * DAY_MS))).unwrap();
    world.settled();
    assert_eq!((gone.exists(), kept.exists(), copy.exists(), aside.exists()), (false, true, true, false));
    assert!(outside.exists(), "nothing but its folders");
    assert_eq!((read.exists(), fresh.exists()), (false, true), "answers stay a week");
}

#[test]
fn a_request_goes_three_years_after_it_was_closed_and_an_open_one_stays() {
    let world = World::new();
    let request = |n: u8, closed: Option<Millis>| RequestRow {
        id: [n; 16],
        kind: Kind::Erase,
        state: if closed.is_some() { State::Answered } else { State::Running },
        level: Some(Level::Operator),
        channel: Channel::Operator,
        opened_by: "test".to_owned(),
        received: START,
        due: START.plus(DAY_MS),
        extension: None,
        verification: None,
        closed,
        answer: None,
        result_digest: None,
        result_expires: None,
        told_seq: None,
    };
    let rows = [request(1, Some(START)), request(2, Some(START.plus(DAY_MS))), request(3, None)];
    world.write(move |tx| rows.iter().try_for_each(|row| requests::insert(tx, row, &[Person::Visitor(7)])));
    let upkeep = world.settled();
    until(&world, months_later(36));
    upkeep.run_once(true).unwrap();
    let left = || [1, 2, 3].map(|n| world.read(|tx| requests::get(tx, &[n; 16])).is_some());
    assert_eq!(left(), [true; 3], "exactly three years");
    world.pass(1);
    upkeep.run_once(true).unwrap();
    assert_eq!(left(), [false, true, true]);
    assert_eq!(world.read(|tx| requests::people(tx, &[1; 16])), [], "and whom it was about");
    assert_eq!(world.read(|tx| requests::people(tx, &[3; 16])).len(), 1);
}

#[test]
fn freed_pages_go_back_to_the_disk() {
    let world = World::new();
    world.visit("a", 3_000);
    let upkeep = world.settled();
    until(&world, months_later(13).plus(HOUR_MS));
    upkeep.run_once(true).unwrap();
    assert_eq!(world.read(space::database_bytes).1, 0);
    let free = world.read(|tx| events::oldest(tx, Seq(0), 1)).is_empty();
    assert!(free && world.read(|tx| meta::fact(tx, "retention.visits.limit")).is_some());
    let unknown = ClientId::new("a");
    assert!(
        world
            .write(move |tx| {
                let site = sites::intern(tx, "shop")?;
                visitors::take(tx, site, &unknown)
            })
            .is_none()
    );
}
