//! Measures how batches leave: `cargo bench --bench forward -- [--quick]`. Method: `benches/README.md`.
//! No part of the product. Invariant: it fails only where lines sent and rows differ, never for being slow.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

mod corpus;
mod cpu;
mod drain;
#[path = "../ingest/load.rs"]
#[allow(dead_code)] // the other bench uses the rest
mod load;
#[path = "../ingest/make.rs"]
#[allow(dead_code)]
mod make;
mod mixed;
#[path = "../ingest/server.rs"]
#[allow(dead_code)] // the other bench uses the rest
mod server;
mod sink;
mod steps;

use corpus::Corpus;
use steps::Steps;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Arguments {
    /// Rows of each backlog.
    rows: Vec<usize>,
    level: u32,
    program: PathBuf,
    work: Option<PathBuf>,
    /// Leaves the databases where they were made, for a profile.
    keep: bool,
    only: Option<String>,
}

impl Arguments {
    fn parse() -> Result<Self> {
        let mut out = Arguments {
            rows: vec![100_000, 1_000_000, 10_000_000],
            level: 2,
            program: PathBuf::from(env!("CARGO_BIN_EXE_wayside")),
            work: None,
            keep: false,
            only: None,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--quick" => out.rows = vec![100_000],
                "--rows" => out.rows = value()?.split(',').map(str::parse).collect::<std::result::Result<_, _>>()?,
                "--level" => out.level = value()?.parse()?,
                "--program" => out.program = value()?.into(),
                "--work" => out.work = Some(value()?.into()),
                "--keep" => out.keep = true,
                "--only" => out.only = Some(value()?),
                "--bench" => {} // cargo's own
                _ => return Err(format!("unknown argument {word}; see benches/README.md").into()),
            }
        }
        Ok(out)
    }

    fn wants(&self, part: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == part)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments = Arguments::parse()?;
    let work = arguments
        .work
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("wayside-bench-{}", std::process::id())));
    fs::create_dir_all(&work)?;
    let corpus = Corpus::load()?;
    println!("{} page views of {}, gzip level {}", corpus.len(), corpus.name, arguments.level);
    for rows in &arguments.rows {
        backlog(&arguments, &corpus, &work, *rows)?;
    }
    if !arguments.keep {
        fs::remove_dir_all(&work)?;
    }
    Ok(())
}

/// Everything about one backlog.
fn backlog(arguments: &Arguments, corpus: &Corpus, work: &Path, rows: usize) -> Result<()> {
    let quiet = work.join("quiet.toml");
    fs::write(
        &quiet,
        "log = \"warn\"\n[ingest.spool]\nenabled = false\n[forward]\nenabled = false\n".to_owned() + SITE,
    )?;
    let draining = work.join("draining.toml");
    fs::write(&draining, configuration(arguments.level, OUTBOX))?;
    let base = work.join(format!("rows-{rows}"));
    if !base.exists() {
        eprintln!("importing {rows} rows ...");
        corpus.import(&arguments.program, &quiet, &base, rows)?;
    }
    let data_dir = work.join("data");
    if arguments.wants("start") {
        let ms = drain::start_ms(&arguments.program, &quiet, &base, 7)?;
        println!("{rows} rows: started in {ms:.0} ms");
    }
    if arguments.wants("steps") {
        copy(&base, &data_dir)?;
        println!("{rows} rows, step by step:\n{}", table(&steps::run(&data_dir, arguments.level)?));
        fs::remove_dir_all(&data_dir)?;
    }
    if arguments.wants("drain") {
        drained(arguments, (&base, &draining), work, "outbox", rows)?;
    }
    if arguments.wants("push") {
        let sink = sink::Sink::start()?;
        let pushing = work.join("pushing.toml");
        let target = format!("name = \"sink\"\nkind = \"http\"\nurl = \"http://{}\"\nplain = true\n", sink.address);
        fs::write(&pushing, configuration(arguments.level, &target))?;
        let lines = drained(arguments, (&base, &pushing), work, "sink", rows)?;
        let (batches, bytes) = (sink.batches.load(Ordering::Relaxed), sink.bytes.load(Ordering::Relaxed));
        println!("    to a receiver over HTTP: {batches} batches, {:.1} bytes a line", bytes as f64 / lines);
    }
    if arguments.wants("mixed") {
        for (config, what) in [(&quiet, "nothing drains"), (&draining, "the backlog drains")] {
            copy(&base, &data_dir)?;
            let ms = mixed::latencies(&arguments.program, config, &data_dir, 10)?;
            println!("{rows} rows, {what}: 500 single events a second, p50 / p99 / p99.9 {ms:.1?} ms");
            fs::remove_dir_all(&data_dir)?;
        }
    }
    Ok(())
}

/// Drains a copy of a backlog to a target; how many lines that were.
fn drained(
    arguments: &Arguments,
    (base, config): (&Path, &Path),
    work: &Path,
    target: &str,
    rows: usize,
) -> Result<f64> {
    let data_dir = work.join("data");
    copy(base, &data_dir)?;
    let d = drain::run(&arguments.program, config, &data_dir, target)?;
    let lines = d.lines as f64;
    println!(
        "{rows} rows: {} lines drained to {target} in {:.1} s, {:.0}/s, peak {:.1} MiB, at the end {:.1} MiB",
        d.lines,
        d.seconds,
        lines / d.seconds,
        d.peak_kib as f64 / 1024.0,
        d.end_kib as f64 / 1024.0
    );
    let all: u64 = d.threads.values().sum();
    for (name, ns) in d.threads.iter().filter(|(_, ns)| **ns > 10_000_000) {
        println!("    {name:<16} {:>7.2} us/line", *ns as f64 / 1e3 / lines);
    }
    println!("    {:<16} {:>7.2} us/line", "all", all as f64 / 1e3 / lines);
    fs::remove_dir_all(&data_dir)?;
    Ok(lines)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(to);
    let status = std::process::Command::new("cp").args(["-a", "--reflink=auto"]).arg(from).arg(to).status()?;
    if status.success() { Ok(()) } else { Err(format!("copying ended with {status}").into()) }
}

const OUTBOX: &str = "name = \"outbox\"\nkind = \"dir\"\npath = \"outbox\"\nkeep_bytes = 20000000000\n";
const SITE: &str = "[[site]]\nid = \"shop\"\n[[site.purposes]]\nname = \"measure\"\nbasis = \"legitimate_interest\"\n\
                    assessment = \"a benchmark\"\n";

fn configuration(level: u32, target: &str) -> String {
    format!(
        "log = \"warn\"\n[ingest.spool]\nenabled = false\n[forward]\nseal_after_seconds = 1\ngzip_level = {level}\n{SITE}\
         [[target]]\n{target}"
    )
}

fn table(all: &[(&'static str, Steps)]) -> String {
    let mut out = String::from(
        "lane      batches     lines  B plain   B wire     seal   render compress      put      sum us/line\n",
    );
    for (name, s) in all {
        let each = |n: u64| n as f64 / s.lines.max(1) as f64;
        let us = |ns: u64| each(ns) / 1e3;
        out.push_str(&format!(
            "{name:<9} {:>7} {:>9} {:>8.1} {:>8.1} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2}\n",
            s.batches,
            s.lines,
            each(s.plain_bytes),
            each(s.wire_bytes),
            us(s.seal_ns),
            us(s.render_ns),
            us(s.compress_ns),
            us(s.put_ns),
            us(s.seal_ns + s.render_ns + s.compress_ns + s.put_ns),
        ));
    }
    out
}
