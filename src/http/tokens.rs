//! Tokens over HTTP: made and revoked over the control socket, listed by whoever may administer.
//! Must never answer a secret but to the request that made it.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::error::{Error, Result};
use crate::base::id::uuid_text;
use crate::base::time::Millis;
use crate::domain::token::Scope;
use crate::http::operator::{answer, parsed};
use crate::http::request::Request;
use crate::http::router::Call;
use crate::http::server::Responder;
use crate::tokens::{TokenRow, Wanted};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    scopes: Vec<String>,
    days: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    token: String,
}

fn shown(row: &TokenRow, now: Millis) -> Value {
    let state = match (row.revoked, row.holds(now)) {
        (Some(_), _) => "revoked",
        (None, true) => "holds",
        (None, false) => "expired",
    };
    json!({
        "id": uuid_text(&row.id),
        "name": row.name,
        "scopes": row.scopes.words(),
        "prefix": row.prefix,
        "state": state,
        "created_at": row.created.rfc3339(),
        "expires_at": row.expires.map(Millis::rfc3339),
        "revoked_at": row.revoked.map(Millis::rfc3339),
        "last_used_at": row.last_used.map(Millis::rfc3339),
    })
}

/// Makes a token.
pub fn create(call: Call<'_>, request: Request, done: Responder) {
    answer(done, make(&call, &request));
}

fn make(call: &Call<'_>, request: &Request) -> Result<Value> {
    let asked: Create = parsed(request)?;
    let scope = |word: &String| {
        Scope::parse(word).ok_or_else(|| {
            Error::invalid(format!("{word:?} is no scope"))
                .code("token_scopes")
                .remedy("name scopes: ingest, read, subject, sync, admin")
        })
    };
    let scopes = asked.scopes.iter().map(scope).collect::<Result<_>>()?;
    let made = call.app.tokens.create(&Wanted { name: asked.name, scopes, days: asked.days }, &call.caller)?;
    let mut told = shown(&made.row, request.head.received_at);
    told["token"] = made.secret.into();
    Ok(told)
}

/// Every token.
pub fn list(call: Call<'_>, request: Request, done: Responder) {
    let now = request.head.received_at;
    let rows: Vec<Value> = call.app.tokens.list().iter().map(|row| shown(row, now)).collect();
    answer(done, Ok(json!({ "tokens": rows })));
}

/// Revokes a token by its id or name.
pub fn revoke(call: Call<'_>, request: Request, done: Responder) {
    let revoked = parsed::<Revoke>(&request).and_then(|asked| call.app.tokens.revoke(&asked.token, &call.caller));
    answer(done, revoked.map(|row| json!({"id": uuid_text(&row.id), "name": row.name})));
}
