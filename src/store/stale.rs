//! The `stale` table: sealed batches in which a hole has been written since. Whoever keeps rendered files of a batch looks
//! here for those to render again. Must never say why (`holes.rs` does).

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::domain::batch::Batch;
use crate::domain::event::Lane;
use crate::store::{ReadTx, WriteTx, open};

/// A batch by epoch, lane and number.
pub type BatchName = (i64, Lane, i64);

/// A hole was written in this batch.
pub fn note(tx: &WriteTx<'_>, batch: &Batch) -> Result<()> {
    tx.execute(
        "INSERT INTO stale (epoch_id, lane, batch_no, since_seq) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT DO UPDATE SET since_seq = excluded.since_seq WHERE since_seq < excluded.since_seq",
        (batch.epoch_id, batch.lane.code(), batch.batch_no, tx.last_seq()),
    )
    .map(|_| ())
}

/// Batches with a hole written where the counter stood at `since` or later.
pub fn since(tx: &ReadTx<'_>, since: Seq) -> Result<Vec<BatchName>> {
    let row = |r: &rusqlite::Row<'_>| {
        let lane: i64 = r.get(1)?;
        Ok((r.get(0)?, Lane::from_code(lane).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, lane))?, r.get(2)?))
    };
    tx.conn()
        .prepare_cached("SELECT epoch_id, lane, batch_no FROM stale WHERE since_seq >= ?1")
        .and_then(|mut s| s.query_map([since], row)?.collect())
        .map_err(|e| open::error("listing batches with new holes", e))
}

/// Forgets a batch that was voided.
pub fn forget(tx: &WriteTx<'_>, epoch_id: i64, lane: Lane, batch_no: i64) -> Result<()> {
    let params = (epoch_id, lane.code(), batch_no);
    tx.execute("DELETE FROM stale WHERE epoch_id = ?1 AND lane = ?2 AND batch_no = ?3", params).map(|_| ())
}

/// Forgets batches whose holes were written before the counter stood at `before`, at most `limit`: everybody has seen them.
pub fn delete_before(tx: &WriteTx<'_>, before: Seq, limit: i64) -> Result<usize> {
    tx.execute(
        "DELETE FROM stale WHERE (epoch_id, lane, batch_no) IN \
         (SELECT epoch_id, lane, batch_no FROM stale WHERE since_seq < ?1 LIMIT ?2)",
        (before, limit),
    )
}
