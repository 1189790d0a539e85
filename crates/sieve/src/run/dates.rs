//! The tests `date` and `currentdate` (RFC 5260).

use std::borrow::Cow;

use base::time::Civil;
use message::Date;
use message::header::parse_date;

use super::tests::Capture;
use super::{Go, Machine};
use crate::program::{DateTest, Zone};

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// §4.2 `date-part`.
const PARTS: [&str; 13] = [
    "year", "month", "day", "date", "julian", "hour", "minute", "second", "time", "iso8601",
    "std11", "zone", "weekday",
];

impl<'a> Machine<'a> {
    pub(super) fn date(&mut self, test: &'a DateTest) -> Go<bool> {
        let date = match &test.header {
            None => Some(Date {
                timestamp: self.run.now,
                offset_minutes: self.run.user.offset_minutes,
            }),
            Some(name) => {
                let name = self.text(name)?;
                let mut values = Vec::new();
                self.header_values(&name, test.index, &mut values)?;
                // §4: the first field, unless `:index` says another; of trace fields what follows
                // the last semicolon.
                values.first().and_then(|value| {
                    let text = value.rsplit(';').next().unwrap_or(value);
                    parse_date(text)
                })
            }
        };
        let Some(mut date) = date else {
            return self.matches(&test.matcher, &[], Capture::Yes);
        };
        match &test.zone {
            Zone::Local => date.offset_minutes = self.run.user.offset_minutes,
            Zone::Original => {}
            Zone::Given(zone) => match offset(&self.text(zone)?) {
                Some(minutes) => date.offset_minutes = minutes,
                None => return self.matches(&test.matcher, &[], Capture::Yes),
            },
        }
        let part = self.text(&test.part)?;
        let value = part_of(date, &part).map(Cow::Owned);
        self.matches(&test.matcher, value.as_slice(), Capture::Yes)
    }
}

/// `"+" / "-"` and four digits, in minutes.
pub(crate) fn offset(zone: &str) -> Option<i16> {
    let (sign, digits) = match zone.as_bytes().first()? {
        b'+' => (1, &zone[1..]),
        b'-' => (-1, &zone[1..]),
        _ => return None,
    };
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: i16 = digits.parse().ok()?;
    (number % 100 < 60 && number < 2_400).then_some(sign * (number / 100 * 60 + number % 100))
}

/// Whether there is such a part of a date.
pub(crate) fn is_part(name: &str) -> bool {
    PARTS.iter().any(|part| part.eq_ignore_ascii_case(name))
}

fn part_of(date: Date, part: &str) -> Option<String> {
    let local = date.local();
    let Civil {
        year,
        month,
        day,
        hour,
        minute,
        second,
        weekday,
    } = local;
    let zone = |colon: &str| {
        let (sign, minutes) = if date.offset_minutes < 0 {
            ('-', -date.offset_minutes)
        } else {
            ('+', date.offset_minutes)
        };
        format!("{sign}{:02}{colon}{:02}", minutes / 60, minutes % 60)
    };
    Some(match part.to_ascii_lowercase().as_str() {
        "year" => format!("{year:04}"),
        "month" => format!("{month:02}"),
        "day" => format!("{day:02}"),
        "date" => format!("{year:04}-{month:02}-{day:02}"),
        // §4.2: the Modified Julian Day, made of the date in the chosen zone (appendix A).
        "julian" => (local.to_secs().div_euclid(86_400) + 40_587).to_string(),
        "hour" => format!("{hour:02}"),
        "minute" => format!("{minute:02}"),
        "second" => format!("{second:02}"),
        "time" => format!("{hour:02}:{minute:02}:{second:02}"),
        "iso8601" => {
            // RFC 3339 §4.3: `Z` for UTC, as other engines write it.
            let zone = if date.offset_minutes == 0 {
                "Z".to_owned()
            } else {
                zone(":")
            };
            format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{zone}")
        }
        "std11" => format!(
            "{}, {day:02} {} {year:04} {hour:02}:{minute:02}:{second:02} {}",
            DAYS.get(usize::from(weekday))?,
            MONTHS.get(usize::from(month).checked_sub(1)?)?,
            zone("")
        ),
        "zone" => zone(""),
        "weekday" => weekday.to_string(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_5260_4_2_parts() {
        let date = parse_date("Sat, 28 Feb 2009 19:02:03 -0500").unwrap();
        let check =
            |part, expected: &str| assert_eq!(part_of(date, part).as_deref(), Some(expected));
        check("year", "2009");
        check("month", "02");
        check("day", "28");
        check("date", "2009-02-28");
        check("julian", "54890");
        check("hour", "19");
        check("minute", "02");
        check("second", "03");
        check("time", "19:02:03");
        check("iso8601", "2009-02-28T19:02:03-05:00");
        check("STD11", "Sat, 28 Feb 2009 19:02:03 -0500");
        check("zone", "-0500");
        check("weekday", "6");
        assert_eq!(part_of(date, "week"), None);
        assert!(PARTS.iter().all(|part| part_of(date, part).is_some()));
    }

    #[test]
    fn zones() {
        assert_eq!(offset("+0130"), Some(90));
        assert_eq!(offset("-0500"), Some(-300));
        for bad in ["", "+", "0100", "+100", "+01:0", "+0160", "+2400", "+é00"] {
            assert_eq!(offset(bad), None, "{bad}");
        }
    }
}
