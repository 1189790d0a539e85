//! How much the store takes: the database, and the bytes of letters before and after compression.
//! What an account takes stands in its [`crate::AccountInfo`], counted and not summed up.

use crate::engine::{Body, Tx, params};
use crate::{Store, StoreError};

/// Parts of blobs that one snapshot reads.
const PAGE: i64 = 2_000;

/// What all letters take, each counted once however many messages it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlobUsage {
    /// Letters.
    pub blobs: u64,
    /// Their bytes before compression.
    pub bytes: u64,
    /// Their bytes as they are stored.
    pub stored_bytes: u64,
}

impl Store {
    /// Bytes that the database takes on its disk. Segment files and object stores are not in it.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn database_bytes(&self) -> Result<u64, StoreError> {
        self.0.engine.database_bytes().await
    }

    /// Sums up all blobs, in pages: it reads a row for every letter, and so takes a while in a large
    /// store.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn blob_usage(&self) -> Result<BlobUsage, StoreError> {
        let mut usage = BlobUsage::default();
        let mut after = (Vec::new(), -1);
        loop {
            let page = self.0.engine.read(Page { after }).await?;
            usage.blobs += page.usage.blobs;
            usage.bytes += page.usage.bytes;
            usage.stored_bytes += page.usage.stored_bytes;
            let Some(last) = page.last else {
                return Ok(usage);
            };
            after = last;
        }
    }
}

struct Page {
    /// The part after which it begins.
    after: (Vec<u8>, i64),
}

struct PageUsage {
    usage: BlobUsage,
    last: Option<(Vec<u8>, i64)>,
}

impl Body for Page {
    type Out = PageUsage;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<PageUsage, StoreError> {
        let sql = "SELECT hash, part, plain_bytes,
                CASE WHEN segment = 0 THEN length(data) ELSE stored_bytes END
            FROM blob WHERE (hash, part) > ($1, $2) ORDER BY hash, part LIMIT $3";
        let (hash, part) = &self.after;
        let mut usage = BlobUsage::default();
        let mut last = None;
        for mut row in tx.rows(sql, params![hash.as_slice(), *part, PAGE]).await? {
            let part = row.int(1)?;
            usage.blobs += u64::from(part == 0);
            usage.bytes += row.unsigned(2)?;
            usage.stored_bytes += row.unsigned(3)?;
            last = Some((row.bytes(0)?, part));
        }
        Ok(PageUsage { usage, last })
    }
}
