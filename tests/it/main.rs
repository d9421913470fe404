//! The paths of data through a real daemon: real HTTP, a real control socket, real files, and the rows that come of it.
//! One module per path. Must never reach into the program: only what a client, an operator or a reader of the database sees.
#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod bad_heads;
mod bad_input;
mod carry;
mod central;
mod clock;
mod connect;
mod consent;
mod directives;
mod erase_bytes;
mod erase_sql;
mod events;
mod fates;
mod journey;
mod limits;
mod load;
mod notices;
mod operator;
mod personal;
mod prove;
mod pull;
mod pull_far;
mod puller;
mod records;
mod relays;
mod restart;
mod rights;
mod sdk;
mod sdk_rights;
mod sender;
mod spool;
mod subject;
mod support;
mod tokens;
mod upstream;
