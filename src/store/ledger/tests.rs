//! The guards of the ledger: every attack of the design's list is tried through connections of ours, and refused.
//! Invariant of these tests: the database lies on disk and has the recipe's pragmas.

use std::sync::Arc;

use super::*;
use crate::base::time::{Clock, DAY_MS, HOUR_MS, ManualClock};
use crate::domain::consent::{Action, Decision, Method, Purposes, Signals, Standing};
use crate::store::decisions::{Actor, Circumstances, DecisionRow};
use crate::store::{Store, StoreOptions, checkpoints, departed, sites};

const START: Millis = Millis(1_795_256_400_000);

struct World {
    dir: tempfile::TempDir,
    clock: ManualClock,
    store: Store,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(START);
        let store = Store::open(&StoreOptions::at(dir.path()), Arc::new(clock.clone())).unwrap();
        World { dir, clock, store }
    }

    fn write<T: Send + 'static>(&self, work: impl FnMut(&WriteTx<'_>) -> Result<T> + Send + 'static) -> T {
        self.store.pen().call(work).unwrap()
    }

    /// A refusal of somebody never seen.
    fn refuse(&self) -> DecisionRow {
        self.write(refuse)
    }

    /// Two decisions, a third whose content is gone, and a checkpoint over all.
    fn some(&self) {
        self.refuse();
        self.refuse();
        let gone = self.refuse();
        self.write(move |tx| decisions::clear(tx, EntryKind::Prune, &[(gone.seq.0, gone.ledger_no)]).map(|_| ()));
        self.write(|tx| checkpoints::take(tx, true).map(|_| ()));
    }

    fn page(&self) -> Vec<Found> {
        self.store.read(|tx| page(tx, 0, 1_000)).unwrap()
    }

    fn close(self) -> tempfile::TempDir {
        self.store.close().unwrap();
        self.dir
    }
}

fn refuse(tx: &WriteTx<'_>) -> Result<DecisionRow> {
    let decision = Decision {
        id: None,
        action: Action::Refuse,
        purposes: Purposes::MEASURE,
        method: Method::BannerRefuse,
        notice: "none".to_owned(),
        notice_digest: None,
        evidence: Default::default(),
        language: Some("en".to_owned()),
        signal_shown: false,
        client_at: None,
        sent_at: None,
    };
    let bases = crate::domain::consent::BasisTable::default();
    let change = crate::domain::consent::decide(&decision, tx.now(), &Standing::default(), &[], &bases)?;
    let circumstances = Circumstances {
        site_id: sites::intern(tx, "shop")?,
        site: "shop".to_owned(),
        id_hash: [u8::try_from(tx.last_seq().0 % 251).unwrap_or(0); 32],
        at: tx.now(),
        received: tx.now(),
        actor: Actor::Subject,
        signals: Signals::default(),
        basis_id: 0,
        notice_digest: None,
        expires: None,
        evidence: None,
    };
    decisions::append(tx, &decision, &change, None, &circumstances)
}

/// Follows the chain as a stranger would.
fn holds(entries: &[Found]) {
    let (mut no, mut prev) = (0, GENESIS);
    for found in entries {
        assert_eq!((found.entry.no, found.entry.prev), (no + 1, prev));
        assert_eq!(found.entry.hash(), found.hash);
        if let Content::Has(leaf) = found.content {
            assert_eq!(leaf, found.entry.leaf);
        }
        (no, prev) = (found.entry.no, found.hash);
    }
}

#[test]
fn every_decision_has_its_entry_also_after_a_rollback_and_a_restart() {
    let world = World::new();
    let first = world.refuse();
    assert_eq!((first.ledger_no, first.prev), (1, GENESIS));
    let failed: Result<()> = world.store.pen().call(|tx| {
        refuse(tx)?;
        Err(Error::storage("the job fails after it wrote").code("row_refused"))
    });
    assert!(failed.is_err());
    let second = world.refuse();
    assert_eq!((second.ledger_no, second.prev), (2, first.hash), "what was rolled back has no entry");
    let dir = world.close();
    let clock = ManualClock::at(START);
    let store = Store::open(&StoreOptions::at(dir.path()), Arc::new(clock.clone())).unwrap();
    let world = World { dir, clock, store };
    assert_eq!((world.refuse().ledger_no, world.page().len()), (3, 3));
    holds(&world.page());
    let read = world.store.read(|tx| decisions::get(tx, second.seq)).unwrap();
    assert_eq!(read, Some(second), "what is read is what was appended");
}

#[test]
fn a_clock_that_went_back_is_written_down_before_what_follows() {
    let world = World::new();
    world.refuse();
    world.clock.advance(-HOUR_MS);
    world.refuse();
    world.clock.advance(-2 * DAY_MS);
    let last = world.refuse();
    let kinds: Vec<_> = world.page().iter().map(|found| found.entry.kind).collect();
    assert_eq!(kinds, [EntryKind::Decision, EntryKind::Decision, EntryKind::Clock, EntryKind::Decision]);
    assert_eq!(last.ledger_no, 4);
    let detail: ClockDetail = serde_json::from_str(world.page()[2].detail.as_deref().unwrap()).unwrap();
    assert_eq!(detail.to, world.clock.now().rfc3339());
    holds(&world.page());
}

#[test]
fn a_content_goes_with_an_entry_that_says_so_and_the_chain_holds() {
    let world = World::new();
    let rows: Vec<_> = (0..5).map(|_| world.refuse()).collect();
    let going = [(rows[3].seq.0, rows[3].ledger_no), (rows[1].seq.0, rows[1].ledger_no)];
    world.write(move |tx| decisions::clear(tx, EntryKind::Prune, &going).map(|_| ()));
    let page = world.page();
    holds(&page);
    let cleared: Vec<_> = page.iter().filter(|f| f.content == Content::Cleared(6)).map(|f| f.entry.no).collect();
    assert_eq!((cleared, page[5].entry.kind), (vec![2, 4], EntryKind::Prune));
    let told: ClearedDetail = serde_json::from_str(page[5].detail.as_deref().unwrap()).unwrap();
    assert_eq!((told.first_no, told.last_no, told.count), (2, 4, 2));
    assert!(world.store.read(|tx| decisions::get(tx, rows[1].seq)).unwrap().is_none());
}

#[test]
fn the_departed_go_within_the_steps_limit() {
    let world = World::new();
    for _ in 0..9 {
        world.refuse();
    }
    world.clock.advance(DAY_MS);
    let due = world.store.read(|tx| departed::before(tx, Millis(i64::MAX), 100)).unwrap();
    assert_eq!(due.len(), 9);
    let changed = world.write(move |tx| departed::delete(tx, &due, 10));
    assert!((4..=10).contains(&changed), "{changed}");
    let left =
        world.store.read(|tx| Ok((decisions::count(tx)?, departed::before(tx, Millis(i64::MAX), 100)?.len()))).unwrap();
    assert_eq!(left.0, i64::try_from(left.1).unwrap(), "who has no decision left is forgotten, and nobody else");
    holds(&world.page());
}

/// What an insider would try; the first twelve need no change of the schema.
const ATTACKS: [&str; 24] = [
    "UPDATE decisions SET purposes = 127",
    "UPDATE ledger SET at = 0",
    "UPDATE checkpoints SET at = 0",
    "UPDATE cleared SET by_no = 1",
    "DELETE FROM decisions",
    "DELETE FROM decisions WHERE ledger_no = 2",
    "DELETE FROM ledger WHERE ledger_no = 2",
    "DELETE FROM checkpoints",
    "INSERT OR REPLACE INTO ledger SELECT ledger_no, seq, kind, at, detail, prev, hash, leaf FROM ledger WHERE ledger_no = 1",
    "INSERT INTO ledger SELECT 9, seq, kind, at, detail, hash, leaf, hash FROM ledger WHERE ledger_no = 2",
    "INSERT INTO ledger SELECT 5, 0, 'clock', at, 'x', prev, leaf, hash FROM ledger WHERE ledger_no = 2",
    "INSERT INTO cleared VALUES (1, 1)",
    "DROP TRIGGER decisions_stay",
    "DROP TRIGGER ledger_follow",
    "DROP TABLE ledger",
    "DROP TABLE decisions",
    "DROP INDEX decisions_subject",
    "ALTER TABLE ledger RENAME TO l2",
    "ALTER TABLE decisions ADD COLUMN x",
    "CREATE TRIGGER mine AFTER INSERT ON ledger BEGIN SELECT 1; END",
    "CREATE TEMP TABLE ledger (ledger_no)",
    "ATTACH ':memory:' AS other",
    "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = '' WHERE name = 'ledger_stay'",
    "PRAGMA recursive_triggers = OFF; INSERT OR REPLACE INTO decisions SELECT * FROM decisions WHERE ledger_no = 1",
];

fn bytes(conn: &Connection) -> Vec<String> {
    let all = |sql: &str| -> Vec<String> {
        conn.prepare(sql).unwrap().query_map([], |r| r.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    };
    let mut out = all("SELECT quote(hash) || quote(leaf) || at || kind FROM ledger ORDER BY ledger_no");
    out.extend(all("SELECT seq || ' ' || purposes || quote(salt) FROM decisions ORDER BY seq"));
    out.extend(all("SELECT signed || quote(signature) FROM checkpoints"));
    out.extend(all("SELECT name || coalesce(sql, '') FROM sqlite_schema ORDER BY name"));
    out
}

#[test]
fn nothing_an_ordinary_connection_tries_changes_the_ledger() {
    let world = World::new();
    world.some();
    let path = open::database_path(world.dir.path());
    let _dir = world.close();
    let mut conn = open::writer(&path).unwrap();
    let _window = open::guard(&mut conn).unwrap();
    let before = bytes(&conn);
    for attack in ATTACKS {
        assert!(conn.execute_batch(attack).is_err(), "{attack}");
        assert_eq!(bytes(&conn), before, "{attack}");
    }
    let reader = open::reader(&path).unwrap();
    for attack in ATTACKS {
        assert!(reader.execute_batch(attack).is_err(), "{attack}");
    }
}

#[test]
fn the_triggers_alone_hold_where_a_defect_of_ours_would_not() {
    let world = World::new();
    world.some();
    let path = open::database_path(world.dir.path());
    let _dir = world.close();
    let conn = open::writer(&path).unwrap(); // the connection of migrations: no authorizer
    let before = bytes(&conn);
    for attack in &ATTACKS[..12] {
        assert!(conn.execute_batch(attack).is_err(), "{attack}");
        assert_eq!(bytes(&conn), before, "{attack}");
    }
}

#[test]
fn an_open_window_still_asks_why() {
    let world = World::new();
    let row = world.refuse();
    let tried = world.store.pen().call(move |tx| {
        tx.window(|tx| {
            tx.conn()
                .prepare("DELETE FROM decisions WHERE seq = ?1")
                .and_then(|mut s| s.execute([row.seq]))
                .map_err(|e| open::error("removing without a word", e))
        })
    });
    assert!(tried.is_err());
    let closed = world.store.pen().call(|tx| {
        tx.window(|_| Ok(()))?;
        tx.conn().prepare("DELETE FROM decisions").map(|_| ()).map_err(|e| open::error("preparing", e))
    });
    assert!(closed.is_err(), "a window closes");
    assert_eq!(world.page().len(), 1);
}
