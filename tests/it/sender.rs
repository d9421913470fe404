//! Decisions that come with events: from senders with an ingest token, by header, envelope and event, and from the operator.
//! Must never test the public door's decisions (`consent.rs`). Invariant: a decision is written before the events it came with.

use serde_json::{Value, json};

use crate::support::*;

fn site(source: &str) -> Daemon {
    Daemon::with(&format!("ingest_token_files = [\"token\"]\n\n[[site]]\nid = \"s\"\nconsent_source = \"{source}\"\n"))
}

fn grant() -> Value {
    json!({"action": "give", "purposes": ["measure", "share"], "method": "staff_standalone", "notice": "none"})
}

/// The three ways in which a decision may come along with an event of this visitor.
fn ways(visitor: &str, decision: &Value) -> Vec<(&'static str, Request)> {
    let event = page_view(visitor);
    vec![
        ("header", post("/v1/events").header("Wayside-Consent", &decision.to_string()).json(&event)),
        ("envelope", post("/v1/events").json(&json!({"decision": decision, "events": [event]}))),
        ("event", post("/v1/events").json(&with(event, json!({"decision": decision})))),
    ]
}

#[test]
fn a_sender_attaches_a_decision_by_header_envelope_or_event() {
    let daemon = site("sender");
    for n in 0..3 {
        let visitor = format!("v-{n}");
        let (way, request) = ways(&visitor, &grant()).swap_remove(n);
        let answer = daemon.send(&request.token());
        assert_eq!(answer.outcomes(200), ["accepted"], "{way}: {answer:?}");
    }
    let decisions = daemon.rows("SELECT DISTINCT action, purposes, method, actor, notice, current FROM decisions");
    assert_eq!(decisions, [json!(["give", 17, "staff_standalone", "sender", "none", 1])]);
    let rows = "SELECT e.flags, d.seq < e.seq FROM events e JOIN decisions d ON d.seq = e.consent_seq";
    assert_eq!(daemon.rows(rows), vec![json!([17, 1]); 3], "each event rests on the decision it brought");
}

#[test]
fn a_no_that_comes_with_an_event_keeps_that_event_out() {
    let daemon = site("sender");
    for (n, action) in ["refuse", "withdraw"].iter().enumerate() {
        let visitor = format!("v-{n}");
        for (way, request) in ways(&visitor, &json!({"action": action})) {
            let answer = daemon.send(&request.token());
            assert_eq!(answer.outcomes(200), ["counted"], "{way}");
            assert_eq!(answer.first()["reason"], "denied", "{way}");
        }
    }
    assert_eq!((daemon.count("events"), daemon.count("visitors")), (0, 0));
    daemon.send(&ways("w", &grant()).swap_remove(0).1.token()).outcomes(200);
    let away = daemon.send(&ways("w", &json!({"action": "withdraw"})).swap_remove(2).1.token());
    assert_eq!(away.outcomes(200), ["counted"]);
    assert_eq!(daemon.count("visible_visits"), 0);
    daemon.upkeep();
    assert_eq!(daemon.count("events"), 0);
}

#[test]
fn without_a_token_nobody_brings_decisions_along() {
    for source in ["sender", "server"] {
        let daemon = site(source);
        for (way, request) in ways("v", &grant()) {
            let answer = daemon.send(&request);
            match way {
                "event" => assert_eq!(answer.wrong_field(), "decision"),
                _ => assert!(assert_error(&answer, 400, "decision").contains("token"), "{answer:?}"),
            }
        }
        daemon.stored_nothing();
    }
}

#[test]
fn a_site_that_decides_itself_takes_no_decisions_from_senders() {
    let daemon = site("server");
    for (way, request) in ways("v", &grant()) {
        let answer = daemon.send(&request.token());
        let told = match way {
            "event" => answer.first()["what"].as_str().unwrap().to_owned(),
            _ => assert_error(&answer, 400, "decision"),
        };
        assert!(told.contains("consent_source"), "{way}: {told}");
    }
    daemon.stored_nothing();
    let own = post("/v1/consent").token().json(&with(grant(), json!({"visitor": "v"})));
    assert_eq!(daemon.send(&own).status, 200, "but a sender may record one as such");
    assert_eq!(daemon.value("SELECT actor FROM decisions"), "sender");
    let known = post("/v1/consent").token().json(&json!({"visitor": "v", "action": "withdraw"}));
    assert_eq!(daemon.send(&known).status, 200, "and needs no visitor token");
}

#[test]
fn a_decision_header_that_is_none_is_refused() {
    let daemon = site("sender");
    for header in
        ["yes", "{}", "{\"action\":\"give\"}", "{\"action\":\"give\",\"purposes\":[\"all\"]}", "{\"name\":\"n\"}"]
    {
        let request = post("/v1/events").token().header("Wayside-Consent", header).json(&page_view("v"));
        let answer = daemon.send(&request);
        assert_eq!(answer.status, 400, "{header}: {answer:?}");
        assert!(matches!(answer.json()["error"].as_str(), Some("decision" | "bad_json")), "{header}: {answer:?}");
    }
    daemon.stored_nothing();
}

#[test]
fn decision_lines_stand_among_the_events_of_a_sender() {
    let daemon = site("sender");
    let lines = [
        page_view("v"),
        json!({"visitor": "v", "action": "give", "purposes": ["measure"], "decisionId": "d-1"}),
        page_view("v"),
        json!({"visitor": "v", "action": "withdraw", "decisionId": "d-2"}),
        page_view("v"),
        json!({"visitor": "v", "action": "withdraw", "decisionId": "d-2"}),
    ];
    let answer = daemon.send(&post("/v1/events").token().json(&json!(lines)));
    assert_eq!(answer.outcomes(200), ["counted", "accepted", "accepted", "accepted", "counted", "duplicate"]);
    assert_eq!((daemon.count("decisions"), daemon.counted()), (2, 2));
    let public = daemon.send(&post("/v1/events").json(&json!(lines)));
    let outcomes = ["counted", "invalid", "counted", "invalid", "counted", "invalid"];
    assert_eq!(public.outcomes(200), outcomes);
    assert_eq!(daemon.count("decisions"), 2);
}

#[test]
fn the_operator_decides_under_either_setting() {
    for source in ["sender", "server"] {
        let daemon = site(source);
        let mut control = daemon.control();
        for (way, request) in ways("v", &grant()) {
            assert_eq!(control.send(&request).outcomes(200), ["accepted"], "{source} {way}");
        }
        let answer = control.send(&post("/v1/consent").json(&json!({"visitor": "v", "action": "withdraw"})));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(daemon.rows("SELECT DISTINCT actor FROM decisions"), [json!(["operator"])]);
        assert_eq!(daemon.events(&page_view("v")).outcomes(200), ["counted"]);
    }
}
