//! Tests of carrying: real databases, real folders as sticks, and everything that befalls a stick on its way.

mod faults;
mod journey;
mod support;
