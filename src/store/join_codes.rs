//! The `join_codes` table: what lets an edge join, once. Must never hold a code, only its digest.
//! Invariant: a code lets one edge in; the same edge may show it again, so that an answer that was lost is no loss.

use rusqlite::OptionalExtension;

use crate::base::digest::Hash;
use crate::base::error::Result;
use crate::base::id::EdgeId;
use crate::base::time::Millis;
use crate::store::{ReadTx, WriteTx, open};

/// A code, by its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinCode {
    /// Until when it holds.
    pub expires: Millis,
    /// Who joined with it, as hex.
    pub used_by: Option<String>,
    /// What the edge may that joins with it.
    pub gives: Gives,
}

/// What a code gives beside the right to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gives {
    /// The edge may speak for edges below it.
    pub relay: bool,
    /// The only site it may send rows of; `None` = any.
    pub site: Option<String>,
}

/// Keeps a new code until `expires`.
pub fn insert(tx: &WriteTx<'_>, hash: &Hash, expires: Millis, gives: &Gives) -> Result<()> {
    tx.execute(
        "INSERT INTO join_codes (code_hash, made_at, expires_at, relay, site) VALUES (?1, ?2, ?3, ?4, ?5)",
        (hash, tx.now(), expires, gives.relay, &gives.site),
    )
    .map(|_| ())
}

/// The code with this digest.
pub fn get(tx: &ReadTx<'_>, hash: &Hash) -> Result<Option<JoinCode>> {
    tx.conn()
        .prepare_cached("SELECT expires_at, used_by, relay, site FROM join_codes WHERE code_hash = ?1")
        .and_then(|mut s| {
            s.query_row([hash], |r| {
                let gives = Gives { relay: r.get(2)?, site: r.get(3)? };
                Ok(JoinCode { expires: r.get(0)?, used_by: r.get(1)?, gives })
            })
            .optional()
        })
        .map_err(|e| open::error("looking for a code", e))
}

/// Marks a code as used by this edge.
pub fn take(tx: &WriteTx<'_>, hash: &Hash, edge: EdgeId) -> Result<()> {
    tx.execute(
        "UPDATE join_codes SET used_by = ?2, used_at = ?3 WHERE code_hash = ?1",
        (hash, edge.to_string(), tx.now()),
    )
    .map(|_| ())
}

/// How many codes hold and were not used.
pub fn open_count(tx: &ReadTx<'_>, now: Millis) -> Result<i64> {
    tx.conn()
        .prepare_cached("SELECT count(*) FROM join_codes WHERE used_by IS NULL AND expires_at > ?1")
        .and_then(|mut s| s.query_row([now], |r| r.get(0)))
        .map_err(|e| open::error("counting codes", e))
}

/// Removes codes that ended before `before`; returns how many.
pub fn delete_before(tx: &WriteTx<'_>, before: Millis) -> Result<usize> {
    tx.execute("DELETE FROM join_codes WHERE expires_at < ?1", [before])
}
