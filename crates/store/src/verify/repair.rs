//! Puts right what a check has found.
//!
//! Of an account everything is put right at once, in an order in which each step relies on the ones
//! before it: orphans go, ids and modification sequences are raised, then the counters are counted
//! anew. Counting a large account takes longer than other transactions may.

use std::collections::BTreeSet;
use std::path::Path;

use base::{AccountId, Timestamp};

use super::{About, Finding};
use crate::backup::{BackupFolder, BlobEntry, Known, Use, blocking};
use crate::blobs::condemn;
use crate::engine::{Body, Priority, Tx, params};
use crate::intake::Flow;
use crate::{Store, StoreError};

impl Store {
    /// Repairs what can be repaired and marks what was.
    pub(super) async fn repair(
        &self,
        findings: &mut [Finding],
        backup: Option<&Path>,
    ) -> Result<(), StoreError> {
        let fetched = match backup {
            Some(folder) => self.fetch(folder, findings).await?,
            None => 0,
        };
        if fetched > 0 {
            tracing::info!(
                letters = fetched,
                "the bytes of letters came back from a backup"
            );
        }
        let now = self.0.shared.now();
        let abouts: BTreeSet<About> = findings.iter().map(|finding| finding.about).collect();
        for about in abouts {
            match about {
                About::Account(account) => {
                    let body = RepairAccount { account, now };
                    self.0.engine.write(body, Priority::Bulk).await?;
                }
                About::Unnamed(hash) => {
                    self.0
                        .engine
                        .write(Condemn { hash, now }, Priority::Bulk)
                        .await?;
                }
                About::Letter(letter) => {
                    self.0
                        .engine
                        .write(RepairLetter { letter, now }, Priority::Bulk)
                        .await?;
                }
                About::Bytes(_) | About::Other => {}
            }
        }
        self.look_again(findings).await
    }

    /// What is not found any more was repaired.
    async fn look_again(&self, findings: &mut [Finding]) -> Result<(), StoreError> {
        let watcher: crate::backup::Watcher = std::sync::Arc::new(|_| {});
        let mut left = self.examine_accounts(&watcher).await?;
        left.extend(self.examine_letters().await?);
        left.extend(self.examine_blobs(false, &watcher).await?);
        for finding in findings {
            let still = left.iter().any(|other| other.what == finding.what);
            finding.repaired = match finding.about {
                About::Other => false,
                About::Bytes(hash) => !still && self.has_bytes(hash).await?,
                About::Account(_) | About::Unnamed(_) | About::Letter(_) => !still,
            };
        }
        Ok(())
    }

    async fn has_bytes(&self, hash: [u8; 32]) -> Result<bool, StoreError> {
        match self.0.engine.read(FindEntry { hash }).await? {
            Some(entry) => Ok(self.all_parts(&entry).await?.is_some()),
            None => Ok(false),
        }
    }

    /// Fetches lost bytes from the packs of a backup, whichever restore point they belong to.
    async fn fetch(&self, folder: &Path, findings: &[Finding]) -> Result<u64, StoreError> {
        let mut wanted = Vec::new();
        for finding in findings {
            match finding.about {
                About::Bytes(hash) => wanted.extend(self.named_entry(hash).await?),
                About::Account(account) => {
                    wanted.extend(self.0.engine.read(LostOfAccount { account }).await?);
                }
                About::Letter(letter) => {
                    wanted.extend(self.0.engine.read(LostLetter { letter }).await?);
                }
                About::Unnamed(_) | About::Other => {}
            }
        }
        wanted.sort_unstable_by_key(|blob| blob.hash);
        wanted.dedup_by_key(|blob| blob.hash);
        let path = folder.to_owned();
        let (found, missing) = blocking(move || read_from(&path, wanted)).await?;
        for hash in missing {
            let hash = blake3::Hash::from_bytes(hash).to_hex();
            tracing::warn!(%hash, "the backup has not this letter, or not whole");
        }
        let count = found.len() as u64;
        let mut flow = Flow::new(self);
        for (blob, parts) in found {
            flow.blob(&blob, parts).await?;
        }
        flow.finish().await?;
        Ok(count)
    }

    async fn named_entry(&self, hash: [u8; 32]) -> Result<Option<BlobEntry>, StoreError> {
        self.0.engine.read(FindEntry { hash }).await
    }
}

type Fetched = (BlobEntry, Vec<crate::backup::Fragment>);

/// Reads blobs from packs; the hashes that no pack has whole.
fn read_from(
    folder: &Path,
    wanted: Vec<BlobEntry>,
) -> Result<(Vec<Fetched>, Vec<[u8; 32]>), StoreError> {
    let folder = BackupFolder::open(folder, Use::Read)?;
    let mut known = Known::open(&folder.blobs_dir())?;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for blob in wanted {
        let Some(record) = known.find(&blob.hash)? else {
            missing.push(blob.hash);
            continue;
        };
        match known.read_whole(&record) {
            Ok((total_bytes, parts)) => found.push((
                BlobEntry {
                    total_bytes,
                    ..blob
                },
                parts,
            )),
            // The others can still come back.
            Err(error) => {
                tracing::warn!(%error, "a letter in the backup cannot be read");
                missing.push(blob.hash);
            }
        }
    }
    Ok((found, missing))
}

/// A blob by its rows.
struct FindEntry {
    hash: [u8; 32],
}

impl Body for FindEntry {
    type Out = Option<BlobEntry>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<BlobEntry>, StoreError> {
        let sql = "SELECT hash, blob_id, total_bytes FROM blob WHERE hash = $1
            ORDER BY part LIMIT 1";
        tx.row(sql, params![&self.hash])
            .await?
            .map(BlobEntry::from_row)
            .transpose()
    }
}

/// The blobs that messages of an account name and that are not there.
struct LostOfAccount {
    account: i64,
}

impl Body for LostOfAccount {
    type Out = Vec<BlobEntry>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<BlobEntry>, StoreError> {
        let sql = "SELECT m.blob_hash, m.blob_id, m.size - m.head_bytes FROM message m
            WHERE m.account_id = $1 AND NOT EXISTS (SELECT 1 FROM blob b
                WHERE b.hash = m.blob_hash AND b.part = 0 AND b.blob_id = m.blob_id
                AND b.total_bytes = m.size - m.head_bytes) LIMIT 200";
        let rows = tx.rows(sql, params![self.account]).await?;
        rows.into_iter().map(BlobEntry::from_row).collect()
    }
}

/// The blob of a letter of the queue, if it is not there.
struct LostLetter {
    letter: i64,
}

impl Body for LostLetter {
    type Out = Option<BlobEntry>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<BlobEntry>, StoreError> {
        let sql = "SELECT blob_hash, blob_id, size FROM letter l WHERE letter_id = $1
            AND NOT EXISTS (SELECT 1 FROM blob b WHERE b.hash = l.blob_hash AND b.part = 0
                AND b.blob_id = l.blob_id)";
        tx.row(sql, params![self.letter])
            .await?
            .map(BlobEntry::from_row)
            .transpose()
    }
}

struct Condemn {
    hash: [u8; 32],
    now: Timestamp,
}

impl Body for Condemn {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        condemn(tx, &self.hash, self.now).await
    }
}

/// Steps that take an account alone; the order matters.
const STEPS: &[&str] = &[
    "DELETE FROM placement WHERE account_id = $1 AND (NOT EXISTS (SELECT 1 FROM mailbox b
        WHERE b.account_id = $1 AND b.mailbox_id = placement.mailbox_id)
        OR NOT EXISTS (SELECT 1 FROM message m
        WHERE m.account_id = $1 AND m.message_id = placement.message_id))",
    "UPDATE placement SET size = (SELECT m.size FROM message m
        WHERE m.account_id = $1 AND m.message_id = placement.message_id)
        WHERE account_id = $1 AND size <> (SELECT m.size FROM message m
        WHERE m.account_id = $1 AND m.message_id = placement.message_id)",
    "DELETE FROM removed WHERE account_id = $1 AND (EXISTS (SELECT 1 FROM placement p
        WHERE p.account_id = $1 AND p.message_id = removed.message_id)
        OR NOT EXISTS (SELECT 1 FROM message m
        WHERE m.account_id = $1 AND m.message_id = removed.message_id))",
    "UPDATE placement SET
        keywords = (SELECT q.keywords FROM placement q WHERE q.account_id = $1
            AND q.message_id = placement.message_id ORDER BY q.mailbox_id LIMIT 1),
        seen = (SELECT q.seen FROM placement q WHERE q.account_id = $1
            AND q.message_id = placement.message_id ORDER BY q.mailbox_id LIMIT 1)
        WHERE account_id = $1 AND message_id IN (SELECT message_id FROM placement
            WHERE account_id = $1 GROUP BY message_id
            HAVING min(keywords) <> max(keywords) OR min(seen) <> max(seen))",
    "DELETE FROM expunged WHERE account_id = $1 AND EXISTS (SELECT 1 FROM placement p
        WHERE p.account_id = $1 AND p.mailbox_id = expunged.mailbox_id AND p.uid = expunged.uid)",
    "UPDATE mailbox SET uid_next = 1 + (SELECT max(p.uid) FROM placement p
        WHERE p.account_id = $1 AND p.mailbox_id = mailbox.mailbox_id)
        WHERE account_id = $1 AND uid_next <= (SELECT max(p.uid) FROM placement p
        WHERE p.account_id = $1 AND p.mailbox_id = mailbox.mailbox_id)",
    "UPDATE mailbox SET highest_modseq = (SELECT max(p.modseq) FROM placement p
        WHERE p.account_id = $1 AND p.mailbox_id = mailbox.mailbox_id)
        WHERE account_id = $1 AND highest_modseq < (SELECT max(p.modseq) FROM placement p
        WHERE p.account_id = $1 AND p.mailbox_id = mailbox.mailbox_id)",
    "UPDATE account SET modseq = (SELECT max(b.highest_modseq) FROM mailbox b
        WHERE b.account_id = $1) WHERE account_id = $1
        AND modseq < (SELECT max(b.highest_modseq) FROM mailbox b WHERE b.account_id = $1)",
    "UPDATE account SET modseq = (SELECT max(c.modseq) FROM change c WHERE c.account_id = $1)
        WHERE account_id = $1
        AND modseq < (SELECT max(c.modseq) FROM change c WHERE c.account_id = $1)",
    "UPDATE account SET next_message_id = 1 + (SELECT max(m.message_id) FROM message m
        WHERE m.account_id = $1) WHERE account_id = $1
        AND next_message_id <= (SELECT max(m.message_id) FROM message m WHERE m.account_id = $1)",
    "UPDATE mailbox SET
        messages = (SELECT count(*) FROM placement p
            WHERE p.account_id = $1 AND p.mailbox_id = mailbox.mailbox_id),
        unseen = (SELECT CAST(coalesce(sum(1 - p.seen), 0) AS BIGINT) FROM placement p
            WHERE p.account_id = $1 AND p.mailbox_id = mailbox.mailbox_id),
        deleted = (SELECT CAST(coalesce(sum(p.deleted), 0) AS BIGINT) FROM placement p
            WHERE p.account_id = $1 AND p.mailbox_id = mailbox.mailbox_id),
        size = (SELECT CAST(coalesce(sum(p.size), 0) AS BIGINT) FROM placement p
            WHERE p.account_id = $1 AND p.mailbox_id = mailbox.mailbox_id)
        WHERE account_id = $1",
    "UPDATE account SET
        removed_messages = (SELECT count(*) FROM removed r WHERE r.account_id = $1),
        removed_bytes = (SELECT CAST(coalesce(sum(m.size), 0) AS BIGINT) FROM removed r
            JOIN message m ON m.account_id = r.account_id AND m.message_id = r.message_id
            WHERE r.account_id = $1 AND m.account_id = $1)
        WHERE account_id = $1",
    "UPDATE account SET
        messages = (SELECT count(*) FROM message m WHERE m.account_id = $1) - removed_messages,
        used_bytes = (SELECT CAST(coalesce(sum(m.size), 0) AS BIGINT) FROM message m
            WHERE m.account_id = $1) - removed_bytes
        WHERE account_id = $1",
];

/// Puts an account right.
struct RepairAccount {
    account: i64,
    now: Timestamp,
}

impl Body for RepairAccount {
    type Out = ();

    fn account(&self) -> Option<AccountId> {
        Some(AccountId(self.account))
    }

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        // The account's row first, as in every verb that changes it.
        let sql = "UPDATE account SET modseq = modseq + 1 WHERE account_id = $1";
        tx.execute(sql, params![self.account]).await?;
        let (last, steps) = STEPS.split_at(3);
        for sql in last {
            tx.execute(sql, params![self.account]).await?;
        }
        let sql = "INSERT INTO removed (account_id, message_id, removed_at, mailbox_id,
                mailbox_name, keywords)
            SELECT m.account_id, m.message_id, CAST($2 AS BIGINT), b.mailbox_id, b.name, ''
            FROM message m JOIN mailbox b ON b.account_id = m.account_id
            WHERE m.account_id = $1 AND b.account_id = $1 AND b.name = 'INBOX'
            AND NOT EXISTS (SELECT 1 FROM placement p
                WHERE p.account_id = $1 AND p.message_id = m.message_id)
            AND NOT EXISTS (SELECT 1 FROM removed r
                WHERE r.account_id = $1 AND r.message_id = m.message_id)";
        tx.execute(sql, params![self.account, self.now]).await?;
        for sql in steps {
            tx.execute(sql, params![self.account]).await?;
        }
        Ok(())
    }
}

/// Puts a letter of the queue right.
struct RepairLetter {
    letter: i64,
    now: Timestamp,
}

impl Body for RepairLetter {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "DELETE FROM recipient WHERE letter_id = $1 AND NOT EXISTS
            (SELECT 1 FROM letter l WHERE l.letter_id = $1)";
        tx.execute(sql, params![self.letter]).await?;
        let sql = "DELETE FROM letter WHERE letter_id = $1 AND NOT EXISTS
            (SELECT 1 FROM recipient r WHERE r.letter_id = $1) RETURNING blob_hash";
        if let Some(mut row) = tx.row(sql, params![self.letter]).await? {
            condemn(tx, &row.hash(0)?, self.now).await?;
        }
        // Without its bytes it cannot be sent, and must not be tried for ever.
        let sql = "UPDATE recipient SET held = 1 WHERE letter_id = $1 AND NOT EXISTS
            (SELECT 1 FROM letter l JOIN blob b ON b.hash = l.blob_hash AND b.part = 0
            WHERE l.letter_id = $1)";
        tx.execute(sql, params![self.letter]).await?;
        Ok(())
    }
}
