//! Randomness from the seed. Each part of the world has a stream of its own, so that one more
//! question in one part changes nothing in another.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::ports::Entropy;

/// A stream of numbers (SplitMix64). Clones share it.
#[derive(Clone, Debug)]
pub struct Random(Arc<Mutex<u64>>);

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(seed)))
    }

    /// The stream of a part of the world.
    #[must_use]
    pub fn of(seed: u64, part: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(part.as_bytes());
        let mut start = [0; 8];
        start.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self::new(u64::from_le_bytes(start))
    }

    /// The next number.
    #[must_use]
    pub fn number(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    #[must_use]
    pub fn below(&self, limit: u64) -> u64 {
        self.number() % limit.max(1)
    }

    /// An index below `limit`, which is not 0.
    #[must_use]
    pub fn index(&self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).unwrap_or(0)
    }

    /// Whether something happens that does so many times in a hundred.
    #[must_use]
    pub fn percent(&self, times: u64) -> bool {
        self.below(100) < times
    }

    /// A span between two numbers of milliseconds.
    #[must_use]
    pub fn span_ms(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below((to - from).max(1)))
    }
}

impl Entropy for Random {
    fn fill(&self, buffer: &mut [u8]) {
        for piece in buffer.chunks_mut(8) {
            piece.copy_from_slice(&self.number().to_le_bytes()[..piece.len()]);
        }
    }
}
