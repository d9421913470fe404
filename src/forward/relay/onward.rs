//! What was received goes on to the targets that `[relay] onward` names: under its own key and manifest, the consent lane
//! first, an attempt before each put. Must never change what was signed. Invariant: a batch leaves with holes wherever
//! anything bars a line that bound this relay before the attempt.

use std::collections::HashSet;

use crate::base::error::Result;
use crate::base::id::{EdgeId, random_below};
use crate::domain::event::Lane;
use crate::forward::relay::{Relay, held};
use crate::forward::retry::{self, Verdict};
use crate::forward::target::{Key, Landed, Put, Says, Setback, Target};
use crate::forward::{Failed, Forwarder, Report, Sent};
use crate::store::cursors::Cursor;
use crate::store::limits::{self, Limit};
use crate::store::received::Received;
use crate::store::streams::Stream;
use crate::store::{ReadTx, onward, received, streams};

/// Steps of the random fraction.
const JITTER_STEPS: u64 = 1 << 20;
/// Batches whose acknowledgement is looked for together.
const STEP: i64 = 500;

/// The next batch of a stream that a target has not got.
#[derive(Clone, Debug)]
struct Due {
    batch: Received,
    cursor: Cursor,
}

impl Due {
    fn key(&self) -> Key {
        held::key(&self.batch)
    }
}

/// The batch to try: consent lanes first, then the other lanes in order. While an edge's consent lane has something to go,
/// nothing else of that edge goes.
fn next(tx: &ReadTx<'_>, target: &str, ready: &dyn Fn(&Stream, &Cursor) -> bool) -> Result<Option<Due>> {
    let mut held_back: HashSet<EdgeId> = HashSet::new();
    for stream in streams::all(tx)? {
        let edge = stream.key.edge;
        if held_back.contains(&edge) {
            continue;
        }
        let cursor = onward::get(tx, target, stream.id)?;
        let Some(batch) = received::arrived(tx, stream.id, cursor.put_no, 1)?.pop() else { continue };
        if ready(&stream, &cursor) {
            return Ok(Some(Due { batch, cursor }));
        }
        if stream.key.lane == Lane::Consent {
            held_back.insert(edge);
        }
    }
    Ok(None)
}

/// How an attempt begins.
enum Begun {
    Go(i64, bool),
    /// The edge's consent lane has something that must go before.
    ConsentFirst,
}

impl Forwarder {
    /// Everything a target is due of other edges; then what it took.
    pub(in crate::forward) fn pass_on(&self, target: &dyn Target, force: bool, report: &mut Report) -> Result<()> {
        let Some(relay) = self.relay.as_ref().filter(|relay| relay.passes_on_to(target.name())) else { return Ok(()) };
        let mut failed: HashSet<i64> = HashSet::new();
        while !self.bell.stopped() {
            let now = self.clock.now();
            let ready = |stream: &Stream, cursor: &Cursor| {
                !failed.contains(&stream.id) && (force || cursor.failures == 0 || cursor.next_at <= now)
            };
            let Some(due) = self.store.read(|tx| next(tx, target.name(), &ready))? else { break };
            let Begun::Go(attempt_id, again) = self.begin_onward(target, &due)? else { continue };
            match self.attempt_onward(relay, target, &due, again) {
                Ok((put, _)) if put.landed == Landed::Part => self.ended(attempt_id, put.landed.word(), 0)?,
                Ok((put, holes)) => {
                    self.landed_onward(target, &due, attempt_id, put, holes)?;
                    let (name, key) = (target.name().to_owned(), due.key());
                    report.sent.push(Sent { target: name, key, landed: put.landed, holes });
                }
                Err(setback) => {
                    let verdict = self.failed_onward(target, &due, attempt_id, &setback)?;
                    let (name, key, code) = (target.name().to_owned(), due.key(), setback.error.code);
                    report.failed.push(Failed { target: name, key, code, what: setback.error.to_string() });
                    if verdict == Verdict::Stop || (target.is_remote() && verdict == Verdict::Retry) {
                        break;
                    }
                    failed.insert(due.batch.stream_id);
                }
            }
        }
        report.acknowledged += self.follow_onward(target)?;
        Ok(())
    }

    fn begin_onward(&self, target: &dyn Target, due: &Due) -> Result<Begun> {
        let name = target.name().to_owned();
        let (stream_id, batch_no, stream) = (due.batch.stream_id, due.batch.batch_no, due.batch.stream);
        self.store.pen().call(move |tx| {
            if stream.lane != Lane::Consent {
                for other in streams::of_edge(tx, stream.edge)?.iter().filter(|one| one.key.lane == Lane::Consent) {
                    let cursor = onward::get(tx, &name, other.id)?;
                    if !received::arrived(tx, other.id, cursor.put_no, 1)?.is_empty() {
                        return Ok(Begun::ConsentFirst);
                    }
                }
            }
            let again = onward::tried(tx, &name, stream_id, batch_no)?;
            onward::begin(tx, &name, stream_id, batch_no).map(|attempt_id| Begun::Go(attempt_id, again))
        })
    }

    /// Opens from a snapshot taken now, after the attempt's commit, and puts.
    fn attempt_onward(
        &self,
        relay: &Relay,
        target: &dyn Target,
        due: &Due,
        again: bool,
    ) -> std::result::Result<(Put, i64), Setback> {
        let (key, level) = (due.key(), self.gzip_level);
        let _turn = self.turn(target);
        let (rendered, limit) = self.store.read(|tx| {
            let rendered = held::open(tx, relay.files(), key, target.recipient(), level)?;
            Ok((rendered, limits::get(tx, target.name(), self.clock.now())?))
        })?;
        let put = self.put(target, key, (&rendered, again), limit)?;
        Ok((put, rendered.holes))
    }

    fn ended(&self, attempt_id: i64, outcome: &'static str, holes: i64) -> Result<()> {
        self.store.pen().call(move |tx| onward::end(tx, attempt_id, outcome, holes))
    }

    fn landed_onward(&self, target: &dyn Target, due: &Due, attempt_id: i64, put: Put, holes: i64) -> Result<()> {
        let name = target.name().to_owned();
        let (stream_id, no) = (due.batch.stream_id, due.batch.no);
        let acked_no = if put.acknowledged { no } else { 0 };
        self.store.pen().call(move |tx| {
            let before = onward::get(tx, &name, stream_id)?;
            // contiguous: what was put before without an acknowledgement is followed first
            let acked_no =
                if before.acked_no == before.put_no { acked_no.max(before.acked_no) } else { before.acked_no };
            onward::put(tx, &name, stream_id, &Cursor { put_no: no, acked_no, ..Cursor::default() })?;
            onward::end(tx, attempt_id, put.landed.word(), holes)
        })
    }

    fn failed_onward(&self, target: &dyn Target, due: &Due, attempt_id: i64, setback: &Setback) -> Result<Verdict> {
        let (name, stream_id, no) = (target.name().to_owned(), due.batch.stream_id, due.batch.no);
        if setback.error.code == "gone" {
            // passed on and removed before this target was there
            return self.store.pen().call(move |tx| {
                let before = onward::get(tx, &name, stream_id)?;
                let acked_no = if before.acked_no == before.put_no { no } else { before.acked_no };
                onward::put(tx, &name, stream_id, &Cursor { put_no: no, acked_no, ..Cursor::default() })?;
                onward::end(tx, attempt_id, "gone", 0)?;
                Ok(Verdict::Quarantine)
            });
        }
        let told = match &setback.says {
            Some(Says::TooLarge { bytes_max }) => Some(bytes_max.unwrap_or(setback.body.len() as u64 / 2)),
            _ => None,
        };
        let verdict = Verdict::on(&setback.error);
        #[allow(clippy::cast_precision_loss)] // 20 bits
        let fraction = random_below(JITTER_STEPS) as f64 / JITTER_STEPS as f64;
        let failures = due.cursor.failures + 1;
        let wait_ms = match told {
            Some(_) => 0,
            None => retry::wait_asked_ms(verdict, failures, fraction, setback.asked_ms),
        };
        let (code, text) = (setback.error.code, format!("{}: {}", setback.error.code, setback.error));
        self.store.pen().call(move |tx| {
            if let Some(body_bytes) = told {
                // about as many bytes of lines as gzip makes of them
                limits::learn(tx, &name, Limit { body_bytes, line_bytes: body_bytes.saturating_mul(4) })?;
            }
            let before = onward::get(tx, &name, stream_id)?;
            let next_at = tx.now().plus(wait_ms);
            onward::put(tx, &name, stream_id, &Cursor { failures, next_at, last_error: Some(text.clone()), ..before })?;
            onward::end(tx, attempt_id, code, 0)?;
            Ok(verdict)
        })
    }

    /// Notes what a target has taken since, of those that do not say so with their answer; returns how many batches.
    fn follow_onward(&self, target: &dyn Target) -> Result<i64> {
        let mut total = 0;
        for stream in self.store.read(streams::all)? {
            let cursor = self.store.read(|tx| onward::get(tx, target.name(), stream.id))?;
            if cursor.acked_no >= cursor.put_no {
                continue;
            }
            let open = self.store.read(|tx| received::arrived(tx, stream.id, cursor.acked_no, STEP))?;
            let mut acked = cursor.acked_no;
            for batch in open.iter().take_while(|batch| batch.no <= cursor.put_no) {
                let key = held::key(batch);
                if target.watermark(key, key.batch_no - 1, key.batch_no)? < key.batch_no {
                    break;
                }
                acked = batch.no;
                total += 1;
                target.discard(key)?; // what a job left behind of a batch it took
            }
            if acked > cursor.acked_no {
                let name = target.name().to_owned();
                self.store.pen().call(move |tx| {
                    let before = onward::get(tx, &name, stream.id)?;
                    onward::put(tx, &name, stream.id, &Cursor { acked_no: acked, ..before })
                })?;
            }
        }
        Ok(total)
    }
}

impl Relay {
    /// Does what was received go on to this target?
    pub(in crate::forward) fn passes_on_to(&self, target: &str) -> bool {
        self.options.enabled && self.options.onward.iter().any(|name| name == target)
    }
}
