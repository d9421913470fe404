//! Filtered lists for readers: events and visits with what they refer to. Owns no table and writes nothing.
//! The single place with SQL put together while running: from fixed pieces only, every value bound.
//! Invariant: no row at or below its visitor's measure floor is returned, none of a visitor under restriction (contract 2).

use rusqlite::types::ToSql;
use rusqlite::{Row, params_from_iter};

use crate::base::error::Result;
use crate::base::id::{ClientId, Seq, VisitorRef};
use crate::base::time::Millis;
use crate::domain::consent::Purposes;
use crate::domain::device::{Agent, DeviceCategory};
use crate::domain::stored::EventRow;
use crate::domain::visit::Visit;
use crate::store::{ReadTx, events, identities, open, restrictions, row, visits};

/// What is looked for; every part that is given narrows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The site's row.
    pub site_id: Option<i64>,
    /// Rows of visitors.
    pub visitors: Option<Vec<i64>>,
    /// The visit's row.
    pub visit_id: Option<i64>,
    /// Event name; only for events.
    pub name: Option<String>,
    /// Received at or after; of a visit, its newest event.
    pub since: Option<Millis>,
    /// Received before.
    pub until: Option<Millis>,
    /// Only robots, or none.
    pub robot: Option<bool>,
    /// Behind this number, in the order asked for.
    pub after: Option<Seq>,
    /// Up to this number, included.
    pub upto: Option<Seq>,
    /// Also what a floor or a restriction hides from readers: for whoever answers the person it is about.
    pub hidden_too: bool,
    /// Highest number first.
    pub newest_first: bool,
    /// Rows at the most.
    pub limit: i64,
}

/// What the row of an event or a visit refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whence {
    /// The visitor's row.
    pub visitor_id: i64,
    /// The visitor's only name outside this machine.
    pub visitor_ref: VisitorRef,
    /// Purposes of the visitor that have a floor.
    pub floors: Purposes,
    /// The site's name.
    pub site: String,
    /// The birth epoch.
    pub epoch: String,
    /// What the user agent tells.
    pub agent: Option<Agent>,
}

/// An event with what it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundEvent {
    /// The event.
    pub event: EventRow,
    /// Visitor, site, epoch, device.
    pub whence: Whence,
    /// The visit's public id.
    pub visit: [u8; 16],
    /// The visit's stream.
    pub stream: String,
    /// Address of its page.
    pub page_url: Option<String>,
    /// Title of its page.
    pub page_title: Option<String>,
    /// Name of its screen.
    pub screen: Option<String>,
    /// The session's public id.
    pub session: Option<[u8; 16]>,
}

/// A visit with what it refers to.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundVisit {
    /// The visit.
    pub visit: Visit,
    /// Visitor, site, epoch, device.
    pub whence: Whence,
    /// Address or screen it began on.
    pub entry: Option<String>,
    /// Newest address or screen.
    pub last: Option<String>,
}

const WHENCE: &str = "w.visitor_id, w.visitor_ref, w.floors, t.name, x.epoch, a.category, a.device_type, \
    a.browser_family, a.browser_version, a.os_family, a.os_version, a.manufacturer, a.robot";
const WHENCE_WIDTH: usize = 13;

fn whence(r: &Row<'_>, at: usize) -> rusqlite::Result<Whence> {
    let agent = match r.get_ref(at + 5)? {
        rusqlite::types::ValueRef::Null => None,
        word => Some(Agent {
            category: row::word(word, |w| DeviceCategory::parse(w).ok())?,
            device_type: r.get(at + 6)?,
            browser_family: r.get(at + 7)?,
            browser_version: r.get(at + 8)?,
            os_family: r.get(at + 9)?,
            os_version: r.get(at + 10)?,
            manufacturer: r.get(at + 11)?,
            robot: r.get(at + 12)?,
        }),
    };
    Ok(Whence {
        visitor_id: r.get(at)?,
        visitor_ref: r.get(at + 1)?,
        floors: r.get(at + 2)?,
        site: r.get(at + 3)?,
        epoch: r.get(at + 4)?,
        agent,
    })
}

/// A statement put together from fixed pieces, with the values its marks stand for, in order.
struct Query<'a> {
    sql: String,
    values: Vec<&'a dyn ToSql>,
    conditions: usize,
}

impl<'a> Query<'a> {
    fn new(sql: String) -> Self {
        Query { sql, values: Vec::new(), conditions: 0 }
    }

    fn that(&mut self, condition: &'static str) {
        self.sql.push_str(if self.conditions == 0 { " WHERE " } else { " AND " });
        self.sql.push_str(condition);
        self.conditions += 1;
    }

    fn equals<T: ToSql>(&mut self, condition: &'static str, value: &'a Option<T>) {
        if let Some(value) = value {
            self.that(condition);
            self.values.push(value);
        }
    }

    fn run<T>(&self, tx: &ReadTx<'_>, what: &str, read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Result<Vec<T>> {
        tx.conn()
            .prepare_cached(&self.sql)
            .and_then(|mut s| s.query_map(params_from_iter(&self.values), read)?.collect())
            .map_err(|e| open::error(what, e))
    }
}

/// CROSS JOIN keeps SQLite from reordering: with visitors given their visits lead, else the list's own table does.
fn from(wanted: &Wanted, leading: &str, visits: &str) -> String {
    match wanted.visitors {
        Some(_) => format!("json_each(?) j CROSS JOIN visits v ON v.visitor_id = j.value {visits}"),
        None => leading.to_owned(),
    }
}

const REST: &str = "CROSS JOIN visitors w ON w.visitor_id = v.visitor_id JOIN sites t ON t.site_id = v.site_id \
    JOIN epochs x ON x.epoch_id = v.epoch_id LEFT JOIN agents a ON a.agent_id = v.agent_id";

/// The visitors as the JSON list that `json_each` reads.
fn list(wanted: &Wanted) -> Option<String> {
    let ids = wanted.visitors.as_ref()?;
    Some(format!("[{}]", ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",")))
}

/// Events in the order of their numbers.
pub fn find_events(tx: &ReadTx<'_>, wanted: &Wanted) -> Result<Vec<FoundEvent>> {
    let from = from(
        wanted,
        "events e CROSS JOIN visits v ON v.visit_id = e.visit_id",
        "CROSS JOIN events e ON e.visit_id = v.visit_id",
    );
    let mut query = Query::new(format!(
        "SELECT {}, {WHENCE}, v.visit_uuid, v.stream, p.url, p.title, p.screen, n.session_uuid FROM {from} {REST} \
         LEFT JOIN pages p ON p.page_id = e.page_id LEFT JOIN sessions n ON n.session_id = e.session_id",
        events::COLUMNS
    ));
    let visitors = list(wanted);
    if let Some(visitors) = &visitors {
        query.values.push(visitors);
    }
    if !wanted.hidden_too {
        query.that("e.seq > w.measure_floor AND v.visit_id > w.measure_floor");
        query.that(restrictions::READABLE);
    }
    query.equals("e.site_id = ?", &wanted.site_id);
    query.equals("e.visit_id = ?", &wanted.visit_id);
    query.equals("e.name = ?", &wanted.name);
    query.equals("e.received_at >= ?", &wanted.since);
    query.equals("e.received_at < ?", &wanted.until);
    robots(&mut query, wanted.robot);
    query.equals(if wanted.newest_first { "e.seq < ?" } else { "e.seq > ?" }, &wanted.after);
    query.equals("e.seq <= ?", &wanted.upto);
    query.sql.push_str(if wanted.newest_first { " ORDER BY e.seq DESC LIMIT ?" } else { " ORDER BY e.seq LIMIT ?" });
    query.values.push(&wanted.limit);
    query.run(tx, "reading events", |r| {
        let at = events::WIDTH + WHENCE_WIDTH;
        Ok(FoundEvent {
            event: events::from_row(r)?,
            whence: whence(r, events::WIDTH)?,
            visit: r.get(at)?,
            stream: r.get(at + 1)?,
            page_url: r.get(at + 2)?,
            page_title: r.get(at + 3)?,
            screen: r.get(at + 4)?,
            session: r.get(at + 5)?,
        })
    })
}

/// How many columns `visits::COLUMNS` names.
const VISIT_WIDTH: usize = 34;

/// Visits in the order of their numbers.
pub fn find_visits(tx: &ReadTx<'_>, wanted: &Wanted) -> Result<Vec<FoundVisit>> {
    let from = from(wanted, "visits v", "");
    let mut query = Query::new(format!(
        "SELECT {}, {WHENCE}, coalesce(p.url, p.screen), coalesce(q.url, q.screen) FROM {from} {REST} \
         LEFT JOIN pages p ON p.page_id = v.entry_page_id LEFT JOIN pages q ON q.page_id = v.last_page_id",
        visits::COLUMNS
    ));
    let visitors = list(wanted);
    if let Some(visitors) = &visitors {
        query.values.push(visitors);
    }
    if !wanted.hidden_too {
        query.that("v.visit_id > w.measure_floor");
        query.that(restrictions::READABLE);
    }
    query.equals("v.site_id = ?", &wanted.site_id);
    query.equals("v.visit_id = ?", &wanted.visit_id);
    query.equals("v.last_received_at >= ?", &wanted.since);
    query.equals("v.last_received_at < ?", &wanted.until);
    robots(&mut query, wanted.robot);
    query.equals(if wanted.newest_first { "v.visit_id < ?" } else { "v.visit_id > ?" }, &wanted.after);
    query.equals("v.visit_id <= ?", &wanted.upto);
    query.sql.push_str(if wanted.newest_first {
        " ORDER BY v.visit_id DESC LIMIT ?"
    } else {
        " ORDER BY v.visit_id LIMIT ?"
    });
    query.values.push(&wanted.limit);
    query.run(tx, "reading visits", |r| {
        let at = VISIT_WIDTH + WHENCE_WIDTH;
        Ok(FoundVisit {
            visit: visits::from_row(r)?,
            whence: whence(r, VISIT_WIDTH)?,
            entry: r.get(at)?,
            last: r.get(at + 1)?,
        })
    })
}

fn robots(query: &mut Query<'_>, robot: Option<bool>) {
    match robot {
        Some(true) => query.that("a.robot IS NOT NULL"),
        Some(false) => query.that("a.robot IS NULL"),
        None => {}
    }
}

/// The seq of an event by its id, on any site; the newest where several sites took the same id.
pub fn seq_of(tx: &ReadTx<'_>, id: &ClientId) -> Result<Option<Seq>> {
    tx.conn()
        .prepare_cached("SELECT max(seq) FROM events WHERE event_id = ?1")
        .and_then(|mut s| s.query_row([id], |r| r.get(0)))
        .map_err(|e| open::error("finding an event", e))
}

/// The rows of visitors under a name: the client's id on any site, or the reference that leaves this machine.
pub fn visitor_ids(tx: &ReadTx<'_>, key: &ClientId, reference: Option<VisitorRef>) -> Result<Vec<i64>> {
    let mut by_key = tx
        .conn()
        .prepare_cached(
            "SELECT w.visitor_id FROM sites t CROSS JOIN visitors w ON w.site_id = t.site_id AND w.key = ?1 \
             ORDER BY w.visitor_id",
        )
        .map_err(|e| open::error("preparing to find a visitor", e))?;
    let found: rusqlite::Result<Vec<i64>> = by_key.query_map([key], |r| r.get(0)).and_then(Iterator::collect);
    let mut ids = found.map_err(|e| open::error("finding a visitor", e))?;
    if let (true, Some(reference)) = (ids.is_empty(), reference) {
        // no index: references are looked up by hand, and seldom
        ids = tx
            .conn()
            .prepare_cached("SELECT visitor_id FROM visitors WHERE visitor_ref = ?1")
            .and_then(|mut s| s.query_map([reference], |r| r.get(0))?.collect())
            .map_err(|e| open::error("finding a visitor by reference", e))?;
    }
    Ok(ids)
}

/// Who was known in a visit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The identity's row.
    pub identity_id: i64,
    /// The site's own name for the customer; `None` where no key is at hand to open it.
    pub key: Option<String>,
    /// recognized or authenticated.
    pub association: String,
    /// When it was tied.
    pub at: Millis,
    /// The session's row.
    pub session_id: Option<i64>,
}

/// Who was known in a visit, in order.
pub fn contacts(tx: &ReadTx<'_>, visit_id: i64) -> Result<Vec<Contact>> {
    let mut found: Vec<Contact> = tx
        .conn()
        .prepare_cached("SELECT identity_id, association, at, session_id FROM contacts WHERE visit_id = ?1 ORDER BY at")
        .and_then(|mut s| {
            s.query_map([visit_id], |r| {
                let (identity_id, association) = (r.get(0)?, r.get(1)?);
                Ok(Contact { identity_id, key: None, association, at: r.get(2)?, session_id: r.get(3)? })
            })?
            .collect()
        })
        .map_err(|e| open::error("reading who was known in a visit", e))?;
    for contact in &mut found {
        contact.key = identities::name(tx, contact.identity_id)?;
    }
    Ok(found)
}
