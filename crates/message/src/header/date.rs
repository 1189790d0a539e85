//! Dates of header fields (RFC 5322 §3.3 and §4.3), read liberally.

use base::Timestamp;
use base::time::Civil;

/// A moment together with the zone that the sender wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Date {
    /// The moment.
    pub timestamp: Timestamp,
    /// Minutes east of UTC; 0 when the zone is missing or unknown.
    pub offset_minutes: i16,
}

impl Date {
    /// Date and time of day as the sender's clock showed them (IMAP SENTON, JMAP `sentAt`).
    #[must_use]
    pub const fn local(self) -> Civil {
        Civil::from_secs(self.timestamp.secs() + self.offset_minutes as i64 * 60)
    }
}

/// Tokens of one date that are looked at; a right one has 7.
const TOKENS_MAX: usize = 16;

/// Reads `[day-name ","] day month year hour ":" minute [":" second] zone`, and also the order of
/// `asctime` (`Tue Nov 24 06:38:05 2026`). Comments are passed over.
#[must_use]
pub fn parse_date(text: &str) -> Option<Date> {
    let text = without_comments(text);
    let mut parts = Parts::default();
    let tokens = text
        .split(|c: char| c.is_ascii_whitespace() || c == ',')
        .filter(|token| !token.is_empty())
        .take(TOKENS_MAX);
    for token in tokens {
        parts.take(token);
    }
    parts.date()
}

#[derive(Default)]
struct Parts {
    day: Option<u8>,
    month: Option<u8>,
    year: Option<i64>,
    time: Option<(u8, u8, u8)>,
    offset: Option<i16>,
}

impl Parts {
    fn take(&mut self, token: &str) {
        if token.contains(':') {
            if self.time.is_none() {
                self.take_time(token);
            }
        } else if token.starts_with(['+', '-']) && self.time.is_some() {
            self.offset = self.offset.or_else(|| numeric_zone(token));
        } else if token.bytes().all(|b| b.is_ascii_digit()) {
            self.take_number(token);
        } else if let Some(month) = month(token) {
            self.month = self.month.or(Some(month));
        } else if token.contains('-') && self.day.is_none() {
            // `24-Nov-2026`, which old software writes.
            for piece in token.split('-').take(3) {
                self.take(piece);
            }
        } else if self.time.is_some() {
            self.offset = self.offset.or_else(|| named_zone(token));
        }
    }

    fn take_time(&mut self, token: &str) {
        let digits_end = token
            .find(|c: char| !c.is_ascii_digit() && c != ':')
            .unwrap_or(token.len());
        let mut numbers = token[..digits_end].split(':').map(str::parse::<u8>);
        let (Some(Ok(hour)), Some(Ok(minute))) = (numbers.next(), numbers.next()) else {
            return;
        };
        let second = numbers.next().and_then(Result::ok).unwrap_or(0);
        self.time = Some((hour, minute, second));
        let rest = &token[digits_end..];
        if rest.starts_with(['+', '-']) {
            self.offset = numeric_zone(rest);
        }
    }

    fn take_number(&mut self, token: &str) {
        if self.day.is_none() && token.len() <= 2 {
            self.day = token.parse().ok();
        } else if self.year.is_none() && self.month.is_some() && token.len() <= 4 {
            // RFC 5322 §4.3: years of two and three digits.
            self.year = token.parse::<i64>().ok().map(|year| match token.len() {
                1 | 2 if year < 50 => year + 2_000,
                1..=3 => year + 1_900,
                _ => year,
            });
        }
    }

    fn date(&self) -> Option<Date> {
        let (day, month, year) = (self.day?, self.month?, self.year?);
        let (hour, minute, second) = self.time.unwrap_or((0, 0, 0));
        if !(1..=days_in(month, year)).contains(&day) || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let local = Civil {
            year,
            month,
            day,
            hour,
            minute,
            // A leap second is not in our time.
            second: second.min(59),
            weekday: 0,
        };
        let offset_minutes = self.offset.unwrap_or(0);
        Some(Date {
            timestamp: Timestamp::from_secs(local.to_secs() - i64::from(offset_minutes) * 60),
            offset_minutes,
        })
    }
}

fn days_in(month: u8, year: i64) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

fn month(token: &str) -> Option<u8> {
    const NAMES: [&str; 12] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ];
    let start = token.get(..3)?;
    let at = NAMES
        .iter()
        .position(|name| start.eq_ignore_ascii_case(name))?;
    u8::try_from(at + 1).ok()
}

/// `zone = ("+" / "-") 4DIGIT`; `+01:00` and `+1` are seen too.
fn numeric_zone(token: &str) -> Option<i16> {
    let negative = token.starts_with('-');
    let digits: String = token[1..]
        .chars()
        .filter(|c| *c != ':')
        .take_while(char::is_ascii_digit)
        .take(4)
        .collect();
    let number: i16 = digits.parse().ok()?;
    let minutes = match digits.len() {
        1 | 2 => number * 60,
        _ => number / 100 * 60 + number % 100,
    };
    Some(if negative { -minutes } else { minutes })
}

/// RFC 5322 §4.3: the obsolete zones; military and unknown ones count as `-0000`.
fn named_zone(token: &str) -> Option<i16> {
    let hours = match token.to_ascii_uppercase().as_str() {
        "EDT" => -4,
        "EST" | "CDT" => -5,
        "CST" | "MDT" => -6,
        "MST" | "PDT" => -7,
        "PST" => -8,
        "CET" | "MET" => 1,
        "CEST" | "MEST" => 2,
        "UT" | "GMT" | "UTC" | "Z" => 0,
        _ => return None,
    };
    Some(hours * 60)
}

fn without_comments(text: &str) -> String {
    let mut depth = 0_usize;
    text.chars()
        .filter(|c| match c {
            '(' => {
                depth += 1;
                false
            }
            ')' => {
                depth = depth.saturating_sub(1);
                false
            }
            _ => depth == 0,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let shown = parse_date(text).map_or_else(
            || "-".to_owned(),
            |d| format!("{} {}", d.timestamp, d.offset_minutes),
        );
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn dates() {
        check(
            "Tue, 24 Nov 2026 07:38:05 +0100",
            "2026-11-24T06:38:05.000Z 60",
        );
        check("24 Nov 2026 07:38 -0130", "2026-11-24T09:08:00.000Z -90");
        check(
            "Fri, 21 Nov 97 09:55:06 EST",
            "1997-11-21T14:55:06.000Z -300",
        );
        check(
            "Thu,\t13 Feb 1969 23:32 (Hi) -0330 (Newfoundland Time)",
            "1969-02-14T03:02:00.000Z -210",
        );
        check("1 Jan 05 00:00:60 GMT", "2005-01-01T00:00:59.000Z 0");
        check("Tue Nov 24 06:38:05 2026", "2026-11-24T06:38:05.000Z 0");
        check("24-Nov-2026 06:38:05 +0000", "2026-11-24T06:38:05.000Z 0");
        check(
            "Tue, 24 Nov 2026 07:38:05+01:00",
            "2026-11-24T06:38:05.000Z 60",
        );
        check("Tue, 24 Nov 2026", "2026-11-24T00:00:00.000Z 0");
        check("30 Feb 2026 00:00:00 +0000", "-");
        check("1 Jan 2026 24:00:00 +0000", "-");
        check("yesterday", "-");
        check("", "-");
    }
}
