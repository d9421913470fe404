//! SIGKILL within `wayside import`: the next run goes on where the last commit ended. Must never compare visitors: each
//! run has a hash key of its own that is never stored, so a visitor cut in two is two.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::child::{Home, SHOP};
use crate::database::Database;
use crate::support::{Dice, pass, say, until};

/// The small log, so many times over: long enough to be cut.
const TIMES: usize = 30;
/// Kills at least.
const KILLS: usize = 12;

#[test]
fn an_import_killed_again_and_again_adds_up_to_one_uninterrupted() {
    let (whole, cut, mut dice) = (Home::new(SHOP), Home::new(SHOP), Dice::new(3));
    let log = long_log(whole.folder());
    let expected = import(&whole, &log);
    let lines = expected["lines"].as_i64().unwrap();
    assert!(lines > 10_000 && expected["duplicates"] == 0, "{expected}");
    let (mut killed, mut ms_max) = (0, 100);
    loop {
        let mut child = command(&cut, &log).spawn().unwrap();
        pass(dice.ms(20, ms_max));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            break; // it was done before it was killed
        }
        killed += 1;
        ms_max += ms_max / 10; // so that the slowest machine gets a commit done between two kills
        let before = stored(&cut);
        if before > 0 && killed >= KILLS {
            break;
        }
    }
    let before = stored(&cut);
    let last = import(&cut, &log);
    let sum = |name: &str| last[name].as_i64().unwrap();
    assert_eq!(sum("lines"), lines, "{last}");
    assert!(killed > 0 && sum("duplicates") > 0, "no kill fell between two commits: make the log longer");
    assert_eq!(before + sum("page_views"), expected["page_views"].as_i64().unwrap(), "{last}");
    let (one, many) = (Database::open(&whole.data()), Database::open(&cut.data()));
    assert_eq!(views(&one), views(&many));
    for database in [&one, &many] {
        assert_eq!(database.number("SELECT count(*) FROM events"), expected["page_views"].as_i64().unwrap());
        assert_eq!(database.number("SELECT taken_lines FROM imports"), lines);
        database.is_sound();
        database.agrees();
    }
    let again = import(&cut, &log);
    for (name, value) in again.as_object().unwrap() {
        let known = matches!(name.as_str(), "lines" | "duplicates");
        assert_eq!(value.as_i64().unwrap(), if known { lines } else { 0 }, "{name} of {again}");
    }
    say(&format!(
        "{killed} kills within an import of {lines} lines; {before} page views were stored before the last run"
    ));
}

#[test]
fn an_import_that_follows_ends_with_its_tally_when_told() {
    for signal in [Signal::INT, Signal::TERM] {
        let home = Home::new(SHOP);
        let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/access.log");
        let lines = std::fs::read(&log).unwrap().iter().filter(|byte| **byte == b'\n').count();
        let mut command = home.wayside();
        command.args(arguments(&log)).arg("--follow").stdout(std::process::Stdio::piped());
        let child = command.spawn().unwrap();
        let all = i64::try_from(lines).unwrap();
        until("all of the log is taken", || taken(&home) == all);
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{signal:?}: {} {told}\n{}", output.status, home.tail());
        let tally: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(tally["lines"], all, "{tally}");
    }
}

#[test]
fn a_tail_ends_well_when_told() {
    let home = Home::new(SHOP);
    let daemon = home.start();
    let mut command = home.wayside();
    let mut child = command.args(["tail", "--all", "--json"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let event = r#"{"visitor":"v","name":"button_clicked"}"#;
    assert_eq!(daemon.client().post("/v1/events", event).unwrap().status, 200);
    let mut first = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("button_clicked"), "{first}");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::INT).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}");
    daemon.stop();
}

/// Lines of the one log taken so far.
fn taken(home: &Home) -> i64 {
    if stored(home) == 0 { 0 } else { Database::open(&home.data()).number("SELECT sum(taken_lines) FROM imports") }
}

fn long_log(folder: &Path) -> PathBuf {
    let small = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/access.log");
    let path = folder.join("access.log");
    std::fs::write(&path, std::fs::read(small).unwrap().repeat(TIMES)).unwrap();
    path
}

fn arguments(log: &Path) -> Vec<&str> {
    let log = log.to_str().unwrap();
    vec!["import", "--format", "combined", "--basis", "legitimate_interest", "--json", log]
}

fn command(home: &Home, log: &Path) -> std::process::Command {
    let mut command = home.wayside();
    command.args(arguments(log)).stdout(std::process::Stdio::null());
    command
}

/// Runs to the end; the report.
#[track_caller]
fn import(home: &Home, log: &Path) -> Value {
    let output = home.run(&arguments(log));
    let (told, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "import: {}\n{told}\n{log}", output.status);
    serde_json::from_str(&told).unwrap_or_else(|e| panic!("{e}: {told}\n{log}"))
}

fn stored(home: &Home) -> i64 {
    let file = home.data().join("wayside.db");
    if !file.exists() {
        return 0;
    }
    let database = Database::open(&home.data());
    let begun = database.number("SELECT count(*) FROM sqlite_schema WHERE name = 'events'") > 0;
    if begun { database.number("SELECT count(*) FROM events") } else { 0 }
}

/// How often each address was viewed at each time.
fn views(database: &Database) -> HashMap<String, i64> {
    database.ids(
        "SELECT coalesce(p.url, '') || ' ' || e.corrected_at, count(*) FROM events e JOIN pages p ON p.page_id = e.seq GROUP BY 1",
    )
}
