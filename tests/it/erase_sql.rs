//! Statements for targets that cannot speak, run where the lines were loaded: in DuckDB by its Python package, and the ones for
//! PostgreSQL in SQLite, which reads them alike (but for VACUUM FULL). Those for ClickHouse are only read.
//! Must never test how lines get there. Invariant: what is left is everybody else's, and nothing of whom was erased.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::daemon::files;
use crate::support::*;

/// A daemon whose outbox was loaded elsewhere before somebody was erased; the lines, and who it was.
fn loaded() -> (Daemon, Vec<Value>, String) {
    let daemon = Daemon::with("[[site]]\nid = \"shop\"\n");
    for visitor in ["visitor-gone", "visitor-stays"] {
        daemon.give(visitor, &["measure"]);
        for _ in 0..3 {
            assert_eq!(daemon.events(&page_view(visitor)).outcomes(200), ["accepted"]);
        }
    }
    let forwarded = daemon.control().send(&post("/v1/forward").json(&json!({"force": true})));
    assert_eq!(forwarded.status, 200, "{forwarded:?}");
    let mut lines = Vec::new();
    for (path, bytes) in files(&daemon.home.data().join("outbox")) {
        if path.extension().is_some_and(|ending| ending == "gz") {
            let text = wayside::base::gzip::decompress(&bytes, 1 << 26).unwrap();
            lines.extend(text.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok()));
        }
    }
    let visitor_ref = daemon.value("SELECT visitor_ref FROM visitors WHERE key = 'visitor-gone'");
    let done = daemon.control().send(&post("/v1/erasures").json(&json!({"visitor": "visitor-gone"}))).json();
    assert_eq!(done["done"], 1, "{done}");
    (daemon, lines, visitor_ref.as_str().unwrap().to_owned())
}

fn statements(daemon: &Daemon, dialect: &str) -> Vec<String> {
    let answer = daemon.control().send(&get(&format!("/v1/erasures?open=1&sql={dialect}&table=lines"))).json();
    let list = answer["statements"].as_array().unwrap_or_else(|| panic!("{answer}"));
    list.iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

#[test]
fn duckdb_runs_them_and_nothing_of_the_person_is_left() {
    let (daemon, lines, gone) = loaded();
    let python = std::env::var("WAYSIDE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if !Command::new(&python).args(["-c", "import duckdb"]).output().is_ok_and(|out| out.status.success()) {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "duckdb is not installed: run tests/run.sh");
        skipped("the statements were not run in DuckDB: its Python package is missing (tests/run.sh installs it)");
        return;
    }
    let folder = daemon.home.data().parent().unwrap().to_owned();
    fs::write(folder.join("lines.ndjson"), lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let list = statements(&daemon, "duckdb");
    fs::write(folder.join("run.json"), json!({"statements": list, "gone": gone}).to_string()).unwrap();
    let program = "import json, duckdb\n\
        job = json.load(open('run.json'))\n\
        db = duckdb.connect('lake.duckdb')\n\
        db.execute(\"CREATE TABLE lines AS SELECT * FROM read_json_auto('lines.ndjson', format='newline_delimited')\")\n\
        count = lambda: db.execute('SELECT count(*), count(*) FILTER (visitor_ref = ?) FROM lines', [job['gone']]).fetchone()\n\
        before = count()\n\
        run = lambda one: db.execute(one).fetchall() if one.startswith('SELECT') else db.execute(one)\n\
        left = [run(one) for one in job['statements'] if not one.startswith('--')]\n\
        db.close()\n\
        db = duckdb.connect('lake.duckdb')\n\
        print(json.dumps({'before': before, 'after': count(), 'file': job['gone'].encode() in open('lake.duckdb','rb').read()}))\n";
    let out = Command::new(&python).args(["-c", program]).current_dir(&folder).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let told: Value = serde_json::from_slice(&out.stdout).unwrap();
    let (before, after) = (&told["before"], &told["after"]);
    let named = before[1].as_i64().unwrap();
    assert!(named >= 4, "a decision and three events: {told}");
    assert_eq!(
        (after[0].as_i64().unwrap(), after[1].as_i64()),
        (before[0].as_i64().unwrap() - named, Some(0)),
        "{told}"
    );
}

#[test]
fn the_statements_for_postgres_touch_that_persons_rows_alone() {
    let (daemon, lines, gone) = loaded();
    let db = rusqlite::Connection::open_in_memory().unwrap();
    db.execute_batch("CREATE TABLE lines (kind TEXT, visitor_ref TEXT, edge TEXT, epoch TEXT, seq INTEGER)").unwrap();
    for line in &lines {
        let text = |key: &str| line[key].as_str();
        let row = (text("kind"), text("visitor_ref"), text("edge"), text("epoch"), line["seq"].as_i64());
        db.execute("INSERT INTO lines VALUES (?1, ?2, ?3, ?4, ?5)", row).unwrap();
    }
    let count = |which: &str| db.query_row(&format!("SELECT count(*) FROM lines {which}"), [], |r| r.get::<_, i64>(0));
    let whose = format!("WHERE visitor_ref = '{gone}'");
    let (all, named) = (count("").unwrap(), count(&whose).unwrap());
    assert!(named >= 4);
    let list = statements(&daemon, "postgres");
    assert!(list.last().unwrap().starts_with("VACUUM FULL lines"), "{list:?}");
    for one in list.iter().filter(|one| !one.starts_with("VACUUM") && !one.starts_with("SELECT")) {
        db.execute_batch(one).unwrap_or_else(|e| panic!("{one}: {e}"));
    }
    for one in list.iter().filter(|one| one.starts_with("SELECT")) {
        assert_eq!(db.query_row(one, [], |r| r.get::<_, i64>(0)).unwrap(), 0, "{one}");
    }
    assert_eq!((count("").unwrap(), count(&whose).unwrap()), (all - named, 0));
}

#[test]
fn no_name_of_a_table_carries_another_statement() {
    let daemon = Daemon::plain();
    for table in ["lines;DROP", "a.b.c", "", "1x", "x'"] {
        let encoded: String = table.bytes().map(|b| format!("%{b:02x}")).collect();
        let answer = daemon.control().send(&get(&format!("/v1/erasures?sql=duckdb&table={encoded}")));
        assert_error(&answer, 400, "table");
    }
    assert_error(&daemon.control().send(&get("/v1/erasures?sql=oracle")), 400, "dialect");
}
