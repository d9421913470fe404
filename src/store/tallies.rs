//! The `tallies` table: running totals that outlive their rows: what was dropped, refused, removed, and why.
//! Must never decide what a total means.

use crate::base::error::Result;
use crate::store::{ReadTx, WriteTx, open};

/// Adds to a total.
pub fn add(tx: &WriteTx<'_>, name: &str, n: i64) -> Result<()> {
    if n == 0 {
        return Ok(());
    }
    tx.execute(
        "INSERT INTO tallies (name, n, at) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET n = n + excluded.n, at = excluded.at",
        (name, n, tx.now()),
    )
    .map(|_| ())
}

/// Every total.
pub fn all(tx: &ReadTx<'_>) -> Result<Vec<(String, i64)>> {
    tx.conn()
        .prepare_cached("SELECT name, n FROM tallies ORDER BY name")
        .and_then(|mut s| s.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect())
        .map_err(|e| open::error("reading totals", e))
}
