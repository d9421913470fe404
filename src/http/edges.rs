//! Edges that send their batches here: joining, the operator's yes and no, how complete they are.
//! Must never decide who may (`forward/relay`). Invariant: a code and a token are answered once, to whoever asked for them.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::error::{Error, Result};
use crate::base::id::EdgeId;
use crate::base::text::{hex, unhex};
use crate::base::time::{DAY_MS, Millis};
use crate::domain::signed::Signed;
use crate::forward::relay::clash::{Pair, Word};
use crate::forward::relay::complete::{Seen, Vouched};
use crate::forward::relay::enrol::{self, Joining};
use crate::http::batches_in::sender;
use crate::http::below;
use crate::http::operator::{answer, parsed};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::Call;
use crate::http::server::Responder;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Join {
    code: String,
    edge: String,
    public_key: String,
    #[serde(default)]
    label: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Codes {
    count: u32,
    days: u32,
    #[serde(default)]
    relay: bool,
    #[serde(default)]
    site: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    edge: String,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    successor: Option<String>,
    #[serde(default)]
    keep: Option<String>,
    #[serde(default)]
    renew: Option<String>,
    #[serde(default)]
    relay: bool,
}

fn edge_of(text: &str) -> Result<EdgeId> {
    EdgeId::parse(text)
        .map_err(|_| Error::invalid("an edge is 32 hex digits").code("edge_id").remedy("wayside edge list shows them"))
}

/// Lets an edge in by its code.
pub fn join(call: Call<'_>, request: Request, done: Responder) {
    let made = || -> Result<Reply> {
        let asked: Join = parsed(&request)?;
        let joining = Joining {
            code: &asked.code,
            edge: edge_of(&asked.edge)?,
            public_key: unhex::<32>(&asked.public_key)?,
            label: &asked.label,
        };
        let joined = call.app.relay.join(&joining)?;
        call.app.tokens.reload()?;
        let status = if joined.waits { 202 } else { 200 };
        let body = json!({
            "status": if joined.waits { "waiting" } else { "approved" },
            "token": joined.token,
            "receiver_key": hex(&joined.receiver_key),
            "receiver": joined.receiver.to_string(),
        });
        Ok(Reply::json(status, &body))
    };
    done(made().unwrap_or_else(|error| Reply::from_error(&error)));
}

/// Takes a relay's word for an edge below it.
pub fn vouch(call: Call<'_>, request: Request, done: Responder) {
    let made = || -> Result<Value> {
        let edge = edge_of(call.params.first().map(String::as_str).unwrap_or_default())?;
        let state = call.app.relay.vouch(edge, sender(&call.caller)?, &parsed::<Signed>(&request)?)?;
        Ok(json!({"edge": edge.to_string(), "state": state.word()}))
    };
    answer(done, made());
}

/// Makes codes.
pub fn codes(call: Call<'_>, request: Request, done: Responder) {
    let made = parsed::<Codes>(&request).and_then(|Codes { count, days, relay, site }| {
        call.app.relay.codes(&enrol::Codes { count, days, relay, site }, &call.caller)
    });
    answer(done, made.map(|codes| json!({ "codes": codes })));
}

fn changed(call: &Call<'_>, request: &Request, work: impl Fn(EdgeId, &Named) -> Result<Value>) -> Result<Value> {
    call.app.relay.on()?;
    let asked: Named = parsed(request)?;
    let edge = edge_of(&asked.edge)?;
    let mut told = work(edge, &asked)?;
    call.app.tokens.reload()?;
    told["edge"] = edge.to_string().into();
    Ok(told)
}

/// Takes an edge's batches.
pub fn approve(call: Call<'_>, request: Request, done: Responder) {
    let relay = &call.app.relay;
    let work = |edge, asked: &Named| {
        relay.approve(edge, asked.relay, &call.caller)?;
        Ok(json!({"state": "approved", "relay": asked.relay}))
    };
    answer(done, changed(&call, &request, work));
}

/// Takes an edge's batches no longer.
pub fn revoke(call: Call<'_>, request: Request, done: Responder) {
    let relay = &call.app.relay;
    let work = |edge, _: &Named| relay.revoke(edge, &call.caller).map(|()| json!({"state": "revoked"}));
    answer(done, changed(&call, &request, work));
}

/// An edge is gone for good.
pub fn retire(call: Call<'_>, request: Request, done: Responder) {
    let relay = &call.app.relay;
    let work = |edge, asked: &Named| {
        let successor = asked.successor.as_deref().map(edge_of).transpose()?;
        relay.retire(edge, successor, &call.caller).map(|()| json!({"state": "retired"}))
    };
    answer(done, changed(&call, &request, work));
}

/// Gives an edge another name.
pub fn rename(call: Call<'_>, request: Request, done: Responder) {
    let relay = &call.app.relay;
    let work = |edge, asked: &Named| {
        let label = asked.label.as_deref().unwrap_or_default();
        relay.rename(edge, label, &call.caller).map(|()| json!({"label": label}))
    };
    answer(done, changed(&call, &request, work));
}

/// Says which of two databases goes on.
pub fn resolve(call: Call<'_>, request: Request, done: Responder) {
    let relay = &call.app.relay;
    let work = |edge, asked: &Named| {
        let (Some(keep), Some(renew)) = (asked.keep.as_deref(), asked.renew.as_deref()) else {
            return Err(Error::invalid("which goes on, and which begins anew?")
                .code("edge_resolve")
                .remedy("send keep and renew: the beginnings of the digests that the list of edges shows"));
        };
        let at = below::renewing(call.app, edge, renew)?;
        let settled = relay.resolve(edge, &Word { keep, renew }, &call.caller)?;
        let directive = below::renew(call.app, edge, at)?;
        Ok(json!({"settled": settled, "directive": directive}))
    };
    answer(done, changed(&call, &request, work));
}

fn shown_pair(pair: &Pair) -> Value {
    json!({
        "epoch": pair.fork.stream.epoch.to_string(),
        "lane": pair.fork.stream.lane.word(),
        "batch_no": pair.fork.batch_no,
        "refused": hex(&pair.fork.digest),
        "lies": pair.lies.as_ref().map(|lies| hex(&lies.digest)),
        "seen_at": pair.fork.seen.rfc3339(),
    })
}

fn shown_vouch(word: &Vouched) -> Value {
    json!({
        "relay": word.relay.to_string(),
        "state": word.state.word(),
        "label": word.label,
        "told_at": word.told.rfc3339(),
    })
}

fn shown(seen: &Seen) -> Value {
    let edge = &seen.edge;
    let lanes: Vec<Value> = seen
        .lanes
        .iter()
        .map(|lane| {
            json!({
                "lane": lane.lane.word(),
                "complete_until": lane.until.rfc3339(),
                "backlog_rows": lane.backlog_rows,
                "gap_count": lane.gap_count,
                "told_at": lane.told.rfc3339(),
            })
        })
        .collect();
    json!({
        "edge": edge.edge.to_string(),
        "label": edge.label,
        "state": edge.state.word(),
        "successor": edge.successor.map(|edge| edge.to_string()),
        "public_key": hex(&edge.public_key),
        "relay": edge.relay,
        "site": edge.site,
        "by_itself": edge.direct,
        "vouched_by": seen.vouches.iter().map(shown_vouch).collect::<Vec<_>>(),
        "joined_at": edge.joined.rfc3339(),
        "last_seen_at": edge.last_seen.map(Millis::rfc3339),
        "complete_until": seen.until().map(Millis::rfc3339),
        "gap_count": seen.gaps(),
        "lanes": lanes,
        "forks": seen.pairs.iter().map(shown_pair).collect::<Vec<_>>(),
    })
}

/// Every edge.
pub fn list(call: Call<'_>, _request: Request, done: Responder) {
    let made = call.app.relay.on().and_then(|()| call.app.relay.edges());
    answer(done, made.map(|all| json!({"edges": all.iter().map(shown).collect::<Vec<_>>()})));
}

/// How many edges have told everything of a day (`?day=2026-01-31`, in UTC; without one, of yesterday).
pub fn completeness(call: Call<'_>, request: Request, done: Responder) {
    let made = || -> Result<Value> {
        call.app.relay.on()?;
        let begin = match request.head.query_param("day") {
            None => request.head.received_at.day().plus(-DAY_MS),
            Some(day) => Millis::parse(&format!("{day}T00:00:00.000Z")).ok_or_else(|| {
                Error::invalid(format!("{day:?} is no day")).code("day").remedy("write it as 2026-01-31")
            })?,
        };
        let day = call.app.relay.complete_until(begin.plus(DAY_MS))?;
        let lacking: Vec<Value> = day
            .lacking
            .iter()
            .map(|(edge, label, until)| {
                json!({"edge": edge.to_string(), "label": label, "complete_until": until.map(Millis::rfc3339)})
            })
            .collect();
        let text = &begin.rfc3339()[..10];
        Ok(json!({"day": text, "complete": day.complete, "edges": day.edges, "lacking": lacking}))
    };
    answer(done, made());
}
