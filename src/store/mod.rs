//! Floor 2: the SQLite file and everything beside it. The only floor that names rusqlite.
//! Owns `Store`, and `ReadTx` / `WriteTx`, the only things a table function accepts. Must never decide anything.
//! Invariant: one writer thread changes the file; whatever it answered is committed and on disk.

use std::cell::RefCell;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rusqlite::Connection;

use crate::base::digest::HashKey;
use crate::base::error::{Error, Result};
use crate::base::id::Seq;
use crate::base::time::{Clock, Millis};

pub mod again;
pub mod agents;
pub mod ages;
pub mod alarms;
pub mod attempts;
pub mod audit;
pub mod backup;
pub mod bases;
pub mod batches;
pub mod bound;
pub mod census;
pub mod checkpoints;
pub mod clashes;
pub mod codes;
pub mod completeness;
pub mod counts;
pub mod cursors;
pub mod damage;
pub mod decisions;
pub mod denials;
pub mod departed;
pub mod directives;
pub mod disclosure;
pub mod edge;
pub mod edge_answers;
pub mod epochs;
pub mod erasures;
pub mod events;
pub mod evidence;
pub mod files;
pub mod floors;
pub mod forks;
pub mod frozen;
pub mod grace;
pub mod hardware;
pub mod held;
pub mod holes;
pub mod identities;
pub mod image;
pub mod imports;
pub mod join_codes;
pub mod kept_directives;
pub mod keys;
pub mod known_edges;
pub mod leases;
pub mod ledger;
pub mod limits;
pub mod lines;
pub mod meta;
pub mod migrate;
pub mod notices;
pub mod onward;
pub mod open;
pub mod pages;
pub mod personal;
pub mod proofs;
pub mod queries;
pub mod reader;
pub mod received;
pub mod refusals;
pub mod refused;
pub mod requests;
pub mod restore;
pub mod restrictions;
pub mod rights_log;
pub mod root;
pub mod row;
pub mod sessions;
pub mod sites;
pub mod space;
pub mod stale;
pub(in crate::store) mod statement;
pub mod streams;
pub mod sums;
pub mod suppressed;
pub mod tallies;
pub mod tokens;
pub mod traces;
pub mod visitors;
pub mod visits;
pub mod vouches;
pub mod writer;

use self::edge::Edge;
use self::epochs::Reason;
use self::held::Held;
use self::keys::{Custody, KeyOptions, Keyring, Keys};
use self::reader::Readers;
use self::writer::Pen;

/// A read transaction: a snapshot of at most a few seconds (`reader.rs`).
pub struct ReadTx<'c> {
    conn: &'c Connection,
    keys: Keys<'c>,
}

impl<'c> ReadTx<'c> {
    pub(in crate::store) fn new(conn: &'c Connection) -> Self {
        ReadTx { conn, keys: Keys::None }
    }

    /// The same, opening personal cells.
    pub(in crate::store) fn with_keys(self, keys: Keys<'c>) -> Self {
        ReadTx { keys, ..self }
    }

    /// Who opens personal cells.
    pub(in crate::store) fn keys(&self) -> Keys<'c> {
        self.keys
    }

    pub(in crate::store) fn conn(&self) -> &'c Connection {
        self.conn
    }
}

/// The pen's transaction: one commit group. What it holds back (visitors, visits, pages, events, counters) is written
/// once at the group's end; [`WriteTx::settle`] writes it earlier for whoever must read it back by SQL.
pub struct WriteTx<'c> {
    read: ReadTx<'c>,
    held: &'c RefCell<Held>,
    window: &'c open::Window,
    identity: &'c Identity,
    now: Millis,
}

impl<'c> Deref for WriteTx<'c> {
    type Target = ReadTx<'c>;

    fn deref(&self) -> &ReadTx<'c> {
        &self.read
    }
}

impl WriteTx<'_> {
    /// The pen's time of this group.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// Who this database belongs to.
    pub fn identity(&self) -> &Identity {
        self.identity
    }

    /// The next number of the one counter.
    pub fn next_seq(&self) -> Seq {
        let mut held = self.held.borrow_mut();
        held.last_seq += 1;
        held.writes += 1;
        Seq(held.last_seq)
    }

    /// The newest number given out.
    pub fn last_seq(&self) -> Seq {
        Seq(self.held.borrow().last_seq)
    }

    /// Writes all that is held back, so that SQL sees it.
    pub fn settle(&self) -> Result<()> {
        held::settle(self)
    }

    pub(in crate::store) fn held(&self) -> &RefCell<Held> {
        self.held
    }

    /// Runs `work` while the connection lets what belongs to the ledger be removed; its triggers still ask why.
    pub(in crate::store) fn window<T>(&self, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let _open = self.window.open();
        work(self)
    }

    /// Rows that this connection has changed since it was opened; only differences mean anything.
    pub fn changes(&self) -> u64 {
        self.conn().total_changes()
    }

    /// Runs one cached statement that changes rows; returns how many.
    pub(in crate::store) fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize> {
        self.held.borrow_mut().writes += 1;
        self.conn().prepare_cached(sql).and_then(|mut s| s.execute(params)).map_err(|e| open::error("writing a row", e))
    }

    /// Runs one cached statement that changes rows, and returns something of each.
    pub(in crate::store) fn returning<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        self.held.borrow_mut().writes += 1;
        self.conn()
            .prepare_cached(sql)
            .and_then(|mut s| s.query_map(params, read)?.collect())
            .map_err(|e| open::error("writing rows", e))
    }

    /// The keys of personal cells; `None` where nothing is sealed.
    pub(in crate::store) fn custody(&self) -> Option<&'_ RefCell<Custody>> {
        match self.keys() {
            Keys::Pen(custody) => Some(custody),
            _ => None,
        }
    }
}

/// Who a database belongs to, and its secrets. Loaded at start; a new one takes its place when an epoch begins.
#[derive(Debug)]
pub struct Identity {
    /// The edge's keys and numbers.
    pub edge: edge::Edge,
    /// The row of the current epoch.
    pub epoch_id: i64,
    /// Key of content hashes, id hashes and visitor tokens.
    pub hash_key: HashKey,
}

/// Whom the database belongs to now.
#[derive(Debug)]
pub(in crate::store) struct Current(RwLock<Arc<Identity>>);

impl Current {
    fn get(&self) -> Arc<Identity> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, identity: Arc<Identity>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = identity;
    }
}

/// What the store needs to know at start.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Jobs that may wait for the pen; more are refused as busy.
    pub queue_max: usize,
    /// Events of one commit group at the most.
    pub group_max: usize,
    /// Read connections.
    pub readers: usize,
    /// Longest a reader may live, ms.
    pub read_ms_max: u64,
    /// WAL size at which a backup gives way, bytes.
    pub wal_bytes_max: u64,
    /// Keep edge id and keys on other hardware.
    pub pin: bool,
    /// Keys of personal cells.
    pub keys: KeyOptions,
}

impl StoreOptions {
    /// The defaults for a data directory.
    pub fn at(data_dir: impl Into<PathBuf>) -> Self {
        StoreOptions {
            data_dir: data_dir.into(),
            queue_max: 4096,
            group_max: 4096,
            readers: 4,
            read_ms_max: 5_000,
            wal_bytes_max: 64 << 20,
            pin: false,
            keys: KeyOptions { seal: true, ..KeyOptions::default() },
        }
    }
}

/// Things worth telling whoever started the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The database was made now.
    Fresh,
    /// It was damaged and is kept aside there; a fresh one serves, with this many rights replayed.
    Damaged {
        /// Where the damaged file lies.
        aside: PathBuf,
        /// Why it counts as damaged.
        why: String,
        /// Rights taken over from `rights.log`.
        rights: usize,
    },
    /// The machine is another one: a new edge id and epoch were minted.
    OtherHardware,
    /// `keys.db` was gone or damaged; its companion copy serves.
    KeysFromCopy {
        /// The copy.
        copy: PathBuf,
    },
    /// `keys.db` was gone or damaged, and no copy was there: these cells stay sealed unless it is brought back.
    KeysLost {
        /// Cells without a key.
        cells: i64,
        /// Where the damaged file lies.
        aside: Option<PathBuf>,
    },
    /// It was migrated from this schema version, after a snapshot there.
    Migrated {
        /// The version found.
        from: i64,
        /// The snapshot taken before.
        snapshot: PathBuf,
    },
}

/// The open database of one data directory, held by this process alone.
pub struct Store {
    pen: Pen,
    readers: Arc<Readers>,
    identity: Arc<Current>,
    /// Held while an epoch begins: one at a time.
    beginning: Mutex<()>,
    options: StoreOptions,
    notes: Vec<Note>,
    clock: Arc<dyn Clock>,
    pressure: AtomicU8,
    _lock: open::Lock,
}

impl Store {
    /// Opens (or makes) the database for writing and takes the lock.
    /// Errors: `Conflict` if another process holds it, `Config` for a newer schema, `Storage`.
    pub fn open(options: &StoreOptions, clock: Arc<dyn Clock>) -> Result<Store> {
        let lock = open::Lock::take(&options.data_dir)?;
        let unclean = damage::was_unclean(&options.data_dir);
        let (mut conn, identity, mut notes) = damage::open_or_replace(options, &*clock)?;
        let (custody, more) = keys::begin(options, &conn, &identity, unclean, clock.now())?;
        notes.extend(more);
        let window = open::guard(&mut conn)?;
        let identity = Arc::new(Current(RwLock::new(Arc::new(identity))));
        let path = open::database_path(&options.data_dir);
        let ring = custody.as_ref().map(Custody::ring);
        let readers = Arc::new(Readers::new(path, options.readers, options.read_ms_max).with_keys(ring));
        let pen = Pen::start((conn, window), custody, options, Arc::clone(&identity), Arc::clone(&clock))?;
        let pressure = AtomicU8::new(0);
        let (options, beginning) = (options.clone(), Mutex::new(()));
        Ok(Store { pen, readers, identity, beginning, options, notes, clock, pressure, _lock: lock })
    }

    /// What happened at start.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Who the database belongs to now.
    pub fn identity(&self) -> Arc<Identity> {
        self.identity.get()
    }

    /// Begins a new epoch of the same edge while the database serves: `edge.json` names it first, then one transaction of its
    /// own begins it and does `work`, which is told its row. Cut off between the two, the epoch begins at the next start,
    /// without `work`. Errors: `Config`, `Storage`; those of `work`.
    pub fn begin_epoch<T: Send + 'static>(
        &self,
        reason: Reason,
        mut work: impl FnMut(&WriteTx<'_>, i64) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let _one = self.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        let data_dir = self.options.data_dir.clone();
        let begun = Edge::load(&data_dir)?.is_some_and(|edge| edge.epoch != self.identity().edge.epoch);
        if !begun {
            Edge::new_epoch(&data_dir, reason, self.clock.now())?;
        }
        self.pen.call_alone(self.options.group_max, move |tx| {
            let edge = Edge::load(&data_dir)?.ok_or_else(|| Error::config("edge.json is gone").code("edge_files"))?;
            let epoch_id = epochs::go_on(tx, edge)?;
            work(tx, epoch_id)
        })
    }

    /// The one writer.
    pub fn pen(&self) -> &Pen {
        &self.pen
    }

    /// Now, by the clock it was opened with.
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.options.data_dir
    }

    /// The options it was opened with.
    pub fn options(&self) -> &StoreOptions {
        &self.options
    }

    /// Runs `work` on a snapshot. Errors: `Busy` if it lasts longer than `read_ms_max`; those of `work`.
    pub fn read<T>(&self, work: impl FnOnce(&ReadTx<'_>) -> Result<T>) -> Result<T> {
        self.readers.read(work)
    }

    /// Used disk budget, percent: set by upkeep, read by ingest.
    pub fn pressure(&self) -> u8 {
        self.pressure.load(Ordering::Relaxed)
    }

    /// Tells the used disk budget, percent.
    pub fn set_pressure(&self, percent: u8) {
        self.pressure.store(percent, Ordering::Relaxed);
    }

    /// Stops the pen: drains the queue, checkpoints, closes.
    pub fn close(self) -> Result<()> {
        self.pen.stop()?;
        damage::clean_stop(&self.options.data_dir)
    }
}

/// A database opened for reading only, beside whoever writes it.
pub struct Reading {
    readers: Readers,
    data_dir: PathBuf,
}

impl Reading {
    /// Opens an existing database read-only. Errors: `NotFound` without one, `Config` for another schema version.
    pub fn open(data_dir: &Path, read_ms_max: u64) -> Result<Reading> {
        let path = open::database_path(data_dir);
        if !path.exists() {
            return Err(Error::not_found(format!("no database at {}", path.display()))
                .code("no_database")
                .remedy("start `wayside serve` once, or name the data directory with --data-dir"));
        }
        let readers = Readers::new(path, 1, read_ms_max);
        readers.read(|tx| migrate::expect_current(tx.conn()))?;
        Ok(Reading { readers, data_dir: data_dir.to_owned() })
    }

    /// Opens personal cells too, with the root key of that file (`None` = `root.key` in the data directory). Where there is no
    /// such key, or it cannot be read, cells stay sealed.
    pub fn with_keys(mut self, root_key_file: Option<&Path>) -> Reading {
        let ring = Keyring::open(&self.data_dir, root_key_file).unwrap_or_else(|error| {
            log::warn!("{error}; personal fields stay sealed");
            None
        });
        self.readers = self.readers.with_keys(ring);
        self
    }

    /// Runs `work` on a snapshot.
    pub fn read<T>(&self, work: impl FnOnce(&ReadTx<'_>) -> Result<T>) -> Result<T> {
        self.readers.read(work)
    }

    /// Key of id hashes; `None` before the first start. Errors: `Config` where the edge's files are not whole.
    pub fn hash_key(&self) -> Result<Option<HashKey>> {
        Ok(edge::Edge::load(&self.data_dir)?.map(|edge| edge.hash_key))
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }
}
