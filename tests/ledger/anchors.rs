//! Old entries go behind a signed anchor: both verifiers go on from it, and find whoever uses it, or the want of it, to hide
//! something. Invariant: what is attacked was folded by upkeep itself.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::Connection;
use wayside::base::digest::SigningKey;
use wayside::base::id::ClientId;
use wayside::base::text::hex;
use wayside::base::time::{Clock, DAY_MS, HOUR_MS, ManualClock, Millis, SystemClock};
use wayside::consent::verify::FaultKind::Chain;
use wayside::consent::verify::{self, FaultKind, Verified};
use wayside::domain::checkpoint::{Checkpoint, Signed};
use wayside::domain::ledger::EntryKind;
use wayside::domain::visitor::Visitor;
use wayside::store::{Store, StoreOptions, checkpoints, decisions, ledger, sites, visitors};
use wayside::upkeep::{Hooks, Plan, Upkeep};

use crate::support::{decide, gravest, patiently, python, rust, second, sign, stranger};

/// Upkeep at a time far ahead, told that the clock is right: whatever is due goes.
fn upkeep_at(dir: &Path, at: Millis) {
    let clock = ManualClock::at(at);
    let store = Arc::new(patiently(|| Store::open(&StoreOptions::at(dir), Arc::new(clock.clone()))));
    let uptime = Arc::new(AtomicI64::new(0));
    let told = Arc::clone(&uptime);
    let beside = dir.to_owned();
    let hooks = Hooks {
        uptime_ms: Arc::new(move || told.load(Ordering::SeqCst)),
        ledger_fault: Arc::new(move || Ok(rust(&beside, None).faults.first().map(|fault| fault.what.clone()))),
        ..Hooks::default()
    };
    let upkeep = Upkeep::new(Arc::clone(&store), Plan::default(), hooks);
    clock.advance(HOUR_MS);
    uptime.fetch_add(HOUR_MS, Ordering::SeqCst);
    upkeep.confirm().unwrap();
    upkeep.run_once(true).unwrap();
    drop(upkeep);
    Arc::into_inner(store).unwrap().close().unwrap();
}

/// The visitor is here once more: what it decided stays.
fn seen_again(dir: &Path, key: &'static str, at: Millis) {
    let store = patiently(|| Store::open(&StoreOptions::at(dir), Arc::new(ManualClock::at(at))));
    store
        .pen()
        .call(move |tx| {
            let site = sites::id(tx, "default")?.unwrap();
            let visitor = visitors::take(tx, site, &ClientId::new(key))?.unwrap();
            visitors::keep(tx, Visitor { last_seen: at, ..visitor });
            Ok(())
        })
        .unwrap();
    store.close().unwrap();
}

/// Five decisions, of which the one in the middle is still in force; three years later the others went by age, one entry
/// saying so, and the first two entries are folded away. Returns a checkpoint of before and when that was.
fn folded(dir: &Path) -> (Signed, Millis) {
    let m = "\"measure\"";
    decide(dir, &[("a", "refuse", m)]);
    sign(dir);
    decide(dir, &[("b", "refuse", m), ("c", "give", m), ("d", "refuse", m), ("e", "refuse", m)]);
    let kept = sign(dir);
    let then = SystemClock.now().months_later(37);
    seen_again(dir, "c", then.plus(-DAY_MS));
    upkeep_at(dir, then);
    (kept, then)
}

fn numbers(dir: &Path) -> (Vec<i64>, Vec<(i64, bool)>) {
    let reading = wayside::store::Reading::open(dir, 5_000).unwrap();
    let entries = reading.read(|tx| ledger::page(tx, 0, 99)).unwrap().iter().map(|found| found.entry.no).collect();
    let signed = reading.read(|tx| checkpoints::after(tx, 0, 99)).unwrap();
    (entries, signed.iter().map(|row| (row.ledger_no, row.anchor)).collect())
}

#[test]
fn old_entries_go_behind_an_anchor_and_the_rest_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, then) = folded(dir.path());
    let (entries, signed) = numbers(dir.path());
    assert_eq!(entries, [3, 4, 5, 6], "the decision in force, what follows it, and the entry that says what went");
    assert_eq!(signed, [(5, false), (6, false), (2, true)], "what the anchor makes needless is gone");
    let verified = rust(dir.path(), Some(&kept));
    assert_eq!((verified.exit_code(), verified.anchor_no, verified.cleared), (0, 2, 2), "{:?}", verified.faults);
    let program = Command::new(env!("CARGO_BIN_EXE_wayside"))
        .arg("--data-dir")
        .arg(dir.path())
        .args(["consent", "verify"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&program.stdout).into_owned();
    assert!(program.status.success() && told.starts_with("note: entries up to 2 were removed by age"), "{told}");
    if let Some(python) = python() {
        let (exit, out) = second(&python, dir.path(), None);
        assert!(exit == 0 && out.starts_with("ok: 4 entries"), "{out}");
    }

    // the last person goes too: everything old is folded but the newest entry, which the next one follows
    let store = patiently(|| Store::open(&StoreOptions::at(dir.path()), Arc::new(ManualClock::at(then.plus(DAY_MS)))));
    let going = store.read(|tx| Ok((decisions::newest(tx)?.0, decisions::first_no(tx)?.unwrap()))).unwrap();
    let only = store.read(|tx| Ok(ledger::page(tx, 2, 1)?[0].entry.seq)).unwrap();
    assert!(going.0 >= only);
    store.pen().call(move |tx| decisions::clear(tx, EntryKind::Prune, &[(only, going.1)])).unwrap();
    store.close().unwrap();
    upkeep_at(dir.path(), then.months_later(37));
    let (entries, signed) = numbers(dir.path());
    assert_eq!((entries.len(), signed.last()), (1, Some(&(6, true))), "{entries:?} {signed:?}");
    let verified = rust(dir.path(), Some(&kept));
    assert_eq!((verified.exit_code(), verified.anchor_no, verified.unsigned), (0, 6, 0), "{:?}", verified.faults);
    assert!(verified.notes[0].contains("folded into the anchor at 6"), "{:?}", verified.notes);
    if let Some(python) = python() {
        assert_eq!(second(&python, dir.path(), None).0, 0);
    }
}

#[test]
fn without_anything_old_nothing_is_signed_away() {
    let dir = tempfile::tempdir().unwrap();
    let m = "\"measure\"";
    decide(dir.path(), &[("a", "refuse", m), ("b", "refuse", m)]);
    upkeep_at(dir.path(), SystemClock.now().months_later(35));
    let (entries, signed) = numbers(dir.path());
    assert_eq!(entries, [1, 2]);
    assert!(signed.iter().all(|(_, anchor)| !anchor), "{signed:?}");
}

/// Adds an anchor for what comes up to `no`, as a forger without the key would.
fn forge(conn: &Connection, no: i64) {
    let (text, at): (String, i64) = conn
        .query_row("SELECT signed, at FROM checkpoints ORDER BY checkpoint_no DESC LIMIT 1", [], |r| {
            Ok((r.get(0)?, r.get(1)?))
        })
        .unwrap();
    let before = Signed { text, signature: [0; 64] };
    let hash: [u8; 32] = conn.query_row("SELECT hash FROM ledger WHERE ledger_no = ?1", [no], |r| r.get(0)).unwrap();
    let read = before.read().unwrap();
    let forged = Checkpoint {
        checkpoint_no: read.checkpoint_no + 1,
        ledger_no: no,
        hash: hex(&hash),
        anchor: true,
        left: None,
        previous: Some(before.digest()),
        ..read
    };
    let signed = forged.sign(&SigningKey::from_seed([3; 32]));
    conn.execute(
        "INSERT INTO checkpoints (checkpoint_no, ledger_no, anchor, at, signed, signature) VALUES (?1, ?2, 1, ?3, ?4, ?5)",
        (forged.checkpoint_no, no, at, &signed.text, signed.signature),
    )
    .unwrap();
}

const CUT_TO_4: &str = "DELETE FROM decisions WHERE ledger_no <= 4; DELETE FROM cleared WHERE ledger_no <= 4; \
                        DELETE FROM ledger WHERE ledger_no <= 4";

type Attack = (&'static str, fn(&Connection), Option<(FaultKind, i64)>);

fn attacks() -> [Attack; 8] {
    fn sql(conn: &Connection, text: &str) {
        conn.execute_batch(text).unwrap();
    }
    [
        ("nothing", |_| (), None),
        (
            "a content goes in the name of a removal that the anchor cuts through",
            |conn| sql(conn, "DELETE FROM decisions WHERE ledger_no = 3; INSERT INTO cleared VALUES (3, 6)"),
            Some((Chain, 6)),
        ),
        ("rows are cut behind the anchor", |conn| sql(conn, CUT_TO_4), Some((Chain, 3))),
        (
            "rows are cut, and a forged anchor stands for them",
            |conn| {
                forge(conn, 4);
                sql(conn, CUT_TO_4);
            },
            Some((Chain, 3)),
        ),
        (
            "rows are cut, and a checkpoint is called an anchor",
            |conn| {
                sql(conn, "UPDATE checkpoints SET anchor = 1, ledger_no = 4 WHERE anchor = 0");
                sql(conn, CUT_TO_4);
            },
            Some((Chain, 3)),
        ),
        ("the anchor is removed", |conn| sql(conn, "DELETE FROM checkpoints WHERE anchor = 1"), Some((Chain, 1))),
        (
            "the anchor's signature is changed",
            |conn| sql(conn, "UPDATE checkpoints SET signature = zeroblob(64) WHERE anchor = 1"),
            Some((Chain, 1)),
        ),
        (
            "a note on what was removed goes",
            |conn| sql(conn, "DELETE FROM cleared WHERE ledger_no = 5"),
            Some((Chain, 5)),
        ),
    ]
}

#[test]
fn both_verifiers_find_whoever_hides_behind_an_anchor() {
    let built_in = tempfile::tempdir().unwrap();
    folded(built_in.path());
    let python = python();
    for (name, run, wanted) in attacks() {
        let dir = tempfile::tempdir().unwrap();
        run(&stranger(built_in.path(), dir.path()));
        let verified: Verified = verify::beside(dir.path(), 30_000, None, &mut |_, _| ()).unwrap();
        assert_eq!(gravest(&verified), wanted, "{name}: {:#?}", verified.faults);
        if let Some(python) = &python {
            let (exit, out) = second(python, dir.path(), None);
            assert_eq!(exit, wanted.map_or(0, |(kind, _)| i32::from(kind.exit_code())), "{name}: {out}");
            let first = out.lines().next().unwrap_or_default();
            assert!(wanted.is_none_or(|(_, no)| first.starts_with(&format!("entry {no}:"))), "{name}: {out}");
        }
    }
}
