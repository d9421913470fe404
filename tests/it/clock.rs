//! Clients whose clocks are wrong, late or out of order: the times kept, and the visits they make.
//! Must never set a clock: only the times that clients send differ. Invariant: every sent time is kept beside the corrected one.

use serde_json::{Value, json};

use crate::support::*;

const YEAR: i64 = 365 * DAY;

fn house() -> Daemon {
    let daemon = Daemon::plain();
    daemon.give("v", &["measure"]);
    daemon
}

fn at(ms_ago: i64) -> Value {
    with(page_view("v"), json!({"time": ago(ms_ago).rfc3339()}))
}

#[track_caller]
fn take(daemon: &Daemon, events: &[Value]) {
    assert_eq!(daemon.events(&json!(events)).outcomes(200), vec!["accepted"; events.len()]);
}

/// How far corrected lies before received, in whole seconds, with the state of the clock, newest event first.
fn kept(daemon: &Daemon) -> Vec<Value> {
    daemon.rows("SELECT cast(round((received_at - corrected_at) / 1000.0) AS INTEGER), clock_state FROM events ORDER BY seq DESC")
}

#[test]
fn a_clock_wrong_by_a_year_is_corrected_by_the_sending_time() {
    let daemon = house();
    for wrong in [YEAR, -YEAR] {
        let event = with(at(wrong + 30 * SECOND), json!({"sentAt": ago(wrong).rfc3339()}));
        take(&daemon, &[event]);
        assert_eq!(kept(&daemon)[0], json!([30, 2]), "{wrong}");
    }
    let envelope = json!({"sentAt": ago(YEAR).rfc3339(), "events": [at(YEAR + 90 * SECOND), at(YEAR + 60 * SECOND)]});
    assert_eq!(daemon.events(&envelope).outcomes(200), ["accepted", "accepted"]);
    assert_eq!(kept(&daemon)[..2], [json!([60, 2]), json!([90, 2])]);
    let sent = daemon.rows(
        "SELECT round((received_at - client_at) / 864e5), round((received_at - sent_at) / 864e5) FROM events LIMIT 1",
    );
    assert_eq!(sent, [json!([365.0, 365.0])], "what was sent is kept as it was");
    assert_eq!(daemon.count("visits"), 1, "they all happened just now");
}

#[test]
fn a_wrong_clock_that_tells_no_sending_time_is_not_believed() {
    let daemon = house();
    for wrong in [YEAR, -YEAR, -6 * MINUTE, 91 * DAY] {
        take(&daemon, &[at(wrong)]);
        assert_eq!(kept(&daemon)[0], json!([0, 3]), "{wrong}");
    }
    take(&daemon, &[at(-4 * MINUTE)]);
    assert_eq!(kept(&daemon)[0], json!([-240, 1]), "a little ahead is believed");
    take(&daemon, &[page_view("v")]);
    assert_eq!(kept(&daemon)[0], json!([0, 0]), "no time at all");
}

#[test]
fn a_kiosk_that_is_days_late_keeps_its_own_times_and_visits() {
    let daemon = house();
    let day = |days: i64| [at(days * DAY), at(days * DAY - 5 * MINUTE), at(days * DAY - 10 * MINUTE)];
    take(&daemon, &[day(3), day(2), day(1)].concat());
    let visits = daemon.rows(
        "SELECT event_count, (last_active_at - started_at) / 1000, end_reason IS NULL FROM visits ORDER BY started_at",
    );
    assert_eq!(visits.iter().map(|v| v[0].clone()).collect::<Vec<_>>(), [json!(3), json!(3), json!(3)], "{visits:?}");
    assert!(visits.iter().all(|v| (599..=601).contains(&v[1].as_i64().unwrap())), "{visits:?}");
    assert!(kept(&daemon).iter().all(|row| row[1] == 1));
    let dwell = daemon.rows("SELECT DISTINCT (dwell_ms + 500) / 1000 FROM pages WHERE dwell_ms IS NOT NULL");
    assert_eq!(dwell, [json!([300])]);
}

#[test]
fn a_late_event_joins_the_visit_it_happened_in() {
    let daemon = house();
    take(&daemon, &[at(5 * HOUR), at(5 * HOUR - 10 * MINUTE), at(2 * HOUR), at(2 * HOUR - 10 * MINUTE)]);
    assert_eq!(daemon.count("visits"), 2);
    take(&daemon, &[at(5 * HOUR - 5 * MINUTE), at(5 * HOUR - 25 * MINUTE), at(5 * HOUR + 19 * MINUTE)]);
    let visits =
        daemon.rows("SELECT event_count, (last_active_at - started_at + 500) / 60000 FROM visits ORDER BY started_at");
    assert_eq!(visits, [json!([5, 44]), json!([2, 10])], "the window grew on both sides");
    take(&daemon, &[at(4 * HOUR)]);
    assert_eq!(daemon.count("visits"), 3, "what lies in no window opens a visit of its own");
    let order = daemon.rows("SELECT count(*) FROM events WHERE received_at < (SELECT max(received_at) FROM events) AND seq > (SELECT max(seq) FROM events)");
    assert_eq!(order, [json!([0])]);
}

#[test]
fn twenty_minutes_are_a_new_visit_and_a_millisecond_less_is_none() {
    let daemon = house();
    let began = ago(3 * HOUR);
    let after = |ms: i64| with(page_view("v"), json!({"time": began.plus(ms).0}));
    take(&daemon, &[after(0), after(20 * MINUTE - 1)]);
    assert_eq!(daemon.count("visits"), 1);
    take(&daemon, &[after(40 * MINUTE - 1)]);
    assert_eq!(daemon.count("visits"), 2);
    let ended = daemon.rows("SELECT end_reason, ended_at - last_active_at FROM visits ORDER BY visit_id LIMIT 1");
    assert_eq!(ended, [json!(["idle", 20 * MINUTE])]);
}

#[test]
fn visits_end_by_their_own_signals() {
    let daemon = house();
    daemon.give("w", &["measure"]);
    let began = ago(2 * HOUR);
    let of = |visitor: &str, name: &str, minute: i64, more: Value| {
        let event = json!({"name": name, "visitor": visitor, "time": began.plus(minute * MINUTE).0});
        with(event, more)
    };
    let page = json!({"url": "https://shop.example/"});
    take(
        &daemon,
        &[
            of("v", "page_viewed", 0, page.clone()),
            of("v", "visit_ended", 5, json!({"endReason": "browser_closed"})),
            of("v", "page_viewed", 6, page.clone()),
            of("v", "next_person", 7, json!({})),
            of("v", "page_viewed", 8, json!({"url": "https://shop.example/?utm_source=a&utm_campaign=c"})),
            of("v", "page_viewed", 9, json!({"url": "https://shop.example/?utm_source=b&utm_campaign=c"})),
            of("w", "page_viewed", 0, with(page.clone(), json!({"visitId": "named"}))),
            of("w", "page_viewed", 90, with(page, json!({"visitId": "named"}))),
        ],
    );
    let of_visitor = |first: &str| {
        daemon.rows(&format!(
            "SELECT v.event_count, coalesce(end_reason, 'open') FROM visits v JOIN visitors USING (visitor_id) \
             WHERE key = '{first}' ORDER BY started_at"
        ))
    };
    assert_eq!(
        of_visitor("v"),
        [json!([2, "browser_closed"]), json!([2, "next_person"]), json!([1, "new_source"]), json!([1, "open"])]
    );
    assert_eq!(of_visitor("w"), [json!([2, "open"])], "a visit the client named ignores the twenty minutes");
}
