//! The `counts` and `count_hours` tables: events without the right to measure, by site, hour and cell.
//! Must never hold anything that names a visitor. Invariant: at most 1,000 paths per site and day.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::base::error::Result;
use crate::base::time::Millis;
use crate::domain::count::{Cell, OTHER, PATHS_PER_DAY_MAX};
use crate::store::{ReadTx, WriteTx, open};

/// Counters raised in this group, and the paths known of the current days.
#[derive(Default)]
pub(in crate::store) struct Pending {
    raised: HashMap<(i64, Millis, Cell), i64>,
    paths: HashMap<(i64, Millis), HashSet<String>>,
}

/// Hashes of ids counted lately, oldest first.
#[derive(Default)]
pub struct Recent {
    order: VecDeque<i64>,
    known: HashSet<i64>,
    /// The newest of them, whose group is not committed yet.
    fresh: usize,
}

impl Recent {
    /// The group is committed.
    pub(in crate::store) fn committed(&mut self) {
        self.fresh = 0;
    }

    /// The group was rolled back: what it counted was not.
    pub(in crate::store) fn rolled_back(&mut self) {
        for _ in 0..std::mem::take(&mut self.fresh) {
            if let Some(id) = self.order.pop_back() {
                self.known.remove(&id);
            }
        }
    }
}

/// Ids remembered so that a retry is not counted twice.
const RECENT_MAX: usize = 32_768;

/// Was this id counted lately? Remembers it if not.
pub fn counted_before(tx: &WriteTx<'_>, id_hash: i64) -> bool {
    let recent = &mut tx.held().borrow_mut().counted;
    if !recent.known.insert(id_hash) {
        return true;
    }
    recent.order.push_back(id_hash);
    recent.fresh += 1;
    if recent.order.len() > RECENT_MAX
        && let Some(oldest) = recent.order.pop_front()
    {
        recent.known.remove(&oldest);
    }
    false
}

/// Raises the counter of a cell by one; folds the path into `__other__` beyond a day's limit.
pub fn raise(tx: &WriteTx<'_>, site_id: i64, at: Millis, mut cell: Cell) -> Result<()> {
    let day = (site_id, at.day());
    if !tx.held().borrow().counts.paths.contains_key(&day) {
        let known = paths_of_day(tx, site_id, at.day())?;
        let mut held = tx.held().borrow_mut();
        if held.counts.paths.len() > 64 {
            held.counts.paths.clear();
        }
        held.counts.paths.insert(day, known);
    }
    let mut held = tx.held().borrow_mut();
    held.writes += 1;
    if let Some(known) = held.counts.paths.get_mut(&day)
        && !known.contains(&cell.path)
    {
        if known.len() >= PATHS_PER_DAY_MAX {
            OTHER.clone_into(&mut cell.path);
        } else {
            known.insert(cell.path.clone());
        }
    }
    *held.counts.raised.entry((site_id, at.hour(), cell)).or_insert(0) += 1;
    Ok(())
}

fn paths_of_day(tx: &ReadTx<'_>, site_id: i64, day: Millis) -> Result<HashSet<String>> {
    tx.conn()
        .prepare_cached("SELECT DISTINCT path FROM counts WHERE site_id = ?1 AND hour_at >= ?2 AND hour_at < ?3")
        .and_then(|mut s| s.query_map((site_id, day, day.plus(crate::base::time::DAY_MS)), |r| r.get(0))?.collect())
        .map_err(|e| open::error("reading the paths of a day", e))
}

/// Writes the counters of this group.
pub(in crate::store) fn settle(tx: &WriteTx<'_>) -> Result<()> {
    let raised = std::mem::take(&mut tx.held().borrow_mut().counts.raised);
    let epoch = tx.identity().epoch_id;
    for ((site, hour, cell), n) in raised {
        tx.execute(
            "INSERT INTO counts (site_id, hour_at, path, device, medium, robot, epoch_id, n) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE SET n = n + excluded.n",
            (site, hour, &cell.path, &cell.device, &cell.medium, cell.robot, epoch, n),
        )?;
        tx.execute("INSERT INTO count_hours (site_id, hour_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING", (site, hour))?;
    }
    Ok(())
}

/// Hours that ended before `before` and changed since their line was made, at most `limit`.
pub fn changed_hours(tx: &ReadTx<'_>, before: Millis, limit: i64) -> Result<Vec<(i64, Millis)>> {
    tx.conn()
        .prepare_cached("SELECT site_id, hour_at FROM count_hours WHERE hour_at < ?1 ORDER BY hour_at LIMIT ?2")
        .and_then(|mut s| s.query_map((before, limit), |r| Ok((r.get(0)?, r.get(1)?)))?.collect())
        .map_err(|e| open::error("reading changed hours", e))
}

/// The cells of one site and hour in the current epoch, with their counts.
pub fn cells(tx: &ReadTx<'_>, site_id: i64, hour: Millis, epoch_id: i64) -> Result<Vec<(Cell, i64)>> {
    tx.conn()
        .prepare_cached(
            "SELECT path, device, medium, robot, n FROM counts WHERE site_id = ?1 AND hour_at = ?2 AND epoch_id = ?3 \
             ORDER BY path, device, medium, robot",
        )
        .and_then(|mut s| {
            s.query_map((site_id, hour, epoch_id), |r| {
                Ok((Cell { path: r.get(0)?, device: r.get(1)?, medium: r.get(2)?, robot: r.get(3)? }, r.get(4)?))
            })?
            .collect()
        })
        .map_err(|e| open::error("reading counters", e))
}

/// The hour's line is made.
pub fn line_made(tx: &WriteTx<'_>, site_id: i64, hour: Millis) -> Result<()> {
    tx.execute("DELETE FROM count_hours WHERE site_id = ?1 AND hour_at = ?2", (site_id, hour)).map(|_| ())
}

/// The sum of all counters of a site since `since`, all epochs.
pub fn total(tx: &ReadTx<'_>, site_id: Option<i64>, since: Millis) -> Result<i64> {
    tx.conn()
        .prepare_cached("SELECT coalesce(sum(n), 0) FROM counts WHERE (?1 IS NULL OR site_id = ?1) AND hour_at >= ?2")
        .and_then(|mut s| s.query_row((site_id, since), |r| r.get(0)))
        .map_err(|e| open::error("summing counters", e))
}

/// Epochs in which an hour of a site has counters, oldest first.
pub fn epochs_of(tx: &ReadTx<'_>, site_id: i64, hour: Millis) -> Result<Vec<i64>> {
    tx.conn()
        .prepare_cached("SELECT DISTINCT epoch_id FROM counts WHERE site_id = ?1 AND hour_at = ?2 ORDER BY epoch_id")
        .and_then(|mut s| s.query_map((site_id, hour), |r| r.get(0))?.collect())
        .map_err(|e| open::error("reading the epochs of an hour", e))
}

/// Deletes counters of a site's hours before `before`, at most `limit` rows; returns how many.
pub fn delete_before(tx: &WriteTx<'_>, site_id: i64, before: Millis, limit: i64) -> Result<usize> {
    tx.execute(
        "DELETE FROM counts WHERE (site_id, hour_at, path, device, medium, robot, epoch_id) IN \
         (SELECT site_id, hour_at, path, device, medium, robot, epoch_id FROM counts \
         WHERE site_id = ?1 AND hour_at < ?2 LIMIT ?3)",
        (site_id, before, limit),
    )
}
