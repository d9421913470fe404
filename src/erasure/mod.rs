//! Floor 3: erasure that reaches the bytes. One pipeline for everybody who asks: rows, files, keys, logs, a search of every
//! file; each step is written down in the transaction that finishes it, so that a start goes on where the last run ended.
//! Must never own a file of another folder: those come as [`Traces`]. Invariant: nothing counts as done that was not looked
//! for in every file of the data directory; what cannot be reached stays open and is named.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use crate::base::digest::{Hash, sha256};
use crate::base::error::{Error, Result};
use crate::base::id::{VisitorRef, uuid_text};
use crate::base::text::hex;
use crate::base::time::{MINUTE_MS, monotonic_ms};
use crate::domain::erasure::{Marks, Step};
use crate::domain::ledger::EntryKind;
use crate::domain::request::Level;
use crate::store::erasures::{self, ErasureRow, TargetState, Whose};
use crate::store::ledger::EraseDetail;
use crate::store::requests::{Person, RequestRow};
use crate::store::traces::{Erased, Sought, Traces};
use crate::store::{Store, WriteTx, agents, audit, epochs, keys, ledger, space};

pub mod check;
pub mod people;
mod register;
mod rows;
pub mod sql;
mod tell;

pub use self::people::{Asked, Who};

/// Waiting for a reader of an old snapshot.
const PENDING_READER: &str = "pending_reader";
/// Waiting for the disk of the companion copy of the keys: the destroyed ones are still in it.
const KEYS_COPY: &str = "keys_copy";
/// After a run by itself files are left alone so many times as long as it took.
const REST_TIMES: i64 = 19;
/// But no longer than this, ms.
const REST_MS_MAX: i64 = 10 * MINUTE_MS;
/// Keys wrapped anew in one step.
const KEYS_PER_STEP: usize = 1_000;
/// Times in one run that a byte found again sends an erasure back to the files.
const AGAIN_MAX: u32 = 2;

/// Takes away what a person's oldest decisions say, at most so many, with what is kept of them as a proof; returns how many
/// went. Handed in: what may be kept is a matter of consent.
pub type TakeAway = dyn Fn(&WriteTx<'_>, VisitorRef, i64) -> Result<i64> + Send + Sync;

/// Erases people. One per process; every method may be called from any thread.
pub struct Erasure {
    store: Arc<Store>,
    traces: Vec<Arc<dyn Traces>>,
    targets: Vec<String>,
    decisions: Arc<TakeAway>,
    /// One run at a time.
    turn: Mutex<()>,
    /// Until when [`Erasure::tend`] leaves files alone, ms on a clock nobody can set.
    rest_until_ms: AtomicI64,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Rows deleted.
    pub rows: i64,
    /// Erasures done on this machine by this run.
    pub done: usize,
    /// What still waits, and for what.
    pub waiting: Vec<String>,
    /// Targets that acknowledged since.
    pub acknowledged: usize,
    /// Requests of the register that were answered with it.
    pub answered: usize,
}

/// An erasure, and what each target has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The erasure.
    pub row: ErasureRow,
    /// The targets.
    pub targets: Vec<TargetState>,
}

impl Told {
    /// As one JSON object: what an operator, or a request's register, may know.
    pub fn json(&self) -> serde_json::Value {
        let e = &self.row;
        let state = match (e.is_done_here(), &e.unreachable) {
            (true, _) if self.targets.iter().all(|target| target.acked.is_some()) => "closed".to_owned(),
            (true, _) => "open: targets".to_owned(),
            (false, Some(files)) if e.step == Step::Done => {
                format!("open: unreachable copy {}", files.lines().collect::<Vec<_>>().join(", "))
            }
            _ => e.waiting.clone().map_or_else(|| format!("open: {}", e.step.word()), |why| format!("open: {why}")),
        };
        let targets = self.targets.iter().map(|target| {
            serde_json::json!({
                "target": target.target,
                "acknowledged_at": target.acked.map(|at| at.rfc3339()),
                "how": target.how,
                "evidence_sha256": target.evidence.map(|digest| hex(&digest)),
            })
        });
        serde_json::json!({
            "erasure_id": uuid_text(&e.id),
            "request_id": e.request_id.map(|id| uuid_text(&id)),
            "visitor_ref": matches!(e.whose, Whose::Visitor(_)).then(|| e.subject_ref.to_string()),
            "state": state,
            "step": e.step.word(),
            "opened_at": e.opened.rfc3339(),
            "opened_by": e.opened_by,
            "done_at": e.done.map(|at| at.rfc3339()),
            "rows": e.row_count,
            "check": e.result.as_deref().and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok()),
            "check_sha256": e.result_digest.map(|digest| hex(&digest)),
            "targets": targets.collect::<Vec<_>>(),
        })
    }
}

impl Erasure {
    /// Erasure in this store and in the files of these owners; told to these targets.
    pub fn new(
        store: Arc<Store>,
        traces: Vec<Arc<dyn Traces>>,
        targets: Vec<String>,
        decisions: Arc<TakeAway>,
    ) -> Self {
        Erasure { store, traces, targets, decisions, turn: Mutex::new(()), rest_until_ms: AtomicI64::new(0) }
    }

    /// Begins the erasure of everybody `who` means; returns the erasures, none where nobody is known. When this returns,
    /// nothing of them is read, leaves or is taken in any more; [`Erasure::work`] does the rest.
    /// Errors: `Invalid` (unknown site), `Busy`, `Storage`.
    pub fn begin(&self, who: &Who, asked: &Asked) -> Result<Vec<[u8; 16]>> {
        let (data_dir, who, asked) = (self.store.data_dir().to_owned(), who.clone(), asked.clone());
        self.store.pen().call(move |tx| begin(tx, &data_dir, &who, &asked))
    }

    /// Deletes the rows of what was begun, and leaves files, keys and the search to the next run: what a person who asks for
    /// erasure need not wait for. Where a run is under way it does so itself. Errors: `Busy`, `Storage`.
    pub fn delete_rows(&self) -> Result<Report> {
        let mut report = Report::default();
        let _turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(report),
        };
        let begun: Vec<ErasureRow> = self.unfinished()?.into_iter().filter(|e| e.step == Step::Rows).collect();
        self.rows(&begun, &mut report)?;
        Ok(report)
    }

    /// Goes on as [`Erasure::work`] does, but reads all files in at most a twentieth of the time: whoever erases themselves again
    /// and again must not keep the disk busy. Rows are deleted at once. Errors: as [`Erasure::work`].
    pub fn tend(&self) -> Result<Report> {
        let began = monotonic_ms();
        if began < self.rest_until_ms.load(Ordering::Relaxed) {
            return self.delete_rows();
        }
        let done = self.work();
        let now = monotonic_ms();
        let rest = (now - began).saturating_mul(REST_TIMES).min(REST_MS_MAX);
        self.rest_until_ms.store(now.saturating_add(rest), Ordering::Relaxed);
        done
    }

    /// Somebody wants it done now: the next [`Erasure::tend`] does not rest.
    pub fn wake(&self) {
        self.rest_until_ms.store(0, Ordering::Relaxed);
    }

    /// Goes on with everything unfinished, as far as it goes now. Errors: the first one, after the rest was done.
    pub fn work(&self) -> Result<Report> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report = Report::default();
        for _ in 0..=AGAIN_MAX {
            while self.advance(&mut report)? {}
            if !self.unfinished()?.iter().any(|e| e.step == Step::Files) {
                break;
            }
        }
        self.sweep()?;
        self.reconsider()?;
        let targets = self.targets.clone();
        report.acknowledged += self.store.pen().call(move |tx| tell::follow(tx, &targets))?;
        report.answered += register::answer(&self.store)?;
        for e in self.unfinished()? {
            let why = e.waiting.clone().or_else(|| e.unreachable.clone()).unwrap_or_else(|| e.step.word().to_owned());
            report.waiting.push(format!("{}: {why}", uuid_text(&e.id)));
        }
        Ok(report)
    }

    /// Erasures, the newest first, at most `limit`; `open` = only those open here or at a target. Errors: `Busy`, `Storage`.
    pub fn list(&self, open: bool, limit: i64) -> Result<Vec<Told>> {
        self.store.read(|tx| {
            let rows = erasures::list(tx, open, limit)?;
            rows.into_iter().map(|row| Ok(Told { targets: erasures::targets(tx, &row.id)?, row })).collect()
        })
    }

    /// Those of a request of the register. Errors: `Busy`, `Storage`.
    pub fn of_request(&self, request_id: &[u8; 16]) -> Result<Vec<Told>> {
        self.store.read(|tx| {
            let rows = erasures::of_request(tx, request_id)?;
            rows.into_iter().map(|row| Ok(Told { targets: erasures::targets(tx, &row.id)?, row })).collect()
        })
    }

    /// Statements for a target that cannot speak, for these erasures. Errors: `Busy`, `Storage`.
    pub fn statements(&self, order: &sql::Order, erasures: Vec<Told>) -> Result<Vec<String>> {
        self.store.read(|tx| {
            let mut with_ranges = Vec::new();
            for told in erasures {
                let ranges = erasures::ranges(tx, &told.row.id, true, i64::MAX)?;
                with_ranges.push((told, ranges));
            }
            Ok(sql::statements(order, &with_ranges, &epochs::all(tx)?))
        })
    }

    /// Somebody saw to it at a target that cannot speak: closed with the digest of the evidence; all its open targets where
    /// none is named. Returns how many. Errors: `NotFound`, `Conflict` where nothing was open, `Storage`.
    pub fn acknowledge(&self, id: [u8; 16], target: Option<&str>, evidence: Hash, who: &str) -> Result<usize> {
        let (target, who) = (target.map(str::to_owned), who.to_owned());
        let closed = self.store.pen().call(move |tx| {
            if erasures::get(tx, &id)?.is_none() {
                return Err(Error::not_found("no erasure has this id").remedy("see `wayside erasures`"));
            }
            let mut closed = 0;
            for state in erasures::targets(tx, &id)? {
                if target.as_ref().is_none_or(|wanted| *wanted == state.target) {
                    closed += usize::from(erasures::acknowledge(tx, &id, &state.target, Some(&evidence))?);
                }
            }
            if closed > 0 {
                let note = format!("evidence {}", hex(&evidence));
                audit::insert(tx, &who, "erasure_acknowledged", Some(&uuid_text(&id)), Some(&note))?;
            }
            Ok(closed)
        })?;
        if closed == 0 {
            return Err(Error::conflict("nothing of this erasure is open at that target")
                .code("not_open")
                .remedy("see `wayside erasures --open`"));
        }
        Ok(closed)
    }

    fn unfinished(&self) -> Result<Vec<ErasureRow>> {
        self.store.read(erasures::unfinished)
    }

    /// One step of all erasures that are at the same one; false where nothing can be done now. [`Erasure::work`] repeats it.
    /// Errors: `Busy`, `Storage`: the step is done again.
    pub fn advance(&self, report: &mut Report) -> Result<bool> {
        let all = self.unfinished()?;
        let Some(step) = all.iter().map(|e| e.step).filter(|step| *step != Step::Done).min() else { return Ok(false) };
        let these: Vec<ErasureRow> = all.into_iter().filter(|e| e.step == step).collect();
        match step {
            Step::Rows => self.rows(&these, report),
            Step::Files => self.files(these),
            Step::Keys => self.keys(these),
            Step::Log => self.log(these),
            Step::Check => self.check(these, report),
            Step::Done => Ok(false),
        }
    }

    fn rows(&self, these: &[ErasureRow], report: &mut Report) -> Result<bool> {
        for e in these {
            if matches!(e.whose, Whose::Identity(_)) {
                let (id, data_dir) = (e.id, self.store.data_dir().to_owned());
                self.store.pen().call(move |tx| people::name_sought(tx, &data_dir, &id))?;
            }
            loop {
                let (id, targets, decisions) = (e.id, self.targets.clone(), Arc::clone(&self.decisions));
                let part = self.store.pen().call(move |tx| rows_step(tx, &id, &targets, &*decisions))?;
                report.rows += part.rows;
                if part.done {
                    break;
                }
            }
        }
        Ok(true)
    }

    fn sought(&self, these: &[ErasureRow]) -> Result<Sought> {
        let mut sought = Sought::default();
        for e in these {
            sought.marks.join(&erasures::marks(self.store.data_dir(), e)?);
            match e.whose {
                Whose::Visitor(_) => sought.refs.push(e.subject_ref),
                Whose::Identity(id) => sought.identities.push(id),
                Whose::Part { .. } => sought.stay.push(e.subject_ref),
            }
        }
        sought.others = !(sought.identities.is_empty() && sought.stay.is_empty());
        Ok(sought)
    }

    fn files(&self, these: Vec<ErasureRow>) -> Result<bool> {
        let sought = self.sought(&these)?;
        let mut erased = Erased::default();
        for owner in &self.traces {
            erased = erased.and(owner.erase(&sought)?);
        }
        if self.store.read(agents::any_alone)? {
            self.store.pen().call(agents::delete_alone)?;
        }
        let unreachable = self.listed(&erased.unreachable);
        self.onward(these, move |e| e.unreachable.clone_from(&unreachable))
    }

    /// Paths below the data directory, one a line; `None` for none.
    fn listed(&self, paths: &[PathBuf]) -> Option<String> {
        let relative =
            |path: &PathBuf| path.strip_prefix(self.store.data_dir()).unwrap_or(path).to_string_lossy().into_owned();
        let lines: Vec<String> = paths.iter().map(relative).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// The keys themselves went with the rows; a remnant of one on a freed block, or in an older copy, opens nothing once the
    /// key that wrapped it is gone. The companion copy still holds both: it is overwritten before anything counts as done.
    fn keys(&self, these: Vec<ErasureRow>) -> Result<bool> {
        while !self.store.pen().call(|tx| keys::rotate(tx, KEYS_PER_STEP))?.done {}
        if let Some(copy) = &self.store.options().keys.copy
            && let Err(error) = keys::copy_to(self.store.data_dir(), copy)
        {
            log::warn!("an erasure waits for the copy of the keys, {}: {error}", copy.display());
            self.note(these, |e| e.waiting = Some(KEYS_COPY.to_owned()))?;
            return Ok(false);
        }
        self.onward(these, |e| e.waiting = None)
    }

    /// The write-ahead log holds every page of before until nobody reads a snapshot of before.
    fn log(&self, these: Vec<ErasureRow>) -> Result<bool> {
        if space::empty_log(self.store.data_dir())? {
            return self.onward(these, |e| e.waiting = None);
        }
        self.note(these, |e| e.waiting = Some(PENDING_READER.to_owned()))?;
        Ok(false)
    }

    fn check(&self, these: Vec<ErasureRow>, report: &mut Report) -> Result<bool> {
        let marks: Marks = self.sought(&these)?.marks;
        let found = check::search(self.store.data_dir(), &marks)?;
        if found.hits > 0 || !found.unread.is_empty() {
            let places = found.places.iter().chain(&found.unread).cloned().collect::<Vec<_>>().join(", ");
            log::warn!("an erasure found something left in {places}; it goes through all files again");
            self.note(these, move |e| {
                e.step = Step::Files;
                e.waiting = Some(format!("left in {places}"));
            })?;
            return Ok(false);
        }
        let text = serde_json::to_string(&found).expect("invariant: it has string keys");
        let digest = sha256(text.as_bytes());
        report.done += these.len();
        let ids: Vec<[u8; 16]> = these.iter().map(|e| e.id).collect();
        self.store.pen().call(move |tx| {
            for e in &these {
                let now = erasures::get(tx, &e.id)?.unwrap_or_else(|| e.clone());
                let (result, result_digest) = (Some(text.clone()), Some(digest));
                let done = Some(tx.now());
                let after =
                    ErasureRow { step: Step::Done, marks: None, waiting: None, done, result, result_digest, ..now };
                erasures::update(tx, &after)?;
                let (id, result_sha256) = (uuid_text(&e.id), hex(&digest));
                audit::insert(tx, &e.opened_by, "erasure_done", Some(&id), Some(&result_sha256))?;
                let detail = EraseDetail { erasure_id: id, rows: after.row_count, result_sha256 };
                ledger::note(tx, EntryKind::Erase, &detail)?;
            }
            Ok(())
        })?;
        for id in &ids {
            erasures::forget_marks(self.store.data_dir(), id)?;
        }
        Ok(true)
    }

    /// Writes down that their step is done, and what else `change` says.
    fn onward(&self, these: Vec<ErasureRow>, change: impl Fn(&mut ErasureRow) + Send + 'static) -> Result<bool> {
        self.note(these, move |e| {
            change(e);
            e.step = e.step.next();
        })?;
        Ok(true)
    }

    fn note(&self, these: Vec<ErasureRow>, change: impl Fn(&mut ErasureRow) + Send + 'static) -> Result<()> {
        self.store.pen().call(move |tx| {
            for e in &these {
                if let Some(mut now) = erasures::get(tx, &e.id)? {
                    change(&mut now);
                    erasures::update(tx, &now)?;
                }
            }
            Ok(())
        })
    }

    /// Copies that could not be looked into and are gone now close what they held open.
    fn reconsider(&self) -> Result<()> {
        for e in self.unfinished()? {
            let Some(files) = e.unreachable.clone().filter(|_| e.step == Step::Done) else { continue };
            let there = |path: &&str| self.store.data_dir().join(path).exists();
            let left: Vec<&str> = files.lines().filter(there).collect();
            if left.len() < files.lines().count() {
                let left = (!left.is_empty()).then(|| left.join("\n"));
                self.note(vec![e], move |e| e.unreachable.clone_from(&left))?;
            }
        }
        Ok(())
    }

    /// Keys of marks that belong to nothing unfinished were left by a run that was cut off.
    fn sweep(&self) -> Result<()> {
        let open = self.unfinished()?;
        let wanted = |id: &[u8; 16]| open.iter().any(|e| e.id == *id && e.step != Step::Done);
        for id in erasures::kept_marks(self.store.data_dir())? {
            if !wanted(&id) {
                erasures::forget_marks(self.store.data_dir(), &id)?;
            }
        }
        Ok(())
    }
}

/// [`Erasure::begin`] inside a transaction of the pen.
fn begin(tx: &WriteTx<'_>, data_dir: &std::path::Path, who: &Who, asked: &Asked) -> Result<Vec<[u8; 16]>> {
    let begun = people::begin(tx, data_dir, who, asked)?;
    noted(tx, &begun, asked)?;
    Ok(begun)
}

/// Begins what a request of the register asks for, in its transaction: all of these people that who asks may reach, and nobody
/// else's on the same device. Returns how many erasures; none where nothing is kept. [`Erasure::work`] does the rest, and
/// answers the request. Errors: `Storage`.
pub fn begin_for(
    tx: &WriteTx<'_>,
    data_dir: &std::path::Path,
    request: &RequestRow,
    people: &[Person],
) -> Result<usize> {
    let asked = Asked { by: request.opened_by.clone(), request_id: Some(request.id) };
    let level = request.level.unwrap_or(Level::Device);
    let begun = people::of_request(tx, data_dir, (people, level), &asked)?;
    noted(tx, &begun, &asked)?;
    Ok(begun.len())
}

fn noted(tx: &WriteTx<'_>, begun: &[[u8; 16]], asked: &Asked) -> Result<()> {
    begun.iter().try_for_each(|id| audit::insert(tx, &asked.by, "erasure_begun", Some(&uuid_text(id)), None))
}

/// One step at the rows of one erasure; the last one is written down with it.
fn rows_step(tx: &WriteTx<'_>, id: &[u8; 16], targets: &[String], decisions: &TakeAway) -> Result<rows::Part> {
    let Some(e) = erasures::get(tx, id)?.filter(|e| e.step == Step::Rows) else {
        return Ok(rows::Part { rows: 0, done: true });
    };
    let part = rows::step(tx, &e, targets, decisions)?;
    let mut now = erasures::get(tx, id)?.unwrap_or(e);
    now.row_count += part.rows;
    if part.done {
        now.step = Step::Rows.next();
    }
    erasures::update(tx, &now)?;
    Ok(part)
}
