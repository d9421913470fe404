//! Personal fields over HTTP: they are kept for who may keep them, shown to who holds the root key, and readable in no file.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, files, rows};
use crate::support::{ago, post, with};

/// Values nobody would write by chance, one for each way in.
const MARKERS: [&str; 9] = [
    "Zephaniah-Q7",
    "Quillfeather-X2",
    "zq7@sealed-marker.example",
    "+498912345670077",
    "crm-9f8e7d-marker",
    "ext-1a2b3c-marker",
    "form-words-of-mine-55",
    "customer-kappa-31",
    "1999-12-07",
];

fn event() -> serde_json::Value {
    let [given, family, email, phone, crm, external, form, customer, born] = MARKERS;
    json!({
        "name": "UserInfo", "visitor": "v", "eventId": "e-1", "data": {"userId": customer},
        "traits": {"givenName": given, "familyName": family, "email": email, "cellPhone": phone, "dateOfBirth": born},
        "externalId": external, "externalIds": {"crm": crm}, "form": {"comment": form},
    })
}

/// The first visit as `wayside visits` shows it beside the daemon.
fn shown(daemon: &Daemon) -> Value {
    let visit = daemon.value("SELECT min(visit_id) FROM visits").to_string();
    let data = daemon.home.data();
    let out = Command::new(env!("CARGO_BIN_EXE_wayside"))
        .args(["--data-dir", data.to_str().unwrap(), "visits", "show", &visit, "--json"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    serde_json::from_slice(&out.stdout).unwrap()
}

/// Which files of the data directory hold one of the markers.
fn leaks(daemon: &Daemon) -> Vec<String> {
    let mut found = Vec::new();
    for (path, bytes) in files(&daemon.home.data()) {
        let held = MARKERS.iter().filter(|marker| bytes.windows(marker.len()).any(|w| w == marker.as_bytes()));
        found.extend(held.map(|marker| format!("{}: {marker}", path.display())));
    }
    found
}

#[test]
fn no_personal_value_stands_readable_in_any_file() {
    let daemon = Daemon::plain();
    daemon.give("v", &["measure", "personal"]);
    assert_eq!(daemon.events(&event()).outcomes(200), ["accepted"]);
    let journey = json!({
        "customerCookieId": "v", "eventName": "bought", "page": {"url": "http://shop.example/", "title": "Shop"},
        "createdDate": ago(0).rfc3339(),
        "traits": {"familyName": {"dataType": "STRING", "value": MARKERS[1]}}, "externalId": MARKERS[5],
    });
    let answer = daemon.send(&post("/api/v2/journey/deployments/default/webevents").json(&journey));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(leaks(&daemon), Vec::<String>::new(), "while it runs, write-ahead logs included");
    assert_eq!(daemon.count("personal"), 10);

    let visit = shown(&daemon);
    let [given, family, email, phone, crm, external, form, customer, born] = MARKERS;
    let expected = json!({
        "trait.givenName": given, "trait.familyName": family, "trait.email": email, "trait.cellPhone": phone,
        "trait.dateOfBirth": born, "external_id": external, "external_id.crm": crm, "form.comment": form,
    });
    assert_eq!(visit["visitor"]["personal"], expected);
    assert_eq!(visit["identities"][0]["key"], customer);
    let root = daemon.home.data().join("root.key");
    std::fs::rename(&root, root.with_extension("away")).unwrap();
    let sealed = shown(&daemon);
    assert_eq!(sealed["visitor"]["personal"]["trait.email"], json!(null), "without the root key");
    assert_eq!(sealed["identities"][0]["key"], json!(null));
    std::fs::rename(root.with_extension("away"), &root).unwrap();

    let home = daemon.stop();
    let leaks: Vec<_> = files(&home.data())
        .into_iter()
        .filter(|(_, bytes)| MARKERS.iter().any(|m| bytes.windows(m.len()).any(|w| w == m.as_bytes())))
        .collect();
    assert!(leaks.is_empty(), "after the stop");
}

#[test]
fn a_wrong_trait_is_named_by_its_field() {
    let daemon = Daemon::plain();
    daemon.give("v", &["measure", "personal"]);
    for (traits, field) in [
        (json!({"email": "nobody"}), "traits.email"),
        (json!({"cellPhone": "ring me"}), "traits.cellPhone"),
        (json!({"dateOfBirth": "1999-02-30"}), "traits.dateOfBirth"),
    ] {
        assert_eq!(daemon.events(&with(event(), json!({"traits": traits}))).wrong_field(), field);
    }
    let answer = daemon.events(&with(event(), json!({"externalIds": {"my crm": "1"}})));
    assert_eq!(answer.wrong_field(), "externalIds");
}

#[test]
fn keys_go_with_the_right_to_personal_data() {
    let daemon = Daemon::plain();
    let token = daemon.give("v", &["measure", "personal"]);
    assert_eq!(daemon.events(&event()).outcomes(200), ["accepted"]);
    let keys = || {
        let database = daemon.home.data().join("keys.db");
        rows(&database, "SELECT count(*) FROM data_keys")[0][0].clone()
    };
    assert_eq!(keys(), json!(2), "of the visitor, and of the identity");
    let no = json!({"visitor": "v", "action": "withdraw", "purposes": ["personal"], "visitorToken": token});
    assert_eq!(daemon.decide(&no).status, 200);
    daemon.upkeep();
    assert_eq!((daemon.count("personal"), daemon.count("identities")), (0, 0));
    assert_eq!(keys(), json!(0));
}

#[test]
fn what_tells_of_a_special_category_is_left_out_and_named() {
    let daemon = Daemon::with("[personal]\ndeny_words = [\"casino\"]\n");
    daemon.give("v", &["measure", "personal"]);
    let event = json!({
        "name": "page_viewed", "visitor": "v", "eventId": "e-1",
        "url": "https://shop.example/hiv-test/kit?size=7&topic=pregnancy", "title": "Casino night",
        "attributes": {"colour": "red", "religion": "any"}, "traits": {"ethnicity": "some", "givenName": "Ann"},
    });
    let answer = daemon.events(&event);
    assert_eq!(answer.outcomes(200), ["accepted"]);
    assert_eq!(answer.first()["withheld"], json!(["url", "title", "attributes", "traits"]));
    let row = daemon.rows("SELECT url, title, attributes, withheld FROM events");
    let kept =
        json!(["https://shop.example/*/kit?size=7", null, "{\"colour\":\"red\"}", "url,title,attributes,traits"]);
    assert_eq!(row, [kept]);
    assert_eq!(daemon.rows("SELECT field FROM personal"), [json!(["trait.givenName"])]);
    assert_eq!(daemon.value("SELECT n FROM tallies WHERE name = 'denied.fields'"), json!(4));
    assert_eq!(daemon.events(&event).outcomes(200), ["duplicate"], "a repeat is the same event");
    let off = Daemon::with("[personal]\ndeny_special = false\n");
    off.give("v", &["measure"]);
    assert_eq!(off.events(&with(event, json!({"traits": null}))).first()["withheld"], Value::Null);
    assert_eq!(off.value("SELECT title FROM events"), "Casino night");
}

#[test]
fn a_declared_minor_gets_no_profile_until_a_decision_grants_it() {
    let daemon = Daemon::plain();
    let token = daemon.give("v", &["measure", "personal", "profile", "marketing", "engage_support", "engage_sales"]);
    let flags = || daemon.rows("SELECT flags FROM events ORDER BY seq").pop().unwrap()[0].clone();
    let view = |id: &str, more: Value| {
        let event = json!({"name": "noted", "visitor": "v", "eventId": id});
        assert_eq!(daemon.events(&with(event, more)).outcomes(200), ["accepted"]);
    };
    view("e-1", json!({}));
    assert_eq!(flags(), json!(0b110_1111));
    view("e-2", json!({"traits": {"age": "15"}}));
    assert_eq!(flags(), json!(0b11), "the event that tells it");
    view("e-3", json!({}));
    assert_eq!(flags(), json!(0b11), "and those that follow");
    let why = daemon.rows("SELECT action, method, actor, purposes FROM decisions WHERE actor = 'system'");
    assert_eq!(why, [json!(["refuse", "declared_minor", "system", 0b110_1100])], "the ledger says why, once");
    let parent = json!({"visitor": "v", "action": "give", "purposes": ["profile"], "visitorToken": token});
    assert_eq!(daemon.decide(&parent).status, 200);
    view("e-4", json!({}));
    assert_eq!(flags(), json!(0b111));
    let verified = std::process::Command::new(env!("CARGO_BIN_EXE_wayside"))
        .args(["--data-dir", daemon.home.data().to_str().unwrap(), "consent", "verify"])
        .status();
    assert!(verified.unwrap().success());

    let ignored = Daemon::with("[personal]\nminors = \"ignore\"\n");
    ignored.give("v", &["measure", "profile"]);
    ignored.events(&json!({"name": "noted", "visitor": "v", "traits": {"age": "9"}}));
    assert_eq!(ignored.value("SELECT flags FROM events"), json!(0b101));
}

#[test]
fn an_attribute_named_like_a_trait_is_kept_as_one_or_not_at_all() {
    let daemon = Daemon::plain();
    daemon.give("a", &["measure", "personal"]);
    daemon.give("b", &["measure"]);
    let sent = |visitor: &str| {
        let told = json!({"email": "clear@mail.example", "cellPhone": "+49 30 998877", "colour": "red"});
        let answer = daemon.events(&with(json!({"name": "noted", "visitor": visitor}), json!({"attributes": told})));
        answer.first()["withheld"].clone()
    };
    assert_eq!(sent("a"), Value::Null);
    assert_eq!(sent("b"), json!(["traits"]), "and the sender is told");
    let kept = daemon.rows("SELECT attributes FROM events");
    assert_eq!(kept, [json!(["{\"colour\":\"red\"}"]), json!(["{\"colour\":\"red\"}"])]);
    let fields = daemon.rows("SELECT field FROM personal ORDER BY field");
    assert_eq!(fields, [json!(["trait.cellPhone"]), json!(["trait.email"])]);
    let home = daemon.stop();
    for name in ["wayside.db", "wayside.db-wal"] {
        let bytes = std::fs::read(home.data().join(name)).unwrap_or_default();
        for value in ["clear@mail.example", "+4930998877", "998877"] {
            assert!(!bytes.windows(value.len()).any(|w| w == value.as_bytes()), "{value} lies in {name}");
        }
    }
}
