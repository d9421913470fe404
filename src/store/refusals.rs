//! The `refusals` table: a no that outlives its visitor's rows, under a keyed hash of the id.
//! Must never hold the id itself. Invariant: a no is only ever widened here; lifting one deletes its row as a whole.

use rusqlite::{Connection, OptionalExtension};

use crate::base::digest::Hash;
use crate::base::error::Result;
use crate::base::id::Seq;
use crate::base::time::Millis;
use crate::domain::consent::{Denial, Purposes, Standing};
use crate::store::{ReadTx, WriteTx, open};

/// What is refused under one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The purposes refused.
    pub purposes: Purposes,
    /// When it was last decided.
    pub decided_at: Millis,
    /// The decision that said so last; 0 where it was taken over from `rights.log`.
    pub decision: Seq,
    /// Processing is restricted.
    pub restricted: bool,
}

impl Refusal {
    /// What it amounts to for somebody without a row.
    pub fn standing(&self) -> Standing {
        Standing { denied: self.purposes, restricted: self.restricted, ..Standing::default() }
    }

    /// The stretch in which that person says no.
    pub fn denial(&self) -> Option<Denial> {
        let denial = Denial { purposes: self.purposes, from: self.decided_at, until: None };
        (!self.purposes.is_none()).then_some(denial)
    }
}

const PUT: &str = "INSERT INTO refusals (id_hash, purposes, decided_at, decision) VALUES (?1, ?2, ?3, ?4) \
    ON CONFLICT (id_hash) DO UPDATE SET purposes = purposes | excluded.purposes, \
    decision = CASE WHEN excluded.decided_at >= decided_at THEN excluded.decision ELSE decision END, \
    decided_at = max(decided_at, excluded.decided_at)";

/// What is refused under this hash of an id.
pub fn get(tx: &ReadTx<'_>, id_hash: &Hash) -> Result<Option<Refusal>> {
    tx.conn()
        .prepare_cached("SELECT purposes, decided_at, decision, restricted FROM refusals WHERE id_hash = ?1")
        .and_then(|mut s| {
            let row = |r: &rusqlite::Row<'_>| {
                Ok(Refusal { purposes: r.get(0)?, decided_at: r.get(1)?, decision: r.get(2)?, restricted: r.get(3)? })
            };
            s.query_row([&id_hash[..]], row).optional()
        })
        .map_err(|e| open::error("reading a refusal", e))
}

/// Is nobody refused? Asked before every new visitor, so remembered: nearly always there is none, and no hash to make.
pub fn none(tx: &WriteTx<'_>) -> Result<bool> {
    let known = tx.held().borrow().no_refusals;
    if let Some(none) = known {
        return Ok(none);
    }
    let any = tx
        .conn()
        .query_row("SELECT EXISTS (SELECT 1 FROM refusals)", [], |r| r.get::<_, bool>(0))
        .map_err(|e| open::error("looking for refusals", e))?;
    tx.held().borrow_mut().no_refusals = Some(!any);
    Ok(!any)
}

/// Adds a refusal: the union of the purposes, the latest time and its decision.
pub fn put(tx: &WriteTx<'_>, id_hash: &Hash, purposes: Purposes, at: Millis, decision: Seq) -> Result<()> {
    tx.held().borrow_mut().no_refusals = None;
    tx.execute(PUT, (&id_hash[..], purposes, at, decision)).map(|_| ())
}

/// A restriction of somebody of whom nothing is stored begins or ends; what is refused stays.
pub fn restrict(tx: &WriteTx<'_>, id_hash: &Hash, restricted: bool, at: Millis, decision: Seq) -> Result<()> {
    tx.held().borrow_mut().no_refusals = None;
    if restricted {
        put(tx, id_hash, Purposes::NONE, at, decision)?;
    }
    tx.execute("UPDATE refusals SET restricted = ?2 WHERE id_hash = ?1", (&id_hash[..], restricted))?;
    tidy(tx, id_hash)
}

/// Leaves only `left` refused, after a later grant.
pub fn narrow(tx: &WriteTx<'_>, id_hash: &Hash, left: Purposes, decision: Seq) -> Result<()> {
    tx.held().borrow_mut().no_refusals = None;
    tx.execute("UPDATE refusals SET purposes = ?2, decision = ?3 WHERE id_hash = ?1", (&id_hash[..], left, decision))?;
    tidy(tx, id_hash)
}

/// A row that says nothing any more goes.
fn tidy(tx: &WriteTx<'_>, id_hash: &Hash) -> Result<()> {
    tx.execute("DELETE FROM refusals WHERE id_hash = ?1 AND purposes = 0 AND restricted = 0", [&id_hash[..]])
        .map(|_| ())
}

/// As [`restrict`], for a database that does not serve yet.
pub(in crate::store) fn replay_restriction(
    conn: &Connection,
    id_hash: &Hash,
    restricted: bool,
    at: Millis,
) -> Result<()> {
    if restricted {
        replay(conn, id_hash, Purposes::NONE, at)?;
    }
    conn.prepare_cached("UPDATE refusals SET restricted = ?2 WHERE id_hash = ?1")
        .and_then(|mut s| s.execute((&id_hash[..], restricted)))
        .map(|_| ())
        .map_err(|e| open::error("taking over a restriction", e))
}

/// As [`put`], for a database that does not serve yet and knows no decision.
pub(in crate::store) fn replay(conn: &Connection, id_hash: &Hash, purposes: Purposes, at: Millis) -> Result<()> {
    conn.prepare_cached(PUT)
        .and_then(|mut s| s.execute((&id_hash[..], purposes, at, Seq(0))))
        .map(|_| ())
        .map_err(|e| open::error("taking over a refusal", e))
}

/// Deletes refusals decided before `before`, at most `limit` rows; returns how many.
pub fn delete_before(tx: &WriteTx<'_>, before: Millis, limit: i64) -> Result<usize> {
    tx.execute(
        "DELETE FROM refusals WHERE id_hash IN (SELECT id_hash FROM refusals WHERE decided_at < ?1 AND restricted = 0 LIMIT ?2)",
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
    fn a_no_is_widened_and_the_latest_decision_named() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Millis(1_700_000_000_000)));
        let store = Store::open(&StoreOptions::at(dir.path()), clock).unwrap();
        let hash = [7; 32];
        let both = Purposes::MEASURE.with(Purposes::SHARE);
        let found = store.pen().call(move |tx| {
            assert_eq!(get(tx, &hash)?, None);
            put(tx, &hash, Purposes::MEASURE, Millis(20), Seq(5))?;
            put(tx, &hash, Purposes::SHARE, Millis(10), Seq(4))?;
            get(tx, &hash)
        });
        assert_eq!(
            found.unwrap(),
            Some(Refusal { purposes: both, decided_at: Millis(20), decision: Seq(5), restricted: false }),
            "an earlier no widens, the later one stays named"
        );
        let kept = store.pen().call(move |tx| Ok((delete_before(tx, Millis(20), 10)?, get(tx, &hash)?.is_some())));
        assert_eq!(kept.unwrap(), (0, true));
        let gone = store.pen().call(move |tx| Ok((delete_before(tx, Millis(21), 10)?, get(tx, &hash)?)));
        assert_eq!(gone.unwrap(), (1, None));
        let put_and_release = move |tx: &WriteTx<'_>| {
            put(tx, &hash, both, Millis(1), Seq(1))?;
            restrict(tx, &hash, true, Millis(2), Seq(2))?;
            narrow(tx, &hash, Purposes::NONE, Seq(3))?;
            assert_eq!(delete_before(tx, Millis(90), 10)?, 0, "a restriction has no age");
            assert!(get(tx, &hash)?.unwrap().restricted, "nor is it lifted by a grant");
            restrict(tx, &hash, false, Millis(4), Seq(4))
        };
        store.pen().call(put_and_release).unwrap();
        assert_eq!(store.read(|tx| get(tx, &hash)).unwrap(), None);
        store.close().unwrap();
    }
}
