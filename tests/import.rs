//! The importer joined to the real store: totals equal an independent count.
//! Uses the real log where it is there, and says loudly where it is not.
#![allow(clippy::unwrap_used)] // a failed step is a failed test

use std::path::Path;

use wayside::config::Config;
use wayside::daemon::desk::Here;
use wayside::daemon::import::{DeskSink, page_view};
use wayside::domain::accesslog::LogLine;
use wayside::domain::consent::{LawfulBasis, Purposes};
use wayside::domain::site::{Site, SiteOptions};
use wayside::ingest::import::{Import, ImportOptions, Source, Stop, Tally};
use wayside::ingest::shape::Deriver;

fn run(data: &Path, log: &Path) -> Tally {
    run_with(data, log, Some(LawfulBasis::LegitimateInterest))
}

fn run_with(data: &Path, log: &Path, basis: Option<LawfulBasis>) -> Tally {
    let config = Config { data_dir: data.to_owned(), ..Config::default() };
    let here = Here::open(&config).unwrap();
    let options =
        ImportOptions { site: "default".to_owned(), basis, purposes: Purposes::MEASURE, follow: false, poll_ms: 500 };
    let (deriver, site, stop) = (Deriver::default(), Site::compile(SiteOptions::builtin()).unwrap(), Stop::never());
    let mut send = |method: &str, target: &str, body: Vec<u8>| here.serve(method, target, &[], body);
    let mut sink = DeskSink { options: &options, send: &mut send, stop: &stop };
    let shape = |line: &LogLine<'_>, visitor| page_view(&deriver, &site, line, visitor);
    let import = Import { options: &options, sink: &mut sink, shape: &shape, stop: &stop, progress: &mut |_, _| {} };
    let tally = import.run(&[Source::parse(log.to_str().unwrap())]).unwrap();
    here.close().unwrap();
    tally
}

/// The totals counted by a program that shares nothing with the importer (`tests/corpus/count-log.py`).
fn counted_apart(log: &Path) -> serde_json::Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/count-log.py");
    let out = std::process::Command::new("python3").arg(script).arg(log).output();
    match out {
        Ok(out) if out.status.success() => serde_json::from_slice(&out.stdout).unwrap(),
        other if std::env::var_os("CI").is_some() => panic!("python3 is needed to count apart: {other:?}"),
        _ => {
            eprintln!("SKIPPED: no python3 here to count {} apart", log.display());
            serde_json::Value::Null
        }
    }
}

/// Every total but `robots`, which depends on the list of robots.
fn assert_same(tally: &Tally, apart: &serde_json::Value) {
    let ours = serde_json::to_value(tally).unwrap();
    assert_eq!(ours.as_object().unwrap().len(), 10);
    for (key, value) in ours.as_object().unwrap() {
        if !apart.is_null() && !apart[key].is_null() {
            assert_eq!(value, &apart[key], "{key}");
        }
    }
}

/// The rows are what was counted.
fn assert_rows(data: &Path, tally: &Tally) {
    let conn = rusqlite::Connection::open(data.join("wayside.db")).unwrap();
    let count = |sql: &str| u64::try_from(conn.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap()).unwrap();
    assert_eq!(count("SELECT count(*) FROM events"), tally.page_views);
    assert_eq!(count("SELECT count(*) FROM visitors"), tally.visitors);
    assert_eq!(count("SELECT count(*) FROM visits"), tally.visits);
    assert_eq!(count("SELECT sum(page_count) FROM visits"), tally.page_views);
    let uneven = "SELECT count(*) FROM visits v WHERE event_count <> (SELECT count(*) FROM events e WHERE e.visit_id = v.visit_id)";
    assert_eq!(count(uneven), 0, "counts of visits equal their rows");
    let robots = "SELECT count(*) FROM events e JOIN visits v USING (visit_id) JOIN agents a USING (agent_id) WHERE a.robot IS NOT NULL";
    assert_eq!(count(robots), tally.robots, "robots are kept and flagged");
}

fn import_twice(log: &Path) -> Tally {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let first = run(&data, log);
    assert_rows(&data, &first);
    let again = run(&data, log);
    assert_eq!(
        again,
        Tally { lines: first.lines, duplicates: first.lines, ..Tally::default() },
        "the same file again is all duplicates"
    );
    assert_rows(&data, &first);
    first
}

#[test]
fn the_real_log_has_the_totals_of_an_independent_count() {
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/access-log-10k.log.gz");
    if !log.exists() {
        eprintln!("SKIPPED: the real access log is not on this machine; the corpus log carries the same claims");
        return;
    }
    let tally = import_twice(&log);
    assert_eq!(tally.lines, 10_000);
    assert_same(&tally, &counted_apart(&log));
}

#[test]
fn the_corpus_log_has_the_totals_it_was_made_with() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let log = corpus.join("access.log");
    let tally = import_twice(&log);
    let made: serde_json::Value =
        serde_json::from_slice(&std::fs::read(corpus.join("access-log.expected.json")).unwrap()).unwrap();
    assert_same(&tally, &made);
    assert_same(&tally, &counted_apart(&log));
}

#[test]
fn without_a_basis_only_counters_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/access.log");
    let tally = run_with(dir.path(), &log, None);
    assert_eq!((tally.visitors, tally.visits), (0, 0));
    let conn = rusqlite::Connection::open(dir.path().join("wayside.db")).unwrap();
    let count = |sql: &str| conn.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM events") + count("SELECT count(*) FROM visitors"), 0);
    assert_eq!(count("SELECT sum(n) FROM counts"), i64::try_from(tally.page_views).unwrap());
}
