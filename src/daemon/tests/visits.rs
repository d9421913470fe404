//! Visits on disk: joined in memory and after a restart alike, named, ended by signal, by source, by age, by epoch.
//! Must never test the rules alone (`domain/placement`). Invariant: a restart changes no answer.

use serde_json::{Value, json};

use super::support::*;
use crate::base::time::{HOUR_MS, MINUTE_MS};
use crate::domain::visit::EndReason;
use crate::ingest::record::Outcome;
use crate::store::edge::Edge;
use crate::store::epochs::Reason;

fn named(event: Value, visit: &str) -> Value {
    with(event, json!({"visitId": visit}))
}

fn from(event: Value, referrer: &str) -> Value {
    with(event, json!({"referrer": referrer}))
}

/// The row of the visit an event joined.
fn visit_of(world: &World, outcome: &Outcome) -> i64 {
    world.event(outcome.seq).visit_id
}

#[test]
fn a_gap_of_twenty_minutes_is_a_new_visit_and_the_old_one_has_ended_idle() {
    for reopens in [false, true] {
        let mut world = World::measuring();
        for (minutes, fresh) in [(0, true), (19, false), (38, false), (58, true)] {
            let outcome = world.send_at(minutes, page("a", "/"));
            assert_eq!(outcome.new_visit, fresh, "{minutes}, reopens {reopens}");
            if reopens {
                world.reopen();
            }
        }
        let visits = world.visits("a");
        assert_eq!(visits[0].end, Some((minute(58), EndReason::Idle)));
        assert_eq!(visits[1].end, None);
        assert_eq!(world.visitor("a").unwrap().visit_count, 2);
    }
}

#[test]
fn a_late_event_joins_the_nearest_visit_of_many_before_and_after_a_restart() {
    for reopens in [false, true] {
        let mut world = World::measuring();
        let opened: Vec<_> = (0..30).map(|n| visit_of(&world, &world.send_at(n * 40, page("a", "/")))).collect();
        world.clock.set(minute(30 * 40));
        if reopens {
            world.reopen();
        }
        for (minutes, expected) in [(3 * 40 + 5, 3), (7 * 40 + 20, 7), (7 * 40 + 39, 8), (0, 0), (29 * 40 + 19, 29)] {
            let late = world.send(at(page("a", "/late"), minute(minutes)));
            if minutes % 40 == 20 {
                assert!(late.new_visit, "twenty minutes from both");
            } else {
                assert_eq!(visit_of(&world, &late), opened[expected], "{minutes}, reopens {reopens}");
            }
        }
        assert_eq!(world.visits("a").iter().map(|v| v.event_count).sum::<i64>(), 35);
    }
}

#[test]
fn a_late_event_into_an_idle_visit_moves_its_end() {
    let world = World::measuring();
    world.send_at(0, page("a", "/"));
    world.send_at(60, page("a", "/"));
    world.send_at(61, at(page("a", "/"), minute(15)));
    let first = world.visits("a").remove(0);
    assert_eq!((first.last_active, first.end), (minute(15), Some((minute(35), EndReason::Idle))));
    assert!(first.last_seq > first.snapshot_seq, "its snapshot is due again");
}

#[test]
fn a_new_source_opens_a_visit_in_order_only() {
    let world = World::measuring();
    let first = world.send_at(0, from(page("a", "/"), "https://one.example/"));
    let same = world.send_at(1, from(page("a", "/2"), "https://shop.example/"));
    assert_eq!(visit_of(&world, &same), visit_of(&world, &first), "an internal referrer is no source");
    let second = world.send_at(5, from(page("a", "/"), "https://two.example/"));
    assert!(second.new_visit);
    assert_eq!(world.visits("a")[0].end, Some((minute(5), EndReason::NewSource)));
    let late = world.send_at(6, at(from(page("a", "/3"), "https://three.example/"), minute(0).plus(1)));
    assert_eq!(visit_of(&world, &late), visit_of(&world, &first), "out of order a source opens nothing");
    let between = world.send_at(6, at(page("a", "/4"), minute(4)));
    assert_eq!(
        visit_of(&world, &between),
        visit_of(&world, &first),
        "before the new source it belongs to the old visit"
    );
    let campaign = world.send_at(7, page("a", "/?utm_source=news&utm_medium=email&utm_campaign=spring"));
    assert!(campaign.new_visit);
    let plain = world.send_at(8, page("a", "/4"));
    assert_eq!(visit_of(&world, &plain), visit_of(&world, &campaign));
    assert_eq!(world.visitor("a").unwrap().visit_count, 3);
}

#[test]
fn no_two_sources_are_taken_for_one() {
    let world = World::measuring();
    for n in 0..40 {
        let sent = world.send_at(n / 8, from(page("a", "/"), &format!("https://site-{n}.example/")));
        assert!(sent.new_visit, "source {n} came last in a visit of source {}", n - 1);
    }
}

#[test]
fn a_one_page_app_that_tells_its_referrer_on_every_page_stays_one_visit() {
    for landing in ["/", "/?utm_source=ads&utm_medium=cpc&utm_campaign=c"] {
        let mut world = World::measuring();
        let first = world.send_at(0, from(page("a", landing), "https://www.google.com/"));
        world.reopen();
        for minutes in 1..4 {
            let next = world.send_at(minutes, from(page("a", &format!("/{minutes}")), "https://www.google.com/"));
            assert_eq!(visit_of(&world, &next), visit_of(&world, &first), "{landing}");
        }
        assert!(world.send_at(5, from(page("a", "/"), "https://www.bing.com/")).new_visit);
    }
}

#[test]
fn after_its_signal_a_visit_takes_late_events_only() {
    for (event, reason) in [
        (json!({"name": "visit_ended"}), EndReason::LeftSite),
        (json!({"name": "visit_ended", "endReason": "browser_closed"}), EndReason::BrowserClosed),
        (json!({"name": "next_person"}), EndReason::NextPerson),
    ] {
        let world = World::measuring();
        let first = world.send_at(0, page("a", "/"));
        let ended = world.send_at(5, with(json!({"visitor": "a"}), event));
        assert_eq!(visit_of(&world, &ended), visit_of(&world, &first));
        let visit = world.visit("a");
        assert_eq!((visit.end, visit.last_active), (Some((minute(5), reason)), minute(0)), "an end is no activity");
        assert!(world.send_at(6, page("a", "/")).new_visit, "{reason:?}");
        assert_eq!(visit_of(&world, &world.send_at(7, at(page("a", "/late"), minute(4)))), visit_of(&world, &first));
        assert_eq!(world.visits("a")[0].end, Some((minute(5), reason)), "a late event does not open it again");
    }
}

#[test]
fn a_signal_that_comes_late_is_how_an_idle_visit_ended() {
    let world = World::measuring();
    let first = world.send_at(0, page("a", "/"));
    world.send_at(60, page("a", "/"));
    let signal = at(json!({"visitor": "a", "name": "visit_ended"}), minute(5));
    assert_eq!(visit_of(&world, &world.send_at(61, signal)), visit_of(&world, &first));
    assert_eq!(world.visits("a")[0].end, Some((minute(5), EndReason::LeftSite)));
    assert!(world.send_at(62, at(page("a", "/"), minute(10))).new_visit, "nothing later joins it");
}

#[test]
fn a_signal_after_the_end_opens_no_visit() {
    for reopens in [false, true] {
        let mut world = World::measuring();
        let signal = || json!({"visitor": "a", "name": "visit_ended"});
        let first = world.send_at(0, page("a", "/"));
        if reopens {
            world.reopen();
        }
        // idle long since, then a second signal behind the visit's own
        let late = world.send_at(45, signal());
        assert!(!late.new_visit && visit_of(&world, &late) == visit_of(&world, &first));
        let visit = world.visit("a");
        assert_eq!((visit.last_active, visit.event_count), (minute(0), 2), "it is kept, and moves nothing");
        assert!(visit.end.is_none_or(|end| end == (minute(20), EndReason::Idle)), "{:?}", visit.end);
        world.send_at(50, page("a", "/"));
        world.send_at(51, signal());
        world.send_at(52, signal());
        let visits = world.visits("a");
        assert_eq!(visits.len(), 2);
        assert_eq!((visits[1].end, visits[1].event_count), (Some((minute(51), EndReason::LeftSite)), 3));
        // of whom nothing else is known: an event lies in a visit, so this one has a visit of no length
        let alone = world.send_at(53, json!({"visitor": "b", "name": "visit_ended"}));
        let visit = world.visit("b");
        assert!(alone.new_visit);
        assert_eq!((visit.started, visit.end), (minute(53), Some((minute(53), EndReason::LeftSite))));
    }
}

#[test]
fn a_named_visit_lasts_its_day() {
    for reopens in [false, true] {
        let mut world = World::measuring();
        let first = world.send_at(0, named(page("a", "/"), "v1"));
        for hours in [3, 23] {
            let later = world.send_at(hours * 60, named(page("a", "/"), "v1"));
            assert_eq!(visit_of(&world, &later), visit_of(&world, &first), "{hours}");
            if reopens {
                world.reopen();
            }
        }
        let next = world.send_at(24 * 60, named(page("a", "/"), "v1"));
        assert!(next.new_visit);
        assert_eq!(world.visits("a")[0].end, Some((minute(24 * 60), EndReason::Expired)));
        let late = world.send_at(25 * 60, at(named(page("a", "/"), "v1"), minute(60)));
        assert_eq!(visit_of(&world, &late), visit_of(&world, &first), "a late one finds the first of that name");
        assert!(world.send_at(25 * 60, named(page("a", "/"), "v2")).new_visit);
        assert_eq!(world.visits("a").len(), 3);
    }
}

#[test]
fn an_event_without_a_name_joins_the_nearest_visit_though_a_newer_one_is_open() {
    for reopens in [false, true] {
        let mut world = World::measuring();
        let long = world.send_at(0, named(page("a", "/"), "v1"));
        let other = world.send_at(60, page("a", "/"));
        assert!(other.new_visit, "an hour of silence, and no name");
        world.send_at(300, named(page("a", "/"), "v1"));
        if reopens {
            world.reopen();
        }
        let near = world.send_at(301, page("a", "/"));
        assert_eq!(visit_of(&world, &near), visit_of(&world, &long), "reopens {reopens}");
        // and in the middle of both the one it lies within
        let late = world.send_at(302, at(page("a", "/"), minute(61)));
        assert_eq!(visit_of(&world, &late), visit_of(&world, &long), "it lies within the long one");
        let far = world.send_at(340, page("a", "/"));
        assert!(far.new_visit);
    }
}

#[test]
fn visits_of_two_visitors_never_mix() {
    let world = World::measuring();
    let body = json!([page("a", "/"), page("b", "/"), page("a", "/2"), page("b", "/2"), page("c", "/")]);
    world.post(body);
    assert_eq!(["a", "b", "c"].map(|key| world.visit(key).page_count), [2, 2, 1]);
    let ids = ["a", "b", "c"].map(|key| world.visit(key).id);
    assert!(ids[0] != ids[1] && ids[1] != ids[2]);
}

#[test]
fn a_new_epoch_ends_every_visit_and_nothing_joins_an_earlier_one() {
    let mut world = World::measuring();
    world.send_at(0, page("a", "/"));
    world.send_at(0, named(page("b", "/"), "v1"));
    world.reopen_after(|dir| drop(Edge::new_epoch(dir, Reason::Restore, minute(1)).unwrap()));
    let before = world.visit("a");
    assert_eq!(before.end, Some((minute(0), EndReason::NewEpoch)));
    for (key, event) in [("a", page("a", "/2")), ("b", named(page("b", "/2"), "v1"))] {
        let next = world.send_at(2, event.clone());
        assert!(next.new_visit && !next.new_visitor, "{key}");
        assert!(!world.send_at(3, event).new_visit);
        assert!(!world.send_at(4, at(page(key, "/late"), minute(1))).new_visit, "it joins the new one");
        let visits = world.visits(key);
        assert_eq!(visits.len(), 2);
        assert!(visits[0].epoch_id < visits[1].epoch_id);
        assert_eq!((visits[0].end, visits[0].event_count), (Some((minute(0), EndReason::NewEpoch)), 1));
    }
    assert_eq!(world.event(Some(world.visits("a")[1].last_seq)).epoch_id, world.store().identity().epoch_id);
}

#[test]
fn a_visit_remembers_its_searches_and_what_was_told_later() {
    let mut world = World::measuring();
    world.send_at(0, page("a", "/find?q=shoes"));
    world.send_at(1, with(page("a", "/find?q=boots"), json!({"app": {"name": "kiosk"}})));
    world.reopen();
    world.send_at(2, page("a", "/find?q=shoes"));
    let visit = world.visit("a");
    assert_eq!(visit.searches.as_deref(), Some(r#"["shoes","boots"]"#));
    assert_eq!(visit.context.as_deref(), Some(r#"{"app":{"name":"kiosk"}}"#));
    world.post((0..40).map(|n| page("a", &format!("/find?q=s{n}"))).collect());
    let searches: Vec<String> = serde_json::from_str(&world.visit("a").searches.unwrap()).unwrap();
    assert_eq!(searches.len(), 20);
}

#[test]
fn a_visit_is_due_when_its_rule_says() {
    let world = World::measuring();
    let options = &world.config.visits;
    world.send_at(0, page("a", "/"));
    world.send_at(7, page("a", "/"));
    world.send_at(7, named(page("b", "/"), "v"));
    assert_eq!(world.visit("a").due(options), START.plus(27 * MINUTE_MS));
    assert_eq!(world.visit("b").due(options), START.plus(7 * MINUTE_MS + 24 * HOUR_MS));
    let due = |now| {
        let found = world.store().read(|tx| crate::store::visits::due(tx, now, 0, 10)).unwrap();
        found.iter().filter(|visit| visit.due(options) <= now).count()
    };
    assert_eq!((due(minute(27).plus(-1)), due(minute(27)), due(minute(24 * 60 + 7))), (0, 1, 2));
}
