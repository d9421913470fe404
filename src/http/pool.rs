//! The threads of blocking handlers, `read-1` to `read-N`. Owns their bounded queue and their end.
//! Must never know what a job does. Invariants: the queue never grows over its limit; a panicking job costs no thread.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::base::error::{Result, io};

/// One piece of work.
pub type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of threads and a bounded queue.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
    waiting_max: usize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    idle: usize,
    stopping: bool,
}

impl Pool {
    /// Starts `threads` threads; at most `waiting_max` jobs wait for them. `Storage` where no thread can be had.
    pub fn start(threads: usize, waiting_max: usize) -> Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::default(), arrived: Condvar::new(), waiting_max });
        let pool = Pool { shared, threads: Mutex::default() };
        for number in 1..=threads {
            let shared = Arc::clone(&pool.shared);
            let thread = std::thread::Builder::new().name(format!("read-{number}")).spawn(move || shared.work());
            let thread = thread.map_err(|e| io("starting a read thread", e))?;
            pool.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(pool)
    }

    /// Hands over a job; gives it back when the queue is full or the pool stops.
    pub fn submit(&self, job: Job) -> std::result::Result<(), Job> {
        let mut queue = self.shared.lock();
        // Jobs an idle thread will take at once do not wait.
        if queue.stopping || queue.jobs.len() >= self.shared.waiting_max + queue.idle {
            return Err(job);
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.shared.arrived.notify_one();
        Ok(())
    }

    /// Would a job be refused now?
    pub fn is_full(&self) -> bool {
        let queue = self.shared.lock();
        queue.stopping || queue.jobs.len() >= self.shared.waiting_max + queue.idle
    }

    /// Takes no more jobs, does those that wait, ends the threads.
    pub fn stop(&self) {
        self.shared.lock().stopping = true;
        self.shared.arrived.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                log::error!("a read thread ended by a panic");
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                log::error!("a handler panicked; its request was answered with 500");
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.stopping {
                return None;
            }
            queue.idle += 1;
            queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_full_queue_gives_the_job_back() {
        let pool = Pool::start(1, 2).unwrap();
        let (go, gate) = channel::<()>();
        let (started, running) = channel();
        let first = pool.submit(Box::new(move || {
            started.send(()).unwrap();
            gate.recv().unwrap();
        }));
        assert!(first.is_ok());
        running.recv().unwrap();
        let (out, done) = channel();
        for n in 0..2 {
            let out = out.clone();
            assert!(pool.submit(Box::new(move || out.send(n).unwrap())).is_ok());
        }
        assert!(pool.is_full() && pool.submit(Box::new(|| ())).is_err());
        go.send(()).unwrap();
        pool.stop();
        assert_eq!(done.try_iter().collect::<Vec<_>>(), [0, 1]);
        assert!(pool.submit(Box::new(|| ())).is_err());
    }

    #[test]
    fn a_panicking_job_costs_no_thread() {
        let pool = Pool::start(1, 8).unwrap();
        let (out, done) = channel();
        assert!(pool.submit(Box::new(|| panic!("on purpose"))).is_ok());
        assert!(pool.submit(Box::new(move || out.send(1).unwrap())).is_ok());
        assert_eq!(done.recv().unwrap(), 1);
    }
}
