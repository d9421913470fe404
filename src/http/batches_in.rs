//! Batches of other edges come in: one put, its validation, and how far an edge was received.
//! Must never judge a batch (`forward/relay`). Invariant: 2xx leaves after files and row are on the disk.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::base::error::{Error, Result};
use crate::base::id::{EdgeId, Epoch};
use crate::base::text::hex;
use crate::base::time::Millis;
use crate::domain::delivery::{COMPLETE_HEADER, Lies, MANIFEST_HEADER};
use crate::domain::event::Lane;
use crate::domain::token::Caller;
use crate::forward::relay::complete::Idle;
use crate::forward::relay::parts::Part;
use crate::forward::relay::receive::{Incoming, Refusal, Taken};
use crate::forward::target::Key;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::Call;
use crate::http::server::Responder;

/// Digits of a batch number in an address.
const NO_DIGITS: usize = 12;

/// The edge a caller may send for: its own; `None` = the operator's word.
pub(in crate::http) fn sender(caller: &Caller) -> Result<Option<EdgeId>> {
    match caller {
        Caller::Operator => Ok(None),
        Caller::Token { edge: Some(edge), .. } => Ok(Some(*edge)),
        _ => Err(Error::denied("this token is bound to no edge").code("unknown_edge").remedy("join: wayside join")),
    }
}

/// A batch's key, and the part, from the four pieces of its address. Errors: `NotFound`.
pub(in crate::http) fn key_of(params: &[String]) -> Result<(Key, Option<Part>)> {
    let odd = || {
        Error::not_found("this names no batch").remedy(
            "the address is /v1/batches/<edge>/<epoch>/<lane>/<batch_no, 12 digits>, behind it .<k>-of-<n> for a part",
        )
    };
    let [edge, epoch, lane, no] = params else { return Err(odd()) };
    let (no, part) = match no.split_once('.') {
        None => (no.as_str(), None),
        Some((no, part)) => (no, Some(Part::parse(part).ok_or_else(odd)?)),
    };
    let digits = no.len() == NO_DIGITS && no.bytes().all(|b| b.is_ascii_digit());
    let batch_no = no.parse().ok().filter(|no: &i64| digits && *no > 0).ok_or_else(odd)?;
    let key = Key {
        edge: EdgeId::parse(edge).map_err(|_| odd())?,
        epoch: Epoch::parse(epoch).map_err(|_| odd())?,
        lane: Lane::parse(lane).ok_or_else(odd)?,
        batch_no,
    };
    Ok((key, part))
}

fn refused(refusal: &Refusal) -> Reply {
    let error = &refusal.error;
    let mut body = serde_json::to_value(&refusal.more).unwrap_or_else(|_| json!({}));
    body["error"] = error.code.into();
    body["what"] = error.what.clone().into();
    body["remedy"] = error.remedy.clone().into();
    let plain = Reply::from_error(error);
    let mut reply = Reply::json(plain.status, &body);
    reply.headers = plain.headers;
    reply
}

/// Too long for one request: says how long it may be.
pub(in crate::http) fn too_large(error: &Error, bytes_max: u64) -> Reply {
    let more = crate::domain::delivery::Refused { max_bytes: Some(bytes_max), ..Default::default() };
    refused(&Refusal { error: error.again().remedy("send it in parts: <batch_no>.<k>-of-<n>"), more })
}

fn told(taken: Taken, directives: i64) -> Reply {
    let (status, word, ack) = match taken {
        Taken::Stored(ack) => (201, "stored", ack),
        Taken::Same(ack) => (200, "same", ack),
        Taken::Renewed(ack) => (200, "renewed", ack),
        Taken::Waiting(missing) => return Reply::json(202, &json!({"status": "part", "missing": missing})),
    };
    let mut body = serde_json::to_value(ack).unwrap_or(Value::Null);
    body["status"] = word.into();
    if directives > 0 {
        body["directives"] = directives.into();
    }
    Reply::json(status, &body)
}

/// Takes a batch, or a part of one; with `?validate=1` judges lines and keeps nothing.
pub fn put(call: Call<'_>, request: Request, done: Responder) {
    done(take(&call, &request).unwrap_or_else(|refusal| refused(&refusal)));
}

fn take(call: &Call<'_>, request: &Request) -> std::result::Result<Reply, Refusal> {
    let (key, part) = key_of(&call.params)?;
    let head = &request.head;
    let coding = head.headers.get("content-encoding").map(str::trim);
    if !coding.is_some_and(|coding| coding.eq_ignore_ascii_case("gzip")) {
        return Err(Error::invalid("the lines of a batch are sent compressed")
            .code("unsupported_media")
            .remedy("send them with Content-Encoding: gzip")
            .into());
    }
    let manifest = head.headers.get(MANIFEST_HEADER).ok_or_else(|| {
        Error::invalid("the manifest is missing").code("bad_manifest").remedy("send it in the header Wayside-Manifest")
    })?;
    let incoming = Incoming { key, part, manifest, body: &request.body, by: sender(&call.caller)? };
    if head.query_param("validate").as_deref() == Some("1") {
        call.app.relay.validate(&incoming)?;
        return Ok(Reply::empty(204));
    }
    let sender = incoming.by;
    let taken = call.app.relay.put(&incoming)?;
    // the batch is here: what cannot be counted now is asked for later
    let waiting = sender.map_or(Ok(0), |edge| call.app.downstream.fresh(edge)).unwrap_or(0);
    Ok(told(taken, waiting))
}

/// What an idle edge says of its lanes. Errors: `Invalid` with code `bad_complete`.
fn idle(header: Option<&str>) -> Result<Vec<Idle>> {
    let Some(text) = header else { return Ok(Vec::new()) };
    let bad = || {
        Error::invalid("the header Wayside-Complete does not parse")
            .code("bad_complete")
            .remedy("send one JSON object: lane and until when it is complete, RFC 3339")
    };
    let said: BTreeMap<String, String> = serde_json::from_str(text).map_err(|_| bad())?;
    let one = |(lane, until): (String, String)| {
        Ok(Idle { lane: Lane::parse(&lane).ok_or_else(bad)?, until: Millis::parse(&until).ok_or_else(bad)? })
    };
    said.into_iter().map(one).collect()
}

/// The digest of a batch of an edge, as it was received: by it two sides find the last batch both have.
pub fn digest(call: Call<'_>, _request: Request, done: Responder) {
    let made = || -> Result<Value> {
        let unknown = || Error::not_found("no such batch was received, or nobody remembers it").code("unknown_batch");
        let (key, None) = key_of(&call.params)? else { return Err(unknown().remedy("ask for the batch, not a part")) };
        let found = call.app.relay.digest(key, sender(&call.caller)?)?;
        let digest = found.ok_or_else(|| unknown().remedy("GET /v1/watermarks tells how far it was received"))?;
        serde_json::to_value(Lies { key: key.to_string(), digest: hex(&digest) })
            .map_err(|e| Error::storage(format!("writing an answer: {e}")))
    };
    crate::http::operator::answer(done, made());
}

/// How far an edge was received.
pub fn watermarks(call: Call<'_>, request: Request, done: Responder) {
    let made = || -> Result<Value> {
        let edge = call.params.first().map(String::as_str).unwrap_or_default();
        let edge = EdgeId::parse(edge)
            .map_err(|_| Error::not_found("this names no edge").remedy("an edge is 32 hex digits: wayside status"))?;
        let by = sender(&call.caller)?;
        let all = call.app.relay.watermarks(edge, by)?;
        let said = idle(request.head.headers.get(COMPLETE_HEADER))?;
        if !said.is_empty() {
            call.app.relay.idle(edge, by, said)?;
        }
        serde_json::to_value(all).map_err(|e| Error::storage(format!("writing an answer: {e}")))
    };
    crate::http::operator::answer(done, made());
}
