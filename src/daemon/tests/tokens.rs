//! Every route against every kind of token: made from the route table, so that a new route cannot be forgotten.
//! Must never name a route itself. Invariant: exactly the wanted cells of the matrix are open.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc::sync_channel;

use super::support::World;
use crate::base::id::EdgeId;
use crate::base::time::{Clock, DAY_MS};
use crate::domain::token::{Caller, SCOPES, Scope as TokenScope};
use crate::forward::relay::enrol::{Codes, Joining};
use crate::http::request::{Head, Headers, Peer, Request};
use crate::http::router::{ROUTES, Route, Scope};
use crate::http::server::Service;
use crate::tokens::Wanted;

const NET: Peer = Peer::Net(IpAddr::V4(Ipv4Addr::LOCALHOST));

/// The status of a request to a route with this token, as the door would answer it.
fn status(world: &World, route: &Route, token: Option<&str>, peer: Peer) -> u16 {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let segment = |part: &str| if part.starts_with('{') { "x".to_owned() } else { part.to_owned() };
    let head = Head {
        method: route.method.to_owned(),
        path: route.path.split('/').map(segment).collect::<Vec<_>>().join("/"),
        query: String::new(),
        headers: bearer.iter().map(|value| ("authorization", value.as_str())).collect::<Headers>(),
        peer,
        secure: false,
        received_at: world.clock.now(),
    };
    let app = world.app();
    if let Some(reply) = app.plan(&head).refuse {
        return reply.status;
    }
    let (send, receive) = sync_channel(1);
    app.serve(Request { head, body: b"{}".to_vec() }, Box::new(move |reply| send.send(reply.status).unwrap()));
    receive.recv().unwrap()
}

fn make(world: &World, name: &str, scopes: &[TokenScope], days: Option<i64>) -> String {
    let wanted = Wanted { name: name.to_owned(), scopes: scopes.to_vec(), days };
    world.app().tokens.create(&wanted, &Caller::Operator).unwrap().secret
}

/// The token of an edge that joined.
fn joined(world: &World) -> String {
    let relay = &world.app().relay;
    let code = relay.codes(&Codes { count: 1, days: 1, ..Codes::default() }, &Caller::Operator).unwrap().pop().unwrap();
    let joining = Joining { code: &code, edge: EdgeId([1; 16]), public_key: [2; 32], label: "" };
    let token = relay.join(&joining).unwrap().token;
    world.app().tokens.reload().unwrap();
    token
}

#[test]
fn every_route_opens_to_its_own_scope_and_to_nothing_else() {
    let world = World::with(|config| config.relay.enabled = true);
    let made: Vec<TokenScope> = SCOPES.into_iter().filter(|scope| *scope != TokenScope::Push).collect();
    let expired = make(&world, "expired", &made, Some(1));
    let revoked = make(&world, "revoked", &made, None);
    world.app().tokens.revoke("revoked", &Caller::Operator).unwrap();
    world.clock.advance(DAY_MS);
    let mut held: Vec<(TokenScope, String)> = made.iter().map(|s| (*s, make(&world, s.word(), &[*s], None))).collect();
    held.push((TokenScope::Push, joined(&world)));
    for route in ROUTES {
        let name = format!("{} {}", route.method, route.path);
        let closed = |token: Option<&str>| status(&world, route, token, NET);
        match route.scope {
            Scope::Public => assert!(![401, 403].contains(&closed(None)) || route.path == "/oauth/token", "{name}"),
            Scope::Operator => {
                for token in held.iter().map(|(_, token)| Some(token.as_str())).chain([None, Some("wrong")]) {
                    assert!([404, 405].contains(&closed(token)), "{name}: not there for the network");
                }
            }
            Scope::Token(wanted) => {
                for token in [None, Some("wrong"), Some(expired.as_str()), Some(revoked.as_str())] {
                    assert_eq!(closed(token), 401, "{name} {token:?}");
                }
                for (scope, token) in &held {
                    let status = closed(Some(token));
                    if *scope == wanted {
                        assert!(![401, 403].contains(&status) && status < 500, "{name} as {}: {status}", scope.word());
                    } else {
                        assert_eq!(status, 403, "{name} as {}", scope.word());
                    }
                }
            }
        }
        if route.scope != Scope::Public {
            let status = status(&world, route, None, Peer::Control);
            assert!(![401, 403].contains(&status), "{name}: the operator may: {status}");
        }
    }
}

#[test]
fn batches_cross_a_network_over_tls_or_not_at_all() {
    let world = World::new();
    let code = |from: &str, secure: bool, path: &str| {
        let head = Head {
            method: "GET".to_owned(),
            path: path.to_owned(),
            query: String::new(),
            headers: Headers::default(),
            peer: Peer::Net(from.parse().unwrap()),
            secure,
            received_at: world.clock.now(),
        };
        crate::http::auth::carried(world.app(), &head).err().map(|e| e.code)
    };
    for path in ["/v1/batches", "/v1/batches/a/b/pages/000000000001", "/v1/leases", "/v1/acks", "/v1/watermarks/a"] {
        assert_eq!(code("192.0.2.7", false, path), Some("plain"), "{path}");
        assert_eq!(code("192.0.2.7", true, path), None, "{path}");
        assert_eq!(code("::1", false, path), None, "{path}: a proxy on this machine may bring others");
    }
    assert_eq!(code("192.0.2.7", false, "/v1/events"), None, "events come as they always did");
}
