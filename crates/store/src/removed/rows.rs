//! The rows of deleted messages and the transactions on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{AccountId, MailboxId, MessageId, Timestamp};
use message::Envelope;

use super::{RemovedCursor, RemovedFilter, RemovedMessage};
use crate::blobs::condemn;
use crate::copies::{ChangeKind, Operation, Used, next_modseq, note_change};
use crate::engine::{Body, Row, Tx, params};
use crate::mailbox::{MailboxName, ensure, names_of};
use crate::message_rows::Keywords;
use crate::message_rows::rows::Counters;
use crate::shared::Shared;
use crate::{ImportMailbox, StoreError};

/// Messages that one snapshot reads or one transaction changes.
pub(crate) const PIECE: i64 = 200;
/// Characters of a subject that are shown.
const SUBJECT_CHARS_MAX: usize = 200;

/// A deleted message without what its letter says.
pub(super) struct Found {
    pub message: MessageId,
    removed_at: Timestamp,
    mailbox: MailboxId,
    mailbox_name: String,
    keywords: String,
}

impl Found {
    pub(super) fn cursor(&self) -> RemovedCursor {
        RemovedCursor {
            removed_at: self.removed_at,
            message: self.message,
        }
    }

    fn from_row(mut row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            message: MessageId(row.int(0)?),
            removed_at: row.time(1)?,
            mailbox: MailboxId(row.int(2)?),
            mailbox_name: row.text(3)?,
            keywords: row.text(4)?,
        })
    }
}

/// A page, those deleted last first.
pub(super) struct Page {
    pub account: AccountId,
    pub filter: RemovedFilter,
    pub after: Option<RemovedCursor>,
}

impl Body for Page {
    type Out = Vec<Found>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<Found>, StoreError> {
        let until = self.filter.until.unwrap_or(Timestamp(i64::MAX));
        let after = self.after.map_or((until, MessageId(i64::MAX)), |cursor| {
            (cursor.removed_at, cursor.message)
        });
        let since = self.filter.since.unwrap_or(Timestamp(i64::MIN));
        let mailbox = self.filter.mailbox.as_deref().unwrap_or_default();
        let any_mailbox = self.filter.mailbox.is_none();
        let ids: Vec<i64> = self.filter.messages.iter().map(|id| id.0).collect();
        let rows = if ids.is_empty() {
            let sql = "SELECT message_id, removed_at, mailbox_id, mailbox_name, keywords
                FROM removed WHERE account_id = $1 AND removed_at >= $2
                    AND (removed_at, message_id) < ($3, $4)
                    AND ($5 = 1 OR mailbox_name = $6)
                ORDER BY removed_at DESC, message_id DESC LIMIT $7";
            let values = params![
                self.account,
                since,
                after.0,
                after.1,
                any_mailbox,
                mailbox,
                PIECE
            ];
            tx.rows(sql, values).await?
        } else {
            let sql = "SELECT message_id, removed_at, mailbox_id, mailbox_name, keywords
                FROM removed WHERE account_id = $1 AND removed_at >= $2 AND message_id IN list($3)
                    AND (removed_at, message_id) < ($4, $5)
                    AND ($6 = 1 OR mailbox_name = $7)
                ORDER BY removed_at DESC, message_id DESC LIMIT $8";
            let values = params![
                self.account,
                since,
                ids.as_slice(),
                after.0,
                after.1,
                any_mailbox,
                mailbox,
                PIECE
            ];
            tx.rows(sql, values).await?
        };
        rows.into_iter().map(Found::from_row).collect()
    }
}

/// What the letters of a page say.
pub(super) struct Details {
    pub account: AccountId,
    pub found: Vec<Found>,
}

impl Body for Details {
    type Out = Vec<RemovedMessage>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<RemovedMessage>, StoreError> {
        let ids: Vec<i64> = self.found.iter().map(|found| found.message.0).collect();
        let sql = "SELECT message_id, received_at, size, envelope FROM message
            WHERE account_id = $1 AND message_id IN list($2)";
        let mut details = BTreeMap::new();
        for row in tx.rows(sql, params![self.account, ids.as_slice()]).await? {
            details.insert(row.int(0)?, row);
        }
        let mut page = Vec::with_capacity(self.found.len());
        for found in &self.found {
            // It may have been forgotten between the two snapshots.
            if let Some(row) = details.remove(&found.message.0) {
                page.push(shown(found, row)?);
            }
        }
        Ok(page)
    }
}

fn shown(found: &Found, mut row: Row) -> Result<RemovedMessage, StoreError> {
    // A damaged envelope must not hide that the message can be recovered.
    let envelope = Envelope::decode(&row.bytes(3)?).unwrap_or_default();
    let subject = envelope.decoded_subject().unwrap_or_default();
    let from = envelope.from.mailboxes().next();
    Ok(RemovedMessage {
        message: found.message,
        removed_at: found.removed_at,
        mailbox: found.mailbox,
        mailbox_name: found.mailbox_name.clone(),
        keywords: Keywords::from_stored(&found.keywords),
        received_at: row.time(1)?,
        size: row.unsigned(2)?,
        subject: subject.chars().take(SUBJECT_CHARS_MAX).collect(),
        from: from.map_or_else(String::new, |from| {
            format!("{}@{}", from.local, from.domain)
        }),
    })
}

/// Puts some messages back.
pub(super) struct Recover {
    pub account: AccountId,
    pub messages: Vec<i64>,
    /// Where all go; otherwise each where it was.
    pub to: Option<MailboxName>,
    pub now: Timestamp,
    pub shared: Arc<Shared>,
}

/// What became of it.
pub(super) struct Recovered {
    pub count: u64,
    used: Used,
}

impl Body for Recover {
    type Out = Recovered;

    fn account(&self) -> Option<AccountId> {
        Some(self.account)
    }

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Recovered, StoreError> {
        let account = self.account;
        let modseq = next_modseq(tx, account).await?;
        let list = self.messages.as_slice();
        let sql = "SELECT message_id, removed_at, mailbox_id, mailbox_name, keywords
            FROM removed WHERE account_id = $1 AND message_id IN list($2) ORDER BY message_id";
        let rows = tx.rows(sql, params![account, list]).await?;
        let found: Result<Vec<_>, _> = rows.into_iter().map(Found::from_row).collect();
        let sql = "SELECT message_id, size FROM message
            WHERE account_id = $1 AND message_id IN list($2)";
        let mut sizes = BTreeMap::new();
        for row in tx.rows(sql, params![account, list]).await? {
            sizes.insert(row.int(0)?, row.int(1)?);
        }
        let mut counters = Counters::default();
        let (mut count, mut bytes) = (0, 0);
        for (target, messages) in self.targets(tx, found?, modseq).await? {
            let number = i64::try_from(messages.len()).unwrap_or(i64::MAX);
            let sql = "UPDATE mailbox SET uid_next = uid_next + $3
                WHERE account_id = $1 AND mailbox_id = $2 RETURNING uid_next - $3";
            let first = tx.one(sql, params![account, target, number]).await?;
            for (uid, found) in (first.int(0)?..).zip(&messages) {
                let size = sizes.get(&found.message.0).copied().unwrap_or(0);
                self.place(tx, found, (target, uid, size), modseq).await?;
                let delta = counters.of(target);
                delta.messages += 1;
                delta.unseen += i64::from(!seen(found));
                delta.size += size;
                bytes += size;
            }
            count += number;
        }
        counters.store(tx, account, modseq).await?;
        let used = count_again(tx, account, count, bytes).await?;
        Ok(Recovered {
            count: count.unsigned_abs(),
            used,
        })
    }

    fn committed(&self, out: &Recovered) {
        self.shared.takes_now(self.account, out.used);
    }
}

impl Recover {
    /// The mailboxes where messages go, in ascending order, with the messages of each.
    async fn targets(
        &self,
        tx: &mut Tx<'_>,
        found: Vec<Found>,
        modseq: i64,
    ) -> Result<BTreeMap<MailboxId, Vec<Found>>, StoreError> {
        let there = names_of(tx, self.account).await?;
        let mut by_name: BTreeMap<String, MailboxId> = BTreeMap::new();
        let mut targets: BTreeMap<MailboxId, Vec<Found>> = BTreeMap::new();
        for found in found {
            let target = if self.to.is_none() && there.contains_key(&found.mailbox) {
                found.mailbox
            } else {
                let name = match &self.to {
                    Some(name) => name.as_str().to_owned(),
                    None => found.mailbox_name.clone(),
                };
                match by_name.get(&name) {
                    Some(known) => *known,
                    None => {
                        let wanted = ImportMailbox {
                            name: name.clone(),
                            role: None,
                            subscribed: false,
                        };
                        let made = ensure(tx, self.account, &wanted, modseq, self.now).await?;
                        by_name.insert(name, made);
                        made
                    }
                }
            };
            targets.entry(target).or_default().push(found);
        }
        Ok(targets)
    }

    async fn place(
        &self,
        tx: &mut Tx<'_>,
        found: &Found,
        (target, uid, size): (MailboxId, i64, i64),
        modseq: i64,
    ) -> Result<(), StoreError> {
        let sql = "DELETE FROM removed WHERE account_id = $1 AND message_id = $2";
        tx.execute(sql, params![self.account, found.message])
            .await?;
        // It is in its mailbox from now on: Trash must not be emptied of it at once.
        let sql = "INSERT INTO placement (account_id, mailbox_id, uid, message_id, modseq, deleted,
                seen, size, saved_at, keywords)
            VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $8, $9)";
        let values = params![
            self.account,
            target,
            uid,
            found.message,
            modseq,
            seen(found),
            size,
            self.now,
            &found.keywords,
        ];
        tx.execute(sql, values).await?;
        let (kind, operation) = (ChangeKind::Message, Operation::Created);
        let id = found.message.0;
        note_change(tx, self.account, modseq, kind, id, operation, self.now).await
    }
}

fn seen(found: &Found) -> bool {
    found.keywords.split(' ').any(|keyword| keyword == "$seen")
}

/// Counts recovered messages in their account, if its quotas have room for them.
async fn count_again(
    tx: &mut Tx<'_>,
    account: AccountId,
    messages: i64,
    bytes: i64,
) -> Result<Used, StoreError> {
    let sql = "UPDATE account SET used_bytes = used_bytes + $2, messages = messages + $3,
            removed_bytes = removed_bytes - $2, removed_messages = removed_messages - $3
        WHERE account_id = $1 AND (quota_bytes IS NULL OR used_bytes + $2 <= quota_bytes)
            AND (quota_messages IS NULL OR messages + $3 <= quota_messages)
        RETURNING used_bytes, messages";
    let row = tx.row(sql, params![account, bytes, messages]).await?;
    let row = row.ok_or(StoreError::OverQuota)?;
    Ok(Used {
        bytes: row.int(0)?,
        messages: row.int(1)?,
    })
}

/// Forgets some messages for good; gives their number.
pub(crate) struct Forget {
    pub account: AccountId,
    pub messages: Vec<i64>,
    pub now: Timestamp,
}

impl Body for Forget {
    type Out = u64;

    fn account(&self) -> Option<AccountId> {
        Some(self.account)
    }

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        // The row of the account first, so that nobody recovers what is being forgotten.
        let sql = "SELECT 1 FROM account WHERE account_id = $1 FOR UPDATE";
        tx.row(sql, params![self.account]).await?;
        let (mut count, mut bytes) = (0_i64, 0_i64);
        for message in &self.messages {
            let sql = "DELETE FROM removed WHERE account_id = $1 AND message_id = $2";
            if tx.execute(sql, params![self.account, *message]).await? == 0 {
                continue;
            }
            count += 1;
            let sql = "DELETE FROM message WHERE account_id = $1 AND message_id = $2
                RETURNING blob_hash, size";
            // One whose message is gone already is a finding of a check, and keeps nobody from the
            // others.
            let Some(mut row) = tx.row(sql, params![self.account, *message]).await? else {
                continue;
            };
            condemn(tx, &row.hash(0)?, self.now).await?;
            bytes += row.int(1)?;
        }
        let sql = "UPDATE account SET removed_bytes = removed_bytes - $2,
                removed_messages = removed_messages - $3 WHERE account_id = $1";
        tx.execute(sql, params![self.account, bytes, count]).await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}
