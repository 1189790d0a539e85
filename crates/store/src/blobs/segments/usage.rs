//! Who still needs a segment: the writer that appends to it, transactions that are about to name
//! records in it, and copies of the whole store. It also keeps the numbers for new segments.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::Timestamp;

/// Below this supply of numbers more are wanted. The queue before the writer holds 32 MiB, not one
/// segment, so that they last until those who come then have brought more.
const NUMBERS_MIN: usize = 2;

/// What is known of the segments in use.
#[derive(Default)]
pub(super) struct Usage(Mutex<State>);

#[derive(Default)]
struct State {
    current: Option<i64>,
    pending: BTreeMap<i64, u64>,
    holds: u64,
    numbers: VecDeque<i64>,
    /// Since when files have been free and without rows.
    unnamed: BTreeMap<i64, Timestamp>,
    /// Every number up to this one has been in use.
    highest: i64,
}

/// While it lives, a segment is not removed: a transaction may still name its new records.
pub(crate) struct Pending {
    usage: Arc<Usage>,
    number: i64,
}

/// While it lives, no segment is removed.
pub(crate) struct Hold(Arc<Usage>);

impl Usage {
    /// Starts with the highest number found in the folder.
    pub(super) fn new(highest: i64) -> Self {
        Self(Mutex::new(State {
            highest,
            ..State::default()
        }))
    }

    /// Notes that a transaction will name records in a segment.
    pub(super) fn pending(this: &Arc<Self>, number: i64) -> Pending {
        *this.lock().pending.entry(number).or_default() += 1;
        Pending {
            usage: Arc::clone(this),
            number,
        }
    }

    /// Keeps all segments.
    pub(super) fn hold(this: &Arc<Self>) -> Hold {
        this.lock().holds += 1;
        Hold(Arc::clone(this))
    }

    /// Says which segment grows.
    pub(super) fn set_current(&self, number: Option<i64>) {
        self.lock().current = number;
    }

    /// Whether a segment may be removed once no row names it. Rows have to be looked at after this
    /// answer: a transaction that was pending may have named it meanwhile.
    pub(super) fn is_free(&self, number: i64) -> bool {
        let state = self.lock();
        state.holds == 0 && state.current != Some(number) && !state.pending.contains_key(&number)
    }

    /// Whether a segment grows no more.
    pub(super) fn is_full(&self, number: i64) -> bool {
        self.lock().current != Some(number)
    }

    /// Notes that a file is free and without rows; gives since when it is.
    pub(super) fn unnamed_since(&self, number: i64, now: Timestamp) -> Timestamp {
        *self.lock().unnamed.entry(number).or_insert(now)
    }

    /// Notes that a file is in use, or is no more.
    pub(super) fn is_named(&self, number: i64) {
        self.lock().unnamed.remove(&number);
    }

    /// Whether a number is known to have been in use.
    pub(super) fn knows_number(&self, number: i64) -> bool {
        number <= self.lock().highest
    }

    /// The number above all that were in use, if more numbers are wanted.
    pub(super) fn wants_numbers(&self) -> Option<i64> {
        let state = self.lock();
        (state.numbers.len() < NUMBERS_MIN).then_some(state.highest + 1)
    }

    /// Takes numbers that nobody else will ever be given.
    pub(super) fn add_numbers(&self, numbers: Range<i64>) {
        let mut state = self.lock();
        for number in numbers {
            if number > state.highest {
                state.highest = number;
                state.numbers.push_back(number);
            }
        }
    }

    /// The number of the next segment.
    pub(super) fn take_number(&self) -> Option<i64> {
        self.lock().numbers.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut state = self.usage.lock();
        if let Some(count) = state.pending.get_mut(&self.number) {
            *count -= 1;
            if *count == 0 {
                state.pending.remove(&self.number);
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.lock().holds -= 1;
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending({})", self.number)
    }
}
