//! Erasure: rows, files, logs, late events, what is told upstream; and that it goes on wherever it was cut off.
//! Invariant of these tests: what must be gone is looked for in every file of the data directory.

use std::path::Path;

use serde_json::{Value, json};

use super::support::*;
use crate::base::error::Kind;
use crate::base::id::{ClientId, random_bytes};
use crate::base::text::hex;
use crate::base::time::Clock;
use crate::domain::consent::{Purposes, Refusal};
use crate::domain::erasure::{Marks, Step};
use crate::domain::event::Fate;
use crate::erasure::check::search;
use crate::erasure::{Asked, Erasure, Report, Told, Who};
use crate::store::{decisions, events, identities, sums};

fn asked() -> Asked {
    Asked { by: "test".to_owned(), request_id: None }
}

fn world() -> World {
    World::new()
}

fn erasure(world: &World) -> &Erasure {
    &world.app().erasure
}

fn by_id(world: &World, key: &str) -> Who {
    Who::Visitor { site: world.seat().site.id().to_owned(), key: ClientId::new(key) }
}

fn erase(world: &World, who: &Who) -> Report {
    erasure(world).begin(who, &asked()).unwrap();
    erasure(world).work().unwrap()
}

fn only(world: &World) -> Told {
    let mut all = erasure(world).list(false, 10).unwrap();
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

fn forward(world: &World) -> Value {
    world.app().operations.forward(true).unwrap()
}

/// A word nobody else has, in every field a public event has.
struct Marker(String);

impl Marker {
    fn new() -> Marker {
        Marker(format!("zq{}", hex(&random_bytes::<12>())))
    }

    fn visitor(&self) -> String {
        format!("v-{}", self.0)
    }

    fn events(&self) -> Value {
        let m = &self.0;
        json!([
            {"visitor": self.visitor(), "eventId": format!("{m}-1"), "name": "page_viewed", "url":
             format!("https://shop.example/{m}?q={m}"), "title": m, "referrer": format!("https://{m}.example/{m}"),
             "attributes": {"note": m}},
            {"visitor": self.visitor(), "eventId": format!("{m}-2"), "name": format!("n{m}"), "attributes": {"k": m}},
            {"visitor": self.visitor(), "eventId": format!("{m}-3"), "name": "SignIn", "data": {"userId": format!("c-{m}")}},
        ])
    }
}

fn hits(dir: &Path, markers: &[&Marker]) -> Vec<String> {
    let mut marks = Marks::default();
    markers.iter().for_each(|marker| marks.add(marker.0.as_bytes()));
    let found = search(dir, &marks).unwrap();
    assert!(found.unread.is_empty(), "{found:?}");
    found.places
}

fn arrive(world: &World, marker: &Marker) {
    world.give(&marker.visitor(), Purposes::MEASURE.with(Purposes::PERSONAL));
    assert!(world.post(marker.events()).iter().all(|o| o.fate == Fate::Accepted));
}

#[test]
fn an_erased_person_is_in_no_file_and_others_are_untouched() {
    let world = world();
    let (gone, stays) = (Marker::new(), Marker::new());
    arrive(&world, &gone);
    arrive(&world, &stays);
    forward(&world);
    assert!(!hits(&world.config.data_dir, &[&gone]).is_empty());
    let before = world.visits(&stays.visitor()).len();
    let report = erase(&world, &by_id(&world, &gone.visitor()));
    assert_eq!((report.done, report.waiting.as_slice()), (1, &[] as &[String]));
    assert_eq!(hits(&world.config.data_dir, &[&gone]), Vec::<String>::new());
    assert!(!hits(&world.config.data_dir, &[&stays]).is_empty());
    assert_eq!(world.visits(&stays.visitor()).len(), before);
    let told = only(&world);
    assert_eq!(told.row.step, Step::Done);
    assert_eq!(told.row.marks, None);
    assert_eq!(
        std::fs::read_dir(world.config.data_dir.join("erasing")).unwrap().count(),
        0,
        "nor what it was sought by"
    );
    let check: Value = serde_json::from_str(&told.row.result.unwrap()).unwrap();
    assert_eq!(check["hits"], 0);
    assert!(check["marks"].as_u64().unwrap() >= 2, "the id and the customer's name were looked for: {check}");
}

#[test]
fn batches_hold_after_an_erasure_and_tell_it_by_reference_and_numbers() {
    let world = world();
    let (gone, stays) = (Marker::new(), Marker::new());
    arrive(&world, &gone);
    arrive(&world, &stays);
    let visitor_ref = world.visitor(&gone.visitor()).unwrap().visitor_ref.to_string();
    forward(&world);
    erase(&world, &by_id(&world, &gone.visitor()));
    let told = only(&world);
    assert_eq!(told.targets.len(), 1);
    assert_eq!(told.targets[0].acked, None, "open at the target");
    forward(&world);
    let lines = lines_of(&world);
    let erasures: Vec<&Value> = lines.iter().filter(|line| line["kind"] == "erasure").collect();
    assert_eq!(erasures.len(), 1, "{erasures:?}");
    assert_eq!(erasures[0]["visitor_ref"], visitor_ref);
    let holes: Vec<i64> =
        lines.iter().filter(|line| line["reason"] == "erased").map(|line| line["seq"].as_i64().unwrap()).collect();
    assert!(holes.len() >= 3, "{holes:?}");
    let rows = erasures[0]["rows"].as_array().unwrap();
    for seq in &holes {
        let named = rows.iter().any(|r| (r["first_seq"].as_i64()..=r["last_seq"].as_i64()).contains(&Some(*seq)));
        assert!(named, "{seq} is a hole and not named in {rows:?}");
    }
    let other = |line: &&Value| line["kind"] != "erasure" && line.to_string().contains(&visitor_ref);
    assert_eq!(lines.iter().filter(other).count(), 0, "no other line names the reference");
    // taken: the batch with the line closes it
    let upto = world.app().operations.status().unwrap();
    assert!(upto["targets"].is_array());
    let lane = lane_put(&upto, "consent");
    world.app().operations.acknowledge("outbox", "consent", lane).unwrap();
    assert_eq!(erasure(&world).work().unwrap().acknowledged, 1);
    assert_eq!(only(&world).targets[0].how.as_deref(), Some("batch"));
    assert!(erasure(&world).list(true, 10).unwrap().is_empty());
}

fn lane_put(status: &Value, lane: &str) -> i64 {
    let rows = status["targets"].as_array().unwrap();
    rows.iter().find(|row| row["lane"] == lane).unwrap()["put"].as_i64().unwrap()
}

/// Every line that lies in the outbox.
fn lines_of(world: &World) -> Vec<Value> {
    let mut files = Vec::new();
    let outbox = world.config.data_dir.join("outbox");
    crate::store::traces::walk(&outbox, &mut |path| files.push(path.to_owned())).unwrap();
    let mut lines = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "gz")) {
        let text = crate::base::gzip::decompress(&std::fs::read(file).unwrap(), 1 << 30).unwrap();
        lines.extend(text.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()));
    }
    lines
}

#[test]
fn a_late_event_brings_nobody_back_and_only_a_new_yes_begins_anew() {
    let mut world = World::with(|config| {
        config.sites[0].purposes = vec![purpose("measure", "contract")];
    });
    world.send_at(0, page("a", "/"));
    world.clock.set(minute(5));
    assert_eq!(erase(&world, &by_id(&world, "a")).done, 1);
    let late = world.send_at(6, at(page("a", "/"), minute(3)));
    assert_eq!((late.fate, late.refusal), (Fate::Counted, Some(Refusal::Erased)), "whatever the basis");
    let new = world.send_at(7, at(page("a", "/"), minute(7)));
    assert_eq!(new.refusal, Some(Refusal::Erased), "unknown until a new yes");
    world.reopen();
    assert_eq!(world.send_at(8, page("a", "/")).refusal, Some(Refusal::Erased), "nor after a restart");
    world.clock.set(minute(10));
    world.give("a", Purposes::MEASURE);
    assert_eq!(world.send_at(11, page("a", "/")).fate, Fate::Accepted);
    let before = world.send_at(12, at(page("a", "/old"), minute(4)));
    assert_eq!(before.refusal, Some(Refusal::Erased), "what happened before the erasure stays away");
    assert_eq!(world.visit("a").event_count, 1);
    assert_eq!(world.send_at(13, page("b", "/")).fate, Fate::Accepted, "others are not concerned");
}

#[test]
fn an_erasure_goes_on_wherever_it_was_cut_off() {
    for cut in 0..8 {
        let mut world = world();
        let gone = Marker::new();
        arrive(&world, &gone);
        forward(&world);
        put_spool(&world, "late.ndjson", &[json!({"visitor": gone.visitor(), "name": "x"})]);
        erasure(&world).begin(&by_id(&world, &gone.visitor()), &asked()).unwrap();
        let mut report = Report::default();
        for _ in 0..cut {
            erasure(&world).advance(&mut report).unwrap();
        }
        world.reopen(); // what is in memory only is lost
        let refused = world.send_at(30, page(&gone.visitor(), "/"));
        assert_eq!(refused.fate, Fate::Counted, "cut after {cut} steps: nothing is taken in");
        world.app().operations.upkeep(false).unwrap();
        let told = only(&world);
        assert_eq!(told.row.step, Step::Done, "cut after {cut} steps: {told:?}");
        let check: Value = serde_json::from_str(&told.row.result.unwrap()).unwrap();
        assert!(check["marks"].as_u64().unwrap() > 0, "cut after {cut} steps: it still knew what to look for");
        assert_eq!(hits(&world.config.data_dir, &[&gone]), Vec::<String>::new(), "cut after {cut} steps");
    }
}

fn put_spool(world: &World, name: &str, lines: &[Value]) {
    let spool = world.config.data_dir.join("spool");
    std::fs::create_dir_all(spool.join("rejected")).unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(spool.join(name), text).unwrap();
}

#[test]
fn lines_waiting_in_the_spool_go_and_the_others_are_taken_once() {
    let world = world();
    let gone = Marker::new();
    arrive(&world, &gone);
    world.give("other-visitor", Purposes::MEASURE);
    let line = |visitor: &str| json!({"visitor": visitor, "name": "x"});
    put_spool(&world, "a.ndjson", &[line(&gone.visitor()), line("other-visitor"), line(&gone.visitor())]);
    put_spool(&world, "b.ndjson", &[line(&gone.visitor())]);
    std::fs::write(world.config.data_dir.join("spool/rejected/c.rejected.ndjson"), "{\"line\":1}\n").unwrap();
    assert_eq!(erase(&world, &by_id(&world, &gone.visitor())).done, 1);
    assert_eq!(hits(&world.config.data_dir, &[&gone]), Vec::<String>::new());
    assert!(!world.config.data_dir.join("spool/b.ndjson").exists(), "nothing was left of it");
    assert!(!world.config.data_dir.join("spool/rejected/c.rejected.ndjson").exists(), "nobody knows whose they were");
    assert_eq!(world.ingest().take_spool(world.clock.now()).unwrap(), 1);
    assert_eq!(world.visit("other-visitor").event_count, 1);
}

#[test]
fn a_reader_of_an_old_snapshot_delays_but_does_not_defeat_it() {
    let world = world();
    let gone = Marker::new();
    arrive(&world, &gone);
    let dir = world.config.data_dir.clone();
    let reader = crate::store::Reading::open(&dir, 60_000).unwrap();
    let report = reader
        .read(|tx| {
            assert!(events::count(tx)? > 0);
            let report = erase(&world, &by_id(&world, &gone.visitor()));
            assert!(events::count(tx)? > 0, "the snapshot is of before");
            Ok(report)
        })
        .unwrap();
    assert_eq!(report.done, 0);
    assert!(report.waiting[0].contains("pending_reader"), "{report:?}");
    assert!(!hits(&dir, &[&gone]).is_empty(), "honestly so: the bytes are there while it reads");
    assert_eq!(erasure(&world).work().unwrap().done, 1);
    assert_eq!(hits(&dir, &[&gone]), Vec::<String>::new());
}

#[test]
fn a_copy_that_cannot_be_looked_into_keeps_it_open_by_name() {
    let world = world();
    world.give("visitor-a", Purposes::MEASURE);
    world.send(page("visitor-a", "/"));
    let aside = world.config.data_dir.join("damaged/20270101T000000.000Z");
    std::fs::create_dir_all(&aside).unwrap();
    std::fs::write(aside.join("wayside.db"), b"not a database any more").unwrap();
    erase(&world, &by_id(&world, "visitor-a"));
    let told = only(&world);
    assert_eq!(told.row.step, Step::Done);
    assert!(!told.row.is_done_here());
    let state = told.json()["state"].as_str().unwrap().to_owned();
    assert_eq!(state, "open: unreachable copy damaged/20270101T000000.000Z/wayside.db");
    std::fs::remove_dir_all(&aside).unwrap();
    erasure(&world).work().unwrap();
    assert!(only(&world).row.is_done_here());
}

#[test]
fn a_customer_takes_along_only_what_is_theirs_on_a_shared_device() {
    let world = world();
    let both = Purposes::MEASURE.with(Purposes::PERSONAL);
    for key in ["shared-device", "own-device"] {
        world.give(key, both);
    }
    let sign =
        |visitor: &str, name: &str, user: &str| json!({"visitor": visitor, "name": name, "data": {"userId": user}});
    world.send_at(0, sign("own-device", "SignIn", "customer-one"));
    world.send_at(1, page("own-device", "/mine"));
    world.send_at(0, sign("shared-device", "SignIn", "customer-one"));
    world.send_at(1, page("shared-device", "/hers"));
    world.send_at(2, json!({"visitor": "shared-device", "name": "SignOut"}));
    world.send_at(3, sign("shared-device", "SignIn", "customer-two"));
    world.send_at(4, page("shared-device", "/his"));
    let site = world.seat().site.id().to_owned();
    erase(&world, &Who::Customer { site: site.clone(), name: "customer-one".to_owned() });
    assert!(world.visitor("own-device").is_none(), "nobody else was tied to it");
    let visit = world.visit("shared-device");
    let urls: Vec<String> = world.pages(&visit).into_iter().filter_map(|page| page.url).collect();
    assert_eq!(urls, ["https://shop.example/his"]);
    let find = |name: &'static str| {
        let id = world.seat().id;
        world.store().read(|tx| identities::find_by_key(tx, id, name)).unwrap()
    };
    assert_eq!(find("customer-one"), None);
    assert!(find("customer-two").is_some());
    // what happened before does not tie the name again
    let late = at(sign("shared-device", "SignIn", "customer-one"), minute(2));
    world.send_at(20, late);
    assert_eq!(find("customer-one"), None);
}

#[test]
fn a_reference_is_enough_and_an_unknown_one_is_nobody() {
    let world = world();
    world.give("visitor-a", Purposes::MEASURE);
    world.send(page("visitor-a", "/"));
    let visitor_ref = world.visitor("visitor-a").unwrap().visitor_ref;
    assert_eq!(erase(&world, &Who::Reference(crate::base::id::VisitorRef([9; 16]))).done, 0);
    assert_eq!(erase(&world, &Who::Reference(visitor_ref)).done, 1);
    assert!(world.visitor("visitor-a").is_none());
    let unknown = Who::Visitor { site: "nowhere".to_owned(), key: ClientId::new("x") };
    assert_eq!(erasure(&world).begin(&unknown, &asked()).unwrap_err().kind, Kind::Invalid);
}

#[test]
fn a_target_that_cannot_speak_is_closed_by_evidence() {
    let world = world();
    let gone = Marker::new();
    arrive(&world, &gone);
    forward(&world);
    erase(&world, &by_id(&world, &gone.visitor()));
    let told = only(&world);
    let id = told.row.id;
    assert_eq!(erasure(&world).acknowledge(id, Some("elsewhere"), [7; 32], "test").unwrap_err().code, "not_open");
    assert_eq!(erasure(&world).acknowledge(id, None, [7; 32], "test").unwrap(), 1);
    let state = &only(&world).targets[0];
    assert_eq!((state.how.as_deref(), state.evidence), (Some("evidence"), Some([7; 32])));
    assert_eq!(erasure(&world).acknowledge(id, None, [8; 32], "test").unwrap_err().code, "not_open");
    assert_eq!(erasure(&world).acknowledge([1; 16], None, [8; 32], "test").unwrap_err().kind, Kind::NotFound);
}

#[test]
fn many_rows_go_in_steps() {
    let world = world();
    world.give("visitor-a", Purposes::MEASURE);
    for n in 0..3 {
        let many: Vec<Value> = (0..900).map(|k| page("visitor-a", &format!("/{n}/{k}"))).collect();
        world.post(Value::Array(many));
    }
    forward(&world);
    let report = erase(&world, &by_id(&world, "visitor-a"));
    assert!(report.rows > 2_700, "{report:?}");
    let (events, visits) = world.store().read(|tx| Ok((events::count(tx)?, sums::visible(tx)?.visits))).unwrap();
    assert_eq!((events, visits), (0, 0));
    let _proof = world.store().read(decisions::count).unwrap();
}
