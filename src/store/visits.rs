//! The `visits` table: one stretch of browsing. Held by the pen within a group and written once at its end.
//! Must never decide where an event belongs (`domain/placement.rs`).
//! Invariant: of a visitor in the cache the newest visit is in the cache, and so is every visit whose window reaches beyond
//! its start, so an event in order needs no query.

use rusqlite::{OptionalExtension, Row};

use crate::base::error::Result;
use crate::base::id::{ClientId, Seq};
use crate::base::table::ByNumber;
use crate::base::time::Millis;
use crate::domain::event::Stream;
use crate::domain::visit::{EndReason, Visit, VisitOptions};
use crate::domain::visitor::Rights;
use crate::store::ages::Range;
use crate::store::restrictions::HELD_VISITORS;
use crate::store::statement::Repeated;
use crate::store::{ReadTx, WriteTx, open, row};

/// Columns in the order of [`from_row`].
pub(in crate::store) const COLUMNS: &str = "v.visit_id, v.visit_uuid, v.site_id, v.visitor_id, v.epoch_id, v.client_visit, \
    v.stream, v.device_id, v.agent_id, v.started_at, v.last_active_at, v.last_received_at, v.ended_at, v.end_reason, \
    v.source, v.referrer, v.campaign, v.context, v.place, v.ip, v.searches, v.entry_page_id, v.last_page_id, \
    v.page_count, v.screen_count, v.event_count, v.authenticated, v.session_id, v.last_seq, v.snapshot_seq, v.flags, \
    v.basis_id, v.consent_seq, v.exempt";

const INSERT: &str = "INSERT INTO visits (visit_id, visit_uuid, site_id, visitor_id, epoch_id, client_visit, stream, \
    device_id, agent_id, started_at, last_active_at, last_received_at, due_at, ended_at, end_reason, source, referrer, \
    campaign, context, place, ip, searches, entry_page_id, last_page_id, page_count, screen_count, event_count, \
    authenticated, session_id, last_seq, snapshot_seq, flags, basis_id, consent_seq, exempt) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, \
    ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35)";

/// What nearly every event changes in a visit, and nothing else: no column with a foreign key, which would cost each update a
/// journal of its own, and but for `last_seq` none that an index holds.
const UPDATE: &str = "UPDATE visits SET last_active_at = ?2, last_received_at = ?3, entry_page_id = ?4, last_page_id = ?5, \
    page_count = ?6, screen_count = ?7, event_count = ?8, last_seq = ?9 WHERE visit_id = ?1";

/// The rest, written only where it differs from the row.
const UPDATE_REST: &str = "UPDATE visits SET started_at = ?2, due_at = ?3, ended_at = ?4, end_reason = ?5, context = ?6, \
    searches = ?7, authenticated = ?8, session_id = ?9, snapshot_seq = ?10, flags = ?11, basis_id = ?12, consent_seq = ?13, \
    exempt = ?14 WHERE visit_id = ?1";

struct Held {
    visit: Visit,
    due: Millis,
    new: bool,
    changed: bool,
    /// Something that [`UPDATE_REST`] writes was changed.
    rest: bool,
}

/// Must [`UPDATE_REST`] run as well? The row may say too early a time when the visit is due, so a later one is not written.
fn differs(before: &Visit, after: &Visit, options: &VisitOptions) -> bool {
    before.started != after.started
        || before.end != after.end
        || before.context != after.context
        || before.searches != after.searches
        || before.authenticated != after.authenticated
        || before.session_id != after.session_id
        || before.snapshot_seq != after.snapshot_seq
        || before.rights != after.rights
        || after.due(options) < before.due(options)
}

/// Visits the pen knows.
#[derive(Default)]
pub(in crate::store) struct Cache {
    by_id: ByNumber<Held>,
    of_visitor: ByNumber<Vec<i64>>,
    touched: Vec<i64>,
}

impl Cache {
    pub(in crate::store) fn len(&self) -> usize {
        self.by_id.len()
    }
}

pub(in crate::store) fn from_row(r: &Row<'_>) -> rusqlite::Result<Visit> {
    let ended: Option<Millis> = r.get(12)?;
    let reason = r.get_ref(13)?;
    let end = match ended {
        Some(at) => Some((at, row::word(reason, EndReason::parse)?)),
        None => None,
    };
    Ok(Visit {
        id: r.get(0)?,
        uuid: r.get(1)?,
        site_id: r.get(2)?,
        visitor_id: r.get(3)?,
        epoch_id: r.get(4)?,
        client_visit: r.get(5)?,
        stream: row::word(r.get_ref(6)?, Stream::parse)?,
        device_id: r.get(7)?,
        agent_id: r.get(8)?,
        started: r.get(9)?,
        last_active: r.get(10)?,
        last_received: r.get(11)?,
        end,
        source: r.get(14)?,
        referrer: r.get(15)?,
        campaign: r.get(16)?,
        context: r.get(17)?,
        place: r.get(18)?,
        ip: r.get(19)?,
        searches: r.get(20)?,
        entry_page: r.get(21)?,
        last_page: r.get(22)?,
        open_page_since: None,
        page_count: r.get(23)?,
        screen_count: r.get(24)?,
        event_count: r.get(25)?,
        authenticated: r.get(26)?,
        session_id: r.get(27)?,
        last_seq: r.get(28)?,
        snapshot_seq: r.get(29)?,
        rights: Rights { flags: r.get(30)?, basis_id: r.get(31)?, consent_seq: r.get(32)?, exempt: r.get(33)? },
    })
}

fn query(tx: &ReadTx<'_>, tail: &str, params: impl rusqlite::Params) -> Result<Vec<Visit>> {
    let sql = format!("SELECT {COLUMNS} FROM visits v {tail}");
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_map(params, from_row)?.collect())
        .map_err(|e| open::error("reading visits", e))
}

/// How many of a visitor's newest visits are looked through for one whose window overlaps the newest (named visits do).
const OVERLAP_MAX: i64 = 16;

/// The visits an event of corrected time `at` may join, oldest first: those in the cache where they suffice.
/// `named` = the client named a visit.
pub fn candidates(
    tx: &WriteTx<'_>,
    visitor_id: i64,
    at: Millis,
    named: Option<&ClientId>,
    reach_ms: i64,
) -> Result<Vec<Visit>> {
    load_newest(tx, visitor_id, reach_ms)?;
    {
        let held = tx.held().borrow();
        let ids = held.visits.of_visitor.get(&visitor_id).map_or(&[][..], Vec::as_slice);
        let known = || ids.iter().filter_map(|id| held.visits.by_id.get(id)).map(|h| &h.visit);
        let Some(newest) = known().max_by_key(|v| (v.started, v.id)) else { return Ok(Vec::new()) };
        if at >= newest.started && (named.is_none() || newest.client_visit.as_ref() == named) {
            let near = |v: &&Visit| v.id == newest.id || named.is_none() && v.last_active.plus(reach_ms) > at;
            let mut found = Vec::with_capacity(ids.len()); // nearly always one: collecting would make room for four
            found.extend(known().filter(near).cloned());
            found.sort_by_key(|v| (v.started, v.id));
            return Ok(found);
        }
    }
    let mut found = match named {
        Some(name) => query(tx, "WHERE v.visitor_id = ?1 AND v.client_visit = ?2", (visitor_id, name))?,
        None => query(
            tx,
            "WHERE v.visitor_id = ?1 AND v.started_at < ?2 AND v.last_active_at > ?3",
            (visitor_id, at.plus(reach_ms), at.plus(-reach_ms)),
        )?,
    };
    let held = tx.held().borrow();
    let known = held.visits.of_visitor.get(&visitor_id).map_or(&[][..], Vec::as_slice);
    found.retain(|v| !known.contains(&v.id));
    found.extend(known.iter().filter_map(|id| held.visits.by_id.get(id)).map(|h| h.visit.clone()));
    found.sort_by_key(|v| (v.started, v.id));
    Ok(found)
}

fn load_newest(tx: &WriteTx<'_>, visitor_id: i64, reach_ms: i64) -> Result<()> {
    if tx.held().borrow().visits.of_visitor.contains_key(&visitor_id) {
        return Ok(());
    }
    let mut newest = query(
        tx,
        "WHERE v.visitor_id = ?1 ORDER BY v.started_at DESC, v.visit_id DESC LIMIT ?2",
        (visitor_id, OVERLAP_MAX),
    )?;
    if let Some((id, started)) = newest.first().map(|v| (v.id, v.started)) {
        newest.retain(|v| v.id == id || v.last_active.plus(reach_ms) > started);
    }
    let mut held = tx.held().borrow_mut();
    let ids = newest.iter().map(|v| v.id).collect();
    held.visits.of_visitor.insert(visitor_id, ids);
    for visit in newest {
        held.visits.by_id.insert(visit.id, Held { due: Millis(0), visit, new: false, changed: false, rest: false });
    }
    Ok(())
}

/// Tells the cache that a visitor is new and has no visits on disk.
pub fn none_yet(tx: &WriteTx<'_>, visitor_id: i64) {
    tx.held().borrow_mut().visits.of_visitor.entry(visitor_id).or_default();
}

/// A visit the pen holds.
pub fn held(tx: &WriteTx<'_>, visit_id: i64) -> Option<Visit> {
    tx.held().borrow().visits.by_id.get(&visit_id).map(|h| h.visit.clone())
}

/// Holds a visit back until the group's end; one with an id never seen is new.
pub fn keep(tx: &WriteTx<'_>, visit: Visit, options: &VisitOptions, new: bool) {
    let mut held = tx.held().borrow_mut();
    held.writes += 1;
    let (id, due) = (visit.id, visit.due(options));
    let of = held.visits.of_visitor.entry(visit.visitor_id).or_default();
    if !of.contains(&id) {
        of.push(id);
    }
    match held.visits.by_id.get_mut(&id) {
        Some(h) => {
            let first = !h.changed && !h.new;
            h.rest |= differs(&h.visit, &visit, options);
            h.visit = visit;
            h.due = due;
            h.changed = true;
            if first {
                held.visits.touched.push(id);
            }
        }
        None => {
            held.visits.by_id.insert(id, Held { visit, due, new, changed: !new, rest: !new });
            held.visits.touched.push(id);
        }
    }
}

/// Writes what changed.
pub(in crate::store) fn settle(tx: &WriteTx<'_>) -> Result<()> {
    let mut held = tx.held().borrow_mut();
    let Cache { by_id, touched, .. } = &mut held.visits;
    let [mut inserting, mut updating, mut rest] = [INSERT, UPDATE, UPDATE_REST].map(|sql| Repeated::new(tx, sql));
    for id in touched.drain(..) {
        let Some(h) = by_id.get_mut(&id) else { continue };
        let result = match (h.new, h.rest) {
            (true, _) => insert(&mut inserting, &h.visit, h.due),
            (_, false) => update(&mut updating, &h.visit),
            (_, true) => update_rest(&mut rest, &h.visit, h.due).and_then(|_| update(&mut updating, &h.visit)),
        };
        h.new = false;
        h.changed = false;
        h.rest = false;
        result.map_err(|e| open::error("writing a visit", e))?;
    }
    Ok(())
}

fn insert(statement: &mut Repeated<'_>, v: &Visit, due: Millis) -> rusqlite::Result<usize> {
    statement.execute(rusqlite::params![
        v.id,
        v.uuid,
        v.site_id,
        v.visitor_id,
        v.epoch_id,
        v.client_visit,
        v.stream.word(),
        v.device_id,
        v.agent_id,
        v.started,
        v.last_active,
        v.last_received,
        due,
        v.end.map(|(at, _)| at),
        v.end.map(|(_, reason)| reason.word()),
        v.source,
        v.referrer,
        v.campaign,
        v.context,
        v.place,
        v.ip,
        v.searches,
        v.entry_page,
        v.last_page,
        v.page_count,
        v.screen_count,
        v.event_count,
        v.authenticated,
        v.session_id,
        v.last_seq,
        v.snapshot_seq,
        v.rights.flags,
        v.rights.basis_id,
        v.rights.consent_seq,
        v.rights.exempt,
    ])
}

fn update_rest(statement: &mut Repeated<'_>, v: &Visit, due: Millis) -> rusqlite::Result<usize> {
    statement.execute(rusqlite::params![
        v.id,
        v.started,
        due,
        v.end.map(|(at, _)| at),
        v.end.map(|(_, reason)| reason.word()),
        v.context,
        v.searches,
        v.authenticated,
        v.session_id,
        v.snapshot_seq,
        v.rights.flags,
        v.rights.basis_id,
        v.rights.consent_seq,
        v.rights.exempt,
    ])
}

fn update(statement: &mut Repeated<'_>, v: &Visit) -> rusqlite::Result<usize> {
    statement.execute(rusqlite::params![
        v.id,
        v.last_active,
        v.last_received,
        v.entry_page,
        v.last_page,
        v.page_count,
        v.screen_count,
        v.event_count,
        v.last_seq,
    ])
}

/// Forgets every cached visit, after a statement changed rows behind the cache. Call `settle` before.
pub(in crate::store) fn forget_all(tx: &WriteTx<'_>) {
    tx.held().borrow_mut().visits = Cache::default();
}

/// One visit by its row.
pub fn get(tx: &ReadTx<'_>, visit_id: i64) -> Result<Option<Visit>> {
    Ok(query(tx, "WHERE v.visit_id = ?1", [visit_id])?.pop())
}

/// Open visits that may be due to end at `now` (a row may say too early a time, never too late) whose newest event came at least `quiet_ms` ago, at most `limit`.
pub fn due(tx: &ReadTx<'_>, now: Millis, quiet_ms: i64, limit: i64) -> Result<Vec<Visit>> {
    query(
        tx,
        &format!(
            "WHERE v.ended_at IS NULL AND v.due_at <= ?1 AND v.last_received_at <= ?2 \
             AND v.visitor_id NOT IN {HELD_VISITORS} ORDER BY v.due_at LIMIT ?3"
        ),
        (now, now.plus(-quiet_ms), limit),
    )
}

/// Visits that ended by `now`, with changes no snapshot covers, whose newest event came at least `quiet_ms` ago, at most
/// `limit`. (An event may join a visit that ended idle and move its end into the future: such a visit goes on.)
pub fn changed(tx: &ReadTx<'_>, now: Millis, quiet_ms: i64, limit: i64) -> Result<Vec<Visit>> {
    let sql = format!(
        "JOIN visitors w ON w.visitor_id = v.visitor_id WHERE v.ended_at IS NOT NULL AND v.snapshot_seq < v.last_seq \
         AND v.ended_at <= ?1 AND v.last_received_at <= ?2 AND v.visit_id > w.measure_floor \
         AND v.visitor_id NOT IN {HELD_VISITORS} ORDER BY v.visit_id LIMIT ?3"
    );
    query(tx, &sql, (now, now.plus(-quiet_ms), limit))
}

/// Changes the pen's copy of a visit as its row was changed.
fn patch(tx: &WriteTx<'_>, visit_id: i64, change: impl FnOnce(&mut Visit)) {
    if let Some(held) = tx.held().borrow_mut().visits.by_id.get_mut(&visit_id) {
        change(&mut held.visit);
    }
}

/// An open visit is due later than its row says.
pub fn put_off(tx: &WriteTx<'_>, visit_id: i64, due: Millis) -> Result<()> {
    tx.settle()?;
    tx.execute("UPDATE visits SET due_at = ?2 WHERE visit_id = ?1", (visit_id, due)).map(|_| ())
}

/// Ends an open visit; one that has ended stays as it is.
pub fn end(tx: &WriteTx<'_>, visit_id: i64, at: Millis, reason: EndReason) -> Result<()> {
    tx.settle()?;
    let sql = "UPDATE visits SET ended_at = ?2, end_reason = ?3 WHERE visit_id = ?1 AND ended_at IS NULL";
    let n = tx.execute(sql, (visit_id, at, reason.word()))?;
    if n > 0 {
        patch(tx, visit_id, |visit| visit.end = Some((at, reason)));
    }
    Ok(())
}

/// A snapshot under the number `seq` covers an ended visit as it is now; no session is open in it any more.
pub fn snapshot_made(tx: &WriteTx<'_>, visit_id: i64, seq: Seq) -> Result<()> {
    tx.settle()?;
    tx.execute("UPDATE visits SET snapshot_seq = ?2, session_id = NULL WHERE visit_id = ?1", (visit_id, seq))?;
    patch(tx, visit_id, |visit| {
        visit.snapshot_seq = seq;
        visit.session_id = None;
    });
    Ok(())
}

/// Marks the ended visits of a visitor as changed whose newest snapshot lies at or below `upto`, so that they are told again;
/// those at or below the floor `above` are not. At most `limit`; returns how many.
pub fn tell_again(tx: &WriteTx<'_>, visitor_id: i64, (above, upto): (Seq, Seq), limit: i64) -> Result<usize> {
    tx.settle()?;
    let due = query(
        tx,
        "WHERE v.visitor_id = ?1 AND v.visit_id > ?2 AND v.snapshot_seq > 0 AND v.snapshot_seq <= ?3 AND v.last_seq <= ?3 \
         AND v.exempt = 0 ORDER BY v.visit_id LIMIT ?4",
        (visitor_id, above, upto, limit),
    )?;
    for visit in &due {
        corrected(tx, visit.id, None)?;
    }
    Ok(due.len())
}

/// Ends open visits of earlier epochs (contract 4: minting an epoch ends all open visits), at most `limit`; returns how
/// many.
pub fn end_earlier_epochs(tx: &WriteTx<'_>, epoch_id: i64, limit: i64) -> Result<usize> {
    tx.settle()?;
    let n = tx.execute(
        "UPDATE visits SET ended_at = last_active_at, end_reason = 'new_epoch' WHERE visit_id IN \
         (SELECT visit_id FROM visits WHERE ended_at IS NULL AND epoch_id <> ?1 LIMIT ?2)",
        (epoch_id, limit),
    )?;
    forget_all(tx);
    Ok(n)
}

/// Ended visits of a range that have no events any more, at most `limit`. (A visit's number is that of its first event: a
/// range that ends before the first event there is takes no visit with events in.)
pub fn without_events(tx: &ReadTx<'_>, range: Range, limit: i64) -> Result<Vec<Visit>> {
    query(
        tx,
        &format!(
            "WHERE v.visit_id > ?1 AND v.visit_id <= ?2 AND v.ended_at IS NOT NULL \
             AND NOT EXISTS (SELECT 1 FROM events e WHERE e.visit_id = v.visit_id) \
             AND v.visitor_id NOT IN {HELD_VISITORS} ORDER BY v.visit_id LIMIT ?3"
        ),
        (range.after, range.upto, limit),
    )
}

/// The row ids of a visitor's visits at or below a seq, but for those taken in under one of the bases `spared`, at most `limit`.
pub fn ids_upto(tx: &ReadTx<'_>, visitor_id: i64, upto: Seq, spared: &[i64], limit: i64) -> Result<Vec<i64>> {
    let sql = "SELECT visit_id FROM visits WHERE visitor_id = ?1 AND visit_id <= ?2 \
        AND basis_id NOT IN (SELECT value FROM json_each(?3)) ORDER BY visit_id LIMIT ?4";
    tx.conn()
        .prepare_cached(sql)
        .and_then(|mut s| s.query_map((visitor_id, upto, format!("{spared:?}"), limit), |r| r.get(0))?.collect())
        .map_err(|e| open::error("listing a visitor's visits", e))
}

/// Deletes a visit whose events, pages and sessions are gone.
pub fn delete(tx: &WriteTx<'_>, visit_id: i64) -> Result<()> {
    tx.settle()?;
    tx.execute("DELETE FROM visits WHERE visit_id = ?1", [visit_id])?;
    let visits = &mut tx.held().borrow_mut().visits;
    let visitor_id = visits.by_id.get(&visit_id).map(|held| held.visit.visitor_id);
    // its newest visit may be another one now: that is looked up again
    for id in visitor_id.and_then(|id| visits.of_visitor.remove(&id)).unwrap_or_default() {
        visits.by_id.remove(&id);
    }
    Ok(())
}

/// One visit by its public id.
pub fn by_uuid(tx: &ReadTx<'_>, uuid: &[u8; 16]) -> Result<Option<Visit>> {
    let sql = format!("SELECT {COLUMNS} FROM visits v WHERE v.visit_uuid = ?1");
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_row([uuid], from_row).optional())
        .map_err(|e| open::error("finding a visit", e))
}

/// What a visit shows was corrected, its searches too where some are given: it is told again under its next snapshot.
pub fn corrected(tx: &WriteTx<'_>, visit_id: i64, searches: Option<&str>) -> Result<()> {
    let seq = tx.next_seq();
    let sql = "UPDATE visits SET last_seq = ?2, searches = coalesce(?3, searches) WHERE visit_id = ?1";
    tx.execute(sql, (visit_id, seq, searches))?;
    patch(tx, visit_id, |held| {
        held.last_seq = seq;
        held.searches = searches.map(str::to_owned).or(held.searches.take());
    });
    Ok(())
}

/// The page that began or ended a visit is now known under another number. A visit that is still open takes its newest page
/// from its next event.
pub fn page_moved(tx: &WriteTx<'_>, visit_id: i64, old: Seq, new: Seq) -> Result<()> {
    let sql = "UPDATE visits SET entry_page_id = CASE WHEN entry_page_id = ?2 THEN ?3 ELSE entry_page_id END, \
        last_page_id = CASE WHEN last_page_id = ?2 THEN ?3 ELSE last_page_id END \
        WHERE visit_id = ?1 AND (entry_page_id = ?2 OR last_page_id = ?2)";
    tx.execute(sql, (visit_id, old, new)).map(|_| ())
}
