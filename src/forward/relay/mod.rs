//! The relay: takes batches of other edges, answers how far it has them, passes them on.
//! Owns the folder `relay/` and the order of its steps; must never read what lines tell but rights, nor change a line that
//! may leave. Invariants: an acknowledgement leaves after files and row are on the disk; what a line of a consent lane
//! says binds everything that begins after it came.

use std::sync::{Arc, Mutex, OnceLock};

use crate::base::digest::Hash;
use crate::base::error::{Error, Result};
use crate::base::id::EdgeId;
use crate::base::text::hex;
use crate::domain::delivery::{Watermark, Watermarks};
use crate::domain::relay::EdgeState;
use crate::forward::Bell;
use crate::forward::target::Key;
use crate::store::known_edges::KnownEdge;
use crate::store::{Store, alarms, known_edges, streams, vouches};

pub(in crate::forward) mod below;
pub mod bind;
pub mod clash;
pub mod complete;
pub mod enrol;
pub mod files;
pub mod held;
mod index;
mod onward;
pub mod options;
pub mod parts;
pub mod receive;
pub mod source;
mod sweep;
pub mod traces;
pub mod vouch;

use self::files::Files;
use self::options::RelayOptions;

/// Edges whose files are changed at one time, by the first byte of their ids.
const TURNS: usize = 16;

/// Receives and keeps batches of other edges. One per process; every method may be called from any thread.
pub struct Relay {
    store: Arc<Store>,
    files: Files,
    options: RelayOptions,
    /// Cursors of jobs that must have pulled a batch before it goes.
    jobs: Vec<String>,
    turns: [Mutex<()>; TURNS],
    /// Told when a batch came; with `true` when its lines bind what lies here.
    told: OnceLock<Told>,
    bell: Bell,
}

/// Whoever is told that a batch was committed; `true` = it binds what lies here.
pub type Told = Box<dyn Fn(bool) + Send + Sync>;

impl Relay {
    /// A relay over this store.
    pub fn new(store: Arc<Store>, options: &RelayOptions) -> Self {
        let files = Files::of(store.data_dir());
        let turns = std::array::from_fn(|_| Mutex::new(()));
        Relay {
            store,
            files,
            options: options.clone(),
            jobs: Vec::new(),
            turns,
            told: OnceLock::new(),
            bell: Bell::default(),
        }
    }

    /// The same; where batches go once they are passed on, these cursors must have acknowledged them too.
    pub fn keeping_for(self, jobs: Vec<String>) -> Self {
        Relay { jobs, ..self }
    }

    /// Names whoever is told of batches; the first one stays.
    pub fn tell(&self, told: Told) {
        self.told.get_or_init(|| told);
    }

    /// Its files, for whoever opens what it holds.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The options it goes by.
    pub fn options(&self) -> &RelayOptions {
        &self.options
    }

    /// Errors: `NotFound` with code `relay_off`.
    pub fn on(&self) -> Result<()> {
        if self.options.enabled {
            return Ok(());
        }
        Err(Error::not_found("this wayside takes no batches of others")
            .code("relay_off")
            .remedy("set [relay] enabled = true here, or send to the right address"))
    }

    /// What is here of an edge, lane by lane; nothing of one that never sent. Errors: `Denied`, `Storage`.
    pub fn watermarks(&self, edge: EdgeId, by: Option<EdgeId>) -> Result<Watermarks> {
        self.admitted(edge, by)?;
        let watermark = |stream: streams::Stream| Watermark {
            epoch: stream.key.epoch.to_string(),
            lane: stream.key.lane.word().to_owned(),
            batch_no: stream.upto_no,
            last_seq: stream.last_seq,
            digest: hex(&stream.digest),
            first_no: Some(stream.first_no),
        };
        let all = self.store.read(|tx| streams::of_edge(tx, edge))?;
        // of one whose first batch made room for another's nothing is left to be told
        let told = all.into_iter().filter(|stream| stream.upto_no >= stream.first_no).map(watermark);
        Ok(Watermarks { edge: edge.to_string(), watermarks: told.collect() })
    }

    /// The digest of a batch that was received under this key, also once its files are gone; `None` where none was, or nobody
    /// remembers. Errors: as [`Relay::watermarks`].
    pub fn digest(&self, key: Key, by: Option<EdgeId>) -> Result<Option<Hash>> {
        self.admitted(key.edge, by)?;
        Ok(self.store.read(|tx| held::find(tx, key))?.map(|row| row.digest))
    }

    /// The edge, if its batches are taken and `by` may send them: it is that edge, the one that came after it, or a relay that
    /// vouched for it; `None` = the operator. Errors: `NotFound` with code `relay_off`; `Denied` with code `unknown_edge`,
    /// `not_approved`, `revoked`; `Storage`.
    pub(in crate::forward) fn admitted(&self, edge: EdgeId, by: Option<EdgeId>) -> Result<KnownEdge> {
        self.on()?;
        self.store.read(|tx| {
            let own = known_edges::get(tx, edge)?.ok_or_else(|| unknown_sender(edge))?;
            let Some(by) = by.filter(|by| *by != edge) else { return barred(&own).map(|()| own) };
            let sender = known_edges::get(tx, by)?.ok_or_else(|| unknown_sender(edge))?;
            if own.successor == Some(by) {
                return barred(&sender).map(|()| own);
            }
            barred(&sender)?;
            if !sender.relay || vouches::get(tx, edge, by)?.is_none() {
                return Err(unknown_sender(edge));
            }
            // a relay that takes an edge's batches no longer still passes on those of before; a no of ours holds them too
            if own.is_ours() { barred(&own).map(|()| own) } else { Ok(own) }
        })
    }

    /// Says that something about an edge needs a person.
    fn alarm(&self, code: &'static str, edge: EdgeId, what: String) {
        let about = edge.to_string();
        if let Err(error) = self.store.pen().call(move |tx| alarms::raise(tx, code, &about, &what)) {
            log::warn!("raising an alarm: {error}");
        }
    }

    /// A batch came.
    fn came(&self, binds: bool) {
        if binds {
            self.bell.ring(false);
        }
        if let Some(told) = self.told.get() {
            told(binds);
        }
    }
}

fn unknown_sender(edge: EdgeId) -> Error {
    Error::denied(format!("edge {edge} has not joined here, or this token is another edge's"))
        .code("unknown_edge")
        .remedy("let it join: wayside edge code here, wayside join there")
}

/// Errors: `Denied` where an edge's batches are not taken.
fn barred(edge: &KnownEdge) -> Result<()> {
    let remedy = |what: &str| format!("{what}: wayside edge approve {}", edge.edge);
    match edge.state {
        EdgeState::Approved => Ok(()),
        EdgeState::Waiting => Err(Error::denied("this edge waits for the operator's yes")
            .code("not_approved")
            .remedy(remedy("at the receiver"))),
        EdgeState::Revoked | EdgeState::Retired => {
            Err(Error::denied(format!("this edge is {} here", edge.state.word()))
                .code("revoked")
                .remedy(remedy("if it is to send again, at the receiver")))
        }
    }
}

#[cfg(test)]
mod tests;
