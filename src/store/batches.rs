//! The `batches` and `sealed` tables: boundaries, digests and the signed bytes of what was sealed.
//! Must never hold a line: those are rendered when put. Invariant: batch numbers of a lane and epoch are contiguous.

use rusqlite::{OptionalExtension, Row};

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::base::time::Millis;
use crate::domain::batch::Batch;
use crate::domain::event::Lane;
use crate::store::{ReadTx, WriteTx, epochs, open};

const COLUMNS: &str = "epoch_id, lane, batch_no, first_seq, last_seq, line_count, digest, min_received_at, \
    max_received_at, sealed_at, edge_label, schema, sealed_part, signature";

fn from_row(r: &Row<'_>) -> rusqlite::Result<Batch> {
    let lane: i64 = r.get(1)?;
    Ok(Batch {
        epoch_id: r.get(0)?,
        lane: Lane::from_code(lane).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, lane))?,
        batch_no: r.get(2)?,
        first_seq: r.get(3)?,
        last_seq: r.get(4)?,
        count: r.get(5)?,
        digest: r.get(6)?,
        received: (r.get(7)?, r.get(8)?),
        sealed_at: r.get(9)?,
        edge_label: r.get(10)?,
        schema: r.get(11)?,
        sealed_part: r.get(12)?,
        signature: r.get(13)?,
    })
}

/// Keeps a sealed batch and moves the lane's boundary.
pub fn insert(tx: &WriteTx<'_>, b: &Batch) -> Result<()> {
    tx.execute(
        "INSERT INTO batches (epoch_id, lane, batch_no, first_seq, last_seq, line_count, digest, min_received_at, \
         max_received_at, sealed_at, edge_label, schema, sealed_part, signature) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        rusqlite::params![
            b.epoch_id,
            b.lane.code(),
            b.batch_no,
            b.first_seq,
            b.last_seq,
            b.count,
            b.digest,
            b.received.0,
            b.received.1,
            b.sealed_at,
            b.edge_label,
            b.schema,
            b.sealed_part,
            b.signature,
        ],
    )
    .map(|_| ())
}

/// Everything of the lane at or below `upto` is sealed, or may never leave.
pub fn set_sealed_upto(tx: &WriteTx<'_>, lane: Lane, upto: Seq) -> Result<()> {
    tx.execute(
        "INSERT INTO sealed (lane, upto_seq) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET upto_seq = max(upto_seq, excluded.upto_seq)",
        (lane.code(), upto),
    )
    .map(|_| ())
}

/// How far a lane is sealed.
pub fn sealed_upto(tx: &ReadTx<'_>, lane: Lane) -> Result<Seq> {
    tx.conn()
        .prepare_cached("SELECT upto_seq FROM sealed WHERE lane = ?1")
        .and_then(|mut s| s.query_row([lane.code()], |r| r.get(0)).optional())
        .map(|seq| seq.unwrap_or_default())
        .map_err(|e| open::error("reading how far a lane is sealed", e))
}

/// One batch.
pub fn get(tx: &ReadTx<'_>, epoch_id: i64, lane: Lane, batch_no: i64) -> Result<Option<Batch>> {
    let sql = format!("SELECT {COLUMNS} FROM batches WHERE epoch_id = ?1 AND lane = ?2 AND batch_no = ?3");
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_row((epoch_id, lane.code(), batch_no), from_row).optional())
        .map_err(|e| open::error("reading a batch", e))
}

/// The newest batch of a lane in an epoch.
pub fn newest(tx: &ReadTx<'_>, epoch_id: i64, lane: Lane) -> Result<Option<Batch>> {
    let sql = format!("SELECT {COLUMNS} FROM batches WHERE epoch_id = ?1 AND lane = ?2 ORDER BY batch_no DESC LIMIT 1");
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_row((epoch_id, lane.code()), from_row).optional())
        .map_err(|e| open::error("reading the newest batch", e))
}

/// Batches of a lane and epoch behind `after_no`, in order, at most `limit`.
pub fn list(tx: &ReadTx<'_>, epoch_id: i64, lane: Lane, after_no: i64, limit: i64) -> Result<Vec<Batch>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM batches WHERE epoch_id = ?1 AND lane = ?2 AND batch_no > ?3 ORDER BY batch_no LIMIT ?4"
    );
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_map((epoch_id, lane.code(), after_no, limit), from_row)?.collect())
        .map_err(|e| open::error("listing batches", e))
}

/// Epochs that have batches, oldest first.
pub fn epochs(tx: &ReadTx<'_>) -> Result<Vec<i64>> {
    tx.conn()
        .prepare_cached("SELECT epoch_id FROM epochs e WHERE EXISTS (SELECT 1 FROM batches b WHERE b.epoch_id = e.epoch_id) ORDER BY epoch_id")
        .and_then(|mut s| s.query_map([], |r| r.get(0))?.collect())
        .map_err(|e| open::error("listing epochs with batches", e))
}

/// The batch a new one of this epoch and lane follows: the newest of the lane in this epoch, else in the latest epoch
/// before it that has one.
pub fn before_next(tx: &ReadTx<'_>, epoch_id: i64, lane: Lane) -> Result<Option<Batch>> {
    for epoch in epochs::all(tx)?.iter().rev().filter(|epoch| epoch.id <= epoch_id) {
        if let Some(batch) = newest(tx, epoch.id, lane)? {
            return Ok(Some(batch));
        }
    }
    Ok(None)
}

/// The batch within whose boundaries a row of a lane lies.
pub fn holding(tx: &ReadTx<'_>, lane: Lane, seq: Seq) -> Result<Option<Batch>> {
    // boundaries of a lane never overlap, so the last one to begin is the only one that can hold it
    let sql = format!(
        "SELECT {COLUMNS} FROM batches INDEXED BY batches_lane WHERE lane = ?1 AND first_seq <= ?2 \
         ORDER BY first_seq DESC LIMIT 1"
    );
    let found: Option<Batch> = tx
        .conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_row((lane.code(), seq), from_row).optional())
        .map_err(|e| open::error("finding the batch of a row", e))?;
    Ok(found.filter(|batch| batch.last_seq >= seq))
}

/// Lines in the batches of a lane and epoch behind `after_no` up to `upto_no`, and the earliest receiving time of one.
pub fn sum(tx: &ReadTx<'_>, epoch_id: i64, lane: Lane, after_no: i64, upto_no: i64) -> Result<(i64, Option<Millis>)> {
    tx.conn()
        .prepare_cached(
            "SELECT coalesce(sum(line_count), 0), min(min_received_at) FROM batches INDEXED BY batches_behind \
             WHERE epoch_id = ?1 AND lane = ?2 AND batch_no > ?3 AND batch_no <= ?4",
        )
        .and_then(|mut s| s.query_row((epoch_id, lane.code(), after_no, upto_no), |r| Ok((r.get(0)?, r.get(1)?))))
        .map_err(|e| open::error("summing batches", e))
}

/// Lines of a lane that are sealed behind batch `after_no` of an epoch, later epochs included, and the earliest
/// receiving time of one.
pub fn behind(tx: &ReadTx<'_>, epoch_id: i64, lane: Lane, after_no: i64) -> Result<(i64, Option<Millis>)> {
    let (mut lines, mut earliest) = sum(tx, epoch_id, lane, after_no, i64::MAX)?;
    for epoch in epochs::all(tx)?.iter().filter(|epoch| epoch.id > epoch_id) {
        let (more, at) = sum(tx, epoch.id, lane, 0, i64::MAX)?;
        lines += more;
        earliest = earliest.into_iter().chain(at).min();
    }
    Ok((lines, earliest))
}

/// Lines of the batches of a lane and epoch behind `after_no` up to `upto_no`, and when the first and the last of them was
/// received; `None` where there are none.
pub fn between_nos(
    tx: &ReadTx<'_>,
    epoch_id: i64,
    lane: Lane,
    after_no: i64,
    upto_no: i64,
) -> Result<Option<(i64, Millis, Millis)>> {
    tx.conn()
        .prepare_cached(
            "SELECT sum(line_count), min(min_received_at), max(max_received_at) FROM batches \
             WHERE epoch_id = ?1 AND lane = ?2 AND batch_no > ?3 AND batch_no <= ?4 HAVING count(*) > 0",
        )
        .and_then(|mut s| {
            s.query_row((epoch_id, lane.code(), after_no, upto_no), |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
                .optional()
        })
        .map_err(|e| open::error("summing batches", e))
}

/// Batches of a lane and epoch up to `upto_no` that are kept: their number, and their first and last line.
pub fn kept(tx: &ReadTx<'_>, epoch_id: i64, lane: Lane, upto_no: i64) -> Result<(i64, Option<(Seq, Seq)>)> {
    tx.conn()
        .prepare_cached(
            "SELECT count(*), min(first_seq), max(last_seq) FROM batches WHERE epoch_id = ?1 AND lane = ?2 AND batch_no <= ?3",
        )
        .and_then(|mut s| {
            s.query_row((epoch_id, lane.code(), upto_no), |r| {
                let ends: (Option<Seq>, Option<Seq>) = (r.get(1)?, r.get(2)?);
                Ok((r.get(0)?, ends.0.zip(ends.1)))
            })
        })
        .map_err(|e| open::error("counting batches", e))
}

/// A batch as removing it sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgedBatch {
    /// Its number.
    pub batch_no: i64,
    /// First and last line.
    pub seqs: (Seq, Seq),
    /// When it was sealed.
    pub sealed_at: Millis,
}

/// The oldest batches of a lane and epoch, up to number `upto_no` and at most `limit`. The newest is never among them: the
/// next one's chain begins at it.
pub fn oldest(tx: &ReadTx<'_>, epoch_id: i64, lane: Lane, upto_no: i64, limit: i64) -> Result<Vec<AgedBatch>> {
    tx.conn()
        .prepare_cached(
            "SELECT batch_no, first_seq, last_seq, sealed_at FROM batches WHERE epoch_id = ?1 AND lane = ?2 AND batch_no <= ?3 \
             AND batch_no < (SELECT max(batch_no) FROM batches WHERE epoch_id = ?1 AND lane = ?2) ORDER BY batch_no LIMIT ?4",
        )
        .and_then(|mut s| {
            s.query_map((epoch_id, lane.code(), upto_no, limit), |r| {
                Ok(AgedBatch { batch_no: r.get(0)?, seqs: (r.get(1)?, r.get(2)?), sealed_at: r.get(3)? })
            })?
            .collect()
        })
        .map_err(|e| open::error("reading the oldest batches", e))
}

/// Deletes one batch. Whoever calls has deleted its holes, and leaves the newest of each lane and epoch.
pub fn delete(tx: &WriteTx<'_>, epoch_id: i64, lane: Lane, batch_no: i64) -> Result<()> {
    let params = (epoch_id, lane.code(), batch_no);
    tx.execute("DELETE FROM batches WHERE epoch_id = ?1 AND lane = ?2 AND batch_no = ?3", params).map(|_| ())
}

/// Voids the batches of a lane that begin behind `after`, of every epoch: their rows wait to be sealed again. Their holes
/// lose the digest of a line that lies in no batch any more. Returns the batches by epoch and number.
pub fn void_behind(tx: &WriteTx<'_>, lane: Lane, after: Seq) -> Result<Vec<(i64, i64)>> {
    let voided = tx.returning(
        "DELETE FROM batches WHERE lane = ?1 AND first_seq > ?2 RETURNING epoch_id, batch_no",
        (lane.code(), after),
        |r| Ok((r.get(0)?, r.get(1)?)),
    )?;
    tx.execute("UPDATE sealed SET upto_seq = ?2 WHERE lane = ?1 AND upto_seq > ?2", (lane.code(), after))?;
    Ok(voided)
}

/// Number of batches and of lines of a lane.
pub fn totals(tx: &ReadTx<'_>, lane: Lane) -> Result<(i64, i64)> {
    tx.conn()
        .prepare_cached("SELECT count(*), coalesce(sum(line_count), 0) FROM batches WHERE lane = ?1")
        .and_then(|mut s| s.query_row([lane.code()], |r| Ok((r.get(0)?, r.get(1)?))))
        .map_err(|e| open::error("summing batches", e))
}
