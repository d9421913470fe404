//! The seam between pulling and what there is to pull: batches sealed here, and batches of others that lie here.
//! Must never know HTTP. Invariant: what a source lists and gives for a cursor, it acknowledges for that cursor.

use crate::base::error::{Error, Result};
use crate::base::id::{EdgeId, Epoch};
use crate::domain::event::Lane;
use crate::forward::pull::Named;
use crate::forward::target::Key;
use crate::store::{WriteTx, leases};

/// What is asked of a source: a stretch of one lane.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// For whom.
    pub cursor: &'a Named,
    /// The lane.
    pub lane: Lane,
    /// Only of this edge.
    pub edge: Option<EdgeId>,
    /// Behind this place; 0 = from the beginning.
    pub after: i64,
    /// At most so many.
    pub limit: usize,
}

/// A batch that can be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub key: Key,
    /// Where it stands in its lane at this source: above 0, rising in the order of the list.
    pub place: i64,
    /// The signed part.
    pub sealed: String,
    /// Signature over it, 128 hex digits.
    pub signature: String,
    /// The key that signed, 64 hex digits.
    pub public_key: String,
}

/// A batch rendered for a cursor.
pub struct Given {
    /// The lines, gzip.
    pub gz: Vec<u8>,
    /// The manifest, one line of JSON.
    pub manifest: String,
    note: Box<dyn FnOnce() -> Result<()> + Send>,
}

impl Given {
    /// A batch, and what notes that it was given out.
    pub fn new(gz: Vec<u8>, manifest: String, note: Box<dyn FnOnce() -> Result<()> + Send>) -> Self {
        Given { gz, manifest, note }
    }

    /// Only looked at: nothing of it goes out. Bytes and manifest.
    pub fn looked_at(self) -> (Vec<u8>, String) {
        (self.gz, self.manifest)
    }

    /// It goes out now: hands the note to the pen, and does not wait for it. Returns bytes and manifest. Errors: `Busy` where the
    /// pen takes nothing; then it must not go out.
    pub fn goes(self) -> Result<(Vec<u8>, String)> {
        (self.note)()?;
        Ok((self.gz, self.manifest))
    }
}

/// Who acknowledges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The cursor.
    pub cursor: String,
    /// The number of the lease; `None` from one who took none.
    pub number: Option<i64>,
}

impl Fence {
    /// May this one acknowledge? Only the newest number of a cursor does, also after its time; without any, whoever comes while
    /// nobody holds the cursor. Within the transaction that acknowledges. Errors: `Conflict` with code `stale_fence`.
    pub fn check(&self, tx: &WriteTx<'_>) -> Result<()> {
        let lease = leases::get(tx, &self.cursor)?;
        let holds = match (&lease, self.number) {
            (Some(lease), Some(number)) => lease.fence == number,
            (Some(lease), None) => lease.expires <= tx.now(),
            (None, Some(_)) => false,
            (None, None) => true,
        };
        if holds {
            return Ok(());
        }
        Err(Error::conflict(format!("another has taken the cursor {} since", self.cursor))
            .code("stale_fence")
            .remedy("take a lease with POST /v1/leases, list anew, and acknowledge with its fence"))
    }
}

/// Where batches to pull lie.
pub trait Source: Send + Sync {
    /// Before a list: seals what goes first, passes over what can never come. Errors: `Busy`, `Storage`.
    fn prepare(&self, cursor: &Named) -> Result<()>;

    /// Batches the cursor has not acknowledged. Errors: `Busy`, `Storage`.
    fn list(&self, want: &Want<'_>) -> Result<Vec<Listed>>;

    /// Is there a consent batch that the cursor was not given yet? Errors: `Busy`, `Storage`.
    fn consent_waits(&self, cursor: &Named, edge: Option<EdgeId>) -> Result<bool>;

    /// Renders a batch; `None` where its edge and epoch are none of this source's. Errors: those of [`super::Pull::give`].
    fn give(&self, cursor: &Named, key: Key) -> Result<Option<Given>>;

    /// Acknowledges everything up to a batch, in one transaction that has asked the fence; `None` where its edge and epoch are
    /// none of this source's. Errors: those of [`super::Pull::ack`].
    fn ack(&self, cursor: &Named, fence: &Fence, upto: Key, digest: &str) -> Result<Option<i64>>;

    /// The newest epoch of an edge; `None` for an edge that is none of this source's.
    fn newest_epoch(&self, edge: EdgeId) -> Result<Option<Epoch>>;
}
