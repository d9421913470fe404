//! A small world for the tests of forwarding: a database, a clock, an outbox, visitors and their events.
//! Rows are written as ingest writes them, without its rules.

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use crate::base::error::Result;
use crate::base::id::{ClientId, Salt, Seq, mint_uuid};
use crate::base::time::{Clock, ManualClock, Millis};
use crate::domain::clock::ClockState;
use crate::domain::consent::{Action, BasisTable, Decision, LawfulBasis, Method, Purposes, Signals, decide};
use crate::domain::event::{EventType, Lane, Stream};
use crate::domain::stored::{EventRow, PageRow};
use crate::domain::visit::{Visit, VisitOptions};
use crate::domain::visitor::{Rights, Visitor};
use crate::forward::options::{ForwardOptions, TargetOptions};
use crate::forward::{Forwarder, Report};
use crate::store::decisions::{Actor, Circumstances};
use crate::store::{Store, StoreOptions, WriteTx, decisions, denials, events, pages, sites, visitors, visits};

pub const START: Millis = Millis(1_780_000_000_000);
pub const MEASURE: Purposes = Purposes::MEASURE;

pub fn shared() -> Purposes {
    Purposes::MEASURE.with(Purposes::SHARE)
}

pub struct World {
    pub dir: TempDir,
    pub clock: ManualClock,
    pub store: Arc<Store>,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(START);
        let store = Arc::new(Store::open(&StoreOptions::at(dir.path()), Arc::new(clock.clone())).unwrap());
        World { dir, clock, store }
    }

    pub fn forwarder(&self) -> Forwarder {
        self.forwarder_to(&[TargetOptions::default()])
    }

    pub fn forwarder_to(&self, targets: &[TargetOptions]) -> Forwarder {
        self.forwarder_with(&ForwardOptions::default(), targets)
    }

    pub fn forwarder_with(&self, options: &ForwardOptions, targets: &[TargetOptions]) -> Forwarder {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        Forwarder::new(Arc::clone(&self.store), clock, options, targets, "Kiosk 7")
    }

    pub fn outbox(&self) -> PathBuf {
        self.dir.path().join("outbox")
    }

    /// The folder of a lane in the current epoch.
    pub fn lane(&self, lane: Lane) -> PathBuf {
        let edge = &self.store.identity().edge;
        self.outbox().join(format!("{}/{}/{}", edge.id, edge.epoch, lane.word()))
    }

    /// The lines of a put batch as JSON.
    pub fn lines(&self, lane: Lane, batch_no: i64) -> Vec<serde_json::Value> {
        lines_of(&self.lane(lane).join(format!("{batch_no:012}.ndjson.gz")))
    }

    pub fn pen<T: Send + 'static>(&self, work: impl FnMut(&WriteTx<'_>) -> Result<T> + Send + 'static) -> T {
        self.store.pen().call(work).unwrap()
    }

    /// A visitor without a decision, whose rows carry `flags` on a basis, and its visit.
    pub fn visitor(&self, key: &str, flags: Purposes) -> i64 {
        let rights = Rights { flags, basis_id: 1, ..Rights::default() };
        self.visitor_with(key, rights)
    }

    pub fn visitor_with(&self, key: &str, rights: Rights) -> i64 {
        let key = ClientId::new(key);
        self.pen(move |tx| {
            let site_id = sites::intern(tx, "shop")?;
            let seq = tx.next_seq();
            visitors::keep(tx, new_visitor(tx, site_id, seq, key.clone(), rights));
            visits::none_yet(tx, seq.0);
            let visit = new_visit(tx, site_id, seq, rights);
            visits::keep(tx, visit, &VisitOptions::default(), true);
            Ok(seq.0)
        })
    }

    /// A page view of a visitor.
    pub fn page(&self, visitor_id: i64) -> Seq {
        self.event(visitor_id, "page_viewed", Lane::Pages)
    }

    /// An event of a visitor, with the rights of the visitor's newest row; a page view enters a page.
    pub fn event(&self, visitor_id: i64, name: &str, lane: Lane) -> Seq {
        let name = name.to_owned();
        self.pen(move |tx| event(tx, visitor_id, &name, lane))
    }

    /// Deletes an event as upkeep does, with its hole or without.
    pub fn delete(&self, lane: Lane, seq: Seq, hole: Option<crate::domain::line::HoleReason>) {
        self.pen(move |tx| {
            if let Some(reason) = hole {
                crate::store::holes::before_delete(tx, lane, seq, reason)?;
            }
            events::delete(tx, seq)
        });
    }

    /// A decision of a known visitor; `purposes` empty = all.
    pub fn decide(&self, key: &str, action: Action, purposes: Purposes) -> Seq {
        let key = ClientId::new(key);
        self.pen(move |tx| {
            let site_id = sites::intern(tx, "shop")?;
            let mut visitor = visitors::take(tx, site_id, &key)?.unwrap();
            let decision = decision(action, purposes);
            let denials = denials::of_visitor(tx, visitor.id)?;
            let mut bases = BasisTable::default();
            bases.set(MEASURE, LawfulBasis::LegitimateInterest);
            let change = decide(&decision, tx.now(), &visitor.standing, &denials, &bases)?;
            let circumstances = Circumstances {
                site_id,
                site: "shop".to_owned(),
                id_hash: [7; 32],
                at: tx.now(),
                received: tx.now(),
                actor: Actor::Subject,
                signals: Signals::default(),
                basis_id: 1,
                notice_digest: None,
                expires: None,
                evidence: None,
            };
            Ok(decisions::append(tx, &decision, &change, Some(&mut visitor), &circumstances)?.seq)
        })
    }

    /// One forced round that must not fail.
    pub fn round(&self, forwarder: &Forwarder) -> Report {
        let report = forwarder.run_once(true).unwrap();
        assert_eq!(report.failed, Vec::new());
        report
    }
}

pub fn lines_of(path: &std::path::Path) -> Vec<serde_json::Value> {
    let text = crate::base::gzip::decompress(&std::fs::read(path).unwrap(), 1 << 26).unwrap();
    String::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn kinds(lines: &[serde_json::Value]) -> Vec<&str> {
    lines.iter().map(|line| line["kind"].as_str().unwrap()).collect()
}

fn decision(action: Action, purposes: Purposes) -> Decision {
    Decision {
        id: None,
        action,
        purposes,
        method: Method::Settings,
        notice: "none".to_owned(),
        notice_digest: None,
        evidence: Default::default(),
        language: None,
        signal_shown: false,
        client_at: None,
        sent_at: None,
    }
}

fn new_visitor(tx: &WriteTx<'_>, site_id: i64, seq: Seq, key: ClientId, rights: Rights) -> Visitor {
    Visitor { visit_count: 1, rights, ..Visitor::new(site_id, key, seq, tx.now()) }
}

fn new_visit(tx: &WriteTx<'_>, site_id: i64, visitor: Seq, rights: Rights) -> Visit {
    Visit {
        id: tx.next_seq().0,
        uuid: mint_uuid(tx.now()),
        site_id,
        visitor_id: visitor.0,
        epoch_id: tx.identity().epoch_id,
        client_visit: None,
        stream: Stream::Web,
        device_id: None,
        agent_id: None,
        started: tx.now(),
        last_active: tx.now(),
        last_received: tx.now(),
        end: None,
        source: 0,
        referrer: None,
        campaign: None,
        context: None,
        place: None,
        ip: None,
        searches: None,
        entry_page: None,
        last_page: None,
        open_page_since: None,
        page_count: 0,
        screen_count: 0,
        event_count: 0,
        authenticated: false,
        session_id: None,
        last_seq: tx.last_seq(),
        snapshot_seq: Seq(0),
        rights,
    }
}

/// Writes an event into the newest visit of a visitor.
pub fn event(tx: &WriteTx<'_>, visitor_id: i64, name: &str, lane: Lane) -> Result<Seq> {
    event_with(tx, visitor_id, name, lane, "{\"size\":\"xl\"}")
}

/// The same with these attributes.
pub fn event_with(tx: &WriteTx<'_>, visitor_id: i64, name: &str, lane: Lane, attributes: &str) -> Result<Seq> {
    tx.settle()?;
    let visitor = visitors::get(tx, visitor_id)?.unwrap();
    let visit_id = visits::ids_upto(tx, visitor_id, Seq(i64::MAX), &[], 1_000)?.pop().unwrap();
    let seq = tx.next_seq();
    let entered = name == "page_viewed";
    let now = tx.now();
    if entered {
        let url = format!("https://shop.example/p/{}", seq.0);
        let page = PageRow {
            id: seq.0,
            visit_id,
            client_page: None,
            url: Some(url),
            screen: None,
            title: Some("A page".to_owned()),
            keywords: None,
            language: Some("en".to_owned()),
            category: None,
            entered: now,
            exited: None,
            dwell_ms: None,
            rights: visitor.rights,
        };
        pages::insert(tx, page);
    }
    let row = EventRow {
        seq,
        event_id: ClientId::mint(now),
        site_id: visitor.site_id,
        epoch_id: tx.identity().epoch_id,
        visit_id,
        page_id: entered.then_some(seq.0),
        session_id: None,
        name: name.to_owned(),
        event_type: EventType::System,
        lane,
        content_hash: seq.0,
        client_at: Some(now),
        sent_at: None,
        received: now,
        corrected: now,
        clock_state: ClockState::from_code(0).unwrap(),
        url: None,
        title: None,
        referrer: None,
        search_query: None,
        attributes: Some(attributes.to_owned()),
        attribute_types: None,
        conversation: None,
        withheld: None,
        rights: visitor.rights,
        salt: Salt::mint(),
        replaces: None,
    };
    events::insert(tx, row);
    Ok(seq)
}
