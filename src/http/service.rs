//! What the door asks of whoever serves it, and the door's own options.
//! Must never know the HTTP library. Invariant: every limit of the door is an option with a unit in its name.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::reply::Reply;
use super::request::{Head, Request};
use crate::base::error::{Error, Result};

/// Takes the reply, on any thread, once. Dropped unused, the client gets 500.
pub type Responder = Box<dyn FnOnce(Reply) + Send>;

/// Where a request is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// On the door thread: decode, hand over, return. Must not block.
    Inline,
    /// On a thread of the pool: may read files and the database.
    Blocking,
}

/// What is to be done with a request whose head is known.
#[derive(Debug)]
pub struct Plan {
    /// Where it is served. A body that is long or has a content encoding is served on the pool all the same.
    pub way: Way,
    /// Longest body taken, in bytes as received; 413 above.
    pub body_bytes_max: usize,
    /// Answer at once without reading the body; the connection is closed where there is one.
    pub refuse: Option<Reply>,
}

impl Plan {
    /// Serve on the door thread, with a body of at most `body_bytes_max`.
    pub fn inline(body_bytes_max: usize) -> Self {
        Plan { way: Way::Inline, body_bytes_max, refuse: None }
    }

    /// Serve on the pool, with a body of at most `body_bytes_max`.
    pub fn blocking(body_bytes_max: usize) -> Self {
        Plan { way: Way::Blocking, body_bytes_max, refuse: None }
    }

    /// Answer at once.
    pub fn refuse(reply: Reply) -> Self {
        Plan { way: Way::Inline, body_bytes_max: 0, refuse: Some(reply) }
    }
}

/// Whoever serves the door.
pub trait Service: Send + Sync + 'static {
    /// What to do with a request, before its body is read. Called on the door thread: cheap, never blocking.
    fn plan(&self, head: &Head) -> Plan;

    /// Serves a request. `done` may be called later and from any thread.
    fn serve(&self, request: Request, done: Responder);

    /// Shapes a refusal of the door itself (408, 413, 503 ...) the way this endpoint's clients expect.
    fn shape_error(&self, head: &Head, error: Error) -> Reply {
        let _ = head;
        Reply::from_error(&error)
    }
}

/// Limits and deadlines of the door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DoorOptions {
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: String,
    /// A PEM file with the door's certificate and its chain: with it the network speaks TLS only. Taken anew when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert_file: Option<PathBuf>,
    /// A PEM file with its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key_file: Option<PathBuf>,
    /// A PEM file with authorities: whoever connects must show a certificate of one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_ca_file: Option<PathBuf>,
    /// A begun head must be complete within this time, in milliseconds; 408 after.
    pub head_timeout_ms: u64,
    /// A body must be complete, and a client must take bytes of its answer, within this time in milliseconds.
    pub request_timeout_ms: u64,
    /// A silent connection is closed after this time, in milliseconds. Browsers connect again by themselves.
    pub idle_timeout_ms: u64,
    /// Open connections. At the limit a new one takes the place of the longest idle one.
    pub connections_max: usize,
    /// Open connections of one address; 0 is no limit (behind a proxy all come from one address).
    pub connections_per_address_max: usize,
    /// Request line and header lines of one request, in bytes; 431 above.
    pub head_bytes_max: usize,
    /// Header lines of one request; 431 above.
    pub headers_max: usize,
    /// Threads that read the database for clients.
    pub read_threads: usize,
    /// Requests waiting for such a thread; 503 above.
    pub read_queue_max: usize,
    /// Longest body decoded on the door thread, in bytes; longer ones go to the threads.
    pub body_bytes_inline_max: usize,
    /// Bytes of bodies held in memory at one time; 503 above.
    pub body_bytes_total_max: usize,
}

impl Default for DoorOptions {
    fn default() -> Self {
        DoorOptions {
            listen: "127.0.0.1:8787".to_owned(),
            tls_cert_file: None,
            tls_key_file: None,
            tls_client_ca_file: None,
            head_timeout_ms: 5_000,
            request_timeout_ms: 15_000,
            idle_timeout_ms: 5_000,
            connections_max: 4_096,
            connections_per_address_max: 0,
            head_bytes_max: 16_384,
            headers_max: 64,
            read_threads: 4,
            read_queue_max: 64,
            body_bytes_inline_max: 65_536,
            body_bytes_total_max: 33_554_432,
        }
    }
}

impl DoorOptions {
    /// The address to listen on. `Config` where the text names none.
    pub fn address(&self) -> Result<SocketAddr> {
        if let Ok(address) = self.listen.parse() {
            return Ok(address);
        }
        let named = self.listen.to_socket_addrs().ok().and_then(|mut all| all.next());
        named.ok_or_else(|| {
            Error::config(format!("`listen`: {:?} is no address with a port", self.listen))
                .remedy("write an address and a port, for example \"127.0.0.1:8787\" or \"[::]:8787\"")
        })
    }

    /// Refuses options no door can keep, with `Config`.
    pub fn check(&self) -> Result<()> {
        self.address()?;
        let at_least = [
            ("head_timeout_ms", self.head_timeout_ms, 1),
            ("request_timeout_ms", self.request_timeout_ms, 1),
            ("idle_timeout_ms", self.idle_timeout_ms, 1),
            ("connections_max", self.connections_max as u64, 1),
            ("head_bytes_max", self.head_bytes_max as u64, 1_024),
            ("headers_max", self.headers_max as u64, 8),
            ("read_threads", self.read_threads as u64, 1),
            ("read_queue_max", self.read_queue_max as u64, 1),
            ("body_bytes_total_max", self.body_bytes_total_max as u64, 1_024),
        ];
        for (name, have, least) in at_least {
            if have < least {
                return Err(Error::config(format!("`{name}` = {have}: at least {least} is needed")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_hold_and_nonsense_is_refused() {
        assert!(DoorOptions::default().check().is_ok());
        let nowhere = DoorOptions { listen: "8787".into(), ..DoorOptions::default() };
        assert_eq!(nowhere.check().unwrap_err().kind, crate::base::error::Kind::Config);
        let none = DoorOptions { read_threads: 0, ..DoorOptions::default() };
        assert!(none.check().unwrap_err().what.contains("read_threads"));
        assert!(toml::from_str::<DoorOptions>("idle_timeout = 1").is_err());
    }
}
