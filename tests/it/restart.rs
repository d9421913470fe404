//! Stopping, starting again, starting twice, and files that are damaged or too new.
//! Must never kill under load (the fault tests do). Invariant: what was acknowledged is there afterwards.

use std::fs;
use std::os::unix::fs::FileExt;

use rusqlite::Connection;
use serde_json::json;

use crate::support::daemon::{files, rows};
use crate::support::*;

#[test]
fn a_clean_stop_and_start_keep_rows_epoch_and_visits() {
    let daemon = Daemon::plain();
    let token = daemon.give("v", &["measure"]);
    daemon.events(&with(page_view("v"), json!({"eventId": "e-1"})));
    daemon.events(&page_view("nobody"));
    let identity = daemon.rows("SELECT epoch, edge, reason FROM epochs");
    assert_eq!((identity.len(), &identity[0][2]), (1, &json!("first_start")));
    let last = daemon.value("SELECT last FROM seq");
    let home = daemon.stop();
    assert!(home.log().contains("stopping"));
    assert_eq!(rows(&home.database(), "PRAGMA integrity_check"), [json!(["ok"])]);
    let daemon = home.start();
    assert_eq!(daemon.rows("SELECT epoch, edge, reason FROM epochs"), identity);
    assert_eq!((daemon.count("events"), daemon.counted()), (1, 1));
    assert_eq!(daemon.events(&with(page_view("v"), json!({"eventId": "e-1"}))).outcomes(200), ["duplicate"]);
    assert_eq!(daemon.events(&page_view("v")).outcomes(200), ["accepted"]);
    assert_eq!(daemon.rows("SELECT event_count FROM visits"), [json!([2])], "the visit went on");
    assert!(daemon.value("SELECT max(seq) FROM events").as_i64() > last.as_i64(), "numbers are never given out twice");
    let no = daemon.decide(&json!({"visitor": "v", "action": "withdraw", "visitorToken": token}));
    assert_eq!(no.status, 200, "tokens outlive the process: {no:?}");
}

#[test]
fn a_power_cut_costs_nothing_that_was_acknowledged() {
    let daemon = Daemon::plain();
    daemon.give("v", &["measure"]);
    for n in 0..20 {
        assert_eq!(
            daemon.events(&with(page_view("v"), json!({"eventId": format!("e-{n}")}))).outcomes(200),
            ["accepted"]
        );
    }
    let daemon = daemon.kill().start();
    assert_eq!(daemon.count("events"), 20);
    assert_eq!(daemon.rows("SELECT event_count, page_count FROM visits"), [json!([20, 20])]);
    assert_eq!(daemon.rows("PRAGMA integrity_check"), [json!(["ok"])]);
    assert_eq!(daemon.count("epochs"), 1);
    daemon.still_serves();
}

#[test]
fn requests_under_way_are_answered_before_the_end() {
    let daemon = Daemon::plain();
    daemon.give("v", &["measure"]);
    let mut client = daemon.connect();
    let body = page_view("v").to_string();
    let (first, second) = body.split_at(10);
    client.raw(format!("POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{first}", body.len()));
    daemon.still_serves(); // the head before it was read by now: one thread reads them all
    let home = std::thread::scope(|scope| {
        let stopped = scope.spawn(|| daemon.stop());
        client.raw(second);
        assert_eq!(client.answer(false).outcomes(200), ["accepted"]);
        stopped.join().unwrap()
    });
    assert_eq!(rows(&home.database(), "SELECT count(*) FROM events"), [json!([1])]);
}

#[test]
fn a_second_daemon_on_the_same_directory_refuses() {
    let daemon = Daemon::plain();
    daemon.give("v", &["measure"]);
    let second = daemon.home.refuses();
    assert_eq!(second.code, Some(65), "{second:?}");
    assert!(second.log.contains("another wayside process holds"), "{second:?}");
    assert!(second.log.contains("--data-dir"), "it says what to do: {second:?}");
    assert_eq!(daemon.events(&page_view("v")).outcomes(200), ["accepted"], "the first was not disturbed");
    assert_eq!(daemon.control().send(&get("/v1/status")).status, 200);
}

#[test]
fn a_damaged_database_is_kept_aside_and_a_fresh_one_serves() {
    let daemon = Daemon::plain();
    let token = daemon.give("withdrew", &["measure"]);
    daemon.give("v", &["measure"]);
    daemon.events(&page_view("v"));
    daemon.decide(&json!({"visitor": "refused", "action": "refuse"}));
    daemon.decide(&json!({"visitor": "withdrew", "action": "withdraw", "visitorToken": token}));
    let before = daemon.rows("SELECT edge, epoch FROM epochs")[0].clone();
    let home = daemon.stop();
    let file = fs::File::options().write(true).open(home.database()).unwrap();
    file.write_all_at(&[0xa5; 4096], 4096).unwrap();
    file.write_all_at(&[0xa5; 40], 60).unwrap();
    drop(file);
    let damaged = fs::read(home.database()).unwrap();
    let daemon = home.start();
    let aside: Vec<_> = files(&daemon.home.data().join("damaged"));
    assert!(aside.iter().any(|(path, bytes)| path.ends_with("wayside.db") && *bytes == damaged), "kept, and untouched");
    let log = daemon.home.log();
    assert!(log.contains("the database was damaged") && log.contains("damaged/"), "{log}");
    assert!(log.contains("keep the damaged file"), "it says what to do: {log}");
    let now = daemon.rows("SELECT edge, epoch, reason FROM epochs")[0].clone();
    assert_eq!((&now[0], &now[2]), (&before[0], &json!("fresh_after_damage")));
    assert_ne!(now[1], before[1]);
    daemon.give("v", &["measure"]);
    assert_eq!(daemon.events(&page_view("v")).outcomes(200), ["accepted"]);
    for visitor in ["refused", "withdrew"] {
        assert_eq!(
            daemon.events(&page_view(visitor)).first()["reason"],
            "denied",
            "{visitor}: a no outlives its database"
        );
    }
    let late = json!({"visitor": "withdrew", "action": "give", "purposes": ["measure"]});
    assert_error(&daemon.decide(&late), 403, "visitor_token");
}

#[test]
fn a_file_that_is_no_database_is_kept_aside_too() {
    let home = Daemon::plain().stop();
    fs::write(home.database(), "this was a shopping list\n".repeat(500)).unwrap();
    let daemon = home.start();
    daemon.still_serves();
    assert!(files(&daemon.home.data().join("damaged")).iter().any(|(_, bytes)| bytes.starts_with(b"this was")));
    assert_eq!(daemon.count("epochs"), 1);
    let daemon = daemon.stop().start();
    assert_eq!(files(&daemon.home.data().join("damaged")).len(), 1, "the fresh one is sound");
}

#[test]
fn a_newer_schema_is_refused_and_left_as_it_is() {
    let daemon = Daemon::plain();
    daemon.give("v", &["measure"]);
    let home = daemon.stop();
    let newer = Connection::open(home.database()).unwrap();
    let version: i64 = newer.pragma_query_value(None, "user_version", |r| r.get(0)).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    let refused = home.refuses();
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.log.contains("schema version 99"), "{refused:?}");
    assert!(refused.log.contains("install"), "it says what to do: {refused:?}");
    assert!(!home.data().join("damaged").exists(), "newer is not damaged");
    assert_eq!(rows(&home.database(), "PRAGMA user_version"), [json!([99])]);
    assert_eq!(rows(&home.database(), "SELECT count(*) FROM decisions"), [json!([1])]);
    let back = Connection::open(home.database()).unwrap();
    back.pragma_update(None, "user_version", version).unwrap();
    drop(back);
    assert_eq!(home.start().events(&page_view("v")).outcomes(200), ["accepted"]);
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_with_its_place() {
    for (config, named) in [
        ("colour = \"red\"\n", "colour"),
        ("[[site]]\nid = \"a\"\n\n[[site]]\nid = \"a\"\n", "\"a\""),
        ("[ingest.limits]\nevents_max = 0\n", "events_max"),
        ("ingest_token_files = [\"missing\"]\n", "missing"),
        ("[visits\n", "line"),
    ] {
        let refused = Home::new(config).refuses();
        assert_eq!(refused.code, Some(78), "{config}: {refused:?}");
        assert!(refused.log.contains(named), "{config}: {refused:?}");
    }
}
