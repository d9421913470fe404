//! Room that runs out and comes back: the ballast on a disk that others have filled, and a file that shrinks once its backlog was
//! taken. Must never fill a disk but a small one of its own. Invariant: whatever is full, a decision is recorded.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::child::{Daemon, Home, SHOP};
use crate::client::Answer;
use crate::database::Database;
use crate::disk::{Disk, must_mount};
use crate::support::{say, skipped, until};

/// The disk; the ballast is made while several times as much is free.
const DISK: &str = "size=64m";
const BALLAST: u64 = 6 << 20;
/// Budget of the backlog, bytes.
const BUDGET: u64 = 12_000_000;

/// Bytes of the database, its log counted in.
const BYTES: &str = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";

fn config(quota: &str) -> String {
    let shop = SHOP.replace("[upkeep]", "[upkeep]\nstart_quiet_minutes = 0");
    assert!(shop.contains("start_quiet_minutes"), "upkeep removes at once");
    shop.replace("disk_budget_bytes = 100000000000", quota)
}

/// Events of `v`, each of about a kilobyte.
fn post(daemon: &Daemon, name: &str, ids: std::ops::Range<usize>) -> Answer {
    let text = "x".repeat(900);
    let event = |n: usize| json!({"visitor": "v", "name": name, "url": "https://shop.example/", "eventId": format!("{name}-{n}"), "attributes": {"a": text}});
    let body: Vec<Value> = ids.map(event).collect();
    daemon.client().post("/v1/events", &Value::from(body).to_string()).unwrap()
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

#[test]
fn the_ballast_gives_way_on_a_full_disk_so_that_rights_are_still_exercised() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&folder.path().join("disk"), DISK) else {
        must_mount();
        return skipped(
            "the_ballast_gives_way_on_a_full_disk_so_that_rights_are_still_exercised",
            "a tmpfs can be mounted by root only",
        );
    };
    let quota = format!("disk_budget_bytes = 100000000000\nballast_bytes = {BALLAST}\nwhen_full = \"drop_fine\"");
    let home = Home::at(&disk.0, &config(&quota));
    let ballast = home.data().join("ballast");
    let daemon = home.start();
    let give = json!({"visitor": "leaver", "action": "give", "purposes": ["measure"]}).to_string();
    let given = daemon.client().post("/v1/consent", &give).unwrap();
    let token = given.json()["visitorToken"].clone();
    for n in 0..10 {
        assert_eq!(post(&daemon, "page_viewed", n * 20..(n + 1) * 20).status, 200);
        assert_eq!(post(&daemon, "scroll", n * 20..(n + 1) * 20).status, 200);
    }
    until("the ballast is made", || length(&ballast) == BALLAST);
    disk.fill();
    until("the ballast gives way", || length(&ballast) == 0);
    // what is free now is for upkeep and for rights: nothing else gets any of it
    until("events are refused", || post(&daemon, "page_viewed", 900..901).status == 503);
    assert_eq!(post(&daemon, "scroll", 900..901).status, 503);
    let withdraw = json!({"visitor": "leaver", "action": "withdraw", "visitorToken": token}).to_string();
    let no = daemon.client().post("/v1/consent", &withdraw).unwrap();
    assert_eq!(no.status, 200, "{no:?}");
    let status = home.run(&["status", "--json"]);
    assert!(status.status.success(), "{status:?}");
    let database = Database::open(&home.data());
    // the lane `fine` makes room, and is on record for it; nothing else of what was accepted goes
    until("fine rows make room", || database.number("SELECT count(*) FROM events WHERE lane = 3") == 0);
    assert_eq!(database.number("SELECT count(*) FROM events WHERE lane = 2"), 200);
    assert!(home.run(&["forward", "--once"]).status.success());
    let erased = daemon.control().post("/v1/erasures", &json!({"visitor": "v", "site": "shop"}).to_string()).unwrap();
    assert_eq!(erased.status, 200, "{erased:?}");
    until("the erased are gone", || database.number("SELECT count(*) FROM events WHERE lane = 2") == 0);
    fs::remove_file(disk.0.join("filler")).unwrap();
    until("events are accepted again", || post(&daemon, "page_viewed", 2_000..2_001).status == 200);
    until("the ballast is made again", || length(&ballast) == BALLAST);
    daemon.stop();
    database.is_sound();
    drop(database);
    drop(home);
    drop(disk);
}

#[test]
fn a_backlog_that_was_taken_gives_its_room_back() {
    let quota = format!("disk_budget_bytes = {BUDGET}\nballast_bytes = 0\ngrace_days = 0");
    let home = Home::new(&config(&quota));
    let daemon = home.start();
    let mut posted = 0;
    until("the budget is used up", || {
        let answer = post(&daemon, "page_viewed", posted..posted + 50);
        posted += if answer.status == 200 { 50 } else { 0 };
        answer.status == 503
    });
    let database = Database::open(&home.data());
    let full = database.number(BYTES);
    let rows = database.number("SELECT count(*) FROM events");
    assert_eq!(usize::try_from(rows).unwrap(), posted, "nothing that nobody has goes");
    until("everything is taken", || {
        assert!(home.run(&["forward", "--once"]).status.success());
        for lane in ["consent", "visits", "pages"] {
            let last = newest(&home, lane);
            if last > 0 {
                assert!(home.run(&["batches", "ack", "--upto", &format!("{lane}/{last}")]).status.success());
            }
        }
        database.number("SELECT count(*) FROM events") < rows
    });
    until("the file shrinks", || database.number(BYTES) < full * 95 / 100);
    until("events are accepted again", || post(&daemon, "page_viewed", posted..posted + 1).status == 200);
    let left = database.number(BYTES);
    say(&format!("{full} bytes with a backlog of {rows} events, {left} once it was taken"));
    daemon.stop();
    database.is_sound();
}

/// The newest batch of a lane in the outbox.
fn newest(home: &Home, lane: &str) -> i64 {
    let mut last = 0;
    let epochs = fs::read_dir(home.data().join("outbox")).into_iter().flatten().flatten();
    for epoch in epochs.flat_map(|edge| fs::read_dir(edge.path()).into_iter().flatten().flatten()) {
        for file in fs::read_dir(epoch.path().join(lane)).into_iter().flatten().flatten() {
            let name = file.file_name().into_string().unwrap();
            last = last.max(name.split('.').next().and_then(|no| no.parse().ok()).unwrap_or(0));
        }
    }
    last
}
