//! The `restrictions` table: visitors whose processing is or was restricted (GDPR Art. 18), and how far nothing leaves.
//! Must never touch a visitor's rows. Invariant: while a restriction lasts, no number is above `upto_seq`; after its release
//! the lines numbered up to there stay behind, and the rows leave again under new ones (`again`).

use std::collections::HashSet;

use rusqlite::OptionalExtension;

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::domain::visitor::RESTRICTED;
use crate::store::{ReadTx, WriteTx, open, visitors};

/// In a query with the visitor `w`: its rows may be read.
pub(in crate::store) const READABLE: &str =
    "NOT EXISTS (SELECT 1 FROM restrictions r WHERE r.visitor = w.visitor_id AND r.upto_seq = 9007199254740991)";

/// In a query: the visits of visitors under restriction, which is few or none; retention and quota pass them over.
pub(in crate::store) const HELD_VISITS: &str = "(SELECT hv.visit_id FROM restrictions hr JOIN visits hv \
    ON hv.visitor_id = hr.visitor WHERE hr.upto_seq = 9007199254740991)";

/// In a query: visitors under restriction.
pub(in crate::store) const HELD_VISITORS: &str =
    "(SELECT hr.visitor FROM restrictions hr WHERE hr.upto_seq = 9007199254740991)";

/// In a query: the restrictions that last, as `r`.
pub(in crate::store) const RESTRICTED_NOW: &str =
    "(SELECT visitor FROM restrictions WHERE upto_seq = 9007199254740991) r";

/// One restriction, lasting or over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restriction {
    /// The visitor's row.
    pub visitor_id: i64,
    /// The counter when it began.
    pub since: Seq,
    /// Lines numbered at or below do not leave; [`RESTRICTED`] while it lasts.
    pub upto: Seq,
}

/// Begins (true) or ends (false) a restriction. `at` = where the counter stands.
pub fn set(tx: &WriteTx<'_>, visitor_id: i64, restricted: bool, at: Seq) -> Result<()> {
    let upto = if restricted { RESTRICTED } else { at };
    tx.settle()?;
    tx.execute(
        "INSERT INTO restrictions (visitor, since_seq, upto_seq, resent) VALUES (?1, ?2, ?3, 0) \
         ON CONFLICT DO UPDATE SET since_seq = CASE WHEN ?4 THEN excluded.since_seq ELSE since_seq END, \
         upto_seq = excluded.upto_seq, resent = 0",
        (visitor_id, at, upto, restricted),
    )?;
    visitors::restricted(tx, visitor_id, upto);
    Ok(())
}

/// The restriction of a visitor, lasting or over.
pub fn get(tx: &ReadTx<'_>, visitor_id: i64) -> Result<Option<Restriction>> {
    tx.conn()
        .prepare_cached("SELECT visitor, since_seq, upto_seq FROM restrictions WHERE visitor = ?1")
        .and_then(|mut s| s.query_row([visitor_id], from_row).optional())
        .map_err(|e| open::error("reading a restriction", e))
}

fn from_row(r: &rusqlite::Row<'_>) -> rusqlite::Result<Restriction> {
    Ok(Restriction { visitor_id: r.get(0)?, since: r.get(1)?, upto: r.get(2)? })
}

/// Restrictions begun where the counter stood at `since` or later.
pub fn since(tx: &ReadTx<'_>, since: Seq) -> Result<Vec<Restriction>> {
    tx.conn()
        .prepare_cached("SELECT visitor, since_seq, upto_seq FROM restrictions WHERE since_seq >= ?1")
        .and_then(|mut s| s.query_map([since], from_row)?.collect())
        .map_err(|e| open::error("listing restrictions", e))
}

/// Released visitors whose rows have not all been numbered anew, at most `limit`.
pub fn to_resend(tx: &ReadTx<'_>, limit: i64) -> Result<Vec<Restriction>> {
    tx.conn()
        .prepare_cached(
            "SELECT visitor, since_seq, upto_seq FROM restrictions WHERE resent = 0 AND upto_seq < ?1 ORDER BY visitor LIMIT ?2",
        )
        .and_then(|mut s| s.query_map((RESTRICTED, limit), from_row)?.collect())
        .map_err(|e| open::error("listing released restrictions", e))
}

/// Every row of a released visitor has its new number.
pub fn resent(tx: &WriteTx<'_>, visitor_id: i64) -> Result<()> {
    tx.execute("UPDATE restrictions SET resent = 1 WHERE visitor = ?1", [visitor_id]).map(|_| ())
}

/// What is only kept: rows of visitors under restriction, as removal must know them.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Rows of visitors.
    pub visitors: HashSet<i64>,
    /// Rows of their visits.
    pub visits: HashSet<i64>,
}

/// Everything that is only kept now.
pub fn held(tx: &ReadTx<'_>) -> Result<Held> {
    let ids = |list: &str| -> Result<HashSet<i64>> {
        tx.conn()
            .prepare_cached(&format!("SELECT * FROM {list}"))
            .and_then(|mut s| s.query_map([], |r| r.get(0))?.collect())
            .map_err(|e| open::error("listing what is restricted", e))
    };
    Ok(Held { visitors: ids(HELD_VISITORS)?, visits: ids(HELD_VISITS)? })
}

/// Forgets the restriction of a visitor whose rows are gone.
pub fn delete(tx: &WriteTx<'_>, visitor_id: i64) -> Result<usize> {
    tx.execute("DELETE FROM restrictions WHERE visitor = ?1", [visitor_id])
}
