//! The Journey-compatible endpoints (spec/predictive-engagement 2.1): the vendor's paths, answers and error bodies.
//! Must never decode or store: that is ingest's. Invariant: whatever goes wrong has the vendor's error shape.

use crate::base::error::Error;
use crate::domain::event::Fate;
use crate::http::answer::Answering;
use crate::http::app::App;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::Call;
use crate::http::server::Responder;
use crate::http::{auth, body};
use crate::ingest::journey::{JourneyProblem, error_body};
use crate::ingest::vendor::{Kind, Refused, VendorAnswer};

/// An error in the vendor's shape: the status and `Retry-After` of our own mapping, the vendor's body.
pub fn error_reply(error: &Error) -> Reply {
    let own = Reply::from_error(error);
    let status = if error.code == "unknown_site" { 404 } else { own.status };
    let code = match status {
        400 | 413 | 415 | 422 => "bad.request",
        401 => "authentication.required",
        403 => "not.authorized",
        404 => "not.found",
        405 => "method.not.allowed",
        409 => "conflict",
        429 => "too.many.requests",
        503 | 507 => "service.unavailable",
        _ => "internal.server.error",
    };
    let reply = Reply::bytes(status, "application/json", error_body(status, code, &error.what, &[]));
    match own.header("Retry-After") {
        Some(after) => reply.with_header("Retry-After", after),
        None => reply,
    }
}

fn problem_reply(problem: &JourneyProblem) -> Reply {
    Reply::bytes(problem.status, "application/json", problem.body())
}

fn answer_reply(answer: VendorAnswer) -> Reply {
    if let Some((field, what)) = &answer.outcome.problem {
        let details = [("invalid.value", field.as_str())];
        return Reply::bytes(422, "application/json", error_body(422, "bad.request", what, &details));
    }
    let reply =
        if answer.body.is_empty() { Reply::empty(200) } else { Reply::bytes(200, "application/json", answer.body) };
    let reply = match answer.outcome.token {
        Some(token) => reply.with_header("Wayside-Visitor-Token", token.as_str()),
        None => reply,
    };
    if answer.outcome.fate == Fate::Accepted {
        reply
    } else {
        reply.with_header("Wayside-Outcome", answer.outcome.fate.word())
    }
}

fn take(call: Call<'_>, request: Request, done: Responder, kind: Kind) {
    let app = call.app;
    let answering = Answering::new(app, &request.head, done);
    match accept(app, &call.params, &request, kind, &answering) {
        Ok(()) => {}
        Err(Refused::Problem(problem)) => answering.send(problem_reply(&problem)),
        Err(Refused::Error(error)) => answering.send(error_reply(&error)),
    }
}

fn accept(app: &App, params: &[String], request: &Request, kind: Kind, answering: &Answering) -> Result<(), Refused> {
    let deployment = params.first().map(String::as_str);
    let arrived = auth::arrived(app, &request.head, deployment)?;
    let bytes = body::decoded(request, app.ingest.limits())?;
    let later = answering.clone();
    app.ingest.accept_vendor(kind, &bytes, &arrived, move |answer| {
        later.send(answer.map_or_else(|error| error_reply(&error), answer_reply));
    })
}

/// `POST .../webevents`.
pub fn web(call: Call<'_>, request: Request, done: Responder) {
    take(call, request, done, Kind::Web);
}

/// `POST .../appevents`.
pub fn app(call: Call<'_>, request: Request, done: Responder) {
    take(call, request, done, Kind::App);
}

/// `POST .../actionevent`: stored until engagement exists.
pub fn action(call: Call<'_>, request: Request, done: Responder) {
    take(call, request, done, Kind::Action);
}

/// How often a browser may ask again, ms.
const POLL_MS: i64 = 30_000;

/// `GET .../ping`: no actions are offered until engagement exists.
pub fn ping(call: Call<'_>, request: Request, done: Responder) {
    let app = call.app;
    let answering = Answering::new(app, &request.head, done);
    let seat = auth::arrived(app, &request.head, call.params.first().map(String::as_str))
        .and_then(|arrived| app.ingest.seat_for(&arrived, None));
    answering.send(match seat {
        Ok(_) => Reply::json(200, &serde_json::json!({"actions": [], "pollIntervalMilliseconds": POLL_MS})),
        Err(error) => error_reply(&error),
    });
}
