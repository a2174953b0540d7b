//! Instants and days, as the ledger keeps them: milliseconds and days since the Unix epoch, UTC.

use super::codes;
use jiff::Timestamp;
use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY_MS: i64 = 24 * 3600 * 1000;

/// An instant, to the millisecond. In JSON RFC 3339 with `Z` or an offset from UTC (`2025-03-14T10:00:00Z`);
/// written with `Z`.
///
/// ```
/// use batchwright::loyalty::Time;
///
/// let time: Time = "2025-03-14T12:00:00+02:00".parse()?;
/// assert_eq!(time.to_string(), "2025-03-14T10:00:00Z");
/// assert!("2025-03-14T12:00:00".parse::<Time>().is_err()); // where?
/// # Ok::<(), batchwright::loyalty::InvalidTime>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    pub(super) ms: i64,
}

/// A text that is not a [`Time`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an RFC 3339 time with Z or an offset, such as 2025-03-14T10:00:00Z")]
pub struct InvalidTime {
    text: String,
}

impl Time {
    pub(super) fn from_ms(ms: i64) -> Self {
        Self { ms }
    }

    /// The start of a day, counted from 1970-01-01.
    pub(super) fn of_day(day: u32) -> Self {
        Self::from_ms(i64::from(day) * DAY_MS)
    }

    /// The day, counted from 1970-01-01; 0 for earlier ones.
    pub(super) fn day(self) -> u32 {
        u32::try_from(self.ms.div_euclid(DAY_MS)).unwrap_or(0)
    }

    /// Whether RFC 3339 can name it.
    pub(super) fn has_a_text(self) -> bool {
        Timestamp::from_millisecond(self.ms).is_ok()
    }

    pub(super) fn plus_days(self, days: u32) -> Self {
        Self::from_ms(self.ms.saturating_add(i64::from(days) * DAY_MS))
    }

    pub(super) fn plus(self, duration: Duration) -> Self {
        let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self::from_ms(self.ms.saturating_add(ms))
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self::from_ms(match time.duration_since(UNIX_EPOCH) {
            Ok(after) => ms(after),
            Err(before) => -ms(before.duration()),
        })
    }
}

impl From<Time> for SystemTime {
    fn from(time: Time) -> Self {
        let distance = Duration::from_millis(time.ms.unsigned_abs());
        let found = if time.ms < 0 {
            UNIX_EPOCH.checked_sub(distance)
        } else {
            UNIX_EPOCH.checked_add(distance)
        };
        // Times that a system cannot tell are as good as its first.
        found.unwrap_or(UNIX_EPOCH)
    }
}

impl FromStr for Time {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let time: Result<Timestamp, _> = text.parse();
        time.map(|time| Self::from_ms(time.as_millisecond()))
            .map_err(|_| InvalidTime {
                text: codes::shown(text),
            })
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_millisecond(self.ms) {
            Ok(time) => time.fmt(f),
            // Past the year 9999, or before -9999.
            Err(_) => write!(f, "{} ms after 1970-01-01T00:00:00Z", self.ms),
        }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Whether the text is a date, or a time on one, such as `1990-05-21` or `1990-05-21T00:00:00Z`.
pub(super) fn is_date(text: &str) -> bool {
    // A date may have a time, but not one with Z.
    text.parse::<jiff::civil::Date>().is_ok() || text.parse::<Time>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Time {
        text.parse().unwrap()
    }

    #[test]
    fn times_with_an_offset_are_the_instants_they_name() {
        assert_eq!(time("1970-01-01T00:00:00.001Z").ms, 1);
        assert_eq!(
            time("2025-03-14T12:00:00+02:00"),
            time("2025-03-14T10:00:00Z")
        );
        assert_eq!(
            time("2025-03-14T10:00:00.500Z").to_string(),
            "2025-03-14T10:00:00.5Z"
        );
        assert_eq!(time("1969-12-31T23:59:59Z").ms, -1000);
        for time in [
            time("1969-12-31T23:59:59.999Z"),
            time("2025-03-14T10:00:00Z"),
        ] {
            assert_eq!(Time::from(SystemTime::from(time)), time);
        }
        let json = serde_json::to_string(&time("2025-03-14T10:00:00Z")).unwrap();
        assert_eq!(json, "\"2025-03-14T10:00:00Z\"");
    }

    #[test]
    fn times_without_an_offset_and_other_texts_are_refused() {
        for text in [
            "2025-03-14T12:00:00",
            "2025-03-14",
            "",
            "now",
            "2025-02-30T00:00:00Z",
            "12:00:00Z",
            "1741946400",
        ] {
            assert!(text.parse::<Time>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn days_begin_at_midnight_utc() {
        assert_eq!(time("1970-01-01T23:59:59.999Z").day(), 0);
        assert_eq!(time("1970-01-02T00:00:00Z").day(), 1);
        assert_eq!(Time::of_day(1), time("1970-01-02T00:00:00Z"));
        assert_eq!(
            time("2025-03-14T10:00:00Z").plus_days(1),
            time("2025-03-15T10:00:00Z")
        );
    }

    #[test]
    fn dates_may_have_a_time() {
        assert!(is_date("1990-05-21") && is_date("1990-05-21T10:00:00Z"));
        assert!(!is_date("21.5.1990") && !is_date("1990-02-30"));
    }
}
