//! How one target is doing, for as long as this process lives: whose turn it is, what its bandwidth and hours allow,
//! whether the way to it is open. Must never send; what outlives a restart stands in `store/cursors.rs`.
//! Invariants: after any failure the target is asked how far it is before anything is sent, and one small batch goes first;
//! a way that is down is probed, and nothing is rendered for it.

use std::path::Path;

use crate::base::error::Error;
use crate::base::time::{Millis, minute_of_day};
use crate::forward::options::TargetOptions;
use crate::forward::relay::below::Below;
use crate::forward::retry::Verdict;
use crate::forward::schedule::{
    Bucket, PROBE_EVERY_MS, PROBE_WITHOUT_ROUTE_MS, Trouble, Turns, Window, leads_out, open,
};

/// What a target over the network is held to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes a second; 0 = no limit.
    pub bytes_per_second: u64,
    /// Times of day; none = always.
    pub windows: Vec<Window>,
    /// Their time zone; empty = this machine's.
    pub zone: String,
}

impl Limits {
    /// The limits of the configuration. A window that does not parse was refused by `config`, and is left out here.
    pub fn of(options: &TargetOptions) -> Limits {
        Limits {
            bytes_per_second: options.bytes_per_second,
            windows: options.windows.iter().filter_map(|text| Window::parse(text).ok()).collect(),
            zone: options.time_zone.clone(),
        }
    }
}

/// Is the way to a target open?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Open,
    /// Nobody was reached; when to probe again. Where there was no network but the machine's own, its return is a reason too.
    Down {
        probe_at_ms: i64,
        cut: bool,
    },
    /// The target, or a person, has to do something first.
    Held {
        until_ms: i64,
    },
}

/// What may be done about a target now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::forward) enum Leave {
    /// Send.
    Go,
    /// Probe, and send if that succeeds.
    Probe,
    /// Nothing yet.
    Wait,
}

/// The state of one target. All times on a clock nobody can set, ms.
#[derive(Clone, Debug)]
pub(in crate::forward) struct Pace {
    limits: Limits,
    turns: Turns,
    bucket: Bucket,
    way: Way,
    met: bool,
    proving: bool,
    below: Below,
}

impl Pace {
    pub(in crate::forward) fn new(limits: Limits, now_ms: i64) -> Pace {
        let bucket = Bucket::new(limits.bytes_per_second, now_ms);
        let below = Below::default();
        Pace { limits, turns: Turns::default(), bucket, way: Way::Open, met: false, proving: false, below }
    }

    /// Whose turn it is.
    pub(in crate::forward) fn turns(&mut self) -> &mut Turns {
        &mut self.turns
    }

    pub(in crate::forward) fn leave(&self, now_ms: i64) -> Leave {
        self.leave_while(now_ms, routed)
    }

    fn leave_while(&self, now_ms: i64, routed: impl Fn() -> bool) -> Leave {
        match self.way {
            Way::Open => Leave::Go,
            Way::Down { probe_at_ms, .. } if probe_at_ms <= now_ms => Leave::Probe,
            Way::Down { cut: true, .. } if routed() => Leave::Probe,
            Way::Held { until_ms } if until_ms <= now_ms => Leave::Go,
            Way::Down { .. } | Way::Held { .. } => Leave::Wait,
        }
    }

    /// Was nobody reached lately?
    pub(in crate::forward) fn is_down(&self) -> bool {
        matches!(self.way, Way::Down { .. })
    }

    /// Has the target told how far it is since the last failure?
    pub(in crate::forward) fn has_met(&self) -> bool {
        self.met
    }

    /// Positions were set anew by us: nothing that was waited for counts any more.
    pub(in crate::forward) fn begin_anew(&mut self) {
        self.way = Way::Open;
        self.met = false;
        self.below.part();
    }

    /// How it stands with the edges below this one.
    pub(in crate::forward) fn below(&mut self) -> &mut Below {
        &mut self.below
    }

    /// It has told.
    pub(in crate::forward) fn meet(&mut self) {
        self.met = true;
    }

    /// Does the smallest batch go first, because the last attempt failed?
    pub(in crate::forward) fn is_proving(&self) -> bool {
        self.proving
    }

    /// May anything but the consent lane leave: do hours and bandwidth allow it?
    pub(in crate::forward) fn allows(&mut self, now: Millis, now_ms: i64) -> bool {
        let minute = if self.limits.windows.is_empty() { 0 } else { minute_of_day(now, &self.limits.zone) };
        open(&self.limits.windows, minute) && self.bucket.wait_ms(now_ms) == 0
    }

    /// So many bytes are about to leave.
    pub(in crate::forward) fn spend(&mut self, bytes: usize, now_ms: i64) {
        self.bucket.spend(u64::try_from(bytes).unwrap_or(u64::MAX), now_ms);
    }

    /// A batch arrived.
    pub(in crate::forward) fn arrived(&mut self) {
        self.way = Way::Open;
        self.proving = false;
    }

    /// A probe succeeded: the way is open again.
    pub(in crate::forward) fn reached(&mut self) {
        self.way = Way::Open;
    }

    /// An attempt failed; `wait_ms` is what the verdict says. Only what concerns the batch alone holds nothing else up.
    pub(in crate::forward) fn failed(&mut self, error: &Error, verdict: Verdict, wait_ms: i64, now_ms: i64) {
        if verdict == Verdict::Quarantine {
            return;
        }
        self.met = false;
        self.below.part();
        self.proving = true;
        self.way = match Trouble::of(error) {
            Trouble::Link => Way::Down { probe_at_ms: now_ms + PROBE_EVERY_MS, cut: false },
            Trouble::Upstream | Trouble::Other => Way::Held { until_ms: now_ms.saturating_add(wait_ms) },
        };
    }

    /// A probe begun at `began_ms` failed.
    pub(in crate::forward) fn still_down(&mut self, began_ms: i64) {
        self.stays_down(began_ms, !routed());
    }

    fn stays_down(&mut self, began_ms: i64, cut: bool) {
        let every = if cut { PROBE_WITHOUT_ROUTE_MS } else { PROBE_EVERY_MS };
        self.way = Way::Down { probe_at_ms: began_ms + every, cut };
    }

    /// Milliseconds until something may change by itself, if that is known.
    pub(in crate::forward) fn next_ms(&mut self, now_ms: i64) -> Option<i64> {
        match self.way {
            Way::Down { probe_at_ms: at, .. } | Way::Held { until_ms: at } => Some(at.saturating_sub(now_ms)),
            Way::Open => Some(self.bucket.wait_ms(now_ms)).filter(|wait| *wait > 0),
        }
    }
}

/// Is there any network but the machine's own?
fn routed() -> bool {
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).ok();
    leads_out(read("/proc/net/route").as_deref(), read("/proc/net/ipv6_route").as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Kind;

    fn pace() -> Pace {
        Pace::new(Limits::default(), 0)
    }

    #[test]
    fn a_link_that_is_down_is_probed_within_two_seconds_and_never_backs_off() {
        let mut pace = pace();
        let refused = Error::new(Kind::Upstream, "refused", "");
        for n in 0..1_000 {
            pace.failed(&refused, Verdict::Retry, 300_000, n);
            assert_eq!(pace.leave(n), Leave::Wait);
            assert_eq!(pace.leave(n + PROBE_EVERY_MS), Leave::Probe);
        }
        pace.still_down(5_000);
        let next = pace.next_ms(5_000).unwrap();
        assert!([PROBE_EVERY_MS, PROBE_WITHOUT_ROUTE_MS].contains(&next));
        assert_eq!(pace.leave(5_000 + next), Leave::Probe);
        pace.reached();
        assert_eq!((pace.leave(5_001), pace.has_met(), pace.is_proving()), (Leave::Go, false, true));
        pace.arrived();
        assert!(!pace.is_proving());
    }

    #[test]
    fn a_network_that_is_back_is_probed_at_the_next_look() {
        let mut pace = pace();
        pace.stays_down(0, true);
        assert_eq!(pace.leave_while(10, || false), Leave::Wait);
        assert_eq!(pace.leave_while(10, || true), Leave::Probe, "its return is not waited for by the clock");
        pace.stays_down(10, false);
        assert_eq!(
            pace.leave_while(20, || true),
            Leave::Wait,
            "a network that was there all the time says nothing new"
        );
        assert_eq!(pace.leave_while(PROBE_EVERY_MS + 10, || true), Leave::Probe);
    }

    #[test]
    fn what_the_target_announced_is_waited_for_and_a_batchs_own_fault_is_not() {
        let mut pace = pace();
        pace.meet();
        pace.failed(&Error::new(Kind::Invalid, "bad_rows", ""), Verdict::Quarantine, 900_000, 0);
        assert_eq!((pace.leave(0), pace.has_met()), (Leave::Go, true));
        pace.failed(&Error::new(Kind::Busy, "busy", ""), Verdict::Retry, 7_000, 0);
        assert_eq!((pace.leave(6_999), pace.leave(7_000), pace.next_ms(1_000)), (Leave::Wait, Leave::Go, Some(6_000)));
        assert!(!pace.has_met() && pace.is_proving());
    }

    #[test]
    fn hours_and_bandwidth_hold_back_together() {
        let windows = vec![Window::parse("22:00-06:00").unwrap()];
        let limits = Limits { bytes_per_second: 100, windows, zone: "UTC".to_owned() };
        let mut pace = Pace::new(limits, 0);
        let at = |text: &str| Millis::parse(text).unwrap();
        assert!(!pace.allows(at("2026-11-22T12:00:00Z"), 0));
        assert!(pace.allows(at("2026-11-22T23:00:00Z"), 0));
        pace.spend(1_100, 0);
        assert!(pace.next_ms(0).is_some_and(|ms| ms > 9_000));
        assert!(!pace.allows(at("2026-11-22T23:00:00Z"), 9_000));
        assert!(pace.allows(at("2026-11-22T23:00:00Z"), 10_100));
    }
}
