//! The `agents` table: user agents, parsed once. Must never parse one itself.
//! Invariant: a user agent has one row while any visit refers to it; no visit that does began `NOTED_EVERY` numbers or
//! more behind the note of its last use.

use rusqlite::OptionalExtension;

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::domain::device::{Agent, DeviceCategory};
use crate::store::{ReadTx, WriteTx, open, row};

/// A user agent's use is noted anew when the last note is so many numbers old.
const NOTED_EVERY: i64 = 4_096;

/// The row of a user agent, made where there is none; the newest number given out counts as its last use.
pub fn intern(tx: &WriteTx<'_>, user_agent: &str, agent: &Agent) -> Result<i64> {
    let now = tx.last_seq();
    let recent = |used: Seq| now.0 - used.0 < NOTED_EVERY;
    if let Some((id, used)) = tx.held().borrow().agents.get(user_agent)
        && recent(*used)
    {
        return Ok(*id);
    }
    let found = tx
        .conn()
        .prepare_cached("SELECT agent_id, used_seq FROM agents WHERE user_agent = ?1")
        .and_then(|mut s| s.query_row([user_agent], |r| Ok((r.get::<_, i64>(0)?, r.get(1)?))).optional())
        .map_err(|e| open::error("finding a user agent", e))?;
    let (id, used) = match found {
        Some((id, used)) if recent(used) => (id, used),
        Some((id, _)) => {
            tx.execute("UPDATE agents SET used_seq = ?2 WHERE agent_id = ?1", (id, now))?;
            (id, now)
        }
        None => (insert(tx, user_agent, agent, now)?, now),
    };
    tx.held().borrow_mut().agents.insert(user_agent.to_owned(), (id, used));
    Ok(id)
}

fn insert(tx: &WriteTx<'_>, user_agent: &str, agent: &Agent, used: Seq) -> Result<i64> {
    tx.execute(
        "INSERT INTO agents (user_agent, category, device_type, browser_family, browser_version, os_family, os_version, \
         manufacturer, robot, used_seq) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        rusqlite::params![
            user_agent,
            agent.category.as_str(),
            agent.device_type,
            agent.browser_family,
            agent.browser_version,
            agent.os_family,
            agent.os_version,
            agent.manufacturer,
            agent.robot,
            used,
        ],
    )?;
    Ok(tx.conn().last_insert_rowid())
}

/// A user agent and what it says.
pub fn get(tx: &ReadTx<'_>, agent_id: i64) -> Result<Option<(String, Agent)>> {
    tx.conn()
        .prepare_cached(
            "SELECT user_agent, category, device_type, browser_family, browser_version, os_family, os_version, \
             manufacturer, robot FROM agents WHERE agent_id = ?1",
        )
        .and_then(|mut s| {
            s.query_row([agent_id], |r| {
                let agent = Agent {
                    category: row::word(r.get_ref(1)?, |w| DeviceCategory::parse(w).ok())?,
                    device_type: r.get(2)?,
                    browser_family: r.get(3)?,
                    browser_version: r.get(4)?,
                    os_family: r.get(5)?,
                    os_version: r.get(6)?,
                    manufacturer: r.get(7)?,
                    robot: r.get(8)?,
                };
                Ok((r.get(0)?, agent))
            })
            .optional()
        })
        .map_err(|e| open::error("reading a user agent", e))
}

/// Deletes user agents used by no visit that is left, at most `limit`: their last use, late as its note may be, came before
/// the oldest visit began.
pub fn delete_unused(tx: &WriteTx<'_>, limit: i64) -> Result<usize> {
    tx.settle()?;
    tx.held().borrow_mut().agents.clear();
    tx.execute(
        "DELETE FROM agents WHERE agent_id IN (SELECT agent_id FROM agents \
         WHERE used_seq + ?2 <= (SELECT coalesce(min(visit_id), 1 << 62) FROM visits) LIMIT ?1)",
        [limit, NOTED_EVERY],
    )
}

/// Is there a user agent no visit refers to? Looks through all visits.
pub fn any_alone(tx: &ReadTx<'_>) -> Result<bool> {
    tx.conn()
        .prepare_cached(&format!("SELECT EXISTS ({ALONE})"))
        .and_then(|mut s| s.query_row([], |r| r.get(0)))
        .map_err(|e| open::error("looking for user agents of nobody", e))
}

/// Deletes every user agent no visit refers to, now: one that only an erased person had would tell of them.
pub fn delete_alone(tx: &WriteTx<'_>) -> Result<usize> {
    tx.settle()?;
    tx.held().borrow_mut().agents.clear();
    tx.execute(&format!("DELETE FROM agents WHERE agent_id IN ({ALONE})"), [])
}

const ALONE: &str =
    "SELECT agent_id FROM agents WHERE agent_id NOT IN (SELECT agent_id FROM visits WHERE agent_id IS NOT NULL)";
