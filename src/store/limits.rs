//! The `limits` table: what a target takes at once, where it has refused more. Learned, never configured.
//! Must never raise what was learned: after a while it is forgotten and, if need be, learned again.

use rusqlite::OptionalExtension;

use crate::base::error::Result;
use crate::base::time::{DAY_MS, Millis};
use crate::store::{ReadTx, WriteTx, open};

/// A receiver that takes more by now is asked again after this long.
const KEPT_MS: i64 = 30 * DAY_MS;

/// What a target takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Bytes of a compressed body.
    pub body_bytes: u64,
    /// About how many bytes of lines that is.
    pub line_bytes: u64,
}

/// Remembers what a target takes. The smaller number counts, unless the older one would be forgotten by now.
pub fn learn(tx: &WriteTx<'_>, target: &str, limit: Limit) -> Result<()> {
    let bytes = |n: u64| i64::try_from(n.max(1)).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT INTO limits (target, body_bytes_max, line_bytes_max, at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET \
         body_bytes_max = CASE WHEN at < ?5 THEN excluded.body_bytes_max ELSE min(body_bytes_max, excluded.body_bytes_max) END, \
         line_bytes_max = CASE WHEN at < ?5 THEN excluded.line_bytes_max ELSE min(line_bytes_max, excluded.line_bytes_max) END, \
         at = excluded.at",
        (target, bytes(limit.body_bytes), bytes(limit.line_bytes), tx.now(), tx.now().plus(-KEPT_MS)),
    )
    .map(|_| ())
}

/// What a target takes, as far as it is known at `now`.
pub fn get(tx: &ReadTx<'_>, target: &str, now: Millis) -> Result<Option<Limit>> {
    let bytes = |n: i64| u64::try_from(n).unwrap_or(u64::MAX);
    tx.conn()
        .prepare_cached("SELECT body_bytes_max, line_bytes_max FROM limits WHERE target = ?1 AND at >= ?2")
        .and_then(|mut s| {
            s.query_row((target, now.plus(-KEPT_MS)), |r| {
                Ok(Limit { body_bytes: bytes(r.get(0)?), line_bytes: bytes(r.get(1)?) })
            })
            .optional()
        })
        .map_err(|e| open::error("reading what a target takes", e))
}

/// Forgets what a target takes.
pub fn forget(tx: &WriteTx<'_>, target: &str) -> Result<usize> {
    tx.execute("DELETE FROM limits WHERE target = ?1", [target])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::time::{Clock, ManualClock};
    use crate::store::{Store, StoreOptions};

    #[test]
    fn the_smallest_limit_counts_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Millis(1_780_000_000_000));
        let store = Store::open(&StoreOptions::at(dir.path()), Arc::new(clock.clone())).unwrap();
        let learn = |body_bytes| {
            let limit = Limit { body_bytes, line_bytes: body_bytes * 8 };
            store.pen().call(move |tx| learn(tx, "centre", limit)).unwrap();
        };
        let known = || store.read(|tx| get(tx, "centre", clock.now())).unwrap().map(|l| (l.body_bytes, l.line_bytes));
        assert_eq!(known(), None);
        learn(1_000);
        learn(2_000);
        assert_eq!(known(), Some((1_000, 8_000)), "a larger one raises nothing");
        clock.advance(KEPT_MS);
        assert_eq!(known(), Some((1_000, 8_000)));
        clock.advance(1);
        assert_eq!(known(), None);
        learn(3_000);
        assert_eq!(known(), Some((3_000, 24_000)), "what was forgotten does not come back");
    }
}
