//! A moment as the store and the protocols know it.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Milliseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// From whole seconds since 1970.
    #[must_use]
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// The time from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads a date of RFC 3339 §5.6: `2026-11-24T06:25:53Z`, with a fraction of a second or an
    /// offset from UTC if there is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = |from: usize, to: usize| {
            let digits = text.get(from..to)?;
            let all = digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse::<i64>().ok().filter(|_| all)
        };
        let sign = |at: usize, signs: &[u8]| signs.contains(text.as_bytes().get(at)?).then_some(());
        sign(4, b"-")?;
        sign(7, b"-")?;
        sign(10, b"Tt")?;
        sign(13, b":")?;
        sign(16, b":")?;
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let zone = text.get(19..)?;
        let zone = match zone.strip_prefix('.') {
            Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
            None => zone,
        };
        let offset = parse_offset(zone)?;
        // A leap second counts as the first of the next minute.
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let (month, day) = (u8::try_from(month).ok()?, u8::try_from(day).ok()?);
        let midnight = Civil {
            year,
            month,
            day,
            hour: 0,
            minute: 0,
            second: 0,
            weekday: 0,
        };
        // The 31st of a short month would be a day of the next.
        let days = midnight.to_secs();
        let same = Civil::from_secs(days);
        if !(1..=12).contains(&month) || same.month != month || same.day != day {
            return None;
        }
        let seconds = days + hour * 3_600 + minute * 60 + second;
        Some(Self::from_secs(seconds - offset))
    }

    /// RFC 3339 without a fraction: `2026-11-24T06:25:53Z`.
    #[must_use]
    pub fn whole_seconds(self) -> String {
        let text = Self::from_secs(self.secs()).to_string();
        text.replace(".000Z", "Z")
    }

    /// The parts of the date in UTC.
    #[must_use]
    pub const fn civil(self) -> Civil {
        Civil::from_secs(self.secs())
    }
}

/// RFC 3339 §5.6 `time-offset`, in seconds.
fn parse_offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("Z") {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone[1..].split_once(':')?;
    let two = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    if !two(hours) || !two(minutes) {
        return None;
    }
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

/// RFC 3339 with milliseconds, in UTC: `2026-11-24T06:25:53.120Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil {
            year,
            month,
            day,
            hour,
            minute,
            second,
            ..
        } = self.civil();
        let millis = self.0.rem_euclid(1_000);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
        )
    }
}

/// A date and a time of day in the proleptic Gregorian calendar, UTC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Civil {
    /// The year; may be negative for hostile input.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 is Sunday.
    pub weekday: u8,
}

impl Civil {
    /// The parts of a moment given in seconds since 1970.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "each part is in its range"
    )]
    pub const fn from_secs(secs: i64) -> Self {
        let days = secs.div_euclid(86_400);
        let rest = secs.rem_euclid(86_400);
        // Days to civil date: eras of 400 years that start on 1 March.
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let day_of_era = z.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        let year = year_of_era + era * 400 + (month <= 2) as i64;
        Self {
            year,
            month: month as u8,
            day: (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u8,
            hour: (rest / 3_600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
            weekday: (days + 4).rem_euclid(7) as u8,
        }
    }

    /// Seconds since 1970 of this date and time; the weekday is not looked at.
    #[must_use]
    pub const fn to_secs(self) -> i64 {
        let year = if self.month <= 2 {
            self.year - 1
        } else {
            self.year
        };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month = self.month as i64;
        let shifted_month = if month > 2 { month - 3 } else { month + 9 };
        let day_of_year = (153 * shifted_month + 2) / 5 + self.day as i64 - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        days * 86_400 + self.hour as i64 * 3_600 + self.minute as i64 * 60 + self.second as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_rfc_3339() {
        assert_eq!(
            Timestamp(1_795_501_553_120).to_string(),
            "2026-11-24T06:25:53.120Z"
        );
        assert_eq!(Timestamp(-1).to_string(), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn reads_rfc_3339() {
        let check = |text, expected: Option<&str>| {
            let read = Timestamp::parse(text).map(Timestamp::whole_seconds);
            assert_eq!(read.as_deref(), expected, "{text}");
        };
        check("2026-11-24T06:25:53Z", Some("2026-11-24T06:25:53Z"));
        check("2026-11-24t06:25:53.5z", Some("2026-11-24T06:25:53Z"));
        check("2026-11-24T06:25:53+02:30", Some("2026-11-24T03:55:53Z"));
        check("2024-02-29T23:59:60-01:00", Some("2024-03-01T01:00:00Z"));
        for bad in [
            "",
            "2026-11-24",
            "2026-11-24T06:25:53",
            "2026-02-29T06:25:53Z",
            "2026-00-01T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-24T24:00:00Z",
            "2026-11-24T06:25:53+2:30",
            "2026-11-24T06:25:53.Zx",
            "+026-11-24T06:25:53Z",
            "2026-11-24T06:25:53+é:0",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn civil_there_and_back() {
        for secs in (-200_000_000_000..200_000_000_000_i64).step_by(98_765_432) {
            assert_eq!(Civil::from_secs(secs).to_secs(), secs);
        }
        assert_eq!(Civil::from_secs(0).weekday, 4, "1970-01-01 was a Thursday");
    }
}
