//! Alarms of forwarding: which failure is told to a person, and when it is over.
//! Must never decide what is done about it (`retry.rs`). Invariant: what a landed batch disproves is cleared with it.

use crate::base::error::{Error, Result};
use crate::base::id::EdgeId;
use crate::base::time::DAY_MS;
use crate::domain::alarm;
use crate::domain::event::Lane;
use crate::forward::retry::Verdict;
use crate::store::{WriteTx, alarms};

/// Refused lines are told this long after the newest.
const REFUSED_TOLD_MS: i64 = 30 * DAY_MS;
/// What concerns a target as a whole.
const OF_TARGET: [&str; 4] = [alarm::AUTH, alarm::TLS, alarm::CLOCK, alarm::NOT_FOUND];
/// What concerns one lane of it.
const OF_LANE: [&str; 3] = [alarm::BAD_ACK, alarm::HELD, alarm::FORK];

/// What an alarm about one lane of a target is about.
pub(in crate::forward) fn about(target: &str, lane: Lane) -> String {
    format!("{target}/{}", lane.word())
}

/// What an alarm about an edge below this one is about, at a target.
pub(in crate::forward) fn about_edge(target: &str, edge: EdgeId) -> String {
    format!("{target}/{edge}")
}

/// Tells of a failure with a batch of another edge, where it must be told: it concerns that edge's lane and no other.
pub(in crate::forward) fn failed_below(tx: &WriteTx<'_>, about: &str, error: &Told) -> Result<()> {
    error.alarm.map_or(Ok(()), |code| alarms::raise(tx, code, about, &error.what))
}

/// A batch of another edge landed after failures: what they told of is over.
pub(in crate::forward) fn landed_below(tx: &WriteTx<'_>, about: &str) -> Result<()> {
    for code in OF_TARGET.into_iter().chain(OF_LANE) {
        alarms::clear(tx, code, about)?;
    }
    Ok(())
}

/// The alarm of a failure, if it is one that a person must mend.
fn code_of(error: &Error, verdict: Verdict) -> Option<&'static str> {
    let own = OF_TARGET.into_iter().chain(OF_LANE).find(|code| *code == error.code);
    match verdict {
        Verdict::Fence => Some(alarm::FORK),
        Verdict::Hold | Verdict::Quarantine => Some(own.unwrap_or(alarm::HELD)),
        Verdict::Retry | Verdict::Stop => None,
    }
}

/// Tells of a failure, where it must be told.
pub(in crate::forward) fn failed(tx: &WriteTx<'_>, target: &str, lane: Lane, error: &Told) -> Result<()> {
    let Some(code) = error.alarm else { return Ok(()) };
    match OF_TARGET.contains(&code) {
        true => alarms::raise(tx, code, target, &error.what),
        false => alarms::raise(tx, code, &about(target, lane), &error.what),
    }
}

/// A failure as it is told.
#[derive(Clone, Debug)]
pub(in crate::forward) struct Told {
    alarm: Option<&'static str>,
    what: String,
}

impl Told {
    /// Of an error and what follows from it.
    pub(in crate::forward) fn of(error: &Error, verdict: Verdict) -> Told {
        Told { alarm: code_of(error, verdict), what: error.to_string() }
    }
}

/// A batch landed after failures, the last of them `last_error`: what they told of is over, a fork only where it was the last.
pub(in crate::forward) fn landed(tx: &WriteTx<'_>, target: &str, lane: Lane, last_error: &str) -> Result<()> {
    let met = last_error.starts_with(alarm::FORK);
    for code in OF_TARGET {
        alarms::clear(tx, code, target)?;
    }
    for code in OF_LANE.into_iter().filter(|code| met || *code != alarm::FORK) {
        alarms::clear(tx, code, &about(target, lane))?;
    }
    Ok(())
}

/// Refused lines of long ago are told no more.
pub(in crate::forward) fn forget_refused(tx: &WriteTx<'_>, target: &str, lane: Lane) -> Result<()> {
    let about = about(target, lane);
    for code in [alarm::REFUSED_ROWS, alarm::TOO_LARGE_LINE] {
        alarms::clear_before(tx, code, &about, tx.now().plus(-REFUSED_TOLD_MS))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mends_itself_is_no_alarm_and_what_a_person_must_mend_is_one() {
        let code = |error: Error, verdict| Told::of(&error, verdict).alarm;
        assert_eq!(code(Error::busy("").code("timeout"), Verdict::Retry), None);
        assert_eq!(code(Error::storage(""), Verdict::Stop), None);
        assert_eq!(code(Error::denied("").code("auth"), Verdict::Hold), Some("auth"));
        assert_eq!(code(Error::config("").code("clock"), Verdict::Hold), Some("clock"));
        assert_eq!(code(Error::config("").code("too_many_refused"), Verdict::Hold), Some("held"));
        assert_eq!(code(Error::conflict("").code("another"), Verdict::Fence), Some("fork"));
        assert_eq!(code(Error::storage("").code("digest_mismatch"), Verdict::Quarantine), Some("held"));
    }
}
