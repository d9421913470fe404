//! Copies of the database: a snapshot with the person goes, one without stays, what cannot be looked into is named.

use std::sync::Arc;

use super::*;
use crate::base::id::ClientId;
use crate::base::time::{ManualClock, Millis};
use crate::store::{Store, StoreOptions, backup, sites};

const NOW: Millis = Millis(1_700_000_000_000);

/// A sound database with one visitor under that reference, as a file of its own.
fn copy_with(visitor_ref: VisitorRef, to: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreOptions::at(dir.path()), Arc::new(ManualClock::at(NOW))).unwrap();
    let insert = move |tx: &crate::store::WriteTx<'_>| {
        let site_id = sites::intern(tx, "shop")?;
        tx.execute(
            "INSERT INTO visitors (visitor_id, site_id, key, visitor_ref, first_seq, first_seen_at, last_seen_at, visit_count, \
             page_count, event_count, granted, denied, signal_shown, measure_floor, floors, disclosed, flags, basis_id, \
             consent_seq, exempt) VALUES (1, ?1, ?2, ?3, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)",
            (site_id, ClientId::new("somebody"), visitor_ref),
        )
    };
    store.pen().call(insert).unwrap();
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    backup::run(dir.path(), to, backup::BackupOptions::default(), &mut |_, _| {}).unwrap();
    std::fs::remove_file(backup::rights_log_of(to)).unwrap();
    store.close().unwrap();
}

#[test]
fn a_snapshot_with_the_person_goes_and_one_without_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (VisitorRef([1; 16]), VisitorRef([2; 16]));
    let (with, without) = (dir.path().join("snapshots/a b.db"), dir.path().join("snapshots/other.db"));
    copy_with(one, &with);
    copy_with(other, &without);
    let copies = Copies::of(dir.path());
    let sought = Sought { refs: vec![one], ..Sought::default() };
    assert_eq!(copies.find(&sought).unwrap(), [with.as_path()]);
    assert_eq!(copies.erase(&sought).unwrap(), Erased { changed: 1, unreachable: vec![] });
    assert!(!with.exists() && without.exists());
}

#[test]
fn what_cannot_be_looked_into_is_named_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let one = VisitorRef([1; 16]);
    let broken = dir.path().join("snapshots/before.db");
    let (holds, clean) = (dir.path().join("damaged/x/wayside.db"), dir.path().join("damaged/y/wayside.db"));
    copy_with(one, &holds);
    copy_with(VisitorRef([2; 16]), &clean);
    std::fs::create_dir_all(broken.parent().unwrap()).unwrap();
    std::fs::write(&broken, b"no database at all").unwrap();
    let copies = Copies::of(dir.path());
    let sought = Sought { refs: vec![one], ..Sought::default() };
    let done = copies.erase(&sought).unwrap();
    assert_eq!(done, Erased { changed: 0, unreachable: vec![broken.clone(), holds.clone()] });
    assert!(broken.exists() && holds.exists(), "evidence of damage is the operator's");
    // with a log beside it nobody knows without changing it
    std::fs::write(files::beside(&clean, "-wal"), b"frames").unwrap();
    assert!(copies.erase(&sought).unwrap().unreachable.contains(&clean));
}

#[test]
fn an_answer_that_names_the_person_goes_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("results");
    std::fs::create_dir_all(&folder).unwrap();
    let mut sought = Sought { refs: vec![VisitorRef([1; 16])], ..Sought::default() };
    sought.marks.add(b"visitor-0001");
    std::fs::write(folder.join("a.json"), "{\"visitor\":\"visitor-0001\"}").unwrap();
    std::fs::write(folder.join("b.html"), format!("<p>{}</p>", VisitorRef([1; 16]))).unwrap();
    std::fs::write(folder.join("c.json"), "{\"visitor\":\"visitor-0002\"}").unwrap();
    assert_eq!(Answers::of(dir.path()).erase(&sought).unwrap(), Erased { changed: 2, unreachable: vec![] });
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["c.json"]);
}

#[test]
fn each_file_belongs_to_the_longest_place_that_fits() {
    let owner = |path: &str| place_of(path).map(|row| (row.path, row.owner));
    assert_eq!(owner("wayside.db-wal"), Some(("wayside.db*", "store")));
    assert_eq!(owner("spool/a.ndjson"), Some(("spool/", "ingest::spool")));
    assert_eq!(owner("spool/rejected/a"), Some(("spool/rejected/", "ingest::spool")));
    assert_eq!(owner("wayside.db-wal/x"), None, "an ending is no folder");
    assert_eq!(owner("stray.txt"), None);
}

#[test]
fn the_map_shows_every_place() {
    let map = include_str!("../../lib.rs");
    for row in PLACES {
        let line = map.lines().find(|line| line.starts_with(&format!("//! | `{}`", row.path)));
        let line = line.unwrap_or_else(|| panic!("src/lib.rs does not show `{}`", row.path));
        let holds = if row.holds.is_empty() { "no" } else { row.holds };
        let erased = if row.erased.is_empty() { "-" } else { row.erased };
        assert!(line.contains(&format!("| {holds} | {erased} |")), "{line}\nshould tell: {holds} | {erased}");
        assert!(line.contains(row.owner), "{line}\nshould name its owner: {}", row.owner);
    }
}
