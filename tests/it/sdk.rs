//! The vendor's published Python SDK, unchanged, against a real daemon: what a migrating site will do on its first day.
//! Must never touch the network beyond this machine. Invariant: the SDK's own parsing is the judge of our answers.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::support::*;

const DEPLOYMENT: &str = "0c8f2f2e-2b1c-4d0a-9a53-0d4f6f1f8a11";

/// What the SDK saw (one object of `sdk_client.py`) and what was stored meanwhile.
struct Seen {
    told: Value,
    events: Vec<Value>,
    visits: Vec<Value>,
    counted: i64,
}

/// Runs the SDK once for all tests here, since loading it takes seconds. `None` where there is no interpreter for it.
fn seen() -> Option<&'static Seen> {
    static ONCE: OnceLock<Option<Seen>> = OnceLock::new();
    ONCE.get_or_init(|| python().map(|python| run(&python))).as_ref()
}

/// The interpreter that has the SDK. `None`, said loudly, where there is none.
pub fn python() -> Option<String> {
    let python = std::env::var("WAYSIDE_TEST_PYTHON").ok().filter(|path| !path.is_empty());
    if python.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "WAYSIDE_TEST_PYTHON is not set: run tests/run.sh");
        skipped("the vendor's SDK was not tested: WAYSIDE_TEST_PYTHON names no interpreter (tests/run.sh makes one)");
    }
    python
}

fn run(python: &str) -> Seen {
    let daemon = Daemon::with(&format!("[[site]]\nid = \"shop\"\naliases = [\"{DEPLOYMENT}\"]\n"));
    let home = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sdk_client.py");
    let out = Command::new(python)
        .arg(script)
        .args([&format!("http://{}", daemon.address), DEPLOYMENT])
        .env("HOME", home.path()) // the SDK watches a file below it
        .env("TZ", "America/New_York") // naive times are not this zone's
        .output()
        .unwrap_or_else(|e| panic!("{python}: {e}"));
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let told = String::from_utf8(out.stdout).unwrap();
    let told = told.lines().last().unwrap_or_default();
    Seen {
        told: serde_json::from_str(told).unwrap_or_else(|e| panic!("{e}: {told}")),
        events: daemon.rows("SELECT name, clock_state, received_at - coalesce(client_at, corrected_at) FROM events ORDER BY seq"),
        visits: daemon.rows(
            "SELECT stream, event_count, page_count, screen_count, lower(hex(visit_uuid)) FROM visits ORDER BY visit_id",
        ),
        counted: daemon.counted(),
    }
}

/// The id of the visit in this row, as the SDK shows it.
fn uuid(visit: &Value) -> String {
    let hex = visit[4].as_str().unwrap();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[test]
fn sdk_calls_without_the_right_to_measure_succeed_without_a_session() {
    let Some(seen) = seen() else { return };
    for kind in ["web", "app"] {
        let told = &seen.told["uncounted"][kind];
        assert_eq!(told["session"], Value::Null, "{told}");
        assert_eq!(told["outcome"], "counted");
        assert_eq!(told["event_name"], if kind == "web" { "page_viewed" } else { "screen_viewed" });
    }
    assert_eq!(seen.counted, 2);
}

#[test]
fn sdk_web_events_get_one_session_that_counts() {
    let Some(seen) = seen() else { return };
    let web = &seen.told["web"];
    let sessions: Vec<_> = web.as_array().unwrap().iter().map(|e| &e["session"]["id"]).collect();
    assert!(sessions.iter().all(|id| *id == sessions[0]) && *sessions[0] == uuid(&seen.visits[0]), "{web}");
    let counts: Vec<_> =
        web.as_array().unwrap().iter().map(|e| (&e["session"]["events"], &e["session"]["pages"])).collect();
    assert_eq!(counts, [(&json!(1), &json!(1)), (&json!(2), &json!(2)), (&json!(3), &json!(2))]);
    let first = &web[0];
    assert_eq!((&first["browser"], &first["hostname"]), (&json!("Firefox"), &json!("shop.example")), "{first}");
    assert_eq!((&first["campaign"], &first["attribute"]), (&json!("spring"), &json!(["NUMBER", "3"])));
    assert_eq!((&first["customer_id_type"], &first["authenticated"]), (&json!("cookie"), &json!(false)));
    assert_eq!(
        seen.visits[0].as_array().unwrap()[..4],
        [json!("web"), json!(4), json!(2), json!(0)],
        "with the action"
    );
}

#[test]
fn sdk_app_events_get_a_session_that_counts_screens() {
    let Some(seen) = seen() else { return };
    let app = &seen.told["app"];
    assert_eq!((&app[0]["session"]["screens"], &app[1]["session"]["screens"]), (&json!(1), &json!(2)), "{app}");
    assert_eq!(app[0]["session"]["id"], uuid(&seen.visits[1]));
    assert!(app[0]["id"].as_str().is_some_and(|id| id.len() == 36), "{app}");
    assert_eq!((&app[0]["screen_name"], &app[0]["app"]), (&json!("start"), &json!("Shop")));
    assert_eq!(seen.visits[1].as_array().unwrap()[..4], [json!("app"), json!(2), json!(0), json!(2)]);
}

#[test]
fn sdk_times_with_and_without_a_zone_mean_utc() {
    let Some(seen) = seen() else { return };
    assert_eq!(seen.events.len(), 6, "{:?}", seen.events);
    for event in &seen.events {
        let late = event[2].as_i64().unwrap_or_default();
        assert!((0..120_000).contains(&late), "{event}: a zone was read into a time that had none");
    }
    assert_eq!(seen.told["created_aware"], json!(true), "the SDK reads our times as instants");
}

#[test]
fn sdk_action_events_and_pings_are_answered() {
    let Some(seen) = seen() else { return };
    assert_eq!(seen.told["action"], json!("empty"));
    assert_eq!(seen.events.iter().filter(|event| event[0] == "action_state").count(), 1);
    assert_eq!(seen.told["ping"]["actions"], json!([]));
    assert!(seen.told["ping"]["poll"].as_i64().unwrap() > 0);
}

#[test]
fn sdk_errors_raise_with_the_documented_body() {
    let Some(seen) = seen() else { return };
    let errors = seen.told["errors"].as_object().unwrap();
    for (case, status, code) in [
        ("unknown_deployment", 404, "not.found"),
        ("no_event_name", 400, "bad.request"),
        ("wrong_category", 400, "bad.request"),
        ("too_old", 422, "bad.request"),
        ("bad_address", 422, "bad.request"),
    ] {
        let error = &errors[case];
        assert_eq!((&error["status"], &error["body"]["status"]), (&json!(status), &json!(status)), "{case}: {error}");
        assert_eq!(error["body"]["code"], code, "{case}: {error}");
        assert!(error["body"]["message"].is_string() && error["body"]["contextId"].is_string(), "{case}: {error}");
    }
}
