//! The `agents` table: user agents, parsed once. Must never parse one itself.
//! Invariant: a user agent has one row while any visit refers to it.

use rusqlite::OptionalExtension;

use crate::base::error::Result;
use crate::domain::device::{Agent, DeviceCategory};
use crate::store::{ReadTx, WriteTx, open, row};

/// The row of a user agent; made where there is none.
pub fn intern(tx: &WriteTx<'_>, user_agent: &str, agent: &Agent) -> Result<i64> {
    if let Some(id) = tx.held().borrow().agents.get(user_agent) {
        return Ok(*id);
    }
    let found = tx
        .conn()
        .prepare_cached("SELECT agent_id FROM agents WHERE user_agent = ?1")
        .and_then(|mut s| s.query_row([user_agent], |r| r.get::<_, i64>(0)).optional())
        .map_err(|e| open::error("finding a user agent", e))?;
    let id = match found {
        Some(id) => id,
        None => insert(tx, user_agent, agent)?,
    };
    tx.held().borrow_mut().agents.insert(user_agent.to_owned(), id);
    Ok(id)
}

fn insert(tx: &WriteTx<'_>, user_agent: &str, agent: &Agent) -> Result<i64> {
    tx.execute(
        "INSERT INTO agents (user_agent, category, device_type, browser_family, browser_version, os_family, os_version, \
         manufacturer, robot) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
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

/// Deletes user agents no visit refers to, at most `limit`.
pub fn delete_unused(tx: &WriteTx<'_>, limit: i64) -> Result<usize> {
    tx.settle()?;
    tx.held().borrow_mut().agents.clear();
    tx.execute(
        "DELETE FROM agents WHERE agent_id IN (SELECT agent_id FROM agents a WHERE NOT EXISTS \
         (SELECT 1 FROM visits v WHERE v.agent_id = a.agent_id) LIMIT ?1)",
        [limit],
    )
}
