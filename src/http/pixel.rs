//! `GET /v1/pixel.gif`: a page view of a page without scripts. Without a decision it only counts.
//! Owns the picture; must never refuse to show it: a broken picture helps nobody.

use crate::http::answer::Answering;
use crate::http::auth;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::Call;
use crate::http::server::Responder;
use crate::ingest::accept::Format;

/// One transparent pixel.
const PIXEL: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";

fn picture(outcome: &str) -> Reply {
    Reply::bytes(200, "image/gif", PIXEL.to_vec())
        .with_header("Cache-Control", "no-store")
        .with_header("Wayside-Outcome", outcome)
}

/// Counts or takes a page view: `?site=&url=&title=&visitor=&referrer=`; without `url` the Referer stands for it.
pub fn get(call: Call<'_>, request: Request, done: Responder) {
    let (app, head) = (call.app, &request.head);
    let answering = Answering::new(app, head, done);
    let mut event = serde_json::Map::new();
    event.insert("name".to_owned(), "page_viewed".into());
    for (name, key) in
        [("url", "url"), ("title", "title"), ("visitor", "visitor"), ("referrer", "referrer"), ("eventId", "eventId")]
    {
        if let Some(value) = head.query_param(name).filter(|v| !v.is_empty()) {
            event.insert(key.to_owned(), value.into());
        }
    }
    if !event.contains_key("url")
        && let Some(page) = head.headers.get("referer")
    {
        event.insert("url".to_owned(), page.into());
    }
    let site = head.query_param("site");
    let body = serde_json::Value::Object(event).to_string();
    let later = answering.clone();
    let taken = auth::arrived(app, head, site.as_deref()).and_then(|arrived| {
        app.ingest.accept(body.as_bytes(), Format::Json, &arrived, move |answer| {
            let word = match &answer {
                Ok(answer) => answer.outcomes.first().map_or("invalid", |o| o.fate.word()),
                Err(_) => "failed",
            };
            later.send(picture(word));
        })
    });
    if let Err(error) = taken {
        answering.send(picture(error.code));
    }
}
