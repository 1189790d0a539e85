//! The time of day in the world: that of the paused runtime, and for each node its own error.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base::Timestamp;
use base::ports::Clock;
use tokio::time::Instant;

/// When every world begins: 2026-06-01T00:00:00Z.
const BEGIN: Timestamp = Timestamp(1_780_272_000_000);

/// How wrong a clock may be: several leases, and a small part of a letter's lifetime, as five days
/// are to a clock that somebody sets. A report that a jump makes expire is lost rightly.
const ERROR_MS_MAX: i64 = 200_000;

/// A node's clock.
#[derive(Clone, Debug)]
pub struct SimClock {
    start: Instant,
    /// By how many milliseconds it is wrong.
    error_ms: Arc<AtomicI64>,
}

impl SimClock {
    /// A clock that is right.
    #[must_use]
    pub fn new(start: Instant) -> Self {
        Self {
            start,
            error_ms: Arc::default(),
        }
    }

    /// Lets it jump; it is never more wrong than [`ERROR_MS_MAX`].
    pub fn jump(&self, ms: i64) {
        let error_ms = self.error_ms.load(Ordering::Relaxed) + ms;
        let error_ms = error_ms.clamp(-ERROR_MS_MAX, ERROR_MS_MAX);
        self.error_ms.store(error_ms, Ordering::Relaxed);
    }

    /// Sets it right.
    pub fn set_right(&self) {
        self.error_ms.store(0, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let error_ms = self.error_ms.load(Ordering::Relaxed);
        let right = BEGIN + self.start.elapsed();
        if error_ms < 0 {
            right - Duration::from_millis(error_ms.unsigned_abs())
        } else {
            right + Duration::from_millis(error_ms.unsigned_abs())
        }
    }
}
