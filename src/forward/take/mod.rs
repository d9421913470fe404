//! Pulling, the side that comes for batches: list, take, verify, keep, acknowledge.
//! Must never acknowledge what is not on the disk of the destination, nor keep a batch that does not verify among the others.
//! Invariant: what was taken is remembered before it is acknowledged, so that a run cut off anywhere goes on where it was.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::error::{Error, Kind, Result, io};
use crate::domain::batch::{Manifest, SealedPart};
use crate::forward::client::{Answer, Client};
use crate::forward::dir::make_dirs;

pub mod cat;
pub mod elsewhere;
pub mod fetch;
pub mod joined;
pub mod shelf;
pub mod taken;

use self::fetch::{Came, Fetched, fetch};
use self::shelf::Shelf;
use self::taken::{Taken, Way};

/// How long a lease is taken for, seconds: longer than what is done between two renewals, save by a slow command.
const LEASE_SECONDS: i64 = 300;

/// What a job takes, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobOptions {
    /// The cursor; `None` where the other side has only one.
    pub cursor: Option<String>,
    /// Only this lane (and consent).
    pub lane: Option<String>,
    /// Only of this edge.
    pub edge: Option<String>,
    /// Batches of one round at the most.
    pub limit: u32,
    /// The only key that may have signed; without it the first one of an edge and epoch is remembered.
    pub key: Option<[u8; 32]>,
    /// Acknowledge nothing: `wayside ack` does.
    pub no_ack: bool,
    /// What the job calls itself.
    pub holder: String,
}

/// What a round came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Batches that came and are kept.
    pub taken: u64,
    /// Their compressed bytes.
    pub bytes: u64,
    /// Batches newly acknowledged.
    pub acknowledged: u64,
    /// Batches that were here already.
    pub known: u64,
    /// Batches the other side has no longer, by key: rows of them went before this job came.
    pub gone: Vec<String>,
    /// Batches that do not verify, by key, each with why; kept aside.
    pub bad: Vec<(String, String)>,
    /// There is more to take.
    pub more: bool,
}

/// What is done with files before they are acknowledged. Errors: `Busy` where it did not work out.
pub type Then<'a> = dyn FnMut(&[PathBuf]) -> Result<()> + 'a;
/// Told batches done, and how many the round has.
pub type Told<'a> = dyn FnMut(u64, u64) + 'a;

/// One job: a cursor there, a destination here.
pub struct Job {
    client: Client,
    options: JobOptions,
    shelf: Box<dyn Shelf>,
    taken: Taken,
    own: PathBuf,
    fence: Option<i64>,
    place: Option<String>,
    stopped: Vec<Way>,
    _lock: File,
}

#[derive(Deserialize)]
struct Page {
    batches: Vec<Offered>,
    next: String,
    more: bool,
}

#[derive(Deserialize)]
struct Offered {
    key: String,
    manifest: Signed,
}

#[derive(Deserialize)]
struct Signed {
    sealed: String,
    signature: String,
    public_key: String,
}

/// A batch of this round that is here now.
struct Here {
    way: Way,
    batch_no: i64,
    digest: String,
    file: PathBuf,
}

impl Job {
    /// A job that keeps what it needs to remember below `own`, a folder of its own. Errors: `Conflict` with code `in_use` while
    /// another job works there; `Storage`, `Invalid`.
    pub fn open(client: Client, options: JobOptions, shelf: Box<dyn Shelf>, own: &Path) -> Result<Job> {
        make_dirs(own)?;
        let path = own.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(|e| io(format_args!("opening {}", path.display()), e))?;
        lock.try_lock().map_err(|_| {
            Error::busy(format!("another job works in {}", own.display()))
                .code("in_use")
                .remedy("wait until it has ended")
        })?;
        let taken = Taken::load(own)?;
        let own = own.to_owned();
        Ok(Job { client, options, shelf, taken, own, fence: None, place: None, stopped: Vec::new(), _lock: lock })
    }

    /// One page of what there is: taken, verified, kept, handed to `then`, acknowledged. Waits up to `wait_s` seconds where there
    /// is nothing. Errors: `Busy` to try later; what was taken before stays taken, and is acknowledged where it could be.
    pub fn round(&mut self, wait_s: u32, then: &mut Then<'_>, told: &mut Told<'_>) -> Result<Round> {
        let mut round = Round::default();
        self.lease(LEASE_SECONDS)?;
        let page = self.list(wait_s)?;
        let all = page.batches.len() as u64;
        let mut here = Vec::new();
        let mut trouble = None;
        for (n, offered) in page.batches.iter().enumerate() {
            match self.one(offered, &mut round) {
                Ok(one) => here.extend(one),
                Err(error) => {
                    trouble = Some(error);
                    break;
                }
            }
            told(n as u64 + 1, all);
        }
        let finished = self.finish(&here, then, &mut round);
        round.more = page.more || trouble.is_some();
        match (finished, trouble) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(error)) if error.code == "consent_first" => {
                round.more = true; // the page is asked for again, from where it began
                Ok(round)
            }
            (Ok(()), Some(error)) => Err(error),
            (Ok(()), None) => {
                self.place = Some(page.next);
                Ok(round)
            }
        }
    }

    /// Gives the lease back. Errors: those of the other side.
    pub fn end(&mut self) -> Result<()> {
        if self.fence.is_some() {
            self.lease(0)?;
        }
        Ok(())
    }

    /// Acknowledges what was taken and is not yet. Returns how many batches newly are. Errors: `Busy`, `Conflict`.
    pub fn acknowledge(&mut self) -> Result<u64> {
        self.lease(LEASE_SECONDS)?;
        let open: Vec<(Way, i64, String)> = self.taken.open();
        let mut news = 0;
        for (way, no, digest) in open {
            news += self.ack(&way, no, &digest)?;
        }
        Ok(news)
    }

    /// One batch: here already, taken now, or why not. `None` where it is not to be acknowledged.
    fn one(&mut self, offered: &Offered, round: &mut Round) -> Result<Option<Here>> {
        let key = offered.key.as_str();
        let (way, batch_no) = Way::of_key(key)?;
        if self.stopped.iter().any(|stopped| stopped.holds_up(&way)) {
            return Ok(None);
        }
        let part = match self.signed(&offered.manifest, &way, batch_no) {
            Ok(part) => part,
            Err(error) => return self.is_bad(key, way, None, &error, round).map(|()| None),
        };
        if self.taken.has(&way, batch_no) {
            round.known += 1;
            self.touch(key)?;
            let file = self.shelf.file(&part)?;
            return Ok(Some(Here { way, batch_no, digest: part.digest, file }));
        }
        let headers = self.query();
        match fetch(&self.client, &self.own, key, &headers)? {
            Came::Whole(fetched) => match self.sound(&fetched, &part) {
                Ok(()) => {
                    let file = self.shelf.put(&part, &fetched)?;
                    self.taken.took(&way, batch_no, &part.digest, &offered.manifest.public_key)?;
                    fetched.forget()?;
                    round.taken += 1;
                    round.bytes += fetched.gz.len() as u64;
                    Ok(Some(Here { way, batch_no, digest: part.digest, file }))
                }
                Err(error) => self.is_bad(key, way, Some(&fetched), &error, round).map(|()| None),
            },
            Came::Gone => {
                round.gone.push(key.to_owned());
                self.taken.took(&way, batch_no, &part.digest, &offered.manifest.public_key)?;
                Ok(None)
            }
        }
    }

    /// The signed part: of this key, by the right hand, and behind the one before it.
    fn signed(&self, signed: &Signed, way: &Way, batch_no: i64) -> Result<SealedPart> {
        let manifest = Manifest {
            sealed: signed.sealed.clone(),
            signature: signed.signature.clone(),
            public_key: signed.public_key.clone(),
            holes: 0,
            complete_until: String::new(),
            backlog_rows: 0,
        };
        let part = manifest.open(self.options.key.as_ref())?;
        let bad = |code: &'static str, what: String| Err(Error::invalid(what).code(code));
        if !way.is_of(&part) || part.batch_no != batch_no {
            return bad("bad_manifest", "it is signed as another batch".to_owned());
        }
        if part.schema.split('.').next() != crate::domain::line::SCHEMA.split('.').next() {
            // kept, not read: digests hold whatever the lines say
            log::warn!("batch {} has lines of schema {}", part.batch_no, part.schema);
        }
        match self.taken.signer(way) {
            Some(known) if known != signed.public_key => {
                return bad("bad_signature", "another key has signed than the batches before it".to_owned());
            }
            _ => {}
        }
        match self.taken.at(way) {
            Some((no, digest)) if no == batch_no && digest != part.digest => {
                bad("fork", "another batch of this number was taken before".to_owned())
            }
            Some((no, digest)) if no + 1 == batch_no && part.previous_digest.as_deref() != Some(digest) => {
                bad("chain", "the chain to the batch before it is broken".to_owned())
            }
            _ => Ok(part),
        }
    }

    /// Lines, digest, holes, and that bytes and signed part are those that were listed.
    fn sound(&self, fetched: &Fetched, part: &SealedPart) -> Result<()> {
        let inspected =
            crate::forward::inspect::batch(fetched.manifest.as_bytes(), &fetched.gz, self.options.key.as_ref())?;
        if inspected.part != *part {
            return Err(Error::invalid("it came with another signed part than was listed").code("bad_manifest"));
        }
        Ok(())
    }

    /// Kept aside; its lane stops for this job (and the edge's other lanes behind its consent lane).
    fn is_bad(
        &mut self,
        key: &str,
        way: Way,
        fetched: Option<&Fetched>,
        error: &Error,
        round: &mut Round,
    ) -> Result<()> {
        self.shelf.put_aside(key, fetched, &error.to_string())?;
        if let Some(fetched) = fetched {
            fetched.forget()?;
        }
        round.bad.push((key.to_owned(), error.to_string()));
        self.stopped.push(way);
        Ok(())
    }

    /// What is done with the files, then the acknowledgement of each lane.
    fn finish(&mut self, here: &[Here], then: &mut Then<'_>, round: &mut Round) -> Result<()> {
        let mut files: Vec<PathBuf> = Vec::new();
        for one in here {
            if files.last() != Some(&one.file) && !files.contains(&one.file) && one.file.exists() {
                files.push(one.file.clone());
            }
        }
        if !files.is_empty() {
            then(&files)?;
        }
        if self.options.no_ack {
            return Ok(());
        }
        let mut last: BTreeMap<&Way, (i64, &str)> = BTreeMap::new();
        for one in here {
            let end = last.entry(&one.way).or_insert((one.batch_no, &one.digest));
            if one.batch_no >= end.0 {
                *end = (one.batch_no, &one.digest);
            }
        }
        let last: Vec<(Way, i64, String)> =
            last.into_iter().map(|(way, (no, d))| (way.clone(), no, d.to_owned())).collect();
        for (way, no, digest) in last {
            round.acknowledged += self.ack(&way, no, &digest)?;
        }
        Ok(())
    }

    fn ack(&mut self, way: &Way, no: i64, digest: &str) -> Result<u64> {
        let body = json!({
            "cursor": self.options.cursor, "fence": self.fence, "edge": way.edge, "epoch": way.epoch, "lane": way.lane,
            "upto": no, "digest": digest,
        });
        let told = self.ask("POST", "/v1/acks", &body)?;
        self.taken.acked(way, no)?;
        Ok(told["acknowledged"].as_u64().unwrap_or(0))
    }

    fn lease(&mut self, ttl_s: i64) -> Result<()> {
        let body = json!({"cursor": self.options.cursor, "holder": self.options.holder, "ttl_seconds": ttl_s});
        let told = self.ask("POST", "/v1/leases", &body)?;
        self.fence = if ttl_s > 0 { told["fence"].as_i64() } else { None };
        Ok(())
    }

    fn list(&self, wait_s: u32) -> Result<Page> {
        let mut path = format!("/v1/batches?limit={}&wait={wait_s}", self.options.limit);
        let named = [
            ("cursor", &self.options.cursor),
            ("after", &self.place),
            ("lane", &self.options.lane),
            ("edge", &self.options.edge),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", encoded(value)));
            }
        }
        let answer = self.client.send("GET", &path, &[], None).map_err(later)?;
        if answer.status != 200 {
            return Err(refusal(answer));
        }
        serde_json::from_slice(&answer.bytes().map_err(later)?).map_err(|e| strange(&self.client, &e.to_string()))
    }

    /// Says that a batch is here already: it must have been given out to be acknowledged.
    fn touch(&self, key: &str) -> Result<()> {
        let path = format!("/v1/batches/{key}{}", self.query());
        let answer = self.client.send("GET", &path, &[("if-none-match", "*")], None).map_err(later)?;
        match answer.status {
            304 | 200 | 410 => Ok(()),
            _ => Err(refusal(answer)),
        }
    }

    fn query(&self) -> String {
        self.options.cursor.as_ref().map(|name| format!("?cursor={}", encoded(name))).unwrap_or_default()
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let bytes = body.to_string().into_bytes();
        let headers = [("content-type", "application/json")];
        let answer = self.client.send(method, path, &headers, Some(&bytes)).map_err(later)?;
        if answer.status != 200 {
            return Err(refusal(answer));
        }
        serde_json::from_slice(&answer.bytes().map_err(later)?).map_err(|e| strange(&self.client, &e.to_string()))
    }
}

/// Whoever is not there now may be there later.
fn later(mut error: Error) -> Error {
    if error.kind == Kind::Upstream {
        error.kind = Kind::Busy;
    }
    error
}

fn strange(client: &Client, what: &str) -> Error {
    Error::busy(format!("{} answered something strange: {what}", client.base()))
        .code("strange_answer")
        .remedy("is that a wayside, and are both of the same version?")
}

/// A refusal of the other side as an error of ours.
fn refusal(answer: Answer) -> Error {
    let status = answer.status;
    let told: Value = answer.bytes().ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
    let what = if text("what").is_empty() { format!("it answered {status}") } else { text("what") };
    let known =
        ["consent_first", "leased", "stale_fence", "not_taken", "fork", "gone", "unknown_cursor", "unknown_batch"];
    let code = known.into_iter().find(|code| text("error") == *code).unwrap_or("refused");
    let kind = match (status, code) {
        (401 | 403, _) => Kind::Denied,
        (_, "leased" | "stale_fence" | "consent_first" | "not_taken") | (408 | 429 | 500.., _) => Kind::Busy,
        (404, _) => Kind::NotFound,
        (409 | 410, _) => Kind::Conflict,
        _ => Kind::Invalid,
    };
    Error::new(kind, code, what).remedy(text("remedy"))
}

/// A value of a query.
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
