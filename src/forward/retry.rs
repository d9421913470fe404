//! What follows a failed put: one of three places where error kinds are mapped (house rules, errors), and the backoff.
//! Pure: the random fraction is passed in; must never wait or send.

use crate::base::error::{Error, Kind};
use crate::base::time::{HOUR_MS, MINUTE_MS, SECOND_MS};

/// Longest wait between two attempts, ms.
const BACKOFF_MS_MAX: i64 = 300 * SECOND_MS;
/// Wait before looking again whether somebody has mended what only a person can mend, ms.
const PROBE_MS: i64 = 15 * MINUTE_MS;
/// Longest wait whatever anybody asks for, ms.
pub const WAIT_MS_MAX: i64 = HOUR_MS;

/// What the forwarder does after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Try again, later and later.
    Retry,
    /// The batch was refused as it is: it waits for a person, and its lane with it.
    Quarantine,
    /// A token, a right or a setting is missing: hold everything, look again slowly.
    Hold,
    /// Another batch lies under this key: stop sending to this target in all lanes, and say so.
    Fence,
    /// Our own disk failed: nothing more to this target in this round.
    Stop,
}

impl Verdict {
    /// The verdict on an error: by its kind, but for a batch that cannot be rendered, which no retry mends.
    pub fn on(error: &Error) -> Verdict {
        if ["digest_mismatch", "unknown_schema", "unknown_key", "damaged_batch"].contains(&error.code) {
            return Verdict::Quarantine;
        }
        match error.kind {
            Kind::Busy | Kind::Upstream => Verdict::Retry,
            Kind::Invalid => Verdict::Quarantine,
            Kind::Denied | Kind::Config | Kind::NotFound => Verdict::Hold,
            Kind::Conflict => Verdict::Fence,
            Kind::Storage => Verdict::Stop,
        }
    }

    /// Milliseconds until the next attempt, after `failures` in a row (this one included, from 1).
    /// `fraction` in 0..1 is random: full jitter keeps thousands of edges from coming back in step.
    pub fn wait_ms(self, failures: i64, fraction: f64) -> i64 {
        match self {
            Verdict::Retry | Verdict::Stop => backoff_ms(failures, fraction),
            Verdict::Quarantine | Verdict::Hold | Verdict::Fence => PROBE_MS,
        }
    }
}

/// As [`Verdict::wait_ms`], and not before what the other side asked for, at most an hour in all: what it asked for lies before the
/// random wait, so that those it turned away together do not come back together.
pub fn wait_asked_ms(verdict: Verdict, failures: i64, fraction: f64, asked_ms: Option<i64>) -> i64 {
    (verdict.wait_ms(failures, fraction) + asked_ms.unwrap_or(0).max(0)).min(WAIT_MS_MAX)
}

/// `rand(0, min(300 s, 1 s * 2^n))` with n = failures before this one.
fn backoff_ms(failures: i64, fraction: f64) -> i64 {
    let doublings = u32::try_from(failures.saturating_sub(1).clamp(0, 16)).unwrap_or(16);
    let most = (SECOND_MS << doublings).min(BACKOFF_MS_MAX);
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // at most 300,000
    let wait = (most as f64 * fraction.clamp(0.0, 1.0)) as i64;
    wait
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes_and_are_jittered_from_zero() {
        let most: Vec<i64> = (1..=11).map(|n| Verdict::Retry.wait_ms(n, 1.0)).collect();
        assert_eq!(most[..9], [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000]);
        assert_eq!(most[9..], [300_000, 300_000]);
        assert_eq!(Verdict::Retry.wait_ms(i64::MAX, 1.0), 300_000);
        assert_eq!(Verdict::Retry.wait_ms(5, 0.0), 0);
        assert_eq!(Verdict::Retry.wait_ms(3, 0.5), 2_000);
        assert_eq!(Verdict::Retry.wait_ms(0, 1.0), 1_000);
    }

    #[test]
    fn what_the_other_side_asks_for_comes_before_the_random_wait_and_is_at_most_an_hour() {
        let wait = |asked| wait_asked_ms(Verdict::Retry, 2, 0.5, asked);
        assert_eq!((wait(None), wait(Some(30_000)), wait(Some(-5))), (1_000, 31_000, 1_000));
        assert_eq!((wait(Some(HOUR_MS - 1_000)), wait(Some(HOUR_MS))), (HOUR_MS, HOUR_MS));
    }

    #[test]
    fn every_kind_has_its_verdict() {
        let table = [
            (Kind::Invalid, Verdict::Quarantine),
            (Kind::Denied, Verdict::Hold),
            (Kind::NotFound, Verdict::Hold),
            (Kind::Conflict, Verdict::Fence),
            (Kind::Busy, Verdict::Retry),
            (Kind::Upstream, Verdict::Retry),
            (Kind::Storage, Verdict::Stop),
            (Kind::Config, Verdict::Hold),
        ];
        for (kind, verdict) in table {
            assert_eq!(Verdict::on(&Error::new(kind, "any", "")), verdict, "{kind:?}");
        }
        let unsound = Error::storage("").code("digest_mismatch");
        assert_eq!(Verdict::on(&unsound), Verdict::Quarantine, "other lanes go on");
        assert_eq!(Verdict::Fence.wait_ms(1, 0.0), 900_000, "what a person must mend is looked at slowly");
    }
}
