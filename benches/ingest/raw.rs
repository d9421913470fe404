//! The yardstick: the rows that the server just wrote, inserted again by prepared statements and nothing else, on one
//! thread, in commit groups of the server's own average size. Owns every SQL of the bench; must never touch the server's rows.
//! Invariant: it writes no row and no index more or less than the server did, so ratios compare like with like.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{CachedStatement, Connection, OpenFlags, params_from_iter};

use crate::server::own_thread_ns;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Columns that a visit or visitor known before the group is updated in: those that nearly every event changes.
const VISITS_CHANGED: &str =
    "last_active_at last_received_at entry_page_id last_page_id page_count screen_count event_count last_seq";
const VISITORS_CHANGED: &str = "last_seen_at visit_count page_count event_count";

/// What the loop needed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Yardstick {
    /// CPU microseconds of the thread, per event.
    pub cpu_us: f64,
    /// Events per second, wall time.
    pub per_second: f64,
}

/// Events with a seq above `after` in the server's database (stopped), and at most `limit` of them, inserted into a fresh
/// database, or into a copy of `base`. `group` = events per commit.
pub fn run(server: &Path, base: Option<&Path>, work: &Path, after: i64, limit: u64, group: usize) -> Result<Yardstick> {
    let rows = Rows::read(server, after, limit)?;
    let path = work.join("raw.db");
    if let Some(base) = base {
        std::fs::copy(base, &path)?;
    }
    let conn = open(&path, base.is_none())?;
    conn.execute("ATTACH ?1 AS server", [server.to_string_lossy()])?;
    for table in ["sites", "bases", "epochs", "agents", "seq"] {
        conn.execute(&format!("INSERT OR IGNORE INTO main.{table} SELECT * FROM server.{table}"), [])?;
    }
    conn.execute("DETACH server", [])?;
    let begin = std::time::Instant::now();
    let before = own_thread_ns()?;
    rows.insert(&conn, group.max(1))?;
    let cpu_ns = own_thread_ns()? - before;
    let events = rows.events.len() as u64;
    let out = Yardstick {
        cpu_us: cpu_ns as f64 / 1e3 / events.max(1) as f64,
        per_second: events as f64 / begin.elapsed().as_secs_f64(),
    };
    drop(conn);
    for suffix in ["", "-wal", "-shm"] {
        let file = work.join(format!("raw.db{suffix}"));
        if file.exists() {
            std::fs::remove_file(file)?;
        }
    }
    Ok(out)
}

/// The pragmas of the product's writer (`src/store/open.rs`).
fn open(path: &Path, fresh: bool) -> Result<Connection> {
    let conn = Connection::open(path)?;
    conn.execute_batch(
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;
         PRAGMA temp_store = MEMORY; PRAGMA recursive_triggers = ON; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;
         PRAGMA cache_size = -8192; PRAGMA wal_autocheckpoint = 2000; PRAGMA journal_size_limit = 16777216;",
    )?;
    if fresh {
        conn.execute_batch(include_str!("../../schema.sql"))?;
    }
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

/// Rows of one table as they lie there, with the places of columns by name.
struct Table {
    name: &'static str,
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl Table {
    fn read(conn: &Connection, name: &'static str, tail: &str) -> Result<Table> {
        let mut select = conn.prepare(&format!("SELECT * FROM {name} {tail}"))?;
        let columns: Vec<String> = select.column_names().map(str::to_owned).collect();
        let read =
            |r: &rusqlite::Row<'_>| (0..columns.len()).map(|i| r.get(i)).collect::<rusqlite::Result<Vec<Value>>>();
        let rows = select.query_map([], read)?.collect::<rusqlite::Result<_>>()?;
        Ok(Table { name, columns, rows })
    }

    fn column(&self, name: &str) -> Result<usize> {
        self.columns.iter().position(|c| c == name).ok_or_else(|| format!("{} has no {name}", self.name).into())
    }

    fn insert<'c>(&self, conn: &'c Connection) -> Result<CachedStatement<'c>> {
        let places: Vec<String> = (1..=self.columns.len()).map(|i| format!("?{i}")).collect();
        let sql = format!("INSERT INTO {} ({}) VALUES ({})", self.name, self.columns.join(","), places.join(","));
        Ok(conn.prepare_cached(&sql)?)
    }

    /// Sets the columns to the values of a row; its key stands first.
    fn update<'c>(&self, conn: &'c Connection, changed: &str) -> Result<(CachedStatement<'c>, Vec<usize>)> {
        let names: Vec<&str> = changed.split_whitespace().collect();
        let places = names.iter().map(|name| self.column(name)).collect::<Result<Vec<_>>>()?;
        let set: Vec<String> = names.iter().enumerate().map(|(i, name)| format!("{name} = ?{}", i + 2)).collect();
        let sql = format!("UPDATE {} SET {} WHERE {} = ?1", self.name, set.join(", "), self.columns[0]);
        Ok((conn.prepare_cached(&sql)?, std::iter::once(0).chain(places).collect()))
    }

    fn by_key(&self) -> HashMap<i64, usize> {
        self.rows.iter().enumerate().map(|(i, row)| (integer(&row[0]), i)).collect()
    }
}

fn integer(value: &Value) -> i64 {
    if let Value::Integer(n) = value { *n } else { 0 }
}

struct Rows {
    events: Vec<Vec<Value>>,
    event: Table,
    visitors: Table,
    visits: Table,
    after: i64,
}

impl Rows {
    fn read(path: &Path, after: i64, limit: u64) -> Result<Rows> {
        let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let some = format!("(SELECT * FROM events WHERE seq > {after} ORDER BY seq LIMIT {limit})");
        let mut event = Table::read(&conn, "events", &format!("WHERE seq > {after} ORDER BY seq LIMIT {limit}"))?;
        let visits = Table::read(&conn, "visits", &format!("WHERE visit_id IN (SELECT visit_id FROM {some})"))?;
        let of = format!("WHERE visitor_id IN (SELECT visitor_id FROM visits JOIN {some} USING (visit_id))");
        let visitors = Table::read(&conn, "visitors", &of)?;
        Ok(Rows { events: std::mem::take(&mut event.rows), event, visitors, visits, after })
    }

    /// The loop itself. Group by group, parents before children: visitors and visits once, then events; the page that is left
    /// is updated where it was written by an earlier group.
    fn insert(&self, conn: &Connection, group: usize) -> Result<()> {
        let (visitor_at, visit_at) = (self.visitors.by_key(), self.visits.by_key());
        let event_at: HashMap<i64, usize> = self.events.iter().enumerate().map(|(i, e)| (integer(&e[0]), i)).collect();
        let of_visitor = self.visits.column("visitor_id")?;
        let (of_visit, of_page) = (self.event.column("visit_id")?, self.event.column("page_id")?);
        let dwell = self.event.column("dwell_ms")?;
        let mut visitors = Writer::new(conn, &self.visitors, VISITORS_CHANGED, self.after)?;
        let mut visits = Writer::new(conn, &self.visits, VISITS_CHANGED, self.after)?;
        let mut event = self.event.insert(conn)?;
        let mut leave = conn.prepare_cached("UPDATE events SET dwell_ms = ?2 WHERE seq = ?1")?;
        let mut seq = conn.prepare_cached("UPDATE seq SET last = ?1 WHERE one = 1")?;
        let (mut begin, mut commit) = (conn.prepare_cached("BEGIN IMMEDIATE")?, conn.prepare_cached("COMMIT")?);
        let mut open_pages: HashMap<i64, (i64, usize)> = HashMap::new();
        for (nth, group) in self.events.chunks(group).enumerate() {
            begin.execute([])?;
            let (mut some_visits, mut some_visitors) = (HashSet::new(), HashSet::new());
            let new_visits = group.iter().map(|e| integer(&e[of_visit])).filter(|visit| some_visits.insert(*visit));
            let new_visits: Vec<usize> = new_visits.filter_map(|visit| visit_at.get(&visit).copied()).collect();
            for visit in &new_visits {
                let visitor = integer(&self.visits.rows[*visit][of_visitor]);
                if some_visitors.insert(visitor) {
                    visitors.write(&self.visitors.rows[visitor_at[&visitor]])?;
                }
            }
            for visit in &new_visits {
                visits.write(&self.visits.rows[*visit])?;
            }
            for e in group {
                let id = integer(&e[of_page]);
                if id != integer(&e[0]) {
                    continue; // the event only happened on that page
                }
                let before = open_pages.insert(integer(&e[of_visit]), (id, nth));
                if let Some((before, _)) = before.filter(|(_, then)| *then != nth) {
                    leave.execute((before, &self.events[event_at[&before]][dwell]))?;
                }
            }
            for e in group {
                event.execute(params_from_iter(e))?;
            }
            seq.execute([group.last().map(|e| integer(&e[0]))])?;
            commit.execute([])?;
        }
        Ok(())
    }
}

/// Inserts a row at first sight, updates it afterwards.
struct Writer<'c> {
    insert: CachedStatement<'c>,
    update: CachedStatement<'c>,
    changed: Vec<usize>,
    seen: HashSet<i64>,
    after: i64,
}

impl<'c> Writer<'c> {
    fn new(conn: &'c Connection, table: &Table, changed: &str, after: i64) -> Result<Self> {
        let (update, changed) = table.update(conn, changed)?;
        Ok(Writer { insert: table.insert(conn)?, update, changed, seen: HashSet::new(), after })
    }

    fn write(&mut self, row: &[Value]) -> Result<()> {
        let id = integer(&row[0]);
        if id > self.after && self.seen.insert(id) {
            self.insert.execute(params_from_iter(row))?;
        } else {
            self.update.execute(params_from_iter(self.changed.iter().map(|i| &row[*i])))?;
        }
        Ok(())
    }
}

/// Bytes of a database with no rows.
pub fn empty_bytes(work: &Path) -> Result<u64> {
    let path = work.join("empty.db");
    let conn = open(&path, true)?;
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    drop(conn);
    let bytes = std::fs::metadata(&path)?.len();
    std::fs::remove_file(&path)?;
    Ok(bytes)
}

/// What the server's database holds once it is stopped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stored {
    /// Rows in `events`.
    pub events: u64,
    /// The newest number given out.
    pub last_seq: i64,
}

/// Counts the events of a stopped server.
pub fn stored(path: &Path) -> Result<Stored> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let events = conn.query_row("SELECT count(*) FROM events", [], |r| r.get::<_, i64>(0))?;
    let last_seq = conn.query_row("SELECT last FROM seq", [], |r| r.get(0))?;
    Ok(Stored { events: u64::try_from(events)?, last_seq })
}

/// Bytes of the pages of each table and index (pages read whole from the file), largest first.
pub fn bytes_by_tree(path: &Path) -> Result<Vec<(String, u64)>> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let Ok(mut sizes) = conn.prepare("SELECT name, sum(pgsize) AS n FROM dbstat GROUP BY name ORDER BY n DESC") else {
        return Ok(Vec::new()); // SQLite was built without dbstat
    };
    let read = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, u64::try_from(r.get::<_, i64>(1)?).unwrap_or(0)));
    Ok(sizes.query_map([], read)?.collect::<rusqlite::Result<_>>()?)
}
