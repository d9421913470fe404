//! The `directives` table: what a centre asked of this edge, and how far it is. Must never hold whom a directive names.
//! Invariant: a row is never deleted, so that a directive that comes again is known.

use rusqlite::{OptionalExtension, Row};

use crate::base::error::Result;
use crate::base::time::Millis;
use crate::domain::directive::{Action, Progress};
use crate::store::{ReadTx, WriteTx, open, row};

/// A directive that was taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its id.
    pub id: [u8; 16],
    /// What it asked.
    pub action: Action,
    /// How far it is.
    pub state: Progress,
    /// In words and numbers, without personal values.
    pub what: String,
    /// The request of the register it became.
    pub request_id: Option<[u8; 16]>,
    /// When it was taken in.
    pub taken: Millis,
}

fn from_row(r: &Row<'_>) -> rusqlite::Result<Taken> {
    Ok(Taken {
        id: r.get(0)?,
        action: row::word(r.get_ref(1)?, Action::parse)?,
        state: row::word(r.get_ref(2)?, Progress::parse)?,
        what: r.get(3)?,
        request_id: r.get(4)?,
        taken: r.get(5)?,
    })
}

/// Writes down how far a directive is; when it was taken in first stays.
pub fn put(tx: &WriteTx<'_>, taken: &Taken) -> Result<()> {
    tx.execute(
        "INSERT INTO directives (directive_id, action, state, what, request_id, taken_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT DO UPDATE SET state = excluded.state, what = excluded.what, \
         request_id = coalesce(excluded.request_id, request_id)",
        (taken.id, taken.action.word(), taken.state.word(), &taken.what, taken.request_id, taken.taken),
    )
    .map(|_| ())
}

/// One directive.
pub fn get(tx: &ReadTx<'_>, id: &[u8; 16]) -> Result<Option<Taken>> {
    tx.conn()
        .prepare_cached(
            "SELECT directive_id, action, state, what, request_id, taken_at FROM directives WHERE directive_id = ?1",
        )
        .and_then(|mut s| s.query_row([id], from_row).optional())
        .map_err(|e| open::error("reading a directive", e))
}

/// The newest directives, at most `limit`.
pub fn newest(tx: &ReadTx<'_>, limit: i64) -> Result<Vec<Taken>> {
    tx.conn()
        .prepare_cached(
            "SELECT directive_id, action, state, what, request_id, taken_at FROM directives \
             ORDER BY taken_at DESC, directive_id LIMIT ?1",
        )
        .and_then(|mut s| s.query_map([limit], from_row)?.collect())
        .map_err(|e| open::error("listing directives", e))
}
