//! Mailboxes of an account: a tree of names joined by `/`, some with a role.

use base::{AccountId, MailboxId, ModSeq, Uid, UidValidity};

use crate::{Store, StoreError};

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

impl Store {
    /// All mailboxes of an account, by name with INBOX first.
    pub async fn mailboxes(&self, account: AccountId) -> Result<Vec<MailboxInfo>, StoreError> {
        todo!()
    }

    /// One mailbox by name; `INBOX` in any case.
    pub async fn mailbox(
        &self,
        account: AccountId,
        name: &str,
    ) -> Result<Option<MailboxInfo>, StoreError> {
        todo!()
    }

    /// Makes a mailbox, and its parents where they are missing.
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
        todo!()
    }

    /// Removes a mailbox and its placements; not INBOX, and not one that has children
    /// ([`StoreError::Invalid`]).
    pub async fn delete_mailbox(&self, account: AccountId, name: &str) -> Result<(), StoreError> {
        todo!()
    }

    /// Renames a mailbox with its children; renaming INBOX moves its messages into a new mailbox
    /// (RFC 9051 §6.3.6).
    pub async fn rename_mailbox(
        &self,
        account: AccountId,
        from: &str,
        to: &str,
    ) -> Result<(), StoreError> {
        todo!()
    }

    /// Subscribes or unsubscribes a mailbox that exists.
    pub async fn set_subscribed(
        &self,
        account: AccountId,
        name: &str,
        subscribed: bool,
    ) -> Result<(), StoreError> {
        todo!()
    }
}
