//! Thousands who say nothing, and some who say it slowly: a good client is served all the while.
//! Must never measure speed. Invariant: the silent ones are closed by the daemon, which stays small.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::child::{Daemon, Home, SHOP};
use crate::support::skipped;

const SILENT: usize = 2_000;
const SLOW: usize = 50;
/// Descriptors kept for everything else.
const SPARE: u64 = 500;
const PEAK_KIB_MAX: u64 = 128 * 1_024;

/// Generous: it says "served", not "fast".
const SERVED_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn a_good_client_is_served_among_thousands_of_silent_and_slow_ones() {
    let limit = getrlimit(Resource::Nofile);
    let enough = SILENT as u64 + SPARE;
    if limit.maximum.is_some_and(|most| most < enough) {
        return skipped("a_good_client_is_served_among_thousands_of_silent_and_slow_ones", "ulimit -n is too low");
    }
    if limit.current.is_some_and(|now| now < enough) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(enough), ..limit }).unwrap(); // the daemon inherits it
    }
    let brief = "[door]\nidle_timeout_ms = 3000\nhead_timeout_ms = 3000\nrequest_timeout_ms = 3000\n";
    let home = Home::new(&format!("{SHOP}\n{brief}"));
    let daemon = home.start();
    let mut good = Good { daemon: &daemon, number: 0 };
    good.is_served();

    let mut silent = Vec::new();
    for n in 0..SILENT {
        silent.push(TcpStream::connect_timeout(&daemon.address, SERVED_WITHIN).unwrap());
        if n % 100 == 0 {
            good.is_served();
        }
    }
    let mut slow: Vec<TcpStream> = (0..SLOW).map(|n| begin(&daemon, n)).collect();
    for _ in 0..20 {
        good.is_served();
    }
    for connection in &mut silent {
        is_closed(connection);
    }
    for connection in &mut slow {
        is_closed(connection);
    }
    good.is_served();
    let peak = daemon.peak_kib();
    assert!(peak < PEAK_KIB_MAX, "it held {peak} KiB");
    daemon.stop();
}

/// A client that does everything right.
struct Good<'a> {
    daemon: &'a Daemon,
    number: u64,
}

impl Good<'_> {
    #[track_caller]
    fn is_served(&mut self) {
        self.number += 1;
        let body = json!({"visitor": "good", "name": "button_clicked", "eventId": format!("good-{}", self.number)});
        let mut client = self.daemon.client().patient_for(SERVED_WITHIN);
        let answer = client.post("/v1/events", &body.to_string()).unwrap();
        assert_eq!(answer.results()[0]["outcome"], "accepted", "{answer:?}");
    }
}

/// A request that promises a body and sends one byte of it.
fn begin(daemon: &Daemon, n: usize) -> TcpStream {
    let mut stream = TcpStream::connect_timeout(&daemon.address, SERVED_WITHIN).unwrap();
    let length = 1_000 + n * 1_000;
    let head = format!("POST /v1/events HTTP/1.1\r\nHost: shop.example\r\nContent-Length: {length}\r\n\r\n{{");
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// The daemon ends the connection; it may say why.
#[track_caller]
fn is_closed(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
        Err(e) => panic!("it is still open: {e}"),
    }
    let said = String::from_utf8_lossy(&said);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
}
