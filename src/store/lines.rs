//! Lines of a lane, read from the rows they are made of: events with what they refer to, and frozen lines.
//! Owns no table. Must never read anything mutable into a line's bytes: what a line shows of a page, visit or visitor is
//! immutable there and leaves with the line's own row. Invariant: numbers rise; a line read twice renders to the same
//! bytes; rows kept under the operator's exemption are no lines at all.

use std::ops::ControlFlow;

use crate::base::error::{Error, Result};
use crate::base::id::{ClientId, EdgeId, Epoch, Salt, Seq, VisitorRef};
use crate::base::time::Millis;
use crate::domain::attributes;
use crate::domain::body::{self, EventBody};
use crate::domain::clock::ClockState;
use crate::domain::event::{EventType, Lane};
use crate::domain::line::{About, Line, LineKind};
use crate::domain::visitor::Rights;
use crate::store::forks::{self, Fork};
use crate::store::frozen::FrozenRow;
use crate::store::{ReadTx, epochs, frozen, meta, open};

mod around;

use self::around::{Around, Visited};

/// Waiting rows that are counted one by one.
pub const COUNTED_MAX: i64 = 5_000;

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

/// A visitor may have said no to sharing before it had rows: then there is no floor row, and nothing to cover.
const SHARE_FLOOR: &str = "CASE WHEN w.floors & 16 THEN coalesce((SELECT floor_seq FROM floors g \
    WHERE g.visitor_id = w.visitor_id AND g.purpose = 4), 0) ELSE 0 END";

/// Of most visitors processing was never restricted.
const RESTRICTED_UPTO: &str = "coalesce((SELECT r.upto_seq FROM restrictions r WHERE r.visitor = w.visitor_id), 0)";

/// What a line shows of an event's own row.
const SHOWN: &str = "e.seq, e.event_id, e.site_id, e.epoch_id, e.visit_id, e.page_id, e.session_id, e.name, e.system, \
    e.client_at, e.sent_at, e.received_at, e.corrected_at, e.clock_state, e.url, e.title, e.referrer, e.search_query, \
    e.attributes, e.attribute_types, e.conversation, e.flags, e.basis_id, e.consent_seq, e.salt, e.replaces, e.screen, \
    e.language, e.category";

/// How many columns [`SHOWN`] names: joined columns follow.
const SHOWN_WIDTH: usize = 29;

/// What an event that leaves again has of its own, and where the line it replaces was born.
const ANOTHER: &str = "a.seq, a.epoch_id, a.replaces, a.flags, a.salt, \
    coalesce((SELECT b.epoch_id FROM again b WHERE b.seq = a.replaces), e.epoch_id)";

/// Hands the lines of a stretch to `take`, in order, until it breaks off. Errors: `Storage`; those of `take`.
pub fn each(tx: &ReadTx<'_>, stretch: Stretch, mut take: impl FnMut(Found) -> Result<ControlFlow<()>>) -> Result<()> {
    let origins = Origins::load(tx)?;
    let mut around = Around::new(tx)?;
    let Stretch { lane, after, upto } = stretch;
    let sql =
        format!("SELECT {SHOWN} FROM events e WHERE {} AND e.seq > ?2 AND e.seq <= ?3 ORDER BY e.seq", of_lane(lane));
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
        "SELECT {SHOWN}, {ANOTHER} FROM again a JOIN events e ON e.seq = a.of_seq \
         WHERE a.lane = ?1 AND e.exempt = 0 AND a.seq > ?2 AND a.seq <= ?3 ORDER BY a.seq"
    );
    let mut again = tx.conn().prepare_cached(&sql).map_err(|e| open::error("preparing to read lines sent again", e))?;
    let reading = |e| open::error("reading lines", e);
    let mut again_rows = again.query((lane.code(), after, upto)).map_err(reading)?;
    let mut event_rows = events.query((lane.code(), after, upto)).map_err(reading)?;
    let mut frozen_rows = frozen.query((lane.code(), after, upto)).map_err(reading)?;
    let mut heads = [
        next_event(&mut event_rows, &mut around, &origins, lane)?,
        next_frozen(&mut frozen_rows, &origins)?,
        next_again(&mut again_rows, &mut around, &origins, lane)?,
    ];
    loop {
        let numbers = heads.iter().enumerate().filter_map(|(i, head)| Some((head.as_ref()?.line.seq, i)));
        let Some((_, first)) = numbers.min() else { return Ok(()) };
        if let Some(found) = heads[first].take()
            && take(found)?.is_break()
        {
            return Ok(());
        }
        heads[first] = match first {
            0 => next_event(&mut event_rows, &mut around, &origins, lane)?,
            1 => next_frozen(&mut frozen_rows, &origins)?,
            _ => next_again(&mut again_rows, &mut around, &origins, lane)?,
        };
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

/// How many rows of a stretch may become lines. For whoever wants nothing else: half of what [`waiting`] takes.
pub fn count(tx: &ReadTx<'_>, stretch: Stretch) -> Result<i64> {
    let Stretch { lane, after, upto } = stretch;
    let sql = format!(
        "SELECT (SELECT count(*) FROM events e WHERE {} AND e.seq > ?2 AND e.seq <= ?3) \
         + (SELECT count(*) FROM frozen f WHERE f.lane = ?1 AND f.seq > ?2 AND f.seq <= ?3 AND f.exempt = 0) \
         + (SELECT count(*) FROM again a JOIN events e ON e.seq = a.of_seq WHERE a.lane = ?1 AND e.exempt = 0 \
         AND a.seq > ?2 AND a.seq <= ?3)",
        of_lane(lane)
    );
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_row((lane.code(), after, upto), |r| r.get(0)))
        .map_err(|e| open::error("counting rows of a lane", e))
}

/// How many rows of a lane wait behind `after`, and when the first of them was received. Beyond [`COUNTED_MAX`] it is as
/// many as there can be at the most, by their numbers: whoever asks at every batch of a long backlog must not look
/// through all of it each time.
pub fn backlog(tx: &ReadTx<'_>, lane: Lane, after: Seq) -> Result<(i64, Option<Millis>)> {
    let (rows, first) = waiting(tx, Stretch { lane, after, upto: Seq(i64::MAX) }, COUNTED_MAX)?;
    let most = if rows < COUNTED_MAX { rows } else { rows.max(newest_seq(tx)?.0 - after.0) };
    Ok((most, first))
}

/// When the first row of a stretch was received; `None` where the stretch is empty.
pub fn first_received(tx: &ReadTx<'_>, stretch: Stretch) -> Result<Option<Millis>> {
    // each side gives its first row only: the lowest number came first
    waiting(tx, stretch, 1).map(|(_, at)| at)
}

fn next_event(
    rows: &mut rusqlite::Rows<'_>,
    around: &mut Around<'_>,
    origins: &Origins,
    lane: Lane,
) -> Result<Option<Found>> {
    while let Some(row) = rows.next().map_err(|e| open::error("reading an event's line", e))? {
        if let Some(found) = event_line(row, around, origins, (lane, true))? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// An event under its new number: what it shows is the event's; number, birth, salt and narrowed flags are its own.
fn next_again(
    rows: &mut rusqlite::Rows<'_>,
    around: &mut Around<'_>,
    origins: &Origins,
    lane: Lane,
) -> Result<Option<Found>> {
    let reading = |e| open::error("reading a line sent again", e);
    while let Some(row) = rows.next().map_err(reading)? {
        let Some(mut found) = event_line(row, around, origins, (lane, false))? else { continue };
        let read = |at: usize| row.get::<_, i64>(SHOWN_WIDTH + at).map_err(reading);
        let (seq, epoch_id, replaces, replaced_epoch) = (Seq(read(0)?), read(1)?, read(2)?, read(5)?);
        let born = origins.born(epoch_id, lane, seq)?;
        let replaced = origins.born(replaced_epoch, lane, Seq(replaces))?;
        let line = &mut found.line;
        line.seq = seq;
        line.origin = born.origin;
        line.rights.flags = row.get(SHOWN_WIDTH + 3).map_err(reading)?;
        line.salt = row.get(SHOWN_WIDTH + 4).map_err(reading)?;
        line.body.push_str(&body::replaces(Seq(replaces), replaced.origin, line.origin));
        born.say(line);
        found.epoch_id = born.epoch_id;
        return Ok(Some(found));
    }
    Ok(None)
}

fn next_frozen(rows: &mut rusqlite::Rows<'_>, origins: &Origins) -> Result<Option<Found>> {
    let reading = |e| open::error("reading a frozen line", e);
    let Some(row) = rows.next().map_err(reading)? else { return Ok(None) };
    frozen_line(row, origins).map(Some)
}

/// The line of an event in a lane; `own` = under its own number, which says where it was and what it supersedes.
fn event_line(
    row: &rusqlite::Row<'_>,
    around: &mut Around<'_>,
    origins: &Origins,
    (lane, own): (Lane, bool),
) -> Result<Option<Found>> {
    let reading = |e| open::error("reading an event's line", e);
    let shown = Shown::from_row(row).map_err(reading)?;
    let Some(site) = around.site(shown.site_id)? else { return Ok(None) };
    let session = shown.session_id.map(|id| around.session(id)).transpose()?.flatten();
    let referrer = shown.texts[2].map(|kept| around.referrer(kept));
    let Some(visit) = around.visit(shown.visit_id)? else { return Ok(None) };
    let born = origins.born(shown.epoch_id, lane, shown.seq)?;
    let mut line = Line {
        kind: LineKind::Event,
        seq: shown.seq,
        first_seq: shown.seq,
        origin: born.origin,
        site: Some(site),
        event_id: Some(shown.event_id.to_string()),
        received: shown.received,
        corrected: shown.corrected,
        rights: shown.rights,
        salt: shown.salt,
        about: Some(visit.about),
        // what an event that leaves again replaces is the line it left as before, whatever that one replaced
        body: shown.body(visit, session.as_deref(), referrer.as_deref(), own),
        moved: false,
    };
    if own {
        born.say(&mut line);
    }
    Ok(Some(Found { line, epoch_id: born.epoch_id, undisclosed: visit.undisclosed }))
}

/// What a line shows of an event's own row, borrowed from it.
struct Shown<'r> {
    seq: Seq,
    event_id: ClientId,
    site_id: i64,
    epoch_id: i64,
    visit_id: i64,
    page_id: Option<i64>,
    session_id: Option<i64>,
    name: &'r str,
    event_type: EventType,
    client_at: Option<Millis>,
    sent_at: Option<Millis>,
    received: Millis,
    corrected: Millis,
    clock_state: ClockState,
    /// Columns 14 to 20.
    texts: [Option<&'r str>; 7],
    rights: Rights,
    salt: Salt,
    replaces: Option<i64>,
    /// Columns 26 to 28.
    page: [Option<&'r str>; 3],
}

impl<'r> Shown<'r> {
    fn from_row(r: &'r rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let text = |at: usize| -> rusqlite::Result<Option<&'r str>> { Ok(r.get_ref(at)?.as_str_or_null()?) };
        let code: i64 = r.get(13)?;
        let clock_state = ClockState::from_code(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(13, code))?;
        let corrected: Millis = r.get(12)?;
        let client_at: Option<Millis> = r.get(9)?;
        let flags = r.get(21)?;
        Ok(Shown {
            seq: r.get(0)?,
            event_id: r.get(1)?,
            site_id: r.get(2)?,
            epoch_id: r.get(3)?,
            visit_id: r.get(4)?,
            page_id: r.get(5)?,
            session_id: r.get(6)?,
            name: r.get_ref(7)?.as_str()?,
            event_type: if r.get(8)? { EventType::System } else { EventType::Business },
            client_at: client_at.or((clock_state == ClockState::Client).then_some(corrected)),
            sent_at: r.get(10)?,
            received: r.get(11)?,
            corrected,
            clock_state,
            texts: [text(14)?, text(15)?, text(16)?, text(17)?, text(18)?, text(19)?, text(20)?],
            rights: Rights { flags, basis_id: r.get(22)?, consent_seq: r.get(23)?, exempt: false },
            salt: r.get(24)?,
            replaces: r.get(25)?,
            page: [text(26)?, text(27)?, text(28)?],
        })
    }

    fn body(&self, visit: &Visited, session: Option<&str>, referrer: Option<&str>, replaces: bool) -> String {
        let [url, title, _, search_query, attributes, attribute_types, conversation] = self.texts;
        let [screen, language, category] = self.page;
        let types = attribute_types.map(|kept| attributes::types(attributes, kept));
        EventBody {
            name: self.name,
            event_type: EventType::word(self.event_type),
            stream: &visit.stream,
            visitor_ref: &visit.visitor_ref,
            visit_id: &visit.visit_id,
            session_id: session,
            page_seq: self.page_id,
            url,
            screen,
            title,
            language,
            category,
            search_query,
            client_at: self.client_at,
            sent_at: self.sent_at,
            clock_state: self.clock_state.word(),
            basis_id: self.rights.basis_id,
            replaces: self.replaces.filter(|_| replaces),
            referrer,
            attributes,
            attribute_types: types.as_deref(),
            conversation,
        }
        .text()
    }
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
        site: site.map(Into::into),
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
