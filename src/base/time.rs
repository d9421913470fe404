//! Instants, clocks and dates. Owns the only reading of the system clock and RFC 3339 in and out.
//! Must never decide what a time means: windows, retention and correction live in `domain`.
//! Invariant: an instant is integer milliseconds since 1970 UTC, within years 1 to 9999.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde::{Deserialize, Serialize};

/// An instant: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub i64);

/// One second in milliseconds.
pub const SECOND_MS: i64 = 1_000;
/// One minute in milliseconds.
pub const MINUTE_MS: i64 = 60 * SECOND_MS;
/// One hour in milliseconds.
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
/// One day in milliseconds.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// Year 1 to the last instant the date library can print (30 December 9999).
const MIN_MS: i64 = -62_135_596_800_000;
const MAX_MS: i64 = 253_402_207_200_000;

/// Length of `2026-11-21T10:00:00.000Z`.
const RFC3339_BYTES: usize = 24;

impl Millis {
    /// This instant `ms` later, without overflow.
    pub fn plus(self, ms: i64) -> Millis {
        Millis(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this instant, without overflow.
    pub fn since(self, earlier: Millis) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This instant `months` calendar months earlier, in UTC: 31 March less one month is 28 or 29 February.
    pub fn months_earlier(self, months: u32) -> Millis {
        let at = jiff::Timestamp::from_millisecond(self.0.clamp(MIN_MS, MAX_MS)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let span = jiff::Span::new().try_months(i64::from(months));
        let earlier = span.and_then(|span| at.to_zoned(jiff::tz::TimeZone::UTC).checked_sub(span));
        earlier.map_or(Millis(MIN_MS), |zoned| Millis(zoned.timestamp().as_millisecond()))
    }

    /// This instant `months` calendar months later, in UTC: 31 January and a month is 28 or 29 February.
    pub fn months_later(self, months: u32) -> Millis {
        let at = jiff::Timestamp::from_millisecond(self.0.clamp(MIN_MS, MAX_MS)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let span = jiff::Span::new().try_months(i64::from(months));
        let later = span.and_then(|span| at.to_zoned(jiff::tz::TimeZone::UTC).checked_add(span));
        later.map_or(Millis(MAX_MS), |zoned| Millis(zoned.timestamp().as_millisecond()))
    }

    /// RFC 3339, UTC, milliseconds: `2026-11-21T10:00:00.000Z`.
    pub fn rfc3339(self) -> String {
        let mut out = String::with_capacity(RFC3339_BYTES);
        self.push_rfc3339(&mut out);
        out
    }

    /// Adds [`Millis::rfc3339`] to a text. Every line of a batch has several: by hand, a tenth of the library's time.
    pub fn push_rfc3339(self, out: &mut String) {
        let at = self.0.clamp(MIN_MS, MAX_MS);
        let (days, ms) = (at.div_euclid(DAY_MS), at.rem_euclid(DAY_MS));
        // the civil calendar from days, counted in eras of 400 years that begin on the first of March
        let days = days + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let fields = [
            (0, 4, year),
            (5, 2, month),
            (8, 2, day),
            (11, 2, ms / HOUR_MS),
            (14, 2, ms / MINUTE_MS % 60),
            (17, 2, ms / SECOND_MS % 60),
            (20, 3, ms % SECOND_MS),
        ];
        for (place, width, value) in fields {
            let mut left = value;
            for digit in text[place..place + width].iter_mut().rev() {
                *digit = b'0' + u8::try_from(left % 10).unwrap_or(0);
                left /= 10;
            }
        }
        out.push_str(std::str::from_utf8(&text).expect("invariant: digits are ASCII"));
    }

    /// Parses RFC 3339 with `Z`, a numeric offset, or no zone (read as UTC: vendor SDKs send naive times).
    /// `None` where the text is no such time or lies outside years 1 to 9999.
    pub fn parse(text: &str) -> Option<Millis> {
        if let Ok(at) = text.parse::<jiff::Timestamp>() {
            return Millis::checked(at.as_millisecond());
        }
        let naive: jiff::civil::DateTime = text.parse().ok()?;
        let at = naive.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Millis::checked(at.timestamp().as_millisecond())
    }

    /// An instant from untrusted milliseconds; `None` outside years 1 to 9999.
    pub fn checked(ms: i64) -> Option<Millis> {
        (MIN_MS..=MAX_MS).contains(&ms).then_some(Millis(ms))
    }

    /// The start of the UTC hour this instant lies in.
    pub fn hour(self) -> Millis {
        Millis(self.0.div_euclid(HOUR_MS) * HOUR_MS)
    }

    /// The start of the UTC day this instant lies in.
    pub fn day(self) -> Millis {
        Millis(self.0.div_euclid(DAY_MS) * DAY_MS)
    }
}

/// A calendar date without a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: i16,
    month: i8,
    day: i8,
}

impl Date {
    /// Parses `YYYY-MM-DD`; `None` where the text is no such date.
    pub fn parse(text: &str) -> Option<Date> {
        let date: jiff::civil::Date = text.parse().ok().filter(|_| text.len() == 10)?;
        Some(Date { year: date.year(), month: date.month(), day: date.day() })
    }

    /// The date of an instant, in UTC.
    pub fn of(at: Millis) -> Date {
        let at = jiff::Timestamp::from_millisecond(at.0.clamp(MIN_MS, MAX_MS)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        Date { year: date.year(), month: date.month(), day: date.day() }
    }

    /// Whole years from this date to a later one; below 0 where that is earlier. Who was born on 29 February is a year older on
    /// 1 March of other years.
    pub fn years_until(self, later: Date) -> i32 {
        let years = i32::from(later.year) - i32::from(self.year);
        if (later.month, later.day) < (self.month, self.day) { years - 1 } else { years }
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

/// `2026-11-21 10:00` in the named IANA zone (UTC where the name is unknown), for people.
pub fn local_text(at: Millis, zone: &str) -> String {
    let stamp = jiff::Timestamp::from_millisecond(at.0.clamp(MIN_MS, MAX_MS)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let zoned = stamp.in_tz(zone).unwrap_or_else(|_| stamp.to_zoned(jiff::tz::TimeZone::UTC));
    zoned.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Minutes since midnight at this instant in the named IANA zone; in the machine's own where the name is empty or unknown.
pub fn minute_of_day(at: Millis, zone: &str) -> u16 {
    let stamp = jiff::Timestamp::from_millisecond(at.0.clamp(MIN_MS, MAX_MS)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let named = jiff::tz::TimeZone::get(zone).ok().filter(|_| !zone.is_empty());
    let zoned = stamp.to_zoned(named.unwrap_or_else(jiff::tz::TimeZone::system));
    u16::try_from(i32::from(zoned.hour()) * 60 + i32::from(zoned.minute())).unwrap_or(0)
}

/// Is this an IANA time zone this machine (or the built-in table) knows?
pub fn zone_known(zone: &str) -> bool {
    jiff::tz::TimeZone::get(zone).is_ok()
}

/// Parses the date of an HTTP header: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).
pub fn parse_http_date(text: &str) -> Option<Millis> {
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    Millis::checked(at.as_millisecond())
}

/// Parses Apache's `17/May/2015:10:05:03 +0000`.
pub fn parse_clf(text: &str) -> Option<Millis> {
    let zoned = jiff::Zoned::strptime("%d/%b/%Y:%H:%M:%S %z", text).ok()?;
    Millis::checked(zoned.timestamp().as_millisecond())
}

/// Milliseconds on a clock that nobody can set, from a moment of its own: only differences mean anything. It stands still
/// while the machine sleeps.
pub fn monotonic_ms() -> i64 {
    static BEGAN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let began = *BEGAN.get_or_init(std::time::Instant::now);
    i64::try_from(began.elapsed().as_millis()).unwrap_or(MAX_MS)
}

/// Whoever tells the time. Tests own it.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Millis;
}

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Millis(since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(MAX_MS)))
    }
}

/// A clock that a test sets.
#[derive(Debug, Default, Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock standing at `at`.
    pub fn at(at: Millis) -> Self {
        ManualClock(Arc::new(AtomicI64::new(at.0)))
    }

    /// Sets the clock.
    pub fn set(&self, at: Millis) {
        self.0.store(at.0, Ordering::SeqCst);
    }

    /// Moves the clock by `ms`.
    pub fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_round_trips_with_milliseconds() {
        let at = Millis(1_431_857_103_250);
        assert_eq!(at.rfc3339(), "2015-05-17T10:05:03.250Z");
        assert_eq!(Millis::parse("2015-05-17T10:05:03.250Z"), Some(at));
    }

    #[test]
    fn rfc3339_is_what_the_date_library_prints() {
        let library = |at: Millis| format!("{:.3}", jiff::Timestamp::from_millisecond(at.0).unwrap());
        let days = [-719_162, -1, 0, 58, 59, 60, 789, 11_016, 11_017, 19_782, 47_540, 47_541, 2_932_895];
        for at in days.iter().flat_map(|day| [0, 1, 999, 43_200_123, DAY_MS - 1].map(|ms| Millis(day * DAY_MS + ms))) {
            let at = Millis(at.0.clamp(MIN_MS, MAX_MS));
            assert_eq!(at.rfc3339(), library(at), "{}", at.0);
        }
        // primes apart, so that every day of a year, month and leap year comes along
        for step in 0..20_000 {
            let at = Millis(MIN_MS + step * 15_775_766_711);
            assert_eq!(at.rfc3339(), library(at), "{}", at.0);
        }
        assert_eq!(
            (Millis(i64::MIN).rfc3339(), Millis(i64::MAX).rfc3339()),
            (library(Millis(MIN_MS)), library(Millis(MAX_MS)))
        );
    }

    #[test]
    fn accepts_what_vendor_sdks_send() {
        let at = Some(Millis(1_714_558_830_123));
        assert_eq!(Millis::parse("2024-05-01T10:20:30.123000+00:00"), at);
        assert_eq!(Millis::parse("2024-05-01T10:20:30.123"), at);
        assert_eq!(Millis::parse("2024-05-01T12:20:30.123+02:00"), at);
    }

    #[test]
    fn refuses_what_is_no_instant() {
        for text in ["", "yesterday", "+275760-09-13T00:00:00.000Z", "2024-13-01T00:00:00Z"] {
            assert_eq!(Millis::parse(text), None, "{text}");
        }
        assert_eq!(Millis::checked(i64::MIN), None);
        assert_eq!(Millis::checked(8_640_000_000_000_000), None);
        assert_eq!(Millis::checked(MAX_MS + 1), None);
        assert_eq!(
            Millis::parse(&Millis(MAX_MS).rfc3339()),
            Some(Millis(MAX_MS)),
            "the last instant prints and reads back"
        );
    }

    #[test]
    fn reads_apache_times() {
        assert_eq!(parse_clf("17/May/2015:10:05:03 +0000"), Some(Millis(1_431_857_103_000)));
        assert_eq!(parse_clf("17/May/2015:12:05:03 +0200"), Some(Millis(1_431_857_103_000)));
        assert_eq!(parse_clf("17/Mai/2015:12:05:03 +0200"), None);
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        let earlier = |text: &str, months| Millis::parse(text).unwrap().months_earlier(months).rfc3339();
        assert_eq!(earlier("2026-11-21T10:00:00Z", 13), "2025-10-21T10:00:00.000Z");
        assert_eq!(earlier("2026-03-31T00:00:00Z", 1), "2026-02-28T00:00:00.000Z");
        assert_eq!(Millis(0).months_earlier(u32::MAX), Millis(MIN_MS));
        let later = |text: &str, months| Millis::parse(text).unwrap().months_later(months).rfc3339();
        assert_eq!(later("2026-08-31T10:00:00Z", 6), "2027-02-28T10:00:00.000Z");
        assert_eq!(later("2026-01-31T09:30:00Z", 1), "2026-02-28T09:30:00.000Z");
        assert_eq!(later("2028-01-31T09:30:00Z", 1), "2028-02-29T09:30:00.000Z");
        assert_eq!(later("2026-11-21T00:00:00Z", 3), "2027-02-21T00:00:00.000Z");
        assert_eq!(Millis(0).months_later(u32::MAX), Millis(MAX_MS));
    }

    #[test]
    fn the_minute_of_the_day_follows_the_zone_and_its_summer_time() {
        let minute = |text: &str, zone| minute_of_day(Millis::parse(text).unwrap(), zone);
        assert_eq!(minute("2026-01-15T22:30:59Z", "Europe/Berlin"), 23 * 60 + 30);
        assert_eq!(minute("2026-07-15T22:30:00Z", "Europe/Berlin"), 30, "an hour on in summer");
        assert_eq!(minute("2026-07-15T22:30:00Z", "UTC"), 22 * 60 + 30);
        assert!(minute("2026-07-15T22:30:00Z", "") < 1_440);
    }

    #[test]
    fn hours_and_days_floor_below_1970_too() {
        assert_eq!(Millis(-1).hour(), Millis(-HOUR_MS));
        assert_eq!(Millis(DAY_MS + 5).day(), Millis(DAY_MS));
    }
}
