//! What must hold of blobs, a page at a time; and the file of SQLite.

use super::{About, BY_BACKUP, BY_REPAIR, FINDINGS_MAX, Finding};
use crate::backup::{BlobEntry, Progress, Watcher};
use crate::engine::{Body, Row, Tx, params};
use crate::{Store, StoreError};

/// Blobs of one look.
const PAGE: usize = 500;

/// Blobs by hash, with what their parts add up to, and whether somebody names them or the collector
/// has them on its list. Like the collector, it asks across accounts.
const PAGE_SQL: &str = "SELECT b.hash, count(*), max(b.part), CAST(sum(b.plain_bytes) AS BIGINT),
        max(b.total_bytes), min(CASE WHEN b.part = 0 THEN b.blob_id END),
        max(CASE WHEN EXISTS (SELECT 1 FROM message m WHERE m.blob_id = b.blob_id)
            OR EXISTS (SELECT 1 FROM letter l WHERE l.blob_id = b.blob_id) THEN 1 ELSE 0 END),
        max(CASE WHEN EXISTS (SELECT 1 FROM condemned c WHERE c.hash = b.hash) THEN 1 ELSE 0 END)
    FROM blob b WHERE b.hash > $1 GROUP BY b.hash ORDER BY b.hash LIMIT $2";
/// The same for one blob.
const ONE_SQL: &str = "SELECT b.hash, count(*), max(b.part), CAST(sum(b.plain_bytes) AS BIGINT),
        max(b.total_bytes), min(CASE WHEN b.part = 0 THEN b.blob_id END),
        max(CASE WHEN EXISTS (SELECT 1 FROM message m WHERE m.blob_id = b.blob_id)
            OR EXISTS (SELECT 1 FROM letter l WHERE l.blob_id = b.blob_id) THEN 1 ELSE 0 END),
        max(CASE WHEN EXISTS (SELECT 1 FROM condemned c WHERE c.hash = b.hash) THEN 1 ELSE 0 END)
    FROM blob b WHERE b.hash = $1 GROUP BY b.hash";

/// A blob as its rows say. Its id is that of its first part, which messages name; parts of an
/// upload that was cut short and tried again have two ids, each of them that of its own object.
#[derive(Clone, Copy)]
struct Sum {
    entry: BlobEntry,
    is_whole: bool,
    is_named: bool,
    is_condemned: bool,
}

impl Sum {
    fn of(mut row: Row) -> Result<Self, StoreError> {
        let parts = row.int(1)?;
        let (plain, total) = (row.int(3)?, row.int(4)?);
        Ok(Self {
            entry: BlobEntry {
                hash: row.hash(0)?,
                blob_id: row.maybe_int(5)?.unwrap_or(0),
                total_bytes: row.unsigned(4)?,
            },
            is_whole: plain == total && row.int(2)? == parts - 1,
            is_named: row.truth(6)?,
            is_condemned: row.truth(7)?,
        })
    }

    fn finding(&self) -> Option<Finding> {
        let name = blake3::Hash::from_bytes(self.entry.hash).to_hex();
        let finding = |what: String, repair, about| {
            Some(Finding {
                what,
                repair,
                repaired: false,
                about,
            })
        };
        let hash = self.entry.hash;
        // One that comes in pieces is condemned until it is whole.
        if !self.is_whole && (self.is_named || !self.is_condemned) {
            let what = format!("a blob is not whole: {name}");
            return finding(what, BY_BACKUP, About::Bytes(hash));
        }
        if !self.is_named && !self.is_condemned {
            let what = format!("a blob that nobody names and nobody condemned: {name}");
            return finding(what, BY_REPAIR, About::Unnamed(hash));
        }
        None
    }
}

impl Store {
    /// Checks all blobs; with `deep` their bytes, too.
    pub(super) async fn examine_blobs(
        &self,
        deep: bool,
        watcher: &Watcher,
    ) -> Result<Vec<Finding>, StoreError> {
        let mut findings = Vec::new();
        let mut after = Vec::new();
        let mut done = 0;
        while findings.len() < FINDINGS_MAX {
            let page = self.0.engine.read(Page { after }).await?;
            let Some(last) = page.last() else { break };
            after = last.entry.hash.to_vec();
            done += page.len() as u64;
            for sum in &page {
                if let Some(first) = sum.finding() {
                    let again = self
                        .0
                        .engine
                        .read(One {
                            hash: sum.entry.hash,
                        })
                        .await?;
                    findings.extend(
                        again
                            .and_then(|sum| sum.finding())
                            .filter(|it| *it == first),
                    );
                } else if deep {
                    findings.extend(self.examine_bytes(sum).await?);
                }
            }
            watcher(Progress {
                step: "letters",
                done,
                total: 0,
            });
        }
        Ok(findings)
    }

    async fn examine_bytes(&self, sum: &Sum) -> Result<Option<Finding>, StoreError> {
        if !sum.is_named || self.all_parts(&sum.entry).await?.is_some() {
            return Ok(None);
        }
        let hash = sum.entry.hash;
        // It may have gone meanwhile.
        match self.0.engine.read(One { hash }).await? {
            Some(again) if again.is_named => Ok(Some(Finding {
                what: format!(
                    "the bytes of a blob are lost or not what was stored: {}",
                    blake3::Hash::from_bytes(hash).to_hex()
                ),
                repair: BY_BACKUP,
                repaired: false,
                about: About::Bytes(hash),
            })),
            _ => Ok(None),
        }
    }
}

struct Page {
    after: Vec<u8>,
}

impl Body for Page {
    type Out = Vec<Sum>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<Sum>, StoreError> {
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let rows = tx
            .rows(PAGE_SQL, params![self.after.as_slice(), limit])
            .await?;
        rows.into_iter().map(Sum::of).collect()
    }
}

struct One {
    hash: [u8; 32],
}

impl Body for One {
    type Out = Option<Sum>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<Sum>, StoreError> {
        tx.row(ONE_SQL, params![&self.hash])
            .await?
            .map(Sum::of)
            .transpose()
    }
}

/// Lets SQLite check its file; PostgreSQL keeps its own checksums.
pub(super) struct FileCheck;

impl Body for FileCheck {
    type Out = Vec<String>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<String>, StoreError> {
        tx.check_file().await
    }
}
