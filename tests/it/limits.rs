//! Every limit of a request at N and at N + 1: what the client sees and what is stored.
//! Must never test the raw door alone (`tests/door`). Invariant: what is beyond a limit is refused whole, never cut.

use serde_json::{Map, Value, json};

use crate::support::*;

/// A daemon that would store anything of visitor `v`.
fn open_house() -> Daemon {
    let daemon = Daemon::plain();
    daemon.give("v", &["measure"]);
    daemon
}

/// So many attributes.
fn attributes(count: usize) -> Value {
    Value::Object((0..count).map(|n| (format!("a{n}"), json!(n))).collect::<Map<_, _>>())
}

/// A body of exactly so many bytes that is one good event.
fn padded(bytes: usize) -> Vec<u8> {
    let mut body = page_view("v").to_string().into_bytes();
    body.resize(bytes, b' ');
    body
}

#[test]
fn a_thousand_events_are_taken_and_one_more_is_too_many() {
    let daemon = open_house();
    let list = |count: usize| vec![json!({"name": "n", "visitor": "v"}); count];
    let lines = |count: usize| "{\"name\":\"n\",\"visitor\":\"v\"}\n".repeat(count);
    let ndjson = |count: usize| post("/v1/events").header("Content-Type", "application/x-ndjson").body(lines(count));
    let shapes = |count: usize| {
        let envelope = json!({"events": list(count)});
        [post("/v1/events").json(&json!(list(count))), post("/v1/events").json(&envelope), ndjson(count)]
    };
    for request in shapes(1_001) {
        let what = assert_error(&daemon.send(&request), 400, "too_many");
        assert!(what.contains("1001") && what.contains("1000"), "{what}");
    }
    assert_eq!(daemon.count("events"), 0, "none of the thousand was taken");
    for (n, request) in shapes(1_000).iter().enumerate() {
        assert_eq!(daemon.send(request).outcomes(200), vec!["accepted"; 1_000]);
        assert_eq!(daemon.count("events"), (n as i64 + 1) * 1_000);
    }
}

#[test]
fn attributes_end_at_their_number_and_length() {
    let daemon = open_house();
    let send = |field: &str, value: Value| {
        let name = if field == "data" { "SignIn" } else { "n" };
        daemon.events(&json!({"name": name, "visitor": "v", field: value}))
    };
    for field in ["attributes", "traits", "data"] {
        assert_eq!(send(field, attributes(100)).outcomes(200), ["accepted"], "{field}");
        let answer = send(field, attributes(101));
        assert!(answer.wrong_field() == if field == "data" { "data" } else { field }, "{answer:?}");
        let exact = "é".repeat(512);
        assert_eq!(send(field, json!({"a": exact})).outcomes(200), ["accepted"], "{field}: 1024 bytes");
        let field_of_it = send(field, json!({"a": exact + "e"})).wrong_field();
        assert!(field_of_it.ends_with(".a"), "{field}: 1025 bytes: {field_of_it}");
        assert_eq!(send(field, json!({"n".repeat(128): "x"})).outcomes(200), ["accepted"], "{field}");
        assert_eq!(send(field, json!({"n".repeat(129): "x"})).outcomes(422), ["invalid"], "{field}");
        assert_eq!(send(field, json!({"": "x"})).outcomes(422), ["invalid"], "{field}");
    }
    assert_eq!(daemon.count("events"), 9);
}

#[test]
fn texts_end_at_their_length_in_bytes() {
    let daemon = open_house();
    let event = |field: &str, value: String| match field {
        "url" => {
            json!({"name": "page_viewed", "visitor": "v", "url": format!("https://shop.example/{}", &value[21..])})
        }
        "visitor" => json!({"name": "n", "visitor": value}),
        "name" => json!({"name": value, "visitor": "v"}),
        "title" | "lang" => json!({"name": "n", "visitor": "v", "page": {field: value}}),
        _ => json!({"name": "n", "visitor": "v", field: value}),
    };
    let limits = [
        ("name", 128),
        ("visitor", 256),
        ("eventId", 256),
        ("visitId", 256),
        ("deviceId", 256),
        ("title", 2_048),
        ("screen", 2_048),
        ("searchQuery", 2_048),
        ("lang", 64),
        ("url", 4_096),
    ];
    for (field, limit) in limits {
        let answer = daemon.events(&event(field, "a".repeat(limit)));
        assert_ne!(answer.outcomes(200), ["invalid"], "{field}: {answer:?}");
        let wrong = daemon.events(&event(field, "a".repeat(limit + 1))).wrong_field();
        assert!(wrong == field || wrong == format!("page.{field}"), "{field}: {wrong}");
    }
    let two_bytes_each = daemon.events(&event("title", "é".repeat(1_025)));
    assert_eq!(two_bytes_each.wrong_field(), "page.title");
}

#[test]
fn body_ends_at_one_mebibyte_as_sent() {
    let daemon = open_house();
    let send = |bytes: usize| daemon.send(&post("/v1/events").body(padded(bytes)));
    assert_eq!(send(1 << 20).outcomes(200), ["accepted"]);
    let what = assert_error(&send((1 << 20) + 1), 413, "too_large");
    assert!(what.contains("1048576"), "{what}");
    // who declares too much is told before a byte of it is sent
    let mut client = daemon.connect();
    client.raw("POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000000\r\n\r\n");
    assert_error(&client.answer(false), 413, "too_large");
    client.is_closed();
    // who declares nothing is told when it is too much
    let mut client = daemon.connect();
    client.raw("POST /v1/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..17 {
        client.raw(format!("10000\r\n{}\r\n", " ".repeat(0x10000)));
    }
    assert_error(&client.answer(false), 413, "too_large");
    assert_eq!(daemon.count("events"), 1);
    daemon.still_serves();
}

#[test]
fn body_ends_at_eight_mebibytes_decoded() {
    let daemon = open_house();
    let send = |bytes: usize| daemon.send(&post("/v1/events").body(padded(bytes)).gzip());
    assert_eq!(send(8 << 20).outcomes(200), ["accepted"]);
    let what = assert_error(&send((8 << 20) + 1), 413, "too_large");
    assert!(what.contains("8388608"), "{what}");
    assert_eq!(daemon.count("events"), 1);
}

/// Most memory the daemon has had resident, bytes.
fn peak_memory(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid)).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn a_gzip_bomb_costs_neither_memory_nor_rows() {
    let daemon = open_house();
    let bomb = post("/v1/events").body(vec![b' '; 100 << 20]).gzip();
    let many: Vec<_> = (0..4).map(|_| daemon.connect()).collect();
    std::thread::scope(|scope| {
        for mut client in many {
            let bomb = &bomb;
            scope.spawn(move || assert_error(&client.send(bomb), 413, "too_large"));
        }
    });
    assert!(peak_memory(&daemon) < 120 << 20, "{} bytes", peak_memory(&daemon));
    assert_eq!(daemon.count("events"), 0);
    daemon.still_serves();
}

#[test]
fn configured_limits_hold_in_place_of_the_defaults() {
    let daemon = Daemon::with(
        "[ingest]\nevent_age_minutes_max = 60\n\n[ingest.limits]\nevents_max = 2\nattributes_max = 3\n\
         attribute_bytes_max = 4\ntext_bytes_max = 5\nurl_bytes_max = 30\nid_bytes_max = 36\nbody_bytes_max = 1000\n\
         decoded_bytes_max = 2000\n",
    );
    daemon.give("v", &["measure"]);
    let event = json!({"name": "n", "visitor": "v"});
    assert_eq!(daemon.events(&json!([event, event])).outcomes(200), ["accepted", "accepted"]);
    assert_error(&daemon.events(&json!([event, event, event])), 400, "too_many");
    let good = [
        json!({"attributes": attributes(3)}),
        json!({"attributes": {"a": "1234"}}),
        json!({"title": "12345"}),
        json!({"url": "https://shop.example/123456789"}),
        json!({"eventId": "e".repeat(36)}),
        json!({"time": ago(59 * MINUTE).rfc3339()}),
    ];
    let bad = [
        ("attributes", json!({"attributes": attributes(4)})),
        ("attributes.a", json!({"attributes": {"a": "12345"}})),
        ("page.title", json!({"title": "123456"})),
        ("page.url", json!({"url": "https://shop.example/1234567890"})),
        ("eventId", json!({"eventId": "e".repeat(37)})),
        ("time", json!({"time": ago(61 * MINUTE).rfc3339()})),
    ];
    for more in good {
        assert_eq!(daemon.events(&with(event.clone(), more.clone())).outcomes(200), ["accepted"], "{more}");
    }
    for (field, more) in bad {
        assert_eq!(daemon.events(&with(event.clone(), more)).wrong_field(), field);
    }
    assert_eq!(daemon.send(&post("/v1/events").body(padded(1_000))).outcomes(200), ["accepted"]);
    assert_error(&daemon.send(&post("/v1/events").body(padded(1_001))), 413, "too_large");
    assert_eq!(daemon.send(&post("/v1/events").body(padded(2_000)).gzip()).outcomes(200), ["accepted"]);
    assert_error(&daemon.send(&post("/v1/events").body(padded(2_001)).gzip()), 413, "too_large");
}
