//! The log of rights: on disk with the commit, readable whatever was torn, taken over as refusals.
//! Invariant of these tests: the log is read back from its file.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use super::*;
use crate::base::id::Seq;
use crate::base::time::ManualClock;
use crate::store::{Store, StoreOptions};

/// Writes entries as the pen would.
pub(in crate::store) fn write(data_dir: &Path, entries: &[Entry]) {
    append_to(&path(data_dir), entries).unwrap();
}

fn entry(n: u8, action: &str, purposes: Purposes) -> Entry {
    Entry {
        at: Millis(1_700_000_000_000 + i64::from(n)),
        site: "shop \"1\"\n".to_owned(),
        visitor_ref: VisitorRef([n; 16]),
        id_hash: [n; 32],
        action: action.to_owned(),
        purposes,
        customer: None,
        signed_in: false,
    }
}

fn store(dir: &Path) -> Store {
    Store::open(&StoreOptions::at(dir), Arc::new(ManualClock::at(Millis(1_700_000_000_000)))).unwrap()
}

#[test]
fn a_right_is_logged_before_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let (a, b) = (entry(1, "withdraw", Purposes::ALL), entry(2, "refuse", Purposes::MEASURE));
    let both = [a.clone(), b.clone()];
    store
        .pen()
        .call(move |tx| {
            push(tx, a.clone());
            push(tx, b.clone());
            Ok(())
        })
        .unwrap();
    assert_eq!(read(dir.path()).unwrap(), both);
    assert_eq!(std::fs::metadata(path(dir.path())).unwrap().permissions().mode() & 0o777, 0o600);
    store.pen().call(|_| Ok(())).unwrap();
    assert_eq!(read(dir.path()).unwrap().len(), 2, "nothing is logged twice");
}

#[test]
fn a_job_that_fails_logs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let failed: Result<()> = store.pen().call(|tx| {
        push(tx, entry(1, "withdraw", Purposes::ALL));
        Err(Error::invalid("changed its mind"))
    });
    assert!(failed.is_err());
    assert!(read(dir.path()).unwrap().is_empty());
}

#[test]
fn a_log_that_cannot_be_written_fails_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    std::fs::create_dir(path(dir.path())).unwrap();
    let failed = store.pen().call(move |tx| {
        push(tx, entry(1, "withdraw", Purposes::ALL));
        refusals::put(tx, &[1; 32], Purposes::ALL, Millis(1), Seq(1))
    });
    assert!(failed.is_err());
    assert_eq!(store.read(|tx| refusals::get(tx, &[1; 32])).unwrap(), None, "not committed without its line");
}

#[test]
fn a_full_disk_has_its_own_code() {
    let full = append_to(Path::new("/dev/full"), &[entry(1, "refuse", Purposes::ALL)]).unwrap_err();
    assert_eq!(full.code, "disk_full");
}

#[test]
fn a_torn_last_line_is_passed_over_and_cut_before_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let log = path(dir.path());
    let (a, b) = (entry(1, "erase", Purposes::ALL), entry(2, "object", Purposes::SHARE));
    append_to(&log, std::slice::from_ref(&a)).unwrap();
    let whole = std::fs::metadata(&log).unwrap().len();
    let mut torn = std::fs::read(&log).unwrap();
    torn.extend_from_slice(format!("{{\"at\":\"{}", "x".repeat(9_000)).as_bytes());
    std::fs::write(&log, &torn).unwrap();
    assert_eq!(read(dir.path()).unwrap(), std::slice::from_ref(&a));
    append_to(&log, std::slice::from_ref(&b)).unwrap();
    assert_eq!(read(dir.path()).unwrap(), [a, b]);
    assert!(std::fs::metadata(&log).unwrap().len() < whole * 3);
}

#[test]
fn a_spoiled_line_does_not_hide_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let log = path(dir.path());
    for n in 1..=3 {
        append_to(&log, &[entry(n, "restrict", Purposes::ALL)]).unwrap();
    }
    let mut bytes = std::fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] = 0xff;
    std::fs::write(&log, bytes).unwrap();
    let left: Vec<Hash> = read(dir.path()).unwrap().into_iter().map(|e| e.id_hash).collect();
    assert_eq!(left, [[1; 32], [3; 32]]);
}

#[test]
fn replay_joins_the_noes_of_an_id() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let log = path(dir.path());
    let share = Entry { id_hash: [1; 32], ..entry(5, "object", Purposes::SHARE) };
    let nothing = entry(9, "erase", Purposes::NONE);
    append_to(&log, &[entry(1, "withdraw", Purposes::MEASURE), share, nothing]).unwrap();
    let root = dir.path().to_owned();
    let (taken, found, none) = store
        .pen()
        .call(move |tx| {
            let taken = replay(tx.conn(), &root)?;
            Ok((taken, refusals::get(tx, &[1; 32])?, refusals::get(tx, &[9; 32])?))
        })
        .unwrap();
    assert_eq!((taken, none), (2, None));
    let found = found.unwrap();
    assert_eq!(found.purposes, Purposes::MEASURE.with(Purposes::SHARE));
    assert_eq!((found.decided_at, found.decision), (Millis(1_700_000_000_005), Seq(0)));
}
