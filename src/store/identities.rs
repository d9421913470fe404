//! The `identities` and `contacts` tables: customers by the site's own name for them, and what they were tied to.
//! The seam of the identification state machine; must never be written without the right to `personal`.

use rusqlite::OptionalExtension;

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::base::time::Millis;
use crate::domain::visitor::Rights;
use crate::store::{ReadTx, WriteTx, open};

/// How an identity is tied to a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Association {
    /// The site told who it recognises.
    Recognized,
    /// Signed in.
    Authenticated,
}

impl Association {
    /// Stable word.
    pub fn word(self) -> &'static str {
        match self {
            Association::Recognized => "recognized",
            Association::Authenticated => "authenticated",
        }
    }
}

/// The row of a customer, made or refreshed. Errors: `Storage`.
pub fn seen(tx: &WriteTx<'_>, site_id: i64, key: &str, how: Association, at: Millis, rights: Rights) -> Result<i64> {
    let found: Option<i64> = tx
        .conn()
        .prepare_cached("SELECT identity_id FROM identities WHERE site_id = ?1 AND key = ?2")
        .and_then(|mut s| s.query_row((site_id, key), |r| r.get(0)).optional())
        .map_err(|e| open::error("finding an identity", e))?;
    match found {
        Some(id) => {
            tx.execute(
                "UPDATE identities SET state = ?2, last_seen_at = max(last_seen_at, ?3), flags = ?4, basis_id = ?5, \
                 consent_seq = ?6 WHERE identity_id = ?1",
                (id, how.word(), at, rights.flags, rights.basis_id, rights.consent_seq),
            )?;
            Ok(id)
        }
        None => {
            // a number of the one counter: a freed one must never come back for somebody else
            let id = tx.next_seq().0;
            tx.execute(
                "INSERT INTO identities (identity_id, site_id, key, state, first_seen_at, last_seen_at, flags, basis_id, \
                 consent_seq) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, ?8)",
                (id, site_id, key, how.word(), at, rights.flags, rights.basis_id, rights.consent_seq),
            )?;
            Ok(id)
        }
    }
}

/// A signed-out customer is recognised from then on.
pub fn signed_out(tx: &WriteTx<'_>, identity_id: i64, at: Millis) -> Result<()> {
    tx.execute(
        "UPDATE identities SET state = 'recognized', last_seen_at = max(last_seen_at, ?2) WHERE identity_id = ?1",
        (identity_id, at),
    )
    .map(|_| ())
}

/// Ties an identity to a visit, its visitor and a session.
pub fn tie(
    tx: &WriteTx<'_>,
    identity_id: i64,
    (visit_id, visitor_id): (i64, i64),
    session_id: Option<i64>,
    how: Association,
    at: Millis,
) -> Result<()> {
    tx.execute(
        "INSERT INTO contacts (identity_id, visit_id, visitor_id, session_id, association, at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET session_id = coalesce(excluded.session_id, session_id)",
        (identity_id, visit_id, visitor_id, session_id, how.word(), at),
    )
    .map(|_| ())
}

/// How far a customer is known: `recognized` or `authenticated`; `None` for nobody known.
pub fn state(tx: &ReadTx<'_>, site_id: i64, key: &str) -> Result<Option<String>> {
    tx.conn()
        .prepare_cached("SELECT state FROM identities WHERE site_id = ?1 AND key = ?2")
        .and_then(|mut s| s.query_row((site_id, key), |r| r.get(0)).optional())
        .map_err(|e| open::error("reading an identity", e))
}

/// Keys and associations of the identities of a visit.
pub fn of_visit(tx: &ReadTx<'_>, visit_id: i64) -> Result<Vec<(String, String)>> {
    tx.conn()
        .prepare_cached(
            "SELECT i.key, c.association FROM contacts c JOIN identities i ON i.identity_id = c.identity_id \
             WHERE c.visit_id = ?1 ORDER BY c.at",
        )
        .and_then(|mut s| s.query_map([visit_id], |r| Ok((r.get(0)?, r.get(1)?)))?.collect())
        .map_err(|e| open::error("reading the identities of a visit", e))
}

/// Removes ties of a visit, and identities tied to nothing afterwards: together at most `limit` rows (2 or more); returns
/// how many, 0 once none are left.
pub fn untie(tx: &WriteTx<'_>, visit_id: i64, limit: i64) -> Result<usize> {
    let ties: Vec<(i64, String)> = tx
        .conn()
        .prepare_cached("SELECT identity_id, association FROM contacts WHERE visit_id = ?1 LIMIT ?2")
        .and_then(|mut s| s.query_map((visit_id, limit / 2), |r| Ok((r.get(0)?, r.get(1)?)))?.collect())
        .map_err(|e| open::error("reading the ties of a visit", e))?;
    let mut gone = 0;
    for (id, association) in ties {
        gone += tx.execute(
            "DELETE FROM contacts WHERE identity_id = ?1 AND visit_id = ?2 AND association = ?3",
            (id, visit_id, association),
        )?;
        gone += tx.execute(
            "DELETE FROM identities WHERE identity_id = ?1 AND NOT EXISTS \
             (SELECT 1 FROM contacts c WHERE c.identity_id = ?1)",
            [id],
        )?;
    }
    Ok(gone)
}

/// Identities last seen before `before`, at most `limit` (retention; reads the whole table).
pub fn unseen_since(tx: &ReadTx<'_>, before: Millis, limit: i64) -> Result<Vec<i64>> {
    tx.conn()
        .prepare_cached("SELECT identity_id FROM identities WHERE last_seen_at < ?1 LIMIT ?2")
        .and_then(|mut s| s.query_map((before, limit), |r| r.get(0))?.collect())
        .map_err(|e| open::error("finding identities not seen lately", e))
}

/// Was an identity last seen before `before`?
pub fn is_unseen_since(tx: &ReadTx<'_>, identity_id: i64, before: Millis) -> Result<bool> {
    tx.conn()
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM identities WHERE identity_id = ?1 AND last_seen_at < ?2)")
        .and_then(|mut s| s.query_row((identity_id, before), |r| r.get(0)))
        .map_err(|e| open::error("asking when an identity was seen", e))
}

/// Visits an identity is tied to, at most `limit`.
pub fn visits_of(tx: &ReadTx<'_>, identity_id: i64, limit: i64) -> Result<Vec<i64>> {
    tx.conn()
        .prepare_cached("SELECT DISTINCT visit_id FROM contacts WHERE identity_id = ?1 LIMIT ?2")
        .and_then(|mut s| s.query_map((identity_id, limit), |r| r.get(0))?.collect())
        .map_err(|e| open::error("reading the visits of an identity", e))
}

/// Visits of a visitor at or below a number that an identity is tied to, at most `limit`.
pub fn tied_visits(tx: &ReadTx<'_>, visitor_id: i64, upto: Seq, limit: i64) -> Result<Vec<i64>> {
    tx.conn()
        .prepare_cached(
            "SELECT v.visit_id FROM visits v WHERE v.visitor_id = ?1 AND v.visit_id <= ?2 \
             AND EXISTS (SELECT 1 FROM contacts c WHERE c.visit_id = v.visit_id) LIMIT ?3",
        )
        .and_then(|mut s| s.query_map((visitor_id, upto, limit), |r| r.get(0))?.collect())
        .map_err(|e| open::error("reading the tied visits of a visitor", e))
}

/// Removes the ties between an identity and a visit; returns how many.
pub fn untie_one(tx: &WriteTx<'_>, identity_id: i64, visit_id: i64) -> Result<usize> {
    tx.execute("DELETE FROM contacts WHERE identity_id = ?1 AND visit_id = ?2", (identity_id, visit_id))
}

/// Deletes an identity that is tied to nothing; returns how many rows.
pub fn delete_untied(tx: &WriteTx<'_>, identity_id: i64) -> Result<usize> {
    tx.execute(
        "DELETE FROM identities WHERE identity_id = ?1 AND NOT EXISTS \
         (SELECT 1 FROM contacts c WHERE c.identity_id = ?1)",
        [identity_id],
    )
}
