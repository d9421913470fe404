//! The relay of a fleet: the program's own receiver on a disk that stops, is put back and is asked by others. Must never judge
//! by the program what binds it: it has read the lines itself. Invariant: nothing leaves it that a line it acknowledged covers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use wayside::base::error::Result;
use wayside::base::gzip;
use wayside::base::id::EdgeId;
use wayside::domain::delivery::Watermark;
use wayside::domain::token::Caller;
use wayside::forward::relay::clash::Word;
use wayside::forward::relay::enrol::{Codes, Joining};
use wayside::forward::relay::receive::{Incoming, Taken};
use wayside::forward::target::{Key, Landed, Put, Says, Setback};
use wayside::http::app::App;

use crate::machine::Machine;
use crate::wire::{Receiver, Request, down};

/// What lines that came told: floors by edge, birth epoch and visitor, and who was erased.
#[derive(Clone, Default)]
pub struct Known {
    floors: BTreeMap<(String, String, String), i64>,
    gone: BTreeSet<String>,
}

fn lines(ndjson: &[u8]) -> impl Iterator<Item = Value> {
    ndjson.split(|b| *b == b'\n').filter(|line| !line.is_empty()).map(|line| serde_json::from_slice(line).unwrap())
}

fn whose(line: &Value) -> (String, String, String) {
    let text = |key: &str| line[key].as_str().unwrap().to_owned();
    (text("edge"), text("epoch"), text("visitor_ref"))
}

impl Known {
    fn learn(&mut self, ndjson: &[u8]) {
        for line in lines(ndjson) {
            match line["kind"].as_str().unwrap() {
                "withdrawal" => {
                    let floor = self.floors.entry(whose(&line)).or_insert(0);
                    *floor = (*floor).max(line["floor_seq"].as_i64().unwrap());
                }
                "erasure" => drop(self.gone.insert(line["visitor_ref"].as_str().unwrap().to_owned())),
                _ => {}
            }
        }
    }

    fn look(&self, key: &str, ndjson: &[u8]) {
        for line in lines(ndjson).filter(|line| line["kind"] == "event") {
            let covered = self.floors.get(&whose(&line)).is_some_and(|floor| line["seq"].as_i64().unwrap() <= *floor);
            let gone = self.gone.contains(line["visitor_ref"].as_str().unwrap());
            assert!(!covered && !gone, "{key} leaves the relay with {line}");
        }
    }
}

/// When the relay stops while a batch comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Never,
    /// Before it was looked at.
    Before,
    /// Its files are there, its row is not.
    Between,
    /// It is there, and nobody hears of it.
    After,
}

impl Stop {
    pub const ALL: [Stop; 4] = [Stop::Never, Stop::Before, Stop::Between, Stop::After];
}

pub struct Relay {
    machine: Mutex<Machine>,
    known: Arc<Mutex<Known>>,
    /// The whole disk some time ago, and what had come by then.
    before: Mutex<Known>,
    plan: Mutex<(Stop, u64)>,
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relay {
    pub fn to(upstream: Arc<dyn Receiver>) -> Relay {
        let known = Arc::new(Mutex::new(Known::default()));
        let look = {
            let known = Arc::clone(&known);
            Arc::new(move |key: &str, ndjson: &[u8]| lock(&known).look(key, ndjson))
        };
        let machine = Mutex::new(Machine::relay("relay", upstream, look));
        Relay { machine, known, before: Mutex::default(), plan: Mutex::new((Stop::Never, 0)) }
    }

    pub fn machine(&self) -> MutexGuard<'_, Machine> {
        lock(&self.machine)
    }

    pub fn app(&self) -> Arc<App> {
        Arc::clone(&self.machine().house().app)
    }

    /// Lets an edge in.
    pub fn admit(&self, edge: &Machine) {
        let (relay, identity) = (Arc::clone(&self.app().relay), edge.house().store.identity());
        let code = relay.codes(&Codes { count: 1, days: 30, ..Codes::default() }, &Caller::Operator).unwrap().remove(0);
        let public_key = identity.edge.signing.public();
        relay.join(&Joining { code: &code, edge: identity.edge.id, public_key, label: &edge.name }).unwrap();
    }

    /// The batch after `after` good ones meets this.
    pub fn plan(&self, stop: Stop, after: u64) {
        *lock(&self.plan) = (stop, after);
    }

    /// What a job is given carries nothing either.
    pub fn look(&self, key: &str, gz: &[u8]) {
        lock(&self.known).look(key, &gzip::decompress(gz, 1 << 24).unwrap());
    }

    pub fn take_snapshot(&self) {
        self.machine().take_snapshot();
        *lock(&self.before) = lock(&self.known).clone();
    }

    /// Its whole disk is put back: it is bound again by what comes again.
    pub fn put_back(&self) -> bool {
        let done = self.machine().put_back();
        if done {
            *lock(&self.known) = lock(&self.before).clone();
        }
        done
    }

    /// The operator says of every pair of batches that the one that lies here stays; returns how many there were.
    pub fn resolve(&self) -> usize {
        let (relay, mut settled) = (Arc::clone(&self.app().relay), 0);
        for seen in relay.edges().unwrap() {
            for pair in seen.pairs {
                let hex = wayside::base::text::hex;
                let keep = pair.lies.as_ref().map_or_else(String::new, |lies| hex(&lies.digest));
                let word = Word { keep: &keep, renew: &hex(&pair.fork.digest) };
                settled += relay.resolve(seen.edge.edge, &word, &Caller::Operator).unwrap();
            }
        }
        settled
    }

    pub fn close(self) {
        self.machine.into_inner().unwrap_or_else(PoisonError::into_inner).close();
    }

    fn stops_now(&self) -> Stop {
        let mut plan = lock(&self.plan);
        if plan.1 > 0 {
            plan.1 -= 1;
            return Stop::Never;
        }
        std::mem::replace(&mut plan.0, Stop::Never)
    }

    fn put(app: &App, request: &Request) -> Result<Put, Setback> {
        let manifest = std::str::from_utf8(&request.manifest).unwrap();
        let by = Some(request.key.edge);
        let incoming = Incoming { key: request.key, part: None, manifest, body: &request.gz, by };
        match app.relay.put(&incoming) {
            Ok(Taken::Stored(_)) => Ok(Put { landed: Landed::New, acknowledged: true }),
            Ok(Taken::Same(_)) => Ok(Put { landed: Landed::Same, acknowledged: true }),
            Ok(Taken::Renewed(_)) => Ok(Put { landed: Landed::Renewed, acknowledged: true }),
            Ok(Taken::Waiting(missing)) => panic!("a whole batch lacks parts {missing:?}"),
            Err(refusal) => {
                // as the http target reads the answer: a word that another database goes on is a fork too
                let error = match refusal.error.code {
                    "fork" | "renew" => refusal.error.code("fork"),
                    code => panic!("{} is refused with {code}: {}", request.key, refusal.error),
                };
                Err(Setback::from(error).says(Says::Fork { digest: refusal.more.digest }))
            }
        }
    }
}

impl Receiver for Relay {
    fn take(&self, request: &Request) -> Result<Put, Setback> {
        let stop = self.stops_now();
        let mut machine = self.machine();
        let between: Option<PathBuf> = match stop {
            Stop::Never | Stop::After => None,
            Stop::Before => {
                machine.crash();
                return Err(down("the relay has stopped"));
            }
            Stop::Between => Some(machine.frozen()),
        };
        let app = Arc::clone(&machine.house().app);
        let told = Self::put(&app, request);
        drop(app);
        if let Some(before) = between {
            machine.crash_between(before, "relay");
            return Err(down("the relay has stopped"));
        }
        if told.is_ok() && request.key.lane.word() == "consent" {
            lock(&self.known).learn(&gzip::decompress(&request.gz, 1 << 24).unwrap());
        }
        if stop == Stop::After {
            machine.crash();
            return Err(down("the relay has stopped"));
        }
        told
    }

    fn watermarks(&self, edge: EdgeId) -> Result<Option<Vec<Watermark>>> {
        let told = self.app().relay.watermarks(edge, Some(edge))?;
        Ok(Some(told.watermarks))
    }

    fn digest_of(&self, key: Key) -> Result<Option<String>> {
        let found = self.app().relay.digest(key, Some(key.edge))?;
        Ok(found.map(|digest| wayside::base::text::hex(&digest)))
    }
}
