//! Clocks that are wrong: the client's by a year, a kiosk's batch days late, the server's own jumping about.
//! Must never sleep or read a real clock. Invariant: what arrives is kept once, at a time that can be explained.

use serde_json::json;

use super::support::*;
use crate::base::time::{Clock, DAY_MS, HOUR_MS, MINUTE_MS, Millis};
use crate::domain::clock::ClockState;
use crate::domain::event::Fate;
use crate::ingest::record::Outcome;

#[test]
fn a_client_clock_wrong_by_a_year_is_corrected_by_its_sending_time() {
    let world = World::measuring();
    let wrong = |at: Millis| at.plus(-365 * DAY_MS);
    let event = |path: &str, minutes: i64| at(page("a", path), wrong(minute(minutes)));
    world.clock.set(minute(30));
    let body = json!({"sentAt": wrong(minute(30)).rfc3339(), "events": [event("/1", 0), event("/2", 10)]});
    let outcomes = world.post(body);
    let row = world.event(outcomes[1].seq);
    assert_eq!((row.corrected, row.clock_state), (minute(10), ClockState::Corrected));
    assert_eq!((row.client_at, row.sent_at), (Some(wrong(minute(10))), Some(wrong(minute(30)))));
    assert_eq!(row.received, minute(30));
    let visit = world.visit("a");
    assert_eq!((visit.started, visit.last_active, visit.last_received), (minute(0), minute(10), minute(30)));
    // without a sending time nothing explains it: it happened when it arrived
    let lost = world.send(event("/3", 5));
    let row = world.event(lost.seq);
    assert_eq!((row.corrected, row.clock_state), (minute(30), ClockState::Implausible));
}

#[test]
fn a_kiosk_that_sends_days_later_keeps_its_visits_apart() {
    let world = World::measuring();
    world.send_at(0, page("a", "/before"));
    world.clock.set(START.plus(3 * DAY_MS));
    let kiosk = |minutes: i64| at(page("a", "/kiosk"), START.plus(DAY_MS + minutes * MINUTE_MS));
    let sent = world.clock.now().rfc3339();
    let outcomes = world.post(json!({"sentAt": sent, "events": [kiosk(0), kiosk(19), kiosk(60), kiosk(45)]}));
    let fresh: Vec<bool> = outcomes.iter().map(|o| o.new_visit).collect();
    assert_eq!(fresh, [true, false, true, false]);
    let visits = world.visits("a");
    assert_eq!(visits.iter().map(|v| v.page_count).collect::<Vec<_>>(), [1, 2, 2]);
    assert_eq!(visits[2].started, START.plus(DAY_MS + 45 * MINUTE_MS), "a late event moves the beginning");
    assert_eq!(world.visitor("a").unwrap().last_seen, START.plus(3 * DAY_MS), "last seen is received time");
}

#[test]
fn a_server_clock_that_jumps_back_and_forth_loses_and_doubles_nothing() {
    let mut world = World::measuring();
    let jumps = [0, 5 * MINUTE_MS, -DAY_MS, 400 * DAY_MS, -400 * DAY_MS, 6 * MINUTE_MS, i64::MIN / 4, 7 * MINUTE_MS];
    let send = |world: &World, n: usize| -> Outcome { world.send(id(page("a", &format!("/{n}")), &n.to_string())) };
    for (n, jump) in jumps.into_iter().enumerate() {
        world.clock.set(START.plus(jump));
        let outcome = send(&world, n);
        assert_eq!(outcome.fate, Fate::Accepted, "{n}");
        assert_eq!(send(&world, n).fate, Fate::Duplicate, "{n}");
        world.reopen();
    }
    assert_eq!(world.totals(), (jumps.len() as i64, 0));
    let visits = world.visits("a");
    assert_eq!(visits.iter().map(|v| v.event_count).sum::<i64>(), jumps.len() as i64);
    let together = visits.iter().find(|v| v.started == START).unwrap();
    assert_eq!(together.event_count, 4, "those of the true hour found each other");
    for visit in &visits {
        assert!(visit.started <= visit.last_active);
        assert!(visit.end.is_none_or(|(end, _)| end >= visit.last_active), "{visit:?}");
    }
    let seqs: Vec<_> = visits.iter().flat_map(|v| world.events(v)).map(|e| e.seq).collect();
    let mut sorted = seqs.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), seqs.len());
}

#[test]
fn a_time_ahead_is_believed_for_five_minutes() {
    let world = World::measuring();
    for (ahead, state) in [(5 * MINUTE_MS, ClockState::Client), (5 * MINUTE_MS + 1, ClockState::Implausible)] {
        let outcome = world.send(at(page("a", "/"), START.plus(ahead)));
        assert_eq!(world.event(outcome.seq).clock_state, state);
    }
    let far = world.send(at(page("a", "/"), START.plus(HOUR_MS)));
    assert_eq!(world.event(far.seq).corrected, START);
}

#[test]
fn extreme_times_of_a_client_do_no_harm() {
    let world = World::measuring();
    for time in ["0001-01-01T00:00:00Z", "9999-12-30T00:00:00Z"] {
        for sent in ["0001-01-01T00:00:00Z", "9999-12-30T00:00:00Z"] {
            let outcome = world.send(with(page("a", "/"), json!({"time": time, "sentAt": sent})));
            assert_eq!(outcome.fate, Fate::Accepted, "{outcome:?}");
            assert_eq!(world.event(outcome.seq).corrected, START, "{time} sent {sent}");
        }
    }
    assert_eq!(world.visit("a").event_count, 4);
}
