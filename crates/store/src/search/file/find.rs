//! Answers a query from the file.

use base::AccountId;
use rusqlite::{Connection, params};

use super::dead::marks;
use super::failure;
use super::merge::block_data;
use crate::StoreError;
use crate::search::query::SearchQuery;
use crate::search::segments::{Docs, Finder, Gone, Keys, LIVE, rows_of};

/// The messages of an account that a query finds.
pub(super) fn find(
    connection: &Connection,
    account: AccountId,
    query: &SearchQuery,
) -> Result<Docs, StoreError> {
    let segments = segments(connection, account)?;
    let mut finder = Finder::new(account, query);
    while let Some(keys) = finder.next() {
        for (segment, gone) in &segments {
            look(connection, *segment, gone, &keys, &mut finder)?;
        }
    }
    Ok(finder.found())
}

/// The segments, each with what is gone from it.
fn segments(connection: &Connection, account: AccountId) -> Result<Vec<(i64, Gone)>, StoreError> {
    let (first, last) = rows_of(account)?;
    let marks = marks(connection, first, last)?;
    let sql = "SELECT segment_id, epoch FROM segment WHERE state = ?1 ORDER BY epoch";
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    let rows = statement.query_map([LIVE], |row| Ok((row.get(0)?, row.get(1)?)));
    let segments = rows.map_err(failure)?.map(|row| {
        let (segment, epoch): (i64, i64) = row.map_err(failure)?;
        Ok((segment, marks.at(epoch)))
    });
    segments.collect()
}

fn look(
    connection: &Connection,
    segment: i64,
    gone: &Gone,
    keys: &Keys,
    finder: &mut Finder,
) -> Result<(), StoreError> {
    let sql = "SELECT block_id FROM fence WHERE segment_id = ?1 AND first < ?3
        AND first >= coalesce((SELECT max(first) FROM fence
            WHERE segment_id = ?1 AND first <= ?2), x'')
        ORDER BY first";
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    let rows = statement.query_map(params![segment, keys.start, keys.end], |row| row.get(0));
    for block in rows.map_err(failure)? {
        finder.take(gone, block_data(connection, block.map_err(failure)?)?)?;
    }
    Ok(())
}
