//! SIGKILL within a backlog of spool files: most lines carry no id, so only the daemon's own memory of what it took
//! keeps them from standing twice. Invariant: a line is stored once, a bad line is told of once, and no file is left.

use std::collections::HashMap;
use std::path::Path;

use serde_json::json;

use crate::child::{Home, SHOP};
use crate::database::Database;
use crate::support::{Dice, pass, say, until};

const FILES: usize = 4;
const LINES: usize = 1_500;
/// Every so manyth line is no event.
const BAD_EVERY: usize = 500;

#[test]
fn each_spool_line_is_stored_once_whatever_is_killed() {
    let (home, mut dice) = (Home::new(SHOP), Dice::new(2));
    home.start().stop(); // makes the folders
    let spool = home.data().join("spool");
    for file in 0..FILES {
        put(&home, &spool, file);
    }
    let mut killed = 0;
    let mut ms_max = 100;
    while waiting(&spool) > 0 {
        let daemon = home.start();
        pass(dice.ms(5, ms_max));
        daemon.kill();
        killed += 1;
        ms_max += ms_max / 10; // so that the slowest machine gets a commit done between two kills
    }
    let daemon = home.start();
    until("the spool is empty", || waiting(&spool) == 0);
    daemon.stop();
    let database = Database::open(&home.data());
    database.is_sound();
    database.agrees();
    let good = FILES * (LINES - LINES / BAD_EVERY);
    let urls = database.ids("SELECT url, page_id FROM pages"); // each once, or this panics
    for (file, line) in (0..FILES).flat_map(|file| (0..LINES).map(move |line| (file, line))) {
        assert_eq!(urls.contains_key(&url(file, line)), !is_bad(line), "line {line} of file {file}");
    }
    assert_eq!((urls.len(), database.number("SELECT count(*) FROM events")), (good, good as i64));
    assert_eq!(database.number("SELECT count(*) FROM decisions"), FILES as i64);
    assert_eq!(rejected(&spool.join("rejected")), told_bad());
    assert!(killed > 2, "only {killed} kills fell into the backlog: make it longer");
    say(&format!("{killed} kills within {FILES} spool files of {LINES} lines"));
}

fn is_bad(line: usize) -> bool {
    line % BAD_EVERY == BAD_EVERY - 1
}

fn url(file: usize, line: usize) -> String {
    format!("https://shop.example/{file}/{line}")
}

/// Writes a file elsewhere and renames it into the spool, as programs are told to.
fn put(home: &Home, spool: &Path, file: usize) {
    let visitor = |line: usize| format!("kiosk-{file}-{}", line % 50);
    let mut text = json!({"visitor": format!("giver-{file}"), "action": "give", "purposes": ["measure"]}).to_string();
    for line in 0..LINES {
        let mut event = json!({"visitor": visitor(line), "name": "page_viewed", "url": url(file, line)});
        if line % 3 == 0 {
            event["eventId"] = format!("line-{file}-{line}").into();
        }
        if is_bad(line) {
            event["name"] = 7.into();
        }
        text = format!("{text}\n{event}");
    }
    let elsewhere = home.folder().join("part");
    std::fs::write(&elsewhere, text + "\n").unwrap();
    std::fs::rename(&elsewhere, spool.join(format!("{file}.ndjson"))).unwrap();
}

/// Files that wait.
fn waiting(spool: &Path) -> usize {
    std::fs::read_dir(spool).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file()).count()
}

/// Numbers of rejected lines, by the name of the file they came in; each file is told of once.
fn rejected(folder: &Path) -> HashMap<String, Vec<u64>> {
    let mut found = HashMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.ends_with(".rejected.ndjson"), "{name} was left behind");
        let text = std::fs::read_to_string(path).unwrap();
        let number = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["line"].as_u64().unwrap();
        let twice = found.insert(name.split('.').next().unwrap().to_owned(), text.lines().map(number).collect());
        assert!(twice.is_none(), "{name} tells of a file a second time");
    }
    found
}

/// What `rejected` must find: lines count from 1, and the first is the decision.
fn told_bad() -> HashMap<String, Vec<u64>> {
    let numbers: Vec<u64> = (0..LINES).filter(|line| is_bad(*line)).map(|line| line as u64 + 2).collect();
    (0..FILES).map(|file| (file.to_string(), numbers.clone())).collect()
}
