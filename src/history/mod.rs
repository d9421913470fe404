//! Floor 3: what was recorded, for reading: events, visits, counters, decisions, batches, totals; export and backup.
//! Must never write to the database, nor meet the writer: every answer comes from a snapshot of at most a few seconds.
//! Invariant: rows at or below a measure floor are not there, purposes at or below their floor are masked (contract 2),
//! and personal fields appear only where one visitor is looked at.
//!
//! | file | owns |
//! |---|---|
//! | `filter`, `cursor` | what is looked for, and where a list goes on |
//! | `view` | the shapes that are shown |
//! | `list` | events and visits, one or many |
//! | `counts` | counters, folded |
//! | `notices` | what people were told before they decided |
//! | `person` | what is known and decided of one visitor |
//! | `batches` | sealed batches |
//! | `audit` | what was done administratively |
//! | `status` | totals, and whether all is well |
//! | `export`, `backup` | rows as files, and the whole database as one |

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::base::digest::HashKey;
use crate::base::error::Result;
use crate::domain::consent::{PurposeBook, Purposes};
use crate::domain::visit::VisitOptions;
use crate::store::{ReadTx, Reading, Store, migrate, sites};

pub mod audit;
pub mod backup;
pub mod batches;
pub mod counts;
pub mod cursor;
pub mod export;
pub mod filter;
pub mod list;
pub mod notices;
pub mod person;
pub mod status;
pub mod view;

pub use self::filter::Filter;

/// Version of the database's schema that this program reads and writes.
pub const SCHEMA_VERSION: i64 = migrate::VERSION;

/// What reading needs to know of the configuration.
#[derive(Clone, Debug, Default)]
pub struct HistoryOptions {
    /// The operator's words for purposes, by site; without them a purpose of the operator reads `purpose_17`.
    pub books: Vec<(String, PurposeBook)>,
    /// When a visitor is considered idle or away.
    pub visits: VisitOptions,
    /// The file of the root key, which opens personal fields; `None` = `root.key` in the data directory.
    pub root_key_file: Option<PathBuf>,
}

/// Longest a snapshot of the file may live, in ms.
const READ_MS_MAX: u64 = 5_000;

enum Source {
    /// The file, beside whoever writes it.
    File(Box<Reading>),
    /// The store this process has open.
    Live(Arc<Store>),
}

/// What was recorded in one data directory.
pub struct History {
    source: Source,
    options: HistoryOptions,
}

/// A stretch of a list, and the cursor behind it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Goes on behind them; `None` at the end of the list.
    pub next: Option<String>,
}

impl History {
    /// Opens the database of a data directory for reading, whoever writes it.
    /// Errors: `NotFound` without one, `Config` for another schema version.
    pub fn open(data_dir: &Path) -> Result<History> {
        let reading = Reading::open(data_dir, READ_MS_MAX)?;
        Ok(History { source: Source::File(Box::new(reading)), options: HistoryOptions::default() })
    }

    /// Reads through the store this process has open.
    pub fn of(store: Arc<Store>) -> History {
        History { source: Source::Live(store), options: HistoryOptions::default() }
    }

    /// The same with what the configuration says.
    pub fn with(mut self, options: HistoryOptions) -> History {
        if let Source::File(reading) = self.source {
            self.source = Source::File(Box::new(reading.with_keys(options.root_key_file.as_deref())));
        }
        self.options = options;
        self
    }

    fn read<T>(&self, work: impl FnOnce(&ReadTx<'_>) -> Result<T>) -> Result<T> {
        match &self.source {
            Source::File(reading) => reading.read(work),
            Source::Live(store) => store.read(work),
        }
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        match &self.source {
            Source::File(reading) => reading.data_dir(),
            Source::Live(store) => store.data_dir(),
        }
    }

    /// The key under which a no is kept without the id; `None` before the first start.
    fn hash_key(&self) -> Result<Option<HashKey>> {
        match &self.source {
            Source::File(reading) => reading.hash_key(),
            Source::Live(store) => Ok(Some(store.identity().hash_key.clone())),
        }
    }

    /// The names of all sites that were ever configured, oldest first.
    pub fn sites(&self) -> Result<Vec<String>> {
        self.read(|tx| Ok(sites::all(tx)?.into_iter().map(|(_, name)| name).collect()))
    }

    /// The words of a set of purposes on a site.
    fn words(&self, site: &str, set: Purposes) -> Vec<String> {
        match self.options.books.iter().find(|(name, _)| name == site) {
            Some((_, book)) => set.names(book),
            None => set.names(&PurposeBook::default()),
        }
    }
}

#[cfg(test)]
mod tests;
