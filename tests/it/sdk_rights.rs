//! The GDPR API through the vendor's published SDK, unchanged: login by client credentials, export, update, delete.
//! Must never touch the network beyond this machine. Invariant: the SDK's own parsing is the judge of our answers.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::sdk::python;
use crate::support::*;
use crate::tokens::make;

#[test]
fn the_vendors_sdk_exports_updates_and_deletes() {
    let Some(python) = python() else { return };
    let daemon = Daemon::with("[[site]]\nid = \"shop\"\n");
    daemon.give("cookie-1", &["measure", "personal"]);
    let traits = json!({"email": "old@shop.example", "givenName": "Anna", "familyName": "Example", "address": "1 Main St., Town"});
    let told = json!({"traits": traits, "attributes": {"mail": "old@shop.example"}});
    daemon.events(&json!([with(page_view("cookie-1"), told), page_view("cookie-1")]));
    let (id, secret) = make(&daemon, "privacy", "subject");
    let home = tempfile::tempdir().unwrap();
    let out = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sdk_rights.py"))
        .args([&format!("http://{}", daemon.address), &id, &secret, "cookie-1", "old@shop.example"])
        .env("HOME", home.path()) // the SDK watches a file below it
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let seen: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();

    assert_eq!(seen["subjects"], json!([1, ["cookie-1"]]));
    let searches = json!({"anna EXAMPLE": 1, "Example, Anna": 1, "Anna": 0, "Berta Example": 0,
        "1 main st town": 1, "2 Main St., Town": 0});
    assert_eq!(
        seen["searches"], searches,
        "a whole name or an address, however it is written; a part of a name is nobody's"
    );
    let export = &seen["export"];
    assert_eq!(
        (&export["status"], &export["results"], &export["subject"]),
        (&json!("COMPLETED"), &json!(2), &json!("cookie-1"))
    );
    assert_eq!(export["created"], json!(true), "the SDK reads our times as instants");
    let archive = seen["archive"].to_string();
    assert!(archive.contains("old@shop.example") && archive.contains("Anna") && archive.contains("consent_history"));

    assert_eq!((&seen["update"]["type"], &seen["update"]["status"]), (&json!("GDPR_UPDATE"), &json!("COMPLETED")));
    assert_eq!(seen["updated"], 1, "it is found by the new value");

    assert_eq!(seen["delete"]["status"], "DELETING", "{}", seen["delete"]);
    daemon.upkeep();
    assert_eq!((daemon.count("events"), daemon.count("personal"), daemon.count("visitors")), (0, 0, 0));
    let states = daemon.rows("SELECT DISTINCT state FROM requests");
    assert_eq!(states, [json!(["answered"])]);
    assert_eq!(seen["again"]["id"], seen["delete"]["id"]);
    assert_eq!(seen["list"], json!([3, 2, ["GDPR_DELETE", "GDPR_UPDATE"], true]));
    assert_eq!(seen["login"], 401);
    for (case, status, code) in [
        ("unconfirmed", 400, "bad.request"),
        ("terms", 400, "bad.request"),
        ("kind", 400, "bad.request"),
        ("nobody", 400, "bad.request"),
        ("unknown", 404, "not.found"),
        ("search", 400, "bad.request"),
        ("anonymous", 401, "authentication.required"),
    ] {
        let error = &seen["errors"][case];
        assert_eq!((&error["status"], &error["body"]["code"]), (&json!(status), &json!(code)), "{case}: {error}");
    }
    let rows = daemon.rows("SELECT kind, channel, level, opened_by FROM requests ORDER BY received_at");
    assert_eq!(rows[0], json!(["access", "api", "operator", "token privacy"]));
    let kept = daemon.rows("SELECT * FROM requests");
    assert!(
        !Value::Array(kept).to_string().contains("shop.example"),
        "what somebody was looked for by is kept nowhere"
    );
}
