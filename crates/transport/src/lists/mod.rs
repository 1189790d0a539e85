//! Mailing lists: what becomes of a letter that comes to one of a list's addresses.
//!
//! A letter for a list is queued like any other, under the list's address. The queue gives it to
//! [`take`], which decides by the letter's header and the list's rows and hands it out, lets it wait
//! for an owner, refuses it, or does what it asks for. What is refused for sure is refused by SMTP
//! already ([`refusal`]), so that no report goes to a forged sender.
//!
//! RFC 2369, RFC 2919, RFC 8058 (fields), RFC 3834 (whom to answer). Who is on a list is known to the
//! store.

mod bounce;
mod facts;
mod head;
mod judge;
mod letter;
mod own;
mod post;
#[cfg(test)]
mod tests;
mod words;

use base::ports::Entropy;
use base::{Domain, Timestamp};
use proto::smtp::Reply;
use store::{
    Claim, ClaimedRecipient, Letter, ListAddress, ListPart, Store, StoreError, Submission, TagUse,
};

use crate::queue::failure::{Failure, Status};
use facts::Facts;
pub(crate) use head::list_of;
use judge::{Judgement, standing};

/// What this work needs beside the store.
pub(crate) struct Context<'a> {
    pub(crate) store: &'a Store,
    pub(crate) entropy: &'a dyn Entropy,
    pub(crate) hostname: &'a Domain,
    /// Where people leave lists by one click; nowhere if empty.
    pub(crate) url: &'a str,
    pub(crate) now: Timestamp,
    /// When what is sent now is given up.
    pub(crate) expires_at: Timestamp,
}

/// What became of a letter.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It is done, in words for the journey.
    Done(String),
    /// It went to the members.
    HandedOut(String),
    /// It is not taken, and its sender is told.
    Refused(Failure),
    /// It stays in the queue, and its row is as it should be.
    Kept,
}

/// A fate, and letters of ours that go out with it.
pub(crate) struct Taken {
    pub(crate) fate: Fate,
    pub(crate) letters: Vec<Submission>,
}

impl From<Fate> for Taken {
    fn from(fate: Fate) -> Self {
        Self {
            fate,
            letters: Vec::new(),
        }
    }
}

/// Takes a claimed letter for one of a list's addresses.
///
/// # Errors
/// When the store fails; the letter is then tried again.
pub(crate) async fn take(
    context: &Context<'_>,
    claim: &Claim,
    recipient: &ClaimedRecipient,
    to: &ListAddress,
) -> Result<Taken, StoreError> {
    let Some(list) = context.store.list(&to.list).await? else {
        return Ok(Fate::Refused(gone(to)).into());
    };
    let letter = context.store.claimed_letter(claim).await?;
    match to.part {
        ListPart::Post => post::post(context, claim, recipient, &list, letter).await,
        ListPart::Bounces => bounce::came_back(context, claim, &list, &to.tag, &letter).await,
        ListPart::Subscribe
        | ListPart::Unsubscribe
        | ListPart::Confirm
        | ListPart::Request
        | ListPart::Moderate => words::heed(context, claim, &list, to, &letter).await,
        // It leads to the owners like an alias, so that nothing comes here.
        ListPart::Owner => Ok(Fate::Refused(gone(to)).into()),
    }
}

fn gone(to: &ListAddress) -> Failure {
    let text = format!("there is no list {} here", to.list);
    Failure::permanent(Status(5, 1, 1), text)
}

/// Whether a letter from outside is refused by a list that it is for. `head` is what this server has
/// found out about it.
///
/// # Errors
/// When the store fails.
pub(crate) async fn refusal(
    store: &Store,
    to: &ListAddress,
    letter: &Letter,
    sender: Option<&base::EmailAddress>,
    head: &[u8],
) -> Result<Option<Reply>, StoreError> {
    let (ListPart::Post, Some(list)) = (to.part, store.list(&to.list).await?) else {
        return Ok(None);
    };
    let facts = Facts::read(letter.bytes());
    let standing = standing(store, &list, &facts, (None, sender), head).await?;
    Ok(match judge::judge(&list, &facts, &standing) {
        Judgement::HandOut | Judgement::Hold(_) => None,
        Judgement::Refuse(why) | Judgement::Ignore(why) => Some(why.reply()),
    })
}

/// Whether a report may come to this address: its tag is one of ours.
///
/// # Errors
/// When the store fails.
pub(crate) async fn knows(store: &Store, to: &ListAddress) -> Result<bool, StoreError> {
    if to.part != ListPart::Bounces {
        return Ok(true);
    }
    let tags = store.list_tags().await?;
    let uses = [TagUse::Bounce, TagUse::Probe];
    Ok(uses
        .iter()
        .any(|purpose| tags.read(*purpose, &to.list, &to.tag).is_some()))
}

/// Takes a member off a list by the tag of its link (RFC 8058 §3.2). `None`: it is no link of ours.
/// Otherwise whether the member was still on it; a second click finds nothing and does no harm.
///
/// # Errors
/// When the store fails.
pub async fn unsubscribe_by_link(
    store: &Store,
    list: &base::EmailAddress,
    tag: &str,
) -> Result<Option<bool>, StoreError> {
    let tags = store.list_tags().await?;
    let Some(id) = tags.read(TagUse::Unsubscribe, list, tag) else {
        return Ok(None);
    };
    let Some(member) = store.list_member_by_id(list, id).await? else {
        return Ok(Some(false));
    };
    let gone = store.unsubscribe(list, &[member.address]).await?;
    Ok(Some(gone > 0))
}

/// Whether a tag is that of a link of ours; nothing is changed.
///
/// # Errors
/// When the store fails.
pub async fn is_link(
    store: &Store,
    list: &base::EmailAddress,
    tag: &str,
) -> Result<bool, StoreError> {
    let tags = store.list_tags().await?;
    Ok(tags.read(TagUse::Unsubscribe, list, tag).is_some())
}

/// Where links of [`unsubscribe_by_link`] are: `/lists/unsubscribe/LIST/TAG`.
pub const LINK_PATH: &str = "/lists/unsubscribe";
