//! Measures how wayside takes events in: `cargo bench --bench ingest -- [--quick]`. Method: `benches/README.md`.
//! No part of the product; it meets the daemon by its command line and its door alone.
//! Invariant: it fails only where rows and acknowledgements differ, never for being slow.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

mod consent;
mod load;
mod make;
mod raw;
mod report;
mod server;

use load::{Pace, Shape, Told};
use make::Ids;
use report::{Figures, Setting};
use server::{Reading, Server};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Rows that stand in the database before the scenarios with a past.
const PAST: u64 = 1_000_000;
/// Events the yardstick inserts at most.
const RAW_EVENTS_MAX: u64 = 150_000;
const WARM_UP: Duration = Duration::from_millis(500);

struct Arguments {
    quick: bool,
    json: Option<PathBuf>,
    only: Option<String>,
    seconds: Option<f64>,
    program: PathBuf,
    work: Option<PathBuf>,
    pin: bool,
    /// Only the cost of consent, by so many alternations.
    consent: Option<usize>,
}

impl Arguments {
    fn parse() -> Result<Self> {
        let mut out = Arguments {
            quick: false,
            json: None,
            only: None,
            seconds: None,
            program: PathBuf::from(env!("CARGO_BIN_EXE_wayside")),
            work: None,
            pin: true,
            consent: None,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--quick" => out.quick = true,
                "--no-pin" => out.pin = false,
                "--json" => out.json = Some(value()?.into()),
                "--only" => out.only = Some(value()?),
                "--consent" => out.consent = Some(value()?.parse()?),
                "--seconds" => out.seconds = Some(value()?.parse()?),
                "--program" => out.program = value()?.into(),
                "--work" => out.work = Some(value()?.into()),
                "--bench" => {} // cargo's own
                _ => return Err(format!("unknown argument {word}; see benches/README.md").into()),
            }
        }
        Ok(out)
    }
}

/// One row of the table.
#[derive(Clone, Debug)]
struct Scenario {
    shape: Shape,
    seal: bool,
    past: bool,
}

impl Scenario {
    fn name(&self) -> String {
        let kind = if self.shape.batch == 1 { "single" } else { "batch" };
        let ids = if self.shape.ids == Ids::V7 { "v7" } else { "v4" };
        let seal = if self.seal { " seal" } else { "" };
        let past = if self.past { " after 1M" } else { "" };
        format!("{kind} {}/visitor {ids}{seal}{past}", self.shape.per_visitor)
    }
}

fn shape(batch: usize, per_visitor: u32, ids: Ids) -> Shape {
    Shape { connections: if batch == 1 { 64 } else { 16 }, batch, per_visitor, ids, sender: false, grants: false }
}

/// Quick: the four corners. Full: ids and seal as well, and a database with a past.
fn scenarios(quick: bool) -> Vec<Scenario> {
    let mut out = Vec::new();
    let kinds = [(1, 20), (1, 1), (50, 20), (50, 1)];
    let mut add = |ids: Ids, seal: bool, past: bool| {
        for (batch, per_visitor) in kinds {
            out.push(Scenario { shape: shape(batch, per_visitor, ids), seal, past });
        }
    };
    add(Ids::V7, false, false);
    if !quick {
        add(Ids::V4, false, false);
        add(Ids::V7, true, false);
        add(Ids::V7, false, true);
    }
    out
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let arguments = Arguments::parse()?;
    let work = arguments
        .work
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("wayside-bench-{}", std::process::id())));
    fs::create_dir_all(&work)?;
    let setting = setting(&arguments)?;
    let seconds = arguments.seconds.unwrap_or(if arguments.quick { 2.0 } else { 10.0 });
    let mut bench =
        Bench { arguments, work: work.clone(), setting, phase: Duration::from_secs_f64(seconds), seed: 0, past: None };
    if let Some(pairs) = bench.arguments.consent {
        let whole = consent::run(&mut bench, pairs)?;
        fs::remove_dir_all(&work)?;
        return Ok(whole);
    }
    let mut all = Vec::new();
    let only = bench.arguments.only.clone().unwrap_or_default();
    for scenario in scenarios(bench.arguments.quick).into_iter().filter(|s| s.name().contains(&only)) {
        eprintln!("{} ...", scenario.name());
        all.push(bench.measure(&scenario)?);
    }
    fs::remove_dir_all(&work)?;
    print!("{}", report::table(&all));
    let setting = &bench.setting;
    let how = if setting.pinned { "server on CPU 0, load on the others" } else { "not pinned" };
    println!("\n{} CPUs, {how}; load average at start {}", setting.cpus, setting.load_average);
    let verdicts = report::verdicts(&all, setting);
    for (pass, what) in &verdicts {
        println!("{} {what}", if *pass { "PASS" } else { "FAIL" });
    }
    if let Some(path) = &bench.arguments.json {
        fs::write(path, serde_json::to_string_pretty(&report::json(&all, setting, &verdicts))? + "\n")?;
    }
    for f in all.iter().filter(|f| !f.match_rows()) {
        println!("WRONG {}: {} rows, {} acknowledged, {} bad answers", f.name, f.rows, f.acknowledged, f.failed);
    }
    Ok(all.iter().all(Figures::match_rows))
}

/// Pins this process away from CPU 0, which is the server's, where there are two CPUs and taskset.
fn setting(arguments: &Arguments) -> Result<Setting> {
    let cpus = std::thread::available_parallelism()?.get();
    let mut out = Setting {
        cpus,
        load_average: fs::read_to_string("/proc/loadavg")?.split(' ').take(3).collect::<Vec<_>>().join(" "),
        binary_bytes: fs::metadata(&arguments.program)?.len(),
        pinned: false,
    };
    if arguments.pin && cpus > 1 {
        let mut taskset = Command::new("taskset");
        taskset.args(["-a", "-c", "-p", &format!("1-{}", cpus - 1), &std::process::id().to_string()]);
        out.pinned = taskset.stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    }
    Ok(out)
}

struct Bench {
    arguments: Arguments,
    work: PathBuf,
    setting: Setting,
    phase: Duration,
    seed: u64,
    /// The data directory with a past, once it was made, and how many events it holds.
    past: Option<(PathBuf, u64)>,
}

impl Bench {
    fn measure(&mut self, scenario: &Scenario) -> Result<Figures> {
        let (data_dir, acknowledged) = self.data_dir(scenario)?;
        let database = data_dir.join("wayside.db");
        let base = if scenario.past { Some(self.work.join("base.db")) } else { None };
        let before = match &base {
            Some(base) => {
                fs::copy(&database, base)?;
                raw::stored(&database)?
            }
            None => raw::Stored::default(),
        };
        let mut f = Figures {
            name: scenario.name(),
            batch: scenario.shape.batch,
            seal: scenario.seal,
            acknowledged,
            ..Figures::default()
        };
        self.load(scenario, &data_dir, &mut f)?;

        let stored = raw::stored(&database)?;
        f.rows = stored.events;
        let grown = fs::metadata(&database)?.len().saturating_sub(raw::empty_bytes(&self.work)?);
        f.bytes_per_event = grown as f64 / stored.events.max(1) as f64;
        let per_event = |(name, bytes): (String, u64)| (name, bytes as f64 / stored.events.max(1) as f64);
        f.bytes_by_tree = raw::bytes_by_tree(&database)?.into_iter().map(per_event).collect();
        let group = f.events_per_commit.round() as usize;
        let yardstick = raw::run(&database, base.as_deref(), &self.work, before.last_seq, RAW_EVENTS_MAX, group)?;
        (f.raw_cpu_us, f.raw_per_second) = (yardstick.cpu_us, yardstick.per_second);
        if scenario.past {
            self.past = Some((data_dir, f.acknowledged));
        } else {
            fs::remove_dir_all(&data_dir)?;
        }
        Ok(f)
    }

    /// Warm up, closed loop, open loop at half of its rate; then an orderly stop.
    fn load(&mut self, scenario: &Scenario, data_dir: &Path, f: &mut Figures) -> Result<()> {
        let shape = scenario.shape;
        let server = self.start(data_dir, scenario.seal)?;
        server.settle()?;
        f.idle_before_kib = server.memory()?.0;
        self.phase(&server, shape, Pace::Closed(WARM_UP), f)?;

        let from = server.settle()?;
        let own = own_process_ns()?;
        let closed = self.phase(&server, shape, Pace::Closed(self.phase), f)?;
        f.loader_cpu_us = (own_process_ns()? - own) as f64 / 1e3 / closed.accepted.max(1) as f64;
        let groups = server.read()?.since(&from).groups;
        let spent = server.settle()?.since(&from);
        f.events = closed.accepted;
        f.per_second = closed.accepted as f64 / closed.seconds;
        f.body_bytes_per_event = closed.body_bytes as f64 / closed.accepted.max(1) as f64;
        f.events_per_commit = closed.accepted as f64 / f64::from(groups.max(1));
        f.closed_ms = report::percentiles(&closed.latencies);
        cost(f, &spent, closed.accepted);

        let rate = closed.latencies.len() as f64 / closed.seconds / 2.0;
        let from = server.settle()?;
        let open = self.phase(&server, shape, Pace::Open(rate, self.phase), f)?;
        let spent = server.settle()?.since(&from);
        f.open_cpu_us = spent.cpu_ns() as f64 / 1e3 / open.accepted.max(1) as f64;
        f.open_rate = rate * shape.batch as f64;
        f.open_reached = open.accepted as f64 / open.seconds;
        f.open_ms = report::percentiles(&open.latencies);
        (f.idle_after_kib, f.peak_kib) = server.memory()?;
        server.stop()?;
        Ok(())
    }

    fn phase(&mut self, server: &Server, shape: Shape, pace: Pace, f: &mut Figures) -> Result<Told> {
        self.seed += 1;
        let told = load::run(server.address, shape, pace, self.seed)?;
        f.acknowledged += told.accepted;
        f.refused += told.refused;
        f.failed += told.failed;
        Ok(told)
    }

    fn start(&self, data_dir: &Path, seal: bool) -> Result<Server> {
        let config = self.work.join("wayside.toml");
        fs::write(&config, configuration(seal))?;
        let cpu = if self.setting.pinned { Some("0") } else { None };
        Ok(Server::start(&self.arguments.program, data_dir, &config, cpu)?)
    }

    /// A fresh directory, or the one with a past; with the number of events in it.
    fn data_dir(&mut self, scenario: &Scenario) -> Result<(PathBuf, u64)> {
        if !scenario.past {
            return Ok((self.work.join("data"), 0));
        }
        if let Some(past) = self.past.clone() {
            return Ok(past);
        }
        eprintln!("  writing {PAST} events ...");
        let data_dir = self.work.join("past");
        let server = self.start(&data_dir, false)?;
        let mut f = Figures::default();
        self.phase(&server, shape(50, 20, Ids::V7), Pace::Count(PAST), &mut f)?;
        server.stop()?;
        Ok((data_dir, f.acknowledged))
    }
}

/// CPU per event, whole and by thread.
fn cost(f: &mut Figures, spent: &Reading, events: u64) {
    let each = |ns: u64| ns as f64 / 1e3 / events.max(1) as f64;
    f.cpu_us = each(spent.cpu_ns());
    f.ticks_us = each(spent.ticks * 10_000_000);
    f.threads_us = spent.threads.iter().map(|(name, ns)| (name.clone(), each(*ns))).collect();
}

/// CPU of this process so far: what the load costs.
fn own_process_ns() -> Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: u64 = [11, 12].iter().filter_map(|i| fields.get(*i)?.parse::<u64>().ok()).sum();
    Ok(ticks * 10_000_000)
}

/// Everybody may be measured (so no decision precedes each visitor); everything else is as delivered.
fn configuration(seal: bool) -> String {
    let forward = if seal { "enabled = true\nseal_after_seconds = 1" } else { "enabled = false" };
    format!(
        "log = \"warn\"\n[ingest.spool]\nenabled = false\n[forward]\n{forward}\n[[site]]\nid = \"shop\"\n\
         [[site.purposes]]\nname = \"measure\"\nbasis = \"legitimate_interest\"\nassessment = \"a benchmark\"\n"
    )
}
