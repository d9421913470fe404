//! Erasure over HTTP: begun, gone on with, listed, acknowledged by whoever handles requests of data subjects.
//! Must never do a step of it (`erasure`), nor look who asks (the router did).

use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::digest::Hash;
use crate::base::error::{Error, Result};
use crate::base::id::{ClientId, VisitorRef, uuid_bytes, uuid_text};
use crate::base::text::unhex;
use crate::erasure::sql::Order;
use crate::erasure::{Asked, Report, Who};
use crate::http::operator::{answer, parsed};
use crate::http::request::Request;
use crate::http::router::Call;
use crate::http::server::Responder;

/// Erasures listed at the most.
const LIST_MAX: i64 = 10_000;

/// Erasures, `?open=1` only those open somewhere; `?sql=duckdb|postgres|clickhouse` with statements, `&table=` for theirs.
pub fn list(call: Call<'_>, request: Request, done: Responder) {
    answer(done, listed(&call, &request));
}

fn listed(call: &Call<'_>, request: &Request) -> Result<Value> {
    let erasure = &call.app.erasure;
    let open = request.head.query_param("open").is_some_and(|text| text == "1" || text == "true");
    let rows = erasure.list(open, LIST_MAX)?;
    let mut told = json!({"erasures": rows.iter().map(crate::erasure::Told::json).collect::<Vec<_>>()});
    if let Some(dialect) = request.head.query_param("sql") {
        let table = request.head.query_param("table").unwrap_or_else(|| "wayside_lines".to_owned());
        told["statements"] = erasure.statements(&Order::parse(&dialect, &table)?, rows)?.into();
    }
    Ok(told)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Begin {
    site: Option<String>,
    visitor: Option<String>,
    customer: Option<String>,
    visitor_ref: Option<String>,
    /// Only begin: what is left is done together by `run`, or by upkeep.
    #[serde(default)]
    later: bool,
}

/// Begins an erasure and goes as far as it goes now.
pub fn begin(call: Call<'_>, request: Request, done: Responder) {
    answer(done, begun(&call, &request));
}

fn begun(call: &Call<'_>, request: &Request) -> Result<Value> {
    let asked: Begin = parsed(request)?;
    let site = || Ok(call.app.ingest.seat(asked.site.as_deref())?.site.id().to_owned());
    let who = match (&asked.visitor, &asked.customer, &asked.visitor_ref) {
        (Some(key), None, None) => Who::Visitor { site: site()?, key: ClientId::new(key) },
        (None, Some(name), None) => Who::Customer { site: site()?, name: name.clone() },
        (None, None, Some(text)) => Who::Reference(VisitorRef::parse(text)?),
        _ => {
            return Err(Error::invalid("an erasure names one of visitor, customer and visitor_ref")
                .code("who")
                .remedy("send {\"visitor\": \"ID\"}, {\"customer\": \"NAME\"} or {\"visitor_ref\": \"HEX\"}"));
        }
    };
    let erasure = &call.app.erasure;
    let ids = erasure.begin(&who, &Asked { by: call.caller.who(), request_id: None })?;
    let report = if asked.later { Report::default() } else { erasure.work()? };
    Ok(json!({
        "erasures": ids.iter().map(uuid_text).collect::<Vec<_>>(),
        "rows": report.rows,
        "done": report.done,
        "waiting": report.waiting,
    }))
}

/// Goes on with everything unfinished.
pub fn run(call: Call<'_>, _request: Request, done: Responder) {
    let worked = call.app.erasure.work();
    answer(done, worked.map(|report| json!({"rows": report.rows, "done": report.done, "waiting": report.waiting})));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acknowledge {
    id: String,
    target: Option<String>,
    evidence_sha256: String,
}

/// Closes an erasure at a target that cannot speak.
pub fn acknowledge(call: Call<'_>, request: Request, done: Responder) {
    answer(done, acknowledged(&call, &request));
}

fn acknowledged(call: &Call<'_>, request: &Request) -> Result<Value> {
    let asked: Acknowledge = parsed(request)?;
    let id = uuid_bytes(&asked.id).ok_or_else(|| {
        Error::invalid("this is no id of an erasure").code("erasure_id").remedy("take it from `wayside erasures`")
    })?;
    let evidence: Hash = unhex(&asked.evidence_sha256)?;
    let closed = call.app.erasure.acknowledge(id, asked.target.as_deref(), evidence, &call.caller.who())?;
    Ok(json!({"id": asked.id, "closed": closed}))
}
