//! `keys.db`: a random data key per visitor or identity with personal cells, wrapped by a random key which the root key wraps.
//! Owns that file on the pen's side. Must never hold a name of anybody, nor let a key out of the process unwrapped.
//! Invariants: a key is on disk before the first cell under it (keys commit first), and is destroyed after the last one
//! (rows commit first); what a crash leaves between the two is a key without a cell, never a cell without its key.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};

use crate::base::cell::{self, Key, Place};
use crate::base::digest::HashKey;
use crate::base::error::{Error, Result};
use crate::base::id::{Epoch, KeyRef};
use crate::store::{WriteTx, identities, open, personal};

mod copy;
mod ring;
mod start;

pub use self::copy::{Copied, RECOVERY_CONTEXT, copy_to, export_to, recover};
pub use self::ring::Keyring;
pub(in crate::store) use self::ring::Keys;
pub(in crate::store) use self::start::begin;

/// The newest schema of `keys.db`, whole.
const SCHEMA: &str = include_str!("../../keys.sql");
/// Its version (`PRAGMA user_version`).
const VERSION: i64 = 1;
/// Keys kept unwrapped in memory at the most.
const KNOWN_MAX: usize = 4096;

/// The file of keys of a data directory.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("keys.db")
}

/// Where keys come from and go to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyOptions {
    /// Personal fields are sealed: keys are there from the start on.
    pub seal: bool,
    /// The file of the root key; `None` = `root.key` in the data directory.
    pub root_key_file: Option<PathBuf>,
    /// The companion copy of `keys.db`: taken over where `keys.db` itself is gone or damaged.
    pub copy: Option<PathBuf>,
}

/// How far a rotation got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Keys wrapped anew in this step.
    pub rewrapped: usize,
    /// All are, and the key that wrapped them before is destroyed.
    pub done: bool,
}

/// The pen's hold on the keys. What a group mints or dooms is written around the group's own commit.
pub(in crate::store) struct Custody {
    path: PathBuf,
    conn: Connection,
    root: Key,
    blind: HashKey,
    /// Number and key under which data keys are wrapped now.
    wrap: (i64, Key),
    /// Of this group, not in the file yet.
    minted: HashMap<KeyRef, Key>,
    known: HashMap<KeyRef, Key>,
    of_visitor: HashMap<i64, KeyRef>,
    /// Visitors of whom this group deleted cells.
    emptied: HashSet<(i64, KeyRef)>,
    /// To be destroyed once this group is committed.
    dooming: HashSet<KeyRef>,
    /// To be destroyed: their last cell is gone.
    doomed: HashSet<KeyRef>,
    /// How far the rotation underway got.
    rotated: KeyRef,
    /// Erased bytes are still in the write-ahead log.
    stale_log: bool,
}

impl Custody {
    /// Takes the keys of an open file into custody. Errors: `Config` with code `root_key` if the root key does not open them.
    fn take(path: &Path, conn: Connection, root: Key) -> Result<Custody> {
        let (wrap_no, wrapped): (i64, Vec<u8>) = conn
            .query_row("SELECT wrap_no, wrapped FROM wrap_keys ORDER BY wrap_no DESC LIMIT 1", [], |r| {
                Ok((r.get(0)?, r.get(1)?))
            })
            .map_err(|e| open::error("reading keys.db", e))?;
        let wrap = unwrap_wrap(&root, wrap_no, &wrapped).map_err(|e| {
            Error::config(format!("the root key does not open {}", path.display())).code("root_key").source(e).remedy(
                "bring back the root key these keys were made with; or move keys.db away: then personal fields stored so far stay \
                 sealed for ever, and new ones are sealed under new keys",
            )
        })?;
        let blind = blind_of(&conn, &root)?;
        Ok(Custody {
            path: path.to_owned(),
            conn,
            root,
            blind,
            wrap: (wrap_no, wrap),
            minted: HashMap::new(),
            known: HashMap::new(),
            of_visitor: HashMap::new(),
            emptied: HashSet::new(),
            dooming: HashSet::new(),
            doomed: HashSet::new(),
            rotated: KeyRef([0; 16]),
            stale_log: false,
        })
    }

    /// The secret of blind indexes.
    pub(in crate::store) fn blind(&self) -> &HashKey {
        &self.blind
    }

    /// A ring of the same keys for readers.
    pub(in crate::store) fn ring(&self) -> Keyring {
        Keyring::of(self.path.clone(), self.root.clone(), self.blind.clone())
    }

    /// A fresh key; in the file before this group is committed.
    pub(in crate::store) fn mint(&mut self) -> (KeyRef, Key) {
        let (key_ref, key) = (KeyRef::mint(), Key::mint());
        self.minted.insert(key_ref, key.clone());
        (key_ref, key)
    }

    /// The key of that reference; `None` if it was destroyed or never was. Errors: `Storage`.
    pub(in crate::store) fn get(&mut self, key_ref: &KeyRef) -> Result<Option<Key>> {
        if let Some(key) = self.minted.get(key_ref).or_else(|| self.known.get(key_ref)) {
            return Ok(Some(key.clone()));
        }
        let Some(key) = lost_is_none(stored(&self.conn, &self.root, key_ref))? else { return Ok(None) };
        self.known.insert(*key_ref, key.clone());
        Ok(Some(key))
    }

    /// The key reference this visitor's newest cells are under, as far as it is known here.
    pub(in crate::store) fn of_visitor(&self, visitor_id: i64) -> Option<KeyRef> {
        self.of_visitor.get(&visitor_id).copied()
    }

    /// Remembers it.
    pub(in crate::store) fn belongs(&mut self, visitor_id: i64, key_ref: KeyRef) {
        self.of_visitor.insert(visitor_id, key_ref);
    }

    /// Cells of a visitor were deleted: if none is left at the group's end, their key goes too.
    pub(in crate::store) fn deleted(&mut self, visitor_id: i64, key_ref: KeyRef) {
        self.emptied.insert((visitor_id, key_ref));
    }

    /// This key is to be destroyed once the group is committed.
    pub(in crate::store) fn doom(&mut self, key_ref: KeyRef) {
        self.dooming.insert(key_ref);
    }

    /// Writes this group's keys, before the rows that need them. Errors: `Storage`.
    fn save_minted(&mut self) -> Result<()> {
        if self.minted.is_empty() {
            return Ok(());
        }
        let (wrap_no, wrap) = &self.wrap;
        change(&self.conn, "writing keys", || {
            let mut insert =
                self.conn.prepare_cached("INSERT INTO data_keys (key_ref, wrap_no, wrapped) VALUES (?1, ?2, ?3)")?;
            for (key_ref, key) in &self.minted {
                insert.execute((key_ref, wrap_no, wrap_data(wrap, key_ref, key)))?;
            }
            Ok(())
        })
    }

    /// After the group's commit: destroys what has no cell any more. An error is tried again with the next group.
    pub(in crate::store) fn committed(&mut self) {
        self.known.extend(self.minted.drain());
        if self.known.len() > KNOWN_MAX {
            self.known.clear();
            self.of_visitor.clear();
        }
        self.doomed.extend(self.dooming.drain());
        if (!self.doomed.is_empty() || self.stale_log)
            && let Err(error) = self.destroy_doomed()
        {
            log::warn!("destroying keys: {error}; it is tried again");
        }
    }

    /// After a rollback: keys of the group are forgotten; those already in the file are without a cell and swept later.
    pub(in crate::store) fn rolled_back(&mut self) {
        self.minted.clear();
        self.of_visitor.clear();
        self.emptied.clear();
        self.dooming.clear();
    }

    fn destroy_doomed(&mut self) -> Result<()> {
        if !self.doomed.is_empty() {
            delete(&self.conn, &self.doomed)?;
            let gone = std::mem::take(&mut self.doomed);
            self.known.retain(|key_ref, _| !gone.contains(key_ref));
            self.of_visitor.retain(|_, key_ref| !gone.contains(key_ref));
            self.stale_log = true;
        }
        self.stale_log = !empty_log(&self.conn)?;
        Ok(())
    }

    /// One step of a rotation: see [`rotate`].
    fn rotate(&mut self, rows: usize) -> Result<Rotation> {
        let failed = |e| open::error("wrapping keys anew", e);
        let count: i64 = self.conn.query_row("SELECT count(*) FROM wrap_keys", [], |r| r.get(0)).map_err(failed)?;
        if count == 1 {
            self.begin_rotation()?;
        }
        let newest = self.wrap.0;
        let step: Vec<KeyRef> = self
            .conn
            .prepare_cached(
                "SELECT key_ref FROM data_keys WHERE key_ref > ?1 AND wrap_no < ?2 ORDER BY key_ref LIMIT ?3",
            )
            .and_then(|mut s| {
                let rows = i64::try_from(rows).unwrap_or(i64::MAX);
                s.query_map((self.rotated, newest, rows), |r| r.get(0))?.collect()
            })
            .map_err(failed)?;
        let (mut keys, mut lost) = (Vec::new(), HashSet::new());
        for key_ref in &step {
            match lost_is_none(stored(&self.conn, &self.root, key_ref))? {
                Some(key) => keys.push((*key_ref, key)),
                None => drop(lost.insert(*key_ref)),
            }
        }
        delete(&self.conn, &lost)?;
        change(&self.conn, "wrapping keys anew", || {
            let mut update =
                self.conn.prepare_cached("UPDATE data_keys SET wrap_no = ?2, wrapped = ?3 WHERE key_ref = ?1")?;
            for (key_ref, key) in &keys {
                update.execute((key_ref, newest, wrap_data(&self.wrap.1, key_ref, key)))?;
            }
            Ok(())
        })?;
        self.rotated = step.last().copied().unwrap_or(self.rotated);
        if step.len() == rows {
            return Ok(Rotation { rewrapped: keys.len(), done: false });
        }
        change(&self.conn, "destroying a wrapping key", || {
            self.conn.execute("DELETE FROM wrap_keys WHERE wrap_no < ?1", [newest]).map(|_| ())
        })?;
        self.rotated = KeyRef([0; 16]);
        self.stale_log = !empty_log(&self.conn)?;
        Ok(Rotation { rewrapped: keys.len(), done: true })
    }

    fn begin_rotation(&mut self) -> Result<()> {
        let (number, wrap) = (self.wrap.0 + 1, Key::mint());
        change(&self.conn, "minting a wrapping key", || insert_wrap(&self.conn, &self.root, number, &wrap))?;
        self.wrap = (number, wrap);
        self.rotated = KeyRef([0; 16]);
        Ok(())
    }
}

/// A key whose row was damaged is lost: it stops nobody.
fn lost_is_none(found: Result<Option<Key>>) -> Result<Option<Key>> {
    match found {
        Err(error) if error.code == "sealed" => {
            log::warn!("a data key is damaged, what it sealed stays sealed: {error}");
            Ok(None)
        }
        other => other,
    }
}

/// What is said where something is to be sealed and nothing can be. It concerns one job, never the pen.
pub(in crate::store) fn no_keys() -> Error {
    Error::conflict("personal fields cannot be sealed: no keys are open")
        .code("no_keys")
        .remedy("write personal.store = \"sealed\" and restart")
}

/// Writes this group's keys, before the group itself is committed; called by the pen. Errors: `Storage`.
pub(in crate::store) fn before_commit(tx: &WriteTx<'_>, custody: &RefCell<Custody>) -> Result<()> {
    let emptied = std::mem::take(&mut custody.borrow_mut().emptied);
    for (visitor_id, key_ref) in emptied {
        if !personal::any_under(tx, visitor_id, key_ref)? {
            custody.borrow_mut().doom(key_ref);
        }
    }
    custody.borrow_mut().save_minted()
}

/// Destroys the keys of visitors and of the identities tied to them alone, once this group is committed: whatever cells of
/// theirs lie in a backup, a copy or a freed block of the disk open for nobody from then on. Rows are the caller's.
/// Errors: `Storage`.
pub fn destroy(tx: &WriteTx<'_>, visitor_ids: &[i64]) -> Result<usize> {
    let Some(custody) = tx.custody() else { return Ok(0) };
    let mut doomed = HashSet::new();
    for visitor_id in visitor_ids {
        doomed.extend(personal::keys_of_visitor(tx, *visitor_id)?);
        doomed.extend(identities::keys_of_visitor_alone(tx, *visitor_id)?);
    }
    let mut custody = custody.borrow_mut();
    doomed.iter().for_each(|key_ref| custody.doom(*key_ref));
    Ok(doomed.len())
}

/// One step of a rotation: at most `rows` surviving data keys are wrapped by a fresh wrapping key; when none is left under the
/// old one, that is destroyed in place. Call it until `done`: wrapped keys that an erasure left on freed blocks of the disk, or
/// in an older copy of `keys.db`, then open for nobody. A step that was cut off is taken up again. Errors: `Storage`.
pub fn rotate(tx: &WriteTx<'_>, rows: usize) -> Result<Rotation> {
    match tx.custody() {
        Some(custody) => custody.borrow_mut().rotate(rows.max(1)),
        None => Ok(Rotation { rewrapped: 0, done: true }),
    }
}

/// Keys in the file, and its counter of changes. Errors: `Storage`.
fn counted(conn: &Connection) -> Result<(i64, i64)> {
    conn.query_row("SELECT (SELECT count(*) FROM data_keys), changes FROM custody", [], |r| Ok((r.get(0)?, r.get(1)?)))
        .map_err(|e| open::error("counting keys", e))
}

/// Makes the file's tables and first keys.
fn make(conn: &Connection, root: &Key, epoch: Epoch) -> Result<()> {
    let blind = cell::seal(root, BLIND, Key::mint().bytes());
    let made = || -> rusqlite::Result<()> {
        conn.execute_batch("BEGIN IMMEDIATE")?;
        conn.execute_batch(SCHEMA)?;
        conn.pragma_update(None, "user_version", VERSION)?;
        conn.execute(
            "INSERT INTO custody (one, epoch, changes, blind) VALUES (1, ?1, 0, ?2)",
            (epoch.to_string(), blind),
        )?;
        insert_wrap(conn, root, 1, &Key::mint())?;
        conn.execute_batch("COMMIT")
    };
    made().map_err(|e| open::error("making keys.db", e))
}

/// The generation of the database these keys belong to, as text.
fn epoch_of(conn: &Connection) -> Result<String> {
    conn.query_row("SELECT epoch FROM custody", [], |r| r.get(0)).map_err(|e| open::error("reading keys.db", e))
}

/// From now on these keys belong to that generation.
fn set_epoch(conn: &Connection, epoch: Epoch) -> Result<()> {
    change(conn, "writing keys.db", || conn.execute("UPDATE custody SET epoch = ?1", [epoch.to_string()]).map(|_| ()))
}

/// The references of all keys.
fn all_refs(conn: &Connection) -> Result<Vec<KeyRef>> {
    conn.prepare("SELECT key_ref FROM data_keys")
        .and_then(|mut s| s.query_map([], |r| r.get(0))?.collect())
        .map_err(|e| open::error("reading keys.db", e))
}

fn delete(conn: &Connection, doomed: &HashSet<KeyRef>) -> Result<()> {
    if doomed.is_empty() {
        return Ok(());
    }
    change(conn, "destroying keys", || {
        let mut delete = conn.prepare_cached("DELETE FROM data_keys WHERE key_ref = ?1")?;
        doomed.iter().try_for_each(|key_ref| delete.execute([key_ref]).map(|_| ()))
    })
}

fn insert_wrap(conn: &Connection, root: &Key, number: i64, wrap: &Key) -> rusqlite::Result<()> {
    let wrapped = cell::seal(root, wrap_place(number), wrap.bytes());
    conn.execute("INSERT INTO wrap_keys (wrap_no, wrapped) VALUES (?1, ?2)", (number, wrapped)).map(|_| ())
}

/// One transaction of `keys.db`, counted as a change.
fn change(conn: &Connection, doing: &str, work: impl FnOnce() -> rusqlite::Result<()>) -> Result<()> {
    let run = || {
        conn.execute_batch("BEGIN IMMEDIATE")?;
        work()?;
        conn.execute("UPDATE custody SET changes = changes + 1", [])?;
        conn.execute_batch("COMMIT")
    };
    let done = run().map_err(|e| open::error(doing, e));
    if done.is_err() && !conn.is_autocommit() {
        conn.execute_batch("ROLLBACK").map_err(|e| open::error(doing, e))?;
    }
    done
}

/// Brings the log into the file and empties it, so that destroyed keys are nowhere; false if a reader was in the way.
fn empty_log(conn: &Connection) -> Result<bool> {
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get::<_, i64>(0))
        .map(|busy| busy == 0)
        .map_err(|e| open::error("emptying the log of keys.db", e))
}

const BLIND: Place<'static> = Place { table: "custody", column: "blind", row: 1 };

fn wrap_place(number: i64) -> Place<'static> {
    Place { table: "wrap_keys", column: "wrapped", row: number }
}

fn data_place(key_ref: &KeyRef) -> Place<'static> {
    let mut first = [0; 8];
    first.copy_from_slice(&key_ref.0[..8]);
    Place { table: "data_keys", column: "wrapped", row: i64::from_be_bytes(first) }
}

fn wrap_data(wrap: &Key, key_ref: &KeyRef, key: &Key) -> Vec<u8> {
    cell::seal(wrap, data_place(key_ref), key.bytes())
}

fn unwrap_wrap(root: &Key, number: i64, wrapped: &[u8]) -> Result<Key> {
    cell::open_key(root, wrap_place(number), wrapped)
}

fn blind_of(conn: &Connection, root: &Key) -> Result<HashKey> {
    let wrapped: Vec<u8> =
        conn.query_row("SELECT blind FROM custody", [], |r| r.get(0)).map_err(|e| open::error("reading keys.db", e))?;
    Ok(HashKey::new(cell::open_key(root, BLIND, &wrapped)?.bytes()))
}

/// The key of a reference as the file has it.
fn stored(conn: &Connection, root: &Key, key_ref: &KeyRef) -> Result<Option<Key>> {
    let found: Option<(i64, Vec<u8>, Vec<u8>)> = conn
        .prepare_cached(
            "SELECT d.wrap_no, d.wrapped, w.wrapped FROM data_keys d JOIN wrap_keys w ON w.wrap_no = d.wrap_no \
             WHERE d.key_ref = ?1",
        )
        .and_then(|mut s| s.query_row([key_ref], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).optional())
        .map_err(|e| open::error("reading a key", e))?;
    let Some((number, data, wrap)) = found else { return Ok(None) };
    let wrap = unwrap_wrap(root, number, &wrap)?;
    cell::open_key(&wrap, data_place(key_ref), &data).map(Some)
}

#[cfg(test)]
mod tests;
