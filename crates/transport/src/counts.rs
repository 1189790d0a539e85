//! Counts that are kept in memory for a moment before they are written: a crash loses the last minute
//! of a statistic, never a letter.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How often each thing was seen. Cheap to clone; all clones count together.
#[derive(Debug)]
pub(crate) struct Counts<T> {
    most: usize,
    counts: Arc<Mutex<BTreeMap<T, u64>>>,
}

impl<T> Clone for Counts<T> {
    fn clone(&self) -> Self {
        Self {
            most: self.most,
            counts: Arc::clone(&self.counts),
        }
    }
}

impl<T: Ord> Counts<T> {
    /// Of `most` different things; more are not counted until they are taken.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            counts: Arc::default(),
        }
    }

    /// Adds to the count of a thing.
    pub(crate) fn add(&self, thing: T, count: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() < self.most || counts.contains_key(&thing) {
            let sum = counts.entry(thing).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    /// Takes what was counted.
    pub(crate) fn take(&self) -> BTreeMap<T, u64> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *counts)
    }
}

/// What carries its own count where it is written; among [`Counts`] that is 0.
pub(crate) trait Tallied: Ord {
    /// Its count.
    fn tally(&mut self) -> &mut u64;
}

impl<T: Tallied> Counts<T> {
    /// Takes what was counted, each with its count.
    pub(crate) fn take_tallied(&self) -> Vec<T> {
        let counted = self.take().into_iter();
        let fill = |(mut thing, count): (T, u64)| {
            *thing.tally() = count;
            thing
        };
        counted.map(fill).collect()
    }

    /// Puts back what could not be written.
    pub(crate) fn give_back(&self, things: Vec<T>) {
        for mut thing in things {
            let count = std::mem::take(thing.tally());
            self.add(thing, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_most_and_one_more() {
        let counts = Counts::new(2);
        for thing in ["a", "b", "c", "a"] {
            counts.clone().add(thing, 1);
        }
        let taken: Vec<_> = counts.take().into_iter().collect();
        assert_eq!(taken, [("a", 2), ("b", 1)]);
        counts.add("c", 1);
        assert_eq!(counts.take().len(), 1);
    }
}
