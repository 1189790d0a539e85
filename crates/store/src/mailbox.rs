//! Mailboxes of an account: a tree of names joined by `/`, some with a role.

mod name;
mod rows;

use std::sync::Arc;

use base::{AccountId, MailboxId, ModSeq, Uid, UidValidity};

use crate::engine::Priority;
use crate::{Store, StoreError};

pub(crate) use name::MailboxName;
pub(crate) use rows::{ensure, names_of};

/// What a new account gets; the ids count from 1 in this order.
pub(crate) const STANDARD_MAILBOXES: &[(Role, &str)] = &[
    (Role::Inbox, "INBOX"),
    (Role::Drafts, "Drafts"),
    (Role::Sent, "Sent"),
    (Role::Archive, "Archive"),
    (Role::Junk, "Junk"),
    (Role::Trash, "Trash"),
];

/// Mailboxes of one account.
const MAILBOXES_MAX: i64 = 5_000;

/// What a mailbox is for (RFC 6154, RFC 8621 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// INBOX.
    Inbox,
    /// `\Drafts`.
    Drafts,
    /// `\Sent`.
    Sent,
    /// `\Archive`.
    Archive,
    /// `\Junk`.
    Junk,
    /// `\Trash`.
    Trash,
}

/// A mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxInfo {
    /// Its id; stays when it is renamed.
    pub id: MailboxId,
    /// Its full name: `INBOX`, `Work/2026`.
    pub name: String,
    /// Its role.
    pub role: Option<Role>,
    /// Whether it is subscribed.
    pub subscribed: bool,
    /// The epoch of its UIDs.
    pub uid_validity: UidValidity,
    /// Its counters.
    pub status: MailboxStatus,
}

/// The counters of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxStatus {
    /// Messages in it.
    pub messages: u32,
    /// Messages without `\Seen`.
    pub unseen: u32,
    /// Messages with `\Deleted`.
    pub deleted: u32,
    /// Bytes of its messages.
    pub size: u64,
    /// The UID that the next message gets, or a later one.
    pub uid_next: Uid,
    /// The highest modseq of its messages, also of removed ones.
    pub highest_modseq: ModSeq,
}

impl Role {
    /// As it is stored.
    pub(crate) fn number(self) -> i64 {
        match self {
            Self::Inbox => 1,
            Self::Drafts => 2,
            Self::Sent => 3,
            Self::Archive => 4,
            Self::Junk => 5,
            Self::Trash => 6,
        }
    }

    /// From what was stored.
    pub(crate) fn from_number(number: i64) -> Option<Self> {
        let mut all = STANDARD_MAILBOXES.iter().map(|(role, _)| *role);
        all.find(|role| role.number() == number)
    }
}

impl Store {
    /// All mailboxes of an account, by name with INBOX first.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn mailboxes(&self, account: AccountId) -> Result<Vec<MailboxInfo>, StoreError> {
        self.0.engine.read(rows::List { account }).await
    }

    /// One mailbox by name; `INBOX` in any case.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn mailbox(
        &self,
        account: AccountId,
        name: &str,
    ) -> Result<Option<MailboxInfo>, StoreError> {
        let Ok(name) = MailboxName::parse(name) else {
            return Ok(None);
        };
        self.0.engine.read(rows::Find { account, name }).await
    }

    /// Makes a mailbox, and its parents where they are missing. One that has the name of a standard
    /// mailbox gets its role, if no other has it: Trash that was deleted comes back as Trash.
    ///
    /// # Errors
    /// [`StoreError::Exists`]; [`StoreError::Invalid`] for a name that is empty, too long (255
    /// bytes a level, 20 levels), has control characters or empty levels, or for one mailbox too
    /// many.
    pub async fn create_mailbox(
        &self,
        account: AccountId,
        name: &str,
        role: Option<Role>,
    ) -> Result<MailboxInfo, StoreError> {
        let body = rows::Create {
            account,
            name: MailboxName::parse(name)?,
            role,
            now: self.0.shared.now(),
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// Removes a mailbox and its placements; not INBOX, and not one that has children
    /// ([`StoreError::Invalid`]).
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Invalid`].
    pub async fn delete_mailbox(&self, account: AccountId, name: &str) -> Result<(), StoreError> {
        let name = MailboxName::parse(name)?;
        let mut only = None;
        loop {
            let body = rows::DeletePiece {
                account,
                name: name.clone(),
                only,
                fate: self.fate(),
                now: self.0.shared.now(),
                shared: Arc::clone(&self.0.shared),
            };
            let deleted = self.0.engine.write(body, Priority::Bulk).await?;
            if deleted.done {
                return Ok(());
            }
            only = Some(deleted.mailbox);
        }
    }

    /// Renames a mailbox with its children; renaming INBOX moves its messages into a new mailbox
    /// (RFC 9051 §6.3.6).
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Exists`], [`StoreError::Invalid`].
    pub async fn rename_mailbox(
        &self,
        account: AccountId,
        from: &str,
        to: &str,
    ) -> Result<(), StoreError> {
        let from = MailboxName::parse(from)?;
        if from.is_inbox() {
            return self.empty_inbox_into(account, to).await;
        }
        let body = rows::Rename {
            account,
            from,
            to: MailboxName::parse(to)?,
            now: self.0.shared.now(),
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// Subscribes or unsubscribes a mailbox that exists.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_subscribed(
        &self,
        account: AccountId,
        name: &str,
        subscribed: bool,
    ) -> Result<(), StoreError> {
        let body = rows::Subscribe {
            account,
            name: MailboxName::parse(name)?,
            subscribed,
            now: self.0.shared.now(),
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// RFC 9051 §6.3.6: the messages move, INBOX itself and its children stay.
    async fn empty_inbox_into(&self, account: AccountId, to: &str) -> Result<(), StoreError> {
        let inbox = self.mailbox(account, "INBOX").await?;
        let inbox = inbox.ok_or(StoreError::NotFound("mailbox"))?;
        let target = self.create_mailbox(account, to, None).await?;
        let mut from = Uid(1);
        loop {
            let page = self.placements(account, inbox.id, from, 1_000).await?;
            let uids: Vec<Uid> = page.iter().map(|placement| placement.uid).collect();
            let Some(last) = uids.last() else {
                return Ok(());
            };
            from = Uid(last.0.saturating_add(1));
            self.move_messages(account, inbox.id, &uids, target.id)
                .await?;
        }
    }
}
