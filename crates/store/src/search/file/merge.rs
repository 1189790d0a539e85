//! Merging: few large segments instead of many small ones, without what is gone. It reads segments
//! that nobody changes, on a connection of its own, and writes in short transactions, so that
//! letters are added and searched meanwhile. A crash leaves a segment that was being built, which is
//! removed at the next start.

use std::collections::VecDeque;

use rusqlite::{Connection, OptionalExtension, params};

use super::dead::marks;
use super::{Inner, failure, lock, open_reader, write_blocks};
use crate::StoreError;
use crate::search::segments::{
    BUILDING, Block, LIVE, Marks, Merger, REMOVED, Segment, Shape, Wants, damaged,
};

/// A file has few accounts or many in each segment, and its room is used again at once.
const SHAPE: Shape = Shape {
    fan_in: 8,
    level_bits: 3,
};
/// Blocks that are removed in one transaction.
const REMOVE_BLOCKS: i64 = 200;
/// What a block takes in the file and, for a while, in its log.
const BLOCK_ROOM: u64 = 10 * 1024;
/// Below this much of free disk nothing is merged.
const SPARE_BYTES: u64 = 256 * 1024 * 1024;
/// Pages given back to the disk in one transaction.
const VACUUM_PAGES: i64 = 256;

/// What is merged next.
struct Plan {
    inputs: Vec<Segment>,
    marks: Marks,
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
    let (marked, gone, last): (i64, i64, Option<i64>) = snapshot
        .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .map_err(failure)?;
    let Some(inputs) = SHAPE.next(&segments, marked, gone) else {
        return Ok(None);
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
        marks: marks(&snapshot, i64::MIN, i64::MAX)?,
        clears: last.filter(|_| all),
    }))
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
    let mut waiting = Vec::with_capacity(plan.inputs.len());
    for segment in &plan.inputs {
        waiting.push(blocks_of(reader, segment.id)?);
    }
    let gone = plan
        .inputs
        .iter()
        .map(|segment| plan.marks.at(segment.epoch));
    let mut merger = Merger::new(gone);
    loop {
        match merger.go()? {
            Wants::Blocks(at) => {
                let next = waiting.get_mut(at).and_then(VecDeque::pop_front);
                let data = next.map(|block| block_data(reader, block)).transpose()?;
                let is_all = data.is_none();
                merger.give(at, data.into_iter().collect(), is_all);
            }
            Wants::Room => flush(inner, output, &merger.take())?,
            Wants::End => break,
        }
    }
    flush(inner, output, &merger.take())?;
    inner.write(|connection| exchange(connection, plan, output))
}

fn flush(inner: &Inner, segment: i64, blocks: &[Block]) -> Result<(), StoreError> {
    inner.write(|connection| {
        let transaction = connection.transaction().map_err(failure)?;
        write_blocks(&transaction, segment, blocks)?;
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

/// The blocks of a segment, in order.
fn blocks_of(connection: &Connection, segment: i64) -> Result<VecDeque<i64>, StoreError> {
    let sql = "SELECT block_id FROM fence WHERE segment_id = ?1 ORDER BY first";
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    let rows = statement.query_map([segment], |row| row.get(0));
    let blocks = rows.map_err(failure)?.collect::<Result<_, _>>();
    blocks.map_err(failure)
}

/// The bytes of a block.
pub(super) fn block_data(connection: &Connection, block: i64) -> Result<Vec<u8>, StoreError> {
    let sql = "SELECT data FROM block WHERE block_id = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    let found = statement.query_row(params![block], |row| row.get(0));
    found.optional().map_err(failure)?.ok_or_else(damaged)
}
