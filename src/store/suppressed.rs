//! The `suppressed` table: ids of erased persons under a keyed hash, so that a late event cannot bring one back.
//! Must never hold an id. Invariant: the later erasure of an id wins, and a row goes by its own age alone.

use rusqlite::{Connection, OptionalExtension};

use crate::base::digest::Hash;
use crate::base::error::Result;
use crate::base::time::Millis;
use crate::store::{ReadTx, WriteTx, open};

const PUT: &str = "INSERT INTO suppressed (id_hash, erased_at) VALUES (?1, ?2) \
    ON CONFLICT (id_hash) DO UPDATE SET erased_at = max(erased_at, excluded.erased_at)";

/// Until when what happened under this hash of an id was erased; `None` where nothing was.
pub fn get(tx: &ReadTx<'_>, id_hash: &Hash) -> Result<Option<Millis>> {
    tx.conn()
        .prepare_cached("SELECT erased_at FROM suppressed WHERE id_hash = ?1")
        .and_then(|mut s| s.query_row([&id_hash[..]], |r| r.get(0)).optional())
        .map_err(|e| open::error("looking for an erased id", e))
}

/// When anybody was erased last; `None` where nobody was. Asked for every event, so remembered by the pen.
pub fn newest(tx: &WriteTx<'_>) -> Result<Option<Millis>> {
    let known = tx.held().borrow().newest_erasure;
    if let Some(newest) = known {
        return Ok(newest);
    }
    let newest = tx
        .conn()
        .query_row("SELECT max(erased_at) FROM suppressed", [], |r| r.get(0))
        .map_err(|e| open::error("looking for erased ids", e))?;
    tx.held().borrow_mut().newest_erasure = Some(newest);
    Ok(newest)
}

/// From now on nothing that happened under this id until `at` is taken in.
pub fn put(tx: &WriteTx<'_>, id_hash: &Hash, at: Millis) -> Result<()> {
    tx.held().borrow_mut().newest_erasure = None;
    tx.execute(PUT, (&id_hash[..], at)).map(|_| ())
}

/// As [`put`], for a database that does not serve yet.
pub(in crate::store) fn replay(conn: &Connection, id_hash: &Hash, at: Millis) -> Result<()> {
    conn.prepare_cached(PUT)
        .and_then(|mut s| s.execute((&id_hash[..], at)))
        .map(|_| ())
        .map_err(|e| open::error("taking over an erased id", e))
}

/// When the id erased longest ago was erased.
pub fn oldest(tx: &ReadTx<'_>) -> Result<Option<Millis>> {
    tx.conn()
        .query_row("SELECT min(erased_at) FROM suppressed", [], |r| r.get(0))
        .map_err(|e| open::error("asking for the oldest erased id", e))
}

/// Forgets ids erased before `before`, at most `limit`; returns how many.
pub fn delete_before(tx: &WriteTx<'_>, before: Millis, limit: i64) -> Result<usize> {
    tx.held().borrow_mut().newest_erasure = None;
    tx.execute(
        "DELETE FROM suppressed WHERE id_hash IN (SELECT id_hash FROM suppressed WHERE erased_at < ?1 LIMIT ?2)",
        (before, limit),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::time::ManualClock;
    use crate::store::{Store, StoreOptions};

    #[test]
    fn the_later_erasure_wins_and_age_alone_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Millis(1_700_000_000_000)));
        let store = Store::open(&StoreOptions::at(dir.path()), clock).unwrap();
        let (one, other) = ([7; 32], [8; 32]);
        let found = store.pen().call(move |tx| {
            assert_eq!(newest(tx)?, None);
            put(tx, &one, Millis(20))?;
            put(tx, &one, Millis(10))?;
            put(tx, &other, Millis(30))?;
            Ok((get(tx, &one)?, get(tx, &[9; 32])?, newest(tx)?, oldest(tx)?))
        });
        assert_eq!(found.unwrap(), (Some(Millis(20)), None, Some(Millis(30)), Some(Millis(20))));
        let kept =
            store.pen().call(move |tx| Ok((delete_before(tx, Millis(20), 9)?, delete_before(tx, Millis(21), 9)?)));
        assert_eq!(kept.unwrap(), (0, 1));
        assert_eq!(store.pen().call(move |tx| Ok((get(tx, &one)?, newest(tx)?))).unwrap(), (None, Some(Millis(30))));
        store.close().unwrap();
    }
}
