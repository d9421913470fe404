//! Directives of a centre through the real program: by stick to edges, carried out by their collectors, reported back.
//! Must never give an edge more than a stick brings. Invariant: the centre is commands without a collector.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::*;

struct Centre(tempfile::TempDir);

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[track_caller]
fn printed(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn program(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wayside"));
    for name in ["WAYSIDE_CONFIG", "WAYSIDE_DATA_DIR", "WAYSIDE_LOG"] {
        command.env_remove(name);
    }
    command.args(words);
    command
}

impl Centre {
    fn new() -> Centre {
        Centre(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What its key's command prints: the lines of an edge's configuration.
    fn config(&self) -> String {
        printed(program(&["directive", "key", "--file", text(&self.at("centre.key"))]))
    }

    fn give(&self, words: &[&str], stick: &Path) {
        let key = self.at("centre.key");
        printed(program(&[&["directive", "give"], words, &["--key", text(&key), "--stick", text(stick)]].concat()));
    }

    fn reports(&self, stick: &Path, more: &[&str]) -> Vec<Value> {
        let text = printed(program(&[&["directive", "reports", text(stick), "--json"], more].concat()));
        serde_json::from_str(&text).unwrap()
    }

    /// State by edge, of the only directive.
    fn states(&self, stick: &Path) -> Vec<(String, String)> {
        let word = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
        self.reports(stick, &[]).iter().map(|row| (word(row, "edge"), word(row, "state"))).collect()
    }
}

/// An edge with a visitor who has looked at two pages.
struct Branch {
    daemon: Daemon,
    edge: String,
    token: String,
}

impl Branch {
    fn new(config: &str) -> Branch {
        let daemon = Daemon::with(config);
        let token = daemon.give("anna", &["measure"]);
        for n in 0..2 {
            let event = with(page_view("anna"), json!({"eventId": format!("e-{n}")}));
            assert_eq!(daemon.events(&event).outcomes(200), ["accepted"]);
        }
        let edge = daemon.value("SELECT edge FROM epochs").as_str().unwrap().to_owned();
        Branch { daemon, edge, token }
    }

    fn visitor(&self) -> String {
        self.daemon.value("SELECT lower(hex(visitor_ref)) FROM visitors").as_str().unwrap().to_owned()
    }

    fn take(&self, stick: &Path) -> String {
        let data = self.daemon.home.data();
        let mut command = program(&["carry", "in", text(stick), "--data-dir", text(&data), "--config"]);
        command.arg(data.with_file_name("wayside.toml"));
        printed(command)
    }
}

#[test]
fn an_erasure_reaches_the_edge_that_knows_the_person_and_is_reported_by_every_edge() {
    let (centre, stick) = (Centre::new(), tempfile::tempdir().unwrap());
    let config = centre.config();
    let (knows, other) = (Branch::new(&config), Branch::new(&config));
    centre.give(&["erase", "--visitor", &knows.visitor()], stick.path());
    let silent = centre.reports(stick.path(), &["--edge", &knows.edge, "--edge", &other.edge]);
    assert!(silent.len() == 2 && silent.iter().all(|row| row["state"] == "silent"), "{silent:?}");
    assert!(knows.take(stick.path()).contains("directives: 1 new"));
    other.take(stick.path());
    assert_eq!(other.daemon.count("events"), 2, "the other one keeps its own");
    knows.daemon.upkeep();
    assert_eq!((knows.daemon.count("events"), knows.daemon.count("requests")), (0, 1));
    assert!(knows.take(stick.path()).contains("directives: 0 new"));
    let states = centre.states(stick.path());
    assert!(states.contains(&(knows.edge.clone(), "done".to_owned())), "{states:?}");
    assert!(states.contains(&(other.edge.clone(), "nothing_found".to_owned())), "{states:?}");
    let audit = knows.daemon.rows("SELECT note FROM audit WHERE what = 'request_opened'");
    assert_eq!(audit, [json!(["erase"])]);
}

#[test]
fn a_withdrawal_that_is_replayed_takes_no_later_yes_back_and_a_foreign_one_nothing() {
    let (centre, stranger, stick) = (Centre::new(), Centre::new(), tempfile::tempdir().unwrap());
    let branch = Branch::new(&centre.config());
    stranger.config();
    stranger.give(&["withdraw", "--visitor", &branch.visitor()], stick.path());
    assert!(branch.take(stick.path()).contains("not believed"), "another key");
    assert_eq!(branch.daemon.events(&page_view("anna")).outcomes(200), ["accepted"]);
    let stick = tempfile::tempdir().unwrap();
    centre.give(&["withdraw", "--visitor", &branch.visitor()], stick.path());
    assert!(branch.take(stick.path()).contains("directives: 1 new"));
    assert_eq!(branch.daemon.events(&page_view("anna")).outcomes(200), ["counted"]);
    let again = json!({"visitor": "anna", "action": "give", "purposes": ["measure"], "visitorToken": branch.token});
    assert_eq!(branch.daemon.decide(&again).status, 200);
    assert!(branch.take(stick.path()).contains("directives: 0 new"));
    assert_eq!(branch.daemon.events(&page_view("anna")).outcomes(200), ["accepted"], "their new yes stands");
    assert_eq!(centre.states(stick.path()), [(branch.edge.clone(), "done".to_owned())]);
}

#[test]
fn copies_of_all_edges_come_back_encrypted_and_are_put_together() {
    let (centre, stick) = (Centre::new(), tempfile::tempdir().unwrap());
    let config = centre.config();
    let (one, two) = (Branch::new(&config), Branch::new(&config));
    let reply = centre.at("carry.key");
    printed(program(&["carry", "key", "--file", text(&reply)]));
    centre.give(&["access", "--visitor", &one.visitor(), "--reply-key", text(&reply)], stick.path());
    one.take(stick.path());
    two.take(stick.path());
    for path in std::fs::read_dir(stick.path().join("wayside-directives/reports")).unwrap() {
        let text = std::fs::read_to_string(path.unwrap().path()).unwrap();
        assert!(!text.contains("shop.example"), "nobody else reads the copy");
    }
    let export = centre.at("copy.json");
    centre.reports(stick.path(), &["--reply-key", text(&reply), "--export", text(&export)]);
    let merged: Value = serde_json::from_slice(&std::fs::read(export).unwrap()).unwrap();
    let edges = &merged.as_object().unwrap().values().next().unwrap()["edges"];
    assert_eq!(edges.as_object().unwrap().len(), 2, "{edges}");
    assert!(edges[&one.edge]["copy"].to_string().contains("shop.example/shoes"));
    assert_eq!((&edges[&two.edge]["state"], &edges[&two.edge]["copy"]), (&json!("nothing_found"), &Value::Null));
}
