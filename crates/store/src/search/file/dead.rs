//! Rows of messages that are gone, or that are about to be in the index anew: what stands in segments
//! up to an epoch is not theirs any more. Merging leaves it out.

use rusqlite::{Connection, params};

use super::failure;
use crate::StoreError;

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

/// The marks on some rows.
#[derive(Default)]
pub(super) struct Dead {
    /// First row, last row, epoch.
    marks: Vec<(i64, i64, i64)>,
}

impl Dead {
    /// The marks of an account, whose rows are from `first` to `last`: none crosses accounts.
    pub(super) fn load(connection: &Connection, first: i64, last: i64) -> Result<Self, StoreError> {
        let sql =
            "SELECT first, last, through FROM dead WHERE first BETWEEN ?1 AND ?2 ORDER BY first";
        let mut statement = connection.prepare_cached(sql).map_err(failure)?;
        let rows = statement.query_map([first, last], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        });
        let marks = rows.map_err(failure)?.collect::<Result<_, _>>();
        Ok(Self {
            marks: marks.map_err(failure)?,
        })
    }

    /// What is gone from segments of an epoch.
    pub(super) fn at(&self, epoch: i64) -> Gone {
        let mut ranges: Vec<(i64, i64)> = Vec::new();
        for (first, last, through) in &self.marks {
            if *through < epoch {
                continue;
            }
            match ranges.last_mut() {
                Some((_, end)) if *first <= end.saturating_add(1) => *end = (*last).max(*end),
                _ => ranges.push((*first, *last)),
            }
        }
        Gone(ranges)
    }
}

/// Rows that are gone: ranges, ascending, that do not touch.
pub(super) struct Gone(Vec<(i64, i64)>);

impl Gone {
    pub(super) fn has(&self, row: i64) -> bool {
        self.touches(row, row)
    }

    /// Whether one of some rows is gone.
    pub(super) fn touches(&self, first: i64, last: i64) -> bool {
        let next = self.0.partition_point(|(_, end)| *end < first);
        self.0.get(next).is_some_and(|(start, _)| *start <= last)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_count_up_to_their_epoch() {
        let dead = Dead {
            marks: vec![(5, 9, 3), (8, 12, 7), (20, 20, 7), (21, 30, 2)],
        };
        let gone = dead.at(3);
        let found: Vec<i64> = (1..40).filter(|row| gone.has(*row)).collect();
        assert_eq!(found, (5..=12).chain([20]).collect::<Vec<_>>());
        assert!(gone.touches(1, 5) && gone.touches(12, 19) && !gone.touches(13, 19));
        let gone = dead.at(4);
        assert!(!gone.has(7) && gone.has(8) && !gone.has(21));
        assert!(dead.at(8).is_empty());
    }
}
