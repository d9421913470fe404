//! Verifying: do signatures, chains, digests and lines of all batches hold, in the database and as files?
//! Must never change anything, nor stop at the first finding. Invariant: one bad batch is one finding, wherever it lies.

use std::collections::BTreeMap;
use std::path::Path;

use crate::base::digest::verify as signed;
use crate::base::error::Result;
use crate::base::id::Epoch;
use crate::base::text::hex;
use crate::domain::batch::{Batch, FORMAT, SealedPart};
use crate::domain::event::Lane;
use crate::forward::dir::{self, DATA, MANIFEST};
use crate::forward::encode::{self, Piece};
use crate::forward::inspect::{self, Inspected};
use crate::forward::target::Key;
use crate::store::edge::KnownKey;
use crate::store::epochs::EpochRow;
use crate::store::{ReadTx, Reading, Store, batches, cursors, epochs};

/// Batches read in one snapshot: each may take long to render.
const PER_READ: i64 = 4;

/// Told after each batch: how many are done.
pub type Progress<'a> = &'a dyn Fn(i64);

/// Which batches are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Only {
    /// Those of one lane.
    pub lane: Option<Lane>,
    /// Those of one epoch.
    pub epoch: Option<Epoch>,
}

impl Only {
    fn takes(self, lane: Lane, epoch: Epoch) -> bool {
        self.lane.is_none_or(|only| only == lane) && self.epoch.is_none_or(|only| only == epoch)
    }
}

/// Which batches are looked at, and who is told how far that is.
#[derive(Clone, Copy)]
pub struct Looking<'a> {
    /// Which.
    pub only: Only,
    /// Who is told.
    pub progress: Progress<'a>,
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: a batch's key, or a file.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Stored batches looked at.
    pub batches: i64,
    /// Batches looked at as files.
    pub files: i64,
    /// Lines in them.
    pub lines: i64,
    /// Holes among those.
    pub holes: i64,
    /// Stored batches whose rows have been removed since every target acknowledged them: signature and chain hold.
    pub pruned: i64,
    /// Everything that does not hold.
    pub problems: Vec<Problem>,
}

impl Verified {
    fn finds(&mut self, place: impl ToString, what: impl Into<String>) {
        self.problems.push(Problem { place: place.to_string(), what: what.into() });
    }
}

/// Whoever gives snapshots: a database held for writing, or one that is only read.
pub trait Snapshots {
    /// Runs `work` on a snapshot. Errors: `Busy`; those of `work`.
    fn snapshot<T>(&self, work: impl FnOnce(&ReadTx<'_>) -> Result<T>) -> Result<T>;
}

impl Snapshots for Store {
    fn snapshot<T>(&self, work: impl FnOnce(&ReadTx<'_>) -> Result<T>) -> Result<T> {
        self.read(work)
    }
}

impl Snapshots for Reading {
    fn snapshot<T>(&self, work: impl FnOnce(&ReadTx<'_>) -> Result<T>) -> Result<T> {
        self.read(work)
    }
}

/// Checks every stored batch: signature, chain, and the digest by rendering it anew, rights not looked at.
/// `keys` = all that ever signed here; `targets` = the configured ones. Errors: `Busy`, `Storage`.
pub fn stored(source: &impl Snapshots, keys: &[KnownKey], targets: &[String], how: Looking<'_>) -> Result<Verified> {
    let mut out = Verified::default();
    let known = source.snapshot(epochs::all)?;
    for lane in Lane::ALL {
        let mut before: Option<(i64, Batch)> = None;
        for epoch in known.iter().filter(|epoch| how.only.takes(lane, epoch.epoch)) {
            let acked = source.snapshot(|tx| cursors::acked_by_all(tx, targets, epoch.id, lane))?;
            let mut after = 0;
            loop {
                let list = source.snapshot(|tx| {
                    let list = batches::list(tx, epoch.id, lane, after, PER_READ)?;
                    Ok(list.into_iter().map(|batch| (digest_of(tx, &batch), batch)).collect::<Vec<_>>())
                })?;
                let Some((_, last)) = list.last() else { break };
                after = last.batch_no;
                for (rendered, batch) in list {
                    let key = Key { edge: epoch.edge, epoch: epoch.epoch, lane, batch_no: batch.batch_no };
                    let chain = before.as_ref().map(|(epoch_id, batch)| (*epoch_id == epoch.id, batch));
                    one_stored(&mut out, key, &batch, chain, (&known, keys));
                    out.batches += 1;
                    out.lines += batch.count;
                    match rendered {
                        Digest::Holds(holes) => out.holes += holes,
                        Digest::Gone if batch.batch_no <= acked => out.pruned += 1,
                        Digest::Gone => out.finds(key, "rows of it are gone, and no holes stand for them"),
                        Digest::Fails(what) => out.finds(key, what),
                    }
                    (how.progress)(out.batches);
                    before = Some((epoch.id, batch));
                }
            }
        }
    }
    Ok(out)
}

enum Digest {
    /// With this many holes.
    Holds(i64),
    /// Fewer lines than were sealed.
    Gone,
    Fails(String),
}

fn digest_of(tx: &ReadTx<'_>, batch: &Batch) -> Digest {
    let (mut lines, mut holes) = (0, 0);
    let walked = encode::walk(tx, batch, |piece| match piece {
        Piece::Line { .. } => lines += 1,
        Piece::Hole { .. } => holes += 1,
    });
    match walked {
        Ok(()) => Digest::Holds(holes),
        Err(error) if error.code == "rows_removed" => Digest::Gone,
        Err(error) if error.code == "digest_mismatch" && lines + holes < batch.count => Digest::Gone,
        Err(error) => Digest::Fails(error.to_string()),
    }
}

/// `before` = the batch before it in the lane, and whether that is of the same epoch.
fn one_stored(
    out: &mut Verified,
    key: Key,
    batch: &Batch,
    before: Option<(bool, &Batch)>,
    (known, keys): (&[EpochRow], &[KnownKey]),
) {
    let part = match encode::sealed_part(batch) {
        Ok(part) => part,
        Err(error) => return out.finds(key, error.to_string()),
    };
    match encode::public_key(batch, keys) {
        Ok(public) if signed(&public, &batch.sealed_part, &batch.signature) => {}
        Ok(_) => out.finds(key, "the signature does not hold"),
        Err(error) => out.finds(key, error.to_string()),
    }
    if !says(&part, key, batch) {
        out.finds(key, "its columns and its signed part differ");
    }
    let digest = before.map(|(_, batch)| hex(&batch.digest));
    match before {
        Some((true, last)) if last.batch_no + 1 != key.batch_no => {
            out.finds(key, format!("the batch before it is missing: {} comes after {}", key.batch_no, last.batch_no));
        }
        Some((true, _)) if part.previous_digest != digest => out.finds(key, "the chain to the batch before is broken"),
        Some((false, last)) if key.batch_no == 1 => {
            let epoch = known.iter().find(|epoch| epoch.id == last.epoch_id).map(|epoch| epoch.epoch.to_string());
            if part.previous_digest != digest || part.previous_epoch != epoch {
                out.finds(key, "the chain to the epoch before is broken");
            }
        }
        _ => {}
    }
}

fn says(part: &SealedPart, key: Key, batch: &Batch) -> bool {
    part.format == FORMAT
        && part.edge == key.edge.to_string()
        && part.epoch == key.epoch.to_string()
        && part.lane == key.lane.word()
        && part.batch_no == key.batch_no
        && (part.first_seq, part.last_seq) == (batch.first_seq.0, batch.last_seq.0)
        && part.count == batch.count
        && part.digest == hex(&batch.digest)
        && part.schema == batch.schema
}

/// Checks the batches in a folder, without a database: manifests and their signatures (under `public_key`, where given),
/// lines, digests, and the chain from file to file. What lies before the first file of a lane cannot be missed: it may have
/// been taken. Errors: `Storage` if the folder cannot be read.
pub fn folder(root: &Path, public_key: Option<&[u8; 32]>, how: Looking<'_>) -> Result<Verified> {
    let mut out = Verified::default();
    let accept = |public: &[u8; 32]| public_key.is_none_or(|expected| expected == public);
    walk_folder(root, &accept, how, &mut out)?;
    Ok(out)
}

/// Checks the files of a target against the database too: every batch that is put and not acknowledged must be there,
/// and be the stored one. `missing` = is a batch whose file is not in its place really gone? Errors: `Busy`, `Storage`.
pub(in crate::forward) fn files_of(
    source: &impl Snapshots,
    target: &str,
    root: &Path,
    keys: &[KnownKey],
    missing: &dyn Fn(Key) -> Result<bool>,
    how: Looking<'_>,
    out: &mut Verified,
) -> Result<()> {
    let accept = |public: &[u8; 32]| keys.iter().any(|key| key.public == *public);
    let found = walk_folder(root, &accept, how, out)?;
    for epoch in source.snapshot(epochs::all)? {
        for lane in Lane::ALL.into_iter().filter(|lane| how.only.takes(*lane, epoch.epoch)) {
            let cursor = source.snapshot(|tx| cursors::get(tx, target, epoch.id, lane))?;
            for batch_no in cursor.acked_no + 1..=cursor.put_no {
                let key = Key { edge: epoch.edge, epoch: epoch.epoch, lane, batch_no };
                let stored = source.snapshot(|tx| batches::get(tx, epoch.id, lane, batch_no))?;
                match (found.get(&key.to_string()), stored) {
                    (None, _) if missing(key)? => out.finds(root.join(key.to_string()).display(), "the batch is gone"),
                    (Some(Some(digest)), Some(batch)) if *digest != hex(&batch.digest) => {
                        out.finds(root.join(key.to_string()).display(), "another batch than the stored one lies here");
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

/// Checks all batches of a folder; returns their digests by key, `None` for one that does not hold.
fn walk_folder(
    root: &Path,
    accept: &dyn Fn(&[u8; 32]) -> bool,
    how: Looking<'_>,
    out: &mut Verified,
) -> Result<BTreeMap<String, Option<String>>> {
    let mut found = BTreeMap::new();
    let mut before: Option<(Key, Option<Inspected>)> = None;
    let mut firsts: Vec<(Key, SealedPart)> = Vec::new();
    let mut ends: Vec<(Key, Option<String>)> = Vec::new();
    for key in dir::keys(root)?.into_iter().filter(|key| how.only.takes(key.lane, key.epoch)) {
        let place = root.join(key.to_string()).display().to_string();
        let looked = one_file(root, key, accept);
        out.files += 1;
        (how.progress)(out.files);
        let inspected = match looked {
            Ok(inspected) => {
                out.lines += inspected.part.count;
                out.holes += inspected.holes;
                Some(inspected)
            }
            Err(what) => {
                out.finds(&place, what);
                None
            }
        };
        let digest = inspected.as_ref().map(|inspected| inspected.part.digest.clone());
        let same_lane = before.as_ref().filter(|(last, _)| last.at(0) == key.at(0));
        if let Some((last, _)) = same_lane
            && last.batch_no + 1 != key.batch_no
        {
            out.finds(&place, format!("batches {} to {} are missing before it", last.batch_no + 1, key.batch_no - 1));
        } else if let (Some((_, Some(last))), Some(this)) = (same_lane, &inspected)
            && this.part.previous_digest.as_ref() != Some(&last.part.digest)
        {
            out.finds(&place, "the chain to the batch before is broken");
        }
        if same_lane.is_none() {
            ends.extend(before.take().map(|(key, last)| (key, last.map(|last| last.part.digest))));
            firsts.extend(inspected.as_ref().map(|this| (key, this.part.clone())));
        }
        found.insert(key.to_string(), digest);
        before = Some((key, inspected));
    }
    ends.extend(before.map(|(key, last)| (key, last.map(|last| last.part.digest))));
    across_epochs(root, &firsts, &ends, out);
    Ok(found)
}

/// The first batch of an epoch names the last one of the epoch before, where that lies here too.
fn across_epochs(root: &Path, firsts: &[(Key, SealedPart)], ends: &[(Key, Option<String>)], out: &mut Verified) {
    for (key, part) in firsts.iter().filter(|(key, _)| key.batch_no == 1) {
        let Some(epoch) = &part.previous_epoch else { continue };
        let end = ends.iter().find(|(end, _)| end.lane == key.lane && end.epoch.to_string() == *epoch);
        if let Some((end, Some(digest))) = end
            && part.previous_digest.as_ref() != Some(digest)
        {
            let place = root.join(key.to_string());
            out.finds(
                place.display(),
                format!("the chain to {end}, the last batch here of the epoch before, is broken"),
            );
        }
    }
}

fn one_file(root: &Path, key: Key, accept: &dyn Fn(&[u8; 32]) -> bool) -> Result<Inspected, String> {
    let read = |kind: &str| {
        let path = root.join(format!("{key}{kind}"));
        std::fs::read(&path).map_err(|e| format!("{kind} cannot be read: {e}"))
    };
    let inspected = inspect::batch(&read(MANIFEST)?, &read(DATA)?, None).map_err(|e| e.to_string())?;
    if !accept(&inspected.public_key) {
        return Err("it is signed by another key".to_owned());
    }
    let part = &inspected.part;
    let named = part.edge == key.edge.to_string()
        && part.epoch == key.epoch.to_string()
        && part.lane == key.lane.word()
        && part.batch_no == key.batch_no;
    if !named {
        return Err(format!("it is batch {}/{}/{}/{}", part.edge, part.epoch, part.lane, part.batch_no));
    }
    Ok(inspected)
}
