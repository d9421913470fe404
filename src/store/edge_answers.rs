//! The `edge_answers` table: how far each edge is with a directive that is kept for it. Must never judge a report.
//! Invariant: what an edge said last stands; that it was handed down stands beside it.

use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, Row};

use crate::base::error::Result;
use crate::base::id::EdgeId;
use crate::base::time::Millis;
use crate::domain::directive::Progress;
use crate::store::{ReadTx, WriteTx, open, row};

/// How far one edge is with one directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeAnswer {
    /// The directive's number here.
    pub kept_no: i64,
    /// The edge.
    pub edge: EdgeId,
    /// When it fetched the directive first.
    pub handed: Option<Millis>,
    /// What it said last; `None` = nothing yet.
    pub state: Option<Progress>,
    /// In its words and numbers.
    pub what: String,
    /// When it said so.
    pub said: Option<Millis>,
    /// Its signed report as JSON, while it is kept.
    pub report: Option<String>,
    /// Was the report passed on to where the directive came from?
    pub passed: bool,
}

const COLUMNS: &str = "SELECT kept_no, edge, handed_at, state, what, said_at, report, passed FROM edge_answers";

fn from_row(r: &Row<'_>) -> rusqlite::Result<EdgeAnswer> {
    let edge: String = r.get(1)?;
    let bad = |_| rusqlite::Error::InvalidColumnType(1, "edge".to_owned(), rusqlite::types::Type::Text);
    let state = match r.get_ref(3)? {
        ValueRef::Null => None,
        word => Some(row::word(word, Progress::parse)?),
    };
    Ok(EdgeAnswer {
        kept_no: r.get(0)?,
        edge: EdgeId::parse(&edge).map_err(bad)?,
        handed: r.get(2)?,
        state,
        what: r.get(4)?,
        said: r.get(5)?,
        report: r.get(6)?,
        passed: r.get(7)?,
    })
}

/// How far an edge is with a directive; `None` = it never fetched it.
pub fn get(tx: &ReadTx<'_>, kept_no: i64, edge: EdgeId) -> Result<Option<EdgeAnswer>> {
    tx.conn()
        .prepare_cached(&format!("{COLUMNS} WHERE kept_no = ?1 AND edge = ?2"))
        .and_then(|mut s| s.query_row((kept_no, edge.to_string()), from_row).optional())
        .map_err(|e| open::error("reading an edge's answer", e))
}

/// How far every edge is with a directive that fetched it.
pub fn of(tx: &ReadTx<'_>, kept_no: i64) -> Result<Vec<EdgeAnswer>> {
    tx.conn()
        .prepare_cached(&format!("{COLUMNS} WHERE kept_no = ?1 ORDER BY edge"))
        .and_then(|mut s| s.query_map([kept_no], from_row)?.collect())
        .map_err(|e| open::error("listing answers of edges", e))
}

/// Ids of the directives that an edge has begun and not finished, at most `limit`.
pub fn begun(tx: &ReadTx<'_>, edge: EdgeId, limit: i64) -> Result<Vec<[u8; 16]>> {
    tx.conn()
        .prepare_cached(
            "SELECT k.directive_id FROM edge_answers a JOIN kept_directives k USING (kept_no) \
             WHERE a.edge = ?1 AND a.state = 'waiting' ORDER BY a.kept_no LIMIT ?2",
        )
        .and_then(|mut s| s.query_map((edge.to_string(), limit), |r| r.get(0))?.collect())
        .map_err(|e| open::error("listing what an edge has begun", e))
}

/// Reports that are still to be passed on to a target, with the id of their directive, at most `limit`.
pub fn unpassed(tx: &ReadTx<'_>, target: &str, limit: i64) -> Result<Vec<EdgeAnswer>> {
    tx.conn()
        .prepare_cached(
            "SELECT a.kept_no, a.edge, a.handed_at, a.state, a.what, a.said_at, a.report, a.passed FROM edge_answers a \
             JOIN kept_directives k USING (kept_no) \
             WHERE a.passed = 0 AND a.report IS NOT NULL AND k.came_from = ?1 ORDER BY a.kept_no, a.edge LIMIT ?2",
        )
        .and_then(|mut s| s.query_map((target, limit), from_row)?.collect())
        .map_err(|e| open::error("listing reports to be passed on", e))
}

/// Notes that an edge fetched a directive; the first time stays.
pub fn handed(tx: &WriteTx<'_>, kept_no: i64, edge: EdgeId) -> Result<()> {
    tx.execute(
        "INSERT INTO edge_answers (kept_no, edge, handed_at, what, passed) VALUES (?1, ?2, ?3, '', 0) ON CONFLICT DO NOTHING",
        (kept_no, edge.to_string(), tx.now()),
    )
    .map(|_| ())
}

/// Writes down what an edge says, in the place of what it said before.
pub fn put(tx: &WriteTx<'_>, answer: &EdgeAnswer) -> Result<()> {
    tx.execute(
        "INSERT INTO edge_answers (kept_no, edge, handed_at, state, what, said_at, report, passed) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE SET state = excluded.state, what = excluded.what, \
         said_at = excluded.said_at, report = excluded.report, passed = excluded.passed",
        (
            answer.kept_no,
            answer.edge.to_string(),
            answer.handed,
            answer.state.map(Progress::word),
            &answer.what,
            answer.said,
            &answer.report,
            answer.passed,
        ),
    )
    .map(|_| ())
}

/// Notes that a report was passed on, unless another one came meanwhile.
pub fn passed(tx: &WriteTx<'_>, answer: &EdgeAnswer) -> Result<()> {
    tx.execute(
        "UPDATE edge_answers SET passed = 1 WHERE kept_no = ?1 AND edge = ?2 AND report = ?3",
        (answer.kept_no, answer.edge.to_string(), &answer.report),
    )
    .map(|_| ())
}

/// Drops the reports of a directive, and the copies in them; what was said stays. Returns how many.
pub fn forget_reports(tx: &WriteTx<'_>, kept_no: i64) -> Result<usize> {
    tx.execute("UPDATE edge_answers SET report = NULL WHERE kept_no = ?1 AND report IS NOT NULL", [kept_no])
}
