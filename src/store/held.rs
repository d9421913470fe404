//! What the pen holds back within a commit group, and keeps between groups as a cache.
//! Owns the order of writing (parents before children); must never decide what is stored.
//! Invariant: after `settle` the file holds everything; after a rollback nothing is held.

use std::sync::Arc;

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::store::{Identity, WriteTx, counts, events, ledger, pages, rights_log, visitors, visits};

/// Entries of a cache at which it is emptied after a group, to bound memory.
const CACHE_MAX: usize = 4096;

/// Everything the pen holds.
#[derive(Default)]
pub struct Held {
    pub(in crate::store) last_seq: i64,
    /// Raised by every change, so that the pen knows whether a failed job had begun to write.
    pub(in crate::store) writes: u64,
    pub(in crate::store) visitors: visitors::Cache,
    pub(in crate::store) visits: visits::Cache,
    pub(in crate::store) pages: pages::Pending,
    pub(in crate::store) events: events::Pending,
    pub(in crate::store) counts: counts::Pending,
    pub(in crate::store) agents: std::collections::HashMap<String, (i64, Seq)>,
    /// The table of refusals is empty; `None` = not looked yet.
    pub(in crate::store) no_refusals: Option<bool>,
    /// The newest entry of the ledger; `None` = not looked yet.
    pub(in crate::store) ledger: Option<ledger::Head>,
    /// When anybody was erased last; `None` = not looked yet.
    pub(in crate::store) newest_erasure: Option<Option<crate::base::time::Millis>>,
    pub(in crate::store) rights: Vec<rights_log::Entry>,
    /// Whom the pen serves for once this group is committed: an epoch begins.
    pub(in crate::store) next_identity: Option<Arc<Identity>>,
    /// The newest time known that bears on choices; `None` = not looked yet.
    pub(in crate::store) choice_time: Option<crate::base::time::Millis>,
    /// Events whose id is still looked for before they are stored (`events.rs`); 0 = storing them tells.
    pub(in crate::store) looking: u32,
    /// Hashes of event ids counted lately: a retry is not counted twice (contract 2).
    pub(in crate::store) counted: counts::Recent,
}

impl Held {
    /// An empty one at this counter.
    pub(in crate::store) fn at(last_seq: i64) -> Self {
        Held { last_seq, ..Held::default() }
    }

    /// After a rollback: nothing is held, and the counter stands where the file has it.
    pub(in crate::store) fn rolled_back(&mut self, last_seq: i64) {
        let mut counted = std::mem::take(&mut self.counted);
        counted.rolled_back();
        *self = Held { counted, looking: self.looking, ..Held::at(last_seq) };
    }

    /// After a commit: bounds the caches; all they hold is on disk.
    pub(in crate::store) fn trim(&mut self) {
        self.counted.committed();
        if self.visitors.len() > CACHE_MAX || self.visits.len() > CACHE_MAX {
            self.visitors = visitors::Cache::default();
            self.visits = visits::Cache::default();
        }
        if self.agents.len() > CACHE_MAX {
            self.agents.clear();
        }
    }
}

/// Writes what is held, parents before children.
pub(in crate::store) fn settle(tx: &WriteTx<'_>) -> Result<()> {
    visitors::settle(tx)?;
    visits::settle(tx)?;
    pages::settle(tx)?;
    events::settle(tx)?;
    counts::settle(tx)
}
