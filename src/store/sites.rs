//! The `sites` table: numbers for the configured sites.
//! Must never hold their rules: those are configuration.

use rusqlite::OptionalExtension;

use crate::base::error::Result;
use crate::store::{ReadTx, WriteTx, open};

/// The row of a site; made where there is none.
pub fn intern(tx: &WriteTx<'_>, name: &str) -> Result<i64> {
    if let Some(id) = id(tx, name)? {
        return Ok(id);
    }
    tx.execute("INSERT INTO sites (name) VALUES (?1)", [name])?;
    Ok(tx.conn().last_insert_rowid())
}

/// The row of a site that was seen before.
pub fn id(tx: &ReadTx<'_>, name: &str) -> Result<Option<i64>> {
    tx.conn()
        .prepare_cached("SELECT site_id FROM sites WHERE name = ?1")
        .and_then(|mut s| s.query_row([name], |r| r.get(0)).optional())
        .map_err(|e| open::error("finding a site", e))
}

/// Rows and names of all sites ever configured.
pub fn all(tx: &ReadTx<'_>) -> Result<Vec<(i64, String)>> {
    tx.conn()
        .prepare_cached("SELECT site_id, name FROM sites ORDER BY site_id")
        .and_then(|mut s| s.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect())
        .map_err(|e| open::error("reading the sites", e))
}
