//! A receiver that is a folder: an upstream job that takes sticks without a collector of its own.
//! Must never put another batch, or one with fewer holes, in the place of what lies there. Invariant: a manifest under its own name
//! means that the lines beside it are whole and on the disk, as in the folders of `dir` targets.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::base::age::Identity;
use crate::base::digest::{SigningKey, sha256};
use crate::base::error::{Error, Result};
use crate::base::gzip;
use crate::base::id::EdgeId;
use crate::base::text::{hex, unhex};
use crate::base::time::Clock;
use crate::domain::delivery::{Ack, SignedAck};
use crate::forward::carry::Carried;
use crate::forward::carry::stick::names;
use crate::forward::carry::take::{Receiver, Took};
use crate::forward::dir::{DATA, MANIFEST, make_dirs, read_if_there, remove, write_whole};
use crate::forward::inspect::{self, LINES_BYTES_MAX};

/// What the key for signing acknowledgements is derived for.
const SIGNS: &[u8] = b"carry acknowledgements 1";

/// How lines are packed that were put together from two copies.
const GZIP_LEVEL: u32 = 2;

/// The key with which the holder of a carry key signs acknowledgements: a target's `receiver_key` is its public half.
pub fn signing(identity: &Identity) -> SigningKey {
    SigningKey::from_seed(identity.derive(SIGNS))
}

/// A folder that batches are taken into.
pub struct Folder<'a> {
    root: PathBuf,
    signing: Option<SigningKey>,
    /// Keys of edges that are believed; none = any.
    keys: Vec<[u8; 32]>,
    clock: &'a dyn Clock,
}

impl<'a> Folder<'a> {
    /// A folder; acknowledgements are signed with `identity`, where given. `keys` = keys of the edges that are believed, none = any.
    pub fn new(root: &Path, identity: Option<&Identity>, keys: Vec<[u8; 32]>, clock: &'a dyn Clock) -> Self {
        Folder { root: root.to_owned(), signing: identity.map(signing), keys, clock }
    }

    fn ack(&self, carried: &Carried, digest: &str) -> Option<SignedAck> {
        let key = self.signing.as_ref()?;
        let of = carried.key;
        let ack = Ack {
            format: 1,
            kind: "ack".to_owned(),
            by: name_of(key),
            edge: of.edge.to_string(),
            epoch: of.epoch.to_string(),
            lane: of.lane.word().to_owned(),
            batch_no: of.batch_no,
            digest: digest.to_owned(),
            received_at: self.clock.now().rfc3339(),
        };
        Some(ack.sign(key))
    }
}

/// A receiver without a collector is known by its key: 32 hex digits, as an edge id.
fn name_of(key: &SigningKey) -> String {
    hex(&sha256(&key.public()))[..32].to_owned()
}

impl Receiver for Folder<'_> {
    fn take(&mut self, carried: &Carried) -> Result<(Took, Option<SignedAck>)> {
        let looked = inspect::batch(carried.manifest.as_bytes(), &carried.gz, None)?;
        let part = &looked.part;
        if !self.keys.is_empty() && !self.keys.contains(&looked.public_key) {
            return Err(Error::denied("it is signed by an edge that is not believed here")
                .code("unknown_edge")
                .remedy("name the edge's public key with --public-key, if it is one of yours"));
        }
        if !self.believes(carried.key.edge, &looked.public_key)? {
            return Err(Error::denied("it is signed by another key than the batches of this edge that lie here")
                .code("unknown_edge")
                .remedy("find out who wrote this stick: an edge's key never changes"));
        }
        let named = (part.edge.as_str(), part.epoch.as_str(), part.lane.as_str(), part.batch_no);
        let (edge, epoch) = (carried.key.edge.to_string(), carried.key.epoch.to_string());
        if named != (edge.as_str(), epoch.as_str(), carried.key.lane.word(), carried.key.batch_no) {
            return Err(
                Error::invalid(format!("it is batch {}/{}/{}/{}", named.0, named.1, named.2, named.3)).code("bad_key")
            );
        }
        let at = |kind: &str| self.root.join(format!("{}{kind}", carried.key));
        let ack = self.ack(carried, &part.digest);
        let (mut took, mut carried) = (Took::Stored, Cow::Borrowed(carried));
        if let Some(there) = read_if_there(&at(MANIFEST))? {
            if inspect::parse(&there)?.open(None)?.digest != part.digest {
                return Err(Error::conflict("another batch lies here under its name").code("fork").remedy(
                    "two databases write under one edge and epoch: keep both, and find out which is the edge's",
                ));
            }
            let old = read_if_there(&at(DATA))?.and_then(|gz| gzip::decompress(&gz, LINES_BYTES_MAX).ok());
            let new = gzip::decompress(&carried.gz, LINES_BYTES_MAX)?;
            let both = old.as_ref().map(|old| with_holes_of_both(old, &new));
            match both {
                Some(both) if Some(&both) == old.as_ref() => return Ok((Took::Same, ack)),
                Some(both) if both != new => carried = Cow::Owned(again(&carried, &both)?),
                _ => {}
            }
            took = Took::Renewed;
        }
        let manifest = at(MANIFEST);
        make_dirs(manifest.parent().unwrap_or(&self.root))?;
        remove(&manifest)?;
        write_whole(&at(DATA), &carried.gz)?;
        write_whole(&manifest, format!("{}\n", carried.manifest).as_bytes())?;
        Ok((took, ack))
    }

    fn name(&self) -> Option<String> {
        self.signing.as_ref().map(|key| name_of(key)[..16].to_owned())
    }

    fn believes(&mut self, edge: EdgeId, public_key: &[u8; 32]) -> Result<bool> {
        if !self.keys.is_empty() {
            return Ok(self.keys.contains(public_key));
        }
        Ok(known_key(&self.root, &edge.to_string())?.is_none_or(|known| known == *public_key))
    }
}

/// The key that signed the batches of an edge in such a folder; an edge's key never changes. `None` where none lies there. Errors:
/// `Storage`, `Invalid`.
pub fn known_key(root: &Path, edge: &str) -> Result<Option<[u8; 32]>> {
    let folder = root.join(edge);
    for epoch in names(&folder)? {
        for lane in names(&folder.join(&epoch))? {
            let lane = folder.join(&epoch).join(&lane);
            if let Some(name) = names(&lane)?.into_iter().find(|name| name.ends_with(MANIFEST))
                && let Some(bytes) = read_if_there(&lane.join(name))?
            {
                return unhex::<32>(&inspect::parse(&bytes)?.public_key).map(Some);
            }
        }
    }
    Ok(None)
}

fn is_hole(line: &[u8]) -> bool {
    line.starts_with(br#"{"kind":"hole""#)
}

/// The lines of one batch, twice: what was taken away in either stays away.
fn with_holes_of_both(old: &[u8], new: &[u8]) -> Vec<u8> {
    let split = |lines: &'_ [u8]| lines.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (old, new) = (split(old), split(new));
    if old.len() != new.len() {
        return new.join(&b'\n'); // what lies here was damaged
    }
    let each = old.into_iter().zip(new).map(|(old, new)| if is_hole(&old) { old } else { new });
    each.collect::<Vec<_>>().join(&b'\n')
}

/// The same batch with these lines.
fn again(carried: &Carried, lines: &[u8]) -> Result<Carried> {
    let holes = lines.split(|byte| *byte == b'\n').filter(|line| is_hole(line)).count();
    let mut manifest = inspect::parse(carried.manifest.as_bytes())?;
    manifest.holes = i64::try_from(holes).unwrap_or(i64::MAX);
    let manifest = serde_json::to_string(&manifest).expect("invariant: a manifest has string keys");
    Ok(Carried { key: carried.key, manifest, gz: gzip::compress(lines, GZIP_LEVEL) })
}

/// Keys as they were given: 64 hex digits each. Errors: `Invalid`.
pub fn keys(texts: &[String]) -> Result<Vec<[u8; 32]>> {
    texts.iter().map(|text| unhex(text.trim())).collect()
}
