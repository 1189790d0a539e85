//! A batch of letters, from tokens to blocks, in memory.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use base::AccountId;

use super::blocks::{Block, BlockReader, Found};
use super::join::Joiner;
use super::postings::{FIELD_BITS, Growing};
use super::row_of;
use crate::StoreError;
use crate::aside::Aside;
use crate::search::text::Document;

/// Letters that are sorted at once: what they need stays near the processor.
const BATCH_LETTERS: usize = 250;

/// Slots of the table at first, a power of two.
const SLOTS: usize = 1 << 14;
/// Bytes of a term that are compared at once.
const HEAD_BYTES: usize = 16;

/// The terms of letters that come by account and message, ascending.
struct Batch {
    /// Strangers choose the words, and must not choose where they fall.
    hasher: RandomState,
    slots: Vec<Slot>,
    entries: Vec<Entry>,
    /// The terms, one behind the other.
    terms: Vec<u8>,
}

/// A place of the table; who finds it taken goes to the next.
#[derive(Clone, Copy, Default)]
struct Slot {
    hash: u32,
    /// The number of the entry and one, or 0.
    entry: u32,
}

/// A term. As large as what the processor fetches at once: most of the time goes into fetching.
struct Entry {
    /// The first bytes, by which most terms are told apart.
    head: u128,
    start: u32,
    length: u32,
    postings: Growing,
}

impl Entry {
    fn term<'t>(&self, terms: &'t [u8]) -> &'t [u8] {
        let start = self.start as usize;
        let end = start + self.length as usize;
        terms.get(start..end).unwrap_or_default()
    }
}

/// The first bytes of a term, in an order that is that of the terms.
fn head(term: &[u8]) -> u128 {
    let mut bytes = [0; HEAD_BYTES];
    let length = term.len().min(HEAD_BYTES);
    if let (Some(to), Some(from)) = (bytes.get_mut(..length), term.get(..length)) {
        to.copy_from_slice(from);
    }
    u128::from_be_bytes(bytes)
}

impl Batch {
    fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            slots: vec![Slot::default(); SLOTS],
            entries: Vec::new(),
            terms: Vec::new(),
        }
    }

    /// Adds a letter, later than those before.
    fn add(&mut self, message: u32, document: &Document) {
        // No place is 0.
        let mut word = 1;
        for (field, tokens) in (0..).zip(&document.fields) {
            for token in tokens.as_bytes().split(|byte| *byte == b' ') {
                if !token.is_empty() {
                    self.token(token, message, word << FIELD_BITS | field);
                    word += 1;
                }
            }
        }
    }

    fn token(&mut self, token: &[u8], message: u32, place: u32) {
        let hash = self.hasher.hash_one(token) as u32;
        let head = head(token);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while let Some(slot) = self.slots.get(at).filter(|slot| slot.entry != 0) {
            if slot.hash == hash
                && let Some(entry) = self.entries.get_mut(slot.entry as usize - 1)
                && entry.head == head
                && entry.length as usize == token.len()
                && (token.len() <= HEAD_BYTES || entry.term(&self.terms) == token)
            {
                entry.postings.add(message, place);
                return;
            }
            at = (at + 1) & mask;
        }
        self.entries.push(Entry {
            head,
            // A batch is far below 4 GiB.
            start: self.terms.len() as u32,
            length: token.len() as u32,
            postings: Growing::new(message, place),
        });
        self.terms.extend_from_slice(token);
        let entry = self.entries.len() as u32;
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = Slot { hash, entry };
        }
        if self.entries.len() * 2 > self.slots.len() {
            self.grow();
        }
    }

    fn grow(&mut self) {
        let larger = vec![Slot::default(); self.slots.len() * 2];
        let slots = std::mem::replace(&mut self.slots, larger);
        let mask = self.slots.len() - 1;
        for slot in slots.into_iter().filter(|slot| slot.entry != 0) {
            let mut at = slot.hash as usize & mask;
            while self.slots.get(at).is_some_and(|other| other.entry != 0) {
                at = (at + 1) & mask;
            }
            if let Some(free) = self.slots.get_mut(at) {
                *free = slot;
            }
        }
    }

    /// The blocks, in order.
    fn into_blocks(mut self) -> Result<Vec<Block>, StoreError> {
        let numbers = (0_u32..).zip(&self.entries);
        let mut order: Vec<(u128, u32)> = numbers
            .map(|(number, entry)| (entry.head, number))
            .collect();
        let term = |number: &u32| {
            let entry = self.entries.get(*number as usize);
            entry.map(|entry| entry.term(&self.terms))
        };
        order.sort_unstable_by(|(one, a), (other, b)| {
            one.cmp(other).then_with(|| term(a).cmp(&term(b)))
        });
        let mut joiner = Joiner::default();
        for (_, number) in order {
            if let Some(entry) = self.entries.get_mut(number as usize) {
                let term = entry.term(&self.terms);
                let chunk = entry.postings.end();
                joiner.add(term, chunk.first, chunk)?;
            }
        }
        joiner.finish()?;
        Ok(std::mem::take(&mut joiner.writer.done))
    }
}

/// Letters with the numbers of their messages, by account and message, some at a time.
#[derive(Default)]
pub(in crate::search) struct Batches(Vec<Vec<(u32, Document)>>);

impl Batches {
    /// Adds letters of an account, which comes after those before; tells how many they are.
    pub(in crate::search) fn add(
        &mut self,
        account: AccountId,
        mut letters: Vec<Document>,
    ) -> Result<i64, StoreError> {
        letters.sort_by_key(|document| document.message);
        letters.dedup_by_key(|document| document.message);
        let count = i64::try_from(letters.len()).unwrap_or(0);
        for document in letters {
            row_of(account, document.message)?;
            let message = u32::try_from(document.message.0).unwrap_or(0);
            match self.0.last_mut() {
                Some(batch) if batch.len() < BATCH_LETTERS => batch.push((message, document)),
                _ => self.0.push(vec![(message, document)]),
            }
        }
        Ok(count)
    }
}

/// Makes a run of blocks of each batch, on several threads: so the index has its share of a busy
/// machine.
pub(in crate::search) async fn runs_of(
    batches: Batches,
    aside: Aside,
) -> Result<Vec<Vec<Block>>, StoreError> {
    if aside == Aside::Inline {
        return batches.0.into_iter().map(run_of).collect();
    }
    let making = batches
        .0
        .into_iter()
        .map(|letters| tokio::task::spawn_blocking(move || run_of(letters)));
    let making: Vec<_> = making.collect();
    let mut runs = Vec::with_capacity(making.len());
    for run in making {
        let run = run.await;
        let failed = |error| StoreError::Bug(format!("indexing letters failed: {error}"));
        runs.push(run.map_err(failed)??);
    }
    Ok(runs)
}

/// The blocks of letters, which come by account and message, ascending. Blocks its thread.
fn run_of(letters: Vec<(u32, Document)>) -> Result<Vec<Block>, StoreError> {
    let mut batch = Batch::new();
    for (message, document) in &letters {
        batch.add(*message, document);
    }
    drop(letters);
    batch.into_blocks()
}

/// Puts runs of blocks together, the messages of each later than those of the run before.
pub(in crate::search) fn join(mut runs: Vec<Vec<Block>>) -> Result<Vec<Block>, StoreError> {
    if runs.len() <= 1 {
        return Ok(runs.pop().unwrap_or_default());
    }
    let mut runs = runs
        .into_iter()
        .map(Run::new)
        .collect::<Result<Vec<_>, _>>()?;
    let mut joiner = Joiner::default();
    loop {
        let standing = runs.iter_mut().filter(|run| run.found.is_some());
        let Some(run) = standing.min_by(|one, other| one.key().cmp(&other.key())) else {
            break;
        };
        if let Some(found) = run.found {
            joiner.add(run.reader.term(), found.first(), run.reader.chunk(found))?;
        }
        run.next()?;
    }
    joiner.finish()?;
    Ok(std::mem::take(&mut joiner.writer.done))
}

/// A run that is read from its beginning to its end.
struct Run {
    blocks: std::vec::IntoIter<Block>,
    reader: BlockReader,
    found: Option<Found>,
}

impl Run {
    fn new(blocks: Vec<Block>) -> Result<Self, StoreError> {
        let mut run = Self {
            blocks: blocks.into_iter(),
            reader: BlockReader::default(),
            found: None,
        };
        run.next()?;
        Ok(run)
    }

    fn next(&mut self) -> Result<(), StoreError> {
        loop {
            self.found = self.reader.next()?;
            if self.found.is_some() {
                return Ok(());
            }
            let Some(block) = self.blocks.next() else {
                return Ok(());
            };
            self.reader = BlockReader::new(block.data);
        }
    }

    fn key(&self) -> (&[u8], u32) {
        let first = self.found.map_or(0, |found| found.first());
        (self.reader.term(), first)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use base::MessageId;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Each word of each letter is there once, in order, however long and many they are.
        #[test]
        fn words_are_in_order(
            letters in proptest::collection::vec(
                proptest::collection::vec("[ab]{1,3}|[a-c]{15,19}|[a-z]{4}", 0..60), 1..8),
        ) {
            let mut batch = Batch::new();
            batch.slots.truncate(4);
            let mut expected: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
            for (message, words) in (1_u32..).zip(&letters) {
                let mut fields: [String; 5] = Default::default();
                fields[3] = words.join(" ");
                batch.add(message, &Document { message: MessageId(message.into()), fields });
                for word in words {
                    expected.entry(word.clone()).or_default().insert(message);
                }
            }
            let mut runs = vec![batch.into_blocks().unwrap()];
            if let Some(words) = letters.first() {
                // The first letter once more, as a later one.
                let mut batch = Batch::new();
                let mut fields: [String; 5] = Default::default();
                fields[3] = words.join(" ");
                batch.add(99, &Document { message: MessageId(99), fields });
                runs.push(batch.into_blocks().unwrap());
                for word in words {
                    expected.entry(word.clone()).or_default().insert(99);
                }
            }
            let mut found: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
            let mut last = Vec::new();
            for block in join(runs).unwrap() {
                let mut reader = BlockReader::new(block.data);
                while let Some(entry) = reader.next().unwrap() {
                    prop_assert!(last.as_slice() < reader.term());
                    last = reader.term().to_vec();
                    let word = String::from_utf8(last.clone()).unwrap();
                    reader.chunk(entry).each(|message, _| {
                        found.entry(word.clone()).or_default().insert(message);
                        Ok(())
                    }).unwrap();
                }
            }
            prop_assert_eq!(found, expected);
        }
    }
}
