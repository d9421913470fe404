//! The `events` table: one occurrence, and the page it entered. Held by the pen within a group and written at its end, in
//! seq order.
//! Must never hold a personal field. Invariant: an id is taken once per site.

use rusqlite::{OptionalExtension, Row, Statement};

use crate::base::error::{Error, Result};
use crate::base::id::{ClientId, Salt, Seq};
use crate::base::table::Table;
use crate::base::time::Millis;
use crate::domain::clock::ClockState;
use crate::domain::consent::Purposes;
use crate::domain::event::{EventType, Lane};
use crate::domain::stored::{EventRow, PageRow, Taken};
use crate::domain::visitor::Rights;
use crate::store::restrictions::HELD_VISITS;
use crate::store::statement::Repeated;
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

/// The page that an event entered was left after so many milliseconds.
pub(in crate::store) const LEAVE: &str = "UPDATE events SET dwell_ms = ?2 WHERE seq = ?1";

/// How many values [`INSERT_USUAL`] binds.
const USUAL: usize = 24;

/// Events of this group.
#[derive(Default)]
pub(in crate::store) struct Pending {
    rows: Vec<EventRow>,
    ids: Table<(ClientId, i64), Taken>,
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

/// Code of the error of a group that holds an id taken before, where nobody looked: the pen runs the group again, looking.
pub(in crate::store) const ID_TAKEN: &str = "event_id_taken";

/// Events that are looked for after an id was met that was taken before: ids come again in runs, when a sender sends again
/// what it had no answer to. More than a commit group holds.
pub(in crate::store) const LOOKED_FOR: u32 = 10_000;

/// Where an id was taken before, held or stored. Hardly any was, and storing one finds that out as well: so where it is
/// going to be `stored`, rows are looked for only after the pen met such an id (`Held::looking`).
pub fn find(tx: &WriteTx<'_>, site_id: i64, id: &ClientId, stored: bool) -> Result<Option<Taken>> {
    {
        let mut held = tx.held().borrow_mut();
        if let Some(taken) = held.events.ids.get(&(id.clone(), site_id)) {
            return Ok(Some(*taken));
        }
        if stored && held.looking == 0 {
            return Ok(None);
        }
        held.looking = held.looking.saturating_sub(1);
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
    let [mut insert, mut usual] = [INSERT, INSERT_USUAL].map(|sql| Repeated::new(tx, sql));
    for event in &pending.rows {
        let entry = Entry { event, page: pages.entered_by(event.seq) };
        let written = match entry.is_usual() {
            true => usual.run(|to| entry.bind_usual(to)),
            false => insert.run(|to| entry.bind_usual(to).and_then(|()| entry.bind_rest(to))),
        };
        written.map_err(refused)?;
    }
    drop((insert, usual));
    // the next group finds room for as many
    pending.rows.clear();
    pending.ids.clear();
    tx.held().borrow_mut().events = pending;
    Ok(())
}

/// An event was not written. That of an id taken before is no defect.
fn refused(error: rusqlite::Error) -> Error {
    match error.sqlite_extended_error_code() {
        Some(rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE) => {
            Error::storage("writing an event: its id was taken before").code(ID_TAKEN)
        }
        _ => open::error("writing an event", error),
    }
}

/// One after the other, from a place on.
struct Binder<'s, 'c> {
    statement: &'s mut Statement<'c>,
    place: usize,
}

impl Binder<'_, '_> {
    fn bind(&mut self, value: impl rusqlite::ToSql) -> rusqlite::Result<()> {
        self.place += 1;
        self.statement.raw_bind_parameter(self.place, value)
    }
}

/// An event, and the page it entered.
#[derive(Clone, Copy)]
struct Entry<'a> {
    event: &'a EventRow,
    page: Option<&'a PageRow>,
}

impl Entry<'_> {
    /// The client's time, where it is not the corrected one.
    fn client_at(&self) -> Option<Millis> {
        self.event.client_at.filter(|_| self.event.clock_state != ClockState::Client)
    }

    /// Does [`INSERT_USUAL`] write all there is?
    fn is_usual(&self) -> bool {
        let (e, texts) =
            (self.event, |p: &PageRow| [&p.screen, &p.keywords, &p.language, &p.category].map(Option::is_some));
        self.client_at().is_none()
            && e.sent_at.is_none()
            && e.session_id.is_none()
            && [&e.search_query, &e.conversation, &e.withheld].iter().all(|text| text.is_none())
            && self.page.is_none_or(|p| p.client_page.is_none() && texts(p) == [false; 4])
    }

    /// What [`INSERT_USUAL`] writes.
    fn bind_usual(&self, statement: &mut Statement<'_>) -> rusqlite::Result<()> {
        let (e, page, mut to) = (self.event, self.page, Binder { statement, place: 0 });
        to.bind(e.seq)?;
        to.bind(&e.event_id)?;
        to.bind(e.site_id)?;
        to.bind(e.epoch_id)?;
        to.bind(e.visit_id)?;
        to.bind(if page.is_some() { Some(e.seq.0) } else { e.page_id })?;
        to.bind(&e.name)?;
        to.bind(e.event_type == EventType::System)?;
        to.bind(e.lane.code())?;
        to.bind(e.content_hash)?;
        to.bind(e.received)?;
        to.bind(e.corrected)?;
        to.bind(e.clock_state.code())?;
        to.bind(e.rights.flags)?;
        to.bind(e.rights.basis_id)?;
        to.bind(e.rights.consent_seq)?;
        to.bind(e.rights.exempt)?;
        to.bind(e.salt)?;
        to.bind(page.map_or(&e.url, |p| &p.url))?;
        to.bind(page.map_or(&e.title, |p| &p.title))?;
        to.bind(&e.referrer)?;
        to.bind(&e.attributes)?;
        to.bind(&e.attribute_types)?;
        to.bind(page.and_then(|p| p.dwell_ms))
    }

    /// The rest of what [`INSERT`] writes.
    fn bind_rest(&self, statement: &mut Statement<'_>) -> rusqlite::Result<()> {
        let (e, page, mut to) = (self.event, self.page, Binder { statement, place: USUAL });
        to.bind(self.client_at())?;
        to.bind(e.sent_at)?;
        to.bind(e.session_id)?;
        to.bind(&e.search_query)?;
        to.bind(&e.conversation)?;
        to.bind(&e.withheld)?;
        to.bind(page.and_then(|p| p.client_page.as_ref()))?;
        to.bind(page.and_then(|p| p.screen.as_ref()))?;
        to.bind(page.and_then(|p| p.keywords.as_ref()))?;
        to.bind(page.and_then(|p| p.language.as_ref()))?;
        to.bind(page.and_then(|p| p.category.as_ref()))
    }
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
