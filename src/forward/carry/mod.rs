//! Carrying: batches on a stick or any other folder, and acknowledgements back, for places no cable reaches.
//! Owns what lies below `wayside-carry/` there. Must never trust what it finds: whoever had the stick may have changed it.
//! Invariant: a file under its own name is whole, and the consent lane is written and read before the others.
//!
//! ```text
//! wayside-carry/<edge>/<target>/index.json                       signed by the edge: every file, its size, digest and batches
//! wayside-carry/<edge>/<target>/<epoch>/<lane>/<first_no>.age    a run of batches, encrypted to the target's key (`.wayside` = plain)
//! wayside-carry/<edge>/<target>/acks-<receiver>.json             signed by the receiver, batch by batch
//! ```

pub mod dir;
pub mod file;
pub mod out;
pub mod serve;
pub mod stick;
pub mod take;
#[cfg(test)]
mod tests;

use crate::base::error::{Error, Result};
use crate::base::id::{EdgeId, Epoch};
use crate::domain::event::Lane;
use crate::forward::target::Key;

/// Everything of ours on a stick lies below this.
pub const FOLDER: &str = "wayside-carry";
/// What follows the number in the name of an encrypted file.
pub const ENCRYPTED: &str = ".age";
/// What follows it in the name of a plain one.
pub const PLAIN: &str = ".wayside";

/// A batch as it is carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Its name.
    pub key: Key,
    /// What goes beside its lines, one line of JSON.
    pub manifest: String,
    /// The lines, gzip.
    pub gz: Vec<u8>,
}

/// The key a text names: `<edge>/<epoch>/<lane>/<batch_no>`. Errors: `Invalid` with code `bad_key`.
pub fn key_of(text: &str) -> Result<Key> {
    let mut parts = text.split('/');
    let mut next = || parts.next().unwrap_or_default();
    let (edge, epoch, lane, no) = (next(), next(), next(), next());
    let key = (|| {
        let batch_no = no.parse().ok().filter(|no| *no > 0)?;
        Some(Key {
            edge: EdgeId::parse(edge).ok()?,
            epoch: Epoch::parse(epoch).ok()?,
            lane: Lane::parse(lane)?,
            batch_no,
        })
    })();
    key.filter(|key| key.to_string() == text).ok_or_else(|| {
        Error::invalid(format!("{:?} is no key of a batch", crate::base::text::cut(text, 100))).code("bad_key")
    })
}
