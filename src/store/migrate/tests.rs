//! The engine of schema versions, with steps and schemas of its own; and schema.sql itself.
//! Invariant of these tests: a file lies on disk and is opened by the one recipe.

use std::os::unix::fs::PermissionsExt;

use super::*;

const OLD: &str = "CREATE TABLE a (x INTEGER NOT NULL) STRICT;";
const NEW: &str = "-- owner: nobody\nCREATE TABLE a (\n  x INTEGER NOT NULL, -- the number\n  y TEXT\n) STRICT;\n\
                   CREATE TABLE b (z INTEGER PRIMARY KEY) STRICT;";
const GOOD: &[(i64, &str)] =
    &[(2, "ALTER TABLE a ADD COLUMN y TEXT"), (3, "CREATE TABLE b (z INTEGER PRIMARY KEY) STRICT")];
const NOW: Millis = Millis(1_431_857_103_250);

fn plan<'a>(steps: &'a [(i64, &'a str)]) -> Plan<'a> {
    Plan { schema: NEW, version: 3, steps, after: &[] }
}

fn none(_: &Connection) -> Result<()> {
    Ok(())
}

fn old_file(dir: &Path) -> Connection {
    let conn = open::writer(&open::database_path(dir)).unwrap();
    conn.execute_batch(OLD).unwrap();
    conn.execute_batch("PRAGMA user_version = 1; INSERT INTO a (x) VALUES (7)").unwrap();
    conn
}

/// The schema without comments, white space and quotes, in the order of names.
fn bare(conn: &Connection) -> Vec<String> {
    let texts: Vec<String> = conn
        .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name")
        .unwrap()
        .query_map([], |r| r.get(0))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    let strip = |text: &String| {
        let lines = text.lines().map(|line| line.split("--").next().unwrap_or(""));
        lines.flat_map(str::chars).filter(|c| !c.is_whitespace()).collect()
    };
    texts.iter().map(strip).collect()
}

#[test]
fn an_older_file_is_migrated_after_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let conn = old_file(dir.path());
    let Raised::Migrated(done) = plan(GOOD).bring_up(&conn, dir.path(), NOW, none).unwrap() else { panic!() };
    assert_eq!(done.from, 1);
    assert!(done.snapshot.ends_with("snapshots/before-schema-1-20150517T100503.250Z.db"));
    assert_eq!(std::fs::metadata(&done.snapshot).unwrap().permissions().mode() & 0o777, 0o600);
    let before = Connection::open(&done.snapshot).unwrap();
    assert_eq!((version_of(&before).unwrap(), version_of(&conn).unwrap()), (1, 3));
    for db in [&before, &conn] {
        assert_eq!(db.query_row("SELECT x FROM a", [], |r| r.get::<_, i64>(0)).unwrap(), 7, "rows are kept");
    }
    let fresh_dir = tempfile::tempdir().unwrap();
    let fresh = open::writer(&open::database_path(fresh_dir.path())).unwrap();
    assert_eq!(plan(GOOD).bring_up(&fresh, fresh_dir.path(), NOW, none).unwrap(), Raised::Fresh);
    assert_eq!(bare(&conn), bare(&fresh));
    assert_eq!(plan(GOOD).bring_up(&conn, dir.path(), NOW, none).unwrap(), Raised::Current);
    assert!(!fresh_dir.path().join("snapshots").exists(), "a fresh file needs no snapshot");
}

#[test]
fn a_step_that_fails_leaves_the_file_as_it_was() {
    for bad in [
        "ALTER TABLE a ADD COLUMN y TEXT; CREATE TABLE a (x)",
        "CREATE TABLE c (a INTEGER REFERENCES b (z)); CREATE TABLE b (z INTEGER PRIMARY KEY); INSERT INTO c VALUES (5)",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let conn = old_file(dir.path());
        let before = bare(&conn);
        let error = plan(&[(2, bad), (3, "SELECT 1")]).bring_up(&conn, dir.path(), NOW, none).unwrap_err();
        assert!(error.what.contains("version 2") && error.remedy.contains("before-schema-1-"), "{error}");
        assert_eq!((version_of(&conn).unwrap(), bare(&conn)), (1, before));
        let keys: i64 = conn.pragma_query_value(None, "foreign_keys", |r| r.get(0)).unwrap();
        assert_eq!(keys, 1, "foreign keys hold again");
    }
}

/// The databases of earlier versions, as the programs of their time wrote them, unpacked.
fn corpus() -> Vec<(String, tempfile::TempDir)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/databases");
    let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    let unpack = |name: &std::ffi::OsString| {
        let dir = tempfile::tempdir().unwrap();
        let packed = std::fs::read(folder.join(name).join("wayside.db.gz")).unwrap();
        let bytes = crate::base::gzip::decompress(&packed, 64 << 20).unwrap();
        std::fs::write(open::database_path(dir.path()), bytes).unwrap();
        (name.to_str().unwrap().to_owned(), dir)
    };
    names.iter().map(unpack).collect()
}

#[test]
fn every_database_of_an_earlier_version_comes_to_equal_schema_sql() {
    let fresh_dir = tempfile::tempdir().unwrap();
    let fresh = open::writer(&open::database_path(fresh_dir.path())).unwrap();
    bring_up(&fresh, fresh_dir.path(), NOW, none).unwrap();
    let all = corpus();
    assert_eq!(all.len() as i64, VERSION - 1, "one for each version before this");
    for (name, dir) in all {
        let conn = open::writer(&open::database_path(dir.path())).unwrap();
        let count = |table: &str| -> i64 {
            conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0)).unwrap()
        };
        let before = [count("decisions"), count("events"), count("visits"), count("batches")];
        assert!(before.iter().all(|n| *n > 0), "{name}: {before:?}");
        assert!(matches!(bring_up(&conn, dir.path(), NOW, none).unwrap(), Raised::Migrated(_)), "{name}");
        assert_eq!(bare(&conn), bare(&fresh), "{name}");
        assert_eq!([count("decisions"), count("events"), count("visits"), count("batches")], before, "{name}");
        assert_eq!(count("ledger"), before[0] + 1, "{name}: every decision, and the entry that says so");
        let head = ledger::head_of(&conn).unwrap();
        assert_eq!((head.no, head.at), (before[0] + 1, crate::domain::ledger::minute(NOW)), "{name}");
    }
}

#[test]
fn a_fresh_file_is_made_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let conn = open::writer(&open::database_path(dir.path())).unwrap();
    let failed = bring_up(&conn, dir.path(), NOW, |_| Err(Error::storage("no first rows")));
    assert!(failed.is_err() && is_empty(&conn).unwrap());
    assert_eq!(version_of(&conn).unwrap(), 0);
    assert_eq!(bring_up(&conn, dir.path(), NOW, none).unwrap(), Raised::Fresh);
    assert_eq!(meta::last_seq(&conn).unwrap(), 0);
}

#[test]
fn a_newer_file_is_refused_with_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let conn = old_file(dir.path());
    conn.pragma_update(None, "user_version", 9).unwrap();
    let before = std::fs::read(open::database_path(dir.path())).unwrap();
    for error in [bring_up(&conn, dir.path(), NOW, none).unwrap_err(), expect_current(&conn).unwrap_err()] {
        assert_eq!((error.kind, error.code), (Kind::Config, "newer_schema"));
        assert!(error.what.contains("version 9") && error.what.contains(&format!("up to {VERSION}")), "{error}");
        assert!(!error.remedy.is_empty());
    }
    assert_eq!(std::fs::read(open::database_path(dir.path())).unwrap(), before);
}

#[test]
fn a_file_without_a_way_up_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let conn = old_file(dir.path());
    for (version, steps) in [(0, GOOD), (1, &GOOD[1..]), (1, &GOOD[..1])] {
        conn.pragma_update(None, "user_version", version).unwrap();
        let error = plan(steps).bring_up(&conn, dir.path(), NOW, none).unwrap_err();
        assert_eq!(error.code, "damaged");
    }
    assert!(!dir.path().join("snapshots").exists());
}

#[test]
fn a_reader_says_what_an_older_file_needs() {
    let conn = Connection::open_in_memory().unwrap();
    conn.pragma_update(None, "user_version", VERSION - 1).unwrap();
    assert_eq!(expect_current(&conn).unwrap_err().code, "older_schema");
    conn.pragma_update(None, "user_version", VERSION).unwrap();
    assert!(expect_current(&conn).is_ok());
}

#[test]
fn the_steps_lead_to_the_version() {
    let numbers: Vec<i64> = STEPS.iter().map(|(to, _)| *to).collect();
    let wanted: Vec<i64> = (1..VERSION).map(|from| from + 1).collect();
    assert_eq!(numbers, wanted);
}

#[test]
fn every_table_of_the_schema_is_strict() {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(SCHEMA).unwrap();
    let count = |sql: &str| conn.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap();
    let tables =
        "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%'";
    assert!(count(tables) > 20);
    assert_eq!(count(&format!("{tables} AND strict = 0")), 0);
    assert!(missing_tables(&conn).unwrap().is_empty());
    conn.execute_batch("DROP TABLE attempts").unwrap();
    assert_eq!(missing_tables(&conn).unwrap(), ["attempts"]);
}
