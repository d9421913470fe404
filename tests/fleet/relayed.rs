//! A fleet behind a relay: edges put to it, it passes on, a job pulls from it; every hop loses, doubles and delays, every
//! machine stops anywhere. In a third of the runs the relay's disk is put back, in a third edges' disks and backups are, in a
//! third edges' disks are put back and copied. What holds at the end is asked of the final receiver and of the job's folder.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use wayside::base::time::{Clock, HOUR_MS, MINUTE_MS};

use crate::machine::Machine;
use crate::puller::{Gap, Puller};
use crate::relay::{Relay, Stop};
use crate::upstream::Upstream;
use crate::wire::{Fault, Receiver};
use crate::{Counts, Dice, EDGES, MACHINES_MAX, PEOPLE, Run, STEPS, expect_once, up};

pub struct Relayed {
    done: Arc<Mutex<Vec<String>>>,
    machines: Vec<Machine>,
    relay: Arc<Relay>,
    upstream: Arc<Mutex<Upstream>>,
    puller: Puller,
    dice: Dice,
    events: u64,
    back: Back,
}

/// Which disks are put back, or copied, in one run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Back {
    Relay,
    Backups,
    Copies,
}

impl Relayed {
    fn new(seed: u64, done: Arc<Mutex<Vec<String>>>) -> Relayed {
        let upstream = Arc::new(Mutex::new(Upstream::default()));
        let relay = Arc::new(Relay::to(upstream.clone()));
        let to: Arc<dyn Receiver> = relay.clone();
        let machines: Vec<Machine> = (0..EDGES).map(|i| Machine::new(&format!("edge{i}"), Arc::clone(&to))).collect();
        machines.iter().for_each(|edge| relay.admit(edge));
        let (puller, mut dice) = (Puller::from(&relay), Dice(seed));
        let back = *dice.pick(&[Back::Relay, Back::Backups, Back::Copies]);
        Relayed { done, machines, relay, upstream, puller, dice, events: 0, back }
    }

    fn tell(&self, what: String) {
        self.done.lock().unwrap().push(what);
    }

    fn step(&mut self, counts: &Counts) {
        let at = usize::try_from(self.dice.roll(self.machines.len() as u64)).unwrap();
        self.machines[at].clock.advance(1_000);
        self.relay.machine().clock.advance(500);
        let person = format!("p{}", self.dice.roll(PEOPLE));
        let other = format!("p{}", self.dice.roll(PEOPLE - 1));
        let roll = self.dice.roll(120);
        match roll {
            0..=31 => {
                for _ in 0..=self.dice.roll(4) {
                    self.events += 1;
                    let marker = format!("m{:08x}z", self.events);
                    self.tell(format!("edge{at}: {person} {marker}"));
                    self.machines[at].event(&person, &marker);
                }
            }
            32..=37 => {
                self.tell(format!("edge{at}: {other} withdraws"));
                self.machines[at].withdraw(&other);
                up(&counts.rights);
            }
            38 | 39 => {
                self.tell(format!("edge{at}: {other} is erased"));
                self.machines[at].erase(&other);
                up(&counts.rights);
            }
            40..=61 => self.edge_round(at, counts),
            62..=73 => self.relay_round(counts),
            74..=87 => {
                let (gap, after) = (*self.dice.pick(&Gap::ALL), self.dice.roll(9));
                self.tell(format!("job: {gap:?} after {after}"));
                let stopped = self.puller.pull(gap, after);
                up(if gap == Gap::None { &counts.puts } else { &counts.faults });
                if stopped {
                    up(&counts.crashes);
                }
            }
            88..=91 => self.machines[at].wire.deliver_late(&mut self.dice),
            92 | 93 => self.relay.machine().wire.deliver_late(&mut self.dice),
            94 | 95 => self.puller.deliver_late(&mut self.dice),
            96 => self.machines[at].upkeep(),
            97 => self.machines[at].clock.advance(25 * MINUTE_MS),
            98 => self.machines[at].clock.advance(-2 * HOUR_MS),
            99 => self.relay.machine().clock.advance(if self.dice.roll(2) == 0 { -HOUR_MS } else { HOUR_MS }),
            100 => self.look_after(counts),
            101 => self.relay.machine().reopen(),
            102 => self.machines[at].reopen(),
            _ => self.disk(at, roll, counts),
        }
    }

    fn edge_round(&mut self, at: usize, counts: &Counts) {
        let (fault, after) = (*self.dice.pick(&Fault::ALL), self.dice.roll(4));
        let (stop, later) = (*self.dice.pick(&Stop::ALL), self.dice.roll(6));
        self.tell(format!("edge{at}: a round, {fault:?} after {after}; the relay stops {stop:?} after {later}"));
        self.relay.plan(stop, later);
        let machine = &mut self.machines[at];
        machine.wire.plan(fault, after);
        if machine.round(false) {
            up(&counts.forks);
        }
        self.relay.plan(Stop::Never, 0);
        up(if fault == Fault::None { &counts.puts } else { &counts.faults });
        if machine.resume_after_crash() {
            up(&counts.crashes);
        }
    }

    fn relay_round(&mut self, counts: &Counts) {
        let (fault, after) = (*self.dice.pick(&Fault::ALL), self.dice.roll(4));
        self.tell(format!("relay: a round, {fault:?} after {after}"));
        let mut machine = self.relay.machine();
        machine.wire.plan(fault, after);
        machine.round(true);
        up(if fault == Fault::None { &counts.puts } else { &counts.faults });
        if machine.resume_after_crash() {
            up(&counts.crashes);
        }
        drop(machine);
        if self.dice.roll(3) == 0 {
            self.look_after(counts);
        }
    }

    /// The relay gives holes to what lies there, and lets go what everybody has.
    fn look_after(&self, counts: &Counts) {
        self.tell("relay: looks after what lies there".to_owned());
        let (relay, now) = (Arc::clone(&self.relay.app().relay), self.relay.machine().clock.now());
        relay.sweep().unwrap();
        let gone = relay.release(now).unwrap();
        counts.released.fetch_add(u64::try_from(gone).unwrap(), Ordering::Relaxed);
    }

    /// Something becomes of a disk.
    fn disk(&mut self, at: usize, roll: u64, counts: &Counts) {
        let back = self.back;
        let (count, made) = (self.machines.len(), format!("edge{}", self.machines.len()));
        let machine = &mut self.machines[at];
        let what = match roll {
            103 => {
                machine.crash();
                up(&counts.crashes);
                format!("edge{at}: stops at once")
            }
            104 => {
                self.relay.machine().crash();
                up(&counts.crashes);
                "relay: stops at once".to_owned()
            }
            105..=110 if back == Back::Relay => {
                self.relay.take_snapshot();
                "relay: a snapshot".to_owned()
            }
            111.. if back == Back::Relay && self.relay.put_back() => {
                up(&counts.put_back);
                "relay: its disk is put back".to_owned()
            }
            105..=107 if back == Back::Backups => {
                machine.back_up();
                format!("edge{at}: a backup")
            }
            108..=110 if back == Back::Backups && machine.restore() => {
                up(&counts.restores);
                format!("edge{at}: a backup is put back")
            }
            111..=113 if back != Back::Relay => {
                machine.take_snapshot();
                format!("edge{at}: a snapshot")
            }
            114..=116 if back != Back::Relay && machine.put_back() => {
                up(&counts.put_back);
                format!("edge{at}: the disk is put back")
            }
            117.. if back == Back::Copies && count < MACHINES_MAX => {
                let copy = machine.cloned(&made, self.relay.clone());
                self.machines.push(copy);
                up(&counts.copies);
                format!("edge{at}: the disk is copied")
            }
            _ => return,
        };
        self.tell(what);
    }

    /// The network is well again, the operator says who goes on, and everything that may leave is there once: at the
    /// upstream, and with the job.
    fn settle(mut self, counts: &Counts) {
        for n in 0..4 {
            for machine in &mut self.machines {
                machine.wire.plan(Fault::None, 0);
                machine.clock.advance(30 * MINUTE_MS);
                machine.upkeep();
                if machine.round(n > 0) {
                    up(&counts.forks);
                }
            }
            self.relay.resolve();
            let mut relay = self.relay.machine();
            relay.wire.plan(Fault::None, 0);
            relay.clock.advance(30 * MINUTE_MS);
            relay.round(true);
            drop(relay);
            self.puller.pull(Gap::None, 0);
        }
        expect_once(&self.machines, &self.upstream.lock().unwrap(), "upstream", counts);
        expect_once(&self.machines, &self.puller.shelf(), "the job's folder", counts);
        self.puller.close();
        self.machines.into_iter().for_each(Machine::close);
        Arc::into_inner(self.relay).expect("nobody asks it any more").close();
    }
}

impl Run for Relayed {
    const FLEETS: u64 = 40;
    const RELEASES: bool = true;

    fn run(seed: u64, counts: &Counts, done: &Arc<Mutex<Vec<String>>>) {
        let mut fleet = Relayed::new(seed, Arc::clone(done));
        for _ in 0..STEPS {
            fleet.step(counts);
        }
        fleet.tell("settles".to_owned());
        fleet.settle(counts);
    }
}
