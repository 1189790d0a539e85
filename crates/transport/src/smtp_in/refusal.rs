//! What the peer is told when the store says no.

use proto::smtp::Reply;
use store::{Refusal, StoreError};

/// The reply for an error of the store at the end of a letter, or for a recipient.
pub(super) fn reply_for(error: &StoreError) -> Reply {
    match error {
        StoreError::Closed => Reply::shutting_down(),
        StoreError::DiskFull => Reply::disk_full(),
        StoreError::OverQuota => Reply::over_quota(),
        // The session, which knows the time, tells when to come again.
        StoreError::SentTooMuch(why) => Reply::sent_too_much(&why.limit, why.of_domain, None),
        StoreError::Busy(_) => Reply::busy(),
        StoreError::Invalid(_) => Reply::bad_letter("it cannot be kept in this form"),
        StoreError::Locked(_)
        | StoreError::NotFound(_)
        | StoreError::Exists(_)
        | StoreError::Io(_)
        | StoreError::Damaged(_)
        | StoreError::Bug(_) => Reply::try_later(),
    }
}

/// Whether the error is a fault of the store, whose cause no reply tells.
pub(super) fn is_fault(error: &StoreError) -> bool {
    match error {
        StoreError::Closed
        | StoreError::DiskFull
        | StoreError::OverQuota
        | StoreError::SentTooMuch(_)
        | StoreError::Busy(_) => false,
        StoreError::Invalid(_)
        | StoreError::Locked(_)
        | StoreError::NotFound(_)
        | StoreError::Exists(_)
        | StoreError::Io(_)
        | StoreError::Damaged(_)
        | StoreError::Bug(_) => true,
    }
}

/// The reply for an account that takes no mail.
pub(super) fn reply_for_refusal(refusal: Refusal) -> Reply {
    match refusal {
        Refusal::Disabled => Reply::account_disabled(),
        Refusal::Closed => Reply::account_closed(),
        Refusal::OverQuota => Reply::over_quota(),
        Refusal::AliasLoop => Reply::alias_loop(),
    }
}
