//! The `imports` and `spooled` tables: what was taken in before, so that nothing is taken twice.
//! Must never hold a byte of what was imported beyond a hash of its beginning.

use rusqlite::OptionalExtension;

use crate::base::digest::{Hash, sha256};
use crate::base::error::Result;
use crate::base::time::Millis;
use crate::store::{ReadTx, WriteTx, open};

/// How far a source was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Hash of its first `head_bytes` decompressed bytes.
    pub source: Hash,
    /// How many bytes that hash covers.
    pub head_bytes: i64,
    /// Decompressed bytes taken.
    pub bytes: i64,
    /// Lines taken.
    pub lines: i64,
}

/// The source that begins like `head` (its first bytes, at most 64 KiB), if it was seen before.
/// A source recorded while it was shorter is recognised by the bytes it had then.
pub fn known(tx: &ReadTx<'_>, head: &[u8]) -> Result<Option<Taken>> {
    let lengths: Vec<i64> = tx
        .conn()
        .prepare_cached("SELECT DISTINCT head_bytes FROM imports WHERE head_bytes <= ?1 ORDER BY head_bytes DESC")
        .and_then(|mut s| s.query_map([i64::try_from(head.len()).unwrap_or(i64::MAX)], |r| r.get(0))?.collect())
        .map_err(|e| open::error("reading imported sources", e))?;
    for length in lengths {
        let bytes = usize::try_from(length).unwrap_or(usize::MAX).min(head.len());
        if let Some(taken) = get(tx, &sha256(&head[..bytes]))?.filter(|t| t.head_bytes == length) {
            return Ok(Some(taken));
        }
    }
    Ok(None)
}

/// The record of a source.
pub fn get(tx: &ReadTx<'_>, source: &Hash) -> Result<Option<Taken>> {
    tx.conn()
        .prepare_cached("SELECT source, head_bytes, taken_bytes, taken_lines FROM imports WHERE source = ?1")
        .and_then(|mut s| {
            s.query_row([source], |r| {
                Ok(Taken { source: r.get(0)?, head_bytes: r.get(1)?, bytes: r.get(2)?, lines: r.get(3)? })
            })
            .optional()
        })
        .map_err(|e| open::error("reading an imported source", e))
}

/// Keeps how far a source was taken; a source known under a shorter beginning is renamed.
pub fn put(tx: &WriteTx<'_>, taken: &Taken, before: Option<&Hash>) -> Result<()> {
    if let Some(old) = before.filter(|old| **old != taken.source) {
        tx.execute("DELETE FROM imports WHERE source = ?1", [old])?;
    }
    tx.execute(
        "INSERT INTO imports (source, head_bytes, taken_bytes, taken_lines, at) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT DO UPDATE SET head_bytes = excluded.head_bytes, taken_bytes = excluded.taken_bytes, \
         taken_lines = excluded.taken_lines, at = excluded.at",
        (taken.source, taken.head_bytes, taken.bytes, taken.lines, tx.now()),
    )
    .map(|_| ())
}

/// How many lines of a spool file of that name and content were taken.
pub fn spooled(tx: &ReadTx<'_>, name: &str, digest: &Hash) -> Result<Option<i64>> {
    tx.conn()
        .prepare_cached("SELECT lines FROM spooled WHERE name = ?1 AND digest = ?2")
        .and_then(|mut s| s.query_row((name, digest), |r| r.get(0)).optional())
        .map_err(|e| open::error("reading spooled files", e))
}

/// Keeps how many lines of a spool file were taken.
pub fn set_spooled(tx: &WriteTx<'_>, name: &str, digest: &Hash, lines: i64) -> Result<()> {
    tx.execute(
        "INSERT INTO spooled (name, digest, lines, at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT DO UPDATE SET digest = excluded.digest, lines = excluded.lines, at = excluded.at",
        (name, digest, lines, tx.now()),
    )
    .map(|_| ())
}

/// Forgets sources and spool files last touched before `before`, at most `limit` of each.
pub fn delete_before(tx: &WriteTx<'_>, sources: Millis, spool: Millis, limit: i64) -> Result<usize> {
    let a = tx.execute(
        "DELETE FROM imports WHERE source IN (SELECT source FROM imports WHERE at < ?1 LIMIT ?2)",
        (sources, limit),
    )?;
    let b = tx.execute(
        "DELETE FROM spooled WHERE name IN (SELECT name FROM spooled WHERE at < ?1 LIMIT ?2)",
        (spool, limit),
    )?;
    Ok(a + b)
}
