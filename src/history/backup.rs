//! The whole database as one file, beside a daemon that goes on writing.
//! Must never know how it is copied (`store/backup.rs`). Invariant: a backup overwrites nothing.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::base::error::Result;
use crate::store::backup::{BackupOptions, rights_log_of, run};

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Backup {
    /// The copy.
    pub file: PathBuf,
    /// The log of rights that belongs to it.
    pub rights_log: PathBuf,
    /// Length of the copy, bytes.
    pub size_bytes: u64,
    /// Its pages.
    pub pages: u64,
    /// Times it had to begin.
    pub attempts: u32,
}

/// Copies the database of `data_dir` to `to`, with `rights.log` beside it. `progress` is told pages done and in all.
/// `wal_bytes_max`: length of the write-ahead log at which the backup gives way and begins again.
/// Errors: `NotFound` without a database, `Conflict` where `to` is there already, `Busy`, `Storage`.
pub fn backup(
    data_dir: &Path,
    to: &Path,
    wal_bytes_max: Option<u64>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Backup> {
    let mut options = BackupOptions::default();
    if let Some(bytes) = wal_bytes_max {
        options.wal_bytes_max = bytes;
    }
    let done = run(data_dir, to, options, progress)?;
    Ok(Backup {
        file: to.to_owned(),
        rights_log: rights_log_of(to),
        size_bytes: done.bytes,
        pages: done.pages,
        attempts: done.attempts,
    })
}
