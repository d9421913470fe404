//! What every fault needs: seeded dice, bounded waiting, and words that are seen even where a test passes.
//! Must never wait without a bound. Invariant: the same seed gives the same dice.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Longest wait for something that must come.
const PATIENCE: Duration = Duration::from_secs(150);

/// A generator whose whole state is one number.
pub struct Dice(u64);

impl Dice {
    /// Dice of this run; `turn` keeps their throws apart from those of others.
    pub fn new(turn: u64) -> Dice {
        let mut dice = Dice(seed() ^ turn.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        dice.next();
        dice
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// From `low` to `high` milliseconds.
    pub fn ms(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(low + self.below(high - low + 1))
    }
}

/// The seed of this run: `WAYSIDE_FAULT_SEED`, else a random one; told either way.
fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| {
        let given = std::env::var("WAYSIDE_FAULT_SEED").ok();
        let seed = given.map_or_else(
            || u64::from_be_bytes(wayside::base::id::random_bytes()),
            |text| text.parse().expect("WAYSIDE_FAULT_SEED is a number"),
        );
        say(&format!("WAYSIDE_FAULT_SEED={seed}"));
        seed
    })
}

/// Says something past the test runner, which keeps the words of passing tests to itself.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "faults: {text}");
}

/// Tells that a test cannot run here.
pub fn skipped(test: &str, why: &str) {
    say(&format!("SKIPPED {test}: {why}"));
}

/// Is this a run that must leave nothing out?
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}

/// Lets time pass: the moment of a kill, and between two looks of `until`.
pub fn pass(time: Duration) {
    let (_nobody, calls) = channel::<()>();
    let _ = calls.recv_timeout(time);
}

/// Waits until something holds. Panics where it does not in time.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        pass(Duration::from_millis(20));
    }
}
