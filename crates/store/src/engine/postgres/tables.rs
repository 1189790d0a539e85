//! Whole tables out of a PostgreSQL database (by a cursor) and into one (by COPY).

use std::pin::pin;

use tokio::sync::mpsc::Sender;
use tokio_postgres::Client;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};

use super::Session;
use super::session::row_of;
use super::values::Param;
use crate::StoreError;
use crate::engine::rows::Batch;
use crate::engine::value::Row;
use crate::engine::{Piece, give};

/// Rows that the cursor gives at once.
const FETCH: &str = "FETCH 500 FROM copy_out";

impl Session {
    /// Gives all rows of a table.
    pub(crate) async fn copy_out(
        &mut self,
        table: &'static str,
        to: &Sender<Piece>,
    ) -> Result<(), StoreError> {
        let declare = format!("DECLARE copy_out NO SCROLL CURSOR FOR SELECT * FROM {table}");
        self.batch(&declare).await?;
        // Not kept: the next table's rows have other columns.
        let fetch = self.line().wait(self.client().prepare(FETCH)).await;
        let fetch = fetch.map_err(|wrong| self.note(&wrong))?;
        let columns = fetch
            .columns()
            .iter()
            .map(|column| column.name().to_owned());
        let columns: Vec<String> = columns.collect();
        give(
            to,
            Piece::Table {
                name: table,
                columns,
            },
        )
        .await?;
        let mut batch = Batch::default();
        loop {
            let found = self.line().wait(self.client().query(&fetch, &[])).await;
            let found = found.map_err(|wrong| self.note(&wrong))?;
            if found.is_empty() {
                break;
            }
            for row in &found {
                batch.push(&row_of(row, table)?);
                if batch.is_full() {
                    give(to, Piece::Rows(std::mem::take(&mut batch))).await?;
                }
            }
        }
        if batch.rows > 0 {
            give(to, Piece::Rows(batch)).await?;
        }
        self.batch("CLOSE copy_out").await?;
        give(to, Piece::End).await
    }

    /// Puts rows into a table.
    pub(crate) async fn copy_in(
        &mut self,
        table: &'static str,
        columns: &[String],
        rows: &[Row],
    ) -> Result<(), StoreError> {
        let (client, columns) = (self.client(), columns.join(", "));
        let done = self.line().wait(copy(&client, table, &columns, rows)).await;
        match done {
            Ok(()) => Ok(()),
            Err(wrong) => Err(self.failed(&wrong).await),
        }
    }

    /// How many rows a table has.
    pub(crate) async fn count(&mut self, table: &'static str) -> Result<u64, StoreError> {
        let sql = format!("SELECT count(*) FROM {table}");
        let found = self.line().wait(self.client().query_one(&sql, &[])).await;
        row_of(&found.map_err(|wrong| self.note(&wrong))?, table)?.unsigned(0)
    }

    /// Removes all rows of a table.
    pub(crate) async fn empty(&mut self, table: &'static str) -> Result<(), StoreError> {
        self.batch(&format!("TRUNCATE {table}")).await
    }
}

async fn copy(
    client: &Client,
    table: &str,
    columns: &str,
    rows: &[Row],
) -> Result<(), tokio_postgres::Error> {
    let shape = format!("SELECT {columns} FROM {table}");
    let shape = client.prepare(&shape).await?;
    let kinds: Vec<Type> = shape
        .columns()
        .iter()
        .map(|column| column.type_().clone())
        .collect();
    let copy = format!("COPY {table} ({columns}) FROM STDIN (FORMAT binary)");
    let sink = client.copy_in(&copy).await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &kinds));
    for row in rows {
        let values: Vec<Param<'_>> = row.values().map(Param).collect();
        let values: Vec<&(dyn ToSql + Sync)> = values
            .iter()
            .map(|value| value as &(dyn ToSql + Sync))
            .collect();
        writer.as_mut().write(&values).await?;
    }
    writer.finish().await.map(|_| ())
}
