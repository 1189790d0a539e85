//! Restore points: what a run wrote, and which blobs belong to it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::engine::{Row, Value};

/// The version of the format. A program refuses later ones.
pub(crate) const FORMAT: u32 = 1;

/// What a restore point says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the format.
    pub format: u32,
    /// The version of the tables.
    pub schema: i64,
    /// Its name, made from its time.
    pub id: String,
    /// When the snapshot was taken, in milliseconds since 1970.
    pub taken_at: i64,
    /// The same for people.
    pub taken: String,
    /// The node that made it.
    pub node: String,
    /// The program that made it.
    pub program: String,
    /// Accounts.
    pub accounts: u64,
    /// Messages.
    pub messages: u64,
    /// Blobs that belong to it.
    pub blobs: u64,
    /// Their bytes before compression.
    pub blob_bytes: u64,
    /// The checksum of the list of blobs.
    pub blob_list: String,
    /// The tables.
    pub tables: Vec<TableEntry>,
    /// The hashes of blobs that the store named and did not have.
    pub lost: Vec<String>,
    /// The key with which the secrets are sealed, by its id.
    pub key: Option<String>,
    /// Whether the key is in the backup.
    pub with_key: bool,
}

/// A table of a restore point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableEntry {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// BLAKE3 of its file.
    pub checksum: String,
}

impl Manifest {
    /// Reads a manifest.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = |error: serde_json::Error| super::damaged(path, &error.to_string());
        // First the version: a later one may have another form.
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(damaged)?;
        let format = value["format"].as_u64().unwrap_or(0);
        if format != u64::from(FORMAT) {
            return Err(StoreError::Invalid(format!(
                "{} has format {format}; this program reads format {FORMAT}",
                path.display()
            )));
        }
        serde_json::from_value(value).map_err(damaged)
    }

    /// The rows of a table.
    pub(crate) fn rows_of(&self, table: &str) -> u64 {
        let entry = self.tables.iter().find(|entry| entry.name == table);
        entry.map_or(0, |entry| entry.rows)
    }

    /// All rows.
    pub(crate) fn rows(&self) -> u64 {
        self.tables.iter().map(|entry| entry.rows).sum()
    }
}

/// A blob of a restore point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlobEntry {
    pub(crate) hash: [u8; 32],
    pub(crate) blob_id: i64,
    pub(crate) total_bytes: u64,
}

impl BlobEntry {
    /// The columns of its row.
    pub(crate) fn columns() -> Vec<String> {
        ["hash", "blob_id", "total_bytes"]
            .map(str::to_owned)
            .to_vec()
    }

    /// As a row of the list.
    pub(crate) fn row(&self) -> Row {
        let total = i64::try_from(self.total_bytes).unwrap_or(i64::MAX);
        Row::of(&[
            Value::Bytes(&self.hash),
            Value::Int(self.blob_id),
            Value::Int(total),
        ])
    }

    /// From a row of the list.
    pub(crate) fn from_row(mut row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            hash: row.hash(0)?,
            blob_id: row.int(1)?,
            total_bytes: row.unsigned(2)?,
        })
    }
}
