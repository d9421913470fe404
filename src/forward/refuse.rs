//! What a target says of a batch it did not take, turned into what can be sent next: smaller bodies, or the batch without
//! the lines it refuses. Must never change a seal, a row, or what another target gets.
//! Invariant: what is learned makes the next attempt strictly smaller, so that attempts at once come to an end; many
//! refused lines are a fault of the receiver's schema, not of the lines: then the lane is held for a person.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::Deserialize;

use crate::base::error::{Error, Result};
use crate::base::gzip;
use crate::base::id::Seq;
use crate::base::time::Millis;
use crate::domain::alarm;
use crate::forward::encode::{self, Order, Rendered};
use crate::forward::parts::split;
use crate::forward::run::{Begun, Due};
use crate::forward::target::{Judged, Key, Says, Setback, Target};
use crate::forward::tell::about;
use crate::forward::{Forwarder, inspect};
use crate::store::limits::Limit;
use crate::store::refused::{self, Why};
use crate::store::{ReadTx, WriteTx, alarms, attempts, batches, limits, meta};

/// So many lines in a row are refused at the most (spec/delivery 3.3).
const IN_A_ROW_MAX: usize = 100;
/// So many lines of a batch may be refused, however short it is; of a long one, one in a hundred.
const FEW: usize = 3;
/// Questions about the lines of one batch: three lines of the longest batch are found with half as many.
const QUESTIONS_MAX: usize = 200;
/// Part of a limit that later batches use, in tenths: lines do not all shrink alike.
const ROOM_TENTHS: u64 = 8;
/// A clock that says less is wrong: this program is younger.
const NEVER_BEFORE: Millis = Millis(1_767_225_600_000);
/// What to do about a batch that a receiver does not take as it is.
const HELD_REMEDY: &str = "ask who runs the receiver; the lane waits and is looked at again by itself";
/// Lines of a batch are never sealed shorter than this for a target's sake, bytes.
const LINE_BYTES_MIN: u64 = 1_024;

/// A line as it would go to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    seq: Seq,
    is_hole: bool,
}

/// The lines of a rendering.
fn lines(ndjson: &[u8]) -> Result<Vec<Line>> {
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(borrow)]
        kind: std::borrow::Cow<'a, str>,
        seq: i64,
    }
    let parse = |line: &[u8]| -> Result<Line> {
        let head: Head<'_> = serde_json::from_slice(line)
            .map_err(|e| Error::storage("a rendered line does not parse").code("damaged_batch").source(e))?;
        Ok(Line { seq: Seq(head.seq), is_hole: head.kind == "hole" })
    };
    ndjson.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(parse).collect()
}

/// How many lines of a batch a target may refuse before it is held.
fn allowed(count: usize) -> usize {
    (count / 100).max(FEW)
}

/// The longest run of refused lines among those that could be sent; holes of other reasons count neither way. The run at
/// the beginning goes on from `before`.
fn longest_run(lines: &[Line], refused: &[Seq], before: usize) -> usize {
    let (mut run, mut longest) = (before, 0);
    for line in lines {
        if refused.binary_search(&line.seq).is_ok() {
            run += 1;
            longest = longest.max(run);
        } else if !line.is_hole {
            run = 0;
        }
    }
    longest
}

/// What became of what a target said.
pub(in crate::forward) enum Heeded {
    /// Something is learned: the batch can be tried again at once.
    Learned,
    /// The failure stands, or another in its place.
    Stands(Setback),
}

/// The batch as a target would get it now.
struct Seen {
    rendered: Rendered,
    lines: Vec<Line>,
    refused: Vec<Seq>,
}

/// A batch on its way to a target: one of this edge, or one that was received of another.
pub(in crate::forward) trait Load: Clone + Send + 'static {
    /// Its key.
    fn key(&self) -> Key;

    /// What an alarm about its lane at a target is about.
    fn about(&self, target: &str) -> String;

    /// The batch as it would go now, and which lines of it the target refused before, rising; nothing of this leaves.
    fn render(&self, forwarder: &Forwarder, tx: &ReadTx<'_>, target: &dyn Target) -> Result<(Rendered, Vec<Seq>)>;

    /// The batch before it in its lane, if it is here.
    fn before(&self, tx: &ReadTx<'_>) -> Result<Option<Self>>;

    /// Commits an attempt: its row; `None` where the consent lane has something that must go before.
    fn attempt(&self, forwarder: &Forwarder, target: &dyn Target) -> Result<Option<i64>>;

    /// Notes how an attempt ended.
    fn ended(tx: &WriteTx<'_>, attempt_id: i64, outcome: &str) -> Result<()>;

    /// Notes a line as refused by a target for good.
    fn refuse(&self, tx: &WriteTx<'_>, target: &str, seq: Seq, why: Why) -> Result<()>;

    /// How many lines of its lane a target refused.
    fn refused_count(&self, tx: &ReadTx<'_>, target: &str) -> Result<i64>;
}

impl Load for Due {
    fn key(&self) -> Key {
        Due::key(self)
    }

    fn about(&self, target: &str) -> String {
        about(target, self.batch.lane)
    }

    fn render(&self, forwarder: &Forwarder, tx: &ReadTx<'_>, target: &dyn Target) -> Result<(Rendered, Vec<Seq>)> {
        let batch = &self.batch;
        let refused = refused::between(tx, target.name(), batch.lane, (batch.first_seq, batch.last_seq))?;
        let (keys, began) = (&forwarder.store.identity().edge.keys, forwarder.clock.now());
        let order = Order { recipient: target.recipient(), keys, began, refused: &refused };
        Ok((encode::render(tx, batch, &order)?, refused))
    }

    fn before(&self, tx: &ReadTx<'_>) -> Result<Option<Self>> {
        let batch = batches::get(tx, self.epoch.id, self.batch.lane, self.batch.batch_no - 1)?;
        Ok(batch.map(|batch| Due { batch, ..self.clone() }))
    }

    fn attempt(&self, forwarder: &Forwarder, target: &dyn Target) -> Result<Option<i64>> {
        Ok(match forwarder.begin(target, self)? {
            Begun::Go { attempt_id, .. } => Some(attempt_id),
            Begun::ConsentFirst => None,
        })
    }

    fn ended(tx: &WriteTx<'_>, attempt_id: i64, outcome: &str) -> Result<()> {
        attempts::end(tx, attempt_id, outcome, 0)
    }

    fn refuse(&self, tx: &WriteTx<'_>, target: &str, seq: Seq, why: Why) -> Result<()> {
        refused::insert(tx, target, self.batch.lane, seq, why).map(|_| ())
    }

    fn refused_count(&self, tx: &ReadTx<'_>, target: &str) -> Result<i64> {
        refused::count(tx, target, self.batch.lane)
    }
}

impl Forwarder {
    /// Learns from what a target said of a batch. Errors: `Busy`, `Storage`.
    pub(in crate::forward) fn heed(&self, target: &dyn Target, due: &impl Load, setback: Setback) -> Result<Heeded> {
        let setback = Setback { error: self.in_time(setback.error)?, ..setback };
        match setback.says.clone() {
            Some(Says::TooLarge { bytes_max }) => self.too_large(target, due, bytes_max, setback),
            Some(Says::BadRows { seqs }) => self.bad_rows(target, due, seqs, setback),
            _ => Ok(Heeded::Stands(setback)),
        }
    }

    /// A certificate that is not valid now: its own fault, or that of a clock which is behind what is known here. Any other
    /// error is left as it is.
    pub(in crate::forward) fn in_time(&self, error: Error) -> Result<Error> {
        if error.code != "tls_time" {
            return Ok(error);
        }
        let known = self.store.read(meta::newest_at)?.max(NEVER_BEFORE);
        let (now, what) = (self.clock.now(), error.what);
        Ok(match now < known {
            true => Error::config(format!("{what}; this machine's clock says {now}, and it was {known} already"))
                .code(alarm::CLOCK)
                .remedy("set this machine's clock"),
            false => Error::config(what).code(alarm::TLS).remedy("renew the certificate, or set this machine's clock"),
        })
    }

    fn seen(&self, tx: &ReadTx<'_>, target: &dyn Target, due: &impl Load) -> Result<Seen> {
        let (rendered, refused) = due.render(self, tx, target)?;
        let lines = lines(&rendered.ndjson)?;
        Ok(Seen { rendered, lines, refused })
    }

    /// A smaller limit is remembered; a line that is refused all by itself is refused for good.
    fn too_large(&self, target: &dyn Target, due: &impl Load, told: Option<u64>, setback: Setback) -> Result<Heeded> {
        let sent = gzip::decompress(&setback.body, inspect::LINES_BYTES_MAX).and_then(|text| lines(&text))?;
        if let [line] = sent[..] {
            let seen = self.store.read(|tx| self.seen(tx, target, due))?;
            return match line.is_hole {
                true => Ok(Heeded::Stands(held(setback, "too_large_line", "it refuses even a hole for its length"))),
                false => self.refuse(target, due, &seen, vec![line.seq], (Why::TooLarge, setback)),
            };
        }
        // a number that would have let this body pass is no help
        let body = setback.body.len() as u64;
        let body_bytes = told.filter(|told| (1..body).contains(told)).unwrap_or(body / 2);
        let seen = self.store.read(|tx| self.seen(tx, target, due))?;
        // short batches shrink less than long ones: what fits is found by trying
        let pieces = split(&seen.rendered.ndjson, body_bytes, self.gzip_level).len().max(1) as u64;
        let line_bytes = seen.rendered.ndjson.len() as u64 / pieces * ROOM_TENTHS / 10;
        let limit = Limit { body_bytes, line_bytes: line_bytes.max(LINE_BYTES_MIN) };
        let name = target.name().to_owned();
        self.store.pen().call(move |tx| limits::learn(tx, &name, limit))?;
        log::info!("{} takes at most {body_bytes} bytes at once", target.name());
        Ok(Heeded::Learned)
    }

    fn bad_rows(&self, target: &dyn Target, due: &impl Load, told: Vec<i64>, setback: Setback) -> Result<Heeded> {
        let seen = self.store.read(|tx| self.seen(tx, target, due))?;
        let mut bad = alive(&seen.lines, told);
        if bad.is_empty() {
            match self.find(target, due, &seen) {
                Ok(found) => bad = found,
                Err(other) if ["stopping", "consent_first"].contains(&other.error.code) => return Ok(Heeded::Learned),
                Err(other) => return Ok(Heeded::Stands(other)),
            }
        }
        self.refuse(target, due, &seen, bad, (Why::BadRows, setback))
    }

    /// Notes lines as refused by one target, unless there are so many that something else must be wrong.
    fn refuse(
        &self,
        target: &dyn Target,
        due: &impl Load,
        seen: &Seen,
        bad: Vec<Seq>,
        (why, setback): (Why, Setback),
    ) -> Result<Heeded> {
        let mut all: Vec<Seq> = seen.refused.iter().chain(&bad).copied().collect();
        all.sort_unstable();
        all.dedup();
        let before = self.store.read(|tx| self.run_before(tx, target, due))?;
        let run = longest_run(&seen.lines, &all, before);
        if all.len() > allowed(seen.lines.len()) || run > IN_A_ROW_MAX {
            let what = format!(
                "it refuses {} of {} lines, {run} in a row: no fault of single lines",
                all.len(),
                seen.lines.len()
            );
            return Ok(Heeded::Stands(held(setback, "too_many_refused", &what)));
        }
        let (name, about, key) = (target.name().to_owned(), due.about(target.name()), due.key());
        let (due, what) = (due.clone(), setback.error.to_string());
        self.store.pen().call(move |tx| {
            for seq in &bad {
                due.refuse(tx, &name, *seq, why)?;
            }
            let count = due.refused_count(tx, &name)?;
            let newest = bad.last().map_or(0, |seq| seq.0);
            let code = if why == Why::TooLarge { alarm::TOO_LARGE_LINE } else { alarm::REFUSED_ROWS };
            alarms::raise(tx, code, &about, &format!("{count} lines so far, the newest {newest} of {key}: {what}"))
        })?;
        Ok(Heeded::Learned)
    }

    /// How many lines in a row, up to the end of the batch before, the target has refused.
    fn run_before(&self, tx: &ReadTx<'_>, target: &dyn Target, due: &impl Load) -> Result<usize> {
        let (mut run, mut next) = (0, due.before(tx)?);
        while run <= IN_A_ROW_MAX
            && let Some(batch) = next
        {
            let Ok(seen) = self.seen(tx, target, &batch) else { break }; // its rows have gone by age
            for line in seen.lines.iter().rev() {
                match seen.refused.binary_search(&line.seq) {
                    Ok(_) => run += 1,
                    Err(_) if line.is_hole => {}
                    Err(_) => return Ok(run),
                }
            }
            next = batch.before(tx)?;
        }
        Ok(run)
    }

    /// Finds the lines a target refuses without naming them: by asking about halves.
    fn find(&self, target: &dyn Target, due: &impl Load, seen: &Seen) -> std::result::Result<Vec<Seq>, Setback> {
        let most = allowed(seen.lines.len());
        let (mut bad, mut asked) = (Vec::new(), 0);
        let mut open: Vec<Range<usize>> = Vec::new();
        let mut next = Some(0..seen.lines.len());
        while let Some(stretch) = next.take().or_else(|| open.pop()) {
            let alive: Vec<Seq> =
                seen.lines[stretch.clone()].iter().filter(|line| !line.is_hole).map(|line| line.seq).collect();
            if alive.is_empty() {
                continue;
            }
            asked += 1;
            if asked > QUESTIONS_MAX || bad.len() > most {
                break;
            }
            match self.ask(target, due, stretch.clone())? {
                Judged::Well if asked == 1 => {
                    return Err(stuck("it refuses the batch, and says of each of its lines that it is well"));
                }
                Judged::Unknown => {
                    return Err(stuck("it names no lines, and cannot be asked about them (?validate=1)"));
                }
                Judged::Well => {}
                Judged::Bad(told) => {
                    let told: Vec<Seq> = told.into_iter().map(Seq).filter(|seq| alive.contains(seq)).collect();
                    if !told.is_empty() {
                        bad.extend(told);
                    } else if alive.len() == 1 {
                        bad.extend(alive);
                    } else {
                        let middle = stretch.start + stretch.len() / 2;
                        open.extend([middle..stretch.end, stretch.start..middle]);
                    }
                }
            }
        }
        bad.sort_unstable();
        bad.dedup();
        if bad.is_empty() { Err(stuck("none of its lines is refused when asked about alone")) } else { Ok(bad) }
    }

    /// Asks a target about a stretch of a batch's lines. They leave, so it is an attempt like any other: committed first,
    /// rendered after.
    fn ask<L: Load>(
        &self,
        target: &dyn Target,
        due: &L,
        stretch: Range<usize>,
    ) -> std::result::Result<Judged, Setback> {
        if self.bell.stopped() {
            return Err(Error::busy("wayside is stopping").code("stopping").into());
        }
        let Some(attempt_id) = due.attempt(self, target)? else {
            return Err(Error::busy("the consent lane goes first").code("consent_first").into());
        };
        let limit = self.limit(target.name())?.map_or(u64::MAX, |limit| limit.body_bytes);
        let _turn = self.turn(target);
        let seen = self.store.read(|tx| self.seen(tx, target, due))?;
        let text: Vec<&[u8]> = seen.rendered.ndjson.split_inclusive(|byte| *byte == b'\n').collect();
        let gz = gzip::compress(&text.get(stretch.clone()).unwrap_or_default().concat(), self.gzip_level);
        let judged = match gz.len() as u64 > limit && stretch.len() > 1 {
            true => Ok(Judged::Bad(Vec::new())), // too long to ask: its halves are not
            false => {
                self.pace(target).spend(gz.len(), (self.uptime_ms)());
                target.judge(due.key(), &seen.rendered, &gz)
            }
        };
        let judged = match judged {
            Err(setback) if matches!(setback.says, Some(Says::TooLarge { .. })) && stretch.len() > 1 => {
                Ok(Judged::Bad(Vec::new()))
            }
            judged => judged,
        };
        let word = judged.as_ref().map_or_else(|setback| setback.error.code, |_| "judged");
        self.store.pen().call(move |tx| L::ended(tx, attempt_id, word))?;
        judged
    }
}

/// What of `told` is a line here that could be sent, rising.
fn alive(lines: &[Line], told: Vec<i64>) -> Vec<Seq> {
    let told: BTreeSet<i64> = told.into_iter().collect();
    lines.iter().filter(|line| !line.is_hole && told.contains(&line.seq.0)).map(|line| line.seq).collect()
}

/// The batch waits for a person, and so does its lane.
fn held(setback: Setback, code: &'static str, what: &str) -> Setback {
    let error = Error::config(format!("{what} ({})", setback.error)).code(code).remedy(HELD_REMEDY);
    Setback { error, says: None, ..setback }
}

fn stuck(what: &str) -> Setback {
    Error::config(what.to_owned()).code("not_taken").remedy(HELD_REMEDY).into()
}
