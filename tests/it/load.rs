//! Loading examples run with real tools, on real batches of sixty edges whose attributes drift, of an edge that was restored, and of a
//! clone: each event counts once, and what was withdrawn or erased counts no more. Must never write a line itself.
//! A tool that is not here is named, not passed over in silence.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;
use wayside::base::time::{Clock, HOUR_MS, MINUTE_MS, SystemClock};
use wayside::config::Config;
use wayside::daemon::desk::Here;
use wayside::forward::options::ForwardOptions;

use crate::support::daemon::files;
use crate::support::*;

const EDGES: usize = 60;

/// Where everything lies: data directories, what upstream has, programs.
struct World {
    folder: TempDir,
    /// Ids of events that count.
    counts: BTreeSet<String>,
    /// Events of each visit that counts, as it was told last.
    visits: Vec<usize>,
}

fn config(data: &Path) -> Config {
    // one batch for each round, so that files are many and small
    Config { data_dir: data.to_owned(), forward: ForwardOptions::default(), ..Config::default() }
}

/// A database that nobody serves, opened once.
struct Edge(Option<Here>);

impl Edge {
    fn open(data: &Path) -> Self {
        Edge(Some(Here::open(&config(data)).unwrap()))
    }

    fn ask(&self, path: &str, body: &Value) -> Value {
        let json = [("content-type", "application/json")];
        let here = self.0.as_ref().unwrap();
        let reply = here.serve("POST", path, &json, body.to_string().into_bytes()).unwrap();
        assert!(reply.status < 300, "{path}: {} {}", reply.status, String::from_utf8_lossy(&reply.body));
        serde_json::from_slice(&reply.body).unwrap()
    }

    fn forward(&self) -> Value {
        self.ask("/v1/forward", &json!({"force": true}))
    }

    /// Events of these visitors, each of whom agreed; their ids.
    fn record(&self, tag: &str, visitors: &[&str], drift: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for visitor in visitors {
            self.ask("/v1/consent", &json!({"visitor": visitor, "action": "give", "purposes": ["measure", "share"]}));
            let mut events = Vec::new();
            for n in 0..3 {
                let id = format!("{tag}-{visitor}-{n}");
                // an attribute is a number here, a text there, and nowhere elsewhere
                let price = [json!(7.5), json!("seven"), json!(true), Value::Null][drift % 4].clone();
                let mut event = json!({"eventId": id, "visitor": visitor, "name": "page_viewed", "attributes": {"n": n},
                    "url": format!("https://shop.example/{visitor}/{n}")});
                if !price.is_null() {
                    event["attributes"]["price"] = price;
                }
                if drift.is_multiple_of(5) {
                    event["attributes"]["only_some_have_this"] = json!("x".repeat(drift));
                }
                events.push(event);
                ids.push(id);
            }
            self.ask("/v1/events", &Value::Array(events));
        }
        ids
    }

    /// A page of a visit that began two hours ago, so many minutes into it; its id.
    fn hours_ago(&self, visitor: &str, tag: &str, minute: i64) -> String {
        let id = format!("{tag}-{visitor}-ago-{minute}");
        let time = SystemClock.now().plus(minute * MINUTE_MS - 2 * HOUR_MS);
        self.ask("/v1/consent", &json!({"visitor": visitor, "action": "give", "purposes": ["measure", "share"]}));
        let event = json!({"eventId": id, "visitor": visitor, "name": "page_viewed", "time": time.0,
            "url": format!("https://shop.example/{visitor}/{minute}")});
        self.ask("/v1/events", &json!([event]));
        id
    }

    /// Visits that are over end, and are told.
    fn end_visits(&self) {
        self.ask("/v1/import/done", &json!({}));
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if let Some(here) = self.0.take() {
            here.close().unwrap();
        }
    }
}

/// Runs the program.
#[track_caller]
fn program(words: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_wayside")).args(words).output().unwrap();
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn copy(from: &Path, to: &Path) {
    for (path, bytes) in files(from) {
        let at = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, bytes).unwrap();
    }
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("programs")).unwrap();
        symlink(env!("CARGO_BIN_EXE_wayside"), folder.path().join("programs/wayside")).unwrap();
        let mut world = World { folder, counts: BTreeSet::new(), visits: Vec::new() };
        for edge in 0..EDGES {
            world.edge(edge);
        }
        world.restored();
        world.cloned();
        world
    }

    fn data(&self, name: &str) -> PathBuf {
        self.folder.path().join("edges").join(name)
    }

    fn upstream(&self) -> PathBuf {
        self.folder.path().join("upstream")
    }

    /// What upstream has not yet; what lies there under a key stays.
    fn deliver(&self, data: &Path) {
        let (outbox, upstream) = (data.join("outbox"), self.upstream());
        for (path, bytes) in files(&outbox) {
            let at = upstream.join(path.strip_prefix(&outbox).unwrap());
            if !at.exists() {
                fs::create_dir_all(at.parent().unwrap()).unwrap();
                fs::write(at, bytes).unwrap();
            }
        }
    }

    /// An edge of its own: one visitor stays, one withdraws, one is erased.
    fn edge(&mut self, number: usize) {
        let data = self.data(&format!("edge-{number}"));
        let (edge, tag) = (Edge::open(&data), format!("e{number}"));
        self.counts.extend(edge.record(&tag, &["stays"], number));
        // one visit goes on after it was told, one is told and then falls under a right
        for minute in [0, 5] {
            self.counts.insert(edge.hours_ago("goes-on", &tag, minute));
        }
        let ends = edge.hours_ago("ends", &tag, 0);
        edge.end_visits();
        let (withdraws, erased) =
            (edge.record(&tag, &["withdraws"], number), edge.record(&tag, &["is-erased"], number));
        edge.forward();
        self.deliver(&data);
        // upstream has their rows, and is told afterwards
        if number % 3 != 2 {
            edge.ask("/v1/consent", &json!({"visitor": "withdraws", "action": "withdraw"}));
        } else {
            self.counts.extend(withdraws);
        }
        if number.is_multiple_of(3) {
            edge.ask("/v1/erasures", &json!({"visitor": "is-erased"}));
        } else {
            self.counts.extend(erased);
        }
        match number % 3 {
            0 => drop(edge.ask("/v1/erasures", &json!({"visitor": "ends"}))),
            1 => drop(edge.ask("/v1/consent", &json!({"visitor": "ends", "action": "withdraw"}))),
            _ => {
                self.counts.insert(ends);
                self.visits.push(1);
            }
        }
        self.counts.insert(edge.hours_ago("goes-on", &tag, 10));
        self.visits.push(3);
        edge.end_visits();
        self.counts.extend(edge.record(&format!("{tag}-later"), &["stays"], number + 1));
        edge.forward();
        self.deliver(&data);
    }

    /// An edge whose database was put back to an earlier day, and went on.
    fn restored(&mut self) {
        let (data, again) = (self.data("restored"), self.data("restored-again"));
        let backup = self.folder.path().join("backup.db");
        let edge = Edge::open(&data);
        self.counts.extend(edge.record("r1", &["a"], 1));
        self.counts.insert(edge.hours_ago("goes-on", "r1", 0));
        edge.end_visits();
        edge.forward();
        self.deliver(&data);
        drop(edge);
        let (data_text, backup_text) = (data.display().to_string(), backup.display().to_string());
        program(&["--data-dir", &data_text, "backup", &backup_text]);
        let edge = Edge::open(&data);
        self.counts.extend(edge.record("r2", &["a", "b"], 2));
        self.counts.insert(edge.hours_ago("goes-on", "r2", 5));
        edge.end_visits();
        self.visits.push(2); // told twice in the time that the backup does not know
        edge.forward();
        self.deliver(&data);
        drop(edge);
        fs::create_dir_all(&again).unwrap();
        for name in ["edge.json", "edge.key", "root.key"] {
            fs::copy(data.join(name), again.join(name)).unwrap();
        }
        program(&["restore", &backup_text, "--to", &again.display().to_string(), "--without-rights-log"]);
        let edge = Edge::open(&again);
        edge.end_visits();
        self.visits.push(3); // open when the backup was made, and ended by the new epoch
        self.counts.extend(edge.record("r3", &["a", "c"], 3));
        edge.forward();
        self.deliver(&again);
    }

    /// An edge whose disk was copied: both went on under one name until the copy gave way.
    fn cloned(&mut self) {
        let (data, twin) = (self.data("cloned"), self.data("twin"));
        let edge = Edge::open(&data);
        self.counts.extend(edge.record("c1", &["a"], 1));
        edge.forward();
        self.deliver(&data);
        for lane in ["consent", "pages"] {
            edge.ask("/v1/batches/ack", &json!({"target": "outbox", "lane": lane, "upto": 1}));
        }
        drop(edge);
        copy(&data, &twin);
        let edge = Edge::open(&data);
        self.counts.extend(edge.record("c2", &["a"], 2));
        edge.forward();
        self.deliver(&data);
        copy(&data.join("outbox"), &twin.join("outbox")); // what upstream has under the numbers of the twin
        let copied = Edge::open(&twin);
        self.counts.extend(copied.record("c3", &["a"], 3));
        let failed = copied.forward();
        assert!(failed["failed"].to_string().contains("fork"), "{failed:?}");
        copied.ask("/v1/edge/renew", &json!({"target": "outbox"}));
        copied.forward();
        self.deliver(&twin);
    }

    /// Runs a loader of `packaging/load` on what upstream has.
    fn load(&self, mut command: Command) -> Output {
        let path = format!("{}:{}", self.folder.path().join("programs").display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).current_dir(self.folder.path()).output().unwrap()
    }

    /// What a loader printed: how many events and visits count.
    #[track_caller]
    fn counted(&self, out: &Output) {
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8_lossy(&out.stdout);
        let wanted = format!("events {}\nvisits {}\n", self.counts.len(), self.visits.len());
        assert_eq!(text, wanted, "{}", String::from_utf8_lossy(&out.stderr));
    }

    /// The sum over all visits that an engine says count: each as it was told last.
    #[track_caller]
    fn sums(&self, out: &Output) {
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), self.visits.iter().sum::<usize>().to_string());
    }

    /// The ids an engine says count.
    #[track_caller]
    fn are(&self, out: &Output) {
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let all: Vec<&str> = text.lines().collect();
        let ids: BTreeSet<String> = all.iter().map(|id| (*id).to_owned()).collect();
        assert_eq!(all.len(), ids.len(), "none twice");
        let (missing, more): (Vec<_>, Vec<_>) =
            (self.counts.difference(&ids).collect(), ids.difference(&self.counts).collect());
        assert!(missing.is_empty() && more.is_empty(), "missing {missing:?}, too many {more:?}");
    }
}

/// Adds up how many events the visits say they have.
const SUM: &str = "SELECT CAST(sum(event_count) AS INTEGER) FROM visits";

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/load").join(name)
}

/// A Python with this module; says so where there is none.
pub fn python(module: &str) -> Option<PathBuf> {
    let found = some_python(module);
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "python3 with {module} is needed");
        skipped(&format!("no python3 with {module} here (tests/run.sh brings one)"));
    }
    found
}

fn some_python(module: &str) -> Option<PathBuf> {
    let python = std::env::var_os("WAYSIDE_TEST_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let there =
        Command::new(&python).args(["-c", &format!("import {module}")]).output().is_ok_and(|out| out.status.success());
    there.then_some(python)
}

fn script(python: &Path, name: &str, words: &[&str]) -> Command {
    let mut command = Command::new(python);
    command.arg(example(name)).args(words);
    command
}

fn inline(python: &Path, text: &str) -> Command {
    let mut command = Command::new(python);
    command.args(["-c", text]);
    command
}

#[test]
fn each_event_counts_once_in_every_tool() {
    let world = World::new();
    if let Some(python) = python("sqlite3") {
        world.counted(&world.load(script(&python, "load_sqlite.py", &["upstream", "s.db"])));
        let ids =
            "import sqlite3\nfor r in sqlite3.connect('s.db').execute('SELECT event_id FROM events'): print(r[0])";
        world.are(&world.load(inline(&python, ids)));
        let sum = format!("import sqlite3\nprint(sqlite3.connect('s.db').execute('{SUM}').fetchone()[0])");
        world.sums(&world.load(inline(&python, &sum)));
        world.counted(&world.load(script(&python, "load_sqlite.py", &["upstream", "s.db"]))); // all of it once more
    }
    if let Some(python) = python("duckdb") {
        world.counted(&world.load(script(&python, "load_duckdb.py", &["upstream", "d.db"])));
        let ids = "import duckdb\nfor r in duckdb.connect('d.db').execute('SELECT event_id FROM events').fetchall(): print(r[0])";
        world.are(&world.load(inline(&python, ids)));
        let sum = format!("import duckdb\nprint(duckdb.connect('d.db').execute('{SUM}').fetchone()[0])");
        world.sums(&world.load(inline(&python, &sum)));
        world.counted(&world.load(script(&python, "load_duckdb.py", &["upstream", "d.db"])));
    }
    if let Some(python) = python("pandas") {
        world.counted(&world.load(script(&python, "load_pandas.py", &["upstream", "events.csv"])));
        let ids = "import csv\nfor r in csv.DictReader(open('events.csv')): print(r['event_id'])";
        world.are(&world.load(inline(&python, ids)));
    }
    clickhouse(&world);
    postgres(&world);
}

/// ClickHouse within Python takes 180 MB to fetch, so nothing here brings it.
fn clickhouse(world: &World) {
    let Some(python) = std::env::var_os("WAYSIDE_TEST_CHDB").map(PathBuf::from).or_else(|| some_python("chdb")) else {
        return skipped(
            "ClickHouse is not here: pip install --no-deps chdb chdb-core, and name that python in WAYSIDE_TEST_CHDB",
        );
    };
    let load = || world.load(script(&python, "load_clickhouse.py", &["upstream", "ch"]));
    let ask = |query: &str| {
        let text = format!("from chdb import session\nprint(session.Session('ch').query({query:?}, 'TSV'), end='')");
        world.load(inline(&python, &text))
    };
    world.counted(&load());
    world.are(&ask("SELECT event_id FROM events"));
    world.sums(&ask("SELECT sum(event_count) FROM visits"));
    world.counted(&load());
}

/// A server of its own in a folder, over a socket there. Its programs refuse to run as root.
fn postgres(world: &World) {
    let bin = fs::read_dir("/usr/lib/postgresql")
        .ok()
        .and_then(|all| all.filter_map(|e| Some(e.ok()?.path().join("bin"))).max());
    let Some(bin) = bin.filter(|bin| bin.join("initdb").exists()) else {
        return skipped("no PostgreSQL here (tests/run.sh installs it where it can)");
    };
    let place = tempfile::tempdir().unwrap();
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n");
    let as_server = |words: &[&str]| {
        let program = bin.join(words[0]).display().to_string();
        let mut command = if root { Command::new("setpriv") } else { Command::new(&program) };
        if root {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", &program]);
        }
        let out = command.args(&words[1..]).env("LC_ALL", "C").current_dir(place.path()).output().unwrap();
        assert!(
            out.status.success(),
            "{words:?}: {}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
    };
    if root {
        std::os::unix::fs::chown(place.path(), Some(65534), Some(65534)).unwrap();
    }
    let here = place.path().display().to_string();
    as_server(&["initdb", "-D", "db", "-U", "loader", "-A", "trust", "-E", "UTF8"]);
    let options = format!("-k {here} -c listen_addresses= -c fsync=off");
    as_server(&["pg_ctl", "-D", "db", "-l", "log", "-o", &options, "-w", "start"]);
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let with = |mut command: Command| {
            command.env("PGHOST", &here).env("PGUSER", "loader").env("PGDATABASE", "postgres");
            world.load(command)
        };
        let load = || {
            let mut command = Command::new("sh");
            command.arg(example("load_postgres.sh")).arg("upstream");
            with(command)
        };
        world.counted(&load());
        let mut ids = Command::new("psql");
        ids.args(["-XAtc", "SELECT event_id FROM events"]);
        world.are(&with(ids));
        let mut sum = Command::new("psql");
        sum.args(["-XAtc", SUM]);
        world.sums(&with(sum));
        world.counted(&load());
    }));
    as_server(&["pg_ctl", "-D", "db", "-m", "immediate", "stop"]);
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}
