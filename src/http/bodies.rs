//! Bounds the memory that bodies take. Owns the count of body bytes held at one time.
//! Must never trust a declared length. Invariant: what was counted is given back when its `Hold` is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::error::{Error, Result};

/// A declared length reserves at most this much ahead; the rest grows with what really arrives, to this many times of it.
const RESERVE_BYTES_MAX: usize = 16_384;
const RESERVE_TIMES_MAX: usize = 4;

/// The count of all body bytes held, and its limit.
#[derive(Debug)]
pub struct Bodies {
    held: AtomicUsize,
    max: usize,
}

/// Bytes counted for one body; given back when dropped.
#[derive(Debug)]
pub struct Hold {
    all: Arc<Bodies>,
    bytes: usize,
}

/// A body while it arrives.
#[derive(Debug)]
pub struct Body {
    bytes: Vec<u8>,
    declared: usize,
    max: usize,
    hold: Hold,
}

impl Bodies {
    /// Room for `max` bytes.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Bodies { held: AtomicUsize::new(0), max })
    }

    /// A body of at most `max` bytes, of a declared length if there is one. `Invalid` (`too_large`) where that is too long.
    pub fn begin(self: &Arc<Self>, max: usize, declared: Option<u64>) -> Result<Body> {
        let declared = usize::try_from(declared.unwrap_or(0)).unwrap_or(usize::MAX);
        if declared > max {
            return Err(too_large(max));
        }
        let bytes = Vec::with_capacity(declared.min(RESERVE_BYTES_MAX));
        Ok(Body { bytes, declared, max, hold: Hold { all: Arc::clone(self), bytes: 0 } })
    }

    /// Bytes held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl Body {
    /// Adds what arrived. `Invalid` (`too_large`) over this body's limit, `Busy` over the limit of all.
    pub fn push(&mut self, part: &[u8]) -> Result<()> {
        if part.len() > self.max - self.bytes.len() {
            return Err(too_large(self.max));
        }
        let all = &self.hold.all;
        if all.held.fetch_add(part.len(), Ordering::Relaxed) + part.len() > all.max {
            all.held.fetch_sub(part.len(), Ordering::Relaxed);
            return Err(Error::busy("too many bodies are being received").remedy("try again in a second"));
        }
        self.hold.bytes += part.len();
        let arrived = self.bytes.len() + part.len();
        if arrived > self.bytes.capacity() {
            let all = self.declared.min(arrived.saturating_mul(RESERVE_TIMES_MAX));
            self.bytes.reserve(all.max(arrived) - self.bytes.len());
        }
        self.bytes.extend_from_slice(part);
        Ok(())
    }

    /// The bytes, and the hold to be kept as long as they are.
    pub fn finish(self) -> (Vec<u8>, Hold) {
        (self.bytes, self.hold)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.all.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn too_large(max: usize) -> Error {
    Error::invalid(format!("the body is longer than {max} bytes")).code("too_large").remedy("send it in smaller parts")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Kind;

    #[test]
    fn a_body_ends_at_its_limit() {
        let all = Bodies::new(1_000);
        let mut body = all.begin(4, None).unwrap();
        body.push(b"abcd").unwrap();
        assert_eq!(body.push(b"e").unwrap_err().code, "too_large");
        assert_eq!(body.finish().0, b"abcd");
        assert_eq!(all.held(), 0);
        assert!(all.begin(4, Some(4)).is_ok());
        assert_eq!(all.begin(4, Some(5)).unwrap_err().code, "too_large");
        assert_eq!(all.begin(4, Some(u64::MAX)).unwrap_err().code, "too_large");
    }

    #[test]
    fn a_declared_length_takes_no_memory() {
        let body = Bodies::new(1_000).begin(usize::MAX, Some(100_000_000_000)).unwrap();
        assert!(body.bytes.capacity() <= RESERVE_BYTES_MAX);
        let mut body = Bodies::new(1_000_000).begin(usize::MAX, Some(100_000_000_000)).unwrap();
        for _ in 0..50 {
            body.push(&[b'x'; 1_000]).unwrap();
        }
        assert!(body.bytes.capacity() <= 50_000 * RESERVE_TIMES_MAX);
        assert_eq!(body.finish().0, [b'x'; 50_000]);
    }

    #[test]
    fn all_bodies_share_one_limit() {
        let all = Bodies::new(10);
        let mut first = all.begin(100, None).unwrap();
        first.push(b"12345678").unwrap();
        let mut second = all.begin(100, None).unwrap();
        assert_eq!(second.push(b"123").unwrap_err().kind, Kind::Busy);
        second.push(b"12").unwrap();
        let (_, hold) = first.finish();
        assert_eq!(all.held(), 10);
        drop(hold);
        second.push(b"12345678").unwrap();
    }
}
