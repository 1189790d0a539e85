//! Ids that need no counter in the database: a time in the upper bits, then a number that differs
//! between processes. They grow, so that rows keyed by them are appended, and an age is a range.

use std::sync::atomic::{AtomicI64, Ordering};

use base::Timestamp;

/// 2024-01-01T00:00:00Z: 41 bits of milliseconds from here reach to 2093.
const EPOCH_MS: i64 = 1_704_067_200_000;
/// Bits below the time: a million ids in a millisecond.
const LOW_BITS: u32 = 20;

/// Makes ids for letters, recipients, claims and journey rows.
pub(crate) struct IdSource {
    last: AtomicI64,
    low: i64,
}

impl IdSource {
    /// For the start of that number on a shared database. Its bits are turned round, so that the
    /// low parts of the last starts are as far from each other as can be: with a thousand starts
    /// alive, each still has 500 ids in a millisecond before it meets another's.
    pub(crate) fn of_start(number: i64) -> Self {
        Self::new(number.unsigned_abs().reverse_bits() >> (u64::BITS - LOW_BITS))
    }

    /// `random` tells processes apart.
    pub(crate) fn new(random: u64) -> Self {
        let low = i64::try_from(random & ((1 << LOW_BITS) - 1)).unwrap_or(0);
        Self {
            last: AtomicI64::new(0),
            low,
        }
    }

    /// The next id: higher than all before it in this process, and than those of earlier times.
    pub(crate) fn next(&self, now: Timestamp) -> i64 {
        let timed = first_id_at(now) | self.low;
        let step = |last: i64| Some(timed.max(last + 1));
        let before = self
            .last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        before.map_or(timed, |last| timed.max(last + 1))
    }
}

/// The lowest id that is made at a time.
pub(crate) fn first_id_at(time: Timestamp) -> i64 {
    (time.millis() - EPOCH_MS).max(1) << LOW_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_that_follow_each_other_are_far_apart() {
        let mut lows: Vec<i64> = (900..1_924)
            .map(|start| IdSource::of_start(start).low)
            .collect();
        lows.sort_unstable();
        let gaps = lows.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.min() >= Some(1 << 9));
    }

    #[test]
    fn ids_grow_even_when_the_clock_goes_back() {
        let ids = IdSource::new(u64::MAX);
        let first = ids.next(Timestamp(1_795_501_553_120));
        let second = ids.next(Timestamp(1_795_501_553_120));
        let third = ids.next(Timestamp(1_795_501_553_000));
        assert!(first < second && second < third);
        assert!(first >= first_id_at(Timestamp(1_795_501_553_120)));
        assert!(third < first_id_at(Timestamp(1_795_501_553_122)));
    }
}
