//! Options of receiving other edges' batches. Owns the shape and the defaults; must never open anything.
//! Invariant: off unless the operator says so.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Who may send batches here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approve {
    /// Whoever shows a code that holds (`wayside edge code`).
    #[default]
    Code,
    /// As `code`, and then the operator says yes to each: `wayside edge approve`.
    Manual,
}

/// Receiving batches of other edges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelayOptions {
    /// Take batches of other edges. Beyond this machine only over TLS (`[door] tls_cert_file`) or from a trusted proxy.
    pub enabled: bool,
    /// Who may send: `code` or `manual`.
    pub approve: Approve,
    /// Longest compressed batch that is taken, in bytes; 413 above, and the edge sends it in parts.
    pub batch_bytes_max: u64,
    /// The secret key that sticks for this wayside are encrypted to, as `wayside carry key` made it; none = only plain ones are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carry_key_file: Option<PathBuf>,
    /// Edges that may be known at one time.
    pub edges_max: u32,
    /// Names of targets that what was received goes on to; none = it stays here until it is pulled or read.
    pub onward: Vec<String>,
    /// Days a batch stays here after every target in `onward`, and every required target of kind `pull`, has acknowledged it.
    /// Without any in `onward` it stays.
    pub keep_days: u32,
    /// Days the digest of a batch is remembered after its files are gone, so that another one under its key is known for one.
    pub remember_days: u32,
}

impl Default for RelayOptions {
    fn default() -> Self {
        RelayOptions {
            enabled: false,
            approve: Approve::Code,
            batch_bytes_max: 8_388_608,
            carry_key_file: None,
            edges_max: 1_000,
            onward: Vec::new(),
            keep_days: 7,
            remember_days: 365,
        }
    }
}
