//! What the operator asks over the control socket or with a token, and the health check anyone may ask.
//! Must never look who asks: the router gives each route its scope, and has asked before.

use serde::Deserialize;

use crate::base::error::{Error, Result};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::Call;
use crate::http::server::Responder;

pub(in crate::http) fn answer(done: Responder, made: Result<serde_json::Value>) {
    done(made.map_or_else(|error| Reply::from_error(&error), |value| Reply::json(200, &value)));
}

/// Up, and able to store.
pub fn health(call: Call<'_>, _request: Request, done: Responder) {
    let broken = call.app.ingest.store_broken();
    let status = if broken { 503 } else { 200 };
    let word = if broken { "the writer has ended" } else { "ok" };
    done(Reply::json(status, &serde_json::json!({"status": word, "version": env!("CARGO_PKG_VERSION")})));
}

/// The state of everything.
pub fn status(call: Call<'_>, _request: Request, done: Responder) {
    answer(done, call.app.operations.status());
}

/// The newest fates behind `?after=`.
pub fn tail(call: Call<'_>, request: Request, done: Responder) {
    let after = request.head.query_param("after").and_then(|text| text.parse().ok());
    let (next, fates) = match after {
        Some(after) => call.app.ingest.tail().behind(after),
        None => (call.app.ingest.tail().behind(u64::MAX).0, Vec::new()),
    };
    done(Reply::json(200, &serde_json::json!({"next": next, "fates": fates})));
}

/// The body as JSON; without one an empty object. Errors: `Invalid` with code `bad_json`.
pub(in crate::http) fn parsed<'a, T: Deserialize<'a>>(request: &'a Request) -> Result<T> {
    let body: &[u8] = if request.body.is_empty() { b"{}" } else { &request.body };
    serde_json::from_slice(body).map_err(|e| {
        Error::invalid(format!("the request does not parse: {e}"))
            .code("bad_json")
            .remedy("send one JSON object with the members the API description names")
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acknowledge {
    target: String,
    lane: String,
    upto: i64,
}

/// Acknowledges batches.
pub fn acknowledge(call: Call<'_>, request: Request, done: Responder) {
    answer(
        done,
        parsed::<Acknowledge>(&request).and_then(|a| call.app.operations.acknowledge(&a.target, &a.lane, a.upto)),
    );
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Force {
    #[serde(default)]
    force: bool,
}

/// Seals and puts.
pub fn forward(call: Call<'_>, request: Request, done: Responder) {
    answer(done, parsed::<Force>(&request).and_then(|f| call.app.operations.forward(f.force)));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirm {
    #[serde(default)]
    confirm: bool,
}

/// Runs upkeep.
pub fn upkeep(call: Call<'_>, request: Request, done: Responder) {
    answer(done, parsed::<Confirm>(&request).and_then(|c| call.app.operations.upkeep(c.confirm)));
}
