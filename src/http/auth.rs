//! By what right a request speaks, and what its head tells of the client.
//! Must never decide what a right allows.

use std::net::IpAddr;

use crate::base::error::{Error, Result};
use crate::domain::consent::Signals;
use crate::domain::network::client_ip;
use crate::domain::token::{Caller, Scope};
use crate::http::app::App;
use crate::http::request::{Head, Peer};
use crate::ingest::accept::Arrived;
use crate::ingest::shape::Authority;

/// The token a request carries; `None` without the header. Errors: `Denied` where the header is of another scheme.
fn bearer(head: &Head) -> Result<Option<&str>> {
    match head.headers.get("authorization").map(|value| value.split_once(' ')) {
        None => Ok(None),
        Some(Some((scheme, token))) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        Some(_) => Err(unknown()),
    }
}

fn unknown() -> Error {
    Error::denied("the token is unknown, was revoked or is past its time")
        .code("token_unknown")
        .remedy("send `Authorization: Bearer TOKEN` with a token that holds, or leave the header out")
}

fn too_narrow(wanted: Scope) -> Error {
    Error::denied(format!("the token does not open this: it lacks the scope {}", wanted.word()))
        .code("token_scope")
        .remedy(format!("use a token with that scope: wayside token create NAME --scopes {}", wanted.word()))
}

/// Operator over the control socket, sender with a token of the scope ingest, public else.
/// Errors: `Denied` with code `token_unknown` for a token that is none: a sender must not sink to the public silently.
pub fn authority(app: &App, head: &Head) -> Result<Authority> {
    if matches!(head.peer, Peer::Control) {
        return Ok(Authority::Operator);
    }
    match bearer(head)? {
        None => Ok(Authority::Public),
        Some(token) => match app.tokens.admit(token) {
            Some(caller) if caller.may(Scope::Ingest) => Ok(Authority::Sender),
            Some(_) => Err(too_narrow(Scope::Ingest)),
            None => Err(unknown()),
        },
    }
}

/// Who asks for what a scope opens. Errors: `Denied` with code `token_missing`, `token_unknown` (401) or `token_scope` (403).
pub fn holder(app: &App, head: &Head, wanted: Scope) -> Result<Caller> {
    if matches!(head.peer, Peer::Control) {
        return Ok(Caller::Operator);
    }
    let Some(token) = bearer(head)? else {
        return Err(Error::denied("this needs a token").code("token_missing").remedy(format!(
            "send `Authorization: Bearer TOKEN`; on the machine itself: wayside token create NAME --scopes {}",
            wanted.word()
        )));
    };
    match app.tokens.admit(token) {
        Some(caller) if caller.may(wanted) => Ok(caller),
        Some(_) => Err(too_narrow(wanted)),
        None => Err(unknown()),
    }
}

/// Addresses that batches go through, in either direction. Tokens and lines do not cross a network in the clear there.
const WAY_UPSTREAM: [&str; 7] =
    ["/v1/batches", "/v1/watermarks/", "/v1/digests/", "/v1/edges", "/v1/leases", "/v1/acks", "/v1/directives"];

/// Is the connection fit for what the address is for? Batches come and go over TLS, from this machine, or from a trusted
/// proxy. Errors: `Denied` with code `plain`.
pub fn carried(app: &App, head: &Head) -> Result<()> {
    let Peer::Net(from) = head.peer else { return Ok(()) };
    let upstream = WAY_UPSTREAM.iter().any(|way| head.path.starts_with(way)) && head.path != "/v1/batches/ack";
    if !upstream || head.secure || from.is_loopback() || app.trusted.contains(from) {
        return Ok(());
    }
    Err(Error::denied("batches cross a network over TLS only")
        .code("plain")
        .remedy("set [door] tls_cert_file and tls_key_file, or come through a trusted proxy that speaks TLS"))
}

/// The client's address, behind trusted proxies; none over the control socket.
pub fn client(app: &App, head: &Head) -> Option<IpAddr> {
    match head.peer {
        Peer::Net(peer) => Some(client_ip(peer, head.headers.get("x-forwarded-for"), &app.trusted)),
        Peer::Control => None,
    }
}

/// `Sec-GPC: 1`, `DNT: 1`; only the exact value counts.
pub fn signals(head: &Head) -> Signals {
    Signals { gpc: head.headers.get("sec-gpc") == Some("1"), dnt: head.headers.get("dnt") == Some("1") }
}

/// The request as ingest needs to know it; `site` is the one named outside the body.
pub fn arrived<'a>(app: &App, head: &'a Head, site: Option<&'a str>) -> Result<Arrived<'a>> {
    let authority = authority(app, head)?;
    Ok(Arrived {
        site,
        origin: head.headers.get("origin"),
        user_agent: head.headers.get("user-agent"),
        ip: client(app, head),
        signals: signals(head),
        authority,
        received: head.received_at,
        consent_header: head.headers.get("wayside-consent"),
    })
}
