//! A collector for tests: its directory, its clock, ways to send to it and to look into its rows.
//! Must never assert what a test is about. Invariant: every request waits for its commit.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use serde_json::{Value, json};

use crate::base::error::Result;
use crate::base::id::{ClientId, Seq};
use crate::base::time::{Clock, MINUTE_MS, ManualClock, Millis};
use crate::config::Config;
use crate::consent::{Actor, Recorded, Request};
use crate::daemon::{House, compose};
use crate::domain::consent::{Action, Decision, Method, Purposes, Signals};
use crate::domain::site::Seat;
use crate::domain::stored::{EventRow, PageRow};
use crate::domain::visit::Visit;
use crate::domain::visitor::Visitor;
use crate::ingest::accept::{Answer, Arrived, Format};
use crate::ingest::record::Outcome;
use crate::ingest::shape::Authority;
use crate::store::{Store, WriteTx, counts, events, pages, visitors, visits};

/// When every test begins: 2027-01-15 08:00 UTC.
pub const START: Millis = Millis(1_800_000_000_000);

/// So many minutes after the beginning.
pub fn minute(n: i64) -> Millis {
    START.plus(n * MINUTE_MS)
}

/// The collector under test.
pub struct World {
    pub config: Config,
    pub clock: ManualClock,
    house: Option<House>,
    /// Removed with all it holds when the test is over.
    _dir: tempfile::TempDir,
}

impl World {
    /// With the built-in configuration.
    pub fn new() -> World {
        World::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> World {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config { data_dir: dir.path().join("data"), ..Config::default() };
        change(&mut config);
        let clock = ManualClock::at(START);
        let house = compose(&config, Arc::new(clock.clone())).unwrap();
        World { config, clock, house: Some(house), _dir: dir }
    }

    /// A site whose visitors are measured without a decision, and whose callers are not told why.
    pub fn measuring() -> World {
        World::with(measure_by_interest)
    }

    pub fn house(&self) -> &House {
        self.house.as_ref().unwrap()
    }

    pub fn app(&self) -> &crate::http::app::App {
        &self.house().app
    }

    pub fn ingest(&self) -> &crate::ingest::Ingest {
        &self.house().app.ingest
    }

    pub fn store(&self) -> &Store {
        &self.house().store
    }

    pub fn seat(&self) -> Seat {
        self.ingest().seats()[0].clone()
    }

    /// Stops and starts again, with whatever `between` does to the directory.
    pub fn reopen_after(&mut self, between: impl FnOnce(&std::path::Path)) {
        let House { store, app, care } = self.house.take().unwrap();
        drop((app, care));
        Arc::try_unwrap(store).ok().unwrap().close().unwrap();
        between(&self.config.data_dir);
        self.house = Some(compose(&self.config, Arc::new(self.clock.clone())).unwrap());
    }

    pub fn reopen(&mut self) {
        self.reopen_after(|_| {});
    }

    /// What a request of this kind looks like; it arrives now.
    pub fn arrived(&self, authority: Authority) -> Arrived<'static> {
        Arrived {
            site: None,
            origin: None,
            user_agent: None,
            ip: None,
            signals: Signals::default(),
            authority,
            received: self.clock.now(),
            consent_header: None,
        }
    }

    /// Sends a body and waits for the answer.
    pub fn ask(&self, body: &str, format: Format, arrived: &Arrived<'_>) -> Result<Answer> {
        let (send, receive) = sync_channel(1);
        self.ingest().accept(body.as_bytes(), format, arrived, move |answer| send.send(answer).unwrap())?;
        receive.recv().unwrap()
    }

    pub fn post_as(&self, authority: Authority, body: Value) -> Vec<Outcome> {
        self.ask(&body.to_string(), Format::Json, &self.arrived(authority)).unwrap().outcomes
    }

    /// Sends a body through the public door.
    pub fn post(&self, body: Value) -> Vec<Outcome> {
        self.post_as(Authority::Public, body)
    }

    /// Sends one event through the public door.
    pub fn send(&self, event: Value) -> Outcome {
        let mut outcomes = self.post(event);
        assert_eq!(outcomes.len(), 1);
        outcomes.remove(0)
    }

    /// Sets the clock to so many minutes after the beginning, and sends one event.
    pub fn send_at(&self, minutes: i64, event: Value) -> Outcome {
        self.clock.set(minute(minutes));
        self.send(event)
    }

    /// Records a decision.
    pub fn decide(&self, request: Request) -> Result<Recorded> {
        let (send, receive) = sync_channel(1);
        self.house().app.consent.record_later(request, move |out| send.send(out).unwrap())?;
        receive.recv().unwrap()
    }

    /// A decision as the operator's, received now.
    pub fn request(&self, visitor: &str, action: Action, purposes: Purposes) -> Request {
        Request {
            seat: self.seat(),
            visitor: ClientId::new(visitor),
            decision: Decision {
                id: None,
                action,
                purposes,
                method: Method::Api,
                notice: "none".to_owned(),
                notice_digest: None,
                evidence: Default::default(),
                language: None,
                signal_shown: false,
                client_at: None,
                sent_at: None,
            },
            actor: Actor::Operator,
            token: None,
            code: None,
            from: None,
            signals: Signals::default(),
            received: self.clock.now(),
        }
    }

    pub fn give(&self, visitor: &str, purposes: Purposes) -> Recorded {
        self.decide(self.request(visitor, Action::Give, purposes)).unwrap()
    }

    pub fn withdraw(&self, visitor: &str, purposes: Purposes) -> Recorded {
        self.decide(self.request(visitor, Action::Withdraw, purposes)).unwrap()
    }

    pub fn visitor(&self, key: &str) -> Option<Visitor> {
        self.store().read(|tx| visitors::find(tx, self.seat().id, &ClientId::new(key))).unwrap()
    }

    /// The visits of a visitor, oldest first.
    pub fn visits(&self, key: &str) -> Vec<Visit> {
        let Some(visitor) = self.visitor(key) else { return Vec::new() };
        let all = |tx: &crate::store::ReadTx<'_>| {
            let ids = visits::ids_upto(tx, visitor.id, Seq(i64::MAX), &[], 10_000)?;
            ids.into_iter().map(|id| Ok(visits::get(tx, id)?.unwrap())).collect::<Result<Vec<Visit>>>()
        };
        let mut all = self.store().read(all).unwrap();
        all.sort_by_key(|visit| (visit.started, visit.id));
        all
    }

    /// The only visit of a visitor.
    pub fn visit(&self, key: &str) -> Visit {
        let mut all = self.visits(key);
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }

    pub fn pages(&self, visit: &Visit) -> Vec<PageRow> {
        self.store().read(|tx| pages::of_visit(tx, visit.id, 10_000)).unwrap()
    }

    pub fn events(&self, visit: &Visit) -> Vec<EventRow> {
        let all = |tx: &crate::store::ReadTx<'_>| {
            let seqs = events::of_visit(tx, visit.id, 10_000)?;
            seqs.into_iter()
                .rev()
                .map(|aged| Ok(events::get(tx, aged.seq)?.unwrap()))
                .collect::<Result<Vec<EventRow>>>()
        };
        self.store().read(all).unwrap()
    }

    pub fn event(&self, seq: Option<Seq>) -> EventRow {
        self.store().read(|tx| events::get(tx, seq.unwrap())).unwrap().unwrap()
    }

    /// How many events are stored, and the sum of all counters.
    pub fn totals(&self) -> (i64, i64) {
        self.store().read(|tx| Ok((events::count(tx)?, counts::total(tx, None, Millis(0))?))).unwrap()
    }

    /// Works in the pen's transaction.
    pub fn write<T: Send + 'static>(&self, work: impl FnMut(&WriteTx<'_>) -> Result<T> + Send + 'static) -> T {
        self.store().pen().call(work).unwrap()
    }
}

/// Measure on legitimate interest, and no debugging site.
pub fn measure_by_interest(config: &mut Config) {
    let site = &mut config.sites[0];
    site.debug = false;
    site.purposes = vec![purpose("measure", "legitimate_interest")];
}

/// A purpose on a basis of its own.
pub fn purpose(name: &str, basis: &str) -> crate::domain::site::PurposeOptions {
    serde_json::from_value(json!({"name": name, "basis": basis, "assessment": "a, 2027-01-01"})).unwrap()
}

/// A page view of a visitor; `path` tells it from others.
pub fn page(visitor: &str, path: &str) -> Value {
    json!({"visitor": visitor, "name": "page_viewed", "url": format!("https://shop.example{path}")})
}

/// The same with more fields.
pub fn with(mut event: Value, more: Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        event[key] = value.clone();
    }
    event
}

/// With the client's clock.
pub fn at(event: Value, time: Millis) -> Value {
    with(event, json!({"time": time.rfc3339()}))
}

/// With an id.
pub fn id(event: Value, id: &str) -> Value {
    with(event, json!({"eventId": id}))
}
