//! Whole tables out of a SQLite file and into one.

use super::Session;
use super::session::{bind, cell, failure};
use crate::StoreError;
use crate::engine::Piece;
use crate::engine::rows::Batch;
use crate::engine::value::Row;

impl Session {
    /// Gives all rows of a table, in the order in which they lie in the file.
    pub(crate) fn copy_out(
        &mut self,
        table: &'static str,
        mut give: impl FnMut(Piece) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let sql = format!("SELECT * FROM {table}");
        let mut statement = self.connection().prepare(&sql).map_err(failure)?;
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let count = columns.len();
        give(Piece::Table {
            name: table,
            columns,
        })?;
        let mut batch = Batch::default();
        let mut rows = statement.query([]).map_err(failure)?;
        while let Some(row) = rows.next().map_err(failure)? {
            let cells = (0..count).map(|at| cell(row.get_ref(at).map_err(failure)?));
            batch.push(&Row(cells.collect::<Result<_, _>>()?));
            if batch.is_full() {
                give(Piece::Rows(std::mem::take(&mut batch)))?;
            }
        }
        if batch.rows > 0 {
            give(Piece::Rows(batch))?;
        }
        give(Piece::End)
    }

    /// Puts rows into a table.
    pub(crate) fn copy_in(
        &mut self,
        table: &'static str,
        columns: &[String],
        rows: &[Row],
    ) -> Result<(), StoreError> {
        let places: Vec<String> = (1..=columns.len()).map(|at| format!("?{at}")).collect();
        let sql = format!(
            "INSERT INTO {table} ({}) VALUES ({})",
            columns.join(", "),
            places.join(", ")
        );
        let mut statement = self.connection().prepare_cached(&sql).map_err(failure)?;
        for row in rows {
            for (at, value) in (1..).zip(row.values()) {
                bind(&mut statement, at, value).map_err(failure)?;
            }
            statement.raw_execute().map_err(failure)?;
        }
        Ok(())
    }

    /// How many rows a table has.
    pub(crate) fn count(&mut self, table: &'static str) -> Result<u64, StoreError> {
        let sql = format!("SELECT count(*) FROM {table}");
        let count = self
            .connection()
            .query_row(&sql, [], |row| row.get::<_, i64>(0));
        Ok(count.map_err(failure)?.unsigned_abs())
    }

    /// What SQLite finds wrong with its file.
    pub(crate) fn check_file(&mut self) -> Result<Vec<String>, StoreError> {
        let mut check = self
            .connection()
            .prepare("PRAGMA integrity_check(20)")
            .map_err(failure)?;
        let lines = check
            .query_map([], |row| row.get::<_, String>(0))
            .map_err(failure)?;
        let lines = lines.filter(|line| line.as_ref().map_or(true, |line| line != "ok"));
        lines.map(|line| line.map_err(failure)).collect()
    }

    /// Removes all rows of a table.
    pub(crate) fn empty(&mut self, table: &'static str) -> Result<(), StoreError> {
        self.batch(&format!("DELETE FROM {table}"))
    }
}
