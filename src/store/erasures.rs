//! The tables `erasures`, `erased_rows` and `erasure_targets`: how far each erasure is, here and elsewhere.
//! Must never hold what a person is looked for by but sealed, under a key that lies in a file of its own.
//! Invariant: a step is written down in the transaction that finishes it; marks go when the last step does.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Row;

use crate::base::cell::{self, Key, Place};
use crate::base::digest::Hash;
use crate::base::error::{Result, io};
use crate::base::id::{Seq, VisitorRef, mint_uuid, uuid_bytes, uuid_text};
use crate::base::text::{hex, unhex};
use crate::base::time::Millis;
use crate::domain::erasure::{Marks, Step};
use crate::store::{ReadTx, WriteTx, files, open, row, traces};

/// Folder of the keys under which marks lie sealed while an erasure goes on; whoever sees a file in it gives way.
pub const ERASING: &str = "erasing";

/// Whose rows an erasure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// All of a visitor.
    Visitor(i64),
    /// What an identity was tied to, and the identity.
    Identity(i64),
    /// Visits of a visitor who stays, in which nobody was known.
    Part {
        /// The visitor.
        visitor: i64,
        /// Which visits.
        part: Part,
        /// Only visits begun at or below this number.
        upto: Seq,
    },
}

/// Which visits of a visitor who stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// In which nobody signed in and nobody was recognised.
    Anonymous,
    /// In which nobody is known, also where somebody signed in whose name was not kept.
    Unknown,
}

impl Part {
    fn word(self) -> &'static str {
        match self {
            Part::Anonymous => "anonymous",
            Part::Unknown => "unknown",
        }
    }

    fn parse(word: &str) -> Option<Part> {
        [Part::Anonymous, Part::Unknown].into_iter().find(|part| part.word() == word)
    }
}

/// One erasure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasureRow {
    /// UUIDv7.
    pub id: [u8; 16],
    /// The request of the register that asked for it.
    pub request_id: Option<[u8; 16]>,
    /// The site's row.
    pub site_id: i64,
    /// Reference of the visitor (also of one who stays); for an identity one of its own that never was anybody's.
    pub subject_ref: VisitorRef,
    /// Whose rows.
    pub whose: Whose,
    /// What is done next.
    pub step: Step,
    /// What it is looked for by, sealed.
    pub marks: Option<Vec<u8>>,
    /// When it was asked for.
    pub opened: Millis,
    /// Who wrote it down.
    pub opened_by: String,
    /// When it was done on this machine.
    pub done: Option<Millis>,
    /// Rows deleted.
    pub row_count: i64,
    /// The newest line that tells upstream.
    pub told_seq: Option<Seq>,
    /// What it waits for: `pending_reader`, or where a byte was left.
    pub waiting: Option<String>,
    /// Files that may hold the person and could not be looked into, one a line.
    pub unreachable: Option<String>,
    /// What the search of every file came to, as JSON.
    pub result: Option<String>,
    /// SHA-256 of `result`.
    pub result_digest: Option<Hash>,
}

impl ErasureRow {
    /// One that begins with its rows, looked for by these marks. Errors: `Storage` (the root key).
    pub fn new(
        data_dir: &Path,
        site_id: i64,
        (subject_ref, whose): (VisitorRef, Whose),
        marks: &Marks,
        (now, opened, by): (Millis, Millis, &str),
    ) -> Result<ErasureRow> {
        let id = mint_uuid(now);
        Ok(ErasureRow {
            id,
            request_id: None,
            site_id,
            subject_ref,
            whose,
            step: Step::Rows,
            marks: Some(seal_marks(data_dir, &id, marks)?),
            opened,
            opened_by: by.to_owned(),
            done: None,
            row_count: 0,
            told_seq: None,
            waiting: None,
            unreachable: None,
            result: None,
            result_digest: None,
        })
    }

    /// Is nothing left to be done on this machine?
    pub fn is_done_here(&self) -> bool {
        self.step == Step::Done && self.unreachable.is_none()
    }
}

/// What a target has of an erasure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetState {
    /// The target.
    pub target: String,
    /// When it was acknowledged; `None` while it is open.
    pub acked: Option<Millis>,
    /// `batch` or `evidence`.
    pub how: Option<String>,
    /// SHA-256 of the evidence.
    pub evidence: Option<Hash>,
}

/// Numbers of rows that were deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Row of their birth epoch.
    pub epoch_id: i64,
    /// The lowest.
    pub first: Seq,
    /// The highest: every number between was this person's.
    pub last: Seq,
}

const COLUMNS: &str = "erasure_id, request_id, site_id, subject_ref, visitor_id, identity_id, step, marks, opened_at, \
    opened_by, done_at, row_count, told_seq, waiting, unreachable, result, result_digest, part, upto_seq";

fn from_row(r: &Row<'_>) -> rusqlite::Result<ErasureRow> {
    let part = match r.get_ref(17)? {
        rusqlite::types::ValueRef::Null => None,
        word => Some((row::word(word, Part::parse)?, r.get(18)?)),
    };
    let whose = match (r.get::<_, Option<i64>>(4)?, part) {
        (Some(visitor), Some((part, upto))) => Whose::Part { visitor, part, upto },
        (Some(id), None) => Whose::Visitor(id),
        (None, _) => Whose::Identity(r.get(5)?),
    };
    Ok(ErasureRow {
        id: r.get(0)?,
        request_id: r.get(1)?,
        site_id: r.get(2)?,
        subject_ref: r.get(3)?,
        whose,
        step: row::word(r.get_ref(6)?, Step::parse)?,
        marks: r.get(7)?,
        opened: r.get(8)?,
        opened_by: r.get(9)?,
        done: r.get(10)?,
        row_count: r.get(11)?,
        told_seq: r.get(12)?,
        waiting: r.get(13)?,
        unreachable: r.get(14)?,
        result: r.get(15)?,
        result_digest: r.get(16)?,
    })
}

/// Writes an erasure down.
pub fn insert(tx: &WriteTx<'_>, e: &ErasureRow) -> Result<()> {
    let (visitor, identity, part, upto) = match e.whose {
        Whose::Visitor(id) => (Some(id), None, None, None),
        Whose::Identity(id) => (None, Some(id), None, None),
        Whose::Part { visitor, part, upto } => (Some(visitor), None, Some(part.word()), Some(upto)),
    };
    tx.execute(
        "INSERT INTO erasures (erasure_id, request_id, site_id, subject_ref, visitor_id, identity_id, step, marks, \
         opened_at, opened_by, done_at, row_count, told_seq, waiting, unreachable, result, result_digest, part, upto_seq) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        rusqlite::params![
            e.id,
            e.request_id,
            e.site_id,
            e.subject_ref,
            visitor,
            identity,
            e.step.word(),
            e.marks,
            e.opened,
            e.opened_by,
            e.done,
            e.row_count,
            e.told_seq,
            e.waiting,
            e.unreachable,
            e.result,
            e.result_digest,
            part,
            upto,
        ],
    )
    .map(|_| ())
}

/// Writes down how far an erasure is: all but what it was opened with.
pub fn update(tx: &WriteTx<'_>, e: &ErasureRow) -> Result<()> {
    tx.execute(
        "UPDATE erasures SET step = ?2, marks = ?3, done_at = ?4, row_count = ?5, told_seq = ?6, waiting = ?7, \
         unreachable = ?8, result = ?9, result_digest = ?10 WHERE erasure_id = ?1",
        rusqlite::params![
            e.id,
            e.step.word(),
            e.marks,
            e.done,
            e.row_count,
            e.told_seq,
            e.waiting,
            e.unreachable,
            e.result,
            e.result_digest,
        ],
    )
    .map(|_| ())
}

fn query(tx: &ReadTx<'_>, tail: &str, params: impl rusqlite::Params) -> Result<Vec<ErasureRow>> {
    tx.conn()
        .prepare_cached(&format!("SELECT {COLUMNS} FROM erasures {tail}"))
        .and_then(|mut s| s.query_map(params, from_row)?.collect())
        .map_err(|e| open::error("reading erasures", e))
}

/// One erasure.
pub fn get(tx: &ReadTx<'_>, id: &[u8; 16]) -> Result<Option<ErasureRow>> {
    Ok(query(tx, "WHERE erasure_id = ?1", [id])?.pop())
}

/// Those on which something is left to be done on this machine, the oldest first.
pub fn unfinished(tx: &ReadTx<'_>) -> Result<Vec<ErasureRow>> {
    query(tx, "WHERE step <> 'done' OR unreachable IS NOT NULL ORDER BY opened_at, erasure_id", [])
}

/// Is there any that has not gone through all the rows?
pub fn any_under_way(tx: &ReadTx<'_>) -> Result<bool> {
    tx.conn()
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM erasures WHERE step <> 'done')")
        .and_then(|mut s| s.query_row([], |row| row.get(0)))
        .map_err(|e| open::error("looking for erasures under way", e))
}

/// Those of a request, the oldest first.
pub fn of_request(tx: &ReadTx<'_>, request_id: &[u8; 16]) -> Result<Vec<ErasureRow>> {
    query(tx, "WHERE request_id = ?1 ORDER BY opened_at, erasure_id", [request_id])
}

/// The newest, at most `limit`; `open` = only those that are open here or at a target.
pub fn list(tx: &ReadTx<'_>, open: bool, limit: i64) -> Result<Vec<ErasureRow>> {
    let tail = "WHERE ?1 = 0 OR step <> 'done' OR unreachable IS NOT NULL OR EXISTS (SELECT 1 FROM erasure_targets t \
        WHERE t.erasure_id = erasures.erasure_id AND t.acked_at IS NULL) ORDER BY opened_at DESC, erasure_id DESC LIMIT ?2";
    query(tx, tail, (open, limit))
}

/// A row of that visitor is gone; its number is told upstream later.
pub fn note_row(tx: &WriteTx<'_>, id: &[u8; 16], epoch_id: i64, seq: Seq) -> Result<()> {
    let joined = tx.execute(
        "UPDATE erased_rows SET last_seq = ?3 WHERE erasure_id = ?1 AND epoch_id = ?2 AND last_seq = ?3 - 1 AND told = 0",
        (id, epoch_id, seq),
    )?;
    if joined > 0 {
        return Ok(());
    }
    tx.execute(
        "INSERT INTO erased_rows (erasure_id, epoch_id, first_seq, last_seq, told) VALUES (?1, ?2, ?3, ?3, 0) \
         ON CONFLICT DO NOTHING",
        (id, epoch_id, seq),
    )
    .map(|_| ())
}

/// Numbers of deleted rows, told already or not yet, at most `limit` ranges.
pub fn ranges(tx: &ReadTx<'_>, id: &[u8; 16], told: bool, limit: i64) -> Result<Vec<Range>> {
    tx.conn()
        .prepare_cached(
            "SELECT epoch_id, first_seq, last_seq FROM erased_rows WHERE erasure_id = ?1 AND told = ?2 \
             ORDER BY epoch_id, first_seq LIMIT ?3",
        )
        .and_then(|mut s| {
            s.query_map((id, told, limit), |r| Ok(Range { epoch_id: r.get(0)?, first: r.get(1)?, last: r.get(2)? }))?
                .collect()
        })
        .map_err(|e| open::error("reading the numbers of erased rows", e))
}

/// These ranges are told.
pub fn told(tx: &WriteTx<'_>, id: &[u8; 16], ranges: &[Range]) -> Result<()> {
    for range in ranges {
        tx.execute(
            "UPDATE erased_rows SET told = 1 WHERE erasure_id = ?1 AND epoch_id = ?2 AND first_seq = ?3",
            (id, range.epoch_id, range.first),
        )?;
    }
    Ok(())
}

/// A target that may have something of the person: open until it acknowledges.
pub fn await_target(tx: &WriteTx<'_>, id: &[u8; 16], target: &str) -> Result<()> {
    tx.execute("INSERT INTO erasure_targets (erasure_id, target) VALUES (?1, ?2) ON CONFLICT DO NOTHING", (id, target))
        .map(|_| ())
}

/// What the targets have of an erasure.
pub fn targets(tx: &ReadTx<'_>, id: &[u8; 16]) -> Result<Vec<TargetState>> {
    tx.conn()
        .prepare_cached(
            "SELECT target, acked_at, how, evidence FROM erasure_targets WHERE erasure_id = ?1 ORDER BY target",
        )
        .and_then(|mut s| {
            let state = |r: &Row<'_>| {
                Ok(TargetState { target: r.get(0)?, acked: r.get(1)?, how: r.get(2)?, evidence: r.get(3)? })
            };
            s.query_map([id], state)?.collect()
        })
        .map_err(|e| open::error("reading what targets have of an erasure", e))
}

/// Erasures a target has not acknowledged whose newest line lies at or below `upto`.
pub fn delivered(tx: &ReadTx<'_>, target: &str, upto: Seq) -> Result<Vec<[u8; 16]>> {
    tx.conn()
        .prepare_cached(
            "SELECT e.erasure_id FROM erasure_targets t JOIN erasures e ON e.erasure_id = t.erasure_id \
             WHERE t.target = ?1 AND t.acked_at IS NULL AND e.told_seq <= ?2 AND e.step <> 'rows'",
        )
        .and_then(|mut s| s.query_map((target, upto), |r| r.get(0))?.collect())
        .map_err(|e| open::error("reading erasures a target has", e))
}

/// A target has acknowledged it, by its batch or (with the digest of it) by evidence; returns whether it was open.
pub fn acknowledge(tx: &WriteTx<'_>, id: &[u8; 16], target: &str, evidence: Option<&Hash>) -> Result<bool> {
    let how = if evidence.is_some() { "evidence" } else { "batch" };
    tx.execute(
        "UPDATE erasure_targets SET acked_at = ?3, how = ?4, evidence = ?5 \
         WHERE erasure_id = ?1 AND target = ?2 AND acked_at IS NULL",
        rusqlite::params![id, target, tx.now(), how, evidence],
    )
    .map(|rows| rows > 0)
}

/// When the erasure done longest ago was done.
pub fn oldest_done(tx: &ReadTx<'_>) -> Result<Option<Millis>> {
    tx.conn()
        .query_row("SELECT min(done_at) FROM erasures", [], |r| r.get(0))
        .map_err(|e| open::error("asking for the oldest erasure", e))
}

/// Deletes erasures done before `before` and closed everywhere, at most `limit` rows; returns how many.
pub fn delete_before(tx: &WriteTx<'_>, before: Millis, limit: i64) -> Result<usize> {
    let old: Vec<[u8; 16]> = tx
        .conn()
        .prepare_cached(
            "SELECT e.erasure_id FROM erasures e WHERE e.done_at < ?1 AND e.unreachable IS NULL AND NOT EXISTS \
             (SELECT 1 FROM erasure_targets t WHERE t.erasure_id = e.erasure_id AND t.acked_at IS NULL) LIMIT ?2",
        )
        .and_then(|mut s| s.query_map((before, limit / 8 + 1), |r| r.get(0))?.collect())
        .map_err(|e| open::error("listing old erasures", e))?;
    let mut rows = 0;
    for id in &old {
        rows += tx.execute("DELETE FROM erasure_targets WHERE erasure_id = ?1", [id])?;
        rows += tx.execute("DELETE FROM erased_rows WHERE erasure_id = ?1", [id])?;
        rows += tx.execute("DELETE FROM erasures WHERE erasure_id = ?1", [id])?;
    }
    Ok(rows)
}

fn key_path(data_dir: &Path, id: &[u8; 16]) -> PathBuf {
    data_dir.join(ERASING).join(uuid_text(id))
}

fn place() -> Place<'static> {
    Place { table: "erasures", column: "marks", row: 0 }
}

/// Seals what a person is looked for by; the key lies in a file of its own until [`forget_marks`]. Errors: `Storage`.
pub fn seal_marks(data_dir: &Path, id: &[u8; 16], marks: &Marks) -> Result<Vec<u8>> {
    let path = key_path(data_dir, id);
    files::make_dir(files::folder_of(&path))?;
    let key = Key::mint();
    let write = || -> std::io::Result<()> {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(hex(key.bytes()).as_bytes())?;
        file.sync_all()
    };
    write().map_err(|e| io(format_args!("writing {}", path.display()), e))?;
    files::sync_dir(files::folder_of(&path))?;
    Ok(cell::seal(&key, place(), &marks.pack()))
}

/// What a person is looked for by; nothing where key or marks are gone. Errors: `Storage`.
pub fn marks(data_dir: &Path, e: &ErasureRow) -> Result<Marks> {
    let (Some(sealed), Some(text)) = (&e.marks, files::read_text(&key_path(data_dir, &e.id))?) else {
        return Ok(Marks::default());
    };
    let Ok(bytes) = unhex::<32>(text.trim()) else { return Ok(Marks::default()) };
    let opened = cell::open(&Key::new(bytes), place(), sealed)?;
    Ok(Marks::unpack(&opened).unwrap_or_default())
}

/// Destroys the key of the marks: overwritten in place, then removed. Errors: `Storage`.
pub fn forget_marks(data_dir: &Path, id: &[u8; 16]) -> Result<()> {
    let path = key_path(data_dir, id);
    let failed = |e| io(format_args!("removing {}", path.display()), e);
    match File::options().write(true).open(&path) {
        Ok(mut file) => {
            file.write_all(&[b'0'; 64]).and_then(|()| file.sync_all()).map_err(failed)?;
            std::fs::remove_file(&path).map_err(failed)?;
            files::sync_dir(files::folder_of(&path))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(failed(e)),
    }
}

/// The erasures whose keys of marks lie there. Errors: `Storage`.
pub fn kept_marks(data_dir: &Path) -> Result<Vec<[u8; 16]>> {
    let mut out = Vec::new();
    traces::walk(&data_dir.join(ERASING), &mut |path| {
        out.extend(path.file_name().and_then(|name| name.to_str()).and_then(uuid_bytes));
    })?;
    Ok(out)
}

/// Is an erasure going on that wants readers of old snapshots to give way? Seen from any process.
pub(in crate::store) fn going_on(data_dir: &Path) -> bool {
    std::fs::read_dir(data_dir.join(ERASING)).is_ok_and(|mut entries| entries.next().is_some())
}
