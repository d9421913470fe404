//! What the door does with a request besides reading and writing it: asks the service for a plan, bounds the body,
//! hands it to the right thread, and sets the deadline of each wait. Owns what all connections share.
//! Must never know the HTTP library. Invariant: every request handed over is answered, also when its handler panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::bell::Bell;
use super::bodies::{Bodies, Body};
use super::guard::{Guard, Limits};
use super::pool::Pool;
use super::replies::Replies;
use super::reply::{Reply, internal};
use super::request::{Head, Peer, Request};
use super::seats::{NEVER, Phase, Place, Seat, Seats};
use super::service::{DoorOptions, Responder, Service, Way};
use super::tls::Tls;
use crate::base::error::{Error, Result};
use crate::base::time::{Clock, Millis};

/// An answer may take one millisecond more for so many bytes its client has taken.
const WRITE_BYTES_PER_MS: usize = 16;
/// How long the rest of a refused request is read away, in milliseconds.
const LINGER_MS: u64 = 2_000;

/// What all connections share.
pub struct Desk {
    /// Who is connected.
    pub seats: Arc<Seats>,
    /// Rung when the door is to close.
    pub stop: Bell,
    options: DoorOptions,
    clock: Arc<dyn Clock>,
    service: Arc<dyn Service>,
    started: Instant,
    tls: Option<Tls>,
    bodies: Arc<Bodies>,
    pool: Pool,
    stopping: AtomicBool,
}

impl Desk {
    /// A desk with its read threads started.
    pub fn open(
        options: &DoorOptions,
        tls: Option<Tls>,
        clock: Arc<dyn Clock>,
        service: Arc<dyn Service>,
    ) -> Result<Self> {
        Ok(Desk {
            seats: Seats::new(options.connections_max, options.connections_per_address_max),
            stop: Bell::default(),
            bodies: Bodies::new(options.body_bytes_total_max),
            pool: Pool::start(options.read_threads, options.read_queue_max)?,
            options: options.clone(),
            tls,
            clock,
            service,
            started: Instant::now(),
            stopping: AtomicBool::new(false),
        })
    }

    /// The options of the door.
    pub fn options(&self) -> &DoorOptions {
        &self.options
    }

    /// What it speaks TLS with, where it does.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Milliseconds since the door opened: the time of all deadlines.
    pub fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(NEVER)
    }

    /// The time of day, for `Head::received_at`.
    pub fn time(&self) -> Millis {
        self.clock.now()
    }

    /// A guard with this door's limits.
    pub fn guard(&self) -> Guard {
        Guard::new(Limits { head_bytes_max: self.options.head_bytes_max, headers_max: self.options.headers_max })
    }

    /// The door is to close; from now on every reply closes its connection.
    pub fn begin_stop(&self) {
        self.stopping.store(true, Relaxed);
        self.stop.ring();
    }

    /// Is the door closing?
    pub fn stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Ends the read threads once they have done what waits.
    pub fn end(&self) {
        self.pool.stop();
    }

    /// How often deadlines are looked at: several times within the shortest of them.
    pub fn sweep_pause(&self) -> Duration {
        let options = &self.options;
        let shortest = options.head_timeout_ms.min(options.request_timeout_ms).min(options.idle_timeout_ms);
        Duration::from_millis((shortest / 4).clamp(10, 250))
    }

    /// Cuts connections whose deadline has passed.
    pub fn sweep(&self) {
        self.seats.sweep(self.now());
    }

    /// A seat for a connection that was just accepted; `None` where there is no room to be made.
    pub fn welcome(&self, peer: Peer) -> Option<Place> {
        self.seats.take(peer, self.now(), self.idle_deadline(peer))
    }

    /// Until when a connection may be silent: our own commands may think as long as they like.
    fn idle_deadline(&self, peer: Peer) -> u64 {
        if peer == Peer::Control { NEVER } else { self.now() + self.options.idle_timeout_ms }
    }

    /// The connection's answer is written: it is idle.
    pub fn rests(&self, seat: &Seat) {
        seat.enter(Phase::Idle, self.now(), self.idle_deadline(seat.peer));
    }

    /// The beginning of a head has come, the rest is awaited.
    pub fn awaits_head(&self, seat: &Seat) {
        if seat.phase() == Phase::Idle {
            let now = self.now();
            seat.enter(Phase::Head, now, now + self.options.head_timeout_ms);
        }
    }

    /// The rest of a body is awaited.
    pub fn awaits_body(&self, seat: &Seat) {
        if seat.phase() != Phase::Body {
            let now = self.now();
            seat.enter(Phase::Body, now, now + self.options.request_timeout_ms);
        }
    }

    /// The rest of a refused request is read away.
    pub fn lingers(&self, seat: &Seat) {
        let now = self.now();
        seat.enter(Phase::Lingering, now, now + LINGER_MS);
    }

    /// The outcome of a write: keeps the time of a client that takes its answer slowly.
    pub fn writes(&self, seat: &Seat, written: &Poll<std::io::Result<usize>>) {
        match written {
            Poll::Pending if seat.phase() != Phase::Writing => {
                let now = self.now();
                seat.enter(Phase::Writing, now, now + self.options.request_timeout_ms);
            }
            Poll::Ready(Ok(bytes)) if seat.phase() == Phase::Writing => {
                seat.extend((bytes / WRITE_BYTES_PER_MS) as u64);
            }
            _ => {}
        }
    }

    /// The reply of the handler. While it is not there the seat has no deadline.
    pub fn poll_reply(&self, seat: &Seat) -> Poll<Reply> {
        let reply = seat.slot.poll();
        if reply.is_pending() && seat.phase() != Phase::Working {
            seat.enter(Phase::Working, self.now(), NEVER);
        }
        reply
    }

    /// Where to serve a request whose body has the `declared` length, and a place for the body; or the refusal.
    pub fn plan(&self, head: &Head, declared: Option<u64>) -> Result<(Way, Body), Reply> {
        let planned = catch_unwind(AssertUnwindSafe(|| self.service.plan(head)));
        let Ok(plan) = planned else {
            return Err(Reply::from_error(&internal("the handler failed")));
        };
        if let Some(reply) = plan.refuse {
            return Err(reply);
        }
        let body = self.bodies.begin(plan.body_bytes_max, declared).map_err(|error| self.shape(head, error))?;
        Ok((plan.way, body))
    }

    /// An error of the door in the shape this endpoint's clients expect.
    pub fn shape(&self, head: &Head, error: Error) -> Reply {
        let code = error.code;
        catch_unwind(AssertUnwindSafe(|| self.service.shape_error(head, error)))
            .unwrap_or_else(|_| Reply::from_error(&internal(format!("the handler failed to say `{code}`"))))
    }

    /// Hands a request over; its reply comes to the seat.
    pub fn serve(&self, replies: &Arc<Replies>, seat: &Arc<Seat>, way: Way, head: Head, body: Body) {
        let ticket = replies.ticket(seat);
        let (body, hold) = body.finish();
        let long = body.len() > self.options.body_bytes_inline_max;
        let pooled = way == Way::Blocking || long || head.headers.get("content-encoding").is_some();
        if pooled && self.pool.is_full() {
            let full = Error::busy("too many requests are waiting").remedy("try again in a second");
            return ticket.answer(self.shape(&head, full));
        }
        let request = Request { head, body };
        let done: Responder = Box::new(move |reply| ticket.answer(reply));
        if pooled {
            let service = Arc::clone(&self.service);
            let job = Box::new(move || {
                let _hold = hold; // counted until the handler is done
                service.serve(request, done);
            });
            // Only this thread submits, so a job comes back only when the pool stops; dropped, it is answered with 500.
            drop(self.pool.submit(job));
        } else if catch_unwind(AssertUnwindSafe(|| self.service.serve(request, done))).is_err() {
            log::error!("a handler panicked; its request was answered with 500");
        }
    }
}
