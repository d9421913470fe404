//! Reads access logs and hands their page views over in batches. Owns which line counts as what, and that none counts
//! twice; must never know how a batch is stored (a [`Sink`] does) or how an event is derived (a [`Shape`] does).
//! Invariant: events and the offset behind them are handed over together, so a crash neither loses nor doubles a line.
//!
//! A source is known by the SHA-256 of its first `min(64 KiB, bytes taken)` decompressed bytes. The hash grows with the
//! source up to 64 KiB, so a log taken when it was short is found again when it is long, packed or renamed.

mod count;
mod lines;
mod source;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use serde::Serialize;

use crate::base::digest::{Hash, HashKey, Hasher, sha256};
use crate::base::error::{Error, Kind, Result};
use crate::base::id::{ClientId, random_bytes};
use crate::base::text::hex;
use crate::base::time::Millis;
use crate::domain::accesslog::{Class, LogLine, classify, parse};
use crate::domain::consent::{LawfulBasis, Purposes};
use crate::domain::event::{Event, Fate};

use count::Visitors;
use lines::{Lines, Next};
use source::{Change, Input};

/// Events per batch, at most (contract 6).
pub const BATCH_EVENTS_MAX: usize = 1_000;
/// Bytes of log lines per batch, at most: keeps a request to the daemon far below its own limit.
pub const BATCH_BYTES_MAX: usize = 512 * 1024;
/// Lines that may go by without an event before the offset is handed over alone.
const BATCH_LINES_MAX: u64 = 50_000;
/// How many lines are read between two looks at stop and progress.
const GLANCE_LINES: u64 = 1_000;

/// What is stated on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// The site the log belongs to; for the sink and the shape.
    pub site: String,
    /// The lawful basis of keeping visitors; `None` = only counters are kept.
    pub basis: Option<LawfulBasis>,
    /// What the events may be used for; for the sink.
    pub purposes: Purposes,
    /// Go on with the last source as it grows, across rotation.
    pub follow: bool,
    /// How often a followed file is looked at, in ms.
    pub poll_ms: u64,
}

impl Default for ImportOptions {
    fn default() -> Self {
        ImportOptions { site: "default".into(), basis: None, purposes: Purposes::MEASURE, follow: false, poll_ms: 500 }
    }
}

impl ImportOptions {
    /// Is this a ground to stand on? Errors: `Invalid`, codes `import_basis`, `import_purposes`.
    pub fn check(&self) -> Result<()> {
        if self.basis == Some(LawfulBasis::Consent) {
            return Err(Error::invalid("a log holds no consent of anyone")
                .code("import_basis")
                .remedy("state another basis, for example legitimate_interest, or none to keep counters only"));
        }
        if self.basis.is_some() && !self.purposes.has(Purposes::MEASURE) {
            return Err(Error::invalid("every purpose rests on measure, and measure is not among the purposes")
                .code("import_purposes")
                .remedy("add measure, or state no basis to keep counters only"));
        }
        Ok(())
    }
}

/// What became of the lines of one run; keys are stable. `lines` is the sum of `duplicates`, `malformed`,
/// `other_method`, `other_status`, `assets` and `page_views`, tested in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Lines read.
    pub lines: u64,
    /// Not of the format, or over 64 KiB.
    pub malformed: u64,
    /// Page views, those of robots included.
    pub page_views: u64,
    /// Files that belong to pages, and downloads.
    pub assets: u64,
    /// Not GET.
    pub other_method: u64,
    /// Neither 2xx nor 304.
    pub other_status: u64,
    /// Page views of robots.
    pub robots: u64,
    /// Visitors first seen in this run, robots included; 0 without a lawful basis.
    pub visitors: u64,
    /// Visits begun in this run, those of robots included; 0 without a lawful basis.
    pub visits: u64,
    /// Lines taken by an earlier run.
    pub duplicates: u64,
}

/// How far a source was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// SHA-256 of its first `head_bytes` bytes.
    pub source: Hash,
    /// min(64 KiB, `bytes`), never 0.
    pub head_bytes: usize,
    /// Decompressed bytes taken.
    pub bytes: u64,
    /// Lines in them.
    pub lines: u64,
}

/// The step a batch makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The record this step starts from; it is replaced, whatever its `source` is. `None` = the source is new.
    pub was: Option<Taken>,
    /// The record that stands afterwards.
    pub now: Taken,
}

/// What became of one event of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Took {
    /// Its outcome.
    pub fate: Fate,
    /// What it began; `None` where the sink does not tell: the importer then counts by contract 3 itself.
    pub began: Option<Began>,
}

/// What one event began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Began {
    /// Its visitor was not known before.
    pub visitor: bool,
    /// It opened a visit.
    pub visit: bool,
}

/// Where batches go.
pub trait Sink {
    /// The record of the source that begins with `head` (its first 64 KiB, or all of it); see [`recognise`].
    fn known(&mut self, head: &[u8]) -> Result<Option<Taken>>;

    /// Stores a batch of at most [`BATCH_EVENTS_MAX`] events and the step, in one transaction; the events are placed in
    /// their order, by the 20-minute rule alone. Waits by itself while the store is busy. One answer per event, in order.
    /// Errors: `Conflict` where `step.was` no longer stands (another import takes the same source).
    fn take(&mut self, batch: Vec<Event>, step: Progress) -> Result<Vec<Took>>;
}

/// Derives an event from a page view; without a visitor it can only be counted.
pub type Shape<'a> = dyn Fn(&LogLine<'_>, Option<ClientId>) -> Event + 'a;

/// Of the records of a store, the one whose source begins like `head`: the longest match.
pub fn recognise(head: &[u8], records: impl IntoIterator<Item = Taken>) -> Option<Taken> {
    let mut records: Vec<Taken> =
        records.into_iter().filter(|record| (1..=head.len()).contains(&record.head_bytes)).collect();
    records.sort_by_key(|record| record.head_bytes);
    let (mut hasher, mut hashed, mut found) = (Hasher::new(), 0, None);
    for record in records {
        hasher.add(&head[hashed..record.head_bytes]);
        hashed = record.head_bytes;
        if hasher.clone().finish() == record.source {
            found = Some(record);
        }
    }
    found
}

/// One thing to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, plain or gzip.
    File(PathBuf),
    /// Standard input, plain or gzip.
    Stdin,
}

impl Source {
    /// `-` is standard input, anything else a file.
    pub fn parse(name: &str) -> Self {
        if name == "-" { Source::Stdin } else { Source::File(name.into()) }
    }
}

/// Tells a running import to stop: after the batch in hand, or at once while it waits.
pub struct Stop {
    told: std::cell::Cell<bool>,
    channel: Receiver<()>,
    /// Keeps the channel open where nobody else does.
    _open: Option<Sender<()>>,
}

impl Stop {
    /// A stop and the handle that tells it: by sending, or by being dropped.
    pub fn pair() -> (Sender<()>, Stop) {
        let (sender, channel) = channel();
        (sender, Stop { told: false.into(), channel, _open: None })
    }

    /// One that nobody tells.
    pub fn never() -> Self {
        let (sender, channel) = channel();
        Stop { told: false.into(), channel, _open: Some(sender) }
    }

    /// Waits at most so long, for a sink whose store is busy; true = stop.
    pub fn pause(&self, at_most: Duration) -> bool {
        self.wait(at_most)
    }

    /// Waits at most so long; true = stop.
    fn wait(&self, at_most: Duration) -> bool {
        if !self.told.get() {
            self.told.set(self.channel.recv_timeout(at_most) != Err(RecvTimeoutError::Timeout));
        }
        self.told.get()
    }

    fn now(&self) -> bool {
        self.wait(Duration::ZERO)
    }
}

/// Everything one run needs.
pub struct Import<'a> {
    /// What was asked for.
    pub options: &'a ImportOptions,
    /// Where batches go.
    pub sink: &'a mut dyn Sink,
    /// How a page view becomes an event.
    pub shape: &'a Shape<'a>,
    /// Told to stop, the run ends well, with what it has taken.
    pub stop: &'a Stop,
    /// Called now and then with bytes read so far and, where known, bytes in all (as they lie on disk).
    pub progress: &'a mut dyn FnMut(u64, Option<u64>),
}

impl Import<'_> {
    /// Imports the sources in their order, as one log: a visitor is the same in all of them.
    /// Errors: those of [`ImportOptions::check`] and of the sink; `NotFound`, `Storage` and `Invalid` (code `bad_gzip`)
    /// of a source; `Invalid` where what is to be followed is no plain file. What was taken before an error stays taken.
    pub fn run(self, sources: &[Source]) -> Result<Tally> {
        self.options.check()?;
        let bytes_total = source::total_bytes(sources)?.filter(|_| !self.options.follow);
        let mut run = Run {
            // Random and never kept: after this run nobody can tell which address a visitor had.
            key: HashKey::new(&random_bytes()),
            tally: Tally::default(),
            visitors: Visitors::default(),
            bytes_before: 0,
            bytes_total,
            import: self,
        };
        for (n, source) in sources.iter().enumerate() {
            let follow = run.import.options.follow && n + 1 == sources.len();
            let mut ended = run.one(Input::open(source, follow)?)?;
            while ended == Ended::Replaced {
                ended = run.next_of(source)?;
            }
            if run.import.stop.now() {
                break;
            }
        }
        Ok(run.tally)
    }
}

/// How the reading of one source ended.
#[derive(PartialEq, Eq)]
enum Ended {
    /// All of it was read, or the run was stopped.
    Done,
    /// Another file stands in its place, to be read from its beginning.
    Replaced,
}

/// A run under way.
struct Run<'a> {
    import: Import<'a>,
    key: HashKey,
    tally: Tally,
    visitors: Visitors,
    bytes_before: u64,
    bytes_total: Option<u64>,
}

/// What is read of a source and not yet handed over, and where it stands.
#[derive(Default)]
struct Batch {
    events: Vec<Event>,
    /// Bytes of their lines.
    bytes: usize,
    /// Who was there, and when, event by event.
    views: Vec<(Option<ClientId>, Millis)>,
    /// New lines since the last hand-over.
    fresh_lines: u64,
    /// The record in the store.
    was: Option<Taken>,
    /// Lines of the source so far.
    lines: u64,
}

impl Run<'_> {
    fn one(&mut self, input: Input) -> Result<Ended> {
        let mut lines = Lines::over(input);
        let mut batch = Batch::default();
        let ended = loop {
            match lines.advance() {
                Err(error) => {
                    self.hand_over(&lines, &mut batch)?;
                    return Err(error);
                }
                Ok(Next::End) => {
                    if let Some(ended) = self.at_end(&mut lines, &mut batch)? {
                        break ended;
                    }
                }
                Ok(next) => {
                    self.line(&lines, next, &mut batch)?;
                    if batch.lines % GLANCE_LINES == 0 {
                        (self.import.progress)(self.bytes_before + lines.input().raw_bytes(), self.bytes_total);
                        if self.import.stop.now() {
                            self.hand_over(&lines, &mut batch)?;
                            break Ended::Done;
                        }
                    }
                }
            }
        };
        self.bytes_before += lines.input().raw_bytes();
        (self.import.progress)(self.bytes_before, self.bytes_total);
        Ok(ended)
    }

    /// Reads the file that took the place of the one before.
    fn next_of(&mut self, source: &Source) -> Result<Ended> {
        loop {
            match Input::open(source, true) {
                Ok(input) => return self.one(input),
                // Between two names: rotation moves once more.
                Err(error) if error.kind == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
            if self.import.stop.wait(self.poll()) {
                return Ok(Ended::Done);
            }
        }
    }

    fn poll(&self) -> Duration {
        Duration::from_millis(self.import.options.poll_ms.max(1))
    }

    /// Nothing more to read just now. `None` = read on.
    fn at_end(&mut self, lines: &mut Lines, batch: &mut Batch) -> Result<Option<Ended>> {
        let followed = lines.input().is_followed();
        let change = lines.input_mut().change()?;
        if !followed || change == Change::Replaced {
            // A last line without a line feed is a line: nobody will write the rest of it.
            if let Some(next) = lines.rest() {
                self.line(lines, next, batch)?;
            }
        }
        self.hand_over(lines, batch)?;
        if !followed {
            return Ok(Some(Ended::Done));
        }
        if change == Change::Replaced {
            return Ok(Some(Ended::Replaced));
        }
        (self.import.progress)(self.bytes_before + lines.input().raw_bytes(), self.bytes_total);
        let stopped = self.import.stop.wait(self.poll());
        Ok(stopped.then_some(Ended::Done))
    }

    fn line(&mut self, lines: &Lines, next: Next, batch: &mut Batch) -> Result<()> {
        if batch.lines == 0 {
            batch.was = self.import.sink.known(lines.input().head())?;
        }
        batch.lines += 1;
        self.tally.lines += 1;
        if already_taken(lines, &next, batch.was.map_or(0, |was| was.bytes)) {
            self.tally.duplicates += 1;
            return Ok(());
        }
        batch.fresh_lines += 1;
        self.test(lines.line().filter(|_| next == Next::Line), batch);
        let full = batch.events.len() >= BATCH_EVENTS_MAX || batch.bytes >= BATCH_BYTES_MAX;
        if full || batch.fresh_lines >= BATCH_LINES_MAX {
            self.hand_over(lines, batch)?;
        }
        Ok(())
    }

    /// Counts a new line, and keeps its event if it is a page view. `None` = too long.
    fn test(&mut self, line: Option<&[u8]>, batch: &mut Batch) {
        let tally = &mut self.tally;
        let Some(read) = line.and_then(parse) else {
            tally.malformed += 1;
            return;
        };
        match classify(&read) {
            Class::OtherMethod => tally.other_method += 1,
            Class::OtherStatus => tally.other_status += 1,
            Class::Asset => tally.assets += 1,
            Class::PageView => {
                tally.page_views += 1;
                let visitor = self.import.options.basis.map(|_| visitor_id(&self.key, &read));
                let event = (self.import.shape)(&read, visitor.clone());
                tally.robots += u64::from(event.robot().is_some());
                batch.bytes += line.map_or(0, <[u8]>::len);
                batch.views.push((visitor, read.at));
                batch.events.push(event);
            }
        }
    }

    /// Hands over what was read, up to the last whole line.
    fn hand_over(&mut self, lines: &Lines, batch: &mut Batch) -> Result<()> {
        if batch.fresh_lines == 0 {
            return Ok(());
        }
        let bytes = lines.next_at();
        let head = lines.input().head();
        let head = &head[..head.len().min(usize::try_from(bytes).unwrap_or(usize::MAX))];
        let source = sha256(head);
        let now = Taken { source, head_bytes: head.len(), bytes, lines: batch.lines };
        let events = std::mem::take(&mut batch.events);
        let count = events.len();
        let took = self.import.sink.take(events, Progress { was: batch.was, now })?;
        if took.len() != count {
            return Err(Error::storage(format!("{count} events were handed over, {} answers came back", took.len())));
        }
        for ((visitor, at), took) in batch.views.drain(..).zip(took) {
            let Some(visitor) = visitor.filter(|_| took.fate == Fate::Accepted) else { continue };
            let began = took.began.unwrap_or_else(|| self.visitors.meet(visitor, at));
            self.tally.visitors += u64::from(began.visitor);
            self.tally.visits += u64::from(began.visit);
        }
        *batch = Batch { was: Some(now), lines: batch.lines, ..Batch::default() };
        Ok(())
    }
}

/// The visitor of a line under the key of this run: nothing else links the two.
fn visitor_id(key: &HashKey, line: &LogLine<'_>) -> ClientId {
    let hash = key.hmac(&[line.remote.as_bytes(), line.user_agent.as_bytes()]);
    ClientId::new(&hex(&hash[..16]))
}

/// Was this line taken when the first `taken` bytes were? A line that straddles the border was, unless only a piece of
/// it was there then: a piece is no line, so the whole is taken now.
fn already_taken(lines: &Lines, next: &Next, taken: u64) -> bool {
    if lines.next_at() <= taken || lines.line_at() >= taken {
        return lines.next_at() <= taken;
    }
    let piece = usize::try_from(taken - lines.line_at()).unwrap_or(usize::MAX);
    match lines.line() {
        Some(line) if *next == Next::Line && piece < line.len() => parse(&line[..piece]).is_some(),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
