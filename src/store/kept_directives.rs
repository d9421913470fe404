//! The `kept_directives` table: directives kept at a relay for the edges below it. Must never hold in clear whom one names: the
//! statement is sealed before it comes here. Invariant: a directive is kept once, by its id, and its row stays.

use rusqlite::{OptionalExtension, Row};

use crate::base::error::Result;
use crate::base::id::EdgeId;
use crate::base::time::Millis;
use crate::domain::directive::{ALL, Action};
use crate::store::{ReadTx, WriteTx, open, row};

/// A directive that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number here.
    pub no: i64,
    /// Its id.
    pub id: [u8; 16],
    /// What it asks.
    pub action: Action,
    /// The edge it is for; `None` = all.
    pub edge: Option<EdgeId>,
    /// The signed statement, sealed; gone once nobody needs it any more.
    pub statement: Option<Vec<u8>>,
    /// The target it came from, which is to be told what became of it; `None` = it was given here.
    pub came_from: Option<String>,
    /// The request of this register that it belongs to.
    pub request_id: Option<[u8; 16]>,
    /// Since when it is kept.
    pub kept: Millis,
    /// Until when the person is to be answered.
    pub due: Millis,
}

const COLUMNS: &str = "SELECT kept_no, directive_id, action, edge, statement, came_from, request_id, kept_at, due_at FROM kept_directives";

fn from_row(r: &Row<'_>) -> rusqlite::Result<Kept> {
    let edge: String = r.get(3)?;
    let bad = || rusqlite::Error::InvalidColumnType(3, "edge".to_owned(), rusqlite::types::Type::Text);
    let edge = if edge == ALL { None } else { Some(EdgeId::parse(&edge).map_err(|_| bad())?) };
    Ok(Kept {
        no: r.get(0)?,
        id: r.get(1)?,
        action: row::word(r.get_ref(2)?, Action::parse)?,
        edge,
        statement: r.get(4)?,
        came_from: r.get(5)?,
        request_id: r.get(6)?,
        kept: r.get(7)?,
        due: r.get(8)?,
    })
}

/// The number the next one gets.
pub fn next_no(tx: &WriteTx<'_>) -> Result<i64> {
    tx.conn()
        .prepare_cached("SELECT coalesce(max(kept_no), 0) + 1 FROM kept_directives")
        .and_then(|mut s| s.query_row([], |r| r.get(0)))
        .map_err(|e| open::error("numbering a directive", e))
}

/// Keeps a directive, under the number it names.
pub fn insert(tx: &WriteTx<'_>, kept: &Kept) -> Result<()> {
    let edge = kept.edge.map_or_else(|| ALL.to_owned(), |edge| edge.to_string());
    tx.execute(
        "INSERT INTO kept_directives (kept_no, directive_id, action, edge, statement, came_from, request_id, kept_at, due_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        (
            kept.no,
            kept.id,
            kept.action.word(),
            edge,
            &kept.statement,
            &kept.came_from,
            kept.request_id,
            kept.kept,
            kept.due,
        ),
    )
    .map(|_| ())
}

/// One of them.
pub fn get(tx: &ReadTx<'_>, id: &[u8; 16]) -> Result<Option<Kept>> {
    tx.conn()
        .prepare_cached(&format!("{COLUMNS} WHERE directive_id = ?1"))
        .and_then(|mut s| s.query_row([id], from_row).optional())
        .map_err(|e| open::error("reading a kept directive", e))
}

/// Those behind a number that still have their statement, in the order they came.
pub fn open_after(tx: &ReadTx<'_>, after: i64, limit: i64) -> Result<Vec<Kept>> {
    list(
        tx,
        &format!("{COLUMNS} WHERE statement IS NOT NULL AND kept_no > ?1 ORDER BY kept_no LIMIT ?2"),
        (after, limit),
    )
}

/// The newest, whether they have their statement or not.
pub fn newest(tx: &ReadTx<'_>, limit: i64) -> Result<Vec<Kept>> {
    list(tx, &format!("{COLUMNS} WHERE kept_no > ?1 ORDER BY kept_no DESC LIMIT ?2"), (0, limit))
}

fn list(tx: &ReadTx<'_>, sql: &str, values: (i64, i64)) -> Result<Vec<Kept>> {
    tx.conn()
        .prepare_cached(sql)
        .and_then(|mut s| s.query_map(values, from_row)?.collect())
        .map_err(|e| open::error("listing kept directives", e))
}

/// How many wait for an edge that it has not fetched, those for edges it vouches for too.
pub fn fresh(tx: &ReadTx<'_>, edge: EdgeId) -> Result<i64> {
    tx.conn()
        .prepare_cached(
            "SELECT count(*) FROM kept_directives k WHERE k.statement IS NOT NULL AND (\
               (k.edge IN ('all', ?1) AND NOT EXISTS \
                 (SELECT 1 FROM edge_answers a WHERE a.kept_no = k.kept_no AND a.edge = ?1)) \
               OR (EXISTS (SELECT 1 FROM vouches v WHERE v.edge = k.edge AND v.relay = ?1) AND NOT EXISTS \
                 (SELECT 1 FROM edge_answers a WHERE a.kept_no = k.kept_no AND a.edge = k.edge)))",
        )
        .and_then(|mut s| s.query_row([edge.to_string()], |r| r.get(0)))
        .map_err(|e| open::error("counting directives of an edge", e))
}

/// Those of a request.
pub fn of_request(tx: &ReadTx<'_>, request_id: &[u8; 16]) -> Result<Vec<Kept>> {
    tx.conn()
        .prepare_cached(&format!("{COLUMNS} WHERE request_id = ?1 ORDER BY kept_no"))
        .and_then(|mut s| s.query_map([request_id], from_row)?.collect())
        .map_err(|e| open::error("listing directives of a request", e))
}

/// Drops whom a directive names; what it asked and who answered stays.
pub fn forget(tx: &WriteTx<'_>, no: i64) -> Result<()> {
    tx.execute("UPDATE kept_directives SET statement = NULL WHERE kept_no = ?1", [no]).map(|_| ())
}
