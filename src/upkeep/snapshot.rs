//! The `visit` line: what a visit came to, frozen when it has ended and again after every later change (contract 5).
//! Owns the line's fields. Must never put a personal field, a client's own id or an address into it.
//! Invariant: the line carries the rights of its visit, and the visit's number as `first_seq`, so that floors cover it.

use crate::base::error::Result;
use crate::base::id::{Salt, uuid_text};
use crate::base::time::Millis;
use crate::domain::body::{self, VisitBody};
use crate::domain::event::Lane;
use crate::domain::line::LineKind;
use crate::domain::referrer;
use crate::domain::stored::PageRow;
use crate::domain::visit::{EndReason, Visit};
use crate::store::frozen::{self, FrozenRow};
use crate::store::{ReadTx, WriteTx, agents, identities, lines, pages, sessions, visitors, visits};

/// Rows that one snapshot changes at the most: line, visit, session, identity.
const ROWS_EACH: i64 = 4;

/// Makes the snapshots that are due in one step of at most `rows` rows; returns how many visits were seen to.
pub(in crate::upkeep) fn make(tx: &WriteTx<'_>, now: Millis, quiet_ms: i64, rows: i64) -> Result<u64> {
    let changed = visits::changed(tx, now, quiet_ms, (rows / ROWS_EACH).max(1))?;
    for visit in &changed {
        let Some(end) = visit.end else { continue };
        one(tx, visit, end)?;
    }
    Ok(changed.len() as u64)
}

fn one(tx: &WriteTx<'_>, visit: &Visit, (ended, reason): (Millis, EndReason)) -> Result<()> {
    if let Some(session_id) = visit.session_id {
        end_session(tx, session_id, visit, ended)?;
    }
    let seq = tx.next_seq();
    // what is kept under an exemption never leaves: no line is made of it
    if !visit.rights.exempt {
        let mut inside = inside(tx, visit, ended, reason)?;
        if let Some(epoch_id) = frozen::epoch_of(tx, visit.snapshot_seq)? {
            let own = lines::origin(tx, tx.identity().epoch_id)?;
            let replaces = body::replaces(visit.snapshot_seq, lines::origin(tx, epoch_id)?, own);
            inside.insert_str(inside.len() - 1, &replaces);
        }
        frozen::insert(
            tx,
            &FrozenRow {
                seq,
                lane: Lane::Visits,
                kind: LineKind::Visit,
                epoch_id: tx.identity().epoch_id,
                site_id: Some(visit.site_id),
                visitor_id: Some(visit.visitor_id),
                first_seq: crate::base::id::Seq(visit.id),
                received: tx.now(),
                corrected: ended,
                rights: visit.rights,
                salt: Salt::mint(),
                body: inside,
            },
        )?;
    }
    visits::snapshot_made(tx, visit.id, seq)
}

/// Nobody is signed in beyond the end of the visit.
fn end_session(tx: &WriteTx<'_>, session_id: i64, visit: &Visit, ended: Millis) -> Result<()> {
    let session = sessions::get(tx, session_id)?;
    sessions::end(tx, session_id, ended)?;
    match session.and_then(|s| s.identity_id) {
        Some(id) => identities::signed_out(tx, id, visit.last_received),
        None => Ok(()),
    }
}

fn page(tx: &ReadTx<'_>, page_id: Option<i64>) -> Result<Option<PageRow>> {
    match page_id {
        Some(id) => pages::read(tx, id),
        None => Ok(None),
    }
}

fn inside(tx: &ReadTx<'_>, visit: &Visit, ended: Millis, reason: EndReason) -> Result<String> {
    let agent = match visit.agent_id {
        Some(id) => agents::get(tx, id)?,
        None => None,
    };
    let visitor = visitors::get(tx, visit.visitor_id)?;
    let (entry, last) = (page(tx, visit.entry_page)?, page(tx, visit.last_page)?);
    let url = |page: &Option<PageRow>| page.as_ref().and_then(|p| p.url.clone());
    let screen = |page: &Option<PageRow>| page.as_ref().and_then(|p| p.screen.clone());
    let title = |page: &Option<PageRow>| page.as_ref().and_then(|p| p.title.clone());
    let referrer = visit.referrer.as_deref().map(referrer::whole);
    let body = VisitBody {
        visit_id: uuid_text(&visit.uuid),
        visitor_ref: visitor.map(|v| v.visitor_ref.to_string()).unwrap_or_default(),
        first_seq: visit.id,
        stream: visit.stream.word(),
        started_at: visit.started.rfc3339(),
        last_active_at: visit.last_active.rfc3339(),
        ended_at: ended.rfc3339(),
        end_reason: reason.word(),
        last_received_at: visit.last_received.rfc3339(),
        page_count: visit.page_count,
        screen_count: visit.screen_count,
        event_count: visit.event_count,
        session_count: sessions::of_visit(tx, visit.id)?.len(),
        authenticated: visit.authenticated,
        device_id: visit.device_id.as_deref(),
        entry_url: url(&entry),
        entry_screen: screen(&entry),
        entry_title: title(&entry),
        last_url: url(&last),
        last_screen: screen(&last),
        last_title: title(&last),
        user_agent: agent.as_ref().map(|(text, _)| text.as_str()),
        device_category: agent.as_ref().map(|(_, a)| a.category.as_str()),
        device_type: agent.as_ref().and_then(|(_, a)| a.device_type.as_deref()),
        manufacturer: agent.as_ref().and_then(|(_, a)| a.manufacturer.as_deref()),
        browser_family: agent.as_ref().and_then(|(_, a)| a.browser_family.as_deref()),
        browser_version: agent.as_ref().and_then(|(_, a)| a.browser_version.as_deref()),
        os_family: agent.as_ref().and_then(|(_, a)| a.os_family.as_deref()),
        os_version: agent.as_ref().and_then(|(_, a)| a.os_version.as_deref()),
        robot: agent.as_ref().and_then(|(_, a)| a.robot.as_deref()),
        basis_id: visit.rights.basis_id,
        referrer: referrer.as_deref(),
        campaign: visit.campaign.as_deref(),
        context: visit.context.as_deref(),
        place: visit.place.as_deref(),
        searches: visit.searches.as_deref(),
    };
    Ok(format!("{{{}}}", body.text()))
}
