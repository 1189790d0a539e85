//! A letter for the members.

use std::sync::Arc;

use bytes::Bytes;
use store::{
    Claim, ClaimedRecipient, Letter, ListInfo, ListMember, ListPart, MemberLetter, MemberState,
    NewHeld, Portion, StoreError, Submission, TagUse,
};
use tracing::warn;

use super::facts::Facts;
use super::head::{member_head, part};
use super::judge::{Judgement, judge, standing};
use super::own::Own;
use super::{Context, Fate, Taken, letter};
use crate::queue::failure::{Failure, Status};

/// Members of one transaction: some hundred rows are a short one.
const PORTION_MEMBERS: usize = 250;
/// Characters of a held letter's text that its owners are shown.
const SHOWN_CHARS_MAX: usize = 1_000;

pub(super) async fn post(
    context: &Context<'_>,
    claim: &Claim,
    recipient: &ClaimedRecipient,
    list: &ListInfo,
    letter: Letter,
) -> Result<Taken, StoreError> {
    let facts = Facts::with_head(&claim.head, letter.bytes());
    let from = (claim.account, claim.reverse_path.as_ref());
    let standing = standing(context.store, list, &facts, from, &claim.head).await?;
    let told = (&facts, standing.believed);
    let letter_id = claim.reference.letter;
    let fate = match judge(list, &facts, &standing) {
        Judgement::HandOut => hand_out(context, claim, recipient, list, (letter, told)).await?,
        Judgement::Hold(why) => {
            if context.store.is_approved(letter_id, recipient.id).await? {
                hand_out(context, claim, recipient, list, (letter, told)).await?
            } else {
                hold(context, claim, recipient, list, (letter, &facts), why).await?
            }
        }
        Judgement::Refuse(why) => Fate::Refused(why.failure()),
        Judgement::Ignore(why) => Fate::Done(why.told()),
    };
    Ok(fate.into())
}

/// Hands a letter out, a portion in each transaction, from behind the last member that has it.
async fn hand_out(
    context: &Context<'_>,
    claim: &Claim,
    recipient: &ClaimedRecipient,
    list: &ListInfo,
    (letter, told): (Letter, (&Facts, bool)),
) -> Result<Fate, StoreError> {
    let store = context.store;
    let written = letter::write(list, told, letter.bytes(), &claim.head);
    let written = Bytes::from(written.into_owned());
    // Who holds a large letter and waits for room for another could wait for ever.
    drop(letter);
    let written = store.letter(written).await?;
    let tags = store.list_tags().await?;
    let (mut after, mut sent) = store
        .handed_out(claim.reference.letter, recipient.id)
        .await?;
    loop {
        let members = store.list_members(&list.address, after, PORTION_MEMBERS);
        let members = members.await?;
        let Some(last) = members.last() else {
            return Ok(Fate::HandedOut(format!(
                "handed out to {sent} members of {}",
                list.address
            )));
        };
        let up_to = last.id;
        let one = |member: &ListMember| MemberLetter {
            address: member.address.clone(),
            reverse_path: part(
                &list.address,
                ListPart::Bounces,
                &tags.make(TagUse::Bounce, &list.address, member.id),
            ),
            head: member_head(list, &tags, context.url, member.id, &claim.head),
        };
        let active = members.iter();
        let active = active.filter(|member| member.state == MemberState::Active);
        let portion = Portion {
            claim: claim.reference,
            recipient: recipient.id,
            list: list.address.clone(),
            after,
            up_to,
            letter: written.clone(),
            members: active.map(one).collect(),
            needs_utf8: claim.needs_utf8,
            expires_at: context.expires_at,
        };
        match store.hand_out(portion).await? {
            Some(count) => sent = count,
            // The claim is another's now, who goes on.
            None => return Ok(Fate::Kept),
        }
        after = up_to;
    }
}

/// Lets a letter wait, and tells the owners.
async fn hold(
    context: &Context<'_>,
    claim: &Claim,
    recipient: &ClaimedRecipient,
    list: &ListInfo,
    (letter, facts): (Letter, &Facts),
    why: String,
) -> Result<Fate, StoreError> {
    let author = facts.authors.first();
    let held = NewHeld {
        claim: claim.reference,
        recipient: recipient.id,
        list: list.address.clone(),
        author: author.map(ToString::to_string).unwrap_or_default(),
        subject: facts.subject.clone(),
        reason: why,
    };
    let shown = message::Message::parse(letter.bytes()).text_body();
    drop(letter);
    let notices = notices(context, claim, list, &held, &shown).await?;
    if context.store.hold_for_list(held, notices).await? {
        return Ok(Fate::Kept);
    }
    warn!(list = %list.address, "a letter for a list can wait for its owners no more");
    let text = "too many letters wait for the owners of the list";
    Ok(Fate::Refused(Failure::temporary(Status(4, 2, 2), text)))
}

async fn notices(
    context: &Context<'_>,
    claim: &Claim,
    list: &ListInfo,
    held: &NewHeld,
    shown: &str,
) -> Result<Vec<Submission>, StoreError> {
    let tags = Arc::new(context.store.list_tags().await?);
    let number = claim.reference.letter.0;
    let word = |purpose| {
        let tag = tags.make(purpose, &list.address, number);
        part(&list.address, ListPart::Moderate, &tag)
    };
    let (approve, discard) = (word(TagUse::Approve), word(TagUse::Discard));
    let shown: String = shown.chars().take(SHOWN_CHARS_MAX).collect();
    let text = format!(
        "A letter to {} waits for an owner's word: {}.\n\n\
         From:    {}\nSubject: {}\n\n\
         To hand it out to the members, answer this letter, or write to\n{approve}\n\n\
         To drop it, write to\n{discard}\n\n\
         It is dropped by itself after 14 days. On the server, `pennyblack list held` shows all of\n\
         them, and `pennyblack list approve {} {number}` hands it out.\n\n\
         It begins so:\n\n{shown}\n",
        list.address, held.reason, held.author, held.subject, list.address
    );
    let mut notices = Vec::with_capacity(list.owners.len());
    for owner in &list.owners {
        let notice = Own {
            list,
            to: owner,
            subject: format!("Waiting for {}: {}", list.address, held.subject),
            text: text.clone(),
            reply_to: Some(approve.clone()),
            reverse_path: None,
            head: Bytes::new(),
            answers: false,
        };
        notices.push(notice.submission(context).await?);
    }
    Ok(notices)
}
