//! What a command is given: where things are, who answers requests, and what only the composed program can do.
//! Must never know the configuration's file or how a store is opened. Invariant: tests own every part.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::base::error::{Error, Kind, Result};
use crate::base::time::{Clock, SystemClock};
use crate::cli::check::Checked;
use crate::cli::desk::{self, Desk};
use crate::cli::output::Output;
use crate::domain::notice::lint::Facts;
use crate::forward::reconcile::Reconciled;
use crate::history::{History, HistoryOptions};
use crate::ingest::import::{ImportOptions, Source, Tally};
use crate::records::{Records, Setup};

/// How far long work is: done, and in all where that is known.
pub type Told<'a> = dyn FnMut(u64, Option<u64>) + 'a;

/// What `wayside import` was asked for.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// What to read.
    pub sources: Vec<Source>,
    /// How to take it.
    pub options: ImportOptions,
}

/// What `wayside batches verify` was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyRequest {
    /// One lane.
    pub lane: Option<String>,
    /// One epoch.
    pub epoch: Option<String>,
    /// Files of a `dir` target instead of the database.
    pub folder: Option<PathBuf>,
}

/// What verifying came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// Batches looked at.
    pub batches: u64,
    /// Lines in them.
    pub lines: u64,
    /// Lines that are holes.
    pub holes: u64,
    /// What does not hold.
    pub faults: Vec<Fault>,
}

/// A batch that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    /// The batch's key, or the file's name.
    pub batch: String,
    /// What is wrong.
    pub what: String,
}

/// What `wayside restore` was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreRequest {
    /// The backup.
    pub file: PathBuf,
    /// The data directory.
    pub to: PathBuf,
    /// Further logs of rights.
    pub rights: Vec<PathBuf>,
    /// Go without a log from after the backup.
    pub without_log: bool,
}

/// What was restored.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RestoreReport {
    /// The epoch that begins.
    pub epoch: String,
    /// The backup holds what was committed until then.
    pub backup_at: String,
    /// Rights replayed.
    pub rights: usize,
    /// Persons erased since the backup.
    pub erased: usize,
    /// Persons whose consent got a floor for want of a log.
    pub floored: usize,
    /// Erasures that are not done, and why.
    pub waiting: Vec<String>,
}

/// What `wayside prepare-image` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageReport {
    /// What goes, or has gone.
    pub gone: Vec<String>,
    /// What stays: wayside does not own it.
    pub stays: Vec<String>,
    /// Files with keys outside the data directory.
    pub elsewhere: Vec<String>,
}

/// What `wayside join` was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// The upstream's address.
    pub url: String,
    /// The code.
    pub code: String,
    /// How the upstream shall call this edge.
    pub label: Option<String>,
    /// A PEM file with the authority that signed its certificate.
    pub ca_file: Option<PathBuf>,
}

/// What joining came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct JoinReport {
    /// This edge.
    pub edge: String,
    /// The upstream.
    pub url: String,
    /// It waits for the operator there.
    pub waits: bool,
    /// Where the target stands.
    pub file: PathBuf,
}

/// Runs the collector until it is told to stop; the words of welcome go to the writer.
pub type ServeFn = dyn Fn(&mut dyn Write) -> Result<()>;
/// Opens the store in this process and serves the daemon's requests from it.
pub type OpenFn = dyn Fn() -> Result<Box<dyn Desk>>;
/// Looks at the configuration.
pub type CheckFn = dyn Fn() -> Result<Checked>;
/// Reads logs and hands their page views over the desk.
pub type ImportFn = dyn Fn(&ImportRequest, &mut dyn Desk, &mut Told<'_>) -> Result<Tally>;
/// Puts a backup in place and finishes what it brings back.
pub type RestoreFn = dyn Fn(&RestoreRequest) -> Result<RestoreReport>;
/// Removes identity, keys and data, if told `true`; says what goes.
pub type ImageFn = dyn Fn(bool) -> Result<ImageReport>;
/// Compares what was sealed with what a target has.
pub type ReconcileFn = dyn Fn(Option<&str>) -> Result<Reconciled>;
/// Makes this edge known to an upstream, and writes what came of it.
pub type JoinFn = dyn Fn(&JoinRequest) -> Result<JoinReport>;
/// Checks line hashes, digests, chain and signatures; told batches done and in all.
pub type VerifyFn = dyn Fn(&VerifyRequest, &mut Told<'_>) -> Result<Verified>;

/// What a command is given.
pub struct Context {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where a running daemon answers.
    pub control_socket: PathBuf,
    /// A person looks on: progress bars instead of lines.
    pub interactive: bool,
    /// What reading needs to know of the configuration.
    pub history: HistoryOptions,
    /// What notices must tell, site by site.
    pub facts: Vec<Facts>,
    /// What the operator's records tell of the configuration.
    pub setup: Setup,
    /// The secret key that sticks are encrypted to, where the configuration names one.
    pub carry_key_file: Option<PathBuf>,
    /// Length of the write-ahead log at which a backup gives way, bytes.
    pub wal_bytes_max: Option<u64>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Told, or closed, when the command is to end.
    pub stop: Receiver<()>,
    /// Standard input; taken by the command that reads it.
    pub input: Option<Box<dyn BufRead + Send>>,
    /// Standard output and error.
    pub output: Output,
    /// For `serve`.
    pub serve: Box<ServeFn>,
    /// For commands that write where no daemon runs.
    pub open_here: Box<OpenFn>,
    /// For `check`.
    pub check: Box<CheckFn>,
    /// For `import`.
    pub import: Box<ImportFn>,
    /// For `batches verify`.
    pub verify: Box<VerifyFn>,
    /// For `restore`.
    pub restore: Box<RestoreFn>,
    /// For `prepare-image`.
    pub prepare_image: Box<ImageFn>,
    /// For `reconcile`.
    pub reconcile: Box<ReconcileFn>,
    /// For `join`.
    pub join: Box<JoinFn>,
    /// Keeps `stop` open where nobody else does.
    pub open: Option<Sender<()>>,
    /// Keep open what the composed program waits on besides: closed with `open`.
    pub stops: Vec<Sender<()>>,
}

fn missing<T>(what: &str) -> Result<T> {
    Err(Error::new(Kind::Config, "not_composed", format!("{what} is not part of this program")))
}

impl Context {
    /// The context of a data directory on the real input and output. What only the composed program can do is missing.
    pub fn at(data_dir: PathBuf, control_socket: PathBuf) -> Context {
        let (open, stop) = channel();
        Context {
            data_dir,
            control_socket,
            interactive: std::io::IsTerminal::is_terminal(&std::io::stderr()),
            history: HistoryOptions::default(),
            facts: Vec::new(),
            setup: Setup::default(),
            carry_key_file: None,
            wal_bytes_max: None,
            clock: Arc::new(SystemClock),
            stop,
            input: Some(Box::new(std::io::BufReader::new(std::io::stdin()))),
            output: Output::real(),
            serve: Box::new(|_| missing("serving")),
            open_here: Box::new(|| missing("opening the database for writing")),
            check: Box::new(|| missing("checking the configuration")),
            import: Box::new(|_, _, _| missing("importing")),
            verify: Box::new(|_, _| missing("verifying")),
            restore: Box::new(|_| missing("restoring")),
            join: Box::new(|_| missing("joining")),
            prepare_image: Box::new(|_| missing("preparing an image")),
            reconcile: Box::new(|_| missing("reconciling")),
            open: Some(open),
            stops: Vec::new(),
        }
    }

    /// What was recorded, from the file. Errors: `NotFound` without a database.
    pub fn history(&self) -> Result<History> {
        Ok(History::open(&self.data_dir)?.with(self.history.clone()))
    }

    /// The operator's records, from the file. Errors: `NotFound` without a database.
    pub fn records(&self) -> Result<Records> {
        Records::open(&self.data_dir, self.setup.clone())
    }

    /// Has the running daemon write down what this command does with people's data. Without one it stands nowhere, and standard
    /// error says so: whoever may read the file needs no daemon. Errors: what the daemon refused.
    pub fn noted(&mut self, what: &str, note: &str) -> Result<()> {
        match desk::daemon(&self.control_socket)? {
            Some(mut daemon) => {
                let body = serde_json::json!({"what": what, "note": note});
                desk::ask(&mut *daemon, &self.stop, "POST", "/v1/audit", &body).map(|_| ())
            }
            None => self.output.note("no daemon runs: this stands in no audit"),
        }
    }

    /// Whoever takes requests: the running daemon, else this process with the store open.
    pub fn desk(&self) -> Result<Box<dyn Desk>> {
        match desk::daemon(&self.control_socket)? {
            Some(daemon) => Ok(daemon),
            None => (self.open_here)(),
        }
    }
}
