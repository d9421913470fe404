//! What a banner and the person it asks may read: the state of a choice, the receipt of a decision, and our word on GPC.
//! Owns how a visitor is proved in a request without a body; must never hold a rule of consent.
//! Invariant: who proves nothing reads what anybody reads.

use serde_json::{Value, json};

use crate::base::error::{Error, Result};
use crate::base::id::{ClientId, Seq};
use crate::base::text::hex;
use crate::base::time::Millis;
use crate::consent::receipt::Form;
use crate::domain::code::Code;
use crate::domain::consent::Purposes;
use crate::domain::site::Seat;
use crate::http::answer::Answering;
use crate::http::auth;
use crate::http::notices::told;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::Call;
use crate::http::server::Responder;
use crate::ingest::shape::Authority;

/// The header a visitor's token comes in, since addresses end up in logs.
pub const TOKEN_HEADER: &str = "wayside-visitor-token";

/// The header a receipt's code comes in.
pub const CODE_HEADER: &str = "wayside-code";

/// When this statement on GPC was last changed.
const GPC_CHANGED: &str = "2026-11-22";

/// That `Sec-GPC` is honoured here.
pub fn gpc(_: Call<'_>, _: Request, done: Responder) {
    done(Reply::json(200, &json!({"gpc": true, "lastUpdate": GPC_CHANGED})));
}

/// The visitor a request proves: by its token, or by naming it with the operator's or a sender's right.
/// `None` = nobody in particular. Errors: `Denied` with code `visitor_token` where a token does not hold.
fn visitor(call: &Call<'_>, request: &Request, seat: &Seat, authority: Authority) -> Result<Option<ClientId>> {
    let named = request.head.query_param("visitor");
    match (request.head.headers.get(TOKEN_HEADER), authority) {
        (Some(token), _) => {
            let key = token.rsplit_once('.').map(|(id, _)| ClientId::new(id));
            let proved = key.filter(|key| call.app.consent.token_holds(seat, key, token));
            let same = |key: &ClientId| named.as_ref().is_none_or(|named| ClientId::new(named) == *key);
            proved.filter(same).map(Some).ok_or_else(|| {
                Error::denied("the visitor's token does not hold")
                    .code("visitor_token")
                    .remedy("send the visitorToken that came with this visitor's first answer")
            })
        }
        (None, Authority::Public) => Ok(None),
        (None, _) => Ok(named.map(|named| ClientId::new(&named))),
    }
}

/// The receipt of a decision, signed: the newest, or the one named.
pub fn receipt(call: Call<'_>, request: Request, done: Responder) {
    let answering = Answering::new(call.app, &request.head, done);
    answering.send(written(&call, &request).unwrap_or_else(|error| Reply::from_error(&error)));
}

fn written(call: &Call<'_>, request: &Request) -> Result<Reply> {
    let head = &request.head;
    let site = head.query_param("site");
    let arrived = auth::arrived(call.app, head, site.as_deref())?;
    let seat = call.app.ingest.seat_for(&arrived, None)?;
    let form = Form::parse(head.query_param("format").as_deref())?;
    let seq = head.query_param("decision").map(|text| text.parse().map(Seq)).transpose();
    let seq = seq.map_err(|_| Error::invalid("decision is no number").remedy("send the seq that its answer told"))?;
    let consent = &call.app.consent;
    let key = match head.headers.get(CODE_HEADER) {
        Some(code) => {
            let from = auth::client(call.app, head);
            Some(consent.by_code(&seat, &Code::parse(code)?, from, arrived.received)?.key)
        }
        None => visitor(call, request, &seat, arrived.authority)?,
    };
    let key = key.ok_or_else(|| {
        Error::invalid("a receipt is for the person it is about").code("whose").remedy(
            "send the visitor's token in the header Wayside-Visitor-Token, or the code of a receipt in Wayside-Code",
        )
    })?;
    let made = consent.receipt(&seat, &key, (seq, head.query_param("language").as_deref()))?;
    let signed = consent.signed(&made, form);
    let (signature, key_id) = (hex(&signed.signature), signed.key_id.clone());
    Ok(Reply::bytes(200, form.media(), signed.bytes)
        .with_header("wayside-signature", signature)
        .with_header("wayside-key-id", key_id)
        .with_header("wayside-public-key", hex(&signed.public_key))
        .with_header("cache-control", "no-store"))
}

/// What is to be asked, by which notice, and whether the choice taken holds.
pub fn state(call: Call<'_>, request: Request, done: Responder) {
    let answering = Answering::new(call.app, &request.head, done);
    answering.send(show(&call, &request).unwrap_or_else(|error| Reply::from_error(&error)));
}

fn show(call: &Call<'_>, request: &Request) -> Result<Reply> {
    let head = &request.head;
    let site = head.query_param("site");
    let arrived = auth::arrived(call.app, head, site.as_deref())?;
    let seat = call.app.ingest.seat_for(&arrived, None)?;
    let visitor = visitor(call, request, &seat, arrived.authority)?;
    let language = head.query_param("language");
    let moment = (arrived.received, arrived.signals);
    let state = call.app.consent.state(&seat, visitor.as_ref(), language.as_deref(), moment)?;
    let book = &seat.site.book;
    let names = |set: Purposes| set.names(book);
    let time = |at: Option<Millis>| at.map(Millis::rfc3339);
    let notice = state.shown().map_or(Value::Null, |row| told(row, &state.notice, state.ask, book));
    let denied = if state.denied.has(Purposes::MEASURE) { vec!["measure".to_owned()] } else { names(state.denied) };
    Ok(Reply::json(
        200,
        &json!({
            "decided": state.decided,
            "valid": state.valid(),
            "validUntil": time(state.valid_until),
            "askNotBefore": time(state.ask_not_before),
            "granted": names(state.granted),
            "denied": denied,
            "ask": names(state.ask),
            "signals": {"gpc": state.signals.gpc, "dnt": state.signals.dnt},
            "notice": notice,
        }),
    )
    .with_header("cache-control", "no-store"))
}
