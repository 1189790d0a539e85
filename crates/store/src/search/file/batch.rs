//! A batch of letters, from tokens to blocks, in memory.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use super::blocks::Block;
use super::join::Joiner;
use super::postings::{FIELD_BITS, Growing};
use crate::StoreError;
use crate::search::text::Document;

/// Slots of the table at first, a power of two.
const SLOTS: usize = 1 << 14;

/// The terms of letters that come by account and message, ascending.
pub(super) struct Batch {
    /// Strangers choose the words, and must not choose where they fall.
    hasher: RandomState,
    /// For each hash the number of an entry and one, or 0; the next free slot follows.
    slots: Vec<u32>,
    entries: Vec<Entry>,
    /// The terms, one behind the other.
    terms: Vec<u8>,
    pub(super) letters: i64,
}

struct Entry {
    start: usize,
    end: usize,
    hash: u64,
    postings: Growing,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            slots: vec![0; SLOTS],
            entries: Vec::new(),
            terms: Vec::new(),
            letters: 0,
        }
    }

    /// Adds a letter, later than those before.
    pub(super) fn add(&mut self, message: u32, document: &Document) {
        self.letters += 1;
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
        let hash = self.hasher.hash_one(token);
        let slot = self.slot(hash, |entry, terms| {
            entry.hash == hash && terms.get(entry.start..entry.end) == Some(token)
        });
        let known = self.slots.get(slot).copied().unwrap_or(0) as usize;
        if let Some(entry) = known.checked_sub(1).and_then(|at| self.entries.get_mut(at)) {
            entry.postings.add(message, place);
            return;
        }
        let start = self.terms.len();
        self.terms.extend_from_slice(token);
        self.entries.push(Entry {
            start,
            end: self.terms.len(),
            hash,
            postings: Growing::new(message, place),
        });
        let count = self.entries.len();
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = u32::try_from(count).unwrap_or(0);
        }
        if count * 2 > self.slots.len() {
            self.grow();
        }
    }

    /// The slot of an entry with this hash that is the right one, or the free slot for it.
    fn slot(&self, hash: u64, is_it: impl Fn(&Entry, &[u8]) -> bool) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let number = self.slots.get(at).copied().unwrap_or(0) as usize;
            let entry = number.checked_sub(1).and_then(|at| self.entries.get(at));
            match entry {
                Some(entry) if !is_it(entry, &self.terms) => at = (at + 1) & mask,
                _ => return at,
            }
        }
    }

    fn grow(&mut self) {
        self.slots = vec![0; self.slots.len() * 2];
        for number in 0..self.entries.len() {
            let hash = self.entries.get(number).map_or(0, |entry| entry.hash);
            let slot = self.slot(hash, |_, _| false);
            if let Some(slot) = self.slots.get_mut(slot) {
                *slot = u32::try_from(number + 1).unwrap_or(0);
            }
        }
    }

    /// The blocks, in order.
    pub(super) fn into_blocks(mut self) -> Result<Vec<Block>, StoreError> {
        let terms = std::mem::take(&mut self.terms);
        let term = |entry: &Entry| terms.get(entry.start..entry.end).unwrap_or_default();
        self.entries
            .sort_unstable_by(|one, other| term(one).cmp(term(other)));
        let mut joiner = Joiner::default();
        for mut entry in self.entries {
            let term = terms.get(entry.start..entry.end).unwrap_or_default();
            let chunk = entry.postings.end();
            joiner.add(term, chunk.first, chunk)?;
        }
        joiner.finish()?;
        Ok(std::mem::take(&mut joiner.writer.done))
    }
}
