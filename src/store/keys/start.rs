//! Keys at the start: opened, made, or taken over from their companion copy; keys without a cell are swept.
//! Must never mint a root key beside keys that hang on another, nor sweep beside a database that is not the one the keys belong
//! to: what looks forsaken there may be needed by a backup. Invariant: a start never makes a cell unreadable.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::base::cell::Key;
use crate::base::error::{Error, Result, io};
use crate::base::id::KeyRef;
use crate::base::time::{DAY_MS, Millis};
use crate::store::epochs::Reason;
use crate::store::keys::{Custody, VERSION, all_refs, copy, delete, epoch_of, make, path, set_epoch};
use crate::store::{Identity, Note, StoreOptions, damage, files, identities, migrate, open, personal, root};

/// Days after a restore or a damage in which an older database may still come back.
const OTHERS_DAYS: i64 = 31;

/// Opens the keys of a data directory. `unclean`: the last process did not stop in order. `None` where nothing is to be sealed
/// and never was. Errors: `Config` with code `root_key`, `Storage`.
pub(in crate::store) fn begin(
    options: &StoreOptions,
    main: &Connection,
    identity: &Identity,
    unclean: bool,
    now: Millis,
) -> Result<(Option<Custody>, Vec<Note>)> {
    let data_dir = &options.data_dir;
    let mut notes = Vec::new();
    let there = files::length(&path(data_dir))? > 0;
    let copy = options.keys.copy.as_deref().filter(|copy| copy.exists());
    if !there && !options.keys.seal && copy.is_none() {
        return Ok((None, notes));
    }
    let root = root_key(options, there || copy.is_some())?;
    let aside = match if there { look(&path(data_dir)) } else { Ok(()) } {
        Err(error) if error.code == "damaged" => {
            log::error!("{error}");
            Some(move_aside(data_dir, now)?)
        }
        other => other.map(|()| None)?,
    };
    if (!there || aside.is_some())
        && let Some(copy) = copy
    {
        copy::take_over(copy, &path(data_dir))?;
        notes.push(Note::KeysFromCopy { copy: copy.to_owned() });
    }
    let custody = open_or_make(data_dir, root, identity)?;
    if (!there || aside.is_some()) && notes.is_empty() {
        let cells = personal::count(main)?;
        if cells > 0 {
            notes.push(Note::KeysLost { cells, aside });
        }
    }
    if belongs(&custody.conn, data_dir, identity, now)? && unclean {
        let swept = sweep(&custody.conn, main)?;
        if swept > 0 {
            log::info!("{swept} keys without a cell were destroyed; the last stop was unclean");
        }
    }
    Ok((Some(custody), notes))
}

fn root_key(options: &StoreOptions, needed: bool) -> Result<Key> {
    let file = root::path(&options.data_dir, options.keys.root_key_file.as_deref());
    match root::load(&file)? {
        Some(key) => Ok(key),
        None if needed => Err(Error::config(format!("the root key {} is missing, and keys hang on it", file.display()))
            .code("root_key")
            .remedy(
                "bring it back from where you keep its copy; without it personal fields stored so far stay sealed for ever: then \
                 move keys.db and its companion copy away, and new keys are minted",
            )),
        None => {
            log::info!("minted the root key {}; keep a copy of it away from this machine", file.display());
            root::mint(&file)
        }
    }
}

fn open_or_make(data_dir: &Path, root: Key, identity: &Identity) -> Result<Custody> {
    let path = path(data_dir);
    let conn = open::writer(&path)?;
    if migrate::is_empty(&conn)? {
        make(&conn, &root, identity.edge.epoch)?;
        files::sync_dir(data_dir)?;
    }
    let version = migrate::version_of(&conn)?;
    if version > VERSION {
        return Err(Error::config(format!("keys.db has version {version}, this wayside knows {VERSION}"))
            .code("newer_schema")
            .remedy("install the wayside that wrote it, or a later one"));
    }
    Custody::take(&path, conn, root)
}

/// Is the file whole? Errors: code `damaged`.
fn look(path: &Path) -> Result<()> {
    let conn = open::reader(path)?;
    let word: String =
        conn.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)).map_err(|e| open::error("checking keys.db", e))?;
    if word == "ok" { Ok(()) } else { Err(Error::storage(format!("keys.db is damaged: {word}")).code("damaged")) }
}

fn move_aside(data_dir: &Path, now: Millis) -> Result<PathBuf> {
    let folder = data_dir.join(damage::DAMAGED).join(format!("keys-{}", files::stamp(now)));
    files::make_dir(&folder)?;
    for tail in files::DATABASE_TAILS {
        let from = files::beside(&path(data_dir), tail);
        if from.exists() {
            let to = folder.join(from.file_name().unwrap_or_default());
            std::fs::rename(&from, &to).map_err(|e| io(format_args!("moving {} away", from.display()), e))?;
        }
    }
    files::sync_dir(&folder)?;
    files::sync_dir(data_dir)?;
    Ok(folder)
}

/// Do the keys belong to this generation of the database, and to no other? Another machine or a fork carries the same rows on.
/// After a restore or a damage an older database may come back: its keys stay, until nobody can want them any more.
fn belongs(conn: &Connection, data_dir: &Path, identity: &Identity, now: Millis) -> Result<bool> {
    let edge = &identity.edge;
    if epoch_of(conn)? == edge.epoch.to_string() {
        return Ok(!anything_aside(data_dir)?);
    }
    let carried_on = match edge.reason {
        Reason::OtherHardware | Reason::Fork => {
            edge.previous.is_some_and(|before| epoch_of(conn).is_ok_and(|epoch| epoch == before.to_string()))
        }
        Reason::FirstStart | Reason::Restore | Reason::FreshAfterDamage => {
            now.since(edge.started_at) > OTHERS_DAYS * DAY_MS
        }
    };
    if !carried_on || anything_aside(data_dir)? {
        return Ok(false);
    }
    set_epoch(conn, edge.epoch)?;
    Ok(true)
}

fn anything_aside(data_dir: &Path) -> Result<bool> {
    let folder = data_dir.join(damage::DAMAGED);
    match std::fs::read_dir(&folder) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(io(format_args!("looking into {}", folder.display()), e)),
    }
}

/// Destroys keys that no cell is under: a group that was never committed minted them, or an erasure was cut off.
fn sweep(conn: &Connection, main: &Connection) -> Result<usize> {
    let used: HashSet<KeyRef> = personal::all_keys(main)?.into_iter().chain(identities::all_keys(main)?).collect();
    let forsaken: HashSet<KeyRef> = all_refs(conn)?.into_iter().filter(|key_ref| !used.contains(key_ref)).collect();
    delete(conn, &forsaken)?;
    Ok(forsaken.len())
}
