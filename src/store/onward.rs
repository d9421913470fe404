//! The `onward` and `onward_attempts` tables: how far each target has what was received of other edges, and every attempt.
//! Must never be written after the bytes left. Invariant: `acked_no` never passes `put_no`; both only rise, but for [`set_back`],
//! which follows a target that lost what it had. They are places in the order of arrival, so that a batch that fills a gap
//! later goes onward too. `onward_refused` holds the lines of them that a target will never take.

use rusqlite::OptionalExtension;

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::base::time::Millis;
use crate::store::cursors::{Cursor, position};
use crate::store::refused::Why;
use crate::store::{ReadTx, WriteTx, bound, open};

/// A target's position in a stream; zero where it has none.
pub fn get(tx: &ReadTx<'_>, target: &str, stream_id: i64) -> Result<Cursor> {
    tx.conn()
        .prepare_cached(
            "SELECT put_no, acked_no, failures, next_at, last_error FROM onward WHERE target = ?1 AND stream_id = ?2",
        )
        .and_then(|mut s| s.query_row((target, stream_id), position).optional())
        .map(Option::unwrap_or_default)
        .map_err(|e| open::error("reading how far a target has what was received", e))
}

/// Keeps a target's position.
pub fn put(tx: &WriteTx<'_>, target: &str, stream_id: i64, c: &Cursor) -> Result<()> {
    tx.execute(
        "INSERT INTO onward (target, stream_id, put_no, acked_no, failures, next_at, last_error) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET put_no = max(put_no, excluded.put_no), \
         acked_no = max(acked_no, excluded.acked_no), failures = excluded.failures, next_at = excluded.next_at, \
         last_error = excluded.last_error",
        rusqlite::params![target, stream_id, c.put_no, c.acked_no, c.failures, c.next_at, c.last_error],
    )
    .map(|_| ())
}

/// A target has lost what came behind place `no`, which it had acknowledged: from there everything is sent again.
pub fn set_back(tx: &WriteTx<'_>, target: &str, stream_id: i64, no: i64) -> Result<()> {
    tx.execute(
        "UPDATE onward SET put_no = min(put_no, ?3), acked_no = min(acked_no, ?3) WHERE target = ?1 AND stream_id = ?2",
        (target, stream_id, no),
    )
    .map(|_| ())
}

/// The last place in a stream that any target was ever put; 0 where none.
pub fn highest_put(tx: &ReadTx<'_>, stream_id: i64) -> Result<i64> {
    tx.conn()
        .prepare_cached("SELECT coalesce(max(put_no), 0) FROM onward WHERE stream_id = ?1")
        .and_then(|mut s| s.query_row([stream_id], |r| r.get(0)))
        .map_err(|e| open::error("reading how far a stream went onward", e))
}

/// The last place in a stream that every one of `targets` has acknowledged.
pub fn acked_by_all(tx: &ReadTx<'_>, targets: &[String], stream_id: i64) -> Result<i64> {
    let mut lowest: Option<i64> = None;
    for target in targets {
        let no = get(tx, target, stream_id)?.acked_no;
        lowest = Some(lowest.map_or(no, |low| low.min(no)));
    }
    Ok(lowest.unwrap_or(0))
}

/// Begins an attempt: returns its row. It is checked against everything that binds by now.
pub fn begin(tx: &WriteTx<'_>, target: &str, stream_id: i64, batch_no: i64) -> Result<i64> {
    let newest: Seq = bound::newest(tx)?;
    tx.execute(
        "INSERT INTO onward_attempts (target, stream_id, batch_no, bound_seq, began_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        (target, stream_id, batch_no, newest, tx.now()),
    )?;
    Ok(tx.conn().last_insert_rowid())
}

/// Notes how an attempt ended.
pub fn end(tx: &WriteTx<'_>, attempt_id: i64, outcome: &str, hole_count: i64) -> Result<()> {
    tx.execute(
        "UPDATE onward_attempts SET ended_at = ?2, outcome = ?3, hole_count = ?4 WHERE attempt_id = ?1",
        (attempt_id, tx.now(), outcome, hole_count),
    )
    .map(|_| ())
}

/// Deletes attempts begun before `before`, at most `limit`; returns how many.
pub fn delete_before(tx: &WriteTx<'_>, before: Millis, limit: i64) -> Result<usize> {
    tx.execute(
        "DELETE FROM onward_attempts WHERE attempt_id IN (SELECT attempt_id FROM onward_attempts WHERE began_at < ?1 \
         ORDER BY attempt_id LIMIT ?2)",
        (before, limit),
    )
}

/// Was this batch tried at this target before?
pub fn tried(tx: &ReadTx<'_>, target: &str, stream_id: i64, batch_no: i64) -> Result<bool> {
    tx.conn()
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM onward_attempts WHERE stream_id = ?2 AND batch_no = ?3 AND target = ?1)",
        )
        .and_then(|mut s| s.query_row((target, stream_id, batch_no), |r| r.get(0)))
        .map_err(|e| open::error("looking for attempts onward", e))
}

/// When a batch last landed anywhere; `None` where it did not, or nobody remembers.
pub fn landed(tx: &ReadTx<'_>, stream_id: i64, batch_no: i64) -> Result<Option<Millis>> {
    tx.conn()
        .prepare_cached(
            "SELECT max(ended_at) FROM onward_attempts \
             WHERE stream_id = ?1 AND batch_no = ?2 AND outcome IN ('put', 'same', 'renewed')",
        )
        .and_then(|mut s| s.query_row((stream_id, batch_no), |r| r.get(0)))
        .map_err(|e| open::error("reading when a batch went onward", e))
}

/// Every attempt at a batch: target, the newest right it was checked against, how it ended.
pub fn attempts(tx: &ReadTx<'_>, stream_id: i64, batch_no: i64) -> Result<Vec<(String, Seq, Option<String>)>> {
    tx.conn()
        .prepare_cached(
            "SELECT target, bound_seq, outcome FROM onward_attempts WHERE stream_id = ?1 AND batch_no = ?2 ORDER BY attempt_id",
        )
        .and_then(|mut s| {
            s.query_map((stream_id, batch_no), |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?.collect()
        })
        .map_err(|e| open::error("reading attempts onward", e))
}

/// A target refused a line for good: it is a hole for it alone.
pub fn refuse(tx: &WriteTx<'_>, target: &str, stream_id: i64, seq: Seq, why: Why) -> Result<()> {
    tx.execute(
        "INSERT INTO onward_refused (target, stream_id, seq, why, at) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        (target, stream_id, seq, why.word(), tx.now()),
    )
    .map(|_| ())
}

/// What a target refused of a stream up to a number, rising.
pub fn refused(tx: &ReadTx<'_>, target: &str, stream_id: i64, upto: Seq) -> Result<Vec<Seq>> {
    tx.conn()
        .prepare_cached(
            "SELECT seq FROM onward_refused WHERE target = ?1 AND stream_id = ?2 AND seq <= ?3 ORDER BY seq",
        )
        .and_then(|mut s| s.query_map((target, stream_id, upto), |r| r.get(0))?.collect())
        .map_err(|e| open::error("reading what a target refused of another edge", e))
}

/// Forgets lines refused before `before`, at most `limit`; returns how many.
pub fn forget_refused(tx: &WriteTx<'_>, before: Millis, limit: i64) -> Result<usize> {
    tx.execute(
        "DELETE FROM onward_refused WHERE (target, stream_id, seq) IN \
         (SELECT target, stream_id, seq FROM onward_refused WHERE at < ?1 LIMIT ?2)",
        (before, limit),
    )
}

/// A batch that a job was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// Row of its stream.
    pub stream_id: i64,
    /// Its number.
    pub batch_no: i64,
    /// The newest right of the snapshot it was rendered from.
    pub bound: Seq,
    /// When that snapshot was taken.
    pub began: Millis,
    /// Lines that were holes.
    pub holes: i64,
}

/// Notes, after the answer, what a job was given: the snapshot was the attempt.
pub fn note(tx: &WriteTx<'_>, target: &str, g: &Given) -> Result<()> {
    tx.execute(
        "INSERT INTO onward_attempts (target, stream_id, batch_no, bound_seq, began_at, ended_at, outcome, hole_count) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'put', ?7)",
        (target, g.stream_id, g.batch_no, g.bound, g.began, tx.now(), g.holes),
    )
    .map(|_| ())
}
