//! No descriptor left: the daemon may answer late or not at all, but it comes back by itself, door and database.
//! Must never limit the test's own process.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::child::{Home, SHOP, WAYSIDE};
use crate::database::Database;
use crate::support::until;

/// What the daemon may hold; it needs about half of it for itself.
const DESCRIPTORS: usize = 48;
const CONNECTIONS: usize = 200;

fn event(id: &str) -> String {
    json!({"visitor": "visitor", "name": "page_viewed", "url": "https://shop.example/", "eventId": id}).to_string()
}

#[test]
fn the_daemon_recovers_from_having_no_descriptors() {
    let home = Home::new(SHOP);
    let limited = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\"");
    let mut daemon = home.start_by(home.through("sh", &["-c", &limited, WAYSIDE]));
    let mut early = daemon.client();
    assert_eq!(early.post("/v1/events", &event("before")).unwrap().status, 200);

    let mut crowd: Vec<TcpStream> = Vec::new();
    for _ in 0..CONNECTIONS {
        // those beyond the queue of the listening socket are not even connected
        crowd.extend(TcpStream::connect_timeout(&daemon.address, Duration::from_millis(100)));
    }
    assert!(crowd.len() > DESCRIPTORS, "only {} could connect", crowd.len());
    until("it has no descriptor left", || daemon.descriptors() >= DESCRIPTORS);
    // whoever was there before is served, or was closed to make room for others
    let within = early.post("/v1/events", &event("within")).map(|answer| answer.status);
    assert!(matches!(within, Ok(200 | 503) | Err(_)), "{within:?}");
    drop(crowd);

    until("it answers again", || daemon.client().get("/v1/health").is_ok_and(|answer| answer.status == 200));
    let mut client = daemon.client();
    for n in 0..50 {
        let answer = client.post("/v1/events", &event(&format!("after-{n}"))).unwrap();
        assert_eq!(answer.results()[0]["outcome"], "accepted", "{answer:?}");
    }
    let again = client.post("/v1/events", &event("within")).unwrap();
    assert_eq!(again.status, 200);
    if matches!(within, Ok(200)) {
        assert_eq!(again.results()[0]["outcome"], "duplicate", "it had been acknowledged");
    }
    let status = daemon.control().get("/v1/status").unwrap();
    assert_eq!(status.status, 200, "{status:?}");
    let forwarded = daemon.control().post("/v1/forward", r#"{"force":true}"#).unwrap();
    assert_eq!(forwarded.status, 200, "{forwarded:?}");
    assert_eq!(daemon.ended(), None);
    daemon.stop();
    let database = Database::open(&home.data());
    database.is_sound();
    database.agrees();
    assert_eq!(database.number("SELECT count(*) FROM events"), 52);
}
