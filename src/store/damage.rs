//! Opening the database at start: sound, fresh, or damaged and kept aside while a fresh one takes its place.
//! Must never delete anything, nor take a busy, locked or forbidden file for a damaged one.
//! Invariant: a fresh database holds its epoch and every no of `rights.log` before it is seen at all.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::base::error::{Error, Kind, Result, io};
use crate::base::time::{Clock, Millis, SECOND_MS, SystemClock};
use crate::store::damage::lost::LastWords;
use crate::store::edge::{Edge, Minted, RECORD};
use crate::store::epochs::Reason;
use crate::store::hardware::Hardware;
use crate::store::migrate::Raised;
use crate::store::{Identity, Note, StoreOptions, epochs, files, meta, migrate, open, rights_log};

mod lost;

/// Folder of databases kept aside, in the data directory.
pub(in crate::store) const DAMAGED: &str = "damaged";
/// There while a daemon runs; still there at start = the last stop was unclean.
const RUNNING: &str = "running";
/// Present from before a first start mints its edge until its schema is committed.
const FIRST_START: &str = "first-start";
/// A file below this size is checked at every start, a larger one only after an unclean stop.
const CHECKED_BELOW_BYTES: u64 = 64 << 20;
/// Longest a check may delay a start; what it has not seen by then counts as sound.
const CHECK_MS_MAX: i64 = 20 * SECOND_MS;
/// Virtual machine steps between two looks at the clock.
const CHECK_STEPS: i32 = 10_000;

/// Opens the database of a data directory, or a fresh one where it is gone or damaged; brings its schema up and its epoch
/// in. Errors: `Config` for a newer schema or incomplete edge files, `Busy`, `Storage`.
pub(in crate::store) fn open_or_replace(
    options: &StoreOptions,
    clock: &dyn Clock,
) -> Result<(Connection, Identity, Vec<Note>)> {
    open_on(options, &Hardware::read(Path::new("/")), clock.now())
}

/// The database is closed and all of it lies in its file: the next start needs no long check. Errors: `Storage`.
pub fn clean_stop(data_dir: &Path) -> Result<()> {
    remove_marker(data_dir, RUNNING)
}

/// Did the last process that held this directory end without closing it in order?
pub(in crate::store) fn was_unclean(data_dir: &Path) -> bool {
    data_dir.join(RUNNING).exists()
}

/// Has no start of this directory got as far as a database? Known by a file that is written before the edge is minted and
/// removed when the schema is committed: a first start that was cut short is no damage.
fn is_first_start(data_dir: &Path) -> Result<bool> {
    let marker = data_dir.join(FIRST_START);
    let untouched = !data_dir.join(RECORD).exists() && files::length(&open::database_path(data_dir))? == 0;
    if untouched && !marker.exists() {
        files::write_whole(&marker, b"")?;
    }
    Ok(marker.exists())
}

fn remove_marker(data_dir: &Path, name: &str) -> Result<()> {
    let marker = data_dir.join(name);
    match std::fs::remove_file(&marker) {
        Ok(()) => files::sync_dir(data_dir),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(io(format_args!("removing {}", marker.display()), e)),
    }
}

/// Marks the directory as in use. A full disk must not keep the collector from starting: it answers 507 until there is
/// space, and reads are served. Errors: `Storage`, but for a full disk.
fn mark_running(data_dir: &Path, now: Millis) -> Result<()> {
    match files::write_whole(&data_dir.join(RUNNING), format!("{now}\n").as_bytes()) {
        Err(error) if error.code == "disk_full" => {
            log::warn!("{error}; should wayside be killed, a database over 64 MiB is not checked at the next start");
            Ok(())
        }
        other => other,
    }
}

fn open_on(options: &StoreOptions, hardware: &Hardware, now: Millis) -> Result<(Connection, Identity, Vec<Note>)> {
    let data_dir = &options.data_dir;
    files::make_dir(data_dir)?;
    let first = is_first_start(data_dir)?;
    let (mut edge, minted) = Edge::load_or_mint(data_dir, hardware, options.pin, now)?;
    let mut notes = Vec::new();
    if minted == Minted::OtherHardware {
        notes.push(Note::OtherHardware);
    }
    let served = match what_is_wrong(data_dir, first || minted == Minted::First)? {
        None => match serve(data_dir, &edge, now, None) {
            Err(error) if error.code == "damaged" => Err(error.to_string()),
            other => Ok(other?),
        },
        Some(why) => Err(why),
    };
    let (conn, epoch_id) = match served {
        Ok(served) => {
            match served.raised {
                Raised::Current => {}
                Raised::Fresh => notes.push(Note::Fresh),
                Raised::Migrated(done) => notes.push(Note::Migrated { from: done.from, snapshot: done.snapshot }),
            }
            (served.conn, served.epoch_id)
        }
        Err(why) => {
            let known = lost::words(&open::database_path(data_dir));
            let aside = move_aside(data_dir, now)?;
            edge = Edge::new_epoch(data_dir, Reason::FreshAfterDamage, now)?;
            let served = serve(data_dir, &edge, now, Some(known))?;
            notes.push(Note::Damaged { aside, why, rights: served.rights });
            (served.conn, served.epoch_id)
        }
    };
    mark_running(data_dir, now)?;
    remove_marker(data_dir, FIRST_START)?;
    let hash_key = edge.hash_key.clone();
    Ok((conn, Identity { edge, epoch_id, hash_key }, notes))
}

struct Served {
    conn: Connection,
    raised: Raised,
    epoch_id: i64,
    rights: usize,
}

/// Opens the file for writing, with the newest schema and the edge's epoch in it. With the last words of the database it
/// takes the place of, a fresh one begins with the line that tells the loss.
fn serve(data_dir: &Path, edge: &Edge, now: Millis, known: Option<LastWords>) -> Result<Served> {
    let conn = open::writer(&open::database_path(data_dir))?;
    let begin = |conn: &Connection| epochs::begin(conn, edge.id, edge.epoch, edge.reason, edge.started_at);
    let mut rights = 0;
    let raised = migrate::bring_up(&conn, data_dir, now, |conn| {
        let epoch_id = begin(conn)?;
        rights = rights_log::replay(conn, data_dir)?;
        known.map_or(Ok(()), |known| lost::tell(conn, epoch_id, edge.previous, known, now))
    })?;
    let epoch_id = match epochs::current_id(&conn, edge.epoch)? {
        Some(id) => id,
        None => begin(&conn)?,
    };
    Ok(Served { conn, raised, epoch_id, rights })
}

/// Why the database there cannot serve; `None` if it can, or if there never was one.
fn what_is_wrong(data_dir: &Path, first: bool) -> Result<Option<String>> {
    let path = open::database_path(data_dir);
    let bytes = files::length(&path)?;
    if bytes == 0 {
        // an edge that is not of this start had a database: its numbers must not be given out a second time
        let log_left = files::length(&files::beside(&path, "-wal"))? > 0;
        let gone = !first || (log_left && !data_dir.join(FIRST_START).exists());
        return Ok(gone.then(|| format!("{} is {}", path.display(), if path.exists() { "empty" } else { "gone" })));
    }
    let thorough = bytes < CHECKED_BELOW_BYTES || data_dir.join(RUNNING).exists();
    match probe(&path, thorough, CHECK_MS_MAX) {
        Err(error) if error.code == "no_tables" && first => Ok(None),
        Err(error) if matches!(error.code, "damaged" | "no_tables") => Ok(Some(error.to_string())),
        Err(error) => Err(error),
        Ok(()) => Ok(None),
    }
}

/// A connection of its own that leaves file and log as they are.
fn look(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|e| open::error("opening the database", e))?;
    // closing must not carry the log into a file that may be kept as evidence
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .and_then(|_| conn.busy_timeout(Duration::from_secs(1)))
        .and_then(|()| conn.pragma_update(None, "query_only", true))
        .map_err(|e| open::error("looking at the database", e))?;
    Ok(conn)
}

/// Looks at a database through a connection of its own. Errors: code `damaged` if it is; others if it cannot be looked at.
fn probe(path: &Path, thorough: bool, check_ms_max: i64) -> Result<()> {
    let mut conn = look(path)?;
    let version = migrate::version_of(&conn)?;
    if version > migrate::VERSION {
        return Ok(()); // its own refusal is clearer
    }
    if migrate::is_empty(&conn)? {
        return Err(damaged("it holds no table").code("no_tables"));
    }
    if version == migrate::VERSION {
        let missing = migrate::missing_tables(&conn)?;
        if !missing.is_empty() {
            return Err(damaged(&format!("tables are missing: {}", missing.join(", "))));
        }
        if !meta::has_counter(&conn)? {
            return Err(damaged("the row of the counter is missing"));
        }
    }
    if thorough { quick_check(&mut conn, check_ms_max) } else { Ok(()) }
}

fn damaged(why: &str) -> Error {
    Error::new(Kind::Storage, "damaged", format!("the database is damaged: {why}"))
}

/// From now on whatever the connection does ends after so long.
fn bounded(conn: &mut Connection, ms_max: i64) -> Result<()> {
    // real time, whatever clock the store was given: what is bounded is the waiting of a person
    let deadline = SystemClock.now().plus(ms_max);
    conn.progress_handler(CHECK_STEPS, Some(move || SystemClock.now() >= deadline))
        .map_err(|e| open::error("bounding the check of the database", e))
}

fn quick_check(conn: &mut Connection, ms_max: i64) -> Result<()> {
    bounded(conn, ms_max)?;
    let found: rusqlite::Result<String> = conn.query_row("PRAGMA quick_check(1)", [], |r| r.get(0));
    match found {
        Ok(word) if word == "ok" => Ok(()),
        Ok(why) => Err(damaged(&why)),
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            log::warn!(
                "the check of the database took longer than {ms_max} ms and was ended; nothing was found by then"
            );
            Ok(())
        }
        Err(e) => Err(open::error("checking the database", e)),
    }
}

/// Moves the database and what belongs to it to `<data>/damaged/<time>/`, as it is; returns where it lies then.
fn move_aside(data_dir: &Path, now: Millis) -> Result<PathBuf> {
    let path = open::database_path(data_dir);
    let there: Vec<PathBuf> =
        files::DATABASE_TAILS.iter().map(|tail| files::beside(&path, tail)).filter(|p| p.exists()).collect();
    if there.is_empty() {
        return Ok(path);
    }
    let parent = data_dir.join(DAMAGED);
    let stamp = files::stamp(now);
    let folder = (1u32..)
        .map(|n| parent.join(if n == 1 { stamp.clone() } else { format!("{stamp}-{n}") }))
        .find(|folder| !folder.exists())
        .unwrap_or_else(|| parent.clone());
    files::make_dir(&folder)?;
    for file in there {
        let name = file.file_name().unwrap_or_default();
        std::fs::rename(&file, folder.join(name))
            .map_err(|e| io(format_args!("moving {} to {}", file.display(), folder.display()), e))?;
    }
    for dir in [folder.as_path(), &parent, data_dir] {
        files::sync_dir(dir)?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests;
