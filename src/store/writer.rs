//! The one pen: a writer thread with a bounded queue and group commit. Owns the transaction; must never know what a job
//! means. Invariants: a job's `done` is called exactly once, and with success only after COMMIT is on disk; a commit group
//! runs without savepoints: if a job fails after it began to write, the group is rolled back and replayed one by one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use crate::base::error::{Error, Kind, Result};
use crate::base::time::{Clock, HOUR_MS, Millis, monotonic_ms};
use crate::store::held::Held;
use crate::store::keys::{self, Custody, Keys};
use crate::store::{Current, Identity, ReadTx, StoreOptions, WriteTx, ages, events, meta, open, rights_log, space};

/// Between two times the log is emptied for want of space, ms.
const SQUEEZE_EVERY_MS: i64 = 1_000;
/// Longest the pen waits for readers of the log then.
const SQUEEZE_WAIT: Duration = Duration::from_millis(200);
/// A clock that went back by more leaves a note of where it did: retention looks behind it. Less delays removal by as much.
const STEP_BACK_MS_MIN: i64 = HOUR_MS;

/// Work for the pen. It may run twice: after a rollback it runs again alone.
trait Job: Send {
    fn run(&mut self, tx: &WriteTx<'_>) -> Result<()>;
    fn finish(self: Box<Self>, committed: Result<()>);
    fn weight(&self) -> usize;
}

struct Closure<T, W, D> {
    work: W,
    done: D,
    out: Option<T>,
    weight: usize,
}

impl<T, W, D> Job for Closure<T, W, D>
where
    T: Send,
    W: FnMut(&WriteTx<'_>) -> Result<T> + Send,
    D: FnOnce(Result<T>) + Send,
{
    fn run(&mut self, tx: &WriteTx<'_>) -> Result<()> {
        self.out = Some((self.work)(tx)?);
        Ok(())
    }

    fn finish(self: Box<Self>, committed: Result<()>) {
        let out = self.out;
        (self.done)(committed.and_then(|()| out.ok_or_else(|| Error::storage("the pen lost a job's result"))));
    }

    fn weight(&self) -> usize {
        self.weight
    }
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Box<dyn Job>>,
    stopping: bool,
    /// The pen has ended: whoever comes now is refused.
    ended: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    queue_max: usize,
    depth_seen: AtomicU64,
    groups: AtomicU64,
    broken: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handle of the writer thread.
pub struct Pen {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<Result<()>>>>,
}

/// How the pen fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PenStatus {
    /// Jobs waiting.
    pub waiting: usize,
    /// Most that ever waited since start.
    pub most_waiting: u64,
    /// Commit groups since start.
    pub groups: u64,
    /// It ended after an error it could not mend.
    pub broken: bool,
}

impl Pen {
    pub(in crate::store) fn start(
        (conn, window): (Connection, open::Window),
        custody: Option<Custody>,
        options: &StoreOptions,
        identity: Arc<Current>,
        clock: Arc<dyn Clock>,
    ) -> Result<Pen> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            queue_max: options.queue_max,
            depth_seen: AtomicU64::new(0),
            groups: AtomicU64::new(0),
            broken: AtomicBool::new(false),
        });
        let held = RefCell::new(Held::at(meta::last_seq(&conn)?));
        let custody = custody.map(RefCell::new);
        let newest = Cell::new(ages::newest(&ReadTx::new(&conn))?.unwrap_or_default());
        let (full, squeezed_ms) = (Cell::new(false), Cell::new(None));
        let (options, told) = (options.clone(), Arc::clone(&shared));
        let nib =
            Nib { conn, window, custody, held, newest, full, squeezed_ms, identity, clock, options, shared: told };
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || nib.live())
            .map_err(|e| crate::base::error::io("starting the writer thread", e))?;
        Ok(Pen { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Hands a job to the pen. `done` is called after the commit, from the pen's thread: it must be quick.
    /// `weight` is roughly the number of events. Errors: `Busy` if the queue is full or the pen is stopping; then `done`
    /// is dropped uncalled.
    pub fn submit<T: Send + 'static>(
        &self,
        weight: usize,
        work: impl FnMut(&WriteTx<'_>) -> Result<T> + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) -> Result<()> {
        let mut queue = self.shared.lock();
        if queue.stopping || queue.ended {
            return Err(Error::busy("wayside is stopping").remedy("try again in a moment"));
        }
        if queue.jobs.len() >= self.shared.queue_max {
            return Err(Error::busy("the collector is busy").code("queue_full").remedy("try again in a second"));
        }
        queue.jobs.push_back(Box::new(Closure { work, done, out: None, weight: weight.max(1) }));
        let depth = queue.jobs.len();
        drop(queue);
        self.shared.depth_seen.fetch_max(depth as u64, Ordering::Relaxed);
        if depth == 1 {
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    /// Hands over a job and waits for its commit.
    pub fn call<T: Send + 'static>(&self, work: impl FnMut(&WriteTx<'_>) -> Result<T> + Send + 'static) -> Result<T> {
        let (send, receive) = mpsc::sync_channel(1);
        // the receiver waits below, so the channel cannot be closed
        self.submit(1, work, move |out| drop(send.send(out)))?;
        receive.recv().unwrap_or_else(|_| Err(Error::storage("the writer ended before the job was committed")))
    }

    /// As [`Pen::call`], in a commit group of its own.
    pub(in crate::store) fn call_alone<T: Send + 'static>(
        &self,
        group_max: usize,
        work: impl FnMut(&WriteTx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (send, receive) = mpsc::sync_channel(1);
        self.submit(group_max.saturating_add(1), work, move |out| drop(send.send(out)))?;
        receive.recv().unwrap_or_else(|_| Err(Error::storage("the writer ended before the job was committed")))
    }

    /// How it fares.
    pub fn status(&self) -> PenStatus {
        PenStatus {
            waiting: self.shared.lock().jobs.len(),
            most_waiting: self.shared.depth_seen.load(Ordering::Relaxed),
            groups: self.shared.groups.load(Ordering::Relaxed),
            broken: self.shared.broken.load(Ordering::Relaxed),
        }
    }

    /// Finishes what waits, checkpoints and closes the file.
    pub(in crate::store) fn stop(&self) -> Result<()> {
        self.shared.lock().stopping = true;
        self.shared.wake.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        match thread.map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(out)) => out,
            Some(Err(_)) => Err(Error::storage("the writer thread panicked")),
        }
    }
}

impl Drop for Pen {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            log::error!("closing the database: {error}");
        }
    }
}

/// The writer thread's own state.
struct Nib {
    conn: Connection,
    window: open::Window,
    custody: Option<RefCell<Custody>>,
    held: RefCell<Held>,
    /// The time of the last group.
    newest: Cell<Millis>,
    /// The disk was full, and the log has not been emptied since.
    full: Cell<bool>,
    /// When that was last tried, on the clock nobody can set, ms.
    squeezed_ms: Cell<Option<i64>>,
    identity: Arc<Current>,
    clock: Arc<dyn Clock>,
    options: StoreOptions,
    shared: Arc<Shared>,
}

impl Nib {
    fn live(mut self) -> Result<()> {
        let out = catch_unwind(AssertUnwindSafe(|| self.work()))
            .unwrap_or_else(|_| Err(Error::storage("the writer panicked; this is a defect of wayside")));
        if let Err(error) = &out {
            log::error!("the writer ends: {error}");
        }
        self.shared.broken.store(out.is_err(), Ordering::Relaxed);
        let left = {
            let mut queue = self.shared.lock();
            queue.ended = true;
            std::mem::take(&mut queue.jobs)
        };
        for job in left {
            answer(job, Err(Error::storage("the writer has ended; nothing was stored")));
        }
        if out.is_ok() {
            self.conn
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                .map_err(|e| open::error("the last checkpoint", e))?;
        }
        out
    }

    /// Group after group until it is told to stop. Errors only where the pen cannot go on.
    fn work(&mut self) -> Result<()> {
        while let Some(group) = self.next_group() {
            self.write_group(group)?;
        }
        Ok(())
    }

    /// Waits for work; takes what has gathered, up to the group's weight. `None` = stop.
    fn next_group(&self) -> Option<Vec<Box<dyn Job>>> {
        let mut queue = self.shared.lock();
        while queue.jobs.is_empty() {
            if queue.stopping {
                return None;
            }
            queue = self.shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut weight, mut count) = (0, 0);
        for job in &queue.jobs {
            weight = job.weight().saturating_add(weight);
            if count > 0 && weight > self.options.group_max {
                break;
            }
            count += 1;
        }
        Some(queue.jobs.drain(..count).collect())
    }

    /// One commit group. Errors only where the pen cannot go on.
    fn write_group(&mut self, mut group: Vec<Box<dyn Job>>) -> Result<()> {
        self.shared.groups.fetch_add(1, Ordering::Relaxed);
        if self.full.get() {
            self.squeeze(); // before the log takes the space that came free
        }
        let mut done = self.attempt(&mut group);
        // nobody had looked for that id, since storing it tells as well: now each of the group is looked for
        if done.as_ref().is_err_and(|error| error.code == events::ID_TAKEN) {
            self.held.borrow_mut().looking = events::LOOKED_FOR;
            done = self.attempt(&mut group);
        }
        match done {
            Ok(results) => {
                group.into_iter().zip(results).for_each(|(job, result)| answer(job, result));
                Ok(())
            }
            Err(error) if group.len() == 1 || !of_one_job(&error) => {
                let (verdict, end) = self.mend(error, &mut group);
                match verdict {
                    Ok(results) => group.into_iter().zip(results).for_each(|(job, result)| answer(job, result)),
                    Err(error) => group.into_iter().for_each(|job| answer(job, Err(error.again()))),
                }
                end.map_or(Ok(()), Err)
            }
            Err(_) => {
                for job in group {
                    self.write_group(vec![job])?;
                }
                Ok(())
            }
        }
    }

    /// Runs and commits a group; on an error everything is rolled back.
    /// Inner results: a job that failed before it wrote anything fails alone.
    fn attempt(&mut self, group: &mut [Box<dyn Job>]) -> Result<Vec<Result<()>>> {
        let out = self.run(group);
        if out.is_err() {
            self.roll_back()?;
        } else {
            self.held.borrow_mut().trim();
        }
        out
    }

    fn run(&self, group: &mut [Box<dyn Job>]) -> Result<Vec<Result<()>>> {
        self.sql("BEGIN IMMEDIATE")?;
        let identity = self.identity.get();
        let tx = WriteTx {
            read: ReadTx::new(&self.conn).with_keys(self.custody.as_ref().map_or(Keys::None, Keys::Pen)),
            held: &self.held,
            window: &self.window,
            identity: &identity,
            now: self.clock.now(),
        };
        if tx.now.plus(STEP_BACK_MS_MIN) < self.newest.get() {
            meta::stepped_back(&tx, tx.last_seq())?;
        }
        let mut results = Vec::with_capacity(group.len());
        for job in group.iter_mut() {
            let before = self.held.borrow().writes;
            let result = catch_unwind(AssertUnwindSafe(|| job.run(&tx))).unwrap_or_else(|_| {
                self.held.borrow_mut().writes += 1; // whatever it wrote must go
                Err(Error::storage("a job panicked; this is a defect of wayside").code("job_panicked"))
            });
            match result {
                Err(error) if error.kind == Kind::Storage || self.held.borrow().writes != before => return Err(error),
                other => results.push(other),
            }
        }
        tx.settle()?;
        rights_log::append(&tx, &self.options.data_dir)?;
        meta::save_seq(&self.conn, self.held.borrow().last_seq)?;
        if let Some(custody) = &self.custody {
            keys::before_commit(&tx, custody)?;
        }
        self.sql("COMMIT")?;
        self.newest.set(tx.now);
        if let Some(next) = self.held.borrow_mut().next_identity.take() {
            self.identity.set(next);
        }
        if let Some(custody) = &self.custody {
            custody.borrow_mut().committed();
        }
        Ok(results)
    }

    fn sql(&self, text: &str) -> Result<()> {
        self.conn.prepare_cached(text).and_then(|mut s| s.execute([])).map(|_| ()).map_err(|e| open::error(text, e))
    }

    fn roll_back(&mut self) -> Result<()> {
        if !self.conn.is_autocommit() {
            self.sql("ROLLBACK")?;
        }
        if let Some(custody) = &self.custody {
            custody.borrow_mut().rolled_back();
        }
        let last = meta::last_seq(&self.conn)?;
        self.held.borrow_mut().rolled_back(last);
        Ok(())
    }

    /// After a failed group: a full disk passes by itself, a refusal of one job is its own; anything else opens the file
    /// anew once and tries the group again. Returns the group's fate, and an error if the pen cannot go on.
    fn mend(&mut self, error: Error, group: &mut [Box<dyn Job>]) -> (Result<Vec<Result<()>>>, Option<Error>) {
        if error.code == "disk_full" {
            self.full.set(true);
            if self.squeeze() {
                return (self.attempt(group).map_err(|_| error), None);
            }
        }
        let passes = |e: &Error| of_one_job(e) || e.code == "disk_full" || e.code == BUSY;
        if passes(&error) {
            return (Err(error), None);
        }
        log::warn!("a commit failed ({error}); opening the database anew");
        match self.reopen().and_then(|()| self.attempt(group)) {
            Err(second) if !passes(&second) => {
                let end = second.again();
                (Err(second), Some(end))
            }
            other => (other, None),
        }
    }

    /// On a full disk: carries the log into the file and empties it. The log holds many versions of a page, the file one, so
    /// this needs less space than it gives back. True if it did; now and then only, for it is work.
    fn squeeze(&self) -> bool {
        let now = monotonic_ms();
        if self.squeezed_ms.get().is_some_and(|last| now - last < SQUEEZE_EVERY_MS) {
            return false;
        }
        self.squeezed_ms.set(Some(now));
        let log = || space::wal_bytes(&self.options.data_dir).unwrap_or(0);
        let before = log();
        let squeeze = || -> rusqlite::Result<()> {
            self.conn.busy_timeout(SQUEEZE_WAIT)?; // a reader may hold it: nobody waits long for that
            self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        };
        let done = squeeze();
        if let Err(error) = done.and(self.conn.busy_timeout(open::BUSY_WAIT)) {
            log::debug!("no space to empty the log of the database: {error}");
        }
        let smaller = log() < before;
        if smaller {
            self.full.set(false);
        }
        smaller
    }

    fn reopen(&mut self) -> Result<()> {
        let mut conn = open::writer(&open::database_path(&self.options.data_dir))?;
        self.window = open::guard(&mut conn)?;
        self.conn = conn;
        let last = meta::last_seq(&self.conn)?;
        self.held.borrow_mut().rolled_back(last);
        Ok(())
    }
}

/// One transaction on a file that nobody serves from yet: what is held back is written, the counter saved. The log of rights
/// is the caller's. Errors: those of `work`, `Storage`; then the file is as it was.
pub(in crate::store) fn alone<T>(
    conn: &Connection,
    window: &open::Window,
    identity: &Identity,
    now: crate::base::time::Millis,
    work: impl FnOnce(&WriteTx<'_>) -> Result<T>,
) -> Result<T> {
    let sql = |text: &str| conn.execute_batch(text).map_err(|e| open::error(text, e));
    sql("BEGIN IMMEDIATE")?;
    let held = RefCell::new(Held::at(meta::last_seq(conn)?));
    let tx = WriteTx { read: ReadTx::new(conn), held: &held, window, identity, now };
    let done = work(&tx).and_then(|out| {
        tx.settle()?;
        meta::save_seq(conn, held.borrow().last_seq)?;
        sql("COMMIT")?;
        Ok(out)
    });
    if done.is_err() && !conn.is_autocommit() {
        sql("ROLLBACK")?;
    }
    done
}

/// Another program holds the database: the whole group waits in vain, not each job of it in turn.
const BUSY: &str = "database_busy";

/// Does an error concern one job alone, whatever else its group holds? A refused row shows only when the group is settled.
fn of_one_job(error: &Error) -> bool {
    match error.kind {
        Kind::Storage => ["job_panicked", "row_refused", events::ID_TAKEN].contains(&error.code),
        _ => error.code != BUSY,
    }
}

/// Tells a job its fate. A defect of whoever listens must not end the pen.
fn answer(job: Box<dyn Job>, result: Result<()>) {
    if catch_unwind(AssertUnwindSafe(|| job.finish(result))).is_err() {
        log::error!("answering a job panicked; this is a defect of wayside; the job's own fate stands");
    }
}

#[cfg(test)]
mod tests;
