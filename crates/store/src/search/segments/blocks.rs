//! Blocks: what a segment of the index is stored in. A block is a run of entries in order of term and
//! first message; an entry is a term, of which only what differs from the one before is written, and a
//! chunk of its messages.

use super::postings::{Chunk, damaged, get, put};
use crate::StoreError;

/// Bytes of a block, so that two fit in a page of the file, and one with its key in a page of a server;
/// one entry may be more.
const BLOCK_BYTES: usize = 8_000;
/// Bytes of an entry's numbers.
const NUMBERS_BYTES: usize = 5 * 5;

/// A block, and the key of its first entry.
pub(in crate::search) struct Block {
    pub first: Vec<u8>,
    pub data: Vec<u8>,
}

/// What blocks are found by: the term, a zero, and the first message, highest byte first.
pub(in crate::search) fn key(term: &[u8], message: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(term.len() + 5);
    key.extend_from_slice(term);
    key.push(0);
    key.extend_from_slice(&message.to_be_bytes());
    key
}

/// Makes blocks of entries that come in order.
#[derive(Default)]
pub(in crate::search) struct BlockWriter {
    /// Those that are full.
    pub done: Vec<Block>,
    /// Bytes in them.
    pub done_bytes: usize,
    first: Vec<u8>,
    data: Vec<u8>,
    term: Vec<u8>,
}

impl BlockWriter {
    pub(in crate::search) fn add(&mut self, term: &[u8], chunk: Chunk<'_>) {
        let entry_bytes = term.len() + chunk.body.len() + NUMBERS_BYTES;
        if self.data.len() + entry_bytes > BLOCK_BYTES {
            self.finish();
        }
        if self.data.is_empty() {
            self.first = key(term, chunk.first);
            self.term.clear();
        }
        let pairs = self.term.iter().zip(term);
        let shared = pairs.take_while(|(one, other)| one == other).count();
        let rest = &term[shared..];
        put(&mut self.data, shared as u32);
        put(&mut self.data, rest.len() as u32);
        self.data.extend_from_slice(rest);
        put(&mut self.data, chunk.first);
        put(&mut self.data, chunk.last - chunk.first);
        put(&mut self.data, chunk.body.len() as u32);
        self.data.extend_from_slice(chunk.body);
        self.term.truncate(shared);
        self.term.extend_from_slice(rest);
    }

    /// Ends the block that is not full yet.
    pub(in crate::search) fn finish(&mut self) {
        if !self.data.is_empty() {
            self.done_bytes += self.data.len();
            self.done.push(Block {
                first: std::mem::take(&mut self.first),
                data: std::mem::take(&mut self.data),
            });
        }
    }
}

/// Reads the entries of a block.
#[derive(Default)]
pub(in crate::search) struct BlockReader {
    data: Vec<u8>,
    at: usize,
    /// The term of the entry read last.
    term: Vec<u8>,
}

/// An entry's chunk, as its place in the block.
#[derive(Clone, Copy)]
pub(in crate::search) struct Found {
    first: u32,
    last: u32,
    start: usize,
    end: usize,
}

impl BlockReader {
    pub(in crate::search) fn new(data: Vec<u8>) -> Self {
        Self {
            data,
            at: 0,
            term: Vec::new(),
        }
    }

    /// Goes to the next entry.
    pub(in crate::search) fn next(&mut self) -> Result<Option<Found>, StoreError> {
        let mut rest = self.data.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let shared = get(&mut rest)? as usize;
        let new = split(&mut rest)?;
        if shared > self.term.len() {
            return Err(damaged());
        }
        self.term.truncate(shared);
        self.term.extend_from_slice(new);
        let first = get(&mut rest)?;
        let last = first.checked_add(get(&mut rest)?).ok_or_else(damaged)?;
        let body = split(&mut rest)?;
        let end = self.data.len() - rest.len();
        self.at = end;
        Ok(Some(Found {
            first,
            last,
            start: end - body.len(),
            end,
        }))
    }

    pub(in crate::search) fn term(&self) -> &[u8] {
        &self.term
    }

    /// The chunk of an entry of this block.
    pub(in crate::search) fn chunk(&self, found: Found) -> Chunk<'_> {
        Chunk {
            first: found.first,
            last: found.last,
            body: self.data.get(found.start..found.end).unwrap_or_default(),
        }
    }
}

impl Found {
    pub(in crate::search) const fn first(&self) -> u32 {
        self.first
    }
}

/// Reads bytes behind their number.
fn split<'b>(rest: &mut &'b [u8]) -> Result<&'b [u8], StoreError> {
    let length = get(rest)? as usize;
    let (bytes, behind) = rest.split_at_checked(length).ok_or_else(damaged)?;
    *rest = behind;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn entries_are_read_again(
            terms in proptest::collection::btree_map("[a-c]{1,6}", 1..4_000_usize, 1..40),
        ) {
            let mut writer = BlockWriter::default();
            for (term, bytes) in &terms {
                let body = vec![1; *bytes];
                let chunk = Chunk { first: 7, last: 9, body: &body };
                writer.add(term.as_bytes(), chunk);
            }
            writer.finish();
            let mut read = Vec::new();
            for block in writer.done {
                let mut reader = BlockReader::new(block.data);
                let before = read.len();
                while let Some(found) = reader.next().unwrap() {
                    let term = String::from_utf8(reader.term().to_vec()).unwrap();
                    let chunk = reader.chunk(found);
                    prop_assert_eq!((chunk.first, chunk.last), (7, 9));
                    if read.len() == before {
                        prop_assert_eq!(&block.first, &key(term.as_bytes(), 7));
                    }
                    read.push((term, chunk.body.len()));
                }
            }
            prop_assert_eq!(read, terms.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes(data: Vec<u8>) {
            let mut reader = BlockReader::new(data);
            while let Ok(Some(found)) = reader.next() {
                let _ = reader.chunk(found);
            }
        }
    }
}
