//! Where imported events meet the pen: a batch and how far its source is taken commit together.
//! Must never read a source itself (`import.rs`). Invariant: a crash can neither lose nor double a line.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::digest::Hash;
use crate::base::error::{Error, Result};
use crate::base::time::Millis;
use crate::domain::consent::{LawfulBasis, Purposes, Signals};
use crate::domain::event::{Event, Fate};
use crate::ingest::record::{self, From};
use crate::ingest::{Ingest, seat_on_basis};
use crate::store::decisions::Actor;
use crate::store::imports;

/// How far a source was taken, as sent between a command and the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Hash of its first bytes.
    pub source: Hash,
    /// How many bytes that hash covers.
    pub head_bytes: i64,
    /// Decompressed bytes taken.
    pub bytes: i64,
    /// Lines taken.
    pub lines: i64,
}

/// A batch of imported events and the step it makes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImportBatch {
    /// The site.
    pub site: Option<String>,
    /// The lawful basis stated; without one only counters are kept.
    pub basis: Option<LawfulBasis>,
    /// What the events may be used for.
    pub purposes: u32,
    /// The record this step starts from.
    pub was: Option<Mark>,
    /// The record that stands afterwards.
    pub now: Mark,
    /// At most 1,000 events.
    pub events: Vec<Event>,
}

/// What became of one imported event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportFate {
    /// It was stored.
    pub accepted: bool,
    /// It was only counted.
    pub counted: bool,
    /// It was the first of its visitor.
    pub new_visitor: bool,
    /// It opened a visit.
    pub new_visit: bool,
}

impl Ingest {
    /// The record of the source that begins with `head`.
    pub fn import_known(&self, head: &[u8]) -> Result<Option<Mark>> {
        let found = self.store.read(|tx| imports::known(tx, head))?;
        Ok(found.map(|t| Mark { source: t.source, head_bytes: t.head_bytes, bytes: t.bytes, lines: t.lines }))
    }

    /// Stores a batch and its step in one transaction. Errors: `Conflict` where another import takes the same source.
    pub fn import_take(
        &self,
        batch: ImportBatch,
        received: Millis,
        done: impl FnOnce(Result<Vec<ImportFate>>) + Send + 'static,
    ) -> Result<()> {
        let seat = self.seat(batch.site.as_deref())?.clone();
        let rules = self.rules.clone();
        let mut batch = batch;
        // here and not where the source is read: what is left out is counted and named in the row as of any event
        batch.events.iter_mut().for_each(|event| self.deriver.screen(event));
        let batch = Arc::new(batch);
        let from = From { received, signals: Signals::default(), actor: Actor::Operator, visit_told: false };
        self.store.pen().submit(
            batch.events.len(),
            move |tx| {
                let record = batch.was.map_or(batch.now.source, |was| was.source);
                let stands = imports::get(tx, &record)?.map(|t| (t.bytes, t.lines));
                if stands != batch.was.map(|was| (was.bytes, was.lines)) {
                    return Err(Error::conflict("another import is taking the same source").remedy("let it finish"));
                }
                let seat = match batch.basis {
                    Some(basis) => seat_on_basis(tx, &seat, basis, Purposes(batch.purposes))?,
                    None => seat.clone(),
                };
                let mut fates = Vec::with_capacity(batch.events.len());
                for event in &batch.events {
                    let outcome = record::event(tx, &seat, &rules, &from, event)?;
                    fates.push(ImportFate {
                        accepted: outcome.fate == Fate::Accepted,
                        counted: outcome.fate == Fate::Counted,
                        new_visitor: outcome.new_visitor,
                        new_visit: outcome.new_visit,
                    });
                }
                let now = batch.now;
                let taken = imports::Taken {
                    source: now.source,
                    head_bytes: now.head_bytes,
                    bytes: now.bytes,
                    lines: now.lines,
                };
                imports::put(tx, &taken, batch.was.as_ref().map(|was| &was.source))?;
                Ok(fates)
            },
            done,
        )
    }
}
