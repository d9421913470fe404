//! The load: keep-alive connections, a thread each. Owns its HTTP client, small on purpose; must never know what is measured.
//! Invariant: an event counts as acknowledged only when its reply said `accepted`.

use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::make::{Ids, Maker};

/// What is sent, and how.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Connections kept open, each with one request under way.
    pub connections: usize,
    /// Events of one request; 1 = one object, no array.
    pub batch: usize,
    /// Events each visitor sends.
    pub per_visitor: u32,
    /// Ids of events and visitors.
    pub ids: Ids,
    /// Requests carry an ingest token.
    pub sender: bool,
    /// Each visitor's first event brings a grant along; needs a sender.
    pub grants: bool,
}

/// The ingest token of senders.
pub const TOKEN: &str = "bench-token-0123456789abcdef";

/// When requests are sent.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// The next one as soon as the last is answered, for so long.
    Closed(Duration),
    /// Until so many events are accepted, the next one as soon as the last is answered.
    Count(u64),
    /// At a fixed rate of requests per second over all connections, for so long, whatever the server does.
    Open(f64, Duration),
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Events acknowledged.
    pub accepted: u64,
    /// Requests answered with 503.
    pub refused: u64,
    /// Other answers: something is wrong.
    pub failed: u64,
    /// Bytes of bodies sent.
    pub body_bytes: u64,
    /// Seconds from first request to last answer.
    pub seconds: f64,
    /// Microseconds of each request; in an open loop from the moment it was due.
    pub latencies: Vec<u32>,
}

/// Runs one phase over fresh connections. `seed` must differ between phases.
pub fn run(server: SocketAddr, shape: Shape, pace: Pace, seed: u64) -> Result<Told> {
    let clients = (0..shape.connections).map(|_| Client::open(server, shape.sender)).collect::<Result<Vec<_>>>()?;
    let begin = Instant::now();
    let threads: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(i, client)| {
            let maker = Maker::new(
                (seed * 1_000 + i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
                shape.ids,
                shape.per_visitor,
                shape.grants,
            );
            let work = move || connection(client, maker, shape, pace, i, begin);
            thread::Builder::new().stack_size(128 << 10).spawn(work)
        })
        .collect::<Result<_>>()?;
    let mut all = Told::default();
    for thread in threads {
        let one = thread.join().map_err(|_| Error::other("a client thread panicked"))??;
        all.accepted += one.accepted;
        all.refused += one.refused;
        all.failed += one.failed;
        all.body_bytes += one.body_bytes;
        all.latencies.extend(one.latencies);
    }
    all.seconds = begin.elapsed().as_secs_f64();
    all.latencies.sort_unstable();
    Ok(all)
}

fn connection(
    mut client: Client,
    mut maker: Maker,
    shape: Shape,
    pace: Pace,
    index: usize,
    begin: Instant,
) -> Result<Told> {
    let mut told = Told::default();
    let mut body = String::new();
    for turn in 0u64.. {
        let now = Instant::now();
        let due = match pace {
            Pace::Closed(long) if now - begin >= long => break,
            Pace::Count(events) if told.accepted * shape.connections as u64 >= events => break,
            Pace::Closed(_) | Pace::Count(_) => None,
            Pace::Open(rate, long) => {
                let nth = turn * shape.connections as u64 + index as u64;
                let after = Duration::from_secs_f64(nth as f64 / rate);
                if after >= long {
                    break;
                }
                Some(begin + after)
            }
        };
        body.clear();
        maker.body(&mut body, shape.batch > 1, shape.batch);
        if let Some(due) = due {
            let early = due.saturating_duration_since(Instant::now());
            if !early.is_zero() {
                thread::sleep(early);
            }
        }
        // a request that could not be sent when it was due has waited all the same
        let from = due.unwrap_or_else(Instant::now);
        let (status, accepted) = client.post(&body)?;
        told.latencies.push(from.elapsed().as_micros().try_into().unwrap_or(u32::MAX));
        told.accepted += accepted;
        told.body_bytes += body.len() as u64;
        told.refused += u64::from(status == 503);
        told.failed += u64::from(status != 503 && accepted != shape.batch as u64);
    }
    Ok(told)
}

/// One keep-alive connection.
struct Client {
    stream: TcpStream,
    head: String,
    out: Vec<u8>,
    inbox: Vec<u8>,
}

impl Client {
    fn open(server: SocketAddr, sender: bool) -> Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let token = if sender { format!("Authorization: Bearer {TOKEN}\r\n") } else { String::new() };
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nHost: {server}\r\n{token}Content-Type: application/json\r\nContent-Length: "
        );
        Ok(Client { stream, head, out: Vec::new(), inbox: vec![0; 64 << 10] })
    }

    /// Sends a body; the status and how many of its events were accepted.
    fn post(&mut self, body: &str) -> Result<(u16, u64)> {
        self.out.clear();
        write!(self.out, "{}{}\r\n\r\n{body}", self.head, body.len())?;
        self.stream.write_all(&self.out)?;
        let mut filled = 0;
        loop {
            if filled == self.inbox.len() {
                self.inbox.resize(filled * 2, 0);
            }
            let n = self.stream.read(&mut self.inbox[filled..])?;
            if n == 0 {
                return Err(Error::other("the server closed the connection"));
            }
            filled += n;
            let text = std::str::from_utf8(&self.inbox[..filled]).map_err(Error::other)?;
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            if body.len() >= content_length(head)? {
                let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
                return Ok((status, body.matches("\"outcome\":\"accepted\"").count() as u64));
            }
        }
    }
}

fn content_length(head: &str) -> Result<usize> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or_else(|| Error::other("an answer without Content-Length"))
}
