//! Decisions through the public door, and what they do to every row: give, refuse, withdraw, tokens, signals, bases.
//! Must never test decisions that come with events (`sender.rs`). Invariant: what is not allowed leaves no identifier.

use serde_json::{Value, json};

use crate::support::daemon::files;
use crate::support::*;

const MEASURE: i64 = 1;
const PERSONAL: i64 = 1 << 1;
const PROFILE: i64 = 1 << 2;
const ENGAGE_SUPPORT: i64 = 1 << 3;
const SHARE: i64 = 1 << 4;
const MARKETING: i64 = 1 << 5;
const ENGAGE_SALES: i64 = 1 << 6;

/// A site whose purpose measure rests on another basis than consent.
fn on_basis(basis: &str) -> Daemon {
    let purpose =
        format!("[[site.purposes]]\nname = \"measure\"\nbasis = \"{basis}\"\nassessment = \"a, 2026-01-31\"\n");
    Daemon::with(&format!("[[site]]\nid = \"shop\"\n\n{purpose}"))
}

fn withdraw(daemon: &Daemon, visitor: &str, purposes: &[&str], token: &str) -> Value {
    let answer =
        daemon.decide(&json!({"visitor": visitor, "action": "withdraw", "purposes": purposes, "visitorToken": token}));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Flags, basis and decision of every row there is, table by table.
fn rights(daemon: &Daemon) -> Vec<Value> {
    ["visitors", "visits", "pages", "events"]
        .iter()
        .flat_map(|table| daemon.rows(&format!("SELECT DISTINCT '{table}', flags, basis_id, consent_seq FROM {table}")))
        .collect()
}

#[test]
fn a_grant_lets_events_be_stored_and_stands_on_every_row() {
    let daemon = Daemon::plain();
    assert_eq!(daemon.events(&page_view("v")).outcomes(200), ["counted"]);
    let notice = json!({"notice": {"name": "tool", "version": "2026-01", "url": ""}, "digest": "ab".repeat(32)});
    assert_eq!(daemon.control().send(&post("/v1/notices/external").json(&notice)).status, 200);
    let answer = daemon.decide(&json!({
        "visitor": "v", "action": "give", "purposes": ["measure", "share"], "decisionId": "d-1", "method": "banner_custom",
        "notice": "2026-01", "language": "en", "time": ago(SECOND).rfc3339(),
    }));
    let told = answer.json();
    assert_eq!(
        (answer.status, &told["outcome"], &told["current"]),
        (200, &json!("recorded"), &json!(true)),
        "{answer:?}"
    );
    assert_eq!((&told["decisionId"], &told["granted"]), (&json!("d-1"), &json!(["measure", "share"])));
    assert_eq!(told["stands"], json!([]));
    assert_eq!(daemon.events(&page_view("v")).outcomes(200), ["accepted"]);
    let seq = told["seq"].as_i64().unwrap();
    let row = |table: &str| json!([table, MEASURE | SHARE, 0, seq]);
    assert_eq!(rights(&daemon), [row("visitors"), row("visits"), row("pages"), row("events")]);
    let ledger = "SELECT seq, decision_id, action, purposes, before, after, current, method, actor, notice, language, gpc, dnt \
                  FROM decisions";
    let kept = json!([seq, "d-1", "give", 17, 0, 17, 1, "banner_custom", "subject", "2026-01", "en", 0, 0]);
    assert_eq!(daemon.rows(ledger), [kept]);
    assert_eq!(
        daemon.value("SELECT hex(subject_ref) FROM decisions"),
        daemon.value("SELECT hex(visitor_ref) FROM visitors")
    );
}

#[test]
fn a_refusal_is_kept_without_the_id() {
    let daemon = Daemon::plain();
    let answer = daemon.decide(&json!({"visitor": "refusing-visitor-41", "action": "refuse"}));
    let told = answer.json();
    assert_eq!((answer.status, &told["granted"], &told["current"]), (200, &json!([]), &json!(true)), "{answer:?}");
    let answer = daemon.events(&page_view("refusing-visitor-41"));
    assert_eq!((answer.outcomes(200), answer.first()["reason"].as_str()), (vec!["counted".to_owned()], Some("denied")));
    assert_eq!((daemon.count("visitors"), daemon.count("decisions"), daemon.count("refusals")), (0, 1, 1));
    assert_eq!(daemon.counted(), 1);
    found_nowhere(&daemon, &["refusing-visitor-41"]);
}

#[test]
fn withdrawal_stops_storing_at_once_and_hides_what_there_was() {
    let daemon = Daemon::plain();
    let token = daemon.give("v", &["measure", "share"]);
    let mut other_tab = daemon.connect();
    let event = post("/v1/events").json(&page_view("v"));
    let stored = other_tab.send(&event).first()["seq"].clone();
    assert_eq!(daemon.count("visible_visits"), 1);
    let told = withdraw(&daemon, "v", &[], &token);
    assert_eq!((&told["granted"], &told["current"]), (&json!([]), &json!(true)));
    for _ in 0..3 {
        assert_eq!(other_tab.send(&event).outcomes(200), ["counted"]);
    }
    assert_eq!((daemon.counted(), daemon.count("visible_visits")), (3, 0), "what was stored is read no more");
    let floors = daemon.rows(&format!("SELECT floor_seq >= {stored} FROM floors WHERE purpose IN (0, 1, 4, 16)"));
    assert!(floors.iter().all(|row| row[0] == 1), "{floors:?}");
    assert!(!floors.is_empty() || daemon.count("events") == 0, "without a floor nothing below it may be left");
    let again =
        daemon.decide(&json!({"visitor": "v", "action": "give", "purposes": ["measure"], "visitorToken": token}));
    assert_eq!(again.json()["granted"], json!(["measure"]), "{again:?}");
    assert_eq!(other_tab.send(&event).outcomes(200), ["accepted"]);
    assert_eq!(daemon.count("visible_visits"), 1, "nothing joins a visit below a floor, and a later grant lifts none");
    daemon.upkeep();
    let left = ["visits", "pages", "events"].map(|table| daemon.count(table));
    assert_eq!(left, [1, 1, 1], "what was withdrawn is gone, what came after the new grant is not");
}

#[test]
fn withdrawing_one_purpose_keeps_the_others_and_measure_takes_all() {
    let daemon = Daemon::plain();
    let token = daemon.give("v", &["measure", "share", "marketing"]);
    assert_eq!(withdraw(&daemon, "v", &["share"], &token)["granted"], json!(["measure", "marketing"]));
    daemon.events(&page_view("v"));
    assert_eq!(daemon.value("SELECT flags FROM events"), MEASURE | MARKETING);
    assert_eq!(withdraw(&daemon, "v", &["measure"], &token)["granted"], json!([]), "all others require measure");
    assert_eq!(daemon.events(&page_view("v")).outcomes(200), ["counted"]);
}

#[test]
fn a_known_visitor_decides_with_its_token_only() {
    let daemon = Daemon::plain();
    let token = daemon.give("known", &["measure"]);
    let others = daemon.give("other", &["measure"]);
    let refusal = daemon.decide(&json!({"visitor": "refused", "action": "refuse"})).json();
    let refused = refusal["visitorToken"].as_str().unwrap().to_owned();
    let decide = |visitor: &str, action: &str, token: Option<&str>| {
        daemon.decide(&json!({"visitor": visitor, "action": action, "purposes": ["measure"], "visitorToken": token}))
    };
    for wrong in [None, Some(""), Some("nonsense"), Some(others.as_str()), Some(refused.as_str())] {
        assert_error(&decide("known", "withdraw", wrong), 403, "visitor_token");
        assert_error(&decide("known", "give", wrong), 403, "visitor_token");
    }
    assert_error(&decide("refused", "give", None), 403, "visitor_token");
    assert_error(&decide("refused", "give", Some(&token)), 403, "visitor_token");
    assert_eq!(daemon.count("decisions"), 3, "what was forbidden was not recorded");
    assert_eq!(daemon.events(&page_view("known")).outcomes(200), ["accepted"]);
    let answer = decide("known", "withdraw", Some(&token));
    assert_eq!((answer.status, answer.json().get("visitorToken")), (200, None), "it is handed out once: {answer:?}");
    assert_eq!(decide("refused", "give", Some(&refused)).status, 200);
    assert_eq!(daemon.events(&page_view("refused")).outcomes(200), ["accepted"]);
}

#[test]
fn a_repeated_decision_is_answered_again_and_recorded_once() {
    let daemon = Daemon::plain();
    for (visitor, body) in [
        ("v", json!({"visitor": "v", "action": "give", "purposes": ["measure"], "decisionId": "d-1"})),
        ("w", json!({"visitor": "w", "action": "refuse", "decisionId": "d-2"})),
    ] {
        let first = daemon.decide(&body).json();
        let again = daemon.decide(&body);
        assert_eq!(again.status, 200, "{again:?}");
        assert_eq!(again.json()["outcome"], "duplicate", "{visitor}");
        for same in ["decisionId", "seq", "granted", "current", "visitorToken"] {
            assert_eq!(again.json()[same], first[same], "{visitor}: {same}");
        }
        assert!(first["visitorToken"].is_string(), "a lost answer costs nobody the right to decide");
    }
    assert_eq!(daemon.count("decisions"), 2);
}

#[test]
fn a_decision_id_of_somebody_else_is_a_conflict() {
    let daemon = Daemon::plain();
    let give =
        |visitor: &str| json!({"visitor": visitor, "action": "give", "purposes": ["measure"], "decisionId": "d-1"});
    let token = daemon.decide(&give("first")).json()["visitorToken"].as_str().unwrap().to_owned();
    daemon.give("second", &["measure"]);
    assert_error(&daemon.decide(&give("second")), 409, "decision_id");
    let unseen = daemon.decide(&json!({"visitor": "unseen", "action": "refuse", "decisionId": "d-1"}));
    assert_error(&unseen, 409, "decision_id");
    assert!(!String::from_utf8_lossy(&unseen.body).contains(&token));
    assert_eq!(daemon.count("decisions"), 2);
}

#[test]
fn a_no_under_a_used_decision_id_is_never_swallowed() {
    let daemon = Daemon::plain();
    let decision = json!({"visitor": "v", "action": "give", "purposes": ["measure"], "decisionId": "d-1"});
    let token = daemon.decide(&decision).json()["visitorToken"].clone();
    let no = daemon.decide(&json!({"visitor": "v", "action": "withdraw", "decisionId": "d-1", "visitorToken": token}));
    assert_error(&no, 409, "decision_id");
}

#[test]
fn a_yes_that_was_given_before_the_newest_no_does_not_come_back() {
    let daemon = Daemon::plain();
    let token = daemon.give("v", &["measure"]);
    withdraw(&daemon, "v", &[], &token);
    let late = json!({"visitor": "v", "action": "give", "purposes": ["measure"], "visitorToken": token,
        "time": ago(HOUR).rfc3339()});
    let told = daemon.decide(&late).json();
    assert_eq!((&told["outcome"], &told["current"], &told["granted"]), (&json!("recorded"), &json!(false), &json!([])));
    assert_eq!(daemon.events(&page_view("v")).outcomes(200), ["counted"]);
    assert_eq!(daemon.count("decisions"), 3);
}

#[test]
fn what_happened_between_a_no_and_the_next_yes_stays_out_however_late_it_comes() {
    let daemon = Daemon::plain();
    let decide = |action: &str, hours: i64, token: &Value| {
        let body = json!({"visitor": "v", "action": action, "purposes": ["measure"], "visitorToken": token,
            "time": ago(hours * HOUR).rfc3339()});
        let answer = daemon.decide(&body);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["visitorToken"].clone()
    };
    let token = decide("give", 10, &Value::Null);
    decide("withdraw", 5, &token);
    decide("give", 2, &token);
    let at = |hours: i64| daemon.events(&with(page_view("v"), json!({"time": ago(hours * HOUR).rfc3339()})));
    let between = at(3);
    assert_eq!(between.outcomes(200), ["counted"]);
    assert_eq!(between.first()["reason"], "denied_then");
    assert_eq!(at(1).outcomes(200), ["accepted"]);
    assert_eq!(at(0).outcomes(200), ["accepted"]);
}

#[test]
fn privacy_signals_lower_the_bits_they_cover() {
    let all = ["measure", "personal", "profile", "engage_support", "share", "marketing", "engage_sales"];
    let full = MEASURE | PERSONAL | PROFILE | ENGAGE_SUPPORT | SHARE | MARKETING | ENGAGE_SALES;
    let lowered = MEASURE | PERSONAL;
    let daemon = Daemon::plain();
    daemon.give("v", &all);
    let flags = |visitor: &str, signal: Option<(&str, &str)>| {
        let request = post("/v1/events").json(&page_view(visitor));
        let request = signal.into_iter().fold(request, |r, (name, value)| r.header(name, value));
        assert_eq!(daemon.send(&request).outcomes(200), ["accepted"]);
        daemon.value("SELECT flags FROM events ORDER BY seq DESC LIMIT 1")
    };
    assert_eq!(flags("v", None), full, "absence of a signal changes nothing");
    assert_eq!(flags("v", Some(("Sec-GPC", "1"))), lowered);
    assert_eq!(flags("v", Some(("DNT", "1"))), lowered);
    assert_eq!(flags("v", Some(("Sec-GPC", "0"))), full);
    assert_eq!(flags("v", Some(("DNT", "0"))), full);
    let shown = json!({"visitor": "w", "action": "give", "purposes": all, "signalShown": true});
    daemon.send(&post("/v1/consent").header("Sec-GPC", "1").json(&shown));
    assert_eq!(flags("w", Some(("Sec-GPC", "1"))), full, "the person saw the signal and decided otherwise");
    assert_eq!(daemon.rows("SELECT gpc, signal_shown FROM decisions ORDER BY seq DESC LIMIT 1"), [json!([1, 1])]);
}

#[test]
fn a_claim_of_the_sender_only_narrows() {
    let daemon = Daemon::plain();
    daemon.give("v", &["measure", "share"]);
    let send = |claim: Value| daemon.events(&with(page_view("v"), json!({"consent": claim})));
    assert_eq!(send(json!(["measure"])).outcomes(200), ["accepted"]);
    assert_eq!(send(json!(["measure", "marketing"])).outcomes(200), ["accepted"]);
    assert_eq!(daemon.rows("SELECT flags FROM events"), [json!([MEASURE]), json!([MEASURE])]);
    let none = send(json!(["share"]));
    assert_eq!((none.outcomes(200), none.first()["reason"].as_str()), (vec!["counted".to_owned()], Some("claim")));
    assert_eq!(daemon.events(&with(page_view("w"), json!({"consent": ["measure"]}))).outcomes(200), ["counted"]);
}

#[test]
fn what_rests_on_contract_stands_and_says_so() {
    let daemon = on_basis("contract");
    let first = daemon.events(&page_view("v"));
    assert_eq!(first.outcomes(200), ["accepted"], "no decision is needed");
    let token = first.first()["visitorToken"].as_str().unwrap().to_owned();
    let told = withdraw(&daemon, "v", &[], &token);
    assert_eq!(told["stands"], json!(["measure"]), "{told}");
    assert_eq!(daemon.events(&page_view("v")).outcomes(200), ["accepted"]);
    assert_eq!(daemon.count("visible_visits"), 1);
    assert!(daemon.rows("SELECT basis_id FROM events").iter().all(|row| row[0].as_i64().unwrap() > 0));
    assert_eq!(daemon.rows("SELECT bases FROM bases"), [json!([r#"{"measure":"contract"}"#])]);
}

#[test]
fn legitimate_interest_stores_until_somebody_objects() {
    let daemon = on_basis("legitimate_interest");
    let first = daemon.events(&page_view("v"));
    assert_eq!(first.outcomes(200), ["accepted"]);
    let basis = daemon.value("SELECT max(basis_id) FROM bases").as_i64().unwrap();
    let row = |table: &str| json!([table, MEASURE, basis, 0]);
    assert_eq!(rights(&daemon), [row("visitors"), row("visits"), row("pages"), row("events")]);
    assert_error(&daemon.decide(&json!({"visitor": "v", "action": "withdraw"})), 403, "visitor_token");
    let token = first.first()["visitorToken"].as_str().unwrap().to_owned();
    assert_eq!(withdraw(&daemon, "v", &[], &token)["stands"], json!([]));
    assert_eq!(daemon.events(&page_view("v")).outcomes(200), ["counted"]);
    assert_eq!(
        daemon.decide(&json!({"visitor": "w", "action": "refuse"})).status,
        200,
        "objecting before the first event"
    );
    assert_eq!(daemon.events(&page_view("w")).outcomes(200), ["counted"]);
    assert_eq!((daemon.count("visible_visits"), daemon.count("visitors")), (0, 1));
}

#[test]
fn the_token_comes_with_the_first_stored_event_and_again_with_its_repeat() {
    let daemon = on_basis("legitimate_interest");
    let event = with(page_view("v"), json!({"eventId": "e-1"}));
    let token = daemon.events(&event).first()["visitorToken"].clone();
    assert!(token.is_string());
    let again = daemon.events(&event).first();
    assert_eq!((&again["outcome"], &again["visitorToken"]), (&json!("duplicate"), &token));
    assert_eq!(daemon.events(&page_view("v")).first().get("visitorToken"), None);
}

#[test]
fn drop_keeps_no_counter_and_exempt_keeps_measure_only() {
    let site = |rule: &str| Daemon::with(&format!("[[site]]\nid = \"s\"\nwithout_consent = \"{rule}\"\n"));
    let dropping = site("drop");
    assert_eq!(dropping.events(&page_view("v")).outcomes(200), ["counted"], "in the same word");
    dropping.stored_nothing();
    let exempt = site("consent_exempt");
    assert_eq!(exempt.events(&page_view("v")).outcomes(200), ["accepted"]);
    assert_eq!(exempt.rows("SELECT flags, basis_id, consent_seq, exempt FROM events"), [json!([MEASURE, 0, 0, 1])]);
    exempt.decide(&json!({"visitor": "w", "action": "refuse"}));
    assert_eq!(exempt.events(&page_view("w")).outcomes(200), ["counted"], "a no is a no");
    assert_eq!(exempt.count("visitors"), 1);
}

/// None of these texts, nor the bytes of an id, lies in any file of the data directory or in the log.
#[track_caller]
fn found_nowhere(daemon: &Daemon, texts: &[&str]) {
    let mut kept = files(&daemon.home.data());
    assert!(
        kept.iter().any(|(path, bytes)| path.ends_with("wayside.db-wal") && !bytes.is_empty()),
        "the log is looked at too"
    );
    kept.push(("the log of the daemon".into(), daemon.home.log().into_bytes()));
    for text in texts {
        let hex: String = text.chars().filter(|c| *c != '-').collect();
        let id =
            (hex.len() == 32).then(|| (0..16).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16)).collect());
        let needles = [Some(text.as_bytes().to_vec()), id.and_then(Result::ok)];
        for needle in needles.iter().flatten() {
            let holds = |bytes: &[u8]| bytes.windows(needle.len()).any(|part| part == needle);
            let files: Vec<_> = kept.iter().filter(|(_, bytes)| holds(bytes)).map(|(path, _)| path).collect();
            assert!(files.is_empty(), "{text} lies in {files:?}");
        }
    }
}

#[test]
fn a_fresh_install_keeps_no_identifier_without_consent() {
    let daemon = Daemon::plain();
    let uuid = "5b9e0f3a-77c1-4f0e-9d52-3a1be0c4d7f1";
    let event = json!({
        "name": "page_viewed", "visitor": uuid, "eventId": "6c8f1e4b-88d2-4a1f-8e63-4b2cf1d5e8a2",
        "visitId": "visit-of-nobody-7", "deviceId": "device-of-nobody-7", "title": "Title of nobody 7",
        "url": "https://shop.example/orders/8841277301?mail=nobody%40mail.example&q=secret+search",
        "attributes": {"card": "attribute of nobody"}, "traits": {"name": "trait of nobody"}, "identity": "identity-of-nobody",
        "externalId": "external-of-nobody",
    });
    let request = |visitor: &str| {
        post("/v1/events")
            .header("User-Agent", "Agent-of-nobody/7")
            .json(&with(event.clone(), json!({"visitor": visitor})))
    };
    for visitor in [uuid, "text-id-of-nobody-7"] {
        assert_eq!(daemon.send(&request(visitor)).outcomes(200), ["counted"]);
    }
    assert_eq!(daemon.rows("SELECT path, n FROM counts"), [json!(["/orders/*", 1])], "one id, counted once");
    assert_eq!(daemon.count("visitors"), 0);
    let texts = [
        uuid,
        "text-id-of-nobody-7",
        "6c8f1e4b-88d2-4a1f-8e63-4b2cf1d5e8a2",
        "visit-of-nobody-7",
        "device-of-nobody-7",
        "Title of nobody 7",
        "8841277301",
        "nobody%40mail",
        "nobody@mail",
        "secret+search",
        "secret search",
        "attribute of nobody",
        "trait of nobody",
        "identity-of-nobody",
        "external-of-nobody",
        "Agent-of-nobody",
    ];
    found_nowhere(&daemon, &texts);
}
