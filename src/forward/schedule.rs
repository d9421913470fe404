//! When what may be sent: turns of the lanes, bandwidth, times of day, and the herd kept apart. Pure rules: the time and
//! whatever is random are passed in; must never wait, send or read a file.
//! Invariants: the consent lane is no lane among others and never stands here; what was sent counts, whether it arrived or
//! not; a wait has an end.

use crate::base::digest::sha256;
use crate::base::error::{Error, Kind, Result};
use crate::base::id::EdgeId;
use crate::base::time::Millis;
use crate::domain::event::Lane;

/// Lanes that take turns, with how often each is served while all have work (visits, pages, fine).
const TURNS: [(Lane, i64); 3] = [(Lane::Visits, 4), (Lane::Pages, 2), (Lane::Fine, 1)];
const MINUTES_PER_DAY: u16 = 1_440;
/// Between two probes of a link that is down, from the beginning of one to the beginning of the next, ms.
pub const PROBE_EVERY_MS: i64 = 1_500;
/// As that, while no network but the machine's own is there.
pub const PROBE_WITHOUT_ROUTE_MS: i64 = 5_000;

/// Whose turn it is: weighted round robin, smooth, without chance. Of 7 batches 4 are visits, 2 pages, 1 fine, as long as
/// every lane has work; a lane without work saves up nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    credit: [i64; 3],
}

impl Turns {
    /// The lane that goes next among those with `work`; `None` where none has any.
    pub fn next(&mut self, work: impl Fn(Lane) -> bool) -> Option<Lane> {
        let mut best: Option<usize> = None;
        let mut all = 0;
        for (at, (lane, weight)) in TURNS.iter().enumerate() {
            if !work(*lane) {
                self.credit[at] = 0;
                continue;
            }
            all += weight;
            self.credit[at] += weight;
            if best.is_none_or(|best| self.credit[at] > self.credit[best]) {
                best = Some(at);
            }
        }
        let best = best?;
        self.credit[best] -= all;
        Some(TURNS[best].0)
    }
}

/// A token bucket that may go into debt by one batch: batches leave whole. It holds one second's worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    bytes_per_second: u64,
    balance: i64,
    at_ms: i64,
}

impl Bucket {
    /// A full one at `now_ms`, on a clock nobody can set. 0 bytes a second = no limit.
    pub fn new(bytes_per_second: u64, now_ms: i64) -> Self {
        let balance = i64::try_from(bytes_per_second).unwrap_or(i64::MAX);
        Bucket { bytes_per_second, balance, at_ms: now_ms }
    }

    fn fill(&mut self, now_ms: i64) {
        let passed = u128::try_from(now_ms.saturating_sub(self.at_ms)).unwrap_or(0);
        let more = i64::try_from(passed * u128::from(self.bytes_per_second) / 1_000).unwrap_or(i64::MAX);
        if more > 0 {
            let full = i64::try_from(self.bytes_per_second).unwrap_or(i64::MAX);
            self.balance = self.balance.saturating_add(more).min(full);
            self.at_ms = now_ms;
        }
    }

    /// Milliseconds until something may be sent; 0 = now.
    pub fn wait_ms(&mut self, now_ms: i64) -> i64 {
        if self.bytes_per_second == 0 {
            return 0;
        }
        self.fill(now_ms);
        if self.balance > 0 {
            return 0;
        }
        let debt = u128::from(self.balance.unsigned_abs()) + 1;
        i64::try_from((debt * 1_000).div_ceil(u128::from(self.bytes_per_second))).unwrap_or(i64::MAX)
    }

    /// So many bytes leave, an attempt that fails included.
    pub fn spend(&mut self, bytes: u64, now_ms: i64) {
        if self.bytes_per_second > 0 {
            self.fill(now_ms);
            self.balance = self.balance.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
}

/// A time of day at which batches may leave, `"22:00-06:00"`: from the first minute, up to but without the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    from: u16,
    to: u16,
}

impl Window {
    /// Reads one. Errors: `Invalid` with code `bad_window`.
    pub fn parse(text: &str) -> Result<Window> {
        let bad = || {
            Error::invalid(format!("{text:?} is no time of day with an end"))
                .code("bad_window")
                .remedy("write it like \"22:00-06:00\"")
        };
        let (from, to) = text.split_once('-').ok_or_else(bad)?;
        let minute = |text: &str| -> Option<u16> {
            let (hours, minutes) = text.trim().split_once(':')?;
            let two = |text: &str| {
                (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit()))
                    .then(|| text.parse::<u16>().ok())
                    .flatten()
            };
            let (hours, minutes) = (two(hours)?, two(minutes)?);
            (minutes < 60 && hours * 60 + minutes <= MINUTES_PER_DAY).then_some(hours * 60 + minutes)
        };
        let (from, to) = (minute(from).ok_or_else(bad)?, minute(to).ok_or_else(bad)?);
        if from == to || from == MINUTES_PER_DAY {
            return Err(bad());
        }
        Ok(Window { from, to })
    }

    /// Does it hold this minute of the day?
    pub fn holds(self, minute: u16) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

/// May batches leave at this minute of the day? Without any window always.
pub fn open(windows: &[Window], minute: u16) -> bool {
    windows.is_empty() || windows.iter().any(|window| window.holds(minute))
}

/// Where in an interval an edge has its turn, ms: so that thousands of edges never seal and send in step.
pub fn phase_ms(edge: EdgeId, every_ms: i64) -> i64 {
    let hash = sha256(&edge.0);
    let number = u64::from_be_bytes([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]]);
    let every = u64::try_from(every_ms).unwrap_or(0).max(1);
    i64::try_from(number % every).unwrap_or(0)
}

/// Has the edge's turn come since `first` was received? Turns are `phase` into each interval of the clock.
pub fn turn_came(first: Millis, now: Millis, every_ms: i64, phase: i64) -> bool {
    let turn = |at: Millis| at.plus(-phase).0.div_euclid(every_ms.max(1));
    turn(now) != turn(first)
}

/// What a failure tells of the way to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody is reached: no route, nobody listens, the name is not known. A probe costs nobody anything.
    Link,
    /// The target said so itself, or was reached and is slow: come back later, and not all at once.
    Upstream,
    /// The batch, the configuration or this machine.
    Other,
}

impl Trouble {
    /// What an error tells, by its code and kind.
    pub fn of(error: &Error) -> Trouble {
        const LINK: [&str; 6] = ["unreachable", "refused", "no_route", "dns", "connect", "link_down"];
        match error.kind {
            Kind::Upstream | Kind::Busy if LINK.contains(&error.code) => Trouble::Link,
            Kind::Upstream | Kind::Busy => Trouble::Upstream,
            _ => Trouble::Other,
        }
    }
}

/// Does the kernel's table of routes lead out of this machine? `v4` and `v6` are `/proc/net/route` and
/// `/proc/net/ipv6_route`; without either (another system) the answer is yes.
pub fn leads_out(v4: Option<&str>, v6: Option<&str>) -> bool {
    const UP: u32 = 1;
    let up = |flags: &str| u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & UP == UP);
    let by_v4 = |line: &str| {
        let mut parts = line.split_ascii_whitespace();
        let (name, flags) = (parts.next(), parts.nth(2));
        name.is_some_and(|name| name != "lo") && flags.is_some_and(up)
    };
    let by_v6 = |line: &str| {
        let parts: Vec<&str> = line.split_ascii_whitespace().collect();
        matches!(parts[..], [to, "00", .., flags, name] if to.bytes().all(|b| b == b'0') && name != "lo" && up(flags))
    };
    match (v4, v6) {
        (None, None) => true,
        (v4, v6) => {
            v4.is_some_and(|text| text.lines().skip(1).any(by_v4)) || v6.is_some_and(|text| text.lines().any(by_v6))
        }
    }
}

#[cfg(test)]
mod tests;
