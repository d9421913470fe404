//! Carries replies from whichever thread finishes a request to the connection that waits for it.
//! Must never know the runtime: it wakes through `std::task` only.
//! Invariants: a reply reaches only the request it belongs to; a lost `Ticket` is noticed. Many replies finished in
//! a row (a commit group) cost one wake-up of the door thread, since only the first of them rings.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::ThreadId;

use super::reply::{Reply, internal};
use super::seats::Seat;

/// Where one connection waits for the reply to its present request.
#[derive(Debug, Default)]
pub struct Slot(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    turn: u64,
    reply: Option<Reply>,
    asleep: bool,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a request: replies to earlier ones no longer count.
    fn begin(&self) -> u64 {
        let mut slot = self.lock();
        slot.turn += 1;
        slot.reply = None;
        slot.asleep = false;
        slot.turn
    }

    /// The reply, once it is there. The connection's task is woken through its seat.
    pub fn poll(&self) -> Poll<Reply> {
        let mut slot = self.lock();
        match slot.reply.take() {
            Some(reply) => Poll::Ready(reply),
            None => {
                slot.asleep = true;
                Poll::Pending
            }
        }
    }

    /// Puts the reply; says whether the connection sleeps and must be woken.
    fn put(&self, turn: u64, reply: Reply) -> bool {
        let mut slot = self.lock();
        if slot.turn != turn {
            return false; // its client has gone
        }
        slot.reply = Some(reply);
        slot.asleep
    }
}

/// The replies on their way to the door thread.
#[derive(Debug)]
pub struct Replies {
    door: ThreadId,
    way: Mutex<Way>,
}

#[derive(Debug, Default)]
struct Way {
    replies: Vec<Delivery>,
    bell: Option<Waker>,
}

#[derive(Debug)]
struct Delivery {
    seat: Arc<Seat>,
    turn: u64,
    reply: Reply,
}

impl Replies {
    /// For the door thread, which is the calling one.
    pub fn here() -> Arc<Self> {
        Arc::new(Replies { door: std::thread::current().id(), way: Mutex::default() })
    }

    /// A ticket for the request that now begins at `seat`.
    pub fn ticket(self: &Arc<Self>, seat: &Arc<Seat>) -> Ticket {
        Ticket { all: Arc::clone(self), seat: Arc::clone(seat), turn: seat.slot.begin(), open: true }
    }

    /// Hands the replies that have arrived to their connections; the door thread polls this for ever.
    pub fn poll_deliver(&self, cx: &Context<'_>) -> Poll<()> {
        let arrived = {
            let mut way = self.lock();
            if way.replies.is_empty() {
                way.bell = Some(cx.waker().clone());
                return Poll::Pending;
            }
            std::mem::take(&mut way.replies)
        };
        for Delivery { seat, turn, reply } in arrived {
            deliver(&seat, turn, reply);
        }
        Poll::Ready(())
    }

    fn send(&self, seat: &Arc<Seat>, turn: u64, reply: Reply) {
        if std::thread::current().id() == self.door {
            return deliver(seat, turn, reply);
        }
        let mut way = self.lock();
        way.replies.push(Delivery { seat: Arc::clone(seat), turn, reply });
        let bell = way.bell.take(); // rings once until the door has come
        drop(way);
        if let Some(bell) = bell {
            bell.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn deliver(seat: &Seat, turn: u64, reply: Reply) {
    if seat.slot.put(turn, reply) {
        seat.wake();
    }
}

/// The right to answer one request.
#[derive(Debug)]
pub struct Ticket {
    all: Arc<Replies>,
    seat: Arc<Seat>,
    turn: u64,
    open: bool,
}

impl Ticket {
    /// Answers.
    pub fn answer(mut self, reply: Reply) {
        self.open = false;
        self.all.send(&self.seat, self.turn, reply);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            let reply = Reply::from_error(&internal("the request was given up before it was answered"));
            self.all.send(&self.seat, self.turn, reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::Peer;
    use crate::http::seats::{NEVER, Seats};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Rings(AtomicUsize);

    impl Wake for Rings {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn seat() -> Arc<Seat> {
        Arc::clone(&Seats::new(1, 0).take(Peer::Control, 0, NEVER).unwrap().seat)
    }

    #[test]
    fn many_replies_ring_once() {
        let (replies, rings) = (Replies::here(), Arc::new(Rings::default()));
        let waker = Waker::from(Arc::clone(&rings));
        let cx = Context::from_waker(&waker);
        assert!(replies.poll_deliver(&cx).is_pending());
        let seats: Vec<_> = (0..64).map(|_| seat()).collect();
        let tickets: Vec<_> = seats.iter().map(|seat| replies.ticket(seat)).collect();
        let sender = std::thread::spawn(move || tickets.into_iter().for_each(|t| t.answer(Reply::empty(202))));
        sender.join().unwrap();
        assert_eq!(rings.0.load(Ordering::SeqCst), 1);
        assert!(replies.poll_deliver(&cx).is_ready() && replies.poll_deliver(&cx).is_pending());
        assert!(seats.iter().all(|seat| seat.slot.poll() == Poll::Ready(Reply::empty(202))));
    }

    #[test]
    fn a_late_reply_never_answers_the_next_request() {
        let (replies, seat) = (Replies::here(), seat());
        let late = replies.ticket(&seat);
        let next = replies.ticket(&seat);
        late.answer(Reply::empty(200));
        assert!(seat.slot.poll().is_pending());
        next.answer(Reply::empty(202));
        assert_eq!(seat.slot.poll(), Poll::Ready(Reply::empty(202)));
    }

    #[test]
    fn a_lost_ticket_answers_500() {
        let (replies, seat) = (Replies::here(), seat());
        drop(replies.ticket(&seat));
        assert!(matches!(seat.slot.poll(), Poll::Ready(reply) if reply.status == 500));
    }
}
