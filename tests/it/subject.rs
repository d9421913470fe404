//! Rights of people over a real daemon: the register, access, portability, correction, the privacy page, the shared device.
//! Must never look at what a command prints for people. Invariant: what one person is shown holds no word of another.

use std::process::Command;

use serde_json::{Value, json};
use wayside::base::base64::{Alphabet, encode};
use wayside::base::digest::hmac_plain;
use wayside::base::time::{Clock, SystemClock};

use crate::support::*;
use crate::tokens::{make, wayside};

const CONFIG: &str = "[subject]\nassertion_key_file = \"assertion.key\"\n[[site]]\nid = \"shop\"\n";
const KEY: &str = "assertion-tests-0123456789abcdef0123";

/// A daemon with a key of assertions and personal fields in force.
fn daemon() -> Daemon {
    let home = Home::new(CONFIG);
    std::fs::write(home.data().parent().unwrap().join("assertion.key"), KEY).unwrap();
    home.start()
}

/// One event of a visitor, so many seconds ago.
fn event(visitor: &str, name: &str, ago_s: i64, more: Value) -> Value {
    let at = ago(ago_s * SECOND).rfc3339();
    with(json!({"name": name, "visitor": visitor, "time": at, "url": "https://shop.example/a"}), more)
}

/// A device that two people use: anna and ben sign in, one after the other; and it browses with nobody signed in.
/// Returns the device's token.
fn family(daemon: &Daemon) -> String {
    let token = daemon.give("device", &["measure", "personal"]);
    let signed = |who: &str, mail: &str| json!({"data": {"userId": who, "email": mail}});
    let events = json!([
        event("device", "page_viewed", 20_000, json!({"attributes": {"word": "nobody-knows"}})),
        event("device", "SignIn", 12_000, signed("anna", "anna@shop.example")),
        event("device", "bought", 11_990, json!({"attributes": {"what": "annas-shoes"}})),
        event("device", "SignOut", 11_980, json!({})),
        event("device", "SignIn", 4_000, signed("ben", "ben@shop.example")),
        event("device", "bought", 3_990, json!({"attributes": {"what": "bens-bike"}})),
        event("device", "SignOut", 3_980, json!({})),
    ]);
    assert_eq!(daemon.events(&events).outcomes(200), ["accepted"; 7]);
    assert_eq!(daemon.count("visits"), 3);
    token
}

/// Opens and runs a request by command; the result file's text.
fn copy(daemon: &Daemon, kind: &str, whom: &[&str]) -> (Value, String) {
    let opened = wayside(daemon, &[&["subject", "open", kind, "--verified", "by-mail", "--json"], whom].concat());
    let file = daemon.home.data().parent().unwrap().join(format!("{kind}.json"));
    let path = file.to_str().unwrap();
    let run = wayside(daemon, &["subject", "run", opened["id"].as_str().unwrap(), "--output", path, "--json"]);
    assert_eq!(run["state"], "answered", "{run}");
    (run, std::fs::read_to_string(&file).unwrap())
}

fn holds(text: &str, yes: &[&str], no: &[&str]) {
    yes.iter().for_each(|word| assert!(text.contains(word), "{word} is missing: {text}"));
    no.iter().for_each(|word| assert!(!text.contains(word), "{word} is of another: {text}"));
}

#[test]
fn access_shows_a_person_everything_and_nothing_of_who_shares_the_device() {
    let daemon = daemon();
    family(&daemon);
    let (run, anna) = copy(&daemon, "access", &["--identity", "anna"]);
    holds(&anna, &["anna@shop.example", "annas-shoes"], &["ben", "nobody-knows"]);
    let told: Value = serde_json::from_str(&anna).unwrap();
    for item in [
        "controller",
        "purposes",
        "categories",
        "recipients",
        "retention",
        "rights",
        "complaint",
        "source",
        "automated_decisions",
    ] {
        assert!(!told["about"][item].is_null(), "Art. 15: {item}");
    }
    assert_eq!(told["people"][0]["consent_history"][0]["action"], "give", "{told}");
    assert_eq!(told["about"]["recipients"][0]["target"], "outbox");
    assert_eq!(told["left_out"]["visits"], 2);
    assert_eq!(run["result_sha256"].as_str().map(str::len), Some(64));
    let (_, device) = copy(&daemon, "access", &["--visitor", "device"]);
    holds(&device, &["nobody-knows"], &["anna", "ben"]);
    let (_, both) = copy(&daemon, "access", &["--visitor", "device", "--identity", "ben"]);
    holds(&both, &["nobody-knows", "bens-bike", "ben@shop.example"], &["anna"]);
    let (_, portable) = copy(&daemon, "portability", &["--identity", "ben"]);
    holds(&portable, &["bens-bike", "ben@shop.example", "wayside-portable"], &["anna", "nobody-knows", "retention"]);
}

#[test]
fn two_people_in_one_visit_are_told_apart_by_their_sessions() {
    let daemon = daemon();
    daemon.give("device", &["measure", "personal"]);
    let events = json!([
        event("device", "SignIn", 60, json!({"data": {"userId": "anna", "email": "anna@shop.example"}})),
        event("device", "bought", 50, json!({"attributes": {"what": "annas-shoes"}})),
        event("device", "SignIn", 40, json!({"data": {"userId": "ben", "email": "ben@shop.example"}})),
        event("device", "bought", 30, json!({"attributes": {"what": "bens-bike"}})),
    ]);
    assert_eq!(daemon.events(&events).outcomes(200), ["accepted"; 4]);
    assert_eq!(daemon.count("visits"), 1);
    let (_, anna) = copy(&daemon, "access", &["--identity", "anna"]);
    holds(&anna, &["annas-shoes", "anna@shop.example"], &["ben"]);
    let (_, ben) = copy(&daemon, "access", &["--identity", "ben"]);
    holds(&ben, &["bens-bike"], &["anna"]);
}

#[test]
fn a_correction_overwrites_fields_and_supersedes_lines() {
    let daemon = daemon();
    daemon.give("device", &["measure", "personal"]);
    let mail =
        json!({"data": {"userId": "anna", "email": "old@shop.example"}, "attributes": {"contact": "old@shop.example"}});
    daemon.events(&json!([
        event("device", "SignIn", 50, mail),
        event("device", "bought", 40, json!({"attributes": {"what": "shoes"}}))
    ]));
    let forward = daemon.control().send(&post("/v1/forward").json(&json!({"force": true})));
    assert_eq!(forward.status, 200, "{forward:?}");
    let old = daemon.value("SELECT seq FROM events WHERE name = 'SignIn'").as_i64().unwrap();
    let opened =
        wayside(&daemon, &["subject", "open", "rectify", "--identity", "anna", "--verified", "by-mail", "--json"]);
    let id = opened["id"].as_str().unwrap();
    let nothing = Command::new(env!("CARGO_BIN_EXE_wayside"))
        .args(["--data-dir", daemon.home.data().to_str().unwrap(), "subject", "run", id])
        .output()
        .unwrap();
    assert_eq!(nothing.status.code(), Some(65), "nothing is named to be corrected");
    let done = wayside(&daemon, &["subject", "run", id, "--replace", "old@shop.example=new@shop.example", "--json"]);
    assert_eq!(done["answer"], "1 personal fields overwritten, 1 events superseded");
    let rows = daemon.rows(
        "SELECT seq > replaces, replaces, json_extract(attributes, '$.contact') FROM events WHERE name = 'SignIn'",
    );
    assert_eq!(rows, [json!([1, old, "new@shop.example"])]);
    assert_eq!(daemon.rows(&format!("SELECT reason FROM holes WHERE seq = {old}")), [json!(["rectified"])]);
    let told = daemon.value("SELECT body FROM frozen WHERE kind = 'rectification'");
    let told: Value = serde_json::from_str(told.as_str().unwrap()).unwrap();
    assert_eq!(told["superseded"], json!([old]));
    assert_eq!(done["targets"], json!([{"target": "outbox", "state": "open"}]));
    let (_, anna) = copy(&daemon, "access", &["--identity", "anna"]);
    holds(&anna, &["new@shop.example"], &["old@shop.example"]);
    let home = daemon.stop();
    let database = std::fs::read(home.database()).unwrap();
    assert!(
        !database.windows(16).any(|bytes| bytes == b"old@shop.example"),
        "the old value is overwritten on the disk"
    );
}

#[test]
fn a_correction_reaches_pages_searches_and_what_was_told_of_the_visit() {
    let daemon = daemon();
    daemon.give("device", &["measure"]);
    let page = |id: &str, url: &str, title: &str, ago_s: i64| {
        event("device", "page_viewed", ago_s, json!({"eventId": id, "url": url, "title": title}))
    };
    daemon.events(&json!([
        page("p-1", "https://shop.example/u/anna%20old/basket?q=anna+old", "Basket of Anna Old", 5_000),
        page("p-2", "https://shop.example/other", "Others", 4_900)
    ]));
    let run = |request: Request| {
        let answer = daemon.control().send(&request);
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    run(post("/v1/import/done")); // ends visits and tells of them now, not a minute later
    run(post("/v1/forward").json(&json!({"force": true})));
    let snapshot = daemon.value("SELECT seq FROM frozen WHERE kind = 'visit'").as_i64().unwrap();
    let old = daemon.value("SELECT seq FROM events WHERE event_id = 'p-1'").as_i64().unwrap();
    let opened =
        wayside(&daemon, &["subject", "open", "rectify", "--visitor", "device", "--verified", "seen", "--json"]);
    let id = opened["id"].as_str().unwrap();
    let done = wayside(&daemon, &["subject", "run", id, "--replace", "Anna Old=Anna New", "--json"]);
    assert_eq!(done["answer"], "0 personal fields overwritten, 1 events superseded");
    let row = daemon.rows("SELECT url, title, search_query, replaces FROM events WHERE event_id = 'p-1'");
    let url = "https://shop.example/u/Anna%20New/basket?q=Anna%20New";
    assert_eq!(row, [json!([url, "Basket of Anna New", "Anna New", old])]);
    let holes = daemon.rows(&format!("SELECT reason FROM holes WHERE seq IN ({old}, {snapshot})"));
    assert_eq!(holes, [json!(["rectified"]), json!(["rectified"])]);
    let told: Value =
        serde_json::from_str(daemon.value("SELECT body FROM frozen WHERE kind = 'rectification'").as_str().unwrap())
            .unwrap();
    assert_eq!(told["superseded"], json!([old, snapshot]));
    run(post("/v1/import/done")); // ends visits and tells of them now, not a minute later
    let again = daemon.value("SELECT body FROM frozen WHERE kind = 'visit'");
    let again: Value = serde_json::from_str(again.as_str().unwrap()).unwrap();
    assert_eq!((&again["entry_url"], &again["entry_title"]), (&json!(url), &json!("Basket of Anna New")));
    run(post("/v1/forward").json(&json!({"force": true})));
    let verified = Command::new(env!("CARGO_BIN_EXE_wayside"))
        .args(["--data-dir", daemon.home.data().to_str().unwrap(), "batches", "verify"])
        .status();
    assert!(verified.unwrap().success());
    let home = daemon.stop();
    let database = std::fs::read(home.database()).unwrap();
    for value in ["anna%20old", "anna+old", "Anna Old", "anna old"] {
        assert!(!database.windows(value.len()).any(|bytes| bytes == value.as_bytes()), "{value} lies on the disk");
    }
}

#[test]
fn the_register_knows_what_is_due_and_what_may_follow() {
    let daemon = daemon();
    daemon.give("device", &["measure"]);
    let opened = wayside(&daemon, &["subject", "open", "erase", "--visitor", "device", "--json"]);
    let id = opened["id"].as_str().unwrap().to_owned();
    assert_eq!((&opened["state"], &opened["visitors"]), (&json!("received"), &json!(1)));
    let code = |words: &[&str]| {
        let data = daemon.home.data();
        let out = Command::new(env!("CARGO_BIN_EXE_wayside"))
            .args(["--data-dir", data.to_str().unwrap()])
            .args(words)
            .output();
        out.unwrap().status.code()
    };
    assert_eq!(code(&["subject", "due", "--days", "7"]), Some(0));
    assert_eq!(code(&["subject", "due", "--days", "31"]), Some(1), "cron is told");
    let extended = wayside(&daemon, &["subject", "extend", &id, "--reason", "many", "--json"]);
    assert!(extended["days_left"].as_i64().unwrap() > 85, "{extended}");
    assert_eq!(code(&["subject", "extend", &id, "--reason", "again"]), Some(65));
    assert_eq!(code(&["subject", "due", "--days", "31"]), Some(0));
    let refused = wayside(&daemon, &["subject", "refuse", &id, "--reason", "not his device", "--json"]);
    assert_eq!((&refused["state"], &refused["days_left"]), (&json!("refused"), &Value::Null));
    assert_eq!(code(&["subject", "run", &id, "--verified", "x"]), Some(65), "closed");
    assert_eq!(code(&["subject", "show", "0192f3a0-0000-7000-8000-000000000001"]), Some(66));
    let restrict = wayside(&daemon, &["subject", "open", "restrict", "--visitor", "nobody", "--json"]);
    let id = restrict["id"].as_str().unwrap();
    let closed =
        wayside(&daemon, &["subject", "close", id, "--as", "unidentifiable", "--note", "no such visitor", "--json"]);
    assert_eq!(closed["state"], "unidentifiable");
    let audit = wayside(&daemon, &["audit", "--about", id, "--json"]);
    let did: Vec<_> = audit.as_array().unwrap().iter().map(|row| row["what"].as_str().unwrap()).collect();
    assert_eq!(did, ["request_closed", "request_opened"]);
}

#[test]
fn a_result_is_read_with_the_right_token_until_it_expires() {
    let daemon = daemon();
    family(&daemon);
    let (run, text) = copy(&daemon, "access", &["--identity", "anna"]);
    let (_, secret) = make(&daemon, "desk", "subject");
    let (_, reader) = make(&daemon, "reader", "read");
    let path = format!("/v1/subject/requests/{}/result", run["id"].as_str().unwrap());
    let ask =
        |secret: &str, target: &str| daemon.send(&get(target).header("Authorization", &format!("Bearer {secret}")));
    assert_eq!(daemon.send(&get(&path)).status, 401);
    assert_eq!(ask(&reader, &path).status, 403, "reading rows is not reading a person");
    let answer = ask(&secret, &path);
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    assert_eq!(answer.body, text.as_bytes());
    let page = ask(&secret, &format!("{path}?format=html"));
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    holds(&String::from_utf8(page.body).unwrap(), &["annas-shoes", "Your data"], &["bens-bike", "<script"]);
    for file in crate::support::daemon::files(&daemon.home.data().join("results")) {
        std::fs::remove_file(file.0).unwrap();
    }
    assert_error(&ask(&secret, &path), 404, "no_result");
}

/// A JWT of the host site.
fn assertion(who: &str, nonce: &str) -> String {
    let now = SystemClock.now().0 / 1_000;
    let claims = json!({"sub": who, "aud": "shop", "iat": now, "exp": now + 60, "jti": nonce});
    let part = |text: String| encode(text.as_bytes(), Alphabet::Url);
    let signed = format!("{}.{}", part(json!({"alg": "HS256", "typ": "JWT"}).to_string()), part(claims.to_string()));
    format!("{signed}.{}", encode(&hmac_plain(KEY.as_bytes(), signed.as_bytes()), Alphabet::Url))
}

#[test]
fn a_device_reaches_its_anonymous_visits_and_an_assertion_the_identity() {
    let daemon = daemon();
    let token = family(&daemon);
    let me = |token: &str, assertion: Option<&str>| {
        let request = get("/v1/me?site=shop").header("Wayside-Visitor-Token", token);
        daemon.send(&assertion.map_or(request.clone(), |jwt| request.header("Wayside-Assertion", jwt)))
    };
    let device = me(&token, None);
    assert_eq!((device.status, device.header("cache-control")), (200, Some("no-store")));
    holds(&String::from_utf8(device.body).unwrap(), &["nobody-knows"], &["anna", "ben"]);
    let jwt = assertion("anna", "n-1");
    let anna = me(&token, Some(&jwt));
    assert_eq!(anna.status, 200, "{anna:?}");
    holds(
        &String::from_utf8(anna.body).unwrap(),
        &["nobody-knows", "annas-shoes", "anna@shop.example"],
        &["bens-bike", "ben@"],
    );
    assert_error(&me(&token, Some(&jwt)), 403, "assertion");
    assert_error(&daemon.send(&get("/v1/me?site=shop")), 400, "visitor_token");
}

#[test]
fn unknown_and_not_yours_read_alike() {
    let daemon = daemon();
    daemon.give("known", &["measure"]);
    let ask = |token: &str| {
        let answer = daemon.send(&get("/v1/me?site=shop").header("Wayside-Visitor-Token", token));
        (answer.status, answer.body)
    };
    let mac = "0123456789abcdef0123456789abcdef";
    let (unknown, foreign) = (ask(&format!("unknown.{mac}")), ask(&format!("known.{mac}")));
    assert_eq!(unknown, foreign);
    assert_eq!(unknown.0, 404);
    assert_eq!(ask("no-token"), unknown);
    for path in ["/v1/me/withdraw", "/v1/me/erase"] {
        let answers = ["unknown", "known"].map(|id| {
            let request = post(path).header("Wayside-Visitor-Token", &format!("{id}.{mac}")).body("{}");
            let answer = daemon.send(&request);
            (answer.status, answer.body)
        });
        assert_eq!((answers[0].0, &answers[0]), (404, &answers[1]), "{path}");
    }
}

#[test]
fn the_privacy_page_withdraws_and_asks_for_erasure_once() {
    let daemon = daemon();
    let token = daemon.give("device", &["measure", "share"]);
    let ask = |path: &str, body: Value| daemon.send(&post(path).header("Wayside-Visitor-Token", &token).json(&body));
    let narrowed = ask("/v1/me/withdraw", json!({"purposes": ["share"]}));
    assert_eq!((narrowed.status, &narrowed.json()["granted"]), (200, &json!(["measure"])), "{narrowed:?}");
    let erase = ask("/v1/me/erase", json!({}));
    assert_eq!((erase.status, &erase.json()["state"]), (202, &json!("running")), "{erase:?}");
    assert_error(&ask("/v1/me/erase", json!({})), 404, "nothing_kept");
    assert_eq!(daemon.rows("SELECT kind, level, channel FROM requests"), [json!(["erase", "device", "page"])], "once");
    let other = daemon.give("other", &["measure", "share"]);
    let all = daemon.send(&post("/v1/me/withdraw").header("Wayside-Visitor-Token", &other).json(&json!({})));
    assert_eq!(all.json()["granted"], json!([]), "{all:?}");
}
