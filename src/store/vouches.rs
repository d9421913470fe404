//! The `vouches` and `vouched` tables: what relays say of the edges below them, and what was told to each target of the edges
//! known here. Must never hold a key: an edge's key stands with the edge. Invariant: one relay has one word about an edge, its
//! newest.

use rusqlite::OptionalExtension;

use crate::base::digest::Hash;
use crate::base::error::Result;
use crate::base::id::EdgeId;
use crate::base::time::Millis;
use crate::domain::relay::EdgeState;
use crate::store::{ReadTx, WriteTx, open};

/// What a relay says of an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// The edge.
    pub edge: EdgeId,
    /// The relay, itself an edge here.
    pub relay: EdgeId,
    /// Whether the relay takes its batches.
    pub state: EdgeState,
    /// Its name there.
    pub label: String,
    /// When the relay said so last.
    pub told: Millis,
}

const COLUMNS: &str = "SELECT edge, relay, state, label, told_at FROM vouches";

fn row(r: &rusqlite::Row<'_>) -> rusqlite::Result<Vouched> {
    let bad = |at: usize| rusqlite::Error::InvalidColumnType(at, "an id".to_owned(), rusqlite::types::Type::Text);
    let (edge, relay, state): (String, String, String) = (r.get(0)?, r.get(1)?, r.get(2)?);
    Ok(Vouched {
        edge: EdgeId::parse(&edge).map_err(|_| bad(0))?,
        relay: EdgeId::parse(&relay).map_err(|_| bad(1))?,
        state: EdgeState::parse(&state).ok_or_else(|| bad(2))?,
        label: r.get(3)?,
        told: r.get(4)?,
    })
}

/// Keeps a relay's newest word about an edge.
pub fn put(tx: &WriteTx<'_>, v: &Vouched) -> Result<()> {
    tx.execute(
        "INSERT INTO vouches (edge, relay, state, label, told_at) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE \
         SET state = excluded.state, label = excluded.label, told_at = excluded.told_at",
        (v.edge.to_string(), v.relay.to_string(), v.state.word(), &v.label, v.told),
    )
    .map(|_| ())
}

/// What one relay says of an edge.
pub fn get(tx: &ReadTx<'_>, edge: EdgeId, relay: EdgeId) -> Result<Option<Vouched>> {
    tx.conn()
        .prepare_cached(&format!("{COLUMNS} WHERE edge = ?1 AND relay = ?2"))
        .and_then(|mut s| s.query_row((edge.to_string(), relay.to_string()), row).optional())
        .map_err(|e| open::error("reading what a relay says of an edge", e))
}

/// What all relays say of an edge, the newest word first.
pub fn of_edge(tx: &ReadTx<'_>, edge: EdgeId) -> Result<Vec<Vouched>> {
    tx.conn()
        .prepare_cached(&format!("{COLUMNS} WHERE edge = ?1 ORDER BY told_at DESC, relay"))
        .and_then(|mut s| s.query_map([edge.to_string()], row)?.collect())
        .map_err(|e| open::error("reading what relays say of an edge", e))
}

/// The edges a relay has vouched for.
pub fn of_relay(tx: &ReadTx<'_>, relay: EdgeId) -> Result<Vec<EdgeId>> {
    tx.conn()
        .prepare_cached(&format!("{COLUMNS} WHERE relay = ?1 ORDER BY edge"))
        .and_then(|mut s| s.query_map([relay.to_string()], row)?.map(|one| one.map(|one| one.edge)).collect())
        .map_err(|e| open::error("reading whom a relay vouches for", e))
}

/// The digest of what a target was told last of an edge.
pub fn told(tx: &ReadTx<'_>, target: &str, edge: EdgeId) -> Result<Option<Hash>> {
    tx.conn()
        .prepare_cached("SELECT digest FROM vouched WHERE target = ?1 AND edge = ?2")
        .and_then(|mut s| s.query_row((target, edge.to_string()), |r| r.get(0)).optional())
        .map_err(|e| open::error("reading what a target was told of an edge", e))
}

/// Notes what a target was told of an edge.
pub fn note(tx: &WriteTx<'_>, target: &str, edge: EdgeId, digest: &Hash) -> Result<()> {
    tx.execute(
        "INSERT INTO vouched (target, edge, digest, told_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE \
         SET digest = excluded.digest, told_at = excluded.told_at",
        (target, edge.to_string(), digest, tx.now()),
    )
    .map(|_| ())
}

/// A target does not know an edge any more: it is to be told anew.
pub fn forget(tx: &WriteTx<'_>, target: &str, edge: EdgeId) -> Result<()> {
    tx.execute("DELETE FROM vouched WHERE target = ?1 AND edge = ?2", (target, edge.to_string())).map(|_| ())
}
