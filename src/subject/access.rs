//! The copy of a person's data (Art. 15), and the machine-readable part the person provided (Art. 20), as JSON.
//! Must never show a row outside the scope. Invariant: what is told is what the scope holds, nothing derived anew.

use serde_json::{Map, Value, json};

use crate::base::error::Result;
use crate::base::id::{Seq, uuid_text};
use crate::base::time::Millis;
use crate::domain::attributes;
use crate::domain::consent::{LawfulBasis, Purposes};
use crate::domain::referrer;
use crate::domain::site::Seat;
use crate::store::decisions::DecisionRow;
use crate::store::queries::{FoundEvent, FoundVisit};
use crate::store::{ReadTx, floors};
use crate::subject::circumstances::Circumstances;
use crate::subject::scope::{OfVisit, OfVisitor, Scope};

/// The whole answer to a request for access. `heads` = who asked, when, how known: the register's own words.
pub fn answer(tx: &ReadTx<'_>, scope: &Scope, about: &Circumstances, heads: Value) -> Result<Value> {
    let mut people = Vec::new();
    for of in &scope.visitors {
        people.push(visitor(tx, of, about)?);
    }
    Ok(json!({
        "format": "wayside-access 1",
        "request": heads,
        "about": about.told(tx, scope)?,
        "people": people,
        "left_out": left_out(scope),
    }))
}

fn left_out(scope: &Scope) -> Value {
    let note = "visits, in whole or in part, in which somebody else was signed in on the same device, or in which it is not \
                known who was";
    json!({"visits": scope.left_out, "what": note})
}

/// Drops members that are null: a reader sees what there is.
fn lean(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, lean(v))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(lean).collect()),
        other => other,
    }
}

fn words(seat: Option<&Seat>, set: Purposes) -> Vec<String> {
    seat.map_or_else(Vec::new, |seat| set.names(&seat.site.book))
}

fn inner(text: Option<&str>) -> Value {
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null)
}

fn visitor(tx: &ReadTx<'_>, of: &OfVisitor, about: &Circumstances) -> Result<Value> {
    let seat = about.seat(of.visitor.site_id);
    let floors = floors::of_visitor(tx, of.visitor.id)?;
    let rights = |flags: Purposes, seq: Seq| words(seat, flags.without(floors::covering(&floors, seq)));
    let visits: Vec<Value> = of.visits.iter().map(|visit| visit_of(visit, &rights)).collect();
    Ok(lean(json!({
        "site": of.site,
        "visitor": of.visitor.key.to_string(),
        "visitor_ref": of.visitor.visitor_ref.to_string(),
        "first_seen_at": of.visitor.first_seen.rfc3339(),
        "last_seen_at": of.visitor.last_seen.rfc3339(),
        "granted": words(seat, of.visitor.standing.granted),
        "denied": words(seat, of.visitor.standing.denied),
        "personal_fields": of.fields.iter().map(|field| json!({
            "field": field.name, "value": field.value, "type": field.data_type, "told_at": field.at.rfc3339(),
            "event_seq": field.seq.0,
        })).collect::<Vec<_>>(),
        "consent_history": of.decisions.iter().map(|d| decision(seat, d)).collect::<Vec<_>>(),
        "visits": visits,
    })))
}

fn decision(seat: Option<&Seat>, d: &DecisionRow) -> Value {
    json!({
        "seq": d.seq.0,
        "decision_id": d.decision_id.to_string(),
        "action": d.action,
        "purposes": words(seat, d.purposes),
        "granted_before": words(seat, d.before),
        "granted_after": words(seat, d.after),
        "in_force": d.current,
        "method": d.method,
        "taken_by": d.actor,
        "notice": d.notice,
        "language": d.language,
        "gpc": d.gpc,
        "dnt": d.dnt,
        "received_at": d.received.rfc3339(),
        "decided_at": d.corrected.rfc3339(),
    })
}

type Rights<'a> = dyn Fn(Purposes, Seq) -> Vec<String> + 'a;

fn visit_of(of: &OfVisit, rights: &Rights<'_>) -> Value {
    let FoundVisit { visit, whence, .. } = &of.visit;
    let agent = whence.agent.as_ref();
    json!({
        "visit_id": uuid_text(&visit.uuid),
        "stream": visit.stream.word(),
        "started_at": visit.started.rfc3339(),
        "last_active_at": visit.last_active.rfc3339(),
        "ended_at": visit.end.map(|(at, _)| at.rfc3339()),
        "end_reason": visit.end.map(|(_, reason)| reason.word()),
        "device_id": visit.device_id,
        "browser": agent.and_then(|a| a.browser_family.clone()),
        "system": agent.and_then(|a| a.os_family.clone()),
        "device": agent.map(|a| a.category.as_str()),
        "robot": agent.and_then(|a| a.robot.clone()),
        "referrer": visit.referrer.as_deref().map(|text| inner(Some(&referrer::whole(text)))),
        "campaign": inner(visit.campaign.as_deref()),
        "place": inner(visit.place.as_deref()),
        "ip": visit.ip,
        "context": inner(visit.context.as_deref()),
        "searches": inner(visit.searches.as_deref()),
        "purposes": rights(visit.rights.flags, Seq(visit.id)),
        "known_as": of.known.iter().map(|(name, how)| json!({"identity": name, "how": how})).collect::<Vec<_>>(),
        "sessions": of.sessions.iter().map(|s| json!({
            "session_id": uuid_text(&s.uuid), "started_at": s.started.rfc3339(), "ended_at": s.ended.map(Millis::rfc3339),
        })).collect::<Vec<_>>(),
        "pages": of.pages.iter().map(|p| json!({
            "url": p.url, "screen": p.screen, "title": p.title, "language": p.language, "category": p.category,
            "entered_at": p.entered.rfc3339(), "exited_at": p.exited.map(Millis::rfc3339), "dwell_ms": p.dwell_ms,
        })).collect::<Vec<_>>(),
        "events": of.events.iter().map(|found| event(found, rights)).collect::<Vec<_>>(),
    })
}

fn event(found: &FoundEvent, rights: &Rights<'_>) -> Value {
    let e = &found.event;
    let withheld: Vec<&str> = e.withheld.as_deref().unwrap_or("").split(',').filter(|name| !name.is_empty()).collect();
    json!({
        "seq": e.seq.0,
        "event_id": e.event_id.to_string(),
        "name": e.name,
        "happened_at": e.corrected.rfc3339(),
        "received_at": e.received.rfc3339(),
        "url": e.url.as_ref().or(found.page_url.as_ref()),
        "title": e.title.as_ref().or(found.page_title.as_ref()),
        "screen": found.screen,
        "search_query": e.search_query,
        "referrer": e.referrer.as_deref().map(|text| inner(Some(&referrer::whole(text)))),
        "attributes": inner(e.attributes.as_deref()),
        "conversation": inner(e.conversation.as_deref()),
        "not_kept": (!withheld.is_empty()).then_some(withheld),
        "purposes": rights(e.rights.flags, e.seq),
        "basis": if e.rights.consent_seq.0 > 0 { "consent" } else if e.rights.exempt { "exempt" } else { "other" },
        "consent_seq": e.rights.consent_seq.0,
        "corrects_seq": e.replaces.map(|seq| seq.0),
    })
}

fn types_of(attributes: Option<&str>, kept: Option<&str>) -> Value {
    inner(kept.map(|kept| attributes::types(attributes, kept)).as_deref())
}

/// What the person provided, on consent or a contract (Art. 20): fields, decisions, and events as they were sent; nothing that
/// was derived from them.
pub fn portable(scope: &Scope, about: &Circumstances, heads: Value) -> Value {
    let mut people = Vec::new();
    for of in &scope.visitors {
        let seat = about.seat(of.visitor.site_id);
        let contract = seat.is_some_and(|seat| seat.site.gate.bases.on(LawfulBasis::Contract).has(Purposes::MEASURE));
        let provided = |found: &&FoundEvent| contract || found.event.rights.consent_seq.0 > 0;
        let events = of.visits.iter().flat_map(|visit| &visit.events).filter(provided).map(|found| {
            let e = &found.event;
            json!({
                "event_id": e.event_id.to_string(),
                "name": e.name,
                "time": e.corrected.rfc3339(),
                "url": e.url.as_ref().or(found.page_url.as_ref()),
                "title": e.title.as_ref().or(found.page_title.as_ref()),
                "screen": found.screen,
                "search_query": e.search_query,
                "attributes": inner(e.attributes.as_deref()),
                "attribute_types": types_of(e.attributes.as_deref(), e.attribute_types.as_deref()),
            })
        });
        let mut newest = Map::new();
        for field in of.fields.iter().rev() {
            newest.insert(field.name.clone(), json!(field.value)); // newest first in the scope: the last one wins
        }
        people.push(lean(json!({
            "site": of.site,
            "visitor": of.visitor.key.to_string(),
            "personal_fields": newest,
            "decisions": of.decisions.iter().map(|d| json!({
                "action": d.action, "purposes": words(seat, d.purposes), "time": d.corrected.rfc3339(),
            })).collect::<Vec<_>>(),
            "events": events.collect::<Vec<_>>(),
        })));
    }
    json!({"format": "wayside-portable 1", "request": heads, "people": people, "left_out": left_out(scope)})
}
