//! The collector without its door: composed as it runs, on a directory and a clock that the test owns, fed with requests.
//! They stand on this floor because taking in and deciding are siblings that only the daemon may join.

mod audit;
mod carried;
mod choices;
mod clocks;
mod counts;
mod decisions;
mod erasure;
mod histories;
mod identity;
mod import;
mod outcomes;
mod pages;
mod records;
mod restriction;
mod rights;
mod spool;
mod support;
mod tokens;
mod visits;
