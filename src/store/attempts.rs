//! The `attempts` table: every attempt to send, committed before its first byte, with the decision it was checked
//! against (contract 2, the promise). Must never be written after the bytes left, but for what a job pulled: there the
//! snapshot is the attempt, and one row for each cursor and batch is noted after it.

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::base::time::Millis;
use crate::domain::event::Lane;
use crate::store::{ReadTx, WriteTx, decisions, open};

/// A batch that a job was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Row of its epoch.
    pub epoch_id: i64,
    /// Its lane.
    pub lane: Lane,
    /// Its number.
    pub batch_no: i64,
    /// The newest decision of the snapshot it was rendered from.
    pub ledger: Seq,
    /// When that was taken.
    pub began: Millis,
    /// Lines that were holes.
    pub holes: i64,
}

/// Begins an attempt: returns its row and the ledger's number it is checked against.
pub fn begin(tx: &WriteTx<'_>, target: &str, epoch_id: i64, lane: Lane, batch_no: i64) -> Result<(i64, Seq)> {
    let ledger = decisions::newest(tx)?;
    tx.execute(
        "INSERT INTO attempts (target, epoch_id, lane, batch_no, ledger_seq, began_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (target, epoch_id, lane.code(), batch_no, ledger, tx.now()),
    )?;
    Ok((tx.conn().last_insert_rowid(), ledger))
}

/// Notes how an attempt ended.
pub fn end(tx: &WriteTx<'_>, attempt_id: i64, outcome: &str, hole_count: i64) -> Result<()> {
    tx.execute(
        "UPDATE attempts SET ended_at = ?2, outcome = ?3, hole_count = ?4 WHERE attempt_id = ?1",
        (attempt_id, tx.now(), outcome, hole_count),
    )
    .map(|_| ())
}

/// Notes that a job was given a batch, rendered from a snapshot of `began` whose newest decision was `ledger`: one row for each
/// cursor and batch, of the latest time. Errors: `Storage`.
pub fn note_pulled(tx: &WriteTx<'_>, cursor: &str, of: &Pulled) -> Result<()> {
    let lane = of.lane.code();
    let changed = tx.execute(
        "UPDATE attempts SET ledger_seq = ?5, began_at = ?6, ended_at = ?7, hole_count = ?8 \
         WHERE epoch_id = ?2 AND lane = ?3 AND batch_no = ?4 AND target = ?1 AND outcome = 'pulled'",
        (cursor, of.epoch_id, lane, of.batch_no, of.ledger, of.began, tx.now(), of.holes),
    )?;
    if changed > 0 {
        return Ok(());
    }
    tx.execute(
        "INSERT INTO attempts (target, epoch_id, lane, batch_no, ledger_seq, began_at, ended_at, outcome, hole_count) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'pulled', ?8)",
        (cursor, of.epoch_id, lane, of.batch_no, of.ledger, of.began, tx.now(), of.holes),
    )
    .map(|_| ())
}

/// Deletes attempts begun before `before`, at most `limit`.
pub fn delete_before(tx: &WriteTx<'_>, before: Millis, limit: i64) -> Result<usize> {
    tx.execute(
        "DELETE FROM attempts WHERE attempt_id IN (SELECT attempt_id FROM attempts WHERE began_at < ?1 \
         ORDER BY attempt_id LIMIT ?2)",
        (before, limit),
    )
}

/// How many attempts at a batch a target has seen.
pub fn count(tx: &ReadTx<'_>, target: &str, epoch_id: i64, lane: Lane, batch_no: i64) -> Result<i64> {
    tx.conn()
        .prepare_cached(
            "SELECT count(*) FROM attempts INDEXED BY attempts_batch \
             WHERE epoch_id = ?2 AND lane = ?3 AND batch_no = ?4 AND target = ?1",
        )
        .and_then(|mut s| s.query_row((target, epoch_id, lane.code(), batch_no), |r| r.get(0)))
        .map_err(|e| open::error("counting attempts", e))
}

/// Is any attempt at a target remembered? (Looks through the table: ask seldom.)
pub fn any_of(tx: &ReadTx<'_>, target: &str) -> Result<bool> {
    tx.conn()
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM attempts WHERE target = ?1)")
        .and_then(|mut s| s.query_row([target], |r| r.get(0)))
        .map_err(|e| open::error("looking for attempts", e))
}

/// Lines that went as holes to a target in the batches of a lane and epoch up to `upto_no`: by the last attempt at each that
/// landed. What is older than attempts are kept counts as none.
pub fn holes_put(tx: &ReadTx<'_>, target: &str, epoch_id: i64, lane: Lane, upto_no: i64) -> Result<i64> {
    tx.conn()
        .prepare_cached(
            "SELECT coalesce(sum(hole_count), 0) FROM attempts WHERE attempt_id IN (SELECT max(attempt_id) FROM attempts \
             WHERE epoch_id = ?2 AND lane = ?3 AND batch_no <= ?4 AND target = ?1 AND outcome IN ('put', 'same', 'renewed') \
             GROUP BY batch_no)",
        )
        .and_then(|mut s| s.query_row((target, epoch_id, lane.code(), upto_no), |r| r.get(0)))
        .map_err(|e| open::error("counting holes that were put", e))
}

/// An attempt: target, the decision it was checked against, when it began, how it ended.
pub type Attempt = (String, Seq, Millis, Option<String>);

/// Attempts at a batch.
pub fn of_batch(tx: &ReadTx<'_>, epoch_id: i64, lane: Lane, batch_no: i64) -> Result<Vec<Attempt>> {
    tx.conn()
        .prepare_cached(
            "SELECT target, ledger_seq, began_at, outcome FROM attempts WHERE epoch_id = ?1 AND lane = ?2 AND batch_no = ?3 \
             ORDER BY attempt_id",
        )
        .and_then(|mut s| {
            s.query_map((epoch_id, lane.code(), batch_no), |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?.collect()
        })
        .map_err(|e| open::error("reading attempts", e))
}
