//! How many people, rows and values there are, by site, purpose and field: what the operator's records ask. Owns no table.
//! Must never return a value of anybody, only numbers. Invariant: every row that is stored is counted, also those a floor covers
//! that wait for their removal: whoever takes the file has them too.

use crate::base::error::Result;
use crate::base::time::Millis;
use crate::domain::consent::Purposes;
use crate::store::{ReadTx, meta, open};

/// A stretch of receiving time: from the first moment on, before the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Received at this time or later.
    pub since: Millis,
    /// Received before it.
    pub until: Millis,
}

impl Window {
    /// Everything that was received before `until`.
    pub fn before(until: Millis) -> Window {
        Window { since: Millis(i64::MIN), until }
    }

    /// All time.
    pub fn all() -> Window {
        Window::before(Millis(i64::MAX))
    }
}

/// How much there is of one field or kind of row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The column, the personal field, or the word `events`, `visits`.
    pub name: String,
    /// Different people (visitors; for identities themselves).
    pub people: i64,
    /// Values that are not null.
    pub values: i64,
}

/// Columns of an event that can tell of a person; `visits` follow.
const EVENT_COLUMNS: [&str; 8] =
    ["url", "title", "referrer", "attributes", "search_query", "conversation", "screen", "keywords"];
const VISIT_COLUMNS: [&str; 8] =
    ["agent_id", "context", "referrer", "campaign", "place", "ip", "searches", "device_id"];

/// Events and visits, and each of their columns that can tell of a person, of one site or all. Summed up by visit and then by
/// visitor: a DISTINCT for each column takes three times as long.
pub fn rows(tx: &ReadTx<'_>, site_id: Option<i64>, window: Window) -> Result<Vec<Count>> {
    let (mut by_visit, mut by_visitor) = ("count(*) AS n".to_owned(), "sum(p.n) AS n, count(*) AS visits".to_owned());
    let mut sums = vec![("events".to_owned(), "n".to_owned())];
    for (k, name) in EVENT_COLUMNS.iter().enumerate() {
        by_visit.push_str(&format!(", count(e.{name}) AS e{k}"));
        by_visitor.push_str(&format!(", sum(p.e{k}) AS e{k}"));
        sums.push((format!("events.{name}"), format!("e{k}")));
    }
    sums.push(("visits".to_owned(), "visits".to_owned()));
    for (k, name) in VISIT_COLUMNS.iter().enumerate() {
        by_visitor.push_str(&format!(", count(v.{name}) AS v{k}"));
        sums.push((format!("visits.{name}"), format!("v{k}")));
    }
    let both = |sum: &String| format!("coalesce(sum({sum}), 0), coalesce(sum({sum} > 0), 0)");
    let all: Vec<String> = sums.iter().map(|(_, sum)| both(sum)).collect();
    let sql = format!(
        "SELECT {} FROM (SELECT {by_visitor} FROM (SELECT e.visit_id, {by_visit} FROM events e \
         WHERE (?1 IS NULL OR e.site_id = ?1) AND e.received_at >= ?2 AND e.received_at < ?3 GROUP BY e.visit_id) p \
         JOIN visits v ON v.visit_id = p.visit_id GROUP BY v.visitor_id)",
        all.join(", ")
    );
    let found: Vec<i64> = tx
        .conn()
        .prepare_cached(&sql)
        .and_then(|mut s| {
            s.query_row((site_id, window.since, window.until), |r| (0..sums.len() * 2).map(|n| r.get(n)).collect())
        })
        .map_err(|e| open::error("counting rows and fields", e))?;
    let counts = sums.into_iter().zip(found.chunks_exact(2));
    Ok(counts.map(|((name, _), pair)| Count { name, values: pair[0], people: pair[1] }).collect())
}

fn listed(tx: &ReadTx<'_>, sql: &str, (site_id, window): (Option<i64>, Window)) -> Result<Vec<Count>> {
    tx.conn()
        .prepare_cached(sql)
        .and_then(|mut s| {
            s.query_map((site_id, window.since, window.until), |r| {
                Ok(Count { name: r.get(0)?, people: r.get(1)?, values: r.get(2)? })
            })?
            .collect()
        })
        .map_err(|e| open::error("counting fields", e))
}

/// Sealed fields by name, of one site or all.
pub fn personal(tx: &ReadTx<'_>, site_id: Option<i64>, window: Window) -> Result<Vec<Count>> {
    let sql = "SELECT p.field, count(DISTINCT p.visitor_id), count(*) FROM personal p \
        JOIN visitors w ON w.visitor_id = p.visitor_id \
        WHERE (?1 IS NULL OR w.site_id = ?1) AND p.at >= ?2 AND p.at < ?3 GROUP BY p.field ORDER BY p.field";
    listed(tx, sql, (site_id, window))
}

/// Customers known by the site's own name for them (one sealed name each), first seen before the window's end and last seen
/// not before its beginning.
pub fn identities(tx: &ReadTx<'_>, site_id: Option<i64>, window: Window) -> Result<Count> {
    let sql = "SELECT 'identity', count(*), count(*) FROM identities i \
        WHERE (?1 IS NULL OR i.site_id = ?1) AND i.last_seen_at >= ?2 AND i.first_seen_at < ?3";
    one(listed(tx, sql, (site_id, window))?)
}

/// Decisions, and of how many references.
pub fn decisions(tx: &ReadTx<'_>, site_id: Option<i64>, window: Window) -> Result<Count> {
    let sql = "SELECT 'decisions', count(DISTINCT d.subject_ref), count(*) FROM decisions d \
        WHERE (?1 IS NULL OR d.site_id = ?1) AND d.received_at >= ?2 AND d.received_at < ?3";
    one(listed(tx, sql, (site_id, window))?)
}

fn one(list: Vec<Count>) -> Result<Count> {
    list.into_iter()
        .next()
        .ok_or_else(|| crate::base::error::Error::storage("a count has no row").remedy("check the database's file"))
}

/// Different people of whom anything was received in the window: by events, or by a decision alone.
pub fn people(tx: &ReadTx<'_>, window: Window) -> Result<i64> {
    tx.conn()
        .prepare_cached(
            "SELECT count(*) FROM (SELECT w.visitor_ref FROM visitors w WHERE EXISTS (SELECT 1 FROM visits v \
             JOIN events e ON e.visit_id = v.visit_id WHERE v.visitor_id = w.visitor_id \
             AND e.received_at >= ?1 AND e.received_at < ?2) \
             UNION SELECT d.subject_ref FROM decisions d WHERE d.received_at >= ?1 AND d.received_at < ?2)",
        )
        .and_then(|mut s| s.query_row((window.since, window.until), |r| r.get(0)))
        .map_err(|e| open::error("counting people", e))
}

/// Visitors of a site by what their newest rows were taken for, and what they have said no to since.
pub fn rights(tx: &ReadTx<'_>, site_id: i64) -> Result<Vec<(Purposes, Purposes, i64)>> {
    tx.conn()
        .prepare_cached(
            "SELECT flags, denied, count(*) FROM visitors WHERE site_id = ?1 GROUP BY flags, denied ORDER BY flags, denied",
        )
        .and_then(|mut s| s.query_map([site_id], |r| Ok((Purposes(r.get(0)?), Purposes(r.get(1)?), r.get(2)?)))?.collect())
        .map_err(|e| open::error("counting visitors by purpose", e))
}

/// The newest time the database knows: of an event, a decision, a notice's publication, or as upkeep last noted it. `None` where
/// there is nothing.
pub fn newest(tx: &ReadTx<'_>) -> Result<Option<Millis>> {
    let told: Option<Millis> = tx
        .conn()
        .prepare_cached(
            "SELECT max(at) FROM (SELECT max(received_at) AS at FROM events UNION ALL SELECT max(received_at) FROM decisions \
             UNION ALL SELECT max(published_at) FROM notices)",
        )
        .and_then(|mut s| s.query_row([], |r| r.get(0)))
        .map_err(|e| open::error("asking for the newest row", e))?;
    Ok(told.into_iter().chain(Some(meta::newest_at(tx)?).filter(|at| at.0 > 0)).max())
}

/// When the oldest event of a site was received; `None` without any.
pub fn oldest(tx: &ReadTx<'_>, site_id: i64) -> Result<Option<Millis>> {
    tx.conn()
        .prepare_cached("SELECT min(received_at) FROM events WHERE site_id = ?1")
        .and_then(|mut s| s.query_row([site_id], |r| r.get(0)))
        .map_err(|e| open::error("asking for a site's oldest event", e))
}

/// What is kept of a site under its exemption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exempt {
    /// Events.
    pub events: i64,
    /// Different visitors.
    pub people: i64,
    /// When the oldest of them was received.
    pub oldest: Option<Millis>,
    /// The longest time between a visitor's first sight and one of these events, ms.
    pub longest_id_ms: Option<i64>,
    /// Of these events, those that may be used for anything besides measuring: must be none.
    pub other_purposes: i64,
    /// Personal fields of these events: must be none.
    pub personal: i64,
    /// Lines made of such rows: must be none, since they never leave.
    pub lines: i64,
    /// Of these events, those of visitors who have said no to measuring, not covered by their floor: must be none.
    pub refused: i64,
}

/// What is kept of a site under its exemption, and what must not be there.
pub fn exempt(tx: &ReadTx<'_>, site_id: i64) -> Result<Exempt> {
    tx.conn()
        .prepare_cached(
            "SELECT count(*), count(DISTINCT v.visitor_id), min(e.received_at), max(e.corrected_at - w.first_seen_at), \
             count(CASE WHEN e.flags <> 1 THEN 1 END), coalesce(sum((SELECT count(*) FROM personal p WHERE p.seq = e.seq)), 0), \
             (SELECT count(*) FROM frozen f WHERE f.exempt = 1 AND f.site_id = ?1), \
             count(CASE WHEN w.denied & 1 = 1 AND e.seq > w.measure_floor THEN 1 END) \
             FROM events e JOIN visits v ON v.visit_id = e.visit_id JOIN visitors w ON w.visitor_id = v.visitor_id \
             WHERE e.exempt = 1 AND e.site_id = ?1",
        )
        .and_then(|mut s| {
            s.query_row([site_id], |r| {
                Ok(Exempt {
                    events: r.get(0)?,
                    people: r.get(1)?,
                    oldest: r.get(2)?,
                    longest_id_ms: r.get(3)?,
                    other_purposes: r.get(4)?,
                    personal: r.get(5)?,
                    lines: r.get(6)?,
                    refused: r.get(7)?,
                })
            })
        })
        .map_err(|e| open::error("counting what is kept under an exemption", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns of numbers, references and our own words, which tell of nobody without the others.
    const OURS: [&str; 44] = [
        "seq",
        "event_id",
        "site_id",
        "epoch_id",
        "visit_id",
        "page_id",
        "name",
        "system",
        "lane",
        "content_hash",
        "received_at",
        "corrected_at",
        "clock_state",
        "flags",
        "basis_id",
        "consent_seq",
        "exempt",
        "salt",
        "attribute_types",
        "dwell_ms",
        "client_at",
        "sent_at",
        "session_id",
        "withheld",
        "client_page",
        "language",
        "category",
        "was",
        "replaces",
        "visit_uuid",
        "visitor_id",
        "stream",
        "started_at",
        "last_active_at",
        "last_received_at",
        "due_at",
        "source",
        "entry_page_id",
        "last_page_id",
        "page_count",
        "screen_count",
        "event_count",
        "authenticated",
        "last_seq",
    ];
    const OURS_TOO: [&str; 4] = ["snapshot_seq", "ended_at", "end_reason", "client_visit"];

    #[test]
    fn every_column_of_events_and_visits_is_counted_or_known_to_tell_of_nobody() {
        let schema = include_str!("../../schema.sql");
        for (table, counted) in [("events", &EVENT_COLUMNS[..]), ("visits", &VISIT_COLUMNS[..])] {
            let body =
                schema.split(&format!("CREATE TABLE {table} (")).nth(1).unwrap().split("\n) STRICT").next().unwrap();
            let names = body.lines().filter_map(|line| line.split_whitespace().next());
            let names: Vec<&str> = names.filter(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')).collect();
            assert!(names.len() > 30, "{table}: {names:?}");
            for name in &names {
                let known = counted.contains(name) || OURS.contains(name) || OURS_TOO.contains(name);
                assert!(known, "{table}.{name}: count it, or say that it tells of nobody");
            }
            assert!(counted.iter().all(|name| names.contains(name)), "{table}");
        }
    }
}
