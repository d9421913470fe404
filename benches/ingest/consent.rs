//! What consent costs: one program twice, side by side. With A every purpose rests on legitimate interest and nobody decides; with B
//! every purpose rests on consent, and each visitor's first event brings a grant along. They are loaded in turns, so that what
//! the machine does meanwhile meets both. Must never compare figures of different turns. Invariant: as many events are rows as were
//! acknowledged, and B has a decision for each visitor.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;

use serde_json::json;

use crate::load::{self, Pace, Shape, TOKEN};
use crate::make::Ids;
use crate::server::Server;
use crate::{Bench, Result, WARM_UP, raw, shape};

/// Fewer alternations tell nothing.
const PAIRS_MIN: usize = 10;
/// CPU with a grant for each visitor, in units of CPU without any.
const RATIO_MAX: f64 = 1.15;
const PURPOSES: [&str; 7] = ["measure", "personal", "profile", "engage_support", "share", "marketing", "engage_sales"];

/// One of the two daemons.
struct Side {
    server: Server,
    shape: Shape,
    acknowledged: u64,
    failed: u64,
}

/// Every shape, each by so many alternations. True where rows and acknowledgements agree.
pub fn run(bench: &mut Bench, pairs: usize) -> Result<bool> {
    if pairs < PAIRS_MIN {
        eprintln!("only {pairs} alternations: at least {PAIRS_MIN} are needed for a figure");
    }
    let only = bench.arguments.only.clone().unwrap_or_default();
    let (mut whole, mut told) = (true, Vec::new());
    println!("CPU us per event of the server, A without decisions, B with a grant per visitor");
    for (batch, per_visitor) in [(1, 20), (50, 20), (1, 1), (50, 1)] {
        let kind = if batch == 1 { "single" } else { "batch" };
        let name = format!("{kind} {per_visitor}/visitor");
        if !name.contains(&only) {
            continue;
        }
        let measured = alternate(bench, shape(batch, per_visitor, Ids::V7), pairs)?;
        let mut ratios: Vec<f64> = measured.pairs.iter().map(|(a, b)| b / a).collect();
        ratios.sort_by(f64::total_cmp);
        let (middle, a, b) = (median(&ratios), measured.median(|pair| pair.0), measured.median(|pair| pair.1));
        for (n, (a, b)) in measured.pairs.iter().enumerate() {
            println!("  {name} {:>2}: A {a:>7.1}  B {b:>7.1}  B/A {:.3}", n + 1, b / a);
        }
        // a visitor of one event decides at each event: that is told, and is no target
        let judged = per_visitor > 1;
        let word = match judged {
            false => "      ",
            true if middle <= RATIO_MAX => "PASS  ",
            true => "FAIL  ",
        };
        println!(
            "{word}{name}: median of {pairs} ratios {middle:.3} (at most {RATIO_MAX}), least {:.3}, greatest {:.3}; medians A {a:.1}, B {b:.1}",
            ratios[0],
            ratios[ratios.len() - 1]
        );
        whole &= measured.whole;
        told.push(
            json!({"name": name, "alternations": pairs, "median_ratio": middle, "target": judged.then_some(RATIO_MAX),
            "ratios_sorted": ratios, "pairs_cpu_us": measured.pairs, "rows_agree": measured.whole}),
        );
    }
    if let Some(path) = &bench.arguments.json {
        let all = json!({"consent": told, "pinned": bench.setting.pinned, "load_average": bench.setting.load_average});
        fs::write(path, serde_json::to_string_pretty(&all)? + "\n")?;
    }
    Ok(whole)
}

struct Measured {
    /// CPU microseconds per event of A and of B, turn by turn.
    pairs: Vec<(f64, f64)>,
    whole: bool,
}

impl Measured {
    fn median(&self, of: impl Fn(&(f64, f64)) -> f64) -> f64 {
        let mut all: Vec<f64> = self.pairs.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        median(&all)
    }
}

fn median(sorted: &[f64]) -> f64 {
    let (below, above) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    (below + above) / 2.0
}

fn alternate(bench: &mut Bench, shape: Shape, pairs: usize) -> Result<Measured> {
    let mut a = start(bench, "a", Shape { sender: true, grants: false, ..shape })?;
    let mut b = start(bench, "b", Shape { sender: true, grants: true, ..shape })?;
    for side in [&mut a, &mut b] {
        turn(bench, side, WARM_UP.as_secs_f64())?;
    }
    let mut out = Vec::with_capacity(pairs);
    for n in 0..pairs {
        let seconds = bench.phase.as_secs_f64();
        // who begins changes: what the first leaves behind meets the second half of the times
        let pair = if n % 2 == 0 {
            let first = turn(bench, &mut a, seconds)?;
            (first, turn(bench, &mut b, seconds)?)
        } else {
            let first = turn(bench, &mut b, seconds)?;
            (turn(bench, &mut a, seconds)?, first)
        };
        out.push(pair);
    }
    let whole = ends(bench, "a", a)? & ends(bench, "b", b)?;
    Ok(Measured { pairs: out, whole })
}

/// Loads one daemon for so long; CPU microseconds per event.
fn turn(bench: &mut Bench, side: &mut Side, seconds: f64) -> Result<f64> {
    bench.seed += 1;
    let from = side.server.settle()?;
    let pace = Pace::Closed(std::time::Duration::from_secs_f64(seconds));
    let told = load::run(side.server.address, side.shape, pace, bench.seed)?;
    let spent = side.server.settle()?.since(&from);
    side.acknowledged += told.accepted;
    side.failed += told.failed;
    Ok(spent.cpu_ns() as f64 / 1e3 / told.accepted.max(1) as f64)
}

fn start(bench: &Bench, name: &str, shape: Shape) -> Result<Side> {
    let token = bench.work.join("token");
    if !token.exists() {
        let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&token)?;
        std::io::Write::write_all(&mut file, TOKEN.as_bytes())?;
    }
    let config = bench.work.join(format!("{name}.toml"));
    fs::write(&config, configuration(&token.display().to_string(), shape.grants))?;
    let cpu = if bench.setting.pinned { Some("0") } else { None };
    let server = Server::start(&bench.arguments.program, &bench.work.join(name), &config, cpu)?;
    Ok(Side { server, shape, acknowledged: 0, failed: 0 })
}

/// As delivered, but for whence decisions come and what purposes rest on.
fn configuration(token: &str, by_consent: bool) -> String {
    let mut out = format!(
        "log = \"warn\"\ningest_token_files = [{token:?}]\n[ingest.spool]\nenabled = false\n[forward]\nenabled = false\n\
         [[site]]\nid = \"shop\"\nconsent_source = \"sender\"\n"
    );
    for purpose in PURPOSES.iter().filter(|_| !by_consent) {
        out += &format!(
            "[[site.purposes]]\nname = \"{purpose}\"\nbasis = \"legitimate_interest\"\nassessment = \"a benchmark\"\n"
        );
    }
    out
}

/// Stops it and looks whether its rows are what it acknowledged.
fn ends(bench: &Bench, name: &str, side: Side) -> Result<bool> {
    side.server.stop()?;
    let data_dir = bench.work.join(name);
    let stored = raw::stored(&data_dir.join("wayside.db"))?;
    let rows = rusqlite::Connection::open(data_dir.join("wayside.db"))?;
    let count = |sql: &str| rows.query_row(sql, [], |row| row.get::<_, i64>(0));
    let (visitors, decisions) = (count("SELECT count(*) FROM visitors")?, count("SELECT count(*) FROM decisions")?);
    drop(rows);
    fs::remove_dir_all(&data_dir)?;
    let wanted = if side.shape.grants { visitors } else { 0 };
    let whole = stored.events == side.acknowledged && side.failed == 0 && decisions == wanted;
    if !whole {
        println!(
            "WRONG {name}: {} rows, {} acknowledged, {} bad answers, {decisions} decisions of {visitors} visitors",
            stored.events, side.acknowledged, side.failed
        );
    }
    Ok(whole)
}
