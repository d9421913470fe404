//! Rendering: the lines of a sealed batch as one recipient may have them, and their gzip.
//! Must never read anything mutable into a line, nor hand out a batch whose digest is not the sealed one.
//! Invariant: number, digest, chain and signature of a batch are the same for every recipient and at every time.

use std::ops::ControlFlow;

use crate::base::digest::Hash;
use crate::base::error::{Error, Result};
use crate::base::gzip;
use crate::base::id::{EdgeId, Epoch, Seq};
use crate::base::text::hex;
use crate::base::time::{MINUTE_MS, Millis};
use crate::domain::batch::{Batch, Manifest, SealedPart};
use crate::domain::line::{HoleReason, SCHEMAS, digest, line_hash, render_hole};
use crate::forward::fresh::Fresh;
use crate::forward::options::Recipient;
use crate::store::edge::KnownKey;
use crate::store::holes::Hole;
use crate::store::lines::{self, Found, Stretch};
use crate::store::{ReadTx, batches, cursors, epochs, holes};

/// A request is given its receiving time before it reaches the pen: rows received this long ago are surely written.
pub(in crate::forward) const WRITTEN_AFTER_MS: i64 = MINUTE_MS;

/// A batch as it goes to one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The lines, each with its line end.
    pub ndjson: Vec<u8>,
    /// The same, gzip.
    pub gz: Vec<u8>,
    /// What goes beside them.
    pub manifest: Manifest,
    /// Lines that are holes for this recipient.
    pub holes: i64,
}

/// For whom and under what a batch is rendered.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Whose hands it goes to.
    pub recipient: Recipient,
    /// Every key that signed here.
    pub keys: &'a [KnownKey],
    /// When the attempt began.
    pub began: Millis,
    /// Numbers of lines this target will never take, rising.
    pub refused: &'a [Seq],
}

/// The lines and the manifest, not compressed yet: that needs no snapshot.
/// Errors: `Storage` with code `digest_mismatch` if the rows no longer give the sealed digest, `unknown_schema` for lines
/// of a version this program does not render, `unknown_key` if nobody knows the key that signed; `NotFound` with code
/// `rows_removed` where rows went after other targets had the batch.
pub fn render(tx: &ReadTx<'_>, batch: &Batch, order: &Order<'_>) -> Result<Rendered> {
    let third_party = order.recipient == Recipient::ThirdParty;
    let refused = |seq: Seq| order.refused.binary_search(&seq).is_ok().then_some(HoleReason::Refused);
    let barred = |found: &Found| found.line.barred(third_party).or_else(|| refused(found.line.seq));
    let (mut ndjson, mut hole_count) = (Vec::new(), 0);
    walk(tx, batch, |piece| {
        match piece {
            Piece::Line { found, bytes, hash } => match barred(&found) {
                None => ndjson.extend_from_slice(bytes),
                Some(reason) => {
                    hole_count += 1;
                    ndjson.extend(render_hole(found.line.origin, found.line.seq, reason, &hash));
                }
            },
            Piece::Hole { origin, seq, reason, hash } => {
                hole_count += 1;
                ndjson.extend(render_hole(origin, seq, reason, &hash));
            }
        }
        ndjson.push(b'\n');
    })?;
    beside(tx, batch, order, (ndjson, hole_count))
}

/// [`render`], from lines that were kept when the batch was sealed, where they still hold in this snapshot.
pub(in crate::forward) fn render_fresh(
    tx: &ReadTx<'_>,
    batch: &Batch,
    order: &Order<'_>,
    fresh: &Fresh,
) -> Result<Rendered> {
    if order.recipient != Recipient::ThirdParty
        && order.refused.is_empty()
        && let Some(kept) = fresh.take(&batch.digest)
        && kept.holds(tx, batch)?
    {
        return beside(tx, batch, order, (kept.ndjson, 0));
    }
    render(tx, batch, order)
}

/// Lines with what goes beside them.
fn beside(tx: &ReadTx<'_>, batch: &Batch, order: &Order<'_>, (ndjson, hole_count): (Vec<u8>, i64)) -> Result<Rendered> {
    let manifest = Manifest { holes: hole_count, ..manifest(tx, batch, order.keys, order.began)? };
    Ok(Rendered { ndjson, gz: Vec::new(), manifest, holes: hole_count })
}

/// What goes beside a batch without holes. Errors: `Storage` with code `damaged_batch`, `unknown_key`.
pub(in crate::forward) fn manifest(
    tx: &ReadTx<'_>,
    batch: &Batch,
    keys: &[KnownKey],
    began: Millis,
) -> Result<Manifest> {
    let left = remaining(tx, batch, began)?;
    Ok(Manifest {
        sealed: sealed_text(batch)?,
        signature: hex(&batch.signature),
        public_key: hex(&public_key(batch, keys)?),
        holes: 0,
        complete_until: left.complete_until.rfc3339(),
        backlog_rows: left.rows,
    })
}

impl Rendered {
    /// Compresses the lines. `level` 0 to 9.
    pub fn compress(mut self, level: u32) -> Self {
        self.gz = gzip::compress(&self.ndjson, level);
        self
    }
}

/// The signed part as text. Errors: `Storage` with code `damaged_batch`.
pub(in crate::forward) fn sealed_text(batch: &Batch) -> Result<String> {
    String::from_utf8(batch.sealed_part.clone())
        .map_err(|e| Error::storage("a stored batch's signed part is no text").code("damaged_batch").source(e))
}

/// The signed part, read back. Errors: `Storage` with code `damaged_batch`.
pub(in crate::forward) fn sealed_part(batch: &Batch) -> Result<SealedPart> {
    serde_json::from_slice(&batch.sealed_part)
        .map_err(|e| Error::storage("a stored batch's signed part does not parse").code("damaged_batch").source(e))
}

/// The public key a batch is signed with. Errors: `Storage` with code `unknown_key`.
pub(in crate::forward) fn public_key(batch: &Batch, keys: &[KnownKey]) -> Result<[u8; 32]> {
    let part = sealed_part(batch)?;
    let known = keys.iter().find(|key| key.key_id == part.key_id);
    known.map(|key| key.public).ok_or_else(|| {
        Error::storage(format!("the key {} that signed a batch is not known here", part.key_id))
            .code("unknown_key")
            .remedy("bring edge.json back from a copy of the data directory")
    })
}

/// What a batch is made of, piece by piece.
#[allow(clippy::large_enum_variant)] // one at a time, never in a list
pub(in crate::forward) enum Piece<'a> {
    /// A line whose row is there.
    Line {
        /// The line.
        found: Found,
        /// Its bytes.
        bytes: &'a [u8],
        /// Their hash.
        hash: Hash,
    },
    /// A line that is gone.
    Hole {
        /// Where it was born.
        origin: (EdgeId, Epoch),
        /// Its number.
        seq: Seq,
        /// Why.
        reason: HoleReason,
        /// Its hash.
        hash: Hash,
    },
}

/// Has some target acknowledged it? Only then rows may go without holes.
fn is_delivered(tx: &ReadTx<'_>, batch: &Batch) -> Result<bool> {
    Ok(cursors::highest_acked(tx, batch.epoch_id, batch.lane)? >= batch.batch_no)
}

/// Walks the pieces of a batch in order, rights not looked at. Errors (after the last piece): `NotFound` with code
/// `rows_removed` where rows went after the batch had been delivered elsewhere; `Storage` with code `digest_mismatch`, or
/// at once `unknown_schema`.
pub(in crate::forward) fn walk(tx: &ReadTx<'_>, batch: &Batch, mut take: impl FnMut(Piece<'_>)) -> Result<()> {
    if !SCHEMAS.contains(&batch.schema.as_str()) {
        return Err(Error::storage(format!("lines of schema {} cannot be rendered", batch.schema))
            .code("unknown_schema")
            .remedy("use the version of wayside that sealed the batch, or a newer one"));
    }
    let origins = epochs::all(tx)?;
    let origin = |epoch_id: i64| {
        let row = origins.iter().find(|epoch| epoch.id == epoch_id);
        row.map(|epoch| (epoch.edge, epoch.epoch))
            .ok_or_else(|| Error::storage(format!("epoch row {epoch_id} is missing")))
    };
    let mut holes = holes::between(tx, batch.lane, batch.first_seq, batch.last_seq)?.into_iter().peekable();
    let (mut hashes, mut text) = (Vec::new(), String::new());
    let take_hole = |hole: Hole, hashes: &mut Vec<Hash>, take: &mut dyn FnMut(Piece<'_>)| -> Result<()> {
        if let Some(hash) = hole.line {
            hashes.push(hash);
            take(Piece::Hole { origin: origin(hole.epoch_id)?, seq: hole.seq, reason: hole.reason, hash });
        }
        Ok(())
    };
    let stretch = Stretch { lane: batch.lane, after: Seq(batch.first_seq.0 - 1), upto: batch.last_seq };
    lines::each(tx, stretch, |found| {
        let seq = found.line.seq;
        let mut covered = false;
        while let Some(hole) = holes.next_if(|hole| hole.seq <= seq) {
            covered |= hole.seq == seq;
            take_hole(hole, &mut hashes, &mut take)?;
        }
        if !covered {
            text.clear();
            found.line.render_into(&batch.edge_label, &mut text);
            let hash = line_hash(text.as_bytes());
            hashes.push(hash);
            take(Piece::Line { found, bytes: text.as_bytes(), hash });
        }
        Ok(ControlFlow::Continue(()))
    })?;
    for hole in holes {
        take_hole(hole, &mut hashes, &mut take)?;
    }
    if digest(&hashes) == batch.digest {
        return Ok(());
    }
    if i64::try_from(hashes.len()).is_ok_and(|found| found < batch.count) && is_delivered(tx, batch)? {
        return Err(Error::not_found("rows of it were removed after every target of that time had acknowledged it")
            .code("rows_removed"));
    }
    Err(Error::storage(format!(
        "batch {} of the lane {} no longer gives the digest it was sealed with ({} lines, sealed {})",
        batch.batch_no,
        batch.lane.word(),
        hashes.len(),
        batch.count
    ))
    .code("digest_mismatch")
    .remedy("nothing of it is sent; run `wayside batches verify` and keep the data directory for inspection"))
}

/// What a target still lacks once a batch has reached it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// No row of this lane received before this is unsent.
    pub complete_until: Millis,
    /// Rows of this lane not sent yet; where thousands are not even sealed, as many as there can be at the most.
    pub rows: i64,
}

/// What a target that has a batch and all before it still lacks, in the batch's lane.
pub fn remaining(tx: &ReadTx<'_>, batch: &Batch, now: Millis) -> Result<Remaining> {
    let (sealed, sealed_at) = batches::behind(tx, batch.epoch_id, batch.lane, batch.batch_no)?;
    let after = batches::sealed_upto(tx, batch.lane)?;
    let (waiting, waiting_at) = lines::backlog(tx, batch.lane, after)?;
    let written = now.plus(-WRITTEN_AFTER_MS);
    let complete_until = sealed_at.into_iter().chain(waiting_at).chain([written]).min().unwrap_or(written);
    Ok(Remaining { complete_until, rows: sealed + waiting })
}
