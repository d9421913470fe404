//! A store in a folder of its own, two clocks that run together until one is set, and rows to take care of.
//! Must never look at a row but through the store.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tempfile::TempDir;

use crate::base::id::{ClientId, Salt, Seq, mint_uuid};
use crate::base::time::{Clock, HOUR_MS, ManualClock, Millis};
use crate::domain::batch::Batch;
use crate::domain::clock::ClockState;
use crate::domain::consent::{self, Action, BasisTable, Decision, Method, Purposes, Signals, Standing};
use crate::domain::event::{EventType, Lane, Stream};
use crate::domain::line::LineKind;
use crate::domain::stored::{EventRow, PageRow};
use crate::domain::visit::{Visit, VisitOptions};
use crate::domain::visitor::{Rights, Visitor};
use crate::store::cursors::Cursor;
use crate::store::decisions::{Actor, Circumstances};
use crate::store::lines::{Found, Stretch};
use crate::store::{
    ReadTx, Store, StoreOptions, WriteTx, batches, cursors, decisions, denials, events, lines, pages, sites, visitors,
    visits,
};
use crate::upkeep::{Hooks, Plan, Upkeep};

/// 2026-11-21T10:20:00Z.
pub const START: Millis = Millis(1_795_256_400_000);
pub const TARGET: &str = "outbox";
pub const LABEL: &str = "kiosk";

pub struct World {
    pub clock: ManualClock,
    pub uptime: Arc<AtomicI64>,
    pub store: Arc<Store>,
    pub plan: Plan,
    pub dir: TempDir,
}

pub fn rights() -> Rights {
    Rights { flags: Purposes::MEASURE.with(Purposes::PERSONAL), basis_id: 0, consent_seq: Seq(1), exempt: false }
}

impl World {
    pub fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(START);
        let store = Arc::new(Store::open(&StoreOptions::at(dir.path()), Arc::new(clock.clone())).unwrap());
        let mut plan = Plan::default();
        plan.quota.grace_days = 0; // most of what is tested here is tested at once
        World { clock, uptime: Arc::default(), store, plan, dir }
    }

    pub fn reopened(self) -> World {
        let World { clock, uptime, store, plan, dir } = self;
        Arc::into_inner(store).unwrap().close().unwrap();
        let store = Arc::new(Store::open(&StoreOptions::at(dir.path()), Arc::new(clock.clone())).unwrap());
        World { clock, uptime, store, plan, dir }
    }

    /// Care that has just begun.
    pub fn upkeep(&self) -> Upkeep {
        let uptime = Arc::clone(&self.uptime);
        let hooks = Hooks { uptime_ms: Arc::new(move || uptime.load(Ordering::SeqCst)), ..Hooks::default() };
        Upkeep::new(Arc::clone(&self.store), self.plan.clone(), hooks)
    }

    /// Care whose first quiet minutes have passed.
    pub fn settled(&self) -> Upkeep {
        let upkeep = self.upkeep();
        self.pass(HOUR_MS);
        upkeep.run_once(true).unwrap();
        upkeep
    }

    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    pub fn pass(&self, ms: i64) {
        self.clock.advance(ms);
        self.uptime.fetch_add(ms, Ordering::SeqCst);
    }

    pub fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&WriteTx<'_>) -> crate::base::error::Result<T> + Send + 'static,
    ) -> T {
        self.store.pen().call(work).unwrap()
    }

    pub fn read<T>(&self, work: impl FnOnce(&ReadTx<'_>) -> crate::base::error::Result<T>) -> T {
        self.store.read(work).unwrap()
    }

    /// A visit begun now, with one page and `n` events; returns visitor and visit.
    pub fn visit(&self, key: &str, n: i64) -> (i64, i64) {
        self.visit_of(key, n, rights(), "page_viewed")
    }

    pub fn visit_of(&self, key: &str, n: i64, rights: Rights, name: &'static str) -> (i64, i64) {
        let key = ClientId::new(key);
        self.write(move |tx| {
            let site_id = sites::intern(tx, "shop")?;
            let found = visitors::take(tx, site_id, &key)?;
            let visitor = found.unwrap_or_else(|| visitor(tx, site_id, &key));
            let first = tx.next_seq();
            visitors::keep(tx, Visitor { last_seen: tx.now(), ..visitor.clone() });
            let visit = Visit { rights, event_count: n, ..visit(tx, &visitor, first) };
            visits::keep(tx, visit.clone(), &VisitOptions::default(), true);
            pages::insert(tx, page(tx, &visit));
            events::insert(tx, event(tx, first, &visit, name));
            let mut last = first;
            for _ in 1..n {
                last = tx.next_seq();
                events::insert(tx, event(tx, last, &visit, name));
            }
            visits::keep(tx, Visit { last_seq: last, ..visit }, &VisitOptions::default(), false);
            Ok((visitor.id, first.0))
        })
    }

    /// What ingest does when an event of `at` joins a visit that has ended.
    pub fn joins(&self, visit_id: i64, at: Millis) {
        self.write(move |tx| {
            let mut visit = visits::get(tx, visit_id)?.unwrap();
            let seq = tx.next_seq();
            events::insert(tx, event(tx, seq, &visit, "late"));
            visit.last_active = visit.last_active.max(at);
            visit.last_received = tx.now();
            visit.event_count += 1;
            visit.last_seq = seq;
            let due = visit.due(&VisitOptions::default());
            visit.end = visit.end.map(|(_, reason)| (due, reason));
            visits::keep(tx, visit, &VisitOptions::default(), false);
            Ok(())
        });
    }

    /// The visitor decides, as `consent` records it.
    pub fn decide(&self, key: &str, action: Action, purposes: Purposes) {
        let key = ClientId::new(key);
        self.write(move |tx| {
            let site_id = sites::intern(tx, "shop")?;
            let mut visitor = visitors::take(tx, site_id, &key)?.unwrap();
            let decision = decision(action, purposes);
            let known = denials::of_visitor(tx, visitor.id)?;
            let change = consent::decide(&decision, tx.now(), &visitor.standing, &known, &BasisTable::default())?;
            decisions::append(tx, &decision, &change, Some(&mut visitor), &circumstances(tx, site_id))?;
            Ok(())
        });
    }

    /// Everything so far of a lane lies in one batch.
    pub fn seal(&self, lane: Lane) {
        self.write(move |tx| {
            let last = tx.last_seq();
            let before = batches::newest(tx, tx.identity().epoch_id, lane)?;
            let (no, upto) = before.map_or((0, 0), |b| (b.batch_no, b.last_seq.0));
            batches::insert(tx, &Batch { first_seq: Seq(upto + 1), ..batch(tx, lane, no + 1, last) })?;
            batches::set_sealed_upto(tx, lane, last)
        });
    }

    /// The target has acknowledged all batches of a lane.
    pub fn acknowledge(&self, lane: Lane) {
        self.write(move |tx| {
            let epoch_id = tx.identity().epoch_id;
            let no = batches::newest(tx, epoch_id, lane)?.map_or(0, |b| b.batch_no);
            cursors::put(tx, TARGET, epoch_id, lane, &Cursor { put_no: no, acked_no: no, ..Cursor::default() })
        });
    }

    pub fn with_target(mut self) -> World {
        self.plan.targets = vec![TARGET.to_owned()];
        self.plan.required = vec![TARGET.to_owned()];
        self
    }

    /// The lines of a kind as JSON, oldest first.
    pub fn lines(&self, lane: Lane, kind: LineKind) -> Vec<serde_json::Value> {
        let found = self.found(lane);
        let of_kind = found.into_iter().filter(|f| f.line.kind == kind);
        of_kind.map(|f| serde_json::from_slice(&f.line.render(LABEL)).unwrap()).collect()
    }

    /// Every line of a lane.
    pub fn found(&self, lane: Lane) -> Vec<Found> {
        let mut all = Vec::new();
        self.read(|tx| {
            lines::each(tx, Stretch { lane, after: Seq(0), upto: Seq(i64::MAX) }, |found| {
                all.push(found);
                Ok(ControlFlow::Continue(()))
            })
        });
        all
    }

    pub fn events(&self) -> i64 {
        self.read(events::count)
    }

    pub fn total(&self, upkeep: &Upkeep, name: &str) -> i64 {
        let totals = upkeep.status().unwrap().totals;
        totals.iter().find(|(total, _)| total == name).map_or(0, |(_, n)| *n)
    }
}

fn visitor(tx: &WriteTx<'_>, site_id: i64, key: &ClientId) -> Visitor {
    let seq = tx.next_seq();
    Visitor {
        visit_count: 1,
        page_count: 1,
        event_count: 1,
        standing: Standing { granted: rights().flags, ..Standing::default() },
        ..Visitor::new(site_id, key.clone(), seq, tx.now())
    }
}

fn visit(tx: &WriteTx<'_>, visitor: &Visitor, seq: Seq) -> Visit {
    let now = tx.now();
    Visit {
        id: seq.0,
        uuid: mint_uuid(now),
        site_id: visitor.site_id,
        visitor_id: visitor.id,
        epoch_id: tx.identity().epoch_id,
        client_visit: None,
        stream: Stream::Web,
        device_id: None,
        agent_id: None,
        started: now,
        last_active: now,
        last_received: now,
        end: None,
        source: 0,
        referrer: Some(r#"{"medium":"search"}"#.to_owned()),
        campaign: None,
        context: None,
        place: None,
        ip: Some("192.0.2.0".to_owned()),
        searches: None,
        entry_page: Some(seq.0),
        last_page: Some(seq.0),
        open_page_since: None,
        page_count: 1,
        screen_count: 0,
        event_count: 1,
        authenticated: false,
        session_id: None,
        last_seq: seq,
        snapshot_seq: Seq(0),
        rights: rights(),
    }
}

fn page(tx: &WriteTx<'_>, visit: &Visit) -> PageRow {
    PageRow {
        id: visit.id,
        visit_id: visit.id,
        client_page: None,
        url: Some("https://shop.example/start".to_owned()),
        screen: None,
        title: Some("Start".to_owned()),
        keywords: None,
        language: None,
        category: None,
        entered: tx.now(),
        exited: None,
        dwell_ms: None,
        rights: visit.rights,
    }
}

fn event(tx: &WriteTx<'_>, seq: Seq, visit: &Visit, name: &str) -> EventRow {
    EventRow {
        seq,
        event_id: ClientId::mint(tx.now()),
        site_id: visit.site_id,
        epoch_id: visit.epoch_id,
        visit_id: visit.id,
        page_id: Some(visit.id),
        session_id: None,
        name: name.to_owned(),
        event_type: EventType::System,
        lane: if name == "scroll" { Lane::Fine } else { Lane::Pages },
        content_hash: 7,
        client_at: None,
        sent_at: None,
        received: tx.now(),
        corrected: tx.now(),
        clock_state: ClockState::from_code(0).unwrap(),
        url: None,
        title: None,
        referrer: None,
        search_query: None,
        attributes: Some(format!("{{\"filler\":\"{}\"}}", "x".repeat(200))),
        attribute_types: None,
        conversation: None,
        withheld: None,
        rights: visit.rights,
        salt: Salt::mint(),
        replaces: None,
    }
}

fn decision(action: Action, purposes: Purposes) -> Decision {
    Decision {
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
    }
}

fn circumstances(tx: &WriteTx<'_>, site_id: i64) -> Circumstances {
    Circumstances {
        site_id,
        site: "shop".to_owned(),
        id_hash: [9; 32],
        at: tx.now(),
        received: tx.now(),
        actor: Actor::Operator,
        signals: Signals::default(),
        basis_id: 0,
        notice_digest: None,
        expires: None,
        evidence: None,
    }
}

fn batch(tx: &WriteTx<'_>, lane: Lane, batch_no: i64, last: Seq) -> Batch {
    Batch {
        epoch_id: tx.identity().epoch_id,
        lane,
        batch_no,
        first_seq: Seq(1),
        last_seq: last,
        count: last.0,
        digest: [1; 32],
        received: (tx.now(), tx.now()),
        sealed_at: tx.now(),
        edge_label: LABEL.to_owned(),
        schema: "1.0".to_owned(),
        sealed_part: Vec::new(),
        signature: [2; 64],
    }
}
