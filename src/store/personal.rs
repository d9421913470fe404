//! The `personal` table: traits and other personal fields, kept only with the right to `personal`.
//! The only table that holds them; must never be joined into a line that leaves.

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::base::time::Millis;
use crate::domain::event::Attribute;
use crate::store::{ReadTx, WriteTx, open};

/// Keeps one field of the event `seq`.
pub fn insert(tx: &WriteTx<'_>, seq: Seq, visitor_id: i64, field: &Attribute, at: Millis) -> Result<()> {
    tx.execute(
        "INSERT INTO personal (seq, visitor_id, field, value, data_type, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT (seq, field) DO UPDATE SET value = excluded.value, data_type = excluded.data_type",
        (seq, visitor_id, &field.name, &field.value, field.data_type.word(), at),
    )
    .map(|_| ())
}

/// The newest value of each field of a visitor above a floor.
pub fn of_visitor(tx: &ReadTx<'_>, visitor_id: i64, floor: Seq) -> Result<Vec<(String, String)>> {
    tx.conn()
        .prepare_cached(
            "SELECT field, value FROM personal p WHERE visitor_id = ?1 AND seq > ?2 AND seq = \
             (SELECT max(seq) FROM personal q WHERE q.visitor_id = p.visitor_id AND q.field = p.field) ORDER BY field",
        )
        .and_then(|mut s| s.query_map((visitor_id, floor), |r| Ok((r.get(0)?, r.get(1)?)))?.collect())
        .map_err(|e| open::error("reading personal fields", e))
}

/// Deletes a visitor's fields at or below a floor, at most `limit`.
pub fn delete_upto(tx: &WriteTx<'_>, visitor_id: i64, floor: Seq, limit: i64) -> Result<usize> {
    tx.execute(
        "DELETE FROM personal WHERE (seq, field) IN \
         (SELECT seq, field FROM personal WHERE visitor_id = ?1 AND seq <= ?2 LIMIT ?3)",
        (visitor_id, floor, limit),
    )
}

/// Visitors with fields who were last seen before `before`, or whose row is gone, at most `limit` (retention; reads the
/// whole index).
pub fn unseen_since(tx: &ReadTx<'_>, before: Millis, limit: i64) -> Result<Vec<i64>> {
    tx.conn()
        .prepare_cached(
            "SELECT DISTINCT p.visitor_id FROM personal p LEFT JOIN visitors v ON v.visitor_id = p.visitor_id \
             WHERE v.last_seen_at IS NULL OR v.last_seen_at < ?1 LIMIT ?2",
        )
        .and_then(|mut s| s.query_map((before, limit), |r| r.get(0))?.collect())
        .map_err(|e| open::error("finding personal fields of visitors not seen lately", e))
}

/// Deletes fields of one event, at most `limit`; returns how many.
pub fn delete_of_event(tx: &WriteTx<'_>, seq: Seq, limit: i64) -> Result<usize> {
    tx.execute(
        "DELETE FROM personal WHERE (seq, field) IN (SELECT seq, field FROM personal WHERE seq = ?1 LIMIT ?2)",
        (seq, limit),
    )
}
