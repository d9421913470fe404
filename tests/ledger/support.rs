//! A ledger to attack: decisions as the door takes them, a stranger's connection, and both verifiers. Must never judge.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rusqlite::{Connection, params};
use serde_json::{Value, json};
use wayside::base::digest::{Hash, SigningKey};
use wayside::base::time::{Millis, SystemClock};
use wayside::config::Config;
use wayside::consent::verify::{self, FaultKind, Verified};
use wayside::daemon::desk::Here;
use wayside::domain::checkpoint::{Checkpoint, Signed};
use wayside::domain::ledger::{Entry, EntryKind};
use wayside::store::{Store, StoreOptions, checkpoints, decisions, ledger};

pub fn config(dir: &Path) -> Config {
    Config { data_dir: dir.to_owned(), ..Config::default() }
}

/// A program without a daemon, as commands use it.
pub fn here(dir: &Path) -> Here {
    patiently(|| Here::open(&config(dir)))
}

/// Asks for something that must be granted.
pub fn ask(here: &Here, method: &str, target: &str, body: &Value) -> Value {
    let reply =
        here.serve(method, target, &[("content-type", "application/json")], body.to_string().into_bytes()).unwrap();
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    serde_json::from_slice(&reply.body).unwrap()
}

/// Publishes a notice in two languages.
pub fn publish(dir: &Path, version: &str, measure: &str) {
    let wording = json!({
        "title": "Your privacy choices", "text": "Example Ltd would like to record how this site is used.",
        "withdrawal": "You can take it back at any time in the privacy settings.",
        "retention": "Visits stay 13 months.", "rights": "You may ask for a copy, correction or erasure.",
        "complaint": "You may complain to the Authority.",
        "purposes": {"measure": {"title": "Measure", "text": measure}},
    });
    let draft = json!({
        "version": version, "site": "default",
        "controller": {"name": "Example Ltd", "email": "privacy@shop.example", "authority": "Authority, Town",
                       "privacy_url": "https://shop.example/privacy"},
        "purpose": [{"name": "measure"}], "language": {"en": wording, "de": wording},
    });
    let here = here(dir);
    ask(&here, "POST", "/v1/notices", &json!({"draft": draft}));
    here.close().unwrap();
}

/// Opens as soon as nothing holds the directory: a child that another test starts holds what is open here until it has begun.
pub fn patiently<T>(open: impl Fn() -> wayside::base::error::Result<T>) -> T {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        match open() {
            Err(e) if e.code == "locked" && std::time::Instant::now() < end => std::thread::yield_now(),
            done => return done.unwrap(),
        }
    }
}

/// Decisions as the door takes them: `(visitor, action, purposes)`.
pub fn decide(dir: &Path, list: &[(&str, &str, &str)]) {
    let here = patiently(|| Here::open(&config(dir)));
    for (visitor, action, purposes) in list {
        let body = format!(r#"{{"visitor":"{visitor}","action":"{action}","purposes":[{purposes}]}}"#);
        let json = [("content-type", "application/json")];
        let reply = here.serve("POST", "/v1/consent", &json, body.into_bytes()).unwrap();
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    }
    here.close().unwrap();
}

pub fn open(dir: &Path) -> Store {
    patiently(|| Store::open(&StoreOptions::at(dir), Arc::new(SystemClock)))
}

pub fn sign(dir: &Path) -> Signed {
    let store = open(dir);
    let row = store.pen().call(|tx| checkpoints::take(tx, true)).unwrap().unwrap();
    store.close().unwrap();
    row.signed
}

/// A ledger of twelve entries: eight decisions, signed; two of them removed by age, signed; two more decisions nobody signed
/// yet. Returns the newest checkpoint as somebody else would keep it.
pub fn built(dir: &Path) -> Signed {
    let m = "\"measure\"";
    let both = "\"measure\",\"share\"";
    decide(dir, &[("a", "give", both), ("b", "give", m), ("c", "refuse", m), ("d", "give", m)]);
    sign(dir);
    decide(dir, &[("a", "withdraw", "\"share\""), ("e", "give", both), ("b", "withdraw", m), ("f", "give", m)]);
    sign(dir);
    let store = open(dir);
    store
        .pen()
        .call(|tx| {
            let going: Vec<(i64, i64)> = ledger::page(tx, 1, 2)?.iter().map(|f| (f.entry.seq, f.entry.no)).collect();
            decisions::clear(tx, EntryKind::Prune, &going)
        })
        .unwrap();
    store.close().unwrap();
    decide(dir, &[("g", "give", m)]);
    let newest = sign(dir);
    decide(dir, &[("h", "give", m), ("i", "give", m)]);
    newest
}

/// A copy of a data directory, its database opened by a stranger: no guard of ours, no trigger.
pub fn stranger(from: &Path, to: &Path) -> Connection {
    for name in ["edge.json", "edge.key", "wayside.db"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
    let conn = Connection::open(to.join("wayside.db")).unwrap();
    let triggers: Vec<String> = conn
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        .unwrap()
        .query_map([], |r| r.get(0))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    assert!(triggers.len() > 8);
    for name in triggers {
        conn.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
    }
    conn
}

pub fn sql(text: &'static str) -> impl Fn(&Connection) {
    move |conn: &Connection| conn.execute_batch(text).unwrap()
}

/// Chains everything anew from a number on, after `change` was made: a forger who knows the arithmetic and has no key.
pub fn rechain(conn: &Connection, from: i64, leaf_of: impl Fn(i64) -> Option<Hash>) {
    let mut prev: Hash =
        conn.query_row("SELECT hash FROM ledger WHERE ledger_no = ?1", [from - 1], |r| r.get(0)).unwrap();
    let rows: Vec<(i64, i64, String, i64, Hash)> = conn
        .prepare("SELECT ledger_no, seq, kind, at, leaf FROM ledger WHERE ledger_no >= ?1 ORDER BY 1")
        .unwrap()
        .query_map([from], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?)))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    for (no, seq, kind, at, leaf) in rows {
        let leaf = leaf_of(no).unwrap_or(leaf);
        let entry = Entry { no, seq, kind: EntryKind::parse(&kind).unwrap(), at: Millis(at), prev, leaf };
        prev = entry.hash();
        conn.execute(
            "UPDATE ledger SET prev = ?2, leaf = ?3, hash = ?4 WHERE ledger_no = ?1",
            params![no, entry.prev, leaf, prev],
        )
        .unwrap();
    }
}

/// The leaf of a decision's content as the verifier would compute it now.
pub fn leaf_now(dir: &Path, no: i64) -> Hash {
    let reading = wayside::store::Reading::open(dir, 30_000).unwrap();
    let page = reading.read(|tx| ledger::page(tx, no - 1, 1)).unwrap();
    match page[0].content {
        ledger::Content::Has(leaf) => leaf,
        other => panic!("{other:?}"),
    }
}

pub fn resign(conn: &Connection, no: i64, key: &SigningKey, change: impl Fn(&mut Checkpoint)) {
    let text: String =
        conn.query_row("SELECT signed FROM checkpoints WHERE checkpoint_no = ?1", [no], |r| r.get(0)).unwrap();
    let mut read = Signed { text, signature: [0; 64] }.read().unwrap();
    change(&mut read);
    let signed = read.sign(key);
    conn.execute(
        "UPDATE checkpoints SET signed = ?2, signature = ?3 WHERE checkpoint_no = ?1",
        params![no, signed.text, signed.signature],
    )
    .unwrap();
}

pub fn gravest(verified: &Verified) -> Option<(FaultKind, i64)> {
    verified.faults.first().map(|fault| (fault.kind, fault.ledger_no))
}

pub fn rust(dir: &Path, against: Option<&Signed>) -> Verified {
    verify::beside(dir, 30_000, against, &mut |_, _| ()).unwrap()
}

pub fn python() -> Option<PathBuf> {
    let python = std::env::var_os("WAYSIDE_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let there = Command::new(&python).args(["-c", "import sqlite3"]).output().is_ok_and(|out| out.status.success());
    assert!(there || std::env::var_os("CI").is_none(), "python3 with sqlite3 is needed");
    if !there {
        eprintln!("SKIPPED: no python3 with sqlite3 here; the second verifier is not tested");
    }
    there.then(|| python.into())
}

/// Exit code and output of the second verifier.
pub fn second(python: &Path, dir: &Path, against: Option<&Path>) -> (i32, String) {
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/verify-ledger.py")).arg(dir);
    if let Some(file) = against {
        command.arg("--against").arg(file);
    }
    let out = command.output().unwrap();
    (
        out.status.code().unwrap(),
        format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)),
    )
}
