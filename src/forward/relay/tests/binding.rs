//! What lines bind a relay to: holes in what leaves, and in what lies here.
//! Must never name a line that an edge could not send. Invariant: number and digest of every batch stay.

use super::*;

/// An edge whose visitor decides, and the centre that has had everything before.
pub(super) fn withdrawn(purposes: Purposes, flags: Purposes) -> (Centre, Vec<Batch>, Vec<Batch>) {
    let edge = World::new();
    let forwarder = edge.forwarder();
    let (gone, stays) = (edge.visitor("a", flags), edge.visitor("b", flags));
    for visitor in [gone, stays, gone] {
        edge.page(visitor);
    }
    edge.round(&forwarder);
    let before = batches(&edge);
    let centre = Centre::new();
    centre.join(&edge);
    edge.clock.advance(1_000);
    centre.world.clock.advance(1_000);
    edge.decide("a", Action::Withdraw, purposes);
    edge.page(stays);
    edge.round(&forwarder);
    let seen: Vec<String> = before.iter().map(|batch| batch.key.to_string()).collect();
    let after = batches(&edge).into_iter().filter(|batch| !seen.contains(&batch.key.to_string())).collect();
    (centre, before, after)
}

fn count(text: &str, what: &str) -> usize {
    text.lines().filter(|line| line.contains(what)).count()
}

#[test]
fn a_withdrawal_binds_whatever_leaves_from_then_on() {
    let (centre, before, after) = withdrawn(MEASURE, MEASURE);
    for batch in &before {
        centre.put(batch).unwrap();
    }
    let pages = before.iter().find(|batch| batch.key.lane == Lane::Pages).unwrap().key;
    assert_eq!(count(&centre.leaving(pages, Recipient::Own), "\"withdrawn\""), 0);
    let consent = after.iter().find(|batch| batch.key.lane == Lane::Consent).unwrap();
    centre.put(consent).unwrap();
    let leaving = centre.leaving(pages, Recipient::Own);
    assert_eq!((count(&leaving, "\"withdrawn\""), count(&leaving, "page_viewed")), (2, 1));
}

#[test]
fn a_batch_that_comes_after_the_withdrawal_is_kept_with_its_holes() {
    let (centre, before, after) = withdrawn(MEASURE, MEASURE);
    let consent = after.iter().find(|batch| batch.key.lane == Lane::Consent).unwrap();
    centre.put(consent).unwrap();
    let late = before.iter().find(|batch| batch.key.lane == Lane::Pages).unwrap();
    assert!(matches!(centre.put(late).unwrap(), Taken::Stored(_)));
    let kept = centre.lines(late.key);
    assert_eq!((count(&kept, "\"withdrawn\""), count(&kept, "page_viewed")), (2, 1));
    assert!(matches!(centre.put(late).unwrap(), Taken::Same(_)), "whole again it brings nothing back");
    assert_eq!(count(&centre.lines(late.key), "\"withdrawn\""), 2);
}

#[test]
fn the_same_batch_with_more_holes_takes_the_place_of_the_one_with_fewer() {
    let (centre, before, _) = withdrawn(MEASURE, MEASURE);
    let batch = before.iter().find(|batch| batch.key.lane == Lane::Pages).unwrap();
    centre.put(batch).unwrap();
    let lines = String::from_utf8(gzip::decompress(&batch.gz, 1 << 20).unwrap()).unwrap();
    let first = lines.lines().next().unwrap();
    let hash = crate::domain::line::line_hash(first.as_bytes());
    let told: serde_json::Value = serde_json::from_str(first).unwrap();
    let seq = crate::base::id::Seq(told["seq"].as_i64().unwrap());
    let origin = (batch.key.edge, batch.key.epoch);
    let hole = crate::domain::line::render_hole(origin, seq, crate::domain::line::HoleReason::Refused, &hash);
    let holed = lines.replacen(first, std::str::from_utf8(&hole).unwrap(), 1);
    let manifest = batch.manifest.replace("\"holes\":0", "\"holes\":1");
    let renewed = Batch { manifest, gz: gzip::compress(holed.as_bytes(), 3), ..batch.clone() };
    assert!(matches!(centre.put(&renewed).unwrap(), Taken::Renewed(_)));
    assert_eq!(centre.lines(batch.key), holed);
    assert!(matches!(centre.put(batch).unwrap(), Taken::Same(_)), "holes only become more");
    assert_eq!(centre.lines(batch.key), holed);
}

#[test]
fn who_shares_nothing_goes_to_no_third_party() {
    let (centre, before, after) = withdrawn(Purposes::SHARE, shared());
    let pages = before.iter().find(|batch| batch.key.lane == Lane::Pages).unwrap();
    centre.put(pages).unwrap();
    assert_eq!(count(&centre.leaving(pages.key, Recipient::ThirdParty), "page_viewed"), 3);
    centre.put(after.iter().find(|batch| batch.key.lane == Lane::Consent).unwrap()).unwrap();
    assert_eq!(count(&centre.leaving(pages.key, Recipient::ThirdParty), "page_viewed"), 1);
    assert_eq!(count(&centre.leaving(pages.key, Recipient::Processor), "page_viewed"), 3);
    let (centre, before, _) = withdrawn(MEASURE, MEASURE);
    let pages = before.iter().find(|batch| batch.key.lane == Lane::Pages).unwrap();
    centre.put(pages).unwrap();
    assert_eq!(count(&centre.leaving(pages.key, Recipient::ThirdParty), "\"no_right\""), 3);
}

#[test]
fn lines_about_erasure_correction_and_restriction_bind_by_reference_and_by_number() {
    let (edge, epoch, other) = (EdgeId([1; 16]), "02".repeat(8), "03".repeat(8));
    let centre = Centre::new();
    let (a, b) = ("aa".repeat(16), "bb".repeat(16));
    let row = |seq: i64, visitor: &str, epoch: &str, at: i64| {
        let at = Millis(1_780_000_000_000 + at).rfc3339();
        format!(
            "{{\"kind\":\"event\",\"edge\":\"{edge}\",\"epoch\":\"{epoch}\",\"seq\":{seq},\"received_at\":\"{at}\",\"flags\":1,\
             \"visitor_ref\":\"{visitor}\"}}\n"
        )
    };
    let says = |kind: &str, seq: i64, at: i64, more: &str| {
        let at = Millis(1_780_000_000_000 + at).rfc3339();
        format!(
            "{{\"kind\":\"{kind}\",\"edge\":\"{edge}\",\"epoch\":\"{epoch}\",\"seq\":{seq},\"received_at\":\"{at}\",{more}}}\n"
        )
    };
    let bind = |text: String| {
        let told = bind::told(text.as_bytes()).unwrap();
        centre.world.pen(move |tx| super::super::index::bind_all(tx, edge, &told));
    };
    let holes = |text: &str, purpose: For<'_>| {
        let holed = centre.world.store.read(|tx| bind::holed(tx, text.as_bytes(), purpose)).unwrap();
        let text = String::from_utf8(holed.ndjson).unwrap();
        let reason = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["reason"].as_str().unwrap_or("-").to_owned()
        };
        text.lines().map(reason).collect::<Vec<_>>().join(" ")
    };
    let (leaving, keeping) = (For::Leaving { third_party: false, refused: &[] }, For::Keeping);
    let rows = [row(5, &a, &epoch, 5), row(6, &b, &epoch, 6), row(7, &a, &epoch, 7)].concat();
    assert_eq!(holes(&rows, leaving), "- - -");
    bind(says("rectification", 8, 8, &format!("\"visitor_ref\":\"{b}\",\"superseded\":[6]")));
    assert_eq!(holes(&rows, leaving), "- rectified -");
    bind(says("decision", 9, 9, &format!("\"visitor_ref\":\"{a}\",\"action\":\"restrict\"")));
    assert_eq!(holes(&rows, leaving), "restricted rectified restricted");
    assert_eq!(holes(&rows, keeping), "- rectified -", "what is restricted stays here");
    bind(says("decision", 10, 10, &format!("\"visitor_ref\":\"{a}\",\"action\":\"release\"")));
    let again = [row(7, &a, &epoch, 7), row(11, &a, &epoch, 11)].concat();
    assert_eq!(holes(&again, leaving), "restricted -", "it comes again under another number");
    bind(says("withdrawal", 12, 12, &format!("\"visitor_ref\":\"{a}\",\"purposes\":1,\"floor_seq\":11")));
    let later =
        [row(11, &a, &epoch, 11), row(3, &a, &other, 4), row(4, &a, &other, 99), row(13, &a, &epoch, 13)].concat();
    assert_eq!(holes(&later, keeping), "withdrawn withdrawn - -", "of another epoch: what was received before");
    bind(says("withdrawal", 13, 13, &format!("\"visitor_ref\":\"{a}\",\"purposes\":1,\"floor_seq\":2")));
    assert_eq!(holes(&later, keeping), "withdrawn withdrawn - -", "a number only rises");
    let named = format!("[{{\"edge\":\"{edge}\",\"epoch\":\"{other}\",\"first_seq\":3,\"last_seq\":4}}]");
    bind(says("erasure", 14, 14, &format!("\"erasure_id\":\"x\",\"visitor_ref\":\"{b}\",\"rows\":{named}")));
    let all = [row(3, &a, &other, 4), row(4, &a, &other, 99), row(20, &b, &epoch, 20)].concat();
    assert_eq!(holes(&all, keeping), "erased erased erased");
    let told = says("erasure", 14, 14, &format!("\"erasure_id\":\"x\",\"visitor_ref\":\"{b}\",\"rows\":{named}"));
    assert_eq!(holes(&told, keeping), "-", "the line that says so stays");
    let decision = says("decision", 15, 15, &format!("\"visitor_ref\":\"{b}\",\"action\":\"give\""));
    assert_eq!(holes(&decision, keeping), "erased");
}

#[test]
fn an_edge_has_no_say_about_the_rows_of_another_one_that_joined() {
    let (edge, other) = (World::new(), World::new());
    let centre = Centre::new();
    centre.join(&edge);
    centre.join(&other);
    let (own, foreign) = (edge.store.identity().edge.id, other.store.identity().edge.id);
    let epoch = other.store.identity().edge.epoch;
    let one = crate::base::id::Seq(1);
    let rows = BoundRows { edge: foreign, epoch, first: one, last: one, rectified: false };
    let say = |by: EdgeId| {
        let told = [bind::Told::Rows(rows)];
        centre.world.pen(move |tx| super::super::index::bind_all(tx, by, &told));
        centre.world.store.read(|tx| bound::rows_between(tx, (foreign, epoch), one, one)).unwrap().len()
    };
    assert_eq!((say(own), say(foreign)), (0, 1));
}

#[test]
fn files_that_lie_here_follow_what_was_bound() {
    let (centre, before, after) = withdrawn(MEASURE, MEASURE);
    for batch in before.iter().chain(&after) {
        centre.put(batch).unwrap();
    }
    let pages = before.iter().find(|batch| batch.key.lane == Lane::Pages).unwrap().key;
    assert_eq!(count(&centre.lines(pages), "page_viewed"), 3);
    assert_eq!(centre.relay.sweep().unwrap(), 1);
    let kept = centre.lines(pages);
    assert_eq!((count(&kept, "\"withdrawn\""), count(&kept, "page_viewed")), (2, 1));
    let (gz, manifest) = centre.relay.files().read(pages).unwrap().unwrap();
    crate::forward::inspect::batch(&serde_json::to_vec(&manifest).unwrap(), &gz, None).unwrap();
    assert_eq!(centre.relay.sweep().unwrap(), 0, "once");
}

#[test]
fn an_erasure_reaches_batches_and_parts_that_lie_here() {
    let (edge, _) = edge_of(2);
    let centre = Centre::new();
    centre.join(&edge);
    let all = batches(&edge);
    centre.put(&all[0]).unwrap();
    let part = Some(Part { no: 1, count: 2 });
    centre.relay.put(&Incoming { part, ..all[1].incoming() }).unwrap();
    let lines = centre.lines(all[0].key);
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let visitor = crate::base::id::VisitorRef::parse(first["visitor_ref"].as_str().unwrap()).unwrap();
    let Centre { world, relay } = centre;
    let traces = RelayTraces(Arc::new(relay));
    let sought = Sought { refs: vec![visitor], ..Sought::default() };
    assert_eq!(traces.find(&sought).unwrap().len(), 2);
    let stranger = Sought { refs: vec![crate::base::id::VisitorRef([0; 16])], ..Sought::default() };
    assert_eq!(traces.find(&stranger).unwrap(), Vec::<std::path::PathBuf>::new());
    let done = traces.erase(&sought).unwrap();
    assert_eq!((done.changed, done.unreachable.len()), (2, 0));
    assert_eq!(traces.find(&sought).unwrap(), Vec::<std::path::PathBuf>::new());
    let kept = Centre { world, relay: Arc::try_unwrap(traces.0).ok().unwrap() };
    assert_eq!(count(&kept.lines(all[0].key), "\"erased\""), 2);
    kept.put(&all[1]).unwrap();
    assert_eq!(count(&kept.lines(all[1].key), "\"erased\""), 2, "what comes late stays out as well");
    fs::write(kept.relay.files().lines(all[0].key), b"nonsense").unwrap();
    let traces = RelayTraces(Arc::new(kept.relay));
    assert_eq!(traces.erase(&sought).unwrap().unreachable.len(), 1, "what cannot be read is named");
}
