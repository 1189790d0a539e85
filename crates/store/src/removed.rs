//! Deleted messages: for a set time they can be recovered.
//!
//! A message whose last placement goes (EXPUNGE, a mailbox deleted, Trash emptied) keeps its row
//! and so its blob, and gets a row in `removed` with where it was and its keywords. It does not
//! count in its account any more, and the change log says that it is destroyed. Recovering gives it
//! a new placement, and so a new UID: to clients it is a new message of an old conversation.
//!
//! When the time is over, [`crate::retention`] forgets it with [`rows::Forget`].

mod rows;

use std::collections::BTreeSet;
use std::sync::Arc;

use base::{AccountId, MailboxId, MessageId, Timestamp};

use crate::engine::Priority;
use crate::mailbox::MailboxName;
use crate::{Keywords, Store, StoreError};

pub(crate) use rows::PIECE;

/// What becomes of a message that loses its last placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It can be recovered for a time.
    Kept,
    /// It is gone at once.
    Gone,
}

/// Which deleted messages are meant: all that meet every condition given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemovedFilter {
    /// Deleted at this time or later.
    pub since: Option<Timestamp>,
    /// Deleted at this time or earlier.
    pub until: Option<Timestamp>,
    /// Deleted from the mailbox of this name, as it was called then.
    pub mailbox: Option<String>,
    /// Only these; empty: no condition.
    pub messages: BTreeSet<MessageId>,
}

/// How far a list of deleted messages has come: the last one of the page before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemovedCursor {
    /// When it was deleted.
    pub removed_at: Timestamp,
    /// The message.
    pub message: MessageId,
}

/// A deleted message that can be recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedMessage {
    /// Its id; it keeps it when it is recovered.
    pub message: MessageId,
    /// When it was deleted.
    pub removed_at: Timestamp,
    /// The mailbox it was in last; it may be gone.
    pub mailbox: MailboxId,
    /// The name of that mailbox then.
    pub mailbox_name: String,
    /// Its keywords then.
    pub keywords: Keywords,
    /// When it came.
    pub received_at: Timestamp,
    /// Its bytes.
    pub size: u64,
    /// Its subject, for people; cut to 200 characters.
    pub subject: String,
    /// Who wrote it, as an address; empty if the letter does not say.
    pub from: String,
}

impl RemovedMessage {
    /// Where the next page begins.
    #[must_use]
    pub fn cursor(&self) -> RemovedCursor {
        RemovedCursor {
            removed_at: self.removed_at,
            message: self.message,
        }
    }
}

impl Store {
    /// A page of the deleted messages of an account that can be recovered, those deleted last first;
    /// at most 200 at a time.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn removed(
        &self,
        account: AccountId,
        filter: &RemovedFilter,
        after: Option<RemovedCursor>,
    ) -> Result<Vec<RemovedMessage>, StoreError> {
        let page = rows::Page {
            account,
            filter: filter.clone(),
            after,
        };
        let found = self.0.engine.read(page).await?;
        self.0.engine.read(rows::Details { account, found }).await
    }

    /// Puts deleted messages back into the mailboxes they were in (made again if they are gone), or
    /// all into the mailbox `to`. Gives their number; what is not there any more is passed over.
    /// Many are split; those before an error are back.
    ///
    /// # Errors
    /// [`StoreError::OverQuota`]; [`StoreError::Invalid`] for a mailbox name that is none.
    pub async fn recover(
        &self,
        account: AccountId,
        filter: &RemovedFilter,
        to: Option<&str>,
    ) -> Result<u64, StoreError> {
        let to = to.map(MailboxName::parse).transpose()?;
        let mut recovered = 0;
        let mut after = None;
        loop {
            let found = self.page(account, filter, after).await?;
            let Some(last) = found.last() else {
                return Ok(recovered);
            };
            after = Some(last.cursor());
            let body = rows::Recover {
                account,
                messages: found.iter().map(|removed| removed.message.0).collect(),
                to: to.clone(),
                now: self.0.shared.now(),
                shared: Arc::clone(&self.0.shared),
            };
            recovered += self.0.engine.write(body, Priority::Bulk).await?.count;
        }
    }

    /// Forgets deleted messages for good; gives their number. Their blobs go when nobody else names
    /// them.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn forget_removed(
        &self,
        account: AccountId,
        filter: &RemovedFilter,
    ) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        let mut after = None;
        loop {
            let found = self.page(account, filter, after).await?;
            let Some(last) = found.last() else {
                return Ok(forgotten);
            };
            after = Some(last.cursor());
            let body = rows::Forget {
                account,
                messages: found.iter().map(|removed| removed.message.0).collect(),
                now: self.0.shared.now(),
            };
            forgotten += self.0.engine.write(body, Priority::Bulk).await?;
        }
    }

    async fn page(
        &self,
        account: AccountId,
        filter: &RemovedFilter,
        after: Option<RemovedCursor>,
    ) -> Result<Vec<rows::Found>, StoreError> {
        let page = rows::Page {
            account,
            filter: filter.clone(),
            after,
        };
        self.0.engine.read(page).await
    }

    /// What becomes of messages that are deleted now.
    pub(crate) fn fate(&self) -> Fate {
        if self.0.limits.retention.deleted.is_zero() {
            Fate::Gone
        } else {
            Fate::Kept
        }
    }
}
