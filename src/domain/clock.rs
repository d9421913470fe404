//! From a client's clock to the time visits run on (contract 3). Pure; must never read a clock.
//! Invariant: the corrected time lies within (received - 90 days, received + 5 minutes], or the event is an import.

use crate::base::time::{DAY_MS, MINUTE_MS, Millis};

/// What became of the client's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockState {
    /// The client sent no time: received time stands in.
    None,
    /// The client's time was plausible as it was.
    Client,
    /// Corrected by the difference between the sending time and the receiving time.
    Corrected,
    /// The client's time was implausible: received time stands in.
    Implausible,
    /// A log's own time.
    Imported,
}

impl ClockState {
    /// Stable word of rows and lines.
    pub fn word(self) -> &'static str {
        match self {
            ClockState::None => "none",
            ClockState::Client => "client",
            ClockState::Corrected => "corrected",
            ClockState::Implausible => "implausible",
            ClockState::Imported => "imported",
        }
    }

    /// The small number kept in rows.
    pub fn code(self) -> i64 {
        match self {
            ClockState::None => 0,
            ClockState::Client => 1,
            ClockState::Corrected => 2,
            ClockState::Implausible => 3,
            ClockState::Imported => 4,
        }
    }

    /// The state of a row's number.
    pub fn from_code(code: i64) -> Option<Self> {
        [ClockState::None, ClockState::Client, ClockState::Corrected, ClockState::Implausible, ClockState::Imported]
            .into_iter()
            .find(|state| state.code() == code)
    }
}

/// How long ago a time may lie and still be believed.
pub const PAST_MS: i64 = 90 * DAY_MS;
/// How far ahead a time may lie and still be believed.
pub const FUTURE_MS: i64 = 5 * MINUTE_MS;

/// The corrected time of an event.
pub fn correct(client: Option<Millis>, sent: Option<Millis>, received: Millis) -> (Millis, ClockState) {
    let Some(client) = client else { return (received, ClockState::None) };
    let (at, state) = match sent {
        Some(sent) => (client.plus(received.since(sent)), ClockState::Corrected),
        None => (client, ClockState::Client),
    };
    if at.0 > received.plus(-PAST_MS).0 && at.0 <= received.plus(FUTURE_MS).0 {
        (at, state)
    } else {
        (received, ClockState::Implausible)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_800_000_000_000);

    #[test]
    fn a_clock_wrong_by_a_year_is_corrected_by_the_sending_time() {
        let year = 365 * DAY_MS;
        let happened = NOW.plus(-year - MINUTE_MS);
        assert_eq!(correct(Some(happened), Some(NOW.plus(-year)), NOW), (NOW.plus(-MINUTE_MS), ClockState::Corrected));
        assert_eq!(correct(Some(happened), None, NOW), (NOW, ClockState::Implausible));
    }

    #[test]
    fn a_kiosk_days_late_keeps_its_own_times() {
        let three_days = NOW.plus(-3 * DAY_MS);
        assert_eq!(correct(Some(three_days), Some(NOW), NOW), (three_days, ClockState::Corrected));
        assert_eq!(correct(Some(three_days), None, NOW), (three_days, ClockState::Client));
    }

    #[test]
    fn the_believed_stretch_is_open_below_and_closed_above() {
        assert_eq!(correct(Some(NOW.plus(-PAST_MS)), None, NOW).1, ClockState::Implausible);
        assert_eq!(correct(Some(NOW.plus(-PAST_MS + 1)), None, NOW).1, ClockState::Client);
        assert_eq!(correct(Some(NOW.plus(FUTURE_MS)), None, NOW).1, ClockState::Client);
        assert_eq!(correct(Some(NOW.plus(FUTURE_MS + 1)), None, NOW).1, ClockState::Implausible);
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        for extreme in [i64::MIN, i64::MAX] {
            assert_eq!(correct(Some(Millis(extreme)), Some(Millis(-extreme.max(1))), NOW).0, NOW);
        }
        assert_eq!(correct(None, Some(NOW), NOW), (NOW, ClockState::None));
    }
}
