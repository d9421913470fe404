//! Lines of batches that were sealed a moment ago, kept for the put that follows: reading, rendering and hashing them again
//! is most of what forwarding costs. Must never answer for a batch that may have changed: whoever takes lines from here asks
//! a snapshot of after the attempt whether a row of it went or a right was narrowed since. Invariant: what is kept is bounded
//! in bytes, belongs to no third party, and is handed out once.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::digest::Hash;
use crate::base::error::Result;
use crate::base::id::Seq;
use crate::domain::batch::Batch;
use crate::store::{ReadTx, decisions, erasures, holes};

/// Bytes of lines kept at the most: one batch of the usual size waits while the one before it is put and the next is sealed.
const BYTES_MAX: usize = 5 << 20;

/// The lines of a batch as they were hashed.
#[derive(Debug)]
pub(in crate::forward) struct Kept {
    pub(in crate::forward) digest: Hash,
    /// Each with its line end; none of them is a hole.
    pub(in crate::forward) ndjson: Vec<u8>,
    /// Rows between the first and the last line that have none.
    pub(in crate::forward) left_out: usize,
    /// The newest decision they were judged by.
    pub(in crate::forward) ledger: Seq,
}

impl Kept {
    /// Would rendering the batch from this snapshot give these lines, for whoever has a right to all of them?
    pub(in crate::forward) fn holds(&self, tx: &ReadTx<'_>, batch: &Batch) -> Result<bool> {
        let holes = holes::between(tx, batch.lane, batch.first_seq, batch.last_seq)?;
        // an erasure cuts somebody off at once, and writes down neither a decision nor, until it gets there, a hole
        Ok(holes.len() == self.left_out
            && !decisions::narrowed_since(tx, self.ledger)?
            && !erasures::any_under_way(tx)?)
    }
}

#[derive(Debug, Default)]
struct State {
    kept: VecDeque<Kept>,
    /// Nobody took anything for a while: sealing does not wait for anybody.
    idle: bool,
}

impl State {
    fn is_full(&self) -> bool {
        // the next one is about as long as the last
        let bytes: usize = self.kept.iter().map(|kept| kept.ndjson.len()).sum();
        bytes + self.kept.back().map_or(0, |kept| kept.ndjson.len()) > BYTES_MAX
    }
}

#[derive(Debug, Default)]
pub(in crate::forward) struct Fresh {
    state: Mutex<State>,
    taken: Condvar,
}

impl Fresh {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a batch; the oldest make room.
    pub(in crate::forward) fn keep(&self, kept: Kept) {
        let mut state = self.lock();
        while state.is_full() {
            state.kept.pop_front();
        }
        if kept.ndjson.len() <= BYTES_MAX {
            state.kept.push_back(kept);
        }
    }

    /// The lines of a batch, if they are here: they are not afterwards.
    pub(in crate::forward) fn take(&self, digest: &Hash) -> Option<Kept> {
        let mut state = self.lock();
        let at = state.kept.iter().position(|kept| kept.digest == *digest)?;
        state.idle = false;
        self.taken.notify_all();
        state.kept.remove(at)
    }

    /// Waits until there is room for another batch, at most so long; whoever takes none is not waited for again.
    pub(in crate::forward) fn room(&self, longest: Duration) {
        let waits = |state: &mut State| !state.idle && state.is_full();
        let waited = self.taken.wait_timeout_while(self.lock(), longest, waits);
        let (mut state, out) = waited.unwrap_or_else(PoisonError::into_inner);
        state.idle |= out.timed_out();
    }

    /// Whoever waits goes on.
    pub(in crate::forward) fn wake(&self) {
        self.lock().idle = true;
        self.taken.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(n: u8, bytes: usize) -> Kept {
        Kept { digest: [n; 32], ndjson: vec![b'x'; bytes], left_out: 0, ledger: Seq(0) }
    }

    #[test]
    fn what_is_kept_is_bounded_and_handed_out_once() {
        let fresh = Fresh::default();
        for n in 1..=3 {
            fresh.keep(kept(n, BYTES_MAX / 2));
        }
        assert!(fresh.take(&[1; 32]).is_none(), "the oldest made room");
        assert!(fresh.take(&[3; 32]).is_some() && fresh.take(&[3; 32]).is_none());
        fresh.keep(kept(4, BYTES_MAX + 1));
        assert!(fresh.take(&[4; 32]).is_none(), "longer than all that is kept");
    }

    #[test]
    fn sealing_waits_for_whoever_takes_and_for_nobody_else() {
        let fresh = Fresh::default();
        fresh.room(Duration::from_secs(3_600));
        fresh.keep(kept(1, BYTES_MAX / 2 + 1));
        std::thread::scope(|scope| {
            scope.spawn(|| fresh.room(Duration::from_secs(3_600)));
            assert!(fresh.take(&[1; 32]).is_some());
        });
        fresh.keep(kept(2, BYTES_MAX / 2 + 1));
        fresh.room(Duration::ZERO);
        fresh.room(Duration::from_secs(3_600)); // nobody took anything in all that time
    }
}
