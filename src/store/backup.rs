//! An online copy of the database, beside a daemon that goes on writing. Owns the copy until it is whole.
//! Must never overwrite a file, nor keep the write-ahead log growing without bound.
//! Invariant: a file under the target's name is one moment of the database, checked and on disk, its `rights.log` beside it.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::base::error::{Error, Kind, Result, io};
use crate::store::{erasures, files, open, rights_log, space};

/// How a backup goes about it.
#[derive(Clone, Copy, Debug)]
pub struct BackupOptions {
    /// Pages copied between two looks at the write-ahead log.
    pub pages_per_step: u16,
    /// Size of the write-ahead log at which the backup gives way, bytes.
    pub wal_bytes_max: u64,
    /// Times it begins at the most.
    pub attempts_max: u32,
}

impl Default for BackupOptions {
    fn default() -> Self {
        BackupOptions { pages_per_step: 512, wal_bytes_max: 64 << 20, attempts_max: 5 }
    }
}

/// What was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupReport {
    /// Length of the copy, bytes.
    pub bytes: u64,
    /// Its pages.
    pub pages: u64,
    /// Times it began.
    pub attempts: u32,
}

/// The log of rights that belongs to a backup.
pub fn rights_log_of(backup: &Path) -> PathBuf {
    files::beside(backup, ".rights.log")
}

/// Copies the database of `data_dir` to `to` (mode 0600, one file that needs no other) and `rights.log` to
/// `<to>.rights.log`. `progress` is told pages done and pages in all.
/// Errors: `NotFound` without a database, `Conflict` with code `exists` if a target is taken, `Busy` if it had to give way
/// too often, `Storage` with code `bad_copy` if the copy does not hold.
pub fn run(
    data_dir: &Path,
    to: &Path,
    options: BackupOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<BackupReport> {
    let from = open::database_path(data_dir);
    if !from.exists() {
        return Err(Error::not_found(format!("no database at {}", from.display())).code("no_database"));
    }
    let log = rights_log_of(to);
    if let Some(taken) = [to, &log].into_iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(Error::conflict(format!("{} is there already", taken.display()))
            .code("exists")
            .remedy("name a file that does not exist; a backup overwrites nothing"));
    }
    let part = files::beside(to, ".part");
    let done = attempts(data_dir, &part, options, progress).and_then(|(pages, attempts)| {
        finish(data_dir, &part, to, &log)?;
        Ok(BackupReport { bytes: files::length(to)?, pages, attempts })
    });
    if done.is_err()
        && let Err(left) = files::remove_database(&part)
    {
        log::warn!("half a backup stays behind: {left}");
    }
    done
}

/// Copies until one copy is whole; returns its pages and how often it began.
fn attempts(
    data_dir: &Path,
    part: &Path,
    options: BackupOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(u64, u32)> {
    let source = open::reader(&open::database_path(data_dir))?;
    let mut gives_way = true;
    for attempt in 1..=options.attempts_max {
        files::remove_database(part)?;
        File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(part)
            .map_err(|e| io(format_args!("making {}", part.display()), e))?;
        source
            .execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")
            .map_err(|e| open::error("beginning a backup", e))?;
        let erased = || gives_way && erasures::going_on(data_dir);
        let copied = copy(data_dir, &source, part, options, &erased, progress);
        source.execute_batch("ROLLBACK").map_err(|e| open::error("ending a backup's snapshot", e))?;
        if let Some(pages) = copied? {
            return Ok((pages, attempt));
        }
        log::info!("the backup gave way and begins again");
        if gives_way && erasures::going_on(data_dir) {
            files::remove_database(part)?; // it may hold whoever is being erased
            wait_for_erasure(data_dir);
            gives_way = false; // once: an erasure that waits for something else does not keep backups from being made
        }
        empty_wal(&source)?;
    }
    Err(Error::busy(format!("the backup had to give way {} times", options.attempts_max))
        .code("backup_busy")
        .remedy("try again when fewer events come in, or allow a larger write-ahead log"))
}

/// Longest wait for an erasure to end, in looks; and how long one is, ms.
const LOOKS_MAX: u32 = 200;
const LOOK_MS: u64 = 50;

/// Lets go of the snapshot until the erasure is done, or for some seconds.
fn wait_for_erasure(data_dir: &Path) {
    let (_open, never) = std::sync::mpsc::channel::<()>();
    for _ in 0..LOOKS_MAX {
        if !erasures::going_on(data_dir) {
            return;
        }
        // nothing is ever sent: this only waits
        let _waited = never.recv_timeout(std::time::Duration::from_millis(LOOK_MS));
    }
}

/// Brings the log into the database: most of it without keeping the writer waiting, the rest while it waits.
fn empty_wal(source: &Connection) -> Result<()> {
    ["PRAGMA wal_checkpoint(PASSIVE)", "PRAGMA wal_checkpoint(TRUNCATE)"]
        .into_iter()
        .try_for_each(|sql| source.query_row(sql, [], |_| Ok(())))
        .map_err(|e| open::error("emptying the write-ahead log", e))
}

/// One attempt inside the snapshot `source` holds; `None` if it gave way.
fn copy(
    data_dir: &Path,
    source: &Connection,
    part: &Path,
    options: BackupOptions,
    erased: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Option<u64>> {
    let failed = |e| open::error("copying the database", e);
    let mut target = Connection::open(part).map_err(failed)?;
    // a copy that is cut off is thrown away: it needs no journal, and one sync at its end
    target
        .pragma_update(None, "journal_mode", "OFF")
        .and_then(|()| target.pragma_update(None, "synchronous", "OFF"))
        .map_err(failed)?;
    let wal_at_start = space::wal_bytes(data_dir)?;
    let steps = Backup::new(source, &mut target).map_err(failed)?;
    let pages = loop {
        let step = steps.step(i32::from(options.pages_per_step.max(1))).map_err(failed)?;
        let at = steps.progress();
        let count = |n: i32| u64::try_from(n).unwrap_or(0);
        let all = count(at.pagecount);
        progress(all.saturating_sub(count(at.remaining)), all);
        match step {
            StepResult::Done => break all,
            StepResult::More => {}
            _ => return Err(Error::busy("copying the database: it is locked")),
        }
        if erased() {
            return Ok(None);
        }
        let wal = space::wal_bytes(data_dir)?;
        if wal > options.wal_bytes_max && wal > wal_at_start {
            return Ok(None);
        }
    };
    drop(steps);
    target.pragma_update(None, "journal_mode", "DELETE").map_err(failed)?;
    let word: String =
        target.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)).map_err(|e| open::error("checking the copy", e))?;
    if word != "ok" {
        return Err(Error::new(Kind::Storage, "bad_copy", format!("the copy is damaged: {word}"))
            .remedy("check the disk of the target, and the database with `wayside check`"));
    }
    target.close().map_err(|(_, e)| failed(e))?;
    Ok(Some(pages))
}

/// Puts the log beside the copy first: whoever finds the copy finds every right exercised before it.
fn finish(data_dir: &Path, part: &Path, to: &Path, log: &Path) -> Result<()> {
    let rights = rights_log::path(data_dir);
    let bytes = match std::fs::read(&rights) {
        Ok(bytes) => bytes,
        // an empty log says that no right was exercised; no log would say that nothing is known
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(io(format_args!("reading {}", rights.display()), e)),
    };
    files::write_whole(log, &bytes)?;
    let renamed = File::open(part).and_then(|file| file.sync_all()).and_then(|()| std::fs::rename(part, to));
    if let Err(error) = renamed {
        files::remove_database(log)?; // else the next attempt would find its target taken
        return Err(io(format_args!("writing {}", to.display()), error));
    }
    files::sync_dir(files::folder_of(to))
}

#[cfg(test)]
mod tests;
