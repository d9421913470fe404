//! One machine of the fleet: the program composed as the daemon composes it, on files, with a clock of its own, and a book of
//! what must be on its disk. Must never ask the program what is right: the book tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tempfile::TempDir;
use wayside::base::id::ClientId;
use wayside::base::time::{Clock, ManualClock, Millis};
use wayside::config::Config;
use wayside::daemon::{House, compose};
use wayside::domain::consent::Signals;
use wayside::domain::event::Fate;
use wayside::domain::site::SiteOptions;
use wayside::erasure::{Asked, Who};
use wayside::forward::Forwarder;
use wayside::forward::options::{ForwardOptions, TargetKind, TargetOptions};
use wayside::forward::relay::options::RelayOptions;
use wayside::forward::target::Target;
use wayside::history::backup::backup;
use wayside::ingest::accept::{Arrived, Format};
use wayside::ingest::shape::Authority;
use wayside::store::alarms;
use wayside::store::restore::{self, RestoreOptions};

use crate::upstream::markers;
use crate::wire::{Look, Receiver, Wire};

const START: Millis = Millis(1_800_000_000_000);
const SITE: &str = "shop";

/// What must be on a machine's disk.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// Accepted events by their marker; `true` = withdrawn or erased since.
    pub rows: BTreeMap<String, bool>,
    /// Whose they are.
    pub of: BTreeMap<String, String>,
}

/// Who exercised a right on any copy of a disk, also on one that was put back since: a reader upstream goes by that, whatever
/// another copy knows.
pub type Exercised = Arc<Mutex<BTreeSet<String>>>;

impl Book {
    fn cover(&mut self, person: &str) {
        for (marker, of) in &self.of {
            if of == person {
                self.rows.insert(marker.clone(), true);
            }
        }
    }
}

pub struct Machine {
    pub name: String,
    pub clock: ManualClock,
    pub wire: Wire,
    root: TempDir,
    generation: u32,
    config: Config,
    house: Option<House>,
    book: Arc<Mutex<Book>>,
    backup: Option<(PathBuf, Book)>,
    /// The whole disk as it was some time ago.
    snapshot: Option<(PathBuf, Book)>,
    pub exercised: Exercised,
    /// Its disk was put back, and no upstream has told it so yet.
    unmet: bool,
}

fn sites() -> Vec<SiteOptions> {
    let basis = json!([{"name": "measure", "basis": "legitimate_interest", "assessment": "a, 2027-01-01"}]);
    vec![SiteOptions {
        id: SITE.to_owned(),
        purposes: serde_json::from_value(basis).unwrap(),
        ..SiteOptions::default()
    }]
}

/// The promise: nothing leaves that the machine knows to be withdrawn or erased.
fn by(book: &Arc<Mutex<Book>>) -> Look {
    let book = Arc::clone(book);
    Arc::new(move |key, ndjson| {
        let book = book.lock().unwrap_or_else(PoisonError::into_inner);
        for marker in markers(ndjson) {
            let covered = book.rows.get(&marker);
            assert_eq!(covered, Some(&false), "{key} carries {marker}, covered: {covered:?}");
        }
    })
}

impl Machine {
    pub fn new(name: &str, to: Arc<dyn Receiver>) -> Machine {
        let book = Arc::new(Mutex::new(Book::default()));
        let look = by(&book);
        Machine::with(name, (to, look), book, |_| ())
    }

    /// A machine that takes batches of others, lets a job pull them, and passes them on; `look` sees what leaves.
    pub fn relay(name: &str, to: Arc<dyn Receiver>, look: Look) -> Machine {
        Machine::with(name, (to, look), Arc::default(), |config| {
            let onward = vec!["upstream".to_owned()];
            config.relay = RelayOptions { enabled: true, onward, keep_days: 0, ..RelayOptions::default() };
            let pull =
                TargetOptions { name: "warehouse".to_owned(), kind: TargetKind::Pull, ..TargetOptions::default() };
            config.targets = vec![pull];
        })
    }

    fn with(name: &str, way: (Arc<dyn Receiver>, Look), book: Arc<Mutex<Book>>, set: impl Fn(&mut Config)) -> Machine {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let mut config = Config { data_dir: root.path().join("0"), sites: sites(), ..Config::default() };
        config.targets = Vec::new();
        config.ingest.spool.enabled = false;
        set(&mut config);
        let clock = ManualClock::at(START);
        let house = Some(compose(&config, Arc::new(clock.clone())).unwrap());
        let wire = Wire::new(way.0, way.1);
        wire.at(&config.data_dir);
        Machine {
            name: name.to_owned(),
            clock,
            wire,
            root,
            generation: 0,
            config,
            house,
            book,
            backup: None,
            snapshot: None,
            exercised: Exercised::default(),
            unmet: false,
        }
    }

    /// Another machine begins with a copy of this one's disk, and both go on.
    pub fn cloned(&self, name: &str, to: Arc<dyn Receiver>) -> Machine {
        let mut other = Machine::new(name, to);
        let next = other.next_place();
        copy(&self.config.data_dir, &next);
        *other.book() = self.book().clone();
        other.exercised = Arc::clone(&self.exercised);
        other.clock.set(self.clock.now());
        other.stop();
        other.start_at(next);
        other
    }

    /// Does another machine go on from this one's disk?
    pub fn has_copies(&self) -> bool {
        Arc::strong_count(&self.exercised) > 1
    }

    pub fn house(&self) -> &House {
        self.house.as_ref().unwrap()
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, line: &Value) -> Fate {
        let arrived = Arrived {
            site: Some(SITE),
            origin: None,
            user_agent: None,
            ip: None,
            signals: Signals::default(),
            authority: Authority::Operator,
            received: self.clock.now(),
            consent_header: None,
        };
        let (tell, told) = sync_channel(1);
        let ingest = &self.house().app.ingest;
        ingest
            .accept(line.to_string().as_bytes(), Format::Ndjson, &arrived, move |answer| tell.send(answer).unwrap())
            .unwrap();
        told.recv().unwrap().unwrap().outcomes.remove(0).fate
    }

    /// A page view; the book learns of it once it was acknowledged.
    pub fn event(&self, person: &str, marker: &str) {
        let name = if marker.ends_with("0z") { "scroll_depth" } else { "page_viewed" };
        let url = format!("https://shop.example/{marker}");
        let fate = self.send(&json!({"visitor": person, "name": name, "url": url}));
        if fate == Fate::Accepted {
            let mut book = self.book();
            book.rows.insert(marker.to_owned(), false);
            book.of.insert(marker.to_owned(), person.to_owned());
        }
    }

    pub fn withdraw(&self, person: &str) {
        assert_eq!(
            self.send(&json!({"visitor": person, "action": "withdraw", "purposes": ["measure"]})),
            Fate::Accepted
        );
        self.exercised.lock().unwrap().insert(person.to_owned());
        self.book().cover(person);
        // a yes later on lifts no floor
        assert_eq!(self.send(&json!({"visitor": person, "action": "give", "purposes": ["measure"]})), Fate::Accepted);
    }

    pub fn erase(&self, person: &str) {
        if self.unmet {
            return; // nobody here knows that anything of a forgotten person ever left
        }
        let who = Who::Visitor { site: SITE.to_owned(), key: ClientId::new(person) };
        let erasure = &self.house().app.erasure;
        if erasure.begin(&who, &Asked { by: "test".to_owned(), request_id: None }).is_ok() {
            erasure.work().unwrap();
            self.exercised.lock().unwrap().insert(person.to_owned());
            self.book().cover(person);
        }
    }

    pub fn upkeep(&self) {
        if self.unmet {
            return; // nor of one who withdrew and is removed, should that be before anything was met
        }
        self.house().app.operations.upkeep(false).unwrap();
    }

    fn forwarder(&self) -> Forwarder {
        let options = ForwardOptions { seal_rows_max: 5, gzip_level: 1, ..ForwardOptions::default() };
        let targets: Vec<Box<dyn Target>> = vec![Box::new(self.wire.clone())];
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let store = Arc::clone(&self.house().store);
        let relay = Arc::clone(&self.house().app.relay);
        Forwarder::to(store, clock, &options, targets, "branch").with_relay(relay)
    }

    /// One round of forwarding over the wire as it is now; true where another database's batch was in the way. Then an alarm
    /// says so, and this edge gives way if it `may`.
    pub fn round(&mut self, may: bool) -> bool {
        let forwarder = self.forwarder();
        let report = forwarder.run_once(true).unwrap();
        let forked = report.failed.iter().any(|failed| failed.code == "fork");
        if forked {
            let alarms = self.house().store.read(alarms::list).unwrap();
            assert!(
                alarms.iter().any(|alarm| alarm.code == "fork"),
                "{}: a fork without an alarm: {alarms:?}",
                self.name
            );
            if may {
                forwarder.give_way(None).unwrap();
            }
        }
        self.unmet &= !report.failed.is_empty();
        forked
    }

    fn next_place(&mut self) -> PathBuf {
        self.generation += 1;
        self.root.path().join(self.generation.to_string())
    }

    fn stop(&mut self) {
        self.house.take().unwrap().close().unwrap();
    }

    fn start_at(&mut self, data_dir: PathBuf) {
        if data_dir != self.config.data_dir {
            fs::remove_dir_all(&self.config.data_dir).unwrap();
        }
        self.config.data_dir = data_dir;
        self.wire.at(&self.config.data_dir);
        self.house = Some(compose(&self.config, Arc::new(self.clock.clone())).unwrap());
    }

    /// Stops as it should, and starts again.
    pub fn reopen(&mut self) {
        self.stop();
        self.start_at(self.config.data_dir.clone());
    }

    /// The machine stops at once: what lies on the disk at this moment is all there is.
    pub fn crash(&mut self) {
        let next = self.frozen();
        self.stop();
        self.start_at(next);
    }

    /// A copy of what lies on the disk at this moment.
    pub fn frozen(&mut self) -> PathBuf {
        let next = self.next_place();
        copy(&self.config.data_dir, &next);
        next
    }

    /// The machine stopped when this lay on its disk, and of a folder what lies there now.
    pub fn crash_between(&mut self, before: PathBuf, folder: &str) {
        copy(&self.config.data_dir.join(folder), &before.join(folder));
        self.stop();
        self.start_at(before);
    }

    /// If the machine stopped within the last round's put, it goes on from what lay on the disk then.
    pub fn resume_after_crash(&mut self) -> bool {
        let Some(frozen) = self.wire.crashed() else { return false };
        self.stop();
        let next = self.next_place();
        fs::rename(frozen, &next).unwrap();
        self.start_at(next);
        true
    }

    /// Keeps the whole disk as it is, as of a virtual machine.
    pub fn take_snapshot(&mut self) {
        let to = self.next_place();
        copy(&self.config.data_dir, &to);
        let book = self.book().clone();
        self.snapshot = Some((to, book));
    }

    /// The whole disk is put back, and nobody says so.
    pub fn put_back(&mut self) -> bool {
        let Some((snapshot, before)) = self.snapshot.clone() else { return false };
        let next = self.next_place();
        copy(&snapshot, &next);
        self.stop();
        *self.book() = before;
        self.start_at(next);
        self.unmet = true;
        true
    }

    pub fn back_up(&mut self) {
        let to = self.next_place().with_extension("backup");
        backup(&self.config.data_dir, &to, None, &mut |_, _| ()).unwrap();
        let book = self.book().clone();
        self.backup = Some((to, book));
    }

    /// The newest backup takes the database's place; the rights log that lay beside the database stays.
    pub fn restore(&mut self) -> bool {
        let Some((backup, before)) = self.backup.clone() else { return false };
        self.stop();
        for tail in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(self.config.data_dir.join(format!("wayside.db{tail}")));
        }
        let data_dir = self.config.data_dir.clone();
        let options = RestoreOptions { backup, data_dir: data_dir.clone(), logs: Vec::new(), without_log: false };
        restore::run(&options, self.clock.now()).unwrap();
        let rights: Vec<String> =
            self.book().rows.iter().filter(|(_, covered)| **covered).map(|(marker, _)| marker.clone()).collect();
        let mut book = before;
        for marker in rights.iter().filter(|marker| book.rows.contains_key(*marker)).cloned().collect::<Vec<_>>() {
            book.rows.insert(marker, true);
        }
        *self.book() = book;
        self.start_at(data_dir);
        self.house().app.erasure.work().unwrap();
        true
    }

    pub fn close(mut self) {
        self.stop();
    }
}

/// What a power cut leaves: every file but those that only tell of a running process.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, name) = (entry.file_type().unwrap(), entry.file_name());
        if kind.is_dir() {
            copy(&entry.path(), &to.join(name));
        } else if kind.is_file() && name != "lock" && !name.to_string_lossy().ends_with("-shm") {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}
