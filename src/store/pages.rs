//! Pages: one entering of a page or screen, kept in the row of the event that entered it. Held by the pen within a group.
//! Must never write a row itself (`events.rs` does). Invariant: a page's id is the seq of the event that entered it.

use rusqlite::{OptionalExtension, Row};

use crate::base::error::Result;
use crate::base::id::{ClientId, Seq};
use crate::base::time::Millis;
use crate::domain::stored::PageRow;
use crate::domain::visitor::Rights;
use crate::store::statement::Repeated;
use crate::store::{ReadTx, WriteTx, events, open};

const COLUMNS: &str = "p.page_id, p.visit_id, p.client_page, p.url, p.screen, p.title, p.keywords, p.language, \
    p.category, p.entered_at, p.exited_at, p.dwell_ms, p.flags, p.basis_id, p.consent_seq";

/// How many of a visit's newest events are looked through for a page by the client's id of it.
const LOOK_BACK: i64 = 1_000;

/// Pages entered in this group, by rising id, and stored ones that were left in it: when, and after how many ms.
#[derive(Default)]
pub(in crate::store) struct Pending(Vec<PageRow>, Vec<(i64, Millis, i64)>);

impl Pending {
    fn place(&self, page_id: i64) -> Option<usize> {
        self.0.binary_search_by_key(&page_id, |page| page.id).ok()
    }

    /// Those entered by events up to this one; the others wait for theirs.
    pub(in crate::store) fn take_upto(&mut self, event: Seq) -> Pending {
        let later = self.0.split_off(self.0.partition_point(|page| page.id <= event.0));
        std::mem::replace(self, Pending(later, Vec::new()))
    }

    /// The same page as it will be stored.
    fn as_left(&self, mut page: PageRow) -> PageRow {
        if let Some((_, exited, dwell_ms)) = self.1.iter().rev().find(|(id, ..)| *id == page.id) {
            page.exited = Some(*exited);
            page.dwell_ms = Some(*dwell_ms);
        }
        page
    }

    /// The page that an event entered.
    pub(in crate::store) fn entered_by(&self, event: Seq) -> Option<&PageRow> {
        self.place(event.0).map(|at| &self.0[at])
    }
}

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

/// Holds a page back until its event is written. Pages come in the order of their events.
pub fn insert(tx: &WriteTx<'_>, page: PageRow) {
    let mut held = tx.held().borrow_mut();
    held.writes += 1;
    held.pages.0.push(page);
}

/// One page, held or stored.
pub fn get(tx: &WriteTx<'_>, page_id: i64) -> Result<Option<PageRow>> {
    if let Some(page) = tx.held().borrow().pages.entered_by(Seq(page_id)) {
        return Ok(Some(page.clone()));
    }
    Ok(read(tx, page_id)?.map(|page| tx.held().borrow().pages.as_left(page)))
}

/// One stored page.
pub fn read(tx: &ReadTx<'_>, page_id: i64) -> Result<Option<PageRow>> {
    let sql = format!("SELECT {COLUMNS} FROM pages p WHERE p.page_id = ?1");
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_row([page_id], from_row).optional())
        .map_err(|e| open::error("reading a page", e))
}

/// The newest page of a visit with the client's id `client_page`, held or among those entered by its newest thousand events.
pub fn by_client_id(tx: &WriteTx<'_>, visit_id: i64, client_page: &ClientId) -> Result<Option<PageRow>> {
    let wanted = |p: &&PageRow| p.visit_id == visit_id && p.client_page.as_ref() == Some(client_page);
    if let Some(page) = tx.held().borrow().pages.0.iter().rev().find(wanted) {
        return Ok(Some(page.clone()));
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM (SELECT seq FROM events WHERE visit_id = ?1 ORDER BY seq DESC LIMIT ?3) e \
         CROSS JOIN pages p ON p.page_id = e.seq WHERE p.client_page = ?2 ORDER BY e.seq DESC LIMIT 1"
    );
    let stored = tx
        .conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_row((visit_id, client_page, LOOK_BACK), from_row).optional())
        .map_err(|e| open::error("finding a page", e))?;
    Ok(stored.map(|page| tx.held().borrow().pages.as_left(page)))
}

/// Closes a page: when it was left and how long it was open, ms.
pub fn exit(tx: &WriteTx<'_>, page_id: i64, exited: Millis, dwell_ms: i64) {
    let mut held = tx.held().borrow_mut();
    held.writes += 1;
    match held.pages.place(page_id) {
        Some(at) => {
            let page = &mut held.pages.0[at];
            page.exited = Some(exited);
            page.dwell_ms = Some(dwell_ms);
        }
        None => held.pages.1.push((page_id, exited, dwell_ms)),
    }
}

/// Writes how long the stored pages were open that were left in this group.
pub(in crate::store) fn settle(tx: &WriteTx<'_>) -> Result<()> {
    let mut held = tx.held().borrow_mut();
    let mut leaving = Repeated::new(tx, events::LEAVE);
    for (page_id, _, dwell_ms) in held.pages.1.drain(..) {
        leaving.execute((page_id, dwell_ms)).map_err(|e| open::error("leaving a page", e))?;
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
