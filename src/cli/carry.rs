//! `wayside carry`: batches to a stick, batches and acknowledgements from one, the key they are encrypted to.
//! Must never render or judge a batch itself: the collector does, in a daemon or in this process. Invariant: the stick is read and
//! written here, by whoever may; a daemon needs no right to it.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver as Stop;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::base::age::{Identity, Recipient};
use crate::base::error::{Error, Kind, Result, io};
use crate::base::id::EdgeId;
use crate::base::text::{bytes_text, hex, unhex};
use crate::cli::progress::{Progress, Unit};
use crate::cli::{Context, Desk, desk, directive};
use crate::domain::delivery::{MANIFEST_HEADER, SignedAck};
use crate::domain::event::Lane;
use crate::domain::signed::Signed;
use crate::forward::carry::dir::{Folder, keys, signing};
use crate::forward::carry::out::{AcksTaken, DueBatch, Edge, Given, Landed, Order, Outcome, carry_out};
use crate::forward::carry::stick::{Index, Place, names, there};
use crate::forward::carry::take::{Receiver, Report, Took, carry_in};
use crate::forward::carry::{Carried, FOLDER, key_of};
use crate::forward::directives::centre::reply_key;
use crate::forward::target::Key as BatchKey;
use crate::http::carry::{ATTEMPT_HEADER, LINES_HEADER};
use crate::http::reply::Reply;

const AFTER: &str = "Example:
  wayside carry key --file /etc/wayside/carry.key      once, at the receiver
  wayside carry out /media/stick                       at the edge
  wayside carry in /media/stick --key /etc/wayside/carry.key --to /srv/batches
  wayside carry out /media/stick                       at the edge again: takes in the acknowledgements";

/// Flags of `carry`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write to a stick what its target has not acknowledged; take in the acknowledgements that lie there.
    #[command(after_help = "Example:\n  wayside carry out /media/stick --target centre --max-bytes 4000000000")]
    Out(Out),
    /// Take what lies on a stick: batches of other edges, acknowledgements for this one.
    #[command(after_help = "Example:\n  wayside carry in /media/stick --key /etc/wayside/carry.key --to /srv/batches")]
    In(In),
    /// Make the secret key of a receiver, or print the public halves of the one there is.
    #[command(after_help = "Example:\n  wayside carry key --file /etc/wayside/carry.key")]
    Key(Key),
}

#[derive(Debug, clap::Args)]
struct Out {
    /// The folder the stick is mounted at.
    dir: PathBuf,
    /// The target of kind `carry`; may be left out where there is only one.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Bytes of this target's files on the stick at the most.
    #[arg(long, value_name = "BYTES")]
    max_bytes: Option<u64>,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct In {
    /// The folder the stick is mounted at.
    dir: PathBuf,
    /// The file with the secret key that `carry key` made.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Take batches into this folder; without it the collector of this machine takes them, as a relay.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Believe only edges with this public key, 64 hex digits; may be given several times. With --to.
    #[arg(long, value_name = "HEX", requires = "to")]
    public_key: Vec<String>,
    /// As a relay: let in this edge that could never join over a network, 32 hex digits, by the key its index is signed with.
    #[arg(long, value_name = "EDGE", conflicts_with = "to")]
    admit: Vec<String>,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Key {
    /// The file the secret key is in, or is to be.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Writes, takes, or makes a key.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    match &args.what {
        What::Out(args) => out(args, context),
        What::In(args) => take(args, context),
        What::Key(args) => key(args, context),
    }
}

fn key(args: &Key, context: &mut Context) -> Result<u8> {
    let path = &args.file;
    let doing = |e| io(format_args!("writing {}", path.display()), e);
    let (identity, made) = match reply_key(path) {
        Err(error) if error.code == "no_key_file" => {
            let identity = Identity::mint();
            let mut file =
                std::fs::File::options().write(true).create_new(true).mode(0o600).open(path).map_err(doing)?;
            let text = format!("# public key: {}\n{}\n", identity.recipient(), identity.secret_text());
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(doing)?;
            (identity, true)
        }
        found => (found?, false),
    };
    let (to, receiver) = (identity.recipient().to_string(), hex(&signing(&identity).public()));
    if args.json {
        context.output.json(&json!({"file": path, "made": made, "encrypt_to": to, "receiver_key": receiver}))?;
        return Ok(0);
    }
    context.output.note(if made {
        "made a key: keep the file, and a copy of it elsewhere"
    } else {
        "the key that is there"
    })?;
    context.output.lines([format!("encrypt_to = \"{to}\""), format!("receiver_key = \"{receiver}\"")])?;
    Ok(0)
}

fn out(args: &Out, context: &mut Context) -> Result<u8> {
    there(&args.dir)?;
    let mut desk = context.desk()?;
    // first of all: an erasure must not leave on the stick that brought it
    let directives = directive::take(&mut *desk, &context.stop, &args.dir)?;
    let mut edge = Asked::about(&mut *desk, &context.stop, args.target.as_deref())?;
    let (target, to) = (edge.target.clone(), edge.to);
    let mut progress = Progress::start("carry", Unit::Of("batches"), context.interactive);
    let err = &mut context.output.err;
    let order = Order { target: &target, to: to.as_ref(), bytes_max: args.max_bytes };
    let done = carry_out(&mut edge, &args.dir, order, &mut |done| progress.at(done, None, &mut **err));
    progress.end();
    let done = done?;
    if args.json {
        context.output.json(&json!({
            "target": target, "acknowledged": done.acks.acknowledged, "refused": done.acks.refused, "written": done.written,
            "batches": done.batches, "kept": done.kept, "removed": done.removed, "bytes": done.bytes, "waiting": done.waiting,
        }))?;
    } else {
        context.output.lines(directives)?;
        context.output.lines(told_out(&target, &done))?;
    }
    Ok(0)
}

fn told_out(target: &str, done: &Outcome) -> Vec<String> {
    let mut lines = Vec::new();
    if done.acks.acknowledged > 0 {
        lines.push(format!("acknowledged by {target}: {} batches", done.acks.acknowledged));
    }
    lines.extend(done.acks.refused.iter().map(|what| format!("not believed: {what}")));
    lines.push(format!(
        "on the stick for {target}: {} files written ({} batches), {} kept, {} removed; {} in all",
        done.written,
        done.batches,
        done.kept,
        done.removed,
        bytes_text(done.bytes)
    ));
    if done.waiting > 0 {
        lines.push(format!("{} batches did not fit and wait for the next stick", done.waiting));
    }
    lines
}

fn take(args: &In, context: &mut Context) -> Result<u8> {
    there(&args.dir)?;
    let key = args.key.as_ref().or(context.carry_key_file.as_ref());
    let identities = key.map(|file| reply_key(file)).transpose()?.into_iter().collect::<Vec<Identity>>();
    let mut progress = Progress::start("carry", Unit::Of("batches"), context.interactive);
    let mut directives = Vec::new();
    let (report, acks) = match &args.to {
        Some(to) => {
            let mut folder = Folder::new(to, identities.first(), keys(&args.public_key)?, &*context.clock);
            let err = &mut context.output.err;
            let told = &mut |done| progress.at(done, None, &mut **err);
            (carry_in(&mut folder, &args.dir, &identities, None, told), Vec::new())
        }
        None => {
            let mut desk = context.desk()?;
            directives = directive::take(&mut *desk, &context.stop, &args.dir)?;
            for edge in &args.admit {
                admit(&mut *desk, &context.stop, &args.dir, edge)?;
            }
            let (own, acks) = acks_in(&mut *desk, &context.stop, &args.dir)?;
            let mut relay = Relay { desk: &mut *desk, stop: &context.stop, name: own.to_string(), known: None };
            let err = &mut context.output.err;
            let told = &mut |done| progress.at(done, None, &mut **err);
            (carry_in(&mut relay, &args.dir, &identities, Some(own), told), acks)
        }
    };
    progress.end();
    let report = match report {
        Err(error) if error.code == "nothing_carried" && !directives.is_empty() => Report::default(),
        report => report?,
    };
    if args.json {
        let refused = report.refused.iter().map(|one| json!({"place": one.place, "code": one.code, "what": one.what}));
        context.output.json(&json!({
            "stored": report.stored, "same": report.same, "renewed": report.renewed, "files": report.files,
            "acks": report.acks, "waiting": report.waiting, "refused": refused.collect::<Vec<_>>(),
            "acknowledged": acks.iter().map(|(target, taken)| json!({"target": target, "batches": taken.acknowledged,
                "refused": taken.refused})).collect::<Vec<_>>(),
        }))?;
    } else {
        context.output.lines(directives)?;
        context.output.lines(told_in(&report, &acks))?;
    }
    if report.refused.is_empty() {
        return Ok(0);
    }
    Err(Error::invalid(format!("{} files or batches were not taken", report.refused.len()))
        .code("not_taken")
        .remedy("each is named above with its reason; what is sound was taken"))
}

fn told_in(report: &Report, acks: &[(String, AcksTaken)]) -> Vec<String> {
    let mut lines: Vec<String> =
        report.refused.iter().map(|one| format!("not taken: {} ({}): {}", one.place, one.code, one.what)).collect();
    for (target, taken) in acks {
        lines.push(format!("acknowledged by {target}: {} batches", taken.acknowledged));
        lines.extend(taken.refused.iter().map(|what| format!("not believed: {what}")));
    }
    lines.push(format!(
        "{} batches taken, {} were here, {} renewed; {} acknowledgements left on the stick",
        report.stored, report.same, report.renewed, report.acks
    ));
    if report.waiting > 0 {
        lines.push(format!("{} more wait at their edges: they did not fit", report.waiting));
    }
    lines
}

/// Lets an edge in by what lies on its stick: the operator's word stands for the network it does not have.
fn admit(desk: &mut dyn Desk, stop: &Stop<()>, dir: &Path, edge: &str) -> Result<()> {
    let edge =
        EdgeId::parse(edge).map_err(|e| e.remedy("name it as its folder below wayside-carry/ is named"))?.to_string();
    for target in names(&dir.join(FOLDER).join(&edge))? {
        let Some((_, signed)) = Place::of(dir, &edge, &target)?.index((&edge, &target), None)? else { continue };
        let made = desk::ask(desk, stop, "POST", "/v1/edges/codes", &json!({"count": 1, "days": 1}))?;
        let code = made["codes"][0].as_str().ok_or_else(|| strange("code"))?;
        let body = json!({"code": code, "edge": edge, "public_key": signed.public_key, "label": ""});
        return desk::ask(desk, stop, "POST", "/v1/edges/join", &body).map(|_| ());
    }
    Err(Error::not_found(format!("there is no index of edge {edge} on this stick"))
        .code("no_index")
        .remedy("run `wayside carry out` again at that edge"))
}

/// The acknowledgements for this machine's own edge, target by target.
fn acks_in(desk: &mut dyn Desk, stop: &Stop<()>, dir: &Path) -> Result<(EdgeId, Vec<(String, AcksTaken)>)> {
    let about = desk::ask(desk, stop, "GET", "/v1/carry", &Value::Null)?;
    let own = EdgeId::parse(about["edge"].as_str().unwrap_or_default())?;
    let mut out = Vec::new();
    for target in names(&dir.join(FOLDER).join(own.to_string()))? {
        let (acks, strange) = Place::of(dir, &own.to_string(), &target)?.acks()?;
        if acks.is_empty() && strange.is_empty() {
            continue;
        }
        let mut edge = Asked::about(desk, stop, Some(&target))?;
        let mut taken = edge.acks(acks)?;
        taken.refused.extend(strange);
        out.push((target, taken));
    }
    Ok((own, out))
}

/// The collector of this machine, asked over its desk.
struct Asked<'a> {
    desk: &'a mut dyn Desk,
    stop: &'a Stop<()>,
    edge: String,
    public_key: Option<[u8; 32]>,
    target: String,
    to: Option<Recipient>,
}

fn strange(what: &str) -> Error {
    Error::new(Kind::Upstream, "bad_answer", format!("the collector's answer has no usable {what}"))
}

impl<'a> Asked<'a> {
    /// For the target of that name; the only one where none is named. Errors: `NotFound` with code `unknown_target`.
    fn about(desk: &'a mut dyn Desk, stop: &'a Stop<()>, name: Option<&str>) -> Result<Self> {
        let about = desk::ask(desk, stop, "GET", "/v1/carry", &Value::Null)?;
        let edge = about["edge"].as_str().ok_or_else(|| strange("edge"))?.to_owned();
        let public_key = about["public_key"].as_str().map(unhex::<32>).transpose()?;
        let all = about["targets"].as_array().ok_or_else(|| strange("targets"))?;
        let found = match (name, &all[..]) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(name), all) => all.iter().find(|target| target["target"] == name),
        };
        let names = all.iter().filter_map(|target| target["target"].as_str()).collect::<Vec<_>>().join(", ");
        let found = found.ok_or_else(|| {
            let which = name.map_or("several targets are".to_owned(), |name| format!("no target {name:?} is"));
            let error = Error::not_found(if all.is_empty() {
                "no target is reached by sticks".to_owned()
            } else {
                format!("{which} reached by sticks")
            });
            error.code("unknown_target").remedy(match names.as_str() {
                "" => "configure a [[target]] with kind = \"carry\"".to_owned(),
                names => format!("name one with --target: {names}"),
            })
        })?;
        let target = found["target"].as_str().ok_or_else(|| strange("target"))?.to_owned();
        let to = found["encrypt_to"].as_str().map(Recipient::parse).transpose()?;
        Ok(Asked { desk, stop, edge, public_key, target, to })
    }

    fn ask(&mut self, path: &str, body: &Value) -> Result<Value> {
        desk::ask(self.desk, self.stop, "POST", path, body)
    }
}

impl Edge for Asked<'_> {
    fn edge(&self) -> String {
        self.edge.clone()
    }

    fn public_key(&self) -> Option<[u8; 32]> {
        self.public_key
    }

    fn due(&mut self, lane: Lane, after: Option<BatchKey>) -> Result<Vec<DueBatch>> {
        let after = after.map(|key| key.to_string());
        let body = json!({"target": self.target, "lane": lane.word(), "after": after});
        let told = self.ask("/v1/carry/due", &body)?;
        let one = |told: &Value| {
            let key = key_of(told["batch"].as_str().unwrap_or_default())?;
            Ok(DueBatch { key, digest: told["digest"].as_str().unwrap_or_default().to_owned() })
        };
        told["batches"].as_array().ok_or_else(|| strange("batches"))?.iter().map(one).collect()
    }

    fn give(&mut self, key: BatchKey) -> Result<Given> {
        let body = json!({"target": self.target, "batch": key.to_string()}).to_string();
        let reply = desk::send(self.desk, self.stop, "POST", "/v1/carry/batch", ("application/json", body.as_bytes()))?;
        if reply.status != 200 {
            return Err(with_code(&reply));
        }
        let header = |name: &str| reply.header(name).map(str::to_owned).ok_or_else(|| strange(name));
        let (manifest, lines_sha256) = (header(MANIFEST_HEADER)?, header(LINES_HEADER)?);
        let attempt_id = header(ATTEMPT_HEADER)?.parse().map_err(|_| strange(ATTEMPT_HEADER))?;
        Ok(Given { carried: Carried { key, manifest, gz: reply.body }, lines_sha256, attempt_id })
    }

    fn landed(&mut self, landed: &[Landed]) -> Result<()> {
        let each =
            landed.iter().map(|one| json!({"batch": one.key.to_string(), "attempt": one.attempt_id, "same": one.same}));
        let body = json!({"target": self.target, "batches": each.collect::<Vec<_>>()});
        self.ask("/v1/carry/landed", &body).map(|_| ())
    }

    fn acks(&mut self, acks: Vec<SignedAck>) -> Result<AcksTaken> {
        let mut all = AcksTaken::default();
        // as many as a body may hold
        for some in acks.chunks(500) {
            let told = self.ask("/v1/carry/acks", &json!({"target": self.target, "acks": some}))?;
            all.acknowledged += told["acknowledged"].as_i64().unwrap_or(0);
            let refused = told["refused"].as_array().into_iter().flatten();
            all.refused.extend(refused.filter_map(|what| what.as_str().map(str::to_owned)));
        }
        Ok(all)
    }

    fn sign(&mut self, index: &Index) -> Result<Signed> {
        let body = serde_json::to_value(index).map_err(|_| strange("index"))?;
        let told = self.ask("/v1/carry/index", &body)?;
        serde_json::from_value(told).map_err(|_| strange("signature"))
    }
}

/// The error of a refusal, with its word where the way on depends on it.
fn with_code(reply: &Reply) -> Error {
    let told: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let error = desk::refusal(reply);
    match told["error"].as_str() {
        Some("consent_first") => error.code("consent_first"),
        Some("rows_removed") => error.code("rows_removed"),
        _ => error,
    }
}

/// The collector of this machine as a relay: batches are put to it as an edge would.
struct Relay<'a> {
    desk: &'a mut dyn Desk,
    stop: &'a Stop<()>,
    name: String,
    /// The key of each edge that joined, once they were asked for.
    known: Option<HashMap<String, String>>,
}

impl Receiver for Relay<'_> {
    fn take(&mut self, carried: &Carried) -> Result<(Took, Option<SignedAck>)> {
        let headers = [
            ("content-type", "application/x-ndjson"),
            ("content-encoding", "gzip"),
            (MANIFEST_HEADER, carried.manifest.as_str()),
        ];
        let path = format!("/v1/batches/{}", carried.key);
        let mut reply = self.desk.send("PUT", &path, &headers, carried.gz.clone())?;
        for _ in 0..30 {
            if reply.status != 503
                || self.stop.recv_timeout(std::time::Duration::from_secs(1))
                    != Err(std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                break;
            }
            reply = self.desk.send("PUT", &path, &headers, carried.gz.clone())?;
        }
        if !matches!(reply.status, 200 | 201) {
            let word: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            return Err(desk::refusal(&reply).context(word["error"].as_str().unwrap_or("refused")));
        }
        let told: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let took = match (told["status"].as_str(), reply.status) {
            (Some("renewed"), _) => Took::Renewed,
            (_, 200) => Took::Same,
            _ => Took::Stored,
        };
        Ok((took, serde_json::from_value(told).ok()))
    }

    fn name(&self) -> Option<String> {
        Some(self.name.get(..16).unwrap_or(&self.name).to_owned())
    }

    fn believes(&mut self, edge: EdgeId, public_key: &[u8; 32]) -> Result<bool> {
        if self.known.is_none() {
            let told = desk::ask(self.desk, self.stop, "GET", "/v1/edges", &Value::Null).unwrap_or_default();
            let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
            let rows = told["edges"].as_array().into_iter().flatten();
            self.known = Some(rows.map(|row| (text(row, "edge"), text(row, "public_key"))).collect());
        }
        // of an edge that has not joined no batch is taken, whoever signed its index
        let known = self.known.as_ref().and_then(|known| known.get(&edge.to_string()));
        Ok(known.is_none_or(|known| *known == hex(public_key)))
    }
}
