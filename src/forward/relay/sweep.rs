//! What lies here follows what was bound since: files get their holes; and goes once it is passed on and its grace is over.
//! Must never touch number, digest or signature. Invariant: a file that cannot be read back is named, and keeps the sweep open.

use std::time::Duration;

use crate::base::error::{Error, Result};
use crate::base::gzip;
use crate::base::id::EdgeId;
use crate::base::time::{DAY_MS, Millis};
use crate::domain::batch::Manifest;
use crate::forward::dir;
use crate::forward::relay::bind::{self, For};
use crate::forward::relay::files::PARTS;
use crate::forward::relay::receive::DECODED_BYTES_MAX;
use crate::forward::relay::{Relay, held};
use crate::store::received::{Received, Which};
use crate::store::traces::walk;
use crate::store::{bound, onward, received};

/// Rows looked at together.
const STEP: i64 = 200;
/// Longest between two looks, where nothing rings.
const LOOK: Duration = Duration::from_secs(60);
/// Parts that did not become a batch are removed after this, ms: the edge sends them anew.
const PARTS_KEPT: Duration = Duration::from_secs(7 * 86_400);
/// How long attempts are remembered, ms.
const ATTEMPTS_KEPT_MS: i64 = 90 * DAY_MS;

impl Relay {
    /// Looks after what lies here until [`Relay::stop`].
    pub fn live(&self) {
        let mut heard = 0;
        while self.options().enabled && !self.bell.stopped() {
            if let Err(error) = self.sweep() {
                log::warn!("received batches cannot follow what was bound: {error}; it is tried again");
            }
            heard = self.bell.wait(heard, LOOK);
        }
    }

    /// Ends [`Relay::live`].
    pub fn stop(&self) {
        self.bell.ring(true);
    }

    /// Gives files the holes that were bound since the last look; returns how many files changed. Errors: `Storage`; the
    /// other files were looked at.
    pub fn sweep(&self) -> Result<u64> {
        let mut changed = 0;
        while let Some((edge, upto)) = self.store.read(bound::next_unswept)? {
            let (done, trouble) = self.sweep_edge(edge)?;
            changed += done;
            if let Some(error) = trouble {
                return Err(error);
            }
            self.store.pen().call(move |tx| bound::swept(tx, edge, upto))?;
        }
        Ok(changed)
    }

    fn sweep_edge(&self, edge: EdgeId) -> Result<(u64, Option<Error>)> {
        let (mut changed, mut trouble, mut after) = (0, None, 0);
        loop {
            let which = Which { after, edge: Some(edge), lane: None };
            let step = self.store.read(|tx| held::list(tx, which, STEP))?;
            let Some(last) = step.last() else { return Ok((changed, trouble)) };
            after = last.no;
            for batch in &step {
                match self.follow(batch) {
                    Ok(true) => changed += 1,
                    Ok(false) => {}
                    Err(error) => trouble = Some(error.context(held::key(batch))),
                }
            }
        }
    }

    /// Gives one batch's file its holes; says whether it changed.
    pub(in crate::forward::relay) fn follow(&self, batch: &Received) -> Result<bool> {
        let key = held::key(batch);
        let _turn = self.turn(key.edge);
        let Some((gz, manifest)) = self.files.read(key)? else { return Ok(false) };
        let ndjson = gzip::decompress(&gz, DECODED_BYTES_MAX)?;
        let holed = self.store.read(|tx| bind::holed(tx, &ndjson, For::Keeping))?;
        if holed.fresh == 0 {
            return Ok(false);
        }
        self.rewrite(key, batch, &holed.ndjson, &Manifest { holes: holed.holes, ..manifest })?;
        Ok(true)
    }

    /// Removes what every target in `onward` (and every job that must have it) has had for `keep_days`, and forgets what is too old to be asked for again.
    /// It follows the clock, so whoever calls it asks the clock guard first. Returns how many batches went.
    /// Errors: `Busy`, `Storage`.
    pub fn release(&self, now: Millis) -> Result<i64> {
        if !self.options.enabled {
            return Ok(0);
        }
        self.forget_parts()?;
        let before = now.plus(-i64::from(self.options.keep_days) * DAY_MS);
        let (mut gone, mut after) = (0, 0);
        while !self.options.onward.is_empty() {
            let step = self.store.read(|tx| received::held_since(tx, before, after, STEP))?;
            let Some(last) = step.last() else { break };
            after = last.no;
            for batch in step {
                if self.is_done(&batch, before)? {
                    let _turn = self.turn(batch.stream.edge);
                    let no = batch.no;
                    // row first: a file without one is written over, a row without its file would be a lie
                    self.store.pen().call(move |tx| received::released(tx, no))?;
                    self.files.discard(held::key(&batch))?;
                    gone += 1;
                }
            }
        }
        let forgotten = now.plus(-i64::from(self.options.remember_days) * DAY_MS);
        while self.store.pen().call(move |tx| received::forget(tx, forgotten, STEP))? > 0 {}
        while self.store.pen().call(move |tx| onward::forget_refused(tx, forgotten, STEP))? > 0 {}
        let old = now.plus(-ATTEMPTS_KEPT_MS);
        while self.store.pen().call(move |tx| onward::delete_before(tx, old, STEP))? > 0 {}
        Ok(gone)
    }

    /// Has every target had it since before `before`, and every job that must have it?
    fn is_done(&self, batch: &Received, before: Millis) -> Result<bool> {
        self.store.read(|tx| {
            for names in [&self.options.onward, &self.jobs] {
                if !names.is_empty() && onward::acked_by_all(tx, names, batch.stream_id)? < batch.no {
                    return Ok(false);
                }
            }
            Ok(onward::landed(tx, batch.stream_id, batch.batch_no)?.is_none_or(|at| at < before))
        })
    }

    fn forget_parts(&self) -> Result<()> {
        let mut old = Vec::new();
        walk(&self.files.root().join(PARTS), &mut |path| {
            let written = std::fs::metadata(path).and_then(|meta| meta.modified());
            // one dated ahead of the clock is young
            if written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > PARTS_KEPT)) {
                old.push(path.to_owned());
            }
        })?;
        old.iter().try_for_each(|path| dir::remove(path))
    }
}
