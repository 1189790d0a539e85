//! Puts chunks of messages together as they come, in order of term and first message, and makes
//! blocks of them.

use std::collections::BTreeMap;
use std::ops::Range;

use super::blocks::BlockWriter;
use super::postings::{CHUNK_BYTES, Chunk, Joined};
use crate::StoreError;

/// Joins chunks. What it makes is taken out of `writer.done` on the way.
#[derive(Default)]
pub(in crate::search) struct Joiner {
    pub(in crate::search) writer: BlockWriter,
    term: Vec<u8>,
    open: Joined,
    /// Chunks of the term, each with messages among those of another: first, last, bytes.
    group: Vec<(u32, u32, Range<usize>)>,
    group_last: u32,
    bytes: Vec<u8>,
}

impl Joiner {
    /// Adds a chunk of the same term or of a later one. `from` is where it began before anything was
    /// taken out of it, and not before that of the chunk before. Of a message that comes twice the
    /// first counts.
    pub(in crate::search) fn add(
        &mut self,
        term: &[u8],
        from: u32,
        chunk: Chunk<'_>,
    ) -> Result<(), StoreError> {
        if term != self.term {
            self.end_term()?;
            self.term.clear();
            self.term.extend_from_slice(term);
        } else if from > self.group_last {
            // Nothing of what follows is before this.
            self.end_group()?;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(chunk.body);
        let range = start..self.bytes.len();
        self.group.push((chunk.first, chunk.last, range));
        self.group_last = self.group_last.max(chunk.last);
        Ok(())
    }

    /// Ends the last block.
    pub(in crate::search) fn finish(&mut self) -> Result<(), StoreError> {
        self.end_term()?;
        self.writer.finish();
        Ok(())
    }

    fn end_term(&mut self) -> Result<(), StoreError> {
        self.end_group()?;
        self.end_chunk();
        Ok(())
    }

    fn end_group(&mut self) -> Result<(), StoreError> {
        let group = std::mem::take(&mut self.group);
        let bytes = std::mem::take(&mut self.bytes);
        let chunk_of = |(first, last, range): &(u32, u32, Range<usize>)| Chunk {
            first: *first,
            last: *last,
            body: bytes.get(range.clone()).unwrap_or_default(),
        };
        match group.as_slice() {
            [] => {}
            [one] if one.2.len() <= CHUNK_BYTES => self.append(chunk_of(one))?,
            several => {
                let mut messages = BTreeMap::new();
                for one in several {
                    chunk_of(one).each(|message, places| {
                        messages.entry(message).or_insert(places);
                        Ok(())
                    })?;
                }
                for (message, places) in messages {
                    self.append_message(message, places)?;
                }
            }
        }
        // The room is used again.
        self.group = group;
        self.bytes = bytes;
        self.group.clear();
        self.bytes.clear();
        self.group_last = 0;
        Ok(())
    }

    fn append(&mut self, chunk: Chunk<'_>) -> Result<(), StoreError> {
        if !self.open.is_empty() && !self.open.has_room(chunk.body.len()) {
            self.end_chunk();
        }
        self.open.add(chunk)
    }

    fn append_message(&mut self, message: u32, places: &[u8]) -> Result<(), StoreError> {
        if !self.open.is_empty() && !self.open.has_room(places.len() + 1) {
            self.end_chunk();
        }
        self.open.add_message(message, places)
    }

    fn end_chunk(&mut self) {
        if !self.open.is_empty() {
            self.writer.add(&self.term, self.open.chunk());
            self.open.clear();
        }
    }
}
