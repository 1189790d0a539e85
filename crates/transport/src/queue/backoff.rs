//! When a letter is tried again, and what is decided about one that could not be handed over now:
//! the next attempt, a warning to the sender, or the end.

use std::time::Duration;

use base::Timestamp;

use super::settings::QueueSettings;

/// The part of a delay that is random, so that letters which failed together do not come back
/// together: one fifth.
const JITTER_DIVISOR: u64 = 5;

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

/// Decides about a recipient that could not be reached now. At `notify_at` the sender is told that it
/// is late, whatever the settings say (RFC 2852 §4 by-mode `N`).
#[must_use]
pub fn next_attempt(
    settings: &QueueSettings,
    now: Timestamp,
    received_at: Timestamp,
    (expires_at, notify_at): (Timestamp, Option<Timestamp>),
    attempts_before: u32,
    random: u64,
) -> NextAttempt {
    if now >= expires_at {
        return NextAttempt::Expired;
    }
    let delay = delay(
        settings.retry_first,
        settings.retry_max,
        attempts_before,
        random,
    );
    // One attempt is made when the time is over, so that no letter is given up on an old reply.
    let at = (now + delay).min(expires_at);
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
    let whole = first
        .saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX))
        .min(max);
    let whole_ms = u64::try_from(whole.as_millis()).unwrap_or(u64::MAX);
    let jitter_ms = whole_ms / JITTER_DIVISOR;
    // Between 80 % and 100 %, so that the maximum is never passed.
    Duration::from_millis(whole_ms - jitter_ms + random % (jitter_ms + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_maximum() {
        let settings = QueueSettings::default();
        // The largest random part.
        let minutes: Vec<u64> = (0..9)
            .map(|attempt| {
                let whole = settings.retry_first.as_millis().min(u128::from(u64::MAX));
                let jitter = u64::try_from(whole).unwrap() * (1 << attempt) / 5;
                let max_jitter = u64::try_from(settings.retry_max.as_millis()).unwrap() / 5;
                delay(
                    settings.retry_first,
                    settings.retry_max,
                    attempt,
                    jitter.min(max_jitter),
                )
                .as_secs()
                    / 60
            })
            .collect();
        assert_eq!(minutes, [2, 4, 8, 16, 32, 64, 128, 240, 240]);
    }

    #[test]
    fn jitter_stays_in_its_fifth() {
        let first = Duration::from_secs(100);
        for random in [0, 1, 19_999, 20_000, 20_001, u64::MAX] {
            let got = delay(first, first, u32::MAX, random);
            assert!((80..=100).contains(&got.as_secs()), "{random}: {got:?}");
        }
        assert_eq!(delay(first, first, 0, 0), Duration::from_secs(80));
        assert_eq!(delay(first, first, 0, 20_000), Duration::from_secs(100));
    }

    #[test]
    fn the_last_attempt_is_at_the_expiry() {
        let settings = QueueSettings::default();
        let received = Timestamp(0);
        let expires = received + settings.lifetime;
        let now = expires - Duration::from_secs(60);
        assert_eq!(
            next_attempt(&settings, now, received, (expires, None), 9, 0),
            NextAttempt::At {
                at: expires,
                late: true
            }
        );
        assert_eq!(
            next_attempt(&settings, expires, received, (expires, None), 9, 0),
            NextAttempt::Expired
        );
        assert_eq!(
            next_attempt(&settings, received, received, (expires, None), 0, 0),
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
        let next = |now| next_attempt(&settings, now, start, (expires, Some(by)), 9, 0);
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
        let late = |now| match next_attempt(&settings, now, Timestamp(0), (expires, None), 0, 0) {
            NextAttempt::At { late, .. } => late,
            NextAttempt::Expired => panic!("expired"),
        };
        let limit = Timestamp(0) + settings.delay_warning;
        assert!(late(limit));
        assert!(!late(limit - Duration::from_millis(1)));
    }
}
