//! Backups beside a writer: one moment of the database, giving way, nothing overwritten.
//! Invariant of these tests: two rows are always written in one transaction; a copy with one of them is torn.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::base::time::{ManualClock, Millis};
use crate::store::{Store, StoreOptions, WriteTx, migrate};

const SMALL: BackupOptions = BackupOptions { pages_per_step: 4, wal_bytes_max: 64 << 20, attempts_max: 3 };

fn store(dir: &Path) -> Store {
    let store = Store::open(&StoreOptions::at(dir), Arc::new(ManualClock::at(Millis(1_700_000_000_000)))).unwrap();
    store.pen().call(|tx| pair(tx, 0, 2_000_000)).unwrap();
    store
}

/// Two rows of one transaction: a number and as many bytes beside it.
fn pair(tx: &WriteTx<'_>, n: i64, bytes: i64) -> Result<()> {
    let put = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    tx.execute(put, ("left", n))?;
    tx.execute("INSERT INTO meta (key, value) VALUES ('weight ' || ?1, zeroblob(?2))", (n, bytes))?;
    tx.execute(put, ("right", n)).map(|_| ())
}

fn numbers(path: &Path) -> (i64, i64) {
    let conn = Connection::open(path).unwrap();
    let get = |key: &str| conn.query_row("SELECT value FROM meta WHERE key = ?1", [key], |r| r.get(0)).unwrap();
    (get("left"), get("right"))
}

#[test]
fn a_copy_under_writes_is_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let to = dir.path().join("copy.db");
    let (stop, begun) = (AtomicBool::new(false), AtomicBool::new(false));
    let (report, told) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 1;
            while !stop.load(Ordering::Relaxed) {
                store.pen().call(move |tx| pair(tx, n, 500)).unwrap();
                begun.store(true, Ordering::Relaxed);
                n += 1;
            }
        });
        while !begun.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let mut told = Vec::new();
        let report = run(dir.path(), &to, SMALL, &mut |done, all| told.push((done, all)));
        stop.store(true, Ordering::Relaxed);
        (report.unwrap(), told)
    });
    assert_eq!(report.attempts, 1, "a snapshot is held, so writes do not restart the copy");
    assert!(told.len() > 100 && told.is_sorted());
    assert_eq!(told.last(), Some(&(report.pages, report.pages)));
    assert_eq!(report.bytes, report.pages * 4096);
    let (left, right) = numbers(&to);
    assert!(left == right && left > 0);
    migrate::expect_current(&Connection::open(&to).unwrap()).unwrap();
}

#[test]
fn a_copy_is_one_private_file_with_its_rights_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let to = dir.path().join("copy.db");
    std::fs::write(files::beside(&to, ".part"), b"left behind by a power cut").unwrap();
    run(dir.path(), &to, BackupOptions::default(), &mut |_, _| {}).unwrap();
    assert_eq!(std::fs::read(rights_log_of(&to)).unwrap(), b"", "none was exercised, and that is known");
    assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(&std::fs::read(&to).unwrap()[18..20], &[1, 1], "it needs no write-ahead log");
    let mut names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("copy"));
    names.sort();
    assert_eq!(names, ["copy.db", "copy.db.rights.log"]);
    std::fs::write(rights_log::path(dir.path()), b"a right\n").unwrap();
    let second = dir.path().join("second.db");
    run(dir.path(), &second, BackupOptions::default(), &mut |_, _| {}).unwrap();
    assert_eq!(std::fs::read(rights_log_of(&second)).unwrap(), b"a right\n");
    store.close().unwrap();
}

#[test]
fn nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let _store = store(dir.path());
    let to = dir.path().join("copy.db");
    for taken in [to.clone(), rights_log_of(&to)] {
        std::fs::write(&taken, b"older").unwrap();
        let error = run(dir.path(), &to, SMALL, &mut |_, _| {}).unwrap_err();
        assert_eq!((error.kind, error.code), (Kind::Conflict, "exists"));
        assert_eq!(std::fs::read(&taken).unwrap(), b"older");
        std::fs::remove_file(&taken).unwrap();
    }
    let nowhere = run(&dir.path().join("none"), &to, SMALL, &mut |_, _| {}).unwrap_err();
    assert_eq!(nowhere.code, "no_database");
    assert!(run(dir.path(), &dir.path().join("none/copy.db"), SMALL, &mut |_, _| {}).is_err());
}

#[test]
fn a_growing_log_makes_the_copy_give_way_and_begin_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let to = dir.path().join("copy.db");
    let options = BackupOptions { wal_bytes_max: 8 << 20, ..SMALL };
    let mut writes = 0;
    let report = run(dir.path(), &to, options, &mut |_, _| {
        if writes < 12 {
            writes += 1;
            store.pen().call(move |tx| pair(tx, writes, 1_000_000)).unwrap();
        }
    });
    assert_eq!(report.unwrap().attempts, 2);
    assert!(space::wal_bytes(dir.path()).unwrap() < options.wal_bytes_max, "the log was emptied in between");
    let (left, right) = numbers(&to);
    assert!(left == right && left > 4, "the second copy has what made the first give way");
}

#[test]
fn a_copy_that_never_gets_through_is_busy_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let to = dir.path().join("copy.db");
    let options = BackupOptions { wal_bytes_max: 1 << 20, ..SMALL };
    let mut n = 0;
    let error = run(dir.path(), &to, options, &mut |_, _| {
        n += 1;
        store.pen().call(move |tx| pair(tx, n, 1_500_000)).unwrap();
    });
    assert_eq!(error.unwrap_err().code, "backup_busy");
    assert!(!to.exists() && !files::beside(&to, ".part").exists() && !rights_log_of(&to).exists());
}
