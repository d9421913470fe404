//! Erasure down to the bytes: 200 people whose words nobody else has, in every channel and column; afterwards not one of those
//! words in any file of the data directory, and as root not on the disk below it.
//! Must never look through the program: only files and blocks count. Invariant: whoever was not erased is still whole.

use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::daemon::files;
use crate::support::*;

const PEOPLE: usize = 200;
/// People who come by the spool, and by an imported log, besides.
const SPOOLED: usize = 12;
const IMPORTED: usize = 8;

const CONFIG: &str = "[[site]]\nid = \"shop\"\n\n[forward]\nseal_after_seconds = 1\n";

/// Words that begin alike, so that one search finds them all: `personal` ones stand in personal fields only.
struct Words {
    all: String,
    personal: String,
}

impl Words {
    fn new() -> Words {
        let word = |first: char| {
            let mut bytes = [0u8; 9];
            fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
            let hex: String = bytes.iter().map(|b| char::from(b'a' + b % 26)).collect();
            format!("{first}q{hex}")
        };
        Words { all: word('z'), personal: word('y') }
    }

    fn of(&self, n: usize) -> String {
        format!("{}{n:04}xx", self.all)
    }

    fn personal(&self, n: usize) -> String {
        format!("{}{n:04}xx", self.personal)
    }
}

fn visitor(words: &Words, n: usize) -> String {
    format!("visitor-{}", words.of(n))
}

/// Everything one person sends over HTTP, each value with the person's word in it.
fn arrive(daemon: &Daemon, words: &Words, n: usize) {
    let (m, p, v) = (words.of(n), words.personal(n), visitor(words, n));
    let all = ["measure", "personal", "profile", "share"];
    let given = daemon.decide(&json!({
        "visitor": v, "action": "give", "purposes": all, "decisionId": format!("d-{m}"), "language": "en",
    }));
    assert_eq!(given.status, 200, "{given:?}");
    let events = json!([
        {"visitor": v, "eventId": format!("{m}-1"), "name": "page_viewed", "url": format!("https://shop.example/{m}?q={m}"),
         "title": format!("title {m}"), "referrer": format!("https://{m}.example/from/{m}"), "visitId": format!("visit-{m}"),
         "attributes": {"note": m, "other": format!("more {m}")}},
        {"visitor": v, "eventId": format!("{m}-2"), "name": format!("n_{m}"), "visitId": format!("visit-{m}"),
         "attributes": {format!("k_{m}"): "v"}},
        {"visitor": v, "eventId": format!("{m}-3"), "name": "SignIn", "visitId": format!("visit-{m}"),
         "data": {"userId": format!("customer-{p}")}},
        {"visitor": v, "eventId": format!("{m}-4"), "name": "form_submitted", "visitId": format!("visit-{m}"),
         "traits": {"email": format!("{p}@mail.example"), "givenName": format!("Given {p}"), "familyName": format!("Family {p}")}},
    ]);
    let answer = daemon.send(&post("/v1/events").header("User-Agent", &format!("Agent/{m}")).json(&events));
    assert_eq!(answer.outcomes(200), ["accepted"; 4], "{answer:?}");
}

fn spool(home: &Home, name: &str, lines: &[String]) {
    let folder = home.data().join("spool");
    let part = home.data().join(format!("spool/.{name}"));
    fs::write(&part, lines.join("\n") + "\n").unwrap();
    fs::rename(part, folder.join(name)).unwrap();
    until(PATIENCE, &format!("taking {name}"), || !folder.join(name).exists());
}

fn wayside(home: &Home, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wayside"));
    command
        .current_dir(home.data().parent().unwrap())
        .args(["--config", "wayside.toml", "--data-dir", "data"])
        .args(args);
    let out = command.output().unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn control(daemon: &Daemon, path: &str, body: &Value) -> Value {
    let answer = daemon.control().send(&post(path).json(body));
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

/// Everybody, by every channel; returns how each is named to be erased.
fn fill(daemon: &Daemon, words: &Words) -> Vec<Value> {
    for n in 0..PEOPLE {
        arrive(daemon, words, n);
    }
    let mut lines = Vec::new();
    for n in PEOPLE..PEOPLE + SPOOLED {
        let (m, v) = (words.of(n), visitor(words, n));
        lines.push(
            json!({"visitor": v, "action": "give", "purposes": ["measure"], "decisionId": format!("d-{m}")})
                .to_string(),
        );
        lines
            .push(json!({"visitor": v, "name": "page_viewed", "url": format!("https://shop.example/{m}")}).to_string());
        lines.push(json!({"visitor": v, "name": "", "title": format!("wrong {m}")}).to_string());
        lines.push(format!("{{\"visitor\": \"{v}\", \"name\": broken {m}"));
    }
    spool(&daemon.home, "people.ndjson", &lines);
    let mut log = String::new();
    for n in 0..IMPORTED {
        let m = words.of(PEOPLE + SPOOLED + n);
        log.push_str(&format!(
            "192.0.2.{n} - - [20/Nov/2026:10:00:0{n} +0000] \"GET /{m} HTTP/1.1\" 200 512 \"-\" \"Mozilla/5.0 {m}\"\n"
        ));
    }
    let path = daemon.home.data().parent().unwrap().join("access.log");
    fs::write(&path, log).unwrap();
    wayside(
        &daemon.home,
        &["import", "--format", "combined", "access.log", "--site", "shop", "--basis", "legitimate_interest"],
    );
    control(daemon, "/v1/upkeep", &json!({}));
    control(daemon, "/v1/forward", &json!({"force": true}));
    let mut named: Vec<Value> = (0..PEOPLE + SPOOLED).map(|n| json!({"visitor": visitor(words, n)})).collect();
    let like = format!(
        "SELECT DISTINCT w.visitor_ref FROM visitors w JOIN visits v ON v.visitor_id = w.visitor_id \
                        JOIN events e ON e.visit_id = v.visit_id WHERE e.clock_state = 4 AND e.url LIKE '%{}%'",
        words.all
    );
    let imported = daemon.rows(&like);
    assert_eq!(imported.len(), IMPORTED, "imported people are visitors of their own");
    named.extend(imported.into_iter().map(|row| json!({"visitor_ref": row[0]})));
    named
}

/// How often a word stands in a file, `.gz` inside too, whatever its case.
fn places(data: &Path, word: &str) -> Vec<(PathBuf, usize)> {
    let count = |bytes: &[u8]| {
        let lower = bytes.to_ascii_lowercase();
        lower.windows(word.len()).filter(|window| *window == word.as_bytes()).count()
    };
    let mut found = Vec::new();
    for (path, mut bytes) in files(data) {
        if path.extension().is_some_and(|ending| ending == "gz") {
            bytes = wayside::base::gzip::decompress(&bytes, 1 << 30).unwrap();
        }
        let n = count(&bytes);
        if n > 0 {
            found.push((path, n));
        }
    }
    found
}

/// Erases everybody named.
fn erase(daemon: &Daemon, named: &[Value]) {
    for who in named {
        let body = with(json!({"site": "shop", "later": true}), who.clone());
        let begun = control(daemon, "/v1/erasures", &body);
        assert!(!begun["erasures"].as_array().unwrap().is_empty(), "{who}: {begun}");
    }
    // a reader that happens to look delays it; upkeep would go on by itself
    until(3 * PATIENCE, "erasing everybody", || {
        control(daemon, "/v1/erasures/run", &json!({}))["waiting"] == json!([])
    });
}

#[test]
fn of_two_hundred_people_not_one_byte_is_left_in_any_file() {
    let daemon = Daemon::with(CONFIG);
    let (gone, stays) = (Words::new(), Words::new());
    let named = fill(&daemon, &gone);
    for n in 0..5 {
        arrive(&daemon, &stays, n);
    }
    let data = daemon.home.data();
    let before = places(&data, &gone.all);
    assert!(
        before.iter().any(|(path, _)| path.ends_with("wayside.db-wal") || path.ends_with("wayside.db")),
        "{before:?}"
    );
    assert!(
        before.iter().any(|(path, _)| path.extension().is_some_and(|e| e == "gz")),
        "the outbox names them: {before:?}"
    );
    assert_eq!(places(&data, &gone.personal), [], "personal values never lay there in the clear");
    let waiting = data.join("spool/late.ndjson.hold");
    assert!(!waiting.exists());
    erase(&daemon, &named);
    assert_eq!(places(&data, &gone.all), [], "in the data directory, -wal and .gz included");
    assert_eq!(places(&data, &gone.personal), []);
    assert!(!daemon.home.log().to_ascii_lowercase().contains(&gone.all), "logs never hold ids");
    // who was not erased is whole
    let like = format!("events WHERE event_id LIKE '{}%'", stays.all);
    assert_eq!(daemon.count(&like), 5 * 4);
    assert!(!places(&data, &stays.all).is_empty());
    // late events of everybody bring nobody back
    for n in 0..PEOPLE {
        let late = with(page_view(&visitor(&gone, n)), json!({"time": ago(HOUR).rfc3339()}));
        assert_eq!(daemon.events(&late).outcomes(200), ["counted"]);
    }
    assert_eq!(places(&data, &gone.all), []);
    let verified = wayside(&daemon.home, &["batches", "verify"]);
    assert!(!verified.contains("digest"), "{verified}");
    let told = wayside(&daemon.home, &["erasures", "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    let states: HashSet<&str> =
        told["erasures"].as_array().unwrap().iter().map(|e| e["state"].as_str().unwrap()).collect();
    assert_eq!(states, HashSet::from(["open: targets"]), "done here, open where it has been sent");
    // every file there is stands in the table of places
    let relative: Vec<String> =
        files(&data).iter().map(|(path, _)| path.strip_prefix(&data).unwrap().to_string_lossy().into_owned()).collect();
    for path in relative {
        assert!(wayside::store::traces::place_of(&path).is_some(), "{path} stands in no row of PLACES");
    }
    daemon.still_serves();
}

/// A file system of its own in a file, mounted where a data directory will be; unmounted when dropped.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    /// `None` where this user or machine cannot mount.
    fn mount(folder: &Path, at: &Path, options: &str) -> Option<Disk> {
        let image = folder.join("disk.img");
        let run =
            |program: &str, args: &[&str]| Command::new(program).args(args).output().is_ok_and(|o| o.status.success());
        let file = fs::File::create(&image).unwrap();
        file.set_len(192 << 20).unwrap();
        fs::create_dir_all(at).unwrap();
        let (from, to) = (image.to_str().unwrap(), at.to_str().unwrap());
        (run("mkfs.ext4", &["-q", from]) && run("mount", &["-o", options, from, to]))
            .then(|| Disk { image: image.clone(), at: at.to_owned() })
    }

    /// Everything is on the image.
    fn unmount(&self) {
        let _ = Command::new("sync").status();
        let _ = Command::new("umount").arg(&self.at).status();
    }

    /// How often a word stands in the blocks.
    fn count(&self, word: &str) -> usize {
        let bytes = fs::read(&self.image).unwrap().to_ascii_lowercase();
        let first = word.as_bytes()[0];
        let mut found = 0;
        for at in 0..bytes.len() - word.len() {
            found += usize::from(bytes[at] == first && bytes[at..].starts_with(word.as_bytes()));
        }
        found
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// Root, and a kernel that mounts files. Where CI runs as root it must.
fn on_a_disk(options: &str, then: impl FnOnce(&Disk, &Words)) {
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n");
    let home = Home::new(CONFIG);
    let folder = home.data().parent().unwrap().to_owned();
    let disk = if root { Disk::mount(&folder, &home.data(), options) } else { None };
    let Some(disk) = disk else {
        assert!(!(root && std::env::var_os("CI").is_some()), "CI runs as root and cannot mount a file: {options}");
        skipped(&format!("erasure on raw blocks ({options}): needs root and loop devices"));
        return;
    };
    // ext4 makes it; it is nobody's file of ours
    let _ = fs::remove_dir(home.data().join("lost+found"));
    let daemon = home.start();
    let words = Words::new();
    let named = fill(&daemon, &words);
    erase(&daemon, &named);
    let home = daemon.stop();
    assert_eq!(places(&home.data(), &words.all), []);
    disk.unmount();
    then(&disk, &words);
}

#[test]
fn on_the_blocks_below_no_personal_cell_was_ever_in_the_clear() {
    on_a_disk("loop", |disk, words| {
        assert_eq!(disk.count(&words.personal), 0, "blocks");
        let mut out = std::io::stderr();
        let _ =
            writeln!(out, "without discard {} words of other fields are left on free blocks", disk.count(&words.all));
    });
}

#[test]
fn on_the_blocks_below_nothing_is_left_where_free_blocks_are_discarded() {
    on_a_disk("loop,discard", |disk, words| {
        assert_eq!((disk.count(&words.personal), disk.count(&words.all)), (0, 0), "blocks");
    });
}
