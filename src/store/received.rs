//! The `received` table: batches of other edges, in the order they came, and whether their files lie here still.
//! Must never hold a line. Invariant: a row is committed after its files are on the disk; a key has one digest for ever.

use rusqlite::{OptionalExtension, Row};

use crate::base::digest::Hash;
use crate::base::error::Result;
use crate::base::id::EdgeId;
use crate::base::time::Millis;
use crate::domain::event::Lane;
use crate::domain::relay::StreamKey;
use crate::store::{ReadTx, WriteTx, open, streams};

/// A batch that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its place in the order of arrival, from 1.
    pub no: i64,
    /// Row of its stream.
    pub stream_id: i64,
    /// Edge, epoch and lane.
    pub stream: StreamKey,
    /// Its number.
    pub batch_no: i64,
    /// Its digest.
    pub digest: Hash,
    /// Digest of the batch before it, as its signed part says.
    pub previous: Option<Hash>,
    /// Number of its last line.
    pub last_seq: i64,
    /// Lines, holes included.
    pub line_count: i64,
    /// Lines that are holes in the file.
    pub hole_count: i64,
    /// Bytes of its files.
    pub bytes: i64,
    /// When it came.
    pub received: Millis,
    /// Do its files lie here?
    pub held: bool,
}

const COLUMNS: &str = "SELECT r.received_no, r.stream_id, s.edge, s.epoch, s.lane, r.batch_no, r.digest, r.previous, \
    r.last_seq, r.line_count, r.hole_count, r.bytes, r.received_at, r.held \
    FROM received r JOIN streams s ON s.stream_id = r.stream_id";

fn row(r: &Row<'_>) -> rusqlite::Result<Received> {
    Ok(Received {
        no: r.get(0)?,
        stream_id: r.get(1)?,
        stream: streams::key_at(r, 2)?,
        batch_no: r.get(5)?,
        digest: r.get(6)?,
        previous: r.get(7)?,
        last_seq: r.get(8)?,
        line_count: r.get(9)?,
        hole_count: r.get(10)?,
        bytes: r.get(11)?,
        received: r.get(12)?,
        held: r.get(13)?,
    })
}

/// Keeps a batch whose files are on the disk.
pub fn insert(tx: &WriteTx<'_>, b: &Received) -> Result<()> {
    tx.execute(
        "INSERT INTO received (stream_id, batch_no, digest, previous, last_seq, line_count, hole_count, bytes, received_at, \
         held) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1)",
        rusqlite::params![
            b.stream_id,
            b.batch_no,
            b.digest,
            b.previous,
            b.last_seq,
            b.line_count,
            b.hole_count,
            b.bytes,
            b.received,
        ],
    )
    .map(|_| ())
}

/// One batch of a stream.
pub fn get(tx: &ReadTx<'_>, stream_id: i64, batch_no: i64) -> Result<Option<Received>> {
    tx.conn()
        .prepare_cached(&format!("{COLUMNS} WHERE r.stream_id = ?1 AND r.batch_no = ?2"))
        .and_then(|mut s| s.query_row((stream_id, batch_no), row).optional())
        .map_err(|e| open::error("reading a received batch", e))
}

/// Batches of a stream behind a number, in order, at most `limit`; those whose files are gone too.
pub fn of_stream(tx: &ReadTx<'_>, stream_id: i64, after_no: i64, limit: i64) -> Result<Vec<Received>> {
    tx.conn()
        .prepare_cached(&format!("{COLUMNS} WHERE r.stream_id = ?1 AND r.batch_no > ?2 ORDER BY r.batch_no LIMIT ?3"))
        .and_then(|mut s| s.query_map((stream_id, after_no, limit), row)?.collect())
        .map_err(|e| open::error("listing received batches", e))
}

/// Batches of a stream behind a place in the order of arrival, at most `limit`; those whose files are gone too.
pub fn arrived(tx: &ReadTx<'_>, stream_id: i64, after: i64, limit: i64) -> Result<Vec<Received>> {
    tx.conn()
        .prepare_cached(&format!(
            "{COLUMNS} WHERE r.stream_id = ?1 AND r.received_no > ?2 ORDER BY r.received_no LIMIT ?3"
        ))
        .and_then(|mut s| s.query_map((stream_id, after, limit), row)?.collect())
        .map_err(|e| open::error("listing batches in the order they came", e))
}

/// The lowest place in the order of arrival of any batch of a stream from a number on.
pub fn first_place(tx: &ReadTx<'_>, stream_id: i64, from_no: i64) -> Result<Option<i64>> {
    tx.conn()
        .prepare_cached("SELECT min(received_no) FROM received WHERE stream_id = ?1 AND batch_no >= ?2")
        .and_then(|mut s| s.query_row((stream_id, from_no), |r| r.get(0)))
        .map_err(|e| open::error("looking for where a stream goes on", e))
}

/// The first batch of a stream behind a place in the order of arrival whose files lie here.
pub fn next_held(tx: &ReadTx<'_>, stream_id: i64, after: i64) -> Result<Option<Received>> {
    tx.conn()
        .prepare_cached(&format!(
            "{COLUMNS} WHERE r.stream_id = ?1 AND r.received_no > ?2 AND r.held = 1 ORDER BY r.received_no LIMIT 1"
        ))
        .and_then(|mut s| s.query_row((stream_id, after), row).optional())
        .map_err(|e| open::error("looking for the next held batch", e))
}

/// Which batches to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Which {
    /// Behind this place in the order of arrival.
    pub after: i64,
    /// Of one edge.
    pub edge: Option<EdgeId>,
    /// Of one lane.
    pub lane: Option<Lane>,
}

/// Batches whose files lie here, in the order they came, at most `limit`.
pub fn held(tx: &ReadTx<'_>, which: Which, limit: i64) -> Result<Vec<Received>> {
    tx.conn()
        .prepare_cached(&format!(
            "{COLUMNS} WHERE r.received_no > ?1 AND r.held = 1 AND (?2 IS NULL OR s.edge = ?2) \
             AND (?3 IS NULL OR s.lane = ?3) ORDER BY r.received_no LIMIT ?4"
        ))
        .and_then(|mut s| {
            let edge = which.edge.map(|edge| edge.to_string());
            s.query_map((which.after, edge, which.lane.map(Lane::code), limit), row)?.collect()
        })
        .map_err(|e| open::error("listing held batches", e))
}

/// Batches received before `before` whose files lie here, behind a place in the order of arrival, at most `limit`.
pub fn held_since(tx: &ReadTx<'_>, before: Millis, after: i64, limit: i64) -> Result<Vec<Received>> {
    tx.conn()
        .prepare_cached(&format!(
            "{COLUMNS} WHERE r.held = 1 AND r.received_at < ?1 AND r.received_no > ?2 ORDER BY r.received_no LIMIT ?3"
        ))
        .and_then(|mut s| s.query_map((before, after, limit), row)?.collect())
        .map_err(|e| open::error("listing old held batches", e))
}

/// Notes that a batch's file has other holes or another length now.
pub fn renewed(tx: &WriteTx<'_>, no: i64, hole_count: i64, bytes: i64) -> Result<()> {
    tx.execute("UPDATE received SET hole_count = ?2, bytes = ?3 WHERE received_no = ?1", (no, hole_count, bytes))
        .map(|_| ())
}

/// Notes that a batch's files are gone; its digest stays.
pub fn released(tx: &WriteTx<'_>, no: i64) -> Result<()> {
    tx.execute("UPDATE received SET held = 0, bytes = 0 WHERE received_no = ?1", [no]).map(|_| ())
}

/// Forgets the batches of a stream from a number on; returns how many.
pub fn delete_from(tx: &WriteTx<'_>, stream_id: i64, from_no: i64) -> Result<usize> {
    tx.execute("DELETE FROM received WHERE stream_id = ?1 AND batch_no >= ?2", (stream_id, from_no))
}

/// Forgets batches whose files are gone and that came before `before`, at most `limit`; returns how many.
pub fn forget(tx: &WriteTx<'_>, before: Millis, limit: i64) -> Result<usize> {
    tx.execute(
        "DELETE FROM received WHERE received_no IN (SELECT received_no FROM received \
         WHERE held = 0 AND received_at < ?1 ORDER BY received_no LIMIT ?2)",
        (before, limit),
    )
}

/// How many batches lie here, and the bytes of their files.
pub fn room(tx: &ReadTx<'_>) -> Result<(i64, i64)> {
    tx.conn()
        .prepare_cached("SELECT count(*), coalesce(sum(bytes), 0) FROM received WHERE held = 1")
        .and_then(|mut s| s.query_row([], |r| Ok((r.get(0)?, r.get(1)?))))
        .map_err(|e| open::error("counting held batches", e))
}
