//! The tables `ledger` and `cleared`: the only append to the hash chain, and the removal of contents it explains. Must never
//! change an entry, nor let a content go without an entry that says why.
//! Invariant: entry n + 1 holds the hash of entry n; the newest one is held by the pen, so that an append costs the same
//! whatever the ledger holds.

use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use crate::base::digest::Hash;
use crate::base::error::{Error, Result};
use crate::base::text::hex;
use crate::base::time::Millis;
use crate::domain::ledger::{self, Cleared, Entry, EntryKind, GENESIS, Leaf, Value};
use crate::store::{ReadTx, WriteTx, decisions, open, row};

/// The newest entry: what the next one follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number; 0 before the first.
    pub no: i64,
    /// Its hash.
    pub hash: Hash,
    /// Its time, to the minute.
    pub at: Millis,
}

const NOTHING: Head = Head { no: 0, hash: GENESIS, at: Millis(i64::MIN) };

/// Where an entry was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its number.
    pub no: i64,
    /// Hash of the entry before.
    pub prev: Hash,
    /// Its own.
    pub hash: Hash,
}

/// Content of a `clock` entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClockDetail {
    /// What the clock should have said, or said before.
    pub from: String,
    /// What it said.
    pub to: String,
}

/// Content of a `prune` or `erasure` entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClearedDetail {
    /// Why: `retention` or `erasure`.
    pub reason: String,
    /// The lowest number whose content went.
    pub first_no: i64,
    /// The highest.
    pub last_no: i64,
    /// How many went.
    pub count: i64,
    /// Digest over numbers and leaves, lower-case hex.
    pub digest: String,
}

/// Content of an `erase` entry. It names nobody: the row of that erasure goes by its own age.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EraseDetail {
    /// The erasure, as in `wayside erasures`.
    pub erasure_id: String,
    /// Rows deleted.
    pub rows: i64,
    /// SHA-256 of what the search of every file came to, lower-case hex.
    pub result_sha256: String,
}

/// Content of a `ground` entry.
#[derive(Debug, Serialize, Deserialize)]
pub struct GroundDetail {
    /// Decisions that were there before the ledger, now entries 1 to this.
    pub count: i64,
    /// The schema version they were found in.
    pub schema: i64,
}

/// What became of an entry's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// It is there, and has this digest now.
    Has(Hash),
    /// It was removed; the entry of that number says why.
    Cleared(i64),
    /// It is not there, and nothing says why.
    Gone,
}

/// An entry as it lies in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its place in the chain.
    pub entry: Entry,
    /// Its hash, as stored.
    pub hash: Hash,
    /// Its content, where that is no decision.
    pub detail: Option<String>,
    /// Its content.
    pub content: Content,
}

/// Entries behind a number, in order, each with the digest of its content as it lies there now; at most `limit`.
pub fn page(tx: &ReadTx<'_>, after: i64, limit: i64) -> Result<Vec<Found>> {
    let sql = format!(
        "SELECT l.ledger_no, l.seq, l.kind, l.at, l.detail, l.prev, l.leaf, l.hash, c.by_no, d.seq, {} FROM ledger l \
         LEFT JOIN cleared c ON c.ledger_no = l.ledger_no \
         LEFT JOIN decisions d ON d.seq = l.seq AND d.ledger_no = l.ledger_no AND l.kind = 'decision' {} \
         WHERE l.ledger_no > ?1 ORDER BY l.ledger_no LIMIT ?2",
        decisions::CONTENT,
        decisions::RESOLVED
    );
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_map((after, limit), found)?.collect())
        .map_err(|e| open::error("reading the ledger", e))
}

fn found(r: &Row<'_>) -> rusqlite::Result<Found> {
    let kind = row::word(r.get_ref(2)?, EntryKind::parse)?;
    let entry = Entry { no: r.get(0)?, seq: r.get(1)?, kind, at: r.get(3)?, prev: r.get(5)?, leaf: r.get(6)? };
    let detail: Option<String> = r.get(4)?;
    let (cleared, there): (Option<i64>, Option<i64>) = (r.get(8)?, r.get(9)?);
    let content = match (&detail, there, cleared) {
        (Some(detail), _, _) => Content::Has(leaf_of_detail(kind, detail)),
        (None, Some(_), _) => Content::Has(decisions::leaf_of_row(r, 10)?),
        (None, None, Some(by)) => Content::Cleared(by),
        (None, None, None) => Content::Gone,
    };
    Ok(Found { entry, hash: r.get(7)?, detail, content })
}

/// The hash of an entry; `None` where it is not there (any more).
pub fn hash_at(tx: &ReadTx<'_>, no: i64) -> Result<Option<Hash>> {
    tx.conn()
        .prepare_cached("SELECT hash FROM ledger WHERE ledger_no = ?1")
        .and_then(|mut s| s.query_row([no], |r| r.get(0)).optional())
        .map_err(|e| open::error("reading an entry of the ledger", e))
}

fn leaf_of_detail(kind: EntryKind, detail: &str) -> Hash {
    let mut leaf = Leaf::of(kind);
    leaf.add("detail", Value::Text(detail));
    leaf.finish()
}

/// The newest entry as the file has it.
pub(in crate::store) fn head_of(conn: &Connection) -> Result<Head> {
    conn.prepare_cached("SELECT ledger_no, hash, at FROM ledger ORDER BY ledger_no DESC LIMIT 1")
        .and_then(|mut s| s.query_row([], |r| Ok(Head { no: r.get(0)?, hash: r.get(1)?, at: r.get(2)? })).optional())
        .map(|found| found.unwrap_or(NOTHING))
        .map_err(|e| open::error("reading the newest entry of the ledger", e))
}

/// The newest entry.
pub fn head(tx: &ReadTx<'_>) -> Result<Head> {
    head_of(tx.conn())
}

/// The newest entry, as the pen holds it.
fn held(tx: &WriteTx<'_>) -> Result<Head> {
    let known = tx.held().borrow().ledger;
    let head = match known {
        Some(head) => head,
        None => head_of(tx.conn())?,
    };
    tx.held().borrow_mut().ledger = Some(head);
    Ok(head)
}

/// The number the next entry takes. Where the clock went back since the newest one, that is written down first: whatever
/// follows is then explained.
pub(in crate::store) fn next_no(tx: &WriteTx<'_>) -> Result<i64> {
    let head = held(tx)?;
    let now = ledger::minute(tx.now());
    if head.no > 0 && ledger::went_back(head.at, now) {
        clock(tx, head.at, tx.now())?;
    }
    Ok(held(tx)?.no + 1)
}

/// Appends the entry of a decision, whose row is in the file. `no` = what [`next_no`] said.
pub(in crate::store) fn append_decision(tx: &WriteTx<'_>, seq: i64) -> Result<Appended> {
    let leaf = decisions::leaf(tx.conn(), seq)?
        .ok_or_else(|| Error::storage("a decision was not where it had been put").code("row_refused"))?;
    append(tx, EntryKind::Decision, seq, leaf, None)
}

fn append(tx: &WriteTx<'_>, kind: EntryKind, seq: i64, leaf: Hash, detail: Option<&str>) -> Result<Appended> {
    let head = held(tx)?;
    let entry = Entry { no: head.no + 1, seq, kind, at: ledger::minute(tx.now()), prev: head.hash, leaf };
    let hash = entry.hash();
    tx.execute(INSERT, (entry.no, seq, kind.word(), entry.at, detail, entry.prev, leaf, hash))?;
    tx.held().borrow_mut().ledger = Some(Head { no: entry.no, hash, at: entry.at });
    Ok(Appended { no: entry.no, prev: entry.prev, hash })
}

const INSERT: &str = "INSERT INTO ledger (ledger_no, seq, kind, at, detail, prev, leaf, hash) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

/// Appends an entry about something else than a decision. `detail` must name no person: it stays for ever.
pub fn note(tx: &WriteTx<'_>, kind: EntryKind, detail: &impl Serialize) -> Result<Appended> {
    if kind != EntryKind::Clock {
        next_no(tx)?;
    }
    let detail = serde_json::to_string(detail).expect("invariant: a detail has string keys");
    append(tx, kind, tx.last_seq().0, leaf_of_detail(kind, &detail), Some(&detail))
}

/// The clock was set.
pub fn clock(tx: &WriteTx<'_>, from: Millis, to: Millis) -> Result<Appended> {
    note(tx, EntryKind::Clock, &ClockDetail { from: from.rfc3339(), to: to.rfc3339() })
}

/// What is to be removed: number and leaf of each entry.
pub(in crate::store) type Going = Vec<(i64, Hash)>;

/// The entries of decisions that are to go, in order of number.
pub(in crate::store) fn entries_of(tx: &ReadTx<'_>, nos: &[i64]) -> Result<Going> {
    let mut going = Vec::with_capacity(nos.len());
    for no in nos {
        let found = tx
            .conn()
            .prepare_cached("SELECT ledger_no, leaf FROM ledger WHERE ledger_no = ?1")
            .and_then(|mut s| s.query_row([no], |r| Ok((r.get(0)?, r.get(1)?))))
            .map_err(|e| open::error("finding a decision's entry", e))?;
        going.push(found);
    }
    going.sort_unstable();
    Ok(going)
}

/// Writes the entry that says why these contents go, and notes it with each: only then can they be removed.
/// `kind` = `prune` or `erasure`.
pub(in crate::store) fn explain(tx: &WriteTx<'_>, kind: EntryKind, going: &Going) -> Result<Option<Appended>> {
    let (Some(first), Some(last)) = (going.first(), going.last()) else { return Ok(None) };
    let mut cleared = Cleared::default();
    going.iter().for_each(|(no, leaf)| cleared.add(*no, leaf));
    let reason = if kind == EntryKind::Erasure { "erasure" } else { "retention" };
    let detail = ClearedDetail {
        reason: reason.to_owned(),
        first_no: first.0,
        last_no: last.0,
        count: cleared.count,
        digest: hex(&cleared.finish()),
    };
    let why = note(tx, kind, &detail)?;
    for (no, _) in going {
        tx.execute("INSERT INTO cleared (ledger_no, by_no) VALUES (?1, ?2)", (no, why.no))?;
    }
    Ok(Some(why))
}

/// An entry's number of the one counter, and its hash. Errors: `Storage` where there is none.
pub(in crate::store) fn place(tx: &ReadTx<'_>, no: i64) -> Result<(i64, Hash)> {
    tx.conn()
        .prepare_cached("SELECT seq, hash FROM ledger WHERE ledger_no = ?1")
        .and_then(|mut s| s.query_row([no], |r| Ok((r.get(0)?, r.get(1)?))))
        .map_err(|e| open::error("reading an entry of the ledger", e))
}

/// Chains the decisions of a file from before the ledger, in the transaction of the step that brings it up: they are its
/// start, and do not read as tampering.
pub(in crate::store) fn ground(conn: &Connection, now: Millis) -> Result<()> {
    let failed = |e| open::error("chaining the decisions of before", e);
    let seqs = decisions::all_seqs(conn)?;
    let mut head = NOTHING;
    let mut put = |kind: EntryKind, seq: i64, leaf: Hash, detail: Option<&str>| {
        let entry = Entry { no: head.no + 1, seq, kind, at: ledger::minute(now), prev: head.hash, leaf };
        let hash = entry.hash();
        head = Head { no: entry.no, hash, at: entry.at };
        conn.prepare_cached(INSERT)
            .and_then(|mut s| s.execute((entry.no, seq, kind.word(), entry.at, detail, entry.prev, leaf, hash)))
            .map(|_| ())
            .map_err(failed)
    };
    for seq in &seqs {
        let leaf = decisions::leaf(conn, *seq)?.ok_or_else(|| Error::storage("a decision vanished"))?;
        put(EntryKind::Decision, *seq, leaf, None)?;
    }
    let Some(last) = seqs.last() else { return Ok(()) };
    let count = i64::try_from(seqs.len()).unwrap_or(i64::MAX);
    let detail = serde_json::to_string(&GroundDetail { count, schema: 1 }).expect("invariant: it has string keys");
    put(EntryKind::Ground, *last, leaf_of_detail(EntryKind::Ground, &detail), Some(&detail))
}

pub mod fold;
#[cfg(test)]
mod tests;
