//! The clock guard: may anything be removed by age now, and how far (contract 3)? Pure: it is told what the clocks say.
//! Must never read a clock or a row. Invariant: a clock that is wrong, or was set, removes at most two days' worth in a day.

use crate::base::time::{DAY_MS, HOUR_MS, MINUTE_MS, Millis};

/// A clock that moved by more than this against the one nobody can set was set by somebody, ms.
pub const STEP_MS_MIN: i64 = HOUR_MS;
/// What may be removed in one day without a confirmation, ms of receiving time.
pub const WORTH_MS: i64 = 2 * DAY_MS;

/// What two clocks said at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The clock of the day.
    pub now: Millis,
    /// A clock that nobody can set, ms since any moment.
    pub uptime_ms: i64,
}

/// The clock of the day was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it should have said.
    pub from: Millis,
    /// What it said.
    pub to: Millis,
}

impl Step {
    /// How far it was set, ms; negative = back.
    pub fn ms(&self) -> i64 {
        self.to.since(self.from)
    }
}

/// May anything be removed by age?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Go,
    /// The program started a moment ago: a wrong clock shows itself first.
    JustStarted,
    /// The clock was set a moment ago.
    ClockSet,
    /// The clock says less than was already known.
    Behind,
}

impl Verdict {
    /// Stable word of status and logs.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Go => "go",
            Verdict::JustStarted => "just_started",
            Verdict::ClockSet => "clock_set",
            Verdict::Behind => "clock_behind",
        }
    }

    /// What it waits for, in words.
    pub fn why(self) -> &'static str {
        match self {
            Verdict::Go => "",
            Verdict::JustStarted => "nothing is removed in the first minutes after start",
            Verdict::ClockSet => "the clock was set by more than an hour; nothing is removed for some minutes",
            Verdict::Behind => {
                "the clock is behind the newest time known here; nothing is removed until it has caught up or \
                 `wayside upkeep --confirm` says that it is right"
            }
        }
    }
}

/// What the guard remembers while the program runs.
#[derive(Clone, Debug)]
pub struct Guard {
    quiet_ms: i64,
    began_ms: i64,
    last: Look,
    step_ms: Option<i64>,
    confirmed: bool,
}

impl Guard {
    /// A guard that begins now; nothing goes for `quiet_minutes`.
    pub fn begin(quiet_minutes: u32, first: Look) -> Self {
        let quiet_ms = i64::from(quiet_minutes) * MINUTE_MS;
        Guard { quiet_ms, began_ms: first.uptime_ms, last: first, step_ms: None, confirmed: false }
    }

    /// Takes a look at both clocks; tells if the clock of the day was set since the last one. (A machine that slept looks
    /// like one whose clock was set forward.)
    pub fn look(&mut self, look: Look) -> Option<Step> {
        let expected = self.last.now.plus(look.uptime_ms.saturating_sub(self.last.uptime_ms));
        self.last = look;
        let step = Step { from: expected, to: look.now };
        if step.ms().abs() <= STEP_MS_MIN {
            return None;
        }
        self.step_ms = Some(look.uptime_ms);
        self.confirmed = false;
        Some(step)
    }

    /// Somebody says that the clock is right: no more waiting.
    pub fn confirm(&mut self) {
        self.confirmed = true;
    }

    /// Have the quiet minutes after start and after the last step passed?
    pub fn settled(&self) -> bool {
        let passed = |since: i64| self.last.uptime_ms.saturating_sub(since) >= self.quiet_ms;
        self.confirmed || passed(self.began_ms) && self.step_ms.is_none_or(passed)
    }

    /// May anything be removed by age? `newest` = the newest time known before.
    pub fn verdict(&self, newest: Millis) -> Verdict {
        if self.last.now < newest {
            Verdict::Behind
        } else if self.settled() {
            Verdict::Go
        } else if self.step_ms.is_some() {
            Verdict::ClockSet
        } else {
            Verdict::JustStarted
        }
    }
}

/// What one kind of row may lose in one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// When that day began.
    pub day_at: Millis,
    /// Rows from this time on stay, today.
    pub limit: Millis,
}

impl Allowance {
    /// The allowance in force: the one before while its day lasts, else two days' worth from the oldest row on.
    pub fn at(now: Millis, before: Option<Allowance>, oldest: Millis) -> Allowance {
        match before {
            Some(a) if now >= a.day_at && now < a.day_at.plus(DAY_MS) => a,
            _ => Allowance { day_at: now, limit: oldest.plus(WORTH_MS) },
        }
    }

    /// Rows older than this may go: `wanted`, unless that is more than the day's worth. The flag tells that it is.
    pub fn cut(&self, wanted: Millis, confirmed: bool) -> (Millis, bool) {
        if confirmed || wanted <= self.limit { (wanted, false) } else { (self.limit, true) }
    }
}

/// Does a confirmation given then still hold? It holds for a day.
pub fn confirmed(now: Millis, given: Option<Millis>) -> bool {
    given.is_some_and(|given| now >= given && now < given.plus(DAY_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::{Clock, ManualClock};

    const START: Millis = Millis(1_800_000_000_000);

    /// Two clocks that run together until one is set.
    struct Clocks(ManualClock, i64);

    impl Clocks {
        fn pass(&mut self, ms: i64) -> Look {
            self.0.advance(ms);
            self.1 += ms;
            Look { now: self.0.now(), uptime_ms: self.1 }
        }
    }

    fn begun() -> (Clocks, Guard) {
        let mut clocks = Clocks(ManualClock::at(START), 77);
        let guard = Guard::begin(10, clocks.pass(0));
        (clocks, guard)
    }

    #[test]
    fn nothing_goes_in_the_first_ten_minutes() {
        let (mut clocks, mut guard) = begun();
        for (minutes, verdict) in [(0, Verdict::JustStarted), (9, Verdict::JustStarted), (1, Verdict::Go)] {
            assert_eq!(guard.look(clocks.pass(minutes * MINUTE_MS)), None);
            assert_eq!(guard.verdict(START), verdict, "after {minutes} more minutes");
        }
    }

    #[test]
    fn a_step_is_told_once_and_begins_the_wait_anew() {
        for (step, told) in [(DAY_MS, true), (-DAY_MS, true), (365 * DAY_MS, true), (HOUR_MS, false), (-HOUR_MS, false)]
        {
            let (mut clocks, mut guard) = begun();
            assert_eq!(guard.look(clocks.pass(HOUR_MS)), None);
            clocks.0.advance(step);
            let seen = guard.look(clocks.pass(MINUTE_MS));
            assert_eq!(seen.map(|s| s.ms()), told.then_some(step), "{step}");
            assert_eq!(guard.look(clocks.pass(MINUTE_MS)), None, "told once");
            let wait = if told { Verdict::ClockSet } else { Verdict::Go };
            assert_eq!(guard.verdict(Millis(0)), wait);
            guard.look(clocks.pass(9 * MINUTE_MS));
            assert_eq!(guard.verdict(Millis(0)), Verdict::Go);
        }
    }

    #[test]
    fn nothing_goes_before_the_newest_known_time() {
        let (mut clocks, mut guard) = begun();
        guard.look(clocks.pass(HOUR_MS));
        let newest = START.plus(HOUR_MS);
        assert_eq!(guard.verdict(newest), Verdict::Go);
        clocks.0.advance(-DAY_MS);
        guard.look(clocks.pass(HOUR_MS));
        assert_eq!(guard.verdict(newest), Verdict::Behind);
        guard.confirm();
        assert_eq!(guard.verdict(newest), Verdict::Behind, "the newest time itself has to be set right");
        assert_eq!(guard.verdict(START.plus(-DAY_MS)), Verdict::Go);
        clocks.0.advance(DAY_MS);
        guard.look(clocks.pass(0));
        assert_eq!(guard.verdict(Millis(0)), Verdict::ClockSet, "a confirmation ends with the next step");
    }

    #[test]
    fn a_day_removes_two_days_worth() {
        let oldest = START.plus(-400 * DAY_MS);
        let wanted = START.plus(-30 * DAY_MS);
        let first = Allowance::at(START, None, oldest);
        assert_eq!(first.cut(wanted, false), (oldest.plus(WORTH_MS), true));
        assert_eq!(first.cut(wanted, true), (wanted, false), "unless it is confirmed");
        assert_eq!(first.cut(oldest.plus(DAY_MS), false), (oldest.plus(DAY_MS), false));
        let later = oldest.plus(WORTH_MS);
        assert_eq!(Allowance::at(START.plus(DAY_MS - 1), Some(first), later), first, "the same day");
        let next = Allowance::at(START.plus(DAY_MS), Some(first), later);
        assert_eq!(next.limit, later.plus(WORTH_MS));
        let before = Allowance::at(START.plus(-1), Some(first), later);
        assert_eq!(before.day_at, START.plus(-1), "a day of the future binds nobody");
    }

    #[test]
    fn a_confirmation_holds_for_a_day() {
        assert!(!confirmed(START, None));
        assert!(confirmed(START, Some(START)) && confirmed(START.plus(DAY_MS - 1), Some(START)));
        assert!(!confirmed(START.plus(DAY_MS), Some(START)) && !confirmed(START.plus(-1), Some(START)));
    }
}
