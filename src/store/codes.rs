//! The `codes` table: what opens a visitor by the code at the end of a kiosk's receipt.
//! Must never hold a code, only its keyed hash. Invariant: a code opens one visitor, and nothing once that one is gone.

use rusqlite::OptionalExtension;

use crate::base::error::Result;
use crate::base::time::Millis;
use crate::domain::code::Code;
use crate::domain::visitor::Visitor;
use crate::store::{ReadTx, WriteTx, open, visitors};

/// Lets a code open a visitor. The same code again changes nothing.
pub fn insert(tx: &WriteTx<'_>, code: &Code, visitor_id: i64, at: Millis) -> Result<()> {
    tx.execute(
        "INSERT INTO codes (code_hash, visitor_id, made_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        (code.hash(&tx.identity().hash_key), visitor_id, at),
    )
    .map(|_| ())
}

/// The visitor a code opens. `key` = the edge's keyed hash. Whoever asks bounds the guesses.
pub fn open(tx: &ReadTx<'_>, key: &crate::base::digest::HashKey, code: &Code) -> Result<Option<Visitor>> {
    let found: Option<i64> = tx
        .conn()
        .prepare_cached("SELECT visitor_id FROM codes WHERE code_hash = ?1")
        .and_then(|mut s| s.query_row([code.hash(key)], |r| r.get(0)).optional())
        .map_err(|e| open::error("looking for a code", e))?;
    found.map_or(Ok(None), |id| visitors::get(tx, id))
}

/// Does any code open this visitor?
pub fn any_of(tx: &ReadTx<'_>, visitor_id: i64) -> Result<bool> {
    tx.conn()
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM codes WHERE visitor_id = ?1)")
        .and_then(|mut s| s.query_row([visitor_id], |r| r.get(0)))
        .map_err(|e| open::error("looking for codes", e))
}

/// Removes the codes of a visitor, at most `limit`; returns how many.
pub fn delete_of_visitor(tx: &WriteTx<'_>, visitor_id: i64, limit: i64) -> Result<usize> {
    tx.execute(
        "DELETE FROM codes WHERE code_hash IN (SELECT code_hash FROM codes WHERE visitor_id = ?1 LIMIT ?2)",
        (visitor_id, limit),
    )
}
