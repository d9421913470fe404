//! Passing on what was received: order, attempts, holes, receipts, and what goes when all have it.
//! Must never look into a target but as its owner does. Invariant: key, digest and signature of a batch stay.

use super::*;
use crate::forward::dir::TAKEN;
use crate::forward::options::{ForwardOptions, TargetKind, TargetOptions};
use crate::forward::pull::{Acked, Ask, Pull};
use crate::forward::relay::source::RelaySource;
use crate::forward::{Forwarder, Report};
use crate::store::onward;

/// A centre that passes on into its outbox.
fn passing() -> (Centre, Arc<Relay>, Forwarder) {
    let options = RelayOptions { enabled: true, onward: vec!["outbox".to_owned()], ..RelayOptions::default() };
    let centre = Centre::with(options.clone());
    let relay = Arc::new(Relay::new(Arc::clone(&centre.world.store), &options));
    let clock = Arc::new(centre.world.clock.clone());
    let targets = [TargetOptions::default()];
    let store = Arc::clone(&centre.world.store);
    let forwarder = Forwarder::new(store, clock, &ForwardOptions::default(), &targets, "Centre");
    let forwarder = forwarder.with_relay(Arc::clone(&relay));
    (centre, relay, forwarder)
}

fn keys(report: &Report) -> Vec<Key> {
    report.sent.iter().map(|sent| sent.key).collect()
}

#[test]
fn consent_goes_onward_first_and_each_batch_keeps_its_seal() {
    let (_, before, after) = super::binding::withdrawn(MEASURE, MEASURE);
    let (centre, _, forwarder) = passing();
    let public = {
        let manifest: Manifest = serde_json::from_str(&before[0].manifest).unwrap();
        crate::base::text::unhex::<32>(&manifest.public_key).unwrap()
    };
    let edge = before[0].key.edge;
    let joining = Joining { code: &centre.code(), edge, public_key: public, label: "" };
    centre.relay.join(&joining).unwrap();
    for batch in before.iter().chain(&after) {
        centre.put(batch).unwrap();
    }
    let report = centre.world.round(&forwarder);
    let lanes: Vec<Lane> = keys(&report).iter().map(|key| key.lane).collect();
    assert_eq!(lanes.len(), before.len() + after.len());
    assert!(lanes.is_sorted_by_key(|lane| lane.code()) && lanes[0] == Lane::Consent, "{lanes:?}");
    let found = crate::forward::verify::folder(
        &centre.world.outbox(),
        Some(&public),
        crate::forward::verify::Looking { only: Default::default(), progress: &|_| () },
    );
    assert_eq!(found.unwrap().problems, []);
    let pages = before.iter().find(|batch| batch.key.lane == Lane::Pages).unwrap().key;
    let lines = crate::forward::tests::support::lines_of(&centre.world.outbox().join(format!("{pages}.ndjson.gz")));
    assert_eq!(lines.iter().filter(|line| line["reason"] == "withdrawn").count(), 2, "bound before the attempt");
    let row = centre.world.store.read(|tx| held::find(tx, pages)).unwrap().unwrap();
    let attempts = centre.world.store.read(|tx| onward::attempts(tx, row.stream_id, row.batch_no)).unwrap();
    let newest = centre.world.store.read(bound::newest).unwrap();
    assert_eq!(attempts, [("outbox".to_owned(), newest, Some("put".to_owned()))]);
    assert!(newest.0 > 0);
    assert_eq!(keys(&centre.world.round(&forwarder)), [], "once");
}

#[test]
fn what_every_target_took_goes_after_its_grace_and_is_remembered() {
    let (edge, _) = edge_of(2);
    let (centre, relay, forwarder) = passing();
    centre.join(&edge);
    let all = batches(&edge);
    for batch in &all {
        centre.put(batch).unwrap();
    }
    assert_eq!(centre.world.round(&forwarder).sent.len(), 2);
    let clock = &centre.world.clock;
    clock.advance(8 * DAY_MS);
    let now = |centre: &Centre| centre.world.store.now();
    assert_eq!(relay.release(now(&centre)).unwrap(), 0, "nobody has taken it");
    let taken = centre.world.outbox().join(TAKEN);
    fs::create_dir_all(&taken).unwrap();
    let first = all[0].key;
    fs::create_dir_all(taken.join(first.to_string()).parent().unwrap()).unwrap();
    let lines = format!("{first}.ndjson.gz");
    fs::rename(centre.world.outbox().join(&lines), taken.join(&lines)).unwrap();
    assert_eq!(centre.world.round(&forwarder).acknowledged, 1);
    assert_eq!(relay.release(now(&centre)).unwrap(), 1);
    assert_eq!(
        (relay.files().read(first).unwrap(), centre.relay.files().read(all[1].key).unwrap().is_some()),
        (None, true)
    );
    assert!(matches!(centre.put(&all[0]).unwrap(), Taken::Same(_)), "it was here");
    assert_eq!(relay.files().read(first).unwrap(), None, "and is not kept again");
    let told = centre.relay.watermarks(first.edge, None).unwrap().watermarks;
    assert_eq!(told[0].batch_no, 2);
    let digest = |by: EdgeId| centre.relay.digest(first, Some(by)).map(|digest| digest.map(|digest| hex(&digest)));
    assert_eq!(digest(first.edge).unwrap(), Some(all[0].digest()), "its digest is remembered");
    assert_eq!(digest(EdgeId([9; 16])).unwrap_err().code, "unknown_edge");
    assert_eq!(centre.relay.digest(first.at(99), Some(first.edge)).unwrap(), None);
    clock.advance(365 * DAY_MS);
    relay.release(now(&centre)).unwrap();
    assert_eq!(code_of(centre.put(&all[0])), "fork", "nobody remembers its digest: it is not taken for something new");
}

#[test]
fn what_went_onward_stays_until_a_job_that_must_have_it_has_it_too() {
    let (edge, _) = edge_of(1);
    let (centre, relay, forwarder) = passing();
    centre.join(&edge);
    let batch = batches(&edge).remove(0);
    centre.put(&batch).unwrap();
    centre.world.round(&forwarder);
    let lines = format!("{}.ndjson.gz", batch.key);
    let taken = centre.world.outbox().join(TAKEN).join(&lines);
    fs::create_dir_all(taken.parent().unwrap()).unwrap();
    fs::rename(centre.world.outbox().join(&lines), taken).unwrap();
    assert_eq!(centre.world.round(&forwarder).acknowledged, 1);
    centre.world.clock.advance(8 * DAY_MS);
    let row = centre.world.store.read(|tx| held::find(tx, batch.key)).unwrap().unwrap();
    let strict = Relay::new(Arc::clone(&centre.world.store), relay.options()).keeping_for(vec!["warehouse".to_owned()]);
    assert_eq!(strict.release(centre.world.store.now()).unwrap(), 0, "the job has not come");
    let cursor = crate::store::cursors::Cursor { put_no: row.no, acked_no: row.no, ..Default::default() };
    centre.world.store.pen().call(move |tx| onward::put(tx, "warehouse", row.stream_id, &cursor)).unwrap();
    assert_eq!(strict.release(centre.world.store.now()).unwrap(), 1);
}

#[test]
fn a_batch_that_fills_a_gap_goes_onward_too() {
    let (edge, _) = edge_of(3);
    let (centre, _, forwarder) = passing();
    centre.join(&edge);
    let all = batches(&edge);
    for no in [0, 2] {
        centre.put(&all[no]).unwrap();
    }
    assert_eq!(centre.world.round(&forwarder).sent.len(), 2);
    centre.put(&all[1]).unwrap();
    assert_eq!(keys(&centre.world.round(&forwarder)), [all[1].key]);
}

#[test]
fn what_went_onward_is_not_taken_back() {
    let (edge, _) = edge_of(1);
    let (centre, _, forwarder) = passing();
    centre.join(&edge);
    let ours = batches(&edge).pop().unwrap();
    centre.put(&ours).unwrap();
    centre.world.round(&forwarder);
    let lines = String::from_utf8(gzip::decompress(&ours.gz, 1 << 20).unwrap()).unwrap();
    let theirs = resealed(&edge, &ours, "1.0", lines.replace("A page", "A twin").as_bytes());
    assert_eq!(code_of(centre.put(&theirs)), "fork");
    let (keep, renew) = (theirs.digest(), ours.digest());
    let word = Word { keep: &keep, renew: &renew };
    assert_eq!(centre.relay.resolve(ours.key.edge, &word, &Caller::Operator).unwrap_err().code, "passed_on");
    let word = Word { keep: &renew, renew: &keep };
    assert_eq!(centre.relay.resolve(ours.key.edge, &word, &Caller::Operator).unwrap(), 1);
}

#[test]
fn a_job_pulls_what_lies_here_consent_first_and_acknowledges_what_it_was_given() {
    let (_, before, after) = super::binding::withdrawn(MEASURE, MEASURE);
    let centre = Centre::new();
    let manifest: Manifest = serde_json::from_str(&before[0].manifest).unwrap();
    let public_key = crate::base::text::unhex::<32>(&manifest.public_key).unwrap();
    let edge = before[0].key.edge;
    centre.relay.join(&Joining { code: &centre.code(), edge, public_key, label: "" }).unwrap();
    for batch in before.iter().chain(&after) {
        centre.put(batch).unwrap();
    }
    let Centre { world, relay } = centre;
    let relay = Arc::new(relay);
    let named = TargetOptions { name: "warehouse".to_owned(), kind: TargetKind::Pull, ..TargetOptions::default() };
    let forwarder = Arc::new(world.forwarder_to(std::slice::from_ref(&named)));
    let pull = Pull::new(forwarder, &[named], vec![Arc::new(RelaySource(Arc::clone(&relay)))]);
    let pages = before.iter().find(|batch| batch.key.lane == Lane::Pages).unwrap();
    assert_eq!(pull.give(None, pages.key).err().unwrap().code, "consent_first");
    let taken = |key: Key, digest: &str| {
        let acked = Acked { cursor: None, fence: None, upto: key, digest: digest.to_owned() };
        pull.ack(&acked)
    };
    assert_eq!(taken(pages.key, &pages.digest()).unwrap_err().code, "not_taken");
    let mut seen = Vec::new();
    loop {
        let page = pull.list(&Ask::default()).unwrap();
        if page.batches.is_empty() {
            break;
        }
        for listed in page.batches {
            let (gz, manifest) = pull.give(None, listed.key).unwrap().goes().unwrap();
            let found = crate::forward::inspect::batch(manifest.as_bytes(), &gz, Some(&public_key)).unwrap();
            seen.push((listed.key.lane, found.holes));
            assert_eq!(taken(listed.key, &"00".repeat(32)).unwrap_err().code, "fork");
            assert_eq!(taken(listed.key, &found.part.digest).unwrap(), 1);
        }
    }
    assert_eq!(seen.len(), before.len() + after.len());
    assert!(seen.is_sorted_by_key(|(lane, _)| lane.code()), "{seen:?}");
    assert!(seen.contains(&(Lane::Pages, 2)), "with the holes of what was bound: {seen:?}");
    assert_eq!(taken(pages.key, &pages.digest()).unwrap(), 0, "again is nothing new");
}
