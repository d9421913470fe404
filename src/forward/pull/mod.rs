//! Pulling, the side that has batches: a job asks what there is for its cursor, takes it, and says when it has it for good.
//! Owns what is offered in which order, the leases, and who waits for news. Must never offer another lane while consent batches
//! wait, nor keep anything for a cursor that is not configured. Invariant: the snapshot an answer is rendered from is the
//! attempt; the pen notes it afterwards, one row for each cursor and batch, and the answer does not wait.

use std::sync::Arc;

use crate::base::error::{Error, Result};
use crate::base::id::{EdgeId, Epoch};
use crate::base::time::SECOND_MS;
use crate::domain::event::Lane;
use crate::forward::Forwarder;
use crate::forward::options::{Recipient, TargetKind, TargetOptions};
use crate::forward::target::Key;
use crate::store::leases::{self, Lease};

pub mod own;
mod place;
pub mod source;
#[cfg(test)]
mod tests;
mod waiting;

use self::own::Own;
use self::place::Place;
use self::source::{Fence, Given, Listed, Source, Want};
use self::waiting::{Parked, Waiting};

/// Batches of one page at the most.
pub const LIMIT_MAX: usize = 1_000;
/// Batches of one page where the asker names no number.
pub const LIMIT: usize = 100;
/// Longest an answer is held back until there is something, seconds.
pub const WAIT_SECONDS_MAX: u32 = 60;
/// Longest lease, seconds.
pub const TTL_SECONDS_MAX: i64 = 3_600;
/// Longest name a holder gives itself, bytes.
const HOLDER_BYTES_MAX: usize = 128;

/// A configured cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Whose hands pull by it.
    pub recipient: Recipient,
}

/// Which batches are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// The cursor; may be left out where only one is configured.
    pub cursor: Option<String>,
    /// Behind this place, as an answer before named it.
    pub after: Option<String>,
    /// Of this lane; consent batches come always.
    pub lane: Option<Lane>,
    /// Of this edge.
    pub edge: Option<EdgeId>,
    /// At most so many; 0 = [`LIMIT`].
    pub limit: usize,
}

/// What there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The batches, in the order they are to be taken.
    pub batches: Vec<Listed>,
    /// Go on behind this place.
    pub next: String,
    /// There is more behind it now.
    pub more: bool,
}

/// An acknowledgement: a job has everything of a lane and epoch up to a batch, for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acked {
    /// The cursor; may be left out where only one is configured.
    pub cursor: Option<String>,
    /// The number of its lease; `None` where nobody holds one.
    pub fence: Option<i64>,
    /// The last batch it has.
    pub upto: Key,
    /// That batch's digest, 64 hex digits.
    pub digest: String,
}

/// Answers a held-back question; called once.
pub type Answer = Box<dyn FnOnce(Result<Page>) + Send>;

/// Serves jobs that pull.
pub struct Pull {
    forwarder: Arc<Forwarder>,
    cursors: Vec<Named>,
    sources: Vec<Arc<dyn Source>>,
    waiting: Waiting,
}

impl Pull {
    /// For the configured cursors: what was sealed here, then what `others` hold.
    pub fn new(forwarder: Arc<Forwarder>, targets: &[TargetOptions], others: Vec<Arc<dyn Source>>) -> Self {
        let cursors = targets.iter().filter(|target| target.kind == TargetKind::Pull);
        let cursors = cursors.map(|t| Named { name: t.name.clone(), recipient: t.recipient }).collect();
        let own: Arc<dyn Source> = Arc::new(Own::new(Arc::clone(&forwarder)));
        let sources = std::iter::once(own).chain(others).collect();
        Pull { forwarder, cursors, sources, waiting: Waiting::default() }
    }

    /// Is any cursor configured?
    pub fn is_used(&self) -> bool {
        !self.cursors.is_empty()
    }

    /// The configured cursor of that name; the only one where none is named. Errors: `NotFound` with code `unknown_cursor`.
    pub fn cursor(&self, name: Option<&str>) -> Result<&Named> {
        let found = match (name, &self.cursors[..]) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(name), all) => all.iter().find(|cursor| cursor.name == name),
        };
        found.ok_or_else(|| {
            Error::not_found(match name {
                Some(name) => format!("there is no cursor {:?}", crate::base::text::cut(name, 64)),
                None => "no cursor is named".to_owned(),
            })
            .code("unknown_cursor")
            .remedy("name one with `cursor`: a [[target]] with kind = \"pull\" in the configuration of this wayside")
        })
    }

    /// What there is for a cursor. Errors: `NotFound` with code `unknown_cursor`, or `gone` for a place in a database that is no
    /// more; `Invalid` with code `place`; `Busy`, `Storage`.
    pub fn list(&self, ask: &Ask) -> Result<Page> {
        let cursor = self.cursor(ask.cursor.as_deref())?;
        let database = self.database()?;
        let mut place = match &ask.after {
            Some(text) => Place::parse(text, &cursor.name, database, self.sources.len())?,
            None => Place::begin(self.sources.len()),
        };
        for source in &self.sources {
            source.prepare(cursor)?;
        }
        let limit = if ask.limit == 0 { LIMIT } else { ask.limit.min(LIMIT_MAX) };
        let (mut batches, mut more) = (Vec::new(), false);
        for lane in Lane::ALL {
            if lane != Lane::Consent && ask.lane.is_some_and(|wanted| wanted != lane) {
                continue;
            }
            // looked at before the other lanes: a consent batch that comes now keeps the page from going on
            let waits = lane != Lane::Consent && self.consent_waits(cursor, ask.edge)?;
            for (n, source) in self.sources.iter().enumerate() {
                let room = if waits { 1 } else { limit + 1 - batches.len() };
                let want = Want { cursor, lane, edge: ask.edge, after: place.of(n, lane), limit: room };
                for listed in source.list(&want)? {
                    if waits || batches.len() == limit {
                        more = true;
                        break;
                    }
                    place.set(n, lane, listed.place);
                    batches.push(listed);
                }
                if more {
                    break;
                }
            }
            if more {
                break;
            }
        }
        Ok(Page { batches, next: place.text(&cursor.name, database), more })
    }

    /// As [`Pull::list`], held back at most `wait_s` seconds until there is something. `answer` is called once, now or later, by
    /// any thread.
    pub fn list_later(&self, ask: Ask, wait_s: u32, answer: Answer) {
        match self.list(&ask) {
            Ok(page) if page.batches.is_empty() && !page.more && wait_s > 0 => {
                let parked = Parked::new(ask, wait_s.min(WAIT_SECONDS_MAX), page, answer);
                if let Some(parked) = self.waiting.park(parked) {
                    parked.answer_empty(); // no room, or stopping: whoever asks again finds out
                }
            }
            made => answer(made),
        }
    }

    /// Answers those who wait, as soon as there is something for them, until [`Pull::stop`].
    pub fn live(&self) {
        self.waiting.live(&self.forwarder.bell, &|ask| self.list(ask));
    }

    /// Nobody waits any longer: all are answered. Before the door closes.
    pub fn stop(&self) {
        self.waiting.close();
    }

    /// One batch as the cursor's recipient may have it, rendered now. Errors: `NotFound` with code `unknown_cursor`,
    /// `unknown_batch`, `gone` (the epoch is not known here) or `rows_removed`; `Conflict` with code `consent_first`; `Busy`,
    /// `Storage`.
    pub fn give(&self, cursor: Option<&str>, key: Key) -> Result<Given> {
        let cursor = self.cursor(cursor)?;
        for source in &self.sources {
            if let Some(given) = source.give(cursor, key)? {
                return Ok(given);
            }
        }
        Err(gone(key.edge, key.epoch))
    }

    /// A job has everything up to a batch. Returns how many batches newly are acknowledged. Errors: `NotFound` as
    /// [`Pull::give`]; `Conflict` with code `fork` for another digest, `stale_fence`, or `not_taken` where a batch up to there was
    /// never given out; `Busy`, `Storage`.
    pub fn ack(&self, acked: &Acked) -> Result<i64> {
        let cursor = self.cursor(acked.cursor.as_deref())?;
        let fence = Fence { cursor: cursor.name.clone(), number: acked.fence };
        for source in &self.sources {
            if let Some(news) = source.ack(cursor, &fence, acked.upto, &acked.digest)? {
                self.forwarder.kick();
                return Ok(news);
            }
        }
        Err(gone(acked.upto.edge, acked.upto.epoch))
    }

    /// Takes or renews the lease of a cursor for `ttl_s` seconds (1 to [`TTL_SECONDS_MAX`]); 0 gives it back. Whoever held it keeps
    /// the number. Errors: `Conflict` with code `leased` while another holds it; `Invalid`, `NotFound`, `Busy`, `Storage`.
    pub fn lease(&self, cursor: Option<&str>, holder: &str, ttl_s: i64) -> Result<Lease> {
        let name = self.cursor(cursor)?.name.clone();
        if !(0..=TTL_SECONDS_MAX).contains(&ttl_s) {
            return Err(Error::invalid(format!("{ttl_s} seconds are no time of a lease"))
                .remedy(format!("name 1 to {TTL_SECONDS_MAX} seconds as ttl_seconds, or 0 to give it back")));
        }
        if holder.is_empty() || holder.len() > HOLDER_BYTES_MAX || holder.chars().any(char::is_control) {
            return Err(Error::invalid("the holder has no usable name")
                .remedy(format!("name yourself in holder, 1 to {HOLDER_BYTES_MAX} bytes")));
        }
        let holder = holder.to_owned();
        self.forwarder.store.pen().call(move |tx| {
            let now = tx.now();
            let before = leases::get(tx, &name)?;
            // one from beyond the longest time was given before the clock was set back
            let held = |lease: &Lease| lease.expires > now && lease.expires.since(now) <= TTL_SECONDS_MAX * SECOND_MS;
            if let Some(lease) = before.as_ref().filter(|lease| lease.holder != holder && held(lease)) {
                return Err(Error::conflict(format!(
                    "{:?} holds the cursor until {}",
                    lease.holder,
                    lease.expires.rfc3339()
                ))
                .code("leased")
                .remedy("wait until then, or end that job"));
            }
            let fence = match &before {
                Some(lease) if lease.holder == holder => lease.fence,
                Some(lease) => lease.fence + 1,
                None => 1,
            };
            let lease = Lease { fence, holder: holder.clone(), expires: now.plus(ttl_s * SECOND_MS) };
            leases::put(tx, &name, &lease)?;
            Ok(lease)
        })
    }

    /// The epoch that goes on where another is not known: the newest of the edge.
    pub fn successor(&self, edge: EdgeId) -> Result<Option<Epoch>> {
        for source in &self.sources {
            if let Some(epoch) = source.newest_epoch(edge)? {
                return Ok(Some(epoch));
            }
        }
        Ok(None)
    }

    /// The newest epoch of what is sealed here.
    pub fn own_epoch(&self) -> Epoch {
        self.forwarder.store.identity().edge.epoch
    }

    fn consent_waits(&self, cursor: &Named, edge: Option<EdgeId>) -> Result<bool> {
        for source in &self.sources {
            if source.consent_waits(cursor, edge)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The first epoch of this database: places of another one lead nowhere here.
    fn database(&self) -> Result<Epoch> {
        let first =
            self.forwarder.store.read(|tx| Ok(crate::store::epochs::all(tx)?.first().map(|epoch| epoch.epoch)))?;
        Ok(first.unwrap_or_else(|| self.own_epoch()))
    }
}

/// Nothing of this epoch is here. Whoever answers names the epoch that goes on.
pub(in crate::forward) fn gone(edge: EdgeId, epoch: Epoch) -> Error {
    Error::not_found(format!("nothing of the epoch {epoch} of edge {edge} is here")).code("gone").remedy(
        "the database was replaced, or this edge is another's; list anew without `after` and go on with `successor`",
    )
}
