//! The control socket: who may open it, what it answers, and that none of it exists on the public door.
//! Must never test what commands print. Invariant: the operator sees the fate of every event, the public only its own.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use serde_json::json;

use crate::support::*;

#[test]
fn the_control_socket_is_open_to_its_owner_only() {
    let daemon = Daemon::plain();
    let socket = std::fs::symlink_metadata(daemon.home.data().join("control.sock")).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    let mode = |name: &str| std::fs::metadata(daemon.home.data().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("wayside.db")), (0o700, 0o600));
    let home = daemon.stop();
    assert!(!home.data().join("control.sock").exists(), "it is gone with its daemon");
}

#[test]
fn the_operators_paths_do_not_exist_on_the_public_door() {
    let daemon = Daemon::plain();
    let operators = [("POST", "/v1/import/known"), ("POST", "/v1/import/take"), ("POST", "/v1/tokens/revoke")];
    for (method, path) in operators {
        let answer = daemon.send(&Request::new(method, path).header("X-Forwarded-For", "127.0.0.1"));
        assert_error(&answer, 404, "not_found");
    }
    assert_eq!(daemon.control().send(&get("/v1/status")).status, 200);
}

#[test]
fn the_tail_tells_every_events_fate_with_its_reason() {
    let daemon = Daemon::with("[[site]]\nid = \"shop\"\n");
    let mut control = daemon.control();
    let start = control.send(&get("/v1/tail")).json();
    assert_eq!(start["fates"], json!([]));
    daemon.give("yes", &["measure"]);
    daemon.events(&json!([page_view("yes"), page_view("no"), {"name": "not a name"}]));
    let fates = control.send(&get(&format!("/v1/tail?after={}", start["next"]))).json();
    let outcomes: Vec<&str> =
        fates["fates"].as_array().unwrap().iter().map(|f| f["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["accepted", "counted", "invalid"], "{fates}");
    assert_eq!((&fates["fates"][1]["reason"], &fates["fates"][1]["site"]), (&json!("no_decision"), &json!("shop")));
    assert!(fates["fates"][1]["remedy"].as_str().unwrap().contains("/v1/consent"));
    let none = control.send(&get(&format!("/v1/tail?after={}", fates["next"]))).json();
    assert_eq!(none["fates"], json!([]), "nothing is told twice");
}

#[test]
fn the_operator_sees_what_a_visitor_decided() {
    let daemon = Daemon::plain();
    let token = daemon.give("v", &["measure", "share"]);
    daemon.decide(&json!({"visitor": "v", "action": "withdraw", "purposes": ["share"], "visitorToken": token}));
    let mut control = daemon.control();
    let shown = control.send(&get("/v1/consent?visitor=v")).json();
    assert_eq!((&shown["granted"], &shown["denied"]), (&json!(["measure"]), &json!(["share"])), "{shown}");
    let actions: Vec<_> =
        shown["decisions"].as_array().unwrap().iter().map(|d| (&d["action"], &d["current"])).collect();
    assert_eq!(actions, [(&json!("give"), &json!(true)), (&json!("withdraw"), &json!(true))]);
    assert_error(&control.send(&get("/v1/consent?visitor=unknown")), 404, "not_found");
    assert_eq!(control.send(&get("/v1/consent")).status, 400);
}

#[test]
fn one_control_connection_serves_many_commands() {
    let daemon = Daemon::plain();
    let mut control = daemon.control();
    for n in 0..20 {
        let decision = json!({"visitor": format!("v-{n}"), "action": "give", "purposes": ["measure"]});
        assert_eq!(control.send(&post("/v1/consent").json(&decision)).status, 200);
        assert_eq!(control.send(&post("/v1/events").json(&page_view(&format!("v-{n}")))).outcomes(200), ["accepted"]);
    }
    assert_eq!((daemon.count("events"), daemon.count("visitors")), (20, 20));
}
