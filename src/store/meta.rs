//! The `meta` and `seq` tables: the newest known time, small facts, and the one counter over everything.
//! Must never be read on the way of an event. Invariant: `seq.last` is never lower than any seq in the file.

use rusqlite::OptionalExtension;

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::base::time::Millis;
use crate::store::{ReadTx, WriteTx, open};

/// The newest time ever committed.
const NEWEST: &str = "newest_at";
/// The latest end of a choice that was ever found to be past.
const LAPSED: &str = "choice_lapsed_at";
/// The disk budget decided at first start, bytes.
const BUDGET: &str = "disk_budget_bytes";
/// Begins the key of a step of the clock; the number before it follows.
const STEP_BACK: &str = "clock_back.";
/// Steps back that are kept: a clock that cannot be trusted at all must not fill the table.
const STEPS_BACK_MAX: usize = 1_000;

/// Puts the first rows into a fresh file.
pub(in crate::store) fn begin(conn: &rusqlite::Connection) -> Result<()> {
    conn.execute("INSERT INTO seq (one, last) VALUES (1, 0)", [])
        .map(|_| ())
        .map_err(|e| open::error("writing the first rows", e))
}

/// The counter as it was last committed.
pub(in crate::store) fn last_seq(conn: &rusqlite::Connection) -> Result<i64> {
    conn.query_row("SELECT last FROM seq WHERE one = 1", [], |r| r.get(0))
        .map_err(|e| open::error("reading the counter", e))
}

/// Is the row of the counter there?
pub(in crate::store) fn has_counter(conn: &rusqlite::Connection) -> Result<bool> {
    conn.query_row("SELECT count(*) = 1 FROM seq", [], |r| r.get(0)).map_err(|e| open::error("reading the counter", e))
}

/// Writes the counter, once per commit group.
pub(in crate::store) fn save_seq(conn: &rusqlite::Connection, last: i64) -> Result<()> {
    conn.prepare_cached("UPDATE seq SET last = ?1 WHERE one = 1")
        .and_then(|mut s| s.execute([last]))
        .map(|_| ())
        .map_err(|e| open::error("writing the counter", e))
}

fn number(tx: &ReadTx<'_>, key: &str) -> Result<Option<i64>> {
    tx.conn()
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")
        .and_then(|mut s| s.query_row([key], |r| r.get(0)).optional())
        .map_err(|e| open::error("reading a fact of the database", e))
}

fn set_number(tx: &WriteTx<'_>, key: &str, value: i64) -> Result<()> {
    tx.execute(
        "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )
    .map(|_| ())
}

/// The newest time this database knows of (contract 3, clock guard).
pub fn newest_at(tx: &ReadTx<'_>) -> Result<Millis> {
    Ok(Millis(number(tx, NEWEST)?.unwrap_or(0)))
}

/// The time by which choices end: `now`, unless a later one is known. A clock that went back revives none (contract 8).
pub fn choice_time(tx: &ReadTx<'_>, now: Millis) -> Result<Millis> {
    let lapsed = number(tx, LAPSED)?.map_or(Millis(i64::MIN), Millis);
    Ok(now.max(newest_at(tx)?).max(lapsed))
}

/// As [`choice_time`], for the pen, which asks at every event: what is known is read once.
pub fn choice_time_held(tx: &WriteTx<'_>) -> Result<Millis> {
    let held = tx.held().borrow().choice_time;
    let known = match held {
        Some(known) => known,
        None => choice_time(tx, Millis(i64::MIN))?,
    };
    tx.held().borrow_mut().choice_time = Some(known);
    Ok(known.max(tx.now()))
}

/// A choice that ended at `end` was found to be past: so is, from now on and whatever the clock says, every other that ended
/// no later.
pub fn note_lapse(tx: &WriteTx<'_>, end: Millis) -> Result<()> {
    if number(tx, LAPSED)?.is_none_or(|known| known < end.0) {
        set_number(tx, LAPSED, end.0)?;
        tx.held().borrow_mut().choice_time = None;
    }
    Ok(())
}

/// Remembers a newer time.
pub fn set_newest_at(tx: &WriteTx<'_>, at: Millis) -> Result<()> {
    tx.held().borrow_mut().choice_time = None;
    set_number(tx, NEWEST, at.0)
}

/// The disk budget decided at first start, bytes.
pub fn disk_budget(tx: &ReadTx<'_>) -> Result<Option<u64>> {
    Ok(number(tx, BUDGET)?.and_then(|bytes| u64::try_from(bytes).ok()))
}

/// Decides the disk budget.
pub fn set_disk_budget(tx: &WriteTx<'_>, bytes: u64) -> Result<()> {
    set_number(tx, BUDGET, i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// A small fact under a key of the caller (upkeep's watermarks).
pub fn fact(tx: &ReadTx<'_>, key: &str) -> Result<Option<i64>> {
    number(tx, key)
}

/// Sets a small fact.
pub fn set_fact(tx: &WriteTx<'_>, key: &str, value: i64) -> Result<()> {
    set_number(tx, key, value)
}

/// The clock went back: rows behind `seq` were received earlier than those before it, as far as the clock tells.
pub(in crate::store) fn stepped_back(tx: &WriteTx<'_>, seq: Seq) -> Result<()> {
    if steps_back(tx)?.len() >= STEPS_BACK_MAX {
        log::warn!(
            "the clock went back too often; what was received around {} may stay longer than configured",
            tx.now()
        );
        return Ok(());
    }
    // padded, so that the order of the keys is the order of the numbers
    set_number(tx, &format!("{STEP_BACK}{:016}", seq.0), tx.now().0)
}

/// The newest numbers before each step back of the clock, in order: between two of them receiving time only rises.
pub fn steps_back(tx: &ReadTx<'_>) -> Result<Vec<Seq>> {
    let text = |r: &rusqlite::Row<'_>| r.get::<_, String>(0);
    let keys: Vec<String> = tx
        .conn()
        .prepare_cached("SELECT key FROM meta WHERE key >= 'clock_back.' AND key < 'clock_back/' ORDER BY key")
        .and_then(|mut s| s.query_map([], text)?.collect())
        .map_err(|e| open::error("reading the steps of the clock", e))?;
    Ok(keys.iter().filter_map(|key| key.strip_prefix(STEP_BACK)?.parse().ok()).map(Seq).collect())
}
