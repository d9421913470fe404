//! Floor 3: periodic care. One table of what is done, by which function, how often; one thread that does it.
//! Must never keep ingest waiting: everything is done in steps of at most 1,000 rows, each a job of the one pen. Must never
//! remove by age while the clock may be wrong (`guard.rs`).
//! Invariant: the database is the schedule. What is due is asked of it, so nothing is forgotten across a restart.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::error::{Kind, Result};
use crate::base::time::{Millis, SECOND_MS, monotonic_ms};
use crate::domain::visit::VisitOptions;
use crate::domain::withdrawal::Withdrawal;
use crate::store::{Store, WriteTx, space};

pub mod ballast;
mod batches_old;
mod choices;
mod clock;
mod counts;
mod erasures;
mod fold;
mod folders;
pub mod guard;
pub mod idle;
mod keys;
mod loss;
pub mod options;
pub mod quota;
mod ranges;
mod released;
mod removal;
mod retention;
mod sign;
mod snapshot;
pub mod status;
mod visits_old;
mod withdrawn;

use self::guard::{Guard, Look};
use self::options::{QuotaOptions, RetentionOptions, UpkeepOptions};
use self::quota::Measure;
use self::removal::{Delivered, STEP_MAX};
use self::withdrawn::Mark;

/// When somebody last said that the clock is right, ms.
const CONFIRMED: &str = "upkeep_confirmed_at";
/// Steps of one care in one go of the thread; the rest waits for the next.
const STEPS_MAX: u32 = 500;
/// Seconds between two looks at counters and at the disk.
const OFTEN_SECONDS: u32 = 60;
/// Pages given back to the file system in one step.
const PAGES_PER_STEP: u32 = 500;

/// One thing that is done again and again.
struct Care {
    what: &'static str,
    run: fn(&Round<'_>) -> Result<Report>,
    /// Told the options, and how full the disk is, percent.
    every_seconds: fn(&UpkeepOptions, u8) -> u32,
}

/// In this order: the clock is looked at before anything is removed by it.
const CARES: [Care; 12] = [
    Care { what: "clock", run: clock::run, every_seconds: |o, _| o.visits_every_seconds },
    Care { what: "visits", run: idle::run, every_seconds: |o, _| o.visits_every_seconds },
    Care { what: "ledger", run: sign::run, every_seconds: |o, _| o.visits_every_seconds },
    Care { what: "counts", run: counts::run, every_seconds: |_, _| OFTEN_SECONDS },
    Care { what: "withdrawn", run: withdrawn::run, every_seconds: |o, _| o.visits_every_seconds },
    Care { what: "erasures", run: erasures::run, every_seconds: |o, _| o.visits_every_seconds },
    Care { what: "released", run: released::run, every_seconds: |o, _| o.visits_every_seconds },
    Care { what: "quota", run: quota::run, every_seconds: quota::every_seconds },
    Care { what: "choices", run: choices::run, every_seconds: |_, _| choices::EVERY_SECONDS },
    Care { what: "retention", run: retention::run, every_seconds: |o, _| o.retention_every_seconds },
    Care { what: "old entries", run: fold::run, every_seconds: |o, _| o.retention_every_seconds },
    // after what removes: the copy loses destroyed keys too
    Care { what: "keys", run: keys::run, every_seconds: |_, _| OFTEN_SECONDS },
];

/// What upkeep goes by.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// When visits end.
    pub visits: VisitOptions,
    /// How long rows stay.
    pub retention: RetentionOptions,
    /// How much of the disk may be used.
    pub quota: QuotaOptions,
    /// How often, and how gently.
    pub upkeep: UpkeepOptions,
    /// Names of all targets: a row not acknowledged by one of them leaves a hole.
    pub targets: Vec<String>,
    /// What each site's withdrawals remove, by the site's row; the default for sites that are not configured any more.
    pub withdrawals: BTreeMap<i64, Withdrawal>,
    /// Names of those that must have acknowledged a row before it counts as delivered.
    pub required: Vec<String>,
}

/// Writes lapsed choices: the transaction, and of how many visitors at the most.
pub type WriteLapses = dyn Fn(&WriteTx<'_>, i64) -> Result<(u64, bool)> + Send + Sync;

/// What upkeep calls, and the clock nobody can set.
#[derive(Clone)]
pub struct Hooks {
    /// Seal early: space runs short.
    pub kick_forward: Arc<dyn Fn() + Send + Sync>,
    /// Files of targets grow old too: called with the time, once the clock guard lets anything be removed by age.
    pub expire_files: Arc<dyn Fn(Millis) -> Result<i64> + Send + Sync>,
    /// Writes the lapsed choices of at most so many visitors; returns how many, and whether there may be more.
    pub write_lapses: Arc<WriteLapses>,
    /// Verifies the whole ledger: the first fault, where there is one.
    pub ledger_fault: Arc<dyn Fn() -> Result<Option<String>> + Send + Sync>,
    /// Erasures that are not done go on; returns rows deleted, and what is waited for.
    pub erase: Arc<dyn Fn() -> Result<(u64, String)> + Send + Sync>,
    /// Milliseconds on a clock nobody can set.
    pub uptime_ms: Arc<dyn Fn() -> i64 + Send + Sync>,
}

impl Default for Hooks {
    fn default() -> Self {
        Hooks {
            kick_forward: Arc::new(|| {}),
            expire_files: Arc::new(|_| Ok(0)),
            write_lapses: Arc::new(|_, _| Ok((0, false))),
            ledger_fault: Arc::new(|| Ok(None)),
            erase: Arc::new(|| Ok((0, String::new()))),
            uptime_ms: Arc::new(monotonic_ms),
        }
    }
}

/// What a care did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::upkeep) struct Report {
    rows: u64,
    note: String,
}

/// Tells a thread to end, at once.
#[derive(Debug, Default)]
pub struct Stop {
    set: Mutex<bool>,
    wake: Condvar,
}

impl Stop {
    /// One that is not set.
    pub fn new() -> Self {
        Stop::default()
    }

    /// Sets it, and wakes whoever waits.
    pub fn set(&self) {
        *self.lock() = true;
        self.wake.notify_all();
    }

    /// Is it set?
    pub fn is_set(&self) -> bool {
        *self.lock()
    }

    /// Waits until it is set, at most `ms`.
    pub fn wait(&self, ms: i64) {
        let most = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        let waited = self.wake.wait_timeout_while(self.lock(), most, |set| !*set);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How one care fared last.
#[derive(Clone, Debug, Default)]
struct Last {
    at: Option<Millis>,
    next_ms: i64,
    report: Report,
    error: Option<String>,
}

struct State {
    guard: Guard,
    last: [Last; CARES.len()],
    marks: [Mark; 2],
    measure: Measure,
    /// The ballast gave its room up, and has not been made again.
    gave_way: bool,
}

/// Periodic care of one store.
pub struct Upkeep {
    store: Arc<Store>,
    plan: Arc<Plan>,
    hooks: Hooks,
    state: Mutex<State>,
    /// Held while one thing is done: a command may ask for it while the thread is at it.
    turn: Mutex<()>,
    largest_step: AtomicU64,
}

impl Upkeep {
    /// Care that begins now: nothing is removed by age in the first minutes.
    pub fn new(store: Arc<Store>, plan: Plan, hooks: Hooks) -> Self {
        let first = Look { now: store.now(), uptime_ms: (hooks.uptime_ms)() };
        let guard = Guard::begin(plan.upkeep.start_quiet_minutes, first);
        let state = State {
            guard,
            last: Default::default(),
            marks: Default::default(),
            measure: Measure::default(),
            gave_way: false,
        };
        let state = Mutex::new(state);
        Upkeep { store, plan: Arc::new(plan), hooks, state, turn: Mutex::new(()), largest_step: AtomicU64::new(0) }
    }

    /// Lives until `stop` is set: does what is due, then waits for the next.
    pub fn live(&self, stop: &Stop) {
        while !stop.is_set() {
            for place in 0..CARES.len() {
                if self.state().last[place].next_ms <= self.uptime() && !stop.is_set() {
                    self.care(place, &Round::live(self, stop));
                }
            }
            let next = self.state().last.iter().map(|last| last.next_ms).min().unwrap_or(0);
            stop.wait(next.saturating_sub(self.uptime()).max(1));
        }
    }

    /// Does everything in the table once: a step of each, or with `all` as many as there is work for. What went wrong is
    /// told by [`Upkeep::status`]. Errors: the first one, after the rest was done.
    pub fn run_once(&self, all: bool) -> Result<()> {
        let mut first = Ok(());
        for place in 0..CARES.len() {
            let round = if all { Round::whole(self) } else { Round::of(self, None, 1) };
            first = first.and(self.care(place, &round).map_or(Ok(()), Err));
        }
        first
    }

    /// Somebody says that the clock is right: removing by age need not wait any more, and for a day may remove more than
    /// two days' worth. Errors: `Busy`, `Storage`.
    pub fn confirm(&self) -> Result<()> {
        clock::confirm(self)
    }

    /// Does one thing, and notes how it went.
    fn care(&self, place: usize, round: &Round<'_>) -> Option<crate::base::error::Error> {
        let care = &CARES[place];
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let result = (care.run)(round);
        let every_ms = i64::from((care.every_seconds)(&self.plan.upkeep, self.store.pressure()).max(1)) * SECOND_MS;
        let (at, next_ms) = (self.store.now(), self.uptime().saturating_add(every_ms));
        let mut state = self.state();
        let last = &mut state.last[place];
        let (at, again) = (Some(at), last.report.clone());
        match result {
            Ok(report) => {
                if !report.note.is_empty() && report.note != again.note {
                    log::info!("upkeep, {}: {}", care.what, report.note);
                }
                *last = Last { at, next_ms, report, error: None };
                None
            }
            Err(error) => {
                if error.kind == Kind::Busy {
                    log::debug!("upkeep, {}: {error}", care.what);
                } else {
                    log::warn!("upkeep, {}: {error}", care.what);
                }
                *last = Last { at, next_ms, report: again, error: Some(error.to_string()) };
                Some(error)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn uptime(&self) -> i64 {
        (self.hooks.uptime_ms)()
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    fn settled(&self) -> bool {
        self.state().guard.settled()
    }

    /// May anything be removed by age, and when did somebody last say that the clock is right?
    fn verdict(&self) -> Result<(guard::Verdict, Option<Millis>)> {
        let (newest, given) = self.store.read(|tx| Ok((clock::newest(tx, self)?, retention::confirmed_at(tx)?)))?;
        Ok((self.state().guard.verdict(newest), given))
    }

    fn marks<T>(&self, work: impl FnOnce(&mut [Mark; 2]) -> T) -> T {
        work(&mut self.state().marks)
    }

    fn gave_way(&self, yes: bool) {
        self.state().gave_way = yes;
    }

    fn has_given_way(&self) -> bool {
        self.state().gave_way
    }

    fn measured(&self, measure: Measure) {
        self.state().measure = measure;
    }
}

/// One go at a care: how many steps it may take, and whether it should end.
pub(in crate::upkeep) struct Round<'a> {
    up: &'a Upkeep,
    stop: Option<&'a Stop>,
    steps_left: Cell<u32>,
}

impl<'a> Round<'a> {
    fn of(up: &'a Upkeep, stop: Option<&'a Stop>, steps: u32) -> Self {
        Round { up, stop, steps_left: Cell::new(steps) }
    }

    fn live(up: &'a Upkeep, stop: &'a Stop) -> Self {
        Round::of(up, Some(stop), STEPS_MAX)
    }

    fn whole(up: &'a Upkeep) -> Self {
        Round::of(up, None, u32::MAX)
    }

    /// Is this the thread's own round, and not one that a command asked for?
    fn is_live(&self) -> bool {
        self.stop.is_some()
    }

    /// May another step begin?
    fn go_on(&self) -> bool {
        self.steps_left.get() > 0 && !self.stop.is_some_and(Stop::is_set)
    }

    /// Rows a step may change.
    fn rows(&self) -> i64 {
        i64::from(self.up.plan.upkeep.rows_per_step).clamp(1, STEP_MAX)
    }

    /// How far the targets have acknowledged.
    fn delivered(&self) -> Result<Delivered> {
        self.up.store.read(|tx| Delivered::read(tx, &self.up.plan.targets, &self.up.plan.required))
    }

    /// One step: one job of the pen. `work` is told how many rows it may change.
    fn step<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&WriteTx<'_>, i64) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let rows = self.rows();
        self.steps_left.set(self.steps_left.get().saturating_sub(1));
        let (out, changed) = self.up.store.pen().call(move |tx| {
            tx.settle()?; // what others of this group hold back is not ours
            let before = tx.changes();
            let out = work(tx, rows)?;
            Ok((out, tx.changes() - before))
        })?;
        self.up.largest_step.fetch_max(changed, Ordering::Relaxed);
        Ok(out)
    }

    /// Gives free pages of the database back to the file system.
    fn give_back(&self) -> Result<()> {
        while self.go_on() {
            if self.step(|tx, _| space::give_back(tx, PAGES_PER_STEP))? == 0 {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
