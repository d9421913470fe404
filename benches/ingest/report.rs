//! What was measured, as a table, as verdicts and as JSON. Must never measure anything itself.
//! Invariant: a verdict is never an exit code; only rows that do not match are.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Everything measured in one scenario.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub name: String,
    pub batch: usize,
    /// Batches were sealed and put meanwhile.
    pub seal: bool,
    pub events: u64,
    pub refused: u64,
    pub failed: u64,
    pub body_bytes_per_event: f64,
    pub per_second: f64,
    pub cpu_us: f64,
    pub ticks_us: f64,
    pub threads_us: BTreeMap<String, f64>,
    pub open_cpu_us: f64,
    pub loader_cpu_us: f64,
    pub events_per_commit: f64,
    pub raw_cpu_us: f64,
    pub raw_per_second: f64,
    /// Due per second in the open loop, and what came of it.
    pub open_rate: f64,
    pub open_reached: f64,
    pub closed_ms: [f64; 3],
    pub open_ms: [f64; 3],
    pub idle_before_kib: u64,
    pub idle_after_kib: u64,
    pub peak_kib: u64,
    pub bytes_per_event: f64,
    pub bytes_by_tree: Vec<(String, f64)>,
    pub rows: u64,
    pub acknowledged: u64,
}

impl Figures {
    /// Server CPU in units of the yardstick's.
    pub fn ratio(&self) -> f64 {
        self.cpu_us / self.raw_cpu_us.max(0.001)
    }

    /// Is every acknowledged event a row, and every row acknowledged?
    pub fn match_rows(&self) -> bool {
        self.rows == self.acknowledged && self.failed == 0
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name, "batch": self.batch, "events": self.events, "refused_requests": self.refused,
            "body_bytes_per_event": self.body_bytes_per_event, "events_per_second": self.per_second,
            "cpu_us_per_event": self.cpu_us, "cpu_us_per_event_by_ticks": self.ticks_us,
            "cpu_us_per_event_by_thread": self.threads_us, "cpu_us_per_event_open_loop": self.open_cpu_us,
            "loader_cpu_us_per_event": self.loader_cpu_us, "events_per_commit": self.events_per_commit,
            "raw_cpu_us_per_event": self.raw_cpu_us, "raw_events_per_second": self.raw_per_second,
            "ratio_to_raw": self.ratio(), "open_loop_due_per_second": self.open_rate,
            "open_loop_events_per_second": self.open_reached,
            "closed_loop_ms": quantiles(self.closed_ms), "open_loop_ms": quantiles(self.open_ms),
            "rss_idle_before_kib": self.idle_before_kib, "rss_idle_after_kib": self.idle_after_kib,
            "rss_peak_kib": self.peak_kib, "bytes_per_event": self.bytes_per_event,
            "bytes_per_event_by_tree": self.bytes_by_tree.iter().cloned().collect::<BTreeMap<_, _>>(),
            "rows": self.rows, "acknowledged": self.acknowledged,
        })
    }
}

fn quantiles(ms: [f64; 3]) -> Value {
    json!({"p50": ms[0], "p99": ms[1], "p99.9": ms[2]})
}

/// p50, p99 and p99.9 of sorted microseconds, in milliseconds; exact, no buckets.
pub fn percentiles(sorted_us: &[u32]) -> [f64; 3] {
    [0.5, 0.99, 0.999].map(|q| {
        let place = (q * sorted_us.len() as f64).ceil() as usize;
        sorted_us.get(place.saturating_sub(1)).map_or(0.0, |us| f64::from(*us) / 1e3)
    })
}

/// What holds for the whole run.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    pub pinned: bool,
    pub cpus: usize,
    pub load_average: String,
    pub binary_bytes: u64,
}

/// The table of all scenarios.
pub fn table(all: &[Figures]) -> String {
    let mut out = format!(
        "{:<28}{:>8}{:>8}{:>7}{:>7}{:>9}{:>8}{:>22}{:>22}{:>7}{:>7}{:>7}\n",
        "scenario",
        "us/ev",
        "raw us",
        "ratio",
        "ev/com",
        "ev/s",
        "due/s",
        "open ms p50/99/99.9",
        "closed ms p50/99/99.9",
        "B/ev",
        "idle",
        "peak"
    );
    for f in all {
        let ms = |q: [f64; 3]| format!("{:.2} {:.1} {:.1}", q[0], q[1], q[2]);
        out += &format!(
            "{:<28}{:>8.1}{:>8.1}{:>7.2}{:>7.0}{:>9.0}{:>8.0}{:>22}{:>22}{:>7.0}{:>7.1}{:>7.1}\n",
            f.name,
            f.cpu_us,
            f.raw_cpu_us,
            f.ratio(),
            f.events_per_commit,
            f.per_second,
            f.open_rate,
            ms(f.open_ms),
            ms(f.closed_ms),
            f.bytes_per_event,
            mib(f.idle_before_kib),
            mib(f.peak_kib)
        );
    }
    out += "\nCPU us/event by thread (closed loop)\n";
    for f in all {
        let threads: Vec<String> =
            f.threads_us.iter().filter(|(_, us)| **us >= 0.05).map(|(n, us)| format!("{n} {us:.1}")).collect();
        out += &format!(
            "{:<28}{}; by ticks {:.1}; open loop {:.1}; loader {:.1}; body {:.0} B\n",
            f.name,
            threads.join(", "),
            f.ticks_us,
            f.open_cpu_us,
            f.loader_cpu_us,
            f.body_bytes_per_event
        );
    }
    out += "\nbytes per event by table and index\n";
    for f in all {
        let trees: Vec<String> =
            f.bytes_by_tree.iter().filter(|(_, n)| *n >= 3.0).map(|(name, n)| format!("{name} {n:.0}")).collect();
        out += &format!("{:<28}{}\n", f.name, trees.join(", "));
    }
    out
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// One line for each gate and target.
pub fn verdicts(all: &[Figures], setting: &Setting) -> Vec<(bool, String)> {
    let mut out = Vec::new();
    let mut say = |what: String, found: f64, most: f64| {
        out.push((found <= most, format!("{what}: {found:.1} (at most {most})")));
    };
    // sealing is work of its own, paid once per row, whenever the machine has time for it
    for f in all.iter().filter(|f| !f.seal) {
        let (ratio, cpu) = if f.batch == 1 { (3.0, 30.0) } else { (1.5, 15.0) };
        say(format!("gate    {}: CPU in units of the raw loop", f.name), f.ratio(), ratio);
        say(format!("target  {}: CPU us per event", f.name), f.cpu_us, cpu);
        say(format!("target  {}: bytes per event", f.name), f.bytes_per_event, 600.0);
    }
    let most = |get: fn(&Figures) -> u64| mib(all.iter().map(get).max().unwrap_or(0));
    say("target  idle RSS before load, MiB".to_owned(), most(|f| f.idle_before_kib), 10.0);
    say("target  idle RSS after load, MiB".to_owned(), most(|f| f.idle_after_kib), 10.0);
    say("target  peak RSS, MiB".to_owned(), most(|f| f.peak_kib), 40.0);
    say("target  binary, MiB".to_owned(), setting.binary_bytes as f64 / 1_048_576.0, 8.0);
    out
}

/// Everything, for a machine.
pub fn json(all: &[Figures], setting: &Setting, verdicts: &[(bool, String)]) -> Value {
    json!({
        "pinned": setting.pinned, "cpus": setting.cpus, "load_average": setting.load_average,
        "binary_bytes": setting.binary_bytes,
        "scenarios": all.iter().map(Figures::json).collect::<Vec<_>>(),
        "verdicts": verdicts.iter().map(|(pass, what)| json!({"pass": pass, "what": what})).collect::<Vec<_>>(),
    })
}
