//! Merging: segments go in, block by block, and the blocks of one come out, without what is gone.
//!
//! Call [`Merger::go`] until it wants nothing more, and give it or take from it what it says.

use std::collections::VecDeque;

use super::blocks::{Block, BlockReader, Found};
use super::gone::Gone;
use super::join::Joiner;
use super::postings::{Joined, damaged};
use super::{account_of, row_at};
use crate::StoreError;

/// Bytes of blocks that are taken out at once.
const WRITE_BYTES: usize = 1024 * 1024;

/// What a merger waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::search) enum Wants {
    /// The next blocks of a segment, by its place among those that are merged.
    Blocks(usize),
    /// That the blocks that are made are taken.
    Room,
    /// That the last blocks are taken: all is merged.
    End,
}

/// Segments while they are merged.
pub(in crate::search) struct Merger {
    sources: Vec<Source>,
    /// Those that have to go on.
    moving: Vec<usize>,
    joiner: Joiner,
    left: Joined,
}

impl Merger {
    /// Of segments in order of epoch, each by what is gone from it.
    pub(in crate::search) fn new(gone: impl Iterator<Item = Gone>) -> Self {
        let sources: Vec<Source> = gone.map(Source::new).collect();
        Self {
            moving: (0..sources.len()).collect(),
            sources,
            joiner: Joiner::default(),
            left: Joined::default(),
        }
    }

    /// Goes on as far as it can.
    pub(in crate::search) fn go(&mut self) -> Result<Wants, StoreError> {
        loop {
            while let Some(at) = self.moving.last().copied() {
                let source = self.sources.get_mut(at);
                if !source.map_or(Ok(true), Source::advance)? {
                    return Ok(Wants::Blocks(at));
                }
                self.moving.pop();
            }
            let Some(at) = self.least() else {
                self.joiner.finish()?;
                return Ok(Wants::End);
            };
            if let Some(source) = self.sources.get(at) {
                source.give(&mut self.joiner, &mut self.left)?;
            }
            self.moving.push(at);
            if self.joiner.writer.done_bytes >= WRITE_BYTES {
                return Ok(Wants::Room);
            }
        }
    }

    /// Gives the next blocks of a segment, in order; `is_all` tells that these are the last.
    pub(in crate::search) fn give(&mut self, at: usize, blocks: Vec<Vec<u8>>, is_all: bool) {
        if let Some(source) = self.sources.get_mut(at) {
            source.blocks.extend(blocks);
            source.is_all = is_all;
        }
    }

    /// Takes the blocks that are made.
    pub(in crate::search) fn take(&mut self) -> Vec<Block> {
        self.joiner.writer.done_bytes = 0;
        std::mem::take(&mut self.joiner.writer.done)
    }

    /// The source whose entry comes first.
    fn least(&self) -> Option<usize> {
        let mut least: Option<(usize, (&[u8], u32))> = None;
        for (at, source) in self.sources.iter().enumerate() {
            let Some(found) = source.found else { continue };
            let key = (source.reader.term(), found.first());
            if least.is_none_or(|(_, other)| key < other) {
                least = Some((at, key));
            }
        }
        least.map(|(at, _)| at)
    }
}

/// A segment that is read from its beginning to its end.
struct Source {
    gone: Gone,
    /// Those that are at hand and not begun.
    blocks: VecDeque<Vec<u8>>,
    /// Whether no others follow them.
    is_all: bool,
    reader: BlockReader,
    /// The entry it stands at; nothing at the end.
    found: Option<Found>,
}

impl Source {
    fn new(gone: Gone) -> Self {
        Self {
            gone,
            blocks: VecDeque::new(),
            is_all: false,
            reader: BlockReader::default(),
            found: None,
        }
    }

    /// Goes to the next entry, or to the end; `false` if it needs blocks for that.
    fn advance(&mut self) -> Result<bool, StoreError> {
        loop {
            self.found = self.reader.next()?;
            if self.found.is_some() {
                return Ok(true);
            }
            match self.blocks.pop_front() {
                Some(block) => self.reader = BlockReader::new(block),
                None => return Ok(self.is_all),
            }
        }
    }

    /// Gives the entry it stands at, without what is gone.
    fn give(&self, joiner: &mut Joiner, left: &mut Joined) -> Result<(), StoreError> {
        let Some(found) = self.found else {
            return Ok(());
        };
        let term = self.reader.term();
        let chunk = self.reader.chunk(found);
        if self.gone.is_empty() {
            return joiner.add(term, chunk.first, chunk);
        }
        let account = account_of(term).ok_or_else(damaged)?;
        let row = |message| row_at(account, message);
        if !self.gone.touches(row(chunk.first)?, row(chunk.last)?) {
            return joiner.add(term, chunk.first, chunk);
        }
        left.clear();
        chunk.each(|message, places| {
            if !self.gone.has(row(message)?) {
                left.add_message(message, places)?;
            }
            Ok(())
        })?;
        if left.is_empty() {
            return Ok(());
        }
        joiner.add(term, chunk.first, left.chunk())
    }
}
