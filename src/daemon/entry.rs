//! From the command line to a command: loads the configuration, starts the log, and gives commands what only the composed
//! program can do. Must never hold a command's own work (`cli/`).

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::base::error::{Error, Result, io};
use crate::base::id::Epoch;
use crate::base::time::{Clock, SystemClock};
use crate::cli::check::{Checked, Finding, Severity as CliSeverity};
use crate::cli::context::{
    Context, Fault, ImageReport, ImportRequest, RestoreReport, RestoreRequest, Told, Verified, VerifyRequest,
};
use crate::cli::{self, Args, Desk};
use crate::config::{Config, Flags, Loaded, Severity};
use crate::daemon::desk::Here;
use crate::daemon::import::{DeskSink, page_view};
use crate::daemon::{compose, control_socket, facts, join, named, serve, setup};
use crate::domain::accesslog::LogLine;
use crate::domain::event::Lane;
use crate::domain::site::Site;
use crate::forward::verify::{Looking, Only};
use crate::forward::{reconcile_beside, verify as proof, verify_beside};
use crate::history::HistoryOptions;
use crate::http::reply::Reply;
use crate::ingest::import::{Import, Stop, Tally};
use crate::ingest::shape::Deriver;
use crate::store::restore::{self, RestoreOptions};
use crate::store::{Reading, edge::Edge, image};

/// Runs the command line; the exit code, or the error `main` maps to one.
pub fn run(line: impl IntoIterator<Item = OsString>) -> Result<u8> {
    let args = match cli::parse(line) {
        Ok(args) => args,
        Err(code) => return Ok(code),
    };
    let flags = Flags { data_dir: args.data_dir.clone(), log: args.log.clone() };
    let mut loaded = Config::load(args.config.as_deref(), &|name| std::env::var(name).ok(), &flags)?;
    start_log(&args, &loaded.config);
    if matches!(args.command, cli::Command::Check(_) | cli::Command::Serve(_)) {
        named::look(&mut loaded);
    }
    if matches!(args.command, cli::Command::Check(_)) {
        let context = Context { check: Box::new(move || Ok(checked(&loaded))), ..bare(&Config::default()) };
        return cli::run(args, context);
    }
    if matches!(args.command, cli::Command::Serve(_)) && join::at_start(&loaded.config) {
        loaded = Config::load(args.config.as_deref(), &|name| std::env::var(name).ok(), &flags)?;
    }
    for problem in loaded.problems.iter().filter(|p| p.severity == Severity::Warning) {
        log::warn!("configuration: {problem}");
    }
    let config = loaded.usable()?;
    let mut context = context(config)?;
    if matches!(args.command, cli::Command::Import(_) | cli::Command::Tail(_) | cli::Command::Pull(_)) {
        listen(&mut context)?;
    }
    cli::run(args, context)
}

/// SIGINT and SIGTERM end what goes on for long in good order: an import with its tally. Told twice, the program ends as it
/// would have without us: it may be waiting for a line that never comes. Errors: `Storage`.
fn listen(context: &mut Context) -> Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(|e| io("listening for signals", e))?;
    let open = context.open.take();
    let stops = std::mem::take(&mut context.stops);
    let wait = move || {
        let mut told = signals.forever();
        told.next();
        drop((open, stops)); // whoever waits on them is told by their end
        if let Some(signal) = told.next()
            && let Err(error) = signal_hook::low_level::emulate_default_handler(signal)
        {
            log::error!("ending on a second signal: {error}");
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .map(|_| ())
        .map_err(|e| io("starting the thread that waits for signals", e))
}

/// `serve` logs what the configuration says; other commands speak by their output, so only what goes wrong is logged.
fn start_log(args: &Args, config: &Config) {
    let level = match args.command {
        cli::Command::Serve(_) => config.log.as_str(),
        _ => args.log.as_deref().unwrap_or("error"),
    };
    // a second logger in one process would be a defect of ours; without any nothing is lost but words
    let _started = env_logger::Builder::new().parse_filters(level).try_init();
}

fn bare(config: &Config) -> Context {
    Context::at(config.data_dir.clone(), control_socket(&config.data_dir))
}

fn checked(loaded: &Loaded) -> Checked {
    let advice = loaded.config.advice(None);
    let findings = loaded.problems.iter().chain(&advice).map(|p| Finding {
        severity: match p.severity {
            Severity::Error => CliSeverity::Error,
            Severity::Warning => CliSeverity::Warning,
        },
        line: p.line,
        key: p.key.clone(),
        what: p.what.clone(),
        remedy: p.remedy.clone(),
    });
    Checked {
        file: loaded.file.as_ref().map(|file| file.display().to_string()),
        findings: findings.collect(),
        effective: loaded.config.effective(),
    }
}

fn context(config: Config) -> Result<Context> {
    let sites = config.sites.iter().cloned().map(Site::compile).collect::<Result<Vec<Site>>>()?;
    let history = HistoryOptions {
        books: sites.iter().map(|site| (site.id().to_owned(), site.book.clone())).collect(),
        visits: config.visits.clone(),
        root_key_file: config.personal.root_key_file.clone(),
    };
    let joining = config.clone();
    let (serving, opening, verifying, restoring) = (config.clone(), config.clone(), config.clone(), config.clone());
    let (imaging, comparing) = (config.clone(), config.clone());
    let (end, stop) = Stop::pair();
    Ok(Context {
        stops: vec![end],
        history,
        facts: facts::of(&config),
        setup: setup::of(&config)?,
        carry_key_file: config.relay.carry_key_file.clone(),
        wal_bytes_max: Some(config.store.wal_bytes_max),
        serve: Box::new(move |out: &mut dyn Write| serve(&serving, out)),
        open_here: Box::new(move || Ok(Box::new(Alone(Some(Here::open(&opening)?))) as Box<dyn Desk>)),
        import: Box::new(move |request, desk, told| import(&sites, &stop, request, desk, told)),
        verify: Box::new(move |request, told| verify(&verifying, request, told)),
        restore: Box::new(move |request| restore(&restoring, request)),
        join: Box::new(move |request| join::join(&joining, request)),
        prepare_image: Box::new(move |really| prepare_image(&imaging, really)),
        reconcile: Box::new(move |name| {
            let reading = Reading::open(&comparing.data_dir, comparing.store.read_ms_max)?;
            reconcile_beside(&reading, &comparing.targets, name)
        }),
        ..bare(&config)
    })
}

/// The store opened by this process, as a desk; closed when the command ends.
struct Alone(Option<Here>);

impl Desk for Alone {
    fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Reply> {
        match &self.0 {
            Some(here) => here.serve(method, target, headers, body),
            None => Err(Error::storage("the store is closed")),
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(Here::close) {
            log::error!("closing the database: {error}");
        }
    }
}

fn import(
    sites: &[Site],
    stop: &Stop,
    request: &ImportRequest,
    desk: &mut dyn Desk,
    told: &mut Told<'_>,
) -> Result<Tally> {
    let site = sites.iter().find(|site| site.answers_to(&request.options.site)).or(match sites {
        [only] if request.options.site.is_empty() => Some(only),
        _ => None,
    });
    let site = site.ok_or_else(|| {
        Error::invalid(format!("unknown site {:?}", request.options.site)).remedy("name a configured site with --site")
    })?;
    let options = crate::ingest::import::ImportOptions { site: site.id().to_owned(), ..request.options.clone() };
    // what tells of a special category is left out where the events are stored
    let deriver = Deriver::default();
    let mut send = |method: &str, target: &str, body: Vec<u8>| desk.send(method, target, &[], body);
    let mut sink = DeskSink { options: &options, send: &mut send, stop };
    let shape = |line: &LogLine<'_>, visitor| page_view(&deriver, site, line, visitor);
    let import = Import { options: &options, sink: &mut sink, shape: &shape, stop, progress: told };
    let tally = import.run(&request.sources)?;
    sink.done()?;
    Ok(tally)
}

fn verify(config: &Config, request: &VerifyRequest, told: &mut Told<'_>) -> Result<Verified> {
    let told = std::cell::RefCell::new(told);
    let progress = |done: i64| (*told.borrow_mut())(u64::try_from(done).unwrap_or(0), None);
    let how = Looking { only: only(request)?, progress: &progress };
    let mut out = Verified::default();
    if let Some(folder) = &request.folder {
        add(&mut out, proof::folder(folder, None, how)?);
        return Ok(out);
    }
    let reading = Reading::open(&config.data_dir, config.store.read_ms_max)?;
    let keys = Edge::load(&config.data_dir)?.map(|edge| edge.keys).unwrap_or_default();
    add(&mut out, verify_beside(&reading, &keys, &config.targets, how)?);
    Ok(out)
}

fn only(request: &VerifyRequest) -> Result<Only> {
    let lane = |word: &String| {
        Lane::parse(word).ok_or_else(|| {
            Error::invalid(format!("unknown lane {word:?}")).remedy("use consent, visits, pages or fine")
        })
    };
    let epoch = |text: &String| Epoch::parse(text).map_err(|e| e.remedy("`wayside batches list` shows the epochs"));
    Ok(Only {
        lane: request.lane.as_ref().map(lane).transpose()?,
        epoch: request.epoch.as_ref().map(epoch).transpose()?,
    })
}

/// Puts the backup in place; then opens it once, so that whoever was erased since is gone from it before anything is served.
fn prepare_image(config: &Config, really: bool) -> Result<ImageReport> {
    let inside = |path: &Path| path.strip_prefix(&config.data_dir).unwrap_or(path).to_owned();
    let folders: Vec<PathBuf> = config.targets.iter().map(|target| inside(&target.path)).collect();
    let done = image::prepare(&config.data_dir, &folders, really)?;
    let keys = [&config.personal.keys_copy, &config.personal.root_key_file].into_iter().flatten();
    let elsewhere = keys.map(|path| path.display().to_string()).collect();
    Ok(ImageReport { gone: done.gone, stays: done.stays, elsewhere })
}

fn restore(config: &Config, request: &RestoreRequest) -> Result<RestoreReport> {
    let options = RestoreOptions {
        backup: request.file.clone(),
        data_dir: request.to.clone(),
        logs: request.rights.clone(),
        without_log: request.without_log,
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let done = restore::run(&options, clock.now())?;
    let house = compose(&Config { data_dir: request.to.clone(), ..config.clone() }, clock)?;
    let worked = house.app.erasure.work();
    house.close()?;
    Ok(RestoreReport {
        epoch: done.epoch,
        backup_at: done.backup_at,
        rights: done.rights,
        erased: done.erased,
        floored: done.floored,
        waiting: worked?.waiting,
    })
}

fn add(out: &mut Verified, found: proof::Verified) {
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    out.batches += count(found.batches + found.files);
    out.lines += count(found.lines);
    out.holes += count(found.holes);
    out.faults.extend(found.problems.into_iter().map(|p| Fault { batch: p.place, what: p.what }));
}
