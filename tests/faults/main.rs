//! Faults: the whole daemon, as a process of its own, meets what goes wrong outside it. Must never look into the daemon
//! other than its door, its files and its exit. Invariant: what was acknowledged before a fault is there after it, once.
//!
//! | module        | fault                                                        |
//! |---------------|--------------------------------------------------------------|
//! | `kill`        | SIGKILL at random moments under load                         |
//! | `spool`       | SIGKILL within a backlog of spool files                      |
//! | `import`      | SIGKILL within `wayside import`                              |
//! | `disk`        | a full disk                                                  |
//! | `room`        | a full disk with a ballast, and a backlog that is taken      |
//! | `descriptors` | no file descriptor left                                      |
//! | `slow`        | thousands of silent clients, and slow ones                   |
//! | `link`        | a network link cut, silent, or leading to nobody             |
//! | `clock`       | the clock of the machine wrong by a day, and by a year       |
//!
//! | variable            | meaning                                                            |
//! |---------------------|--------------------------------------------------------------------|
//! | `WAYSIDE_FAULT_SEED`  | the random moments and the load again as in the run that printed it |
//! | `WAYSIDE_FAULT_KILLS` | how often the loaded daemon is killed; 50 without it                |
#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod book;
mod child;
mod client;
mod clock;
mod database;
mod descriptors;
mod disk;
mod import;
mod kill;
mod link;
mod load;
mod room;
mod slow;
mod spool;
mod support;
