//! A small fleet under everything that goes wrong on the way upstream: requests and answers lost, doubled, late and out of
//! order, crashes at every step of a put, restarts, backups put back, whole disks put back or copied to another machine, clocks
//! set, withdrawals and erasures. Real databases in files, one process, a network made of dice. One seed is one run:
//! `WAYSIDE_FLEETS` = how many (50, and 40 behind a relay), `WAYSIDE_SEED` = the first of their seeds (1, so that a commit is
//! judged by the same runs everywhere); a failure names its seed. What holds in each attempt: no byte of what the sending machine
//! knows to be withdrawn or erased. What holds at the end, when the network is well again: every accepted row that may leave is
//! upstream once by its event's id and once by its origin, what was withdrawn is not to be seen there, chains hold. Where two
//! databases wrote as one edge an alarm says so, and once one of them has given way the same holds. Left out, because no receiver
//! can tell: a disk that was copied gets a backup put back before anybody found that it was (a restore keeps origins as they are).
#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod machine;
mod puller;
mod relay;
mod relayed;
mod upstream;
mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use wayside::base::time::{Clock, HOUR_MS, MINUTE_MS, SystemClock};

use crate::machine::Machine;
use crate::relayed::Relayed;
use crate::upstream::Upstream;
use crate::wire::Fault;

/// Steps of one run.
const STEPS: u64 = 60;
/// Edges of one run.
const EDGES: usize = 2;
/// Machines of one run, copies included.
const MACHINES_MAX: usize = 4;
/// People of one edge; the last of them never exercises a right.
const PEOPLE: u64 = 4;

/// splitmix64.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.roll(all.len() as u64)).unwrap()]
    }
}

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// How often things happened, over all runs: a proof that nothing was put to the test is none.
#[derive(Default)]
pub struct Counts {
    puts: AtomicU64,
    faults: AtomicU64,
    crashes: AtomicU64,
    restores: AtomicU64,
    put_back: AtomicU64,
    copies: AtomicU64,
    forks: AtomicU64,
    rights: AtomicU64,
    released: AtomicU64,
    rows: AtomicU64,
}

fn up(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

struct Fleet {
    /// What was done so far, to be told when it fails.
    done: Arc<Mutex<Vec<String>>>,
    machines: Vec<Machine>,
    upstream: Arc<Mutex<Upstream>>,
    dice: Dice,
    /// Makes markers of events differ.
    events: u64,
}

impl Fleet {
    fn new(seed: u64, done: Arc<Mutex<Vec<String>>>) -> Fleet {
        let upstream = Arc::new(Mutex::new(Upstream::default()));
        let machines = (0..EDGES).map(|i| Machine::new(&format!("edge{i}"), upstream.clone())).collect();
        Fleet { done, machines, upstream, dice: Dice(seed), events: 0 }
    }

    fn step(&mut self, counts: &Counts) {
        let dice = &mut self.dice;
        let at = usize::try_from(dice.roll(self.machines.len() as u64)).unwrap();
        let machine = &mut self.machines[at];
        machine.clock.advance(1_000);
        let person = format!("p{}", dice.roll(PEOPLE));
        let other = format!("p{}", dice.roll(PEOPLE - 1));
        let (roll, done) = (dice.roll(108), Arc::clone(&self.done));
        let tell = |what: &str| done.lock().unwrap().push(format!("edge{at}: {what}"));
        match roll {
            0..=39 => {
                for _ in 0..=dice.roll(4) {
                    self.events += 1;
                    tell(&format!("{person} m{:08x}z", self.events));
                    machine.event(&person, &format!("m{:08x}z", self.events));
                }
            }
            40..=45 => {
                tell(&format!("{other} withdraws"));
                machine.withdraw(&other);
                up(&counts.rights);
            }
            46 | 47 => {
                tell(&format!("{other} is erased"));
                machine.erase(&other);
                up(&counts.rights);
            }
            48..=79 => {
                let (fault, after) = (*dice.pick(&Fault::ALL), dice.roll(4));
                tell(&format!("a round, {fault:?} after {after}"));
                machine.wire.plan(fault, after);
                if machine.round(false) {
                    up(&counts.forks);
                }
                up(if fault == Fault::None { &counts.puts } else { &counts.faults });
                if machine.resume_after_crash() {
                    up(&counts.crashes);
                }
            }
            80..=84 => machine.wire.deliver_late(dice),
            85 => machine.upkeep(),
            86..=88 => machine.clock.advance(25 * MINUTE_MS),
            89 => machine.clock.advance(-2 * HOUR_MS),
            90..=92 => machine.reopen(),
            _ => self.disk(at, roll, counts),
        }
    }

    /// Something becomes of a machine's disk.
    fn disk(&mut self, at: usize, roll: u64, counts: &Counts) {
        let (count, made) = (self.machines.len(), format!("edge{}", self.machines.len()));
        let machine = &mut self.machines[at];
        let what = match roll {
            93 | 94 => {
                machine.crash();
                up(&counts.crashes);
                "stops at once"
            }
            95..=97 => {
                machine.back_up();
                "a backup"
            }
            98 | 99 if !machine.has_copies() && machine.restore() => {
                up(&counts.restores);
                "a backup is put back"
            }
            100..=102 => {
                machine.take_snapshot();
                "a snapshot"
            }
            103..=105 if machine.put_back() => {
                up(&counts.put_back);
                "the disk is put back"
            }
            106.. if count < MACHINES_MAX => {
                let copy = machine.cloned(&made, self.upstream.clone());
                self.machines.push(copy);
                up(&counts.copies);
                "the disk is copied"
            }
            _ => return,
        };
        self.done.lock().unwrap().push(format!("edge{at}: {what}"));
    }

    /// The network is well again, and whoever must gives way: then everything that may leave is there, once.
    fn settle(mut self, counts: &Counts) {
        for _ in 0..3 {
            for machine in &mut self.machines {
                machine.wire.plan(Fault::None, 0);
                machine.clock.advance(30 * MINUTE_MS);
                machine.upkeep();
                if machine.round(true) {
                    up(&counts.forks);
                }
            }
        }
        expect_once(&self.machines, &self.upstream.lock().unwrap(), "upstream", counts);
        self.machines.into_iter().for_each(Machine::close);
    }
}

/// Everything that may leave stands there once, chains hold, what was withdrawn or erased is not to be seen.
fn expect_once(machines: &[Machine], there: &Upstream, place: &str, counts: &Counts) {
    there.expect_chains_hold();
    let seen = there.seen();
    for machine in machines {
        let (book, exercised) = (machine.book(), machine.exercised.lock().unwrap());
        for (marker, covered) in &book.rows {
            let times = seen.get(marker).copied().unwrap_or(0);
            // what another copy of this disk knows may hide it there, what it does not know may have brought it there
            let copied = machine.has_copies();
            let wanted = match covered {
                true => 0..=usize::from(copied),
                false => usize::from(!exercised.contains(&book.of[marker]))..=1,
            };
            assert!(
                wanted.contains(&times),
                "{marker} of {} stands {times} times in {place}, covered: {covered}{}",
                machine.name,
                there.explain(marker)
            );
            counts.rows.fetch_add(times as u64, Ordering::Relaxed);
        }
    }
    let twice = seen.iter().find(|(_, times)| **times != 1);
    assert!(twice.is_none(), "{twice:?} stands in {place} more than once{}", there.explain(twice.unwrap().0));
}

/// One kind of fleet.
trait Run {
    /// How many, without a wish for more.
    const FLEETS: u64;
    /// Something is removed once it was passed on.
    const RELEASES: bool;

    /// One run by one seed; fails where something does not hold.
    fn run(seed: u64, counts: &Counts, done: &Arc<Mutex<Vec<String>>>);
}

impl Run for Fleet {
    const FLEETS: u64 = 50;
    const RELEASES: bool = false;

    fn run(seed: u64, counts: &Counts, done: &Arc<Mutex<Vec<String>>>) {
        let mut fleet = Fleet::new(seed, Arc::clone(done));
        for _ in 0..STEPS {
            fleet.step(counts);
        }
        fleet.settle(counts);
    }
}

#[test]
fn every_row_that_may_leave_arrives_once_whatever_goes_wrong() {
    all::<Fleet>("fleets");
}

#[test]
fn every_row_that_may_leave_arrives_once_behind_a_relay_and_with_the_job_that_pulls_from_it() {
    all::<Relayed>("fleets behind a relay");
}

fn all<R: Run>(what: &str) {
    let total = env("WAYSIDE_FLEETS", R::FLEETS);
    let began = SystemClock.now();
    let first = env("WAYSIDE_SEED", 1);
    // without a wish for more, a minute is enough
    let patience_ms = if std::env::var_os("WAYSIDE_FLEETS").is_some() { i64::MAX } else { MINUTE_MS };
    let (counts, next, done) = (Counts::default(), AtomicU64::new(0), AtomicU64::new(0));
    println!("{total} {what} from WAYSIDE_SEED={first}");
    let worker = || {
        loop {
            let seed = first + next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + total || SystemClock.now().since(began) > patience_ms {
                return;
            }
            let steps = Arc::default();
            let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| R::run(seed, &counts, &steps)));
            if let Err(panic) = ran {
                eprintln!("{}", steps.lock().unwrap_or_else(PoisonError::into_inner).join("\n"));
                eprintln!("again with WAYSIDE_SEED={seed} WAYSIDE_FLEETS=1");
                std::panic::resume_unwind(panic);
            }
            up(&done);
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(worker);
        }
    });
    let done = done.into_inner();
    let all = [
        (counts.puts, "good rounds"),
        (counts.faults, "bad ones"),
        (counts.crashes, "crashes"),
        (counts.restores, "backups and"),
        (counts.put_back, "disks put back"),
        (counts.copies, "disks copied"),
        (counts.forks, "forks"),
        (counts.rights, "withdrawals and erasures"),
        (counts.rows, "rows arrived"),
        (counts.released, "batches removed where they were passed on"),
    ]
    .map(|(count, what)| (count.into_inner(), what));
    let told: Vec<String> = all.iter().map(|(n, what)| format!("{n} {what}")).collect();
    println!("{done} {what}, {}, {} ms", told.join(", "), SystemClock.now().since(began));
    assert!(done > 0, "a minute was not enough for one");
    if done >= 20 {
        let tested = if R::RELEASES { &all[..] } else { &all[..all.len() - 1] };
        assert!(tested.iter().all(|(n, _)| *n > 0), "it must have been put to the test");
    }
}
