//! Attacks, slow clients and crowds, and the honest request after each of them.

use std::io::{Read, Write};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use wayside::http::reply::Reply;
use wayside::http::server::DoorOptions;

use crate::support::*;

#[test]
fn attacks_are_refused_and_the_next_request_is_served() {
    let house = house(brief());
    let long = "x".repeat(70_000);
    let many = "X: y\r\n".repeat(500);
    let chunk = |body: &str| format!("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let cases = [
        (400, "GET / HTTP/1.1\nHost: a\n\n".to_owned()),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n".into()),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into()),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabcGET /s HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 6\r\n\r\nabc".into()),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n".into()),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc".into()),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n".into()),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n".into()),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n".into()),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n".into()),
        (400, "GET / HTTP/1.1\r\n\r\n".into()),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into()),
        (400, "GET / HTTP/1.1\r\nHost:\r\n\r\n".into()),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n".into()),
        (400, "GET / HTTP/2.0\r\nHost: a\r\n\r\n".into()),
        (400, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into()),
        (400, "\x16\x03\x01\x02\0\x01\0\x01\n".into()),
        (405, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n".into()),
        (414, format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(8_192))),
        (431, format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n")),
        (431, format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")),
        (413, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000000\r\n\r\nabc".into()),
        (413, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000000000000000\r\n\r\nabc".into()),
        (413, format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n{}", "x".repeat(1_001))),
        (413, chunk(&format!("3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1_001)))),
        (413, chunk(&format!("11170\r\n{long}\r\n0\r\n\r\n"))),
        (400, chunk("0x3\r\nabc\r\n0\r\n\r\n")),
        (400, chunk("-1\r\nabc\r\n0\r\n\r\n")),
        (400, chunk("11111111111111111\r\nabc\r\n0\r\n\r\n")),
        (400, chunk("3\nabc\r\n0\r\n\r\n")),
        (400, chunk("3\r\nabcd\r\n0\r\n\r\n")),
        (400, chunk(&format!("3;{long}\r\nabc\r\n0\r\n\r\n"))),
    ];
    for (expected, bytes) in cases {
        let shown = &bytes[..bytes.len().min(120)];
        let reply = house.send(&bytes);
        assert_eq!(status(&reply), expected, "{shown:?} -> {reply:?}");
        assert!(reply.contains("connection: close\r\n"), "{shown:?} -> {reply:?}");
        assert_eq!(reply.matches("\r\ndate: ").count(), 1, "one answer only: {shown:?} -> {reply:?}");
        assert!(reply.contains("{\"error\":\""), "{shown:?} -> {reply:?}");
        house.serves();
    }
}

#[test]
fn bodies_are_taken_up_to_the_limit() {
    let house = house(brief());
    let body = "x".repeat(1_000);
    let plain = format!("POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n{body}");
    assert_eq!(status(&house.send(plain)), 200);
    let chunked =
        format!("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n{body}\r\n0\r\n\r\n");
    let reply = house.send(format!("{chunked}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(status(&reply), 200);
    assert!(reply.contains("connection: close\r\n") && !reply.contains("smuggled"), "{reply}");
}

#[test]
fn refusals_of_the_door_are_shaped_by_the_endpoint() {
    let house = house(brief());
    let reply = house.send("POST /shape HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n");
    assert!(status(&reply) == 413 && reply.contains("x-shaped: /shape\r\n"), "{reply}");
    let reply = house.send("POST /shape HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    assert!(status(&reply) == 408 && reply.contains("x-shaped: /shape\r\n"), "{reply}");
}

#[test]
fn a_large_refused_body_does_not_cost_the_answer() {
    let house = house(brief());
    let body = vec![b'x'; 4 << 20];
    let head = format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut stream = house.connect();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body).unwrap();
    assert_eq!(status(&to_end(&mut stream)), 413);
    house.serves();
}

#[test]
fn a_plan_may_refuse_before_the_body() {
    let house = house(brief());
    let reply = house.send("POST /refused HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 500\r\n\r\n");
    assert_eq!(status(&reply), 401, "no 100 Continue first: {reply}");
    let mut stream = house.connect();
    for _ in 0..2 {
        stream.write_all(b"GET /refused HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(status(&one(&mut stream)), 401);
    }
    assert_eq!(house.echo.served.load(Ordering::SeqCst), 0);
}

#[test]
fn slow_heads_and_bodies_are_cut() {
    let house = house(brief());
    for (expected, bytes) in [
        (408, "GET / HTTP/1.1\r\nHost: a\r\nX: "),
        (408, "G"),
        (408, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"),
        (408, "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
    ] {
        let reply = house.send(bytes);
        assert_eq!(status(&reply), expected, "{bytes:?} -> {reply:?}");
    }
    assert_eq!(house.send(""), "", "a silent connection is closed silently");
    house.serves();
}

#[test]
fn dripping_bytes_buys_no_time() {
    let house = house(brief());
    for (head, drip) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nX: ", b'x'),
        ("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n", b'y'),
    ] {
        let mut stream = house.connect();
        stream.write_all(head.as_bytes()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let begun = Instant::now();
        let mut byte = [0; 12];
        // The read waits 20 ms for the answer; until it is there another byte drips.
        while stream.read_exact(&mut byte).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "never cut");
            let _ = stream.write_all(&[drip]);
        }
        assert_eq!(&byte, b"HTTP/1.1 408");
    }
}

#[test]
fn a_client_that_never_reads_is_dropped() {
    let house = house(brief());
    let mut stream = house.connect();
    for _ in 0..4 {
        stream.write_all(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    // Another client, served all the while, sees the door end the stuck one: its seat is free again.
    let mut door = house.door;
    let stopped = Instant::now();
    door.take().unwrap().stop();
    assert!(stopped.elapsed() < Duration::from_secs(4), "{:?}", stopped.elapsed());
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    assert!(all.len() < 4 * (8 << 20));
}

#[test]
fn a_crowd_of_silent_clients_stops_nobody_and_goes_away() {
    let house = house(DoorOptions { connections_max: 32, ..brief() });
    let mut crowd: Vec<_> = (0..300).map(|_| house.connect()).collect();
    house.serves();
    for stream in &mut crowd {
        assert_eq!(to_end(stream), "");
    }
    house.serves();
}

#[test]
fn with_every_place_busy_a_newcomer_gets_503() {
    let house = house(DoorOptions { connections_max: 2, ..DoorOptions::default() });
    let mut busy: Vec<_> = (0..2).map(|_| house.connect()).collect();
    for stream in &mut busy {
        stream.write_all(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        house.holding.recv().unwrap();
    }
    let reply = to_end(&mut house.connect());
    assert!(status(&reply) == 503 && reply.contains("retry-after: 1\r\n"), "{reply}");
    for done in std::mem::take(&mut *house.echo.held.lock().unwrap()) {
        done(Reply::empty(204));
    }
    for stream in &mut busy {
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 204");
    }
    house.serves();
}

#[test]
fn one_address_may_not_take_every_place() {
    let house = house(DoorOptions { connections_per_address_max: 3, ..DoorOptions::default() });
    let mut first: Vec<_> = (0..3).map(|_| house.connect()).collect();
    for stream in &mut first {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(status(&one(stream)), 200);
    }
    assert_eq!(status(&to_end(&mut house.connect())), 503);
}

#[test]
fn a_full_pool_answers_503() {
    let house = house(DoorOptions { read_threads: 1, read_queue_max: 1, ..DoorOptions::default() });
    let ask = || {
        let mut stream = house.connect();
        stream.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        stream
    };
    let mut first = ask();
    house.holding.recv().unwrap(); // the only thread is taken; of two more, one waits and one is refused
    let mut others = [ask(), ask()];
    house.serves(); // what is inline goes on
    house.open.send(()).unwrap();
    house.open.send(()).unwrap();
    let mut all: Vec<_> = others.iter_mut().map(|stream| status(&to_end(stream))).collect();
    all.sort_unstable();
    assert_eq!((all.as_slice(), status(&to_end(&mut first))), (&[204, 503][..], 204));
}

#[test]
fn bodies_held_at_once_are_bounded() {
    let house = house(DoorOptions { body_bytes_total_max: 1_024, ..brief() });
    let body = "x".repeat(2_000);
    let reply = house.send(format!("POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n{body}"));
    assert!(status(&reply) == 503 && reply.contains("retry-after: 1\r\n"), "{reply}");
    house.serves();
}

#[test]
fn answers_to_good_requests_leave_before_the_refusal() {
    let house = house(brief());
    let reply = house.send(
        "GET /later HTTP/1.1\r\nHost: a\r\n\r\nGET /bad HTTP/1.1\nHost: a\n\nGET /no HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(reply.matches("\r\ndate: ").count(), 2, "{reply}");
    assert!(
        reply.starts_with("HTTP/1.1 202 ") && reply.contains("laterHTTP/1.1 400 ") && !reply.contains("/no"),
        "{reply}"
    );
}

#[test]
fn clients_that_leave_early_break_nothing() {
    let house = house(brief());
    for bytes in [
        "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\na",
        "GET /lo",
        "",
    ] {
        for _ in 0..50 {
            house.connect().write_all(bytes.as_bytes()).unwrap();
        }
    }
    for _ in 0..50 {
        house.holding.recv().unwrap();
    }
    let held = std::mem::take(&mut *house.echo.held.lock().unwrap());
    std::thread::spawn(move || held.into_iter().for_each(|done| done(Reply::empty(202)))).join().unwrap();
    house.serves();
}
