//! The `holes` table: numbers and digests of lines that lie in a batch and may no longer leave.
//! Whoever deletes or changes a row that lies in a batch some target has not acknowledged calls [`before_delete`] first.

use crate::base::digest::Hash;
use crate::base::error::Result;
use crate::base::id::Seq;
use crate::domain::event::Lane;
use crate::domain::line::{HoleReason, line_hash};
use crate::store::{ReadTx, WriteTx, batches, lines, open, row, stale};

/// A line that may no longer leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Its number.
    pub seq: Seq,
    /// Row of its birth epoch.
    pub epoch_id: i64,
    /// Why.
    pub reason: HoleReason,
    /// Hash of the line as it was sealed; `None` for a row that was left out of its batch and has no line in it.
    pub line: Option<Hash>,
}

/// Before the row `seq` of `lane` is deleted or changed: if it has a line in a sealed batch, number and digest stay as a
/// hole. Returns whether there is a hole now. The line's hash needs the label of its batch, so the batch is looked up.
pub fn before_delete(tx: &WriteTx<'_>, lane: Lane, seq: Seq, reason: HoleReason) -> Result<bool> {
    if seq > batches::sealed_upto(tx, lane)? {
        return Ok(false);
    }
    if !between(tx, lane, seq, seq)?.is_empty() {
        return Ok(true);
    }
    let Some(batch) = batches::holding(tx, lane, seq)? else { return Ok(false) };
    let Some(found) = lines::one(tx, lane, seq)? else { return Ok(false) };
    let line = Some(line_hash(&found.line.render(&batch.edge_label)));
    insert(tx, lane, &Hole { seq, epoch_id: found.epoch_id, reason, line })?;
    stale::note(tx, &batch)?;
    Ok(true)
}

/// A row within the boundaries of a batch being sealed gets no line in it.
pub fn leave_out(tx: &WriteTx<'_>, lane: Lane, seq: Seq, epoch_id: i64, reason: HoleReason) -> Result<()> {
    tx.execute(
        "INSERT INTO holes (seq, lane, epoch_id, reason, line_sha256, at) VALUES (?1, ?2, ?3, ?4, NULL, ?5) \
         ON CONFLICT DO UPDATE SET line_sha256 = NULL",
        (seq, lane.code(), epoch_id, reason.word(), tx.now()),
    )
    .map(|_| ())
}

fn insert(tx: &WriteTx<'_>, lane: Lane, hole: &Hole) -> Result<()> {
    tx.execute(
        "INSERT INTO holes (seq, lane, epoch_id, reason, line_sha256, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT DO NOTHING",
        (hole.seq, lane.code(), hole.epoch_id, hole.reason.word(), hole.line, tx.now()),
    )
    .map(|_| ())
}

/// The holes of a lane between two numbers, both included, in order.
pub fn between(tx: &ReadTx<'_>, lane: Lane, first: Seq, last: Seq) -> Result<Vec<Hole>> {
    tx.conn()
        .prepare_cached(
            "SELECT seq, epoch_id, reason, line_sha256 FROM holes WHERE seq BETWEEN ?2 AND ?3 AND lane = ?1 ORDER BY seq",
        )
        .and_then(|mut s| {
            s.query_map((lane.code(), first, last), |r| {
                Ok(Hole {
                    seq: r.get(0)?,
                    epoch_id: r.get(1)?,
                    reason: row::word(r.get_ref(2)?, HoleReason::parse)?,
                    line: r.get(3)?,
                })
            })?
            .collect()
        })
        .map_err(|e| open::error("reading holes", e))
}

/// Deletes the oldest holes of a lane between two numbers, both included, at most `limit`; returns how many. Only for a
/// batch that goes too: without its holes it can be rendered no more.
pub fn delete_between(tx: &WriteTx<'_>, lane: Lane, (first, last): (Seq, Seq), limit: i64) -> Result<usize> {
    tx.execute(
        "DELETE FROM holes WHERE seq IN (SELECT seq FROM holes WHERE seq BETWEEN ?2 AND ?3 AND lane = ?1 ORDER BY seq LIMIT ?4)",
        (lane.code(), first, last, limit),
    )
}

/// The batches of a lane behind `after` were voided: no hole there stands for a line of a batch any more. A row that is
/// still there stays out of the batch it is sealed into next.
pub fn void_behind(tx: &WriteTx<'_>, lane: Lane, after: Seq) -> Result<usize> {
    tx.execute("UPDATE holes SET line_sha256 = NULL WHERE lane = ?1 AND seq > ?2", (lane.code(), after))
}

/// How many lines of a lane between two numbers, both included, are holes, by reason.
pub fn by_reason(tx: &ReadTx<'_>, lane: Lane, first: Seq, last: Seq) -> Result<Vec<(String, i64)>> {
    tx.conn()
        .prepare_cached(
            "SELECT reason, count(*) FROM holes WHERE seq BETWEEN ?2 AND ?3 AND lane = ?1 AND line_sha256 IS NOT NULL \
             GROUP BY reason ORDER BY reason",
        )
        .and_then(|mut s| s.query_map((lane.code(), first, last), |r| Ok((r.get(0)?, r.get(1)?)))?.collect())
        .map_err(|e| open::error("counting holes of a stretch", e))
}

/// How many lines are holes, by reason.
pub fn totals(tx: &ReadTx<'_>) -> Result<Vec<(String, i64)>> {
    tx.conn()
        .prepare_cached(
            "SELECT reason, count(*) FROM holes WHERE line_sha256 IS NOT NULL GROUP BY reason ORDER BY reason",
        )
        .and_then(|mut s| s.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect())
        .map_err(|e| open::error("counting holes", e))
}
