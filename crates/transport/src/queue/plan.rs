//! How patient the queue is with each class of failure: the delay after the first attempt, how it
//! grows, the longest one, and how long a letter is tried at all. Pure numbers; the next attempt is
//! computed in [`super::backoff`].

use std::time::Duration;

use base::Timestamp;

use super::class::FailureClass;
use super::settings::QueueSettings;

/// The part of a delay that is random, so that letters which failed together do not come back
/// together: one fifth.
const JITTER_DIVISOR: u64 = 5;
/// The range of a factor in a setting, in percent: from "always the same" on.
const FACTOR_PERCENT: std::ops::RangeInclusive<u32> = 100..=1_000;
/// The shortest and the longest span of a plan: a second, and the longest lifetime of a letter.
const SPAN_MIN: Duration = Duration::from_secs(1);
const SPAN_MAX: Duration = Duration::from_secs(30 * 86_400);

/// When attempts are made, as long as they fail for the same kind of reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The delay after the first failed attempt.
    pub first: Duration,
    /// The next delay, in percent of the one before.
    pub factor_percent: u32,
    /// The longest delay.
    pub longest: Duration,
    /// How long a letter is tried, from its receipt on, if that is shorter than its own lifetime.
    pub lifetime: Option<Duration>,
}

impl Plan {
    /// The plan of a class where the settings name none, as multiples of the common first and
    /// longest delay. No class has a shorter lifetime by itself: RFC 5321 §4.5.4.1 wants four to five
    /// days, whatever the reason.
    #[must_use]
    pub fn usual(class: FailureClass, first: Duration, longest: Duration) -> Self {
        let plan = |first: Duration, factor_percent, longest: Duration| Self {
            first: first.min(longest),
            factor_percent,
            longest,
            lifetime: None,
        };
        match class {
            FailureClass::Unreachable | FailureClass::Interrupted | FailureClass::Refused => {
                plan(first, 200, longest)
            }
            // A question costs little, and most such faults are short.
            FailureClass::Dns => plan(first / 2, 200, longest / 4),
            // Soon, and again before the server has forgotten the first attempt.
            FailureClass::Greylisted => plan(first / 2, 200, longest / 8),
            // Coming back soon is what the server complains of.
            FailureClass::RateLimited => plan(first * 5, 200, longest / 2),
            // People empty mailboxes in hours, not in minutes.
            FailureClass::MailboxFull => plan(first * 15, 200, longest * 2),
            // Somebody has to change a rule or a certificate.
            FailureClass::Policy | FailureClass::Unsafe => plan(first * 5, 200, longest),
            FailureClass::Ours => plan(first, 150, longest / 8),
        }
    }

    /// Reads `CLASS FIRST FACTOR LONGEST` or `CLASS FIRST FACTOR LONGEST LIFETIME`: `greylisted 2m 1.5
    /// 30m`. `span` reads a span of time, in milliseconds.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub fn parse(
        text: &str,
        span: impl Fn(&str) -> Option<i64>,
    ) -> Result<(FailureClass, Self), String> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let (class, first, factor, longest, lifetime) = match words[..] {
            [class, first, factor, longest] => (class, first, factor, longest, None),
            [class, first, factor, longest, lifetime] => {
                (class, first, factor, longest, Some(lifetime))
            }
            _ => return Err(format!("not `class first factor longest`: {text}")),
        };
        let span = |word: &str| {
            let read = span(word).and_then(|ms| u64::try_from(ms).ok());
            read.map(Duration::from_millis)
                .filter(|span| (SPAN_MIN..=SPAN_MAX).contains(span))
                .ok_or_else(|| format!("not a span of time from 1 s to 30 d: {word}"))
        };
        let plan = Self {
            first: span(first)?,
            factor_percent: factor_percent(factor)
                .ok_or_else(|| format!("not a factor from 1 to 10: {factor}"))?,
            longest: span(longest)?,
            lifetime: lifetime.map(span).transpose()?,
        };
        if plan.longest < plan.first {
            return Err(format!(
                "the longest delay is shorter than the first: {text}"
            ));
        }
        let class = FailureClass::parse(class).ok_or_else(|| {
            let words = FailureClass::ALL.map(|(_, word)| word);
            format!(
                "no class of failures: {class} (there are {})",
                words.join(", ")
            )
        })?;
        Ok((class, plan))
    }

    /// The delay after so many failed attempts before this one; the last fifth of it is random.
    #[must_use]
    pub fn delay(&self, attempts_before: u32, random: u64) -> Duration {
        let longest_ms = millis(self.longest);
        let mut whole_ms = millis(self.first).min(longest_ms);
        let mut left = attempts_before;
        // Ends soon: each round adds a part, or the factor is 1 and nothing changes.
        while left > 0 && whole_ms < longest_ms && self.factor_percent > 100 {
            let grown = whole_ms.saturating_mul(u64::from(self.factor_percent)) / 100;
            whole_ms = grown.max(whole_ms + 1).min(longest_ms);
            left -= 1;
        }
        let jitter_ms = whole_ms / JITTER_DIVISOR;
        // Between 80 % and 100 %, so that the longest is never passed.
        Duration::from_millis(whole_ms - jitter_ms + random % (jitter_ms + 1))
    }

    /// When a letter is given up that fails by this plan.
    #[must_use]
    pub fn end(&self, received_at: Timestamp, expires_at: Timestamp) -> Timestamp {
        self.lifetime
            .map_or(expires_at, |span| expires_at.min(received_at + span))
    }
}

impl QueueSettings {
    /// The plan of a class: the operator's, or the usual one.
    #[must_use]
    pub fn plan(&self, class: FailureClass) -> Plan {
        self.plans
            .get(&class)
            .copied()
            .unwrap_or_else(|| Plan::usual(class, self.retry_first, self.retry_max))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// `1.5` as 150; at most two digits behind the point.
fn factor_percent(word: &str) -> Option<u32> {
    let (whole, part) = word.split_once('.').unwrap_or((word, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 2 || part.len() > 2 || !digits(whole) || !digits(part) {
        return None;
    }
    let hundredths: u32 = format!("{part:0<2}").parse().ok()?;
    let percent = whole.parse::<u32>().ok()? * 100 + hundredths;
    FACTOR_PERCENT.contains(&percent).then_some(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest delays of a class by the default settings, in minutes.
    fn minutes(class: FailureClass) -> Vec<u64> {
        let plan = QueueSettings::default().plan(class);
        let longest = |attempt| {
            let least = plan.delay(attempt, 0);
            // The random part that gives the whole.
            let whole = least * 5 / 4;
            whole.as_secs() / 60
        };
        (0..9).map(longest).collect()
    }

    #[test]
    fn each_class_has_its_own_pace() {
        use FailureClass::{Dns, Greylisted, MailboxFull, Ours, RateLimited, Unreachable, Unsafe};
        assert_eq!(minutes(Unreachable), [2, 4, 8, 16, 32, 64, 128, 240, 240]);
        assert_eq!(minutes(Dns), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(minutes(Greylisted), [1, 2, 4, 8, 16, 30, 30, 30, 30]);
        assert_eq!(
            minutes(RateLimited),
            [10, 20, 40, 80, 120, 120, 120, 120, 120]
        );
        assert_eq!(
            minutes(MailboxFull),
            [30, 60, 120, 240, 480, 480, 480, 480, 480]
        );
        assert_eq!(minutes(Unsafe), [10, 20, 40, 80, 160, 240, 240, 240, 240]);
        assert_eq!(minutes(Ours), [2, 3, 4, 6, 10, 15, 22, 30, 30]);
    }

    #[test]
    fn jitter_stays_in_its_fifth() {
        let plan = Plan {
            first: Duration::from_secs(100),
            factor_percent: 200,
            longest: Duration::from_secs(100),
            lifetime: None,
        };
        for random in [0, 1, 19_999, 20_000, 20_001, u64::MAX] {
            let got = plan.delay(u32::MAX, random);
            assert!((80..=100).contains(&got.as_secs()), "{random}: {got:?}");
        }
        assert_eq!(plan.delay(0, 0), Duration::from_secs(80));
        assert_eq!(plan.delay(0, 20_000), Duration::from_secs(100));
    }

    #[test]
    fn growth_ends_whatever_the_numbers_are() {
        let plan = Plan {
            first: Duration::from_millis(1),
            factor_percent: 101,
            longest: Duration::from_secs(1_000_000_000),
            lifetime: None,
        };
        assert!(plan.delay(u32::MAX, 0) <= plan.longest);
        let constant = Plan {
            factor_percent: 100,
            ..plan
        };
        assert_eq!(constant.delay(u32::MAX, 0), Duration::from_millis(1));
    }

    #[test]
    fn plans_of_the_operator() {
        let span = |word: &str| match word {
            "1s" => Some(1_000),
            "2m" => Some(120_000),
            "30m" => Some(1_800_000),
            "3d" => Some(3 * 86_400_000),
            _ => None,
        };
        let plan = Plan {
            first: Duration::from_secs(120),
            factor_percent: 150,
            longest: Duration::from_secs(1_800),
            lifetime: None,
        };
        let check = |text, expected: Result<(FailureClass, Plan), &str>| {
            let parsed = Plan::parse(text, span);
            assert_eq!(parsed, expected.map_err(str::to_owned), "{text}");
        };
        check(
            "greylisted 2m 1.5 30m",
            Ok((FailureClass::Greylisted, plan)),
        );
        let limited = Plan {
            lifetime: Some(Duration::from_secs(3 * 86_400)),
            ..plan
        };
        check(
            "mailbox-full 2m 1.5 30m 3d",
            Ok((FailureClass::MailboxFull, limited)),
        );
        check("dns 2m", Err("not `class first factor longest`: dns 2m"));
        check("dns 2m 0.9 30m", Err("not a factor from 1 to 10: 0.9"));
        check("dns 2m 10.01 30m", Err("not a factor from 1 to 10: 10.01"));
        check("dns 2 2 30m", Err("not a span of time from 1 s to 30 d: 2"));
        let shorter = "the longest delay is shorter than the first: dns 30m 2 2m";
        check("dns 30m 2 2m", Err(shorter));
        let unknown = Plan::parse("slow 2m 2 30m", span).unwrap_err();
        assert!(unknown.contains("no class of failures: slow"), "{unknown}");
        assert!(unknown.contains("greylisted, rate-limited"), "{unknown}");
        assert_eq!(
            Plan::parse("dns 1s 10 1s", span).unwrap().1.factor_percent,
            1_000
        );
    }

    #[test]
    fn a_plan_may_end_a_letter_earlier_and_never_later() {
        let day = Duration::from_secs(86_400);
        let plan = |lifetime| Plan {
            lifetime,
            ..Plan::usual(FailureClass::Dns, day, day)
        };
        let start = Timestamp(0);
        let expires = start + day * 5;
        assert_eq!(plan(None).end(start, expires), expires);
        assert_eq!(plan(Some(day)).end(start, expires), start + day);
        assert_eq!(plan(Some(day * 9)).end(start, expires), expires);
    }
}
