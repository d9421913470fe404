//! Whoever asked for batches when there were none, and waits: held here without a thread each.
//! Must never hold more than fit, nor one past its time. Invariant: everybody is answered once, also when all stops.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::error::Result;
use crate::base::time::monotonic_ms;
use crate::forward::Bell;
use crate::forward::pull::{Answer, Ask, Page};

/// So many wait at once; the next one is answered at once.
const PARKED_MAX: usize = 256;
/// Longest time between two looks: batches are also sealed where no bell rings.
const TICK: Duration = Duration::from_secs(1);

/// One who waits.
pub(super) struct Parked {
    ask: Ask,
    /// On the clock that is never set.
    until_ms: i64,
    /// What it is told when its time is over.
    empty: Page,
    answer: Answer,
}

impl Parked {
    pub(super) fn new(ask: Ask, wait_s: u32, empty: Page, answer: Answer) -> Self {
        Parked { ask, until_ms: monotonic_ms() + i64::from(wait_s) * 1_000, empty, answer }
    }

    pub(super) fn answer_empty(self) {
        (self.answer)(Ok(self.empty));
    }
}

#[derive(Default)]
pub(super) struct Waiting {
    room: Mutex<Room>,
}

#[derive(Default)]
struct Room {
    parked: Vec<Parked>,
    open: bool,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does somebody look after those who wait?
    #[cfg(test)]
    pub(super) fn is_open(&self) -> bool {
        self.lock().open
    }

    /// Gives it back where there is no room, or nobody who would look after it.
    pub(super) fn park(&self, parked: Parked) -> Option<Parked> {
        let mut room = self.lock();
        if !room.open || room.parked.len() >= PARKED_MAX {
            return Some(parked);
        }
        room.parked.push(parked);
        None
    }

    /// Looks after those who wait until the bell says stop.
    pub(super) fn live(&self, bell: &Bell, look: &dyn Fn(&Ask) -> Result<Page>) {
        self.lock().open = true;
        let mut heard = 0;
        while !bell.stopped() {
            let soonest = self.lock().parked.iter().map(|parked| parked.until_ms).min();
            let left = soonest.map(|until| u64::try_from(until - monotonic_ms()).unwrap_or(0).max(1));
            heard = bell.wait(heard, left.map_or(TICK, Duration::from_millis).min(TICK));
            self.round(look);
        }
        self.close();
    }

    /// Answers whom there is something for, and whose time is over.
    fn round(&self, look: &dyn Fn(&Ask) -> Result<Page>) {
        let all = std::mem::take(&mut self.lock().parked);
        let mut left = Vec::new();
        for parked in all {
            match look(&parked.ask) {
                Ok(page) if page.batches.is_empty() && !page.more => {
                    if monotonic_ms() >= parked.until_ms {
                        (parked.answer)(Ok(page));
                    } else {
                        left.push(parked);
                    }
                }
                made => (parked.answer)(made),
            }
        }
        let mut room = self.lock();
        if room.open {
            room.parked.append(&mut left);
        }
        drop(room);
        left.into_iter().for_each(Parked::answer_empty); // closed meanwhile
    }

    /// Answers all, and takes nobody any more.
    pub(super) fn close(&self) {
        let mut room = self.lock();
        room.open = false;
        let all = std::mem::take(&mut room.parked);
        drop(room);
        all.into_iter().for_each(Parked::answer_empty);
    }
}
