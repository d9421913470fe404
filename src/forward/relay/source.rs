//! What a relay holds, for jobs that pull: positions are rows of `onward` under the cursor's name, as a target's are.
//! Must never render from anything but one snapshot. Invariant: what was given out counts as put only behind everything that
//! came before it in its lane, and nothing is acknowledged that was not given out.

use std::sync::Arc;

use crate::base::error::{Error, Result};
use crate::base::id::{EdgeId, Epoch};
use crate::base::text::hex;
use crate::domain::event::Lane;
use crate::domain::relay::StreamKey;
use crate::forward::pull::Named;
use crate::forward::pull::source::{Fence, Given, Listed, Source, Want};
use crate::forward::relay::{Relay, held};
use crate::forward::target::Key;
use crate::store::cursors::Cursor;
use crate::store::onward::Given as Noted;
use crate::store::received::{Received, Which};
use crate::store::{ReadTx, WriteTx, bound, onward, received, streams};

/// gzip of what is rendered anew.
const GZIP_LEVEL: u32 = 3;
/// Rows looked at together.
const STEP: i64 = 500;

/// Batches of other edges, to be pulled.
pub struct RelaySource(pub Arc<Relay>);

impl RelaySource {
    /// Does a batch of this edge's consent lane wait that the cursor was not given yet?
    fn consent_waits(tx: &ReadTx<'_>, cursor: &str, edge: Option<EdgeId>) -> Result<bool> {
        let all = match edge {
            Some(edge) => streams::of_edge(tx, edge)?,
            None => streams::all(tx)?,
        };
        for stream in all.iter().filter(|stream| stream.key.lane == Lane::Consent) {
            let put_no = onward::get(tx, cursor, stream.id)?.put_no;
            if received::next_held(tx, stream.id, put_no)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Source for RelaySource {
    fn prepare(&self, _cursor: &Named) -> Result<()> {
        Ok(())
    }

    fn list(&self, want: &Want<'_>) -> Result<Vec<Listed>> {
        let limit = i64::try_from(want.limit).unwrap_or(i64::MAX);
        let rows = self.0.store.read(|tx| {
            let mut out: Vec<Received> = Vec::new();
            let mut which = Which { after: want.after, edge: want.edge, lane: Some(want.lane) };
            loop {
                let step = held::list(tx, which, STEP)?;
                let Some(last) = step.last() else { return Ok(out) };
                which.after = last.no;
                for batch in step {
                    if batch.no > onward::get(tx, &want.cursor.name, batch.stream_id)?.acked_no {
                        out.push(batch);
                    }
                    if i64::try_from(out.len()).unwrap_or(i64::MAX) >= limit {
                        return Ok(out);
                    }
                }
            }
        })?;
        let mut out = Vec::new();
        for row in rows {
            let key = held::key(&row);
            match held::manifest(self.0.files(), key) {
                Ok(m) => {
                    let (sealed, signature, public_key) = (m.sealed, m.signature, m.public_key);
                    out.push(Listed { key, place: row.no, sealed, signature, public_key });
                }
                Err(error) if error.code == "gone" => {} // removed while we looked
                Err(error) => return Err(error),
            }
        }
        Ok(out)
    }

    fn consent_waits(&self, cursor: &Named, edge: Option<EdgeId>) -> Result<bool> {
        let store = &self.0.store;
        if !store.read(|tx| Self::consent_waits(tx, &cursor.name, edge))? {
            return Ok(false);
        }
        store.pen().call(|_| Ok(()))?; // what was given out just now is noted
        store.read(|tx| Self::consent_waits(tx, &cursor.name, edge))
    }

    fn give(&self, cursor: &Named, key: Key) -> Result<Option<Given>> {
        let store = &self.0.store;
        let stream = StreamKey { edge: key.edge, epoch: key.epoch, lane: key.lane };
        let began = store.now();
        let look = |tx: &ReadTx<'_>| {
            if streams::get(tx, stream)?.is_none() {
                return Ok(None);
            }
            if key.lane != Lane::Consent && Self::consent_waits(tx, &cursor.name, Some(key.edge))? {
                return Err(consent_first());
            }
            let Some(row) = held::find(tx, key)? else {
                return Err(Error::not_found(format!("there is no batch {key}"))
                    .code("unknown_batch")
                    .remedy("take the keys that GET /v1/batches lists"));
            };
            let wanted = held::Opening { recipient: cursor.recipient, refused: &[], gzip_level: GZIP_LEVEL };
            let rendered = held::open(tx, self.0.files(), key, &wanted)?;
            let (stream_id, batch_no, holes) = (row.stream_id, row.batch_no, rendered.holes);
            Ok(Some((rendered, Noted { stream_id, batch_no, bound: bound::newest(tx)?, began, holes })))
        };
        let found = match store.read(look) {
            Err(error) if error.code == "consent_first" => {
                store.pen().call(|_| Ok(()))?;
                store.read(look)?
            }
            other => other?,
        };
        let Some((rendered, noted)) = found else { return Ok(None) };
        let manifest = serde_json::to_string(&rendered.manifest).expect("invariant: a manifest has string keys");
        let (store, name) = (Arc::clone(store), cursor.name.clone());
        let note = move || {
            let work = move |tx: &WriteTx<'_>| note(tx, &name, &noted);
            store.pen().submit(1, work, |done: Result<()>| {
                if let Err(error) = done {
                    log::error!("noting what a job was given: {error}");
                }
            })
        };
        Ok(Some(Given::new(rendered.gz, manifest, Box::new(note))))
    }

    fn ack(&self, cursor: &Named, fence: &Fence, upto: Key, digest: &str) -> Result<Option<i64>> {
        let (name, fence, digest) = (cursor.name.clone(), fence.clone(), digest.to_ascii_lowercase());
        self.0.store.pen().call(move |tx| {
            fence.check(tx)?;
            let key = StreamKey { edge: upto.edge, epoch: upto.epoch, lane: upto.lane };
            let Some(stream) = streams::get(tx, key)? else { return Ok(None) };
            let Some(row) = received::get(tx, stream.id, upto.batch_no)? else { return Err(not_taken(upto)) };
            if hex(&row.digest) != digest {
                return Err(Error::conflict(format!("under {upto} lies a batch with another digest"))
                    .code("fork")
                    .remedy("what you have is not what lies here: keep both, and ask the edge"));
            }
            let before = onward::get(tx, &name, stream.id)?;
            let (mut acked_no, mut news) = (before.acked_no, 0);
            while let Some(next) = received::arrived(tx, stream.id, acked_no, 1)?.pop() {
                if next.batch_no > upto.batch_no {
                    break;
                }
                if next.held && !onward::tried(tx, &name, stream.id, next.batch_no)? {
                    return Err(not_taken(upto));
                }
                acked_no = next.no;
                news += 1;
            }
            let put_no = before.put_no.max(acked_no);
            onward::put(tx, &name, stream.id, &Cursor { put_no, acked_no, ..Cursor::default() })?;
            Ok(Some(news))
        })
    }

    fn newest_epoch(&self, edge: EdgeId) -> Result<Option<Epoch>> {
        Ok(self.0.store.read(|tx| streams::of_edge(tx, edge))?.last().map(|stream| stream.key.epoch))
    }
}

/// The row of the attempt, and how far the cursor was given everything.
fn note(tx: &WriteTx<'_>, name: &str, given: &Noted) -> Result<()> {
    onward::note(tx, name, given)?;
    let before = onward::get(tx, name, given.stream_id)?;
    let mut put_no = before.put_no;
    while let Some(next) = received::next_held(tx, given.stream_id, put_no)? {
        if !onward::tried(tx, name, given.stream_id, next.batch_no)? {
            break;
        }
        put_no = next.no;
    }
    onward::put(tx, name, given.stream_id, &Cursor { put_no, ..before })
}

fn consent_first() -> Error {
    Error::conflict("consent batches of this edge wait that this cursor was not given yet")
        .code("consent_first")
        .remedy("list anew and take the batches of the lane consent before the others")
}

fn not_taken(upto: Key) -> Error {
    Error::conflict(format!("batches up to {upto} were not all given out to this cursor"))
        .code("not_taken")
        .remedy("take them first: an acknowledgement covers every batch of the lane and epoch up to its number")
}
