//! Tests of reading, on a real file with a pen and a reader beside it.
//! Rows are laid by hand, so that floors can stand wherever a claim needs them.

use std::sync::Arc;

use crate::base::error::Kind;
use crate::base::id::{ClientId, Salt, Seq, uuid_text};
use crate::base::time::{HOUR_MS, ManualClock, Millis};
use crate::domain::clock::ClockState;
use crate::domain::consent::{Purposes, Standing};
use crate::domain::count::Cell;
use crate::domain::device::{Agent, DeviceCategory};
use crate::domain::event::{Attribute, DataType, EventType, Lane, Stream};
use crate::domain::stored::{EventRow, PageRow};
use crate::domain::visit::{Visit, VisitOptions};
use crate::domain::visitor::{Rights, Visitor, id_hash};
use crate::history::export::{Export, Format, Kind as Rows};
use crate::history::{Filter, History};
use crate::store::{
    Store, StoreOptions, WriteTx, agents, alarms, counts, events, floors, pages, personal, refusals, sites, visitors,
    visits,
};

const NOW: Millis = Millis(1_800_000_000_000);
const ALL: Purposes = Purposes(1 | 2 | 32);

struct World {
    dir: tempfile::TempDir,
    store: Arc<Store>,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreOptions::at(dir.path()), Arc::new(ManualClock::at(NOW))).unwrap();
        World { dir, store: Arc::new(store) }
    }

    fn live(&self) -> History {
        History::of(Arc::clone(&self.store))
    }

    fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&WriteTx<'_>) -> crate::base::error::Result<T> + Send + 'static,
    ) -> T {
        self.store.pen().call(move |tx| work(tx)).unwrap()
    }

    /// One visit of `key` with this many page views; a robot's where said. Returns the seqs of its events.
    fn visit(&self, key: &'static str, site: &'static str, views: i64, robot: bool) -> Vec<i64> {
        self.write(move |tx| lay(tx, key, site, views, robot))
    }

    fn visitor_id(&self, key: &'static str) -> i64 {
        self.write(move |tx| {
            let site = sites::id(tx, "shop")?.unwrap();
            Ok(visitors::find(tx, site, &ClientId::new(key))?.unwrap().id)
        })
    }

    /// Withdraws purposes of a visitor at a seq.
    fn floor(&self, key: &'static str, purposes: Purposes, at: i64) {
        self.write(move |tx| {
            let site = sites::id(tx, "shop")?.unwrap();
            let mut v = visitors::take(tx, site, &ClientId::new(key))?.unwrap();
            v.floors = v.floors.with(purposes);
            if purposes.has(Purposes::MEASURE) {
                v.measure_floor = Seq(at);
            }
            let id = v.id;
            visitors::keep(tx, v);
            tx.settle()?;
            floors::raise(tx, id, purposes, Seq(at))
        });
    }
}

fn lay(tx: &WriteTx<'_>, key: &str, site: &str, views: i64, robot: bool) -> crate::base::error::Result<Vec<i64>> {
    let site_id = sites::intern(tx, site)?;
    let rights = Rights { flags: ALL, basis_id: 0, consent_seq: Seq(1), exempt: false };
    let agent = Agent {
        category: DeviceCategory::Desktop,
        browser_family: Some("Firefox".to_owned()),
        robot: robot.then(|| "bot".to_owned()),
        ..Agent::default()
    };
    let agent_id = agents::intern(tx, if robot { "a robot" } else { "a browser" }, &agent)?;
    let key = ClientId::new(key);
    let visitor = match visitors::take(tx, site_id, &key)? {
        Some(known) => known,
        None => {
            let seq = tx.next_seq();
            Visitor {
                visit_count: 1,
                page_count: views,
                event_count: views,
                standing: Standing { granted: ALL, consent_seq: Seq(1), ..Standing::default() },
                rights,
                ..Visitor::new(site_id, key, seq, NOW)
            }
        }
    };
    let mut seqs = Vec::new();
    for n in 0..views {
        let seq = tx.next_seq();
        if n == 0 {
            visits::none_yet(tx, visitor.id);
            visitors::keep(tx, visitor.clone());
            visits::keep(
                tx,
                visit(seq, &visitor, agent_id, tx.identity().epoch_id, views),
                &VisitOptions::default(),
                true,
            );
        }
        let visit_id = *seqs.first().unwrap_or(&seq.0);
        pages::insert(tx, page(seq, visit_id, n, rights));
        events::insert(tx, event(seq, visit_id, site_id, tx.identity().epoch_id, rights));
        seqs.push(seq.0);
    }
    tx.settle()?;
    Ok(seqs)
}

fn visit(seq: Seq, visitor: &Visitor, agent_id: i64, epoch_id: i64, views: i64) -> Visit {
    Visit {
        id: seq.0,
        uuid: crate::base::id::mint_uuid(NOW),
        site_id: visitor.site_id,
        visitor_id: visitor.id,
        epoch_id,
        client_visit: None,
        stream: Stream::Web,
        device_id: None,
        agent_id: Some(agent_id),
        started: NOW,
        last_active: NOW.plus(views),
        last_received: NOW,
        end: None,
        source: 0,
        referrer: None,
        campaign: None,
        context: None,
        place: None,
        ip: None,
        searches: Some("[\"boots\"]".to_owned()),
        entry_page: Some(seq.0),
        last_page: Some(seq.0),
        open_page_since: None,
        page_count: views,
        screen_count: 0,
        event_count: views,
        authenticated: false,
        session_id: None,
        last_seq: seq,
        snapshot_seq: Seq(0),
        rights: visitor.rights,
    }
}

fn page(seq: Seq, visit_id: i64, n: i64, rights: Rights) -> PageRow {
    PageRow {
        id: seq.0,
        visit_id,
        client_page: None,
        url: Some(format!("https://shop.example/{n}")),
        screen: None,
        title: Some("=cmd".to_owned()),
        keywords: None,
        language: None,
        category: None,
        entered: NOW.plus(n),
        exited: None,
        dwell_ms: None,
        rights,
    }
}

fn event(seq: Seq, visit_id: i64, site_id: i64, epoch_id: i64, rights: Rights) -> EventRow {
    EventRow {
        seq,
        event_id: ClientId::new(&format!("event {seq}")),
        site_id,
        epoch_id,
        visit_id,
        page_id: Some(seq.0),
        session_id: None,
        name: "page_viewed".to_owned(),
        event_type: EventType::Business,
        lane: Lane::Pages,
        content_hash: 0,
        client_at: None,
        sent_at: None,
        received: NOW.plus(seq.0),
        corrected: NOW.plus(seq.0),
        clock_state: ClockState::None,
        url: None,
        title: None,
        referrer: None,
        search_query: None,
        attributes: Some("{\"size\":\"41, wide\"}".to_owned()),
        attribute_types: None,
        conversation: None,
        withheld: Some("traits,identity".to_owned()),
        rights,
        salt: Salt::mint(),
        replaces: None,
    }
}

fn seqs(history: &History, filter: &Filter) -> Vec<i64> {
    history.events(filter).unwrap().items.iter().map(|e| e.seq).collect()
}

#[test]
fn a_list_is_walked_without_gap_or_repeat_in_both_orders() {
    let world = World::new();
    let laid = [world.visit("a", "shop", 7, false), world.visit("b", "shop", 6, false)].concat();
    let history = world.live();
    for newest_first in [false, true] {
        let mut filter = Filter { limit: Some(4), newest_first, ..Filter::default() };
        let mut walked = Vec::new();
        loop {
            let page = history.events(&filter).unwrap();
            assert!(page.items.len() <= 4);
            walked.extend(page.items.iter().map(|e| e.seq));
            match page.next {
                Some(next) => filter.after = Some(next),
                None => break,
            }
        }
        if newest_first {
            walked.reverse();
        }
        assert_eq!(walked, laid);
    }
    let cursor = history.events(&Filter { limit: Some(1), ..Filter::default() }).unwrap().next;
    let foreign = history.visits(&Filter { after: cursor, ..Filter::default() }).unwrap_err();
    assert_eq!((foreign.kind, foreign.code), (Kind::Invalid, "cursor"));
}

#[test]
fn every_filter_narrows() {
    let world = World::new();
    let (a, b) = (world.visit("a", "shop", 3, false), world.visit("b", "shop", 2, true));
    let c = world.visit("a", "blog", 2, false);
    let history = world.live();
    let with = |change: fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        seqs(&history, &filter)
    };
    assert_eq!(with(|f| f.site = Some("blog".into())), c);
    assert_eq!(with(|f| f.visitor = Some("a".into())), [a.clone(), c.clone()].concat());
    assert_eq!(with(|f| f.robot = Some(true)), b);
    assert_eq!(with(|f| f.robot = Some(false)), [a.clone(), c].concat());
    assert_eq!(with(|f| f.name = Some("other".into())), Vec::<i64>::new());
    assert_eq!(with(|f| f.visitor = Some("nobody".into())), Vec::<i64>::new());
    let second = Filter { since: Some(NOW.plus(a[1])), until: Some(NOW.plus(a[2])), ..Filter::default() };
    assert_eq!(seqs(&history, &second), [a[1]]);
    let visits = history.visits(&Filter { robot: Some(true), ..Filter::default() }).unwrap().items;
    assert_eq!((visits.len(), visits[0].seq, visits[0].robot.as_deref()), (1, b[0], Some("bot")));
    let of_visit = Filter { visit: Some(visits[0].visit_id.clone()), ..Filter::default() };
    assert_eq!(seqs(&history, &of_visit), b);
    let by_ref = Filter { visitor: Some(visits[0].visitor_ref.clone()), ..Filter::default() };
    assert_eq!(seqs(&history, &by_ref), b);
    let unknown = history.events(&Filter { site: Some("none".into()), ..Filter::default() }).unwrap_err();
    assert_eq!(unknown.kind, Kind::NotFound);
    assert!(unknown.remedy.contains("blog") && unknown.remedy.contains("shop"));
}

#[test]
fn rows_at_or_below_a_measure_floor_are_not_there() {
    let world = World::new();
    let first = world.visit("a", "shop", 3, false);
    let other = world.visit("b", "shop", 1, false);
    let again = world.visit("a", "shop", 2, false);
    world.floor("a", Purposes::MEASURE, other[0]);
    let history = world.live();
    assert_eq!(seqs(&history, &Filter::default()), [other.clone(), again.clone()].concat());
    assert_eq!(history.visits(&Filter::default()).unwrap().items.len(), 2);
    assert_eq!(history.event(&first[2].to_string()).unwrap_err().kind, Kind::NotFound);
    assert_eq!(history.event(&format!("event {}", first[2])).unwrap_err().kind, Kind::NotFound);
    assert_eq!(history.visit(&first[0].to_string()).unwrap_err().kind, Kind::NotFound);
    assert_eq!(history.event(&again[0].to_string()).unwrap().visitor.as_deref(), Some("a"));
    let totals = history.totals(NOW).unwrap();
    assert_eq!((totals.visitors, totals.visits, totals.visits_open, totals.events), (2, 2, 2, 3));
    let visitor = history.visit(&again[0].to_string()).unwrap().visitor;
    assert_eq!(visitor.event_count, None, "counts of what was withdrawn are not told");
    let mut out = Vec::new();
    let what = Export { kind: Rows::Events, format: Format::Ndjson, filter: Filter::default() };
    assert_eq!(history.export(&what, &mut out, &mut |_| {}).unwrap(), 3);
}

#[test]
fn other_floors_mask_their_purpose_and_leave_the_row() {
    let world = World::new();
    let seqs = world.visit("a", "shop", 3, false);
    world.floor("a", Purposes::MARKETING, seqs[1]);
    let history = world.live();
    let events = history.events(&Filter::default()).unwrap().items;
    assert_eq!(events.iter().map(|e| e.rights.flags).collect::<Vec<_>>(), [3, 3, ALL.0]);
    assert_eq!(events[0].rights.purposes, ["measure", "personal"]);
    let visit = &history.visits(&Filter::default()).unwrap().items[0];
    assert_eq!(visit.rights.flags, 3, "a visit counts by its first number");
}

#[test]
fn personal_fields_end_at_their_floor() {
    let world = World::new();
    let seqs = world.visit("a", "shop", 3, false);
    let visitor_id = world.visitor_id("a");
    for (seq, value) in [(seqs[0], "old@example.org"), (seqs[2], "new@example.org")] {
        world.write(move |tx| {
            let field =
                Attribute { name: "trait.email".to_owned(), value: value.to_owned(), data_type: DataType::String };
            let of = personal::Of { seq: Seq(seq), site_id: 1, visitor_id, at: NOW };
            personal::insert(tx, of, &[field])
        });
    }
    let history = world.live();
    let shown = |history: &History| history.visit(&seqs[0].to_string()).unwrap().visitor.personal;
    assert_eq!(shown(&history).get("trait.email"), Some(&Some("new@example.org".to_owned())));
    world.floor("a", Purposes::PERSONAL, seqs[2]);
    assert!(shown(&history).is_empty());
    let list = serde_json::to_string(&history.events(&Filter::default()).unwrap()).unwrap();
    assert!(!list.contains("example.org"), "lists show no personal field");
}

#[test]
fn one_event_is_found_by_number_and_by_id() {
    let world = World::new();
    let seqs = world.visit("a", "shop", 1, false);
    let history = History::open(world.dir.path()).unwrap();
    let event = history.event(&format!("event {}", seqs[0])).unwrap();
    assert_eq!(event, history.event(&seqs[0].to_string()).unwrap());
    assert_eq!(event.url.as_deref(), Some("https://shop.example/0"));
    assert_eq!(event.attributes["size"], "41, wide");
    assert_eq!(event.withheld, ["traits", "identity"]);
    assert_eq!(event.device.unwrap().summary, "Firefox, desktop");
    let visit = history.visit(&event.visit_id).unwrap();
    assert_eq!((visit.pages.len(), visit.events.len(), visit.more), (1, 1, false));
    assert_eq!(visit.visit.searches, ["boots"]);
    assert!(visit.visit.idle_at.is_some() && visit.visit.ended_at.is_none());
    let json = serde_json::to_value(&visit).unwrap();
    assert_eq!(json["visitor"]["visitor"], "a");
    assert_eq!(json["flags"], ALL.0);
}

#[test]
fn counters_are_folded_under_five() {
    let world = World::new();
    world.visit("a", "shop", 1, false);
    world.write(|tx| {
        let site = sites::id(tx, "shop")?.unwrap();
        for (path, n) in [("/a", 6), ("/b", 2), ("/c", 1)] {
            for _ in 0..n {
                let cell = Cell { path: path.into(), device: "desktop".into(), medium: "none".into(), robot: false };
                counts::raise(tx, site, NOW, cell)?;
            }
        }
        tx.settle()
    });
    let history = world.live();
    let hours = history.counts(&Filter::default()).unwrap().items;
    let shown: Vec<_> = hours[0].cells.iter().map(|c| (c.path.as_str(), c.count)).collect();
    assert_eq!((hours.len(), shown), (1, vec![("/a", Some(6)), ("__other__", None)]));
    let later = Filter { since: Some(NOW.plus(HOUR_MS)), ..Filter::default() };
    assert_eq!(history.counts(&later).unwrap().items.len(), 0);
    assert_eq!(history.totals(NOW).unwrap().counted, Some(9));
}

#[test]
fn a_no_that_is_kept_without_the_id_is_found_by_the_id() {
    let world = World::new();
    world.visit("a", "shop", 1, false);
    world.write(|tx| {
        let hash = id_hash(&tx.identity().hash_key, "shop", &ClientId::new("never seen"));
        refusals::put(tx, &hash, Purposes::MEASURE, NOW, Seq(9))
    });
    for history in [world.live(), History::open(world.dir.path()).unwrap()] {
        let found = history.consent(None, "never seen").unwrap();
        assert_eq!((found.len(), found[0].denied.as_slice()), (1, &["measure".to_owned()][..]));
        assert_eq!(found[0].visitor_ref, None);
        assert_eq!(history.consent(Some("shop"), "a").unwrap()[0].granted, ["measure", "personal", "marketing"]);
        assert_eq!(history.consent(None, "stranger").unwrap_err().kind, Kind::NotFound);
    }
}

#[test]
fn an_export_is_complete_in_pages_and_its_csv_is_safe() {
    let world = World::new();
    let seqs = world.visit("a", "shop", 2_500, false);
    let history = world.live();
    let run = |kind, format| {
        let (mut out, mut last) = (Vec::new(), None);
        let what = Export { kind, format, filter: Filter::default() };
        let rows = history.export(&what, &mut out, &mut |at| last = Some(at)).unwrap();
        assert_eq!(last.map(|at| (at.rows, at.at == at.end)), Some((rows, true)));
        (rows, String::from_utf8(out).unwrap())
    };
    let (rows, text) = run(Rows::Events, Format::Ndjson);
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows, 2_500);
    assert!(lines.iter().map(|line| line["seq"].as_i64().unwrap()).eq(seqs.iter().copied()));
    let (rows, text) = run(Rows::Events, Format::Csv);
    assert_eq!((rows, text.split("\r\n").count()), (2_500, 2_502), "a header, the rows, a last line end");
    assert!(text.contains(",'=cmd,") && text.contains(r#","{""size"":""41, wide""}","#));
    let (rows, text) = run(Rows::Visits, Format::Csv);
    assert_eq!(rows, 1);
    assert!(text.starts_with("seq,visit_id,site,"));
}

#[test]
fn an_empty_database_answers_empty() {
    let world = World::new();
    let history = History::open(world.dir.path()).unwrap();
    assert!(history.events(&Filter::default()).unwrap().items.is_empty());
    assert!(history.batches(&crate::history::batches::BatchFilter::default()).unwrap().is_empty());
    assert_eq!(history.batch("pages/1").unwrap_err().kind, Kind::NotFound);
    let status = history.status(NOW).unwrap();
    assert_eq!(status.totals.events, 0);
    assert_eq!(status.database.edge.as_deref().map(str::len), Some(32));
    assert_eq!(history.event(&uuid_text(&[7; 16])).unwrap_err().kind, Kind::NotFound);
    let none = tempfile::tempdir().unwrap();
    assert_eq!(History::open(none.path()).err().map(|e| e.code), Some("no_database"));
}

#[test]
fn a_backup_is_read_like_the_database() {
    let world = World::new();
    let seqs = world.visit("a", "shop", 3, false);
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("wayside.db");
    let mut told = 0;
    let done = crate::history::backup::backup(world.dir.path(), &to, None, &mut |_, _| told += 1).unwrap();
    assert!(told > 0 && done.size_bytes > 0 && done.rights_log.exists());
    assert_eq!(self::seqs(&History::open(folder.path()).unwrap(), &Filter::default()), seqs);
    let again = crate::history::backup::backup(world.dir.path(), &to, None, &mut |_, _| {});
    assert_eq!(again.unwrap_err().kind, Kind::Conflict);
}

#[test]
fn an_alarm_is_attention_until_it_is_cleared() {
    let world = World::new();
    let status = || world.live().status(NOW).unwrap();
    let quiet = status().attention.len();
    world.write(|tx| alarms::raise(tx, "fork", "centre", "another digest lies there"));
    let told = status();
    assert_eq!(told.alarms.iter().map(|a| (a.code.as_str(), a.times)).collect::<Vec<_>>(), [("fork", 1)]);
    let last = told.attention.last().unwrap();
    assert_eq!(last.what, "fork (centre): another digest lies there");
    assert!(!last.remedy.is_empty());
    world.write(|tx| alarms::clear(tx, "fork", "centre").map(|_| ()));
    assert_eq!((status().alarms.len(), status().attention.len()), (0, quiet));
}
