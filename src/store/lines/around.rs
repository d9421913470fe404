//! What stands around an event's row: its site, its visit and visitor, its session, its referrer in full. Each is looked up
//! once in a scan: neighbouring events share them, and a look-up costs more than the row.
//! Must never outlive its snapshot. Invariant: floors are those of the snapshot the lines are read from.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{CachedStatement, OptionalExtension};

use super::{RESTRICTED_UPTO, SHARE_FLOOR};
use crate::base::error::Result;
use crate::base::id::{VisitorRef, uuid_text};
use crate::domain::line::About;
use crate::domain::referrer;
use crate::store::{ReadTx, open};

/// Things of a kind kept at once; when full, all go.
const KEPT_MAX: usize = 1_024;

/// What lines show of a visit and its visitor; all of it immutable but `about`.
pub(super) struct Visited {
    pub(super) about: About,
    pub(super) visitor_ref: String,
    pub(super) visit_id: String,
    pub(super) stream: String,
    /// The visitor, where its decisions do not lie in the consent lane yet.
    pub(super) undisclosed: Option<VisitorRef>,
}

pub(super) struct Around<'c> {
    site: CachedStatement<'c>,
    visit: CachedStatement<'c>,
    session: CachedStatement<'c>,
    sites: HashMap<i64, Option<Arc<str>>>,
    visits: HashMap<i64, Option<Visited>>,
    referrers: HashMap<String, Arc<str>>,
}

impl<'c> Around<'c> {
    pub(super) fn new(tx: &ReadTx<'c>) -> Result<Self> {
        let sql = format!(
            "SELECT w.visitor_id, w.visitor_ref, w.measure_floor, w.disclosed, v.visit_uuid, v.stream, {SHARE_FLOOR}, \
             {RESTRICTED_UPTO} FROM visits v JOIN visitors w ON w.visitor_id = v.visitor_id WHERE v.visit_id = ?1"
        );
        let prepared = |sql: &str| {
            tx.conn().prepare_cached(sql).map_err(|e| open::error("preparing to read what stands around lines", e))
        };
        Ok(Around {
            site: prepared("SELECT t.name FROM sites t WHERE t.site_id = ?1")?,
            visit: prepared(&sql)?,
            session: prepared("SELECT n.session_uuid FROM sessions n WHERE n.session_id = ?1")?,
            sites: HashMap::new(),
            visits: HashMap::new(),
            referrers: HashMap::new(),
        })
    }

    /// The name of a site.
    pub(super) fn site(&mut self, site_id: i64) -> Result<Option<Arc<str>>> {
        if let Some(known) = self.sites.get(&site_id) {
            return Ok(known.clone());
        }
        let name: Option<String> = self
            .site
            .query_row([site_id], |r| r.get(0))
            .optional()
            .map_err(|e| open::error("reading the site of a line", e))?;
        let name: Option<Arc<str>> = name.map(Into::into);
        make_room(&mut self.sites);
        self.sites.insert(site_id, name.clone());
        Ok(name)
    }

    /// A visit and its visitor.
    pub(super) fn visit(&mut self, visit_id: i64) -> Result<Option<&Visited>> {
        if !self.visits.contains_key(&visit_id) {
            let found = self
                .visit
                .query_row([visit_id], visited)
                .optional()
                .map_err(|e| open::error("reading the visit of a line", e))?;
            make_room(&mut self.visits);
            self.visits.insert(visit_id, found);
        }
        Ok(self.visits.get(&visit_id).and_then(Option::as_ref))
    }

    /// The public id of a session.
    pub(super) fn session(&mut self, session_id: i64) -> Result<Option<String>> {
        let uuid: Option<[u8; 16]> = self
            .session
            .query_row([session_id], |r| r.get(0))
            .optional()
            .map_err(|e| open::error("reading the session of a line", e))?;
        Ok(uuid.map(|uuid| uuid_text(&uuid)))
    }

    /// A referrer as lines show it, from what its row keeps.
    pub(super) fn referrer(&mut self, kept: &str) -> Arc<str> {
        if let Some(known) = self.referrers.get(kept) {
            return Arc::clone(known);
        }
        let whole: Arc<str> = referrer::whole(kept).into();
        make_room(&mut self.referrers);
        self.referrers.insert(kept.to_owned(), Arc::clone(&whole));
        whole
    }
}

fn make_room<K, V>(kept: &mut HashMap<K, V>) {
    if kept.len() >= KEPT_MAX {
        kept.clear();
    }
}

fn visited(r: &rusqlite::Row<'_>) -> rusqlite::Result<Visited> {
    let visitor: VisitorRef = r.get(1)?;
    let disclosed: bool = r.get(3)?;
    Ok(Visited {
        about: About {
            visitor_id: r.get(0)?,
            measure_floor: r.get(2)?,
            share_floor: r.get(6)?,
            restricted_upto: r.get(7)?,
        },
        visitor_ref: visitor.to_string(),
        visit_id: uuid_text(&r.get(4)?),
        stream: r.get(5)?,
        undisclosed: (!disclosed).then_some(visitor),
    })
}
