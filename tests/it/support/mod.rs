//! What every path test needs: a real daemon, plain HTTP towards it, and a look at its rows.
//! Must never know a rule of the product. Invariant: what is started here is ended here, also when a test fails.

pub mod daemon;
pub mod http;

use std::io::Write;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wayside::base::time::{Clock, Millis, SystemClock};

pub use daemon::{Daemon, Home, TOKEN};
pub use http::{Answer, Client, Request, get, post};

/// Longest wait for something the daemon does by itself.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds. Only for what the daemon does periodically: it cannot tell the test when it is done.
pub fn until(deadline: Duration, what: &str, condition: impl Fn() -> bool) {
    let (_never, bell) = channel::<()>();
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < deadline, "{what} did not happen within {deadline:?}");
        let _ = bell.recv_timeout(Duration::from_millis(20));
    }
}

/// Says that a test could not do its work. Straight to the terminal: what the macros print, a passing test swallows.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// So many milliseconds before now (after, where negative).
pub fn ago(ms: i64) -> Millis {
    SystemClock.now().plus(-ms)
}

pub const SECOND: i64 = 1_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

/// A page view of a visitor.
pub fn page_view(visitor: &str) -> Value {
    json!({"name": "page_viewed", "visitor": visitor, "url": "https://shop.example/shoes", "title": "Shoes"})
}

/// `base` with the members of `more` besides or instead; `null` takes a member away.
pub fn with(mut base: Value, more: Value) -> Value {
    let (Value::Object(into), Value::Object(from)) = (&mut base, more) else { panic!("two objects are merged") };
    for (key, value) in from {
        if value.is_null() {
            into.remove(&key)
        } else {
            into.insert(key, value)
        };
    }
    base
}

/// The answer is an error of the documented shape; returns what it says.
#[track_caller]
pub fn assert_error(answer: &Answer, status: u16, code: &str) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
    let body = answer.json();
    let mut keys: Vec<&String> = body.as_object().expect("an object").keys().collect();
    keys.sort();
    assert_eq!(keys, ["error", "remedy", "what"], "{answer:?}");
    assert_eq!(body["error"], code, "{answer:?}");
    assert!(body["remedy"].as_str().is_some_and(|text| !text.is_empty()), "an error says what to do: {answer:?}");
    body["what"].as_str().expect("text").to_owned()
}
