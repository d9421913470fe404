//! From the bytes of a body to its events and decisions: one object, an array, an envelope, or NDJSON.
//! Must never judge an event beyond its form: rules of sites and meanings live in `shape.rs`.
//! Invariant: one result per event, in order; only a body that is no JSON at all fails as a whole.

use serde::de::DeserializeSeed;

use crate::base::error::{Error, Result};
use crate::base::time::Millis;
use crate::ingest::limits::Limits;
use crate::ingest::wire::read::{ItemList, Object};
use crate::ingest::wire::{Items, RawDecision, RawItem, Sink, Table, Target};

pub use crate::ingest::wire::{Invalid, Item};

/// A decoded body.
#[derive(Debug, Default)]
pub struct Decoded<'a> {
    /// The site an envelope names.
    pub site: Option<String>,
    /// When an envelope was sent, by the client's clock.
    pub sent_at: Option<Millis>,
    /// The decision of an envelope; stands for all of its events.
    pub decision: Option<RawDecision<'a>>,
    /// What it holds, in order.
    pub items: Vec<std::result::Result<Item<'a>, Invalid>>,
}

/// Decodes one object, an array or an envelope. Errors: `Invalid`, with the codes `bad_json` (line and column, or the byte
/// that is no UTF-8), `empty`, `too_many`, `envelope`.
pub fn json<'a>(body: &'a [u8], limits: &Limits) -> Result<Decoded<'a>> {
    let text = text_of(body)?;
    let mut sink = strict(limits);
    let decoded = match first_byte(text) {
        None => return Err(empty()),
        Some(b'[') => {
            let items = parse(text, ItemList { sink: &mut sink })?.unwrap_or_default();
            Decoded { items: counted(items, limits)?, ..Decoded::default() }
        }
        Some(_) => {
            let mut item = RawItem { outermost: true, ..RawItem::default() };
            parse_object(text, &mut item, &mut sink)?;
            match item.items.take() {
                Some(items) => envelope(item, items, sink.first, limits)?,
                None if item.site.is_some() => return Err(site_alone()),
                None => Decoded { items: vec![item.finish(sink.first)], ..Decoded::default() },
            }
        }
    };
    if decoded.items.is_empty() { Err(empty()) } else { Ok(decoded) }
}

/// Decodes NDJSON: an event or a decision on each line; empty lines are skipped. A line that does not parse is that line's
/// own problem. Errors: `Invalid`, with the codes `empty` and `too_many`.
pub fn ndjson<'a>(body: &'a [u8], limits: &Limits) -> Result<Decoded<'a>> {
    let body = body.strip_prefix(BOM).unwrap_or(body);
    let mut items = Items::default();
    for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if items.list.len() == limits.events_max {
            items.overflow += 1;
            continue;
        }
        items.list.push(one_line(line, limits).unwrap_or_else(|error| {
            Err(Invalid::new(format!("line {}", index + 1), error.what.replace(" at line 1 column ", " at column ")))
        }));
    }
    let items = counted(items, limits)?;
    if items.is_empty() { Err(empty()) } else { Ok(Decoded { items, ..Decoded::default() }) }
}

/// Decodes one NDJSON line. Errors: `Invalid`, `bad_json`; the inner one where the line is JSON and no event.
pub fn one_line<'a>(line: &'a [u8], limits: &Limits) -> Result<std::result::Result<Item<'a>, Invalid>> {
    let (mut item, mut sink) = (RawItem::default(), strict(limits));
    parse_object(text_of(line)?, &mut item, &mut sink)?;
    Ok(item.finish(sink.first))
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The text of a body, without a byte order mark. Errors: `Invalid`, `bad_json`, naming the first bad byte.
pub(crate) fn text_of(body: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(body).map_err(|error| {
        Error::invalid(format!(
            "the body is not UTF-8: byte {} (counted from 0) begins no character",
            error.valid_up_to()
        ))
        .code("bad_json")
        .remedy("encode the body as UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Reads a text that must be one object into a target. Errors: `Invalid`, `bad_json`.
pub(crate) fn parse_object<'a, T: Target<'a>>(text: &'a str, target: &mut T, sink: &mut Sink) -> Result<()> {
    parse(text, Object { target, table: Table::Whole, sink, under: "" }).map(|_| ())
}

fn parse<'a, S: DeserializeSeed<'a>>(text: &'a str, seed: S) -> Result<S::Value> {
    let mut json = serde_json::Deserializer::from_str(text);
    let read = seed.deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    read.map_err(|error| {
        Error::invalid(format!("the body is not JSON: {error}"))
            .code("bad_json")
            .remedy("correct the body at that place; nothing of it was taken")
    })
}

fn strict(limits: &Limits) -> Sink {
    Sink { first: None, vendor: false, attributes_max: limits.attributes_max, events_max: limits.events_max }
}

fn first_byte(text: &str) -> Option<u8> {
    text.bytes().find(|byte| !byte.is_ascii_whitespace())
}

fn counted<'a>(items: Items<'a>, limits: &Limits) -> Result<Vec<std::result::Result<Item<'a>, Invalid>>> {
    if items.overflow == 0 {
        return Ok(items.list);
    }
    let (found, most) = (items.list.len() + items.overflow, limits.events_max);
    Err(Error::invalid(format!("the request holds {found} events, at most {most} are taken"))
        .code("too_many")
        .remedy("send them in several requests"))
}

fn envelope<'a>(item: RawItem<'a>, items: Items<'a>, problem: Option<Invalid>, limits: &Limits) -> Result<Decoded<'a>> {
    let bad = |field: &str, what: &str| {
        Error::invalid(format!("envelope: {field} {what}"))
            .code("envelope")
            .remedy("an envelope holds site, sentAt, decision and events")
    };
    let RawItem { event, of_event, of_decision, site, .. } = item;
    if let Some(Invalid { field, what }) = problem {
        return Err(bad(&field, &what));
    }
    if of_event || of_decision.is_some() || event.visitor.is_some() || event.time.is_some() {
        return Err(bad("events", "stands beside fields of a single event"));
    }
    if site.as_ref().is_some_and(|site| site.is_empty() || site.len() > limits.id_bytes_max) {
        return Err(bad("site", "is empty or too long"));
    }
    Ok(Decoded {
        site: site.map(std::borrow::Cow::into_owned),
        sent_at: event.sent_at,
        decision: event.decision.map(|decision| *decision),
        items: counted(items, limits)?,
    })
}

fn empty() -> Error {
    Error::invalid("the body holds no event").code("empty").remedy("send at least one event")
}

fn site_alone() -> Error {
    Error::invalid("site stands in a single event")
        .code("envelope")
        .remedy("name the site in the address (?site=...) or send {\"site\": ..., \"events\": [...]}")
}

#[cfg(test)]
mod tests;
