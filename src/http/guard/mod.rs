//! Looks at the bytes of every head before the HTTP library sees them, because it lets too much pass: bare line
//! feeds, conflicting lengths, two hosts. Owns the framing of a connection: where a head ends and where the next begins.
//! Must never touch a socket or a clock. Invariant: only whole, checked heads go on; after a refusal nothing does.
//!
//! A refusal is not written here: the guard lets a request of its own making (`REFUSED_METHOD`) go on in place of
//! the refused bytes, so that answers to earlier requests of a pipeline leave first and in order.
//! Sources: RFC 9112 sections 2.2, 3, 5, 6.

mod head;
#[cfg(test)]
mod tests;

use crate::base::error::Error;
use head::{HeadScan, Seen};

/// Method of the request that stands in for a refused one; refused when a client sends it.
pub const REFUSED_METHOD: &str = "WAYSIDE-REFUSED";
const REFUSED_HEAD: &[u8] = b"WAYSIDE-REFUSED / HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n";

/// Longest request target, in bytes (RFC 9112 section 3 asks for 8000 at least).
pub const TARGET_BYTES_MAX: usize = 8_000;

/// Limits of one head.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Request line and header lines, in bytes.
    pub head_bytes_max: usize,
    /// Header lines.
    pub headers_max: usize,
}

/// Why a head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It breaks the rules of HTTP/1.1, in the way the text says.
    Malformed(&'static str),
    /// Its target is longer than `TARGET_BYTES_MAX`.
    TargetTooLong,
    /// It is longer than the limit.
    HeadTooLarge,
    /// It has more lines than the limit.
    TooManyHeaders,
    /// It asks for a tunnel.
    Tunnel,
    /// It did not arrive in time.
    Slow,
}

impl Refusal {
    /// The refusal as an error for the client.
    pub fn error(self) -> Error {
        match self {
            Refusal::Malformed(why) => Error::invalid(format!("the request was not understood: {why}"))
                .code("bad_request")
                .remedy("send a request as HTTP/1.1 (RFC 9112) asks for"),
            Refusal::TargetTooLong => {
                Error::invalid(format!("the request target is longer than {TARGET_BYTES_MAX} bytes"))
                    .code("uri_too_long")
                    .remedy("send the data in the body")
            }
            Refusal::HeadTooLarge => Error::invalid("the head is too long")
                .code("head_too_large")
                .remedy("send fewer or shorter header lines"),
            Refusal::TooManyHeaders => {
                Error::invalid("too many header lines").code("head_too_large").remedy("send fewer header lines")
            }
            Refusal::Tunnel => Error::not_found("CONNECT is not served").code("method_not_allowed"),
            Refusal::Slow => {
                Error::invalid("the request did not arrive in time").code("too_slow").remedy("send it again")
            }
        }
    }
}

/// Where in its stream a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In a head, or before one.
    Head,
    /// In a body of known length: so many bytes are still to come.
    Body(u64),
    /// In a chunked body, whose end only the library knows: nothing is looked at any more, the door closes after it.
    Chunks,
    /// After a refusal.
    Refused,
}

/// The guard of one connection.
#[derive(Debug)]
pub struct Guard {
    limits: Limits,
    place: Place,
    head: HeadScan,
    /// The beginning of a head that is not complete yet.
    held: Vec<u8>,
    /// What may go on; `sent` bytes of it have.
    ready: Vec<u8>,
    sent: usize,
    refusal: Option<Refusal>,
}

impl Guard {
    /// A guard at the beginning of a connection.
    pub fn new(limits: Limits) -> Self {
        Guard {
            limits,
            place: Place::Head,
            head: HeadScan::default(),
            held: Vec::new(),
            ready: Vec::new(),
            sent: 0,
            refusal: None,
        }
    }

    /// Looks at `fresh` bytes while nothing is held: so many of its first bytes may go on as they stand. The rest is kept.
    pub fn pass(&mut self, fresh: &[u8]) -> usize {
        debug_assert!(!self.holds() && self.ready().is_empty());
        let passed = self.scan(fresh);
        if self.refusal.is_none() {
            self.held.extend_from_slice(&fresh[passed..]);
        }
        passed
    }

    /// Looks at `fresh` bytes that follow held ones; what may go on is then `ready`.
    pub fn feed(&mut self, fresh: &[u8]) {
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(fresh);
        let passed = self.scan(&held);
        if passed == 0 {
            if self.refusal.is_none() {
                self.held = held;
            }
            return;
        }
        let rest = held.split_off(passed);
        self.held = if self.refusal.is_none() { rest } else { Vec::new() };
        if self.refusal.is_some() {
            held.extend_from_slice(&self.ready); // the stand-in comes after what was good
        }
        self.ready = held;
    }

    /// Refuses whatever comes now, for a reason found elsewhere.
    pub fn refuse(&mut self, why: Refusal) {
        if self.refusal.is_none() {
            self.place = Place::Refused;
            self.refusal = Some(why);
            self.held = Vec::new();
            self.ready.extend_from_slice(REFUSED_HEAD);
        }
    }

    /// Bytes that may go on before any fresh ones.
    pub fn ready(&self) -> &[u8] {
        &self.ready[self.sent..]
    }

    /// The first `count` ready bytes have gone on.
    pub fn sent(&mut self, count: usize) {
        self.sent += count;
        if self.sent >= self.ready.len() {
            self.ready = Vec::new();
            self.sent = 0;
        }
    }

    /// Is the beginning of a head held?
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Why the guard refused, once it has.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// How many of `bytes` may go on. `bytes` begins where the last scan's passing ended.
    fn scan(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        while passed < bytes.len() {
            let rest = &bytes[passed..];
            match self.place {
                Place::Head => match self.head.look(rest, self.limits) {
                    Ok(Seen::Part) => return passed,
                    Ok(Seen::Whole { bytes, length, chunked }) => {
                        passed += bytes;
                        self.head = HeadScan::default();
                        self.place = match length {
                            _ if chunked => Place::Chunks,
                            0 => Place::Head,
                            length => Place::Body(length),
                        };
                    }
                    Err(why) => self.refuse(why),
                },
                Place::Body(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    passed += here;
                    let left = left - here as u64;
                    self.place = if left == 0 { Place::Head } else { Place::Body(left) };
                }
                Place::Chunks => return bytes.len(),
                Place::Refused => return passed,
            }
        }
        passed
    }
}
