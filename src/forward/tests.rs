//! Tests of forwarding: each on a real database file and a real folder, with a clock of its own.

mod away;
mod chain;
mod example;
mod files;
mod fork;
mod fresh;
mod promise;
mod reconcile;
mod refused;
mod restricted;
mod schedule;
pub(in crate::forward) mod support;
