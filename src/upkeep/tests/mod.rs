//! Proofs of upkeep on real files, with clocks the tests own. Owns the little world they share (`world.rs`).
//! Must never know a sibling: rows are written through the store as ingest and consent write them.

mod chosen;
mod fold;
mod quota;
mod retention;
mod stale;
mod visits;
mod withdrawn;
mod world;
