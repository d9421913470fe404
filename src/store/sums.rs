//! Sums for readers: what may be seen, counters by hour, how far lanes and targets are. Owns no table and writes nothing.
//! Must never decide what a number means. Invariant: no row at or below its visitor's measure floor is counted.

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::base::time::Millis;
use crate::domain::count::Cell;
use crate::domain::event::Lane;
use crate::store::restrictions::{READABLE, RESTRICTED_NOW};
use crate::store::{ReadTx, open};

/// Hours with counters of a site from `since` to `until`, newest first, at most `limit`.
pub fn counted_hours(
    tx: &ReadTx<'_>,
    site_id: i64,
    (since, until): (Millis, Millis),
    limit: i64,
) -> Result<Vec<Millis>> {
    tx.conn()
        .prepare_cached(
            "SELECT DISTINCT hour_at FROM counts WHERE site_id = ?1 AND hour_at >= ?2 AND hour_at < ?3 \
             ORDER BY hour_at DESC LIMIT ?4",
        )
        .and_then(|mut s| s.query_map((site_id, since, until, limit), |r| r.get(0))?.collect())
        .map_err(|e| open::error("reading counted hours", e))
}

/// The cells of one site and hour, summed over all epochs.
pub fn counted_cells(tx: &ReadTx<'_>, site_id: i64, hour: Millis) -> Result<Vec<(Cell, i64)>> {
    tx.conn()
        .prepare_cached(
            "SELECT path, device, medium, robot, sum(n) FROM counts WHERE site_id = ?1 AND hour_at = ?2 \
             GROUP BY path, device, medium, robot ORDER BY sum(n) DESC, path",
        )
        .and_then(|mut s| {
            s.query_map((site_id, hour), |r| {
                Ok((Cell { path: r.get(0)?, device: r.get(1)?, medium: r.get(2)?, robot: r.get(3)? }, r.get(4)?))
            })?
            .collect()
        })
        .map_err(|e| open::error("reading counters", e))
}

/// How many rows there are that a reader may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Visible {
    /// Visitors that did not withdraw, or came back.
    pub visitors: i64,
    /// Visits.
    pub visits: i64,
    /// Visits that have not ended.
    pub visits_open: i64,
    /// Events.
    pub events: i64,
}

/// The highest number of an event and of a visit.
pub fn newest(tx: &ReadTx<'_>) -> Result<(Seq, Seq)> {
    tx.conn()
        .prepare_cached(
            "SELECT (SELECT coalesce(max(seq), 0) FROM events), (SELECT coalesce(max(visit_id), 0) FROM visits)",
        )
        .and_then(|mut s| s.query_row([], |r| Ok((r.get(0)?, r.get(1)?))))
        .map_err(|e| open::error("reading the newest numbers", e))
}

/// Counts what may be seen: everything, less what lies below a measure floor and waits for its removal.
pub fn visible(tx: &ReadTx<'_>) -> Result<Visible> {
    let one = |sql: &str| -> Result<i64> {
        tx.conn()
            .prepare_cached(sql)
            .and_then(|mut s| s.query_row([], |r| r.get(0)))
            .map_err(|e| open::error("counting rows", e))
    };
    // what a floor covers, then what is restricted: both are few
    let hidden_visits = format!(
        "SELECT (SELECT count(*) FROM visitors w CROSS JOIN visits v ON v.visitor_id = w.visitor_id WHERE w.measure_floor > 0 \
         AND v.visit_id <= w.measure_floor AND {READABLE}) + (SELECT count(*) FROM {RESTRICTED_NOW} CROSS JOIN visits v \
         ON v.visitor_id = r.visitor)"
    );
    let hidden_events = format!(
        "SELECT (SELECT count(*) FROM visitors w CROSS JOIN visits v ON v.visitor_id = w.visitor_id \
         CROSS JOIN events e ON e.visit_id = v.visit_id WHERE w.measure_floor > 0 \
         AND (e.seq <= w.measure_floor OR v.visit_id <= w.measure_floor) AND {READABLE}) \
         + (SELECT count(*) FROM {RESTRICTED_NOW} CROSS JOIN visits v ON v.visitor_id = r.visitor \
         CROSS JOIN events e ON e.visit_id = v.visit_id)"
    );
    let hidden_visitors = format!(
        "SELECT (SELECT count(*) FROM visitors w WHERE w.measure_floor > 0 AND NOT EXISTS (SELECT 1 FROM visits v \
         WHERE v.visitor_id = w.visitor_id AND v.visit_id > w.measure_floor) AND {READABLE}) \
         + (SELECT count(*) FROM {RESTRICTED_NOW})"
    );
    let visits_open = format!(
        "SELECT count(*) FROM visits v JOIN visitors w ON w.visitor_id = v.visitor_id \
         WHERE v.ended_at IS NULL AND v.visit_id > w.measure_floor AND {READABLE}"
    );
    Ok(Visible {
        visitors: one("SELECT count(*) FROM visitors")? - one(&hidden_visitors)?,
        visits: one("SELECT count(*) FROM visits")? - one(&hidden_visits)?,
        visits_open: one(&visits_open)?,
        events: one("SELECT count(*) FROM events")? - one(&hidden_events)?,
    })
}

/// How many events were received at or after `since`. Looks back from the newest number until it meets an older one, so
/// a stretch in which the clock ran backwards may be left out.
pub fn received_since(tx: &ReadTx<'_>, since: Millis, last: Seq) -> Result<i64> {
    let fail = |e| open::error("counting events received lately", e);
    let mut reach = 1_024;
    let mut low = Seq(0);
    while reach < last.0 {
        let at: Option<Millis> = tx
            .conn()
            .prepare_cached("SELECT received_at FROM events WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1")
            .and_then(|mut s| rusqlite::OptionalExtension::optional(s.query_row([last.0 - reach], |r| r.get(0))))
            .map_err(fail)?;
        if at.is_none_or(|at| at < since) {
            low = Seq(last.0 - reach);
            break;
        }
        reach *= 2;
    }
    tx.conn()
        .prepare_cached("SELECT count(*) FROM events WHERE seq > ?1 AND received_at >= ?2")
        .and_then(|mut s| s.query_row((low, since), |r| r.get(0)))
        .map_err(fail)
}

/// Rows of a lane that are not sealed yet.
pub fn unsealed(tx: &ReadTx<'_>, lane: Lane, upto: Seq) -> Result<i64> {
    tx.conn()
        .prepare_cached(
            "SELECT (SELECT count(*) FROM events WHERE seq > ?2 AND lane = ?1) \
             + (SELECT count(*) FROM frozen WHERE lane = ?1 AND seq > ?2)",
        )
        .and_then(|mut s| s.query_row((lane.code(), upto), |r| r.get(0)))
        .map_err(|e| open::error("counting rows that wait to be sealed", e))
}

/// How far a target has a lane of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The target's name.
    pub target: String,
    /// The epoch.
    pub epoch_id: i64,
    /// The lane.
    pub lane: Lane,
    /// Highest batch put.
    pub put_no: i64,
    /// Highest batch acknowledged.
    pub acked_no: i64,
    /// Highest batch sealed.
    pub sealed_no: i64,
    /// Failures in a row.
    pub failures: i64,
    /// Not tried before.
    pub next_at: Millis,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// How far each target has each lane.
pub fn positions(tx: &ReadTx<'_>) -> Result<Vec<Position>> {
    tx.conn()
        .prepare_cached(
            "SELECT c.target, c.epoch_id, c.lane, c.put_no, c.acked_no, coalesce((SELECT max(b.batch_no) FROM batches b \
             WHERE b.epoch_id = c.epoch_id AND b.lane = c.lane), 0), c.failures, c.next_at, c.last_error FROM cursors c \
             ORDER BY c.target, c.epoch_id, c.lane",
        )
        .and_then(|mut s| {
            s.query_map([], |r| {
                let lane: i64 = r.get(2)?;
                Ok(Position {
                    target: r.get(0)?,
                    epoch_id: r.get(1)?,
                    lane: Lane::from_code(lane).ok_or(rusqlite::Error::IntegralValueOutOfRange(2, lane))?,
                    put_no: r.get(3)?,
                    acked_no: r.get(4)?,
                    sealed_no: r.get(5)?,
                    failures: r.get(6)?,
                    next_at: r.get(7)?,
                    last_error: r.get(8)?,
                })
            })?
            .collect()
        })
        .map_err(|e| open::error("reading how far targets are", e))
}
