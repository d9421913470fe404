//! Tests of keys and cells against real files: order of the two commits, destruction, rotation, copies, recovery.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::*;
use crate::base::cell::RecipientKey;
use crate::base::id::Seq;
use crate::base::time::{ManualClock, Millis};
use crate::domain::event::{Attribute, DataType};
use crate::domain::visitor::Rights;
use crate::store::backup::{self, BackupOptions};
use crate::store::identities::Association;
use crate::store::personal::{Field, Of};
use crate::store::{Note, Reading, Store, StoreOptions, root, sites};

const NOW: Millis = Millis(1_763_719_200_000);
const MARKER: &str = "Zebediah-Quartermain-7731";

fn open(options: &StoreOptions) -> Store {
    Store::open(options, Arc::new(ManualClock::at(NOW))).unwrap()
}

fn at(dir: &Path) -> StoreOptions {
    StoreOptions::at(dir)
}

fn field(name: &str, value: &str) -> Attribute {
    Attribute { name: name.to_owned(), value: value.to_owned(), data_type: DataType::String }
}

fn of(seq: i64, visitor_id: i64) -> Of {
    Of { seq: Seq(seq), site_id: 1, visitor_id, at: NOW }
}

/// Keeps one field of a visitor, brought by event `seq`.
fn keep(store: &Store, seq: i64, visitor: i64, name: &str, value: &str) {
    let one = [field(name, value)];
    store.pen().call(move |tx| personal::insert(tx, of(seq, visitor), &one)).unwrap();
}

fn fields(store: &Store, visitor: i64) -> Vec<Field> {
    store.read(|tx| personal::of_visitor(tx, visitor, Seq(0))).unwrap()
}

fn values(store: &Store, visitor: i64) -> Vec<String> {
    fields(store, visitor).into_iter().map(|f| f.value.unwrap()).collect()
}

fn key_count(dir: &Path) -> i64 {
    counted(&open::reader(&path(dir)).unwrap()).unwrap().0
}

/// Which files below a folder hold these bytes.
fn holding(dir: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(holding(&entry.path(), bytes));
        } else if let Ok(all) = std::fs::read(entry.path())
            && all.windows(bytes.len()).any(|w| w == bytes)
        {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

#[test]
fn a_value_is_readable_with_its_key_and_in_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&at(dir.path()));
    keep(&store, 1, 10, "trait.familyName", MARKER);
    keep(&store, 2, 10, "trait.familyName", &format!("{MARKER}-new"));
    keep(&store, 3, 11, "form.comment", &format!("I am {MARKER}"));
    assert_eq!(values(&store, 10), [format!("{MARKER}-new")], "the newest counts");
    assert_eq!(values(&store, 11), [format!("I am {MARKER}")]);
    assert_eq!(holding(dir.path(), MARKER.as_bytes()), Vec::<String>::new(), "beside the daemon, log included");
    let history = store.read(|tx| personal::history_of_visitor(tx, 10, Seq(0))).unwrap();
    assert_eq!(history.len(), 2);
    store.close().unwrap();
    assert_eq!(holding(dir.path(), MARKER.as_bytes()), Vec::<String>::new());
    assert_eq!(key_count(dir.path()), 2, "one per visitor");
}

#[test]
fn beside_a_daemon_the_root_key_opens_and_without_it_cells_stay_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&at(dir.path()));
    keep(&store, 1, 10, "trait.givenName", "Ann");
    let value = |reading: Reading| reading.read(|tx| personal::of_visitor(tx, 10, Seq(0))).unwrap().remove(0).value;
    let reading = || Reading::open(dir.path(), 5_000).unwrap();
    assert_eq!(value(reading().with_keys(None)).as_deref(), Some("Ann"));
    assert_eq!(value(reading()), None);
    assert_eq!(value(reading().with_keys(Some(Path::new("/nowhere/root.key")))), None);
}

#[test]
fn a_key_goes_with_the_last_cell_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&at(dir.path()));
    keep(&store, 1, 10, "trait.givenName", "Ann");
    keep(&store, 2, 10, "trait.email", "ann@example.org");
    keep(&store, 3, 11, "trait.givenName", "Bo");
    assert_eq!(store.pen().call(|tx| personal::delete_of_event(tx, Seq(1), 10)).unwrap(), 1);
    assert_eq!((key_count(dir.path()), values(&store, 10)), (2, vec!["ann@example.org".to_owned()]));
    assert_eq!(store.pen().call(|tx| personal::delete_upto(tx, 10, Seq(9), 10)).unwrap(), 1);
    assert_eq!((key_count(dir.path()), fields(&store, 10)), (1, Vec::new()));
    // a cell deleted and another kept in one group: the key is needed on
    let fresh = [field("trait.givenName", "Bob")];
    store
        .pen()
        .call(move |tx| {
            personal::delete_upto(tx, 11, Seq(9), 10)?;
            personal::insert(tx, of(4, 11), &fresh)
        })
        .unwrap();
    assert_eq!((key_count(dir.path()), values(&store, 11)), (1, vec!["Bob".to_owned()]));
    keep(&store, 5, 10, "trait.givenName", "Ann");
    assert_eq!(values(&store, 10), ["Ann"], "who comes back gets a key of their own");
}

#[test]
fn a_group_that_fails_leaves_no_cell_and_goes_on_with_another_key() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&at(dir.path()));
    let failed = store.pen().call(|tx| {
        personal::insert(tx, of(1, 10), &[field("trait.givenName", "Ann")])?;
        Err::<(), _>(Error::invalid("no"))
    });
    assert!(failed.is_err());
    assert_eq!(fields(&store, 10), []);
    keep(&store, 2, 10, "trait.givenName", "Ann");
    assert_eq!((values(&store, 10), key_count(dir.path())), (vec!["Ann".to_owned()], 1));
}

/// Kills a process between the commit of keys and the commit of rows: the pen's connections vanish in between.
#[test]
fn a_crash_between_keys_and_rows_leaves_keys_without_cells_which_are_swept() {
    let dir = tempfile::tempdir().unwrap();
    open(&at(dir.path())).close().unwrap();
    {
        let root = root::load(&root::path(dir.path(), None)).unwrap().unwrap();
        let mut custody = Custody::take(&path(dir.path()), open::writer(&path(dir.path())).unwrap(), root).unwrap();
        let main = open::writer(&open::database_path(dir.path())).unwrap();
        main.execute_batch("BEGIN IMMEDIATE").unwrap();
        let (key_ref, key) = custody.mint();
        let cell = cell::seal(&key, Place { table: "personal", column: "trait.a", row: 1 }, b"x");
        let sql = "INSERT INTO personal (seq, n, visitor_id, key_ref, field, value, data_type, at) \
                   VALUES (1, 0, 10, ?1, 'trait.a', ?2, 'STRING', 0)";
        main.execute(sql, (key_ref, cell)).unwrap();
        custody.save_minted().unwrap();
    }
    std::fs::write(dir.path().join("running"), b"").unwrap();
    assert_eq!(key_count(dir.path()), 1, "keys were first");
    let store = open(&at(dir.path()));
    assert_eq!((key_count(dir.path()), fields(&store, 10)), (0, Vec::new()));
}

/// What an erasure leaves that was cut off after its rows were gone: a key whose cells were deleted behind the pen's back.
fn erased_but_for_the_key(dir: &Path) {
    let store = open(&at(dir));
    keep(&store, 1, 10, "trait.givenName", "Ann");
    keep(&store, 2, 11, "trait.givenName", "Bo");
    store.close().unwrap();
    let main = open::writer(&open::database_path(dir)).unwrap();
    main.execute("DELETE FROM personal WHERE visitor_id = 10", []).unwrap();
    std::fs::write(dir.join("running"), b"").unwrap();
}

#[test]
fn a_crash_between_rows_and_keys_is_made_good_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    erased_but_for_the_key(dir.path());
    assert_eq!(key_count(dir.path()), 2);
    let store = open(&at(dir.path()));
    assert_eq!((key_count(dir.path()), values(&store, 11)), (1, vec!["Bo".to_owned()]));
}

#[test]
fn nothing_is_swept_beside_a_database_that_is_not_the_keys_own() {
    let kept_aside = tempfile::tempdir().unwrap();
    erased_but_for_the_key(kept_aside.path());
    std::fs::create_dir_all(kept_aside.path().join("damaged/20261122")).unwrap();
    drop(open(&at(kept_aside.path())));
    assert_eq!(key_count(kept_aside.path()), 2, "the database kept aside may need it");

    let restored = tempfile::tempdir().unwrap();
    erased_but_for_the_key(restored.path());
    let conn = open::writer(&path(restored.path())).unwrap();
    conn.execute("UPDATE custody SET epoch = '0123456789abcdef'", []).unwrap();
    drop(open(&at(restored.path())));
    assert_eq!(key_count(restored.path()), 2, "of another generation");
}

#[test]
fn a_fresh_database_after_damage_keeps_the_keys_of_the_one_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    erased_but_for_the_key(dir.path());
    std::fs::write(open::database_path(dir.path()), vec![7u8; 8192]).unwrap();
    let store = open(&at(dir.path()));
    assert!(store.notes().iter().any(|note| matches!(note, Note::Damaged { .. })));
    assert_eq!(key_count(dir.path()), 2);
    keep(&store, 1, 10, "trait.givenName", "Cy");
    assert_eq!(values(&store, 10), ["Cy"], "numbers begin again, keys do not mix");
    assert_eq!(key_count(dir.path()), 3);
}

#[test]
fn a_destroyed_key_closes_cells_in_backups_too() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(&at(dir.path()));
    keep(&store, 1, 10, "trait.givenName", "Ann");
    keep(&store, 2, 11, "trait.givenName", "Bo");
    let copy = open::database_path(elsewhere.path());
    backup::run(dir.path(), &copy, BackupOptions::default(), &mut |_, _| {}).unwrap();
    assert_eq!(store.pen().call(|tx| destroy(tx, &[10])).unwrap(), 1);
    assert_eq!(fields(&store, 10), [], "the row is there, and opens for nobody");
    store.close().unwrap();
    for file in ["keys.db", "root.key"] {
        std::fs::copy(dir.path().join(file), elsewhere.path().join(file)).unwrap();
    }
    let reading = Reading::open(elsewhere.path(), 5_000).unwrap().with_keys(None);
    let of = |visitor: i64| reading.read(|tx| personal::of_visitor(tx, visitor, Seq(0))).unwrap();
    assert_eq!(of(10), []);
    assert_eq!(of(11)[0].value.as_deref(), Some("Bo"));
}

/// The wrapped bytes of every key, and of what wraps them.
fn wrapped(dir: &Path) -> Vec<Vec<u8>> {
    let conn = open::reader(&path(dir)).unwrap();
    let mut all = conn.prepare("SELECT wrapped FROM data_keys UNION ALL SELECT wrapped FROM wrap_keys").unwrap();
    all.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_rotation_goes_in_steps_survives_a_stop_and_leaves_no_old_key() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&at(dir.path()));
    for visitor in 10..17 {
        keep(&store, visitor, visitor, "trait.givenName", &format!("name-{visitor}"));
    }
    let before = wrapped(dir.path());
    assert_eq!(store.pen().call(|tx| rotate(tx, 3)).unwrap(), Rotation { rewrapped: 3, done: false });
    store.close().unwrap();
    let store = open(&at(dir.path()));
    keep(&store, 20, 20, "trait.givenName", "in between");
    let mut steps = 0;
    while !store.pen().call(|tx| rotate(tx, 3)).unwrap().done {
        steps += 1;
        assert!(steps < 9);
    }
    for old in before {
        assert_eq!(holding(dir.path(), &old), Vec::<String>::new(), "an old wrapping is still in a file");
    }
    store.close().unwrap();
    let store = open(&at(dir.path()));
    for visitor in 10..17 {
        assert_eq!(values(&store, visitor), [format!("name-{visitor}")]);
    }
    assert_eq!(values(&store, 20), ["in between"]);
    assert_eq!(store.pen().call(|tx| rotate(tx, 100)).unwrap(), Rotation { rewrapped: 8, done: true });
    assert_eq!(values(&store, 12), ["name-12"]);
}

#[test]
fn after_the_disk_died_backup_copy_and_root_key_open_the_cells() {
    let (dir, safe) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (db, copy, root) = (safe.path().join("b.db"), safe.path().join("keys"), safe.path().join("the-root"));
    let mut options = at(dir.path());
    options.keys.root_key_file = Some(root.clone());
    options.keys.copy = Some(copy.clone());
    let store = open(&options);
    keep(&store, 1, 10, "trait.givenName", "Ann");
    backup::run(dir.path(), &db, BackupOptions::default(), &mut |_, _| {}).unwrap();
    assert_eq!(copy_to(dir.path(), &copy).unwrap(), Some(Copied { written: true, keys: 1 }));
    drop(store);
    drop(dir); // the disk dies

    let fresh = tempfile::tempdir().unwrap();
    std::fs::copy(&db, open::database_path(fresh.path())).unwrap();
    options.data_dir = fresh.path().to_owned();
    let store = open(&options);
    assert!(store.notes().contains(&Note::KeysFromCopy { copy }), "{:?}", store.notes());
    assert_eq!(values(&store, 10), ["Ann"]);
    keep(&store, 100, 10, "trait.familyName", "Lee");
    assert_eq!(values(&store, 10), ["Lee", "Ann"]);
}

#[test]
fn the_copy_is_one_file_written_in_place_and_only_when_something_changed() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let copy = other.path().join("sub/keys.copy");
    let store = open(&at(dir.path()));
    keep(&store, 1, 10, "trait.givenName", "Ann");
    let first = copy_to(dir.path(), &copy).unwrap().unwrap();
    let again = copy_to(dir.path(), &copy).unwrap().unwrap();
    assert_eq!((first.written, again.written, again.keys), (true, false, 1));
    let gone = wrapped(dir.path()).remove(0);
    assert_eq!(holding(other.path(), &gone).len(), 1);
    store.pen().call(|tx| personal::delete_upto(tx, 10, Seq(9), 10)).unwrap();
    keep(&store, 2, 11, "trait.givenName", "Bo");
    assert_eq!(copy_to(dir.path(), &copy).unwrap(), Some(Copied { written: true, keys: 1 }));
    assert_eq!(holding(other.path(), &gone), Vec::<String>::new(), "a destroyed key is destroyed in the copy too");
    let names: Vec<_> = std::fs::read_dir(copy.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["keys.copy"], "no second version");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn damaged_keys_are_kept_aside_and_the_collector_serves() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&at(dir.path()));
    keep(&store, 1, 10, "trait.givenName", "Ann");
    store.close().unwrap();
    std::fs::write(path(dir.path()), vec![9u8; 20_000]).unwrap();
    let store = open(&at(dir.path()));
    assert!(matches!(store.notes(), [Note::KeysLost { cells: 1, aside: Some(_) }]), "{:?}", store.notes());
    assert_eq!(fields(&store, 10), []);
    keep(&store, 2, 10, "trait.givenName", "Ann");
    assert_eq!(values(&store, 10), ["Ann"]);
    let identity = store.pen().call(|tx| {
        let site = sites::intern(tx, "shop")?;
        identities::seen(tx, site, "u1", Association::Recognized, NOW, Rights::default())
    });
    assert!(identity.is_ok());
}

#[test]
fn without_its_root_key_nothing_starts_and_no_second_one_is_minted() {
    let dir = tempfile::tempdir().unwrap();
    open(&at(dir.path())).close().unwrap();
    let file = root::path(dir.path(), None);
    let key = std::fs::read(&file).unwrap();
    let refusal = || Store::open(&at(dir.path()), Arc::new(ManualClock::at(NOW))).err().unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(refusal().code, "root_key");
    assert!(!file.exists());
    std::fs::write(&file, "ab".repeat(32)).unwrap();
    let wrong = refusal();
    assert!(wrong.code == "root_key" && wrong.remedy.contains("bring back"), "{wrong}");
    std::fs::write(&file, key).unwrap();
    drop(open(&at(dir.path())));
}

#[test]
fn where_nothing_is_sealed_there_are_no_keys() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = at(dir.path());
    options.keys.seal = false;
    let store = open(&options);
    assert!(!path(dir.path()).exists() && !root::path(dir.path(), None).exists());
    let refused = store.pen().call(|tx| personal::insert(tx, of(1, 1), &[field("a", "b")]));
    assert_eq!(refused.unwrap_err().code, "no_keys");
    assert_eq!(store.pen().call(|tx| rotate(tx, 1)).unwrap(), Rotation { rewrapped: 0, done: true });
}

#[test]
fn values_are_found_by_a_keyed_hash_of_one_spelling() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&at(dir.path()));
    keep(&store, 1, 10, "trait.email", "Ann@Example.org");
    keep(&store, 2, 11, "external_id.crm", "42");
    keep(&store, 3, 11, "external_id.crm", "43");
    let found = |site: i64, field: &'static str, value: &'static str| {
        store.read(move |tx| personal::visitors_with(tx, site, field, value)).unwrap()
    };
    assert_eq!(found(1, "trait.workEmail", "ann@example.ORG"), [10]);
    assert_eq!(found(2, "trait.email", "ann@example.org"), Vec::<i64>::new(), "bound to the site");
    assert_eq!(found(1, "external_id.crm", "42"), [11]);
    assert_eq!(found(1, "external_id.erp", "42"), Vec::<i64>::new());
    assert_eq!(values(&store, 11), ["43", "42"], "third parties' ids stand beside each other");
    let changed = store.pen().call(|tx| personal::overwrite(tx, of(1, 10), "trait.email", "ann@new.example")).unwrap();
    assert!(changed);
    assert_eq!(values(&store, 10), ["ann@new.example"]);
    assert_eq!(found(1, "trait.email", "ann@example.org"), Vec::<i64>::new());
    assert_eq!(found(1, "trait.email", "ann@new.example"), [10]);
}

#[test]
fn an_identity_lies_sealed_is_found_again_and_takes_its_key_along() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&at(dir.path()));
    let seen = |store: &Store| {
        store
            .pen()
            .call(|tx| {
                let site = sites::intern(tx, "shop")?;
                identities::seen(tx, site, MARKER, Association::Authenticated, NOW, Rights::default())
            })
            .unwrap()
    };
    let id = seen(&store);
    assert_eq!(seen(&store), id);
    assert_eq!(store.read(|tx| identities::name(tx, id)).unwrap().as_deref(), Some(MARKER));
    assert_eq!(store.read(|tx| identities::state(tx, 1, MARKER)).unwrap().as_deref(), Some("authenticated"));
    assert_eq!(holding(dir.path(), MARKER.as_bytes()), Vec::<String>::new());
    assert_eq!(key_count(dir.path()), 1);
    store.pen().call(move |tx| identities::delete_untied(tx, id)).unwrap();
    assert_eq!(key_count(dir.path()), 0);
}

#[test]
fn a_recipient_recovers_the_keys_and_nobody_else() {
    let (dir, safe, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (db, sealed) = (open::database_path(fresh.path()), safe.path().join("keys.sealed"));
    let store = open(&at(dir.path()));
    keep(&store, 1, 10, "trait.givenName", "Ann");
    backup::run(dir.path(), &db, BackupOptions::default(), &mut |_, _| {}).unwrap();
    let secret = RecipientKey::mint();
    assert_eq!(export_to(dir.path(), None, &sealed, &secret.recipient()).unwrap(), Some(1));
    assert_eq!(export_to(dir.path(), None, &sealed, &secret.recipient()).unwrap_err().code, "exists");
    let root = std::fs::read(root::path(dir.path(), None)).unwrap();
    assert_eq!(holding(safe.path(), root.trim_ascii()), Vec::<String>::new());
    drop(store);
    drop(dir);
    assert_eq!(recover(&sealed, &RecipientKey::mint(), fresh.path()).unwrap_err().code, "sealed");
    recover(&sealed, &secret, fresh.path()).unwrap();
    assert_eq!(recover(&sealed, &secret, fresh.path()).unwrap_err().code, "exists");
    let store = open(&at(fresh.path()));
    assert_eq!(values(&store, 10), ["Ann"]);
}

#[test]
fn the_file_of_keys_has_the_recipe_of_every_connection() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&at(dir.path())));
    let conn = Connection::open(path(dir.path())).unwrap();
    let mode: String = conn.pragma_query_value(None, "journal_mode", |r| r.get(0)).unwrap();
    let version: i64 = conn.pragma_query_value(None, "user_version", |r| r.get(0)).unwrap();
    assert_eq!((mode.as_str(), version), ("wal", VERSION));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(path(dir.path())).unwrap().permissions().mode() & 0o777, 0o600);
}
