//! What people ask a list for by mail: to join, to leave, for help; and an owner's word about a letter
//! that waits.
//!
//! Whoever asks to join or to leave is asked back at the address that is meant, as anybody could write
//! in his name. A link or address with a tag of ours needs no question. Programs are not answered, and
//! neither are authors who could be somebody else; nobody gets more than an answer an hour.

use base::{EmailAddress, LetterId};
use bytes::Bytes;
use message::Message;
use store::{
    Claim, Decision, Letter, ListAddress, ListInfo, ListPart, ListQuestion, StoreError, Submission,
    TagUse,
};

use super::facts::Facts;
use super::head::part;
use super::judge::standing;
use super::own::Own;
use super::{Context, Fate, Taken};

pub(super) async fn heed(
    context: &Context<'_>,
    claim: &Claim,
    list: &ListInfo,
    to: &ListAddress,
    letter: &Letter,
) -> Result<Taken, StoreError> {
    let facts = Facts::with_head(&claim.head, letter.bytes());
    // A holiday's answer is nobody's word; a way out is taken from anybody who knows it.
    let by_program = facts.automatic || facts.bulk || claim.reverse_path.is_none();
    if by_program && matches!(to.part, ListPart::Confirm | ListPart::Moderate) {
        return Ok(Fate::Done("nothing done: a program wrote it".to_owned()).into());
    }
    match to.part {
        ListPart::Confirm => return confirm(context, list, &to.tag).await,
        ListPart::Moderate => return moderate(context, list, &to.tag).await,
        ListPart::Unsubscribe if !to.tag.is_empty() => {
            let found = super::unsubscribe_by_link(context.store, &list.address, &to.tag).await?;
            return Ok(Fate::Done(match found {
                Some(true) => "a member has left the list".to_owned(),
                Some(false) => "the member had left the list before".to_owned(),
                None => "nothing done: not a tag of this list".to_owned(),
            })
            .into());
        }
        _ => {}
    }
    if !facts.wants_an_answer(claim.reverse_path.as_ref()) {
        return Ok(Fate::Done("not answered: a program wrote it".to_owned()).into());
    }
    let Some(author) = facts.authors.first() else {
        return Ok(Fate::Done("not answered: it has no author".to_owned()).into());
    };
    let from = (claim.account, claim.reverse_path.as_ref());
    let standing = standing(context.store, list, &facts, from, &claim.head).await?;
    if !standing.believed {
        return Ok(Fate::Done("not answered: its author could be somebody else".to_owned()).into());
    }
    match wish(to.part, &facts, letter) {
        Wish::Join if !list.options.open => {
            let text = format!(
                "The list {} is not open: its owners put people on it. They read\n{}\n",
                list.address,
                part(&list.address, ListPart::Owner, "")
            );
            answer(context, list, author, "The list is not open", text).await
        }
        Wish::Join => ask(context, list, author, true).await,
        Wish::Leave => ask(context, list, author, false).await,
        Wish::Help => help(context, list, author).await,
    }
}

/// What somebody wants.
enum Wish {
    Join,
    Leave,
    Help,
}

/// By the address; at `-request` by the first word of the subject, or of the text.
fn wish(which: ListPart, facts: &Facts, letter: &Letter) -> Wish {
    let word = match which {
        ListPart::Subscribe => return Wish::Join,
        ListPart::Unsubscribe => return Wish::Leave,
        _ => first_word(&facts.subject),
    };
    let word = word.unwrap_or_else(|| {
        let text = Message::parse(letter.bytes()).text_body();
        first_word(&text).unwrap_or_default()
    });
    match word.as_str() {
        "subscribe" | "join" => Wish::Join,
        "unsubscribe" | "leave" | "signoff" => Wish::Leave,
        _ => Wish::Help,
    }
}

fn first_word(text: &str) -> Option<String> {
    let word = text.split_whitespace().next()?;
    Some(word.to_ascii_lowercase())
}

fn token(context: &Context<'_>) -> String {
    let (one, two) = (context.entropy.next_u64(), context.entropy.next_u64());
    format!("{one:016x}{:08x}", two & 0xffff_ffff)
}

/// Asks whether somebody wants to join or to leave.
async fn ask(
    context: &Context<'_>,
    list: &ListInfo,
    person: &EmailAddress,
    joins: bool,
) -> Result<Taken, StoreError> {
    let is_member = context.store.list_member(&list.address, person).await?;
    if is_member.is_some() == joins {
        // Nobody learns from outside who is on a list: the person himself is told.
        let text = if joins {
            format!("You are on the list {} already.\n", list.address)
        } else {
            format!(
                "You are not on the list {} with this address. The letters of the list\n\
                 say at their top where they were sent to.\n",
                list.address
            )
        };
        return answer(context, list, person, "Nothing to do", text).await;
    }
    let token = token(context);
    let question = if joins {
        ListQuestion::Join
    } else {
        ListQuestion::Leave
    };
    let asking = context
        .store
        .ask_about_list(&list.address, person, question, &token);
    if !asking.await? {
        return Ok(Fate::Done(format!("{person} was asked just now")).into());
    }
    let (word, subject) = if joins {
        ("join", "Do you want to join?")
    } else {
        ("leave", "Do you want to leave?")
    };
    let text = format!(
        "Somebody, perhaps you, asked in your name to {word} the mailing list\n{}.\n\n\
         If you want that, answer this letter; its content does not matter.\n\
         Otherwise do nothing. The question is forgotten after three days.\n",
        list.address
    );
    let letter = Own {
        list,
        to: person,
        subject: format!("{subject} ({})", list.address),
        text,
        reply_to: Some(part(&list.address, ListPart::Confirm, &token)),
        reverse_path: None,
        head: Bytes::new(),
        answers: true,
    };
    Ok(Taken {
        fate: Fate::Done(format!("{person} is asked whether to {word}")),
        letters: vec![letter.submission(context).await?],
    })
}

async fn confirm(context: &Context<'_>, list: &ListInfo, token: &str) -> Result<Taken, StoreError> {
    let token = token.to_ascii_lowercase();
    let answered = context.store.answer_about_list(&list.address, &token);
    let Some((person, joined)) = answered.await? else {
        return Ok(Fate::Done("nothing done: no such question is open".to_owned()).into());
    };
    let (told, subject, text) = if joined {
        let text = format!(
            "You are on the mailing list {} now.\n\n\
             To write to it:      {}\nTo leave it:         {}\nTo reach its owners: {}\n",
            list.address,
            list.address,
            part(&list.address, ListPart::Unsubscribe, ""),
            part(&list.address, ListPart::Owner, "")
        );
        ("has joined", "Welcome", text)
    } else {
        let text = format!(
            "You are not on the mailing list {} any more.\n",
            list.address
        );
        ("has left", "Goodbye", text)
    };
    Ok(Taken {
        fate: Fate::Done(format!("{person} {told}")),
        letters: vec![note(context, list, &person, subject, text).await?],
    })
}

async fn moderate(context: &Context<'_>, list: &ListInfo, tag: &str) -> Result<Taken, StoreError> {
    let tags = context.store.list_tags().await?;
    let uses = [
        (TagUse::Approve, Decision::Approve, "handed out"),
        (TagUse::Discard, Decision::Discard, "dropped"),
    ];
    for (purpose, decision, word) in uses {
        let Some(number) = tags.read(purpose, &list.address, tag) else {
            continue;
        };
        let letter = LetterId(number);
        let done = context
            .store
            .decide_held(&list.address, letter, decision)
            .await?;
        return Ok(Fate::Done(if done {
            format!("letter {letter} is {word} on an owner's word")
        } else {
            format!("nothing done: letter {letter} does not wait any more")
        })
        .into());
    }
    Ok(Fate::Done("nothing done: not a tag of this list".to_owned()).into())
}

async fn help(
    context: &Context<'_>,
    list: &ListInfo,
    person: &EmailAddress,
) -> Result<Taken, StoreError> {
    let address = |which| part(&list.address, which, "");
    let text = format!(
        "This is the program of the mailing list {}. Write to\n\n\
         {}\n    to join,\n{}\n    to leave,\n{}\n    to reach the people who own the list.\n",
        list.address,
        address(ListPart::Subscribe),
        address(ListPart::Unsubscribe),
        address(ListPart::Owner)
    );
    answer(context, list, person, "Help", text).await
}

async fn answer(
    context: &Context<'_>,
    list: &ListInfo,
    person: &EmailAddress,
    subject: &str,
    text: String,
) -> Result<Taken, StoreError> {
    let token = token(context);
    let answering = context
        .store
        .ask_about_list(&list.address, person, ListQuestion::Told, &token);
    if !answering.await? {
        return Ok(Fate::Done(format!("{person} was answered just now")).into());
    }
    Ok(Taken {
        fate: Fate::Done(format!("{person} is answered: {subject}")),
        letters: vec![note(context, list, person, subject, text).await?],
    })
}

async fn note(
    context: &Context<'_>,
    list: &ListInfo,
    person: &EmailAddress,
    subject: &str,
    text: String,
) -> Result<Submission, StoreError> {
    let letter = Own {
        list,
        to: person,
        subject: format!("{subject} ({})", list.address),
        text,
        reply_to: None,
        reverse_path: None,
        head: Bytes::new(),
        answers: true,
    };
    letter.submission(context).await
}
