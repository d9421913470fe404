//! What honest clients and handlers do: keep-alive, pipelines, panics, the control socket, the end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use wayside::base::time::ManualClock;
use wayside::http::local;
use wayside::http::reply::Reply;
use wayside::http::server::{DoorOptions, Plan, Service, Way, start};

use crate::support::*;

#[test]
fn pipelined_requests_are_answered_in_order() {
    let house = house(brief());
    let reply = house.send(
        "POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /two HTTP/1.1\r\nHost: a\r\n\r\n\
         GET /blocking HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    let order: Vec<_> =
        ["\r\n\r\nlater", "\r\n\r\nGET /two ", "\r\n\r\nGET /blocking "].iter().map(|t| reply.find(t)).collect();
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{order:?} {reply}");
}

#[test]
fn keep_alive_serves_many_and_ends_when_idle() {
    let house = house(brief());
    let mut stream = house.connect();
    for n in 0..200 {
        let body = format!("n{n}");
        let path = if n % 2 == 0 { "/later" } else { "/x" };
        let request = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        // A head cut in two is put together again.
        let (first, second) = request.split_at(n % request.len());
        stream.write_all(first.as_bytes()).unwrap();
        stream.write_all(second.as_bytes()).unwrap();
        let reply = one(&mut stream);
        let expected = if n % 2 == 0 { "later".to_owned() } else { format!("POST /x {body}") };
        assert!(reply.ends_with(&expected), "{reply}");
    }
    assert_eq!(to_end(&mut stream), "");
}

#[test]
fn long_and_encoded_bodies_leave_the_door_thread() {
    let house = house(DoorOptions { body_bytes_inline_max: 10, ..brief() });
    let ask = |extra: &str, path: &str, bytes: usize| {
        let body = "x".repeat(bytes);
        house.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{extra}Content-Length: {bytes}\r\n\r\n{body}"
        ))
    };
    assert!(ask("", "/x", 10).contains("x-thread: door\r\n"));
    assert!(ask("", "/x", 11).contains("x-thread: read-"));
    assert!(ask("", "/big", 1 << 20).contains("x-thread: read-"));
    assert!(ask("Content-Encoding: gzip\r\n", "/x", 1).contains("x-thread: read-"));
    assert!(ask("", "/blocking", 1).contains("x-thread: read-"));
}

#[test]
fn what_clients_send_that_is_unusual_but_honest_works() {
    let house = house(brief());
    let reply = house.send("HEAD /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(status(&reply) == 200 && reply.ends_with("\r\n\r\n") && reply.contains("content-length: 8\r\n"), "{reply}");
    let reply = house.send("GET /x HTTP/1.0\r\nHost: a\r\n\r\n");
    assert!(status(&reply) == 200 && reply.ends_with("GET /x "), "{reply}");
    let reply = house.send("GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n");
    assert_eq!(status(&reply), 200, "{reply}");
    let mut stream = house.connect();
    stream.write_all(b"POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").unwrap();
    let mut go = [0; 25];
    stream.read_exact(&mut go).unwrap();
    assert_eq!(&go, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"ok").unwrap();
    assert!(one(&mut stream).ends_with("POST /x ok"));
    // A client that closes its sending half still gets its answer.
    let mut stream = house.connect();
    stream.write_all(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(to_end(&mut stream).ends_with("later"));
}

#[test]
fn a_panicking_handler_answers_500_and_nothing_else_breaks() {
    let house = house(brief());
    for path in ["/panic", "/panic-blocking", "/panic-plan"] {
        let mut stream = house.connect();
        for _ in 0..2 {
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
            let reply = one(&mut stream);
            assert!(status(&reply) == 500 && reply.contains("\"internal\""), "{reply}");
        }
        house.serves();
    }
}

#[test]
fn a_lost_responder_answers_500() {
    let house = house(brief());
    let mut stream = house.connect();
    stream.write_all(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    house.holding.recv().unwrap();
    house.echo.held.lock().unwrap().clear();
    assert_eq!(status(&one(&mut stream)), 500);
}

#[test]
fn stopping_lets_requests_under_way_finish() {
    let mut house = house(DoorOptions::default());
    let mut idle = house.connect();
    let mut busy = house.connect();
    busy.write_all(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    house.holding.recv().unwrap();
    let door = house.door.take().unwrap();
    let stopping = std::thread::spawn(move || door.stop());
    assert_eq!(to_end(&mut idle), "", "the idle one is closed first");
    let done = house.echo.held.lock().unwrap().pop().unwrap();
    done(Reply::bytes(202, "text/plain", b"done".to_vec()));
    let reply = to_end(&mut busy);
    assert!(status(&reply) == 202 && reply.contains("connection: close\r\n"), "{reply}");
    stopping.join().unwrap();
    assert!(TcpStream::connect(house.address).is_err());
}

#[test]
fn the_control_socket_is_served_and_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap()); // a stale one
    let mut house = house_at(brief(), Some(&socket));
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);

    let reply = local::send(&socket, "POST", "/a?b=c", &[("x-y", "z")], b"hello".to_vec(), 5_000).unwrap();
    assert_eq!(
        (reply.status, reply.body.as_slice(), reply.header("x-peer")),
        (200, &b"POST /a hello"[..], Some("control"))
    );

    let mut connection = local::Connection::open(&socket).unwrap();
    for n in 0..100 {
        let path = if n % 2 == 0 { "/x" } else { "/later" };
        let reply = connection.send("POST", path, &[], b"y", 5_000).unwrap();
        assert_eq!(reply.status, if n % 2 == 0 { 200 } else { 202 });
    }
    let reply = connection.send("HEAD", "/x", &[], b"", 5_000).unwrap();
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    assert!(connection.is_open());
    assert_eq!(connection.send("POST", "/x", &[], &[b'x'; 200_000], 5_000).unwrap().status, 413);
    assert!(!connection.is_open());
    let slow = local::send(&socket, "GET", "/hold", &[], Vec::new(), 100).unwrap_err();
    assert_eq!(slow.code, "daemon_failed");

    let second = DoorOptions { listen: "127.0.0.1:0".into(), ..brief() };
    let service = Arc::clone(&house.echo) as Arc<dyn Service>;
    let refused = start(&second, Some(&socket), Arc::new(ManualClock::default()), service).err().unwrap();
    assert_eq!(refused.code, "already_running");

    house.echo.held.lock().unwrap().clear();
    house.door.take().unwrap().stop();
    assert!(!socket.exists());
    assert_eq!(local::send(&socket, "GET", "/", &[], Vec::new(), 100).unwrap_err().code, "no_daemon");
}

#[test]
fn two_doors_cannot_share_a_port() {
    let house = house(DoorOptions::default());
    let options = DoorOptions { listen: house.address.to_string(), ..DoorOptions::default() };
    let service = Arc::clone(&house.echo) as Arc<dyn Service>;
    let error = start(&options, None, Arc::new(ManualClock::default()), service).err().unwrap();
    assert_eq!(error.kind, wayside::base::error::Kind::Config);
    assert_eq!(Plan::blocking(1).way, Way::Blocking);
}
