//! Every route against every kind of token: made from the route table, so that a new route cannot be forgotten.
//! Must never name a route itself. Invariant: exactly the wanted cells of the matrix are open.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc::sync_channel;

use super::support::World;
use crate::base::time::{Clock, DAY_MS};
use crate::domain::token::{Caller, SCOPES, Scope as TokenScope};
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

#[test]
fn every_route_opens_to_its_own_scope_and_to_nothing_else() {
    let world = World::new();
    let expired = make(&world, "expired", &SCOPES, Some(1));
    let revoked = make(&world, "revoked", &SCOPES, None);
    world.app().tokens.revoke("revoked", &Caller::Operator).unwrap();
    world.clock.advance(DAY_MS);
    let held: Vec<(TokenScope, String)> = SCOPES.iter().map(|s| (*s, make(&world, s.word(), &[*s], None))).collect();
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
