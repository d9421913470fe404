//! Two real daemons and a job: an edge that joins, a relay that takes its batches, a puller behind it; also while each of them is
//! killed. Must never look into a database to say that something arrived: what counts is what lies in the puller's folder.
//! Invariant: the edge reaches the relay by one address only, whatever port the relay listens on now.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::spawn;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::pull::visits;
use crate::puller::Puller;
use crate::support::*;
use crate::tokens::{make, wayside};

pub const RELAY: &str = "[relay]\nenabled = true\n\n[[target]]\nname = \"warehouse\"\nkind = \"pull\"\n\n\
    [[target]]\nname = \"late\"\nkind = \"pull\"\nrequired = false\n";
pub const EDGE: &str =
    "[edge]\nlabel = \"branch 12\"\n[forward]\nseal_after_seconds = 1\n[[site]]\nid = \"shop\"\ndebug = true\n";

/// A road between machines: what comes in goes to where the relay listens now.
pub struct Road {
    pub address: SocketAddr,
    to: Arc<Mutex<SocketAddr>>,
}

impl Road {
    pub fn to(relay: SocketAddr) -> Road {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let road = Road { address: listener.local_addr().unwrap(), to: Arc::new(Mutex::new(relay)) };
        let to = Arc::clone(&road.to);
        spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(*to.lock().unwrap()) else { continue };
                let (from, back) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                spawn(move || one_way(from, far));
                spawn(move || one_way(back, near));
            }
        });
        road
    }

    pub fn now_to(&self, relay: SocketAddr) {
        *self.to.lock().unwrap() = relay;
    }
}

fn one_way(mut from: TcpStream, mut to: TcpStream) {
    let _ = copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// A relay, an edge that has joined it by the command, and the road between them.
fn joined() -> (Daemon, Daemon, Road) {
    let (relay, edge) = (Daemon::with(RELAY), Daemon::with(EDGE));
    let road = Road::to(relay.address);
    let code = wayside(&relay, &["edge", "code", "--json"])["codes"][0].as_str().unwrap().to_owned();
    let told = wayside(
        &edge,
        &["join", &format!("http://{}", road.address), "--code", &code, "--label", "branch 12", "--json"],
    );
    assert_eq!(told["waits"], json!(false), "{told}");
    let edge = edge.stop().start();
    (relay, edge, road)
}

/// Sends until the relay has, acknowledges and proves by number and digest all that was sealed; what it told last.
pub fn through(edge: &Daemon) -> Value {
    let last = Mutex::new(Value::Null);
    until(PATIENCE, "acknowledging everything", || {
        wayside(edge, &["forward", "--once", "--json"]);
        let told = beside(edge, &["reconcile", "--upstream", "upstream", "--json"]);
        let told: Value = if told.0 == 0 { serde_json::from_str(&told.1).unwrap() } else { return false };
        let whole = told["rows"].as_array().unwrap().iter().all(|row| row["acked_no"] == row["sealed_no"]);
        *last.lock().unwrap() = told;
        whole
    });
    last.into_inner().unwrap()
}

/// Runs the program beside a daemon; its exit code and output.
pub fn beside(daemon: &Daemon, words: &[&str]) -> (i32, String) {
    let data = daemon.home.data();
    let out = Command::new(env!("CARGO_BIN_EXE_wayside")).arg("--data-dir").arg(data).args(words).output().unwrap();
    (out.status.code().unwrap(), String::from_utf8(out.stdout).unwrap())
}

/// The identity of a row: edge, epoch, number.
pub type Origin = (String, String, i64);

/// What a daemon signs with.
fn public_key(daemon: &Daemon) -> String {
    let edge = std::fs::read(daemon.home.data().join("edge.json")).unwrap();
    let edge: Value = serde_json::from_slice(&edge).unwrap();
    edge["epochs"].as_array().unwrap().last().unwrap()["public_key"].as_str().unwrap().to_owned()
}

/// What of an event's line matters here.
#[derive(Deserialize)]
struct Row {
    kind: String,
    edge: String,
    epoch: String,
    seq: i64,
    event_id: Option<String>,
}

/// Events by id, with the identity of each of their rows.
pub fn by_id(job: &Puller) -> BTreeMap<String, Vec<Origin>> {
    let mut out: BTreeMap<String, Vec<Origin>> = BTreeMap::new();
    job.each_line(".ndjson.gz", |line| {
        let row: Row = serde_json::from_str(line).unwrap();
        if row.kind == "event" {
            out.entry(row.event_id.unwrap()).or_default().push((row.edge, row.epoch, row.seq));
        }
    });
    out
}

#[test]
fn what_an_edge_stores_reaches_a_puller_behind_a_relay_once_and_a_withdrawal_follows_it() {
    let (relay, edge, _road) = joined();
    visits(&edge, "stays", 20);
    let leaving = visits(&edge, "leaves", 10);
    edge.events(&with(page_view("stays"), json!({"name": "scroll"})));
    let proven = through(&edge);
    for word in ["consent", "pages", "fine"] {
        let rows = proven["rows"].as_array().unwrap();
        assert!(rows.iter().any(|row| row["lane"] == word && row["there_no"].as_i64() > Some(0)), "{word}: {proven}");
    }
    let target = std::fs::read_to_string(edge.home.data().join("upstream.toml")).unwrap();
    let key = public_key(&relay);
    assert!(target.contains(&key), "an acknowledgement counts only by the relay's own key {key}: {target}");
    let listed = wayside(&relay, &["edge", "list", "--json"]);
    assert_eq!((&listed["edges"][0]["label"], &listed["edges"][0]["state"]), (&json!("branch 12"), &json!("approved")));

    let (_, token) = make(&relay, "warehouse job", "sync");
    let job = Puller::new(relay.address, &token);
    let told = job.pulls(&["--cursor", "warehouse"]);
    assert_eq!((&told["bad"], &told["more"]), (&json!([]), &json!(false)), "{told}");
    let found = by_id(&job);
    assert!(found.values().all(|rows| rows.len() == 1), "each once: {found:?}");
    let origins: BTreeSet<_> = found.values().flatten().collect();
    assert_eq!((found.len(), origins.len()), (31, 31));

    let no = edge.decide(&json!({"visitor": "leaves", "action": "withdraw", "visitorToken": leaving}));
    assert_eq!(no.status, 200, "{no:?}");
    through(&edge);
    job.pulls(&["--cursor", "warehouse"]);
    assert!(job.lines(".ndjson.gz").iter().any(|line| line["kind"] == "withdrawal"), "the word itself came");
    let late = Puller::new(relay.address, &token);
    late.pulls(&["--cursor", "late"]);
    assert_eq!(by_id(&late).len(), 21, "what came before the no is there no more");
    assert!(late.lines(".ndjson.gz").iter().filter(|line| line["kind"] == "hole").count() >= 10);
}

#[test]
fn an_edge_joined_by_a_file_sends_once_the_operator_said_yes_and_no_longer_after_a_no() {
    let relay = Daemon::with(&RELAY.replace("enabled = true", "enabled = true\napprove = \"manual\""));
    let home = Daemon::with(EDGE).stop();
    let code = wayside(&relay, &["edge", "code", "--json"])["codes"][0].clone();
    let file = json!({"url": format!("http://{}", relay.address), "code": code});
    std::fs::write(home.data().join("join.json"), file.to_string()).unwrap();
    let edge = home.start();
    let state = || wayside(&relay, &["edge", "list", "--json"])["edges"][0].clone();
    assert_eq!((state()["label"].as_str(), state()["state"].as_str()), (Some("branch 12"), Some("waiting")));
    assert!(!edge.home.data().join("join.json").exists(), "a file is taken once");
    visits(&edge, "v", 3);
    let refused = |code: &str| {
        let told = wayside(&edge, &["forward", "--once", "--json"]);
        let failed = told["failed"].as_array().unwrap_or_else(|| panic!("{told}")).clone();
        assert!(!failed.is_empty() && failed.iter().all(|one| one["what"].as_str().unwrap().contains(code)), "{told}");
    };
    refused("not_approved");
    assert_eq!(beside(&relay, &["edge", "approve", "branch 12"]).0, 0);
    through(&edge);
    assert_eq!(beside(&relay, &["edge", "revoke", "branch 12"]).0, 0);
    visits(&edge, "w", 3);
    refused("revoked");
    assert_eq!(beside(&relay, &["edge", "approve", "branch 12"]).0, 0);
    through(&edge);
    let (_, token) = make(&relay, "warehouse job", "sync");
    let job = Puller::new(relay.address, &token);
    job.pulls(&["--cursor", "warehouse"]);
    assert_eq!(by_id(&job).len(), 6);
}

/// Throws that a seed repeats.
struct Dice(u64);

impl Dice {
    fn new() -> Dice {
        let given =
            std::env::var("WAYSIDE_IT_SEED").ok().map(|text| text.parse().expect("WAYSIDE_IT_SEED is a number"));
        let seed = given.unwrap_or_else(|| u64::from_be_bytes(wayside::base::id::random_bytes()));
        let _ = writeln!(std::io::stderr(), "WAYSIDE_IT_SEED={seed}");
        Dice(seed | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) % n
    }
}

/// Lets time pass: the moment of a kill.
fn pass(ms: u64) {
    let (_never, bell) = std::sync::mpsc::channel::<()>();
    let _ = bell.recv_timeout(Duration::from_millis(ms));
}

/// Sends events until all of them were answered, also when whoever answers is killed and listens elsewhere afterwards.
struct Shop {
    to: Arc<Mutex<Option<SocketAddr>>>,
    /// Ids that were answered with 200.
    accepted: Arc<Mutex<BTreeSet<String>>>,
    thread: std::thread::JoinHandle<()>,
}

impl Shop {
    fn open(address: SocketAddr, events: usize) -> Shop {
        let (to, accepted) = (Arc::new(Mutex::new(Some(address))), Arc::new(Mutex::new(BTreeSet::new())));
        let (at, book) = (Arc::clone(&to), Arc::clone(&accepted));
        let thread = spawn(move || {
            for first in (0..events).step_by(EACH) {
                let ids: Vec<String> = (first..first + EACH).map(|n| format!("event-{n}")).collect();
                let one = |id: &String| {
                    let visitor = format!("v{}", id.len() % 3);
                    with(
                        page_view(&visitor),
                        json!({"eventId": id, "name": if id.ends_with('7') {"scroll"} else {"page_viewed"}}),
                    )
                };
                let body = Value::Array(ids.iter().map(one).collect()).to_string();
                while !at.lock().unwrap().is_some_and(|to| sent(to, &body)) {
                    pass(20);
                }
                book.lock().unwrap().extend(ids);
            }
        });
        Shop { to, accepted, thread }
    }

    fn now_to(&self, address: Option<SocketAddr>) {
        *self.to.lock().unwrap() = address;
    }
}

/// Events of one request.
const EACH: usize = 1_000;

/// Was it answered with 200, whole?
fn sent(to: SocketAddr, body: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json";
        write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let Ok(answer) = ask() else { return false };
    let done = answer.matches("\"accepted\"").count() + answer.matches("\"duplicate\"").count();
    assert!(!answer.starts_with("HTTP/1.1 200") || done == EACH, "{answer}");
    answer.starts_with("HTTP/1.1 200")
}

/// The same daemon after a power cut that lasted so long.
fn killed(daemon: Daemon, ms: u64) -> Daemon {
    let home = daemon.kill();
    pass(ms);
    home.start()
}

#[test]
fn kills_of_edge_relay_and_puller_while_events_flow_lose_nothing_and_double_nothing() {
    const EVENTS: usize = 100_000;
    const ROUNDS: usize = 12;
    let mut dice = Dice::new();
    let (mut relay, mut edge, road) = joined();
    for visitor in ["v0", "v1", "v2"] {
        edge.give(visitor, &["measure"]);
    }
    let leaving = visits(&edge, "leaves", 30);
    let (_, token) = make(&relay, "warehouse job", "sync");
    let mut job = Puller::new(relay.address, &token);
    let shop = Shop::open(edge.address, EVENTS);
    for round in 0..ROUNDS {
        // kills lie all over the time in which events flow
        until(PATIENCE, "sending on", || shop.accepted.lock().unwrap().len() >= round * EVENTS / (ROUNDS + 1));
        pass(dice.below(600));
        shop.now_to(None);
        match round % 4 {
            0 => edge = killed(edge, dice.below(300)),
            1 => relay = killed(relay, dice.below(300)),
            2 => {
                let home = relay.kill();
                edge = killed(edge, dice.below(300));
                relay = home.start();
            }
            _ => {
                shop.now_to(Some(edge.address));
                let mut command = job.command("pull", &["--cursor", "warehouse", "--wait"]);
                let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
                pass(50 + dice.below(600));
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
        shop.now_to(Some(edge.address));
        road.now_to(relay.address);
        job.from = format!("http://{}", relay.address);
        if round == ROUNDS / 2 {
            let no = edge.decide(&json!({"visitor": "leaves", "action": "withdraw", "visitorToken": leaving}));
            assert_eq!(no.status, 200, "{no:?}");
        }
    }
    let early = shop.accepted.lock().unwrap().len();
    shop.thread.join().unwrap();
    let accepted = shop.accepted.lock().unwrap().clone();
    through(&edge);
    let late = Puller::new(relay.address, &token);
    let mut beside =
        late.command("pull", &["--cursor", "late"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until(PATIENCE, "pulling everything", || {
        let (code, text) = job.run("pull", &["--cursor", "warehouse"]);
        assert!([0, 10, 75].contains(&code), "{code}: {text}");
        code == 0
    });
    assert_eq!(beside.wait().unwrap().code(), Some(0));
    let found = by_id(&job);
    let twice: Vec<_> = found.iter().filter(|(_, rows)| rows.len() != 1).collect();
    assert!(twice.is_empty(), "each event lies there in one row: {twice:?}");
    let counted: BTreeSet<String> = found.keys().filter(|id| id.starts_with("event-")).cloned().collect();
    assert!(counted == accepted, "{} accepted, {} there", accepted.len(), counted.len());
    let found = by_id(&late);
    let counted: BTreeSet<String> = found.keys().cloned().collect();
    assert!(counted == accepted, "of the visitor who left nothing is given out");
    assert!(found.values().all(|rows| rows.len() == 1), "nor anything twice");
    assert_eq!(accepted.len(), EVENTS);
    assert!(early > 0, "events flowed while there were kills");
    let _ = writeln!(std::io::stderr(), "{EVENTS} events, {early} of them during {ROUNDS} rounds of kills");
}
