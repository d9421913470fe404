//! Requests of data subjects over HTTP: open, list, show, run, extend, close, and the result.
//! Owns the wire shape; must never hold a rule of who may have what.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::error::{Error, Result};
use crate::base::id::uuid_bytes;
use crate::domain::code::Code;
use crate::domain::request::{Channel, Kind, Level, State};
use crate::http::operator::{answer, parsed};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::Call;
use crate::http::server::Responder;
use crate::http::{auth, below};
use crate::subject::people::Named;
use crate::subject::rectify::Term;
use crate::subject::results::Form;
use crate::subject::{Asked, Person, RequestsWanted};

/// Requests listed at once.
const LIMIT_MAX: i64 = 1_000;
/// Corrections of one request.
const TERMS_MAX: usize = 50;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    kind: String,
    site: Option<String>,
    visitor: Option<String>,
    identity: Option<String>,
    /// The code of a kiosk's receipt, in place of a name.
    code: Option<String>,
    verified: Option<String>,
    /// What is to be corrected, for the edges below a relay: here it is named when the request is run.
    #[serde(default)]
    replace: Vec<Replace>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Run {
    verified: Option<String>,
    replace: Vec<Replace>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Replace {
    pub(in crate::http) field: Option<String>,
    pub(in crate::http) existing: String,
    pub(in crate::http) updated: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Close {
    #[serde(rename = "as")]
    state: String,
    note: String,
}

fn shown(made: Result<impl serde::Serialize>) -> Result<Value> {
    made.map(|view| serde_json::to_value(view).expect("invariant: a view has string keys"))
}

/// The number of a request in the path.
pub(in crate::http) fn id_of(call: &Call<'_>) -> Result<[u8; 16]> {
    call.params.first().and_then(|text| uuid_bytes(text)).ok_or_else(|| {
        Error::not_found("that is no number of a request")
            .code("no_request")
            .remedy("a request is named by the id it was opened with")
    })
}

fn word<T>(text: &str, what: &str, parse: impl Fn(&str) -> Option<T>, words: &str) -> Result<T> {
    parse(text).ok_or_else(|| {
        Error::invalid(format!("{:?} is no {what}", crate::base::text::cut(text, 40))).remedy(format!("use {words}"))
    })
}

const KINDS: &str = "access, rectify, erase, restrict, object or portability";

/// Opens a request.
pub fn open(call: Call<'_>, request: Request, done: Responder) {
    answer(done, opened(&call, &request));
}

fn opened(call: &Call<'_>, request: &Request) -> Result<Value> {
    let mut open: Open = parsed(request)?;
    let kind = word(&open.kind, "kind of request", Kind::parse, KINDS)?;
    let below = below::Asking::of(call.app, kind, std::mem::take(&mut open.replace))?;
    let by_hand = open.verified.map(|words| (Level::Operator, words));
    let mut names = None;
    let (people, known) = match open.code {
        Some(code) => {
            let seat = call.app.ingest.seat(open.site.as_deref())?;
            let from = auth::client(call.app, &request.head);
            let received = request.head.received_at;
            let visitor = call.app.consent.by_code(seat, &Code::parse(&code)?, from, received)?;
            let shown = (Level::Device, "the code of a receipt".to_owned());
            (vec![Person::Visitor(visitor.id)], by_hand.or(Some(shown)))
        }
        None => {
            let named = Named { site: open.site, visitor: open.visitor, identity: open.identity, values: Vec::new() };
            let found = match call.app.subject.find(&named) {
                // a site of branches alone
                Err(error) if error.code == "unknown_site" && below.is_some() => Vec::new(),
                found => found?,
            };
            names = Some(named);
            (found, by_hand)
        }
    };
    let asked = Asked { kind, channel: Channel::Operator, known, people };
    let view = call.app.subject.register(&asked, &call.caller)?;
    if let (Some(below), Some(named), Some(_)) = (below, names, &asked.known) {
        below.ask(call.app, named, &view)?;
    }
    below::shown(call.app, view)
}

/// Lists requests: `?state=`, `?due_days=`, `?limit=`.
pub fn list(call: Call<'_>, request: Request, done: Responder) {
    answer(done, listed(&call, &request));
}

fn number<T: std::str::FromStr>(request: &Request, name: &str) -> Result<Option<T>> {
    request.head.query_param(name).map_or(Ok(None), |text| {
        text.parse()
            .map(Some)
            .map_err(|_| Error::invalid(format!("{name} is no such number")).remedy("send a whole number"))
    })
}

fn listed(call: &Call<'_>, request: &Request) -> Result<Value> {
    if let Some(days) = number::<u32>(request, "due_days")? {
        return Ok(json!({"requests": below::due(call.app, days)?}));
    }
    let state = match request.head.query_param("state") {
        Some(text) => Some(word(
            &text,
            "state",
            State::parse,
            "received, verified, running, answered, refused or unidentifiable",
        )?),
        None => None,
    };
    let limit = number::<i64>(request, "limit")?.unwrap_or(100).clamp(1, LIMIT_MAX);
    Ok(json!({"requests": call.app.subject.list(&RequestsWanted { state, limit, ..RequestsWanted::default() })?}))
}

/// Shows one.
pub fn show(call: Call<'_>, _request: Request, done: Responder) {
    answer(done, id_of(&call).and_then(|id| below::shown(call.app, call.app.subject.show(&id)?)));
}

/// Carries one out.
pub fn run(call: Call<'_>, request: Request, done: Responder) {
    let made = || {
        let (id, run): (_, Run) = (id_of(&call)?, parsed(&request)?);
        if run.replace.len() > TERMS_MAX {
            return Err(Error::invalid(format!("more than {TERMS_MAX} corrections at once"))
                .code("too_many")
                .remedy("send them in several requests"));
        }
        let term = |r: Replace| Term { by: None, field: r.field, existing: r.existing, updated: r.updated };
        let terms: Vec<Term> = run.replace.into_iter().map(term).collect();
        let view = call.app.subject.run(&id, run.verified.as_deref(), &terms, &call.caller)?;
        if view.is_erasing() {
            call.app.erasure.work()?;
            return below::shown(call.app, call.app.subject.show(&id)?);
        }
        below::shown(call.app, view)
    };
    answer(done, made());
}

/// Extends one.
pub fn extend(call: Call<'_>, request: Request, done: Responder) {
    let made = || {
        let (id, asked): (_, Reason) = (id_of(&call)?, parsed(&request)?);
        shown(call.app.subject.extend(&id, &asked.reason, &call.caller))
    };
    answer(done, made());
}

/// Closes one.
pub fn close(call: Call<'_>, request: Request, done: Responder) {
    let made = || {
        let (id, asked): (_, Close) = (id_of(&call)?, parsed(&request)?);
        let state = word(&asked.state, "end of a request", State::parse, "answered, refused or unidentifiable")?;
        shown(call.app.subject.close(&id, state, &asked.note, &call.caller))
    };
    answer(done, made());
}

/// The result: JSON, or with `?format=html` the page for reading.
pub fn result(call: Call<'_>, request: Request, done: Responder) {
    let made = || {
        let id = id_of(&call)?;
        let form = request.head.query_param("format").unwrap_or_else(|| "json".to_owned());
        let form = word(&form, "form", Form::parse, "json or html")?;
        Ok(file(form, call.app.subject.result(&id, form, &call.caller)?))
    };
    done(made().unwrap_or_else(|error: Error| Reply::from_error(&error)));
}

/// What every edge below a relay answered, put together; copies opened where the centre's key is here.
pub fn merged(call: Call<'_>, _request: Request, done: Responder) {
    answer(done, id_of(&call).and_then(|id| below::merged(call.app, &id, &call.caller)));
}

/// A result as a download that nothing keeps.
pub(in crate::http) fn file(form: Form, bytes: Vec<u8>) -> Reply {
    Reply::bytes(200, form.media(), bytes)
        .with_header("Cache-Control", "no-store")
        .with_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        .with_header("X-Content-Type-Options", "nosniff")
}
