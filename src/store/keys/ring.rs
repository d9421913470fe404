//! Keys for readers: `keys.db` opened for reading, one key at a time. Must never keep a key in memory, so that one destroyed
//! opens nothing from then on. Invariant: a key that is not there is no error; its cells are gone.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

use crate::base::cell::Key;
use crate::base::digest::HashKey;
use crate::base::error::Result;
use crate::base::id::KeyRef;
use crate::store::keys::{Custody, blind_of, path, stored};
use crate::store::{open, root};

/// The keys of one data directory, for reading.
pub struct Keyring {
    path: PathBuf,
    root: Key,
    blind: HashKey,
    conn: Mutex<Option<Connection>>,
}

impl Keyring {
    pub(in crate::store) fn of(path: PathBuf, root: Key, blind: HashKey) -> Keyring {
        Keyring { path, root, blind, conn: Mutex::default() }
    }

    /// The keys of a data directory; `None` where there are none, or no root key is at hand: then cells stay sealed.
    /// Errors: `Config` for a root key that is none, `Storage`.
    pub fn open(data_dir: &Path, root_key_file: Option<&Path>) -> Result<Option<Keyring>> {
        let keys = path(data_dir);
        if !keys.exists() {
            return Ok(None);
        }
        let Some(root) = root::load(&root::path(data_dir, root_key_file))? else { return Ok(None) };
        let conn = open::reader(&keys)?;
        let blind = blind_of(&conn, &root)?;
        Ok(Some(Keyring { path: keys, root, blind, conn: Mutex::new(Some(conn)) }))
    }

    fn get(&self, key_ref: &KeyRef) -> Result<Option<Key>> {
        let mut conn = self.conn.lock().unwrap_or_else(PoisonError::into_inner);
        let conn = match &mut *conn {
            Some(conn) => conn,
            none => none.insert(open::reader(&self.path)?),
        };
        stored(conn, &self.root, key_ref)
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keyring({})", self.path.display())
    }
}

/// Who hands out keys within a transaction.
#[derive(Clone, Copy)]
pub(in crate::store) enum Keys<'c> {
    /// Nobody: cells stay sealed.
    None,
    /// A reader's ring.
    Ring(&'c Keyring),
    /// The pen, which also knows the keys of its own group.
    Pen(&'c RefCell<Custody>),
}

impl Keys<'_> {
    /// Is anybody there to ask?
    pub(in crate::store) fn any(&self) -> bool {
        !matches!(self, Keys::None)
    }

    /// The key of that reference; `None` if it was destroyed, or nobody is there. Errors: `Storage`.
    pub(in crate::store) fn get(&self, key_ref: &KeyRef) -> Result<Option<Key>> {
        match self {
            Keys::None => Ok(None),
            Keys::Ring(ring) => ring.get(key_ref),
            Keys::Pen(custody) => custody.borrow_mut().get(key_ref),
        }
    }

    /// What a value is found under without being readable: 128 bits keyed by the secret of blind indexes, bound to site and
    /// kind of value. `None` without keys.
    pub(in crate::store) fn blind(&self, site_id: i64, kind: &str, value: &str) -> Option<[u8; 16]> {
        let hash = |key: &HashKey| key.hmac(&[b"blind", &site_id.to_be_bytes(), kind.as_bytes(), value.as_bytes()]);
        let whole = match self {
            Keys::None => return None,
            Keys::Ring(ring) => hash(&ring.blind),
            Keys::Pen(custody) => hash(custody.borrow().blind()),
        };
        let mut short = [0; 16];
        short.copy_from_slice(&whole[..16]);
        Some(short)
    }
}
