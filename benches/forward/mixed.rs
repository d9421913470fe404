//! What draining a backlog costs whoever sends at the same time: latencies of single events at a fixed rate, over a daemon that
//! drains and over one that does not. Meets both by their doors; must never write a row itself.

use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::load::{Pace, Shape, run};
use crate::make::Ids;
use crate::server::Server;

/// Requests a second, over all connections.
const RATE: f64 = 500.0;
/// Connections.
const CONNECTIONS: usize = 16;

/// Milliseconds from when each request was due to its answer: p50, p99, p99.9. Fails where an event was not accepted.
pub fn latencies(program: &Path, config: &Path, data_dir: &Path, seconds: u64) -> Result<[f64; 3]> {
    let server = Server::start(program, data_dir, config, None)?;
    let shape =
        Shape { connections: CONNECTIONS, batch: 1, per_visitor: 20, ids: Ids::V7, sender: false, grants: false };
    let told = run(server.address, shape, Pace::Open(RATE, Duration::from_secs(seconds)), 1)?;
    server.stop()?;
    if told.failed + told.refused > 0 || told.accepted == 0 {
        return Err(format!("{} accepted, {} refused, {} failed", told.accepted, told.refused, told.failed).into());
    }
    Ok([0.5, 0.99, 0.999].map(|q| {
        let place = (q * told.latencies.len() as f64).ceil() as usize;
        told.latencies.get(place.saturating_sub(1)).map_or(0.0, |us| f64::from(*us) / 1e3)
    }))
}
