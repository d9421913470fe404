//! Pulling from a real daemon, request by request: what is listed, ranges, holes that come in between, leases, waiting.
//! Must never use our own puller: this is what any program sees.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::*;
use crate::tokens::{make, wayside};

pub const CONFIG: &str = "[[site]]\nid = \"shop\"\ndebug = true\n\n[[target]]\nname = \"warehouse\"\nkind = \"pull\"\n";

/// A daemon with one cursor and a token that opens it.
pub fn pulled() -> (Daemon, String) {
    let daemon = Daemon::with(CONFIG);
    let (_, token) = make(&daemon, "warehouse job", "sync");
    (daemon, token)
}

/// A visitor that agreed, with so many page views; its token.
pub fn visits(daemon: &Daemon, visitor: &str, pages: usize) -> String {
    let token = daemon.give(visitor, &["measure"]);
    for n in 0..pages {
        let event = with(page_view(visitor), json!({"url": format!("https://shop.example/{visitor}/{n}")}));
        assert_eq!(daemon.events(&event).outcomes(200), ["accepted"]);
    }
    token
}

/// Seals whatever waits.
pub fn seal(daemon: &Daemon) {
    wayside(daemon, &["forward", "--once", "--json"]);
}

fn ask(daemon: &Daemon, token: &str, request: Request) -> Answer {
    daemon.send(&request.header("Authorization", &format!("Bearer {token}")))
}

fn keys(daemon: &Daemon, token: &str, query: &str) -> Vec<String> {
    let answer = ask(daemon, token, get(&format!("/v1/batches{query}")));
    assert_eq!(answer.status, 200, "{answer:?}");
    let page = answer.json();
    page["batches"].as_array().unwrap().iter().map(|b| b["key"].as_str().unwrap().to_owned()).collect()
}

fn of_lane(keys: &[String], lane: &str) -> String {
    keys.iter().find(|key| key.contains(lane)).unwrap_or_else(|| panic!("no {lane} in {keys:?}")).clone()
}

/// Takes every consent batch, so that the others are offered; all keys then.
fn after_consent(daemon: &Daemon, token: &str) -> Vec<String> {
    for key in keys(daemon, token, "").iter().filter(|key| key.contains("/consent/")) {
        assert_eq!(ask(daemon, token, get(&format!("/v1/batches/{key}"))).status, 200);
    }
    keys(daemon, token, "")
}

fn lines(gz: &[u8]) -> Vec<Value> {
    let text = wayside::base::gzip::decompress(gz, 1 << 26).unwrap();
    String::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_batch_comes_with_its_manifest_whole_in_parts_or_not_at_all() {
    let (daemon, token) = pulled();
    visits(&daemon, "v", 20);
    seal(&daemon);
    assert_error(&daemon.send(&get("/v1/batches")), 401, "token_missing");
    let first = keys(&daemon, &token, "?cursor=warehouse");
    assert!(first.iter().all(|key| key.contains("/consent/")), "consent goes first: {first:?}");
    let pages = of_lane(&after_consent(&daemon, &token), "/pages/");
    let path = format!("/v1/batches/{pages}");
    let whole = ask(&daemon, &token, get(&path));
    assert_eq!((whole.status, whole.header("content-type")), (200, Some("application/gzip")), "{whole:?}");
    let manifest = whole.header("wayside-manifest").unwrap().to_owned();
    let inspected = wayside::forward::inspect::batch(manifest.as_bytes(), &whole.body, None).unwrap();
    assert_eq!((inspected.part.count, lines(&whole.body).len()), (20, 20));
    let etag = whole.header("etag").unwrap().to_owned();
    assert_eq!(etag, format!("\"{}\"", wayside::base::text::hex(&wayside::base::digest::sha256(&whole.body))));

    let looked = ask(&daemon, &token, Request::new("HEAD", &path));
    assert_eq!((looked.status, looked.header("etag"), looked.body.len()), (200, Some(&*etag), 0));
    assert_eq!(looked.header("content-length"), Some(&*whole.body.len().to_string()));
    let same = ask(&daemon, &token, get(&path).header("If-None-Match", &etag));
    assert_eq!((same.status, same.body.len(), same.header("etag")), (304, 0, Some(&*etag)));
    let half = whole.body.len() / 2;
    let rest = get(&path).header("Range", &format!("bytes={half}-")).header("If-Range", &etag);
    let rest = ask(&daemon, &token, rest);
    assert_eq!((rest.status, &rest.body[..]), (206, &whole.body[half..]), "{:?}", rest.headers);
    let place = format!("bytes {half}-{}/{}", whole.body.len() - 1, whole.body.len());
    assert_eq!(rest.header("content-range"), Some(&*place));
    let careless = ask(&daemon, &token, get(&path).header("Range", &format!("bytes={half}-")));
    assert_eq!((careless.status, careless.body.len()), (200, whole.body.len()), "without If-Range the whole");
    let beyond = get(&path).header("Range", "bytes=9999999-").header("If-Range", &etag);
    assert_eq!(ask(&daemon, &token, beyond).status, 416);
}

#[test]
fn a_withdrawal_between_two_ranges_makes_the_second_the_whole() {
    let (daemon, token) = pulled();
    visits(&daemon, "stays", 10);
    let leaving = visits(&daemon, "leaves", 10);
    seal(&daemon);
    let path = format!("/v1/batches/{}", of_lane(&after_consent(&daemon, &token), "/pages/"));
    let first = ask(&daemon, &token, get(&path));
    let etag = first.header("etag").unwrap().to_owned();
    daemon.decide(&json!({"visitor": "leaves", "action": "withdraw", "visitorToken": leaving}));
    let resumed = || get(&path).header("Range", "bytes=40-").header("If-Range", &etag);
    assert_error(&ask(&daemon, &token, resumed()), 409, "consent_first");
    after_consent(&daemon, &token);
    let whole = ask(&daemon, &token, resumed());
    assert_eq!(whole.status, 200, "other bytes now: {:?}", whole.headers);
    assert!(whole.header("etag") != Some(&etag));
    let found = lines(&whole.body);
    let holes = found.iter().filter(|line| line["kind"] == "hole").count();
    assert_eq!((found.len(), holes), (20, 10));
    let text = String::from_utf8(wayside::base::gzip::decompress(&whole.body, 1 << 26).unwrap()).unwrap();
    assert!(text.contains("/stays/3") && !text.contains("/leaves/"));
    assert!(
        wayside::forward::inspect::batch(whole.header("wayside-manifest").unwrap().as_bytes(), &whole.body, None)
            .is_ok()
    );
}

#[test]
fn a_job_that_took_over_fences_the_one_before_it_off() {
    let (daemon, token) = pulled();
    visits(&daemon, "v", 1);
    seal(&daemon);
    let page = ask(&daemon, &token, get("/v1/batches")).json();
    let part: Value = serde_json::from_str(page["batches"][0]["manifest"]["sealed"].as_str().unwrap()).unwrap();
    let lease = |holder: &str, ttl: i64| {
        ask(&daemon, &token, post("/v1/leases").json(&json!({"holder": holder, "ttl_seconds": ttl})))
    };
    let ack = |fence: &Value, digest: &Value| {
        let body = json!({"fence": fence, "edge": part["edge"], "epoch": part["epoch"], "lane": part["lane"], "upto": 1, "digest": digest});
        ask(&daemon, &token, post("/v1/acks").json(&body))
    };
    let first = lease("one", 60).json()["fence"].clone();
    assert_error(&lease("two", 60), 409, "leased");
    assert_error(&ack(&first, &part["digest"]), 409, "not_taken");
    assert_eq!(
        ask(&daemon, &token, get(&format!("/v1/batches/{}", page["batches"][0]["key"].as_str().unwrap()))).status,
        200
    );
    assert_eq!(lease("one", 0).status, 200, "given back");
    let second = lease("two", 60).json()["fence"].clone();
    assert_error(&ack(&first, &part["digest"]), 409, "stale_fence");
    assert_error(&ack(&second, &json!("ab".repeat(32))), 409, "fork");
    assert_eq!(ack(&second, &part["digest"]).json(), json!({"acknowledged": 1}));
    let gone = json!({"fence": second, "edge": part["edge"], "epoch": "ab".repeat(8), "lane": "pages", "upto": 1, "digest": part["digest"]});
    let gone = ask(&daemon, &token, post("/v1/acks").json(&gone));
    assert_eq!((gone.status, &gone.json()["error"], &gone.json()["successor"]), (410, &json!("gone"), &part["epoch"]));
    let status = wayside(&daemon, &["status", "--json"]);
    assert!(status.to_string().contains("warehouse"), "{status}");
}

#[test]
fn a_question_that_waits_is_answered_when_something_is_sealed() {
    let (daemon, token) = pulled();
    let mut client = daemon.connect();
    let begun = Instant::now();
    client.raw(format!("GET /v1/batches?wait=60 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"));
    for n in 0..10 {
        daemon.still_serves(); // and no thread waits with it
        assert_eq!(ask(&daemon, &token, get("/v1/batches")).json()["batches"], json!([]), "{n}");
    }
    visits(&daemon, "v", 1);
    seal(&daemon);
    let answer = client.answer(false);
    assert_eq!(answer.status, 200);
    assert!(answer.json()["batches"][0]["key"].as_str().unwrap().contains("/consent/"), "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(50), "before its time was over");
}

#[test]
fn who_waits_does_not_hold_the_daemon_up_when_it_stops() {
    let (daemon, token) = pulled();
    let mut client = daemon.connect();
    client.raw(format!("GET /v1/batches?wait=60 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"));
    daemon.still_serves();
    let begun = Instant::now();
    daemon.stop();
    assert!(begun.elapsed() < Duration::from_secs(20));
    let answer = client.answer(false);
    assert_eq!((answer.status, &answer.json()["batches"]), (200, &json!([])));
}

#[test]
fn what_cannot_be_read_is_refused_with_what_to_do() {
    let (daemon, token) = pulled();
    let refused = |query: &str, status, code: &str| {
        assert_error(&ask(&daemon, &token, get(&format!("/v1/batches{query}"))), status, code);
    };
    refused("?cursor=invented", 404, "unknown_cursor");
    refused("?after=abc", 400, "place");
    refused("?wait=61", 400, "invalid");
    refused("?limit=1001", 400, "invalid");
    refused("?lane=clouds", 400, "invalid");
    refused("?edge=1", 400, "invalid");
    refused("/a/b/pages/000000000001", 404, "unknown_batch");
    let edge = wayside(&daemon, &["version", "--json"]);
    assert!(edge.is_object());
    assert_error(
        &ask(&daemon, &token, post("/v1/leases").json(&json!({"holder": "x", "ttl_seconds": -1}))),
        400,
        "invalid",
    );
    let sync = "ab".repeat(16);
    let path = format!("/v1/batches/{sync}/{}/pages/000000000001", "cd".repeat(8));
    assert_eq!(ask(&daemon, &token, get(&path)).status, 410);
}
