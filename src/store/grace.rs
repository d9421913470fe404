//! The `grace` table: up to where every required target had acknowledged each lane, day by day. So it is known what has been
//! delivered for long enough to go: a receiver may still lose what it has, and ask for it again.
//! Must never say what goes (`upkeep/quota.rs`). Invariant: a mark of a day only rises.

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::base::time::Millis;
use crate::domain::event::Lane;
use crate::store::{ReadTx, WriteTx, open};

/// Notes how far a lane is delivered, on the day of `now`.
pub fn note(tx: &WriteTx<'_>, lane: Lane, upto: Seq, now: Millis) -> Result<()> {
    tx.execute(
        "INSERT INTO grace (lane, day_at, upto_seq) VALUES (?1, ?2, ?3) \
         ON CONFLICT DO UPDATE SET upto_seq = max(upto_seq, excluded.upto_seq)",
        (lane.code(), now.day(), upto),
    )
    .map(|_| ())
}

/// Up to where a lane was delivered by the end of the day that `until` lies in.
pub fn upto(tx: &ReadTx<'_>, lane: Lane, until: Millis) -> Result<Seq> {
    tx.conn()
        .prepare_cached("SELECT coalesce(max(upto_seq), 0) FROM grace WHERE lane = ?1 AND day_at <= ?2")
        .and_then(|mut s| s.query_row((lane.code(), until.day()), |r| r.get(0)))
        .map_err(|e| open::error("reading what was delivered by then", e))
}

/// What was noted for the newest day of a lane.
pub fn newest(tx: &ReadTx<'_>, lane: Lane) -> Result<Option<(Millis, Seq)>> {
    use rusqlite::OptionalExtension;
    tx.conn()
        .prepare_cached("SELECT day_at, upto_seq FROM grace WHERE lane = ?1 ORDER BY day_at DESC LIMIT 1")
        .and_then(|mut s| s.query_row([lane.code()], |r| Ok((r.get(0)?, r.get(1)?))).optional())
        .map_err(|e| open::error("reading what was noted as delivered", e))
}

/// Forgets days before `before`, but for the newest of them: it says what has been delivered since.
pub fn forget_before(tx: &WriteTx<'_>, lane: Lane, before: Millis) -> Result<usize> {
    tx.execute(
        "DELETE FROM grace WHERE lane = ?1 AND day_at < (SELECT max(day_at) FROM grace WHERE lane = ?1 AND day_at < ?2)",
        (lane.code(), before.day()),
    )
}
