//! Events and visits: many by a filter, or one with all that belongs to it.
//! Must never show what lies at or below a measure floor. Invariant: a list is walked without gap or repeat by its cursors.

use std::collections::HashMap;

use serde::Serialize;

use crate::base::error::{Error, Result};
use crate::base::id::{ClientId, Seq};
use crate::base::text::cut;
use crate::domain::consent::Purposes;
use crate::history::filter::{self, Filter};
use crate::history::person::VisitorView;
use crate::history::view::{EventView, Floors, PageView, SessionView, VisitView};
use crate::history::{History, Page};
use crate::store::queries::{self, FoundEvent, FoundVisit, Wanted, Whence};
use crate::store::{ReadTx, floors, pages, sessions, visitors};

/// Pages and events shown with one visit at the most.
const PARTS_MAX: i64 = 1_000;

/// One visit with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VisitDetail {
    /// The visit.
    #[serde(flatten)]
    pub visit: VisitView,
    /// Whose it is.
    pub visitor: VisitorView,
    /// Names the site gave the customer in this visit.
    pub identities: Vec<IdentityView>,
    /// Pages and screens, in the order they were entered.
    pub pages: Vec<PageView>,
    /// Authenticated periods.
    pub sessions: Vec<SessionView>,
    /// Events, in the order they came.
    pub events: Vec<EventView>,
    /// There are more pages or events than are shown.
    pub more: bool,
}

/// A name the site gave a customer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IdentityView {
    /// The name; null where the root key is not at hand to open it.
    pub key: Option<String>,
    /// recognized or authenticated.
    pub association: String,
    /// Since when.
    pub at: String,
}

/// The floors of the visitors of one answer, each read once.
#[derive(Default)]
pub(in crate::history) struct FloorBook(HashMap<i64, Floors>);

impl FloorBook {
    /// The floors of a visitor; no query where it has none.
    pub(in crate::history) fn of(&mut self, tx: &ReadTx<'_>, whence: &Whence) -> Result<&Floors> {
        let floors = match self.0.entry(whence.visitor_id) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) => free.insert(if whence.floors.is_none() {
                Floors::new()
            } else {
                floors::of_visitor(tx, whence.visitor_id)?
            }),
        };
        Ok(floors)
    }
}

/// The floor of one purpose; 0 where it has none.
pub(in crate::history) fn floor_of(floors: &Floors, purpose: Purposes) -> Seq {
    floors.iter().filter(|(one, _)| *one == purpose).map(|(_, seq)| *seq).max().unwrap_or_default()
}

impl History {
    /// Events by a filter. Errors: `Invalid` for a filter or cursor that does not hold, `NotFound` for an unknown site,
    /// `Busy` where it takes too long.
    pub fn events(&self, filter: &Filter) -> Result<Page<EventView>> {
        self.read(|tx| {
            let Some(wanted) = filter.wanted(tx, "events")? else { return Ok(empty()) };
            let mut found = queries::find_events(tx, &wanted)?;
            let next = cut_page(tx, filter, "events", &mut found, |f: &FoundEvent| f.event.seq)?;
            Ok(Page { items: self.event_views(tx, found)?, next })
        })
    }

    /// Views of events that were found.
    pub(in crate::history) fn event_views(&self, tx: &ReadTx<'_>, found: Vec<FoundEvent>) -> Result<Vec<EventView>> {
        let mut book = FloorBook::default();
        found
            .into_iter()
            .map(|f| {
                let floors = book.of(tx, &f.whence)?;
                Ok(self.event_view(f, floors))
            })
            .collect()
    }

    /// One event by its number or its id. Errors: `NotFound`.
    pub fn event(&self, which: &str) -> Result<EventView> {
        let missing = || {
            Error::not_found(format!("no event {:?}", cut(which, 80))).remedy(
                "it may have been counted only, refused, withdrawn or removed: `wayside tail` shows each fate live",
            )
        };
        self.read(|tx| {
            let by_number = match which.parse() {
                Ok(number) => one_event(tx, Seq(number))?,
                Err(_) => None,
            };
            let found = match (by_number, queries::seq_of(tx, &ClientId::new(which))?) {
                (Some(found), _) => Some(found),
                (None, Some(seq)) => one_event(tx, seq)?,
                (None, None) => None,
            };
            let found = found.ok_or_else(missing)?;
            let key = visitors::get(tx, found.whence.visitor_id)?.map(|visitor| visitor.key.to_string());
            let mut views = self.event_views(tx, vec![found])?;
            let view = views.pop().ok_or_else(missing)?;
            Ok(EventView { visitor: key, ..view })
        })
    }

    /// Visits by a filter. Errors: as [`History::events`].
    pub fn visits(&self, filter: &Filter) -> Result<Page<VisitView>> {
        if filter.name.is_some() {
            return Err(Error::invalid("visits cannot be filtered by the name of an event")
                .code("filter")
                .remedy("list events by that name; each names its visit"));
        }
        self.read(|tx| {
            let Some(wanted) = filter.wanted(tx, "visits")? else { return Ok(empty()) };
            let mut found = queries::find_visits(tx, &wanted)?;
            let next = cut_page(tx, filter, "visits", &mut found, |f: &FoundVisit| Seq(f.visit.id))?;
            Ok(Page { items: self.visit_views(tx, found)?, next })
        })
    }

    /// Views of visits that were found.
    pub(in crate::history) fn visit_views(&self, tx: &ReadTx<'_>, found: Vec<FoundVisit>) -> Result<Vec<VisitView>> {
        let mut book = FloorBook::default();
        found
            .into_iter()
            .map(|f| {
                let floors = book.of(tx, &f.whence)?;
                Ok(self.visit_view(f, floors))
            })
            .collect()
    }

    /// One visit by its id or its number, with its visitor, pages, sessions and events. Errors: `NotFound`.
    pub fn visit(&self, which: &str) -> Result<VisitDetail> {
        let missing = || Error::not_found(format!("no visit {:?}", cut(which, 80)));
        self.read(|tx| {
            let id = filter::visit_id(tx, which)?.ok_or_else(missing)?;
            let wanted = Wanted { visit_id: Some(id), limit: PARTS_MAX + 1, ..Wanted::default() };
            let found = queries::find_visits(tx, &wanted)?.pop().ok_or_else(missing)?;
            let mut book = FloorBook::default();
            let floors = book.of(tx, &found.whence)?;
            let visitor = visitors::get(tx, found.whence.visitor_id)?.ok_or_else(missing)?;
            let visitor = self.visitor_view(tx, &found.whence.site, &visitor, floors)?;
            let personal = floor_of(floors, Purposes::PERSONAL);
            let visit = self.visit_view(found, floors);
            let mut pages = pages::of_visit(tx, id, PARTS_MAX + 1)?;
            let mut events = queries::find_events(tx, &wanted)?;
            let most = usize::try_from(PARTS_MAX).unwrap_or(usize::MAX);
            let more = pages.len() > most || events.len() > most;
            pages.truncate(most);
            events.truncate(most);
            let contacts = queries::contacts(tx, id)?;
            // a tie without a session is as old as its visit, as far as can be told
            let shown = contacts.into_iter().filter(|c| Seq(c.session_id.unwrap_or(id)) > personal);
            Ok(VisitDetail {
                visit,
                visitor,
                identities: shown
                    .map(|c| IdentityView { key: c.key, association: c.association, at: c.at.rfc3339() })
                    .collect(),
                pages: pages.into_iter().map(PageView::from).collect(),
                sessions: sessions::of_visit(tx, id)?.into_iter().map(SessionView::from).collect(),
                events: self.event_views(tx, events)?,
                more,
            })
        })
    }
}

fn empty<T>() -> Page<T> {
    Page { items: Vec::new(), next: None }
}

fn one_event(tx: &ReadTx<'_>, seq: Seq) -> Result<Option<FoundEvent>> {
    let wanted = Wanted { after: Some(Seq(seq.0.saturating_sub(1))), limit: 1, ..Wanted::default() };
    Ok(queries::find_events(tx, &wanted)?.pop().filter(|found| found.event.seq == seq))
}

/// Cuts what was found to the limit, and makes the cursor where something was cut.
fn cut_page<T>(
    tx: &ReadTx<'_>,
    filter: &Filter,
    list: &str,
    found: &mut Vec<T>,
    seq: impl Fn(&T) -> Seq,
) -> Result<Option<String>> {
    let most = usize::try_from(filter.limit()?).unwrap_or(usize::MAX);
    if found.len() <= most {
        return Ok(None);
    }
    found.truncate(most);
    found.last().map(|last| Ok(filter.cursors(tx, list)?.encode(seq(last)))).transpose()
}
