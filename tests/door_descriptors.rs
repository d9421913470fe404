//! The door when the process has no descriptors left. A test program of its own: the limit is the process's.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wayside::base::time::SystemClock;
use wayside::http::reply::Reply;
use wayside::http::request::{Head, Request};
use wayside::http::server::{DoorOptions, Plan, Responder, Service, start};

struct Ok200;

impl Service for Ok200 {
    fn plan(&self, _: &Head) -> Plan {
        Plan::inline(0)
    }

    fn serve(&self, _: Request, done: Responder) {
        done(Reply::empty(200));
    }
}

#[test]
fn the_door_recovers_from_having_no_descriptors() {
    let options = DoorOptions { listen: "127.0.0.1:0".into(), ..DoorOptions::default() };
    let door = start(&options, None, Arc::new(SystemClock), Arc::new(Ok200)).unwrap();
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), ..getrlimit(Resource::Nofile) }).unwrap();
    // Clients and door share the limit: when no client can be opened, the door cannot accept those that wait.
    let mut clients = Vec::new();
    while let Ok(client) = TcpStream::connect(door.local_addr()) {
        clients.push(client);
        assert!(clients.len() < 100);
    }
    drop(clients);
    for _ in 0..3 {
        let mut client = TcpStream::connect(door.local_addr()).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut reply = String::new();
        client.read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    }
    door.stop();
}
