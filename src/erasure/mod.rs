//! Floor 3: erasure that reaches the bytes. One pipeline for everybody who asks: rows, files, keys, logs, a search of every
//! file; each step is written down in the transaction that finishes it, so that a start goes on where the last run ended.
//! Must never own a file of another folder: those come as [`Traces`]. Invariant: nothing counts as done that was not looked
//! for in every file of the data directory; what cannot be reached stays open and is named.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::digest::{Hash, sha256};
use crate::base::error::{Error, Result};
use crate::base::id::uuid_text;
use crate::base::text::hex;
use crate::domain::erasure::{Marks, Step};
use crate::store::erasures::{self, ErasureRow, TargetState, Whose};
use crate::store::traces::{Erased, Sought, Traces};
use crate::store::{Store, WriteTx, agents, audit, epochs, keys, space};

pub mod check;
pub mod people;
mod rows;
pub mod sql;
mod tell;

pub use self::people::{Asked, Who};

/// Waiting for a reader of an old snapshot.
const PENDING_READER: &str = "pending_reader";
/// Keys wrapped anew in one step.
const KEYS_PER_STEP: usize = 1_000;
/// Times in one run that a byte found again sends an erasure back to the files.
const AGAIN_MAX: u32 = 2;

/// Erases people. One per process; every method may be called from any thread.
pub struct Erasure {
    store: Arc<Store>,
    traces: Vec<Arc<dyn Traces>>,
    targets: Vec<String>,
    /// One run at a time.
    turn: Mutex<()>,
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
    pub fn new(store: Arc<Store>, traces: Vec<Arc<dyn Traces>>, targets: Vec<String>) -> Self {
        Erasure { store, traces, targets, turn: Mutex::new(()) }
    }

    /// Begins the erasure of everybody `who` means; returns the erasures, none where nobody is known. When this returns,
    /// nothing of them is read, leaves or is taken in any more; [`Erasure::work`] does the rest.
    /// Errors: `Invalid` (unknown site), `Busy`, `Storage`.
    pub fn begin(&self, who: &Who, asked: &Asked) -> Result<Vec<[u8; 16]>> {
        let (data_dir, who, asked) = (self.store.data_dir().to_owned(), who.clone(), asked.clone());
        self.store.pen().call(move |tx| begin(tx, &data_dir, &who, &asked))
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
            loop {
                let (id, targets) = (e.id, self.targets.clone());
                let part = self.store.pen().call(move |tx| rows_step(tx, &id, &targets))?;
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
                Whose::Identity(_) => sought.others = true,
            }
        }
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
    /// key that wrapped it is gone.
    fn keys(&self, these: Vec<ErasureRow>) -> Result<bool> {
        while !self.store.pen().call(|tx| keys::rotate(tx, KEYS_PER_STEP))?.done {}
        self.onward(these, |_| {})
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
                let (who, what) = (e.opened_by.as_str(), "erasure_done");
                audit::insert(tx, who, what, Some(&uuid_text(&e.id)), Some(&hex(&digest)))?;
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
    for id in &begun {
        audit::insert(tx, &asked.by, "erasure_begun", Some(&uuid_text(id)), None)?;
    }
    Ok(begun)
}

/// One step at the rows of one erasure; the last one is written down with it.
fn rows_step(tx: &WriteTx<'_>, id: &[u8; 16], targets: &[String]) -> Result<rows::Part> {
    let Some(e) = erasures::get(tx, id)?.filter(|e| e.step == Step::Rows) else {
        return Ok(rows::Part { rows: 0, done: true });
    };
    let part = rows::step(tx, &e, targets)?;
    let mut now = erasures::get(tx, id)?.unwrap_or(e);
    now.row_count += part.rows;
    if part.done {
        now.step = Step::Rows.next();
    }
    erasures::update(tx, &now)?;
    Ok(part)
}
