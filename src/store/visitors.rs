//! The `visitors` table: one browser or device, at a kiosk one person's turn.
//! Held by the pen within a group and written once at its end. Must never decide what a visitor allowed.
//! Invariant: whoever takes a visitor out of the cache puts it back, or the group fails.

use std::sync::LazyLock;

use rusqlite::{OptionalExtension, Row};

use crate::base::error::Result;
use crate::base::id::{ClientId, Seq, VisitorRef, random_bytes};
use crate::base::table::Table;
use crate::base::time::Millis;
use crate::domain::consent::{Purposes, Standing};
use crate::domain::visitor::{RESTRICTED, Rights, Visitor};
use crate::store::ages::Range;
use crate::store::restrictions::HELD_VISITORS;
use crate::store::statement::Repeated;
use crate::store::{ReadTx, WriteTx, open};

const COLUMNS: &str = "visitor_id, site_id, key, visitor_ref, first_seq, first_seen_at, last_seen_at, visit_count, \
    page_count, event_count, granted, denied, signal_shown, measure_floor, floors, disclosed, flags, basis_id, \
    consent_seq, exempt, valid_until, coalesce((SELECT r.upto_seq FROM restrictions r WHERE r.visitor = visitor_id), 0)";

const INSERT: &str = "INSERT INTO visitors (visitor_id, site_id, key, visitor_ref, first_seq, first_seen_at, last_seen_at, \
    visit_count, page_count, event_count, granted, denied, signal_shown, measure_floor, floors, disclosed, flags, \
    basis_id, consent_seq, exempt, valid_until) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, \
    ?16, ?17, ?18, ?19, ?20, ?21)";

/// What nearly every event changes in a visitor.
const UPDATE: &str = "UPDATE visitors SET last_seen_at = ?2, visit_count = ?3, page_count = ?4, event_count = ?5 \
    WHERE visitor_id = ?1";

/// The rest, written only where it differs from the row.
const UPDATE_REST: &str = "UPDATE visitors SET granted = ?2, denied = ?3, signal_shown = ?4, measure_floor = ?5, floors = ?6, \
    disclosed = ?7, flags = ?8, basis_id = ?9, consent_seq = ?10, exempt = ?11, \
    valid_until = ?12 WHERE visitor_id = ?1";

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Clean,
    New,
    /// Only what [`UPDATE`] writes.
    Seen,
    Changed,
}

/// Does `after` tell nothing else than that the visitor was seen again?
fn only_seen(before: &Visitor, after: &Visitor) -> bool {
    let mut same = before.clone();
    same.last_seen = after.last_seen;
    same.visit_count = after.visit_count;
    same.page_count = after.page_count;
    same.event_count = after.event_count;
    same == *after
}

/// Visitors the pen knows.
#[derive(Default)]
pub(in crate::store) struct Cache {
    by_key: Table<(i64, ClientId), (Visitor, State)>,
    touched: Vec<(i64, ClientId)>,
}

impl Cache {
    pub(in crate::store) fn len(&self) -> usize {
        self.by_key.len()
    }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Visitor> {
    let restricted_upto: Seq = row.get(21)?;
    Ok(Visitor {
        id: row.get(0)?,
        site_id: row.get(1)?,
        key: row.get(2)?,
        visitor_ref: row.get(3)?,
        first_seq: row.get(4)?,
        first_seen: row.get(5)?,
        last_seen: row.get(6)?,
        visit_count: row.get(7)?,
        page_count: row.get(8)?,
        event_count: row.get(9)?,
        standing: Standing {
            granted: row.get(10)?,
            denied: row.get(11)?,
            signal_shown: row.get(12)?,
            consent_seq: row.get(18)?,
            valid_until: row.get(20)?,
            restricted: restricted_upto == RESTRICTED,
        },
        restricted_upto,
        measure_floor: row.get(13)?,
        floors: row.get(14)?,
        disclosed: row.get(15)?,
        rights: Rights { flags: row.get(16)?, basis_id: row.get(17)?, consent_seq: row.get(18)?, exempt: row.get(19)? },
    })
}

/// Finds a visitor by the client's id.
pub fn find(tx: &ReadTx<'_>, site_id: i64, key: &ClientId) -> Result<Option<Visitor>> {
    // asked before every new visitor: the text is put together once
    static SQL: LazyLock<String> =
        LazyLock::new(|| format!("SELECT {COLUMNS} FROM visitors WHERE site_id = ?1 AND key = ?2"));
    tx.conn()
        .prepare_cached(&SQL)
        .and_then(|mut s| s.query_row((site_id, key), from_row).optional())
        .map_err(|e| open::error("finding a visitor", e))
}

/// A visitor by its row.
pub fn get(tx: &ReadTx<'_>, visitor_id: i64) -> Result<Option<Visitor>> {
    let sql = format!("SELECT {COLUMNS} FROM visitors WHERE visitor_id = ?1");
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_row([visitor_id], from_row).optional())
        .map_err(|e| open::error("reading a visitor", e))
}

/// Every visitor: row, site, id and reference, in order of the rows (a restore looks who is meant by hashes).
pub fn each(tx: &ReadTx<'_>, mut take: impl FnMut(i64, i64, ClientId, VisitorRef)) -> Result<()> {
    let mut read = || -> rusqlite::Result<()> {
        let mut statement =
            tx.conn().prepare("SELECT visitor_id, site_id, key, visitor_ref FROM visitors ORDER BY visitor_id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            take(row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        }
        Ok(())
    };
    read().map_err(|e| open::error("reading all visitors", e))
}

/// Finds visitors by the reference they leave under (looks through the whole table).
pub fn by_ref(tx: &ReadTx<'_>, visitor_ref: VisitorRef) -> Result<Option<Visitor>> {
    let sql = format!("SELECT {COLUMNS} FROM visitors WHERE visitor_ref = ?1");
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_row([visitor_ref], from_row).optional())
        .map_err(|e| open::error("finding a visitor by its reference", e))
}

/// Writes a visitor whose row is there, at once and past the cache.
pub(in crate::store) fn keep_row(tx: &WriteTx<'_>, visitor: &Visitor) -> Result<()> {
    tx.settle()?;
    update(&mut Repeated::new(tx, UPDATE), visitor)
        .and_then(|_| update_rest(&mut Repeated::new(tx, UPDATE_REST), visitor))
        .map_err(|e| open::error("writing a visitor", e))?;
    forget(tx, visitor.id);
    Ok(())
}

/// Above every number there will be: integers stay below 2^53 (contract 4).
const ABOVE_ALL: i64 = (1 << 53) - 1;

/// Cuts a visitor off from its id: nothing finds the row any more, and none of its rows is read or leaves. What comes under
/// that id from now on is somebody never seen.
pub fn cut_off(tx: &WriteTx<'_>, visitor_id: i64) -> Result<()> {
    tx.settle()?;
    tx.execute(
        "UPDATE visitors SET key = ?2, measure_floor = ?3, granted = 0 WHERE visitor_id = ?1",
        (visitor_id, ClientId::Uuid(random_bytes()), ABOVE_ALL),
    )?;
    forget(tx, visitor_id);
    Ok(())
}

/// Was this visitor cut off from its id: is it being erased?
pub fn is_cut_off(visitor: &Visitor) -> bool {
    visitor.measure_floor.0 >= ABOVE_ALL
}

/// Takes a visitor for changing; [`keep`] gives it back.
pub fn take(tx: &WriteTx<'_>, site_id: i64, key: &ClientId) -> Result<Option<Visitor>> {
    let place = (site_id, key.clone());
    if let Some((visitor, _)) = tx.held().borrow().visitors.by_key.get(&place) {
        return Ok(Some(visitor.clone()));
    }
    let Some(visitor) = find(tx, site_id, key)? else { return Ok(None) };
    tx.held().borrow_mut().visitors.by_key.insert(place, (visitor.clone(), State::Clean));
    Ok(Some(visitor))
}

/// Holds a visitor back until the group's end; one never kept before is new.
pub fn keep(tx: &WriteTx<'_>, visitor: Visitor) {
    let mut held = tx.held().borrow_mut();
    held.writes += 1;
    let place = (visitor.site_id, visitor.key.clone());
    let visitors = &mut held.visitors;
    match visitors.by_key.get_mut(&place) {
        None => {
            visitors.touched.push(place.clone());
            visitors.by_key.insert(place, (visitor, State::New));
        }
        Some((before, state)) => {
            let next = match state {
                State::New => State::New,
                State::Clean | State::Seen if only_seen(before, &visitor) => State::Seen,
                _ => State::Changed,
            };
            if *state == State::Clean {
                visitors.touched.push(place);
            }
            (*before, *state) = (visitor, next);
        }
    }
}

/// Writes what changed.
pub(in crate::store) fn settle(tx: &WriteTx<'_>) -> Result<()> {
    let mut held = tx.held().borrow_mut();
    let Cache { by_key, touched } = &mut held.visitors;
    let [mut inserting, mut updating, mut rest] = [INSERT, UPDATE, UPDATE_REST].map(|sql| Repeated::new(tx, sql));
    for place in touched.drain(..) {
        let Some((v, state)) = by_key.get_mut(&place) else { continue };
        let result = match state {
            State::Clean => Ok(0),
            State::New => insert(&mut inserting, v),
            State::Seen => update(&mut updating, v),
            State::Changed => update_rest(&mut rest, v).and_then(|_| update(&mut updating, v)),
        };
        *state = State::Clean;
        result.map_err(|e| open::error("writing a visitor", e))?;
    }
    Ok(())
}

fn insert(statement: &mut Repeated<'_>, v: &Visitor) -> rusqlite::Result<usize> {
    statement.execute(rusqlite::params![
        v.id,
        v.site_id,
        v.key,
        v.visitor_ref,
        v.first_seq,
        v.first_seen,
        v.last_seen,
        v.visit_count,
        v.page_count,
        v.event_count,
        v.standing.granted,
        v.standing.denied,
        v.standing.signal_shown,
        v.measure_floor,
        v.floors,
        v.disclosed,
        v.rights.flags,
        v.rights.basis_id,
        v.standing.consent_seq,
        v.rights.exempt,
        v.standing.valid_until,
    ])
}

fn update(statement: &mut Repeated<'_>, v: &Visitor) -> rusqlite::Result<usize> {
    statement.execute(rusqlite::params![v.id, v.last_seen, v.visit_count, v.page_count, v.event_count,])
}

fn update_rest(statement: &mut Repeated<'_>, v: &Visitor) -> rusqlite::Result<usize> {
    statement.execute(rusqlite::params![
        v.id,
        v.standing.granted,
        v.standing.denied,
        v.standing.signal_shown,
        v.measure_floor,
        v.floors,
        v.disclosed,
        v.rights.flags,
        v.rights.basis_id,
        v.standing.consent_seq,
        v.rights.exempt,
        v.standing.valid_until,
    ])
}

/// Forgets the cached copy, after a statement changed the row behind the cache.
fn forget(tx: &WriteTx<'_>, visitor_id: i64) {
    let mut held = tx.held().borrow_mut();
    held.visitors.by_key.retain(|_, (v, _)| v.id != visitor_id);
}

/// Visitors whose decisions do not lie in the consent lane yet, and of whom rows may leave.
pub fn undisclosed(tx: &ReadTx<'_>) -> Result<Vec<(i64, VisitorRef)>> {
    tx.conn()
        .prepare_cached("SELECT visitor_id, visitor_ref FROM visitors WHERE disclosed = 0 AND exempt = 0")
        .and_then(|mut s| s.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect())
        .map_err(|e| open::error("listing visitors of whom nothing has left", e))
}

/// The decisions of these visitors lie in the consent lane from now on. Call `settle` before.
pub fn set_disclosed(tx: &WriteTx<'_>, visitor_ids: &[i64]) -> Result<()> {
    for id in visitor_ids {
        tx.execute("UPDATE visitors SET disclosed = 1 WHERE visitor_id = ?1", [id])?;
    }
    // one pass over the cache for all of them: a batch may disclose thousands
    let known: std::collections::HashSet<&i64> = visitor_ids.iter().collect();
    for (visitor, _) in tx.held().borrow_mut().visitors.by_key.values_mut() {
        visitor.disclosed |= known.contains(&visitor.id);
    }
    Ok(())
}

/// Tells the pen's copy of a visitor that its restriction began or ended. Call `settle` before.
pub(in crate::store) fn restricted(tx: &WriteTx<'_>, visitor_id: i64, upto: Seq) {
    for (visitor, _) in tx.held().borrow_mut().visitors.by_key.values_mut().filter(|(v, _)| v.id == visitor_id) {
        visitor.restricted_upto = upto;
        visitor.standing.restricted = upto == RESTRICTED;
    }
}

/// Does a visitor have a visit?
pub fn any_visit(tx: &ReadTx<'_>, visitor_id: i64) -> Result<bool> {
    tx.conn()
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM visits v WHERE v.visitor_id = ?1)")
        .and_then(|mut s| s.query_row([visitor_id], |r| r.get(0)))
        .map_err(|e| open::error("looking for a visitor's visits", e))
}

/// Visitors of a range without a visit, last seen before `before`, at most `limit` (retention). The range keeps the search
/// among visitors older than stored events.
pub fn without_visits(tx: &ReadTx<'_>, before: Millis, range: Range, limit: i64) -> Result<Vec<Visitor>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM visitors w WHERE visitor_id > ?2 AND visitor_id <= ?3 AND last_seen_at < ?1 \
         AND NOT EXISTS (SELECT 1 FROM visits v WHERE v.visitor_id = w.visitor_id) \
         AND visitor_id NOT IN {HELD_VISITORS} LIMIT ?4"
    );
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_map((before, range.after, range.upto, limit), from_row)?.collect())
        .map_err(|e| open::error("finding visitors without visits", e))
}

/// Visitors of a site of whom something granted has lapsed at this time, or may have, the earliest first, at most `limit`.
pub fn lapsed(tx: &ReadTx<'_>, site_id: i64, at: Millis, limit: i64) -> Result<Vec<Visitor>> {
    tx.conn()
        .prepare_cached(&format!("SELECT {COLUMNS} FROM visitors {LAPSED}"))
        .and_then(|mut s| s.query_map((site_id, at, limit), from_row)?.collect())
        .map_err(|e| open::error("finding choices that are over", e))
}

const LAPSED: &str = "WHERE site_id = ?1 AND valid_until <= ?2 ORDER BY valid_until LIMIT ?3";

/// Choices to any of these purposes are looked at again from `at` on; returns how many visitors.
pub fn end_by(tx: &WriteTx<'_>, site_id: i64, purposes: Purposes, at: Millis) -> Result<usize> {
    tx.settle()?;
    let changed = tx.execute(
        "UPDATE visitors SET valid_until = ?3 WHERE site_id = ?1 AND granted & ?2 <> 0 \
         AND (valid_until IS NULL OR valid_until > ?3)",
        (site_id, purposes, at),
    )?;
    let mut held = tx.held().borrow_mut();
    held.visitors.by_key.retain(|(site, _), _| *site != site_id); // written above, and changed behind the cache
    Ok(changed)
}

/// Deletes a visitor whose rows are gone.
pub fn delete(tx: &WriteTx<'_>, visitor_id: i64) -> Result<()> {
    tx.settle()?;
    tx.execute("DELETE FROM visitors WHERE visitor_id = ?1", [visitor_id])?;
    forget(tx, visitor_id);
    Ok(())
}

/// How many visitors there are.
pub fn count(tx: &ReadTx<'_>) -> Result<i64> {
    tx.conn()
        .query_row("SELECT count(*) FROM visitors", [], |r| r.get(0))
        .map_err(|e| open::error("counting visitors", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_that_are_over_are_found_by_the_index() {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        conn.execute_batch(crate::store::migrate::SCHEMA).unwrap();
        let plan: String = conn
            .query_row(&format!("EXPLAIN QUERY PLAN SELECT {COLUMNS} FROM visitors {LAPSED}"), (1, 2, 3), |r| r.get(3))
            .unwrap();
        assert!(plan.contains("USING INDEX visitors_lapse (site_id=? AND valid_until<?)"), "{plan}");
    }
}
