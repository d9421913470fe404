//! Notices over HTTP: published and registered over the control socket or with a token to administer; the one in force read
//! by anybody. Owns the wire shape; must never hold a rule of notices.

use serde_json::{Value, json};

use crate::base::error::{Error, Result};
use crate::base::text::hex;
use crate::consent::NoticeRow;
use crate::consent::notice::{Publish, Register};
use crate::consent::page;
use crate::domain::consent::Purposes;
use crate::http::answer::Answering;
use crate::http::operator::{answer, parsed};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::Call;
use crate::http::server::Responder;

/// Publishes a notice.
pub fn publish(call: Call<'_>, request: Request, done: Responder) {
    answer(done, published(&call, &request));
}

fn published(call: &Call<'_>, request: &Request) -> Result<Value> {
    let asked: Publish = parsed(request)?;
    let seat = call.app.ingest.seat(Some(asked.draft.site.as_str()))?.clone();
    let out = call.app.consent.publish(seat, asked, &call.caller.who())?;
    Ok(json!({ "published": out }))
}

/// Registers an external notice.
pub fn register(call: Call<'_>, request: Request, done: Responder) {
    answer(done, registered(&call, &request));
}

fn registered(call: &Call<'_>, request: &Request) -> Result<Value> {
    let asked: Register = parsed(request)?;
    let seat = call.app.ingest.seat(request.head.query_param("site").as_deref())?.clone();
    let out = call.app.consent.register(seat, asked, &call.caller.who())?;
    Ok(json!({ "registered": out }))
}

/// The notice in force, or the version that is asked for: as JSON, or as a page with `?format=html`.
pub fn get(call: Call<'_>, request: Request, done: Responder) {
    let answering = Answering::new(call.app, &request.head, done);
    answering.send(show(&call, &request).unwrap_or_else(|error| Reply::from_error(&error)));
}

fn show(call: &Call<'_>, request: &Request) -> Result<Reply> {
    let head = &request.head;
    let asked = |name: &str| head.query_param(name);
    let seat = call.app.ingest.seat(asked("site").as_deref())?;
    let (version, language) = (asked("version"), asked("language"));
    let rows = call.app.consent.notice(seat.id, version.as_deref(), head.received_at)?;
    let row = crate::consent::in_language(&rows, language.as_deref()).ok_or_else(|| {
        Error::not_found("no notice is published").remedy("wayside notice new, then wayside notice publish")
    })?;
    match asked("format").as_deref() {
        None | Some("json") => Ok(Reply::json(200, &told(row, &rows, Purposes::NONE, &seat.site.book))),
        Some("html") => Ok(Reply::bytes(200, "text/html; charset=utf-8", page::notice(row).into_bytes())),
        Some(other) => {
            Err(Error::invalid(format!("no format {:?}", crate::base::text::cut(other, 20))).remedy("use json or html"))
        }
    }
}

/// A notice as a banner shows it. `ask` = the purposes that are to be asked.
pub(in crate::http) fn told(
    row: &NoticeRow,
    rows: &[NoticeRow],
    ask: Purposes,
    book: &crate::domain::consent::PurposeBook,
) -> Value {
    let languages: Vec<&str> = rows.iter().map(|row| row.language.as_str()).collect();
    let mut out = json!({
        "version": row.version,
        "language": row.language,
        "languages": languages,
        "digest": hex(&row.digest),
        "validFrom": row.valid_from.rfc3339(),
    });
    match &row.body {
        crate::consent::NoticeBody::External(external) => {
            out["name"] = external.name.clone().into();
            out["url"] = external.url.clone().into();
        }
        crate::consent::NoticeBody::Own(notice) => {
            for (key, text) in [
                ("title", &notice.title),
                ("text", &notice.text),
                ("withdrawal", &notice.withdrawal),
                ("retention", &notice.retention),
                ("rights", &notice.rights),
                ("complaint", &notice.complaint),
            ] {
                out[key] = text.clone().into();
            }
            out["controller"] = json!(notice.controller);
            out["recipients"] = json!(notice.recipients);
            let purpose = |p: &crate::domain::notice::ToldPurpose| {
                let asked = book.find(&p.name).is_some_and(|one| ask.has(one));
                json!({"name": p.name, "basis": p.basis.word(), "title": p.title, "text": p.text, "ask": asked})
            };
            out["purposes"] = notice.purposes.iter().map(purpose).collect();
        }
    }
    out
}
