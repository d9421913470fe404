//! Who is connected, what each connection waits for, and until when. Owns the caps and the deadlines of the door.
//! Must never touch a socket: a cut connection is woken and ends itself.
//! Invariant: every connection but one whose handler works has a deadline; one sweep a few times a second keeps them
//! all, so that a request costs no timer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use super::bell::Bell;
use super::guard::Refusal;
use super::replies::Slot;
use super::request::Peer;

/// No deadline.
pub const NEVER: u64 = u64::MAX;
/// A cut connection that has not ended after this time is dropped, in milliseconds.
const CUT_GRACE_MS: u64 = 2_000;
/// A begun head younger than this is not sacrificed for a new connection, in milliseconds.
const YOUNG_HEAD_MS: u64 = 1_000;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// A request that has not begun.
    Idle,
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body,
    /// The handler.
    Working,
    /// The client to take its answer.
    Writing,
    /// The client to stop sending what was refused.
    Lingering,
}

/// What a connection has been told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cut {
    /// Nothing.
    No,
    /// End now, silently: nothing is under way.
    Close,
    /// Answer 408 and end.
    Slow,
    /// End at once, whatever is under way.
    Drop,
}

/// One connection.
#[derive(Debug)]
pub struct Seat {
    /// Who sits here.
    pub peer: Peer,
    /// Where the reply to its request arrives.
    pub slot: Slot,
    /// Bytes of a refused request may still be coming: read them away before closing, or the answer is lost.
    pub lingers: AtomicBool,
    refusal: Mutex<Option<Refusal>>,
    phase: AtomicU8,
    since: AtomicU64,
    deadline: AtomicU64,
    cut: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Seat {
    fn new(peer: Peer, now: u64, deadline: u64) -> Self {
        Seat {
            peer,
            slot: Slot::default(),
            lingers: AtomicBool::new(false),
            refusal: Mutex::default(),
            phase: AtomicU8::new(Phase::Idle as u8),
            since: AtomicU64::new(now),
            deadline: AtomicU64::new(deadline),
            cut: AtomicU8::new(Cut::No as u8),
            waker: Mutex::default(),
        }
    }

    /// What the connection waits for.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Body,
            3 => Phase::Working,
            4 => Phase::Writing,
            _ => Phase::Lingering,
        }
    }

    /// The connection now waits for something else, from `now` until `deadline` (milliseconds of the door).
    pub fn enter(&self, phase: Phase, now: u64, deadline: u64) {
        self.phase.store(phase as u8, Relaxed);
        self.since.store(now, Relaxed);
        self.deadline.store(deadline, Relaxed);
    }

    /// The present deadline moves by `ms` milliseconds.
    pub fn extend(&self, ms: u64) {
        self.deadline.store(self.deadline.load(Relaxed).saturating_add(ms), Relaxed);
    }

    /// What the connection has been told.
    pub fn cut(&self) -> Cut {
        match self.cut.load(Relaxed) {
            0 => Cut::No,
            1 => Cut::Close,
            2 => Cut::Slow,
            _ => Cut::Drop,
        }
    }

    /// Keeps the waker of the task that serves this connection; it stays the same for life.
    pub fn keep_waker(&self, cx: &Context<'_>) {
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !waker.as_ref().is_some_and(|have| have.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// Wakes the task that serves this connection.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake_by_ref();
        }
    }

    /// Leaves word why the guard refused.
    pub fn refuse(&self, why: Refusal) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Why the guard refused, if it did.
    pub fn refusal(&self) -> Option<Refusal> {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, cut: Cut, now: u64) {
        self.cut.store(cut as u8, Relaxed);
        self.deadline.store(now.saturating_add(CUT_GRACE_MS), Relaxed);
        self.wake();
    }
}

/// A taken seat; given back when dropped.
#[derive(Debug)]
pub struct Place {
    /// The seat.
    pub seat: Arc<Seat>,
    number: u64,
    seats: Arc<Seats>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.seats.leave(self.number);
    }
}

/// All connections.
#[derive(Debug)]
pub struct Seats {
    /// Rung when someone is seated.
    pub seated: Bell,
    /// Rung when someone leaves.
    pub left: Bell,
    all: Mutex<Taken>,
    max: usize,
    per_address_max: usize,
}

#[derive(Debug, Default)]
struct Taken {
    last: u64,
    seats: HashMap<u64, Arc<Seat>>,
    from_net: usize,
}

impl Seats {
    /// At most `max` network connections, and `per_address_max` of one address (0: no limit). The control socket is not counted.
    pub fn new(max: usize, per_address_max: usize) -> Arc<Self> {
        let (seated, left) = (Bell::default(), Bell::default());
        Arc::new(Seats { seated, left, all: Mutex::default(), max, per_address_max })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seats a connection that must send something before `deadline`; `None` where there is no room to be made.
    pub fn take(self: &Arc<Self>, peer: Peer, now: u64, deadline: u64) -> Option<Place> {
        let mut all = self.lock();
        if let Peer::Net(address) = peer {
            if self.per_address_max > 0 && all.count_of(address) >= self.per_address_max {
                return None;
            }
            if all.from_net >= self.max && !all.sacrifice(now) {
                return None;
            }
            all.from_net += 1;
        }
        all.last += 1;
        let number = all.last;
        let seat = Arc::new(Seat::new(peer, now, deadline));
        all.seats.insert(number, Arc::clone(&seat));
        drop(all);
        self.seated.ring();
        Some(Place { seat, number, seats: Arc::clone(self) })
    }

    fn leave(&self, number: u64) {
        let mut all = self.lock();
        if let Some(seat) = all.seats.remove(&number)
            && seat.peer != Peer::Control
        {
            all.from_net -= 1;
        }
        drop(all);
        self.left.ring();
    }

    /// How many are connected.
    pub fn count(&self) -> usize {
        self.lock().seats.len()
    }

    /// Cuts every connection whose deadline has passed.
    pub fn sweep(&self, now: u64) {
        for seat in self.lock().seats.values() {
            if seat.deadline.load(Relaxed) > now {
                continue;
            }
            let cut = match (seat.cut(), seat.phase()) {
                (Cut::No, Phase::Idle) => Cut::Close,
                (Cut::No, Phase::Head | Phase::Body) => Cut::Slow,
                (_, Phase::Working) => continue,
                _ => Cut::Drop,
            };
            seat.tell(cut, now);
        }
    }

    /// Cuts the longest idle connection to set its descriptor free. Says whether there was one.
    pub fn make_room(&self, now: u64) -> bool {
        self.lock().sacrifice(now)
    }

    /// The door closes: cuts every connection that has no request under way.
    pub fn close_idle(&self, now: u64) {
        for seat in self.lock().seats.values() {
            if matches!(seat.phase(), Phase::Idle | Phase::Head) {
                seat.tell(Cut::Close, now);
            }
        }
    }
}

impl Taken {
    fn count_of(&self, address: IpAddr) -> usize {
        let here = |seat: &&Arc<Seat>| seat.peer == Peer::Net(address) && seat.cut() == Cut::No;
        self.seats.values().filter(here).count()
    }

    /// Idle connections go first, the longest idle first of all, then heads that drip in.
    fn sacrifice(&self, now: u64) -> bool {
        let rank = |seat: &Seat| {
            let since = seat.since.load(Relaxed);
            match seat.phase() {
                Phase::Idle => Some((0, since)),
                Phase::Head if now.saturating_sub(since) >= YOUNG_HEAD_MS => Some((1, since)),
                _ => None,
            }
        };
        let open = self.seats.values().filter(|seat| seat.peer != Peer::Control && seat.cut() == Cut::No);
        let Some((_, seat)) = open.filter_map(|seat| Some((rank(seat)?, seat))).min_by_key(|(rank, _)| *rank) else {
            return false;
        };
        seat.tell(Cut::Close, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const A: Peer = Peer::Net(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    const B: Peer = Peer::Net(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)));

    #[test]
    fn each_wait_ends_in_its_own_way() {
        let seats = Seats::new(10, 0);
        let cases = [
            (Phase::Idle, Cut::Close),
            (Phase::Head, Cut::Slow),
            (Phase::Body, Cut::Slow),
            (Phase::Working, Cut::No),
            (Phase::Writing, Cut::Drop),
            (Phase::Lingering, Cut::Drop),
        ];
        let taken = cases.map(|(phase, _)| {
            let place = seats.take(A, 0, 50).unwrap();
            place.seat.enter(phase, 0, 100);
            place
        });
        seats.sweep(99);
        assert!(taken.iter().all(|place| place.seat.cut() == Cut::No));
        seats.sweep(100);
        for (place, (phase, cut)) in taken.iter().zip(cases) {
            assert_eq!((place.seat.phase(), place.seat.cut()), (phase, cut));
        }
        seats.sweep(100 + CUT_GRACE_MS);
        assert_eq!(taken[0].seat.cut(), Cut::Drop, "one that does not end is dropped");
    }

    #[test]
    fn a_newcomer_takes_the_place_of_the_longest_idle() {
        let seats = Seats::new(3, 0);
        let old = seats.take(A, 10, NEVER).unwrap();
        let oldest = seats.take(A, 5, NEVER).unwrap();
        let busy = seats.take(A, 0, NEVER).unwrap();
        busy.seat.enter(Phase::Working, 0, NEVER);
        let _own = seats.take(Peer::Control, 20, NEVER).expect("the control socket has its own room");
        let _new = seats.take(A, 20, NEVER).unwrap();
        assert_eq!((oldest.seat.cut(), old.seat.cut(), busy.seat.cut()), (Cut::Close, Cut::No, Cut::No));
        drop(oldest);
        let _newer = seats.take(B, 30, NEVER).unwrap();
        assert_eq!(old.seat.cut(), Cut::Close);
        assert_eq!(seats.count(), 5);
    }

    #[test]
    fn with_all_busy_a_newcomer_is_turned_away() {
        let seats = Seats::new(1, 0);
        let first = seats.take(A, 0, NEVER).unwrap();
        first.seat.enter(Phase::Head, 0, NEVER);
        assert!(seats.take(B, YOUNG_HEAD_MS - 1, NEVER).is_none());
        let second = seats.take(B, YOUNG_HEAD_MS, NEVER).expect("a dripping head gives way");
        drop(first);
        assert_eq!(seats.count(), 1);
        drop(second);
        assert!(seats.take(B, 0, NEVER).is_some());
    }

    #[test]
    fn one_address_has_its_own_limit() {
        let seats = Seats::new(10, 2);
        let _two = [seats.take(A, 0, NEVER).unwrap(), seats.take(A, 0, NEVER).unwrap()];
        assert!(seats.take(A, 0, NEVER).is_none());
        assert!(seats.take(B, 0, NEVER).is_some());
    }
}
