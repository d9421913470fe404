//! One target's turn: the next batch by its cursor, attempt, render, put, note. One batch in flight per target.
//! Must never render before the attempt is committed. Invariant: a cursor moves only after its batch has landed.

use crate::base::error::{Error, Result};
use crate::base::id::random_below;
use crate::base::time::Millis;
use crate::domain::alarm;
use crate::domain::batch::Batch;
use crate::domain::event::Lane;
use crate::forward::encode::{self, Order};
use crate::forward::pace::{Leave, Pace};
use crate::forward::refuse::Heeded;
use crate::forward::retry::{Verdict, WAIT_MS_MAX, wait_asked_ms};
use crate::forward::schedule::Trouble;
use crate::forward::target::{Key, Landed, Put, Setback, Target};
use crate::forward::tell::{self, Told};
use crate::forward::{Failed, Forwarder, Report, Sent, expire, seal};
use crate::store::cursors::Cursor;
use crate::store::epochs::EpochRow;
use crate::store::{ReadTx, attempts, batches, cursors, epochs, limits, refused};

/// Steps of the random fraction.
const JITTER_STEPS: u64 = 1 << 20;

/// A random fraction in 0..1.
#[allow(clippy::cast_precision_loss)] // 20 bits
fn fraction() -> f64 {
    random_below(JITTER_STEPS) as f64 / JITTER_STEPS as f64
}

/// The next batch of a lane that a target has not got.
#[derive(Clone, Debug)]
pub(in crate::forward) struct Due {
    pub(in crate::forward) epoch: EpochRow,
    pub(in crate::forward) batch: Batch,
    pub(in crate::forward) cursor: Cursor,
}

impl Due {
    pub(in crate::forward) fn key(&self) -> Key {
        let (edge, epoch) = (self.epoch.edge, self.epoch.epoch);
        Key { edge, epoch, lane: self.batch.lane, batch_no: self.batch.batch_no }
    }
}

/// Epochs follow each other: none is begun at a target before the one before it is done.
pub(in crate::forward) fn next_in_lane(tx: &ReadTx<'_>, target: &str, lane: Lane) -> Result<Option<Due>> {
    for epoch in epochs::all(tx)? {
        let cursor = cursors::get(tx, target, epoch.id, lane)?;
        // the next one there is: what every required target had may be gone before a new target began
        if let Some(batch) = batches::list(tx, epoch.id, lane, cursor.put_no, 1)?.pop() {
            return Ok(Some(Due { epoch, batch, cursor }));
        }
    }
    Ok(None)
}

/// The next batch of every lane, the consent lane's first.
type Heads = Vec<Due>;

fn heads(tx: &ReadTx<'_>, target: &str) -> Result<Heads> {
    let mut out = Heads::new();
    for lane in Lane::ALL {
        out.extend(next_in_lane(tx, target, lane)?);
    }
    Ok(out)
}

/// The batch to try: those left alone that failed lately (`now`) or in this round (`failed`). While the consent lane has
/// something to send, nothing goes before it; hours and bandwidth (`allowed`) do not concern it. After a failure the
/// smallest goes first. Where two databases wrote as one edge nothing goes in any lane but what finds out whether they still
/// do: rows of all lanes are numbered together.
fn choose(heads: Heads, now: Option<Millis>, failed: &[Lane], pace: &mut Pace, allowed: bool) -> Option<Due> {
    let waits = |due: &Due| {
        // a time far ahead was written before the clock was set back
        let later = now.is_some_and(|now| (1..=WAIT_MS_MAX).contains(&due.cursor.next_at.since(now)));
        later || failed.contains(&due.batch.lane)
    };
    let fenced = heads.iter().find(|due| due.cursor.is_fenced());
    if fenced.is_some_and(waits) {
        return None;
    }
    if let Some(consent) = heads.iter().find(|due| due.batch.lane == Lane::Consent) {
        return (!waits(consent)).then(|| consent.clone());
    }
    if let Some(fenced) = fenced {
        return Some(fenced.clone());
    }
    if !allowed {
        return None;
    }
    let mut ready: Vec<Due> = heads.into_iter().filter(|due| !waits(due)).collect();
    let lane = if pace.is_proving() {
        ready.iter().min_by_key(|due| due.batch.count)?.batch.lane
    } else {
        pace.turns().next(|lane| ready.iter().any(|due| due.batch.lane == lane))?
    };
    let at = ready.iter().position(|due| due.batch.lane == lane)?;
    Some(ready.swap_remove(at))
}

/// How an attempt begins.
pub(in crate::forward) enum Begun {
    Go {
        attempt_id: i64,
        again: bool,
        at: Millis,
    },
    /// The consent lane has something that must go before.
    ConsentFirst,
}

/// What became of an attempt.
enum Ended {
    Sent,
    Passed,
    Failed(Verdict),
}

impl Forwarder {
    /// Everything one target is due; then what it took, then what expires.
    pub(in crate::forward) fn serve(&self, target: &dyn Target, force: bool, report: &mut Report) -> Result<()> {
        let mut failed = Vec::new();
        let mut sent = false;
        while !self.bell.stopped() {
            let Some(due) = self.next(target, force, &failed, report)? else { break };
            if due.batch.batch_no > due.cursor.put_no + 1 {
                expire::pass_gap(&self.store, target.name(), &due)?;
                report.expired += 1;
                continue;
            }
            let Begun::Go { attempt_id, again, at } = self.begin(target, &due)? else { continue };
            match self.one(target, &due, (attempt_id, again, at), report)? {
                Ended::Sent => sent = true,
                Ended::Passed => {}
                Ended::Failed(Verdict::Stop | Verdict::Fence) => break,
                Ended::Failed(verdict) if target.is_remote() && verdict != Verdict::Quarantine => break,
                Ended::Failed(_) => failed.push(due.batch.lane),
            }
        }
        report.acknowledged += self.follow(target)?;
        self.renew(target, report)?;
        if sent {
            report.expired += expire::by_room(&self.store, target)?;
        }
        Ok(())
    }

    /// What goes next to a target, if anything may.
    fn next(&self, target: &dyn Target, force: bool, failed: &[Lane], report: &mut Report) -> Result<Option<Due>> {
        let remote = target.is_remote();
        if remote && !force && !self.way_is_open(target) {
            return Ok(None);
        }
        let mut heads = self.store.read(|tx| heads(tx, target.name()))?;
        if remote && !self.pace(target).has_met() {
            match self.shake(target) {
                Ok(true) => heads = self.store.read(|tx| self::heads(tx, target.name()))?,
                Ok(false) => {}
                Err(error) => {
                    let error = self.in_time(error)?;
                    return self.unmet(target, heads.first(), &error, report).map(|()| None);
                }
            }
            self.pace(target).meet();
        }
        let (now, now_ms) = (self.clock.now(), (self.uptime_ms)());
        let mut pace = self.pace(target);
        let allowed = !remote || force || pace.allows(now, now_ms);
        Ok(choose(heads, (!force).then_some(now), failed, &mut pace, allowed))
    }

    /// A target did not say how far it is: that counts as a failure of what would have gone first.
    fn unmet(&self, target: &dyn Target, due: Option<&Due>, error: &Error, report: &mut Report) -> Result<()> {
        let verdict = Verdict::on(error);
        let link = Trouble::of(error) == Trouble::Link;
        let fraction = fraction();
        let (code, what) = (error.code, error.to_string());
        let mut wait_ms = verdict.wait_ms(1, fraction);
        if let Some(due) = due {
            let (name, text) = (target.name().to_owned(), format!("{code}: {what}"));
            let (epoch_id, lane, own) = (due.epoch.id, due.batch.lane, code == alarm::FORK);
            let told = Told::of(error, verdict);
            wait_ms = self.store.pen().call(move |tx| {
                let before = cursors::get(tx, &name, epoch_id, lane)?;
                let failures = before.failures + 1;
                let wait_ms = if link { 0 } else { verdict.wait_ms(failures, fraction) };
                if !own {
                    let (next_at, last_error) = (tx.now().plus(wait_ms), Some(text.clone()));
                    cursors::put(tx, &name, epoch_id, lane, &Cursor { failures, next_at, last_error, ..before })?;
                    tell::failed(tx, &name, lane, &told)?;
                }
                Ok(wait_ms)
            })?;
            report.failed.push(Failed { target: target.name().to_owned(), key: due.key(), code, what });
        }
        self.pace(target).failed(error, verdict, wait_ms, (self.uptime_ms)());
        Ok(())
    }

    /// May anything be tried at a target over the network? Where nobody was reached lately, a probe finds out.
    pub(in crate::forward) fn way_is_open(&self, target: &dyn Target) -> bool {
        let began_ms = (self.uptime_ms)();
        let leave = self.pace(target).leave(began_ms);
        if leave != Leave::Probe {
            return leave == Leave::Go;
        }
        let probed = target.probe();
        let mut pace = self.pace(target);
        match probed {
            Ok(()) => pace.reached(),
            Err(error) => {
                log::debug!("probing {}: {error}", target.name());
                pace.still_down(began_ms);
                return false;
            }
        }
        true
    }

    /// One attempt, begun already.
    fn one(
        &self,
        target: &dyn Target,
        due: &Due,
        (attempt_id, again, at): (i64, bool, Millis),
        report: &mut Report,
    ) -> Result<Ended> {
        match self.attempt(target, due, again, at) {
            Ok((put, _)) if put.landed == Landed::Part => {
                self.store.pen().call(move |tx| attempts::end(tx, attempt_id, put.landed.word(), 0))?;
                self.pace(target).arrived();
                Ok(Ended::Passed)
            }
            Ok((put, holes)) => {
                self.landed(target, due, attempt_id, put, holes)?;
                self.pace(target).arrived();
                let name = target.name().to_owned();
                report.sent.push(Sent { target: name, key: due.key(), landed: put.landed, holes });
                Ok(Ended::Sent)
            }
            Err(setback) if setback.error.code == "rows_removed" => {
                expire::skip(&self.store, target.name(), due, attempt_id)?;
                report.expired += 1;
                Ok(Ended::Passed)
            }
            Err(setback) => {
                let code = setback.error.code;
                let setback = match self.heed(target, due, setback)? {
                    Heeded::Learned => {
                        self.store.pen().call(move |tx| attempts::end(tx, attempt_id, code, 0))?;
                        return Ok(Ended::Passed);
                    }
                    Heeded::Stands(setback) => setback,
                };
                let verdict = self.failed(target, due, attempt_id, &setback)?;
                let name = target.name().to_owned();
                let Error { code, ref what, .. } = setback.error;
                report.failed.push(Failed { target: name, key: due.key(), code, what: what.clone() });
                Ok(Ended::Failed(verdict))
            }
        }
    }

    /// Commits the attempt. Withdrawals that came meanwhile are sealed in the same transaction and go first.
    pub(in crate::forward) fn begin(&self, target: &dyn Target, due: &Due) -> Result<Begun> {
        let (name, rules) = (target.name().to_owned(), self.rules()?);
        let (epoch_id, lane, batch_no) = (due.epoch.id, due.batch.lane, due.batch.batch_no);
        self.store.pen().call(move |tx| {
            if lane != Lane::Consent {
                seal::consent(tx, &rules)?;
                if next_in_lane(tx, &name, Lane::Consent)?.is_some() {
                    return Ok(Begun::ConsentFirst);
                }
            }
            let again = attempts::count(tx, &name, epoch_id, lane, batch_no)? > 0;
            let (attempt_id, _) = attempts::begin(tx, &name, epoch_id, lane, batch_no)?;
            Ok(Begun::Go { attempt_id, again, at: tx.now() })
        })
    }

    /// Renders from a snapshot taken now, after the attempt's commit, and puts.
    fn attempt(&self, target: &dyn Target, due: &Due, again: bool, at: Millis) -> Result<(Put, i64), Setback> {
        let (identity, name, batch) = (self.store.identity(), target.name(), &due.batch);
        let _turn = self.turn(target);
        let (rendered, limit) = self.store.read(|tx| {
            let refused = refused::between(tx, name, batch.lane, (batch.first_seq, batch.last_seq))?;
            let order =
                Order { recipient: target.recipient(), keys: &identity.edge.keys, began: at, refused: &refused };
            Ok((encode::render_fresh(tx, batch, &order, &self.fresh)?, limits::get(tx, name, at)?))
        })?;
        let rendered = rendered.compress(self.gzip_level);
        let put = self.put(target, due.key(), (&rendered, again), limit)?;
        Ok((put, rendered.holes))
    }

    fn landed(&self, target: &dyn Target, due: &Due, attempt_id: i64, put: Put, holes: i64) -> Result<()> {
        let name = target.name().to_owned();
        let (epoch_id, lane, batch_no) = (due.epoch.id, due.batch.lane, due.batch.batch_no);
        self.store.pen().call(move |tx| {
            let before = cursors::get(tx, &name, epoch_id, lane)?;
            let contiguous = put.acknowledged && before.acked_no == batch_no - 1;
            let acked_no = if contiguous { batch_no } else { before.acked_no };
            let cursor = Cursor { put_no: batch_no, acked_no, ..Cursor::default() };
            cursors::put(tx, &name, epoch_id, lane, &cursor)?;
            if before.failures > 0 {
                tell::landed(tx, &name, lane, before.last_error.as_deref().unwrap_or_default())?;
            }
            tell::forget_refused(tx, &name, lane)?;
            attempts::end(tx, attempt_id, put.landed.word(), holes)
        })
    }

    fn failed(&self, target: &dyn Target, due: &Due, attempt_id: i64, setback: &Setback) -> Result<Verdict> {
        let name = target.name().to_owned();
        let (epoch_id, lane) = (due.epoch.id, due.batch.lane);
        let (error, asked_ms) = (&setback.error, setback.asked_ms);
        let verdict = Verdict::on(error);
        let fraction = fraction();
        // a link that is down is probed instead: waiting would only make its return late
        let probed = target.is_remote() && Trouble::of(error) == Trouble::Link;
        let (code, text, told) = (error.code, format!("{}: {error}", error.code), Told::of(error, verdict));
        let wait_ms = self.store.pen().call(move |tx| {
            let before = cursors::get(tx, &name, epoch_id, lane)?;
            let failures = before.failures + 1;
            let wait_ms = if probed { 0 } else { wait_asked_ms(verdict, failures, fraction, asked_ms) };
            let next_at = tx.now().plus(wait_ms);
            let cursor = Cursor { failures, next_at, last_error: Some(text.clone()), ..before };
            cursors::put(tx, &name, epoch_id, lane, &cursor)?;
            tell::failed(tx, &name, lane, &told)?;
            attempts::end(tx, attempt_id, code, 0)?;
            Ok(wait_ms)
        })?;
        self.pace(target).failed(error, verdict, wait_ms, (self.uptime_ms)());
        Ok(verdict)
    }

    /// Notes what a target has acknowledged since; returns how many batches.
    fn follow(&self, target: &dyn Target) -> Result<i64> {
        let name = target.name();
        let open = self.store.read(|tx| {
            let mut open = Vec::new();
            for epoch in epochs::all(tx)? {
                for lane in Lane::ALL {
                    let cursor = cursors::get(tx, name, epoch.id, lane)?;
                    if cursor.acked_no < cursor.put_no {
                        open.push((epoch.clone(), lane, cursor));
                    }
                }
            }
            Ok(open)
        })?;
        let mut news = Vec::new();
        for (epoch, lane, cursor) in open {
            let key = Key { edge: epoch.edge, epoch: epoch.epoch, lane, batch_no: cursor.put_no };
            let acked = target.watermark(key, cursor.acked_no, cursor.put_no)?.min(cursor.put_no);
            if acked > cursor.acked_no {
                news.push((epoch.id, key, cursor.acked_no, acked));
            }
        }
        if news.is_empty() {
            return Ok(0);
        }
        let noted = news.clone();
        let name = name.to_owned();
        self.store.pen().call(move |tx| {
            for (epoch_id, key, _, acked_no) in &noted {
                let before = cursors::get(tx, &name, *epoch_id, key.lane)?;
                cursors::put(tx, &name, *epoch_id, key.lane, &Cursor { acked_no: *acked_no, ..before })?;
            }
            Ok(())
        })?;
        let mut total = 0;
        for (_, key, before, acked) in news {
            total += acked - before;
            for batch_no in before + 1..=acked {
                target.discard(key.at(batch_no))?; // what a job left behind of a batch it took
            }
        }
        Ok(total)
    }
}
