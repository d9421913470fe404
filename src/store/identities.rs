//! The `identities` and `contacts` tables: customers by the site's own name for them, and what they were tied to.
//! The seam of the identification state machine; must never be written without the right to `personal`.
//! Invariant: the name lies sealed under a key of its own and is found by a keyed hash only; the key goes with the row.

use rusqlite::{Connection, OptionalExtension};

use crate::base::cell::{self, Place};
use crate::base::error::Result;
use crate::base::id::{KeyRef, Seq};
use crate::base::time::Millis;
use crate::domain::visitor::Rights;
use crate::store::keys::no_keys;
use crate::store::restrictions::HELD_VISITS;
use crate::store::{ReadTx, WriteTx, open};

/// The kind of value under which identities are hashed.
const KIND: &str = "identity";

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

/// Where the sealed name of an identity stands.
fn place(identity_id: i64) -> Place<'static> {
    Place { table: "identities", column: "key", row: identity_id }
}

fn find(tx: &ReadTx<'_>, site_id: i64, blind: [u8; 16]) -> Result<Option<(i64, KeyRef)>> {
    tx.conn()
        .prepare_cached("SELECT identity_id, key_ref FROM identities WHERE blind = ?1 AND site_id = ?2")
        .and_then(|mut s| s.query_row((blind, site_id), |r| Ok((r.get(0)?, r.get(1)?))).optional())
        .map_err(|e| open::error("finding an identity", e))
}

/// The row of a customer, made or refreshed; the name is sealed. Errors: `Storage`.
pub fn seen(tx: &WriteTx<'_>, site_id: i64, key: &str, how: Association, at: Millis, rights: Rights) -> Result<i64> {
    let custody = tx.custody().ok_or_else(no_keys)?;
    let blind = tx.keys().blind(site_id, KIND, key).ok_or_else(no_keys)?;
    if let Some((id, key_ref)) = find(tx, site_id, blind)? {
        tx.execute(
            "UPDATE identities SET state = ?2, last_seen_at = max(last_seen_at, ?3), flags = ?4, basis_id = ?5, \
             consent_seq = ?6 WHERE identity_id = ?1",
            (id, how.word(), at, rights.flags, rights.basis_id, rights.consent_seq),
        )?;
        if tx.keys().get(&key_ref)?.is_none() {
            // its key was lost with keys.db; now the name is known again
            let (key_ref, fresh) = custody.borrow_mut().mint();
            let sealed = cell::seal(&fresh, place(id), key.as_bytes());
            tx.execute("UPDATE identities SET key_ref = ?2, key = ?3 WHERE identity_id = ?1", (id, key_ref, sealed))?;
        }
        return Ok(id);
    }
    // a number of the one counter: a freed one must never come back for somebody else
    let id = tx.next_seq().0;
    let (key_ref, fresh) = custody.borrow_mut().mint();
    let sealed = cell::seal(&fresh, place(id), key.as_bytes());
    tx.execute(
        "INSERT INTO identities (identity_id, site_id, key_ref, key, blind, state, first_seen_at, last_seen_at, flags, \
         basis_id, consent_seq) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8, ?9, ?10)",
        rusqlite::params![
            id,
            site_id,
            key_ref,
            sealed,
            blind,
            how.word(),
            at,
            rights.flags,
            rights.basis_id,
            rights.consent_seq
        ],
    )?;
    Ok(id)
}

/// The row of the customer of that name; `None` where there is none, or no key to look it up with.
pub fn find_by_key(tx: &ReadTx<'_>, site_id: i64, key: &str) -> Result<Option<i64>> {
    match tx.keys().blind(site_id, KIND, key) {
        Some(blind) => Ok(find(tx, site_id, blind)?.map(|(id, _)| id)),
        None => Ok(None),
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
    let Some(id) = find_by_key(tx, site_id, key)? else { return Ok(None) };
    tx.conn()
        .prepare_cached("SELECT state FROM identities WHERE identity_id = ?1")
        .and_then(|mut s| s.query_row([id], |r| r.get(0)).optional())
        .map_err(|e| open::error("reading an identity", e))
}

/// The site's own name for a customer; `None` where no key is at hand to open it, or there is no such row.
pub fn name(tx: &ReadTx<'_>, identity_id: i64) -> Result<Option<String>> {
    let found: Option<(KeyRef, Vec<u8>)> = tx
        .conn()
        .prepare_cached("SELECT key_ref, key FROM identities WHERE identity_id = ?1")
        .and_then(|mut s| s.query_row([identity_id], |r| Ok((r.get(0)?, r.get(1)?))).optional())
        .map_err(|e| open::error("reading an identity", e))?;
    let Some((key_ref, sealed)) = found else { return Ok(None) };
    match tx.keys().get(&key_ref)? {
        Some(key) => {
            let name = cell::open(&key, place(identity_id), &sealed)?;
            Ok(Some(String::from_utf8_lossy(&name).into_owned()))
        }
        None => Ok(None),
    }
}

/// Names and associations of the identities of a visit; the name is `None` where no key is at hand to open it.
pub fn of_visit(tx: &ReadTx<'_>, visit_id: i64) -> Result<Vec<(Option<String>, String)>> {
    let ties: Vec<(i64, String)> = tx
        .conn()
        .prepare_cached("SELECT identity_id, association FROM contacts WHERE visit_id = ?1 ORDER BY at")
        .and_then(|mut s| s.query_map([visit_id], |r| Ok((r.get(0)?, r.get(1)?)))?.collect())
        .map_err(|e| open::error("reading the identities of a visit", e))?;
    ties.into_iter().map(|(id, association)| Ok((name(tx, id)?, association))).collect()
}

/// The keys of identities that are tied to this visitor and to nobody else.
pub(in crate::store) fn keys_of_visitor_alone(tx: &ReadTx<'_>, visitor_id: i64) -> Result<Vec<KeyRef>> {
    tx.conn()
        .prepare_cached(
            "SELECT i.key_ref FROM identities i WHERE i.identity_id IN (SELECT c.identity_id FROM contacts c \
             JOIN visits v ON v.visit_id = c.visit_id WHERE v.visitor_id = ?1) \
             AND NOT EXISTS (SELECT 1 FROM contacts o WHERE o.identity_id = i.identity_id AND o.visitor_id <> ?1)",
        )
        .and_then(|mut s| s.query_map([visitor_id], |r| r.get(0))?.collect())
        .map_err(|e| open::error("finding the keys of identities", e))
}

/// The keys of all identities.
pub(in crate::store) fn all_keys(conn: &Connection) -> Result<Vec<KeyRef>> {
    conn.prepare("SELECT key_ref FROM identities")
        .and_then(|mut s| s.query_map([], |r| r.get(0))?.collect())
        .map_err(|e| open::error("reading the keys of identities", e))
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
        gone += delete_untied(tx, id)?;
    }
    Ok(gone)
}

/// Identities last seen before `before`, at most `limit` (retention; reads the whole table).
pub fn unseen_since(tx: &ReadTx<'_>, before: Millis, limit: i64) -> Result<Vec<i64>> {
    tx.conn()
        .prepare_cached(&format!(
            "SELECT identity_id FROM identities WHERE last_seen_at < ?1 AND identity_id NOT IN \
             (SELECT c.identity_id FROM contacts c WHERE c.visit_id IN {HELD_VISITS}) LIMIT ?2"
        ))
        .and_then(|mut s| s.query_map((before, limit), |r| r.get(0))?.collect())
        .map_err(|e| open::error("finding identities not seen lately", e))
}

/// Was an identity last seen before `before`, and by nobody whose processing is restricted?
pub fn is_unseen_since(tx: &ReadTx<'_>, identity_id: i64, before: Millis) -> Result<bool> {
    tx.conn()
        .prepare_cached(&format!(
            "SELECT EXISTS (SELECT 1 FROM identities WHERE identity_id = ?1 AND last_seen_at < ?2 AND NOT EXISTS \
             (SELECT 1 FROM contacts c WHERE c.identity_id = ?1 AND c.visit_id IN {HELD_VISITS}))"
        ))
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

/// Visits of a visitor, begun at or below a number, that no identity is tied to; with `signed_in` also those in which somebody
/// signed in whose name was not kept. At most `limit`.
pub fn unknown_visits(tx: &ReadTx<'_>, visitor_id: i64, signed_in: bool, upto: Seq, limit: i64) -> Result<Vec<i64>> {
    tx.conn()
        .prepare_cached(
            "SELECT v.visit_id FROM visits v WHERE v.visitor_id = ?1 AND v.visit_id <= ?2 \
             AND NOT EXISTS (SELECT 1 FROM contacts c WHERE c.visit_id = v.visit_id) \
             AND (?3 OR NOT EXISTS (SELECT 1 FROM sessions s WHERE s.visit_id = v.visit_id)) ORDER BY v.visit_id LIMIT ?4",
        )
        .and_then(|mut s| s.query_map((visitor_id, upto, signed_in, limit), |r| r.get(0))?.collect())
        .map_err(|e| open::error("reading the visits in which nobody was known", e))
}

/// Was anybody but these identities known in a visit of this visitor? With `anybody_signed_in` also where somebody signed in
/// whose name was not kept.
pub fn known_others(tx: &ReadTx<'_>, visitor_id: i64, own: &[i64], anybody_signed_in: bool) -> Result<bool> {
    if ties_of_visitor(tx, visitor_id)?.iter().any(|tie| !own.contains(&tie.identity_id)) {
        return Ok(true);
    }
    if !anybody_signed_in {
        return Ok(false);
    }
    tx.conn()
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM visits v JOIN sessions s ON s.visit_id = v.visit_id WHERE v.visitor_id = ?1)",
        )
        .and_then(|mut s| s.query_row([visitor_id], |r| r.get(0)))
        .map_err(|e| open::error("asking whether anybody signed in", e))
}

/// The keyed hash under which a customer's name is found in this file; `None` without the row.
pub fn blind_of(tx: &ReadTx<'_>, identity_id: i64) -> Result<Option<[u8; 16]>> {
    tx.conn()
        .prepare_cached("SELECT blind FROM identities WHERE identity_id = ?1")
        .and_then(|mut s| s.query_row([identity_id], |r| r.get(0)).optional())
        .map_err(|e| open::error("reading an identity", e))
}

/// The customer of that keyed hash, first seen until then: for a restore, which has no key to make the hash anew.
pub(in crate::store) fn find_by_blind(
    tx: &ReadTx<'_>,
    site_id: i64,
    blind: [u8; 16],
    until: Millis,
) -> Result<Option<i64>> {
    tx.conn()
        .prepare_cached("SELECT identity_id FROM identities WHERE blind = ?1 AND site_id = ?2 AND first_seen_at <= ?3")
        .and_then(|mut s| s.query_row((blind, site_id, until), |r| r.get(0)).optional())
        .map_err(|e| open::error("finding an identity", e))
}

/// Removes the ties between an identity and a visit; returns how many.
pub fn untie_one(tx: &WriteTx<'_>, identity_id: i64, visit_id: i64) -> Result<usize> {
    tx.execute("DELETE FROM contacts WHERE identity_id = ?1 AND visit_id = ?2", (identity_id, visit_id))
}

/// Deletes an identity that is tied to nothing, and its key with it; returns how many rows.
pub fn delete_untied(tx: &WriteTx<'_>, identity_id: i64) -> Result<usize> {
    let gone: Vec<KeyRef> = tx.returning(
        "DELETE FROM identities WHERE identity_id = ?1 AND NOT EXISTS \
         (SELECT 1 FROM contacts c WHERE c.identity_id = ?1) RETURNING key_ref",
        [identity_id],
        |r| r.get(0),
    )?;
    if let Some(custody) = tx.custody() {
        gone.iter().for_each(|key_ref| custody.borrow_mut().doom(*key_ref));
    }
    Ok(gone.len())
}

/// One tie between an identity and a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tie {
    /// The identity's row.
    pub identity_id: i64,
    /// The visit's row.
    pub visit_id: i64,
    /// The visitor's row.
    pub visitor_id: i64,
}

fn ties(tx: &ReadTx<'_>, sql: &str, id: i64) -> Result<Vec<Tie>> {
    let row = |r: &rusqlite::Row<'_>| Ok(Tie { identity_id: r.get(0)?, visit_id: r.get(1)?, visitor_id: r.get(2)? });
    tx.conn()
        .prepare_cached(sql)
        .and_then(|mut s| s.query_map([id], row)?.collect())
        .map_err(|e| open::error("reading who was known in which visit", e))
}

/// Every tie of a visitor's visits.
pub fn ties_of_visitor(tx: &ReadTx<'_>, visitor_id: i64) -> Result<Vec<Tie>> {
    let sql = "SELECT c.identity_id, c.visit_id, v.visitor_id FROM visits v CROSS JOIN contacts c ON c.visit_id = v.visit_id \
               WHERE v.visitor_id = ?1";
    ties(tx, sql, visitor_id)
}

/// Every tie of an identity.
pub fn ties_of_identity(tx: &ReadTx<'_>, identity_id: i64) -> Result<Vec<Tie>> {
    ties(tx, "SELECT identity_id, visit_id, visitor_id FROM contacts WHERE identity_id = ?1", identity_id)
}

/// The identities a visitor was tied to, at most `limit`.
pub fn of_visitor(tx: &ReadTx<'_>, visitor_id: i64, limit: i64) -> Result<Vec<i64>> {
    tx.conn()
        .prepare_cached(
            "SELECT DISTINCT c.identity_id FROM visits v JOIN contacts c ON c.visit_id = v.visit_id \
             WHERE v.visitor_id = ?1 LIMIT ?2",
        )
        .and_then(|mut s| s.query_map((visitor_id, limit), |r| r.get(0))?.collect())
        .map_err(|e| open::error("reading the identities of a visitor", e))
}

/// The visitors an identity was tied to, at most `limit`.
pub fn visitors_of(tx: &ReadTx<'_>, identity_id: i64, limit: i64) -> Result<Vec<i64>> {
    tx.conn()
        .prepare_cached("SELECT DISTINCT visitor_id FROM contacts WHERE identity_id = ?1 LIMIT ?2")
        .and_then(|mut s| s.query_map((identity_id, limit), |r| r.get(0))?.collect())
        .map_err(|e| open::error("reading the visitors of an identity", e))
}

/// Was a visit tied to somebody else too?
pub fn is_shared(tx: &ReadTx<'_>, visit_id: i64, identity_id: i64) -> Result<bool> {
    tx.conn()
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM contacts WHERE visit_id = ?1 AND identity_id <> ?2)")
        .and_then(|mut s| s.query_row((visit_id, identity_id), |r| r.get(0)))
        .map_err(|e| open::error("asking whose a visit was", e))
}

/// The site a customer belongs to.
pub fn site_of(tx: &ReadTx<'_>, identity_id: i64) -> Result<Option<i64>> {
    tx.conn()
        .prepare_cached("SELECT site_id FROM identities WHERE identity_id = ?1")
        .and_then(|mut s| s.query_row([identity_id], |r| r.get(0)).optional())
        .map_err(|e| open::error("reading the site of an identity", e))
}
