//! How old the oldest rows of each kind are, and which lines belong to what is removed: what upkeep asks. Owns no table.
//! Must never change a row, nor decide what is old. Invariant: an answer takes one seek, or a scan of a table that is small
//! or seldom filled (identities, personal fields, refusals, sources, what is older than every event).

use rusqlite::OptionalExtension;

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::base::time::Millis;
use crate::domain::event::Lane;
use crate::store::restrictions::{HELD_VISITORS, HELD_VISITS};
use crate::store::{ReadTx, open};

fn one(tx: &ReadTx<'_>, sql: &str) -> Result<Option<Millis>> {
    tx.conn()
        .prepare_cached(sql)
        .and_then(|mut s| s.query_row([], |r| r.get(0)).optional())
        .map(Option::flatten)
        .map_err(|e| open::error("asking for the oldest row", e))
}

/// Rows looked at where one alone would do, had the clock never been wrong: an event received just before a step back of
/// the clock may be written just after it.
pub const LOOK_ROWS: i64 = 1_000;

/// Numbers behind `after`, up to and with `upto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Not in it.
    pub after: Seq,
    /// In it.
    pub upto: Seq,
}

/// When the oldest of the first events of a range was received; what is under restriction is passed over.
pub fn events(tx: &ReadTx<'_>, range: Range) -> Result<Option<Millis>> {
    let sql = format!(
        "SELECT min(received_at) FROM (SELECT e.received_at FROM events e WHERE e.seq > ?1 AND e.seq <= ?2 \
         AND e.visit_id NOT IN {HELD_VISITS} ORDER BY e.seq LIMIT ?3)"
    );
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_row((range.after, range.upto, LOOK_ROWS), |r| r.get(0)))
        .map_err(|e| open::error("asking for the oldest event", e))
}

/// When the newest row was received: of those with the highest numbers.
pub fn newest(tx: &ReadTx<'_>) -> Result<Option<Millis>> {
    let event = one(tx, "SELECT received_at FROM events ORDER BY seq DESC LIMIT 1")?;
    let line = one(tx, "SELECT received_at FROM frozen ORDER BY seq DESC LIMIT 1")?;
    Ok(event.into_iter().chain(line).max())
}

/// When the oldest event was received that lies behind `after` in a lane and may leave.
pub fn event_behind(tx: &ReadTx<'_>, lane: Lane, after: Seq) -> Result<Option<Millis>> {
    let lane_sql = if lane == Lane::Pages { "+lane = ?1" } else { "lane = ?1 AND lane <> 2" };
    let sql =
        format!("SELECT received_at FROM events WHERE {lane_sql} AND seq > ?2 AND exempt = 0 ORDER BY seq LIMIT 1");
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_row((lane.code(), after), |r| r.get(0)).optional())
        .map_err(|e| open::error("asking for the oldest unsent event", e))
}

fn within(tx: &ReadTx<'_>, sql: &str, range: Range) -> Result<Option<Millis>> {
    tx.conn()
        .prepare_cached(sql)
        .and_then(|mut s| s.query_row((range.after, range.upto), |r| r.get(0)))
        .map_err(|e| open::error("asking for the oldest row left behind", e))
}

/// When the oldest ended visit without events, begun in a range, was last heard of.
pub fn bare_visits(tx: &ReadTx<'_>, range: Range) -> Result<Option<Millis>> {
    let sql = format!(
        "SELECT min(last_received_at) FROM visits v WHERE visit_id > ?1 AND visit_id <= ?2 AND ended_at IS NOT NULL \
         AND NOT EXISTS (SELECT 1 FROM events e WHERE e.visit_id = v.visit_id) AND visitor_id NOT IN {HELD_VISITORS}"
    );
    within(tx, &sql, range)
}

/// When the oldest visitor without visits, first seen in a range, was last seen.
pub fn bare_visitors(tx: &ReadTx<'_>, range: Range) -> Result<Option<Millis>> {
    let sql = format!(
        "SELECT min(last_seen_at) FROM visitors w WHERE visitor_id > ?1 AND visitor_id <= ?2 \
         AND NOT EXISTS (SELECT 1 FROM visits v WHERE v.visitor_id = w.visitor_id) AND visitor_id NOT IN {HELD_VISITORS}"
    );
    within(tx, &sql, range)
}

/// When the visitor with personal fields who was away longest was last seen.
pub fn personal(tx: &ReadTx<'_>) -> Result<Option<Millis>> {
    one(
        tx,
        &format!(
            "SELECT min(coalesce(v.last_seen_at, 0)) FROM (SELECT DISTINCT visitor_id FROM personal) p \
             LEFT JOIN visitors v ON v.visitor_id = p.visitor_id WHERE p.visitor_id NOT IN {HELD_VISITORS}"
        ),
    )
}

/// When the identity that was away longest was last seen.
pub fn identities(tx: &ReadTx<'_>) -> Result<Option<Millis>> {
    one(
        tx,
        &format!(
            "SELECT min(last_seen_at) FROM identities WHERE identity_id NOT IN \
             (SELECT c.identity_id FROM contacts c WHERE c.visit_id IN {HELD_VISITS})"
        ),
    )
}

/// The oldest hour with counters.
pub fn counts(tx: &ReadTx<'_>) -> Result<Option<Millis>> {
    one(tx, "SELECT min((SELECT min(hour_at) FROM counts c WHERE c.site_id = s.site_id)) FROM sites s")
}

/// The last event of the person longest gone whose decisions are kept.
pub fn departed(tx: &ReadTx<'_>) -> Result<Option<Millis>> {
    one(tx, "SELECT min(last_seen_at) FROM departed")
}

/// The oldest refusal.
pub fn refusals(tx: &ReadTx<'_>) -> Result<Option<Millis>> {
    one(tx, "SELECT min(decided_at) FROM refusals WHERE restricted = 0")
}

/// The oldest row of the audit.
pub fn audit(tx: &ReadTx<'_>) -> Result<Option<Millis>> {
    one(tx, "SELECT at FROM audit ORDER BY audit_id LIMIT 1")
}

/// The oldest attempt to send.
pub fn attempts(tx: &ReadTx<'_>) -> Result<Option<Millis>> {
    // begun under a wrong clock, one must not hide the others
    one(tx, "SELECT min(began_at) FROM (SELECT began_at FROM attempts ORDER BY attempt_id LIMIT 1000)")
}

/// The imported source last touched longest ago.
pub fn imports(tx: &ReadTx<'_>) -> Result<Option<Millis>> {
    one(tx, "SELECT min(at) FROM imports")
}

/// The spool file last touched longest ago.
pub fn spooled(tx: &ReadTx<'_>) -> Result<Option<Millis>> {
    one(tx, "SELECT min(at) FROM spooled")
}

/// A frozen line, as removing it sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrozenAge {
    /// Its number.
    pub seq: Seq,
    /// The lane it leaves by.
    pub lane: Lane,
    /// When what it tells was received.
    pub received: Millis,
    /// A snapshot of a visit: it goes with its visit.
    pub visit: bool,
}

fn lines(tx: &ReadTx<'_>, tail: &str, params: impl rusqlite::Params) -> Result<Vec<FrozenAge>> {
    let sql = format!("SELECT f.seq, f.lane, f.received_at, f.kind = 'visit' FROM frozen f {tail}");
    let row = |r: &rusqlite::Row<'_>| {
        let lane: i64 = r.get(1)?;
        let lane = Lane::from_code(lane).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, lane))?;
        Ok(FrozenAge { seq: r.get(0)?, lane, received: r.get(2)?, visit: r.get(3)? })
    };
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_map(params, row)?.collect())
        .map_err(|e| open::error("reading the oldest lines", e))
}

/// The first frozen lines of a lane in a range, at most `limit`.
pub fn frozen(tx: &ReadTx<'_>, lane: Lane, range: Range, limit: i64) -> Result<Vec<FrozenAge>> {
    let tail = "WHERE f.lane = ?1 AND f.seq > ?2 AND f.seq <= ?3 ORDER BY f.seq LIMIT ?4";
    lines(tx, tail, (lane.code(), range.after, range.upto, limit))
}

/// Snapshots of one visit, at most `limit`.
pub fn snapshots(tx: &ReadTx<'_>, visitor_id: i64, visit_id: i64, limit: i64) -> Result<Vec<FrozenAge>> {
    let tail = "WHERE f.visitor_id = ?1 AND f.first_seq = ?2 AND f.kind = 'visit' ORDER BY f.seq LIMIT ?3";
    lines(tx, tail, (visitor_id, visit_id, limit))
}

/// One frozen line.
pub fn line(tx: &ReadTx<'_>, seq: Seq) -> Result<Option<FrozenAge>> {
    Ok(lines(tx, "WHERE f.seq = ?1", [seq])?.pop())
}

/// The newest visit of a visitor that had begun when something was received at `at`; 0 for none.
pub(in crate::store) fn begun_by(tx: &ReadTx<'_>, visitor_id: i64, at: Millis) -> Result<Seq> {
    tx.conn()
        .prepare_cached(
            "SELECT coalesce(max(v.visit_id), 0) FROM visits v WHERE v.visitor_id = ?1 \
             AND EXISTS (SELECT 1 FROM events e WHERE e.visit_id = v.visit_id AND e.received_at <= ?2)",
        )
        .and_then(|mut s| s.query_row((visitor_id, at), |r| r.get(0)))
        .map_err(|e| open::error("finding the visits of a time", e))
}
