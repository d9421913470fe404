//! Restriction and release on the way out, and files that get their holes after they were put.
//! All of it is read from what was put, never from what was meant to be put.

use std::fs;

use super::support::{MEASURE, World, kinds, lines_of, shared};
use crate::domain::consent::{Action, Purposes};
use crate::domain::event::Lane;
use crate::forward::options::{Recipient, TargetOptions};
use crate::store::{again, floors, restrictions, visitors};

/// What upkeep does after a release.
fn resend(world: &World, visitor_id: i64) -> usize {
    world.pen(move |tx| {
        let upto = restrictions::get(tx, visitor_id)?.unwrap().upto;
        let above = visitors::get(tx, visitor_id)?.unwrap().measure_floor;
        again::number(tx, visitor_id, (above, upto), &floors::of_visitor(tx, visitor_id)?, 100)
    })
}

#[test]
fn what_is_restricted_is_held_back_and_leaves_again_under_a_new_number() {
    let world = World::new();
    let (a, b) = (world.visitor("a", MEASURE), world.visitor("b", MEASURE));
    let sealed = world.page(a);
    world.page(b);
    world.forwarder_to(&[]).run_once(true).unwrap();
    world.decide("a", Action::Restrict, Purposes::NONE);
    let unsealed = world.page(a);
    world.page(b);
    let forwarder = world.forwarder();
    world.round(&forwarder);
    let first = world.lines(Lane::Pages, 1);
    assert_eq!((kinds(&first), first[0]["reason"].as_str()), (vec!["hole", "event"], Some("restricted")));
    assert_eq!(kinds(&world.lines(Lane::Pages, 2)), ["event"], "what was not sealed yet gets no line at all");
    assert_eq!(kinds(&world.lines(Lane::Consent, 1)), ["decision"], "whoever has rows of it learns of it");
    world.decide("a", Action::Release, Purposes::NONE);
    assert_eq!((resend(&world, a), resend(&world, a)), (2, 0));
    world.round(&forwarder);
    let again = world.lines(Lane::Pages, 3);
    assert_eq!(again.iter().map(|l| l["replaces"].as_i64()).collect::<Vec<_>>(), [Some(sealed.0), Some(unsealed.0)]);
    assert!(again.iter().all(|line| line["seq"].as_i64() > Some(unsealed.0) && line["name"] == "page_viewed"));
    assert_eq!(kinds(&world.lines(Lane::Pages, 1)), ["hole", "event"], "the old numbers stay holes");
    // the same once more: the line that left again is replaced in its turn
    world.decide("a", Action::Restrict, Purposes::NONE);
    world.decide("a", Action::Release, Purposes::NONE);
    assert_eq!(resend(&world, a), 2);
    world.round(&forwarder);
    assert_eq!(world.lines(Lane::Pages, 4)[0]["replaces"], again[0]["seq"]);
    assert_eq!(forwarder.verify(&|_| ()).unwrap().problems, Vec::new());
}

#[test]
fn a_floor_set_under_restriction_outlives_the_release() {
    let world = World::new();
    let (a, b) = (world.visitor("a", shared()), world.visitor("b", shared()));
    world.page(a);
    world.page(b);
    world.decide("a", Action::Restrict, Purposes::NONE);
    world.decide("a", Action::Withdraw, Purposes::SHARE);
    world.decide("b", Action::Restrict, Purposes::NONE);
    world.decide("b", Action::Withdraw, MEASURE);
    world.decide("a", Action::Release, Purposes::NONE);
    world.decide("b", Action::Release, Purposes::NONE);
    assert_eq!((resend(&world, a), resend(&world, b)), (1, 0));
    let forwarder = world.forwarder();
    world.round(&forwarder);
    let lines = world.lines(Lane::Pages, 1);
    assert_eq!(
        (kinds(&lines), lines[0]["flags"].as_u64()),
        (vec!["event"], Some(1)),
        "the right to share is gone from it"
    );
}

#[test]
fn files_not_yet_taken_get_their_holes() {
    let world = World::new();
    let (a, b) = (world.visitor("a", shared()), world.visitor("b", shared()));
    world.page(a);
    world.page(b);
    let partner = TargetOptions {
        name: "partner".to_owned(),
        path: "partner".into(),
        recipient: Recipient::ThirdParty,
        ..TargetOptions::default()
    };
    let forwarder = world.forwarder_to(&[TargetOptions::default(), partner]);
    world.round(&forwarder);
    let own = world.lane(Lane::Pages);
    let theirs =
        |name: &str| std::path::PathBuf::from(own.to_str().unwrap().replace("/outbox/", "/partner/")).join(name);
    let data = "000000000001.ndjson.gz";
    let sealed = |path: &std::path::Path| {
        let text = fs::read(path.with_file_name("000000000001.manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&text).unwrap();
        (manifest["sealed"].clone(), manifest["holes"].as_i64().unwrap())
    };
    let before = sealed(&own.join(data)).0;
    // taken: not ours any more
    let taken = world.outbox().join("taken");
    fs::create_dir_all(&taken).unwrap();
    fs::copy(own.join(data), taken.join("a-copy-of-mine")).unwrap();
    world.decide("a", Action::Withdraw, Purposes::SHARE);
    assert_eq!(world.round(&forwarder).renewed, 1, "only third parties need the right to share");
    assert_eq!(kinds(&lines_of(&theirs(data))), ["hole", "event"]);
    assert_eq!(kinds(&lines_of(&own.join(data))), ["event", "event"]);
    assert_eq!(sealed(&theirs(data)).1, 1);
    world.decide("b", Action::Restrict, Purposes::NONE);
    world.decide("a", Action::Withdraw, MEASURE);
    assert_eq!(world.round(&forwarder).renewed, 2);
    for path in [own.join(data), theirs(data)] {
        assert_eq!(kinds(&lines_of(&path)), ["hole", "hole"], "{}", path.display());
        assert_eq!(sealed(&path), (before.clone(), 2), "the same batch");
    }
    assert_eq!(kinds(&lines_of(&taken.join("a-copy-of-mine"))), ["event", "event"]);
    assert_eq!(world.round(&forwarder).renewed, 0, "once is enough");
    assert_eq!(forwarder.verify(&|_| ()).unwrap().problems, Vec::new());
}

#[test]
fn a_batch_that_was_taken_is_not_put_again() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    world.page(a);
    let forwarder = world.forwarder();
    world.round(&forwarder);
    let (lane, taken) = (world.lane(Lane::Pages), world.outbox().join("taken"));
    fs::create_dir_all(&taken).unwrap();
    for name in ["000000000001.ndjson.gz", "000000000001.manifest.json"] {
        fs::rename(lane.join(name), taken.join(name)).unwrap();
    }
    world.decide("a", Action::Withdraw, MEASURE);
    assert_eq!(world.round(&forwarder).renewed, 0);
    assert!(!lane.join("000000000001.ndjson.gz").exists());
    assert_eq!(kinds(&lines_of(&taken.join("000000000001.ndjson.gz"))), ["event"]);
}

#[test]
fn a_row_removed_after_its_file_was_written_leaves_the_file_too() {
    let world = World::new();
    let (a, b) = (world.visitor("a", MEASURE), world.visitor("b", MEASURE));
    let gone = world.page(a);
    world.page(b);
    let forwarder = world.forwarder();
    world.round(&forwarder);
    world.delete(Lane::Pages, gone, Some(crate::domain::line::HoleReason::Erased));
    assert_eq!(world.round(&forwarder).renewed, 1);
    let lines = world.lines(Lane::Pages, 1);
    assert_eq!((kinds(&lines), lines[0]["reason"].as_str()), (vec!["hole", "event"], Some("erased")));
    assert_eq!(forwarder.verify(&|_| ()).unwrap().problems, Vec::new());
}
