//! The ledger against whoever can write the file: a foreign SQLite connection drops the guards and does what it likes, and
//! two verifiers that share no code find it: `wayside consent verify` and `packaging/verify-ledger.py`.
//! Must never pass unseen: without Python it says so.

#![allow(clippy::unwrap_used)] // a test that cannot go on panics

mod anchors;
mod prove;
mod receipts;
mod restored;
mod support;

use std::path::Path;
use std::process::Command;

use rusqlite::Connection;
use wayside::base::cell::RecipientKey;
use wayside::base::digest::SigningKey;
use wayside::base::id::{ClientId, VisitorRef};
use wayside::base::time::Millis;
use wayside::config::Config;
use wayside::consent::proofs::{self, EraseOptions, KeepProof};
use wayside::consent::verify::FaultKind::{Chain, ClockBack, Signature, Truncated};
use wayside::consent::verify::{self, FaultKind};
use wayside::daemon::desk::Here;
use wayside::store::{Reading, WriteTx, audit, decisions, ledger, proofs as sealed, sites, visitors};

use crate::support::{built, gravest, leaf_now, open, patiently, python, rechain, resign, rust, second, sql, stranger};

type Tamper = Box<dyn Fn(&Connection, &Path)>;

struct Attack {
    name: &'static str,
    run: Tamper,
    /// The kind of fault, and the first bad entry.
    found: Option<(FaultKind, i64)>,
    /// The same, with the checkpoint that somebody else kept.
    against: Option<(FaultKind, i64)>,
}

fn attack(name: &'static str, run: impl Fn(&Connection) + 'static, kind: FaultKind, no: i64) -> Attack {
    let found = Some((kind, no));
    Attack { name, run: Box::new(move |conn, _| run(conn)), found, against: found }
}

fn attacks() -> Vec<Attack> {
    let all = [attacks_on_contents(), attacks_on_the_chain(), attacks_on_what_is_signed()];
    all.into_iter().flatten().collect()
}

fn attacks_on_contents() -> Vec<Attack> {
    vec![
        Attack { name: "nothing", run: Box::new(|_, _| ()), found: None, against: None },
        attack("a content is changed", sql("UPDATE decisions SET purposes = 127 WHERE ledger_no = 5"), Chain, 5),
        attack(
            "a time is changed",
            sql("UPDATE decisions SET received_at = received_at - 1 WHERE ledger_no = 8"),
            Chain,
            8,
        ),
        attack(
            "a note is changed",
            sql("UPDATE ledger SET detail = replace(detail, '2', '3') WHERE kind = 'prune'"),
            Chain,
            9,
        ),
        attack("a site is renamed", sql("UPDATE sites SET name = 'other'"), Chain, 1),
        attack(
            "a row is replaced",
            sql(
                "PRAGMA recursive_triggers = OFF; CREATE TEMP TABLE t AS SELECT * FROM decisions WHERE ledger_no = 6; \
                 UPDATE t SET after = 0; INSERT OR REPLACE INTO decisions SELECT * FROM t",
            ),
            Chain,
            6,
        ),
        attack("a content is removed", sql("DELETE FROM decisions WHERE ledger_no = 6"), Chain, 6),
        attack(
            "a content is removed in the name of an entry that removed others",
            sql("DELETE FROM decisions WHERE ledger_no = 6; INSERT INTO cleared VALUES (6, 9)"),
            Chain,
            9,
        ),
        attack(
            "a content is removed in the name of an entry that never was",
            sql("DELETE FROM decisions WHERE ledger_no = 6; INSERT INTO cleared VALUES (6, 99)"),
            Chain,
            6,
        ),
        attack(
            "a content is removed in the name of an entry that removes nothing",
            sql("DELETE FROM decisions WHERE ledger_no = 6; INSERT INTO cleared VALUES (6, 8)"),
            Chain,
            6,
        ),
    ]
}

fn attacks_on_the_chain() -> Vec<Attack> {
    let rewritten = |conn: &Connection, dir: &Path| {
        conn.execute_batch("UPDATE decisions SET purposes = 127 WHERE ledger_no = 5").unwrap();
        let leaf = leaf_now(dir, 5);
        rechain(conn, 5, |no| (no == 5).then_some(leaf));
    };
    vec![
        attack(
            "an entry is removed",
            sql("DELETE FROM decisions WHERE ledger_no = 6; DELETE FROM ledger WHERE ledger_no = 6"),
            Chain,
            6,
        ),
        Attack {
            name: "everything is chained anew",
            run: Box::new(rewritten),
            found: Some((Chain, 8)),
            against: Some((Chain, 8)),
        },
        attack(
            "the end is cut",
            sql("DELETE FROM ledger WHERE ledger_no > 9; DELETE FROM decisions WHERE ledger_no > 9"),
            Truncated,
            10,
        ),
        Attack {
            name: "the end is cut, and what was signed of it",
            run: Box::new(|conn, _| {
                sql("DELETE FROM ledger WHERE ledger_no > 9; DELETE FROM decisions WHERE ledger_no > 9; \
                     DELETE FROM checkpoints WHERE checkpoint_no > 2")(conn);
            }),
            found: None,
            against: Some((Truncated, 10)),
        },
        attack(
            "a decision lies beside the ledger",
            sql("UPDATE decisions SET ledger_no = 99 WHERE ledger_no = 12; DELETE FROM ledger WHERE ledger_no = 12"),
            Truncated,
            99,
        ),
    ]
}

fn attacks_on_what_is_signed() -> Vec<Attack> {
    vec![
        attack(
            "a signature is changed",
            sql("UPDATE checkpoints SET signature = zeroblob(64) WHERE checkpoint_no = 2"),
            Signature,
            8,
        ),
        attack(
            "another key signs",
            |conn| {
                let key = SigningKey::from_seed([9; 32]);
                resign(conn, 3, &key, |read| read.count += 1);
            },
            Signature,
            10,
        ),
        attack("a checkpoint is removed", sql("DELETE FROM checkpoints WHERE checkpoint_no = 2"), Signature, 10),
        attack(
            "a decision is put into the past",
            |conn| {
                conn.execute_batch("UPDATE ledger SET at = at - 7200000 WHERE ledger_no = 12").unwrap();
                rechain(conn, 12, |_| None);
            },
            ClockBack,
            12,
        ),
    ]
}

#[test]
fn both_verifiers_find_every_attack_and_its_first_bad_entry() {
    let built_in = tempfile::tempdir().unwrap();
    let kept = built(built_in.path());
    let kept_file = built_in.path().join("kept.ndjson");
    let hex = wayside::base::text::hex;
    let line = serde_json::json!({"kind": "checkpoint", "signed": kept.text, "signature": hex(&kept.signature)});
    std::fs::write(&kept_file, format!("{line}\n")).unwrap();
    let given = verify::parse_checkpoint(&std::fs::read_to_string(&kept_file).unwrap()).unwrap();
    let python = python();
    for attack in attacks() {
        let dir = tempfile::tempdir().unwrap();
        let conn = stranger(built_in.path(), dir.path());
        (attack.run)(&conn, dir.path());
        drop(conn);
        for (against, file, wanted) in
            [(None, None, attack.found), (Some(&given), Some(kept_file.as_path()), attack.against)]
        {
            let name = format!("{}{}", attack.name, if against.is_some() { ", against a kept checkpoint" } else { "" });
            let verified = rust(dir.path(), against);
            assert_eq!(gravest(&verified), wanted, "{name}: {:#?}", verified.faults);
            let code = wanted.map_or(0, |(kind, _)| kind.exit_code());
            assert_eq!(verified.exit_code(), code, "{name}");
            if let Some(python) = &python {
                let (exit, out) = second(python, dir.path(), file);
                assert_eq!(exit, i32::from(code), "{name}: {out}");
                if let Some((_, no)) = wanted {
                    let first = out.lines().next().unwrap_or_default();
                    assert!(first.starts_with(&format!("entry {no}:")), "{name}: {out}");
                }
            }
        }
    }
}

#[test]
fn the_command_tells_faults_apart_by_exit_code() {
    let built_in = tempfile::tempdir().unwrap();
    built(built_in.path());
    let run = |dir: &Path, args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_wayside"))
            .arg("--data-dir")
            .arg(dir)
            .args(["consent", "verify"])
            .args(args)
            .output()
            .unwrap();
        (out.status.code().unwrap(), String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let (code, out) = run(built_in.path(), &[]);
    assert!(code == 0 && out.starts_with("ok: 12 entries"), "{out}");
    for name in ["a content is changed", "a signature is changed", "the end is cut", "a decision is put into the past"]
    {
        let attack = attacks().into_iter().find(|attack| attack.name == name).unwrap();
        let dir = tempfile::tempdir().unwrap();
        (attack.run)(&stranger(built_in.path(), dir.path()), dir.path());
        let (kind, no) = attack.found.unwrap();
        let (code, out) = run(dir.path(), &[]);
        assert_eq!(code, i32::from(kind.exit_code()), "{name}: {out}");
        assert!(out.starts_with(&format!("entry {no}:")), "{name}: {out}");
        let (code, out) = run(dir.path(), &["--json"]);
        let told: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, &told["faults"][0]["ledger_no"]), (i32::from(kind.exit_code()), &no.into()), "{name}");
    }
}

#[test]
fn the_ledger_is_verified_beside_whoever_writes_it() {
    let dir = tempfile::tempdir().unwrap();
    built(dir.path());
    let store = open(dir.path());
    let verified = rust(dir.path(), None);
    assert_eq!((verified.exit_code(), verified.entries, verified.cleared), (0, 12, 2));
    assert_eq!((verified.checkpoints, verified.unsigned), (3, 2));
    store.close().unwrap();
}

/// A data directory with two visitors' decisions; the reference of the first.
fn two_visitors(dir: &Path) -> VisitorRef {
    let config = Config { data_dir: dir.to_owned(), ..Config::default() };
    let here = patiently(|| Here::open(&config));
    for (visitor, action) in [("a", "give"), ("b", "give"), ("a", "withdraw")] {
        let body = format!(r#"{{"visitor":"{visitor}","action":"{action}","purposes":["measure"]}}"#);
        let json = [("content-type", "application/json")];
        assert_eq!(here.serve("POST", "/v1/consent", &json, body.into_bytes()).unwrap().status, 200);
    }
    here.close().unwrap();
    let reading = Reading::open(dir, 5_000).unwrap();
    reading
        .read(|tx| {
            let site = sites::id(tx, "default")?.unwrap();
            Ok(visitors::find(tx, site, &ClientId::new("a"))?.unwrap().visitor_ref)
        })
        .unwrap()
}

#[test]
fn a_proof_outlives_the_decisions_for_whoever_has_the_key_and_gives_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let subject = two_visitors(dir.path());
    let store = open(dir.path());
    let key = RecipientKey::mint();
    let options = EraseOptions { proof_key: Some(key.recipient().to_string()), ..EraseOptions::default() };
    let gone = store.pen().call(move |tx| proofs::take_away(tx, subject, &options, 9)).unwrap();
    assert!(gone == 2 && store.read(|tx| decisions::of_subject(tx, subject, 9)).unwrap().is_empty());
    for reason in ["", "  ", &"x".repeat(1_001)] {
        assert_eq!(proofs::ask(&store, "operator", reason).unwrap_err().code, "reason");
    }
    let before = store.read(ledger::head).unwrap().no;
    let sealed = proofs::ask(&store, "operator", "complaint 7 at the authority").unwrap();
    assert_eq!(store.read(ledger::head).unwrap().no, before + 1, "the asking is on record");
    let audited = store.read(|tx| audit::list(tx, None, 1)).unwrap();
    assert_eq!(
        (audited[0].what.as_str(), audited[0].note.as_deref()),
        ("proofs_opened", Some("complaint 7 at the authority"))
    );
    let mut sealed: Vec<_> = sealed.iter().map(|proof| serde_json::to_value(proof).unwrap()).collect();
    assert!(!sealed[0]["sealed"].as_str().unwrap().contains(&subject.to_string()));
    let opened = proofs::open(&key.secret_text(), &sealed).unwrap();
    let actions: Vec<_> = opened.iter().map(|o| o.decision["content"]["action"].as_str().unwrap()).collect();
    assert!(actions == ["give", "withdraw"] && opened.iter().all(|o| o.holds));
    assert_eq!(opened[0].decision["content"]["subject_ref"]["hex"], subject.to_string());

    assert!(proofs::open(&RecipientKey::mint().secret_text(), &sealed).unwrap().is_empty(), "sealed to somebody else");
    sealed[0]["sealed"] = "00".into();
    assert_eq!(proofs::open(&key.secret_text(), &sealed).unwrap_err().code, "sealed");
    store.close().unwrap();
    let verified = verify::beside(dir.path(), 5_000, None, &mut |_, _| ()).unwrap();
    assert_eq!((verified.exit_code(), verified.cleared), (0, 2), "{:?}", verified.faults);
}

#[test]
fn without_a_key_or_by_choice_nothing_is_kept_and_what_is_kept_ends() {
    let dir = tempfile::tempdir().unwrap();
    let subject = two_visitors(dir.path());
    let store = open(dir.path());
    let key = RecipientKey::mint().recipient().to_string();
    let no = EraseOptions { keep_proof: KeepProof::None, proof_key: Some(key.clone()), ..EraseOptions::default() };
    assert_eq!((no.recipient().unwrap(), EraseOptions::default().recipient().unwrap()), (None, None));
    let bad = EraseOptions { proof_key: Some("7".to_owned()), ..EraseOptions::default() };
    assert_eq!(bad.recipient().unwrap_err().code, "recipient");
    let yes = EraseOptions { proof_key: Some(key), proof_months: 1, ..EraseOptions::default() };
    let kept =
        move |tx: &WriteTx<'_>| sealed::keep(tx, subject, &yes.recipient()?.unwrap(), 9, tx.now().months_later(1));
    assert_eq!(store.pen().call(kept).unwrap(), 2);
    let row = store.read(|tx| sealed::list(tx, 0, 9)).unwrap().remove(0);
    let removed = |at: Millis| store.pen().call(move |tx| sealed::delete_expired(tx, at, 9)).unwrap();
    assert_eq!((removed(row.expires.plus(-1)), removed(row.expires)), (0, 1));
}
