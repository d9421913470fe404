//! What was received goes on to the targets that `[relay] onward` names: under its own key and manifest, the consent lane
//! first, an attempt before each put. Must never change what was signed. Invariant: a batch leaves with holes wherever
//! anything bars a line that bound this relay before the attempt.

use std::collections::HashSet;

use crate::base::error::{Error, Kind, Result};
use crate::base::id::{EdgeId, Seq};
use crate::base::time::Millis;
use crate::domain::event::Lane;
use crate::forward::encode::Rendered;
use crate::forward::refuse::{Heeded, Load};
use crate::forward::relay::below::fraction;
use crate::forward::relay::{Relay, held};
use crate::forward::retry::{self, Verdict, WAIT_MS_MAX};
use crate::forward::schedule::Trouble;
use crate::forward::target::{Key, Landed, Put, Says, Setback, Target};
use crate::forward::tell::{self, Told, about_edge};
use crate::forward::{Failed, Forwarder, Report, Sent};
use crate::store::cursors::Cursor;
use crate::store::received::Received;
use crate::store::refused::Why;
use crate::store::streams::Stream;
use crate::store::{ReadTx, WriteTx, limits, onward, received, streams, vouches};

/// Batches whose acknowledgement is looked for together.
const STEP: i64 = 500;

/// Codes of what is wrong with the way to a target, whatever is sent.
const OF_THE_WAY: [&str; 6] = ["tls", "tls_files", "clock", "token_file", "address", "clear"];

/// What an alarm about a batch of another edge is about, at a target.
pub(in crate::forward::relay) fn about(target: &str, key: Key) -> String {
    format!("{}/{}", about_edge(target, key.edge), key.lane.word())
}

/// The next batch of a stream that a target has not got.
#[derive(Clone, Debug)]
pub(in crate::forward::relay) struct Due {
    batch: Received,
}

impl Load for Due {
    fn key(&self) -> Key {
        held::key(&self.batch)
    }

    fn about(&self, target: &str) -> String {
        about(target, self.key())
    }

    fn render(&self, forwarder: &Forwarder, tx: &ReadTx<'_>, target: &dyn Target) -> Result<(Rendered, Vec<Seq>)> {
        let relay = forwarder.relay.as_ref().expect("invariant: what goes onward was received by a relay");
        let refused = onward::refused(tx, target.name(), self.batch.stream_id, Seq(self.batch.last_seq))?;
        let (recipient, gzip_level) = (target.recipient(), forwarder.gzip_level);
        let wanted = held::Opening { recipient, refused: &refused, gzip_level };
        let rendered = held::open(tx, relay.files(), self.key(), &wanted)?;
        Ok((rendered, refused))
    }

    fn before(&self, tx: &ReadTx<'_>) -> Result<Option<Self>> {
        let batch = received::get(tx, self.batch.stream_id, self.batch.batch_no - 1)?;
        Ok(batch.filter(|batch| batch.held).map(|batch| Due { batch }))
    }

    fn attempt(&self, forwarder: &Forwarder, target: &dyn Target) -> Result<Option<i64>> {
        Ok(match forwarder.begin_onward(target, self)? {
            Begun::Go(attempt_id, _) => Some(attempt_id),
            Begun::ConsentFirst => None,
        })
    }

    fn ended(tx: &WriteTx<'_>, attempt_id: i64, outcome: &str) -> Result<()> {
        onward::end(tx, attempt_id, outcome, 0)
    }

    fn refuse(&self, tx: &WriteTx<'_>, target: &str, seq: Seq, why: Why) -> Result<()> {
        onward::refuse(tx, target, self.batch.stream_id, seq, why)
    }

    fn refused_count(&self, tx: &ReadTx<'_>, target: &str) -> Result<i64> {
        let all = onward::refused(tx, target, self.batch.stream_id, Seq(i64::MAX))?;
        Ok(i64::try_from(all.len()).unwrap_or(i64::MAX))
    }
}

/// What is left alone in this round.
struct Round {
    /// Streams that failed.
    failed: HashSet<i64>,
    /// Edges the target does not take.
    barred: HashSet<EdgeId>,
    /// Edges it was told of anew because it did not know them.
    told_anew: HashSet<EdgeId>,
    /// Those that failed lately are left alone too, by this time.
    now: Option<Millis>,
}

impl Round {
    fn takes(&self, stream: &Stream, cursor: &Cursor) -> bool {
        // a time far ahead was written before the clock was set back
        let waits = self.now.is_some_and(|now| (1..=WAIT_MS_MAX).contains(&cursor.next_at.since(now)));
        !waits && !self.failed.contains(&stream.id)
    }
}

/// The next batch of each lane, in the order they came: consent lanes first. While an edge's consent lane has something to go,
/// nothing else of that edge goes.
fn heads(tx: &ReadTx<'_>, target: &str, round: &Round) -> Result<Vec<Due>> {
    let mut held_back: HashSet<EdgeId> = HashSet::new();
    let mut out: Vec<Due> = Vec::new();
    for stream in streams::all(tx)? {
        let edge = stream.key.edge;
        if held_back.contains(&edge) || round.barred.contains(&edge) {
            continue;
        }
        let cursor = onward::get(tx, target, stream.id)?;
        let Some(batch) = received::arrived(tx, stream.id, cursor.put_no, 1)?.pop() else { continue };
        if stream.key.lane == Lane::Consent {
            held_back.insert(edge);
        }
        if !round.takes(&stream, &cursor) {
            continue;
        }
        let due = Due { batch };
        match out.iter_mut().find(|other| other.batch.stream.lane == stream.key.lane) {
            Some(other) if other.batch.no <= due.batch.no => {}
            Some(other) => *other = due,
            None => out.push(due),
        }
    }
    Ok(out)
}

/// How an attempt begins.
enum Begun {
    Go(i64, bool),
    /// The edge's consent lane has something that must go before.
    ConsentFirst,
}

/// What becomes of a round after an attempt.
enum After {
    GoOn,
    Enough,
}

impl Forwarder {
    /// Everything a target is due of other edges; then what it took.
    pub(in crate::forward) fn pass_on(&self, target: &dyn Target, force: bool, report: &mut Report) -> Result<()> {
        let Some(relay) = self.relay.as_ref().filter(|relay| relay.passes_on_to(target.name())) else { return Ok(()) };
        let remote = target.is_remote();
        if remote && !force && !self.way_is_open(target) {
            return Ok(());
        }
        let barred = if remote { self.introduce(relay, target, force)? } else { Some(HashSet::new()) };
        let Some(barred) = barred else { return Ok(()) };
        let (failed, told_anew) = (HashSet::new(), HashSet::new());
        let mut round = Round { failed, barred, told_anew, now: None };
        while !self.bell.stopped() {
            round.now = (!force).then(|| self.clock.now());
            let due = self.next_onward(target, force, &round)?;
            let met = match due.as_ref().map(|due| due.batch.stream.edge) {
                Some(edge) => self.meet(target, edge).map_err(|error| (edge, error)),
                None => match self.unmet_edge(target, &round.barred)? {
                    Some(edge) => self.meet(target, edge).map_err(|error| (edge, error)),
                    None => break,
                },
            };
            let after = match (met, due) {
                (Ok(false), Some(due)) => self.one_onward(target, &due, &mut round, report)?,
                (Ok(_), _) => After::GoOn, // positions may have changed
                (Err((edge, error)), _) => self.not_met(target, (edge, error), &mut round)?,
            };
            if let After::Enough = after {
                break;
            }
        }
        report.acknowledged += self.follow_onward(target)?;
        Ok(())
    }

    /// What goes next to a target, if anything may.
    fn next_onward(&self, target: &dyn Target, force: bool, round: &Round) -> Result<Option<Due>> {
        let mut heads = self.store.read(|tx| heads(tx, target.name(), round))?;
        let lane_of = |due: &Due| due.batch.stream.lane;
        if let Some(at) = heads.iter().position(|due| lane_of(due) == Lane::Consent) {
            return Ok(Some(heads.swap_remove(at)));
        }
        let (now, now_ms) = (self.clock.now(), (self.uptime_ms)());
        let mut pace = self.pace(target);
        if target.is_remote() && !force && !pace.allows(now, now_ms) {
            return Ok(None);
        }
        let lane = pace.turns().next(|lane| heads.iter().any(|due| lane_of(due) == lane));
        Ok(lane.and_then(|lane| heads.into_iter().find(|due| lane_of(due) == lane)))
    }

    /// A target did not say how far it is with an edge.
    fn not_met(&self, target: &dyn Target, (edge, error): (EdgeId, Error), round: &mut Round) -> Result<After> {
        let error = self.in_time(error)?;
        if error.kind == Kind::Denied {
            if round.told_anew.insert(edge) {
                return self.tell_anew(target, edge, round); // it may have forgotten the edge
            }
            self.pace(target).below().met(edge); // the puts tell why
            return Ok(After::GoOn);
        }
        let verdict = Verdict::on(&error);
        let wait_ms = verdict.wait_ms(1, fraction());
        log::warn!("{} does not say how far it is with edge {edge}: {error}", target.name());
        self.pace(target).failed(&error, verdict, wait_ms, (self.uptime_ms)());
        Ok(After::Enough)
    }

    /// A target does not know an edge that it was told of: it is told again.
    fn tell_anew(&self, target: &dyn Target, edge: EdgeId, round: &mut Round) -> Result<After> {
        let name = target.name().to_owned();
        self.store.pen().call(move |tx| vouches::forget(tx, &name, edge))?;
        let relay = self.relay.as_ref().expect("invariant: what goes onward was received by a relay");
        Ok(match self.introduce(relay, target, false)? {
            Some(barred) => {
                round.barred.extend(barred);
                After::GoOn
            }
            None => After::Enough,
        })
    }

    /// One attempt.
    fn one_onward(&self, target: &dyn Target, due: &Due, round: &mut Round, report: &mut Report) -> Result<After> {
        let Begun::Go(attempt_id, again) = self.begin_onward(target, due)? else { return Ok(After::GoOn) };
        let setback = match self.attempt_onward(target, due, again) {
            Ok((put, _)) if put.landed == Landed::Part => {
                self.ended(attempt_id, put.landed.word(), 0)?;
                self.pace(target).arrived();
                return Ok(After::GoOn);
            }
            Ok((put, holes)) => {
                self.landed_onward(target, due, attempt_id, put, holes)?;
                self.pace(target).arrived();
                let (name, key) = (target.name().to_owned(), due.key());
                report.sent.push(Sent { target: name, key, landed: put.landed, holes });
                return Ok(After::GoOn);
            }
            Err(setback) => setback,
        };
        if setback.error.code == "gone" {
            return self.passed_by(target, due, attempt_id).map(|()| After::GoOn);
        }
        let code = setback.error.code;
        let setback = match self.heed(target, due, setback)? {
            Heeded::Learned => return self.ended(attempt_id, code, 0).map(|()| After::GoOn),
            Heeded::Stands(setback) => setback,
        };
        let edge = due.key().edge;
        if setback.says == Some(Says::UnknownEdge) && round.told_anew.insert(edge) {
            self.ended(attempt_id, code, 0)?;
            return self.tell_anew(target, edge, round);
        }
        let (name, key, what) = (target.name().to_owned(), due.key(), setback.error.to_string());
        report.failed.push(Failed { target: name, key, code, what });
        round.failed.insert(due.batch.stream_id);
        self.failed_onward(target, due, attempt_id, &setback)
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
    fn attempt_onward(&self, target: &dyn Target, due: &Due, again: bool) -> std::result::Result<(Put, i64), Setback> {
        let _turn = self.turn(target);
        let (rendered, limit) = self.store.read(|tx| {
            let (rendered, _) = due.render(self, tx, target)?;
            Ok((rendered, limits::get(tx, target.name(), self.clock.now())?))
        })?;
        let put = self.put(target, due.key(), (&rendered, again), limit)?;
        Ok((put, rendered.holes))
    }

    fn ended(&self, attempt_id: i64, outcome: &'static str, holes: i64) -> Result<()> {
        self.store.pen().call(move |tx| onward::end(tx, attempt_id, outcome, holes))
    }

    fn landed_onward(&self, target: &dyn Target, due: &Due, attempt_id: i64, put: Put, holes: i64) -> Result<()> {
        let (name, about) = (target.name().to_owned(), due.about(target.name()));
        let (stream_id, no) = (due.batch.stream_id, due.batch.no);
        let acked_no = if put.acknowledged { no } else { 0 };
        self.store.pen().call(move |tx| {
            let before = onward::get(tx, &name, stream_id)?;
            // contiguous: what was put before without an acknowledgement is followed first
            let acked_no =
                if before.acked_no == before.put_no { acked_no.max(before.acked_no) } else { before.acked_no };
            onward::put(tx, &name, stream_id, &Cursor { put_no: no, acked_no, ..Cursor::default() })?;
            if before.failures > 0 {
                tell::landed_below(tx, &about)?;
            }
            onward::end(tx, attempt_id, put.landed.word(), holes)
        })
    }

    /// A batch was passed on and removed before this target was there.
    fn passed_by(&self, target: &dyn Target, due: &Due, attempt_id: i64) -> Result<()> {
        let (name, stream_id, no) = (target.name().to_owned(), due.batch.stream_id, due.batch.no);
        self.store.pen().call(move |tx| {
            let before = onward::get(tx, &name, stream_id)?;
            let acked_no = if before.acked_no == before.put_no { no } else { before.acked_no };
            onward::put(tx, &name, stream_id, &Cursor { put_no: no, acked_no, ..Cursor::default() })?;
            onward::end(tx, attempt_id, "gone", 0)
        })
    }

    fn failed_onward(&self, target: &dyn Target, due: &Due, attempt_id: i64, setback: &Setback) -> Result<After> {
        let (name, about) = (target.name().to_owned(), due.about(target.name()));
        let (stream_id, error, asked_ms) = (due.batch.stream_id, &setback.error, setback.asked_ms);
        let verdict = Verdict::on(error);
        let fraction = fraction();
        // a link that is down is probed instead: waiting would only make its return late
        let probed = target.is_remote() && Trouble::of(error) == Trouble::Link;
        let (code, text, told) = (error.code, format!("{}: {error}", error.code), Told::of(error, verdict));
        let wait_ms = self.store.pen().call(move |tx| {
            let before = onward::get(tx, &name, stream_id)?;
            let failures = before.failures + 1;
            let wait_ms = if probed { 0 } else { retry::wait_asked_ms(verdict, failures, fraction, asked_ms) };
            let next_at = tx.now().plus(wait_ms);
            onward::put(tx, &name, stream_id, &Cursor { failures, next_at, last_error: Some(text.clone()), ..before })?;
            tell::failed_below(tx, &about, &told)?;
            onward::end(tx, attempt_id, code, 0)?;
            Ok(wait_ms)
        })?;
        // what one edge may not concerns no other; what the way to the target lacks concerns all
        let of_target = verdict == Verdict::Retry || OF_THE_WAY.contains(&error.code);
        if target.is_remote() && of_target {
            self.pace(target).failed(error, verdict, wait_ms, (self.uptime_ms)());
            return Ok(After::Enough);
        }
        Ok(if verdict == Verdict::Stop { After::Enough } else { After::GoOn })
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
