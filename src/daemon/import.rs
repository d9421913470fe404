//! `wayside import`, composed: the importer reads and counts, the desk stores, this file joins the two.
//! Must never read a line itself or write a row. Invariant: a busy collector is waited for, never skipped.

use std::time::Duration;

use crate::base::error::{Error, Kind, Result};
use crate::base::id::ClientId;
use crate::base::time::Millis;
use crate::domain::accesslog::LogLine;
use crate::domain::event::{Event, Fate};
use crate::domain::site::Site;
use crate::http::reply::Reply;
use crate::ingest::import::{Began, ImportOptions, Progress, Sink, Stop, Taken, Took};
use crate::ingest::limits::Limits;
use crate::ingest::shape::{Authority, Deriver, Origin};
use crate::ingest::sink::{ImportBatch, ImportFate, Mark};
use crate::ingest::wire::RawEvent;

/// Sends one request to the collector: the daemon, or the store opened by this process.
pub type Send<'a> = dyn FnMut(&str, &str, Vec<u8>) -> Result<Reply> + 'a;

/// Longest wait for a busy collector, in tries.
const TRIES_MAX: u32 = 60;

/// Batches on their way to the collector.
pub struct DeskSink<'a> {
    /// What was asked for.
    pub options: &'a ImportOptions,
    /// The way there.
    pub send: &'a mut Send<'a>,
    /// Waited on while the collector is busy.
    pub stop: &'a Stop,
}

impl DeskSink<'_> {
    /// The import is over: ends the visits it brought to their end.
    pub fn done(&mut self) -> Result<()> {
        self.ask("/v1/import/done", b"").map(|_| ())
    }

    fn ask(&mut self, target: &str, body: &[u8]) -> Result<Vec<u8>> {
        for tried in 0.. {
            let reply = (self.send)("POST", target, body.to_vec());
            let error = match reply {
                Ok(reply) if reply.status == 200 => return Ok(reply.body),
                Ok(reply) => refused(&reply),
                Err(error) => error,
            };
            if error.kind != Kind::Busy || tried >= TRIES_MAX || self.stop.pause(Duration::from_secs(1)) {
                return Err(error);
            }
        }
        Err(Error::busy("the collector stayed busy"))
    }
}

fn refused(reply: &Reply) -> Error {
    let told: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let what = told["what"].as_str().unwrap_or("the collector refused the batch").to_owned();
    match reply.status {
        503 => Error::busy(what),
        409 => Error::conflict(what),
        400..500 => Error::invalid(what),
        _ => Error::storage(what),
    }
    .remedy(told["remedy"].as_str().unwrap_or_default())
}

fn parsed<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::new(Kind::Upstream, "bad_answer", format!("the collector's answer: {e}")))
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn mark(taken: Taken) -> Mark {
    Mark {
        source: taken.source,
        head_bytes: number(taken.head_bytes as u64),
        bytes: number(taken.bytes),
        lines: number(taken.lines),
    }
}

impl Sink for DeskSink<'_> {
    fn known(&mut self, head: &[u8]) -> Result<Option<Taken>> {
        let found: Option<Mark> = parsed(&self.ask("/v1/import/known", head)?)?;
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(found.map(|m| Taken {
            source: m.source,
            head_bytes: usize::try_from(m.head_bytes).unwrap_or(0),
            bytes: count(m.bytes),
            lines: count(m.lines),
        }))
    }

    fn take(&mut self, events: Vec<Event>, step: Progress) -> Result<Vec<Took>> {
        let batch = ImportBatch {
            site: Some(self.options.site.clone()),
            basis: self.options.basis,
            purposes: self.options.purposes.0,
            was: step.was.map(mark),
            now: mark(step.now),
            events,
        };
        let body = serde_json::to_vec(&batch).map_err(|e| Error::invalid(format!("a batch has no JSON form: {e}")))?;
        let fates: Vec<ImportFate> = parsed(&self.ask("/v1/import/take", &body)?)?;
        Ok(fates.into_iter().map(took).collect())
    }
}

fn took(fate: ImportFate) -> Took {
    Took {
        fate: if fate.accepted { Fate::Accepted } else { Fate::Counted },
        began: fate.accepted.then_some(Began { visitor: fate.new_visitor, visit: fate.new_visit }),
    }
}

/// A page view of a log as an event of the site. What of it cannot be derived is left out: a log line is never lost.
pub fn page_view(deriver: &Deriver, site: &Site, line: &LogLine<'_>, visitor: Option<ClientId>) -> Event {
    let origin =
        Origin { site, user_agent: None, ip: None, place: None, sent_at: None, authority: Authority::Operator };
    let mut raw = RawEvent {
        name: Some("page_viewed".into()),
        url: Some(line.target.as_ref().into()),
        referrer: line.referrer.as_deref().map(Into::into),
        user_agent: Some(line.user_agent.as_ref().into()),
        ..RawEvent::default()
    };
    // the hash of an imported event is never compared: it has no id of its own
    let key = crate::base::digest::HashKey::new(&[0; 32]);
    let shaped = deriver.shape(&mut raw, &origin, &key, &Limits::default());
    let mut event = shaped.map_or_else(|_| Event::named("page_viewed"), |event| *event);
    event.imported_at = Some(Millis(line.at.0));
    event.visitor = visitor;
    event
}
