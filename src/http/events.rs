//! `POST /v1/events`: the native door. Owns the answer's shape.
//! Must never say more to the public than contract 1 allows.

use crate::base::error::Result;
use crate::base::id::ClientId;
use crate::base::text::{push_json, push_number};
use crate::domain::event::Fate;
use crate::http::answer::Answering;
use crate::http::app::App;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::Call;
use crate::http::server::Responder;
use crate::http::{auth, body};
use crate::ingest::accept::Answer;
use crate::ingest::record::Outcome;

/// Bytes that a result takes as a rule.
const RESULT_BYTES: usize = 112;

fn add_text(out: &mut String, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        out.push_str(key);
        push_json(out, value);
    }
}

/// Adds one result: written by hand, for it costs a third of what the library's way to the same bytes does.
fn add(out: &mut String, outcome: &Outcome, explain: bool) {
    let stored = matches!(outcome.fate, Fate::Accepted | Fate::Duplicate);
    out.push_str("{\"outcome\":\"");
    out.push_str(outcome.fate.word());
    out.push('"');
    match &outcome.event_id {
        Some(ClientId::Text(id)) => add_text(out, ",\"eventId\":", Some(id)),
        Some(id) => {
            out.push_str(",\"eventId\":\"");
            id.push_to(out); // digits and dashes
            out.push('"');
        }
        None => {}
    }
    if let Some(seq) = outcome.seq.filter(|_| stored && explain) {
        out.push_str(",\"seq\":");
        push_number(out, seq.0);
    }
    for (nth, field) in outcome.withheld.iter().enumerate() {
        out.push_str(if nth == 0 { ",\"withheld\":[" } else { "," });
        push_json(out, field);
    }
    if !outcome.withheld.is_empty() {
        out.push(']');
    }
    let (reason, remedy) = if explain { outcome.explanation() } else { (None, None) };
    let (field, what) = outcome.problem.as_ref().map(|(field, what)| (field.as_str(), what.as_str())).unzip();
    add_text(out, ",\"visitorToken\":", outcome.token.as_deref());
    add_text(out, ",\"field\":", field);
    add_text(out, ",\"what\":", what);
    add_text(out, ",\"reason\":", reason.as_deref());
    add_text(out, ",\"remedy\":", remedy.as_deref());
    out.push('}');
}

/// The answer of contract 1: 200, or 422 if every event is invalid or a conflict.
pub fn reply(answer: &Answer) -> Reply {
    let bad = |outcome: &Outcome| matches!(outcome.fate, Fate::Invalid | Fate::Conflict);
    let status = if answer.outcomes.iter().all(bad) { 422 } else { 200 };
    let mut body = String::with_capacity(16 + RESULT_BYTES * answer.outcomes.len());
    body.push_str("{\"results\":[");
    for (nth, outcome) in answer.outcomes.iter().enumerate() {
        if nth > 0 {
            body.push(',');
        }
        add(&mut body, outcome, answer.explain);
    }
    body.push_str("]}");
    Reply::bytes(status, "application/json", body.into_bytes())
}

/// Takes events.
pub fn post(call: Call<'_>, request: Request, done: Responder) {
    let app = call.app;
    let answering = Answering::new(app, &request.head, done);
    if let Err(error) = take(app, &request, &answering) {
        answering.send(Reply::from_error(&error));
    }
}

fn take(app: &App, request: &Request, answering: &Answering) -> Result<()> {
    let site = request.head.query_param("site");
    let arrived = auth::arrived(app, &request.head, site.as_deref())?;
    let format = body::format(request)?;
    let bytes = body::decoded(request, app.ingest.limits())?;
    let later = answering.clone();
    app.ingest.accept(&bytes, format, &arrived, move |answer| {
        later.send(answer.map_or_else(|error| Reply::from_error(&error), |answer| reply(&answer)));
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::Seq;

    /// The answer as a value, and as the text it is sent as.
    fn told(outcomes: Vec<Outcome>, explain: bool) -> serde_json::Value {
        serde_json::from_slice(&reply(&Answer { outcomes, explain }).body).unwrap()
    }

    #[test]
    fn a_result_names_what_there_is_to_say_and_nothing_else() {
        let odd = Outcome {
            event_id: Some(ClientId::new("a \"quoted\" id\n")),
            seq: Some(Seq(-7)),
            withheld: vec!["traits", "email"],
            token: Some("a.b".to_owned()),
            ..Outcome::of(Fate::Accepted)
        };
        let uuid = "0192f3a0-0000-7000-8000-000000000001";
        let plain = Outcome { event_id: Some(ClientId::new(uuid)), seq: Some(Seq(8)), ..Outcome::of(Fate::Counted) };
        let wrong = Outcome::invalid("page.url", "is \\ no address");
        let all = vec![odd, plain, wrong, Outcome::of(Fate::Duplicate)];
        let id = "a \"quoted\" id\n";
        let public = serde_json::json!({"results": [
            {"outcome": "accepted", "eventId": id, "withheld": ["traits", "email"], "visitorToken": "a.b"},
            {"outcome": "counted", "eventId": uuid},
            {"outcome": "invalid", "field": "page.url", "what": "is \\ no address"},
            {"outcome": "duplicate"},
        ]});
        assert_eq!(told(all.clone(), false), public);
        let explained = told(all, true);
        assert_eq!(explained["results"][0]["seq"], -7);
        assert_eq!(explained["results"][1].get("seq"), None, "nothing was stored under it");
        assert_eq!(explained["results"][2]["reason"], "page.url: is \\ no address");
        assert_eq!(told(Vec::new(), true), serde_json::json!({"results": []}));
    }
}
