//! The database file as anyone may read it: what is stored, and that it is whole.
//! Must never write into it. Invariant: every look is one connection of its own, read only.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use crate::book::{Book, Entries};

/// One reader.
pub struct Database(Connection);

/// What a check of one moment found, for the next one.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The counter.
    pub last: i64,
    /// Every event: its id and its number.
    pub events: HashMap<String, i64>,
}

/// Rows that disagree with the rows they sum up, each as a query of their number.
const DISAGREEMENTS: &[(&str, &str)] = &[
    (
        "visits whose pages are miscounted",
        "SELECT count(*) FROM visits v WHERE v.page_count + v.screen_count <>
           (SELECT count(*) FROM pages p WHERE p.visit_id = v.visit_id)",
    ),
    (
        "visits whose events are miscounted",
        "SELECT count(*) FROM visits v WHERE v.event_count <> (SELECT count(*) FROM events e WHERE e.visit_id = v.visit_id)",
    ),
    (
        "visitors whose visits are miscounted",
        "SELECT count(*) FROM visitors w WHERE w.visit_count <>
           (SELECT count(*) FROM visits v WHERE v.visitor_id = w.visitor_id)",
    ),
    (
        "visitors whose events are miscounted",
        "SELECT count(*) FROM visitors w WHERE w.event_count <> coalesce(
           (SELECT sum(v.event_count) FROM visits v WHERE v.visitor_id = w.visitor_id), 0)",
    ),
    (
        "visitors whose pages are miscounted",
        "SELECT count(*) FROM visitors w WHERE w.page_count <> coalesce(
           (SELECT sum(v.page_count + v.screen_count) FROM visits v WHERE v.visitor_id = w.visitor_id), 0)",
    ),
    (
        "pages without the event that entered them",
        "SELECT count(*) FROM pages p WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.seq = p.page_id)",
    ),
    (
        "visits with times in the wrong order",
        "SELECT count(*) FROM visits WHERE started_at > last_active_at OR ended_at < started_at",
    ),
    (
        "visits whose newest row is not their last_seq",
        "SELECT count(*) FROM visits v WHERE v.last_seq < (SELECT max(seq) FROM events e WHERE e.visit_id = v.visit_id)",
    ),
    (
        "numbers above the counter",
        "SELECT count(*) FROM (SELECT seq AS n FROM events UNION ALL SELECT seq FROM decisions
           UNION ALL SELECT seq FROM frozen UNION ALL SELECT visit_id FROM visits UNION ALL SELECT visitor_id FROM visitors
           UNION ALL SELECT page_id FROM pages) WHERE n > (SELECT last FROM seq)",
    ),
    (
        "numbers given twice",
        "SELECT count(*) - count(DISTINCT seq) FROM
           (SELECT seq FROM events UNION ALL SELECT seq FROM decisions UNION ALL SELECT seq FROM frozen)",
    ),
];

impl Database {
    pub fn open(data: &Path) -> Database {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(data.join("wayside.db"), flags).unwrap();
        conn.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        conn.pragma_update(None, "query_only", true).unwrap();
        Database(conn)
    }

    /// One number.
    #[track_caller]
    pub fn number(&self, query: &str) -> i64 {
        self.0.query_row(query, [], |r| r.get(0)).unwrap_or_else(|e| panic!("{query}: {e}"))
    }

    /// Id and number of every row: `query` selects the two.
    #[track_caller]
    pub fn ids(&self, query: &str) -> HashMap<String, i64> {
        let mut found = HashMap::new();
        let mut statement = self.0.prepare(query).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let id = match row.get_ref(0).unwrap() {
                ValueRef::Blob(bytes) => wayside::base::id::uuid_text(bytes.try_into().unwrap()),
                other => other.as_str().unwrap().to_owned(),
            };
            let twice = found.insert(id, row.get(1).unwrap());
            assert!(twice.is_none(), "an id twice: {query}");
        }
        found
    }

    /// The file is whole: every page, every index.
    #[track_caller]
    pub fn is_sound(&self) {
        let word: String = self.0.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
        assert_eq!(word, "ok");
    }

    /// Rows agree with each other.
    #[track_caller]
    pub fn agrees(&self) {
        let orphans = self.0.prepare("PRAGMA foreign_key_check").unwrap().exists([]).unwrap();
        assert!(!orphans, "rows refer to rows that are not there");
        for (what, query) in DISAGREEMENTS {
            assert_eq!(self.number(query), 0, "{what}");
        }
    }

    /// Everything acknowledged is there once, nothing is there that was not sent, and numbers only grow.
    #[track_caller]
    pub fn keeps(&self, book: &Book, before: &Seen) -> Seen {
        // one snapshot for all of it: the daemon may be writing
        self.0.execute_batch("BEGIN").unwrap();
        let events = self.ids("SELECT event_id, seq FROM events");
        let decisions = self.ids("SELECT decision_id, seq FROM decisions");
        let last = self.number("SELECT last FROM seq");
        self.agrees();
        self.0.execute_batch("COMMIT").unwrap();
        let entries = book.open();
        compare_events(&entries, &events);
        for (id, decided) in entries.decisions.iter().filter(|(_, d)| d.acked) {
            assert!(decisions.contains_key(id), "the acknowledged decision {id} is gone: {}", decided.body);
        }
        for id in decisions.keys() {
            assert!(entries.decisions.contains_key(id), "the decision {id} was never sent");
        }
        for (id, seq) in &events {
            match before.events.get(id) {
                Some(was) => assert_eq!(seq, was, "the number of {id} changed"),
                None => assert!(*seq > before.last, "{id} got {seq}, but {} had been given out", before.last),
            }
        }
        assert!(last >= before.last, "the counter went back from {} to {last}", before.last);
        Seen { last, events }
    }
}

fn compare_events(entries: &Entries, events: &HashMap<String, i64>) {
    for (id, sent) in entries.events.iter().filter(|(_, sent)| sent.acked) {
        let seq = events.get(id).unwrap_or_else(|| panic!("the acknowledged event {id} is gone: {}", sent.body));
        if let Some(acked) = sent.seq {
            assert_eq!(*seq, acked, "{id} was acknowledged under another number");
        }
    }
    for id in events.keys() {
        let sent = entries.events.get(id).unwrap_or_else(|| panic!("the event {id} was never sent"));
        assert!(!sent.refused, "{id} is stored although its visitor had refused: {}", sent.body);
    }
}
