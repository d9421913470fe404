//! The `personal` table: traits, third-party ids, form values, whole addresses, one sealed cell each, kept only with the right to
//! `personal`. The only table that holds them; must never be joined into a line that leaves.
//! Invariant: a value is readable only with its visitor's key; the key goes with the visitor's last cell.

use std::cell::RefCell;

use rusqlite::{Connection, OptionalExtension};

use crate::base::cell::{self, Key, Place};
use crate::base::error::Result;
use crate::base::id::{KeyRef, Seq};
use crate::base::time::Millis;
use crate::domain::event::Attribute;
use crate::domain::personal::{is_repeated, lookup};
use crate::store::keys::{Custody, no_keys};
use crate::store::restrictions::HELD_VISITORS;
use crate::store::{ReadTx, WriteTx, open};

/// Of whom a field is, and what brought it.
#[derive(Clone, Copy, Debug)]
pub struct Of {
    /// The event (or request) that told it.
    pub seq: Seq,
    /// The site's row.
    pub site_id: i64,
    /// The visitor's row.
    pub visitor_id: i64,
    /// When it was received.
    pub at: Millis,
}

/// A field as a reader finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name: `trait.NAME`, `external_id`, `external_id.NAMESPACE`, `form.NAME`, `ip`.
    pub name: String,
    /// Its value; `None` where no key is at hand to open it.
    pub value: Option<String>,
    /// STRING, NUMBER or BOOLEAN.
    pub data_type: String,
    /// The event that told it.
    pub seq: Seq,
    /// When it was received.
    pub at: Millis,
}

/// Where the value of a field stands: row and column of its cell.
fn place(seq: Seq, field: &str) -> Place<'_> {
    Place { table: "personal", column: field, row: seq.0 }
}

/// Keeps the fields of one event, sealed. A name that comes twice keeps each value. Errors: `Storage`.
pub fn insert(tx: &WriteTx<'_>, of: Of, fields: &[Attribute]) -> Result<()> {
    if fields.is_empty() {
        return Ok(());
    }
    let (custody, key_ref, key) = key_of(tx, of.visitor_id)?;
    custody.borrow_mut().belongs(of.visitor_id, key_ref);
    for (n, field) in fields.iter().enumerate() {
        let sealed = cell::seal(&key, place(of.seq, &field.name), field.value.as_bytes());
        let blind =
            lookup(&field.name, &field.value).and_then(|(kind, value)| tx.keys().blind(of.site_id, &kind, &value));
        tx.execute(
            "INSERT INTO personal (seq, n, visitor_id, key_ref, field, value, data_type, blind, at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            rusqlite::params![
                of.seq,
                i64::try_from(n).unwrap_or(i64::MAX),
                of.visitor_id,
                key_ref,
                field.name,
                sealed,
                field.data_type.word(),
                blind,
                of.at
            ],
        )?;
    }
    Ok(())
}

/// The key this visitor's cells are sealed with; a fresh one for the first cell, or where the old one is gone.
fn key_of<'t>(tx: &'t WriteTx<'_>, visitor_id: i64) -> Result<(&'t RefCell<Custody>, KeyRef, Key)> {
    let custody = tx.custody().ok_or_else(no_keys)?;
    let known = custody.borrow().of_visitor(visitor_id);
    let known = match known {
        Some(key_ref) => Some(key_ref),
        None => newest_key(tx, visitor_id)?,
    };
    if let Some(key_ref) = known
        && let Some(key) = custody.borrow_mut().get(&key_ref)?
    {
        return Ok((custody, key_ref, key));
    }
    let (key_ref, key) = custody.borrow_mut().mint();
    Ok((custody, key_ref, key))
}

fn newest_key(tx: &ReadTx<'_>, visitor_id: i64) -> Result<Option<KeyRef>> {
    tx.conn()
        .prepare_cached("SELECT key_ref FROM personal WHERE visitor_id = ?1 ORDER BY seq DESC LIMIT 1")
        .and_then(|mut s| s.query_row([visitor_id], |r| r.get(0)).optional())
        .map_err(|e| open::error("finding a visitor's key", e))
}

/// The newest value of each field of a visitor above a floor; of third-party ids every value, newest first.
/// Fields whose key is destroyed are left out.
pub fn of_visitor(tx: &ReadTx<'_>, visitor_id: i64, floor: Seq) -> Result<Vec<Field>> {
    let mut seen: Vec<(String, Option<[u8; 16]>)> = Vec::new();
    let mut out = all_of_visitor(tx, visitor_id, floor)?;
    out.retain(|(field, blind)| {
        let one = (field.name.clone(), blind.filter(|_| is_repeated(&field.name)));
        let fresh = !seen.contains(&one);
        if fresh {
            seen.push(one);
        }
        fresh
    });
    let mut out: Vec<Field> = out.into_iter().map(|(field, _)| field).collect();
    out.sort_by(|a, b| a.name.cmp(&b.name)); // stable: newest first within a name
    Ok(out)
}

/// Every field of a visitor above a floor, older values too, newest first; for whoever answers a person's request.
pub fn history_of_visitor(tx: &ReadTx<'_>, visitor_id: i64, floor: Seq) -> Result<Vec<Field>> {
    Ok(all_of_visitor(tx, visitor_id, floor)?.into_iter().map(|(field, _)| field).collect())
}

type Found = (Field, Option<[u8; 16]>);

fn all_of_visitor(tx: &ReadTx<'_>, visitor_id: i64, floor: Seq) -> Result<Vec<Found>> {
    type Row = (Field, KeyRef, Vec<u8>, Option<[u8; 16]>);
    let rows: Vec<Row> = tx
        .conn()
        .prepare_cached(
            "SELECT field, data_type, seq, at, key_ref, value, blind FROM personal WHERE visitor_id = ?1 AND seq > ?2 \
             ORDER BY seq DESC, n DESC",
        )
        .and_then(|mut s| {
            s.query_map((visitor_id, floor), |r| {
                let field = Field { name: r.get(0)?, value: None, data_type: r.get(1)?, seq: r.get(2)?, at: r.get(3)? };
                Ok((field, r.get(4)?, r.get(5)?, r.get(6)?))
            })?
            .collect()
        })
        .map_err(|e| open::error("reading personal fields", e))?;
    let mut key: Option<(KeyRef, Option<Key>)> = None;
    let mut out = Vec::with_capacity(rows.len());
    for (mut field, key_ref, sealed, blind) in rows {
        if tx.keys().any() {
            let known = match &key {
                Some((known, key)) if *known == key_ref => key.clone(),
                _ => tx.keys().get(&key_ref)?,
            };
            key = Some((key_ref, known.clone()));
            let Some(known) = known else { continue };
            let value = cell::open(&known, place(field.seq, &field.name), &sealed)?;
            field.value = Some(String::from_utf8_lossy(&value).into_owned());
        }
        out.push((field, blind));
    }
    Ok(out)
}

/// Visitors of a site who told that value in a field of that kind, and above which number: `field` is a name as in [`Field`],
/// the value is compared as [`lookup`] normalises it. Empty without keys, and for fields that are not looked up.
pub fn visitors_with(tx: &ReadTx<'_>, site_id: i64, field: &str, value: &str) -> Result<Vec<i64>> {
    let blind = lookup(field, value).and_then(|(kind, value)| tx.keys().blind(site_id, &kind, &value));
    let Some(blind) = blind else { return Ok(Vec::new()) };
    tx.conn()
        .prepare_cached("SELECT DISTINCT visitor_id FROM personal WHERE blind = ?1 ORDER BY visitor_id")
        .and_then(|mut s| s.query_map([blind], |r| r.get(0))?.collect())
        .map_err(|e| open::error("looking up a personal value", e))
}

/// Overwrites the value of a field in place, under the same key (rectification); false where there is no such cell.
pub fn overwrite(tx: &WriteTx<'_>, of: Of, field: &str, value: &str) -> Result<bool> {
    let found: Option<(i64, KeyRef)> = tx
        .conn()
        .prepare_cached(
            "SELECT n, key_ref FROM personal WHERE seq = ?1 AND field = ?2 AND visitor_id = ?3 ORDER BY n DESC LIMIT 1",
        )
        .and_then(|mut s| s.query_row((of.seq, field, of.visitor_id), |r| Ok((r.get(0)?, r.get(1)?))).optional())
        .map_err(|e| open::error("finding a personal field", e))?;
    let Some((n, key_ref)) = found else { return Ok(false) };
    let Some(key) = tx.keys().get(&key_ref)? else { return Ok(false) };
    let sealed = cell::seal(&key, place(of.seq, field), value.as_bytes());
    let blind = lookup(field, value).and_then(|(kind, value)| tx.keys().blind(of.site_id, &kind, &value));
    tx.execute(
        "UPDATE personal SET value = ?4, blind = ?5, at = ?6 WHERE seq = ?1 AND field = ?2 AND n = ?3",
        rusqlite::params![of.seq, field, n, sealed, blind, of.at],
    )
    .map(|rows| rows > 0)
}

/// Deletes a visitor's fields at or below a floor, at most `limit`; with the last one goes the key.
pub fn delete_upto(tx: &WriteTx<'_>, visitor_id: i64, floor: Seq, limit: i64) -> Result<usize> {
    let sql = "DELETE FROM personal WHERE (seq, field, n) IN \
               (SELECT seq, field, n FROM personal WHERE visitor_id = ?1 AND seq <= ?2 LIMIT ?3) RETURNING visitor_id, key_ref";
    delete(tx, sql, (visitor_id, floor, limit))
}

/// Deletes fields of one event, at most `limit`; returns how many.
pub fn delete_of_event(tx: &WriteTx<'_>, seq: Seq, limit: i64) -> Result<usize> {
    let sql = "DELETE FROM personal WHERE (seq, field, n) IN \
               (SELECT seq, field, n FROM personal WHERE seq = ?1 LIMIT ?2) RETURNING visitor_id, key_ref";
    delete(tx, sql, (seq, limit))
}

fn delete(tx: &WriteTx<'_>, sql: &str, params: impl rusqlite::Params) -> Result<usize> {
    let gone: Vec<(i64, KeyRef)> = tx.returning(sql, params, |r| Ok((r.get(0)?, r.get(1)?)))?;
    if let Some(custody) = tx.custody() {
        let mut custody = custody.borrow_mut();
        gone.iter().for_each(|(visitor_id, key_ref)| Custody::deleted(&mut custody, *visitor_id, *key_ref));
    }
    Ok(gone.len())
}

/// Visitors with fields who were last seen before `before`, or whose row is gone, at most `limit` (retention; reads the
/// whole index).
pub fn unseen_since(tx: &ReadTx<'_>, before: Millis, limit: i64) -> Result<Vec<i64>> {
    tx.conn()
        .prepare_cached(&format!(
            "SELECT DISTINCT p.visitor_id FROM personal p LEFT JOIN visitors v ON v.visitor_id = p.visitor_id \
                 WHERE (v.last_seen_at IS NULL OR v.last_seen_at < ?1) AND p.visitor_id NOT IN {HELD_VISITORS} LIMIT ?2"
        ))
        .and_then(|mut s| s.query_map((before, limit), |r| r.get(0))?.collect())
        .map_err(|e| open::error("finding personal fields of visitors not seen lately", e))
}

/// Is any cell of this visitor under that key?
pub(in crate::store) fn any_under(tx: &ReadTx<'_>, visitor_id: i64, key_ref: KeyRef) -> Result<bool> {
    tx.conn()
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM personal WHERE visitor_id = ?1 AND key_ref = ?2)")
        .and_then(|mut s| s.query_row((visitor_id, key_ref), |r| r.get(0)))
        .map_err(|e| open::error("asking for personal fields", e))
}

/// The keys of a visitor's cells.
pub(in crate::store) fn keys_of_visitor(tx: &ReadTx<'_>, visitor_id: i64) -> Result<Vec<KeyRef>> {
    tx.conn()
        .prepare_cached("SELECT DISTINCT key_ref FROM personal WHERE visitor_id = ?1")
        .and_then(|mut s| s.query_map([visitor_id], |r| r.get(0))?.collect())
        .map_err(|e| open::error("finding a visitor's keys", e))
}

/// The keys of all cells.
pub(in crate::store) fn all_keys(conn: &Connection) -> Result<Vec<KeyRef>> {
    conn.prepare("SELECT DISTINCT key_ref FROM personal")
        .and_then(|mut s| s.query_map([], |r| r.get(0))?.collect())
        .map_err(|e| open::error("reading the keys of cells", e))
}

/// Cells there are.
pub(in crate::store) fn count(conn: &Connection) -> Result<i64> {
    conn.query_row("SELECT count(*) FROM personal", [], |r| r.get(0)).map_err(|e| open::error("counting cells", e))
}

/// The fields an event told belong to the row that supersedes it: sealed anew for their new place, under the same key.
/// Those whose key is destroyed go.
pub fn carry(tx: &WriteTx<'_>, of: Of, to: Seq) -> Result<usize> {
    let rows: Vec<(i64, String, KeyRef, Vec<u8>)> = tx
        .conn()
        .prepare_cached("SELECT n, field, key_ref, value FROM personal WHERE seq = ?1 AND visitor_id = ?2")
        .and_then(|mut s| {
            s.query_map((of.seq, of.visitor_id), |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?.collect()
        })
        .map_err(|e| open::error("reading the fields of an event", e))?;
    let mut carried = 0;
    for (n, field, key_ref, sealed) in rows {
        let Some(key) = tx.keys().get(&key_ref)? else { continue };
        let value = cell::open(&key, place(of.seq, &field), &sealed)?;
        let sealed = cell::seal(&key, place(to, &field), &value);
        carried += tx.execute(
            "UPDATE personal SET seq = ?4, value = ?5 WHERE seq = ?1 AND field = ?2 AND n = ?3",
            (of.seq, &field, n, to, sealed),
        )?;
    }
    delete_of_event(tx, of.seq, i64::MAX)?;
    Ok(carried)
}
