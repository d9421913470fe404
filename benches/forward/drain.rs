//! The daemon draining a backlog: how fast, at what cost, in how much memory, and how long it takes to start over one.
//! Meets the daemon by its command line and reads its database beside it; must never write a row.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use crate::Result;
use crate::server::Server;

/// Longest a drain may take.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// How a backlog was drained.
#[derive(Clone, Debug, Default)]
pub struct Drained {
    /// Lines that waited.
    pub lines: i64,
    /// From the start of the process to the last batch put.
    pub seconds: f64,
    /// CPU nanoseconds by thread.
    pub threads: BTreeMap<String, u64>,
    /// Largest resident set, KiB.
    pub peak_kib: u64,
    /// Resident set at the end, KiB.
    pub end_kib: u64,
}

fn opened(data_dir: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(data_dir.join("wayside.db"), flags)?;
    conn.busy_timeout(Duration::from_secs(10))?;
    Ok(conn)
}

/// Rows that will be lines.
pub fn lines(data_dir: &Path) -> Result<i64> {
    let conn = opened(data_dir)?;
    let sql = "SELECT (SELECT count(*) FROM events WHERE exempt = 0) + (SELECT count(*) FROM frozen WHERE exempt = 0)";
    Ok(conn.query_row(sql, [], |r| r.get(0))?)
}

/// Lines in batches that a target has.
fn put(conn: &Connection, target: &str) -> Result<i64> {
    let sql = "SELECT coalesce(sum(b.line_count), 0) FROM batches b JOIN cursors c ON c.target = ?1 \
               AND c.epoch_id = b.epoch_id AND c.lane = b.lane WHERE b.batch_no <= c.put_no";
    Ok(conn.query_row(sql, [target], |r| r.get(0))?)
}

/// Starts the daemon over a backlog and waits until `target` has all of it.
pub fn run(program: &Path, config: &Path, data_dir: &Path, target: &str) -> Result<Drained> {
    let lines = lines(data_dir)?;
    let began = Instant::now();
    let server = Server::start(program, data_dir, config, None)?;
    let conn = opened(data_dir)?;
    while put(&conn, target)? < lines {
        if began.elapsed() > PATIENCE {
            return Err(format!("{} of {lines} lines after {PATIENCE:?}", put(&conn, target)?).into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let seconds = began.elapsed().as_secs_f64();
    let threads = server.read()?.threads;
    let (end_kib, peak_kib) = server.memory()?;
    drop(conn);
    server.stop()?;
    Ok(Drained { lines, seconds, threads, peak_kib, end_kib })
}

/// Milliseconds from the start of the process to the first line it prints, once the door is open: the median of `times`.
pub fn start_ms(program: &Path, config: &Path, data_dir: &Path, times: usize) -> Result<f64> {
    let mut all = Vec::new();
    for _ in 0..times {
        let began = Instant::now();
        let server = Server::start(program, data_dir, config, None)?;
        all.push(began.elapsed().as_secs_f64() * 1e3);
        server.stop()?;
    }
    all.sort_by(f64::total_cmp);
    Ok(all[all.len() / 2])
}
