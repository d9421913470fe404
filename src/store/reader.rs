//! A small pool of read-only connections. Owns how long a reader may live; must never write.
//! Invariant: no snapshot outlives `read_ms_max`, so that readers never keep the WAL from being reset.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::base::error::{Error, Result};
use crate::store::keys::{Keyring, Keys};
use crate::store::{ReadTx, open};

/// Virtual machine steps between two looks at the clock.
const STEPS: i32 = 5_000;

/// Read-only connections, opened when first needed.
pub(in crate::store) struct Readers {
    path: PathBuf,
    most: usize,
    read_ms_max: u64,
    pool: Mutex<Pool>,
    free: Condvar,
    keys: Option<Keyring>,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Connection>,
    open: usize,
}

impl Readers {
    pub(in crate::store) fn new(path: PathBuf, most: usize, read_ms_max: u64) -> Self {
        Readers { path, most: most.max(1), read_ms_max, pool: Mutex::default(), free: Condvar::new(), keys: None }
    }

    /// The same, opening personal cells with that ring.
    pub(in crate::store) fn with_keys(mut self, keys: Option<Keyring>) -> Self {
        self.keys = keys;
        self
    }

    /// Runs `work` on a snapshot; the connection goes back to the pool whatever happens.
    pub(in crate::store) fn read<T>(&self, work: impl FnOnce(&ReadTx<'_>) -> Result<T>) -> Result<T> {
        let mut conn = self.take()?;
        match catch_unwind(AssertUnwindSafe(|| self.run(&mut conn, work))) {
            Ok(out) => {
                self.give(conn);
                out
            }
            Err(panic) => {
                // its place is free again; the connection, whatever state it is in, closes
                drop(conn);
                self.lock().open -= 1;
                self.free.notify_one();
                resume_unwind(panic)
            }
        }
    }

    fn run<T>(&self, conn: &mut Connection, work: impl FnOnce(&ReadTx<'_>) -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + Duration::from_millis(self.read_ms_max);
        conn.progress_handler(STEPS, Some(move || Instant::now() > deadline))
            .map_err(|e| open::error("bounding a read", e))?;
        conn.execute_batch("BEGIN").map_err(|e| open::error("beginning a read", e))?;
        let keys = self.keys.as_ref().map_or(Keys::None, Keys::Ring);
        let out = work(&ReadTx::new(conn).with_keys(keys));
        // ending a read cannot lose anything: an error here is the next reader's, who begins anew
        let ended = conn.execute_batch("ROLLBACK").map_err(|e| open::error("ending a read", e));
        let done = out?;
        ended.map(|()| done)
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn take(&self) -> Result<Connection> {
        let patience = Duration::from_millis(self.read_ms_max);
        let mut pool = self.lock();
        loop {
            if let Some(conn) = pool.idle.pop() {
                return Ok(conn);
            }
            if pool.open < self.most {
                pool.open += 1;
                drop(pool);
                return open::reader(&self.path).inspect_err(|_| {
                    self.lock().open -= 1;
                    self.free.notify_one();
                });
            }
            let (next, waited) =
                self.free.wait_timeout(pool, patience).unwrap_or_else(std::sync::PoisonError::into_inner);
            pool = next;
            if waited.timed_out() && pool.idle.is_empty() {
                return Err(Error::busy("all readers are busy"));
            }
        }
    }

    fn give(&self, conn: Connection) {
        let mut pool = self.lock();
        if conn.is_autocommit() {
            pool.idle.push(conn);
        } else {
            pool.open -= 1; // its transaction could not be ended: let it close
        }
        drop(pool);
        self.free.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Kind;

    #[test]
    fn a_panicking_read_gives_its_place_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = open::database_path(dir.path());
        open::writer(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        let readers = Readers::new(path, 1, 200);
        for _ in 0..3 {
            let out = catch_unwind(AssertUnwindSafe(|| readers.read(|_| -> Result<()> { panic!("a defect") })));
            assert!(out.is_err());
        }
        assert!(readers.read(|_| Ok(())).is_ok());
    }

    #[test]
    fn a_reader_that_lasts_too_long_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = open::database_path(dir.path());
        open::writer(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        let readers = Readers::new(path, 1, 50);
        let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
        let out = readers.read(|tx| {
            tx.conn().query_row(endless, [], |r| r.get::<_, i64>(0)).map_err(|e| open::error("counting", e))
        });
        assert_eq!(out.unwrap_err().kind, Kind::Busy);
        let one = readers
            .read(|tx| tx.conn().query_row("SELECT 1", [], |r| r.get::<_, i64>(0)).map_err(|e| open::error("one", e)));
        assert_eq!(one.unwrap(), 1i64, "the connection serves the next reader");
    }
}
