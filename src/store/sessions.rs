//! The `sessions` table: the authenticated period SignIn to SignOut inside a visit.
//! The seam of the identification state machine. Invariant: a visit has at most one open session.

use rusqlite::OptionalExtension;

use crate::base::error::Result;
use crate::base::time::Millis;
use crate::domain::stored::SessionRow;
use crate::domain::visitor::Rights;
use crate::store::{ReadTx, WriteTx, open};

const COLUMNS: &str =
    "session_id, session_uuid, visit_id, identity_id, started_at, ended_at, flags, basis_id, consent_seq";

fn from_row(r: &rusqlite::Row<'_>) -> rusqlite::Result<SessionRow> {
    Ok(SessionRow {
        id: r.get(0)?,
        uuid: r.get(1)?,
        visit_id: r.get(2)?,
        identity_id: r.get(3)?,
        started: r.get(4)?,
        ended: r.get(5)?,
        rights: Rights { flags: r.get(6)?, basis_id: r.get(7)?, consent_seq: r.get(8)?, exempt: false },
    })
}

/// Begins a session. The visit must be settled.
pub fn insert(tx: &WriteTx<'_>, s: &SessionRow) -> Result<()> {
    tx.settle()?;
    tx.execute(
        "INSERT INTO sessions (session_id, session_uuid, visit_id, identity_id, started_at, ended_at, flags, basis_id, \
         consent_seq) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        rusqlite::params![
            s.id,
            s.uuid,
            s.visit_id,
            s.identity_id,
            s.started,
            s.ended,
            s.rights.flags,
            s.rights.basis_id,
            s.rights.consent_seq
        ],
    )
    .map(|_| ())
}

/// Ends a session; one that has ended stays as it is.
pub fn end(tx: &WriteTx<'_>, session_id: i64, at: Millis) -> Result<()> {
    tx.execute(
        "UPDATE sessions SET ended_at = max(started_at, ?2) WHERE session_id = ?1 AND ended_at IS NULL",
        (session_id, at),
    )
    .map(|_| ())
}

/// One session.
pub fn get(tx: &ReadTx<'_>, session_id: i64) -> Result<Option<SessionRow>> {
    let sql = format!("SELECT {COLUMNS} FROM sessions WHERE session_id = ?1");
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_row([session_id], from_row).optional())
        .map_err(|e| open::error("reading a session", e))
}

/// The sessions of a visit, in order.
pub fn of_visit(tx: &ReadTx<'_>, visit_id: i64) -> Result<Vec<SessionRow>> {
    let sql = format!("SELECT {COLUMNS} FROM sessions WHERE visit_id = ?1 ORDER BY session_id");
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_map([visit_id], from_row)?.collect())
        .map_err(|e| open::error("reading the sessions of a visit", e))
}

/// Takes an identity, or every one, out of sessions of a visit, at most `limit`; returns how many.
pub fn forget_identity(tx: &WriteTx<'_>, visit_id: i64, identity_id: Option<i64>, limit: i64) -> Result<usize> {
    tx.execute(
        "UPDATE sessions SET identity_id = NULL WHERE session_id IN (SELECT session_id FROM sessions \
         WHERE visit_id = ?1 AND identity_id IS NOT NULL AND (?2 IS NULL OR identity_id = ?2) LIMIT ?3)",
        (visit_id, identity_id, limit),
    )
}

/// Deletes sessions of a visit whose events are gone, at most `limit`; returns how many.
pub fn delete_of_visit(tx: &WriteTx<'_>, visit_id: i64, limit: i64) -> Result<usize> {
    tx.execute(
        "DELETE FROM sessions WHERE session_id IN (SELECT session_id FROM sessions WHERE visit_id = ?1 LIMIT ?2)",
        (visit_id, limit),
    )
}
