//! The control socket: its file, and its blocking client. Owns the wire format of requests to a daemon on this machine.
//! Must never be used towards the network: it trusts the other end to answer as `server` does, with a known length.
//! Invariant: every wait ends at the deadline of its request.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::reply::Reply;
use crate::base::error::{Error, Kind, Result};

/// Longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 65_536;

/// An open connection to the daemon, for many requests one after the other.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    /// The beginning of an answer, as far as it was read.
    read: Vec<u8>,
    open: bool,
}

/// Sends one request and waits for its answer, at most `timeout_ms` milliseconds.
/// `NotFound` (`no_daemon`) where nobody listens, `Upstream` where the daemon fails to answer.
pub fn send(
    socket: &Path,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
    timeout_ms: u64,
) -> Result<Reply> {
    Connection::open(socket)?.send(method, target, headers, &body, timeout_ms)
}

/// Opens the socket a daemon listens on, mode 0600 and not blocking; takes the place of one nobody listens on.
/// `Conflict` (`already_running`) where a daemon answers there, `Config` where it cannot be made.
pub fn bind(path: &Path) -> Result<UnixListener> {
    let cannot = |e: std::io::Error| Error::config(format!("cannot open the control socket {}: {e}", path.display()));
    if let Ok(there) = std::fs::symlink_metadata(path) {
        if !there.file_type().is_socket() {
            return Err(cannot(std::io::Error::other("a file that is no socket has this name")));
        }
        if UnixStream::connect(path).is_ok() {
            return Err(Error::conflict(format!("a daemon already answers on {}", path.display()))
                .code("already_running")
                .remedy("stop it first, or use another data directory"));
        }
    }
    // Made under another name and renamed with its mode set: under its own name it is never open to others.
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    match std::fs::remove_file(&new) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(cannot(e)),
        _ => {}
    }
    let listener = UnixListener::bind(&new).map_err(cannot)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).map_err(cannot)?;
    std::fs::rename(&new, path).map_err(cannot)?;
    listener.set_nonblocking(true).map_err(cannot)?;
    Ok(listener)
}

impl Connection {
    /// Connects. `NotFound` (`no_daemon`) where nobody listens, `Denied` where the socket is not ours to use.
    pub fn open(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).map_err(|e| {
            let what = format!("connecting to the daemon at {}: {e}", socket.display());
            match e.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                    Error::not_found(what).code("no_daemon").remedy("start it with `wayside serve`")
                }
                ErrorKind::PermissionDenied => Error::denied(what).remedy("run this as the user of the daemon"),
                _ => failed(what),
            }
        })?;
        Ok(Connection { stream, read: Vec::new(), open: true })
    }

    /// May another request be sent? Not after an error, nor when the daemon has said that it closes.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Sends one request and waits for its answer, at most `timeout_ms` milliseconds. After an error the connection is
    /// of no more use, and the request may or may not have been done.
    pub fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        timeout_ms: u64,
    ) -> Result<Reply> {
        if !self.open {
            return Err(failed("the daemon has closed this connection".to_owned()));
        }
        self.open = false;
        let until = Instant::now() + Duration::from_millis(timeout_ms);
        let request = compose(method, target, headers, body)?;
        // A refusal may come before the whole body is sent, so a broken pipe is no reason not to read the answer.
        match self.write(&request, until).and_then(|()| self.write(body, until)) {
            Err(e) if e.kind() != ErrorKind::BrokenPipe => return Err(failed(format!("sending to the daemon: {e}"))),
            _ => {}
        }
        let (reply, closes) = self.answer(method == "HEAD", until)?;
        self.open = !closes;
        Ok(reply)
    }

    fn write(&mut self, mut bytes: &[u8], until: Instant) -> std::io::Result<()> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(left(until)?))?;
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Reads more of the answer; false at the end of the stream.
    fn fill(&mut self, until: Instant) -> Result<bool> {
        let mut space = [0; 16_384];
        let read = |e| failed(format!("waiting for the daemon: {e}"));
        loop {
            self.stream.set_read_timeout(Some(left(until).map_err(read)?)).map_err(read)?;
            match self.stream.read(&mut space) {
                Ok(count) => {
                    self.read.extend_from_slice(&space[..count]);
                    return Ok(count > 0);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(read(e)),
            }
        }
    }

    fn answer(&mut self, bodiless: bool, until: Instant) -> Result<(Reply, bool)> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if self.read.len() > HEAD_BYTES_MAX {
                return Err(failed("the daemon's answer has no end of head".to_owned()));
            }
            if !self.fill(until)? {
                return Err(failed("the daemon closed the connection without an answer".to_owned()));
            }
        };
        let (mut reply, length) = parse(&self.read[..end])?;
        self.read.drain(..end + 4);
        let length = if bodiless { 0 } else { length };
        while self.read.len() < length {
            if !self.fill(until)? {
                return Err(failed("the daemon's answer ended early".to_owned()));
            }
        }
        let rest = self.read.split_off(length);
        reply.body = std::mem::replace(&mut self.read, rest);
        let closes = reply.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        Ok((reply, closes))
    }
}

fn failed(what: String) -> Error {
    Error::new(Kind::Upstream, "daemon_failed", what).remedy("look into the daemon's log, then try again")
}

fn left(until: Instant) -> std::io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// The head of a request. `Invalid` where a part would end its line.
fn compose(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Vec<u8>> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    let parts = [method, target].into_iter().chain(headers.iter().flat_map(|(name, value)| [*name, *value]));
    if parts.into_iter().any(|part| part.contains(['\r', '\n', '\0'])) || target.contains(' ') {
        return Err(Error::invalid("a line end or a space where a request must not have one"));
    }
    Ok(head.into_bytes())
}

/// Status and header lines of an answer, and the length of its body in bytes.
fn parse(head: &[u8]) -> Result<(Reply, usize)> {
    let strange = || failed("the daemon's answer was not understood".to_owned());
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|line| line.get(..3));
    let mut reply = Reply::empty(status.and_then(|code| code.parse().ok()).ok_or_else(strange)?);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(strange)?;
        reply = reply.with_header(name, value.trim());
    }
    let length = match reply.header("content-length") {
        Some(length) => length.parse().map_err(|_| strange())?,
        None => 0, // 204 and 304
    };
    Ok((reply, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let (reply, length) =
            parse(b"HTTP/1.1 507 Insufficient Storage\r\nRetry-After: 30\r\ncontent-length: 7").unwrap();
        assert_eq!((reply.status, reply.header("retry-after"), length), (507, Some("30"), 7));
        assert!(parse(b"SSH-2.0").is_err() && parse(b"HTTP/1.1 200 OK\r\ncontent-length: x").is_err());
    }

    #[test]
    fn nothing_can_add_a_header_line() {
        assert!(compose("GET", "/a b", &[], b"").is_err());
        assert!(compose("GET", "/", &[("x", "y\r\nz: 1")], b"").is_err());
        assert!(compose("GET", "/", &[("x", "y")], b"").is_ok());
    }

    #[test]
    fn nobody_listening_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let error = send(&folder.path().join("none"), "GET", "/", &[], Vec::new(), 100).unwrap_err();
        assert_eq!((error.kind, error.code), (Kind::NotFound, "no_daemon"));
    }
}
