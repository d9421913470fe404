//! Floor 3: forwarding. Seals what waits, puts sealed batches to every target, follows what they acknowledge.
//! Owns the order of these steps; must never decide what a line shows (`domain/line.rs`) or who has which right.
//! Invariants: an attempt is committed before its batch is rendered, and rendered from a snapshot taken after that; the
//! consent lane goes first; one target's failure holds up no other. The database is the schedule: a kick only wakes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::base::error::{Error, Result, io};
use crate::base::time::{Clock, monotonic_ms};
use crate::domain::event::Lane;
use crate::store::edge::KnownKey;
use crate::store::limits::Limit;
use crate::store::{Reading, Store, limits};

pub mod carry;
pub mod client;
pub mod dir;
pub mod directives;
pub mod encode;
pub mod expire;
pub mod fork;
mod fresh;
pub mod handshake;
pub mod http;
pub mod idle;
pub mod inspect;
pub mod options;
pub mod pace;
mod parts;
pub mod pull;
pub mod reconcile;
mod refuse;
pub mod relay;
mod renew;
pub mod retry;
mod run;
pub mod schedule;
pub mod seal;
pub mod status;
pub mod take;
pub mod target;
mod tell;
pub mod traces;
pub mod verify;

use self::dir::Dir;
use self::http::Http;
use self::options::{ForwardOptions, TargetKind, TargetOptions};
use self::pace::{Limits, Pace};
use self::parts::Parts;
use self::reconcile::Reconciled;
use self::relay::Relay;
use self::seal::{SealRules, Sealed};
use self::target::{Key, Landed, Target};
use self::verify::{Looking, Only, Progress, Snapshots, Verified};

/// Longest time between two looks at what waits.
const TICK: Duration = Duration::from_secs(1);

/// Seals and delivers. One per process; every method may be called from any thread.
pub struct Forwarder {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    rules: SealRules,
    gzip_level: u32,
    enabled: bool,
    targets: Vec<Box<dyn Target>>,
    /// Targets nothing is put to by itself: they have positions, and no thread.
    visited: Vec<String>,
    /// Held per target from rendering to the end of the writing: an older rendering must never be written over a newer one.
    /// One each: a receiver that is slow holds up no other.
    turns: HashMap<String, Mutex<()>>,
    bell: Bell,
    fresh: fresh::Fresh,
    /// How each target is doing, by its name.
    paces: HashMap<String, Mutex<Pace>>,
    /// Milliseconds on a clock nobody can set.
    uptime_ms: Arc<dyn Fn() -> i64 + Send + Sync>,
    parts: Parts,
    /// What was being voided when the process before this one ended has been seen to.
    resumed: AtomicBool,
    relay: Option<Arc<Relay>>,
    talk: OnceLock<directives::ask::Talk>,
}

/// A batch that reached a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The target.
    pub target: String,
    /// The batch.
    pub key: Key,
    /// How it landed.
    pub landed: Landed,
    /// Lines that are holes for this target.
    pub holes: i64,
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The target.
    pub target: String,
    /// The batch.
    pub key: Key,
    /// Stable word of the error.
    pub code: &'static str,
    /// What happened.
    pub what: String,
}

/// What one round did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Batches sealed.
    pub sealed: Vec<Sealed>,
    /// Batches put.
    pub sent: Vec<Sent>,
    /// Attempts that failed.
    pub failed: Vec<Failed>,
    /// Batches newly acknowledged.
    pub acknowledged: i64,
    /// Batches that expired unacknowledged.
    pub expired: i64,
    /// Batches whose files got holes after they had been put.
    pub renewed: i64,
}

impl Forwarder {
    /// A forwarder to the configured targets. Nothing is made or sent before the first round.
    pub fn new(
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        options: &ForwardOptions,
        targets: &[TargetOptions],
        edge_label: &str,
    ) -> Self {
        let opened = opened(store.data_dir(), targets);
        let mut out = Self::to(store, clock, options, opened, edge_label);
        for target in targets {
            out = out.limited(&target.name, Limits::of(target));
        }
        out.visited = visited(targets);
        out
    }

    /// Holds a target over the network to its bandwidth and hours.
    pub fn limited(mut self, target: &str, limits: Limits) -> Self {
        let now_ms = (self.uptime_ms)();
        if let Some(pace) = self.paces.get_mut(target) {
            *pace = Mutex::new(Pace::new(limits, now_ms));
        }
        self
    }

    /// Goes by another clock than the machine's for waits within this process. For tests.
    pub fn with_uptime(self, uptime_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        let now_ms = uptime_ms();
        let paces = self.paces.keys().map(|name| (name.clone(), Mutex::new(Pace::new(Limits::default(), now_ms))));
        let paces = paces.collect();
        Forwarder { paces, uptime_ms: Arc::new(uptime_ms), ..self }
    }

    /// A forwarder to targets made elsewhere.
    pub fn to(
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        options: &ForwardOptions,
        targets: Vec<Box<dyn Target>>,
        edge_label: &str,
    ) -> Self {
        let mut rules = SealRules::new(options, edge_label);
        if targets.iter().any(|target| target.is_remote()) {
            rules.phase_ms = Some(schedule::phase_ms(store.identity().edge.id, rules.after_ms));
        }
        let now_ms = monotonic_ms();
        let pace = |target: &dyn Target| (target.name().to_owned(), Mutex::new(Pace::new(Limits::default(), now_ms)));
        let paces = targets.iter().map(|target| pace(target.as_ref())).collect();
        let turns = targets.iter().map(|target| (target.name().to_owned(), Mutex::new(()))).collect();
        Forwarder {
            rules,
            gzip_level: options.gzip_level.min(9),
            enabled: options.enabled,
            store,
            clock,
            targets,
            visited: Vec::new(),
            turns,
            bell: Bell::default(),
            fresh: fresh::Fresh::default(),
            paces,
            uptime_ms: Arc::new(monotonic_ms),
            parts: Parts::default(),
            resumed: AtomicBool::new(false),
            relay: None,
            talk: OnceLock::new(),
        }
    }

    /// Before anything else: what was being voided goes on. Errors: `Busy`, `Storage`.
    fn resume(&self) -> Result<()> {
        if !self.resumed.load(Ordering::Acquire) {
            self.go_on_voiding()?;
            self.resumed.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// The same, passing on what a relay received to the targets it names.
    pub fn with_relay(self, relay: Arc<Relay>) -> Self {
        Forwarder { relay: Some(relay), ..self }
    }

    /// How a target is doing.
    fn pace(&self, target: &dyn Target) -> MutexGuard<'_, Pace> {
        let pace = self.paces.get(target.name()).expect("invariant: every target has its pace");
        pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing is being put to a target. Whoever renders for it does so after this.
    fn turn(&self, target: &dyn Target) -> MutexGuard<'_, ()> {
        let turn = self.turns.get(target.name()).expect("invariant: every target has its turn");
        turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a target takes at once, where it has refused more.
    fn limit(&self, target: &str) -> Result<Option<Limit>> {
        self.store.read(|tx| limits::get(tx, target, self.clock.now()))
    }

    /// The rules of sealing, within what every target takes at once.
    fn rules(&self) -> Result<SealRules> {
        let mut rules = self.rules.clone();
        for target in &self.targets {
            if let Some(limit) = self.limit(target.name())? {
                rules.bytes_max = rules.bytes_max.min(usize::try_from(limit.line_bytes).unwrap_or(usize::MAX));
            }
        }
        Ok(rules)
    }

    /// The names of its targets, then of those that somebody comes to fetch from.
    pub fn target_names(&self) -> Vec<String> {
        self.targets.iter().map(|target| target.name().to_owned()).chain(self.visited.iter().cloned()).collect()
    }

    /// One round in the calling thread: seals what is due, puts what is sealed, notes what was taken, expires what no
    /// longer fits. `force` seals all that waits and tries failed targets at once. A failed put stands in the report.
    /// Errors: `Busy`, `Storage`; every target has had its turn before.
    pub fn run_once(&self, force: bool) -> Result<Report> {
        self.resume()?;
        let mut report = Report { sealed: self.seal_due(force)?, ..Report::default() };
        let mut trouble = None;
        for target in &self.targets {
            let served = self.serve(target.as_ref(), force, &mut report);
            let passed = served.and_then(|()| self.pass_on(target.as_ref(), force, &mut report));
            if let Err(error) = passed.and_then(|()| if force { Ok(()) } else { self.tell_idle(target.as_ref()) }) {
                trouble.get_or_insert(error.context(format_args!("forwarding to {}", target.name())));
            }
            self.converse(target.as_ref(), force);
        }
        trouble.map_or(Ok(report), Err)
    }

    /// Seals and delivers until [`Forwarder::stop`], each target in a thread of its own named `forward-<target>`.
    /// Returns at once where forwarding is off. Errors: `Storage` if a thread cannot be started.
    pub fn live(&self) -> Result<()> {
        if !self.enabled {
            return Ok(());
        }
        self.resume()?;
        std::thread::scope(|scope| {
            for target in &self.targets {
                std::thread::Builder::new()
                    .name(format!("forward-{}", target.name()))
                    .spawn_scoped(scope, || self.live_target(target.as_ref()))
                    .map_err(|e| {
                        self.stop();
                        io("starting a forwarder thread", e)
                    })?;
            }
            self.live_sealing();
            Ok(())
        })
    }

    /// Something may be due: look now.
    pub fn kick(&self) {
        self.bell.ring(false);
    }

    /// Ends [`Forwarder::live`] after the batch in hand.
    pub fn stop(&self) {
        self.bell.ring(true);
        self.fresh.wake();
    }

    fn live_sealing(&self) {
        let mut heard = 0;
        while !self.bell.stopped() {
            match self.seal_due(false) {
                Ok(sealed) if sealed.is_empty() => {}
                Ok(_) => heard = self.bell.ring(false),
                Err(error) => log::warn!("sealing: {error}"),
            }
            heard = self.bell.wait(heard, TICK);
        }
    }

    fn live_target(&self, target: &dyn Target) {
        let mut heard = 0;
        while !self.bell.stopped() {
            let mut report = Report::default();
            let served = self.serve(target, false, &mut report);
            let passed = served.and_then(|()| self.pass_on(target, false, &mut report));
            if let Err(error) = passed.and_then(|()| self.tell_idle(target)) {
                log::warn!("forwarding to {}: {error}", target.name());
            }
            self.converse(target, false);
            for failed in &report.failed {
                log::warn!("forwarding {} to {}: {}", failed.key, failed.target, failed.what);
            }
            let next_ms = self.pace(target).next_ms((self.uptime_ms)()).and_then(|ms| u64::try_from(ms.max(1)).ok());
            heard = self.bell.wait(heard, next_ms.map_or(TICK, |ms| TICK.min(Duration::from_millis(ms))));
        }
    }

    /// Seals whatever is due in every lane, the consent lane first.
    fn seal_due(&self, force: bool) -> Result<Vec<Sealed>> {
        let (mut out, rules) = (Vec::new(), self.rules()?);
        for lane in Lane::ALL {
            while !self.bell.stopped()
                && let Some(sealed) = seal::keeping(&self.store, lane, &rules, (self.clock.now(), force), &self.fresh)?
            {
                out.extend(sealed);
                if !force {
                    self.bell.ring(false);
                    self.fresh.room(TICK);
                }
            }
        }
        Ok(out)
    }

    /// Checks all stored batches and the files of `dir` targets; every problem found is in the answer.
    /// `progress` is told after each batch. Errors: `Busy`, `Storage`.
    pub fn verify(&self, progress: Progress<'_>) -> Result<Verified> {
        let how = Looking { only: Only::default(), progress };
        verify_all(&*self.store, &self.store.identity().edge.keys, &self.targets, how)
    }
}

fn opened(data_dir: &Path, targets: &[TargetOptions]) -> Vec<Box<dyn Target>> {
    let open = |target: &TargetOptions| -> Option<Box<dyn Target>> {
        match target.kind {
            TargetKind::Dir => Some(Box::new(Dir::new(data_dir, target))),
            TargetKind::Http => Some(Box::new(Http::new(target))),
            TargetKind::Carry | TargetKind::Pull => None,
        }
    };
    targets.iter().filter_map(open).collect()
}

/// Names of targets that somebody comes to fetch from.
fn visited(targets: &[TargetOptions]) -> Vec<String> {
    targets
        .iter()
        .filter(|target| matches!(target.kind, TargetKind::Carry | TargetKind::Pull))
        .map(|target| target.name.clone())
        .collect()
}

/// [`Forwarder::verify`] beside whoever writes the database: files must be there, be the stored ones, and be signed by a
/// key of this edge. Errors: `Busy`, `Storage`.
pub fn verify_beside(
    reading: &Reading,
    keys: &[KnownKey],
    targets: &[TargetOptions],
    how: Looking<'_>,
) -> Result<Verified> {
    verify_all(reading, keys, &opened(reading.data_dir(), targets), how)
}

/// Compares what was sealed with what a target has, beside whoever writes the database: the named one, or the only one over
/// the network. Errors: `NotFound` for another name, or where none or several could be meant; those of [`reconcile::with`].
pub fn reconcile_beside(reading: &Reading, targets: &[TargetOptions], name: Option<&str>) -> Result<Reconciled> {
    let opened = opened(reading.data_dir(), targets);
    let meant: Vec<_> =
        opened.iter().filter(|target| name.map_or_else(|| target.is_remote(), |name| target.name() == name)).collect();
    match meant[..] {
        [only] => reconcile::with(reading, only.as_ref()),
        _ => Err(Error::not_found(match name {
            Some(name) => format!("there is no target {name:?}"),
            None => format!("{} targets are reached over the network", meant.len()),
        })
        .code("unknown_target")
        .remedy("name one: wayside reconcile --upstream NAME")),
    }
}

fn verify_all(
    source: &impl Snapshots,
    keys: &[KnownKey],
    targets: &[Box<dyn Target>],
    how: Looking<'_>,
) -> Result<Verified> {
    let names: Vec<String> = targets.iter().map(|target| target.name().to_owned()).collect();
    let mut out = verify::stored(source, keys, &names, how)?;
    for target in targets {
        let Some(folder) = target.folder() else { continue };
        let missing = |key: Key| {
            let last = target.watermark(key, key.batch_no - 1, key.batch_no)?;
            Ok(last < key.batch_no)
        };
        verify::files_of(source, target.name(), &folder, keys, &missing, how, &mut out)?;
    }
    Ok(out)
}

/// Wakes threads that wait for work, and tells them to stop.
#[derive(Default)]
struct Bell {
    state: Mutex<Rung>,
    woken: Condvar,
}

#[derive(Default)]
struct Rung {
    times: u64,
    stop: bool,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, Rung> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings; returns how often it has rung by now.
    fn ring(&self, stop: bool) -> u64 {
        let mut rung = self.lock();
        rung.times += 1;
        rung.stop |= stop;
        self.woken.notify_all();
        rung.times
    }

    fn stopped(&self) -> bool {
        self.lock().stop
    }

    /// Waits until it has rung more often than `heard`, at most `longest`; returns how often it has rung.
    fn wait(&self, heard: u64, longest: Duration) -> u64 {
        let quiet = |rung: &mut Rung| rung.times <= heard && !rung.stop;
        let waited = self.woken.wait_timeout_while(self.lock(), longest, quiet);
        waited.map_or_else(|poisoned| poisoned.into_inner().0.times, |(rung, _)| rung.times)
    }
}

#[cfg(test)]
mod tests;
