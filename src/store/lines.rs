//! Lines of a lane, read from the rows they are made of: events with what they refer to, and frozen lines.
//! Owns no table. Must never read anything mutable into a line's bytes: what a line shows of a page, visit or visitor is
//! immutable there and leaves with the line's own row. Invariant: numbers rise; a line read twice renders to the same
//! bytes; rows kept under the operator's exemption are no lines at all.

use std::ops::ControlFlow;

use crate::base::error::{Error, Result};
use crate::base::id::{EdgeId, Epoch, Seq, VisitorRef, uuid_text};
use crate::base::time::Millis;
use crate::domain::attributes;
use crate::domain::body::{self, EventBody};
use crate::domain::event::{EventType, Lane};
use crate::domain::line::{About, Line, LineKind};
use crate::domain::referrer;
use crate::domain::stored::EventRow;
use crate::store::forks::{self, Fork};
use crate::store::frozen::FrozenRow;
use crate::store::{ReadTx, epochs, events, frozen, meta, open};

/// A line and the row of its birth epoch.
#[derive(Clone, Debug)]
pub struct Found {
    /// The line.
    pub line: Line,
    /// Row of its birth epoch.
    pub epoch_id: i64,
    /// Its visitor, where the decisions of that visitor do not lie in the consent lane yet.
    pub undisclosed: Option<VisitorRef>,
}

/// Origins by epoch row, and what was voided; read once per scan.
struct Origins {
    epochs: Vec<(i64, EdgeId, Epoch)>,
    forks: Vec<Fork>,
}

/// Where a line was born.
struct Born {
    /// Row of the epoch it counts as born in.
    epoch_id: i64,
    origin: (EdgeId, Epoch),
    /// Where it was born before its batch was voided.
    was: Option<(EdgeId, Epoch)>,
}

impl Born {
    /// Says in a line where it was, if it was elsewhere.
    fn say(&self, line: &mut Line) {
        if let Some(was) = self.was {
            line.body.push_str(&body::was(line.seq, was));
            line.moved = true;
        }
    }
}

impl Origins {
    fn load(tx: &ReadTx<'_>) -> Result<Self> {
        let epochs = epochs::all(tx)?.into_iter().map(|e| (e.id, e.edge, e.epoch)).collect();
        Ok(Origins { epochs, forks: forks::all(tx)? })
    }

    /// Where the row of a lane counts as born that was stored with this epoch.
    fn born(&self, stored: i64, lane: Lane, seq: Seq) -> Result<Born> {
        let epoch_id = forks::born(&self.forks, stored, lane, seq);
        let was = if epoch_id == stored { None } else { Some(self.get(stored)?) };
        Ok(Born { epoch_id, origin: self.get(epoch_id)?, was })
    }

    fn get(&self, epoch_id: i64) -> Result<(EdgeId, Epoch)> {
        let found = self.epochs.iter().find(|(id, ..)| *id == epoch_id);
        found
            .map(|(_, edge, epoch)| (*edge, *epoch))
            .ok_or_else(|| Error::storage(format!("epoch row {epoch_id} is missing")))
    }
}

/// Edge and epoch of an epoch row.
pub fn origin(tx: &ReadTx<'_>, epoch_id: i64) -> Result<(EdgeId, Epoch)> {
    Origins::load(tx)?.get(epoch_id)
}

/// The newest number committed: every row at or below it is in this snapshot.
pub fn newest_seq(tx: &ReadTx<'_>) -> Result<Seq> {
    meta::last_seq(tx.conn()).map(Seq)
}

/// The part of a lane that [`each`] walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The lane.
    pub lane: Lane,
    /// Behind this number.
    pub after: Seq,
    /// Up to this number.
    pub upto: Seq,
}

/// The rows of a lane, in SQL. The partial index serves every lane but `pages`, which is nearly every row and read by
/// its key.
fn of_lane(lane: Lane) -> &'static str {
    if lane == Lane::Pages { "+e.lane = ?1 AND e.exempt = 0" } else { "e.lane = ?1 AND e.lane <> 2 AND e.exempt = 0" }
}

const JOINS: &str = "JOIN visits v ON v.visit_id = e.visit_id JOIN visitors w ON w.visitor_id = v.visitor_id \
    JOIN sites t ON t.site_id = e.site_id LEFT JOIN sessions n ON n.session_id = e.session_id";

/// A visitor may have said no to sharing before it had rows: then there is no floor row, and nothing to cover.
const SHARE_FLOOR: &str = "CASE WHEN w.floors & 16 THEN coalesce((SELECT floor_seq FROM floors g \
    WHERE g.visitor_id = w.visitor_id AND g.purpose = 4), 0) ELSE 0 END";

/// Of most visitors processing was never restricted.
const RESTRICTED_UPTO: &str = "coalesce((SELECT r.upto_seq FROM restrictions r WHERE r.visitor = w.visitor_id), 0)";

const REFERRED: &str = "w.visitor_id, w.visitor_ref, w.measure_floor, w.disclosed, t.name, v.visit_uuid, v.stream, e.url, \
    e.screen, e.title, e.language, e.category, n.session_uuid";

/// What an event that leaves again has of its own, and where the line it replaces was born.
const ANOTHER: &str = "a.seq, a.epoch_id, a.replaces, a.flags, a.salt, \
    coalesce((SELECT b.epoch_id FROM again b WHERE b.seq = a.replaces), e.epoch_id)";

/// Hands the lines of a stretch to `take`, in order, until it breaks off. Errors: `Storage`; those of `take`.
pub fn each(tx: &ReadTx<'_>, stretch: Stretch, mut take: impl FnMut(Found) -> Result<ControlFlow<()>>) -> Result<()> {
    let origins = Origins::load(tx)?;
    let Stretch { lane, after, upto } = stretch;
    let sql = format!(
        "SELECT {}, {REFERRED}, {SHARE_FLOOR}, {RESTRICTED_UPTO} FROM events e {JOINS} \
         WHERE {} AND e.seq > ?2 AND e.seq <= ?3 ORDER BY e.seq",
        events::COLUMNS,
        of_lane(lane)
    );
    let mut events = tx.conn().prepare_cached(&sql).map_err(|e| open::error("preparing to read lines", e))?;
    let sql = format!(
        "SELECT {}, t.name, coalesce(w.measure_floor, 0), {SHARE_FLOOR}, CASE WHEN w.disclosed = 0 THEN w.visitor_ref END, \
         {RESTRICTED_UPTO} FROM frozen f \
         LEFT JOIN sites t ON t.site_id = f.site_id LEFT JOIN visitors w ON w.visitor_id = f.visitor_id \
         WHERE f.lane = ?1 AND f.seq > ?2 AND f.seq <= ?3 AND f.exempt = 0 ORDER BY f.seq",
        frozen::COLUMNS
    );
    let mut frozen = tx.conn().prepare_cached(&sql).map_err(|e| open::error("preparing to read frozen lines", e))?;
    let sql = format!(
        "SELECT {}, {REFERRED}, {SHARE_FLOOR}, {RESTRICTED_UPTO}, {ANOTHER} FROM again a JOIN events e ON e.seq = a.of_seq \
         {JOINS} WHERE a.lane = ?1 AND e.exempt = 0 AND a.seq > ?2 AND a.seq <= ?3 ORDER BY a.seq",
        events::COLUMNS
    );
    let mut again = tx.conn().prepare_cached(&sql).map_err(|e| open::error("preparing to read lines sent again", e))?;
    let reading = |e| open::error("reading lines", e);
    let mut again_rows = again.query((lane.code(), after, upto)).map_err(reading)?;
    let mut event_rows = events.query((lane.code(), after, upto)).map_err(reading)?;
    let mut frozen_rows = frozen.query((lane.code(), after, upto)).map_err(reading)?;
    let mut heads = [
        next_event(&mut event_rows, &origins)?,
        next_frozen(&mut frozen_rows, &origins)?,
        next_again(&mut again_rows, &origins)?,
    ];
    loop {
        let numbers = heads.iter().enumerate().filter_map(|(i, head)| Some((head.as_ref()?.line.seq, i)));
        let Some((_, first)) = numbers.min() else { return Ok(()) };
        let following = match first {
            0 => next_event(&mut event_rows, &origins)?,
            1 => next_frozen(&mut frozen_rows, &origins)?,
            _ => next_again(&mut again_rows, &origins)?,
        };
        if let Some(found) = std::mem::replace(&mut heads[first], following)
            && take(found)?.is_break()
        {
            return Ok(());
        }
    }
}

/// Where a row that may be a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its lane.
    pub lane: Lane,
    /// Its number.
    pub seq: Seq,
}

/// Every number a visitor's events and snapshots leave under, by lane and number.
pub fn of_visitor(tx: &ReadTx<'_>, visitor_id: i64) -> Result<Vec<Row>> {
    let row = |r: &rusqlite::Row<'_>| {
        let lane: i64 = r.get(0)?;
        let lane = Lane::from_code(lane).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, lane))?;
        Ok(Row { lane, seq: r.get(1)? })
    };
    tx.conn()
        .prepare_cached(
            "SELECT e.lane, e.seq FROM visits v JOIN events e ON e.visit_id = v.visit_id WHERE v.visitor_id = ?1 \
             UNION ALL SELECT a.lane, a.seq FROM visits v JOIN events e ON e.visit_id = v.visit_id \
             JOIN again a ON a.of_seq = e.seq WHERE v.visitor_id = ?1 \
             UNION ALL SELECT f.lane, f.seq FROM frozen f WHERE f.visitor_id = ?1 AND f.kind = 'visit' ORDER BY 1, 2",
        )
        .and_then(|mut s| s.query_map([visitor_id], row)?.collect())
        .map_err(|e| open::error("listing a visitor's lines", e))
}

/// Lines of `lane` behind `after` and up to `upto`, in order, at most `limit`.
pub fn scan(tx: &ReadTx<'_>, lane: Lane, after: Seq, upto: Seq, limit: usize) -> Result<Vec<Found>> {
    let mut out = Vec::new();
    each(tx, Stretch { lane, after, upto }, |found| {
        out.push(found);
        Ok(if out.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(out)
}

/// One line.
pub fn one(tx: &ReadTx<'_>, lane: Lane, seq: Seq) -> Result<Option<Found>> {
    Ok(scan(tx, lane, Seq(seq.0 - 1), seq, 1)?.pop())
}

/// How many rows of a stretch may become lines (counted up to `most`), and when the first of them was received.
pub fn waiting(tx: &ReadTx<'_>, stretch: Stretch, most: i64) -> Result<(i64, Option<Millis>)> {
    let Stretch { lane, after, upto } = stretch;
    let sql = format!(
        "SELECT count(*), min(at) FROM (SELECT at FROM (SELECT e.received_at AS at FROM events e WHERE {} AND e.seq > ?2 \
         AND e.seq <= ?3 ORDER BY e.seq LIMIT ?4) UNION ALL SELECT at FROM (SELECT f.received_at AS at FROM frozen f WHERE f.lane = ?1 \
         AND f.seq > ?2 AND f.seq <= ?3 AND f.exempt = 0 ORDER BY f.seq LIMIT ?4) UNION ALL SELECT at FROM (\
         SELECT e.received_at AS at FROM again a JOIN events e ON e.seq = a.of_seq WHERE a.lane = ?1 AND e.exempt = 0 \
         AND a.seq > ?2 AND a.seq <= ?3 ORDER BY a.seq LIMIT ?4))",
        of_lane(lane)
    );
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_row((lane.code(), after, upto, most), |r| Ok((r.get(0)?, r.get(1)?))))
        .map_err(|e| open::error("counting what waits in a lane", e))
}

/// When the first row of a stretch was received; `None` where the stretch is empty.
pub fn first_received(tx: &ReadTx<'_>, stretch: Stretch) -> Result<Option<Millis>> {
    // each side gives its first row only: the lowest number came first
    waiting(tx, stretch, 1).map(|(_, at)| at)
}

fn next_event(rows: &mut rusqlite::Rows<'_>, origins: &Origins) -> Result<Option<Found>> {
    let reading = |e| open::error("reading an event's line", e);
    let Some(row) = rows.next().map_err(reading)? else { return Ok(None) };
    let event = events::from_row(row).map_err(reading)?;
    let referred = Referred::from_row(row).map_err(reading)?;
    event_line(event, referred, origins, true).map(Some)
}

/// An event under its new number: what it shows is the event's; number, birth, salt and narrowed flags are its own.
fn next_again(rows: &mut rusqlite::Rows<'_>, origins: &Origins) -> Result<Option<Found>> {
    let reading = |e| open::error("reading a line sent again", e);
    let Some(row) = rows.next().map_err(reading)? else { return Ok(None) };
    let own = events::WIDTH + REFERRED_WIDTH;
    // what it replaces is the line it left as before, whatever that one replaced
    let event = EventRow { replaces: None, ..events::from_row(row).map_err(reading)? };
    let lane = event.lane;
    let referred = Referred::from_row(row).map_err(reading)?;
    let mut found = event_line(event, referred, origins, false)?;
    let read = |at: usize| row.get::<_, i64>(own + at).map_err(reading);
    let (seq, epoch_id, replaces, replaced_epoch) = (Seq(read(0)?), read(1)?, read(2)?, read(5)?);
    let line = &mut found.line;
    line.seq = seq;
    let born = origins.born(epoch_id, lane, seq)?;
    line.origin = born.origin;
    line.rights.flags = row.get(own + 3).map_err(reading)?;
    line.salt = row.get(own + 4).map_err(reading)?;
    let replaced = origins.born(replaced_epoch, lane, Seq(replaces))?;
    line.body.push_str(&body::replaces(Seq(replaces), replaced.origin, line.origin));
    born.say(line);
    found.epoch_id = born.epoch_id;
    Ok(Some(found))
}

fn next_frozen(rows: &mut rusqlite::Rows<'_>, origins: &Origins) -> Result<Option<Found>> {
    let reading = |e| open::error("reading a frozen line", e);
    let Some(row) = rows.next().map_err(reading)? else { return Ok(None) };
    frozen_line(row, origins).map(Some)
}

/// Columns of [`REFERRED`] and both floors behind it.
const REFERRED_WIDTH: usize = 15;

/// What an event line shows of the rows it refers to; all of it immutable there.
struct Referred {
    about: About,
    visitor: VisitorRef,
    disclosed: bool,
    site: String,
    visit: [u8; 16],
    stream: String,
    url: Option<String>,
    screen: Option<String>,
    title: Option<String>,
    language: Option<String>,
    category: Option<String>,
    session: Option<[u8; 16]>,
}

impl Referred {
    fn from_row(r: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let at = events::WIDTH;
        Ok(Referred {
            about: About {
                visitor_id: r.get(at)?,
                measure_floor: r.get(at + 2)?,
                share_floor: r.get(at + 13)?,
                restricted_upto: r.get(at + 14)?,
            },
            visitor: r.get(at + 1)?,
            disclosed: r.get(at + 3)?,
            site: r.get(at + 4)?,
            visit: r.get(at + 5)?,
            stream: r.get(at + 6)?,
            url: r.get(at + 7)?,
            screen: r.get(at + 8)?,
            title: r.get(at + 9)?,
            language: r.get(at + 10)?,
            category: r.get(at + 11)?,
            session: r.get(at + 12)?,
        })
    }
}

/// The line of an event; `own` = under its own number, which says where it was.
fn event_line(e: EventRow, r: Referred, origins: &Origins, own: bool) -> Result<Found> {
    let born = origins.born(e.epoch_id, e.lane, e.seq)?;
    let referrer = e.referrer.as_deref().map(referrer::whole);
    let types = e.attribute_types.as_deref().map(|kept| attributes::types(e.attributes.as_deref(), kept));
    let body = EventBody {
        name: &e.name,
        event_type: EventType::word(e.event_type),
        stream: &r.stream,
        visitor_ref: r.visitor.to_string(),
        visit_id: uuid_text(&r.visit),
        session_id: r.session.as_ref().map(uuid_text),
        page_seq: e.page_id,
        url: e.url.as_deref().or(r.url.as_deref()),
        screen: r.screen.as_deref(),
        title: e.title.as_deref().or(r.title.as_deref()),
        language: r.language.as_deref(),
        category: r.category.as_deref(),
        search_query: e.search_query.as_deref(),
        client_at: e.client_at.map(|at| at.rfc3339()),
        sent_at: e.sent_at.map(|at| at.rfc3339()),
        clock_state: e.clock_state.word(),
        basis_id: e.rights.basis_id,
        replaces: e.replaces.map(|seq| seq.0),
        referrer: referrer.as_deref(),
        attributes: e.attributes.as_deref(),
        attribute_types: types.as_deref(),
        conversation: e.conversation.as_deref(),
    };
    let mut line = Line {
        kind: LineKind::Event,
        seq: e.seq,
        first_seq: e.seq,
        origin: born.origin,
        site: Some(r.site),
        event_id: Some(e.event_id.to_string()),
        received: e.received,
        corrected: e.corrected,
        rights: e.rights,
        salt: e.salt,
        about: Some(r.about),
        body: body.text(),
        moved: false,
    };
    if own {
        born.say(&mut line);
    }
    Ok(Found { line, epoch_id: born.epoch_id, undisclosed: (!r.disclosed).then_some(r.visitor) })
}

/// A frozen row, its site, its visitor's floors (measure, share, restriction), and the visitor where it is not disclosed yet.
type FrozenParts = (FrozenRow, Option<String>, [Seq; 3], Option<VisitorRef>);

fn frozen_line(row: &rusqlite::Row<'_>, origins: &Origins) -> Result<Found> {
    let at = frozen::WIDTH;
    let read = |r: &rusqlite::Row<'_>| -> rusqlite::Result<FrozenParts> {
        Ok((frozen::from_row(r)?, r.get(at)?, [r.get(at + 1)?, r.get(at + 2)?, r.get(at + 4)?], r.get(at + 3)?))
    };
    let (f, site, [measure_floor, share_floor, restricted_upto], undisclosed) =
        read(row).map_err(|e| open::error("reading a frozen line", e))?;
    let inside = f.body.strip_prefix('{').and_then(|b| b.strip_suffix('}')).unwrap_or(&f.body).to_owned();
    let born = origins.born(f.epoch_id, f.lane, f.seq)?;
    let mut line = Line {
        kind: f.kind,
        seq: f.seq,
        first_seq: f.first_seq,
        origin: born.origin,
        site,
        event_id: None,
        received: f.received,
        corrected: f.corrected,
        rights: f.rights,
        salt: f.salt,
        about: f.visitor_id.map(|visitor_id| About { visitor_id, measure_floor, share_floor, restricted_upto }),
        body: inside,
        moved: false,
    };
    born.say(&mut line);
    Ok(Found { line, epoch_id: born.epoch_id, undisclosed })
}
