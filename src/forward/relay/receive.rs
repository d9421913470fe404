//! Taking one batch of another edge: judged, brought to the disk, indexed, acknowledged with a signature, in this order.
//! Must never acknowledge what is not on the disk, nor put a batch in the place of another one.
//! Invariant: a key has one digest for ever; holes only become more.

use std::sync::PoisonError;

use crate::base::digest::Hash;
use crate::base::error::{Error, Kind, Result};
use crate::base::gzip;
use crate::base::id::EdgeId;
use crate::base::text::{hex, unhex};
use crate::base::time::Millis;
use crate::domain::batch::{FORMAT, Manifest, SealedPart};
use crate::domain::delivery::{Ack, Refused, SignedAck};
use crate::domain::event::Lane;
use crate::domain::line::digest;
use crate::domain::relay::StreamKey;
use crate::forward::inspect;
use crate::forward::relay::bind::{self, For, Told};
use crate::forward::relay::parts::{self, Part};
use crate::forward::relay::{Relay, index};
use crate::forward::target::Key;
use crate::store::known_edges::KnownEdge;
use crate::store::received::Received;
use crate::store::{ReadTx, clashes, received, streams};

/// Most bytes a received batch may decode to.
pub const DECODED_BYTES_MAX: usize = 64 << 20;
/// Longest line that is taken, bytes: what readers of batches can be asked to hold.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// Major version of lines that are understood here.
const SCHEMA_MAJOR: &str = "1";
/// Used disk budget, percent, at which only the consent lane is taken.
const REFUSE_PERCENT: u8 = 95;
/// Compression of what is written anew.
const GZIP_LEVEL: u32 = 3;

/// A batch as it arrives.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Its key, as the address says.
    pub key: Key,
    /// It is one part of the batch.
    pub part: Option<Part>,
    /// Its manifest, as the header says.
    pub manifest: &'a str,
    /// The lines, gzip.
    pub body: &'a [u8],
    /// The edge whose token was shown; `None` = the operator.
    pub by: Option<EdgeId>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was not here, and is now.
    Stored(SignedAck),
    /// The same was here.
    Same(SignedAck),
    /// The same was here with fewer holes.
    Renewed(SignedAck),
    /// A part is here; these are missing.
    Waiting(Vec<u32>),
}

/// Why a batch was not taken.
#[derive(Debug)]
pub struct Refusal {
    /// What is answered.
    pub error: Error,
    /// What is said beside it.
    pub more: Refused,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal { error, more: Refused::default() }
    }
}

pub(in crate::forward::relay) fn fork(what: impl Into<String>, digest: Option<&Hash>) -> Refusal {
    let error = Error::conflict(what).code("fork").remedy(
        "two databases write under one edge and epoch: find the other one; the operator of the receiver resolves it \
         (wayside edge resolve)",
    );
    Refusal { error, more: Refused { digest: digest.map(|digest| hex(digest)), ..Refused::default() } }
}

/// A batch that passed.
#[derive(Debug)]
pub(in crate::forward::relay) struct Judged {
    pub part: SealedPart,
    pub manifest: Manifest,
    pub digest: Hash,
    pub previous: Option<Hash>,
    pub ndjson: Vec<u8>,
    pub told: Vec<Told>,
}

impl Relay {
    /// Takes a batch. Errors: `Denied` (unknown, waiting or revoked edge, another key), `Conflict` (`fork`, `renew`),
    /// `Invalid` (`bad_manifest`, `bad_signature`, `digest_mismatch`, `bad_rows`, `unknown_schema` ...), `Busy`, `Storage`.
    pub fn put(&self, incoming: &Incoming<'_>) -> std::result::Result<Taken, Refusal> {
        let edge = self.admitted(incoming.key.edge, incoming.by)?;
        let (manifest, part) = sealed(incoming, &edge.public_key).inspect_err(|refusal| {
            if refusal.error.code == "wrong_key" {
                self.alarm("wrong_key", incoming.key.edge, refusal.error.what.clone());
            }
        })?;
        if let Some(piece) = incoming.part {
            let body = gzip::decompress(incoming.body, DECODED_BYTES_MAX)?;
            line_lengths(&body)?;
            let digest = part.digest.clone();
            let place = parts::Place { key: incoming.key, count: piece.count, digest: &digest };
            let _turn = self.turn(incoming.key.edge);
            let missing = parts::keep(&self.files, place, piece, incoming.body)?;
            if !missing.is_empty() {
                return Ok(Taken::Waiting(missing));
            }
            let ndjson = parts::join(&self.files, place, DECODED_BYTES_MAX)?;
            let whole = judge(manifest, part, ndjson)
                .and_then(|whole| self.of_site(&edge, whole))
                .inspect_err(|_| parts::forget(&self.files, place))?;
            let taken = self.keep(incoming.key, whole)?;
            parts::discard(&self.files, place)?;
            return Ok(taken);
        }
        let ndjson = gzip::decompress(incoming.body, DECODED_BYTES_MAX)?;
        let whole = judge(manifest, part, ndjson).and_then(|whole| self.of_site(&edge, whole))?;
        let _turn = self.turn(incoming.key.edge);
        self.keep(incoming.key, whole)
    }

    /// Judges any lines of a batch and keeps nothing; where there are none, whether another batch has its place. Errors: as
    /// [`Relay::put`].
    pub fn validate(&self, incoming: &Incoming<'_>) -> std::result::Result<(), Refusal> {
        let edge = self.admitted(incoming.key.edge, incoming.by)?;
        let (_, part) = sealed(incoming, &edge.public_key)?;
        let ndjson = gzip::decompress(incoming.body, DECODED_BYTES_MAX)?;
        if ndjson.is_empty() {
            return self.compare(incoming.key, &part);
        }
        line_lengths(&ndjson)?;
        inspect::lines(&ndjson)?;
        bind::told(&ndjson)?;
        Ok(())
    }

    /// Somebody finds out whether this can be asked, or shows that it has another batch under a key than lies here.
    fn compare(&self, key: Key, part: &SealedPart) -> std::result::Result<(), Refusal> {
        let stream = StreamKey { edge: key.edge, epoch: key.epoch, lane: key.lane };
        let shown = Place::of(part)?;
        let _turn = self.turn(key.edge);
        match self.store.read(|tx| look(tx, stream, key.batch_no, shown))?.fits {
            Ok(()) => Ok(()),
            Err(clash) => Err(self.forked(stream, key, shown.digest, clash)?),
        }
    }

    /// The batch, unless it tells of another site than its edge may send of.
    fn of_site(&self, edge: &KnownEdge, batch: Judged) -> std::result::Result<Judged, Refusal> {
        let Some(only) = edge.site.as_deref() else { return Ok(batch) };
        let Some(other) = inspect::other_site(&batch.ndjson, only)? else { return Ok(batch) };
        let what = format!("this edge may send rows of the site {only:?} only, and sends of {other:?}");
        self.alarm("other_site", edge.edge, what.clone());
        let remedy =
            format!("at the receiver: wayside edge code without --site, or with --site {other}; then join again");
        Err(Error::denied(what).code("other_site").remedy(remedy).into())
    }

    /// Puts a judged batch beside what lies here. The edge's turn is held.
    fn keep(&self, key: Key, batch: Judged) -> std::result::Result<Taken, Refusal> {
        let stream = StreamKey { edge: key.edge, epoch: key.epoch, lane: key.lane };
        let before = self.store.read(|tx| look(tx, stream, key.batch_no, batch.place()))?;
        if let Err(clash) = &before.fits {
            return Err(self.forked(stream, key, batch.digest, *clash)?);
        }
        if let Some(there) = before.there {
            return self.again(key, &there, batch);
        }
        if before.on_hold {
            return Err(fork("this epoch is on hold until the operator has said which of two databases goes on", None));
        }
        if self.store.pressure() >= REFUSE_PERCENT && key.lane != Lane::Consent {
            let full = Error::busy("the disk budget of this receiver is used up: only the consent lane is taken");
            return Err(full.code("quota").remedy("it is taken again once what lies here was passed on").into());
        }
        // what bound this relay before must not come back with a batch that comes late
        let binding = self.store.read(|tx| bind::holed(tx, &batch.ndjson, For::Keeping))?;
        let manifest = Manifest { holes: binding.holes, ..batch.manifest.clone() };
        let bytes = self.files.write(key, &gzip::compress(&binding.ndjson, GZIP_LEVEL), &manifest)?;
        let row = Received {
            no: 0,
            stream_id: 0,
            stream,
            batch_no: key.batch_no,
            digest: batch.digest,
            previous: batch.previous,
            last_seq: batch.part.last_seq,
            line_count: batch.part.count,
            hole_count: binding.holes,
            bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            received: Millis(0),
            held: true,
        };
        let at = index::commit(&self.store, row, &batch)?;
        self.came(!batch.told.is_empty());
        Ok(Taken::Stored(self.acknowledge(key, &batch.digest, at)))
    }

    /// The same batch came again: the holes of both count.
    fn again(&self, key: Key, there: &Received, batch: Judged) -> std::result::Result<Taken, Refusal> {
        let same = Taken::Same(self.acknowledge(key, &batch.digest, there.received));
        if !there.held {
            return Ok(same);
        }
        let Some((gz, manifest)) = self.files.read(key)? else {
            return self.restore(key, there, &batch);
        };
        let lies = gzip::decompress(&gz, DECODED_BYTES_MAX)?;
        let both = union(&lies, &batch.ndjson);
        if both == lies {
            return Ok(same);
        }
        let holes = inspect::lines(&both)?.holes;
        self.rewrite(key, there, &both, &Manifest { holes, ..manifest })?;
        Ok(Taken::Renewed(self.acknowledge(key, &batch.digest, there.received)))
    }

    /// The files were lost beside a row: what came now takes their place.
    fn restore(&self, key: Key, there: &Received, batch: &Judged) -> std::result::Result<Taken, Refusal> {
        let binding = self.store.read(|tx| bind::holed(tx, &batch.ndjson, For::Keeping))?;
        let manifest = Manifest { holes: binding.holes, ..batch.manifest.clone() };
        self.rewrite(key, there, &binding.ndjson, &manifest)?;
        Ok(Taken::Renewed(self.acknowledge(key, &batch.digest, there.received)))
    }

    /// Writes a batch's files anew, with other holes. Its edge's turn is held.
    pub(in crate::forward::relay) fn rewrite(
        &self,
        key: Key,
        there: &Received,
        ndjson: &[u8],
        manifest: &Manifest,
    ) -> Result<()> {
        let bytes = self.files.write(key, &gzip::compress(ndjson, GZIP_LEVEL), manifest)?;
        let (no, holes, bytes) = (there.no, manifest.holes, i64::try_from(bytes).unwrap_or(i64::MAX));
        self.store.pen().call(move |tx| received::renewed(tx, no, holes, bytes))
    }

    /// Notes that another batch came under a key, and says so.
    fn forked(&self, stream: StreamKey, key: Key, digest: Hash, clash: Clash) -> Result<Refusal> {
        let Clash { stream_id, batch_no, lies, renew } = clash;
        if renew {
            let error = Error::conflict("this database is to begin a new epoch: another one goes on in this one")
                .code("renew")
                .remedy("at that edge: wayside edge renew; its rows come again under the new epoch");
            return Ok(Refusal { error, more: Refused { digest: lies.map(|d| hex(&d)), ..Refused::default() } });
        }
        let what = format!("under {key} another batch lies here: two databases write under one edge and epoch");
        let refusal = fork(what.clone(), lies.as_ref().filter(|_| batch_no == key.batch_no));
        let about = stream.edge.to_string();
        self.store.pen().call(move |tx| {
            clashes::insert(tx, stream_id, key.batch_no, &digest)?;
            crate::store::alarms::raise(tx, "fork", &about, &what)
        })?;
        Ok(refusal)
    }

    fn acknowledge(&self, key: Key, digest: &Hash, at: Millis) -> SignedAck {
        let own = &self.store.identity().edge;
        Ack {
            format: 1,
            kind: "ack".to_owned(),
            by: own.id.to_string(),
            edge: key.edge.to_string(),
            epoch: key.epoch.to_string(),
            lane: key.lane.word().to_owned(),
            batch_no: key.batch_no,
            digest: hex(digest),
            received_at: at.rfc3339(),
        }
        .sign(&own.signing)
    }

    /// The turn of an edge: its files are changed by one at a time.
    pub(in crate::forward::relay) fn turn(&self, edge: EdgeId) -> std::sync::MutexGuard<'_, ()> {
        let own = &self.turns[usize::from(edge.0[0]) % self.turns.len()];
        own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A batch within its chain.
#[derive(Clone, Copy)]
struct Place {
    digest: Hash,
    previous: Option<Hash>,
}

impl Place {
    /// Where a signed part says that its batch belongs. Errors: `Invalid`.
    fn of(part: &SealedPart) -> Result<Place> {
        let previous = part.previous_digest.as_deref().map(unhex::<32>).transpose()?;
        Ok(Place { digest: unhex::<32>(&part.digest)?, previous })
    }
}

impl Judged {
    fn place(&self) -> Place {
        Place { digest: self.digest, previous: self.previous }
    }
}

/// What lies here where a batch wants to lie.
struct Before {
    there: Option<Received>,
    fits: std::result::Result<(), Clash>,
    on_hold: bool,
}

/// Another batch than the one that came.
#[derive(Clone, Copy)]
struct Clash {
    stream_id: i64,
    batch_no: i64,
    /// Its digest, where it is remembered.
    lies: Option<Hash>,
    /// It was decided who goes on: not whoever sent this one.
    renew: bool,
}

fn look(tx: &ReadTx<'_>, key: StreamKey, no: i64, batch: Place) -> Result<Before> {
    let on_hold = clashes::any_open(tx, key.edge, key.epoch)?;
    let Some(stream) = streams::get(tx, key)? else { return Ok(Before { there: None, fits: Ok(()), on_hold }) };
    let known = clashes::get(tx, stream.id, no, &batch.digest)?;
    let renew = known.is_some_and(|fork| fork.state == "renew");
    let clash = |batch_no, lies| Err(Clash { stream_id: stream.id, batch_no, lies, renew });
    let there = received::get(tx, stream.id, no)?;
    let before = if no > 1 { received::get(tx, stream.id, no - 1)? } else { None };
    let behind = received::get(tx, stream.id, no + 1)?;
    let fits = match (&there, &before, &behind) {
        (Some(there), ..) if there.digest != batch.digest => clash(no, Some(there.digest)),
        (Some(_), ..) => Ok(()),
        _ if renew => clash(no, None),
        // long ago it was here, and nobody remembers its digest: an honest edge never goes back that far
        (None, ..) if (stream.first_no..=stream.upto_no).contains(&no) => clash(no, None),
        (None, Some(before), _) if Some(before.digest) != batch.previous => clash(no - 1, Some(before.digest)),
        (None, _, Some(behind)) if behind.previous != Some(batch.digest) => clash(no + 1, Some(behind.digest)),
        _ => Ok(()),
    };
    Ok(Before { there, fits, on_hold })
}

/// The manifest, if it is this edge's and of this key.
fn sealed(incoming: &Incoming<'_>, public: &[u8; 32]) -> std::result::Result<(Manifest, SealedPart), Refusal> {
    let manifest = inspect::parse(incoming.manifest.as_bytes())?;
    if unhex::<32>(&manifest.public_key)? != *public {
        return Err(Error::denied("the batch is signed by another key than the one this edge joined with")
            .code("wrong_key")
            .remedy("another installation uses this edge's token: let it join by itself (wayside join)")
            .into());
    }
    let part = manifest.open(Some(public))?;
    let key = incoming.key;
    let (edge, epoch) = (key.edge.to_string(), key.epoch.to_string());
    if (&part.edge, &part.epoch, part.lane.as_str(), part.batch_no) != (&edge, &epoch, key.lane.word(), key.batch_no) {
        return Err(Error::invalid("the manifest is of another key than the address").code("bad_manifest").into());
    }
    unhex::<32>(&part.digest)?;
    if part.format != FORMAT || part.schema.split('.').next() != Some(SCHEMA_MAJOR) {
        let what = format!("format {} with lines of schema {} is not understood here", part.format, part.schema);
        let error =
            Error::invalid(what).code("unknown_schema").remedy("update this receiver; the edge keeps the batch");
        return Err(error.into());
    }
    Ok((manifest, part))
}

/// Lines that are too long to be asked of a reader are named, so that the edge can leave a hole.
fn line_lengths(ndjson: &[u8]) -> std::result::Result<(), Refusal> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        seq: i64,
    }
    let long = ndjson.split(|byte| *byte == b'\n').filter(|line| line.len() > LINE_BYTES_MAX);
    let mut seqs = Vec::new();
    for line in long {
        let found: Numbered = serde_json::from_slice(line).map_err(|e| {
            Error::invalid(format!("a line of {} bytes does not parse: {e}", line.len())).code("bad_line")
        })?;
        seqs.push(found.seq);
    }
    if seqs.is_empty() {
        return Ok(());
    }
    let error =
        Error::new(Kind::Invalid, "bad_rows", format!("lines longer than {LINE_BYTES_MAX} bytes are not taken"))
            .remedy("send the batch again with holes where the named lines stood");
    Err(Refusal { error, more: Refused { seqs: Some(seqs), ..Refused::default() } })
}

/// Do manifest and lines belong together?
fn judge(manifest: Manifest, part: SealedPart, mut ndjson: Vec<u8>) -> std::result::Result<Judged, Refusal> {
    line_lengths(&ndjson)?;
    if ndjson.last() != Some(&b'\n') {
        ndjson.push(b'\n');
    }
    let read = inspect::lines(&ndjson)?;
    let found = digest(&read.hashes);
    if hex(&found) != part.digest || i64::try_from(read.hashes.len()) != Ok(part.count) {
        let what =
            format!("the lines do not give the sealed digest ({} lines, sealed {})", read.hashes.len(), part.count);
        return Err(Error::invalid(what).code("digest_mismatch").remedy("send the batch again, whole").into());
    }
    if read.ends != Some((part.first_seq, part.last_seq)) {
        let what = "the lines do not begin and end where the sealed part says";
        return Err(Error::invalid(what).code("bad_line").into());
    }
    if read.holes != manifest.holes {
        let what = format!("{} lines are holes, the manifest says {}", read.holes, manifest.holes);
        return Err(Error::invalid(what).code("bad_manifest").into());
    }
    let previous = part.previous_digest.as_deref().map(unhex::<32>).transpose()?;
    let told = if part.lane == "consent" { bind::told(&ndjson)? } else { Vec::new() };
    Ok(Judged { digest: found, previous, told, part, manifest, ndjson })
}

/// Both have the same lines in the same order; where either has a hole, there is one.
fn union(lies: &[u8], came: &[u8]) -> Vec<u8> {
    let hole = |line: &[u8]| line.starts_with(br#"{"kind":"hole""#);
    let mut out = Vec::with_capacity(lies.len());
    for (old, new) in lies.split(|b| *b == b'\n').zip(came.split(|b| *b == b'\n')) {
        let line = if !hole(old) && hole(new) { new } else { old };
        if !line.is_empty() {
            out.extend_from_slice(line);
            out.push(b'\n');
        }
    }
    out
}
