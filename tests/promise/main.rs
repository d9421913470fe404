//! The promise under every order of things: random short programs of grants, withdrawals, objections, restrictions, releases,
//! lapses, events, seals, puts, retries, lost answers, pulls, crashes and restarts, against a book that is right by looking at it.
//! One program is one interleaving. `pull` is a job that takes what lies at a target and thereby acknowledges it, as of a `dir` target:
//! there is no pull over HTTP. `WAYSIDE_INTERLEAVINGS` = how many programs, `WAYSIDE_SEED` = the first of their seeds; a failure names
//! its seed. What holds after each step: no byte of what is covered in any attempt that began later or in what lies untaken, an event
//! is kept exactly where the book says so, no floor is lower than it was. Every tenth program: the ledger verifies. Every hundredth:
//! what is permitted has arrived and is read, all of it, and every batch's digest, chain and signature hold.
#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod book;
mod tap;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use serde_json::json;
use wayside::base::time::{Clock, DAY_MS, MINUTE_MS};
use wayside::domain::event::Fate;

use crate::book::{Book, Fact, Person};
use crate::tap::Mode;
use crate::world::{World, send};

/// Programs run in one database before all that is permitted must have arrived.
const PER_WORLD: u64 = 100;
/// Steps of one program.
const STEPS: u64 = 10;
/// Visitors of one program, by site.
const PEOPLE: [&str; 5] = ["shop", "shop", "club", "kept", "counted"];
/// Programs between two looks at the ledger.
const PER_LEDGER: u64 = 10;

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

static MARKS: AtomicU64 = AtomicU64::new(0);

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A decision as the model takes it: what is sent, and what the book learns once it is committed.
fn decision(dice: &mut Dice, key: &str) -> (serde_json::Value, fn(&mut Book, &str)) {
    let line = |action: &str, purposes: &[&str]| json!({"visitor": key, "action": action, "purposes": purposes});
    match dice.roll(12) {
        0..=2 => (line("give", &["measure", "share"]), Book::gave_both),
        3 => (line("give", &["measure"]), Book::gave_measure),
        4 | 5 => (line("withdraw", &["measure"]), Book::measure_taken_back),
        6 => (line("withdraw", &["share"]), Book::share_taken_back),
        7 => (line("refuse", &[]), Book::measure_taken_back),
        // where measuring rests on legitimate interest an objection takes it away
        8 => (line("object", &[]), |book, key| {
            if book.people[key].site == "club" {
                book.measure_taken_back(key);
            }
        }),
        9 | 10 => (line("restrict", &[]), |book, key| book.restrict(key, true)),
        _ => (line("release", &[]), |book, key| book.restrict(key, false)),
    }
}

fn decide(world: &World, dice: &mut Dice, key: &str, site: &str) {
    world.clock.advance(1);
    let (line, learn) = decision(dice, key);
    let outcome = send(&world.ingest(), &world.clock, site, std::slice::from_ref(&line)).remove(0);
    assert_eq!(outcome.fate, Fate::Accepted, "{line}: {:?}", outcome.problem);
    learn(&mut world.book(), key);
}

fn event(world: &World, key: &str, site: &'static str) {
    let marker = format!("m{:08x}z", MARKS.fetch_add(1, Ordering::Relaxed));
    world.clock.advance(1);
    let line = json!({"visitor": key, "name": "page_viewed", "url": format!("https://shop.example/{marker}")});
    let outcome = send(&world.ingest(), &world.clock, site, &[line]).remove(0);
    let mut book = world.book();
    let person = &book.people[key];
    let wanted = if person.is_measured() { Fate::Accepted } else { Fate::Counted };
    assert_eq!(outcome.fate, wanted, "{key}: {person:?}, {:?}", outcome.refusal);
    if wanted == Fate::Counted {
        book.refused.insert(marker);
        return;
    }
    let fact = Fact { shared: person.share, measure_gone: false, share_gone: false, restricted: false };
    book.facts.insert(marker.clone(), fact);
    book.people.get_mut(key).unwrap().events.push(marker);
}

/// A decision that comes while the bytes of a put are under way: that put may carry them, no later one.
fn decide_during_the_next_put(world: &World, dice: &mut Dice, key: &str, site: &'static str) {
    let (line, learn) = decision(dice, key);
    let (ingest, clock, book, key) = (world.ingest(), world.clock.clone(), Arc::clone(&world.book), key.to_owned());
    let tap = &world.taps[usize::try_from(dice.roll(2)).unwrap()];
    tap.state().between = Some(Box::new(move || {
        clock.advance(1);
        let outcome = send(&ingest, &clock, site, &[line]).remove(0);
        assert_eq!(outcome.fate, Fate::Accepted);
        learn(&mut book.lock().unwrap_or_else(PoisonError::into_inner), &key);
    }));
    world.round();
    tap.state().between = None;
}

fn step(world: &mut World, dice: &mut Dice, people: &[(String, &'static str)]) {
    let (key, site) = people[usize::try_from(dice.roll(people.len() as u64)).unwrap()].clone();
    match dice.roll(1_000) {
        0..=319 => event(world, &key, site),
        320..=599 => decide(world, dice, &key, site),
        600..=629 => {
            world.clock.advance(40 * DAY_MS);
            people.iter().for_each(|(key, _)| world.book().lapsed(key));
        }
        630..=709 => {
            world.forwarder(&[]).run_once(true).unwrap();
        }
        710..=819 => {
            for tap in &world.taps {
                tap.state().mode = [Mode::Acknowledges, Mode::Keeps, Mode::LosesAnswer, Mode::Refuses]
                    [usize::try_from(dice.roll(4)).unwrap()];
            }
            world.round();
        }
        820..=899 => decide_during_the_next_put(world, dice, &key, site),
        900..=929 => world.taps[usize::try_from(dice.roll(2)).unwrap()].take(),
        930..=954 => world.upkeep(),
        955..=991 => world.clock.advance(25 * MINUTE_MS),
        992..=994 => world.reopen(),
        _ => world.crash(),
    }
    world.expect_floors_stand(site, &key);
}

/// Everything works again for a while: then what is permitted is there, at whom it may go to, and nothing else lies there.
fn settle(world: &mut World, people: &[(String, &'static str)]) {
    for tap in &world.taps {
        tap.state().mode = Mode::Keeps;
    }
    for _ in 0..2 {
        world.clock.advance(25 * MINUTE_MS);
        world.upkeep();
        world.round();
    }
    for tap in &world.taps {
        tap.look();
        let arrived = tap.arrived();
        let third_party = tap.name == "third";
        for (marker, fact) in &world.book().facts {
            assert!(
                !fact.leaves(third_party) || arrived.contains(marker),
                "{marker} never came to {}: {fact:?}",
                tap.name
            );
        }
    }
    for (key, site) in people {
        world.expect_reads(site, key);
        world.expect_floors_stand(site, key);
    }
    let found = world.forwarder(&world.taps).verify(&|_| ()).unwrap();
    assert_eq!(found.problems, Vec::new());
    world.expect_the_ledger_holds();
}

/// One database, some programs in it.
fn run(first_seed: u64, programs: u64, counts: &[AtomicU64; 2]) {
    let mut world = World::new();
    let mut everybody = Vec::new();
    for seed in first_seed..first_seed + programs {
        let mut dice = Dice(seed);
        let people: Vec<(String, &'static str)> =
            PEOPLE.iter().enumerate().map(|(i, site)| (format!("p{seed}-{i}"), *site)).collect();
        for (key, site) in &people {
            world.book().people.insert(key.clone(), Person { site, ..Person::default() });
        }
        for _ in 0..STEPS {
            step(&mut world, &mut dice, &people);
        }
        everybody.extend(people);
        if (seed - first_seed) % PER_LEDGER == PER_LEDGER - 1 {
            world.expect_the_ledger_holds();
        }
    }
    settle(&mut world, &everybody);
    for tap in &world.taps {
        counts[0].fetch_add(tap.state().puts, Ordering::Relaxed);
        counts[1].fetch_add(tap.state().renewed, Ordering::Relaxed);
    }
    world.close();
}

#[test]
fn no_order_of_things_breaks_the_promise() {
    let total = env("WAYSIDE_INTERLEAVINGS", 10_000);
    let began = wayside::base::time::SystemClock.now();
    let first = env("WAYSIDE_SEED", u64::try_from(began.0).unwrap() << 16);
    let counts = [AtomicU64::new(0), AtomicU64::new(0)];
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    println!("{total} programs from WAYSIDE_SEED={first}");
    let worker = || {
        loop {
            let from = next.fetch_add(PER_WORLD, Ordering::Relaxed);
            if from >= total {
                return;
            }
            let seed = first + from;
            let programs = PER_WORLD.min(total - from);
            let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed, programs, &counts)));
            if let Err(panic) = ran {
                eprintln!("again with WAYSIDE_SEED={seed} WAYSIDE_INTERLEAVINGS={programs}");
                std::panic::resume_unwind(panic);
            }
            done.fetch_add(programs, Ordering::Relaxed);
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(worker);
        }
    });
    let [puts, renewed] = counts.map(AtomicU64::into_inner);
    println!(
        "{} programs, {puts} puts, {renewed} renewals, {} ms",
        done.into_inner(),
        wayside::base::time::SystemClock.now().since(began)
    );
    assert!(puts > total && (total < 1_000 || renewed > 0), "it must have been put to the test: {puts} puts");
}
