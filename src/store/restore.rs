//! A backup put in place of a database that is gone: same edge, new epoch, every right exercised since replayed first.
//! Must never overwrite a database, nor let one serve in which a no of the log does not hold. Invariant: the file gets its
//! name last, by one rename; a restore that was cut off leaves nothing that serves.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::Serialize;

use crate::base::error::{Error, Kind, Result, io};
use crate::base::time::Millis;
use crate::domain::body::EpochLossBody;
use crate::domain::ledger::EntryKind;
use crate::domain::line::LineKind;
use crate::store::edge::{Edge, Minted};
use crate::store::epochs::Reason;
use crate::store::hardware::Hardware;
use crate::store::rights_log::Entry;
use crate::store::{
    Identity, ages, backup, disclosure, epochs, files, frozen, ledger, meta, migrate, open, rights_log, visitors,
    writer,
};

/// What is to be restored, and to where.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// The copy, as `wayside backup` made it.
    pub backup: PathBuf,
    /// The data directory: no database may be in it.
    pub data_dir: PathBuf,
    /// Further logs of rights.
    pub logs: Vec<PathBuf>,
    /// Go without a log from after the backup: what was withdrawn since is not known then.
    pub without_log: bool,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The epoch that begins, 16 hex digits.
    pub epoch: String,
    /// The backup holds what was committed until then, RFC 3339.
    pub backup_at: String,
    /// Rights exercised since the backup that were replayed.
    pub rights: usize,
    /// Persons erased since the backup whose rows it still held: they are cut off, and are deleted next.
    pub erased: usize,
    /// Persons whose consent got a floor for want of a log from after the backup.
    pub floored: usize,
    /// A log from after the backup was found.
    pub log_found: bool,
}

/// Content of a `restore` entry of the ledger.
#[derive(Serialize)]
struct Detail<'a> {
    backup_at: &'a str,
    log: &'static str,
    rights: usize,
    erased: usize,
    floored: usize,
}

/// Puts a backup in place. Errors: `NotFound` without the backup, `Conflict` with code `exists` where a database is there,
/// with code `locked` beside a running daemon, `Storage` with code `bad_copy` if the backup does not hold, `Config` for a
/// newer schema.
pub fn run(options: &RestoreOptions, now: Millis) -> Result<Restored> {
    let data_dir = &options.data_dir;
    if !options.backup.is_file() {
        return Err(Error::not_found(format!("no backup at {}", options.backup.display())).code("no_backup"));
    }
    let _lock = open::Lock::take(data_dir)?;
    let place = open::database_path(data_dir);
    if let Some(there) = ["", "-wal"].iter().map(|tail| files::beside(&place, tail)).find(|path| path.exists()) {
        return Err(Error::conflict(format!("{} is there already", there.display())).code("exists").remedy(
            "a restore overwrites nothing: move the database and its -wal and -shm away first, or name another directory",
        ));
    }
    let (log, log_found) = union_of_logs(options)?;
    let part = files::beside(&place, ".restoring");
    let done = fill(options, &part, &log, log_found, now);
    if done.is_err() {
        files::remove_database(&part)?;
    }
    let restored = done?;
    // the union first: whoever finds the database finds every right in the log beside it
    rights_log::replace(data_dir, &log)?;
    std::fs::rename(&part, &place).map_err(|e| io(format_args!("writing {}", place.display()), e))?;
    files::sync_dir(data_dir)?;
    Ok(restored)
}

/// All entries of all logs, each once, in order of time; and whether one is from after the backup: the log beside a backup
/// was written with it and tells nothing of what came later.
fn union_of_logs(options: &RestoreOptions) -> Result<(Vec<Entry>, bool)> {
    let own = rights_log::path(&options.data_dir);
    let beside = backup::rights_log_of(&options.backup);
    let mut found = own.exists();
    let mut all = Vec::new();
    for path in [&own, &beside].into_iter().chain(&options.logs) {
        if options.logs.contains(path) {
            if !path.exists() {
                return Err(Error::not_found(format!("no log of rights at {}", path.display())).code("no_log"));
            }
            found = true;
        }
        for entry in rights_log::read_from(path)? {
            if !all.contains(&entry) {
                all.push(entry);
            }
        }
    }
    all.sort_by_key(|entry| entry.at);
    Ok((all, found))
}

/// Makes the database beside its place: copied, brought up, in a new epoch, with every right replayed.
fn fill(options: &RestoreOptions, part: &Path, log: &[Entry], log_found: bool, now: Millis) -> Result<Restored> {
    let data_dir = &options.data_dir;
    copy(&options.backup, part)?;
    let mut conn = open::writer(part)?;
    sound(&conn, &options.backup)?;
    migrate::bring_up(&conn, data_dir, now, |_| Err(bad_copy("it holds no table")))?;
    let window = open::guard(&mut conn)?;
    let (edge, minted) = Edge::load_or_mint(data_dir, &Hardware::read(Path::new("/")), false, now)?;
    let edge = match (minted, edge.reason) {
        (Minted::First, Reason::Restore) => edge,
        _ => Edge::new_epoch(data_dir, Reason::Restore, now)?,
    };
    let lost = epochs::all(&crate::store::ReadTx::new(&conn))?.last().map(|row| row.epoch);
    let epoch_id = epochs::begin(&conn, edge.id, edge.epoch, Reason::Restore, now)?;
    let (epoch, hash_key) = (edge.epoch.to_string(), edge.hash_key.clone());
    let identity = Identity { edge, epoch_id, hash_key };
    let blind = !log_found && !options.without_log;
    let restored = writer::alone(&conn, &window, &identity, now, |tx| {
        // a young database has not noted its newest time yet
        let seen = ages::newest(tx)?.unwrap_or(Millis(0)).max(ledger::head(tx)?.at);
        let backup_at = meta::newest_at(tx)?.max(seen).rfc3339();
        // what had not left then may have left since: whoever has it must hear of every right that is exercised
        disclosure::disclose(tx, &visitors::undisclosed(tx)?)?;
        let (rights, erased) = replay::run(tx, data_dir, log)?;
        let floored = if blind { replay::floor_all(tx)? } else { 0 };
        let word = match (log_found, options.without_log) {
            (true, _) => "found",
            (false, true) => "none, told to go without",
            (false, false) => "none",
        };
        let detail = Detail { backup_at: &backup_at, log: word, rights, erased, floored };
        ledger::note(tx, EntryKind::Restore, &detail)?;
        if let Some(lost) = lost {
            let (from, to, lost_epoch) = (Some(backup_at.clone()), now.rfc3339(), lost.to_string());
            let body = EpochLossBody { reason: "restore", lost_epoch, from, to, last_seq: None };
            frozen::note(tx, LineKind::Loss, &body)?;
        }
        Ok(Restored { epoch, backup_at, rights, erased, floored, log_found })
    })?;
    drop(window);
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .map_err(|e| open::error("emptying the log of a restored database", e))?;
    conn.close().map_err(|(_, e)| open::error("closing a restored database", e))?;
    Ok(restored)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    files::remove_database(to)?;
    let failed = |e| io(format_args!("copying {} to {}", from.display(), to.display()), e);
    let mut source = File::open(from).map_err(failed)?;
    let mut target = File::options().write(true).create_new(true).mode(0o600).open(to).map_err(failed)?;
    std::io::copy(&mut source, &mut target).and_then(|_| target.sync_all()).map_err(failed)
}

fn bad_copy(why: &str) -> Error {
    Error::new(Kind::Storage, "bad_copy", format!("the backup cannot be restored: {why}"))
        .remedy("take another backup; nothing was changed")
}

fn sound(conn: &Connection, backup: &Path) -> Result<()> {
    let word: rusqlite::Result<String> = conn.query_row("PRAGMA quick_check(1)", [], |r| r.get(0));
    match word {
        Ok(word) if word == "ok" => Ok(()),
        Ok(why) => Err(bad_copy(&format!("{}: {why}", backup.display()))),
        Err(e) => Err(bad_copy(&format!("{}: {e}", backup.display()))),
    }
}

mod replay;
#[cfg(test)]
mod tests;
