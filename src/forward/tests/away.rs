//! A target over the network: turns, hours, bandwidth, a link that comes and goes.
//! The clocks are the test's own, so nothing here waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::support::{MEASURE, START, World};
use crate::base::error::{Error, Kind, Result};
use crate::base::time::{Clock, HOUR_MS, MINUTE_MS, SECOND_MS};
use crate::domain::consent::{Action, Purposes};
use crate::domain::event::Lane;
use crate::forward::Forwarder;
use crate::forward::options::{ForwardOptions, Recipient, TargetOptions};
use crate::forward::pace::Limits;
use crate::forward::schedule::{PROBE_EVERY_MS, Window};
use crate::forward::target::{Key, Landed, Parcel, Put, Setback, Target};

/// What the far side does, and what it saw.
#[derive(Default)]
pub(super) struct Side {
    /// Answers to the next puts; none left = it takes the batch.
    pub(super) answers: VecDeque<(Kind, &'static str)>,
    pub(super) link_down: bool,
    pub(super) got: Vec<Key>,
    pub(super) puts: usize,
    pub(super) probes: usize,
    pub(super) bytes: usize,
}

#[derive(Clone, Default)]
pub(super) struct Away(pub(super) Arc<Mutex<Side>>);

impl Away {
    pub(super) fn side<T>(&self, work: impl FnOnce(&mut Side) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }

    fn lanes(&self) -> Vec<Lane> {
        self.side(|side| side.got.drain(..).map(|key| key.lane).collect())
    }
}

impl Target for Away {
    fn name(&self) -> &'static str {
        "far"
    }

    fn recipient(&self) -> Recipient {
        Recipient::Own
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn probe(&self) -> Result<()> {
        self.side(|side| {
            side.probes += 1;
            if side.link_down { Err(Error::new(Kind::Upstream, "refused", "nobody listens")) } else { Ok(()) }
        })
    }

    fn put(&self, parcel: &Parcel<'_>) -> Result<Put, Setback> {
        self.side(|side| {
            side.puts += 1;
            side.bytes += parcel.rendered.gz.len();
            if side.link_down {
                return Err(Error::new(Kind::Upstream, "refused", "nobody listens").into());
            }
            if let Some((kind, code)) = side.answers.pop_front() {
                return Err(Error::new(kind, code, "as told").into());
            }
            side.got.push(parcel.key);
            Ok(Put { landed: Landed::New, acknowledged: true })
        })
    }
}

pub(super) fn away(world: &World, options: &ForwardOptions, limits: Limits) -> (Forwarder, Away) {
    let away = Away::default();
    let clock: Arc<dyn Clock> = Arc::new(world.clock.clone());
    let targets: Vec<Box<dyn Target>> = vec![Box::new(away.clone())];
    let uptime = world.clock.clone();
    let forwarder = Forwarder::to(Arc::clone(&world.store), clock, options, targets, "Kiosk 7")
        .with_uptime(move || uptime.now().0)
        .limited("far", limits);
    (forwarder, away)
}

fn one_row_each() -> ForwardOptions {
    ForwardOptions { seal_rows_max: 1, ..ForwardOptions::default() }
}

#[test]
fn lanes_with_a_backlog_take_turns_four_two_one_behind_the_consent_lane() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    for _ in 0..8 {
        for (name, lane) in [("signed_in", Lane::Visits), ("page_viewed", Lane::Pages), ("scrolled", Lane::Fine)] {
            world.event(a, name, lane);
        }
    }
    world.decide("a", Action::Give, Purposes::PROFILE);
    let (forwarder, away) = away(&world, &one_row_each(), Limits::default());
    world.round(&forwarder);
    let lanes = away.lanes();
    assert_eq!(lanes[0], Lane::Consent);
    for week in lanes[1..15].chunks(7) {
        let count = |lane| week.iter().filter(|l| **l == lane).count();
        assert_eq!([Lane::Visits, Lane::Pages, Lane::Fine].map(count), [4, 2, 1]);
    }
    assert_eq!(lanes.len(), 25, "all of it arrives");
}

#[test]
fn within_a_lane_batches_keep_their_order_whatever_fails() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    let (forwarder, away) = away(&world, &one_row_each(), Limits::default());
    for n in 0..6 {
        world.page(a);
        if n % 2 == 0 {
            away.side(|side| side.answers.push_back((Kind::Busy, "busy")));
        }
        forwarder.run_once(true).unwrap();
    }
    forwarder.run_once(true).unwrap();
    let numbers: Vec<i64> = away.side(|side| side.got.iter().map(|key| key.batch_no).collect());
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn outside_its_hours_only_the_consent_lane_leaves() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    let windows = vec![Window::parse("22:00-06:00").unwrap()];
    let limits = Limits { windows, zone: "UTC".to_owned(), ..Limits::default() };
    let (forwarder, away) = away(&world, &one_row_each(), limits);
    world.clock.set(START.day().plus(12 * HOUR_MS));
    world.page(a);
    world.decide("a", Action::Give, Purposes::PROFILE);
    forwarder.run_once(false).unwrap();
    assert_eq!(away.lanes(), [Lane::Consent]);
    world.clock.set(START.day().plus(22 * HOUR_MS));
    forwarder.run_once(false).unwrap();
    assert_eq!(away.lanes(), [Lane::Pages]);
}

#[test]
fn failed_attempts_count_against_the_bandwidth_too() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    let limits = Limits { bytes_per_second: 100, ..Limits::default() };
    let (forwarder, away) = away(&world, &one_row_each(), limits);
    for _ in 0..40 {
        world.page(a);
    }
    away.side(|side| side.answers.extend([(Kind::Busy, "busy"); 3]));
    let begin = world.clock.now();
    let mut largest = 0;
    while away.side(|side| side.got.len()) < 40 {
        let before = away.side(|side| side.bytes);
        forwarder.run_once(false).unwrap();
        let sent = away.side(|side| side.bytes);
        largest = largest.max(sent - before);
        let passed = usize::try_from(world.clock.now().since(begin) / SECOND_MS).unwrap();
        assert!(sent <= 100 * (passed + 1) + largest, "{sent} bytes after {passed} s");
        world.clock.advance(SECOND_MS);
    }
    assert_eq!(away.side(|side| side.puts), 43);
}

#[test]
fn a_link_that_returns_carries_a_batch_within_two_seconds_and_costs_no_rendering_before() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    let (forwarder, away) = away(&world, &one_row_each(), Limits::default());
    world.page(a);
    away.side(|side| side.link_down = true);
    for _ in 0..600 {
        forwarder.run_once(false).unwrap();
        world.clock.advance(SECOND_MS);
    }
    let (puts, probes) = away.side(|side| (side.puts, side.probes));
    assert_eq!(puts, 1, "one attempt found it out, probes did the rest");
    assert!((100..=400).contains(&probes), "{probes} in 10 minutes");
    away.side(|side| side.link_down = false);
    let back = world.clock.now();
    while away.side(|side| side.got.is_empty()) {
        world.clock.advance(100);
        forwarder.run_once(false).unwrap();
    }
    let took = world.clock.now().since(back);
    // a machine without any route (a test's own network) is probed less often
    assert!(took <= 2 * SECOND_MS || probes < 200, "{took} ms");
    assert!(took <= 5_100 && PROBE_EVERY_MS < 2 * SECOND_MS);
}

#[test]
fn after_a_failure_the_target_told_of_one_small_batch_goes_first() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    for _ in 0..3 {
        world.event(a, "signed_in", Lane::Visits);
    }
    world.event(a, "scrolled", Lane::Fine);
    let (forwarder, away) = away(&world, &ForwardOptions::default(), Limits::default());
    away.side(|side| side.answers.push_back((Kind::Busy, "busy")));
    forwarder.run_once(true).unwrap();
    assert_eq!(away.side(|side| (side.puts, side.got.len())), (1, 0), "and no other lane is tried meanwhile");
    forwarder.run_once(false).unwrap();
    let again = away.side(|side| side.puts);
    world.clock.advance(5 * MINUTE_MS);
    forwarder.run_once(false).unwrap();
    assert!(again <= 2, "it waited");
    assert_eq!(away.lanes(), [Lane::Fine, Lane::Visits], "one line before three");
}

#[test]
fn rows_for_another_machine_are_sealed_at_the_edges_own_turn_and_in_time() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    let (forwarder, away) = away(&world, &ForwardOptions::default(), Limits::default());
    world.page(a);
    let begin = world.clock.now();
    while away.side(|side| side.got.is_empty()) {
        world.clock.advance(SECOND_MS);
        forwarder.run_once(false).unwrap();
    }
    let first = world.clock.now().since(begin);
    assert!(first <= 5 * MINUTE_MS + SECOND_MS);
    let sealed_at = world.clock.now().0.rem_euclid(5 * MINUTE_MS);
    let phase = crate::forward::schedule::phase_ms(world.store.identity().edge.id, 5 * MINUTE_MS);
    assert!(
        (0..=SECOND_MS).contains(&(sealed_at - phase).rem_euclid(5 * MINUTE_MS)),
        "at its own time of each interval"
    );
}

#[test]
fn a_clock_set_back_by_a_day_keeps_no_batch_waiting() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    let (forwarder, away) = away(&world, &one_row_each(), Limits::default());
    world.page(a);
    away.side(|side| side.answers.push_back((Kind::Denied, "auth")));
    forwarder.run_once(true).unwrap();
    world.clock.set(START.plus(-24 * HOUR_MS));
    let (again, side) = (forwarder.with_uptime(|| 0), away);
    again.run_once(false).unwrap();
    assert_eq!(side.side(|side| side.got.len()), 1);
}

#[test]
fn limits_of_the_configuration_are_kept() {
    let options = TargetOptions {
        bytes_per_second: 5,
        windows: vec!["22:00-06:00".to_owned()],
        time_zone: "Europe/Zurich".to_owned(),
        ..TargetOptions::default()
    };
    let limits = Limits::of(&options);
    assert_eq!((limits.bytes_per_second, limits.windows.len(), limits.zone.as_str()), (5, 1, "Europe/Zurich"));
    assert_eq!(Limits::of(&TargetOptions::default()), Limits::default());
}
