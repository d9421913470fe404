//! The seam between the forwarder and a place where batches go: what a target must be able to do.
//! Must never hold a rule of sealing, rights or retry. Invariant: a key names one batch for ever; putting it again changes
//! nothing but holes, and another batch under the same key is a fork.
//!
//! One batch format and one state machine serve every kind of target (`spec/delivery` 3): a folder, a receiver that is
//! pushed to, an object store, a stream. A target that learns of the acknowledgement with the answer says so in
//! [`Put::acknowledged`]; one that learns of it later tells by [`Target::watermark`]. A job that pulls asks for the same
//! rendered bytes under the same key and needs no target.

use std::fmt;
use std::path::PathBuf;

use crate::base::error::{Error, Result};
use crate::base::id::{EdgeId, Epoch};
use crate::base::time::Millis;
use crate::domain::batch::{self, Manifest};
use crate::domain::delivery::Watermark;
use crate::domain::directive::Handed;
use crate::domain::event::Lane;
use crate::domain::signed::Signed;
use crate::forward::encode::Rendered;
use crate::forward::idle::Quiet;
use crate::forward::options::Recipient;

/// The name of a batch: `<edge>/<epoch>/<lane>/<batch_no, 12 digits>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The edge that sealed it.
    pub edge: EdgeId,
    /// The epoch it was sealed in.
    pub epoch: Epoch,
    /// Its lane.
    pub lane: Lane,
    /// Its number.
    pub batch_no: i64,
}

impl Key {
    /// The key of another batch of the same edge, epoch and lane.
    pub fn at(self, batch_no: i64) -> Key {
        Key { batch_no, ..self }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&batch::key(self.edge, self.epoch, self.lane, self.batch_no))
    }
}

/// One attempt to put a batch.
#[derive(Clone, Copy, Debug)]
pub struct Parcel<'a> {
    /// Its name.
    pub key: Key,
    /// Its bytes.
    pub rendered: &'a Rendered,
    /// It was tried before: it may already be there.
    pub again: bool,
    /// Only a part of its lines, for a target that takes no more at once.
    pub part: Option<Part<'a>>,
}

impl<'a> Parcel<'a> {
    /// A batch as a whole.
    pub fn whole(key: Key, rendered: &'a Rendered, again: bool) -> Self {
        Parcel { key, rendered, again, part: None }
    }

    /// The compressed bytes to put.
    pub fn body(&self) -> &'a [u8] {
        self.part.map_or(&self.rendered.gz, |part| part.gz)
    }
}

/// A contiguous stretch of whole lines of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Which, from 1.
    pub k: usize,
    /// Of how many.
    pub n: usize,
    /// Its lines, gzip.
    pub gz: &'a [u8],
}

/// How a put ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landed {
    /// It is there now.
    New,
    /// It was there already, with the same lines.
    Same,
    /// It was there already and has more holes now, or is whole again.
    Renewed,
    /// A part of it is there, and others are missing.
    Part,
}

impl Landed {
    /// Stable word of attempt rows.
    pub fn word(self) -> &'static str {
        match self {
            Landed::New => "put",
            Landed::Same => "same",
            Landed::Renewed => "renewed",
            Landed::Part => "part",
        }
    }
}

/// What became of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// How it ended.
    pub landed: Landed,
    /// The other side has it for good.
    pub acknowledged: bool,
}

/// Why a put did not land, with what the other side says should be done about it.
#[derive(Debug)]
pub struct Setback {
    /// The error; its kind decides as any other error's does (`retry.rs`).
    pub error: Error,
    /// The other side asks not to be tried before so many ms have passed.
    pub asked_ms: Option<i64>,
    /// What it says of this batch.
    pub says: Option<Says>,
    /// The bytes that were put, where they were too many.
    pub body: Vec<u8>,
}

/// What a target says of a batch it did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// Another batch lies under this key.
    Fork {
        /// Its digest, 64 hex digits, where the target tells.
        digest: Option<String>,
    },
    /// It takes no body this long.
    TooLarge {
        /// The most bytes it takes, compressed, where it tells.
        bytes_max: Option<u64>,
    },
    /// It will never take some of the lines.
    BadRows {
        /// Their numbers; none where it does not tell which.
        seqs: Vec<i64>,
    },
    /// It does not know the edge that sealed the batch.
    UnknownEdge,
}

impl From<Error> for Setback {
    fn from(error: Error) -> Self {
        Setback { error, asked_ms: None, says: None, body: Vec::new() }
    }
}

impl Setback {
    /// The same with what the target says of the batch.
    pub fn says(mut self, says: Says) -> Self {
        self.says = Some(says);
        self
    }
}

/// What a target says of lines it was asked about, without keeping them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It would take them.
    Well,
    /// It would not; the numbers of those it will never take, where it tells.
    Bad(Vec<i64>),
    /// It cannot be asked.
    Unknown,
}

/// A batch that lies with a target and is still ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its name.
    pub key: Key,
    /// Room it takes, bytes.
    pub bytes: u64,
    /// When it was put, by the target's clock.
    pub put_at: Millis,
}

/// How long a target's own files wait to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Days.
    pub days: u32,
    /// Bytes of all of them together.
    pub bytes: u64,
}

/// A place where batches go.
///
/// Error kinds tell the forwarder what to do (`retry.rs`): `Conflict` = another batch lies under this key (fork);
/// `Busy`, `Upstream` = again later; `Denied`, `Config` = hold everything; `Storage` = this machine's disk failed.
pub trait Target: Send + Sync {
    /// Its name in rows, commands and logs.
    fn name(&self) -> &str;

    /// Whose hands it is in.
    fn recipient(&self) -> Recipient;

    /// Puts a batch. When this returns, the batch survives a power cut.
    fn put(&self, parcel: &Parcel<'_>) -> Result<Put, Setback>;

    /// Would it take these lines (a stretch of a batch's, gzip)? It keeps none of them. An attempt like any other: they leave.
    fn judge(&self, key: Key, rendered: &Rendered, gz: &[u8]) -> Result<Judged, Setback> {
        let _ = (key, rendered, gz);
        Ok(Judged::Unknown)
    }

    /// Shows the manifest of a batch under whose key it has another, so that its people learn of both. No line leaves.
    fn show(&self, key: Key, manifest: Manifest) -> Result<()> {
        let _ = (key, manifest);
        Ok(())
    }

    /// The highest batch that is acknowledged, contiguous from `acked`, at most `put_no`, of the edge, epoch and lane of
    /// `of`. A target that acknowledges with its answer has nothing to add.
    fn watermark(&self, of: Key, acked: i64, put_no: i64) -> Result<i64> {
        let _ = (of, put_no);
        Ok(acked)
    }

    /// What it has of an edge, as it says itself; `None` where it cannot say (`GET /v1/watermarks` answers 404 or 405).
    fn watermarks(&self, edge: EdgeId) -> Result<Option<Vec<Watermark>>> {
        let _ = edge;
        Ok(None)
    }

    /// Tells it of an edge whose batches are passed on to it, by a statement signed here (`domain::relay::Vouch`). False where
    /// it has no use for that. Errors: `Conflict` with code `edge_known` where it knows the edge by another key; else as of
    /// [`Target::put`].
    fn introduce(&self, edge: EdgeId, statement: &Signed) -> Result<bool, Setback> {
        let _ = (edge, statement);
        Ok(false)
    }

    /// Tells it until when lanes of an edge are complete that have nothing to send. Errors: as of [`Target::put`].
    fn idle(&self, edge: EdgeId, quiet: &[Quiet]) -> Result<()> {
        let _ = (edge, quiet);
        Ok(())
    }

    /// The digest of a batch as it lies there, 64 hex digits; `None` where it is not there, or the target cannot say.
    fn digest_of(&self, key: Key) -> Result<Option<String>> {
        let _ = key;
        Ok(None)
    }

    /// Directives that wait there for an edge, behind a number; `None` where it has no such thing.
    fn directives(&self, edge: EdgeId, after: i64) -> Result<Option<Handed>> {
        let _ = (edge, after);
        Ok(None)
    }

    /// Brings it a report on a directive. When this returns, it has it. Errors: `Invalid` with code `report_refused` where it does not
    /// believe it; those of a way that is down.
    fn report(&self, edge: EdgeId, report: &Signed) -> Result<()> {
        let _ = (edge, report);
        Ok(())
    }

    /// Did it say with its last acknowledgement that directives wait?
    fn beckons(&self) -> bool {
        false
    }

    /// Is it reached over a network that may be down, so that bandwidth, windows and probes apply?
    fn is_remote(&self) -> bool {
        false
    }

    /// Is anybody there? A cheap look that carries nothing, over within about a second. Errors: as of [`Target::put`].
    fn probe(&self) -> Result<()> {
        Ok(())
    }

    /// Where its batches can be verified as files, if they lie in a folder of this machine.
    fn folder(&self) -> Option<PathBuf> {
        None
    }

    /// How long batches wait there to be taken; `None` where they are not ours once put.
    fn keep(&self) -> Option<Keep> {
        None
    }

    /// The batches that lie there and are still ours, in the order of their keys.
    fn held(&self) -> Result<Vec<Held>> {
        Ok(Vec::new())
    }

    /// Does a batch lie there that is still ours?
    fn lies(&self, key: Key) -> bool {
        let _ = key;
        false
    }

    /// Puts a batch in the place of the same batch that lies there with fewer holes; `None` where it was taken meanwhile.
    fn renew(&self, parcel: &Parcel<'_>) -> Result<Option<Put>> {
        let _ = parcel;
        Ok(None)
    }

    /// Removes what is still ours of a batch.
    fn discard(&self, key: Key) -> Result<()> {
        let _ = key;
        Ok(())
    }
}
