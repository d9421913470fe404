//! Requests from commands: to the running daemon over its control socket, or to the store opened by this process.
//! Owns how a refusal becomes an error again. Invariant: a request is sent twice only where it was refused as busy.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use serde_json::Value;

use crate::base::error::{Error, Kind, Result};
use crate::http::local::Connection;
use crate::http::reply::Reply;

/// Longest wait for one answer, ms: sealing and upkeep may take their time.
const ANSWER_MS_MAX: u64 = 600_000;
/// Times a busy collector is asked.
const TRIES_MAX: u32 = 30;

/// Whoever takes requests: the same ones as over HTTP.
pub trait Desk {
    /// Sends one request and waits for its answer. Errors: `Upstream` where no answer comes.
    fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Reply>;

    /// Is it a daemon, or this process alone?
    fn is_daemon(&self) -> bool {
        false
    }
}

/// The daemon behind a control socket.
struct Daemon {
    socket: PathBuf,
    connection: Connection,
}

impl Desk for Daemon {
    fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Reply> {
        if !self.connection.is_open() {
            self.connection = Connection::open(&self.socket)?;
        }
        self.connection.send(method, target, headers, &body, ANSWER_MS_MAX)
    }

    fn is_daemon(&self) -> bool {
        true
    }
}

/// The running daemon; `None` where nobody listens. Errors: `Denied` where its socket is not ours to use.
pub fn daemon(socket: &Path) -> Result<Option<Box<dyn Desk>>> {
    match Connection::open(socket) {
        Ok(connection) => Ok(Some(Box::new(Daemon { socket: socket.to_owned(), connection }))),
        Err(error) if error.code == "no_daemon" => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sends a request and waits while the collector is busy, unless told to stop.
pub fn send(
    desk: &mut dyn Desk,
    stop: &Receiver<()>,
    method: &str,
    target: &str,
    (media, body): (&str, &[u8]),
) -> Result<Reply> {
    for _ in 1..TRIES_MAX {
        let reply = desk.send(method, target, &[("content-type", media)], body.to_vec())?;
        if reply.status != 503 {
            return Ok(reply);
        }
        let seconds = reply.header("retry-after").and_then(|text| text.parse().ok()).unwrap_or(1);
        if stop.recv_timeout(Duration::from_secs(seconds).min(Duration::from_secs(10)))
            != Err(RecvTimeoutError::Timeout)
        {
            return Ok(reply);
        }
    }
    desk.send(method, target, &[("content-type", media)], body.to_vec())
}

/// Sends JSON (`Null` = no body) and parses the answer. Errors: what the collector refused, by its status; `Upstream`.
pub fn ask(desk: &mut dyn Desk, stop: &Receiver<()>, method: &str, target: &str, body: &Value) -> Result<Value> {
    let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let reply = send(desk, stop, method, target, ("application/json", &bytes))?;
    if reply.status >= 400 { Err(refusal(&reply)) } else { parse(&reply) }
}

/// The JSON of an answer; `Null` where it has no body. Errors: `Upstream`.
pub fn parse(reply: &Reply) -> Result<Value> {
    if reply.body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&reply.body)
        .map_err(|e| Error::new(Kind::Upstream, "bad_answer", format!("the collector's answer is no JSON: {e}")))
}

/// The error a refusal tells of.
pub fn refusal(reply: &Reply) -> Error {
    let told: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let text = |key: &str| told[key].as_str().map(str::to_owned);
    let what = text("what").unwrap_or_else(|| format!("the collector answered with status {}", reply.status));
    let error = match reply.status {
        401 | 403 => Error::denied(what),
        404 | 405 => Error::not_found(what),
        409 => Error::conflict(what),
        413 => Error::invalid(what).code("too_large"),
        503 => Error::busy(what),
        502 => Error::new(Kind::Upstream, "upstream", what),
        507 => Error::storage(what).code("disk_full"),
        500.. => Error::storage(what),
        _ => Error::invalid(what),
    };
    error.remedy(text("remedy").unwrap_or_default())
}

/// A path with query parameters, percent-encoded; those without a value are left out.
pub fn target(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut out = path.to_owned();
    let mut mark = '?';
    for (name, value) in parameters {
        let Some(value) = value else { continue };
        out.push(mark);
        mark = '&';
        out.push_str(name);
        out.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_its_kind_and_words() {
        let kinds = [
            Error::invalid("x").remedy("y"),
            Error::denied("x").remedy("y"),
            Error::not_found("x").remedy("y"),
            Error::conflict("x").remedy("y"),
            Error::busy("x").remedy("y"),
            Error::new(Kind::Upstream, "upstream", "x").remedy("y"),
            Error::storage("x").remedy("y"),
            Error::storage("x").code("disk_full").remedy("y"),
            Error::invalid("x").code("too_large").remedy("y"),
        ];
        for error in kinds {
            let back = refusal(&Reply::from_error(&error));
            assert_eq!((back.kind, back.what.as_str(), back.remedy.as_str()), (error.kind, "x", "y"));
            assert_eq!(back.code, error.code);
        }
        assert_eq!(refusal(&Reply::empty(500)).kind, Kind::Storage);
    }

    #[test]
    fn parameters_are_encoded() {
        assert_eq!(target("/v1/x", &[("a", None)]), "/v1/x");
        assert_eq!(target("/v1/x", &[("a", Some("b c&d")), ("e", Some("ü"))]), "/v1/x?a=b%20c%26d&e=%C3%BC");
    }

    #[test]
    fn without_a_socket_there_is_no_daemon() {
        let folder = tempfile::tempdir().unwrap();
        assert!(daemon(&folder.path().join("control.sock")).unwrap().is_none());
    }

    struct Busy(u32);

    impl Desk for Busy {
        fn send(&mut self, _: &str, _: &str, _: &[(&str, &str)], _: Vec<u8>) -> Result<Reply> {
            self.0 = self.0.saturating_sub(1);
            let full = Reply::from_error(&Error::busy("full")).with_header("retry-after", "0");
            Ok(if self.0 > 0 {
                Reply { headers: vec![("retry-after".into(), "0".into())], ..full }
            } else {
                Reply::empty(204)
            })
        }
    }

    #[test]
    fn a_busy_collector_is_asked_again_unless_told_to_stop() {
        let (open, stop) = std::sync::mpsc::channel();
        assert_eq!(send(&mut Busy(3), &stop, "POST", "/", ("text/plain", b"")).unwrap().status, 204);
        drop(open);
        assert_eq!(send(&mut Busy(3), &stop, "POST", "/", ("text/plain", b"")).unwrap().status, 503);
    }
}
