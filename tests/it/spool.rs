//! The spool folder: programs without HTTP write a file elsewhere and rename it in.
//! Must never wait for anything but the file's disappearance. Invariant: a file is taken whole, once, or stays.

use std::fs;

use serde_json::{Value, json};

use crate::support::daemon::files;
use crate::support::*;

/// The file is renamed into the spool, as a program would.
fn put(home: &Home, name: &str, lines: &[Value]) {
    put_text(home, name, &lines.iter().map(|line| format!("{line}\n")).collect::<String>());
}

fn put_text(home: &Home, name: &str, text: &str) {
    let elsewhere = home.data().join(format!("{name}.part"));
    fs::create_dir_all(home.data().join("spool")).unwrap();
    fs::write(&elsewhere, text).unwrap();
    fs::rename(elsewhere, home.data().join("spool").join(name)).unwrap();
}

/// Waits until the daemon has taken the file.
#[track_caller]
fn taken(home: &Home, name: &str) {
    let file = home.data().join("spool").join(name);
    until(PATIENCE, &format!("taking {name}"), || !file.exists());
}

/// What was rejected of files of this name.
fn rejected(home: &Home, name: &str) -> Vec<Value> {
    let texts = files(&home.data().join("spool/rejected")).into_iter().filter_map(|(path, bytes)| {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        (file.starts_with(name) && file.ends_with(".rejected.ndjson")).then(|| String::from_utf8(bytes).unwrap())
    });
    let texts: Vec<String> = texts.collect();
    texts.iter().flat_map(|text| text.lines()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_file_renamed_in_is_taken_once() {
    let daemon = Daemon::plain();
    daemon.give("v", &["measure"]);
    let lines = [page_view("v"), page_view("nobody"), with(page_view("v"), json!({"eventId": "e-1"}))];
    put(&daemon.home, "turn-1.ndjson", &lines);
    taken(&daemon.home, "turn-1.ndjson");
    assert_eq!((daemon.count("events"), daemon.counted()), (2, 1));
    assert_eq!(rejected(&daemon.home, "turn-1.ndjson"), Vec::<Value>::new());
    put(&daemon.home, "turn-1.ndjson", &lines);
    taken(&daemon.home, "turn-1.ndjson");
    assert_eq!((daemon.count("events"), daemon.counted()), (2, 1), "the same file again adds nothing");
}

#[test]
fn bad_lines_are_put_aside_with_their_reason_and_without_their_values() {
    let daemon = Daemon::plain();
    daemon.give("v", &["measure"]);
    let text = format!(
        "{}\n{{\"name\": \n\n{}\n{}\n\u{1}\n",
        page_view("v"),
        json!({"name": "n", "visitor": "v", "colour": "secret value", "attributes": {"a": 7}}),
        page_view("v"),
    );
    put_text(&daemon.home, "mixed.ndjson", &text);
    taken(&daemon.home, "mixed.ndjson");
    assert_eq!(daemon.count("events"), 2, "good lines are kept");
    let aside = rejected(&daemon.home, "mixed.ndjson");
    let lines: Vec<_> = aside.iter().map(|line| line["line"].as_i64().unwrap()).collect();
    assert_eq!(lines, [2, 4, 6], "numbered as an editor numbers them: {aside:?}");
    assert!(aside[0]["what"].as_str().unwrap().contains("column"), "{aside:?}");
    assert_eq!(aside[1]["field"], "colour");
    let shape =
        json!({"name": "<string>", "visitor": "<string>", "colour": "<string>", "attributes": {"a": "<number>"}});
    assert_eq!(aside[1]["shape"], shape);
    assert!(!aside.iter().any(|line| line.to_string().contains("secret")));
    put_text(&daemon.home, "mixed.ndjson", "{}\n");
    taken(&daemon.home, "mixed.ndjson");
    assert_eq!(rejected(&daemon.home, "mixed.ndjson").len(), 4, "another file of that name writes over nothing");
}

#[test]
fn writing_there_is_authority_to_decide_in_file_order() {
    let daemon = Daemon::with("[[site]]\nid = \"kiosk\"\n");
    let lines = [
        page_view("v"),
        json!({"visitor": "v", "action": "give", "purposes": ["measure"], "method": "kiosk_touch", "decisionId": "d-1"}),
        page_view("v"),
        json!({"visitor": "v", "action": "withdraw"}),
        page_view("v"),
        with(page_view("w"), json!({"decision": {"action": "give", "purposes": ["measure"]}})),
    ];
    put(&daemon.home, "day.ndjson", &lines);
    taken(&daemon.home, "day.ndjson");
    assert_eq!(daemon.counted(), 2);
    let ledger = daemon.rows("SELECT action, actor FROM decisions ORDER BY seq");
    assert_eq!(ledger, [json!(["give", "operator"]), json!(["withdraw", "operator"]), json!(["give", "operator"])]);
    assert_eq!(daemon.count("visible_visits"), 1, "w's; v's was withdrawn");
}

#[test]
fn the_files_name_says_the_site() {
    let daemon = Daemon::with("[[site]]\nid = \"a\"\n\n[[site]]\nid = \"b\"\n");
    put(&daemon.home, "b@one.ndjson", &[page_view("v")]);
    taken(&daemon.home, "b@one.ndjson");
    assert_eq!(daemon.rows("SELECT s.name, sum(n) FROM counts JOIN sites s USING (site_id)"), [json!(["b", 1])]);
    put(&daemon.home, "nowhere@one.ndjson", &[page_view("v")]);
    put(&daemon.home, "z-last@b.ndjson", &[page_view("v")]);
    put(&daemon.home, "b@two.ndjson", &[page_view("v")]);
    taken(&daemon.home, "b@two.ndjson");
    until(PATIENCE, "saying why a file stays", || daemon.home.log().contains("nowhere@one.ndjson stays"));
    assert!(daemon.home.data().join("spool/nowhere@one.ndjson").exists(), "a file of no site stays where it is");
    assert_eq!(daemon.counted(), 2);
}

#[test]
fn files_wait_for_a_daemon_and_half_written_ones_for_their_writer() {
    let home = Daemon::plain().stop();
    put(&home, "waiting.ndjson", &[page_view("v"), page_view("w")]);
    fs::write(home.data().join("spool/.hidden.ndjson"), "{\"name\"").unwrap();
    let daemon = home.start();
    taken(&daemon.home, "waiting.ndjson");
    assert_eq!(daemon.counted(), 2);
    assert!(daemon.home.data().join("spool/.hidden.ndjson").exists());
    let home = daemon.stop();
    let daemon = home.start();
    put(&daemon.home, "later.ndjson", &[page_view("v")]);
    taken(&daemon.home, "later.ndjson");
    assert_eq!(daemon.counted(), 3, "a restart takes nothing twice");
}

#[test]
fn a_file_too_large_stays_and_many_lines_are_all_taken() {
    let daemon = Daemon::with("[ingest.spool]\nfile_bytes_max = 400000\n");
    daemon.give("v", &["measure"]);
    let line = format!("{}\n", page_view("v"));
    put_text(&daemon.home, "a-large.ndjson", &line.repeat(400_001 / line.len() + 1));
    put_text(&daemon.home, "b-many.ndjson", &line.repeat(2_001));
    taken(&daemon.home, "b-many.ndjson");
    assert_eq!(daemon.count("events"), 2_001);
    assert!(daemon.home.data().join("spool/a-large.ndjson").exists());
    assert!(daemon.home.log().contains("a-large.ndjson stays"));
}

#[test]
fn a_spool_that_is_off_is_left_alone() {
    let daemon = Daemon::with("[ingest.spool]\nenabled = false\n");
    put(&daemon.home, "file.ndjson", &[page_view("v")]);
    let home = daemon.stop();
    assert!(home.data().join("spool/file.ndjson").exists());
}
