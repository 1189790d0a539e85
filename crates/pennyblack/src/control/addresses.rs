//! What an operator asks about addresses that belong to no account: aliases, groups, catch-alls.

use base::{Domain, EmailAddress};
use store::{Senders, Store, StoreError};

use super::operate::{Answer, in_domain, parse_address};
use super::{Failure, Request, rows};

/// Does what is asked.
///
/// # Errors
/// In words for the operator.
pub(super) async fn operate(store: &Store, request: Request) -> Result<Answer, Failure> {
    match request {
        Request::AliasAdd { alias, targets } => {
            let address = parse_address(&alias)?;
            let targets = parse_all(&targets)?;
            if targets.is_empty() {
                return Err(Failure::invalid("an alias needs at least one target"));
            }
            store
                .add_alias(&address, &targets)
                .await
                .map_err(|error| in_domain(error, &address.domain))?;
            Ok(Answer::done(format!(
                "alias {address} leads to {} more",
                targets.len()
            )))
        }
        Request::AliasRemove { alias } => {
            let address = parse_address(&alias)?;
            store.remove_alias(&address).await?;
            Ok(Answer::done(format!("alias {address} is removed")))
        }
        Request::TargetsRemove { address, targets } => {
            let address = parse_address(&address)?;
            let targets = parse_all(&targets)?;
            store.remove_targets(&address, &targets).await?;
            Ok(Answer::done(format!("{address} is without them now")))
        }
        Request::GroupSet {
            group,
            members,
            senders,
        } => set_group(store, &group, &members, senders.as_deref()).await,
        Request::GroupRemove { group } => {
            let address = parse_address(&group)?;
            store.remove_group(&address).await?;
            Ok(Answer::done(format!("group {address} is removed")))
        }
        Request::GroupList => Ok(Answer::list(
            store.groups().await?.iter().map(rows::group).collect(),
        )),
        Request::AliasList => Ok(Answer::list(
            store.aliases().await?.iter().map(rows::alias).collect(),
        )),
        _ => Err(Failure::invalid("not about addresses")),
    }
}

async fn set_group(
    store: &Store,
    group: &str,
    members: &[String],
    senders: Option<&str>,
) -> Result<Answer, Failure> {
    let address = parse_address(group)?;
    let senders = match senders {
        None => None,
        Some("anyone") => Some(Senders::Anyone),
        Some("members") => Some(Senders::Members),
        Some("domain") => Some(Senders::Domain),
        Some(other) => return Err(Failure::invalid(format!("no kind of senders: {other}"))),
    };
    let members = parse_all(members)?;
    let set = store.set_group(&address, &members, senders).await;
    set.map_err(|error| match error {
        StoreError::NotFound("group") => Failure::not_found(format!(
            "there is no group {address}, and it gets no member"
        )),
        other => in_domain(other, &address.domain),
    })?;
    Ok(Answer::done(format!(
        "group {address} has {} more members",
        members.len()
    )))
}

/// Sets or takes away where the mail of a domain goes that nobody else takes.
pub(super) async fn catch_all(
    store: &Store,
    domain: &Domain,
    targets: &[String],
) -> Result<Answer, Failure> {
    let targets = parse_all(targets)?;
    let set = store.set_catch_all(domain, &targets).await;
    set.map_err(|error| match error {
        StoreError::NotFound("address") => {
            Failure::not_found(format!("the domain {domain} has no catch-all"))
        }
        other => in_domain(other, domain),
    })?;
    Ok(Answer::done(if targets.is_empty() {
        format!("mail to unknown users of {domain} is refused")
    } else {
        format!(
            "mail to unknown users of {domain} goes to {} addresses",
            targets.len()
        )
    }))
}

fn parse_all(texts: &[String]) -> Result<Vec<EmailAddress>, Failure> {
    texts.iter().map(|text| parse_address(text)).collect()
}
