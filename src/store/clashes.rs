//! The `clashes` table: batches that were refused because another one lies under their key.
//! Must never be emptied: it says why an edge was told to begin anew. Invariant: an open fork holds its whole epoch.

use rusqlite::{OptionalExtension, Row};

use crate::base::digest::Hash;
use crate::base::error::Result;
use crate::base::id::{EdgeId, Epoch};
use crate::base::time::Millis;
use crate::domain::relay::StreamKey;
use crate::store::{ReadTx, WriteTx, open, streams};

/// A batch that was refused for the one that lies under its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// Row of its stream.
    pub stream_id: i64,
    /// Edge, epoch and lane.
    pub stream: StreamKey,
    /// The number both have.
    pub batch_no: i64,
    /// Digest of the one that was refused.
    pub digest: Hash,
    /// When it was seen first.
    pub seen: Millis,
    /// `open`, `renew` (whoever shows it is to begin a new epoch) or `kept` (it took the place of the other).
    pub state: String,
}

const COLUMNS: &str = "SELECT f.stream_id, s.edge, s.epoch, s.lane, f.batch_no, f.digest, f.seen_at, f.state \
    FROM clashes f JOIN streams s ON s.stream_id = f.stream_id";

fn row(r: &Row<'_>) -> rusqlite::Result<Fork> {
    Ok(Fork {
        stream_id: r.get(0)?,
        stream: streams::key_at(r, 1)?,
        batch_no: r.get(4)?,
        digest: r.get(5)?,
        seen: r.get(6)?,
        state: r.get(7)?,
    })
}

/// Notes a refused batch; false where it was known.
pub fn insert(tx: &WriteTx<'_>, stream_id: i64, batch_no: i64, digest: &Hash) -> Result<bool> {
    tx.execute(
        "INSERT INTO clashes (stream_id, batch_no, digest, seen_at, state) VALUES (?1, ?2, ?3, ?4, 'open') ON CONFLICT DO NOTHING",
        (stream_id, batch_no, digest, tx.now()),
    )
    .map(|n| n > 0)
}

/// Is any fork of this edge and epoch open?
pub fn any_open(tx: &ReadTx<'_>, edge: EdgeId, epoch: Epoch) -> Result<bool> {
    tx.conn()
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM streams s JOIN clashes f ON f.stream_id = s.stream_id \
             WHERE s.edge = ?1 AND s.epoch = ?2 AND f.state = 'open')",
        )
        .and_then(|mut s| s.query_row((edge.to_string(), epoch.to_string()), |r| r.get(0)))
        .map_err(|e| open::error("looking for forks", e))
}

/// The fork of this digest under a key.
pub fn get(tx: &ReadTx<'_>, stream_id: i64, batch_no: i64, digest: &Hash) -> Result<Option<Fork>> {
    tx.conn()
        .prepare_cached(&format!("{COLUMNS} WHERE f.stream_id = ?1 AND f.batch_no = ?2 AND f.digest = ?3"))
        .and_then(|mut s| s.query_row((stream_id, batch_no, digest), row).optional())
        .map_err(|e| open::error("reading a fork", e))
}

/// The forks of an edge, oldest first.
pub fn of_edge(tx: &ReadTx<'_>, edge: EdgeId) -> Result<Vec<Fork>> {
    tx.conn()
        .prepare_cached(&format!("{COLUMNS} WHERE s.edge = ?1 ORDER BY f.seen_at, f.stream_id, f.batch_no"))
        .and_then(|mut s| s.query_map([edge.to_string()], row)?.collect())
        .map_err(|e| open::error("listing forks", e))
}

/// Says what became of a refused batch: `renew` or `kept`.
pub fn resolve(tx: &WriteTx<'_>, fork: &Fork, state: &str) -> Result<()> {
    tx.execute(
        "UPDATE clashes SET state = ?4, resolved_at = ?5 WHERE stream_id = ?1 AND batch_no = ?2 AND digest = ?3",
        (fork.stream_id, fork.batch_no, fork.digest, state, tx.now()),
    )
    .map(|_| ())
}

/// Keeps a digest whose sender is to begin a new epoch.
pub fn insert_renew(tx: &WriteTx<'_>, stream_id: i64, batch_no: i64, digest: &Hash) -> Result<()> {
    tx.execute(
        "INSERT INTO clashes (stream_id, batch_no, digest, seen_at, state, resolved_at) VALUES (?1, ?2, ?3, ?4, 'renew', ?4) \
         ON CONFLICT DO UPDATE SET state = 'renew', resolved_at = excluded.resolved_at",
        (stream_id, batch_no, digest, tx.now()),
    )
    .map(|_| ())
}
