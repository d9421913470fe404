//! What becomes of an event and what its sender is told: outcomes, retries, conflicts, and what is not told.
//! Must never test how bodies are written (`events.rs`). Invariant: one result per event, in order, true in the rows.

use serde_json::{Value, json};

use crate::support::*;

/// A site whose callers are told no reasons.
const QUIET: &str = "ingest_token_files = [\"token\"]\n\n[[site]]\nid = \"shop\"\n";

#[test]
fn each_event_has_its_outcome_in_order() {
    let daemon = Daemon::plain();
    daemon.give("yes", &["measure"]);
    let stored = with(page_view("yes"), json!({"eventId": "e-1"}));
    assert_eq!(daemon.events(&stored).outcomes(200), ["accepted"]);
    let answer = daemon.events(&json!([
        page_view("yes"),
        page_view("no"),
        stored,
        with(stored.clone(), json!({"title": "Other"})),
        {"name": "not a name", "visitor": "yes"},
        {"name": "page_viewed"},
        17,
    ]));
    let outcomes = ["accepted", "counted", "duplicate", "conflict", "invalid", "invalid", "invalid"];
    assert_eq!(answer.outcomes(200), outcomes);
    assert_eq!((daemon.count("events"), daemon.counted()), (2, 1));
    assert_eq!(daemon.value("SELECT page_count FROM visits"), 2, "the duplicate was no second view");
}

#[test]
fn a_request_of_nothing_but_bad_events_is_422() {
    let daemon = Daemon::plain();
    daemon.give("v", &["measure"]);
    let stored = with(page_view("v"), json!({"eventId": "e-1"}));
    daemon.events(&stored);
    let conflict = with(stored.clone(), json!({"url": "https://shop.example/else"}));
    assert_eq!(daemon.events(&json!([conflict, {"name": ""}])).outcomes(422), ["conflict", "invalid"]);
    assert_eq!(daemon.events(&json!([conflict, stored])).outcomes(200), ["conflict", "duplicate"]);
    let lines = post("/v1/events").header("Content-Type", "application/x-ndjson");
    let answer = daemon.send(&lines.clone().body("{\"name\": \n{\"name\":\"x y\"}\n"));
    assert_eq!(answer.outcomes(422), ["invalid", "invalid"]);
    let answer = daemon.send(&lines.body(format!("{{broken\n{}\n", page_view("v"))));
    assert_eq!(answer.outcomes(200), ["invalid", "accepted"], "a line that does not parse harms no other line");
    assert_eq!(answer.first()["field"], "line 1");
    assert!(answer.first()["what"].as_str().unwrap().contains("column"), "{answer:?}");
    assert_eq!(daemon.count("events"), 2);
}

#[test]
fn a_retry_under_the_same_id_is_harmless() {
    let daemon = Daemon::plain();
    daemon.give("v", &["measure"]);
    let event =
        with(page_view("v"), json!({"eventId": "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "time": ago(0).rfc3339()}));
    let first = daemon.events(&event);
    assert_eq!(first.outcomes(200), ["accepted"]);
    for _ in 0..3 {
        let again = daemon.events(&event);
        assert_eq!(again.outcomes(200), ["duplicate"]);
        assert_eq!(again.first()["seq"], first.first()["seq"]);
        assert_eq!(again.first()["eventId"], event["eventId"]);
    }
    let lower = with(event.clone(), json!({"eventId": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}));
    assert_ne!(daemon.events(&lower).outcomes(200), ["conflict"], "ids are compared as they are written or as UUIDs");
    let twice_in_one = with(event.clone(), json!({"eventId": "e-2"}));
    assert_eq!(daemon.events(&json!([twice_in_one, twice_in_one])).outcomes(200), ["accepted", "duplicate"]);
    let visits = daemon.rows("SELECT event_count, page_count FROM visits");
    assert_eq!(visits, [json!([daemon.count("events"), daemon.count("pages")])]);
}

#[test]
fn same_id_with_other_content_is_a_conflict() {
    let daemon = Daemon::plain();
    daemon.give("v", &["measure"]);
    let at = ago(MINUTE).rfc3339();
    let event = with(page_view("v"), json!({"eventId": "e-1", "time": at, "attributes": {"a": "1"}}));
    assert_eq!(daemon.events(&event).outcomes(200), ["accepted"]);
    let others = [
        json!({"name": "page_closed"}),
        json!({"time": ago(2 * MINUTE).rfc3339()}),
        json!({"time": null}),
        json!({"title": "Boots"}),
        json!({"url": "https://shop.example/boots"}),
        json!({"attributes": {"a": "2"}}),
        json!({"attributes": {"b": "1"}}),
        json!({"attributes": {"a": 1}}),
        json!({"attributes": null}),
    ];
    for other in others {
        let answer = daemon.events(&with(event.clone(), other.clone()));
        assert_eq!(answer.outcomes(422), ["conflict"], "{other}");
        assert_eq!(answer.first()["eventId"], "e-1");
        assert!(answer.first()["remedy"].as_str().unwrap().contains("eventId"));
    }
    let same = with(event, json!({"sentAt": ago(0).rfc3339(), "time": ago(0).rfc3339()}));
    assert_eq!(
        daemon.events(&with(same, json!({"time": at}))).outcomes(200),
        ["duplicate"],
        "the sending time is no content"
    );
    assert_eq!(daemon.count("events"), 1);
}

#[test]
fn ids_are_unique_per_site() {
    let daemon = Daemon::with("[[site]]\nid = \"a\"\n\n[[site]]\nid = \"b\"\n");
    for site in ["a", "b"] {
        daemon.send(
            &post(&format!("/v1/consent?site={site}"))
                .json(&json!({"visitor": "v", "action": "give", "purposes": ["measure"], "decisionId": "d-1"})),
        );
        let event = with(page_view("v"), json!({"eventId": "e-1", "title": site}));
        let answer = daemon.send(&post(&format!("/v1/events?site={site}")).json(&event));
        assert_eq!(answer.outcomes(200), ["accepted"]);
    }
    assert_eq!((daemon.count("events"), daemon.count("visitors"), daemon.count("decisions")), (2, 2, 2));
}

/// The body with which the public door answers an event of this visitor.
fn told(daemon: &Daemon, visitor: &str) -> String {
    let answer = daemon.events(&with(page_view(visitor), json!({"eventId": "one-id"})));
    assert_eq!(answer.outcomes(200), ["counted"], "{visitor}");
    String::from_utf8(answer.body).unwrap()
}

#[test]
fn nobody_learns_from_an_answer_what_a_visitor_decided() {
    let daemon = Daemon::with(QUIET);
    let decide = |visitor: &str, action: &str, token: &str| {
        let answer = daemon.decide(&json!({"visitor": visitor, "action": action, "visitorToken": token}));
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    decide("refused", "refuse", "");
    let token = daemon.give("withdrew", &["measure"]);
    assert_eq!(daemon.events(&with(page_view("withdrew"), json!({"eventId": "one-id"}))).outcomes(200), ["accepted"]);
    decide("withdrew", "withdraw", &token);
    let never = told(&daemon, "never-decided");
    assert_eq!(never, r#"{"results":[{"outcome":"counted","eventId":"one-id"}]}"#);
    assert_eq!(told(&daemon, "refused"), never);
    assert_eq!(told(&daemon, "withdrew"), never, "not even that this very id was stored once");
    let claim = with(page_view("never-decided"), json!({"eventId": "one-id", "consent": []}));
    assert_eq!(String::from_utf8(daemon.events(&claim).body).unwrap(), never);
    let nobody = with(page_view(""), json!({"eventId": "one-id", "visitor": null}));
    assert_eq!(String::from_utf8(daemon.events(&nobody).body).unwrap(), never);
}

#[test]
fn who_may_know_is_told_reason_and_remedy() {
    let daemon = Daemon::with(QUIET);
    daemon.decide(&json!({"visitor": "refused", "action": "refuse"}));
    let token = daemon.give("withdrew", &["measure"]);
    daemon.decide(&json!({"visitor": "withdrew", "action": "withdraw", "visitorToken": token}));
    let bodies = [
        (page_view("never"), "no_decision"),
        (page_view("refused"), "denied"),
        (page_view("withdrew"), "denied"),
        (with(page_view("x"), json!({"visitor": null})), "no_visitor"),
    ];
    for (body, reason) in &bodies {
        let request = post("/v1/events").json(body);
        let told = [daemon.send(&request.clone().token()), daemon.control().send(&request)];
        for answer in told {
            assert_eq!(answer.first()["reason"], *reason, "{answer:?}");
            assert!(!answer.first()["remedy"].as_str().unwrap().is_empty());
        }
        let public = daemon.send(&request).first();
        assert_eq!(public, json!({"outcome": "counted"}), "{reason}");
    }
    let plain = Daemon::plain();
    let answer = plain.events(&page_view("v")).first();
    assert_eq!(answer["reason"], "no_decision", "the built-in site has debug");
    assert!(answer["remedy"].as_str().unwrap().contains("POST /v1/consent"));
}

#[test]
fn a_wrong_token_never_sinks_to_the_public_silently() {
    let daemon = Daemon::with(QUIET);
    for wrong in ["Bearer nonsense", "Bearer ", "Basic dXNlcjpwYXNz", TOKEN, &format!("Bearer {TOKEN}x")] {
        for target in ["/v1/events", "/v1/consent"] {
            let body = if target.ends_with("events") {
                page_view("v")
            } else {
                json!({"visitor": "v", "action": "give", "purposes": ["measure"]})
            };
            let answer = daemon.send(&post(target).header("Authorization", wrong).json(&body));
            assert_error(&answer, 401, "token_unknown");
            assert!(!String::from_utf8_lossy(&answer.body).contains(TOKEN), "the token is not echoed");
        }
    }
    daemon.stored_nothing();
    assert_eq!(daemon.send(&post("/v1/events").token().json(&page_view("v"))).outcomes(200), ["counted"]);
}

#[test]
fn numbers_of_rows_are_told_to_those_who_may_know() {
    let daemon = Daemon::with(QUIET);
    daemon.give("v", &["measure"]);
    let request = post("/v1/events").json(&page_view("v"));
    assert_eq!(daemon.send(&request).first().get("seq"), None);
    let seq = daemon.send(&request.token()).first()["seq"].clone();
    assert_eq!(daemon.value("SELECT max(seq) FROM events"), seq);
}

#[test]
fn personal_fields_are_withheld_by_name() {
    let person = json!({
        "name": "UserInfo", "visitor": "v", "eventId": "e-1", "data": {"userId": "m.example", "city": "Bern"},
        "externalId": "crm-7",
    });
    let plain = Daemon::with("[personal]\nstore = \"off\"\n");
    plain.give("v", &["measure", "personal"]);
    let answer = plain.events(&person);
    assert_eq!(answer.outcomes(200), ["accepted"]);
    assert_eq!(answer.first()["withheld"], json!(["traits", "identity", "external_id"]));
    assert_eq!(plain.value("SELECT withheld FROM events"), "traits,identity,external_id");
    assert_eq!((plain.count("personal"), plain.count("identities")), (0, 0));
    let sealed = Daemon::plain();
    sealed.give("v", &["measure", "personal"]);
    sealed.give("w", &["measure"]);
    let answer = sealed.events(&json!([person, with(person.clone(), json!({"visitor": "w", "eventId": "e-2"}))]));
    assert_eq!(answer.outcomes(200), ["accepted", "accepted"]);
    assert_eq!(answer.first()["withheld"], Value::Null);
    assert_eq!(answer.json()["results"][1]["withheld"], json!(["traits", "identity", "external_id"]), "no right to it");
    let kept = sealed.rows("SELECT field, length(value) FROM personal ORDER BY field");
    assert_eq!(kept, [json!(["external_id", 45]), json!(["trait.city", 44])], "40 bytes longer than the value");
    assert_eq!(sealed.rows("SELECT length(key), state FROM identities"), [json!([49, "recognized"])]);
}

#[test]
fn web_engagement_events_make_visits_pages_and_sessions() {
    let daemon = Daemon::plain();
    daemon.give("c93a19a1-45db-4d59-9c85-b637daea4a20", &["measure", "personal"]);
    let began = ago(10 * MINUTE);
    let of = |id: &str, visitor: &str, name: &str, after: i64, more: Value| {
        let (visit, page) = if id == "ID" { ("visitID", "pageID") } else { ("visitId", "pageId") };
        let common = json!({
            "eventType": "SYSTEM", "eventName": name, visitor: "c93a19a1-45db-4d59-9c85-b637daea4a20",
            format!("event{id}"): format!("{name}-{after}"), visit: "654E0122924F42EA82B5C581A394555D",
            page: "44D25DDB78174DEC8F33E28F96428336", "timestamp": began.plus(after).0,
        });
        with(common, more)
    };
    let page = json!({"url": "http://shop.example/a", "title": "A", "category": "x;y", "languageCode": "en-US"});
    let answer = daemon.events(&json!([
        of("ID", "globalVisitID", "VisitStarted", 0, json!({})),
        of("ID", "globalVisitID", "PageEntered", 1_000, page),
        of("Id", "globalVisitId", "SignIn", 2_000, json!({"data": {"userId": "m.example"}})),
        of("Id", "globalVisitId", "add_to_cart", 3_000, json!({"eventType": "BUSINESS", "data": {"sku": "7"}})),
        of("Id", "globalVisitId", "SignOut", 4_000, json!({})),
        of("ID", "globalVisitID", "PageExited", 61_000, json!({"url": "http://shop.example/a"})),
    ]));
    assert_eq!(answer.outcomes(200), ["accepted"; 6], "{answer:?}");
    let visits = daemon.rows("SELECT event_count, page_count, last_active_at - started_at, authenticated FROM visits");
    assert_eq!(visits, [json!([6, 1, 61_000, 0])]);
    assert_eq!(daemon.rows("SELECT dwell_ms, language, category FROM pages"), [json!([60_000, "en-US", "x;y"])]);
    assert_eq!(daemon.rows("SELECT ended_at - started_at, identity_id IS NULL FROM sessions"), [json!([2_000, 0])]);
    assert_eq!(daemon.rows("SELECT length(key) FROM identities"), [json!([49])]);
    let inside = "events WHERE session_id IS NOT NULL AND name IN ('SignIn', 'add_to_cart', 'SignOut')";
    assert_eq!(daemon.count(inside), 3);
    let wrong = of("ID", "globalVisitID", "PageEntered", 5_000, json!({"eventType": "BUSINESS"}));
    assert_eq!(daemon.events(&wrong).wrong_field(), "eventType");
    let twice = of("ID", "globalVisitID", "PageEntered", 5_000, json!({"globalVisitId": "other"}));
    assert_eq!(daemon.events(&twice).outcomes(422), ["invalid"], "two spellings of one field");
}

#[test]
fn conversations_are_events_of_their_visit() {
    let daemon = Daemon::plain();
    daemon.give("v", &["measure"]);
    let chat = |name: &str| json!({"name": name, "visitor": "v", "conversation": {"id": "chat-1", "medium": "chat"}});
    let answer = daemon.events(&json!([chat("conversation_started"), chat("conversation_ended")]));
    assert_eq!(answer.outcomes(200), ["accepted", "accepted"]);
    let rows = daemon
        .rows("SELECT name, lane, conversation, visit_id = (SELECT visit_id FROM visits) FROM events ORDER BY seq");
    let told = r#"{"id":"chat-1","medium":"chat"}"#;
    assert_eq!(rows, [json!(["conversation_started", 1, told, 1]), json!(["conversation_ended", 1, told, 1])]);
    assert_eq!(
        daemon.events(&json!({"name": "conversation_started", "visitor": "v"})).wrong_field(),
        "conversation.id"
    );
}

#[test]
fn rows_equal_acknowledgements_however_many_send_at_once() {
    let daemon = Daemon::plain();
    let visitors: Vec<String> = (0..8).map(|n| format!("v-{n}")).collect();
    visitors.iter().for_each(|visitor| drop(daemon.give(visitor, &["measure"])));
    let accepted: usize = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..16)
            .map(|sender| {
                let (mut client, visitor) = (daemon.connect(), visitors[sender % 8].clone());
                scope.spawn(move || {
                    // two senders share each visitor, and each sends every event twice
                    let event = |n: usize| with(page_view(&visitor), json!({"eventId": format!("e-{sender}-{n}")}));
                    let sent = (0..40).flat_map(|n| client.send(&post("/v1/events").json(&event(n / 2))).outcomes(200));
                    sent.filter(|outcome| outcome == "accepted").count()
                })
            })
            .collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).sum()
    });
    assert_eq!((accepted, daemon.count("events"), daemon.count("pages")), (320, 320, 320));
    assert_eq!(daemon.rows("SELECT event_count, page_count FROM visits"), vec![json!([40, 40]); 8]);
    assert_eq!(daemon.rows("SELECT event_count, page_count, visit_count FROM visitors"), vec![json!([40, 40, 1]); 8]);
}
