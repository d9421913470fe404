//! Batches to those who pull: what there is, one batch with its manifest, leases, acknowledgements.
//! Must never decide what is offered (`forward/pull`). Invariant: the ETag is the hash of the bytes served, so that a range goes on
//! only in the very bytes it began in.

use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::digest::sha256;
use crate::base::error::{Error, Result};
use crate::base::id::{EdgeId, Epoch};
use crate::base::text::hex;
use crate::domain::delivery::MANIFEST_HEADER;
use crate::domain::event::Lane;
use crate::forward::pull::source::{Given, Listed};
use crate::forward::pull::{Acked, Ask, LIMIT_MAX, Page, Pull, WAIT_SECONDS_MAX};
use crate::forward::target::Key;
use crate::http::operator::parsed;
use crate::http::reply::Reply;
use crate::http::request::{Head, Request};
use crate::http::router::Call;
use crate::http::server::Responder;

/// An error; where an epoch is gone, the one that goes on is named.
fn refused(pull: &Pull, edge: Option<EdgeId>, error: &Error) -> Reply {
    if !matches!(error.code, "gone" | "rows_removed") {
        return Reply::from_error(error);
    }
    let mut body = json!({"error": error.code, "what": error.what, "remedy": error.remedy});
    if error.code == "gone" {
        let newest = edge.and_then(|edge| pull.successor(edge).ok().flatten());
        body["successor"] = newest.unwrap_or_else(|| pull.own_epoch()).to_string().into();
    }
    Reply::json(410, &body)
}

/// What there is for a cursor; held back up to `wait` seconds while there is nothing.
pub fn list(call: Call<'_>, request: Request, done: Responder) {
    let pull = Arc::clone(&call.app.pull);
    match asked(&request.head) {
        Err(error) => done(Reply::from_error(&error)),
        Ok((ask, wait_s)) => {
            let (edge, teller) = (ask.edge, Arc::clone(&pull));
            let answer = move |made: Result<Page>| {
                done(match made {
                    Ok(page) => Reply::json(200, &shown(&page)).with_header("cache-control", "no-store"),
                    Err(error) => refused(&teller, edge, &error),
                });
            };
            pull.list_later(ask, wait_s, Box::new(answer));
        }
    }
}

fn asked(head: &Head) -> Result<(Ask, u32)> {
    let bad = |name: &str, remedy: String| Error::invalid(format!("`{name}` cannot be read")).remedy(remedy);
    let number = |name: &str, most: u64| -> Result<u64> {
        let Some(text) = head.query_param(name) else { return Ok(0) };
        let read = text.parse().ok().filter(|n| *n <= most);
        read.ok_or_else(|| bad(name, format!("write a number from 0 to {most}")))
    };
    let lane = head
        .query_param("lane")
        .map(|word| Lane::parse(&word).ok_or_else(|| bad("lane", "use consent, visits, pages or fine".to_owned())));
    let edge = head
        .query_param("edge")
        .map(|text| EdgeId::parse(&text).map_err(|_| bad("edge", "write the edge's id: 32 hex digits".to_owned())));
    let limit = number("limit", LIMIT_MAX as u64)?;
    let wait_s = number("wait", WAIT_SECONDS_MAX.into())?;
    let ask = Ask {
        cursor: head.query_param("cursor"),
        after: head.query_param("after").filter(|text| !text.is_empty()),
        lane: lane.transpose()?,
        edge: edge.transpose()?,
        limit: usize::try_from(limit).unwrap_or(0),
    };
    Ok((ask, u32::try_from(wait_s).unwrap_or(0)))
}

fn shown(page: &Page) -> Value {
    let one = |listed: &Listed| {
        json!({"key": listed.key.to_string(), "manifest": {
            "sealed": listed.sealed, "signature": listed.signature, "public_key": listed.public_key,
        }})
    };
    json!({"batches": page.batches.iter().map(one).collect::<Vec<_>>(), "next": page.next, "more": page.more})
}

/// One batch: its lines as gzip, its manifest in a header.
pub fn get(call: Call<'_>, request: Request, done: Responder) {
    let pull = &call.app.pull;
    let head = &request.head;
    let made = key(&call.params);
    let reply = match made {
        Err(error) => Reply::from_error(&error),
        Ok(key) => pull
            .give(head.query_param("cursor").as_deref(), key)
            .and_then(|given| served(head, given))
            .unwrap_or_else(|error| refused(pull, Some(key.edge), &error)),
    };
    done(reply);
}

fn key(parts: &[String]) -> Result<Key> {
    let [edge, epoch, lane, no] = parts else { return Err(no_key()) };
    let lane = Lane::parse(lane).ok_or_else(no_key)?;
    let batch_no = no.parse().ok().filter(|n: &i64| *n > 0 && no.len() == 12).ok_or_else(no_key)?;
    let (edge, epoch) = (EdgeId::parse(edge).map_err(|_| no_key())?, Epoch::parse(epoch).map_err(|_| no_key())?);
    Ok(Key { edge, epoch, lane, batch_no })
}

fn no_key() -> Error {
    Error::not_found("this is no batch's key")
        .code("unknown_batch")
        .remedy("a key is <edge>/<epoch>/<lane>/<batch_no, 12 digits>, as GET /v1/batches lists it")
}

/// The answer to these conditions. The pen is told before it leaves, also where nothing is sent because the asker has it already:
/// then it has it.
fn served(head: &Head, given: Given) -> Result<Reply> {
    let etag = format!("\"{}\"", hex(&sha256(&given.gz)));
    let range = match range(head, &etag, given.gz.len()) {
        Wanted::Whole => None,
        Wanted::Part(range) => Some(range),
        Wanted::Nothing => {
            let text = format!("bytes */{}", given.gz.len());
            return Ok(Reply::empty(416).with_header("content-range", text).with_header("etag", etag));
        }
    };
    let (gz, manifest) = if head.method == "HEAD" { given.looked_at() } else { given.goes()? };
    let reply = if matches(head.headers.get("if-none-match"), &etag) {
        Reply::empty(304)
    } else {
        match range {
            None => Reply::bytes(200, "application/gzip", gz),
            Some(range) => {
                let text = format!("bytes {}-{}/{}", range.start, range.end - 1, gz.len());
                Reply::bytes(206, "application/gzip", gz[range].to_vec()).with_header("content-range", text)
            }
        }
    };
    let reply = reply.with_header("etag", etag).with_header(MANIFEST_HEADER, manifest);
    Ok(reply.with_header("accept-ranges", "bytes").with_header("cache-control", "no-store"))
}

/// Does one of a list of tags name these bytes?
fn matches(header: Option<&str>, etag: &str) -> bool {
    header.is_some_and(|list| {
        list.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    Part(Range<usize>),
    Nothing,
}

/// The one range asked for. Without an `If-Range` that names these very bytes, the whole: holes may have come since, and halves of
/// two renderings do not fit together.
fn range(head: &Head, etag: &str, len: usize) -> Wanted {
    let Some(text) = head.headers.get("range").and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return Wanted::Whole;
    };
    if head.headers.get("if-range").map(str::trim) != Some(etag) {
        return Wanted::Whole;
    }
    let Some((first, last)) = text.split_once('-') else { return Wanted::Whole };
    let read = |text: &str| text.trim().parse::<usize>();
    let range = match (first.trim().is_empty(), read(first), read(last), last.trim().is_empty()) {
        (true, _, Ok(count), _) => len.saturating_sub(count)..len,
        (false, Ok(first), _, true) => first..len,
        (false, Ok(first), Ok(last), _) if first <= last => first..last.saturating_add(1).min(len),
        _ => return Wanted::Whole, // several, or none that can be read
    };
    if range.start < range.end { Wanted::Part(range) } else { Wanted::Nothing }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lease {
    cursor: Option<String>,
    holder: String,
    ttl_seconds: i64,
}

/// Takes, renews or gives back the lease of a cursor.
pub fn lease(call: Call<'_>, request: Request, done: Responder) {
    let pull = &call.app.pull;
    let made = parsed::<Lease>(&request);
    let made = made.and_then(|asked| pull.lease(asked.cursor.as_deref(), &asked.holder, asked.ttl_seconds));
    done(made.map_or_else(
        |error| Reply::from_error(&error),
        |lease| Reply::json(200, &json!({"fence": lease.fence, "expires_at": lease.expires.rfc3339()})),
    ));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ack {
    cursor: Option<String>,
    fence: Option<i64>,
    edge: String,
    epoch: String,
    lane: String,
    upto: i64,
    digest: String,
}

/// Acknowledges everything of a lane and epoch up to a batch.
pub fn ack(call: Call<'_>, request: Request, done: Responder) {
    let pull = &call.app.pull;
    let read = parsed::<Ack>(&request).and_then(|ack| {
        let parts = [ack.edge, ack.epoch, ack.lane, format!("{:012}", ack.upto)];
        Ok(Acked { cursor: ack.cursor, fence: ack.fence, upto: key(&parts)?, digest: ack.digest })
    });
    let reply = match read {
        Err(error) => Reply::from_error(&error),
        Ok(acked) => match pull.ack(&acked) {
            Ok(news) => Reply::json(200, &json!({"acknowledged": news})),
            Err(error) => refused(pull, Some(acked.upto.edge), &error),
        },
    };
    done(reply);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Millis;
    use crate::http::request::Peer;

    fn head(headers: &[(&str, &str)]) -> Head {
        Head {
            method: "GET".to_owned(),
            path: String::new(),
            query: String::new(),
            headers: headers.iter().copied().collect(),
            peer: Peer::Control,
            received_at: Millis(0),
            secure: false,
        }
    }

    #[test]
    fn a_range_goes_on_only_in_the_bytes_it_began_in() {
        let of = |range: &str, tag: &str| super::range(&head(&[("range", range), ("if-range", tag)]), "\"a\"", 10);
        assert_eq!(of("bytes=4-", "\"a\""), Wanted::Part(4..10));
        assert_eq!(of("bytes=4-5", "\"a\""), Wanted::Part(4..6));
        assert_eq!(of("bytes=4-99", "\"a\""), Wanted::Part(4..10));
        assert_eq!(of("bytes=-3", "\"a\""), Wanted::Part(7..10));
        assert_eq!(of("bytes=10-", "\"a\""), Wanted::Nothing);
        for whole in ["bytes=1-2,4-5", "bytes=5-4", "bytes=x-", "bytes=-", "lines=1-2"] {
            assert_eq!(of(whole, "\"a\""), Wanted::Whole, "{whole}");
        }
        assert_eq!(of("bytes=4-", "\"b\""), Wanted::Whole);
        assert_eq!(of("bytes=4-", "W/\"a\""), Wanted::Whole, "a weak tag does not name bytes");
        assert_eq!(super::range(&head(&[("range", "bytes=4-")]), "\"a\"", 10), Wanted::Whole);
    }
}
