//! SIGKILL under load. What was acknowledged before a kill is there after it, once; what was not is sent again and
//! stands once. Must never look at the data between kill and restart: recovery is the daemon's.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::book::Book;
use crate::child::{Home, SHOP};
use crate::database::{Database, Seen};
use crate::load::{Load, settle};
use crate::support::{Dice, pass, say};

fn kills() -> u64 {
    let given = std::env::var("WAYSIDE_FAULT_KILLS").ok();
    given.map_or(50, |text| text.parse().expect("WAYSIDE_FAULT_KILLS is a number"))
}

#[test]
fn what_was_acknowledged_outlives_every_kill_exactly_once() {
    let (home, book, mut dice) = (Home::new(SHOP), Arc::new(Book::default()), Dice::new(1));
    // a start that was killed before it had made its first database may leave the beginnings of one there
    let (mut seen, mut aside) = (Seen::default(), 0);
    for round in 1..=kills() {
        if dice.below(5) == 0 {
            home.start_and_kill(dice.ms(0, 60));
        }
        let daemon = home.start();
        if round == 1 {
            aside = kept_aside(&home);
        } else {
            let database = Database::open(&home.data());
            seen = database.keeps(&book, &seen);
            if round % 10 == 0 {
                database.is_sound();
            }
        }
        book.open().turn_page();
        let load = Load::begin(daemon.address, &book, round);
        pass(dice.ms(20, 400));
        load.expect_the_end();
        daemon.kill();
        load.end();
    }
    let daemon = home.start();
    seen = Database::open(&home.data()).keeps(&book, &seen);
    settle(daemon.address, &book);
    let forwarded = daemon.control().post("/v1/forward", r#"{"force":true}"#).unwrap();
    assert_eq!(forwarded.status, 200, "{forwarded:?}");
    daemon.stop();
    let database = Database::open(&home.data());
    database.is_sound();
    seen = database.keeps(&book, &seen);
    everything_sent_is_stored(&book, &seen);
    every_no_is_in_the_rights_log(&home, &book);
    assert_eq!(kept_aside(&home), aside, "a sound database was taken for a damaged one:\n{}", home.tail());
    sealed_batches_hold_every_event_once(&home, &database, &seen);
    let entries = book.open();
    let (sent, decided, kept) = (entries.events.len(), entries.decisions.len(), entries.acked());
    say(&format!("{} kills: {sent} events and {decided} decisions sent, {kept} events stored", kills()));
}

/// Databases that were taken for damaged.
fn kept_aside(home: &Home) -> usize {
    std::fs::read_dir(home.data().join("damaged")).map_or(0, Iterator::count)
}

/// In the end all that was sent again was acknowledged, so nothing may be left over.
fn everything_sent_is_stored(book: &Book, seen: &Seen) {
    let entries = book.open();
    let wanted = entries.events.values().filter(|sent| !sent.refused).count();
    assert_eq!(seen.events.len(), wanted);
    assert!(
        wanted > 0 && entries.events.values().any(|sent| sent.page) && entries.events.values().any(|sent| sent.refused)
    );
}

/// A no is logged before it is answered: a restored copy must know it.
fn every_no_is_in_the_rights_log(home: &Home, book: &Book) {
    let log = std::fs::read_to_string(home.data().join("rights.log")).unwrap();
    let logged = log.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count();
    let noes = book.open().decisions.values().filter(|d| d.acked && d.action != "give").count();
    assert!(noes > 0 && logged >= noes, "{logged} lines in rights.log, {noes} noes acknowledged");
}

/// Batches verify, and their files hold each stored event in one line.
pub fn sealed_batches_hold_every_event_once(home: &Home, database: &Database, seen: &Seen) {
    assert!(database.number("SELECT count(*) FROM batches") > 0, "nothing was sealed");
    let verified = home.run(&["batches", "verify"]);
    assert!(
        verified.status.success(),
        "batches verify: {}\n{}{}",
        verified.status,
        String::from_utf8_lossy(&verified.stdout),
        String::from_utf8_lossy(&verified.stderr)
    );
    let mut lines = HashMap::new();
    read_batches(&home.data().join("outbox"), &mut lines);
    for (id, numbers) in &lines {
        assert_eq!(numbers.len(), 1, "{id} left in more than one line: {numbers:?}");
        assert_eq!(seen.events.get(id), numbers.first(), "{id} left under another number than it is stored");
    }
    let missing = seen.events.keys().filter(|id| !lines.contains_key(*id)).count();
    assert_eq!(missing, 0, "of {} stored events {missing} are in no batch", seen.events.len());
}

/// The events in the files of a folder: id and numbers.
fn read_batches(folder: &Path, lines: &mut HashMap<String, Vec<i64>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_batches(&path, lines);
        } else if path.to_str().unwrap().ends_with(".ndjson.gz") {
            let mut text = String::new();
            let file = std::fs::File::open(&path).unwrap();
            flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
            for line in text.lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                if line["kind"] == "event" {
                    let id = line["event_id"].as_str().unwrap().to_owned();
                    lines.entry(id).or_default().push(line["seq"].as_i64().unwrap());
                }
            }
        }
    }
}
