//! The `http` target: batches pushed to a receiver, each by one `PUT` under its key, with its manifest beside it.
//! Must never follow a redirect, take half an answer for one, or keep anything of what it sent.
//! Invariant: a batch counts as there only when the receiver said so of this very digest, and where a receiver's key is
//! known, when it signed that.

pub mod answer;

use std::collections::BTreeMap;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::base::error::{Error, Kind, Result};
use crate::base::gzip;
use crate::base::id::EdgeId;
use crate::base::text::unhex;
use crate::domain::batch::{Manifest, SealedPart};
use crate::domain::delivery::{COMPLETE_HEADER, Lies, MANIFEST_HEADER, Watermark, Watermarks};
use crate::domain::directive::Handed;
use crate::domain::signed::Signed;
use crate::forward::client::{Client, ClientOptions};
use crate::forward::encode::Rendered;
use crate::forward::http::answer::{About, Heard};
use crate::forward::idle::Quiet;
use crate::forward::options::{Recipient, TargetOptions};
use crate::forward::target::{Judged, Key, Parcel, Put, Setback, Target};

/// Longest body of an answer that is read, bytes.
pub const ANSWER_BYTES_MAX: usize = 65_536;
/// The same of the answer that tells how far a receiver is: it names every epoch and lane.
const WATERMARKS_BYTES_MAX: usize = 1 << 20;
/// The same of the answer that hands directives down.
const DIRECTIVES_BYTES_MAX: usize = 8 << 20;
/// A body this long is announced first when it is put again: a receiver that refuses it unread says so before it leaves.
const ANNOUNCED_BYTES_MIN: usize = 65_536;
/// Longest a look may take whether anybody is there.
const PROBE: Duration = Duration::from_secs(1);

/// A receiver that batches are pushed to.
#[derive(Debug)]
pub struct Http {
    name: String,
    recipient: Recipient,
    url: String,
    client: ClientOptions,
    receiver_key: Option<String>,
    /// Made when it is first needed, and anew after trouble with certificates: their files may have been renewed.
    open: Mutex<Option<Client>>,
    /// It is known to answer questions about lines without keeping them.
    judges: AtomicBool,
    /// Its last acknowledgement said that directives wait.
    beckons: AtomicBool,
}

/// How the client of a target is to be opened.
pub fn client_options(options: &TargetOptions) -> ClientOptions {
    let pair = |cert: &Option<PathBuf>, key: &Option<PathBuf>| Some((cert.clone()?, key.clone()?));
    ClientOptions {
        ca_file: options.ca_file.clone(),
        client_cert: pair(&options.client_cert_file, &options.client_key_file),
        proxy: options.proxy.clone(),
        token_file: options.token_file.clone(),
        connect_ms: u64::from(options.connect_seconds) * 1_000,
        answer_ms: u64::from(options.answer_seconds) * 1_000,
        clear: options.plain,
    }
}

impl Http {
    /// The target of these options. Nothing is opened before the first attempt.
    pub fn new(options: &TargetOptions) -> Self {
        Http {
            name: options.name.clone(),
            recipient: options.recipient,
            url: options.url.clone().unwrap_or_default(),
            client: client_options(options),
            receiver_key: options.receiver_key.clone(),
            open: Mutex::new(None),
            judges: AtomicBool::new(false),
            beckons: AtomicBool::new(false),
        }
    }

    fn client(&self) -> Result<Client> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*open {
            return Ok(client.clone());
        }
        Ok(open.insert(Client::open(&self.url, &self.client)?).clone())
    }

    /// One request and its whole answer.
    fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
        most: usize,
    ) -> Result<Heard> {
        let wait_ms = i64::try_from(self.client.answer_ms).unwrap_or(i64::MAX);
        let asked = self.client().and_then(|client| client.send(method, path, headers, body)).and_then(|answer| {
            let header = |name: &str| answer.header(name).map(str::to_owned);
            let (status, retry_after, date) = (answer.status, header("retry-after"), header("date"));
            Ok(Heard { status, retry_after, date, body: answer.short(most, wait_ms)? })
        });
        asked.map_err(|error| {
            if error.kind == Kind::Config {
                *self.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            error.context(format_args!("{method} to {}", self.name))
        })
    }

    /// Puts a body under a key, or asks about it where `path` says so.
    fn send(&self, path: &str, rendered: &Rendered, gz: &[u8], again: bool) -> Result<Heard> {
        let manifest = serde_json::to_string(&rendered.manifest).expect("invariant: a manifest has string keys");
        let mut headers = vec![
            ("content-type", "application/x-ndjson"),
            ("content-encoding", "gzip"),
            (MANIFEST_HEADER, manifest.as_str()),
        ];
        if again && gz.len() >= ANNOUNCED_BYTES_MIN {
            headers.push(("expect", "100-continue"));
        }
        self.ask("PUT", path, &headers, Some(gz), ANSWER_BYTES_MAX)
    }

    fn key(&self) -> Result<Option<[u8; 32]>> {
        self.receiver_key.as_deref().map(unhex::<32>).transpose().map_err(|e| {
            Error::config(format!("receiver_key of {}: {e}", self.name)).code("bad_ack").remedy("write 64 hex digits")
        })
    }
}

/// `/v1/batches/<key>`, of a part with `.<k>-of-<n>`.
fn path(parcel: &Parcel<'_>) -> String {
    match parcel.part {
        None => format!("/v1/batches/{}", parcel.key),
        Some(part) => format!("/v1/batches/{}.{}-of-{}", parcel.key, part.k, part.n),
    }
}

impl Target for Http {
    fn name(&self) -> &str {
        &self.name
    }

    fn recipient(&self) -> Recipient {
        self.recipient
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn put(&self, parcel: &Parcel<'_>) -> Result<Put, Setback> {
        let sealed: SealedPart = serde_json::from_str(&parcel.rendered.manifest.sealed).map_err(|e| {
            Error::storage("a rendered batch's signed part does not parse").code("damaged_batch").source(e)
        })?;
        let receiver_key = self.key()?;
        let about = About { target: &self.name, sealed: &sealed, receiver_key, more: parcel.part.map(|p| p.k < p.n) };
        let heard = self.send(&path(parcel), parcel.rendered, parcel.body(), parcel.again)?;
        let put = answer::put(&about, &heard)?;
        self.beckons.store(answer::beckons(&heard), Ordering::Relaxed);
        Ok(put)
    }

    fn judge(&self, key: Key, rendered: &Rendered, gz: &[u8]) -> Result<Judged, Setback> {
        let path = format!("/v1/batches/{key}?validate=1");
        if !self.judges.load(Ordering::Relaxed) {
            // somebody who does not know the question would keep some lines as if they were the batch: no lines first
            if self.send(&path, rendered, &gzip::compress(&[], 1), false)?.status != 204 {
                return Ok(Judged::Unknown);
            }
            self.judges.store(true, Ordering::Relaxed);
        }
        answer::judged(&self.name, &self.send(&path, rendered, gz, false)?)
    }

    fn show(&self, key: Key, manifest: Manifest) -> Result<()> {
        let holes = manifest.holes;
        let nothing = Rendered { ndjson: Vec::new(), gz: Vec::new(), manifest, holes };
        // whatever it says, it has seen it
        self.send(&format!("/v1/batches/{key}?validate=1"), &nothing, &gzip::compress(&[], 1), false).map(|_| ())
    }

    fn watermarks(&self, edge: EdgeId) -> Result<Option<Vec<Watermark>>> {
        let heard = self.ask("GET", &format!("/v1/watermarks/{edge}"), &[], None, WATERMARKS_BYTES_MAX)?;
        match heard.status {
            404 | 405 | 501 => return Ok(None),
            200 => {}
            _ => return Err(answer::refusal(&self.name, &heard).error),
        }
        let bad = |what: String| {
            Error::new(Kind::Upstream, "bad_answer", format!("{} does not say how far it is: {what}", self.name))
        };
        let told: Watermarks = serde_json::from_slice(&heard.body).map_err(|e| bad(e.to_string()))?;
        if told.edge != edge.to_string() {
            return Err(bad(format!("it tells of the edge {:?}", told.edge)));
        }
        Ok(Some(told.watermarks))
    }

    fn idle(&self, edge: EdgeId, quiet: &[Quiet]) -> Result<()> {
        let said: BTreeMap<&str, String> = quiet.iter().map(|(lane, until)| (lane.word(), until.rfc3339())).collect();
        let header = serde_json::to_string(&said).expect("invariant: lanes have words");
        let (path, headers) = (format!("/v1/watermarks/{edge}"), [(COMPLETE_HEADER, header.as_str())]);
        let heard = self.ask("GET", &path, &headers, None, WATERMARKS_BYTES_MAX)?;
        // whoever has no use for it says so in whatever way
        if heard.status < 500 { Ok(()) } else { Err(answer::refusal(&self.name, &heard).error) }
    }

    fn digest_of(&self, key: Key) -> Result<Option<String>> {
        let heard = self.ask("GET", &format!("/v1/digests/{key}"), &[], None, ANSWER_BYTES_MAX)?;
        match heard.status {
            404 | 405 | 410 | 501 => return Ok(None), // not there, or it cannot say
            200 => {}
            _ => return Err(answer::refusal(&self.name, &heard).error),
        }
        let told: Option<Lies> = serde_json::from_slice(&heard.body).ok();
        told.filter(|lies| lies.key == key.to_string()).map(|lies| Some(lies.digest.to_ascii_lowercase())).ok_or_else(
            || Error::new(Kind::Upstream, "bad_answer", format!("{} does not say what lies under {key}", self.name)),
        )
    }

    fn introduce(&self, edge: EdgeId, statement: &Signed) -> Result<bool, Setback> {
        let body = serde_json::to_vec(statement).expect("invariant: a statement has string keys");
        let headers = [("content-type", "application/json")];
        let heard = self.ask("PUT", &format!("/v1/edges/{edge}"), &headers, Some(&body), ANSWER_BYTES_MAX)?;
        answer::introduced(&self.name, &heard)
    }

    fn directives(&self, edge: EdgeId, after: i64) -> Result<Option<Handed>> {
        let heard =
            self.ask("GET", &format!("/v1/directives/{edge}?after={after}"), &[], None, DIRECTIVES_BYTES_MAX)?;
        match heard.status {
            404 | 405 | 501 => return Ok(None),
            200 => {}
            _ => return Err(answer::refusal(&self.name, &heard).error),
        }
        let bad = |what: String| {
            let what = format!("{} does not say which directives wait: {what}", self.name);
            Error::new(Kind::Upstream, "bad_answer", what)
        };
        let handed: Handed = serde_json::from_slice(&heard.body).map_err(|e| bad(e.to_string()))?;
        if handed.edge != edge.to_string() {
            return Err(bad(format!("it tells of the edge {:?}", handed.edge)));
        }
        self.beckons.store(false, Ordering::Relaxed);
        Ok(Some(handed))
    }

    fn report(&self, edge: EdgeId, report: &Signed) -> Result<()> {
        let body = serde_json::to_vec(&serde_json::json!({"reports": [report]})).expect("invariant: string keys");
        let path = format!("/v1/directives/{edge}/reports");
        let heard = self.ask("POST", &path, &[("content-type", "application/json")], Some(&body), ANSWER_BYTES_MAX)?;
        match heard.status {
            200..=299 => answer::report_taken(&self.name, &heard),
            _ => Err(answer::refusal(&self.name, &heard).error),
        }
    }

    fn beckons(&self) -> bool {
        self.beckons.load(Ordering::Relaxed)
    }

    fn probe(&self) -> Result<()> {
        let far = self.client.proxy.as_deref().unwrap_or(&self.url);
        let bare = far.split_once("://").map_or(far, |(_, rest)| rest);
        let authority = bare.split(['/', '?', '#']).next().unwrap_or_default().rsplit('@').next().unwrap_or_default();
        let port = match authority.rsplit_once(':') {
            Some((_, port)) if port.bytes().all(|b| b.is_ascii_digit()) => None,
            _ if far.starts_with("https:") => Some(443),
            _ => Some(80),
        };
        let place = port.map_or_else(|| authority.to_owned(), |port| format!("{authority}:{port}"));
        let nobody = |code, what: String| Error::new(Kind::Upstream, code, format!("{place}: {what}"));
        let found = place.to_socket_addrs().map_err(|e| nobody("dns", e.to_string()))?;
        let mut trouble = nobody("dns", "no address".to_owned());
        for address in found {
            match TcpStream::connect_timeout(&address, PROBE) {
                Ok(_) => return Ok(()),
                Err(e) => trouble = nobody("unreachable", e.to_string()),
            }
        }
        Err(trouble)
    }
}

#[cfg(test)]
mod tests;
