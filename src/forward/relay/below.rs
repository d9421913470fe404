//! What a target must know of the edges below this relay before their batches come to it, and what it has of them already.
//! Must never send a batch. Invariant: a target is told of an edge before anything of that edge is put to it; how far it is
//! follows from numbers and digests of both sides, never from ours alone.

use std::collections::{HashMap, HashSet};

use crate::base::digest::Hash;
use crate::base::error::{Error, Kind, Result};
use crate::base::id::{EdgeId, random_below};
use crate::base::text::hex;
use crate::domain::alarm;
use crate::domain::delivery::Watermark;
use crate::domain::relay::Vouch;
use crate::domain::signed::Signed;
use crate::forward::Forwarder;
use crate::forward::idle::Quiet;
use crate::forward::relay::Relay;
use crate::forward::relay::onward::about;
use crate::forward::retry::Verdict;
use crate::forward::target::{Key, Setback, Target};
use crate::forward::tell::{self, about_edge};
use crate::store::cursors::Cursor;
use crate::store::streams::Stream;
use crate::store::{ReadTx, alarms, known_edges, onward, received, streams, vouches};

/// Steps of the random fraction.
const JITTER_STEPS: u64 = 1 << 20;
/// Batches looked at together.
const STEP: i64 = 500;

/// A random fraction in 0..1.
#[allow(clippy::cast_precision_loss)] // 20 bits
pub(in crate::forward::relay) fn fraction() -> f64 {
    random_below(JITTER_STEPS) as f64 / JITTER_STEPS as f64
}

/// How a target stands with the edges below this one, in this process. Times on a clock nobody can set, ms.
#[derive(Clone, Debug, Default)]
pub(in crate::forward) struct Below {
    /// Of which it has said how far it is, on this connection.
    met: HashSet<EdgeId>,
    /// Those it does not take our word for: not told again before.
    refused: HashMap<EdgeId, i64>,
    /// It takes our word for none: not asked again before.
    silent_until_ms: i64,
    /// What it was told last of edges with nothing to send, and when it is told next.
    idle: HashMap<EdgeId, Vec<Quiet>>,
    idle_next_ms: Option<i64>,
}

impl Below {
    /// The connection is lost: what the target has is asked anew.
    pub(in crate::forward) fn part(&mut self) {
        self.met.clear();
        self.idle.clear();
    }

    /// Is it time to say how complete quiet lanes are? Then the next time is `every_ms` from now.
    pub(in crate::forward) fn idle_due(&mut self, now_ms: i64, every_ms: i64) -> bool {
        let due = self.idle_next_ms.is_none_or(|at| at <= now_ms);
        if due {
            self.idle_next_ms = Some(now_ms + every_ms);
        }
        due
    }

    /// Is this more than it was told of an edge on this connection?
    pub(in crate::forward) fn idle_news(&self, edge: EdgeId, quiet: &[Quiet]) -> bool {
        self.idle.get(&edge).is_none_or(|told| told.as_slice() != quiet)
    }

    /// It was told of an edge.
    pub(in crate::forward) fn idle_told(&mut self, edge: EdgeId, quiet: Vec<Quiet>) {
        self.idle.insert(edge, quiet);
    }

    /// It has said how far it is with an edge, or never will on this connection.
    pub(in crate::forward::relay) fn met(&mut self, edge: EdgeId) {
        self.met.insert(edge);
    }
}

/// What a target says of one stream, and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    GoOn,
    /// It has everything up to this place.
    Skip(i64),
    /// It lost what came behind this place.
    Back(i64),
    /// Another batch lies there under this number.
    Fork(Key),
}

/// What follows for a stream. `mark` is none where the target has nothing of it.
fn compare(tx: &ReadTx<'_>, target: &str, stream: &Stream, mark: Option<&Watermark>) -> Result<Step> {
    let cursor = onward::get(tx, target, stream.id)?;
    let mut same = false;
    if let Some(mark) = mark
        && let Some(ours) = received::get(tx, stream.id, mark.batch_no)?
    {
        if hex(&ours.digest) != mark.digest {
            let (edge, epoch, lane) = (stream.key.edge, stream.key.epoch, stream.key.lane);
            return Ok(Step::Fork(Key { edge, epoch, lane, batch_no: mark.batch_no }));
        }
        same = true;
    }
    let next_no = mark.map_or(stream.first_no, |mark| mark.batch_no + 1);
    let next = received::get(tx, stream.id, next_no)?;
    if next.is_some_and(|next| next.no <= cursor.acked_no) {
        let place = received::first_place(tx, stream.id, next_no)?.unwrap_or(1);
        return Ok(Step::Back(place - 1));
    }
    let Some((mark, first_no)) = mark.and_then(|mark| Some((mark, mark.first_no?))).filter(|_| same) else {
        return Ok(Step::GoOn);
    };
    let mut upto = cursor.put_no;
    loop {
        let step = received::arrived(tx, stream.id, upto, STEP)?;
        let there = step.iter().take_while(|batch| (first_no..=mark.batch_no).contains(&batch.batch_no));
        let before = upto;
        upto = there.last().map_or(upto, |batch| batch.no);
        if upto == before || step.last().is_none_or(|last| last.no != upto) {
            return Ok(if upto > cursor.put_no { Step::Skip(upto) } else { Step::GoOn });
        }
    }
}

/// An edge that a target is to be told of.
struct Untold {
    edge: EdgeId,
    word: Vouch,
    digest: Hash,
}

impl Forwarder {
    /// Tells a target of every edge of which it has not got our newest word. Returns the edges nothing may be put of; `None`
    /// where nothing of any may. Errors: `Busy`, `Storage`.
    pub(in crate::forward::relay) fn introduce(
        &self,
        relay: &Relay,
        target: &dyn Target,
        force: bool,
    ) -> Result<Option<HashSet<EdgeId>>> {
        let mut barred = HashSet::new();
        let name = target.name();
        let untold = self.store.read(|tx| {
            let mut out = Vec::new();
            for known in known_edges::list(tx)? {
                let Some((word, digest)) = relay.word_for(&known) else { continue };
                if vouches::told(tx, name, known.edge)? != Some(digest) {
                    out.push(Untold { edge: known.edge, word, digest });
                }
            }
            Ok(out)
        })?;
        for Untold { edge, word, digest } in untold {
            let now_ms = (self.uptime_ms)();
            let waits = {
                let mut pace = self.pace(target);
                let below = pace.below();
                if !force && below.silent_until_ms > now_ms {
                    return Ok(None);
                }
                !force && below.refused.get(&edge).is_some_and(|until| *until > now_ms)
            };
            if waits {
                barred.insert(edge);
                continue;
            }
            let statement = Signed::of(&word, &self.store.identity().edge.signing);
            match target.introduce(edge, &statement) {
                Ok(_) => self.introduced(target, edge, digest)?,
                Err(setback) => match self.not_introduced(target, edge, setback)? {
                    true => _ = barred.insert(edge),
                    false => return Ok(None),
                },
            }
        }
        Ok(Some(barred))
    }

    fn introduced(&self, target: &dyn Target, edge: EdgeId, digest: Hash) -> Result<()> {
        {
            let mut pace = self.pace(target);
            pace.below().refused.remove(&edge);
            pace.below().silent_until_ms = 0;
        }
        let name = target.name().to_owned();
        self.store.pen().call(move |tx| {
            vouches::note(tx, &name, edge, &digest)?;
            alarms::clear(tx, alarm::HELD, &about_edge(&name, edge))?;
            alarms::clear(tx, alarm::AUTH, &about_all(&name)).map(|_| ())
        })
    }

    /// A target did not take our word. True where that concerns this edge alone.
    fn not_introduced(&self, target: &dyn Target, edge: EdgeId, setback: Setback) -> Result<bool> {
        let error = self.in_time(setback.error)?;
        let (name, what, now_ms) = (target.name().to_owned(), error.to_string(), (self.uptime_ms)());
        let verdict = Verdict::on(&error);
        let wait_ms = verdict.wait_ms(1, fraction());
        let own = matches!(error.kind, Kind::Conflict | Kind::Invalid);
        let (code, about) = match error.kind {
            Kind::Conflict | Kind::Invalid => {
                self.pace(target).below().refused.insert(edge, now_ms + wait_ms);
                (alarm::HELD, about_edge(&name, edge))
            }
            Kind::Denied => {
                self.pace(target).below().silent_until_ms = now_ms + wait_ms;
                (alarm::AUTH, about_all(&name))
            }
            _ => {
                self.pace(target).failed(&error, verdict, wait_ms, now_ms);
                log::warn!("telling {name} of edge {edge}: {what}");
                return Ok(false);
            }
        };
        log::warn!("telling {name} of edge {edge}: {what}");
        self.store.pen().call(move |tx| alarms::raise(tx, code, &about, &what))?;
        Ok(own)
    }

    /// Asks a target how far it is with an edge, once on a connection, and follows. True where it was asked now, so that
    /// positions may have changed. Errors: those of the target; `Busy`, `Storage`.
    pub(in crate::forward::relay) fn meet(&self, target: &dyn Target, edge: EdgeId) -> Result<bool> {
        if !target.is_remote() || self.pace(target).below().met.contains(&edge) {
            return Ok(false);
        }
        let marks = match target.watermarks(edge) {
            Err(error) if error.kind == Kind::NotFound => None,
            marks => marks?,
        };
        if let Some(marks) = marks {
            for stream in self.store.read(|tx| streams::of_edge(tx, edge))? {
                let (epoch, lane) = (stream.key.epoch.to_string(), stream.key.lane.word());
                let mark = marks.iter().find(|mark| mark.epoch == epoch && mark.lane == lane && mark.batch_no > 0);
                let step = self.store.read(|tx| compare(tx, target.name(), &stream, mark))?;
                self.follow_step(target, &stream, step)?;
            }
        }
        self.pace(target).below().met(edge);
        Ok(true)
    }

    /// An edge that a target was put batches of and has not said how far it is with, on this connection.
    pub(in crate::forward::relay) fn unmet_edge(
        &self,
        target: &dyn Target,
        barred: &HashSet<EdgeId>,
    ) -> Result<Option<EdgeId>> {
        if !target.is_remote() {
            return Ok(None);
        }
        let met: HashSet<EdgeId> = self.pace(target).below().met.union(barred).copied().collect();
        self.store.read(|tx| {
            for stream in streams::all(tx)? {
                if !met.contains(&stream.key.edge) && onward::get(tx, target.name(), stream.id)?.acked_no > 0 {
                    return Ok(Some(stream.key.edge));
                }
            }
            Ok(None)
        })
    }

    fn follow_step(&self, target: &dyn Target, stream: &Stream, step: Step) -> Result<()> {
        let (name, id) = (target.name().to_owned(), stream.id);
        match step {
            Step::GoOn => Ok(()),
            Step::Skip(place) => self.store.pen().call(move |tx| {
                let before = onward::get(tx, &name, id)?;
                onward::put(tx, &name, id, &Cursor { put_no: place, acked_no: place, ..before })
            }),
            Step::Back(place) => {
                log::warn!(
                    "{name} has lost batches of edge {} that it had acknowledged: they are sent again",
                    stream.key.edge
                );
                self.store.pen().call(move |tx| onward::set_back(tx, &name, id, place))
            }
            Step::Fork(key) => {
                let what = format!("{key} is another batch there");
                let error = Error::conflict(what.clone()).code(alarm::FORK);
                let told = tell::Told::of(&error, Verdict::Fence);
                self.store.pen().call(move |tx| {
                    let before = onward::get(tx, &name, id)?;
                    let next_at = tx.now().plus(Verdict::Fence.wait_ms(1, 0.0));
                    let last_error = Some(format!("{}: {what}", alarm::FORK));
                    let failures = before.failures + 1;
                    onward::put(tx, &name, id, &Cursor { failures, next_at, last_error, ..before })?;
                    tell::failed_below(tx, &about(&name, key), &told)
                })
            }
        }
    }
}

/// What an alarm is about where a target takes our word for no edge.
fn about_all(target: &str) -> String {
    format!("{target}/edges")
}
