//! The `bases` table: which lawful basis each purpose of a site had; immutable rows that events name (contract 2).
//! Invariant: a row is written once and never changed; equal bases of a site share a row.

use rusqlite::OptionalExtension;

use crate::base::error::Result;
use crate::store::{ReadTx, WriteTx, open};

/// The row of a site's bases (`BasisTable::text`); made where there is none. 0 where consent alone carries everything.
pub fn intern(tx: &WriteTx<'_>, site_id: i64, bases: &str) -> Result<i64> {
    if bases == "{}" {
        return Ok(0);
    }
    let found = tx
        .conn()
        .prepare_cached("SELECT basis_id FROM bases WHERE site_id = ?1 AND bases = ?2")
        .and_then(|mut s| s.query_row((site_id, bases), |r| r.get(0)).optional())
        .map_err(|e| open::error("finding a basis", e))?;
    if let Some(id) = found {
        return Ok(id);
    }
    tx.execute("INSERT INTO bases (site_id, bases, since_at) VALUES (?1, ?2, ?3)", (site_id, bases, tx.now()))?;
    Ok(tx.conn().last_insert_rowid())
}

/// Every basis row: id, site row, JSON.
pub fn all(tx: &ReadTx<'_>) -> Result<Vec<(i64, i64, String)>> {
    tx.conn()
        .prepare_cached("SELECT basis_id, site_id, bases FROM bases ORDER BY basis_id")
        .and_then(|mut s| s.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?.collect())
        .map_err(|e| open::error("reading the bases", e))
}
