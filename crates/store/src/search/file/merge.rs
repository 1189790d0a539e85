//! Merging: few large segments instead of many small ones, without what is gone. It reads segments
//! that nobody changes, on a connection of its own, and writes in short transactions, so that
//! letters are added and searched meanwhile. A crash leaves a segment that was being built, which is
//! removed at the next start.

use std::collections::VecDeque;

use rusqlite::{Connection, OptionalExtension, params};

use super::blocks::{BlockReader, Found};
use super::dead::{Dead, Gone};
use super::join::Joiner;
use super::postings::{Joined, damaged};
use super::{Inner, account_of, failure, lock, open_reader, row_at, write_blocks};
use crate::StoreError;

/// Segments of about one size that are merged into one.
const FAN_IN: usize = 8;
/// Segments that are merged at once.
const INPUTS_MAX: usize = 64;
/// A segment has a level for each factor of this in its letters.
const LEVEL_BITS: u32 = 3;
/// All is merged when one letter of so many is gone,
const GONE_SHARE: i64 = 5;
/// but not for fewer than these,
const GONE_LETTERS_MIN: i64 = 64;
/// or when there are so many marks, and one for so many letters.
const MARKS_MAX: i64 = 10_000;
const LETTERS_OF_MARK: i64 = 20;
/// Bytes of blocks that are written, and blocks that are removed, in one transaction.
const WRITE_BYTES: usize = 1024 * 1024;
const REMOVE_BLOCKS: i64 = 200;
/// What a block takes in the file and, for a while, in its log.
const BLOCK_ROOM: u64 = 10 * 1024;
/// Below this much of free disk nothing is merged.
const SPARE_BYTES: u64 = 256 * 1024 * 1024;
/// Pages given back to the disk in one transaction.
const VACUUM_PAGES: i64 = 256;

/// States of a segment.
const BUILDING: i64 = 0;
pub(super) const LIVE: i64 = 1;
const REMOVED: i64 = 2;

struct Segment {
    id: i64,
    epoch: i64,
    letters: i64,
}

/// What is merged next.
struct Plan {
    inputs: Vec<Segment>,
    dead: Dead,
    /// The last mark that is taken into account, if all segments are merged.
    clears: Option<i64>,
    /// About what the result and the log of writing it take.
    bytes: u64,
}

/// Merges until nothing is left to merge. Blocks. Ends early when the file is closed.
pub(super) fn run(inner: &Inner) -> Result<(), StoreError> {
    let _turn = lock(&inner.merging);
    let reader = open_reader(&inner.path, inner.vfs())?;
    tidy(inner, &reader)?;
    while let Some(plan) = plan(&reader)? {
        if inner.free_bytes() < plan.bytes + SPARE_BYTES {
            tracing::debug!("the search index is not merged: the disk is too full");
            return Ok(());
        }
        let merged = merge(inner, &reader, &plan);
        // What a merge that failed has built goes too.
        tidy(inner, &reader)?;
        merged?;
    }
    Ok(())
}

fn plan(reader: &Connection) -> Result<Option<Plan>, StoreError> {
    // One snapshot of segments and marks.
    let snapshot = reader.unchecked_transaction().map_err(failure)?;
    let sql = "SELECT segment_id, epoch, letters FROM segment WHERE state = ?1 ORDER BY epoch";
    let mut statement = snapshot.prepare_cached(sql).map_err(failure)?;
    let rows = statement.query_map([LIVE], |row| {
        Ok(Segment {
            id: row.get(0)?,
            epoch: row.get(1)?,
            letters: row.get(2)?,
        })
    });
    let mut segments: Vec<Segment> = rows
        .map_err(failure)?
        .collect::<Result<_, _>>()
        .map_err(failure)?;
    let sql = "SELECT count(*), coalesce(sum(letters), 0), max(mark_id) FROM dead";
    let (marks, gone, last): (i64, i64, Option<i64>) = snapshot
        .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .map_err(failure)?;
    let letters: i64 = segments.iter().map(|segment| segment.letters).sum();
    let is_worth_it = gone >= GONE_LETTERS_MIN && gone * GONE_SHARE >= letters;
    let inputs = if marks > MARKS_MAX.max(letters / LETTERS_OF_MARK) || is_worth_it {
        0..segments.len()
    } else {
        match crowd(&segments) {
            Some(inputs) => inputs,
            None => return Ok(None),
        }
    };
    let all = inputs.len() == segments.len();
    let inputs: Vec<Segment> = segments.drain(inputs).collect();
    let mut blocks: i64 = 0;
    for segment in &inputs {
        let sql = "SELECT count(*) FROM fence WHERE segment_id = ?1";
        let mut statement = snapshot.prepare_cached(sql).map_err(failure)?;
        let count = statement.query_row([segment.id], |row| row.get::<_, i64>(0));
        blocks += count.map_err(failure)?;
    }
    Ok(Some(Plan {
        inputs,
        bytes: u64::try_from(blocks).unwrap_or(0) * BLOCK_ROOM,
        dead: Dead::load(&snapshot, i64::MIN, i64::MAX)?,
        clears: last.filter(|_| all),
    }))
}

/// Neighbours of which there are too many of one level or below, the smallest level first. A few of
/// them must have that level themselves: no large segment is written anew for some small ones.
fn crowd(segments: &[Segment]) -> Option<std::ops::Range<usize>> {
    let levels = segments
        .iter()
        .map(|segment| segment.letters.max(1).ilog2() / LEVEL_BITS);
    let levels: Vec<u32> = levels.collect();
    let equals = if levels.len() > INPUTS_MAX {
        1
    } else {
        FAN_IN / 2
    };
    for level in 0..=levels.iter().copied().max()? {
        let mut start = 0;
        while start < levels.len() {
            let run = levels.iter().skip(start);
            let run = run.take_while(|other| **other <= level).take(INPUTS_MAX);
            let (length, equal) = run.fold((0, 0), |(length, equal), other| {
                (length + 1, equal + usize::from(*other == level))
            });
            if length >= FAN_IN && equal >= equals {
                return Some(start..start + length);
            }
            start += length + 1;
        }
    }
    None
}

fn merge(inner: &Inner, reader: &Connection, plan: &Plan) -> Result<(), StoreError> {
    let epoch = plan.inputs.last().map_or(0, |segment| segment.epoch);
    let output = inner.write(|connection| {
        let sql = "INSERT INTO segment (epoch, letters, state) VALUES (?1, 0, ?2)";
        connection
            .execute(sql, [epoch, BUILDING])
            .map_err(failure)?;
        Ok(connection.last_insert_rowid())
    })?;
    let mut sources = Vec::with_capacity(plan.inputs.len());
    for segment in &plan.inputs {
        sources.push(Source::open(reader, segment, &plan.dead)?);
    }
    let mut joiner = Joiner::default();
    let mut left = Joined::default();
    while let Some(at) = least(&sources) {
        if let Some(source) = sources.get_mut(at) {
            source.give(&mut joiner, &mut left)?;
            source.next(reader)?;
        }
        if joiner.writer.done_bytes >= WRITE_BYTES {
            flush(inner, output, &mut joiner)?;
        }
    }
    joiner.finish()?;
    flush(inner, output, &mut joiner)?;
    inner.write(|connection| exchange(connection, plan, output))
}

/// The source whose entry comes first.
fn least(sources: &[Source]) -> Option<usize> {
    let mut least: Option<(usize, (&[u8], u32))> = None;
    for (at, source) in sources.iter().enumerate() {
        let Some(found) = source.found else { continue };
        let key = (source.reader.term(), found.first());
        if least.is_none_or(|(_, other)| key < other) {
            least = Some((at, key));
        }
    }
    least.map(|(at, _)| at)
}

fn flush(inner: &Inner, segment: i64, joiner: &mut Joiner) -> Result<(), StoreError> {
    let blocks = std::mem::take(&mut joiner.writer.done);
    joiner.writer.done_bytes = 0;
    inner.write(|connection| {
        let transaction = connection.transaction().map_err(failure)?;
        write_blocks(&transaction, segment, &blocks)?;
        transaction.commit().map_err(failure)
    })
}

/// The new segment takes the place of the others.
fn exchange(connection: &mut Connection, plan: &Plan, output: i64) -> Result<(), StoreError> {
    let transaction = connection.transaction().map_err(failure)?;
    for segment in &plan.inputs {
        let sql = "UPDATE segment SET state = ?2 WHERE segment_id = ?1";
        transaction
            .execute(sql, [segment.id, REMOVED])
            .map_err(failure)?;
    }
    let mut letters: i64 = plan.inputs.iter().map(|segment| segment.letters).sum();
    if let Some(last) = plan.clears {
        let sql = "SELECT coalesce(sum(letters), 0) FROM dead WHERE mark_id <= ?1";
        let gone: i64 = transaction
            .query_row(sql, [last], |row| row.get(0))
            .map_err(failure)?;
        letters = (letters - gone).max(0);
        transaction
            .execute("DELETE FROM dead WHERE mark_id <= ?1", [last])
            .map_err(failure)?;
    }
    let sql = "UPDATE segment SET state = ?2, letters = ?3 WHERE segment_id = ?1";
    transaction
        .execute(sql, [output, LIVE, letters])
        .map_err(failure)?;
    transaction.commit().map_err(failure)
}

/// Removes segments that were merged or never finished, and gives room back.
fn tidy(inner: &Inner, reader: &Connection) -> Result<(), StoreError> {
    let sql = "SELECT segment_id FROM segment WHERE state <> ?1 LIMIT 1";
    loop {
        let mut statement = reader.prepare_cached(sql).map_err(failure)?;
        let found = statement.query_row([LIVE], |row| row.get::<_, i64>(0));
        let Some(segment) = found.optional().map_err(failure)? else {
            break;
        };
        while inner.write(|connection| remove_piece(connection, segment))? {}
    }
    let pages = |pragma| reader.query_row(pragma, [], |row| row.get::<_, i64>(0));
    loop {
        let free = pages("PRAGMA freelist_count").map_err(failure)?;
        let all = pages("PRAGMA page_count").map_err(failure)?;
        // What is left is soon used again.
        if free <= VACUUM_PAGES || free * 4 <= all {
            return Ok(());
        }
        inner.write(|connection| {
            let give = format!("PRAGMA incremental_vacuum({VACUUM_PAGES})");
            let mut statement = connection.prepare(&give).map_err(failure)?;
            // Each row is a page.
            let mut pages = statement.raw_query();
            while pages.next().map_err(failure)?.is_some() {}
            Ok(())
        })?;
    }
}

/// Removes some blocks of a segment, and with the last the segment; whether there may be more.
fn remove_piece(connection: &mut Connection, segment: i64) -> Result<bool, StoreError> {
    let transaction = connection.transaction().map_err(failure)?;
    let sql = "DELETE FROM block WHERE block_id IN
        (SELECT block_id FROM fence WHERE segment_id = ?1 ORDER BY first LIMIT ?2)";
    transaction
        .execute(sql, [segment, REMOVE_BLOCKS])
        .map_err(failure)?;
    let sql = "DELETE FROM fence WHERE segment_id = ?1 AND first IN
        (SELECT first FROM fence WHERE segment_id = ?1 ORDER BY first LIMIT ?2)";
    let removed = transaction
        .execute(sql, [segment, REMOVE_BLOCKS])
        .map_err(failure)?;
    if removed == 0 {
        let sql = "DELETE FROM segment WHERE segment_id = ?1";
        transaction.execute(sql, [segment]).map_err(failure)?;
    }
    transaction.commit().map_err(failure)?;
    Ok(removed > 0)
}

/// A segment that is read from its beginning to its end.
struct Source {
    blocks: VecDeque<i64>,
    gone: Gone,
    reader: BlockReader,
    /// The entry it stands at; nothing at the end.
    found: Option<Found>,
}

impl Source {
    fn open(connection: &Connection, segment: &Segment, dead: &Dead) -> Result<Self, StoreError> {
        let sql = "SELECT block_id FROM fence WHERE segment_id = ?1 ORDER BY first";
        let mut statement = connection.prepare_cached(sql).map_err(failure)?;
        let rows = statement.query_map([segment.id], |row| row.get(0));
        let blocks = rows.map_err(failure)?.collect::<Result<_, _>>();
        let mut source = Self {
            blocks: blocks.map_err(failure)?,
            gone: dead.at(segment.epoch),
            reader: BlockReader::default(),
            found: None,
        };
        source.next(connection)?;
        Ok(source)
    }

    fn next(&mut self, connection: &Connection) -> Result<(), StoreError> {
        loop {
            self.found = self.reader.next()?;
            if self.found.is_some() {
                return Ok(());
            }
            let Some(block) = self.blocks.pop_front() else {
                return Ok(());
            };
            self.reader = BlockReader::new(block_data(connection, block)?);
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

/// The bytes of a block.
pub(super) fn block_data(connection: &Connection, block: i64) -> Result<Vec<u8>, StoreError> {
    let sql = "SELECT data FROM block WHERE block_id = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    let found = statement.query_row(params![block], |row| row.get(0));
    found.optional().map_err(failure)?.ok_or_else(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_size_are_merged() {
        let check = |letters: &[i64], expected: Option<std::ops::Range<usize>>| {
            let segments: Vec<Segment> = letters
                .iter()
                .map(|letters| Segment {
                    id: 0,
                    epoch: 0,
                    letters: *letters,
                })
                .collect();
            assert_eq!(crowd(&segments), expected, "{letters:?}");
        };
        check(&[], None);
        check(&[1; 7], None);
        check(&[1; 8], Some(0..8));
        check(&[100, 1, 1, 1, 1, 1, 1, 1, 3], Some(1..9));
        check(&[1, 1, 1, 1, 100, 1, 1, 1, 1], None);
        check(&[9000, 1, 1, 1, 1, 1, 1, 9000], None);
        // Small ones between large ones do not gather for ever.
        check(&[9000, 1, 9000, 1, 9000, 1, 9000, 1], Some(0..8));
    }
}
