//! Self-service for a site's privacy page: what is kept of me, withdraw, erase. Who asks is known by the device's token, in the
//! header `Wayside-Visitor-Token`, or by the code of a kiosk's receipt, in `Wayside-Code`; and where the host site says who is
//! signed in, by `Wayside-Assertion`.
//! Must never tell a stranger from somebody unknown: both read the same, after the same work.

use serde::Deserialize;
use serde_json::json;

use crate::base::error::{Error, Result};
use crate::base::id::ClientId;
use crate::consent::{Actor, Request as Decide};
use crate::domain::code::Code;
use crate::domain::request::{Channel, Kind, Level};
use crate::domain::site::Seat;
use crate::domain::token::Caller;
use crate::http::answer::Answering;
use crate::http::app::App;
use crate::http::choice::{CODE_HEADER, TOKEN_HEADER};
use crate::http::operator::parsed;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::Call;
use crate::http::server::Responder;
use crate::http::{auth, consent};
use crate::ingest::shape::shape_decision;
use crate::ingest::wire::RawDecision;
use crate::subject::{Asked, People, Person};

/// What who asks has shown.
enum Shown {
    Token(String),
    Code(Code),
}

/// Who asks: the site, the rows, how they are known, and by what.
struct Holder {
    seat: Seat,
    people: People,
    level: Level,
    shown: Shown,
}

fn holder(app: &App, request: &Request) -> Result<Holder> {
    let head = &request.head;
    let site = head.query_param("site");
    let arrived = auth::arrived(app, head, site.as_deref())?;
    let seat = app.ingest.seat_for(&arrived, None)?;
    if let Some(code) = head.headers.get(CODE_HEADER) {
        let code = Code::parse(code)?;
        let visitor = app.consent.by_code(&seat, &code, auth::client(app, head), arrived.received)?;
        // a code opens the visit it was printed for: what a device token opens on its device
        let people = vec![Person::Visitor(visitor.id)];
        return Ok(Holder { seat, people, level: Level::Device, shown: Shown::Code(code) });
    }
    let token = head.headers.get(TOKEN_HEADER).ok_or_else(|| {
        Error::invalid("who asks is not said").code("visitor_token").remedy(
            "send the visitorToken of this device in the header Wayside-Visitor-Token, or the code of a receipt in Wayside-Code",
        )
    })?;
    let (people, level) = app.subject.holder(&seat, token, head.headers.get("wayside-assertion"))?;
    Ok(Holder { seat, people, level, shown: Shown::Token(token.to_owned()) })
}

/// `GET /v1/me`: what is kept of who asks.
pub fn see(call: Call<'_>, request: Request, done: Responder) {
    let answering = Answering::new(call.app, &request.head, done);
    let made = holder(call.app, &request).and_then(|who| call.app.subject.look(&who.people, who.level));
    let reply = made.map_or_else(|error| Reply::from_error(&error), |value| Reply::json(200, &value));
    answering.send(reply.with_header("Cache-Control", "no-store"));
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Withdraw {
    purposes: Vec<String>,
}

/// `POST /v1/me/withdraw`: takes back these purposes; without any, all of them.
pub fn withdraw(call: Call<'_>, request: Request, done: Responder) {
    let answering = Answering::new(call.app, &request.head, done);
    if let Err(error) = take_back(call.app, &request, &answering) {
        answering.send(Reply::from_error(&error));
    }
}

fn take_back(app: &App, request: &Request, answering: &Answering) -> Result<()> {
    let who = holder(app, request)?;
    let asked: Withdraw = parsed(request)?;
    let purposes = if asked.purposes.is_empty() { vec!["measure".to_owned()] } else { asked.purposes };
    let (visitor, token, code) = match who.shown {
        Shown::Token(token) => {
            (token.rsplit_once('.').map_or(token.as_str(), |(id, _)| id).to_owned(), Some(token), None)
        }
        Shown::Code(code) => ("code".to_owned(), None, Some(code)), // the pen looks it up
    };
    let raw = RawDecision {
        visitor: Some(visitor.into()),
        action: Some("withdraw".into()),
        purposes: Some(purposes.into_iter().map(Into::into).collect()),
        method: Some("settings".into()),
        ..RawDecision::default()
    };
    let (visitor, decision): (ClientId, _) = shape_decision(raw, &who.seat.site, app.ingest.limits()).map_err(|p| {
        Error::invalid(format!("{} {}", p.field, p.what))
            .code("decision")
            .remedy("name purposes of this site, or none for all")
    })?;
    let decide = Decide {
        seat: who.seat.clone(),
        visitor,
        decision,
        actor: Actor::Subject,
        token,
        signals: auth::signals(&request.head),
        received: request.head.received_at,
        code,
        from: auth::client(app, &request.head),
    };
    let (later, seat) = (answering.clone(), who.seat);
    app.consent.record_later(decide, move |recorded| {
        later.send(
            recorded
                .map_or_else(|e| Reply::from_error(&e), |recorded| Reply::json(200, &consent::told(&seat, recorded))),
        );
    })
}

/// `POST /v1/me/erase`: opens a request for erasure and begins it, or tells of the one that is open. The rows are deleted when this
/// answers, unless a run is under way that does it next; upkeep sees to files, keys and the search.
pub fn erase(call: Call<'_>, request: Request, done: Responder) {
    let answering = Answering::new(call.app, &request.head, done);
    answering.send(ask_erasure(call.app, &request).unwrap_or_else(|error| Reply::from_error(&error)));
}

fn ask_erasure(app: &App, request: &Request) -> Result<Reply> {
    let who = holder(app, request)?;
    let words = match (who.level, &who.shown) {
        (Level::Assertion, _) => "the device's token and the host site's assertion",
        (_, Shown::Code(_)) => "the code of a receipt",
        _ => "the device's token",
    };
    let known = Some((who.level, words.to_owned()));
    let asked = Asked { kind: Kind::Erase, channel: Channel::Page, known, people: who.people };
    let view = app.subject.ask(&asked, &Caller::Public)?;
    app.erasure.delete_rows()?;
    Ok(Reply::json(202, &json!({"request": view.id, "state": view.state, "due_at": view.due_at})))
}
