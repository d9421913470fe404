//! What a receiver says of a batch it does not take: parts for one that takes less at once, holes for lines it refuses,
//! and a halt where it refuses too much. The receiver is the test's own and follows what it is told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;

use super::support::{MEASURE, World, event_with, lines_of};
use crate::base::digest::sha256;
use crate::base::error::{Error, Kind};
use crate::base::gzip;
use crate::base::text::hex;
use crate::base::time::{Clock, MINUTE_MS};
use crate::domain::consent::{Action, Purposes};
use crate::domain::event::Lane;
use crate::forward::encode::Rendered;
use crate::forward::options::{ForwardOptions, Recipient, TargetOptions};
use crate::forward::target::{Judged, Key, Landed, Parcel, Put, Says, Setback, Target};
use crate::forward::{Forwarder, Report, inspect};
use crate::store::{alarms, attempts, limits, refused};

type Refuses = Arc<dyn Fn(&Value) -> bool + Send + Sync>;

/// A put: under which path, which part of how many, its lines.
type Seen = (String, Option<(usize, usize)>, Vec<Value>);

/// How the receiver is.
#[derive(Default)]
struct State {
    /// Most bytes of a body, and the number it tells.
    most: Option<(u64, Option<u64>)>,
    refuses: Option<Refuses>,
    names_rows: bool,
    judges: bool,
    /// Asked about lines it says that they are well, whatever they are.
    lies: bool,
    parts: BTreeMap<(String, usize), Vec<u8>>,
    got: BTreeMap<String, Vec<Value>>,
    puts: Vec<Seen>,
    questions: usize,
    /// What happens before the next put is looked at.
    before: Option<Box<dyn FnOnce() + Send>>,
}

#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<State>>);

fn values(gz: &[u8]) -> Vec<Value> {
    let text = String::from_utf8(gzip::decompress(gz, 1 << 26).unwrap()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn seqs(lines: &[Value]) -> Vec<i64> {
    lines.iter().map(|line| line["seq"].as_i64().unwrap()).collect()
}

impl Receiver {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn refusing(&self, refuses: impl Fn(&Value) -> bool + Send + Sync + 'static) {
        self.state().refuses = Some(Arc::new(refuses));
    }
}

fn refusal(kind: Kind, code: &'static str, says: Says) -> Setback {
    Setback::from(Error::new(kind, code, "refused")).says(says)
}

impl Target for Receiver {
    fn name(&self) -> &'static str {
        "far"
    }

    fn recipient(&self) -> Recipient {
        Recipient::Own
    }

    fn put(&self, parcel: &Parcel<'_>) -> Result<Put, Setback> {
        let before = self.state().before.take();
        if let Some(before) = before {
            before();
        }
        let (lines, key) = (values(parcel.body()), parcel.key.to_string());
        let mut state = self.state();
        state.puts.push((key.clone(), parcel.part.map(|part| (part.k, part.n)), lines.clone()));
        if let Some((_, tells)) = state.most.filter(|(most, _)| parcel.body().len() as u64 > *most) {
            return Err(refusal(Kind::Invalid, "too_large", Says::TooLarge { bytes_max: tells }));
        }
        let refuses = state.refuses.clone();
        let bad: Vec<Value> = lines
            .into_iter()
            .filter(|line| line["kind"] != "hole" && refuses.as_ref().is_some_and(|f| f(line)))
            .collect();
        if !bad.is_empty() {
            let seqs = if state.names_rows { seqs(&bad) } else { Vec::new() };
            return Err(refusal(Kind::Invalid, "bad_rows", Says::BadRows { seqs }));
        }
        let mut text = gzip::decompress(parcel.body(), 1 << 26).unwrap();
        if let Some(part) = parcel.part {
            state.parts.insert((key.clone(), part.k), text);
            let there = || state.parts.range((key.clone(), 0)..=(key.clone(), part.n));
            if there().count() < part.n {
                return Ok(Put { landed: Landed::Part, acknowledged: false });
            }
            text = there().flat_map(|(_, text)| text.clone()).collect();
        }
        // whatever arrives is the sealed batch, with its digest, signature and as many holes as its manifest says
        let manifest = serde_json::to_vec(&parcel.rendered.manifest).unwrap();
        let inspected = inspect::batch(&manifest, &gzip::compress(&text, 1), None).unwrap();
        assert_eq!(inspected.part.batch_no, parcel.key.batch_no);
        state.got.insert(key, values(&gzip::compress(&text, 1)));
        Ok(Put { landed: Landed::New, acknowledged: true })
    }

    fn judge(&self, _key: Key, _rendered: &Rendered, gz: &[u8]) -> Result<Judged, Setback> {
        let mut state = self.state();
        state.questions += 1;
        if !state.judges {
            return Ok(Judged::Unknown);
        }
        let bad =
            values(gz).iter().any(|line| line["kind"] != "hole" && state.refuses.as_ref().is_some_and(|f| f(line)));
        Ok(if bad && !state.lies { Judged::Bad(Vec::new()) } else { Judged::Well })
    }
}

fn forwarder(world: &World, receiver: &Receiver) -> Forwarder {
    let clock: Arc<dyn Clock> = Arc::new(world.clock.clone());
    let near = crate::forward::dir::Dir::new(world.dir.path(), &TargetOptions::default());
    let targets: Vec<Box<dyn Target>> = vec![Box::new(receiver.clone()), Box::new(near)];
    Forwarder::to(Arc::clone(&world.store), clock, &ForwardOptions::default(), targets, "Kiosk 7")
}

/// A world with one batch of `n` pages waiting.
fn pages(n: usize) -> (World, Receiver, Vec<i64>) {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    let rows = (0..n).map(|_| world.page(a).0).collect();
    (world, Receiver::default(), rows)
}

fn alarms_of(world: &World) -> Vec<(String, String)> {
    world.store.read(alarms::list).unwrap().into_iter().map(|a| (a.code, a.about)).collect()
}

fn codes(report: &Report) -> Vec<&'static str> {
    report.failed.iter().map(|failed| failed.code).collect()
}

fn of_lane(state: &State, lane: &str) -> Vec<Vec<Value>> {
    state.got.iter().filter(|(key, _)| key.contains(lane)).map(|(_, lines)| lines.clone()).collect()
}

#[test]
fn a_batch_that_is_too_large_goes_in_parts_and_later_ones_are_sealed_smaller() {
    for tells in [Some(3_000), None, Some(90_000_000)] {
        let (world, receiver, rows) = pages(300);
        receiver.state().most = Some((3_000, tells));
        let forwarder = forwarder(&world, &receiver);
        assert_eq!(codes(&world.round(&forwarder)), Vec::<&str>::new(), "{tells:?}");
        let state = receiver.state();
        assert_eq!(
            of_lane(&state, "/pages/").iter().map(|lines| seqs(lines)).collect::<Vec<_>>(),
            std::slice::from_ref(&rows)
        );
        let parts = state.puts.iter().filter(|(.., lines)| lines.len() < 300 && !lines.is_empty()).count();
        assert!(parts > 2, "{tells:?}: {parts}");
        drop(state);
        assert_eq!(world.lines(Lane::Pages, 1).len(), 300, "the other target has it whole, under the same number");
        let known = world.store.read(|tx| limits::get(tx, "far", world.clock.now())).unwrap().unwrap();
        assert!(known.body_bytes <= 3_000);
        let a = world.visitor("b", MEASURE);
        let before = receiver.state().puts.len();
        for _ in 0..300 {
            world.page(a);
        }
        let report = world.round(&forwarder);
        assert!(report.sealed.iter().filter(|s| s.lane == Lane::Pages).count() > 3, "sealed within the limit");
        let state = receiver.state();
        assert!(state.puts[before..].iter().all(|(_, part, _)| part.is_none()), "so nothing goes in parts any more");
        assert_eq!(of_lane(&state, "/pages/").iter().map(Vec::len).sum::<usize>(), 600);
        drop(state);
        assert_eq!(forwarder.verify(&|_| ()).unwrap().problems, Vec::new());
    }
}

#[test]
fn each_part_is_an_attempt_and_none_that_begins_after_a_withdrawal_carries_what_it_covers() {
    let (world, receiver, _) = pages(200);
    let b = world.visitor("b", MEASURE);
    let withdrawn = world.page(b).0;
    receiver.state().most = Some((3_000, Some(3_000)));
    let forwarder = forwarder(&world, &receiver);
    let world = Arc::new(world);
    let (other, second) = (Arc::clone(&world), receiver.clone());
    // before the first put is looked at, plan the withdrawal for the second part
    receiver.state().before = Some(Box::new(move || {
        let third = second.clone();
        second.state().before = Some(Box::new(move || {
            third.state().before = Some(Box::new(move || {
                other.decide("b", Action::Withdraw, Purposes::NONE);
            }));
        }));
    }));
    for _ in 0..3 {
        forwarder.run_once(true).unwrap();
    }
    let state = receiver.state();
    let told = state.puts.iter().position(|(.., lines)| lines.iter().any(|line| line["kind"] == "withdrawal"));
    let after = &state.puts[told.unwrap()..];
    for (key, part, lines) in after {
        let carries = lines.iter().any(|line| line["seq"] == withdrawn && line["kind"] != "hole");
        assert!(!carries, "{key} {part:?}");
    }
    let whole = of_lane(&state, "/pages/").concat();
    let line = whole.iter().find(|line| line["seq"] == withdrawn).unwrap();
    assert_eq!((whole.len(), line["reason"].as_str()), (201, Some("withdrawn")));
    let puts = state.puts.iter().filter(|(key, ..)| key.contains("/pages/")).count();
    drop(state);
    let rows = world.store.read(|tx| attempts::count(tx, "far", 1, Lane::Pages, 1)).unwrap();
    assert_eq!(usize::try_from(rows).unwrap(), puts, "a row for each");
}

#[test]
fn a_line_that_is_too_long_by_itself_is_left_out_for_that_target_alone() {
    let (world, receiver, _) = pages(20);
    // a line that hardly shrinks
    let noise: String = (0..400_i64).map(|n| hex(&sha256(&n.to_be_bytes()))).collect();
    let b = world.visitor("b", MEASURE);
    let huge =
        world.pen(move |tx| event_with(tx, b, "page_viewed", Lane::Pages, &format!("{{\"noise\":\"{noise}\"}}"))).0;
    for _ in 0..19 {
        world.page(b);
    }
    receiver.state().most = Some((2_000, Some(2_000)));
    let forwarder = forwarder(&world, &receiver);
    world.round(&forwarder);
    let state = receiver.state();
    let got = of_lane(&state, "/pages/").concat();
    let holes: Vec<&Value> = got.iter().filter(|line| line["kind"] == "hole").collect();
    assert_eq!(
        (got.len(), holes.len(), holes[0]["seq"].as_i64(), holes[0]["reason"].as_str()),
        (40, 1, Some(huge), Some("refused"))
    );
    drop(state);
    assert!(world.lines(Lane::Pages, 1).iter().all(|line| line["kind"] != "hole"), "the other target has the line");
    assert_eq!(alarms_of(&world), [("too_large_line".to_owned(), "far/pages".to_owned())]);
}

#[test]
fn lines_that_a_receiver_names_become_holes_for_it_alone() {
    let (world, receiver, rows) = pages(20);
    let bad = [rows[3], rows[11]];
    receiver.refusing(move |line| bad.contains(&line["seq"].as_i64().unwrap()));
    receiver.state().names_rows = true;
    let forwarder = forwarder(&world, &receiver);
    let report = world.round(&forwarder);
    assert_eq!(
        report
            .sent
            .iter()
            .filter(|s| s.target == "far" && s.key.lane == Lane::Pages)
            .map(|s| s.holes)
            .collect::<Vec<_>>(),
        [2]
    );
    let state = receiver.state();
    let got = of_lane(&state, "/pages/").concat();
    let holes: Vec<i64> = seqs(&got.iter().filter(|line| line["reason"] == "refused").cloned().collect::<Vec<_>>());
    assert_eq!((got.len(), holes, state.questions), (20, bad.to_vec(), 0));
    drop(state);
    assert!(world.lines(Lane::Pages, 1).iter().all(|line| line["kind"] == "event"));
    assert_eq!(world.store.read(refused::totals).unwrap(), [("far".to_owned(), 2)]);
    assert_eq!(alarms_of(&world), [("refused_rows".to_owned(), "far/pages".to_owned())]);
    assert_eq!(forwarder.verify(&|_| ()).unwrap().problems, Vec::new(), "seal and rows are as they were");
}

#[test]
fn lines_that_a_receiver_does_not_name_are_found_by_asking_about_halves() {
    let (world, receiver, rows) = pages(300);
    let bad = [rows[0], rows[150], rows[299]];
    receiver.refusing(move |line| bad.contains(&line["seq"].as_i64().unwrap()));
    receiver.state().judges = true;
    let forwarder = forwarder(&world, &receiver);
    world.round(&forwarder);
    let state = receiver.state();
    let got = of_lane(&state, "/pages/").concat();
    let holes: Vec<i64> = seqs(&got.iter().filter(|line| line["reason"] == "refused").cloned().collect::<Vec<_>>());
    assert_eq!((got.len(), holes), (300, bad.to_vec()));
    assert!((10..60).contains(&state.questions), "{}", state.questions);
    let puts = state.puts.iter().filter(|(key, ..)| key.contains("/pages/")).count();
    let tries = i64::try_from(puts + state.questions).unwrap();
    drop(state);
    let rows = world.store.read(|tx| attempts::count(tx, "far", 1, Lane::Pages, 1)).unwrap();
    assert_eq!(rows, tries, "asking sends lines too: each question is an attempt");
}

#[test]
fn a_receiver_that_neither_names_nor_judges_is_held_with_an_alarm_and_loses_nothing() {
    for (judges, lies) in [(false, false), (true, true)] {
        let (world, receiver, rows) = pages(20);
        let bad = rows[3];
        receiver.refusing(move |line| line["seq"].as_i64() == Some(bad));
        (receiver.state().judges, receiver.state().lies) = (judges, lies);
        let forwarder = forwarder(&world, &receiver);
        let report = forwarder.run_once(true).unwrap();
        assert_eq!(
            (codes(&report), alarms_of(&world)),
            (vec!["not_taken"], vec![("held".to_owned(), "far/pages".to_owned())])
        );
        assert_eq!(receiver.state().questions, 1, "not asked again and again");
        world.clock.advance(15 * MINUTE_MS - 1);
        assert_eq!(forwarder.run_once(false).unwrap().failed, Vec::new(), "looked at slowly");
        world.clock.advance(1);
        receiver.state().refuses = None;
        forwarder.run_once(false).unwrap();
        assert_eq!((seqs(&of_lane(&receiver.state(), "/pages/").concat()), alarms_of(&world)), (rows, vec![]));
    }
}

#[test]
fn too_many_refused_lines_are_a_fault_of_the_receiver_and_hold_the_lane() {
    for (n, bad, taken) in [(20, 3, true), (20, 4, false), (500, 5, true), (500, 6, false)] {
        let (world, receiver, rows) = pages(n);
        let refused: Vec<i64> = rows.iter().step_by(3).take(bad).copied().collect();
        receiver.refusing(move |line| refused.contains(&line["seq"].as_i64().unwrap()));
        receiver.state().names_rows = true;
        let report = forwarder(&world, &receiver).run_once(true).unwrap();
        let expected = if taken { vec![] } else { vec!["too_many_refused"] };
        assert_eq!(
            (codes(&report), receiver.state().got.keys().any(|k| k.contains("pages"))),
            (expected, taken),
            "{bad} of {n}"
        );
        let kept = world.store.read(refused::totals).unwrap();
        assert_eq!(kept.is_empty(), !taken, "what is held is not refused");
    }
}

#[test]
fn a_hundred_refused_lines_in_a_row_hold_the_lane_however_they_are_sealed() {
    let world = World::new();
    let receiver = Receiver::default();
    receiver.refusing(|line| line["kind"] == "event");
    receiver.state().names_rows = true;
    let forwarder = forwarder(&world, &receiver);
    let a = world.visitor("a", MEASURE);
    let mut held = None;
    for n in 1..=102 {
        world.page(a);
        if !forwarder.run_once(true).unwrap().failed.is_empty() {
            held = Some(n);
            break;
        }
    }
    assert_eq!(held, Some(101));
    assert_eq!(world.store.read(refused::totals).unwrap(), [("far".to_owned(), 100)]);
    let dir = world.lane(Lane::Pages);
    assert_eq!(lines_of(&dir.join("000000000101.ndjson.gz"))[0]["kind"], "event");
}
