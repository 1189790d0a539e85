//! What can go wrong in the store.

use base::Class;
use base::error::Classified;

/// An error of a store verb. Its text is for the log; peers are told by class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The store is closing or closed.
    Closed,
    /// Another process holds this data directory, or this node's name (text: which, and who).
    Locked(String),
    /// The disk is full.
    DiskFull,
    /// The account would go over its quota.
    OverQuota,
    /// The account, or its domain, has sent as much as it may.
    SentTooMuch(crate::SentTooMuch),
    /// The thing named does not exist (text: what).
    NotFound(&'static str),
    /// The thing to be made exists already (text: what).
    Exists(&'static str),
    /// The request breaks a rule of the store (text: which), for example a mailbox name.
    Invalid(String),
    /// Too much work for one verb, or too much waiting: try again later.
    Busy(String),
    /// The database or the disk failed.
    Io(String),
    /// Bytes that were stored are gone or not what they were (text: where): trying again does not
    /// help, a backup may.
    Damaged(String),
    /// We are wrong.
    Bug(String),
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("the store is closed"),
            Self::DiskFull => f.write_str("the disk is full"),
            Self::OverQuota => f.write_str("the account is over its quota"),
            Self::SentTooMuch(why) => write!(f, "more than {}", why.limit),
            Self::NotFound(what) => write!(f, "no such {what}"),
            Self::Exists(what) => write!(f, "the {what} exists already"),
            Self::Invalid(why) | Self::Locked(why) => f.write_str(why),
            Self::Busy(why) => write!(f, "busy: {why}"),
            Self::Io(why) | Self::Damaged(why) => write!(f, "the store failed: {why}"),
            Self::Bug(why) => write!(f, "bug: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl Classified for StoreError {
    fn class(&self) -> Class {
        match self {
            Self::SentTooMuch(why) if why.again_at.is_none() => Class::Permanent,
            Self::SentTooMuch(_) => Class::Transient,
            // Also what is damaged: the operator may bring it back, and letters wait for that.
            Self::Closed
            | Self::DiskFull
            | Self::OverQuota
            | Self::Busy(_)
            | Self::Io(_)
            | Self::Damaged(_) => Class::Transient,
            Self::Locked(_) | Self::NotFound(_) | Self::Exists(_) | Self::Invalid(_) => {
                Class::Permanent
            }
            Self::Bug(_) => Class::Bug,
        }
    }
}
