//! What an operator asks about mailing lists.

use base::{EmailAddress, LetterId};
use store::{Decision, ListInfo, ListOptions, MemberState, Posting, Store, StoreError};

use super::operate::{Answer, in_domain, parse_address};
use super::{Failure, ListSettings, Request, rows};

/// Members of one page.
const PAGE: usize = 1_000;

/// Does what is asked.
///
/// # Errors
/// In words for the operator.
pub(super) async fn operate(store: &Store, request: Request) -> Result<Answer, Failure> {
    match request {
        Request::ListAdd {
            list,
            owners,
            settings,
        } => add(store, &parse_address(&list)?, &owners, settings).await,
        Request::ListSet {
            list,
            add_owners,
            remove_owners,
            settings,
        } => {
            let info = known(store, &list).await?;
            change(store, info, &add_owners, &remove_owners, settings).await
        }
        Request::ListRemove { list } => {
            let address = parse_address(&list)?;
            store.remove_list(&address).await?;
            Ok(Answer::done(format!("list {address} is removed")))
        }
        Request::ListShow { list: Some(list) } => {
            let info = known(store, &list).await?;
            Ok(Answer::list(vec![rows::list(&info)]))
        }
        Request::ListShow { list: None } => Ok(Answer::list(
            store.lists().await?.iter().map(rows::list).collect(),
        )),
        Request::ListHeld { list } => {
            let list = list.as_deref().map(parse_address).transpose()?;
            let held = store.held_for_lists(list.as_ref()).await?;
            Ok(Answer::list(held.iter().map(rows::held_letter).collect()))
        }
        Request::ListDecide {
            list,
            letter,
            approve,
        } => decide(store, &parse_address(&list)?, letter, approve).await,
        other => people(store, other).await,
    }
}

async fn people(store: &Store, request: Request) -> Result<Answer, Failure> {
    match request {
        Request::ListMembers { list } => {
            let info = known(store, &list).await?;
            let mut found = Vec::new();
            let mut after = 0;
            loop {
                let page = store.list_members(&info.address, after, PAGE).await?;
                let Some(last) = page.last() else {
                    return Ok(Answer::list(found));
                };
                after = last.id;
                found.extend(page.iter().map(rows::list_member));
            }
        }
        Request::ListSubscribe { list, members } => {
            let info = known(store, &list).await?;
            let members = parse_all(&members)?;
            let added = store.subscribe(&info.address, &members).await?;
            Ok(Answer::done(format!("{added} more are on the list {list}")))
        }
        Request::ListUnsubscribe { list, members } => {
            let info = known(store, &list).await?;
            let members = parse_all(&members)?;
            match store.unsubscribe(&info.address, &members).await? {
                0 => Err(Failure::not_found("nobody of them is on the list")),
                gone => Ok(Answer::done(format!("{gone} have left the list {list}"))),
            }
        }
        Request::ListMember {
            list,
            member,
            paused,
        } => {
            let info = known(store, &list).await?;
            let state = if paused {
                MemberState::Paused
            } else {
                MemberState::Active
            };
            let address = parse_address(&member)?;
            store
                .set_list_member(&info.address, &address, state)
                .await?;
            let word = if paused { "no letters" } else { "letters" };
            Ok(Answer::done(format!("{member} gets {word}")))
        }
        _ => Err(Failure::invalid("not about lists")),
    }
}

async fn known(store: &Store, list: &str) -> Result<ListInfo, Failure> {
    let address = parse_address(list)?;
    let found = store.list(&address).await?;
    found.ok_or_else(|| Failure::not_found(format!("there is no list {address}")))
}

async fn add(
    store: &Store,
    address: &EmailAddress,
    owners: &[String],
    settings: ListSettings,
) -> Result<Answer, Failure> {
    let options = with(ListOptions::default(), settings)?;
    let owners = parse_all(owners)?;
    let added = store.add_list(address, &owners, options).await;
    added.map_err(|error| in_domain(error, &address.domain))?;
    Ok(Answer::done(format!("list {address} is made")))
}

async fn change(
    store: &Store,
    info: ListInfo,
    add: &[String],
    remove: &[String],
    settings: ListSettings,
) -> Result<Answer, Failure> {
    let list = info.address;
    let options = with(info.options, settings)?;
    store.set_list(&list, options).await?;
    if !add.is_empty() {
        store.add_list_owners(&list, &parse_all(add)?).await?;
    }
    if !remove.is_empty() {
        let removed = store.remove_targets(&list, &parse_all(remove)?).await;
        removed.map_err(|error| match error {
            StoreError::Invalid(_) => Failure::invalid("a list needs an owner"),
            other => other.into(),
        })?;
    }
    Ok(Answer::done(format!("list {list} is changed")))
}

async fn decide(
    store: &Store,
    list: &EmailAddress,
    letter: i64,
    approve: bool,
) -> Result<Answer, Failure> {
    let decision = if approve {
        Decision::Approve
    } else {
        Decision::Discard
    };
    if !store.decide_held(list, LetterId(letter), decision).await? {
        return Err(Failure::not_found(format!(
            "letter {letter} does not wait for the list {list}"
        )));
    }
    let word = if approve { "handed out" } else { "dropped" };
    Ok(Answer::done(format!("letter {letter} is {word}")))
}

fn parse_all(texts: &[String]) -> Result<Vec<EmailAddress>, Failure> {
    texts.iter().map(|text| parse_address(text)).collect()
}

/// The options with what the operator says.
fn with(mut options: ListOptions, settings: ListSettings) -> Result<ListOptions, Failure> {
    if let Some(word) = settings.posting {
        options.posting = match word.as_str() {
            "anyone" => Posting::Anyone,
            "members" => Posting::Members,
            "owners" => Posting::Owners,
            _ => return Err(Failure::invalid(format!("nobody may write as {word}"))),
        };
    }
    let texts = [
        (settings.title, &mut options.title),
        (settings.subject_tag, &mut options.subject_tag),
        (settings.archive, &mut options.archive),
    ];
    for (given, kept) in texts {
        let Some(given) = given else { continue };
        if given.chars().count() > 100 || given.contains(char::is_control) {
            return Err(Failure::invalid(
                "a text of at most 100 characters is wanted",
            ));
        }
        *kept = given;
    }
    let archive = &options.archive;
    if archive.contains(|c: char| c.is_whitespace() || c == '<' || c == '>') {
        return Err(Failure::invalid(format!(
            "not the address of a page: {archive}"
        )));
    }
    let flags = [
        (settings.holds_others, &mut options.holds_others),
        (settings.open, &mut options.open),
        (settings.reply_to_list, &mut options.reply_to_list),
        (settings.rewrites_always, &mut options.rewrites_always),
    ];
    for (given, kept) in flags {
        *kept = given.unwrap_or(*kept);
    }
    options.letter_bytes_max = settings
        .letter_bytes_max
        .unwrap_or(options.letter_bytes_max);
    options.bounces_max = settings.bounces_max.unwrap_or(options.bounces_max).max(1);
    Ok(options)
}
