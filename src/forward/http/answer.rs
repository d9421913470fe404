//! What an answer of a receiver means: the response table of pushing. Pure; must never send, wait or remember.
//! Invariant: an answer that is not understood holds or repeats, and drops nothing; no status but a 2xx, and a collision with
//! our own digest, is an acknowledgement.

use crate::base::error::{Error, Kind};
use crate::base::time::{Millis, SECOND_MS, parse_http_date};
use crate::domain::batch::SealedPart;
use crate::domain::delivery::{Ack, Refused, SignedAck};
use crate::forward::target::{Judged, Landed, Put, Says, Setback};

/// Characters of a receiver's own words that are told.
const WORDS_MAX: usize = 200;

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After`.
    pub retry_after: Option<String>,
    /// `Date`.
    pub date: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// What was put.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The target, for words.
    pub target: &'a str,
    /// The batch's signed part.
    pub sealed: &'a SealedPart,
    /// The key the receiver signs with, where it is known.
    pub receiver_key: Option<[u8; 32]>,
    /// Of a part: are others to follow?
    pub more: Option<bool>,
}

/// What the answer to a `PUT` means.
pub fn put(about: &About<'_>, heard: &Heard) -> Result<Put, Setback> {
    match heard.status {
        202 if about.more.is_some() => Ok(Put { landed: Landed::Part, acknowledged: false }),
        200..=299 => acknowledged(about, heard),
        409 | 412 => collision(about, heard),
        _ => Err(refusal(about.target, heard)),
    }
}

/// Was a report that was brought believed? Errors: `Invalid` with code `report_refused`.
pub fn report_taken(target: &str, heard: &Heard) -> Result<(), Error> {
    let body: serde_json::Value = serde_json::from_slice(&heard.body).unwrap_or_default();
    if body["taken"] != 0 {
        return Ok(()); // a receiver that says no more than 2xx has it
    }
    let why = body["refused"][0].as_str().unwrap_or("it does not say why");
    let what = format!("{target} does not believe a report: {}", crate::base::text::cut(why, WORDS_MAX));
    Err(Error::invalid(what).code("report_refused"))
}

/// Does an acknowledgement say that directives wait?
pub fn beckons(heard: &Heard) -> bool {
    let body: Option<serde_json::Value> = serde_json::from_slice(&heard.body).ok();
    body.is_some_and(|body| body["directives"].as_i64().is_some_and(|count| count > 0))
}

/// What the answer to a question about lines means.
pub fn judged(target: &str, heard: &Heard) -> Result<Judged, Setback> {
    match heard.status {
        204 => Ok(Judged::Well),
        // whoever says anything else well has kept lines it was only asked about
        200..=299 | 404 | 405 | 501 => Ok(Judged::Unknown),
        _ => {
            let setback = refusal(target, heard);
            match setback.says {
                Some(Says::BadRows { seqs }) => Ok(Judged::Bad(seqs)),
                _ => Err(setback),
            }
        }
    }
}

/// A 2xx: is it an acknowledgement of this batch?
fn acknowledged(about: &About<'_>, heard: &Heard) -> Result<Put, Setback> {
    let signed: Option<SignedAck> = serde_json::from_slice(&heard.body).ok();
    let here = |ack: &Ack| {
        let s = about.sealed;
        (&ack.edge, &ack.epoch, &ack.lane, ack.batch_no, &ack.digest)
            == (&s.edge, &s.epoch, &s.lane, s.batch_no, &s.digest)
    };
    let told = signed.as_ref().map(|signed| signed.open(about.receiver_key.as_ref()));
    let whole = match (told, about.receiver_key) {
        (Some(Ok(ack)), _) if here(&ack) => true,
        (Some(Ok(ack)), _) => {
            return Err(bad_ack(about, &format!("it acknowledges batch {} {}", ack.batch_no, ack.digest)));
        }
        (Some(Err(error)), Some(_)) => return Err(bad_ack(about, &error.what)),
        (None, Some(_)) => return Err(bad_ack(about, "its answer holds no signed acknowledgement")),
        (_, None) => false,
    };
    if !whole && about.more == Some(true) {
        return Ok(Put { landed: Landed::Part, acknowledged: false });
    }
    let word = serde_json::from_slice::<serde_json::Value>(&heard.body).ok();
    let landed = match word.as_ref().and_then(|body| body["status"].as_str()) {
        Some("renewed") => Landed::Renewed,
        Some("same") => Landed::Same,
        _ if heard.status == 200 => Landed::Same,
        _ => Landed::New,
    };
    Ok(Put { landed, acknowledged: true })
}

fn bad_ack(about: &About<'_>, what: &str) -> Setback {
    Error::config(format!(
        "{} answered well, and what it says is no acknowledgement of this batch: {what}",
        about.target
    ))
    .code("bad_ack")
    .remedy("compare the target's receiver_key with the key of the receiver")
    .into()
}

/// Something lies under this key. Our own digest is an acknowledgement, unless those are to be signed.
fn collision(about: &About<'_>, heard: &Heard) -> Result<Put, Setback> {
    let refused = read(heard);
    let same = refused.digest.as_deref().is_some_and(|digest| digest.eq_ignore_ascii_case(&about.sealed.digest));
    if same && about.receiver_key.is_some() {
        return acknowledged(about, heard);
    }
    if same {
        return Ok(Put { landed: Landed::Same, acknowledged: true });
    }
    let known = ["", "fork", "conflict", "renew"].contains(&refused.error.as_str());
    if !known && refused.digest.is_none() {
        return Err(Error::config(words(about.target, heard)).code("not_taken").into());
    }
    let other = refused.digest.as_deref().unwrap_or("a digest it does not tell");
    let what =
        format!("at {} another batch lies under this key: {other}, ours is {}", about.target, about.sealed.digest);
    let remedy = match refused.error.as_str() {
        "renew" => "the receiver's operator has said that the other database goes on: wayside edge renew, here",
        _ => "two databases write under one edge and epoch: find out which is to go on",
    };
    Err(Setback::from(Error::conflict(what).code("fork").remedy(remedy)).says(Says::Fork { digest: refused.digest }))
}

/// What the answer to a statement about an edge means: it is taken, or nobody there has a use for it.
pub fn introduced(target: &str, heard: &Heard) -> Result<bool, Setback> {
    match heard.status {
        200..=299 => Ok(true),
        404 | 405 | 501 if read(heard).error != "relay_off" => Ok(false),
        409 => {
            let remedy = "find out which of two installations has the edge's id, and start the other one afresh";
            Err(Error::conflict(words(target, heard)).code("edge_known").remedy(remedy).into())
        }
        _ => Err(refusal(target, heard)),
    }
}

/// Everything that is no acknowledgement.
pub fn refusal(target: &str, heard: &Heard) -> Setback {
    let (what, refused) = (words(target, heard), read(heard));
    let of = |error: Error| Setback::from(error);
    match heard.status {
        413 => of(Error::invalid(what).code("too_large")).says(Says::TooLarge { bytes_max: refused.max_bytes }),
        400 | 422 if refused.error == "unknown_schema" => of(Error::config(what)
            .code("schema_refused")
            .remedy("bring the receiver to a version that knows these lines; nothing is lost until then")),
        400 | 422 => {
            let seqs = refused.seqs.unwrap_or_default();
            of(Error::invalid(what).code("bad_rows")).says(Says::BadRows { seqs })
        }
        401 | 403 | 407 => {
            let held =
                of(Error::denied(what).code("auth").remedy("bring the token in token_file, or its right, in order"));
            if refused.error == "unknown_edge" { held.says(Says::UnknownEdge) } else { held }
        }
        408 | 425 | 429 | 500 | 502..=599 => {
            let code = if matches!(heard.status, 429 | 503) { "busy" } else { "upstream" };
            Setback { asked_ms: asked_ms(heard), ..of(Error::new(Kind::Upstream, code, what)) }
        }
        300..=399 => {
            of(Error::not_found(what).code("not_found").remedy("write the address it leads to into the target's url"))
        }
        404 | 405 | 410 | 501 => {
            of(Error::not_found(what).code("not_found").remedy("correct the target's url, or the receiver"))
        }
        _ => of(Error::config(what).code("not_taken").remedy("ask who runs the receiver")),
    }
}

fn read(heard: &Heard) -> Refused {
    serde_json::from_slice(&heard.body).unwrap_or_default()
}

/// What was answered, in few words: status, the receiver's stable word, and what it says.
fn words(target: &str, heard: &Heard) -> String {
    let body: serde_json::Value = serde_json::from_slice(&heard.body).unwrap_or_default();
    let said = [&body["error"], &body["what"]].into_iter().filter_map(|value| value.as_str());
    let said: Vec<String> = said
        .map(|text| text.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect::<String>())
        .filter(|text| !text.is_empty())
        .collect();
    match said.is_empty() {
        true => format!("{target} answered {}", heard.status),
        false => format!("{target} answered {} ({})", heard.status, said.join(": ")),
    }
}

/// `Retry-After` in ms: seconds, or a date against the receiver's own clock.
fn asked_ms(heard: &Heard) -> Option<i64> {
    let text = heard.retry_after.as_deref()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(i64::from(seconds) * SECOND_MS);
    }
    let date = |text: &str| -> Option<Millis> { parse_http_date(text) };
    let (until, now) = (date(text)?, date(heard.date.as_deref()?)?);
    Some(until.since(now).max(0))
}

#[cfg(test)]
mod tests;
