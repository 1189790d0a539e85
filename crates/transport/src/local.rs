//! Letters from the queue for mailboxes here: addresses are resolved again, as they may have
//! changed since the letter was taken, and the copies are stored by the settlement itself.

use std::collections::BTreeSet;

use base::{AccountId, EmailAddress};
use bytes::Bytes;
use message::write::{delivered_to_field, return_path_field};
use proto::smtp::OriginalRecipient;
use store::{
    Claim, ClaimedRecipient, Keywords, ListAddress, LocalRecipient, QueueRecipient, Refusal,
    Resolved, Role, Store, StoreError, Target,
};

use crate::queue::failure::{Failure, Status};

/// What is to be stored and forwarded for a claim.
#[derive(Debug, Default)]
pub struct Placed {
    /// Copies for mailboxes here.
    pub local: Vec<LocalRecipient>,
    /// Recipients elsewhere.
    pub forwards: Vec<QueueRecipient>,
    /// What becomes of each recipient of the claim, in order.
    pub recipients: Vec<Placement>,
}

/// What becomes of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Stored, in so many mailboxes, and forwarded to these addresses.
    Placed {
        /// Mailboxes here.
        mailboxes: usize,
        /// Addresses elsewhere.
        forwarded: Vec<EmailAddress>,
    },
    /// Neither.
    Failed(Failure),
    /// For a list, or one of its further addresses.
    List(ListAddress),
}

/// Resolves the recipients of a claim whose domain is ours.
///
/// # Errors
/// When the store cannot be asked.
pub async fn place(store: &Store, claim: &Claim) -> Result<Placed, StoreError> {
    let mut placed = Placed::default();
    // Two recipients that lead to the same account get one copy.
    let mut seen = BTreeSet::new();
    for recipient in &claim.recipients {
        let placement = match store.resolve(&recipient.address).await? {
            Resolved::Targets(targets) => match only_list(&recipient.address, &targets) {
                Some(list) => Placement::List(list),
                None => place_targets(claim, recipient, targets, &mut seen, &mut placed),
            },
            other => Placement::Failed(refusal(&recipient.address, &other)),
        };
        placed.recipients.push(placement);
    }
    Ok(placed)
}

/// The list whose own address this is. What an alias leads to is queued under the list's address
/// first.
fn only_list(address: &EmailAddress, targets: &[Target]) -> Option<ListAddress> {
    let [Target::List(list)] = targets else {
        return None;
    };
    (list.to_address()?.key() == address.key()).then(|| list.clone())
}

fn place_targets(
    claim: &Claim,
    recipient: &ClaimedRecipient,
    targets: Vec<Target>,
    seen: &mut BTreeSet<Target>,
    placed: &mut Placed,
) -> Placement {
    let mut mailboxes = 0;
    let mut forwarded = Vec::new();
    let several = targets.len() > 1;
    for target in targets {
        let fresh = seen.insert(target.clone());
        match target {
            Target::Account(account) => {
                mailboxes += 1;
                if fresh {
                    placed.local.push(copy(claim, recipient, account));
                }
            }
            Target::Address(address) => {
                if fresh {
                    placed
                        .forwards
                        .push(forward(recipient, address.clone(), several));
                }
                forwarded.push(address);
            }
            Target::List(list) => {
                let Some(address) = list.to_address() else {
                    continue;
                };
                if fresh {
                    placed
                        .forwards
                        .push(forward(recipient, address.clone(), several));
                }
                forwarded.push(address);
            }
        }
    }
    Placement::Placed {
        mailboxes,
        forwarded,
    }
}

fn copy(claim: &Claim, recipient: &ClaimedRecipient, account: AccountId) -> LocalRecipient {
    LocalRecipient {
        account,
        address: recipient.address.clone(),
        mailbox: Role::Inbox,
        keywords: Keywords::default(),
        head: head(claim, &recipient.address),
    }
}

/// RFC 5321 §4.4: the last server puts Return-Path on top; Delivered-To is RFC 9228.
fn head(claim: &Claim, recipient: &EmailAddress) -> Bytes {
    let mut head = return_path_field(claim.reverse_path.as_ref());
    head.extend_from_slice(&delivered_to_field(recipient));
    head.extend_from_slice(&claim.head);
    head.into()
}

/// RFC 3461 §5.2.7.1: who is asked for in place of an alias inherits what the sender asked, and the
/// address that the sender wrote. §5.2.7.2: where an alias leads to several, its own success is
/// reported, and theirs is not.
fn forward(recipient: &ClaimedRecipient, address: EmailAddress, several: bool) -> QueueRecipient {
    let original = recipient
        .original
        .clone()
        .unwrap_or_else(|| OriginalRecipient::of(&recipient.address).to_string());
    QueueRecipient {
        address,
        original: Some(original),
        notify: if several {
            recipient.notify.without_success()
        } else {
            recipient.notify
        },
    }
}

/// Why an address takes no mail, with the status of RFC 3463 §3.
fn refusal(address: &EmailAddress, resolved: &Resolved) -> Failure {
    match resolved {
        Resolved::Unknown => {
            Failure::permanent(Status(5, 1, 1), format!("there is no user {address} here"))
        }
        Resolved::Refused(Refusal::Disabled) => Failure::permanent(
            Status(5, 2, 1),
            format!("the mailbox of {address} takes no mail"),
        ),
        Resolved::Refused(Refusal::Closed) => Failure::permanent(
            Status(5, 2, 1),
            format!("the mailbox of {address} is closed"),
        ),
        // A full mailbox may be emptied: it is tried again.
        Resolved::Refused(Refusal::OverQuota) => {
            Failure::temporary(Status(4, 2, 2), format!("the mailbox of {address} is full"))
        }
        Resolved::Refused(Refusal::AliasLoop) => Failure::permanent(
            Status(5, 4, 6),
            format!("the alias {address} leads to itself"),
        ),
        // The domain was given up this moment: the next attempt finds its way by the DNS.
        Resolved::NotOurs | Resolved::Targets(_) => Failure::temporary(
            Status(4, 3, 5),
            format!("{} is not a domain of this server any more", address.domain),
        ),
    }
}
