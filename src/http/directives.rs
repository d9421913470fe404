//! Directives of an enrolled centre: brought by hand or on a stick, handed down to edges, reported by them, and the register of how
//! far each edge is. Must never judge one: `forward::directives` does. Invariant: reports are answered signed, as they came.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::error::{Error, Result};
use crate::base::id::{EdgeId, uuid_bytes, uuid_text};
use crate::domain::directive::{DIRECTIVE, Directive};
use crate::domain::signed::Signed;
use crate::forward::directives::downstream::{Entry, Standing};
use crate::http::batches_in::sender;
use crate::http::operator::{answer, parsed};
use crate::http::request::Request;
use crate::http::router::Call;
use crate::http::server::Responder;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Brought {
    directives: Vec<Signed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    reports: Vec<Signed>,
}

/// Takes directives in, and answers with signed reports; at a relay those for edges below are kept for them.
pub fn take(call: Call<'_>, request: Request, done: Responder) {
    let made = parsed::<Brought>(&request).and_then(|brought| {
        let own = call.app.carry.edge().to_string();
        let (mut mine, mut kept, mut refused) = (Vec::new(), 0, Vec::new());
        for signed in brought.directives {
            let named = signed.open::<Directive>(DIRECTIVE, None).ok().map(|directive| directive.edge);
            let for_others = call.app.downstream.is_on() && named.as_ref().is_some_and(|edge| *edge != own);
            if for_others {
                match call.app.downstream.keep(&signed, None, None) {
                    Ok(_) => kept += 1,
                    Err(error) => refused.push(error.what),
                }
            }
            // what is for one edge below is not for this one
            if !for_others || named.is_some_and(|edge| edge == crate::domain::directive::ALL) {
                mine.push(signed);
            }
        }
        let took = call.app.directives.take(&mine)?;
        let repeated = |what: &String| refused.iter().any(|told: &String| what.ends_with(told.as_str()));
        let more: Vec<String> = took.refused.iter().filter(|what| !repeated(what)).cloned().collect();
        refused.extend(more);
        let reports: Vec<Value> = took.reports.iter().map(|report| json!(report)).collect();
        Ok(json!({"edge": own, "taken": took.taken, "kept": kept, "refused": refused, "reports": reports}))
    });
    answer(done, made);
}

fn edge_of(call: &Call<'_>) -> Result<EdgeId> {
    let edge = call.params.first().map(String::as_str).unwrap_or_default();
    EdgeId::parse(edge)
        .map_err(|_| Error::not_found("this names no edge").remedy("an edge is 32 hex digits: wayside status"))
}

/// Hands an edge what waits for it, behind `?after=`.
pub fn hand(call: Call<'_>, request: Request, done: Responder) {
    let made = || -> Result<Value> {
        let after = request.head.query_param("after").map_or(Ok(0), |text| {
            text.parse().map_err(|_| Error::invalid("after is no number").remedy("send the number `next` told"))
        })?;
        let handed = call.app.downstream.hand(edge_of(&call)?, sender(&call.caller)?, after)?;
        serde_json::to_value(handed).map_err(|e| Error::storage(format!("writing an answer: {e}")))
    };
    answer(done, made());
}

/// Takes what edges report.
pub fn report(call: Call<'_>, request: Request, done: Responder) {
    let made = || -> Result<Value> {
        edge_of(&call)?;
        let told: Told = parsed(&request)?;
        let heard = call.app.downstream.hear(sender(&call.caller)?, &told.reports)?;
        Ok(json!({"taken": heard.taken, "refused": heard.refused}))
    };
    answer(done, made());
}

/// One edge of a directive, as it is shown.
pub(in crate::http) fn standing(one: &Standing) -> Value {
    json!({
        "edge": one.edge.to_string(),
        "label": one.label,
        "state": one.state.map_or("silent", crate::domain::directive::Progress::word),
        "since": one.since.rfc3339(),
        "what": one.what,
        "late": one.late,
    })
}

fn shown(entry: &Entry, with_reports: bool) -> Value {
    let edge = |one: &Standing| {
        let mut row = standing(one);
        if with_reports {
            row["report"] = json!(one.report);
        }
        row
    };
    json!({
        "directive": uuid_text(&entry.kept.id),
        "action": entry.kept.action.word(),
        "for": entry.kept.edge.map_or_else(|| crate::domain::directive::ALL.to_owned(), |edge| edge.to_string()),
        "request": entry.kept.request_id.as_ref().map(uuid_text),
        "given_at": entry.kept.kept.rfc3339(),
        "due_at": entry.kept.due.rfc3339(),
        "edges": entry.edges.iter().map(edge).collect::<Vec<_>>(),
    })
}

/// The register: every directive that is kept here for edges below, and how far each is; with `?id=` one, and its signed reports.
pub fn register(call: Call<'_>, request: Request, done: Responder) {
    let made = || -> Result<Value> {
        let downstream = &call.app.downstream;
        let Some(id) = request.head.query_param("id") else {
            let all = downstream.register()?;
            return Ok(json!({"directives": all.iter().map(|entry| shown(entry, false)).collect::<Vec<_>>()}));
        };
        let id = uuid_bytes(&id).ok_or_else(|| Error::invalid("that is no id of a directive"))?;
        Ok(json!({"directives": [shown(&downstream.entry(&id)?, true)]}))
    };
    answer(done, made());
}
