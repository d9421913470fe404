//! The `floors` table: per visitor and purpose the seq at or below which nothing may leave or be read.
//! Invariant: a floor only rises; no grant lifts it.

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::domain::consent::Purposes;
use crate::store::{ReadTx, WriteTx, open};

const BEHIND: &str = "SELECT floor_seq, visitor_id FROM floors WHERE purpose = ?1 AND (floor_seq, visitor_id) > (?2, ?3) \
    ORDER BY floor_seq, visitor_id LIMIT ?4";

/// Sets the floor of each purpose in `purposes`.
pub fn raise(tx: &WriteTx<'_>, visitor_id: i64, purposes: Purposes, floor: Seq) -> Result<()> {
    for one in purposes.each() {
        tx.execute(
            "INSERT INTO floors (visitor_id, purpose, floor_seq) VALUES (?1, ?2, ?3) \
             ON CONFLICT DO UPDATE SET floor_seq = max(floor_seq, excluded.floor_seq)",
            (visitor_id, one.0.trailing_zeros(), floor),
        )?;
    }
    Ok(())
}

/// The floors of a visitor.
pub fn of_visitor(tx: &ReadTx<'_>, visitor_id: i64) -> Result<Vec<(Purposes, Seq)>> {
    tx.conn()
        .prepare_cached("SELECT purpose, floor_seq FROM floors WHERE visitor_id = ?1")
        .and_then(|mut s| {
            s.query_map([visitor_id], |r| Ok((Purposes(1u32 << r.get::<_, u32>(0)?.min(31)), r.get(1)?)))?.collect()
        })
        .map_err(|e| open::error("reading floors", e))
}

/// Visitors whose floor under one purpose lies behind the place (floor, visitor), lowest floor first, at most `limit`.
/// Later decisions set higher floors, so whoever works through them needs no look at those done.
pub fn behind(tx: &ReadTx<'_>, purpose: Purposes, after: (Seq, i64), limit: i64) -> Result<Vec<(Seq, i64)>> {
    tx.conn()
        .prepare_cached(BEHIND)
        .and_then(|mut s| {
            let params = (purpose.0.trailing_zeros(), after.0, after.1, limit);
            s.query_map(params, |r| Ok((r.get(0)?, r.get(1)?)))?.collect()
        })
        .map_err(|e| open::error("listing floors", e))
}

/// The purposes whose floor covers `seq`.
pub fn covering(floors: &[(Purposes, Seq)], seq: Seq) -> Purposes {
    floors.iter().filter(|(_, floor)| seq <= *floor).fold(Purposes::NONE, |set, (one, _)| set.with(*one))
}

/// Deletes the floors of a visitor whose rows are gone.
pub fn delete_of_visitor(tx: &WriteTx<'_>, visitor_id: i64) -> Result<usize> {
    tx.execute("DELETE FROM floors WHERE visitor_id = ?1", [visitor_id])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_for_new_floors_reads_no_old_ones() {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        conn.execute_batch(crate::store::migrate::SCHEMA).unwrap();
        let plan: String =
            conn.query_row(&format!("EXPLAIN QUERY PLAN {BEHIND}"), (0, 5, 7, 10), |r| r.get(3)).unwrap();
        assert!(plan.contains("SEARCH floors USING COVERING INDEX floors_newest (purpose=? AND"), "{plan}");
    }
}
