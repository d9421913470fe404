//! The clock of the machine wrong by a day, then by 400 days, then right again: a daemon that is started under it keeps
//! what it has, and goes on. Must never change the machine's own clock: libfaketime lies to the daemon alone.

use std::process::Command;

use serde_json::json;
use wayside::base::time::{Clock, DAY_MS, HOUR_MS, SystemClock};

use crate::child::{Daemon, Home, SHOP};
use crate::database::Database;
use crate::support::{in_ci, skipped};

#[test]
fn a_clock_that_jumps_removes_nothing_and_bends_no_visit() {
    let Some(library) = faketime() else {
        assert!(!in_ci(), "faketime is missing: install the package faketime (tests/run.sh does)");
        return skipped(
            "a_clock_that_jumps_removes_nothing_and_bends_no_visit",
            "the package faketime is not installed",
        );
    };
    let home = Home::new(SHOP);
    let now = SystemClock.now().0;
    for (n, (clock, days)) in [("-1d", -1), ("+0", 0), ("+400d", 400), ("+0", 0)].into_iter().enumerate() {
        let daemon = start_under(&home, &library, clock);
        let expected = i64::try_from(n).unwrap() * 3;
        assert_eq!(events(&home), expected, "at {clock}");
        post(&daemon, n);
        for _ in 0..3 {
            assert_eq!(upkeep(&daemon, "{}"), "just_started");
        }
        assert_eq!(events(&home), expected + 3, "after upkeep at {clock}");
        let database = Database::open(&home.data());
        database.agrees();
        let newest = database.number("SELECT received_at FROM events ORDER BY seq DESC LIMIT 1");
        let off = newest - now - days * DAY_MS;
        assert!(off.abs() < HOUR_MS, "under {clock} it took the time to be {off} ms from what it was told");
        daemon.stop();
    }
    no_visit_is_bent(&home);
    // the danger was real: once somebody says that the clock is right, what is 400 days old goes
    let daemon = start_under(&home, &library, "+400d");
    upkeep(&daemon, r#"{"confirm":true}"#);
    // also what was received after the jump, behind rows that are dated ahead of it
    let left = events(&home);
    let future = format!("SELECT count(*) FROM events WHERE received_at > {}", now + 399 * DAY_MS);
    assert_eq!((left, Database::open(&home.data()).number(&future)), (3, 3), "of twelve");
    daemon.stop();
    // and a clock behind the one that was confirmed removes nothing at all
    let daemon = home.start();
    assert_eq!(upkeep(&daemon, "{}"), "clock_behind");
    assert_eq!(events(&home), left);
    daemon.stop();
}

/// A round of upkeep; what the guard of the clock says.
#[track_caller]
fn upkeep(daemon: &Daemon, how: &str) -> String {
    let done = daemon.control().post("/v1/upkeep", how).unwrap();
    assert_eq!(done.status, 200, "{done:?}");
    done.json()["clock_guard"].as_str().unwrap().to_owned()
}

fn events(home: &Home) -> i64 {
    Database::open(&home.data()).number("SELECT count(*) FROM events")
}

/// No visit spans a jump, and none holds an event of another time.
fn no_visit_is_bent(home: &Home) {
    let database = Database::open(&home.data());
    database.is_sound();
    let astray = "SELECT count(*) FROM events e JOIN visits v USING (visit_id)
        WHERE e.corrected_at NOT BETWEEN v.started_at AND v.last_active_at";
    assert_eq!(database.number(astray), 0, "events outside the visit they belong to");
    let long = format!("SELECT count(*) FROM visits WHERE last_active_at - started_at > {HOUR_MS}");
    assert_eq!(database.number(&long), 0, "a visit over the jump");
    assert!(
        database.number("SELECT count(*) FROM visits WHERE visitor_id = (SELECT min(visitor_id) FROM visitors)") >= 3
    );
}

/// What to preload, as the package's own program tells it.
fn faketime() -> Option<String> {
    let told =
        Command::new("faketime").args(["-m", "-f", "+0", "sh", "-c", "printf %s \"$LD_PRELOAD\""]).output().ok()?;
    let library = String::from_utf8(told.stdout).ok()?;
    (told.status.success() && !library.is_empty()).then_some(library)
}

/// The library is set directly: through its program, a signal would reach that program and not the daemon.
fn start_under(home: &Home, library: &str, clock: &str) -> Daemon {
    let mut command = home.wayside();
    command.env("LD_PRELOAD", library).env("FAKETIME", clock);
    // waiting and file times stay real
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
    home.start_by(command)
}

/// The same visitor without a clock of its own, one with a right clock, and a new visitor.
fn post(daemon: &Daemon, n: usize) {
    let right = SystemClock.now().rfc3339();
    let url = "https://shop.example/";
    let events = json!([
        {"visitor": "regular", "name": "page_viewed", "url": url, "eventId": format!("regular-{n}")},
        {"visitor": "clock", "name": "page_viewed", "url": url, "eventId": format!("clock-{n}"), "time": right, "sentAt": right},
        {"visitor": format!("new-{n}"), "name": "page_viewed", "url": url, "eventId": format!("new-{n}")},
    ]);
    let answer = daemon.client().post("/v1/events", &events.to_string()).unwrap();
    let outcomes: Vec<_> = answer.results().iter().map(|result| result["outcome"].clone()).collect();
    assert_eq!(outcomes, ["accepted"; 3], "{answer:?}");
}
