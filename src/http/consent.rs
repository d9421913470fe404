//! `POST /v1/consent`: give, refuse, withdraw; and the operator's look at a visitor's decisions.
//! Owns the wire shape; must never hold a rule of consent.

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::id::ClientId;
use crate::base::time::Millis;
use crate::consent::Request as Decide;
use crate::consent::{Actor, Recorded};
use crate::domain::code::Code;
use crate::domain::site::Seat;
use crate::http::answer::Answering;
use crate::http::app::App;
use crate::http::operator::{answer, parsed};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::Call;
use crate::http::server::Responder;
use crate::http::{auth, body};
use crate::ingest::shape::{Authority, shape_decision};
use crate::ingest::wire::RawDecision;

/// A decision as it is sent.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Sent {
    #[serde(default)]
    visitor: Option<String>,
    /// The code of a kiosk's receipt, in place of visitor and token.
    code: Option<String>,
    action: String,
    #[serde(default)]
    purposes: Vec<String>,
    site: Option<String>,
    decision_id: Option<String>,
    method: Option<String>,
    notice: Option<String>,
    notice_digest: Option<String>,
    page_url: Option<String>,
    banner_digest: Option<String>,
    tool_record: Option<String>,
    kiosk_id: Option<String>,
    language: Option<String>,
    signal_shown: Option<bool>,
    time: Option<String>,
    sent_at: Option<String>,
    visitor_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Done {
    outcome: &'static str,
    decision_id: String,
    seq: i64,
    granted: Vec<String>,
    /// Did the decision become current? A grant older than a later no does not.
    current: bool,
    /// Purposes that stand on contract or law although they were named.
    stands: Vec<String>,
    /// Until when the choice holds.
    valid_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    visitor_token: Option<String>,
    /// What opens the visit from then on, where it was taken at a kiosk.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

/// Records a decision.
pub fn post(call: Call<'_>, request: Request, done: Responder) {
    let answering = Answering::new(call.app, &request.head, done);
    if let Err(error) = take(call.app, &request, &answering) {
        answering.send(Reply::from_error(&error));
    }
}

fn take(app: &App, request: &Request, answering: &Answering) -> Result<()> {
    let bytes = body::decoded(request, app.ingest.limits())?;
    let sent: Sent = serde_json::from_slice(&bytes).map_err(|e| {
        Error::invalid(format!("the decision does not parse: {e}"))
            .code("bad_json")
            .remedy("send {\"visitor\":\"…\",\"action\":\"give\",\"purposes\":[\"measure\"]}")
    })?;
    let site = request.head.query_param("site");
    let arrived = auth::arrived(app, &request.head, site.as_deref())?;
    let seat = app.ingest.seat_for(&arrived, sent.site.as_deref())?;
    let decide = Decide {
        actor: match arrived.authority {
            Authority::Public => Actor::Subject,
            Authority::Sender => Actor::Sender,
            Authority::Operator => Actor::Operator,
        },
        token: sent.visitor_token.clone(),
        code: sent.code.as_deref().map(Code::parse).transpose()?,
        from: auth::client(app, &request.head),
        signals: arrived.signals,
        received: arrived.received,
        ..shaped(app, &seat, sent)?
    };
    let later = answering.clone();
    app.consent.record_later(decide, move |recorded| {
        later
            .send(recorded.map_or_else(|e| Reply::from_error(&e), |recorded| Reply::json(200, &told(&seat, recorded))));
    })
}

fn shaped(app: &App, seat: &Seat, sent: Sent) -> Result<Decide> {
    let time = |name: &str, text: Option<String>| match text {
        None => Ok(None),
        Some(text) => Millis::parse(&text).map(Some).ok_or_else(|| {
            Error::invalid(format!("{name} is no RFC 3339 time")).remedy("send it like 2026-11-21T10:00:00.000Z")
        }),
    };
    let text = |value: Option<String>| value.map(Into::into);
    let raw = RawDecision {
        // who has a code need not know an id: the pen looks it up
        visitor: sent.visitor.or_else(|| sent.code.map(|_| "code".to_owned())).map(Into::into),
        decision_id: text(sent.decision_id),
        action: Some(sent.action.into()),
        purposes: Some(sent.purposes.into_iter().map(Into::into).collect()),
        method: text(sent.method),
        notice: text(sent.notice),
        language: text(sent.language),
        notice_digest: text(sent.notice_digest),
        page_url: text(sent.page_url),
        banner_digest: text(sent.banner_digest),
        tool_record: text(sent.tool_record),
        kiosk_id: text(sent.kiosk_id),
        signal_shown: sent.signal_shown,
        time: time("time", sent.time)?,
        sent_at: time("sentAt", sent.sent_at)?,
    };
    let (visitor, decision): (ClientId, _) = shape_decision(raw, &seat.site, app.ingest.limits()).map_err(|p| {
        Error::invalid(format!("{} {}", p.field, p.what))
            .code("decision")
            .remedy("correct that field and send it again")
    })?;
    Ok(Decide {
        seat: seat.clone(),
        visitor,
        decision,
        actor: Actor::Subject,
        token: None,
        code: None,
        from: None,
        signals: crate::domain::consent::Signals::default(),
        received: Millis(0),
    })
}

pub(in crate::http) fn told(seat: &Seat, recorded: Recorded) -> Done {
    let book = &seat.site.book;
    Done {
        outcome: if recorded.repeated { "duplicate" } else { "recorded" },
        decision_id: recorded.row.decision_id.to_string(),
        seq: recorded.row.seq.0,
        granted: recorded.row.after.names(book),
        current: recorded.row.current,
        stands: recorded.stands.names(book),
        valid_until: recorded.row.expires.map(Millis::rfc3339),
        visitor_token: recorded.token,
        code: recorded.code.map(|code| code.text()),
    }
}

#[derive(Serialize)]
struct Shown {
    granted: Vec<String>,
    denied: Vec<String>,
    decisions: Vec<ShownDecision>,
}

#[derive(Serialize)]
struct ShownDecision {
    seq: i64,
    decision_id: String,
    action: String,
    purposes: Vec<String>,
    after: Vec<String>,
    current: bool,
    method: String,
    actor: String,
    notice: String,
    received_at: String,
    corrected_at: String,
}

/// The decisions of a visitor, for the operator.
pub fn get(call: Call<'_>, request: Request, done: Responder) {
    let made = show(call.app, &request, &call.caller.who());
    done(made.unwrap_or_else(|error| Reply::from_error(&error)));
}

fn show(app: &App, request: &Request, who: &str) -> Result<Reply> {
    let seat = app.ingest.seat(request.head.query_param("site").as_deref())?;
    let visitor = request
        .head
        .query_param("visitor")
        .ok_or_else(|| Error::invalid("which visitor?").remedy("add ?visitor=ID"))?;
    app.operations.note(who, "decisions_read", None, Some(seat.site.id()))?;
    let history = app.consent.history(seat.id, &ClientId::new(&visitor))?;
    let book = &seat.site.book;
    let decisions = history.decisions.iter().map(|d| ShownDecision {
        seq: d.seq.0,
        decision_id: d.decision_id.to_string(),
        action: d.action.clone(),
        purposes: d.purposes.names(book),
        after: d.after.names(book),
        current: d.current,
        method: d.method.clone(),
        actor: d.actor.clone(),
        notice: d.notice.clone(),
        received_at: d.received.rfc3339(),
        corrected_at: d.corrected.rfc3339(),
    });
    let shown = Shown {
        granted: history.granted.names(book),
        denied: history.denied.names(book),
        decisions: decisions.collect(),
    };
    Ok(Reply::json(200, &shown))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Why {
    reason: String,
}

/// Hands out the sealed proofs of erased persons, once the reason is on record.
pub fn proofs(call: Call<'_>, request: Request, done: Responder) {
    let asked = parsed::<Why>(&request).and_then(|why| call.app.consent.ask_proofs(&call.caller.who(), &why.reason));
    answer(done, asked.map(|proofs| serde_json::json!({ "proofs": proofs })));
}
