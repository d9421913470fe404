//! The program under the model: composed as the daemon composes it, on files, with a clock of its own and targets in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use wayside::base::id::ClientId;
use wayside::base::time::{Clock, ManualClock, Millis};
use wayside::config::Config;
use wayside::consent::verify;
use wayside::daemon::{House, compose};
use wayside::domain::consent::Signals;
use wayside::domain::site::SiteOptions;
use wayside::forward::Forwarder;
use wayside::forward::options::{ForwardOptions, Recipient};
use wayside::forward::target::Target;
use wayside::history::{Filter, History};
use wayside::ingest::Ingest;
use wayside::ingest::accept::{Arrived, Format};
use wayside::ingest::record::Outcome;
use wayside::ingest::shape::Authority;
use wayside::store::{floors, visitors};

use crate::book::{Book, markers};
use crate::tap::Tap;

const START: Millis = Millis(1_800_000_000_000);

pub struct World {
    root: tempfile::TempDir,
    generation: u32,
    config: Config,
    pub clock: ManualClock,
    house: Option<House>,
    pub book: Arc<Mutex<Book>>,
    pub taps: [Tap; 2],
    floors: BTreeMap<(String, u32), i64>,
}

/// Sends lines as the operator and waits for the commit.
pub fn send(ingest: &Ingest, clock: &ManualClock, site: &str, lines: &[Value]) -> Vec<Outcome> {
    let body = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let arrived = Arrived {
        site: Some(site),
        origin: None,
        user_agent: None,
        ip: None,
        signals: Signals::default(),
        authority: Authority::Operator,
        received: clock.now(),
        consent_header: None,
    };
    let (tell, told) = sync_channel(1);
    ingest.accept(body.as_bytes(), Format::Ndjson, &arrived, move |answer| tell.send(answer).unwrap()).unwrap();
    told.recv().unwrap().unwrap().outcomes
}

/// Choices hold for a month; what is withdrawn is deleted, kept unread, or only counted.
fn sites() -> Vec<SiteOptions> {
    let purposes = [
        ("shop", json!([])),
        ("club", json!([{"name": "measure", "basis": "legitimate_interest", "assessment": "a, 2027-01-01"}])),
        ("kept", json!([{"name": "measure", "on_withdrawal": "keep"}])),
        ("counted", json!([{"name": "measure", "on_withdrawal": "anonymise"}])),
    ];
    let site = |(id, purposes): (&str, Value)| SiteOptions {
        id: id.to_owned(),
        choice_months: 1,
        purposes: serde_json::from_value(purposes).unwrap(),
        ..SiteOptions::default()
    };
    purposes.into_iter().map(site).collect()
}

impl World {
    pub fn new() -> World {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let mut config = Config { data_dir: root.path().join("0"), sites: sites(), ..Config::default() };
        config.targets = Vec::new();
        config.ingest.spool.enabled = false;
        let clock = ManualClock::at(START);
        let house = compose(&config, Arc::new(clock.clone())).unwrap();
        let book = Arc::new(Mutex::new(Book::default()));
        let taps = [
            Tap::new("own", Recipient::Own, Arc::clone(&book)),
            Tap::new("third", Recipient::ThirdParty, Arc::clone(&book)),
        ];
        World { root, generation: 0, config, clock, house: Some(house), book, taps, floors: BTreeMap::new() }
    }

    pub fn house(&self) -> &House {
        self.house.as_ref().unwrap()
    }

    pub fn ingest(&self) -> Arc<Ingest> {
        Arc::clone(&self.house().app.ingest)
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops as it should, and starts again.
    pub fn reopen(&mut self) {
        self.house.take().unwrap().close().unwrap();
        self.house = Some(compose(&self.config, Arc::new(self.clock.clone())).unwrap());
    }

    /// The machine stops at once: what lies on the disk at this moment is all there is.
    pub fn crash(&mut self) {
        self.generation += 1;
        let next: PathBuf = self.root.path().join(self.generation.to_string());
        std::fs::create_dir(&next).unwrap();
        for entry in std::fs::read_dir(&self.config.data_dir).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            if entry.file_type().unwrap().is_file() && name != "lock" && !name.to_string_lossy().ends_with("-shm") {
                std::fs::copy(entry.path(), next.join(name)).unwrap();
            }
        }
        self.house.take().unwrap().close().unwrap();
        std::fs::remove_dir_all(&self.config.data_dir).unwrap();
        self.config.data_dir = next;
        self.house = Some(compose(&self.config, Arc::new(self.clock.clone())).unwrap());
    }

    /// A forwarder to some of the targets; to none it only seals.
    pub fn forwarder(&self, taps: &[Tap]) -> Forwarder {
        let options = ForwardOptions { seal_rows_max: 5, gzip_level: 0, ..ForwardOptions::default() };
        let targets = taps.iter().map(|tap| Box::new(tap.clone()) as Box<dyn Target>).collect();
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        Forwarder::to(Arc::clone(&self.house().store), clock, &options, targets, "Kiosk 7")
    }

    pub fn round(&self) {
        self.forwarder(&self.taps).run_once(true).unwrap();
    }

    pub fn upkeep(&self) {
        self.house().app.operations.upkeep(false).unwrap();
    }

    /// No floor is lower than it was, nor gone while its visitor is there.
    pub fn expect_floors_stand(&mut self, site: &str, key: &str) {
        let site_id = self.ingest().seat(Some(site)).unwrap().id;
        let now = self.house().store.read(|tx| match visitors::find(tx, site_id, &ClientId::new(key))? {
            Some(visitor) => Ok(Some((visitor.id, floors::of_visitor(tx, visitor.id)?))),
            None => Ok(None),
        });
        let Some((id, now)) = now.unwrap() else {
            self.floors.retain(|(of, _), _| !of.starts_with(&format!("{key}/")));
            return;
        };
        let person = format!("{key}/{id}"); // who comes back after everything was removed is a new row
        for ((_, purpose), before) in self.floors.iter().filter(|((of, _), _)| *of == person) {
            let floor = now.iter().find(|(one, _)| one.0 == *purpose).map_or(0, |(_, seq)| seq.0);
            assert!(floor >= *before, "{person}: the floor of {purpose} fell from {before} to {floor}");
        }
        for (purpose, seq) in now {
            self.floors.insert((person.clone(), purpose.0), seq.0);
        }
    }

    /// Every entry of the ledger follows the one before, says what it said, and every signature holds.
    pub fn expect_the_ledger_holds(&self) {
        let found = verify::beside(&self.config.data_dir, 10_000, None, &mut |_, _| ()).unwrap();
        assert!(found.faults.is_empty(), "{:?}", found.faults);
    }

    /// Readers see what is permitted, all of it, and nothing else.
    pub fn expect_reads(&self, site: &str, key: &str) {
        let history = History::of(Arc::clone(&self.house().store));
        let filter = Filter {
            site: Some(site.to_owned()),
            visitor: Some(key.to_owned()),
            limit: Some(1_000),
            ..Filter::default()
        };
        let book = self.book();
        let mut wanted: Vec<String> = book.people[key].events.clone();
        wanted.retain(|marker| book.facts[marker].leaves(false));
        let (events, visits) = match (history.events(&filter), history.visits(&filter)) {
            (Ok(events), Ok(visits)) => (events.items, visits.items),
            _ => (Vec::new(), Vec::new()), // nobody is known under that id
        };
        let mut seen = markers(&serde_json::to_vec(&events).unwrap());
        seen.sort();
        seen.dedup();
        wanted.sort();
        assert_eq!(seen, wanted, "{site} {key}");
        book.expect_none_forbidden(&serde_json::to_vec(&visits).unwrap(), false, "visits as read");
    }

    pub fn close(mut self) {
        self.house.take().unwrap().close().unwrap();
    }
}
