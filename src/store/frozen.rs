//! The `frozen` table: lines frozen when they were made (visit snapshots, counts, decisions, withdrawals, losses, clock
//! steps). Must never be updated: a later line supersedes an earlier one. Rendering them reads nothing mutable.

use rusqlite::{Connection, Row, ToSql};
use serde::Serialize;

use crate::base::error::Result;
use crate::base::id::{Salt, Seq};
use crate::base::time::Millis;
use crate::domain::event::Lane;
use crate::domain::line::LineKind;
use crate::domain::visitor::Rights;
use crate::store::{ReadTx, WriteTx, meta, open, row};

/// One frozen line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrozenRow {
    /// Its number.
    pub seq: Seq,
    /// The lane it leaves by.
    pub lane: Lane,
    /// What it tells.
    pub kind: LineKind,
    /// Birth epoch.
    pub epoch_id: i64,
    /// The site's row.
    pub site_id: Option<i64>,
    /// The visitor it is about.
    pub visitor_id: Option<i64>,
    /// Lowest number of a row it was made from: floors apply by it.
    pub first_seq: Seq,
    /// When what it tells was received.
    pub received: Millis,
    /// When what it tells happened.
    pub corrected: Millis,
    /// What it may be used for.
    pub rights: Rights,
    /// Destroyed with the row.
    pub salt: Salt,
    /// The line's own fields: a JSON object.
    pub body: String,
}

pub(in crate::store) const COLUMNS: &str = "f.seq, f.lane, f.kind, f.epoch_id, f.site_id, f.visitor_id, f.first_seq, \
    f.received_at, f.corrected_at, f.flags, f.consent_seq, f.exempt, f.salt, f.body";

/// How many columns [`COLUMNS`] names.
pub(in crate::store) const WIDTH: usize = 14;

pub(in crate::store) fn from_row(r: &Row<'_>) -> rusqlite::Result<FrozenRow> {
    let lane: i64 = r.get(1)?;
    Ok(FrozenRow {
        seq: r.get(0)?,
        lane: Lane::from_code(lane).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, lane))?,
        kind: row::word(r.get_ref(2)?, LineKind::parse)?,
        epoch_id: r.get(3)?,
        site_id: r.get(4)?,
        visitor_id: r.get(5)?,
        first_seq: r.get(6)?,
        received: r.get(7)?,
        corrected: r.get(8)?,
        rights: Rights { flags: r.get(9)?, basis_id: 0, consent_seq: r.get(10)?, exempt: r.get(11)? },
        salt: r.get(12)?,
        body: r.get(13)?,
    })
}

const INSERT: &str = "INSERT INTO frozen (seq, lane, kind, epoch_id, site_id, visitor_id, first_seq, received_at, \
    corrected_at, flags, consent_seq, exempt, salt, body) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";

/// Freezes a line.
pub fn insert(tx: &WriteTx<'_>, f: &FrozenRow) -> Result<()> {
    with_values(f, |values| tx.execute(INSERT, values)).map(|_| ())
}

fn with_values<T>(f: &FrozenRow, run: impl FnOnce(&[&dyn ToSql]) -> T) -> T {
    run(rusqlite::params![
        f.seq,
        f.lane.code(),
        f.kind.word(),
        f.epoch_id,
        f.site_id,
        f.visitor_id,
        f.first_seq,
        f.received,
        f.corrected,
        f.rights.flags,
        f.rights.consent_seq,
        f.rights.exempt,
        f.salt,
        f.body,
    ])
}

/// A line of the consent lane that is about nobody.
fn nobodys(seq: Seq, epoch_id: i64, now: Millis, kind: LineKind, body: &impl Serialize) -> FrozenRow {
    FrozenRow {
        seq,
        lane: Lane::Consent,
        kind,
        epoch_id,
        site_id: None,
        visitor_id: None,
        first_seq: seq,
        received: now,
        corrected: now,
        rights: Rights::default(),
        salt: Salt::mint(),
        body: serde_json::to_string(body).expect("invariant: a body has string keys"),
    }
}

/// Freezes a line of the consent lane that is about nobody: a loss, a step of the clock. Returns its number.
pub fn note(tx: &WriteTx<'_>, kind: LineKind, body: &impl Serialize) -> Result<Seq> {
    let seq = tx.next_seq();
    insert(tx, &nobodys(seq, tx.identity().epoch_id, tx.now(), kind, body))?;
    Ok(seq)
}

/// Freezes the first line of a fresh database, before there is a pen; takes the number 1 for it.
pub(in crate::store) fn first(
    conn: &Connection,
    epoch_id: i64,
    now: Millis,
    kind: LineKind,
    body: &impl Serialize,
) -> Result<()> {
    let line = nobodys(Seq(1), epoch_id, now, kind, body);
    with_values(&line, |values| conn.execute(INSERT, values)).map_err(|e| open::error("writing the first line", e))?;
    meta::save_seq(conn, line.seq.0)
}

/// Numbers of a visitor's lines made from rows at or below a floor, but for those of visits that are still there, at most
/// `limit`; decisions and withdrawals stay.
pub fn of_visitor_upto(tx: &ReadTx<'_>, visitor_id: i64, floor: Seq, limit: i64) -> Result<Vec<Seq>> {
    tx.conn()
        .prepare_cached(
            "SELECT seq FROM frozen f WHERE visitor_id = ?1 AND first_seq <= ?2 AND kind = 'visit' \
             AND NOT EXISTS (SELECT 1 FROM visits v WHERE v.visit_id = f.first_seq) ORDER BY seq LIMIT ?3",
        )
        .and_then(|mut s| s.query_map((visitor_id, floor, limit), |r| r.get(0))?.collect())
        .map_err(|e| open::error("reading a visitor's lines", e))
}

/// Lines about a visitor of every kind, with their lanes, at most `limit` (erasure).
pub fn of_visitor(tx: &ReadTx<'_>, visitor_id: i64, limit: i64) -> Result<Vec<(Seq, Lane)>> {
    tx.conn()
        .prepare_cached("SELECT seq, lane FROM frozen WHERE visitor_id = ?1 ORDER BY seq LIMIT ?2")
        .and_then(|mut s| {
            s.query_map((visitor_id, limit), |r| {
                let lane: i64 = r.get(1)?;
                Ok((r.get(0)?, Lane::from_code(lane).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, lane))?))
            })?
            .collect()
        })
        .map_err(|e| open::error("reading all lines about a visitor", e))
}

/// The oldest lines of a kind as (seq, received), at most `limit` (retention).
pub fn oldest(tx: &ReadTx<'_>, limit: i64) -> Result<Vec<(Seq, LineKind, Millis)>> {
    tx.conn()
        .prepare_cached("SELECT seq, kind, received_at FROM frozen ORDER BY seq LIMIT ?1")
        .and_then(|mut s| {
            s.query_map([limit], |r| Ok((r.get(0)?, row::word(r.get_ref(1)?, LineKind::parse)?, r.get(2)?)))?.collect()
        })
        .map_err(|e| open::error("reading the oldest lines", e))
}

/// The row of the epoch a line was born in; `None` where the line is gone.
pub fn epoch_of(tx: &ReadTx<'_>, seq: Seq) -> Result<Option<i64>> {
    tx.conn()
        .prepare_cached("SELECT epoch_id FROM frozen WHERE seq = ?1")
        .and_then(|mut s| rusqlite::OptionalExtension::optional(s.query_row([seq], |r| r.get(0))))
        .map_err(|e| open::error("reading a line's epoch", e))
}

/// Deletes a line. Whoever calls has written its hole first, where it lies in a batch.
pub fn delete(tx: &WriteTx<'_>, seq: Seq) -> Result<()> {
    tx.execute("DELETE FROM frozen WHERE seq = ?1", [seq]).map(|_| ())
}
