//! The `streams` table: how far each lane and epoch of other edges was received.
//! Must never go back. Invariant: up to `upto_no`, counted from the first batch that came, nothing is missing.

use rusqlite::{OptionalExtension, Row};

use crate::base::digest::Hash;
use crate::base::error::Result;
use crate::base::id::{EdgeId, Epoch};
use crate::base::time::Millis;
use crate::domain::event::Lane;
use crate::domain::relay::StreamKey;
use crate::store::{ReadTx, WriteTx, open};

/// One lane and epoch of an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its row.
    pub id: i64,
    /// What it is of.
    pub key: StreamKey,
    /// The first batch that came.
    pub first_no: i64,
    /// The highest batch without a gap between it and the first.
    pub upto_no: i64,
    /// The highest batch that came.
    pub highest_no: i64,
    /// How many came.
    pub batch_count: i64,
    /// Last number of the batch `upto_no`.
    pub last_seq: i64,
    /// Digest of the batch `upto_no`.
    pub digest: Hash,
    /// The epoch before, as the first batch says.
    pub previous_epoch: Option<String>,
    /// When the first one came.
    pub began: Millis,
}

impl Stream {
    /// Batches between the first and the highest that have not come.
    pub fn gap_count(&self) -> i64 {
        self.highest_no - self.first_no + 1 - self.batch_count
    }
}

const COLUMNS: &str = "SELECT stream_id, edge, epoch, lane, first_no, upto_no, highest_no, batch_count, last_seq, digest, \
    previous_epoch, began_at FROM streams";

fn bad(at: usize) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(at, "an id".to_owned(), rusqlite::types::Type::Text)
}

/// A stream's key from three columns, the first of them at `at`.
pub(in crate::store) fn key_at(r: &Row<'_>, at: usize) -> rusqlite::Result<StreamKey> {
    let (edge, epoch, lane): (String, String, i64) = (r.get(at)?, r.get(at + 1)?, r.get(at + 2)?);
    Ok(StreamKey {
        edge: EdgeId::parse(&edge).map_err(|_| bad(at))?,
        epoch: Epoch::parse(&epoch).map_err(|_| bad(at + 1))?,
        lane: Lane::from_code(lane).ok_or(rusqlite::Error::IntegralValueOutOfRange(at + 2, lane))?,
    })
}

fn row(r: &Row<'_>) -> rusqlite::Result<Stream> {
    Ok(Stream {
        id: r.get(0)?,
        key: key_at(r, 1)?,
        first_no: r.get(4)?,
        upto_no: r.get(5)?,
        highest_no: r.get(6)?,
        batch_count: r.get(7)?,
        last_seq: r.get(8)?,
        digest: r.get(9)?,
        previous_epoch: r.get(10)?,
        began: r.get(11)?,
    })
}

/// One stream.
pub fn get(tx: &ReadTx<'_>, key: StreamKey) -> Result<Option<Stream>> {
    tx.conn()
        .prepare_cached(&format!("{COLUMNS} WHERE edge = ?1 AND epoch = ?2 AND lane = ?3"))
        .and_then(|mut s| s.query_row((key.edge.to_string(), key.epoch.to_string(), key.lane.code()), row).optional())
        .map_err(|e| open::error("reading how far a lane was received", e))
}

/// Every stream of an edge, oldest first.
pub fn of_edge(tx: &ReadTx<'_>, edge: EdgeId) -> Result<Vec<Stream>> {
    tx.conn()
        .prepare_cached(&format!("{COLUMNS} WHERE edge = ?1 ORDER BY stream_id"))
        .and_then(|mut s| s.query_map([edge.to_string()], row)?.collect())
        .map_err(|e| open::error("reading how far an edge was received", e))
}

/// Every stream, lanes in the order they are sent, oldest first within one.
pub fn all(tx: &ReadTx<'_>) -> Result<Vec<Stream>> {
    tx.conn()
        .prepare_cached(&format!("{COLUMNS} ORDER BY lane, stream_id"))
        .and_then(|mut s| s.query_map([], row)?.collect())
        .map_err(|e| open::error("listing what was received", e))
}

/// What the first batch of a stream says.
#[derive(Clone, Debug)]
pub struct First {
    /// Its number.
    pub batch_no: i64,
    /// Its last line's number.
    pub last_seq: i64,
    /// Its digest.
    pub digest: Hash,
    /// The epoch before, where it is the first of its epoch.
    pub previous_epoch: Option<String>,
    /// Digest of the batch before it.
    pub previous_digest: Option<Hash>,
}

/// Begins a stream with its first batch; returns its row.
pub fn begin(tx: &WriteTx<'_>, key: StreamKey, first: &First) -> Result<i64> {
    tx.execute(
        "INSERT INTO streams (edge, epoch, lane, first_no, upto_no, highest_no, batch_count, last_seq, digest, \
         previous_epoch, previous_digest, began_at) VALUES (?1, ?2, ?3, ?4, ?4, ?4, 1, ?5, ?6, ?7, ?8, ?9)",
        rusqlite::params![
            key.edge.to_string(),
            key.epoch.to_string(),
            key.lane.code(),
            first.batch_no,
            first.last_seq,
            first.digest,
            first.previous_epoch,
            first.previous_digest,
            tx.now(),
        ],
    )?;
    Ok(tx.conn().last_insert_rowid())
}

/// Keeps how far a stream is.
pub fn update(tx: &WriteTx<'_>, stream: &Stream) -> Result<()> {
    tx.execute(
        "UPDATE streams SET first_no = ?2, upto_no = ?3, highest_no = ?4, batch_count = ?5, last_seq = ?6, digest = ?7 \
         WHERE stream_id = ?1",
        (
            stream.id,
            stream.first_no,
            stream.upto_no,
            stream.highest_no,
            stream.batch_count,
            stream.last_seq,
            stream.digest,
        ),
    )
    .map(|_| ())
}
