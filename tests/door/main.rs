//! The door against raw bytes. Every wait here ends by the door's own doing (read until the end of the stream), never by
//! a pause.
#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod honest;
mod hostile;
mod support;
mod tls;
