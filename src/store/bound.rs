//! The `bound`, `bound_rows` and `unswept` tables: what lines that came through bind this relay to.
//! Must never be lifted: a later grant, or a batch that comes late, brings nothing back. Invariant: numbers only rise.

use rusqlite::{OptionalExtension, Row};

use crate::base::error::Result;
use crate::base::id::{EdgeId, Epoch, Seq, VisitorRef};
use crate::domain::relay::{Bound, BoundKind, BoundRows};
use crate::store::{ReadTx, WriteTx, open};

fn bad(at: usize) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(at, "an id or a word".to_owned(), rusqlite::types::Type::Text)
}

fn origin(r: &Row<'_>, at: usize) -> rusqlite::Result<(EdgeId, Epoch)> {
    let (edge, epoch): (String, String) = (r.get(at)?, r.get(at + 1)?);
    Ok((EdgeId::parse(&edge).map_err(|_| bad(at))?, Epoch::parse(&epoch).map_err(|_| bad(at + 1))?))
}

/// Binds the rows of a visitor. A number only rises, but for a restriction: its release says up to where it reached.
pub fn bind(tx: &WriteTx<'_>, bound: &Bound, lowers: bool) -> Result<()> {
    let no = tx.next_seq();
    let sql = if lowers {
        "UPDATE bound SET upto_seq = ?5, upto_at = ?6, bound_seq = ?7 \
         WHERE visitor_ref = ?1 AND edge = ?2 AND epoch = ?3 AND kind = ?4"
    } else {
        "INSERT INTO bound (visitor_ref, edge, epoch, kind, upto_seq, upto_at, bound_seq) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
         ON CONFLICT DO UPDATE SET upto_seq = max(upto_seq, excluded.upto_seq), upto_at = max(upto_at, excluded.upto_at), \
         bound_seq = excluded.bound_seq"
    };
    tx.execute(
        sql,
        (
            bound.visitor,
            bound.edge.to_string(),
            bound.epoch.to_string(),
            bound.kind.word(),
            bound.upto,
            bound.until,
            no,
        ),
    )
    .map(|_| ())
}

/// Binds rows by their numbers.
pub fn bind_rows(tx: &WriteTx<'_>, rows: &BoundRows) -> Result<()> {
    let reason = if rows.rectified { "rectified" } else { "erased" };
    let no = tx.next_seq();
    tx.execute(
        "INSERT INTO bound_rows (edge, epoch, first_seq, last_seq, reason, bound_seq) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT DO NOTHING",
        (rows.edge.to_string(), rows.epoch.to_string(), rows.first, rows.last, reason, no),
    )
    .map(|_| ())
}

/// What binds the rows of a visitor.
pub fn of_visitor(tx: &ReadTx<'_>, visitor: VisitorRef) -> Result<Vec<Bound>> {
    tx.conn()
        .prepare_cached("SELECT edge, epoch, kind, upto_seq, upto_at FROM bound WHERE visitor_ref = ?1")
        .and_then(|mut s| {
            s.query_map([visitor], |r| {
                let (edge, epoch) = origin(r, 0)?;
                let kind: String = r.get(2)?;
                let kind = BoundKind::parse(&kind).ok_or_else(|| bad(2))?;
                Ok(Bound { visitor, edge, epoch, kind, upto: r.get(3)?, until: r.get(4)? })
            })?
            .collect()
        })
        .map_err(|e| open::error("reading what binds a visitor's rows", e))
}

/// Bound stretches of an edge's epoch that touch these numbers.
pub fn rows_between(tx: &ReadTx<'_>, of: (EdgeId, Epoch), first: Seq, last: Seq) -> Result<Vec<BoundRows>> {
    let (edge, epoch) = of;
    tx.conn()
        .prepare_cached(
            "SELECT first_seq, last_seq, reason = 'rectified' FROM bound_rows \
             WHERE edge = ?1 AND epoch = ?2 AND first_seq <= ?4 AND last_seq >= ?3",
        )
        .and_then(|mut s| {
            s.query_map((edge.to_string(), epoch.to_string(), first, last), |r| {
                Ok(BoundRows { edge, epoch, first: r.get(0)?, last: r.get(1)?, rectified: r.get(2)? })
            })?
            .collect()
        })
        .map_err(|e| open::error("reading bound rows", e))
}

/// The newest number of anything that binds; 0 where nothing does.
pub fn newest(tx: &ReadTx<'_>) -> Result<Seq> {
    tx.conn()
        .prepare_cached(
            "SELECT max(coalesce((SELECT max(bound_seq) FROM bound), 0), coalesce((SELECT max(bound_seq) FROM bound_rows), 0))",
        )
        .and_then(|mut s| s.query_row([], |r| r.get(0)))
        .map_err(|e| open::error("reading the newest bound", e))
}

/// The files of this edge are to be looked through: something was bound.
pub fn mark_unswept(tx: &WriteTx<'_>, edge: EdgeId) -> Result<()> {
    let no = tx.next_seq();
    tx.execute(
        "INSERT INTO unswept (edge, bound_seq) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET bound_seq = excluded.bound_seq",
        (edge.to_string(), no),
    )
    .map(|_| ())
}

/// An edge whose files are to be looked through, and since which number.
pub fn next_unswept(tx: &ReadTx<'_>) -> Result<Option<(EdgeId, Seq)>> {
    tx.conn()
        .prepare_cached("SELECT edge, bound_seq FROM unswept ORDER BY bound_seq LIMIT 1")
        .and_then(|mut s| {
            s.query_row([], |r| {
                let edge: String = r.get(0)?;
                Ok((EdgeId::parse(&edge).map_err(|_| bad(0))?, r.get(1)?))
            })
            .optional()
        })
        .map_err(|e| open::error("reading whose files are to be looked through", e))
}

/// The files of this edge were looked through for everything up to that number.
pub fn swept(tx: &WriteTx<'_>, edge: EdgeId, upto: Seq) -> Result<()> {
    tx.execute("DELETE FROM unswept WHERE edge = ?1 AND bound_seq <= ?2", (edge.to_string(), upto)).map(|_| ())
}
