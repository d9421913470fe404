//! A relay behind a relay, each a real daemon: edge -> region -> centre -> a job. Must never look into a database to say that
//! something arrived: what counts is what lies in the job's folder, and what the operator of the centre is told.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::pull::visits;
use crate::puller::Puller;
use crate::support::*;
use crate::tokens::{make, wayside};
use crate::upstream::{EDGE, RELAY, Road, beside, by_id, through};

const REGION: &str = "[edge]\nlabel = \"region\"\n[relay]\nenabled = true\nonward = [\"upstream\"]\n";

/// Lets one wayside join another one, under a code with these words.
fn joins(below: Daemon, label: &str, (above, url): (&Daemon, &str), words: &[&str]) -> Daemon {
    let code = wayside(above, &[&["edge", "code", "--json"], words].concat())["codes"][0].as_str().unwrap().to_owned();
    wayside(&below, &["join", url, "--code", &code, "--label", label, "--json"]);
    below.stop().start()
}

/// What the operator of a wayside is told of an edge.
fn told(of: &Daemon, label: &str) -> Value {
    let listed = wayside(of, &["edge", "list", "--json"]);
    let all = listed["edges"].as_array().unwrap();
    all.iter().find(|edge| edge["label"] == label).cloned().unwrap_or(Value::Null)
}

/// Ids of events that lie in the job's folder; each once.
fn ids(job: &Puller, wanted: usize, region: &Daemon) -> BTreeSet<String> {
    let last = std::cell::RefCell::new(BTreeSet::new());
    until(PATIENCE, "pulling what goes through both", || {
        wayside(region, &["forward", "--once", "--json"]);
        job.pulls(&["--cursor", "warehouse"]);
        let found = by_id(job);
        assert!(found.values().all(|rows| rows.len() == 1), "each once: {found:?}");
        last.replace(found.into_keys().collect());
        last.borrow().len() >= wanted
    });
    last.into_inner()
}

#[test]
fn an_edge_is_known_through_its_relay_and_everything_it_says_goes_through_both() {
    let (centre, region, edge) = (Daemon::with(RELAY), Daemon::with(REGION), Daemon::with(EDGE));
    let to_centre = format!("http://{}", centre.address);
    let mut region = joins(region, "region", (&centre, &to_centre), &["--relay"]);
    let road = Road::to(region.address);
    let mut edge = joins(edge, "branch 12", (&region, &format!("http://{}", road.address)), &["--site", "shop"]);
    let leaving = visits(&edge, "leaves", 5);
    visits(&edge, "stays", 10);
    through(&edge);
    let (_, token) = make(&centre, "warehouse job", "sync");
    let job = Puller::new(centre.address, &token);
    assert_eq!(ids(&job, 15, &region).len(), 15);
    let (row, relay) = (told(&centre, "branch 12"), told(&centre, "region"));
    assert_eq!((&row["state"], &row["by_itself"], &row["site"]), (&json!("approved"), &json!(false), &json!("shop")));
    assert_eq!((&row["vouched_by"][0]["relay"], &relay["relay"]), (&relay["edge"], &json!(true)));
    assert!(beside(&centre, &["edge", "list"]).1.contains(" region "), "the list says through whom it comes");

    // the relay is away for a while
    let home = region.kill();
    visits(&edge, "meanwhile", 4);
    wayside(&edge, &["forward", "--once", "--json"]);
    region = home.start();
    road.now_to(region.address);
    let no = edge.decide(&json!({"visitor": "leaves", "action": "withdraw", "visitorToken": leaving}));
    assert_eq!(no.status, 200, "{no:?}");
    through(&edge);
    assert_eq!(ids(&job, 19, &region).len(), 19);
    let late = Puller::new(centre.address, &token);
    late.pulls(&["--cursor", "late"]);
    assert_eq!(by_id(&late).len(), 14, "a withdrawal binds the centre too");

    // who is revoked at the relay is told on
    assert_eq!(beside(&region, &["edge", "revoke", "branch 12"]).0, 0);
    until(PATIENCE, "telling on", || {
        wayside(&region, &["forward", "--once", "--json"]);
        told(&centre, "branch 12")["state"] == "revoked"
    });

    // it moves: joins the centre by itself, under the same id and key
    edge = joins(edge, "branch 12", (&centre, &to_centre), &[]);
    visits(&edge, "moved", 3);
    through(&edge);
    assert_eq!(ids(&job, 22, &region).len(), 22);
    let row = told(&centre, "branch 12");
    assert_eq!((&row["state"], &row["by_itself"]), (&json!("approved"), &json!(true)));
    assert_eq!(row["gap_count"], 0);
}

/// A copy of a data directory that nobody writes.
fn copied(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, there) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copied(&path, &there),
            kind if kind.is_file() => _ = std::fs::copy(&path, &there).unwrap(),
            _ => {}
        }
    }
}

/// What a daemon says needs a person.
fn alarms(of: &Daemon) -> Vec<String> {
    let told = wayside(of, &["status", "--json"]);
    let all = told["alarms"].as_array().unwrap_or_else(|| panic!("{told}"));
    all.iter().map(|alarm| alarm["code"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn two_copies_of_one_disk_are_told_apart_at_the_relay_and_both_go_on_once_one_has_given_way() {
    let centre = Daemon::with(RELAY);
    let road = Road::to(centre.address);
    let url = format!("http://{}", road.address);
    let first = joins(Daemon::with(EDGE), "branch 12", (&centre, &url), &[]);
    visits(&first, "before", 2);
    through(&first);
    let home = first.stop();
    let twin = Home::new(EDGE);
    copied(&home.data(), &twin.data());
    let (first, twin) = (home.start(), twin.start());
    visits(&first, "first", 1);
    through(&first);
    visits(&twin, "twin", 2);
    until(PATIENCE, "being fenced", || {
        wayside(&twin, &["forward", "--once", "--json"]);
        alarms(&twin) == ["fork"] && !told(&centre, "branch 12")["forks"].as_array().unwrap().is_empty()
    });
    assert_eq!(alarms(&centre), ["fork"]);
    visits(&first, "held", 1);
    wayside(&first, &["forward", "--once", "--json"]);
    assert_eq!(alarms(&first), ["fork"], "nothing of this epoch is taken before somebody has said who goes on");

    let pair = told(&centre, "branch 12")["forks"][0].clone();
    let digits = |key: &str| pair[key].as_str().unwrap()[..12].to_owned();
    let (keep, renew) = (digits("lies"), digits("refused"));
    let done = beside(&centre, &["edge", "resolve", "branch 12", "--keep", &keep, "--renew", &renew]);
    assert_eq!(done.0, 0, "{done:?}");
    assert_eq!(alarms(&centre), Vec::<String>::new());
    wayside(&twin, &["forward", "--once", "--json"]);
    assert_eq!(alarms(&twin), ["fork"], "it waits for its operator");
    wayside(&twin, &["edge", "renew", "--json"]);
    // what the receiver has of the epoch that is over is the other's, so `reconcile` cannot end well here
    until(PATIENCE, "sending afresh", || {
        let told = wayside(&twin, &["forward", "--once", "--json"]);
        let none = |key: &str| told[key].as_array().map_or(told[key] == 0, Vec::is_empty);
        none("sent") && none("failed")
    });
    assert_eq!(alarms(&twin), Vec::<String>::new());
    let (code, text) = beside(&twin, &["reconcile", "--upstream", "upstream"]);
    assert_ne!(code, 0, "{text}");
    through(&first);
    assert_eq!(alarms(&first), Vec::<String>::new());
    visits(&first, "on", 1);
    through(&first);

    let (_, token) = make(&centre, "warehouse job", "sync");
    let job = Puller::new(centre.address, &token);
    job.pulls(&["--cursor", "warehouse"]);
    let found = by_id(&job);
    assert!(found.values().all(|rows| rows.len() == 1), "each once: {found:?}");
    let origins: BTreeSet<_> = found.values().flatten().collect();
    assert_eq!((found.len(), origins.len()), (7, 7), "and each under an origin of its own");
}
