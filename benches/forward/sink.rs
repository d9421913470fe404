//! A receiver that takes every batch and keeps none: what is left of the time is the edge's own.
//! Must never look into a batch; it counts requests and bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tiny_http::{Method, Response, Server};

use crate::Result;

/// A running receiver; it ends with the process.
pub struct Sink {
    /// Where it listens.
    pub address: SocketAddr,
    /// Batches put.
    pub batches: Arc<AtomicU64>,
    /// Bytes of their bodies.
    pub bytes: Arc<AtomicU64>,
}

impl Sink {
    /// Listens on a port of its own.
    pub fn start() -> Result<Sink> {
        let server = Server::http("127.0.0.1:0").map_err(|e| e.to_string())?;
        let address = server.server_addr().to_ip().ok_or("no address")?;
        let sink = Sink { address, batches: Arc::default(), bytes: Arc::default() };
        let (batches, bytes) = (Arc::clone(&sink.batches), Arc::clone(&sink.bytes));
        std::thread::spawn(move || {
            let mut room = vec![0; 1 << 16];
            for mut request in server.incoming_requests() {
                let is_put = *request.method() == Method::Put;
                let body = request.as_reader();
                while let Ok(n @ 1..) = body.read(&mut room) {
                    bytes.fetch_add(n as u64, Ordering::Relaxed);
                }
                batches.fetch_add(u64::from(is_put), Ordering::Relaxed);
                // it tells nothing of what it has: a put is all there is
                let _ = request.respond(Response::empty(if is_put { 201 } else { 404 }));
            }
        });
        Ok(sink)
    }
}
