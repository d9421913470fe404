//! A centre above real edges: directives over HTTP, a request that goes to all of them, and what they answer put together; by
//! the page that shows it, and a disk that was copied. Must never hand an edge anything but through its own question.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::prove;
use crate::support::*;
use crate::tokens::{make, wayside};

const PAGE: &str = include_str!("../../packaging/doc/central.md");

#[test]
fn the_page_does_what_it_says() {
    let sockets: Vec<_> = (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let at: Vec<String> = sockets.iter().map(|one| one.local_addr().unwrap().to_string()).collect();
    drop(sockets);
    let settings = [("CENTRE", at[0].as_str()), ("ONE", at[1].as_str()), ("TWO", at[2].as_str())];
    prove::page_holds("central.md", PAGE, &settings);
}

/// A relay that is the centre, and the folder with its keys.
struct Centre {
    relay: Daemon,
    /// What goes into the configuration of an edge that believes it.
    believed: String,
    keys: tempfile::TempDir,
}

/// Runs the program without a collector; what it printed.
#[track_caller]
fn printed(words: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_wayside")).args(words).output().unwrap();
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

impl Centre {
    fn new() -> Centre {
        let keys = tempfile::tempdir().unwrap();
        let at = |name: &str| keys.path().join(name).display().to_string();
        let believed = printed(&["directive", "key", "--file", &at("centre.key")]);
        printed(&["carry", "key", "--file", &at("reply.key")]);
        let files = [("key_file", at("centre.key")), ("reply_key_file", at("reply.key"))];
        let files: String = files.iter().map(|(key, path)| format!("{key} = {path:?}\n")).collect();
        let relay = Daemon::with(&format!("[relay]\nenabled = true\n[directives]\n{files}"));
        Centre { relay, believed, keys }
    }

    fn key(&self) -> String {
        self.keys.path().join("centre.key").display().to_string()
    }

    /// An edge that joined, and goes by this configuration.
    fn edge(&self, label: &str, config: &str) -> Daemon {
        let edge = Daemon::with(&format!("[edge]\nlabel = {label:?}\n{config}"));
        let code = wayside(&self.relay, &["edge", "code", "--json"])["codes"][0].as_str().unwrap().to_owned();
        let url = format!("http://{}", self.relay.address);
        wayside(&edge, &["join", &url, "--code", &code, "--label", label, "--json"]);
        edge.stop().start()
    }

    /// Rows of the register for a directive's action: state by the edge's label.
    fn states(&self, action: &str) -> Vec<(String, String)> {
        let rows = wayside(&self.relay, &["directive", "reports", "--json"]);
        let rows = rows.as_array().unwrap().iter().filter(|row| row["action"] == action);
        let mut out: Vec<_> = rows.map(|row| (word(row, "label"), word(row, "state"))).collect();
        out.sort();
        out
    }
}

fn word(row: &Value, key: &str) -> String {
    row[key].as_str().unwrap_or_else(|| panic!("{key} of {row}")).to_owned()
}

/// A visitor who has looked at two pages.
fn visit(edge: &Daemon) -> String {
    edge.give("anna", &["measure"]);
    for n in 0..2 {
        let event = with(page_view("anna"), json!({"eventId": format!("e-{n}")}));
        assert_eq!(edge.events(&event).outcomes(200), ["accepted"]);
    }
    edge.value("SELECT lower(hex(visitor_ref)) FROM visitors").as_str().unwrap().to_owned()
}

fn turn(edge: &Daemon) {
    wayside(edge, &["forward", "--once", "--json"]);
}

fn pairs(states: &[(&str, &str)]) -> Vec<(String, String)> {
    states.iter().map(|(label, state)| ((*label).to_owned(), (*state).to_owned())).collect()
}

#[test]
fn a_directive_given_at_the_relay_is_done_where_it_is_meant_and_every_edge_says_so() {
    let centre = Centre::new();
    let (one, two, deaf) =
        (centre.edge("one", &centre.believed), centre.edge("two", &centre.believed), centre.edge("deaf", ""));
    let visitor = visit(&one);
    let give = ["directive", "give", "withdraw", "--key", &centre.key(), "--visitor", &visitor, "--here"];
    let data = centre.relay.home.data();
    let told = printed(&[&["--data-dir", data.to_str().unwrap()][..], &give[..]].concat());
    assert!(told.contains("withdraw for all"), "{told}");
    assert_eq!(centre.states("withdraw"), pairs(&[("deaf", "silent"), ("one", "silent"), ("two", "silent")]));
    for edge in [&one, &two, &deaf] {
        turn(edge);
        turn(edge);
    }
    let wanted = [("deaf", "refused"), ("one", "done"), ("two", "nothing_found")];
    assert_eq!(centre.states("withdraw"), pairs(&wanted), "who believes no centre says so");
    assert_eq!(one.events(&page_view("anna")).outcomes(200), ["counted"], "taken back at the edge");
    // who speaks for one edge reads no other's
    let (_, token) = make(&two, "push", "read");
    let edge = one.value("SELECT edge FROM epochs").as_str().unwrap().to_owned();
    let ask = get(&format!("/v1/directives/{edge}"));
    assert_error(&centre.relay.send(&ask), 401, "token_missing");
    assert_error(&centre.relay.send(&ask.header("Authorization", &format!("Bearer {token}"))), 401, "token_unknown");
    let token = std::fs::read_to_string(two.home.data().join("upstream.token")).unwrap();
    let ask = get(&format!("/v1/directives/{edge}")).header("Authorization", &format!("Bearer {}", token.trim()));
    assert_error(&centre.relay.send(&ask), 403, "unknown_edge");
}

#[test]
fn a_request_opened_at_the_centre_comes_back_with_the_part_of_every_edge() {
    let centre = Centre::new();
    let (one, two) = (centre.edge("one", &centre.believed), centre.edge("two", &centre.believed));
    let visitor = visit(&one);
    let words = ["subject", "open", "access", "--visitor", &visitor, "--json"];
    let unverified = wayside(&centre.relay, &words);
    assert_eq!(unverified["edges"], Value::Null, "before the person is verified nothing goes out");
    let opened = wayside(&centre.relay, &[&words[..], &["--verified", "letter"]].concat());
    let id = word(&opened, "id");
    assert_eq!(opened["edges"].as_array().unwrap().len(), 2, "{opened}");
    turn(&one);
    let shown = wayside(&centre.relay, &["subject", "show", &id, "--json"]);
    let states: Vec<_> =
        shown["edges"].as_array().unwrap().iter().map(|row| (word(row, "label"), word(row, "state"))).collect();
    assert!(states.contains(&("one".to_owned(), "done".to_owned())), "{shown}");
    assert!(states.contains(&("two".to_owned(), "silent".to_owned())), "{shown}");
    for (path, bytes) in crate::support::daemon::files(&centre.relay.home.data()) {
        let found = bytes.windows(18).any(|some| some == b"shop.example/shoes");
        assert!(!found, "{}: a copy lies there for everybody", path.display());
    }
    turn(&two);
    let file = centre.keys.path().join("copy.json");
    let data = centre.relay.home.data();
    printed(&["--data-dir", data.to_str().unwrap(), "subject", "export", &id, "--output", file.to_str().unwrap()]);
    let merged: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let edge = |daemon: &Daemon| daemon.value("SELECT edge FROM epochs").as_str().unwrap().to_owned();
    assert!(merged["edges"][edge(&one)]["copy"].to_string().contains("shop.example/shoes"), "{merged}");
    assert_eq!((&merged["edges"][edge(&two)]["state"], &merged["open"]), (&json!("nothing_found"), &json!(0)));
    let audit = wayside(&centre.relay, &["audit", "--json"]);
    assert!(audit.as_array().unwrap().iter().any(|row| row["what"] == "copies_read"), "{audit}");
}

#[test]
fn a_request_at_the_top_goes_through_a_relay_to_the_edge_below_it_and_its_copy_comes_back_unread() {
    let centre = Centre::new();
    let region = Daemon::with(&format!(
        "[edge]\nlabel = \"region\"\n[relay]\nenabled = true\nonward = [\"upstream\"]\n{}",
        centre.believed
    ));
    let join = |above: &Daemon, below: &Daemon, label: &str, words: &[&str]| {
        let code = wayside(above, &[&["edge", "code", "--json"], words].concat())["codes"][0].clone();
        let url = format!("http://{}", above.address);
        wayside(below, &["join", &url, "--code", code.as_str().unwrap(), "--label", label, "--json"]);
    };
    join(&centre.relay, &region, "region", &["--relay"]);
    let region = region.stop().start();
    let edge = Daemon::with(&format!("[edge]\nlabel = \"branch 12\"\n{}", centre.believed));
    join(&region, &edge, "branch 12", &[]);
    let edge = edge.stop().start();
    let visitor = visit(&edge);
    turn(&edge);
    let words = ["subject", "open", "access", "--visitor", &visitor, "--verified", "letter", "--json"];
    let id = word(&wayside(&centre.relay, &words), "id");
    let state = |label: &str| {
        let shown = wayside(&centre.relay, &["subject", "show", &id, "--json"]);
        let rows = shown["edges"].as_array().unwrap().clone();
        rows.iter().find(|row| row["label"] == label).map(|row| word(row, "state"))
    };
    until(PATIENCE, "answers from both", || {
        turn(&region);
        turn(&edge);
        state("branch 12").as_deref() == Some("done") && state("region").as_deref() == Some("nothing_found")
    });
    for (path, bytes) in crate::support::daemon::files(&region.home.data()) {
        let batch = path.extension().is_some_and(|end| end == "gz");
        let found = !batch && bytes.windows(18).any(|some| some == b"shop.example/shoes");
        assert!(!found, "{}: the relay reads the copy", path.display());
    }
    let file = centre.keys.path().join("copy.json");
    let data = centre.relay.home.data();
    printed(&["--data-dir", data.to_str().unwrap(), "subject", "export", &id, "--output", file.to_str().unwrap()]);
    let merged: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let own = edge.value("SELECT edge FROM epochs").as_str().unwrap().to_owned();
    assert!(merged["edges"][own]["copy"].to_string().contains("shop.example/shoes"), "{merged}");
}

#[test]
fn an_edge_that_no_line_reaches_gets_what_the_centre_asks_with_the_stick_and_answers_with_it() {
    let centre = Centre::new();
    let encrypt = printed(&["carry", "key", "--file", centre.keys.path().join("reply.key").to_str().unwrap()]);
    let encrypt = encrypt.lines().find(|line| line.starts_with("encrypt_to")).unwrap().to_owned();
    let target = format!("[[target]]\nname = \"centre\"\nkind = \"carry\"\n{encrypt}\n");
    let far = Daemon::with(&format!("{}{target}", centre.believed));
    let visitor = visit(&far);
    let own = far.value("SELECT edge FROM epochs").as_str().unwrap().to_owned();
    let stick = tempfile::tempdir().unwrap();
    let run = |daemon: &Daemon, words: &[&str]| {
        let data = daemon.home.data();
        let config = data.with_file_name("wayside.toml");
        let here = ["--data-dir", data.to_str().unwrap(), "--config", config.to_str().unwrap()];
        printed(&[&here[..], words].concat())
    };
    let at = stick.path().to_str().unwrap();
    let key = centre.keys.path().join("reply.key").display().to_string();
    run(&far, &["carry", "out", at]);
    run(&centre.relay, &["carry", "in", at, "--key", &key, "--admit", &own]);
    let words = ["subject", "open", "access", "--visitor", &visitor, "--verified", "letter", "--json"];
    let id = word(&wayside(&centre.relay, &words), "id");
    let told = run(&centre.relay, &["carry", "in", at, "--key", &key]);
    assert!(told.contains("directives for edges below left on the stick: 1"), "{told}");
    assert!(run(&far, &["carry", "in", at]).contains("directives: 1 new"));
    let told = run(&centre.relay, &["carry", "in", at, "--key", &key]);
    assert!(told.contains("reports of edges below: 1 taken in"), "{told}");
    assert!(!told.contains("left on the stick: 1"), "nothing waits any more: {told}");
    let file = centre.keys.path().join("copy.json");
    run(&centre.relay, &["subject", "export", &id, "--output", file.to_str().unwrap()]);
    let merged: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert!(merged["edges"][own]["copy"].to_string().contains("shop.example/shoes"), "{merged}");
}

/// Copies a data directory as a disk is copied.
fn copy_of(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy_of(&entry.path(), &target),
            kind if kind.is_file() => drop(std::fs::copy(entry.path(), target).unwrap()),
            _ => {}
        }
    }
}

#[test]
fn of_two_copies_of_one_disk_the_one_that_is_meant_begins_a_new_epoch_by_a_directive() {
    let centre = Centre::new();
    let config = format!("{}[forward]\nseal_after_seconds = 1\n", centre.believed);
    let first = centre.edge("golden", &config);
    first.give("anna", &["measure"]);
    turn(&first);
    let home = first.stop();
    let clone = Home::new(&format!("[edge]\nlabel = \"golden\"\n{config}"));
    copy_of(&home.data(), &clone.data());
    let (kept, clone) = (home.start(), clone.start());
    let send = |edge: &Daemon, id: &str| {
        let event = with(page_view("anna"), json!({"eventId": id}));
        assert_eq!(edge.events(&event).outcomes(200), ["accepted"]);
    };
    send(&kept, "kept-1");
    send(&clone, "clone-1");
    turn(&kept);
    turn(&clone);
    let forks = || wayside(&centre.relay, &["edge", "list", "--json"])["edges"][0]["forks"].clone();
    let pair = forks()[0].clone();
    let data = centre.relay.home.data();
    printed(&[
        "--data-dir",
        data.to_str().unwrap(),
        "edge",
        "resolve",
        "golden",
        "--keep",
        &word(&pair, "lies")[..12],
        "--renew",
        &word(&pair, "refused")[..12],
    ]);
    let epochs = |edge: &Daemon| edge.count("epochs");
    turn(&kept);
    assert_eq!((epochs(&kept), centre.states("renew")), (1, pairs(&[("golden", "nothing_found")])), "it is not meant");
    until(PATIENCE, "renewing", || {
        turn(&clone);
        epochs(&clone) == 2
    });
    assert_eq!(centre.states("renew"), pairs(&[("golden", "done")]));
    send(&kept, "kept-2");
    send(&clone, "clone-2");
    let there = || {
        centre.relay.value(
            "SELECT sum(line_count - hole_count) FROM received r JOIN streams s USING (stream_id) WHERE s.lane = 2",
        )
    };
    until(PATIENCE, "both sending", || {
        turn(&kept);
        turn(&clone);
        there() == json!(4)
    });
    assert_eq!((epochs(&kept), epochs(&clone)), (1, 2));
}
