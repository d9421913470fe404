//! The `cursors` table: how far each target has each lane, put and acknowledged.
//! Invariants: `acked_no` never passes `put_no`; both only rise within an epoch, but for [`set_back`], which follows a target
//! that lost what it had, and [`clamp`], which follows batches that were voided. `ever_no` remembers what was acknowledged.

use rusqlite::{OptionalExtension, Row};

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::base::time::Millis;
use crate::domain::alarm;
use crate::domain::event::Lane;
use crate::store::{ReadTx, WriteTx, batches, epochs, open};

/// A target's position in a lane of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Highest batch put.
    pub put_no: i64,
    /// Highest batch acknowledged, contiguous.
    pub acked_no: i64,
    /// Failures in a row.
    pub failures: i64,
    /// Not tried before.
    pub next_at: Millis,
    /// What went wrong last.
    pub last_error: Option<String>,
}

impl Cursor {
    /// Did the target have another batch under a number of ours, when it was last tried?
    pub fn is_fenced(&self) -> bool {
        self.last_error.as_deref().is_some_and(|error| error.starts_with(alarm::FORK))
    }
}

/// A position from five columns, the first of them the first.
pub(in crate::store) fn position(r: &Row<'_>) -> rusqlite::Result<Cursor> {
    Ok(Cursor {
        put_no: r.get(0)?,
        acked_no: r.get(1)?,
        failures: r.get(2)?,
        next_at: r.get(3)?,
        last_error: r.get(4)?,
    })
}

/// A target's position; zero where it has none.
pub fn get(tx: &ReadTx<'_>, target: &str, epoch_id: i64, lane: Lane) -> Result<Cursor> {
    tx.conn()
        .prepare_cached(
            "SELECT put_no, acked_no, failures, next_at, last_error FROM cursors \
             WHERE target = ?1 AND epoch_id = ?2 AND lane = ?3",
        )
        .and_then(|mut s| s.query_row((target, epoch_id, lane.code()), position).optional())
        .map(Option::unwrap_or_default)
        .map_err(|e| open::error("reading a cursor", e))
}

/// Keeps a target's position.
pub fn put(tx: &WriteTx<'_>, target: &str, epoch_id: i64, lane: Lane, c: &Cursor) -> Result<()> {
    tx.execute(
        "INSERT INTO cursors (target, epoch_id, lane, put_no, acked_no, failures, next_at, last_error, ever_no) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?5) ON CONFLICT DO UPDATE SET put_no = max(put_no, excluded.put_no), \
         acked_no = max(acked_no, excluded.acked_no), failures = excluded.failures, next_at = excluded.next_at, \
         last_error = excluded.last_error, ever_no = max(ever_no, excluded.ever_no)",
        rusqlite::params![target, epoch_id, lane.code(), c.put_no, c.acked_no, c.failures, c.next_at, c.last_error],
    )
    .map(|_| ())
}

/// A target has lost what lies behind batch `upto_no`, which it had acknowledged: from there everything is sent again.
pub fn set_back(tx: &WriteTx<'_>, target: &str, epoch_id: i64, lane: Lane, upto_no: i64) -> Result<()> {
    tx.execute(
        "UPDATE cursors SET put_no = min(put_no, ?4), acked_no = min(acked_no, ?4) \
         WHERE target = ?1 AND epoch_id = ?2 AND lane = ?3",
        (target, epoch_id, lane.code(), upto_no),
    )
    .map(|_| ())
}

/// Batches of a lane and epoch behind `upto_no` were voided, for every target: no position lies behind it, and none waits.
pub fn clamp(tx: &WriteTx<'_>, epoch_id: i64, lane: Lane, upto_no: i64) -> Result<()> {
    tx.execute(
        "UPDATE cursors SET put_no = min(put_no, ?3), acked_no = min(acked_no, ?3), ever_no = min(ever_no, ?3), \
         failures = 0, next_at = 0, last_error = NULL WHERE epoch_id = ?1 AND lane = ?2",
        (epoch_id, lane.code(), upto_no),
    )
    .map(|_| ())
}

/// Every target that has a position, by name.
pub fn targets(tx: &ReadTx<'_>) -> Result<Vec<String>> {
    tx.conn()
        .prepare_cached("SELECT DISTINCT target FROM cursors ORDER BY target")
        .and_then(|mut s| s.query_map([], |r| r.get(0))?.collect())
        .map_err(|e| open::error("listing targets", e))
}

/// The lowest batch of a lane and epoch that every one of `targets` has acknowledged.
pub fn acked_by_all(tx: &ReadTx<'_>, targets: &[String], epoch_id: i64, lane: Lane) -> Result<i64> {
    let mut lowest = None;
    for target in targets {
        let no = get(tx, target, epoch_id, lane)?.acked_no;
        lowest = Some(lowest.map_or(no, |low: i64| low.min(no)));
    }
    Ok(lowest.unwrap_or(0))
}

/// The highest batch of a lane and epoch that any target has ever acknowledged.
pub fn highest_acked(tx: &ReadTx<'_>, epoch_id: i64, lane: Lane) -> Result<i64> {
    tx.conn()
        .prepare_cached("SELECT coalesce(max(ever_no), 0) FROM cursors WHERE epoch_id = ?1 AND lane = ?2")
        .and_then(|mut s| s.query_row((epoch_id, lane.code()), |r| r.get(0)))
        .map_err(|e| open::error("reading the highest acknowledgement", e))
}

/// The number up to which every row of a lane has been acknowledged by every one of `targets`, or never got a line.
/// A row at or below it needs no hole when it is deleted.
pub fn delivered_upto(tx: &ReadTx<'_>, targets: &[String], lane: Lane) -> Result<Seq> {
    let mut upto = Seq(0);
    for epoch in epochs::all(tx)? {
        let Some(newest) = batches::newest(tx, epoch.id, lane)? else { continue };
        // an attempt that was under way when batches were voided may have noted one of them
        let acked = acked_by_all(tx, targets, epoch.id, lane)?.min(newest.batch_no);
        if let Some(batch) = batches::get(tx, epoch.id, lane, acked)? {
            upto = batch.last_seq;
        }
        if acked < newest.batch_no {
            break;
        }
    }
    Ok(upto)
}

/// Forgets how far a target was; returns how many positions went.
pub fn forget(tx: &WriteTx<'_>, target: &str) -> Result<usize> {
    tx.execute("DELETE FROM cursors WHERE target = ?1", [target])
}
