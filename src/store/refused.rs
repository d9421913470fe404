//! The `refused` table: lines that one target will never take. They are holes for it alone; the rows stay here.
//! Must never touch a row. Invariant: whoever deletes a batch deletes what was refused of it, for every target.

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::domain::event::Lane;
use crate::store::{ReadTx, WriteTx, open};

/// Why a target does not take a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It says that the line is wrong.
    BadRows,
    /// The line alone is longer than what it takes.
    TooLarge,
}

impl Why {
    pub(in crate::store) fn word(self) -> &'static str {
        match self {
            Why::BadRows => "bad_rows",
            Why::TooLarge => "too_large",
        }
    }
}

/// A target refused a line for good. Returns whether that is new.
pub fn insert(tx: &WriteTx<'_>, target: &str, lane: Lane, seq: Seq, why: Why) -> Result<bool> {
    tx.execute(
        "INSERT INTO refused (target, lane, seq, why, at) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        (target, lane.code(), seq, why.word(), tx.now()),
    )
    .map(|n| n > 0)
}

/// What a target refused of a lane between two numbers, both included, rising.
pub fn between(tx: &ReadTx<'_>, target: &str, lane: Lane, (first, last): (Seq, Seq)) -> Result<Vec<Seq>> {
    tx.conn()
        .prepare_cached(
            "SELECT seq FROM refused WHERE target = ?1 AND lane = ?2 AND seq BETWEEN ?3 AND ?4 ORDER BY seq",
        )
        .and_then(|mut s| s.query_map((target, lane.code(), first, last), |r| r.get(0))?.collect())
        .map_err(|e| open::error("reading what a target refused", e))
}

/// How many lines a target refused of a lane.
pub fn count(tx: &ReadTx<'_>, target: &str, lane: Lane) -> Result<i64> {
    tx.conn()
        .prepare_cached("SELECT count(*) FROM refused WHERE target = ?1 AND lane = ?2")
        .and_then(|mut s| s.query_row((target, lane.code()), |r| r.get(0)))
        .map_err(|e| open::error("counting what a target refused", e))
}

/// How many lines a target refused of a lane between two numbers, both included, by why.
pub fn by_reason(tx: &ReadTx<'_>, target: &str, lane: Lane, (first, last): (Seq, Seq)) -> Result<Vec<(String, i64)>> {
    tx.conn()
        .prepare_cached(
            "SELECT why, count(*) FROM refused WHERE target = ?1 AND lane = ?2 AND seq BETWEEN ?3 AND ?4 GROUP BY why ORDER BY why",
        )
        .and_then(|mut s| {
            s.query_map((target, lane.code(), first, last), |r| Ok((r.get(0)?, r.get(1)?)))?.collect()
        })
        .map_err(|e| open::error("counting what a target refused", e))
}

/// How many lines each target refused.
pub fn totals(tx: &ReadTx<'_>) -> Result<Vec<(String, i64)>> {
    tx.conn()
        .prepare_cached("SELECT target, count(*) FROM refused GROUP BY target ORDER BY target")
        .and_then(|mut s| s.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect())
        .map_err(|e| open::error("counting what targets refused", e))
}

/// Deletes what anybody refused of a lane between two numbers, both included, at most `limit`; returns how many. Only for a
/// batch that goes too.
pub fn delete_between(tx: &WriteTx<'_>, lane: Lane, (first, last): (Seq, Seq), limit: i64) -> Result<usize> {
    tx.execute(
        "DELETE FROM refused WHERE (target, lane, seq) IN \
         (SELECT target, lane, seq FROM refused WHERE lane = ?1 AND seq BETWEEN ?2 AND ?3 LIMIT ?4)",
        (lane.code(), first, last, limit),
    )
}

/// Forgets what a target refused, at most `limit` lines; returns how many.
pub fn forget(tx: &WriteTx<'_>, target: &str, limit: i64) -> Result<usize> {
    tx.execute(
        "DELETE FROM refused WHERE (target, lane, seq) IN (SELECT target, lane, seq FROM refused WHERE target = ?1 LIMIT ?2)",
        (target, limit),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::time::{ManualClock, Millis};
    use crate::store::{Store, StoreOptions};

    #[test]
    fn what_is_refused_is_refused_by_one_target_and_goes_with_its_batch() {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Millis(1_780_000_000_000));
        let store = Store::open(&StoreOptions::at(dir.path()), Arc::new(clock)).unwrap();
        let news = store.pen().call(|tx| {
            let mut news = 0;
            for seq in [9, 3, 5, 5] {
                news += i64::from(insert(tx, "a", Lane::Pages, Seq(seq), Why::BadRows)?);
            }
            insert(tx, "b", Lane::Pages, Seq(3), Why::TooLarge)?;
            Ok(news)
        });
        assert_eq!(news.unwrap(), 3, "a line is refused once");
        let of = |target: &str| store.read(|tx| between(tx, target, Lane::Pages, (Seq(3), Seq(8)))).unwrap();
        assert_eq!((of("a"), of("b"), of("c")), (vec![Seq(3), Seq(5)], vec![Seq(3)], vec![]));
        store.pen().call(|tx| insert(tx, "a", Lane::Pages, Seq(4), Why::TooLarge)).unwrap();
        let why = |last| store.read(|tx| by_reason(tx, "a", Lane::Pages, (Seq(3), Seq(last)))).unwrap();
        assert_eq!((why(3), why(9).len()), (vec![("bad_rows".to_owned(), 1)], 2));
        assert_eq!(why(9), [("bad_rows".to_owned(), 3), ("too_large".to_owned(), 1)]);
        store.pen().call(|tx| delete_between(tx, Lane::Pages, (Seq(4), Seq(4)), 1)).unwrap();
        assert_eq!(store.read(totals).unwrap(), [("a".to_owned(), 3), ("b".to_owned(), 1)]);
        let gone = store.pen().call(|tx| delete_between(tx, Lane::Pages, (Seq(3), Seq(8)), 2)).unwrap();
        assert_eq!(gone, 2, "no more at once than allowed");
        store.pen().call(|tx| delete_between(tx, Lane::Pages, (Seq(3), Seq(8)), 100)).unwrap();
        assert_eq!((of("a"), of("b"), store.read(|tx| count(tx, "a", Lane::Pages)).unwrap()), (vec![], vec![], 1));
        assert_eq!(store.pen().call(|tx| forget(tx, "a", 10)).unwrap(), 1);
    }
}
