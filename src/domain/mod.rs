//! Floor 1: the rules, as pure functions. No I/O, no clock, no globals; each outside parser is named in one file only.
//! Invariant: the same input gives the same answer on every machine.

pub mod accesslog;
pub mod address;
pub mod attributes;
pub mod batch;
pub mod body;
pub mod campaign;
pub mod checkpoint;
pub mod choice;
pub mod clock;
pub mod code;
pub mod consent;
pub mod correction;
pub mod count;
pub mod denied;
pub mod device;
pub mod erasure;
pub mod event;
pub mod evidence;
pub mod ledger;
pub mod line;
pub mod network;
pub mod notice;
pub mod personal;
pub mod place;
pub mod placement;
pub mod purpose;
pub mod referrer;
pub mod request;
pub mod site;
pub mod stored;
pub mod suffix;
pub mod token;
pub mod visit;
pub mod visitor;
pub mod withdrawal;
