//! The `pages` table: one entering of a page or screen. Held by the pen within a group.
//! Must never hold the events of a page. Invariant: a page's id is the seq of the event that entered it.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row};

use crate::base::error::Result;
use crate::base::id::ClientId;
use crate::base::time::Millis;
use crate::domain::stored::PageRow;
use crate::domain::visitor::Rights;
use crate::store::{ReadTx, WriteTx, open};

const COLUMNS: &str = "p.page_id, p.visit_id, p.client_page, p.url, p.screen, p.title, p.keywords, p.language, \
    p.category, p.entered_at, p.exited_at, p.dwell_ms, p.flags, p.basis_id, p.consent_seq";

const INSERT: &str = "INSERT INTO pages (page_id, visit_id, client_page, url, screen, title, keywords, language, category, \
    entered_at, exited_at, dwell_ms, flags, basis_id, consent_seq) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";

/// Pages entered in this group.
#[derive(Default)]
pub(in crate::store) struct Pending(BTreeMap<i64, PageRow>);

fn from_row(r: &Row<'_>) -> rusqlite::Result<PageRow> {
    Ok(PageRow {
        id: r.get(0)?,
        visit_id: r.get(1)?,
        client_page: r.get(2)?,
        url: r.get(3)?,
        screen: r.get(4)?,
        title: r.get(5)?,
        keywords: r.get(6)?,
        language: r.get(7)?,
        category: r.get(8)?,
        entered: r.get(9)?,
        exited: r.get(10)?,
        dwell_ms: r.get(11)?,
        rights: Rights { flags: r.get(12)?, basis_id: r.get(13)?, consent_seq: r.get(14)?, exempt: false },
    })
}

/// Holds a page back until the group's end.
pub fn insert(tx: &WriteTx<'_>, page: PageRow) {
    let mut held = tx.held().borrow_mut();
    held.writes += 1;
    held.pages.0.insert(page.id, page);
}

/// One page, held or stored.
pub fn get(tx: &WriteTx<'_>, page_id: i64) -> Result<Option<PageRow>> {
    if let Some(page) = tx.held().borrow().pages.0.get(&page_id) {
        return Ok(Some(page.clone()));
    }
    read(tx, page_id)
}

/// One stored page.
pub fn read(tx: &ReadTx<'_>, page_id: i64) -> Result<Option<PageRow>> {
    let sql = format!("SELECT {COLUMNS} FROM pages p WHERE p.page_id = ?1");
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_row([page_id], from_row).optional())
        .map_err(|e| open::error("reading a page", e))
}

/// The newest page of a visit with the client's id `client_page`, held or stored.
pub fn by_client_id(tx: &WriteTx<'_>, visit_id: i64, client_page: &ClientId) -> Result<Option<PageRow>> {
    let wanted = |p: &&PageRow| p.visit_id == visit_id && p.client_page.as_ref() == Some(client_page);
    if let Some(page) = tx.held().borrow().pages.0.values().rev().find(wanted) {
        return Ok(Some(page.clone()));
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM pages p WHERE p.visit_id = ?1 AND p.client_page = ?2 ORDER BY p.page_id DESC LIMIT 1"
    );
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_row((visit_id, client_page), from_row).optional())
        .map_err(|e| open::error("finding a page", e))
}

/// Closes a page: when it was left and how long it was open, ms.
pub fn exit(tx: &WriteTx<'_>, page_id: i64, exited: Millis, dwell_ms: i64) -> Result<()> {
    {
        let mut held = tx.held().borrow_mut();
        held.writes += 1;
        if let Some(page) = held.pages.0.get_mut(&page_id) {
            page.exited = Some(exited);
            page.dwell_ms = Some(dwell_ms);
            return Ok(());
        }
    }
    tx.execute("UPDATE pages SET exited_at = ?2, dwell_ms = ?3 WHERE page_id = ?1", (page_id, exited, dwell_ms))
        .map(|_| ())
}

/// Writes the pages of this group.
pub(in crate::store) fn settle(tx: &WriteTx<'_>) -> Result<()> {
    let pages = std::mem::take(&mut tx.held().borrow_mut().pages.0);
    if pages.is_empty() {
        return Ok(());
    }
    let mut insert = tx.conn().prepare_cached(INSERT).map_err(|e| open::error("preparing to write pages", e))?;
    for p in pages.values() {
        let written = insert.execute(rusqlite::params![
            p.id,
            p.visit_id,
            p.client_page,
            p.url,
            p.screen,
            p.title,
            p.keywords,
            p.language,
            p.category,
            p.entered,
            p.exited,
            p.dwell_ms,
            p.rights.flags,
            p.rights.basis_id,
            p.rights.consent_seq,
        ]);
        written.map_err(|e| open::error("writing a page", e))?;
    }
    Ok(())
}

/// The pages of a visit, in the order they were entered, at most `limit`.
pub fn of_visit(tx: &ReadTx<'_>, visit_id: i64, limit: i64) -> Result<Vec<PageRow>> {
    let sql = format!("SELECT {COLUMNS} FROM pages p WHERE p.visit_id = ?1 ORDER BY p.entered_at, p.page_id LIMIT ?2");
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_map((visit_id, limit), from_row)?.collect())
        .map_err(|e| open::error("reading the pages of a visit", e))
}

/// Deletes the page that an event entered; returns how many.
pub fn delete(tx: &WriteTx<'_>, page_id: i64) -> Result<usize> {
    tx.execute("DELETE FROM pages WHERE page_id = ?1", [page_id])
}
