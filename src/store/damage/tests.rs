//! Starts on sound, fresh, moved, lost and damaged data directories.
//! Invariant of these tests: whatever lay there before lies somewhere afterwards, byte for byte.

use std::sync::Arc;

use super::*;
use crate::base::id::{Epoch, Seq, VisitorRef};
use crate::base::time::{HOUR_MS, ManualClock};
use crate::domain::batch::Batch;
use crate::domain::consent::Purposes;
use crate::domain::event::Lane;
use crate::domain::line::LineKind;
use crate::store::cursors::Cursor;
use crate::store::rights_log::Entry;
use crate::store::{ReadTx, Store, WriteTx, batches, cursors, frozen, refusals};

const NOW: Millis = Millis(1_700_000_000_000);

fn machine(id: &str) -> Hardware {
    Hardware { machine_id: Some(id.to_owned()), macs: vec![] }
}

fn start(dir: &Path) -> Result<(Connection, Identity, Vec<Note>)> {
    open_on(&StoreOptions::at(dir), &machine("m"), NOW)
}

/// A data directory that has served and was stopped cleanly; who served it.
fn served() -> (tempfile::TempDir, Identity) {
    let dir = tempfile::tempdir().unwrap();
    let (conn, identity, notes) = start(dir.path()).unwrap();
    assert_eq!(notes, [Note::Fresh]);
    conn.execute_batch("INSERT INTO sites (name) VALUES ('shop')").unwrap();
    drop(conn);
    clean_stop(dir.path()).unwrap();
    (dir, identity)
}

fn log_a_right(dir: &Path, identity: &Identity) -> [u8; 32] {
    let id_hash = identity.hash_key.hmac(&[b"visitor"]);
    let entry = Entry {
        at: NOW,
        site: "shop".to_owned(),
        visitor_ref: VisitorRef([1; 16]),
        id_hash,
        action: "withdraw".to_owned(),
        purposes: Purposes::MEASURE,
        customer: None,
        signed_in: false,
    };
    rights_log::tests::write(dir, &[entry]);
    id_hash
}

/// The one note of damage: where it lies and why.
fn aside_of(notes: &[Note]) -> (PathBuf, String, usize) {
    match notes {
        [Note::Damaged { aside, why, rights }] => (aside.clone(), why.clone(), *rights),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sound_database_goes_on_in_its_epoch() {
    let (dir, first) = served();
    let (conn, again, notes) = start(dir.path()).unwrap();
    assert_eq!((notes, again.epoch_id, again.edge.epoch), (vec![], first.epoch_id, first.edge.epoch));
    assert_eq!(epochs::all(&ReadTx::new(&conn)).unwrap().len(), 1);
    assert!(dir.path().join(RUNNING).exists());
    drop(conn);
    clean_stop(dir.path()).unwrap();
    clean_stop(dir.path()).unwrap();
    assert!(!dir.path().join(RUNNING).exists());
}

#[test]
fn only_a_store_that_was_closed_has_stopped_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::open(&StoreOptions::at(dir.path()), Arc::new(ManualClock::at(NOW))).unwrap();
    drop(open());
    assert!(dir.path().join(RUNNING).exists());
    open().close().unwrap();
    assert!(!dir.path().join(RUNNING).exists());
}

#[test]
fn a_damaged_file_is_kept_aside_untouched_and_rights_are_taken_over() {
    const PAGE: usize = 4096;
    type Spoil = fn(&mut Vec<u8>);
    let spoils: [(&str, Spoil); 4] = [
        ("not a database", |bytes| *bytes = b"these are not the bytes of a database".repeat(300)),
        ("header garbage", |bytes| bytes[..100].fill(0xa5)),
        ("cut short", |bytes| bytes.truncate(3 * PAGE)),
        ("a page of noise", |bytes| bytes[PAGE..2 * PAGE].fill(0x5a)),
    ];
    for (name, spoil) in spoils {
        let (dir, before) = served();
        let hash = log_a_right(dir.path(), &before);
        let path = open::database_path(dir.path());
        let mut bytes = std::fs::read(&path).unwrap();
        spoil(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        let wal = files::beside(&path, "-wal");
        std::fs::write(&wal, b"what the log held").unwrap();
        let (conn, after, notes) = start(dir.path()).unwrap();
        let (aside, why, rights) = aside_of(&notes);
        assert!(aside.starts_with(dir.path().join("damaged")) && !why.is_empty() && rights == 1, "{name}: {why}");
        assert_eq!(std::fs::read(aside.join("wayside.db")).unwrap(), bytes, "{name}");
        assert_eq!(std::fs::read(aside.join("wayside.db-wal")).unwrap(), b"what the log held", "{name}");
        assert_eq!((after.edge.id, &after.edge.key_id), (before.edge.id, &before.edge.key_id), "{name}: the same edge");
        assert_eq!(after.edge.previous, Some(before.edge.epoch), "{name}: a new epoch");
        let tx = ReadTx::new(&conn);
        assert_eq!(refusals::get(&tx, &hash).unwrap().unwrap().purposes, Purposes::MEASURE, "{name}");
        assert_eq!(after.hash_key.hmac(&[b"visitor"]), hash, "{name}: the hash still means the visitor");
        let rows = epochs::all(&tx).unwrap();
        assert_eq!((rows.len(), rows[0].reason, rows[0].epoch), (1, Reason::FreshAfterDamage, after.edge.epoch));
        drop(conn);
        assert_eq!(start(dir.path()).unwrap().2, [], "{name}: and the next start is an ordinary one");
    }
}

/// The one loss line of a fresh database, which must be its first line.
fn loss_of(conn: &Connection) -> serde_json::Value {
    let (seq, lane, kind, body): (i64, i64, String, String) = conn
        .query_row("SELECT seq, lane, kind, body FROM frozen", [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
        .unwrap();
    assert_eq!((seq, lane, kind.as_str()), (1, Lane::Consent.code(), "loss"));
    assert_eq!(meta::last_seq(conn).unwrap(), 1, "its number is taken");
    serde_json::from_str(&body).unwrap()
}

/// A data directory with two lines an hour apart, of which a target has acknowledged the first `acked`.
fn delivered(acked: i64) -> (tempfile::TempDir, Epoch) {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(NOW);
    let store = Store::open(&StoreOptions::at(dir.path()), Arc::new(clock.clone())).unwrap();
    let note = |tx: &WriteTx<'_>| frozen::note(tx, LineKind::Clock, &serde_json::json!({}));
    store.pen().call(note).unwrap();
    clock.advance(HOUR_MS);
    store.pen().call(note).unwrap();
    let seal = move |tx: &WriteTx<'_>| {
        for no in 1..=2 {
            let batch = Batch {
                epoch_id: tx.identity().epoch_id,
                lane: Lane::Consent,
                batch_no: no,
                first_seq: Seq(no),
                last_seq: Seq(no),
                count: 1,
                digest: [1; 32],
                received: (NOW, NOW),
                sealed_at: NOW,
                edge_label: String::new(),
                schema: "1.0".to_owned(),
                sealed_part: Vec::new(),
                signature: [2; 64],
            };
            batches::insert(tx, &batch)?;
        }
        let cursor = Cursor { put_no: 2, acked_no: acked, ..Cursor::default() };
        cursors::put(tx, "outbox", tx.identity().epoch_id, Lane::Consent, &cursor)?;
        meta::set_newest_at(tx, NOW.plus(2 * HOUR_MS))
    };
    store.pen().call(seal).unwrap();
    let epoch = store.identity().edge.epoch;
    store.close().unwrap();
    (dir, epoch)
}

#[test]
fn a_fresh_database_begins_by_telling_what_may_be_lost() {
    let later = NOW.plus(3 * HOUR_MS);
    let fresh = |dir: &Path| open_on(&StoreOptions::at(dir), &Hardware::read(Path::new("/")), later).unwrap().0;
    let told = |epoch: Epoch, from: Option<Millis>, last_seq: Option<i64>| {
        serde_json::json!({
            "reason": "damage", "lost_epoch": epoch.to_string(), "from": from.map(Millis::rfc3339), "to": later.rfc3339(),
            "last_seq": last_seq
        })
    };
    // as far as the damaged file can still tell: from the first row nobody acknowledged, else from the newest time in it
    for (acked, from) in [(0, NOW), (1, NOW.plus(HOUR_MS)), (2, NOW.plus(2 * HOUR_MS))] {
        let (dir, epoch) = delivered(acked);
        open::writer(&open::database_path(dir.path())).unwrap().execute_batch("DROP TABLE attempts").unwrap();
        assert_eq!(loss_of(&fresh(dir.path())), told(epoch, Some(from), Some(2)), "{acked} acknowledged");
    }
    // a file that tells nothing, and none at all
    for whole in [true, false] {
        let (dir, epoch) = delivered(1);
        let path = open::database_path(dir.path());
        if whole { std::fs::write(&path, "no database".repeat(500)) } else { std::fs::remove_file(&path) }.unwrap();
        assert_eq!(loss_of(&fresh(dir.path())), told(epoch, None, None));
    }
    // and a number it was given from garbage is no time
    let (dir, epoch) = delivered(2);
    let garbage = format!("DROP TABLE attempts; UPDATE meta SET value = {} WHERE key = 'newest_at'", later.0 + 1);
    open::writer(&open::database_path(dir.path())).unwrap().execute_batch(&garbage).unwrap();
    assert_eq!(loss_of(&fresh(dir.path())), told(epoch, None, Some(2)));
}

#[test]
fn a_first_start_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (conn, ..) = start(dir.path()).unwrap();
    let lines: i64 = conn.query_row("SELECT count(*) FROM frozen", [], |r| r.get(0)).unwrap();
    assert_eq!(lines, 0);
}

#[test]
fn committed_pages_in_the_log_stay_in_the_log() {
    let (dir, _) = served();
    let path = open::database_path(dir.path());
    let conn = open::writer(&path).unwrap();
    conn.execute_batch("INSERT INTO sites (name) VALUES ('only in the log')").unwrap();
    let after_a_power_cut = tempfile::tempdir().unwrap();
    for name in ["edge.json", "edge.key", "wayside.db", "wayside.db-wal"] {
        std::fs::copy(dir.path().join(name), after_a_power_cut.path().join(name)).unwrap();
    }
    let path = open::database_path(after_a_power_cut.path());
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4096..].fill(0x33);
    std::fs::write(&path, &bytes).unwrap();
    let log = std::fs::read(files::beside(&path, "-wal")).unwrap();
    assert!(log.len() > 4096);
    let (aside, ..) = aside_of(&start(after_a_power_cut.path()).unwrap().2);
    assert_eq!(std::fs::read(aside.join("wayside.db")).unwrap(), bytes);
    assert_eq!(std::fs::read(aside.join("wayside.db-wal")).unwrap(), log);
}

#[test]
fn a_database_without_its_tables_or_rows_is_damaged() {
    for (sql, said) in
        [("DROP TABLE attempts", "attempts"), ("DELETE FROM seq", "counter"), ("PRAGMA user_version = 0", "version 0")]
    {
        let (dir, _) = served();
        open::writer(&open::database_path(dir.path())).unwrap().execute_batch(sql).unwrap();
        let (_, why, _) = aside_of(&start(dir.path()).unwrap().2);
        assert!(why.contains(said), "{why}");
    }
}

#[test]
fn a_database_that_is_gone_is_not_begun_again_in_its_old_epoch() {
    let (dir, before) = served();
    let path = open::database_path(dir.path());
    std::fs::remove_file(&path).unwrap();
    let (conn, after, notes) = start(dir.path()).unwrap();
    let (aside, why, _) = aside_of(&notes);
    assert_eq!((aside, why.contains("gone")), (path.clone(), true));
    assert_eq!((after.edge.id, after.edge.previous), (before.edge.id, Some(before.edge.epoch)));
    drop(conn);
    // emptied, with a log that SQLite would delete
    std::fs::write(&path, b"").unwrap();
    std::fs::write(files::beside(&path, "-wal"), b"rows").unwrap();
    let (aside, why, _) = aside_of(&start(dir.path()).unwrap().2);
    assert!(why.contains("empty"), "{why}");
    assert_eq!(std::fs::read(aside.join("wayside.db-wal")).unwrap(), b"rows");
}

#[test]
fn two_damages_in_one_moment_are_both_kept() {
    let (dir, _) = served();
    for n in 0..3 {
        std::fs::write(open::database_path(dir.path()), format!("spoiled {n}").repeat(200)).unwrap();
        aside_of(&start(dir.path()).unwrap().2);
    }
    assert_eq!(std::fs::read_dir(dir.path().join(DAMAGED)).unwrap().count(), 3);
}

#[test]
fn a_locked_database_is_not_damaged() {
    let (dir, before) = served();
    let path = open::database_path(dir.path());
    let holder = Connection::open(&path).unwrap();
    // a connection in this mode keeps every other one out, also from reading
    holder
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; INSERT INTO sites (name) VALUES ('x')")
        .unwrap();
    let error = start(dir.path()).err().unwrap();
    assert_ne!(error.code, "damaged");
    drop(holder);
    let (_, after, notes) = start(dir.path()).unwrap();
    assert_eq!((notes, after.edge.epoch), (vec![], before.edge.epoch));
    assert!(!dir.path().join(DAMAGED).exists());
}

#[test]
fn a_file_that_cannot_be_opened_is_not_damaged() {
    let (dir, _) = served();
    let path = open::database_path(dir.path());
    std::fs::rename(&path, dir.path().join("elsewhere")).unwrap();
    std::fs::create_dir(&path).unwrap();
    let error = start(dir.path()).err().unwrap();
    assert_eq!((error.kind, error.code), (Kind::Storage, "storage"), "{error}");
    assert!(path.is_dir() && !dir.path().join(DAMAGED).exists());
}

#[test]
fn a_newer_database_is_refused_and_stays() {
    let (dir, _) = served();
    open::writer(&open::database_path(dir.path())).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    assert_eq!(start(dir.path()).err().unwrap().code, "newer_schema");
    assert!(!dir.path().join(DAMAGED).exists());
}

#[test]
fn another_machine_goes_on_with_the_rows_in_a_new_epoch() {
    let (dir, before) = served();
    let (conn, after, notes) = open_on(&StoreOptions::at(dir.path()), &machine("n"), NOW).unwrap();
    assert_eq!(notes, [Note::OtherHardware]);
    assert!(after.edge.id != before.edge.id && after.epoch_id != before.epoch_id);
    let rows = epochs::all(&ReadTx::new(&conn)).unwrap();
    assert_eq!(rows.iter().map(|r| r.edge).collect::<Vec<_>>(), [before.edge.id, after.edge.id]);
    assert_eq!(rows[1].reason, Reason::OtherHardware);
    let sites: i64 = conn.query_row("SELECT count(*) FROM sites", [], |r| r.get(0)).unwrap();
    assert_eq!(sites, 1, "stored rows stay");
}

#[test]
fn an_epoch_cut_off_before_it_reached_the_database_begins_at_the_next_start() {
    let (dir, _) = served();
    let minted = Edge::new_epoch(dir.path(), Reason::Restore, NOW).unwrap();
    let (conn, identity, notes) = start(dir.path()).unwrap();
    assert_eq!((identity.edge.epoch, notes), (minted.epoch, vec![]));
    assert_eq!(epochs::all(&ReadTx::new(&conn)).unwrap()[1].reason, Reason::Restore);
}

#[test]
fn a_check_ends_at_its_limit_and_finds_what_it_reaches() {
    let (dir, _) = served();
    let path = open::database_path(dir.path());
    let conn = open::writer(&path).unwrap();
    conn.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
         INSERT INTO sites (name) SELECT 'site ' || i FROM n",
    )
    .unwrap();
    drop(conn);
    assert!(probe(&path, true, 0).is_ok(), "ended at once, nothing found");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0x77);
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(probe(&path, true, CHECK_MS_MAX).unwrap_err().code, "damaged");
    assert!(probe(&path, false, CHECK_MS_MAX).is_ok(), "a large file is not checked after a clean stop");
}

#[test]
fn the_store_starts_on_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(NOW);
    let (conn, identity, notes) = open_or_replace(&StoreOptions::at(dir.path()), &clock).unwrap();
    assert_eq!((notes, identity.edge.started_at), (vec![Note::Fresh], NOW));
    drop(conn);
    assert_eq!(open_or_replace(&StoreOptions::at(dir.path()), &clock).unwrap().2, []);
}

#[test]
fn a_first_start_cut_short_is_no_damage() {
    // cut before the database, after an empty one, and after a file without a table
    for cut in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FIRST_START), "").unwrap();
        let now = Millis(1_800_000_000_000);
        let (edge, _) = Edge::load_or_mint(dir.path(), &Hardware::read(dir.path()), false, now).unwrap();
        let path = open::database_path(dir.path());
        match cut {
            0 => {}
            1 => std::fs::write(&path, "").unwrap(),
            _ => open::writer(&path).unwrap().execute_batch("CREATE TABLE t (x); DROP TABLE t").unwrap(),
        }
        let options = StoreOptions::at(dir.path());
        let (_, identity, notes) = open_on(&options, &Hardware::read(dir.path()), now).unwrap();
        assert_eq!((identity.edge.epoch, notes), (edge.epoch, vec![Note::Fresh]), "cut {cut}");
        assert!(!dir.path().join(FIRST_START).exists());
    }
}
