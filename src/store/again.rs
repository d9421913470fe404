//! The `again` table: events that leave a second time, under a new number, after a restriction was released.
//! Must never hold what the event says: the line is rendered from the event's own row. Invariant: a line under a new number
//! carries the event's own number as `first_seq`, so that every floor covers both.

use crate::base::error::Result;
use crate::base::id::{Salt, Seq};
use crate::domain::consent::Purposes;
use crate::domain::event::Lane;
use crate::store::{ReadTx, WriteTx, open, restrictions};

/// Numbers anew the events of a released visitor that lie at or below `upto` and have no number above it yet, at most
/// `limit`; returns how many. What a floor covers does not leave again, and `floors` narrow the flags of the rest: receivers
/// compare the new number, which lies above them.
pub fn number(
    tx: &WriteTx<'_>,
    visitor_id: i64,
    (above, upto): (Seq, Seq),
    floors: &[(Purposes, Seq)],
    limit: i64,
) -> Result<usize> {
    tx.settle()?;
    let due: Vec<(Seq, i64, Purposes, Seq)> = tx
        .conn()
        .prepare_cached(
            "SELECT e.seq, e.lane, e.flags, coalesce((SELECT max(a.seq) FROM again a WHERE a.of_seq = e.seq), e.seq) AS newest \
             FROM visits v JOIN events e ON e.visit_id = v.visit_id WHERE v.visitor_id = ?1 AND v.visit_id > ?2 AND e.seq > ?2 \
             AND e.seq <= ?3 AND e.exempt = 0 AND newest <= ?3 ORDER BY e.seq LIMIT ?4",
        )
        .and_then(|mut s| {
            let row = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?));
            s.query_map((visitor_id, above, upto, limit), row)?.collect()
        })
        .map_err(|e| open::error("finding events to number anew", e))?;
    for (of, lane, flags, replaces) in &due {
        let left = flags.without(crate::store::floors::covering(floors, *of));
        tx.execute(
            "INSERT INTO again (seq, lane, epoch_id, of_seq, replaces, flags, salt) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (tx.next_seq(), lane, tx.identity().epoch_id, of, replaces, left, Salt::mint()),
        )?;
    }
    if due.is_empty() {
        restrictions::resent(tx, visitor_id)?;
    }
    Ok(due.len())
}

/// The numbers an event left under again, with their lane.
pub fn of_event(tx: &ReadTx<'_>, of: Seq) -> Result<Vec<(Seq, Lane)>> {
    let row = |r: &rusqlite::Row<'_>| {
        let lane: i64 = r.get(1)?;
        Ok((r.get(0)?, Lane::from_code(lane).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, lane))?))
    };
    tx.conn()
        .prepare_cached("SELECT seq, lane FROM again WHERE of_seq = ?1 ORDER BY seq")
        .and_then(|mut s| s.query_map([of], row)?.collect())
        .map_err(|e| open::error("reading what left again", e))
}

/// Deletes the new numbers of an event that goes. Whoever calls has written their holes first.
pub fn delete_of(tx: &WriteTx<'_>, of: Seq) -> Result<usize> {
    tx.execute("DELETE FROM again WHERE of_seq = ?1", [of])
}
