//! `POST /oauth/token`: OAuth 2.0 client credentials (RFC 6749, section 4.4), as the vendor's SDK asks for them. A client is a
//! token: its id and its secret. Owns the wire shape; must never say which of the two was wrong.

use serde_json::json;

use crate::base::base64::{Alphabet, decode};
use crate::http::reply::Reply;
use crate::http::request::{Request, percent_decode};
use crate::http::router::Call;
use crate::http::server::Responder;

/// A refusal in the words of RFC 6749, section 5.2.
fn refuse(error: &str, what: &str) -> Reply {
    let status = if error == "invalid_client" { 401 } else { 400 };
    let reply = Reply::json(status, &json!({"error": error, "error_description": what}));
    if status == 401 { reply.with_header("WWW-Authenticate", "Basic realm=\"wayside\"") } else { reply }
}

/// Answers with a pass.
pub fn token(call: Call<'_>, request: Request, done: Responder) {
    done(answer(&call, &request).with_header("Cache-Control", "no-store"));
}

fn answer(call: &Call<'_>, request: &Request) -> Reply {
    let body = String::from_utf8_lossy(&request.body);
    let field = |wanted: &str| {
        let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
        let mut named =
            pairs.filter(|(name, _)| *name == wanted).map(|(_, value)| percent_decode(value.trim_end(), true));
        named.next()
    };
    match field("grant_type").as_deref() {
        Some("client_credentials") => {}
        Some(_) => return refuse("unsupported_grant_type", "only client_credentials is offered"),
        None => return refuse("invalid_request", "grant_type=client_credentials is missing from the form body"),
    }
    let from_body = || Some((field("client_id")?, field("client_secret")?));
    let Some((id, secret)) = basic(request).or_else(from_body) else {
        return refuse("invalid_client", "send the id of a token and the token, by Basic or in the form body");
    };
    match call.app.tokens.exchange(&id, &secret) {
        Some((pass, seconds)) => {
            Reply::json(200, &json!({"access_token": pass, "token_type": "bearer", "expires_in": seconds}))
        }
        None => refuse("invalid_client", "id and token do not belong together, or the token no longer holds"),
    }
}

/// Id and secret of the Basic scheme; both may be percent-encoded, as the RFC has it.
fn basic(request: &Request) -> Option<(String, String)> {
    let (scheme, text) = request.head.headers.get("authorization")?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(decode(text.trim(), Alphabet::Standard)?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    Some((percent_decode(id, true), percent_decode(secret, true)))
}
