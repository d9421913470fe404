//! The promise: nothing leaves after a withdrawal that it covers; who may receive what; decisions go before rows.
//! All of it is read from what was put, never from what was meant to be put.

use super::support::{MEASURE, World, kinds, lines_of, shared};
use crate::domain::consent::{Action, Purposes};
use crate::domain::event::Lane;
use crate::domain::line::HoleReason;
use crate::domain::visitor::Rights;
use crate::forward::Forwarder;
use crate::forward::options::{Recipient, TargetOptions};
use crate::store::{attempts, batches, cursors};

fn seal_only(world: &World) {
    let nobody: Forwarder = world.forwarder_to(&[]);
    nobody.run_once(true).unwrap();
}

#[test]
fn a_withdrawal_between_seal_and_put_leaves_a_hole_and_the_digest_holds() {
    let world = World::new();
    let (a, b) = (world.visitor("a", MEASURE), world.visitor("b", MEASURE));
    let first = world.page(a);
    world.page(b);
    seal_only(&world);
    world.decide("a", Action::Withdraw, Purposes::NONE);
    let forwarder = world.forwarder();
    let report = world.round(&forwarder);
    assert_eq!(report.sent[0].key.lane, Lane::Consent, "the withdrawal goes first");
    let consent = world.lines(Lane::Consent, 1);
    assert_eq!(kinds(&consent), ["decision", "withdrawal"]);
    let lines = world.lines(Lane::Pages, 1);
    assert_eq!(kinds(&lines), ["hole", "event"]);
    assert_eq!((lines[0]["seq"].as_i64(), lines[0]["reason"].as_str()), (Some(first.0), Some("withdrawn")));
    assert_eq!(lines[0].as_object().unwrap().len(), 6, "number and digest, nothing else");
    assert_eq!(forwarder.verify(&|_| ()).unwrap().problems, Vec::new());
}

#[test]
fn rows_withdrawn_before_the_seal_get_no_number_and_may_be_deleted_afterwards() {
    let world = World::new();
    let (a, b) = (world.visitor("a", MEASURE), world.visitor("b", MEASURE));
    world.page(b);
    let gone = world.page(a);
    world.page(b);
    world.decide("a", Action::Withdraw, Purposes::NONE);
    seal_only(&world);
    world.delete(Lane::Pages, gone, Some(HoleReason::Withdrawn));
    let forwarder = world.forwarder();
    world.round(&forwarder);
    assert_eq!(kinds(&world.lines(Lane::Pages, 1)), ["event", "event"]);
    assert!(!world.lane(Lane::Consent).exists(), "nothing of this visitor ever left, so neither does its decision");
    assert_eq!(forwarder.verify(&|_| ()).unwrap().problems, Vec::new());
}

#[test]
fn a_deleted_row_with_its_hole_keeps_the_digest() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    let rows = [world.page(a), world.event(a, "button_clicked", Lane::Pages), world.page(a)];
    seal_only(&world);
    world.delete(Lane::Pages, rows[0], Some(HoleReason::Erased));
    let forwarder = world.forwarder();
    world.round(&forwarder);
    let lines = world.lines(Lane::Pages, 1);
    assert_eq!(kinds(&lines), ["hole", "event", "event"]);
    assert_eq!(lines[0]["reason"], "erased");
    assert_eq!(forwarder.verify(&|_| ()).unwrap().holes, 2, "in the database and in the file");
}

#[test]
fn a_missing_row_without_a_hole_is_refused_and_nothing_is_written() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    let row = world.page(a);
    world.event(a, "scroll", Lane::Fine);
    seal_only(&world);
    world.delete(Lane::Pages, row, None);
    let forwarder = world.forwarder();
    let report = forwarder.run_once(true).unwrap();
    assert_eq!(report.failed.iter().map(|f| f.code).collect::<Vec<_>>(), ["digest_mismatch"]);
    assert!(!world.lane(Lane::Pages).exists());
    assert_eq!(world.lines(Lane::Fine, 1).len(), 1, "the other lanes go on");
    let status = forwarder.status().unwrap();
    let pages = status.iter().find(|s| s.lane == Lane::Pages).unwrap();
    assert!(pages.last_error.as_ref().unwrap().starts_with("digest_mismatch"));
    assert_eq!((pages.put_no, pages.failures, pages.backlog_rows), (0, 1, 1));
    let found = forwarder.verify(&|_| ()).unwrap();
    assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
    assert!(found.problems[0].what.contains("rows of it are gone"));
}

#[test]
fn decisions_enter_the_consent_lane_before_the_first_row_and_only_once() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    world.decide("a", Action::Give, shared());
    world.decide("a", Action::Withdraw, Purposes::SHARE);
    let forwarder = world.forwarder();
    world.round(&forwarder);
    assert!(!world.lane(Lane::Consent).exists(), "nothing of it has left yet");
    world.page(a);
    world.round(&forwarder);
    let told = world.lines(Lane::Consent, 1);
    assert_eq!(kinds(&told), ["decision", "decision", "withdrawal"], "the floor that stands is told too");
    assert_eq!(told[2]["purposes"], Purposes::SHARE.0);
    let sealed = |lane| world.store.read(|tx| batches::newest(tx, 1, lane)).unwrap().unwrap();
    assert!(sealed(Lane::Consent).sealed_at <= sealed(Lane::Pages).sealed_at);
    world.page(a);
    assert_eq!(world.round(&forwarder).sealed.len(), 1, "told once");
    world.decide("a", Action::Give, Purposes::PROFILE);
    world.round(&forwarder);
    assert_eq!(kinds(&world.lines(Lane::Consent, 2)), ["decision"], "later ones go at once");
}

#[test]
fn a_visitor_of_whom_nothing_left_is_never_told_of() {
    let world = World::new();
    let (a, b) = (world.visitor("a", MEASURE), world.visitor("b", MEASURE));
    world.page(a);
    world.decide("a", Action::Refuse, Purposes::NONE);
    world.page(b);
    let forwarder = world.forwarder();
    world.round(&forwarder);
    assert!(!world.lane(Lane::Consent).exists());
    assert_eq!(world.lines(Lane::Pages, 1).len(), 1);
}

#[test]
fn a_third_party_gets_holes_for_rows_without_share_and_its_own_get_all() {
    let world = World::new();
    let third = TargetOptions {
        name: "partner".to_owned(),
        path: "partner".into(),
        recipient: Recipient::ThirdParty,
        ..TargetOptions::default()
    };
    let (a, b) = (world.visitor("a", MEASURE), world.visitor("b", shared()));
    world.page(a);
    world.page(b);
    let forwarder = world.forwarder_to(&[TargetOptions::default(), third]);
    world.decide("a", Action::Give, MEASURE);
    world.round(&forwarder);
    let theirs = |lane: Lane, no: i64| {
        let ours = world.lane(lane).join(format!("{no:012}.ndjson.gz"));
        lines_of(&world.dir.path().join("partner").join(ours.strip_prefix(world.outbox()).unwrap()))
    };
    assert_eq!(kinds(&world.lines(Lane::Pages, 1)), ["event", "event"]);
    let lines = theirs(Lane::Pages, 1);
    assert_eq!((kinds(&lines), lines[0]["reason"].as_str()), (vec!["hole", "event"], Some("no_right")));
    assert_eq!(kinds(&theirs(Lane::Consent, 1)), ["hole"], "who never shared is not told of either");
    world.decide("b", Action::Withdraw, Purposes::SHARE);
    world.page(a);
    world.round(&forwarder);
    assert_eq!(
        kinds(&theirs(Lane::Consent, 2)),
        ["decision", "withdrawal"],
        "who had the rows learns that they are not theirs"
    );
    assert_eq!(forwarder.verify(&|_| ()).unwrap().problems, Vec::new());
}

#[test]
fn a_share_floor_covers_what_a_third_party_has_not_got_yet() {
    let world = World::new();
    let third = TargetOptions { recipient: Recipient::ThirdParty, ..TargetOptions::default() };
    let b = world.visitor("b", shared());
    world.page(b);
    seal_only(&world);
    world.decide("b", Action::Withdraw, Purposes::SHARE);
    let forwarder = world.forwarder_to(&[third]);
    world.round(&forwarder);
    let lines = world.lines(Lane::Pages, 1);
    assert_eq!((kinds(&lines), lines[0]["reason"].as_str()), (vec!["hole"], Some("withdrawn")));
}

#[test]
fn exempt_rows_never_leave() {
    let world = World::new();
    let exempt = Rights { flags: MEASURE, exempt: true, ..Rights::default() };
    let (a, b) = (world.visitor_with("a", exempt), world.visitor("b", MEASURE));
    let between = world.page(b);
    let own = world.page(a);
    world.page(b);
    let forwarder = world.forwarder();
    world.round(&forwarder);
    let lines = world.lines(Lane::Pages, 1);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["seq"].as_i64(), Some(between.0));
    world.delete(Lane::Pages, own, Some(HoleReason::Retention));
    assert_eq!(forwarder.verify(&|_| ()).unwrap().problems, Vec::new());
}

#[test]
fn every_put_has_an_attempt_with_the_decision_it_was_checked_against() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    let decision = world.decide("a", Action::Give, MEASURE);
    world.page(a);
    world.round(&world.forwarder());
    let tries = world.store.read(|tx| attempts::of_batch(tx, 1, Lane::Pages, 1)).unwrap();
    assert_eq!(tries.len(), 1);
    assert_eq!((tries[0].1, tries[0].3.as_deref()), (decision, Some("put")));
    let cursor = world.store.read(|tx| cursors::get(tx, "outbox", 1, Lane::Pages)).unwrap();
    assert_eq!((cursor.put_no, cursor.acked_no), (1, 0));
}

#[test]
fn a_page_that_is_gone_changes_no_other_line() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    let entered = world.page(a);
    let on_it = world.event(a, "button_clicked", Lane::Pages);
    seal_only(&world);
    world.delete(Lane::Pages, entered, Some(HoleReason::Retention));
    let forwarder = world.forwarder();
    world.round(&forwarder);
    let lines = world.lines(Lane::Pages, 1);
    assert_eq!(kinds(&lines), ["hole", "event"]);
    assert_eq!(lines[1]["seq"].as_i64(), Some(on_it.0));
}
