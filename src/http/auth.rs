//! By what right a request speaks, and what its head tells of the client.
//! Must never decide what a right allows.

use std::net::IpAddr;

use crate::base::error::{Error, Result};
use crate::domain::consent::Signals;
use crate::domain::network::client_ip;
use crate::http::app::App;
use crate::http::request::{Head, Peer};
use crate::ingest::accept::Arrived;
use crate::ingest::shape::Authority;

/// Operator over the control socket, sender with an ingest token, public else.
/// Errors: `Denied` with code `token_unknown` for a token that is none: a sender must not sink to the public silently.
pub fn authority(app: &App, head: &Head) -> Result<Authority> {
    if matches!(head.peer, Peer::Control) {
        return Ok(Authority::Operator);
    }
    match head.headers.get("authorization") {
        None => Ok(Authority::Public),
        Some(value) => match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && app.tokens.admit(token.trim()) => {
                Ok(Authority::Sender)
            }
            _ => Err(Error::denied("the ingest token is unknown").code("token_unknown").remedy(
                "send `Authorization: Bearer TOKEN` with a token of ingest_token_files, or leave the header out",
            )),
        },
    }
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
