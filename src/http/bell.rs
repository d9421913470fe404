//! A bell that one task waits for and any thread may ring.
//! Must never know the runtime. Invariant: a ring before the wait is not lost; rings in between count as one.

use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// A bell.
#[derive(Debug, Default)]
pub struct Bell(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    rung: bool,
    waiter: Option<Waker>,
}

impl Bell {
    /// Rings.
    pub fn ring(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.rung = true;
        let waiter = state.waiter.take();
        drop(state);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    /// Waits for the next ring.
    pub fn rung(&self) -> impl Future<Output = ()> {
        std::future::poll_fn(|cx| self.poll(cx))
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut state.rung) {
            return Poll::Ready(());
        }
        state.waiter = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_before_the_wait_is_not_lost() {
        let (bell, cx) = (Bell::default(), Context::from_waker(Waker::noop()));
        assert!(bell.poll(&cx).is_pending());
        bell.ring();
        bell.ring();
        assert!(bell.poll(&cx).is_ready() && bell.poll(&cx).is_pending());
    }
}
