//! Sticks through the real program: written beside a running daemon and without one, killed in the middle, brought back.
//! Must never look into the database but to count. Invariant: the stick is a folder; what stands for the network is the tester's hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::*;

/// The program on a data directory, with the configuration beside it.
fn wayside(data: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wayside"));
    command.arg("--config").arg(data.with_file_name("wayside.toml")).arg("--data-dir").arg(data).args(words);
    for name in ["WAYSIDE_CONFIG", "WAYSIDE_DATA_DIR", "WAYSIDE_LOG"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// What a command that goes well prints as JSON.
#[track_caller]
fn told(mut command: Command) -> Value {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The receiver of sticks: a key, and a folder for what arrives.
struct Centre(tempfile::TempDir);

impl Centre {
    fn new() -> Centre {
        Centre(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A configuration whose only target is reached by sticks for this receiver.
    fn config(&self, more: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wayside"));
        command.args(["carry", "key", "--json", "--file"]).arg(self.at("key"));
        let keys = told(command);
        format!(
            "{more}\n[[target]]\nname = \"centre\"\nkind = \"carry\"\nencrypt_to = {}\nreceiver_key = {}\n",
            keys["encrypt_to"], keys["receiver_key"]
        )
    }

    /// Takes a stick: a job without a collector.
    fn command(&self, stick: &Path) -> Command {
        let words = ["carry", "in", text(stick), "--json", "--key"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_wayside"));
        command.args(words).arg(self.at("key")).arg("--to").arg(self.at("batches"));
        command
    }

    /// Events that arrived, by their id: each once.
    fn events(&self) -> BTreeMap<String, Value> {
        let mut out = BTreeMap::new();
        for path in files(&self.at("batches")).iter().filter(|path| text(path).ends_with(".ndjson.gz")) {
            let lines = wayside::base::gzip::decompress(&std::fs::read(path).unwrap(), 1 << 26).unwrap();
            let lines = String::from_utf8(lines).unwrap();
            for line in lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
                if line["kind"] == "event" {
                    assert!(out.insert(line["event_id"].as_str().unwrap().to_owned(), line).is_none(), "twice");
                }
            }
        }
        out
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(list) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut out = Vec::new();
    for entry in list.map(|entry| entry.unwrap()) {
        match entry.file_type().unwrap().is_dir() {
            true => out.extend(files(&entry.path())),
            false => out.push(entry.path()),
        }
    }
    out
}

fn send(daemon: &Daemon, from: usize, count: usize) {
    let events: Vec<Value> =
        (from..from + count).map(|n| with(page_view("v"), json!({"eventId": format!("e-{n}")}))).collect();
    for some in events.chunks(500) {
        assert_eq!(daemon.events(&json!(some)).status, 200);
    }
}

#[test]
fn a_stick_goes_round_beside_a_running_daemon_and_without_one() {
    let (centre, stick) = (Centre::new(), tempfile::tempdir().unwrap());
    let daemon = Daemon::with(&centre.config(""));
    daemon.give("v", &["measure"]);
    send(&daemon, 0, 20);
    let data = daemon.home.data();
    let out = ["carry", "out", text(stick.path()), "--json"];
    let written = told(wayside(&data, &out));
    assert_eq!((&written["target"], &written["waiting"]), (&json!("centre"), &json!(0)), "{written}");
    let batches = written["batches"].as_i64().unwrap();
    let taken = told(centre.command(stick.path()));
    assert_eq!((taken["stored"].as_i64(), &taken["refused"]), (Some(batches), &json!([])));
    assert_eq!(centre.events().len(), 20);
    assert_eq!(told(wayside(&data, &out))["acknowledged"], json!(batches));
    let acked = "SELECT sum(acked_no) FROM cursors WHERE target = 'centre'";
    assert_eq!(daemon.value(acked), json!(batches));
    assert_eq!(daemon.value("SELECT count(*) FROM audit WHERE what = 'batches_acknowledged'"), json!(1));

    // the same without a daemon: the command opens the store
    send(&daemon, 20, 5);
    let home = daemon.stop();
    assert_eq!(told(wayside(&data, &out))["written"], json!(1));
    told(centre.command(stick.path()));
    let back = told(wayside(&data, &["carry", "in", text(stick.path()), "--json"]));
    assert_eq!(back["acknowledged"][0], json!({"target": "centre", "batches": 1, "refused": []}), "{back}");
    assert_eq!((centre.events().len(), back["stored"].as_i64()), (25, Some(0)));
    drop(home);
}

#[test]
fn a_copy_that_is_killed_in_the_middle_is_completed_and_nothing_is_lost_or_twice() {
    let (centre, stick) = (Centre::new(), tempfile::tempdir().unwrap());
    let daemon = Daemon::with(&centre.config("[forward]\nseal_rows_max = 5\n"));
    daemon.give("v", &["measure"]);
    // a file holds at most 256 batches
    send(&daemon, 0, 3_000);
    let data = daemon.home.data();
    let out = ["carry", "out", text(stick.path()), "--json"];
    let carried = || files(stick.path()).iter().filter(|path| text(path).ends_with(".age")).count();
    for kill_at in 1..=3 {
        let child = wayside(&data, &out).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let child = std::cell::RefCell::new(child);
        let ended = || child.borrow_mut().try_wait().unwrap().is_some();
        until(PATIENCE, "a file on the stick", || carried() >= kill_at || ended());
        child.borrow_mut().kill().unwrap();
        child.borrow_mut().wait().unwrap();
    }
    let taken = centre.command(stick.path()).output().unwrap();
    let early = centre.events().len();
    assert!(early < 3_000, "the copies were cut off: {early}, {}", String::from_utf8_lossy(&taken.stdout));
    let written = told(wayside(&data, &out));
    assert_eq!(written["waiting"], json!(0));
    told(centre.command(stick.path()));
    assert_eq!(centre.events().len(), 3_000);
    assert!(files(stick.path()).iter().all(|path| !text(path).ends_with(".part")), "no part is left");
    // the collector goes on meanwhile, and may seal a checkpoint of its ledger
    until(PATIENCE, "acknowledging every batch", || {
        told(wayside(&data, &out));
        let (sealed, acked) = ("SELECT count(*) FROM batches", "SELECT sum(acked_no) FROM cursors");
        let done = daemon.value(sealed) == daemon.value(acked);
        if !done {
            told(centre.command(stick.path()));
        }
        done
    });
}

#[test]
fn what_is_wrong_with_a_stick_or_a_name_is_said_with_what_to_do() {
    let (centre, stick) = (Centre::new(), tempfile::tempdir().unwrap());
    let daemon = Daemon::with(&centre.config(""));
    let data = daemon.home.data();
    let fails = |words: &[&str]| {
        let output = wayside(&data, words).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, what) = fails(&["carry", "out", "/nowhere/at/all"]);
    assert!(code == Some(66) && what.contains("mount the stick"), "{what}");
    let (code, what) = fails(&["carry", "out", text(stick.path()), "--target", "moon"]);
    assert!(code == Some(66) && what.contains("name one with --target: centre"), "{what}");
    let (code, what) = fails(&["carry", "in", text(stick.path())]);
    assert!(code == Some(66) && what.contains("nothing was carried"), "{what}");
    let (code, what) = fails(&["carry", "in", text(stick.path()), "--key", "/no/key"]);
    assert!(code == Some(66) && what.contains("wayside carry key"), "{what}");
    // the routes behind it are the operator's alone
    let answer = daemon.send(&get("/v1/carry"));
    assert_eq!(answer.status, 404, "{answer:?}");
}

#[test]
fn a_relay_takes_sticks_of_edges_it_knows_as_it_takes_their_puts() {
    let stick = tempfile::tempdir().unwrap();
    let centre = Centre::new();
    let edge = Daemon::with(&centre.config("").replace("receiver_key", "# receiver_key"));
    edge.give("v", &["measure"]);
    send(&edge, 0, 8);
    let (data, out) = (edge.home.data(), ["carry", "out", text(stick.path()), "--json"]);
    let batches = told(wayside(&data, &out))["batches"].clone();
    let key = centre.at("key");
    let relay = Daemon::with(&format!("[relay]\nenabled = true\ncarry_key_file = \"{}\"\n", text(&key)));
    let take = || {
        let output = wayside(&relay.home.data(), &["carry", "in", text(stick.path()), "--json"]).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let stranger = take();
    assert_eq!(stranger["stored"], json!(0));
    assert!(stranger["refused"][0]["what"].as_str().unwrap().contains("unknown_edge"), "{stranger}");

    // the operator lets it in, by the key its index is signed with
    let id = edge.value("SELECT edge FROM epochs").as_str().unwrap().to_owned();
    let admit = wayside(&relay.home.data(), &["carry", "in", text(stick.path()), "--admit", &id]).output().unwrap();
    assert!(admit.status.success(), "{}", String::from_utf8_lossy(&admit.stderr));
    assert_eq!(relay.value("SELECT count(*) FROM known_edges"), json!(1));
    assert_eq!(relay.value("SELECT count(*) FROM received"), batches);
    let again = take();
    assert_eq!((&again["stored"], &again["same"], &again["refused"]), (&json!(0), &batches, &json!([])));
    // the relay's own key signed; nothing else is believed once the edge names it
    assert_eq!(told(wayside(&data, &out))["acknowledged"], batches);
}

const PAGE: &str = include_str!("../../packaging/doc/carry.md");

/// Every `sh` block of the page, in order.
fn blocks() -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut within = false;
    for line in PAGE.lines() {
        match (within, line) {
            (false, "```sh") => {
                within = true;
                out.push(String::new());
            }
            (true, "```") => within = false,
            (true, line) => out.last_mut().unwrap().extend([line, "\n"]),
            _ => {}
        }
    }
    out
}

#[test]
fn the_page_does_what_it_says() {
    let (centre, stick) = (Centre::new(), tempfile::tempdir().unwrap());
    let keys = centre.config("");
    std::fs::rename(centre.at("key"), centre.at("carry.key")).unwrap();
    let mut made = Command::new(env!("CARGO_BIN_EXE_wayside"));
    let made = made.args(["directive", "key", "--file"]).arg(centre.at("centre.key")).output().unwrap();
    let daemon = Daemon::with(&format!("{}\n{keys}", String::from_utf8(made.stdout).unwrap()));
    daemon.give("v", &["measure"]);
    send(&daemon, 0, 3);
    let visitor = daemon.value("SELECT lower(hex(visitor_ref)) FROM visitors").as_str().unwrap().to_owned();
    let data = daemon.home.data();
    let program = Path::new(env!("CARGO_BIN_EXE_wayside")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let blocks = blocks();
    assert!(blocks.len() >= 6, "{blocks:?}");
    let mut printed = String::new();
    for block in &blocks {
        let mut shell = Command::new("sh");
        shell.args(["-e", "-c", block]).env("PATH", &path).stdin(Stdio::null());
        shell.env("CENTRE", centre.0.path()).env("STICK", stick.path()).env("VISITOR_REF", &visitor);
        shell.env("WAYSIDE_CONFIG", data.with_file_name("wayside.toml")).env("WAYSIDE_DATA_DIR", &data);
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{block}\n{}", String::from_utf8_lossy(&output.stderr));
        printed.push_str(&String::from_utf8(output.stdout).unwrap());
    }
    assert_eq!(centre.events().len(), 3, "{printed}");
    for told in
        ["encrypt_to = \"age1", "receiver_key = \"", "acknowledged by centre: ", "centre_key = \"", "directives: 1 new"]
    {
        assert!(printed.contains(told), "{told}: {printed}");
    }
    assert!(printed.contains("waiting") || printed.contains("done"), "{printed}");
}
