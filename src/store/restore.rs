//! A backup put in place of a database that is gone: same edge, new epoch, every right exercised since replayed first.
//! Must never overwrite a database, nor let one serve in which a no of the log does not hold. Invariant: the file gets its
//! name last, by one rename; a restore that was cut off leaves nothing that serves.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::Serialize;

use crate::base::digest::Hash;
use crate::base::error::{Error, Kind, Result, io};
use crate::base::id::{Seq, VisitorRef};
use crate::base::time::Millis;
use crate::domain::body::EpochLossBody;
use crate::domain::consent::{Denial, Purposes};
use crate::domain::erasure::{Marks, Step};
use crate::domain::ledger::EntryKind;
use crate::domain::line::LineKind;
use crate::domain::visitor::{Visitor, id_hash};
use crate::store::edge::{Edge, Minted};
use crate::store::epochs::Reason;
use crate::store::erasures::{ErasureRow, Whose};
use crate::store::hardware::Hardware;
use crate::store::rights_log::{ERASE, Entry};
use crate::store::{
    Identity, WriteTx, backup, decisions, denials, epochs, erasures, files, floors, frozen, ledger, meta, migrate,
    open, refusals, rights_log, sites, suppressed, visitors, writer,
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
        let backup_at = meta::newest_at(tx)?.rfc3339();
        let (rights, erased) = replay(tx, data_dir, log)?;
        let floored = if blind { floor_all(tx)? } else { 0 };
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

/// Who is behind a reference, or a keyed hash of an id.
struct People {
    by_ref: HashMap<VisitorRef, i64>,
    by_hash: HashMap<Hash, i64>,
}

impl People {
    fn of(tx: &WriteTx<'_>) -> Result<People> {
        let names: HashMap<i64, String> = sites::all(tx)?.into_iter().collect();
        let (mut by_ref, mut by_hash) = (HashMap::new(), HashMap::new());
        let key = &tx.identity().hash_key;
        visitors::each(tx, |id, site_id, visitor, visitor_ref| {
            by_ref.insert(visitor_ref, id);
            if let Some(site) = names.get(&site_id) {
                by_hash.insert(id_hash(key, site, &visitor), id);
            }
        })?;
        Ok(People { by_ref, by_hash })
    }

    fn meant(&self, entry: &Entry) -> Option<i64> {
        self.by_ref.get(&entry.visitor_ref).or_else(|| self.by_hash.get(&entry.id_hash)).copied()
    }
}

/// Takes over what the backup does not know yet; returns how many rights, and how many erased persons it still held.
fn replay(tx: &WriteTx<'_>, data_dir: &Path, log: &[Entry]) -> Result<(usize, usize)> {
    let people = People::of(tx)?;
    let (mut rights, mut erased) = (0, HashSet::new());
    for entry in log {
        if entry.action != ERASE && known(tx, entry)? {
            continue;
        }
        let visitor = match people.meant(entry) {
            Some(id) => visitors::get(tx, id)?,
            None => None,
        };
        if entry.action == ERASE {
            suppressed::put(tx, &entry.id_hash, entry.at)?;
            refusals::put(tx, &entry.id_hash, Purposes::ALL, entry.at, Seq(0))?;
            // one of a later time began anew, under the same id
            if let Some(visitor) = visitor.filter(|v| v.first_seen <= entry.at && !erased.contains(&v.id)) {
                erase(tx, data_dir, &visitor, entry)?;
                erased.insert(visitor.id);
                rights += 1;
            }
            continue;
        }
        if !entry.purposes.is_none() {
            refusals::put(tx, &entry.id_hash, entry.purposes, entry.at, Seq(0))?;
        }
        if let Some(visitor) = visitor.filter(|v| !erased.contains(&v.id)) {
            take_away(tx, visitor, entry.purposes, entry.at)?;
        }
        rights += 1;
    }
    Ok((rights, erased.len()))
}

/// Was it exercised before the backup? Then what followed it is in the backup too.
fn known(tx: &WriteTx<'_>, entry: &Entry) -> Result<bool> {
    let all = decisions::of_subject(tx, entry.visitor_ref, i64::MAX)?;
    Ok(all.iter().any(|row| row.received == entry.at && row.action == entry.action))
}

/// Nothing of the person is read or leaves any more; the pipeline deletes the rows at the next start.
fn erase(tx: &WriteTx<'_>, data_dir: &Path, visitor: &Visitor, entry: &Entry) -> Result<()> {
    let mut marks = Marks::default();
    marks.add(visitor.key.to_string().as_bytes());
    marks.add(visitor.key.bytes());
    visitors::cut_off(tx, visitor.id)?;
    let id = crate::base::id::mint_uuid(tx.now());
    let row = ErasureRow {
        id,
        request_id: None,
        site_id: visitor.site_id,
        subject_ref: visitor.visitor_ref,
        whose: Whose::Visitor(visitor.id),
        step: Step::Rows,
        marks: Some(erasures::seal_marks(data_dir, &id, &marks)?),
        opened: entry.at,
        opened_by: "restore".to_owned(),
        done: None,
        row_count: 0,
        told_seq: None,
        waiting: None,
        unreachable: None,
        result: None,
        result_digest: None,
    };
    erasures::insert(tx, &row)
}

/// A no becomes a floor over all restored rows.
fn take_away(tx: &WriteTx<'_>, mut visitor: Visitor, purposes: Purposes, at: Millis) -> Result<()> {
    let floor = tx.last_seq();
    let fresh = purposes.without(visitor.standing.denied);
    visitor.standing.granted = visitor.standing.granted.without(purposes);
    visitor.standing.denied = visitor.standing.denied.with(purposes);
    visitor.floors = visitor.floors.with(purposes);
    if purposes.has(Purposes::MEASURE) {
        visitor.measure_floor = visitor.measure_floor.max(floor);
    }
    let id = visitor.id;
    visitors::keep_row(tx, &visitor)?;
    floors::raise(tx, id, purposes, floor)?;
    if !fresh.is_none() {
        denials::insert(tx, id, &Denial { purposes: fresh, from: at, until: None })?;
    }
    Ok(())
}

/// Nobody knows what was withdrawn since: every right that rests on consent gets a floor, until it is given anew.
fn floor_all(tx: &WriteTx<'_>) -> Result<usize> {
    let mut ids = Vec::new();
    visitors::each(tx, |id, _, _, _| ids.push(id))?;
    let mut floored = 0;
    for id in ids {
        let Some(visitor) = visitors::get(tx, id)?.filter(|v| !v.standing.granted.is_none()) else { continue };
        let granted = visitor.standing.granted;
        take_away(tx, visitor, granted, tx.now())?;
        floored += 1;
    }
    Ok(floored)
}

#[cfg(test)]
mod tests;
