//! The `known_edges` table: edges whose batches are taken here, the key each signs with, and whether the operator lets them.
//! Must never hold a secret of theirs. Invariant: an edge's key never changes; one that signs with another is another edge.

use rusqlite::{OptionalExtension, Row};

use crate::base::error::Result;
use crate::base::id::EdgeId;
use crate::base::time::Millis;
use crate::domain::relay::EdgeState;
use crate::store::{ReadTx, WriteTx, open};

/// An edge that joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownEdge {
    /// Its id.
    pub edge: EdgeId,
    /// What its batches are signed with.
    pub public_key: [u8; 32],
    /// Its name for people; may be empty.
    pub label: String,
    /// Whether its batches are taken.
    pub state: EdgeState,
    /// The edge that may send what this one left behind.
    pub successor: Option<EdgeId>,
    /// When it joined.
    pub joined: Millis,
    /// When its state changed last.
    pub changed: Millis,
    /// When a batch of it last came.
    pub last_seen: Option<Millis>,
    /// The only site it may send rows of; `None` = any.
    pub site: Option<String>,
    /// It may speak for edges below it, and send their batches.
    pub relay: bool,
    /// It joined here by itself, with a code; else it is known by the word of relays alone.
    pub direct: bool,
    /// Its state is the word of this wayside, and no relay's word changes it.
    pub ruled: bool,
}

impl KnownEdge {
    /// Is its state this wayside's own word, and not what relays say?
    pub fn is_ours(&self) -> bool {
        self.direct || self.ruled
    }
}

const COLUMNS: &str = "SELECT edge, public_key, label, state, successor, joined_at, changed_at, last_seen_at, \
    site, relay, direct, ruled FROM known_edges";

fn bad(at: usize) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(at, "an id or a word".to_owned(), rusqlite::types::Type::Text)
}

fn row(r: &Row<'_>) -> rusqlite::Result<KnownEdge> {
    let id = |at: usize, text: &str| EdgeId::parse(text).map_err(|_| bad(at));
    let (edge, state): (String, String) = (r.get(0)?, r.get(3)?);
    let successor: Option<String> = r.get(4)?;
    Ok(KnownEdge {
        edge: id(0, &edge)?,
        public_key: r.get(1)?,
        label: r.get(2)?,
        state: EdgeState::parse(&state).ok_or_else(|| bad(3))?,
        successor: successor.map(|text| id(4, &text)).transpose()?,
        joined: r.get(5)?,
        changed: r.get(6)?,
        last_seen: r.get(7)?,
        site: r.get(8)?,
        relay: r.get(9)?,
        direct: r.get(10)?,
        ruled: r.get(11)?,
    })
}

/// Keeps an edge that was not known.
pub fn insert(tx: &WriteTx<'_>, edge: &KnownEdge) -> Result<()> {
    tx.execute(
        "INSERT INTO known_edges (edge, public_key, label, state, joined_at, changed_at, site, relay, direct, ruled) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, ?8, ?9)",
        rusqlite::params![
            edge.edge.to_string(),
            edge.public_key,
            &edge.label,
            edge.state.word(),
            edge.joined,
            &edge.site,
            edge.relay,
            edge.direct,
            edge.ruled,
        ],
    )
    .map(|_| ())
}

/// One edge.
pub fn get(tx: &ReadTx<'_>, edge: EdgeId) -> Result<Option<KnownEdge>> {
    tx.conn()
        .prepare_cached(&format!("{COLUMNS} WHERE edge = ?1"))
        .and_then(|mut s| s.query_row([edge.to_string()], row).optional())
        .map_err(|e| open::error("reading an edge", e))
}

/// Every edge, by label and id.
pub fn list(tx: &ReadTx<'_>) -> Result<Vec<KnownEdge>> {
    tx.conn()
        .prepare_cached(&format!("{COLUMNS} ORDER BY label, edge"))
        .and_then(|mut s| s.query_map([], row)?.collect())
        .map_err(|e| open::error("listing edges", e))
}

/// How many edges are known.
pub fn count(tx: &ReadTx<'_>) -> Result<i64> {
    tx.conn()
        .prepare_cached("SELECT count(*) FROM known_edges")
        .and_then(|mut s| s.query_row([], |r| r.get(0)))
        .map_err(|e| open::error("counting edges", e))
}

/// Changes whether its batches are taken.
pub fn set_state(tx: &WriteTx<'_>, edge: EdgeId, state: EdgeState) -> Result<()> {
    tx.execute(
        "UPDATE known_edges SET state = ?2, changed_at = ?3 WHERE edge = ?1",
        (edge.to_string(), state.word(), tx.now()),
    )
    .map(|_| ())
}

/// Keeps by whose word it is known and what it may: `site`, `relay`, `direct` and `ruled`.
pub fn set_rights(tx: &WriteTx<'_>, edge: &KnownEdge) -> Result<()> {
    tx.execute(
        "UPDATE known_edges SET site = ?2, relay = ?3, direct = ?4, ruled = ?5 WHERE edge = ?1",
        (edge.edge.to_string(), &edge.site, edge.relay, edge.direct, edge.ruled),
    )
    .map(|_| ())
}

/// Names the edge that may send what this one left behind.
pub fn set_successor(tx: &WriteTx<'_>, edge: EdgeId, successor: EdgeId) -> Result<()> {
    tx.execute("UPDATE known_edges SET successor = ?2 WHERE edge = ?1", (edge.to_string(), successor.to_string()))
        .map(|_| ())
}

/// Changes its name.
pub fn set_label(tx: &WriteTx<'_>, edge: EdgeId, label: &str) -> Result<()> {
    tx.execute("UPDATE known_edges SET label = ?2 WHERE edge = ?1", (edge.to_string(), label)).map(|_| ())
}

/// Notes that a batch came.
pub fn seen(tx: &WriteTx<'_>, edge: EdgeId, at: Millis) -> Result<()> {
    tx.execute("UPDATE known_edges SET last_seen_at = ?2 WHERE edge = ?1", (edge.to_string(), at)).map(|_| ())
}
