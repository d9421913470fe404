//! Random histories against a list in memory: what was accepted is there once, and counts of visits equal their rows.
//! Must never depend on luck: the seed is in every message. Invariant: any order of requests, jobs and restarts holds.

use std::collections::HashMap;
use std::sync::mpsc::channel;

use serde_json::{Value, json};

use super::support::*;
use crate::base::id::{Seq, random_bytes};
use crate::base::time::{Clock, MINUTE_MS};
use crate::domain::consent::{Purposes, Refusal};
use crate::domain::event::{Act, Fate};
use crate::domain::visit::Visit;
use crate::ingest::accept::Format;
use crate::ingest::shape::Authority;

struct Dice {
    state: u64,
    seed: u64,
}

impl Dice {
    fn new() -> Dice {
        let seed = u64::from_be_bytes(random_bytes()) | 1;
        Dice { state: seed, seed }
    }

    fn below(&mut self, n: i64) -> i64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        i64::try_from((self.state >> 20) % u64::try_from(n).unwrap()).unwrap()
    }
}

const VISITORS: [&str; 4] = ["a", "b", "c", "d"];

/// What should be there.
#[derive(Default)]
struct Model {
    /// Number and name of each accepted event, by id.
    stored: HashMap<String, (Seq, String)>,
    counted: i64,
    sent: Vec<(String, Value)>,
}

/// A random event: mostly fresh, now and then an old one again.
fn event(dice: &mut Dice, world: &World, model: &mut Model) -> (String, Value) {
    if !model.sent.is_empty() && dice.below(6) == 0 {
        let which = dice.below(model.sent.len() as i64) as usize;
        return model.sent[which].clone();
    }
    let visitor = VISITORS[dice.below(4) as usize];
    let key = model.sent.len().to_string();
    let late = [0, 0, 0, 1, 7, 25, 90][dice.below(7) as usize] * MINUTE_MS;
    let mut fresh = match dice.below(10) {
        0 => json!({"visitor": visitor, "name": "visit_ended"}),
        1 => json!({"visitor": visitor, "name": "screen_viewed", "screen": "s"}),
        2 => json!({"visitor": visitor, "name": "PageExited"}),
        3 => json!({"visitor": visitor, "name": "SignIn"}),
        4 => json!({"visitor": visitor, "name": "scroll"}),
        5 => with(page(visitor, "/"), json!({"referrer": format!("https://r{}.example/", dice.below(3))})),
        _ => page(visitor, &format!("/{}", dice.below(9))),
    };
    if dice.below(5) == 0 {
        fresh["visitId"] = json!(format!("{visitor}{}", dice.below(2)));
    }
    let made = (key.clone(), at(id(fresh, &key), world.clock.now().plus(-late)));
    model.sent.push(made.clone());
    made
}

fn learn(model: &mut Model, sent: &(String, Value), outcome: &crate::ingest::record::Outcome, told: &str) {
    let (key, event) = sent;
    match outcome.fate {
        Fate::Accepted => {
            let name = event["name"].as_str().unwrap().to_owned();
            let before = model.stored.insert(key.clone(), (outcome.seq.unwrap(), name));
            assert!(before.is_none(), "{key} was taken twice, {told}");
        }
        Fate::Duplicate => assert_eq!(outcome.seq, Some(model.stored[key].0), "{key}, {told}"),
        Fate::Counted => assert!(!model.stored.contains_key(key) || outcome.refusal.is_some(), "{key}, {told}"),
        other => panic!("{other:?} of {key}: {outcome:?}, {told}"),
    }
}

fn check_visit(world: &World, visit: &Visit, told: &str) -> usize {
    let events = world.events(visit);
    let pages = world.pages(visit);
    let told = format!("{visit:?}, {told}");
    assert_eq!(visit.event_count, events.len() as i64, "{told}");
    let screens = pages.iter().filter(|p| p.screen.is_some()).count();
    assert_eq!((visit.screen_count, visit.page_count), (screens as i64, (pages.len() - screens) as i64), "{told}");
    let entering = events.iter().filter(|e| Act::of(&e.name) == Act::PageEntered).count();
    assert_eq!(entering, pages.len(), "{told}");
    // a signal that came when its visit was over is kept with it, and moves nothing
    let active = || events.iter().filter(|e| Act::of(&e.name).is_activity()).map(|e| e.corrected);
    assert!(visit.started >= events.iter().map(|e| e.corrected).min().unwrap(), "{told}");
    assert!(active().min().is_none_or(|first| visit.started <= first), "{told}");
    let active = active().max();
    assert!(active.is_none_or(|active| visit.last_active >= active), "{told}");
    assert!(visit.end.is_none_or(|(end, _)| end >= visit.last_active), "{told}");
    assert!(visit.last_seq >= events.last().unwrap().seq, "{told}");
    let flags = events.iter().fold(Purposes::ALL, |flags, e| flags.and(e.rights.flags));
    assert_eq!(visit.rights.flags, flags, "{told}");
    if visit.client_visit.is_some() {
        assert!(visit.last_active.since(visit.started) < world.config.visits.named_ms(), "{told}");
    }
    assert_eq!(visit.entry_page.is_some(), !pages.is_empty(), "{told}");
    assert!(
        pages.iter().all(|p| p.dwell_ms.is_none_or(|ms| ms >= 0 && p.exited == Some(p.entered.plus(ms)))),
        "{told}"
    );
    events.len()
}

fn check(world: &World, model: &Model, told: &str) {
    let mut rows = 0;
    for key in VISITORS {
        let Some(visitor) = world.visitor(key) else { continue };
        let visits = world.visits(key);
        assert_eq!(visitor.visit_count, visits.len() as i64, "{key}, {told}");
        let sum = |f: &dyn Fn(&Visit) -> i64| visits.iter().map(f).sum::<i64>();
        assert_eq!(visitor.event_count, sum(&|v| v.event_count), "{key}, {told}");
        assert_eq!(visitor.page_count, sum(&|v| v.page_count + v.screen_count), "{key}, {told}");
        rows += visits.iter().map(|visit| check_visit(world, visit, told)).sum::<usize>();
    }
    assert_eq!(rows, model.stored.len(), "{told}");
    assert_eq!(world.totals(), (model.stored.len() as i64, model.counted), "{told}");
}

/// A request of several events, or several requests of one each that the pen meets as one group.
fn step(dice: &mut Dice, world: &World, model: &mut Model, told: &str) {
    let events: Vec<_> = (0..1 + dice.below(6)).map(|_| event(dice, world, model)).collect();
    let together = dice.below(2) == 0;
    let outcomes = if together {
        world.post(events.iter().map(|(_, event)| event.clone()).collect())
    } else {
        let (send, receive) = channel();
        for (n, (_, event)) in events.iter().enumerate() {
            let (send, arrived) = (send.clone(), world.arrived(Authority::Public));
            let done = move |answer: crate::base::error::Result<crate::ingest::accept::Answer>| {
                send.send((n, answer.unwrap().outcomes.remove(0))).unwrap();
            };
            world.ingest().accept(event.to_string().as_bytes(), Format::Json, &arrived, done).unwrap();
            if dice.below(4) == 0 {
                // a job that fails after it wrote: its group is rolled back and replayed
                let failing = |tx: &crate::store::WriteTx<'_>| {
                    tx.next_seq();
                    Err::<(), _>(crate::base::error::Error::conflict("after it wrote"))
                };
                world.store().pen().submit(1, failing, |_| ()).unwrap();
            }
        }
        let mut all: Vec<_> = (0..events.len()).map(|_| receive.recv().unwrap()).collect();
        all.sort_by_key(|(n, _)| *n);
        all.into_iter().map(|(_, outcome)| outcome).collect()
    };
    for (sent, outcome) in events.iter().zip(&outcomes) {
        learn(model, sent, outcome, told);
    }
}

#[test]
fn whatever_the_order_counts_equal_rows_and_nothing_is_taken_twice() {
    let mut dice = Dice::new();
    for round in 0..4 {
        let mut world = World::measuring();
        let mut model = Model::default();
        for n in 0..60 {
            let told = format!("seed {}, round {round}, step {n}", dice.seed);
            world.clock.advance(dice.below(30) * MINUTE_MS / 2);
            step(&mut dice, &world, &mut model, &told);
            if dice.below(12) == 0 {
                world.reopen();
            }
            if n % 20 == 19 {
                check(&world, &model, &told);
            }
        }
    }
}

#[test]
fn whatever_the_order_a_no_holds() {
    let mut dice = Dice::new();
    let told = format!("seed {}", dice.seed);
    let mut world = World::new();
    let mut model = Model::default();
    let mut allowed: HashMap<&str, bool> = HashMap::new();
    let mut counted_ids = std::collections::HashSet::new();
    for n in 0..150 {
        world.clock.advance(dice.below(5) * MINUTE_MS + 1);
        let visitor = VISITORS[dice.below(4) as usize];
        match dice.below(6) {
            0 => {
                world.give(visitor, Purposes::MEASURE);
                allowed.insert(visitor, true);
            }
            1 => {
                world.withdraw(visitor, Purposes::NONE);
                allowed.insert(visitor, false);
            }
            2 => world.reopen(),
            _ => {
                let key = n.to_string();
                let outcome = world.send(id(page(visitor, "/"), &key));
                let may = allowed.get(visitor).copied().unwrap_or(false);
                let expected = if may { Fate::Accepted } else { Fate::Counted };
                assert_eq!(outcome.fate, expected, "step {n}, {told}");
                if may {
                    model.stored.insert(key, (outcome.seq.unwrap(), "page_viewed".to_owned()));
                    let floor = world.visitor(visitor).unwrap().measure_floor;
                    assert!(outcome.seq.unwrap() > floor && world.event(outcome.seq).visit_id > floor.0, "{told}");
                } else {
                    let known = allowed.contains_key(visitor);
                    let why = if known { Refusal::Denied } else { Refusal::NoDecision };
                    assert_eq!(outcome.refusal, Some(why), "step {n}, {told}");
                    counted_ids.insert(key);
                }
            }
        }
    }
    model.counted = counted_ids.len() as i64;
    check(&world, &model, &told);
}
