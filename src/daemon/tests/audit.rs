//! Administrative actions on people's data are written down: who, what, when. From the route table, so that a new route cannot be
//! forgotten: each either writes a row, or is said here why it need not. Must never hold a personal value in a row.

use std::sync::mpsc::sync_channel;

use serde_json::{Value, json};

use super::support::*;
use crate::base::time::Clock;
use crate::domain::consent::Purposes;
use crate::domain::notice::template;
use crate::http::request::{Head, Headers, Peer, Request};
use crate::http::router::ROUTES;
use crate::http::server::Service;
use crate::store::audit;

/// What a route leaves behind.
enum Leaves {
    /// This word in the audit.
    Word(&'static str),
    /// Nothing there, for this reason.
    Nothing(&'static str),
    /// This word, tried where there is what it needs.
    Elsewhere(&'static str),
}

use Leaves::{Elsewhere, Nothing, Word};

const PASSING: &str = "data on its way in, not an act of the operator's";
const LEDGER: &str = "a decision is an entry of the ledger, with its actor";
const THEIRS: &str = "the person's own act; what follows from it is a request in the register";
const NOBODY: &str = "numbers, settings or the register, which name nobody";
const PULLED: &str = "what a job takes by itself; an attempt for each cursor and batch says what left, and when";
const OTHERS: &str = "an edge's own act; the row of what was received says what came, and when";
const STICK: &str =
    "the collector's half of a stick; an attempt for each batch says what left, a signature what arrived";
const ROUTINE: &str = "what the collector does by itself, sooner";

/// Every route.
const ALL: [(&str, Leaves); 75] = [
    ("POST /v1/events", Nothing(PASSING)),
    ("GET /v1/pixel.gif", Nothing(PASSING)),
    ("POST /v1/consent", Nothing(LEDGER)),
    ("GET /v1/consent/state", Nothing(THEIRS)),
    ("GET /v1/consent/receipt", Nothing(THEIRS)),
    ("GET /v1/notice", Nothing(NOBODY)),
    ("GET /.well-known/gpc.json", Nothing(NOBODY)),
    ("GET /v1/health", Nothing(NOBODY)),
    ("POST /oauth/token", Nothing(NOBODY)),
    ("GET /v1/consent", Word("decisions_read")),
    ("GET /v1/status", Nothing(NOBODY)),
    ("GET /v1/tail", Word("tail_followed")),
    ("POST /v1/batches/ack", Word("batches_acknowledged")),
    ("GET /v1/batches", Nothing(PULLED)),
    ("GET /v1/batches/{edge}/{epoch}/{lane}/{batchNo}", Nothing(PULLED)),
    ("POST /v1/leases", Nothing(PULLED)),
    ("POST /v1/acks", Nothing(PULLED)),
    ("PUT /v1/batches/{edge}/{epoch}/{lane}/{batch_no}", Nothing(OTHERS)),
    ("GET /v1/watermarks/{edge}", Nothing(OTHERS)),
    ("GET /v1/digests/{edge}/{epoch}/{lane}/{batch_no}", Nothing(OTHERS)),
    ("POST /v1/edges/join", Word("edge_joined")),
    ("POST /v1/edges/codes", Word("edge_codes_made")),
    ("GET /v1/edges", Nothing(NOBODY)),
    ("POST /v1/edges/approve", Word("edge_approved")),
    ("PUT /v1/edges/{edge}", Elsewhere("edge_vouched")),
    ("POST /v1/edges/revoke", Word("edge_revoked")),
    ("POST /v1/edges/retire", Word("edge_retired")),
    ("POST /v1/edges/rename", Word("edge_renamed")),
    ("POST /v1/edges/resolve", Elsewhere("edge_resolved")),
    ("GET /v1/completeness", Nothing(NOBODY)),
    ("POST /v1/directives", Elsewhere("directive_kept")),
    ("GET /v1/directives", Nothing(NOBODY)),
    ("GET /v1/directives/{edge}", Nothing(OTHERS)),
    ("POST /v1/directives/{edge}/reports", Nothing(OTHERS)),
    ("GET /v1/carry", Nothing(STICK)),
    ("POST /v1/carry/due", Nothing(STICK)),
    ("POST /v1/carry/batch", Nothing(STICK)),
    ("POST /v1/carry/landed", Nothing(STICK)),
    ("POST /v1/carry/acks", Nothing(STICK)),
    ("POST /v1/carry/index", Nothing(STICK)),
    ("POST /v1/forward", Nothing(ROUTINE)),
    ("POST /v1/edge/renew", Word("edge_renewed")),
    ("POST /v1/upkeep", Word("removal_confirmed")),
    ("POST /v1/notices", Word("notice_published")),
    ("POST /v1/notices/external", Word("notice_registered")),
    ("GET /v1/me", Nothing(THEIRS)),
    ("POST /v1/me/withdraw", Nothing(THEIRS)),
    ("POST /v1/me/erase", Nothing(THEIRS)),
    ("POST /v1/subject/requests", Word("request_opened")),
    ("GET /v1/subject/requests", Nothing(NOBODY)),
    ("GET /v1/subject/requests/{id}", Nothing(NOBODY)),
    ("POST /v1/subject/requests/{id}/run", Word("request_run")),
    ("POST /v1/subject/requests/{id}/extend", Word("request_extended")),
    ("POST /v1/subject/requests/{id}/close", Word("request_closed")),
    ("GET /v1/subject/requests/{id}/result", Word("result_read")),
    ("GET /v1/subject/requests/{id}/edges", Elsewhere("copies_read")),
    ("POST /api/v2/gdpr/requests", Word("request_opened")),
    ("GET /api/v2/gdpr/requests", Nothing(NOBODY)),
    ("GET /api/v2/gdpr/requests/{requestId}", Nothing(NOBODY)),
    ("GET /api/v2/gdpr/subjects", Word("subjects_searched")),
    ("GET /v1/erasures", Nothing(NOBODY)),
    ("POST /v1/erasures", Word("erasure_begun")),
    ("POST /v1/erasures/run", Nothing("goes on with what was begun; its end is written down")),
    ("POST /v1/erasures/ack", Word("erasure_acknowledged")),
    ("GET /v1/tokens", Nothing(NOBODY)),
    ("POST /v1/consent/proofs", Word("proofs_opened")),
    ("POST /v1/audit", Word("exported")),
    ("POST /v1/tokens", Word("token_created")),
    ("POST /v1/tokens/revoke", Word("token_revoked")),
    ("POST /v1/import/known", Nothing(PASSING)),
    ("POST /v1/import/take", Nothing("part of an import, whose end is written down")),
    ("POST /v1/import/done", Word("import_done")),
    ("POST /api/v2/journey/deployments/{deploymentId}/webevents", Nothing(PASSING)),
    ("POST /api/v2/journey/deployments/{deploymentId}/appevents", Nothing(PASSING)),
    ("POST /api/v2/journey/deployments/{deploymentId}/actionevent", Nothing(PASSING)),
];
const PING: &str = "GET /api/v2/journey/deployments/{deploymentId}/customers/{customerCookieId}/ping";

#[test]
fn every_route_writes_down_what_was_done_or_says_why_it_need_not() {
    let told: Vec<&str> = ALL.iter().map(|(route, _)| *route).chain([PING]).collect();
    for route in ROUTES {
        let name = format!("{} {}", route.method, route.path);
        let times = told.iter().filter(|told| **told == name).count();
        assert_eq!(times, 1, "{name}: say in this test what it writes into the audit, or why nothing");
    }
    assert_eq!(told.len(), ROUTES.len(), "a route that is no more");
    for (route, leaves) in &ALL {
        if let Nothing(reason) | Elsewhere(reason) = leaves {
            assert!(!reason.is_empty() && !route.is_empty());
        }
    }
}

/// Asks as the operator; the answer, and the words that came into the audit meanwhile.
fn ask(world: &World, route: &str, id: &str, query: &str, body: &Value) -> (Value, Vec<String>) {
    let (method, path) = route.split_once(' ').unwrap();
    let before = rows(world).len();
    let head = Head {
        method: method.to_owned(),
        path: path.replace("{id}", id),
        query: query.to_owned(),
        headers: Headers::default(),
        peer: Peer::Control,
        secure: false,
        received_at: world.clock.now(),
    };
    let (send, receive) = sync_channel(1);
    let bytes = if method == "POST" { body.to_string().into_bytes() } else { Vec::new() };
    world.app().serve(Request { head, body: bytes }, Box::new(move |reply| send.send(reply).unwrap()));
    let reply = receive.recv().unwrap();
    let told: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    assert!(reply.status < 300, "{route}: {} {told}", reply.status);
    let all = rows(world);
    let new = all.len() - before;
    (told, all.into_iter().take(new).map(|row| row.what).collect())
}

fn rows(world: &World) -> Vec<audit::AuditRow> {
    world.store().read(|tx| audit::list(tx, None, 1_000)).unwrap()
}

/// A body each route takes, in an order in which each finds what it needs; `ID` stands for the newest request.
fn acts(world: &World) -> Vec<(&'static str, &'static str, Value)> {
    let mut draft = template::draft(&crate::daemon::facts::of(&world.config).remove(0), "1", &["en".to_owned()], &[]);
    draft.controller.name = "Example Ltd".to_owned();
    draft.controller.email = "privacy@shop.example".to_owned();
    let tool = json!({"name": "tool", "version": "7", "url": "https://shop.example/privacy"});
    let open = json!({"kind": "access", "visitor": "quentin", "verified": "by letter"});
    let restrict = json!({"kind": "restrict", "visitor": "quentin"});
    let branch = "0b".repeat(16);
    let export =
        json!({"requestType": "GDPR_EXPORT", "subject": {"journeyCustomer": {"type": "cookie", "id": "quentin"}}});
    vec![
        ("GET /v1/consent", "visitor=quentin", Value::Null),
        ("GET /v1/tail", "", Value::Null),
        ("GET /api/v2/gdpr/subjects", "searchType=EMAIL&searchValue=quentin%40home.example", Value::Null),
        ("POST /v1/notices", "", json!({"draft": draft})),
        ("POST /v1/notices/external", "", json!({"notice": tool, "digest": "ab".repeat(32)})),
        ("POST /v1/subject/requests", "", open),
        ("POST /v1/subject/requests/{id}/extend", "", json!({"reason": "many at once"})),
        ("POST /v1/subject/requests/{id}/run", "", json!({})),
        ("GET /v1/subject/requests/{id}/result", "", Value::Null),
        ("POST /v1/subject/requests", "", restrict),
        ("POST /v1/subject/requests/{id}/close", "", json!({"as": "unidentifiable", "note": "nobody by that name"})),
        ("POST /api/v2/gdpr/requests", "", export),
        ("POST /v1/audit", "", json!({"what": "exported", "note": "events"})),
        ("POST /v1/tokens", "", json!({"name": "reader", "scopes": ["read"]})),
        ("POST /v1/tokens/revoke", "", json!({"token": "reader"})),
        ("POST /v1/import/done", "", json!({})),
        ("POST /v1/batches/ack", "", json!({"target": "outbox", "lane": "consent", "upto": 1})),
        ("POST /v1/consent/proofs", "", json!({"reason": "a claim before a court"})),
        ("POST /v1/erasures", "", json!({"visitor": "quentin"})),
        ("POST /v1/erasures/ack", "", json!({"id": "ERASURE", "evidence_sha256": "ab".repeat(32)})),
        ("POST /v1/upkeep", "", json!({"confirm": true})),
        ("POST /v1/edge/renew", "", json!({"target": "outbox"})),
        ("POST /v1/edges/codes", "", json!({"count": 1, "days": 1})),
        ("POST /v1/edges/join", "", json!({"code": "CODE", "edge": branch, "public_key": "05".repeat(32)})),
        ("POST /v1/edges/rename", "", json!({"edge": branch, "label": "Branch 7"})),
        ("POST /v1/edges/revoke", "", json!({"edge": branch})),
        ("POST /v1/edges/approve", "", json!({"edge": branch})),
        ("POST /v1/edges/retire", "", json!({"edge": branch})),
    ]
}

#[test]
fn each_act_of_an_operator_stands_in_the_audit_without_personal_values() {
    let world = World::with(|config| config.relay.enabled = true);
    world.give("quentin", Purposes::MEASURE.with(Purposes::PERSONAL));
    world.send(with(page("quentin", "/secret-page"), json!({"traits": {"email": "quentin@home.example"}})));
    world.house().app.operations.forward(true).unwrap();
    let (mut id, mut erasure, mut code, mut seen) = (String::new(), String::new(), String::new(), Vec::new());
    for (route, query, mut body) in acts(&world) {
        if body["id"] == "ERASURE" {
            body["id"] = json!(erasure);
        }
        if body["code"] == "CODE" {
            body["code"] = json!(code);
        }
        let (told, words) = ask(&world, route, &id, query, &body);
        if route == "POST /v1/edges/codes" {
            code = told["codes"][0].as_str().unwrap().to_owned();
        }
        if route == "POST /v1/subject/requests" {
            id = told["id"].as_str().unwrap().to_owned();
        }
        if route == "POST /v1/erasures" {
            erasure = told["erasures"][0].as_str().unwrap().to_owned();
        }
        let Some((_, Word(word))) = ALL.iter().find(|(name, _)| *name == route) else {
            panic!("{route} writes nothing")
        };
        assert!(words.iter().any(|w| w == word), "{route}: {word} is missing in {words:?}");
        seen.push(route);
    }
    for (route, leaves) in &ALL {
        assert!(matches!(leaves, Nothing(_) | Elsewhere(_)) || seen.contains(route), "{route} was not tried");
    }
    for row in rows(&world) {
        let known = ["operator", "system"].contains(&row.who.as_str()) || row.who.starts_with("edge ");
        assert!(row.at.0 > 0 && known, "{row:?}");
        let text = format!("{row:?}");
        for value in ["quentin", "home.example", "secret-page"] {
            assert!(!text.contains(value), "{text}");
        }
    }
}

#[test]
fn what_a_command_has_written_down_is_a_word_and_short() {
    let world = World::new();
    let status = |body: Value| {
        let head = Head {
            method: "POST".to_owned(),
            path: "/v1/audit".to_owned(),
            query: String::new(),
            headers: Headers::default(),
            peer: Peer::Control,
            secure: false,
            received_at: world.clock.now(),
        };
        let (send, receive) = sync_channel(1);
        let request = Request { head, body: body.to_string().into_bytes() };
        world.app().serve(request, Box::new(move |reply| send.send(reply.status).unwrap()));
        receive.recv().unwrap()
    };
    assert_eq!(status(json!({"what": "a".repeat(40), "note": "b".repeat(500)})), 200);
    for wrong in [
        json!({"what": "a".repeat(41)}),
        json!({"what": ""}),
        json!({"what": "two words"}),
        json!({"what": "exported", "note": "b".repeat(501)}),
        json!({"what": "exported", "about": "b".repeat(501)}),
        json!({"note": "nothing"}),
    ] {
        assert!([400, 422].contains(&status(wrong.clone())), "{wrong}");
    }
    assert_eq!(rows(&world).len(), 1);
}
