//! Letters that come in numbers from outside: from files, from another server. They are stored in
//! batches, and with each batch how far its source has been read, so that an import that was cut
//! off goes on where it stopped.
//!
//! It reads no format: `pennyblack::transfer` does.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{AccountId, MailboxId, Timestamp};
use tokio::task::JoinSet;

use crate::blobs::{condemn, store_blob};
use crate::copies::{Inserted, NewMessage, Place, Stored, insert_message, next_modseq};
use crate::deliver::StoredCopies;
use crate::engine::{Body, Priority, Tx, params};
use crate::mailbox::ensure;
use crate::prepare::{Need, Prepared};
use crate::shared::Shared;
use crate::{Keywords, Letter, Role, Store, StoreError};

/// Letters that one transaction stores: about 5 ms on the embedded engine.
const PIECE: usize = 50;
/// Bytes of their parts in that transaction.
const PIECE_BYTES: usize = 1 << 20;
/// Bytes of a source's name and of a position in it.
const STATE_BYTES_MAX: usize = 16 * 1024;

/// A letter to be imported.
pub struct ImportLetter {
    /// The letter.
    pub letter: Letter,
    /// Where it goes.
    pub mailbox: Arc<ImportMailbox>,
    /// Its keywords.
    pub keywords: Keywords,
    /// `\Deleted`.
    pub deleted: bool,
    /// IMAP INTERNALDATE.
    pub received_at: Timestamp,
    /// How far the source has been read once it is stored.
    pub mark: Option<ImportMark>,
}

/// A mailbox that is made if it is not there, with its parents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportMailbox {
    /// Its name.
    pub name: String,
    /// What it is for: where no mailbox has its name, the one with this role takes its place.
    pub role: Option<Role>,
    /// Whether it is subscribed when it is made.
    pub subscribed: bool,
}

/// How far a source has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportMark {
    /// The source.
    pub source: String,
    /// The place in it, as whoever reads it understands it.
    pub position: String,
}

/// What an import stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Letters, from the first on: those behind them are not stored.
    pub letters: usize,
    /// The next one would have gone over the quota.
    pub over_quota: bool,
}

impl Store {
    /// Stores letters in their order. Those before an error, or before the first one over the
    /// quota, are stored with their marks; `over_quota` lets them go over it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the account; [`StoreError::Invalid`] for keywords or names that
    /// cannot be kept, and for one mailbox too many.
    pub async fn import(
        &self,
        account: AccountId,
        letters: Vec<ImportLetter>,
        over_quota: bool,
    ) -> Result<Imported, StoreError> {
        let mut ready = self.prepare_all(letters).await?;
        let mut imported = Imported::default();
        while !ready.is_empty() && !imported.over_quota {
            let mut bytes = 0;
            let fitting = ready.iter().take_while(|letter| {
                bytes += letter
                    .prepared
                    .parts
                    .iter()
                    .map(|part| part.data.len())
                    .sum::<usize>();
                bytes <= PIECE_BYTES
            });
            let count = fitting.count().clamp(1, PIECE);
            let rest = ready.split_off(count.min(ready.len()));
            let body = Import {
                account,
                letters: std::mem::replace(&mut ready, rest),
                over_quota,
                shared: Arc::clone(&self.0.shared),
            };
            let of = body.letters.len();
            let stored = self.0.engine.write(body, Priority::Bulk).await?.len();
            imported.letters += stored;
            imported.over_quota = stored < of;
        }
        Ok(imported)
    }

    /// Makes a mailbox with its parents, if it is not there.
    ///
    /// # Errors
    /// As [`Self::create_mailbox`].
    pub async fn import_mailbox(
        &self,
        account: AccountId,
        mailbox: ImportMailbox,
    ) -> Result<(), StoreError> {
        let body = Ensure {
            account,
            mailbox,
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Bulk).await
    }

    /// How far imports have read a source and the sources below it (behind a `/`).
    ///
    /// # Errors
    /// Those of reading.
    pub async fn import_marks(
        &self,
        account: AccountId,
        source: &str,
    ) -> Result<Vec<ImportMark>, StoreError> {
        let source = source.to_owned();
        self.0.engine.read(Marks { account, source }).await
    }

    /// Forgets how far a source, and the sources below it, have been read.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn forget_import(&self, account: AccountId, source: &str) -> Result<(), StoreError> {
        let source = source.to_owned();
        let body = Forget { account, source };
        self.0.engine.write(body, Priority::Bulk).await
    }

    /// The largest letter that may be stored, in bytes.
    #[must_use]
    pub fn letter_bytes_max(&self) -> u64 {
        self.0.limits.letter_bytes_max
    }

    /// The time, as the store's clock tells it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.shared.now()
    }

    /// Parses and compresses on as many threads as the runtime has.
    async fn prepare_all(&self, letters: Vec<ImportLetter>) -> Result<Vec<Ready>, StoreError> {
        let mut work = JoinSet::new();
        for (number, letter) in letters.into_iter().enumerate() {
            let store = self.clone();
            work.spawn(async move { store.prepare_one(letter).await.map(|ready| (number, ready)) });
        }
        let mut ready = Vec::with_capacity(work.len());
        while let Some(done) = work.join_next().await {
            let done =
                done.map_err(|error| StoreError::Bug(format!("preparing failed: {error}")))?;
            ready.push(done?);
        }
        ready.sort_unstable_by_key(|(number, _)| *number);
        Ok(ready.into_iter().map(|(_, ready)| ready).collect())
    }

    async fn prepare_one(&self, letter: ImportLetter) -> Result<Ready, StoreError> {
        let mark = letter.mark;
        let is_long = |mark: &ImportMark| mark.source.len() + mark.position.len() > STATE_BYTES_MAX;
        if mark.as_ref().is_some_and(is_long) {
            let text = "the name of the source is too long".to_owned();
            return Err(StoreError::Invalid(text));
        }
        Ok(Ready {
            stored_keywords: letter.keywords.stored()?,
            seen: letter.keywords.seen(),
            deleted: letter.deleted,
            received_at: letter.received_at,
            mailbox: letter.mailbox,
            mark,
            prepared: self.prepare(&letter.letter, Need::All).await?,
        })
    }
}

/// A letter that is ready to be stored.
struct Ready {
    mailbox: Arc<ImportMailbox>,
    stored_keywords: String,
    seen: bool,
    deleted: bool,
    received_at: Timestamp,
    mark: Option<ImportMark>,
    prepared: Prepared,
}

struct Import {
    account: AccountId,
    letters: Vec<Ready>,
    over_quota: bool,
    shared: Arc<Shared>,
}

impl Body for Import {
    type Out = Vec<Stored>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<Stored>, StoreError> {
        let now = self.shared.now();
        let modseq = next_modseq(tx, self.account).await?;
        let mut found: Vec<(&ImportMailbox, MailboxId)> = Vec::new();
        let mut stored = Vec::with_capacity(self.letters.len());
        for letter in &self.letters {
            let known = found
                .iter()
                .find(|(mailbox, _)| **mailbox == *letter.mailbox);
            let mailbox = match known {
                Some((_, id)) => *id,
                None => {
                    let id = ensure(tx, self.account, &letter.mailbox, modseq, now).await?;
                    found.push((&letter.mailbox, id));
                    id
                }
            };
            match self.insert(tx, letter, mailbox, now).await? {
                Some(one) => stored.push(one),
                None => break,
            }
        }
        self.keep_marks(tx, stored.len(), now).await?;
        Ok(stored)
    }

    fn committed(&self, stored: &Vec<Stored>) {
        // The last one knows what the account takes now.
        StoredCopies::tell(
            stored.last().map(std::slice::from_ref).unwrap_or_default(),
            &self.shared,
        );
    }
}

impl Import {
    /// Stores one; `None` if it would go over the quota.
    async fn insert(
        &self,
        tx: &mut Tx<'_>,
        letter: &Ready,
        mailbox: MailboxId,
        now: Timestamp,
    ) -> Result<Option<Stored>, StoreError> {
        let blob_id = store_blob(tx, &letter.prepared).await?;
        let new = NewMessage {
            account: self.account,
            place: Place::Mailbox(mailbox),
            keywords: &letter.stored_keywords,
            seen: letter.seen,
            head: &[],
            letter: None,
            prepared: &letter.prepared,
            blob_id,
            received_at: letter.received_at,
            now,
            over_quota: self.over_quota,
        };
        let stored = match insert_message(tx, &new).await? {
            Inserted::Stored(stored) => stored,
            Inserted::OverQuota => {
                // What was stored of it may have no other name.
                condemn(tx, &letter.prepared.hash, now).await?;
                return Ok(None);
            }
            Inserted::NoAccount => return Err(StoreError::NotFound("account")),
            Inserted::NoMailbox => return Err(StoreError::NotFound("mailbox")),
        };
        if letter.deleted {
            let copy = &stored.copy;
            let sql = "UPDATE placement SET deleted = 1
                WHERE account_id = $1 AND mailbox_id = $2 AND uid = $3";
            tx.execute(sql, params![copy.account, copy.mailbox, copy.uid])
                .await?;
            let sql = "UPDATE mailbox SET deleted = deleted + 1
                WHERE account_id = $1 AND mailbox_id = $2";
            tx.execute(sql, params![copy.account, copy.mailbox]).await?;
        }
        Ok(Some(stored))
    }

    /// Writes the last mark of each source.
    async fn keep_marks(
        &self,
        tx: &mut Tx<'_>,
        stored: usize,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut last = BTreeMap::new();
        for letter in &self.letters[..stored] {
            if let Some(mark) = &letter.mark {
                last.insert(mark.source.as_str(), mark.position.as_str());
            }
        }
        for (source, position) in last {
            tx.execute(
                "INSERT INTO import_state (account_id, source, position, changed_at)
                 VALUES ($1, $2, $3, $4)
                 ON CONFLICT (account_id, source) DO UPDATE SET position = $3, changed_at = $4",
                params![self.account, source, position, now],
            )
            .await?;
        }
        Ok(())
    }
}

struct Ensure {
    account: AccountId,
    mailbox: ImportMailbox,
    shared: Arc<Shared>,
}

impl Body for Ensure {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let modseq = next_modseq(tx, self.account).await?;
        ensure(tx, self.account, &self.mailbox, modseq, self.shared.now()).await?;
        Ok(())
    }

    fn committed(&self, (): &()) {
        self.shared.watches.account_changed(self.account);
    }
}

/// The range in which the sources below one lie: `/` up to `0`, the next character.
fn below(source: &str) -> (String, String) {
    (format!("{source}/"), format!("{source}0"))
}

struct Marks {
    account: AccountId,
    source: String,
}

impl Body for Marks {
    type Out = Vec<ImportMark>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<ImportMark>, StoreError> {
        let (first, end) = below(&self.source);
        let sql = "SELECT source, position FROM import_state
            WHERE account_id = $1 AND (source = $2 OR (source >= $3 AND source < $4))";
        let rows = tx
            .rows(sql, params![self.account, &self.source, &first, &end])
            .await?;
        let mark = |mut row: crate::engine::Row| {
            Ok(ImportMark {
                source: row.text(0)?,
                position: row.text(1)?,
            })
        };
        rows.into_iter().map(mark).collect()
    }
}

struct Forget {
    account: AccountId,
    source: String,
}

impl Body for Forget {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let (first, end) = below(&self.source);
        let sql = "DELETE FROM import_state
            WHERE account_id = $1 AND (source = $2 OR (source >= $3 AND source < $4))";
        tx.execute(sql, params![self.account, &self.source, &first, &end])
            .await?;
        Ok(())
    }
}
