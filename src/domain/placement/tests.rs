//! Where an event belongs: windows, ties, late and out-of-order arrivals, sources, signals, visits with a name.

use super::*;
use crate::base::time::{HOUR_MS, MINUTE_MS};

const DAY_ONE: i64 = 1_800_000_000_000;

/// So many minutes into the day.
fn min(minutes: i64) -> Millis {
    Millis(DAY_ONE + minutes * MINUTE_MS)
}

fn window(start: i64, last_active: i64) -> Window {
    Window { start: min(start), last_active: min(last_active), named: None, end: None, source: 0, open_to_joins: true }
}

fn ended(start: i64, last_active: i64, end: i64, reason: EndReason) -> Window {
    Window { end: Some((min(end), reason)), ..window(start, last_active) }
}

fn named(name: &str, start: i64, last_active: i64) -> Window {
    Window { named: Some(ClientId::new(name)), ..window(start, last_active) }
}

fn put(windows: &[Window], at: Millis, source: i64) -> Placement {
    place(windows, &Arrival { at, named: None, source }, &VisitOptions::default())
}

fn at(windows: &[Window], minutes: i64) -> Placement {
    put(windows, min(minutes), 0)
}

fn by_name(windows: &[Window], name: &str, at: Millis) -> Placement {
    let name = ClientId::new(name);
    place(windows, &Arrival { at, named: Some(&name), source: 0 }, &VisitOptions::default())
}

const OPEN: Placement = Placement::Open { ends: None };

#[test]
fn a_gap_of_exactly_twenty_minutes_is_a_new_visit() {
    let one = [window(100, 130)];
    for (instant, expected) in [
        (min(150).plus(-1), Placement::Join(0)),
        (min(150), OPEN),
        (min(150).plus(1), OPEN),
        (min(80).plus(1), Placement::Join(0)),
        (min(80), OPEN),
        (min(115), Placement::Join(0)),
    ] {
        assert_eq!(put(&one, instant, 0), expected, "{instant}");
    }
    assert_eq!(at(&[], 0), OPEN, "a first event");
}

#[test]
fn the_rule_follows_its_option() {
    let options = VisitOptions { ends_after_minutes: 30, ..VisitOptions::default() };
    let put = |instant| place(&[window(0, 0)], &Arrival { at: instant, named: None, source: 0 }, &options);
    assert_eq!(put(min(30).plus(-1)), Placement::Join(0));
    assert_eq!(put(min(30)), OPEN);
}

#[test]
fn a_late_event_joins_the_nearest_window_and_at_a_tie_the_earlier() {
    let two = [window(0, 10), window(40, 50)];
    for (minutes, expected) in [
        (5, Placement::Join(0)),
        (12, Placement::Join(0)),
        (24, Placement::Join(0)),
        (25, Placement::Join(0)), // 15 minutes to both
        (26, Placement::Join(1)),
        (39, Placement::Join(1)),
        (45, Placement::Join(1)),
        (-19, Placement::Join(0)),
        (-20, OPEN),
    ] {
        assert_eq!(at(&two, minutes), expected, "{minutes}");
    }
    let swapped = [window(40, 50), window(0, 10)];
    assert_eq!(at(&swapped, 25), Placement::Join(1), "the earlier, in whatever order they are listed");
}

#[test]
fn a_late_event_between_far_windows_opens_its_own() {
    assert_eq!(at(&[window(0, 10), window(60, 70)], 35), OPEN);
}

#[test]
fn nothing_joins_what_is_shut() {
    let shut = Window { open_to_joins: false, ..window(0, 10) };
    assert_eq!(at(std::slice::from_ref(&shut), 5), OPEN);
    assert_eq!(at(&[shut, window(20, 20)], 8), Placement::Join(1), "the next one whose window contains it");
    let shut = Window { open_to_joins: false, ..named("n", 0, 10) };
    assert_eq!(by_name(&[shut], "n", min(5)), OPEN);
}

#[test]
fn a_new_source_in_order_opens_and_a_late_one_does_not() {
    let with = |source| [Window { source, ..window(0, 10) }];
    assert_eq!(put(&with(0), min(11), 7), Placement::Open { ends: Some(0) });
    assert_eq!(put(&with(7), min(11), 8), Placement::Open { ends: Some(0) });
    assert_eq!(put(&with(7), min(10), 8), Placement::Open { ends: Some(0) }, "at the last activity is in order");
    assert_eq!(put(&with(7), min(11), 7), Placement::Join(0), "the same source");
    assert_eq!(put(&with(7), min(11), 0), Placement::Join(0), "no source");
    assert_eq!(put(&with(7), min(9), 8), Placement::Join(0), "out of order");
    assert_eq!(put(&with(7), min(30), 8), OPEN, "the old one had ended by itself");
}

#[test]
fn a_new_source_divides_at_its_own_time() {
    let parts = [ended(0, 10, 12, EndReason::NewSource), Window { source: 7, ..window(12, 15) }];
    assert_eq!(at(&parts, 11), Placement::Join(0), "before it");
    assert_eq!(at(&parts, 12), Placement::Join(1));
    assert_eq!(at(&parts[..1], 12), OPEN);
    let far = [ended(0, 3, 12, EndReason::NewSource), Window { source: 7, ..window(12, 15) }];
    assert_eq!(at(&far, 11), Placement::Join(0), "the old visit lasted until the new source");
    // one that upkeep ended as idle meanwhile is not ended again
    let idle = [ended(0, 10, 30, EndReason::Idle)];
    assert_eq!(put(&idle, min(12), 7), OPEN);
}

#[test]
fn nothing_later_joins_a_visit_that_ended_by_signal() {
    for reason in [EndReason::BrowserClosed, EndReason::LeftSite, EndReason::NextPerson, EndReason::NewEpoch] {
        let one = [ended(0, 10, 10, reason)];
        assert_eq!(at(&one, 9), Placement::Join(0), "late, {reason:?}");
        assert_eq!(at(&one, 10), Placement::Join(0), "the signal's own instant");
        assert_eq!(put(&one, min(10).plus(1), 0), OPEN, "{reason:?}");
    }
    let next = [ended(0, 1, 10, EndReason::LeftSite), window(11, 15)];
    assert_eq!(at(&next, 9), Placement::Join(0), "it lasted until its signal");
    assert_eq!(at(&[ended(0, 10, 30, EndReason::Idle)], 25), Placement::Join(0), "idle is no signal");
}

#[test]
fn a_named_visit_outlives_silence_and_ends_after_a_day_or_by_its_signal() {
    let one = [named("n", 0, 0)];
    let day = min(24 * 60);
    assert_eq!(by_name(&one, "n", min(180)), Placement::Join(0));
    assert_eq!(by_name(&one, "n", day.plus(-1)), Placement::Join(0));
    assert_eq!(by_name(&one, "n", day), OPEN);
    assert_eq!(by_name(&one, "other", min(1)), OPEN, "another name");
    let left = [Window { end: Some((min(60), EndReason::LeftSite)), ..named("n", 0, 60) }];
    assert_eq!(by_name(&left, "n", min(59)), Placement::Join(0));
    assert_eq!(by_name(&left, "n", min(61)), OPEN);
    let busy = [named("n", 0, 24 * 60 - 1)];
    assert_eq!(at(&busy, 24 * 60), OPEN, "nor does an event without a name prolong it beyond its day");
}

#[test]
fn a_named_visit_never_spans_more_than_its_day() {
    let one = [named("n", 0, 20 * 60)];
    assert_eq!(by_name(&one, "n", min(-3 * 60)), Placement::Join(0), "late, 23 hours in all");
    assert_eq!(by_name(&one, "n", Millis(min(20 * 60).0 - 24 * HOUR_MS)), OPEN);
}

#[test]
fn a_late_event_finds_the_right_one_of_two_visits_with_one_name() {
    let two = [named("n", 0, 60), named("n", 25 * 60, 26 * 60)];
    assert_eq!(by_name(&two, "n", min(30)), Placement::Join(0));
    assert_eq!(by_name(&two, "n", min(25 * 60 + 30)), Placement::Join(1));
    assert_eq!(by_name(&two, "n", min(100)), Placement::Join(0), "the nearest");
    assert_eq!(by_name(&two, "n", min(24 * 60 + 30)), Placement::Join(1), "the first one's day is over");
}
