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

use crate::base::error::Result;
use crate::base::id::{EdgeId, Epoch};
use crate::base::time::Millis;
use crate::domain::batch;
use crate::domain::delivery::Watermark;
use crate::domain::event::Lane;
use crate::forward::encode::Rendered;
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
}

impl Landed {
    /// Stable word of attempt rows.
    pub fn word(self) -> &'static str {
        match self {
            Landed::New => "put",
            Landed::Same => "same",
            Landed::Renewed => "renewed",
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
    fn put(&self, parcel: &Parcel<'_>) -> Result<Put>;

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
