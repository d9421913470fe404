//! Cross-origin rules of the public door: a page may send if its site admits its origin.
//! Must never answer `*`, nor allow credentials.

use crate::http::app::App;
use crate::http::reply::Reply;
use crate::http::request::Head;

/// What an answer to a request with an `Origin` carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    asked: bool,
    origin: Option<String>,
}

impl Grant {
    /// Looks whether any site admits the request's origin.
    pub fn of(app: &App, head: &Head) -> Self {
        let Some(origin) = head.headers.get("origin") else { return Grant::default() };
        let admitted = app.ingest.seats().iter().any(|seat| seat.site.admits(origin));
        Grant { asked: true, origin: admitted.then(|| origin.to_owned()) }
    }

    /// Adds what lets an admitted origin read the answer.
    pub fn add(&self, reply: Reply) -> Reply {
        if !self.asked {
            return reply;
        }
        let reply = reply.with_header("Vary", "Origin");
        match &self.origin {
            Some(origin) => reply.with_header("Access-Control-Allow-Origin", origin).with_header(
                "Access-Control-Expose-Headers",
                "Wayside-Outcome, Wayside-Visitor-Token, Wayside-Signature, Wayside-Key-Id, Wayside-Public-Key, Retry-After",
            ),
            None => reply,
        }
    }
}

/// Answers a preflight.
pub fn preflight(app: &App, head: &Head) -> Reply {
    let grant = Grant::of(app, head);
    let reply = grant.add(Reply::empty(204));
    if grant.origin.is_none() {
        return reply;
    }
    reply
        .with_header("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
        .with_header(
            "Access-Control-Allow-Headers",
            "Content-Type, Content-Encoding, Authorization, Wayside-Consent, Wayside-Visitor-Token, Wayside-Assertion, Wayside-Code",
        )
        .with_header("Access-Control-Max-Age", "86400")
}
