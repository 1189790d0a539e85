//! Blobs: the letters as received, stored once however many refer to them.
//!
//! A row of `message` or `letter` that names a hash is itself the reference. Whoever removes such a
//! row condemns the blob; the collector looks again after a grace and removes what nobody names.
//! Whoever stores a letter revives its blob in the same transaction.

use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use bytes::Bytes;

use crate::directory::signed;
use crate::engine::{Body, Priority, Tx, params};
use crate::prepare::{Part, Prepared, decompress};
use crate::{Store, StoreError};

/// Longer than any transaction, read or backup that may still want a condemned blob.
const GRACE: Duration = Duration::from_secs(3_600);
/// Bytes of parts that are stored in the transaction of their message: written in about 2 ms.
const TOGETHER_BYTES_MAX: usize = 512 * 1024;
/// Blobs that one transaction of the collector looks at.
const COLLECT_MAX: i64 = 50;

impl Store {
    /// Stores the parts of a large letter in transactions of their own, so that the one that makes
    /// it a message stays short. Until then the blob is condemned: if that transaction never comes,
    /// the collector removes it.
    pub(crate) async fn store_ahead(&self, mut prepared: Prepared) -> Result<Prepared, StoreError> {
        let stored: usize = prepared.parts.iter().map(|part| part.data.len()).sum();
        if stored <= TOGETHER_BYTES_MAX {
            return Ok(prepared);
        }
        let mut parts = std::mem::take(&mut prepared.parts);
        prepared.parts_ahead = parts.len();
        let letter = Arc::new(prepared);
        let mut first = 0;
        while !parts.is_empty() {
            let mut bytes = 0;
            let count = parts.iter().take_while(|part| {
                bytes += part.data.len();
                bytes <= TOGETHER_BYTES_MAX
            });
            // A part is smaller than what goes together, so that there is at least one.
            let rest = parts.split_off(count.count().max(1));
            let body = StoreParts {
                letter: Arc::clone(&letter),
                first,
                parts,
                now: self.0.shared.now(),
            };
            first += i64::try_from(body.parts.len()).unwrap_or(i64::MAX);
            parts = rest;
            self.0.engine.write(body, Priority::Bulk).await?;
        }
        Ok(Arc::unwrap_or_clone(letter))
    }
}

/// Stores the parts of a letter, unless they are there. Gives the blob's id.
pub(crate) async fn store_blob(tx: &mut Tx<'_>, prepared: &Prepared) -> Result<i64, StoreError> {
    let hash = &prepared.hash;
    if let Some((first, rest)) = prepared.parts.split_first() {
        let total = signed(prepared.bytes);
        let is_new = insert_part(tx, prepared, total, 0, first).await?;
        for (number, part) in (1..).zip(rest) {
            insert_part(tx, prepared, total, number, part).await?;
        }
        if is_new {
            return Ok(prepared.blob_id);
        }
    }
    if prepared.parts_ahead > 0 {
        let sql = "SELECT count(*) FROM blob WHERE hash = $1";
        let there = tx.one(sql, params![hash]).await?.unsigned(0)?;
        if there != prepared.parts_ahead as u64 {
            // It took so long that the collector came first.
            return Err(StoreError::Busy(
                "the letter has to be stored again".to_owned(),
            ));
        }
    }
    revive(tx, hash).await?;
    let sql = "SELECT blob_id FROM blob WHERE hash = $1 AND part = 0";
    let row = tx.row(sql, params![hash]).await?;
    row.ok_or_else(|| StoreError::Io("a letter's bytes are missing".to_owned()))?
        .int(0)
}

/// Stores a part; `false` if it is there already.
async fn insert_part(
    tx: &mut Tx<'_>,
    prepared: &Prepared,
    total_bytes: i64,
    number: i64,
    part: &Part,
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO blob (hash, part, blob_id, coding, plain_bytes, total_bytes, data)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (hash, part) DO NOTHING";
    let values = params![
        &prepared.hash,
        number,
        prepared.blob_id,
        part.coding as i64,
        part.plain_bytes,
        total_bytes,
        part.data.as_ref(),
    ];
    Ok(tx.execute(sql, values).await? > 0)
}

/// Some parts of a large letter.
struct StoreParts {
    /// The letter without its parts.
    letter: Arc<Prepared>,
    first: i64,
    parts: Vec<Part>,
    now: Timestamp,
}

impl Body for StoreParts {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        condemn(tx, &self.letter.hash, self.now).await?;
        let total = signed(self.letter.bytes);
        for (number, part) in (self.first..).zip(&self.parts) {
            insert_part(tx, &self.letter, total, number, part).await?;
        }
        Ok(())
    }
}

/// Takes a blob from the collector's list.
pub(crate) async fn revive(tx: &mut Tx<'_>, hash: &[u8; 32]) -> Result<(), StoreError> {
    tx.execute("DELETE FROM condemned WHERE hash = $1", params![hash])
        .await?;
    Ok(())
}

/// Puts a blob that lost a reference on the collector's list.
pub(crate) async fn condemn(
    tx: &mut Tx<'_>,
    hash: &[u8; 32],
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO condemned (hash, condemned_at) VALUES ($1, $2)
         ON CONFLICT (hash) DO UPDATE SET condemned_at = $2",
        params![hash, now],
    )
    .await?;
    Ok(())
}

/// What is known of a blob.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlobInfo {
    pub total_bytes: u64,
    /// Bytes of each part but the last.
    pub part_bytes: u64,
}

/// Looks a blob up.
pub(crate) struct FindBlob {
    pub hash: [u8; 32],
}

impl Body for FindBlob {
    type Out = Option<BlobInfo>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<BlobInfo>, StoreError> {
        blob_info(tx, &self.hash).await
    }
}

/// Looks a blob up.
pub(crate) async fn blob_info(
    tx: &mut Tx<'_>,
    hash: &[u8; 32],
) -> Result<Option<BlobInfo>, StoreError> {
    let sql = "SELECT total_bytes, plain_bytes FROM blob WHERE hash = $1 AND part = 0";
    let Some(row) = tx.row(sql, params![hash]).await? else {
        return Ok(None);
    };
    Ok(Some(BlobInfo {
        total_bytes: row.unsigned(0)?,
        part_bytes: row.unsigned(1)?,
    }))
}

/// Reads one part as it was before compression.
pub(crate) struct ReadPart {
    pub hash: [u8; 32],
    pub part: i64,
}

impl Body for ReadPart {
    type Out = Option<StoredPart>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<StoredPart>, StoreError> {
        let sql = "SELECT coding, plain_bytes, data FROM blob WHERE hash = $1 AND part = $2";
        let Some(mut row) = tx.row(sql, params![&self.hash, self.part]).await? else {
            return Ok(None);
        };
        Ok(Some(StoredPart {
            coding: row.int(0)?,
            plain_bytes: usize::try_from(row.unsigned(1)?).unwrap_or(usize::MAX),
            data: row.bytes(2)?,
        }))
    }
}

/// A part as it is stored.
pub(crate) struct StoredPart {
    coding: i64,
    plain_bytes: usize,
    data: Vec<u8>,
}

impl StoredPart {
    /// The bytes before compression.
    pub(crate) fn plain(self) -> Result<Bytes, StoreError> {
        decompress(self.coding, self.plain_bytes, self.data).map(Bytes::from)
    }
}

/// One step of the collector: removes blobs that were condemned long ago and that nobody names.
/// Gives the number it looked at.
pub(crate) struct Collect {
    pub now: Timestamp,
    pub grace: Duration,
}

impl Collect {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { now, grace: GRACE }
    }
}

impl Body for Collect {
    type Out = usize;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<usize, StoreError> {
        let sql = "SELECT hash FROM condemned WHERE condemned_at <= $1
            ORDER BY condemned_at LIMIT $2";
        let rows = tx
            .rows(sql, params![self.now - self.grace, COLLECT_MAX])
            .await?;
        let looked_at = rows.len();
        for mut row in rows {
            let hash = row.hash(0)?;
            // The collector belongs to no account: it is the one place that asks across them.
            let named = "SELECT 1 FROM blob WHERE hash = $1 AND part = 0
                AND (EXISTS (SELECT 1 FROM message m WHERE m.blob_id = blob.blob_id)
                    OR EXISTS (SELECT 1 FROM letter l WHERE l.blob_id = blob.blob_id))";
            if tx.row(named, params![&hash]).await?.is_none() {
                tx.execute("DELETE FROM blob WHERE hash = $1", params![&hash])
                    .await?;
            }
            revive(tx, &hash).await?;
        }
        Ok(looked_at)
    }
}
