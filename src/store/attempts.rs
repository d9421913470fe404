//! The `attempts` table: every attempt to send, committed before its first byte, with the decision it was checked
//! against (contract 2, the promise). Must never be written after the bytes left.

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::base::time::Millis;
use crate::domain::event::Lane;
use crate::store::{ReadTx, WriteTx, decisions, open};

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
