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
    // who looks on is written down when they begin, not each time they ask for more
    if after.is_none()
        && let Err(error) = call.app.operations.note(&call.caller.who(), "tail_followed", None, None)
    {
        return done(Reply::from_error(&error));
    }
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
    let made = parsed::<Acknowledge>(&request).and_then(|a| {
        let told = call.app.operations.acknowledge(&a.target, &a.lane, a.upto)?;
        let about = format!("{} {}/{}", a.target, a.lane, a.upto);
        call.app.operations.note(&call.caller.who(), "batches_acknowledged", Some(&about), None)?;
        Ok(told)
    });
    answer(done, made);
}

/// Longest word of what was done, bytes.
const WHAT_BYTES_MAX: usize = 40;
/// Longest words about it, bytes.
const NOTE_BYTES_MAX: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Noted {
    what: String,
    about: Option<String>,
    note: Option<String>,
}

/// Writes down what a command does beside the daemon with people's data.
pub fn note(call: Call<'_>, request: Request, done: Responder) {
    let made = parsed::<Noted>(&request).and_then(|n| {
        let word = !n.what.is_empty() && n.what.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let fits = |text: &Option<String>| text.as_ref().is_none_or(|text| text.len() <= NOTE_BYTES_MAX);
        if !word || n.what.len() > WHAT_BYTES_MAX || !fits(&n.about) || !fits(&n.note) {
            return Err(Error::invalid("what was done is no word, or too much is said of it")
                .code("audit_note")
                .remedy("send a word of at most 40 letters and '_' as what, and at most 500 bytes as about and note"));
        }
        call.app.operations.note(&call.caller.who(), &n.what, n.about.as_deref(), n.note.as_deref())?;
        Ok(serde_json::json!({"noted": n.what}))
    });
    answer(done, made);
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
struct Renew {
    target: Option<String>,
}

/// Gives way to another database of this edge.
pub fn renew(call: Call<'_>, request: Request, done: Responder) {
    let made = parsed::<Renew>(&request).and_then(|r| {
        let told = call.app.operations.renew(r.target.as_deref())?;
        call.app.operations.note(&call.caller.who(), "edge_renewed", r.target.as_deref(), None)?;
        Ok(told)
    });
    answer(done, made);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirm {
    #[serde(default)]
    confirm: bool,
}

/// Runs upkeep.
pub fn upkeep(call: Call<'_>, request: Request, done: Responder) {
    let made = parsed::<Confirm>(&request).and_then(|c| {
        if c.confirm {
            call.app.operations.note(&call.caller.who(), "removal_confirmed", None, None)?;
        }
        call.app.operations.upkeep(c.confirm)
    });
    answer(done, made);
}
