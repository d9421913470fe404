//! What a relay holds of other edges, for whoever takes it onward: which batches there are, and one of them as it may leave.
//! Must never acknowledge anything by itself. Invariant: what is opened has holes wherever anything bound by this snapshot
//! bars a line; number, digest and signature are those of the edge that sealed it.

use crate::base::error::{Error, Result};
use crate::base::gzip;
use crate::base::id::Seq;
use crate::domain::batch::Manifest;
use crate::domain::relay::StreamKey;
use crate::forward::encode::Rendered;
use crate::forward::options::Recipient;
use crate::forward::relay::bind::{self, For};
use crate::forward::relay::files::Files;
use crate::forward::relay::receive::DECODED_BYTES_MAX;
use crate::forward::target::Key;
pub use crate::store::received::{Received, Which};
use crate::store::{ReadTx, received, streams};

/// Batches that lie here, in the order they came, at most `limit`; `which.after` is [`Received::no`] of the last one seen.
/// Errors: `Storage`.
pub fn list(tx: &ReadTx<'_>, which: Which, limit: i64) -> Result<Vec<Received>> {
    received::held(tx, which, limit)
}

/// The key of a received batch.
pub fn key(batch: &Received) -> Key {
    let StreamKey { edge, epoch, lane } = batch.stream;
    Key { edge, epoch, lane, batch_no: batch.batch_no }
}

/// The row of a batch that was received under this key. Errors: `Storage`.
pub fn find(tx: &ReadTx<'_>, key: Key) -> Result<Option<Received>> {
    let stream = StreamKey { edge: key.edge, epoch: key.epoch, lane: key.lane };
    let Some(stream) = streams::get(tx, stream)? else { return Ok(None) };
    received::get(tx, stream.id, key.batch_no)
}

/// The manifest of a batch as it lies here. Its holes are those of the file: [`open`] may have more. Errors: `Storage`,
/// `NotFound` where its files are gone.
pub fn manifest(files: &Files, key: Key) -> Result<Manifest> {
    files.read(key)?.map(|(_, manifest)| manifest).ok_or_else(|| gone(key))
}

fn gone(key: Key) -> Error {
    Error::not_found(format!("{key} no longer lies here"))
        .code("gone")
        .remedy("it was passed on and removed; ask where it went")
}

/// How a batch is opening.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// Whose hands it goes into.
    pub recipient: Recipient,
    /// Lines that whoever gets it will never take, rising.
    pub refused: &'a [Seq],
    /// Compression, should it have to be written anew.
    pub gzip_level: u32,
}

/// A batch as this recipient may have it by the rights of this snapshot, and whether the lines differ from the file.
/// The attempt is committed before the snapshot is taken. Errors: `NotFound` with code `gone`, `Storage`, `Invalid`.
pub fn open(tx: &ReadTx<'_>, files: &Files, key: Key, opening: &Opening<'_>) -> Result<Rendered> {
    let (gz, manifest) = files.read(key)?.ok_or_else(|| gone(key))?;
    let ndjson = gzip::decompress(&gz, DECODED_BYTES_MAX)?;
    let (third_party, refused) = (opening.recipient == Recipient::ThirdParty, opening.refused);
    let holed = bind::holed(tx, &ndjson, For::Leaving { third_party, refused })?;
    let gz = if holed.fresh == 0 { gz } else { gzip::compress(&holed.ndjson, opening.gzip_level) };
    let manifest = Manifest { holes: holed.holes, ..manifest };
    Ok(Rendered { ndjson: holed.ndjson, gz, manifest, holes: holed.holes })
}
