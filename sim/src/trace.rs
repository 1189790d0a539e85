//! What happened, in order: one line for each event, with the time since the world began.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// The log of a run. Clones are the same log.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<Inner>>);

struct Inner {
    start: Instant,
    /// Kept lines; the oldest go first.
    lines: VecDeque<String>,
    lines_max: usize,
    count: u64,
    hasher: blake3::Hasher,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace({} lines)", self.lock().count)
    }
}

impl Trace {
    /// An empty log that keeps so many lines.
    #[must_use]
    pub fn new(lines_max: usize) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            start: Instant::now(),
            lines: VecDeque::new(),
            lines_max,
            count: 0,
            hasher: blake3::Hasher::new(),
        })))
    }

    /// Notes an event of a part of the world.
    pub fn note(&self, who: &str, what: impl fmt::Display) {
        let mut inner = self.lock();
        let ms = inner.start.elapsed().as_millis();
        let line = format!("{:>8}.{:03} {who:<12} {what}", ms / 1_000, ms % 1_000);
        inner.hasher.update(line.as_bytes());
        inner.hasher.update(b"\n");
        inner.count += 1;
        if inner.lines.len() >= inner.lines_max {
            inner.lines.pop_front();
        }
        inner.lines.push_back(line);
    }

    /// Since when the world runs.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.lock().start
    }

    /// How many events there were, and a hash of all of them.
    #[must_use]
    pub fn digest(&self) -> (u64, String) {
        let inner = self.lock();
        (
            inner.count,
            inner.hasher.finalize().to_hex()[..16].to_owned(),
        )
    }

    /// The kept lines.
    #[must_use]
    pub fn text(&self) -> String {
        let inner = self.lock();
        let mut text = String::new();
        for line in &inner.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
