//! The own fields of an `event` line, written by hand: most lines are events.
//! Owns their names and order; must never read a row or a clock. Invariant: the text is the one a serializer would write.

#[cfg(test)]
use serde::Serialize;

use crate::base::text::{push_json, push_number};
use crate::base::time::Millis;

/// Fields of an `event` line.
#[derive(Debug)]
#[cfg_attr(test, derive(Serialize))]
pub struct EventBody<'a> {
    /// The event's name.
    pub name: &'a str,
    /// `SYSTEM` or `BUSINESS`.
    pub event_type: &'a str,
    /// `web`, `app`, `conversation` or `custom`.
    pub stream: &'a str,
    /// Reference of the visitor.
    pub visitor_ref: &'a str,
    /// Public id of the visit.
    pub visit_id: &'a str,
    /// Public id of the authenticated session.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub session_id: Option<&'a str>,
    /// `seq` of the event that entered the page it happened on.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub page_seq: Option<i64>,
    /// Scrubbed address.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub url: Option<&'a str>,
    /// Name of the screen entered.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub screen: Option<&'a str>,
    /// Document title.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub title: Option<&'a str>,
    /// Language of the page entered.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub language: Option<&'a str>,
    /// Categories of the page entered, joined by semicolons.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub category: Option<&'a str>,
    /// What was searched for.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub search_query: Option<&'a str>,
    /// Client clock at the occurrence.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none", serialize_with = "super::tests::instant"))]
    pub client_at: Option<Millis>,
    /// Client clock at the sending.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none", serialize_with = "super::tests::instant"))]
    pub sent_at: Option<Millis>,
    /// What became of the client's time.
    pub clock_state: &'a str,
    /// The immutable purpose -> basis row in force.
    pub basis_id: i64,
    /// `seq` of the line it supersedes: forget that one.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub replaces: Option<i64>,
    /// Where it came from: a JSON object as text.
    #[cfg_attr(test, serde(skip))]
    pub referrer: Option<&'a str>,
    /// Custom attributes: a JSON object of strings, as text.
    #[cfg_attr(test, serde(skip))]
    pub attributes: Option<&'a str>,
    /// Types of the attributes that are no strings: a JSON object as text.
    #[cfg_attr(test, serde(skip))]
    pub attribute_types: Option<&'a str>,
    /// The conversation: a JSON object as text.
    #[cfg_attr(test, serde(skip))]
    pub conversation: Option<&'a str>,
}

/// About as long as an event's body is without its texts.
const EVENT_BYTES: usize = 400;

impl EventBody<'_> {
    /// The inside of the line's JSON object. What is JSON in the row is taken over as it is. By hand, as its head is.
    pub fn text(&self) -> String {
        let texts = [self.url, self.title, self.referrer, self.attributes];
        let room = texts.into_iter().flatten().map(str::len).sum::<usize>() + EVENT_BYTES;
        let mut out = String::with_capacity(room);
        out.push_str("\"name\":");
        push_json(&mut out, self.name);
        let words = [
            ("event_type", Some(self.event_type)),
            ("stream", Some(self.stream)),
            ("visitor_ref", Some(self.visitor_ref)),
            ("visit_id", Some(self.visit_id)),
            ("session_id", self.session_id),
        ];
        push_texts(&mut out, &words);
        push_count(&mut out, "page_seq", self.page_seq);
        let texts = [
            ("url", self.url),
            ("screen", self.screen),
            ("title", self.title),
            ("language", self.language),
            ("category", self.category),
            ("search_query", self.search_query),
        ];
        push_texts(&mut out, &texts);
        push_instant(&mut out, "client_at", self.client_at);
        push_instant(&mut out, "sent_at", self.sent_at);
        push_texts(&mut out, &[("clock_state", Some(self.clock_state))]);
        push_count(&mut out, "basis_id", Some(self.basis_id));
        push_count(&mut out, "replaces", self.replaces);
        let json = [
            ("referrer", self.referrer),
            ("attributes", self.attributes),
            ("attribute_types", self.attribute_types),
            ("conversation", self.conversation),
        ];
        with_json(out, &json)
    }
}

fn push_name(out: &mut String, name: &str) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
}

fn push_texts(out: &mut String, texts: &[(&str, Option<&str>)]) {
    for (name, text) in texts {
        if let Some(text) = text {
            push_name(out, name);
            push_json(out, text);
        }
    }
}

fn push_count(out: &mut String, name: &str, n: Option<i64>) {
    if let Some(n) = n {
        push_name(out, name);
        push_number(out, n);
    }
}

fn push_instant(out: &mut String, name: &str, at: Option<Millis>) {
    if let Some(at) = at {
        push_name(out, name);
        out.push('"');
        at.push_rfc3339(out);
        out.push('"');
    }
}

/// Adds what is JSON already, as it is.
pub(in crate::domain::body) fn with_json(mut inside: String, parts: &[(&str, Option<&str>)]) -> String {
    for (name, json) in parts {
        if let Some(json) = json {
            push_name(&mut inside, name);
            inside.push_str(json);
        }
    }
    inside
}
