//! Mailing lists: what they are like, who is on them, and what waits for an owner's word, as rows.
//! What becomes of a letter is decided in `transport::lists`.
//!
//! A list's address is in the directory, with its owners as targets, so that it is taken like any
//! other and known to all nodes; the rest is read when it is needed.

mod address;
mod bounces;
mod held;
mod members;
mod rows;
mod sending;
mod tags;

use std::sync::Arc;

use base::{EmailAddress, Timestamp};

use crate::engine::Priority;
use crate::{Store, StoreError};

pub use address::{ListAddress, ListPart};
pub use bounces::Bounced;
pub use held::{Decision, HeldLetter, NewHeld};
pub use members::{ListMember, ListQuestion, MemberState};
pub use sending::{MemberLetter, Portion};
pub use tags::{ListTags, TagUse};

/// A list's name: so that each of its addresses, with the longest tag, is one (RFC 5321 §4.5.3.1.1).
const NAME_BYTES_MAX: usize = 20;
/// Members of one list.
const MEMBERS_MAX: i64 = 100_000;
/// Letters of one list that wait for a word of its owners.
const HELD_MAX: i64 = 100;
/// Questions of ours about joining one list that nobody has answered; and answers of an hour.
const REQUESTS_MAX: i64 = 1_000;

/// Who may write to a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posting {
    /// Anybody.
    Anyone,
    /// Its members and owners.
    Members,
    /// Its owners.
    Owners,
}

/// What a list is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOptions {
    /// Its name for people.
    pub title: String,
    /// Who may write to it.
    pub posting: Posting,
    /// Whether letters of others wait for a word of an owner; otherwise they are refused.
    pub holds_others: bool,
    /// Whether people may join by themselves.
    pub open: bool,
    /// What stands in brackets before each subject; nothing if empty.
    pub subject_tag: String,
    /// Whether answers go to the list.
    pub reply_to_list: bool,
    /// Whether every author is replaced by the list, and not only where the letter would fail DMARC.
    pub rewrites_always: bool,
    /// The largest letter, in bytes.
    pub letter_bytes_max: u64,
    /// Where its letters can be read; nowhere if empty.
    pub archive: String,
    /// Reports of failure (one a day counts) after which a member is suspended.
    pub bounces_max: u32,
}

impl Default for ListOptions {
    fn default() -> Self {
        Self {
            title: String::new(),
            posting: Posting::Members,
            holds_others: false,
            open: true,
            subject_tag: String::new(),
            reply_to_list: false,
            rewrites_always: false,
            letter_bytes_max: 1024 * 1024,
            archive: String::new(),
            bounces_max: 5,
        }
    }
}

/// A list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListInfo {
    /// Its address.
    pub address: EmailAddress,
    /// What it is like.
    pub options: ListOptions,
    /// Whom it belongs to.
    pub owners: Vec<EmailAddress>,
    /// How many are on it.
    pub members: u64,
    /// How many of these get letters.
    pub active: u64,
    /// Since when it exists.
    pub created_at: Timestamp,
}

impl Posting {
    fn number(self) -> i64 {
        match self {
            Self::Anyone => 0,
            Self::Members => 1,
            Self::Owners => 2,
        }
    }

    fn from_number(number: i64) -> Self {
        match number {
            0 => Self::Anyone,
            1 => Self::Members,
            _ => Self::Owners,
        }
    }
}

impl Store {
    /// Makes a list. Its name is of letters, digits, `.`, `-` and `_`, and leaves room for the names
    /// of its further addresses.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a domain that is not ours, [`StoreError::Exists`] for an address
    /// that is taken, [`StoreError::Invalid`] for a name that will not do, or without an owner.
    pub async fn add_list(
        &self,
        list: &EmailAddress,
        owners: &[EmailAddress],
        options: ListOptions,
    ) -> Result<(), StoreError> {
        check_name(list)?;
        if owners.is_empty() {
            return Err(StoreError::Invalid("a list needs an owner".to_owned()));
        }
        let body = rows::AddList {
            list: list.clone(),
            owners: owners.to_vec(),
            options,
            now: self.0.shared.now(),
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// Removes a list with its members. Letters that wait come back to their authors, as for an
    /// address that is not there; what is being handed out is given up.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn remove_list(&self, list: &EmailAddress) -> Result<(), StoreError> {
        let body = rows::RemoveList {
            list: list.clone(),
            now: self.0.shared.now(),
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// Changes what a list is like.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_list(
        &self,
        list: &EmailAddress,
        options: ListOptions,
    ) -> Result<(), StoreError> {
        let body = rows::SetList {
            key: list.key(),
            options,
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// All lists, by address.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn lists(&self) -> Result<Vec<ListInfo>, StoreError> {
        self.0.engine.read(rows::ReadLists { only: None }).await
    }

    /// One list.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn list(&self, list: &EmailAddress) -> Result<Option<ListInfo>, StoreError> {
        let only = Some(list.key());
        let found = self.0.engine.read(rows::ReadLists { only }).await?;
        Ok(found.into_iter().next())
    }
}

/// The name can stand in a URL as it is.
fn check_name(list: &EmailAddress) -> Result<(), StoreError> {
    let name = list.local.as_str();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if name.len() <= NAME_BYTES_MAX && name.bytes().all(plain) {
        return Ok(());
    }
    Err(StoreError::Invalid(format!(
        "a list's name has at most {NAME_BYTES_MAX} letters, digits, dots, hyphens or underscores"
    )))
}
