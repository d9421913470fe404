//! Batches as they are really written hold to their published schema: checked by a validator that shares nothing with the
//! program (`tests/corpus/validate-schema.py`). Must never pass unseen: without Python it says so.

#![allow(clippy::unwrap_used)] // a test that cannot go on panics

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use wayside::base::time::SystemClock;
use wayside::config::Config;
use wayside::daemon::desk::Here;
use wayside::forward::Forwarder;
use wayside::store::{Store, StoreOptions};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Runs the validator; `false` where there is none to run.
fn validate(schema: &str, files: &[PathBuf]) -> bool {
    let python = std::env::var_os("WAYSIDE_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    if !Command::new(&python).args(["-c", "import jsonschema"]).output().is_ok_and(|out| out.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "python3 with jsonschema is needed");
        eprintln!("SKIPPED: no python3 with jsonschema here (tests/run.sh brings one)");
        return false;
    }
    let mut command = Command::new(&python);
    command.arg(root().join("tests/corpus/validate-schema.py")).arg("--strict");
    let out = command.arg(root().join("packaging/schema").join(schema)).args(files).output().unwrap();
    assert!(
        out.status.success(),
        "{schema}: {}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    true
}

fn files(folder: &Path, end: &str, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, end, out);
        } else if path.to_str().unwrap().ends_with(end) {
            out.push(path);
        }
    }
}

fn all(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut out = Vec::new();
    files(folder, end, &mut out);
    assert!(!out.is_empty(), "no {end} below {}", folder.display());
    out
}

#[test]
fn the_examples_hold_to_their_schema() {
    let folder = root().join("packaging/schema/example");
    validate("batch-line.schema.json", &all(&folder, ".ndjson"));
    validate("manifest.schema.json", &all(&folder, ".manifest.json"));
    validate("receipt.schema.json", &[folder.join("receipt.json")]);
}

#[test]
fn what_is_really_written_holds_to_the_schema() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { data_dir: dir.path().to_owned(), ..Config::default() };
    let here = Here::open(&config).unwrap();
    let post = |path: &str, body: &str| {
        let reply =
            here.serve("POST", path, &[("content-type", "application/json")], body.as_bytes().to_vec()).unwrap();
        assert!(reply.status < 300, "{path}: {} {}", reply.status, String::from_utf8_lossy(&reply.body));
    };
    post("/v1/consent", r#"{"visitor":"v1","action":"give","purposes":["measure","share"],"language":"en"}"#);
    post(
        "/v1/events",
        r#"[{"visitor":"v1","name":"page_viewed","url":"https://shop.example/p/7?q=1","title":"Shoes",
            "referrer":"https://www.google.com/","userAgent":"Mozilla/5.0","attributes":{"price":7.5,"gift":true,"size":"xl"}},
            {"visitor":"v1","name":"scroll"},{"visitor":"v1","name":"button_clicked","attributes":{"id":"buy"}},
            {"visitor":"v1","name":"conversation_started","conversation":{"id":"c1","medium":"chat"}}]"#,
    );
    post("/v1/consent", r#"{"visitor":"v1","action":"withdraw","purposes":["share"]}"#);
    here.close().unwrap();
    let store = Arc::new(Store::open(&StoreOptions::at(dir.path()), Arc::new(SystemClock)).unwrap());
    let forwarder = Forwarder::new(store, Arc::new(SystemClock), &config.forward, &config.targets, "Kiosk 7");
    let report = forwarder.run_once(true).unwrap();
    assert_eq!(report.failed, Vec::new());
    let outbox = dir.path().join("outbox");
    let lanes: Vec<&str> = report.sent.iter().map(|sent| sent.key.lane.word()).collect();
    assert_eq!(lanes, ["consent", "visits", "pages", "fine"]);
    validate("batch-line.schema.json", &all(&outbox, ".ndjson.gz"));
    validate("manifest.schema.json", &all(&outbox, ".manifest.json"));
}
