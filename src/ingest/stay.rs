//! What an event does to its visit: joins or opens it, enters or leaves a page, begins or ends a session.
//! Owns the projection of a visit; must never decide rights or write the event's own row.
//! Invariant: counts of a visit equal its rows; a visit is never merged or split afterwards.

use serde::Serialize;

use crate::base::digest::HashKey;
use crate::base::error::Result;
use crate::base::id::{Seq, mint_uuid};
use crate::base::text::push_json;
use crate::base::time::Millis;
use crate::domain::event::{Act, Attribute, Event};
use crate::domain::placement::{Arrival, Placement, Window, place};
use crate::domain::referrer::{self, Medium, Referrer};
use crate::domain::stored::{PageRow, SessionRow};
use crate::domain::visit::{EndReason, Visit};
use crate::domain::visitor::Visitor;
use crate::ingest::record::Kept;
use crate::store::identities::{self, Association};
use crate::store::{agents, pages, sessions, visits};

/// Searches remembered per visit.
const SEARCHES_MAX: usize = 20;

/// JSON text of what has string keys.
pub(in crate::ingest) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("invariant: domain shapes have string keys")
}

/// A JSON object of the attributes' values.
pub(in crate::ingest) fn attribute_values(list: &[Attribute]) -> Option<String> {
    object(list.iter().map(|a| (a.name.as_str(), a.value.as_str())))
}

fn object<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Option<String> {
    let mut out = String::with_capacity(pairs.clone().map(|(name, value)| name.len() + value.len() + 6).sum());
    for (name, value) in pairs {
        out.push(if out.is_empty() { '{' } else { ',' });
        push_json(&mut out, name);
        out.push(':');
        push_json(&mut out, value);
    }
    (!out.is_empty()).then(|| out + "}")
}

/// Campaign or external referrer an event came from, as a hash; 0 = none.
/// Imports go by the gap between events alone.
fn source(ev: &Event, key: &HashKey) -> i64 {
    if ev.imported_at.is_some() {
        return 0;
    }
    let text = match (&ev.campaign, &ev.referrer) {
        (Some(campaign), _) => json(campaign),
        (None, Some(r)) if r.medium != Medium::Internal => format!("{}\0{}", r.medium.as_str(), r.domain),
        _ => return 0,
    };
    match key.hash64(&[b"source", text.as_bytes()]) {
        0 => 1, // 0 is no source
        hash => hash,
    }
}

/// A page without a campaign that tells the referrer of its visit's landing again, as pages of one-page apps do.
fn came_from_there(ev: &Event, visit: &Visit) -> bool {
    let (None, Some(told), Some(landed)) = (&ev.campaign, &ev.referrer, &visit.referrer) else { return false };
    referrer::url_of(landed).is_some_and(|url| *url == *told.url)
}

/// The visit the event joins, with its marks moved, or a new one. The flag tells which.
pub(in crate::ingest) fn find_or_open(kept: &Kept<'_, '_>, visitor: &mut Visitor, seq: Seq) -> Result<(Visit, bool)> {
    let (tx, ev, options) = (kept.tx, kept.ev, &kept.rules.visits);
    let mut known = visits::candidates(tx, visitor.id, kept.at, ev.visit.as_ref(), options.window_ms())?;
    let epoch = tx.identity().epoch_id;
    let living = |v: &Visit| v.epoch_id == epoch && v.id > visitor.measure_floor.0;
    let arrival = Arrival { at: kept.at, named: ev.visit.as_ref(), source: source(ev, &tx.identity().hash_key) };
    let source_of = |v: &Visit| if came_from_there(ev, v) { arrival.source } else { v.source };
    let windows: Vec<Window> =
        known.iter().map(|v| Window { source: source_of(v), ..Window::of(v, living(v)) }).collect();
    match place(&windows, &arrival, options) {
        Placement::Join(i) => {
            let mut visit = known.swap_remove(i);
            join(kept, &mut visit, seq);
            Ok((visit, false))
        }
        Placement::Open { .. } if matches!(ev.act, Act::VisitEnded(_)) && known.iter().any(living) => {
            // contract 3: a visit ends by its own signal, and a signal is no activity. One that comes when the visit is over
            // ends nothing, and must not make a visit of a single "I am gone": it is kept with the visit it is about.
            let reach = |v: &Visit| (kept.at.since(v.last_active).max(v.started.since(kept.at)).max(0), v.id);
            let nearest = known.into_iter().filter(|v| living(v)).min_by_key(reach);
            let mut visit = nearest.expect("invariant: one is living");
            tag_along(kept, &mut visit, seq);
            Ok((visit, false))
        }
        Placement::Open { ends } => {
            let known = known.into_iter().enumerate().filter(|(_, v)| living(v)).collect();
            end_others(kept, known, ends, seq);
            visitor.visit_count += 1;
            let mut visit = open(kept, visitor, seq, arrival.source)?;
            mark(kept, &mut visit);
            Ok((visit, true))
        }
    }
}

/// A new source ends the visit it would have joined; an idle one is over too.
fn end_others(kept: &Kept<'_, '_>, known: Vec<(usize, Visit)>, ends: Option<usize>, seq: Seq) {
    let options = &kept.rules.visits;
    for (i, mut visit) in known {
        let due = visit.due(options);
        let end = match ends {
            Some(ended) if ended == i => (kept.at, EndReason::NewSource),
            _ if visit.end.is_none() && kept.at >= due => (due, idle_reason(&visit)),
            _ => continue,
        };
        visit.end = Some(end);
        visit.last_seq = seq;
        visits::keep(kept.tx, visit, options, false);
    }
}

fn idle_reason(visit: &Visit) -> EndReason {
    if visit.client_visit.is_some() { EndReason::Expired } else { EndReason::Idle }
}

fn join(kept: &Kept<'_, '_>, visit: &mut Visit, seq: Seq) {
    visit.started = visit.started.min(kept.at);
    if kept.ev.act.is_activity() {
        visit.last_active = visit.last_active.max(kept.at);
    }
    tag_along(kept, visit, seq);
    if let Some((_, EndReason::Idle)) = visit.end {
        visit.end = Some((visit.due(&kept.rules.visits), EndReason::Idle));
    }
    mark(kept, visit);
}

/// What an event changes in its visit even where it moves none of its marks.
fn tag_along(kept: &Kept<'_, '_>, visit: &mut Visit, seq: Seq) {
    visit.last_received = visit.last_received.max(kept.from.received);
    visit.event_count += 1;
    visit.last_seq = seq;
    visit.rights.flags = visit.rights.flags.and(kept.rights.flags);
    visit.rights.exempt |= kept.rights.exempt;
}

/// What any event may add to its visit: a search, a device it did not tell before, its end.
fn mark(kept: &Kept<'_, '_>, visit: &mut Visit) {
    let ev = kept.ev;
    if let Some(query) = &ev.search_query {
        let mut list: Vec<String> =
            visit.searches.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        if list.len() < SEARCHES_MAX && !list.contains(query) {
            list.push(query.clone());
            visit.searches = Some(json(&list));
        }
    }
    if visit.context.is_none() {
        visit.context.clone_from(&ev.context);
    }
    if let Act::VisitEnded(reason) = ev.act
        && visit.end.is_none_or(|(_, before)| before == EndReason::Idle)
    {
        visit.end = Some((kept.at.max(visit.last_active), reason));
    }
}

fn open(kept: &Kept<'_, '_>, visitor: &Visitor, seq: Seq, source: i64) -> Result<Visit> {
    let ev = kept.ev;
    let agent_id = match (&ev.user_agent, &ev.agent) {
        (Some(text), Some(agent)) => Some(agents::intern(kept.tx, text, agent)?),
        _ => None,
    };
    Ok(Visit {
        id: seq.0,
        uuid: mint_uuid(kept.from.received),
        site_id: kept.seat.id,
        visitor_id: visitor.id,
        epoch_id: kept.tx.identity().epoch_id,
        client_visit: ev.visit.clone(),
        stream: ev.stream,
        device_id: ev.device_id.clone(),
        agent_id,
        started: kept.at,
        last_active: kept.at,
        last_received: kept.from.received,
        end: None,
        source,
        referrer: ev.referrer.as_ref().map(Referrer::packed),
        campaign: ev.campaign.as_ref().map(json),
        context: ev.context.clone(),
        place: ev.place.as_ref().map(json),
        ip: ev.ip.clone(),
        searches: None,
        entry_page: None,
        last_page: None,
        open_page_since: None,
        page_count: 0,
        screen_count: 0,
        event_count: 1,
        authenticated: false,
        session_id: None,
        last_seq: seq,
        snapshot_seq: Seq(0),
        rights: kept.rights,
    })
}

/// Enters or leaves a page; returns the page the event happened on.
pub(in crate::ingest) fn pages(
    kept: &Kept<'_, '_>,
    visitor: &mut Visitor,
    visit: &mut Visit,
    seq: Seq,
) -> Result<Option<i64>> {
    match kept.ev.act {
        Act::PageEntered => enter(kept, visitor, visit, seq).map(Some),
        Act::PageExited => leave(kept, visit),
        _ => match &kept.ev.page.id {
            Some(id) => Ok(pages::by_client_id(kept.tx, visit.id, id)?.map(|p| p.id).or(visit.last_page)),
            None => Ok(visit.last_page),
        },
    }
}

fn enter(kept: &Kept<'_, '_>, visitor: &mut Visitor, visit: &mut Visit, seq: Seq) -> Result<i64> {
    let (info, at) = (&kept.ev.page, kept.at);
    let newest = leave_for(kept, visit)?;
    pages::insert(
        kept.tx,
        PageRow {
            id: seq.0,
            visit_id: visit.id,
            client_page: info.id.clone(),
            url: info.address.as_ref().map(|a| a.url.to_string()),
            screen: info.screen.clone(),
            title: info.title.clone(),
            keywords: info.keywords.clone(),
            language: info.language.clone(),
            category: info.category.clone(),
            entered: at,
            exited: None,
            dwell_ms: None,
            rights: kept.rights,
        },
    );
    if newest {
        visit.last_page = Some(seq.0);
        visit.open_page_since = Some(at);
    }
    let first = match visit.entry_page {
        Some(entry) if !newest => pages::get(kept.tx, entry)?.is_none_or(|p| at < p.entered),
        entry => entry.is_none(),
    };
    if first {
        visit.entry_page = Some(seq.0);
    }
    let count = if info.screen.is_some() { &mut visit.screen_count } else { &mut visit.page_count };
    *count += 1;
    visitor.page_count += 1;
    Ok(seq.0)
}

/// Leaves the newest page for one that is entered now. False where that page was entered later than this one.
fn leave_for(kept: &Kept<'_, '_>, visit: &Visit) -> Result<bool> {
    let Some(page_id) = visit.last_page else { return Ok(true) };
    let (entered, open) = match visit.open_page_since {
        Some(since) => (since, true), // most often: no need to read the page again
        None => match pages::get(kept.tx, page_id)? {
            Some(page) => (page.entered, page.exited.is_none()),
            None => return Ok(true),
        },
    };
    if open && entered <= kept.at {
        pages::exit(kept.tx, page_id, kept.at, kept.at.since(entered));
    }
    Ok(entered <= kept.at)
}

fn leave(kept: &Kept<'_, '_>, visit: &mut Visit) -> Result<Option<i64>> {
    let page = match (&kept.ev.page.id, visit.last_page) {
        (Some(id), _) => pages::by_client_id(kept.tx, visit.id, id)?,
        (None, Some(last)) => pages::get(kept.tx, last)?,
        (None, None) => None,
    };
    let Some(page) = page else { return Ok(None) };
    let url = kept.ev.page.address.as_ref().map(|a| a.url.as_str());
    let same = kept.ev.page.id.is_some() || url.is_none() || url == page.url.as_deref();
    if same && page.exited.is_none() && kept.at >= page.entered {
        pages::exit(kept.tx, page.id, kept.at, kept.at.since(page.entered));
        if visit.last_page == Some(page.id) {
            visit.open_page_since = None;
        }
    }
    Ok(same.then_some(page.id))
}

/// Begins or ends a session, ties an identity; returns the session the event happened in.
/// The seam of the identification state machine: states beyond these are added here.
pub(in crate::ingest) fn sessions(
    kept: &Kept<'_, '_>,
    visitor: &Visitor,
    visit: &mut Visit,
    seq: Seq,
) -> Result<Option<i64>> {
    let open = visit.session_id;
    match kept.ev.act {
        Act::SignIn => {
            if let Some(id) = open {
                close(kept, id, kept.at)?;
            }
            let identity_id = identity(kept, Association::Authenticated)?;
            let row = SessionRow {
                id: seq.0,
                uuid: mint_uuid(kept.from.received),
                visit_id: visit.id,
                identity_id,
                started: kept.at,
                ended: None,
                rights: kept.rights,
            };
            sessions::insert(kept.tx, &row)?;
            visit.session_id = Some(seq.0);
            visit.authenticated = true;
            tie(kept, identity_id, visit, visitor, Association::Authenticated)?;
        }
        Act::SignOut => {
            if let Some(id) = open {
                close(kept, id, kept.at)?;
            }
            visit.session_id = None;
            visit.authenticated = false;
            return Ok(open);
        }
        Act::UserInfo => {
            let identity_id = identity(kept, Association::Recognized)?;
            let signed_in = match open {
                Some(id) => sessions::get(kept.tx, id)?.and_then(|session| session.identity_id),
                None => None,
            };
            if identity_id.is_some() && identity_id == signed_in {
                identity(kept, Association::Authenticated)?; // more is told of who is signed in: that stands
            } else {
                tie(kept, identity_id, visit, visitor, Association::Recognized)?;
            }
        }
        _ => {}
    }
    Ok(visit.session_id)
}

fn identity(kept: &Kept<'_, '_>, how: Association) -> Result<Option<i64>> {
    match &kept.ev.personal.identity {
        Some(key) if kept.personal_kept() && !kept.name_erased(key)? => {
            identities::seen(kept.tx, kept.seat.id, key, how, kept.from.received, kept.rights).map(Some)
        }
        _ => Ok(None),
    }
}

fn tie(
    kept: &Kept<'_, '_>,
    identity_id: Option<i64>,
    visit: &Visit,
    visitor: &Visitor,
    how: Association,
) -> Result<()> {
    let Some(id) = identity_id else { return Ok(()) };
    identities::tie(kept.tx, id, (visit.id, visitor.id), visit.session_id, how, kept.from.received)
}

fn close(kept: &Kept<'_, '_>, session_id: i64, at: Millis) -> Result<()> {
    let session = sessions::get(kept.tx, session_id)?;
    sessions::end(kept.tx, session_id, at)?;
    match session.and_then(|s| s.identity_id) {
        Some(id) => identities::signed_out(kept.tx, id, kept.from.received),
        None => Ok(()),
    }
}
