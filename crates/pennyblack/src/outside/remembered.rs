//! Answers of the DNS that are remembered: each for as long as it says itself, all together in
//! bounded memory. Whoever has us ask for many large answers makes us forget sooner, and no more.
//!
//! It asks nothing and knows no protocol: the caller tells how large a value is and how long it holds.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::time::Instant;

/// What one remembered answer may hold for its place; a larger one takes several places. Nearly all
/// answers that mail asks for are smaller.
const PLACE_BYTES: usize = 1_024;

/// A record without its data: names are up to 255 bytes, and most are short.
const RECORD_BYTES: usize = 256;

/// A question: the name in lower case, and what kind of record.
pub(super) type Key = (Name, RecordType);

/// The answers. Values are cheap to clone.
pub(super) struct Remembered<V> {
    places_max: usize,
    kept: Mutex<Kept<V>>,
}

struct Kept<V> {
    entries: BTreeMap<Key, Entry<V>>,
    /// The questions in the order in which they were answered.
    order: BTreeMap<u64, Key>,
    next: u64,
    places: usize,
}

struct Entry<V> {
    value: V,
    until: Instant,
    places: usize,
    turn: u64,
}

impl<V: Clone> Remembered<V> {
    /// Nothing is known yet; 0 places remember nothing.
    pub(super) fn new(places_max: u64) -> Self {
        Self {
            places_max: usize::try_from(places_max).unwrap_or(usize::MAX),
            kept: Mutex::new(Kept {
                entries: BTreeMap::new(),
                order: BTreeMap::new(),
                next: 0,
                places: 0,
            }),
        }
    }

    /// What is known, and still holds.
    pub(super) fn find(&self, key: &Key, now: Instant) -> Option<V> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = kept.entries.get(key)?;
        (now < entry.until).then(|| entry.value.clone())
    }

    /// Remembers an answer of so many bytes. What was answered first is forgotten first.
    pub(super) fn keep(&self, key: Key, value: V, bytes: usize, until: Instant) {
        let places = 1 + bytes / PLACE_BYTES;
        if places > self.places_max {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.forget(&key);
        while kept.places + places > self.places_max
            && let Some((_, oldest)) = kept.order.pop_first()
        {
            kept.forget(&oldest);
        }
        let turn = kept.next;
        kept.next += 1;
        kept.places += places;
        kept.order.insert(turn, key.clone());
        let entry = Entry {
            value,
            until,
            places,
            turn,
        };
        kept.entries.insert(key, entry);
    }
}

impl<V> Kept<V> {
    fn forget(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.turn);
            self.places -= entry.places;
        }
    }
}

/// About how many bytes of memory records take.
pub(super) fn bytes_of(records: &[Record]) -> usize {
    let data = |record: &Record| match &record.data {
        RData::TXT(txt) => txt.txt_data.iter().map(|text| text.len() + 16).sum(),
        RData::TLSA(tlsa) => tlsa.cert_data.len(),
        _ => 0,
    };
    records
        .iter()
        .map(|record| RECORD_BYTES + data(record))
        .sum()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(name: &str) -> Key {
        (Name::from_ascii(name).unwrap(), RecordType::TXT)
    }

    #[tokio::test]
    async fn an_answer_holds_as_long_as_it_says() {
        let (remembered, now) = (Remembered::new(2), Instant::now());
        let until = now + Duration::from_secs(60);
        remembered.keep(key("a."), 1, 10, until);
        assert_eq!(remembered.find(&key("a."), now), Some(1));
        assert_eq!(remembered.find(&key("a."), until), None);
        assert_eq!(remembered.find(&key("b."), now), None);
        remembered.keep(key("a."), 2, 10, until);
        assert_eq!(remembered.find(&key("a."), now), Some(2));
    }

    #[tokio::test]
    async fn large_answers_take_the_places_of_several() {
        let (remembered, now) = (Remembered::new(4), Instant::now());
        let until = now + Duration::from_secs(60);
        for (turn, name) in ["a.", "b.", "c.", "d."].into_iter().enumerate() {
            remembered.keep(key(name), turn, 1_023, until);
        }
        // Three places: the oldest three go.
        remembered.keep(key("e."), 4, 2 * PLACE_BYTES, until);
        let known: Vec<_> = ["a.", "b.", "c.", "d.", "e."]
            .into_iter()
            .filter_map(|name| remembered.find(&key(name), now))
            .collect();
        assert_eq!(known, [3, 4]);
        // One that is larger than all places together is not kept, and pushes nothing out.
        remembered.keep(key("f."), 5, 4 * PLACE_BYTES, until);
        assert_eq!(remembered.find(&key("f."), now), None);
        assert_eq!(remembered.find(&key("d."), now), Some(3));
        let kept = remembered.kept.lock().unwrap();
        assert_eq!(
            (kept.places, kept.entries.len(), kept.order.len()),
            (4, 2, 2)
        );
    }

    #[tokio::test]
    async fn no_places_remember_nothing() {
        let (remembered, now) = (Remembered::new(0), Instant::now());
        remembered.keep(key("a."), 1, 0, now + Duration::from_secs(60));
        assert_eq!(remembered.find(&key("a."), now), None);
    }
}
