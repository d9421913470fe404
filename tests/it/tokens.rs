//! Tokens towards a real daemon: made by the command, used over TCP, never in an address, never in a log.
//! The whole matrix of routes and scopes is tested in process, where time can be set.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::*;

/// Runs the program beside the daemon and returns its JSON.
#[track_caller]
pub fn wayside(daemon: &Daemon, words: &[&str]) -> Value {
    let out = Command::new(env!("CARGO_BIN_EXE_wayside"))
        .args(["--data-dir", daemon.home.data().to_str().unwrap()])
        .args(words)
        .output()
        .unwrap();
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{words:?}: {e}"))
}

/// Makes a token and returns its id and secret.
#[track_caller]
pub fn make(daemon: &Daemon, name: &str, scopes: &str) -> (String, String) {
    let made = wayside(daemon, &["token", "create", name, "--scopes", scopes, "--json"]);
    let text = |key: &str| made[key].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    (text("id"), text("token"))
}

fn with(secret: &str, request: Request) -> Request {
    request.header("Authorization", &format!("Bearer {secret}"))
}

#[test]
fn a_token_made_by_the_command_opens_its_scope_over_tcp_until_it_is_revoked() {
    let daemon = Daemon::plain();
    let (_, reader) = make(&daemon, "reports", "read");
    assert_error(&daemon.send(&get("/v1/status")), 401, "token_missing");
    assert_eq!(daemon.send(&with(&reader, get("/v1/status"))).status, 200);
    assert_error(&daemon.send(&with(&reader, post("/v1/upkeep"))), 403, "token_scope");
    assert_error(&daemon.send(&with("0123456789abcdef", get("/v1/status"))), 401, "token_unknown");
    wayside(&daemon, &["token", "revoke", "reports", "--json"]);
    assert_error(&daemon.send(&with(&reader, get("/v1/status"))), 401, "token_unknown");
    let listed = wayside(&daemon, &["token", "list", "--json"]);
    assert_eq!(
        (&listed["tokens"][0]["state"], &listed["tokens"][0]["prefix"]),
        (&json!("revoked"), &json!(reader[..6]))
    );
    let audit = wayside(&daemon, &["audit", "--json"]);
    assert_eq!((&audit[0]["what"], &audit[0]["who"]), (&json!("token_revoked"), &json!("operator")), "{audit}");
}

#[test]
fn an_ingest_token_of_the_table_speaks_as_a_sender() {
    let daemon = Daemon::with("[[site]]\nid = \"shop\"\n");
    let (_, sender) = make(&daemon, "shop", "ingest");
    let (_, reader) = make(&daemon, "reader", "read");
    let answer = daemon.send(&with(&sender, post("/v1/events").json(&page_view("v"))));
    assert_eq!(answer.first()["reason"], json!("no_decision"), "a sender is told why: {answer:?}");
    assert_error(&daemon.send(&with(&reader, post("/v1/events").json(&page_view("v")))), 403, "token_scope");
}

#[test]
fn a_token_in_the_address_is_refused_and_not_logged() {
    let daemon = Daemon::plain();
    let (_, reader) = make(&daemon, "reports", "read");
    for name in ["token", "access_token", "bearer", "client_secret"] {
        let answer = daemon.send(&get(&format!("/v1/status?{name}={reader}")));
        let what = assert_error(&answer, 400, "token_in_url");
        assert!(!what.contains(&reader));
    }
    let answer = daemon.send(&with(&reader, get(&format!("/v1/status?token={reader}"))));
    assert_error(&answer, 400, "token_in_url");
    assert!(!daemon.stop().log().contains(&reader[..16]));
}

#[test]
fn client_credentials_are_taken_by_basic_and_in_the_form_and_give_a_pass() {
    let daemon = Daemon::plain();
    let (id, secret) = make(&daemon, "client", "read");
    let basic = |id: &str, secret: &str| {
        let pair = wayside::base::base64::encode(
            format!("{id}:{secret}").as_bytes(),
            wayside::base::base64::Alphabet::Standard,
        );
        post("/oauth/token").header("Authorization", &format!("Basic {pair}")).body("grant_type=client_credentials")
    };
    let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    for request in [basic(&id, &secret), post("/oauth/token").body(form)] {
        let answer = daemon.send(&request.header("Content-Type", "application/x-www-form-urlencoded"));
        assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{answer:?}");
        let told = answer.json();
        assert_eq!((&told["token_type"], &told["expires_in"]), (&json!("bearer"), &json!(3600)));
        let pass = told["access_token"].as_str().unwrap();
        assert_ne!(pass, secret);
        assert_eq!(daemon.send(&with(pass, get("/v1/status"))).status, 200);
        assert_eq!(daemon.send(&with(pass, post("/v1/upkeep"))).status, 403);
    }
    let other = "0192f3a0-0000-7000-8000-000000000001";
    for (wrong, status, error) in [
        (basic(&id, "x"), 401, "invalid_client"),
        (basic(other, &secret), 401, "invalid_client"),
        (basic("", ""), 401, "invalid_client"),
        (post("/oauth/token").body("grant_type=client_credentials"), 401, "invalid_client"),
        (post("/oauth/token").body("grant_type=password"), 400, "unsupported_grant_type"),
        (post("/oauth/token").body(""), 400, "invalid_request"),
    ] {
        let answer = daemon.send(&wrong);
        assert_eq!((answer.status, &answer.json()["error"]), (status, &json!(error)), "{answer:?}");
    }
}
