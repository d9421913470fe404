//! When things are due: sealing by age, backoff, and one target's failure beside another's success.
//! The clock is the test's own, so nothing here waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::support::{MEASURE, World, lines_of};
use crate::base::error::{Error, Kind, Result};
use crate::base::time::{Clock, MINUTE_MS, Millis};
use crate::domain::consent::{Action, Purposes};
use crate::domain::event::Lane;
use crate::forward::Forwarder;
use crate::forward::options::{ForwardOptions, Recipient, TargetOptions};
use crate::forward::target::{Key, Landed, Parcel, Put, Setback, Target};
use crate::store::{batches, lines};

/// A target in memory that can be made to fail, and tells what reached it.
struct Far {
    down: Arc<AtomicBool>,
    kind: Kind,
    got: mpsc::SyncSender<Key>,
}

impl Target for Far {
    fn name(&self) -> &'static str {
        "far"
    }

    fn recipient(&self) -> Recipient {
        Recipient::Own
    }

    fn put(&self, parcel: &Parcel<'_>) -> Result<Put, Setback> {
        if self.down.load(Ordering::SeqCst) {
            return Err(Error::new(self.kind, "down", "nobody answers").into());
        }
        self.got.send(parcel.key).unwrap();
        Ok(Put { landed: Landed::New, acknowledged: true })
    }
}

fn far(world: &World, kind: Kind) -> (Forwarder, Arc<AtomicBool>, mpsc::Receiver<Key>) {
    let (send, receive) = mpsc::sync_channel(100);
    let down = Arc::new(AtomicBool::new(true));
    let target = Far { down: Arc::clone(&down), kind, got: send };
    let clock: Arc<dyn Clock> = Arc::new(world.clock.clone());
    let near = crate::forward::dir::Dir::new(world.dir.path(), &TargetOptions::default());
    let targets: Vec<Box<dyn Target>> = vec![Box::new(target), Box::new(near)];
    let forwarder = Forwarder::to(Arc::clone(&world.store), clock, &ForwardOptions::default(), targets, "Kiosk 7");
    (forwarder, down, receive)
}

#[test]
fn rows_wait_for_their_age_and_the_consent_lane_does_not() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    let forwarder = world.forwarder();
    world.page(a);
    world.clock.advance(5 * MINUTE_MS - 1);
    assert_eq!(forwarder.run_once(false).unwrap().sealed.len(), 0);
    world.clock.advance(1);
    assert_eq!(forwarder.run_once(false).unwrap().sealed.len(), 1);
    world.decide("a", Action::Give, Purposes::PROFILE);
    world.page(a);
    let sealed = forwarder.run_once(false).unwrap().sealed;
    assert_eq!(sealed.iter().map(|s| s.lane).collect::<Vec<_>>(), [Lane::Consent]);
    world.clock.set(Millis(0));
    assert_eq!(forwarder.run_once(false).unwrap().sealed.len(), 1, "a clock set back holds nothing up");
}

#[test]
fn a_failing_target_backs_off_and_holds_up_no_other() {
    let world = World::new();
    let (forwarder, down, got) = far(&world, Kind::Upstream);
    let a = world.visitor("a", MEASURE);
    world.page(a);
    let report = forwarder.run_once(true).unwrap();
    assert_eq!((report.failed.len(), report.sent.len()), (1, 1));
    assert_eq!(world.lines(Lane::Pages, 1).len(), 1, "the near one has it");
    let status = |lane: Lane| {
        let all = forwarder.status().unwrap();
        all.into_iter().find(|s| s.target == "far" && s.lane == lane).unwrap()
    };
    let pages = status(Lane::Pages);
    assert_eq!((pages.failures, pages.put_no, pages.sealed_no, pages.backlog_rows), (1, 0, 1, 1));
    assert!(pages.next_at <= world.clock.now().plus(1_000));
    assert_eq!(pages.oldest_unsent, Some(super::support::START));
    world.clock.advance(1_000);
    assert_eq!(forwarder.run_once(false).unwrap().failed.len(), 1);
    assert_eq!(status(Lane::Pages).failures, 2);
    down.store(false, Ordering::SeqCst);
    world.clock.advance(300_000);
    assert_eq!(forwarder.run_once(false).unwrap().sent.len(), 1);
    assert_eq!(got.recv().unwrap().batch_no, 1);
    let after = status(Lane::Pages);
    assert_eq!((after.failures, after.put_no, after.acked_no, after.last_error), (0, 1, 1, None));
}

#[test]
fn what_only_a_person_can_mend_is_looked_at_slowly() {
    let world = World::new();
    let (forwarder, _down, _got) = far(&world, Kind::Denied);
    let a = world.visitor("a", MEASURE);
    world.page(a);
    forwarder.run_once(true).unwrap();
    world.clock.advance(14 * MINUTE_MS);
    assert_eq!(forwarder.run_once(false).unwrap().failed.len(), 0);
    world.clock.advance(MINUTE_MS);
    assert_eq!(forwarder.run_once(false).unwrap().failed.len(), 1);
}

#[test]
fn while_the_consent_lane_cannot_be_sent_nothing_goes_before_it() {
    let world = World::new();
    let (forwarder, down, got) = far(&world, Kind::Upstream);
    let a = world.visitor("a", MEASURE);
    world.decide("a", Action::Give, MEASURE);
    world.page(a);
    let report = forwarder.run_once(true).unwrap();
    assert_eq!(report.failed.iter().map(|f| f.key.lane).collect::<Vec<_>>(), [Lane::Consent]);
    down.store(false, Ordering::SeqCst);
    forwarder.run_once(true).unwrap();
    assert_eq!(got.try_iter().map(|key| key.lane).collect::<Vec<_>>(), [Lane::Consent, Lane::Pages]);
}

#[test]
fn a_kick_delivers_and_a_stop_ends_the_threads() {
    let world = World::new();
    let (forwarder, down, got) = far(&world, Kind::Upstream);
    down.store(false, Ordering::SeqCst);
    let a = world.visitor("a", MEASURE);
    world.page(a);
    world.clock.advance(5 * MINUTE_MS);
    std::thread::scope(|scope| {
        let live = scope.spawn(|| forwarder.live());
        forwarder.kick();
        let key = got.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!((key.lane, key.batch_no), (Lane::Pages, 1));
        forwarder.stop();
        live.join().unwrap().unwrap();
    });
}

#[test]
fn manifests_say_until_when_they_are_complete() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    let options = ForwardOptions { seal_rows_max: 1, ..ForwardOptions::default() };
    world.page(a);
    world.clock.advance(10 * MINUTE_MS);
    world.page(a);
    let forwarder = world.forwarder_with(&options, &[TargetOptions::default()]);
    world.round(&forwarder);
    let manifest = |no: i64| -> crate::domain::batch::Manifest {
        let text = std::fs::read(world.lane(Lane::Pages).join(format!("{no:012}.manifest.json"))).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    assert_eq!(manifest(1).backlog_rows, 1);
    assert_eq!(manifest(2).backlog_rows, 0);
    let now = world.clock.now();
    assert_eq!(manifest(1).complete_until, now.plus(-MINUTE_MS).rfc3339(), "what is younger may not be written yet");
    assert_eq!(manifest(2).complete_until, now.plus(-MINUTE_MS).rfc3339());
    assert_eq!(lines_of(&world.lane(Lane::Pages).join("000000000001.ndjson.gz")).len(), 1);
}

#[test]
fn numbers_without_rows_of_a_lane_are_not_looked_through_for_ever() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    let options = ForwardOptions { seal_rows_max: 5, ..ForwardOptions::default() };
    for _ in 0..10 {
        world.page(a);
    }
    world.forwarder_with(&options, &[]).run_once(false).unwrap();
    let (newest, fine) =
        world.store.read(|tx| Ok((lines::newest_seq(tx)?, batches::sealed_upto(tx, Lane::Fine)?))).unwrap();
    assert_eq!(fine, newest);
}
