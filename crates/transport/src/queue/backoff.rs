//! When a letter is tried again, and what is decided about one that could not be handed over now:
//! the next attempt, a warning to the sender, or the end.

use std::time::Duration;

use base::Timestamp;

use super::class::FailureClass;
use super::plan::Plan;
use super::settings::QueueSettings;

/// What becomes of a recipient that could not be reached now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextAttempt {
    /// Try again.
    At {
        /// When.
        at: Timestamp,
        /// Whether the letter is late enough for a warning to its sender.
        late: bool,
    },
    /// The time is over.
    Expired,
}

/// Decides about a recipient that could not be reached now for a reason of this class. At `notify_at`
/// the sender is told that it is late, whatever the settings say (RFC 2852 §4 by-mode `N`).
#[must_use]
pub fn next_attempt(
    (settings, class): (&QueueSettings, FailureClass),
    now: Timestamp,
    received_at: Timestamp,
    (expires_at, notify_at): (Timestamp, Option<Timestamp>),
    attempts_before: u32,
    random: u64,
) -> NextAttempt {
    let plan = settings.plan(class);
    let end = plan.end(received_at, expires_at);
    if now >= end {
        return NextAttempt::Expired;
    }
    // One attempt is made when the time is over, so that no letter is given up on an old reply.
    let at = (now + plan.delay(attempts_before, random)).min(end);
    let (at, late) = match notify_at {
        Some(moment) if now < moment => (at.min(moment), false),
        Some(_) => (at, true),
        None => (at, now.since(received_at) >= settings.delay_warning),
    };
    NextAttempt::At { at, late }
}

/// `first`, doubled `times` times, at most `max`; the last fifth of it is random.
#[must_use]
pub fn delay(first: Duration, max: Duration, times: u32, random: u64) -> Duration {
    let plan = Plan {
        first,
        factor_percent: 200,
        longest: max,
        lifetime: None,
    };
    plan.delay(times, random)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(
        settings: &QueueSettings,
        now: Timestamp,
        received_at: Timestamp,
        expires_at: Timestamp,
        attempts_before: u32,
    ) -> NextAttempt {
        next_attempt(
            (settings, FailureClass::Unreachable),
            now,
            received_at,
            (expires_at, None),
            attempts_before,
            0,
        )
    }

    #[test]
    fn the_class_decides_about_the_next_attempt_and_the_end() {
        let day = Duration::from_secs(86_400);
        let mut settings = QueueSettings::default();
        let plan = Plan {
            first: Duration::from_secs(100),
            factor_percent: 100,
            longest: Duration::from_secs(100),
            lifetime: Some(day),
        };
        settings.plans.insert(FailureClass::Greylisted, plan);
        let (start, expires) = (Timestamp(0), Timestamp(0) + day * 5);
        let next = |class, now| next_attempt((&settings, class), now, start, (expires, None), 3, 0);
        let at = |ms, late| NextAttempt::At {
            at: Timestamp(ms),
            late,
        };
        assert_eq!(next(FailureClass::Greylisted, start), at(80_000, false));
        assert_eq!(next(FailureClass::Refused, start), at(16 * 48_000, false));
        assert_eq!(
            next(FailureClass::Greylisted, start + day),
            NextAttempt::Expired
        );
        assert_ne!(
            next(FailureClass::Refused, start + day),
            NextAttempt::Expired
        );
    }

    #[test]
    fn the_last_attempt_is_at_the_expiry() {
        let settings = QueueSettings::default();
        let received = Timestamp(0);
        let expires = received + settings.lifetime;
        let now = expires - Duration::from_secs(60);
        assert_eq!(
            next(&settings, now, received, expires, 9),
            NextAttempt::At {
                at: expires,
                late: true
            }
        );
        assert_eq!(
            next(&settings, expires, received, expires, 9),
            NextAttempt::Expired
        );
        assert_eq!(
            next(&settings, received, received, expires, 0),
            NextAttempt::At {
                at: Timestamp(96_000),
                late: false
            }
        );
    }

    #[test]
    fn the_sender_is_told_at_the_moment_that_was_asked_for() {
        let settings = QueueSettings::default();
        let (start, by) = (Timestamp(0), Timestamp(0) + Duration::from_secs(100));
        let expires = start + settings.lifetime;
        let next = |now| {
            next_attempt(
                (&settings, FailureClass::Unreachable),
                now,
                start,
                (expires, Some(by)),
                9,
                0,
            )
        };
        assert_eq!(
            next(start),
            NextAttempt::At {
                at: by,
                late: false
            }
        );
        assert!(matches!(next(by), NextAttempt::At { late: true, .. }));
    }

    #[test]
    fn late_exactly_at_the_limit() {
        let settings = QueueSettings::default();
        let expires = Timestamp(0) + settings.lifetime;
        let late = |now| match next(&settings, now, Timestamp(0), expires, 0) {
            NextAttempt::At { late, .. } => late,
            NextAttempt::Expired => panic!("expired"),
        };
        let limit = Timestamp(0) + settings.delay_warning;
        assert!(late(limit));
        assert!(!late(limit - Duration::from_millis(1)));
    }
}
