//! Requests that break HTTP, dawdle or come in crowds, against the whole daemon: what the client sees, what is stored.
//! Must never repeat the attacks on the bare door (`tests/door`). Invariant: afterwards the same daemon serves.

use serde_json::json;

use crate::support::*;

#[test]
fn heads_that_break_the_rules_are_refused_and_the_connection_closed() {
    let daemon = Daemon::plain();
    daemon.give("v", &["measure"]);
    let body = page_view("v").to_string();
    let length = body.len();
    let heads = [
        ("bare LF", format!("POST /v1/events HTTP/1.1\nHost: a\nContent-Length: {length}\n\n")),
        ("one bare LF", format!("POST /v1/events HTTP/1.1\r\nHost: a\nContent-Length: {length}\r\n\r\n")),
        ("folding", format!("POST /v1/events HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\nContent-Length: {length}\r\n\r\n")),
        (
            "two lengths",
            format!("POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nContent-Length: 3\r\n\r\n"),
        ),
        (
            "a list of lengths",
            format!("POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: {length}, {length}\r\n\r\n"),
        ),
        (
            "length and chunks",
            format!(
                "POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n"
            ),
        ),
        ("a signed length", format!("POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: +{length}\r\n\r\n")),
        ("two hosts", format!("POST /v1/events HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: {length}\r\n\r\n")),
        ("no host", format!("POST /v1/events HTTP/1.1\r\nContent-Length: {length}\r\n\r\n")),
        ("space before the colon", format!("POST /v1/events HTTP/1.1\r\nHost : a\r\nContent-Length: {length}\r\n\r\n")),
        ("no HTTP", "hello daemon\r\n\r\n".to_owned()),
    ];
    for (what, head) in heads {
        let mut client = daemon.connect();
        client.raw(head + &body + "GET /v1/health HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.answer(false);
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        client.is_closed();
        assert_eq!((daemon.count("events"), daemon.counted()), (0, 0), "{what}");
    }
    assert_eq!(daemon.events(&page_view("v")).outcomes(200), ["accepted"]);
    daemon.still_serves();
}

#[test]
fn heads_end_at_their_size_and_number() {
    let daemon = Daemon::plain();
    let with_lines = |lines: usize| (0..lines).fold(get("/v1/health"), |r, n| r.header(&format!("X-{n}"), "y"));
    assert_eq!(daemon.send(&with_lines(63)).status, 200, "64 with Host");
    assert_eq!(daemon.send(&with_lines(64)).status, 431);
    let with_bytes = |bytes: usize| {
        let fixed = "GET /v1/health HTTP/1.1\r\nHost: localhost\r\nX: \r\n\r\n".len();
        get("/v1/health").header("X", &"y".repeat(bytes - fixed))
    };
    assert_eq!(daemon.send(&with_bytes(16_384)).status, 200);
    assert_eq!(daemon.send(&with_bytes(16_385)).status, 431);
    assert_eq!(daemon.send(&get(&format!("/v1/health?x={}", "y".repeat(7_900)))).status, 200);
    assert_eq!(daemon.send(&get(&format!("/v1/health?x={}", "y".repeat(8_100)))).status, 414);
    daemon.still_serves();
}

#[test]
fn slow_heads_and_bodies_are_given_up() {
    let daemon = Daemon::with("[door]\nhead_timeout_ms = 300\nrequest_timeout_ms = 300\nidle_timeout_ms = 300\n");
    daemon.give("v", &["measure"]);
    let mut head = daemon.connect();
    head.raw("POST /v1/events HTTP/1.1\r\nHost: a\r\nX-");
    assert_eq!(head.answer(false).status, 408);
    head.is_closed();
    let mut body = daemon.connect();
    body.raw("POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{\"name\":\"n\",\"visitor\":\"v\"}");
    assert_error(&body.answer(false), 408, "too_slow");
    body.is_closed();
    let mut idle = daemon.connect();
    assert_eq!(idle.send(&get("/v1/health")).status, 200);
    idle.is_closed();
    assert_eq!((daemon.count("events"), daemon.counted()), (0, 0), "half an event is none");
    daemon.still_serves();
}

#[test]
fn two_thousand_idle_connections_hinder_nobody() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let wanted = 5_000;
    if now.maximum.is_some_and(|most| most < wanted) {
        skipped(&format!("two_thousand_idle_connections_hinder_nobody needs {wanted} descriptors (ulimit -Hn)"));
        return;
    }
    if now.current.is_some_and(|most| most < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: now.maximum }).unwrap();
    }
    let daemon = Daemon::with("[door]\nidle_timeout_ms = 60000\nhead_timeout_ms = 60000\n");
    daemon.give("v", &["measure"]);
    let mut idle: Vec<_> = (0..2_000).map(|_| daemon.connect()).collect();
    idle.iter_mut().step_by(2).for_each(|client| client.raw("POST /v1/ev"));
    for _ in 0..20 {
        assert_eq!(daemon.events(&page_view("v")).outcomes(200), ["accepted"]);
    }
    // the silent ones were not thrown out either
    let request = post("/v1/events").json(&page_view("v"));
    assert_eq!(idle[1].send(&request).outcomes(200), ["accepted"]);
    assert_eq!(idle[1_999].send(&request).outcomes(200), ["accepted"]);
    drop(idle);
    assert_eq!(daemon.count("events"), 22);
    daemon.still_serves();
}

#[test]
fn pipelined_events_are_answered_in_order() {
    let daemon = Daemon::plain();
    daemon.give("v", &["measure"]);
    let mut client = daemon.connect();
    let bytes: String = (0..20)
        .map(|n| {
            let body = with(page_view("v"), json!({"eventId": format!("e-{n}")})).to_string();
            format!("POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        })
        .collect();
    client.raw(bytes);
    for n in 0..20 {
        let answer = client.answer(false);
        assert_eq!(answer.outcomes(200), ["accepted"]);
        assert_eq!(answer.first()["eventId"], format!("e-{n}"));
    }
    assert_eq!(daemon.count("events"), 20);
}

#[test]
fn one_connection_serves_many_requests_good_and_bad() {
    let daemon = Daemon::plain();
    daemon.give("v", &["measure"]);
    let mut client = daemon.connect();
    for _ in 0..10 {
        assert_eq!(client.send(&post("/v1/events").json(&page_view("v"))).outcomes(200), ["accepted"]);
        assert_error(&client.send(&post("/v1/events").body("{")), 400, "bad_json");
        assert_error(&client.send(&get("/v1/nothing")), 404, "not_found");
    }
    assert_eq!(daemon.count("events"), 10);
}

#[test]
fn unknown_paths_and_methods_are_named() {
    let daemon = Daemon::plain();
    for path in
        ["/", "/v1", "/v1/event", "/v1/events/", "/v1//events", "/V1/events", "/v1/%65vents", "/v1/events/../health"]
    {
        let what = assert_error(&daemon.send(&get(path)), 404, "not_found");
        assert!(what.contains(path), "{what}");
    }
    for (method, path) in
        [("GET", "/v1/events"), ("PUT", "/v1/events"), ("DELETE", "/v1/consent"), ("POST", "/v1/health")]
    {
        let answer = daemon.send(&Request::new(method, path));
        assert_error(&answer, 405, "method_not_allowed");
        let remedy = answer.json()["remedy"].as_str().unwrap().to_owned();
        assert!(remedy.contains(if path == "/v1/health" { "GET" } else { "POST" }), "{remedy}");
    }
    let vendor = daemon.send(&get("/api/v2/journey/sessions/1"));
    assert_eq!((vendor.status, vendor.json()["status"].as_i64()), (404, Some(404)), "{vendor:?}");
    daemon.stored_nothing();
}
