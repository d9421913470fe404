//! `POST /v1/events`: the native door. Owns the answer's shape.
//! Must never say more to the public than contract 1 allows.

use serde::Serialize;

use crate::base::error::Result;
use crate::domain::event::Fate;
use crate::http::answer::Answering;
use crate::http::app::App;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::Call;
use crate::http::server::Responder;
use crate::http::{auth, body};
use crate::ingest::accept::Answer;
use crate::ingest::record::Outcome;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultLine<'a> {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<i64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    withheld: &'a [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    visitor_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

#[derive(Serialize)]
struct Results<'a> {
    results: Vec<ResultLine<'a>>,
}

fn line(outcome: &Outcome, explain: bool) -> ResultLine<'_> {
    let (reason, remedy) = if explain { outcome.explanation() } else { (None, None) };
    let stored = matches!(outcome.fate, Fate::Accepted | Fate::Duplicate);
    ResultLine {
        outcome: outcome.fate.word(),
        event_id: outcome.event_id.as_ref().map(ToString::to_string),
        seq: outcome.seq.filter(|_| stored && explain).map(|seq| seq.0),
        withheld: &outcome.withheld,
        visitor_token: outcome.token.as_deref(),
        field: outcome.problem.as_ref().map(|(field, _)| field.as_str()),
        what: outcome.problem.as_ref().map(|(_, what)| what.as_str()),
        reason,
        remedy,
    }
}

/// The answer of contract 1: 200, or 422 if every event is invalid or a conflict.
pub fn reply(answer: &Answer) -> Reply {
    let bad = |outcome: &Outcome| matches!(outcome.fate, Fate::Invalid | Fate::Conflict);
    let status = if answer.outcomes.iter().all(bad) { 422 } else { 200 };
    Reply::json(status, &Results { results: answer.outcomes.iter().map(|o| line(o, answer.explain)).collect() })
}

/// Takes events.
pub fn post(call: Call<'_>, request: Request, done: Responder) {
    let app = call.app;
    let answering = Answering::new(app, &request.head, done);
    if let Err(error) = take(app, &request, &answering) {
        answering.send(Reply::from_error(&error));
    }
}

fn take(app: &App, request: &Request, answering: &Answering) -> Result<()> {
    let site = request.head.query_param("site");
    let arrived = auth::arrived(app, &request.head, site.as_deref())?;
    let format = body::format(request)?;
    let bytes = body::decoded(request, app.ingest.limits())?;
    let later = answering.clone();
    app.ingest.accept(&bytes, format, &arrived, move |answer| {
        later.send(answer.map_or_else(|error| Reply::from_error(&error), |answer| reply(&answer)));
    })
}
