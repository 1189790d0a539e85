//! Blobs out of a store as they are stored, for backups and moves.

use super::{BlobEntry, Fragment};
use crate::blobs::Look as Stored;
use crate::blobs::home::IN_ROW;
use crate::engine::{Body, Tx, params};
use crate::prepare::PART_BYTES;
use crate::{Store, StoreError};

/// Blobs that one page lists.
const PAGE: i64 = 500;
/// Stored bytes that are read at once.
const BYTES_MAX: usize = 1 << 20;

impl Store {
    /// A page of the blobs, in the order of their hashes; empty at the end.
    pub(crate) async fn list_blobs(
        &self,
        after: Option<[u8; 32]>,
    ) -> Result<Vec<BlobEntry>, StoreError> {
        self.0.engine.read(ListBlobs { after }).await
    }

    /// The only part of each of these small blobs; `None` for one whose bytes are not there. At
    /// least one blob is read, and no more than about a MiB.
    pub(crate) async fn read_small(
        &self,
        blobs: &[BlobEntry],
    ) -> Result<Vec<Option<Fragment>>, StoreError> {
        let wanted = blobs.iter().map(|blob| blob.hash).collect();
        let looks = self.0.engine.read(ReadSmall { wanted }).await?;
        let mut found = Vec::with_capacity(looks.len());
        for (look, blob) in looks.into_iter().zip(blobs) {
            found.push(match look {
                Look::InRow(fragment) => Some(fragment),
                Look::Outside => self.read_fragment(blob.hash, 0).await?,
                Look::Nothing => None,
            });
        }
        Ok(found)
    }

    /// A part of a blob; `None` if its bytes are lost or damaged.
    ///
    /// # Errors
    /// When they cannot be read now, so that nobody takes them for lost.
    pub(crate) async fn read_fragment(
        &self,
        hash: [u8; 32],
        part: u32,
    ) -> Result<Option<Fragment>, StoreError> {
        match self.look_stored(hash, part).await? {
            Stored::Part(part) => Ok(Some(Fragment {
                coding: part.coding,
                plain_bytes: u32::try_from(part.plain_bytes).unwrap_or(u32::MAX),
                data: part.data,
            })),
            Stored::NoRow => Ok(None),
            // One lost letter must not keep the others from being copied.
            Stored::Lost(error) => {
                let hash = blake3::Hash::from_bytes(hash).to_hex();
                tracing::error!(%hash, %error, "a letter's bytes are lost");
                Ok(None)
            }
        }
    }
}

impl BlobEntry {
    /// The number of its parts.
    pub(crate) fn parts(&self) -> u32 {
        let parts = self.total_bytes.div_ceil(PART_BYTES as u64).max(1);
        u32::try_from(parts).unwrap_or(u32::MAX)
    }
}

struct ListBlobs {
    after: Option<[u8; 32]>,
}

impl Body for ListBlobs {
    type Out = Vec<BlobEntry>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<BlobEntry>, StoreError> {
        let after = self.after.as_ref().map_or(&[][..], |hash| hash.as_slice());
        let sql = "SELECT hash, blob_id, total_bytes FROM blob WHERE hash > $1 AND part = 0
            ORDER BY hash LIMIT $2";
        let rows = tx.rows(sql, params![after, PAGE]).await?;
        rows.into_iter().map(BlobEntry::from_row).collect()
    }
}

struct ReadSmall {
    wanted: Vec<[u8; 32]>,
}

/// What the row of a small blob says.
enum Look {
    /// Its bytes are in the row.
    InRow(Fragment),
    /// They are somewhere else.
    Outside,
    /// There is no such row.
    Nothing,
}

impl Body for ReadSmall {
    type Out = Vec<Look>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let sql =
            "SELECT coding, plain_bytes, data, segment FROM blob WHERE hash = $1 AND part = 0";
        let mut looks = Vec::new();
        let mut bytes = 0;
        for hash in &self.wanted {
            let look = match tx.row(sql, params![hash]).await? {
                Some(row) if row.int(3)? != IN_ROW => Look::Outside,
                Some(mut row) => Look::InRow(Fragment {
                    coding: row.int(0)?,
                    plain_bytes: row.u32(1)?,
                    data: row.bytes(2)?.into(),
                }),
                None => Look::Nothing,
            };
            if let Look::InRow(fragment) = &look {
                bytes += fragment.data.len();
            }
            looks.push(look);
            if bytes >= BYTES_MAX {
                break;
            }
        }
        Ok(looks)
    }
}
