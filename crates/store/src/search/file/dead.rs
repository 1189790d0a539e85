//! The marks on rows of messages that are gone, as the file keeps them.

use rusqlite::{Connection, params};

use super::failure;
use crate::StoreError;
use crate::search::segments::Marks;

/// Marks rows as gone from all segments that there are.
pub(super) fn mark(
    connection: &Connection,
    first: i64,
    last: i64,
    letters: i64,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO dead (first, last, through, letters)
        SELECT ?1, ?2, coalesce(max(epoch), 0), ?3 FROM segment";
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    statement
        .execute(params![first, last, letters])
        .map_err(failure)?;
    Ok(())
}

/// The marks of an account, whose rows are from `first` to `last`: none crosses accounts.
pub(super) fn marks(connection: &Connection, first: i64, last: i64) -> Result<Marks, StoreError> {
    let sql = "SELECT first, last, through FROM dead WHERE first BETWEEN ?1 AND ?2 ORDER BY first";
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    let rows = statement.query_map([first, last], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    });
    let marks = rows.map_err(failure)?.collect::<Result<_, _>>();
    marks.map(Marks).map_err(failure)
}
