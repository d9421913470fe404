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
