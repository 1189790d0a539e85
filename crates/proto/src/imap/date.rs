//! Dates and times (RFC 9051 §9: date, date-time).

use std::fmt;

use base::Timestamp;
use base::time::Civil;

use super::cursor::{Cursor, Parsed};
use super::error::SyntaxError;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A day without a time zone, as SEARCH compares it: days since 1970-01-01.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Day(pub i64);

impl Day {
    /// The day of a moment in UTC.
    #[must_use]
    pub const fn of(moment: Timestamp) -> Self {
        Self(moment.secs().div_euclid(86_400))
    }

    /// `date = date-text / DQUOTE date-text DQUOTE`.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        let quoted = cursor.take(b'"');
        let civil = read_date(cursor)?;
        if quoted {
            cursor.expect(b'"', "a closing quote")?;
        }
        Ok(Self(civil.to_secs().div_euclid(86_400)))
    }
}

/// `date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE`.
pub(super) fn read_date_time(cursor: &mut Cursor<'_>) -> Parsed<Timestamp> {
    cursor.expect(b'"', "a date and time")?;
    cursor.take(b' ');
    let mut civil = read_date(cursor)?;
    cursor.space()?;
    civil.hour = two_digits(cursor, 23)?;
    cursor.expect(b':', "a time")?;
    civil.minute = two_digits(cursor, 59)?;
    cursor.expect(b':', "a time")?;
    // A leap second counts as the next second.
    civil.second = two_digits(cursor, 60)?;
    cursor.space()?;
    let sign = match cursor.peek() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        Some(_) | None => return Err(SyntaxError::Expected("a time zone")),
    };
    cursor.take(if sign == 1 { b'+' } else { b'-' });
    let hours = i64::from(two_digits(cursor, 23)?);
    let minutes = i64::from(two_digits(cursor, 59)?);
    cursor.expect(b'"', "a closing quote")?;
    let offset_s = sign * (hours * 3_600 + minutes * 60);
    Ok(Timestamp::from_secs(civil.to_secs() - offset_s))
}

fn read_date(cursor: &mut Cursor<'_>) -> Parsed<Civil> {
    let day = digits(cursor, 1..=2)?;
    cursor.expect(b'-', "a date")?;
    let name = cursor.take_while(|b| b.is_ascii_alphabetic());
    let month = MONTHS
        .iter()
        .position(|month| month.as_bytes().eq_ignore_ascii_case(name))
        .ok_or(SyntaxError::Expected("a month"))?;
    cursor.expect(b'-', "a date")?;
    let year = i64::from(digits(cursor, 4..=4)?);
    let month = u8::try_from(month + 1).map_err(|_| SyntaxError::Date)?;
    let civil = Civil {
        year,
        month,
        day: u8::try_from(day).map_err(|_| SyntaxError::Date)?,
        hour: 0,
        minute: 0,
        second: 0,
        weekday: 0,
    };
    // A day that the month does not have comes back as another.
    let back = Civil::from_secs(civil.to_secs());
    if civil.day > 0 && (back.year, back.month, back.day) == (civil.year, civil.month, civil.day) {
        Ok(civil)
    } else {
        Err(SyntaxError::Date)
    }
}

fn two_digits(cursor: &mut Cursor<'_>, max: u8) -> Parsed<u8> {
    u8::try_from(digits(cursor, 2..=2)?)
        .ok()
        .filter(|number| *number <= max)
        .ok_or(SyntaxError::Date)
}

fn digits(cursor: &mut Cursor<'_>, count: std::ops::RangeInclusive<usize>) -> Parsed<u32> {
    let digits = cursor.take_digits(*count.end());
    if !count.contains(&digits.len()) {
        return Err(SyntaxError::Date);
    }
    Ok(digits
        .iter()
        .fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
}

/// Writes a moment as `date-time` in UTC, with its quotes.
#[derive(Debug)]
pub struct DateTime(pub Timestamp);

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let civil = self.0.civil();
        let month = MONTHS
            .get(usize::from(civil.month).saturating_sub(1))
            .unwrap_or(&"Jan");
        // The grammar has four digits; a hostile Date outside of them is cut to the nearest.
        let year = civil.year.clamp(0, 9_999);
        write!(
            f,
            "\"{:2}-{month}-{year:04} {:02}:{:02}:{:02} +0000\"",
            civil.day, civil.hour, civil.minute, civil.second
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> Parsed<Timestamp> {
        read_date_time(&mut Cursor::new(text.as_bytes(), false))
    }

    #[test]
    fn date_time_there_and_back() {
        let text = "\" 7-Feb-1994 21:52:25 +0000\"";
        assert_eq!(DateTime(moment(text).unwrap()).to_string(), text);
        let west = moment("\"17-Jul-1996 02:44:25 -0700\"").unwrap();
        assert_eq!(DateTime(west).to_string(), "\"17-Jul-1996 09:44:25 +0000\"");
    }

    #[test]
    fn refuses_days_that_are_not() {
        for bad in [
            "\"31-Feb-2024 00:00:00 +0000\"",
            "\"00-Jan-2024 00:00:00 +0000\"",
            "\"01-Foo-2024 00:00:00 +0000\"",
            "\"01-Jan-2024 24:00:00 +0000\"",
            "\"01-Jan-2024 00:00:00\"",
            "01-Jan-2024 00:00:00 +0000",
        ] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn days() {
        let day = |text: &str| Day::read(&mut Cursor::new(text.as_bytes(), false));
        assert_eq!(day("1-Jan-1970"), Ok(Day(0)));
        assert_eq!(day("\"2-jan-1970\""), Ok(Day(1)));
        assert_eq!(day("29-Feb-2023"), Err(SyntaxError::Date));
    }
}
