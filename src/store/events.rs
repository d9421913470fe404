//! The `events` table: one occurrence, and the page it entered. Held by the pen within a group and written at its end, in
//! seq order.
//! Must never hold a personal field. Invariant: an id is taken once per site.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, Row};

use crate::base::error::Result;
use crate::base::id::{ClientId, Salt, Seq};
use crate::base::time::Millis;
use crate::domain::clock::ClockState;
use crate::domain::consent::Purposes;
use crate::domain::event::{EventType, Lane};
use crate::domain::stored::{EventRow, PageRow, Taken};
use crate::domain::visitor::Rights;
use crate::store::restrictions::HELD_VISITS;
use crate::store::{ReadTx, WriteTx, open};

pub(in crate::store) const COLUMNS: &str = "e.seq, e.event_id, e.site_id, e.epoch_id, e.visit_id, e.page_id, e.session_id, \
    e.name, e.system, e.lane, e.content_hash, e.client_at, e.sent_at, e.received_at, e.corrected_at, e.clock_state, \
    e.url, e.title, e.referrer, e.search_query, e.attributes, e.attribute_types, e.conversation, e.withheld, e.flags, e.basis_id, \
    e.consent_seq, e.exempt, e.salt, e.replaces";

/// How many columns [`COLUMNS`] names: joined columns follow.
pub(in crate::store) const WIDTH: usize = 30;

/// Columns that most events leave empty stand last in the table and in here.
const INSERT: &str = "INSERT INTO events (seq, event_id, site_id, epoch_id, visit_id, page_id, name, system, lane, \
    content_hash, received_at, corrected_at, clock_state, flags, basis_id, consent_seq, exempt, salt, url, title, referrer, \
    attributes, attribute_types, dwell_ms, client_at, sent_at, session_id, search_query, conversation, withheld, client_page, \
    screen, keywords, language, category) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, \
    ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35)";

/// The same without them: a third fewer values to bind.
const INSERT_USUAL: &str = "INSERT INTO events (seq, event_id, site_id, epoch_id, visit_id, page_id, name, system, lane, \
    content_hash, received_at, corrected_at, clock_state, flags, basis_id, consent_seq, exempt, salt, url, title, referrer, \
    attributes, attribute_types, dwell_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, \
    ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24)";

/// How many values [`INSERT_USUAL`] binds.
const USUAL: usize = 24;

/// Events of this group.
#[derive(Default)]
pub(in crate::store) struct Pending {
    rows: Vec<EventRow>,
    ids: HashMap<(ClientId, i64), Taken>,
}

pub(in crate::store) fn from_row(r: &Row<'_>) -> rusqlite::Result<EventRow> {
    let bad = |column: usize, code: i64| rusqlite::Error::IntegralValueOutOfRange(column, code);
    let (lane, clock): (i64, i64) = (r.get(9)?, r.get(15)?);
    let (seq, page_id): (Seq, Option<i64>) = (r.get(0)?, r.get(5)?);
    let clock_state = ClockState::from_code(clock).ok_or_else(|| bad(15, clock))?;
    let corrected: Millis = r.get(14)?;
    let client_at: Option<Millis> = r.get(11)?;
    let entered = page_id == Some(seq.0); // address and title are the page's then
    let own = |column: usize| if entered { Ok(None) } else { r.get(column) };
    Ok(EventRow {
        seq,
        event_id: r.get(1)?,
        site_id: r.get(2)?,
        epoch_id: r.get(3)?,
        visit_id: r.get(4)?,
        page_id,
        session_id: r.get(6)?,
        name: r.get(7)?,
        event_type: if r.get(8)? { EventType::System } else { EventType::Business },
        lane: Lane::from_code(lane).ok_or_else(|| bad(9, lane))?,
        content_hash: r.get(10)?,
        client_at: client_at.or((clock_state == ClockState::Client).then_some(corrected)),
        sent_at: r.get(12)?,
        received: r.get(13)?,
        corrected,
        clock_state,
        url: own(16)?,
        title: own(17)?,
        referrer: r.get(18)?,
        search_query: r.get(19)?,
        attributes: r.get(20)?,
        attribute_types: r.get(21)?,
        conversation: r.get(22)?,
        withheld: r.get(23)?,
        rights: Rights { flags: r.get(24)?, basis_id: r.get(25)?, consent_seq: r.get(26)?, exempt: r.get(27)? },
        salt: r.get(28)?,
        replaces: r.get(29)?,
    })
}

/// Where an id was taken before, held or stored.
pub fn find(tx: &WriteTx<'_>, site_id: i64, id: &ClientId) -> Result<Option<Taken>> {
    if let Some(taken) = tx.held().borrow().events.ids.get(&(id.clone(), site_id)) {
        return Ok(Some(*taken));
    }
    tx.conn()
        .prepare_cached("SELECT seq, content_hash, visit_id FROM events WHERE event_id = ?1 AND site_id = ?2")
        .and_then(|mut s| {
            s.query_row((id, site_id), |r| Ok(Taken { seq: r.get(0)?, content_hash: r.get(1)?, visit_id: r.get(2)? }))
                .optional()
        })
        .map_err(|e| open::error("looking for an event id", e))
}

/// Numbers of the events of an id, at any site.
pub fn seqs_of(tx: &ReadTx<'_>, id: &ClientId) -> Result<Vec<Seq>> {
    tx.conn()
        .prepare_cached("SELECT seq FROM events WHERE event_id = ?1 ORDER BY seq")
        .and_then(|mut s| s.query_map([id], |r| r.get(0))?.collect())
        .map_err(|e| open::error("looking for an event id", e))
}

/// Holds an event back until the group's end.
pub fn insert(tx: &WriteTx<'_>, row: EventRow) {
    let mut held = tx.held().borrow_mut();
    held.writes += 1;
    let taken = Taken { seq: row.seq, content_hash: row.content_hash, visit_id: row.visit_id };
    held.events.ids.insert((row.event_id.clone(), row.site_id), taken);
    held.events.rows.push(row);
}

/// Writes the events of this group, with the pages they entered.
pub(in crate::store) fn settle(tx: &WriteTx<'_>) -> Result<()> {
    let mut pending = std::mem::take(&mut tx.held().borrow_mut().events);
    let Some(last) = pending.rows.last().map(|e| e.seq) else { return Ok(()) };
    let pages = tx.held().borrow_mut().pages.take_upto(last);
    let preparing = |e| open::error("preparing to write events", e);
    let mut insert = tx.conn().prepare_cached(INSERT).map_err(preparing)?;
    let mut usual = tx.conn().prepare_cached(INSERT_USUAL).map_err(preparing)?;
    for e in &pending.rows {
        let columns = columns(e, pages.entered_by(e.seq));
        let written = match columns[USUAL..].iter().all(|value| is_null(*value)) {
            true => usual.execute(rusqlite::params_from_iter(&columns[..USUAL])),
            false => insert.execute(rusqlite::params_from_iter(columns)),
        };
        written.map_err(|error| open::error("writing an event", error))?;
    }
    // the next group finds room for as many
    pending.rows.clear();
    pending.ids.clear();
    tx.held().borrow_mut().events = pending;
    Ok(())
}

/// A value to bind.
type Column<'a> = &'a (dyn rusqlite::ToSql + 'a);

/// Is it NULL? Texts and numbers are looked at, not copied.
fn is_null(value: Column<'_>) -> bool {
    use rusqlite::types::{ToSqlOutput, Value, ValueRef};
    matches!(value.to_sql(), Ok(ToSqlOutput::Borrowed(ValueRef::Null) | ToSqlOutput::Owned(Value::Null)))
}

fn columns<'a>(e: &'a EventRow, page: Option<&'a PageRow>) -> [Column<'a>; 35] {
    const SYSTEM: [bool; 2] = [false, true];
    const CODES: [i64; 5] = [0, 1, 2, 3, 4];
    const NULL: Option<i64> = None;
    let code = |n: i64| -> Column<'a> { &CODES[usize::try_from(n).unwrap_or(0)] };
    let text = |of: fn(&PageRow) -> &Option<String>| -> Column<'a> { page.map_or(&NULL as Column<'a>, |p| of(p)) };
    let client_at: Column<'a> = if e.clock_state == ClockState::Client { &NULL } else { &e.client_at };
    [
        &e.seq,
        &e.event_id,
        &e.site_id,
        &e.epoch_id,
        &e.visit_id,
        if page.is_some() { &e.seq } else { &e.page_id },
        &e.name,
        &SYSTEM[usize::from(e.event_type == EventType::System)],
        code(e.lane.code()),
        &e.content_hash,
        &e.received,
        &e.corrected,
        code(e.clock_state.code()),
        &e.rights.flags,
        &e.rights.basis_id,
        &e.rights.consent_seq,
        &e.rights.exempt,
        &e.salt,
        page.map_or(&e.url, |p| &p.url),
        page.map_or(&e.title, |p| &p.title),
        &e.referrer,
        &e.attributes,
        &e.attribute_types,
        page.map_or(&NULL as Column<'a>, |p| &p.dwell_ms),
        client_at,
        &e.sent_at,
        &e.session_id,
        &e.search_query,
        &e.conversation,
        &e.withheld,
        page.map_or(&NULL as Column<'a>, |p| &p.client_page),
        text(|p| &p.screen),
        text(|p| &p.keywords),
        text(|p| &p.language),
        text(|p| &p.category),
    ]
}

/// The page that an event entered was left after so many milliseconds.
pub(in crate::store) fn left_page(tx: &WriteTx<'_>, seq: i64, dwell_ms: i64) -> Result<()> {
    tx.execute("UPDATE events SET dwell_ms = ?2 WHERE seq = ?1", (seq, dwell_ms)).map(|_| ())
}

/// One stored event.
pub fn get(tx: &ReadTx<'_>, seq: Seq) -> Result<Option<EventRow>> {
    let sql = format!("SELECT {COLUMNS} FROM events e WHERE e.seq = ?1");
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_row([seq], from_row).optional())
        .map_err(|e| open::error("reading an event", e))
}

/// What removing an event needs to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aged {
    /// Its number.
    pub seq: Seq,
    /// Its visit.
    pub visit_id: i64,
    /// The lane it leaves by.
    pub lane: Lane,
    /// When it was received.
    pub received: Millis,
    /// It never leaves this machine.
    pub exempt: bool,
}

fn aged(tx: &ReadTx<'_>, tail: &str, params: impl rusqlite::Params) -> Result<Vec<Aged>> {
    let sql = format!("SELECT e.seq, e.visit_id, e.lane, e.received_at, e.exempt FROM events e {tail}");
    let row = |r: &Row<'_>| {
        let lane: i64 = r.get(2)?;
        let lane = Lane::from_code(lane).ok_or(rusqlite::Error::IntegralValueOutOfRange(2, lane))?;
        Ok(Aged { seq: r.get(0)?, visit_id: r.get(1)?, lane, received: r.get(3)?, exempt: r.get(4)? })
    };
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_map(params, row)?.collect())
        .map_err(|e| open::error("reading the oldest events", e))
}

/// The oldest events behind `after` that are not under restriction, in seq order, at most `limit`.
pub fn oldest(tx: &ReadTx<'_>, after: Seq, limit: i64) -> Result<Vec<Aged>> {
    let tail = format!("WHERE e.seq > ?1 AND e.visit_id NOT IN {HELD_VISITS} ORDER BY e.seq LIMIT ?2");
    aged(tx, &tail, (after, limit))
}

/// The oldest events of a lane other than `pages`, behind `after`, not under restriction, in seq order, at most `limit`.
pub fn oldest_of_lane(tx: &ReadTx<'_>, lane: Lane, after: Seq, limit: i64) -> Result<Vec<Aged>> {
    let tail = format!(
        "WHERE e.lane = ?1 AND e.lane <> 2 AND e.seq > ?2 AND e.visit_id NOT IN {HELD_VISITS} ORDER BY e.seq LIMIT ?3"
    );
    aged(tx, &tail, (lane.code(), after, limit))
}

/// A visit's events, newest first, so that a page outlives what happened on it; at most `limit`.
pub fn of_visit(tx: &ReadTx<'_>, visit_id: i64, limit: i64) -> Result<Vec<Aged>> {
    aged(tx, "WHERE e.visit_id = ?1 ORDER BY e.seq DESC LIMIT ?2", (visit_id, limit))
}

/// Does a visit still have events?
pub fn any_of_visit(tx: &ReadTx<'_>, visit_id: i64) -> Result<bool> {
    Ok(!of_visit(tx, visit_id, 1)?.is_empty())
}

/// What takes the place of an event; texts that are `None` stay as they are.
#[derive(Clone, Debug)]
pub struct Successor {
    /// Its number.
    pub seq: Seq,
    /// Its custom attributes: a JSON object of strings.
    pub attributes: Option<String>,
    /// Its address; of an event that entered a page, the page's.
    pub url: Option<String>,
    /// Its title; of an event that entered a page, the page's.
    pub title: Option<String>,
    /// What was searched for.
    pub search_query: Option<String>,
    /// What it may be used for.
    pub flags: Purposes,
    /// Destroyed with the row.
    pub salt: Salt,
}

/// Puts another row in the place of an event: all as it was but for what is named here, and `replaces` tells the old number.
/// Other events keep the old number as that of their page: their lines may be sealed. Whoever calls has written its hole
/// first, where it lies in a batch.
pub fn supersede(tx: &WriteTx<'_>, old: Seq, new: &Successor) -> Result<bool> {
    tx.execute(
        "UPDATE events SET seq = ?2, attributes = coalesce(?3, attributes), flags = ?4, salt = ?5, replaces = ?1, \
         url = coalesce(?6, url), title = coalesce(?7, title), search_query = coalesce(?8, search_query), \
         page_id = CASE WHEN page_id = ?1 THEN ?2 ELSE page_id END WHERE seq = ?1",
        (old, new.seq, &new.attributes, new.flags, new.salt, &new.url, &new.title, &new.search_query),
    )
    .map(|n| n > 0)
}

/// Deletes one event. Whoever calls has written its hole first, where it lies in a batch.
pub fn delete(tx: &WriteTx<'_>, seq: Seq) -> Result<()> {
    tx.execute("DELETE FROM events WHERE seq = ?1", [seq]).map(|_| ())
}

/// How many events there are.
pub fn count(tx: &ReadTx<'_>) -> Result<i64> {
    tx.conn().query_row("SELECT count(*) FROM events", [], |r| r.get(0)).map_err(|e| open::error("counting events", e))
}
