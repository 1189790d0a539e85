//! What an operator asks about how much accounts send.

use serde_json::json;
use store::{SendLimits, Store, StoreError};

use super::operate::{Answer, account_id, parse_domain};
use super::{Failure, Limit, Limits, Request};

/// Does what is asked.
///
/// # Errors
/// In words for the operator.
pub(super) async fn operate(store: &Store, request: Request) -> Result<Answer, Failure> {
    match request {
        Request::AccountSending { address } => sending(store, &address).await,
        Request::AccountLimit { address, limits } => {
            let id = account_id(store, &address).await?;
            let new = changed(store.sent(id).await?.limits, limits);
            store.set_account_send_limits(id, new).await?;
            Ok(Answer::done(format!(
                "{address} has new limits: {}",
                words(new)
            )))
        }
        Request::DomainLimit { domain, limits } => {
            let name = parse_domain(&domain)?;
            let domains = store.domains().await?;
            let info = domains.into_iter().find(|info| info.domain == name);
            let info = info.ok_or_else(|| Failure::not_found(format!("{name} is not ours")))?;
            let new = changed(info.send_limits, limits);
            store.set_domain_send_limits(&name, new).await?;
            Ok(Answer::done(format!(
                "all accounts of {name} together have new limits: {}",
                words(new)
            )))
        }
        Request::AccountRelease { address, drop } => {
            let id = account_id(store, &address).await?;
            let count = store
                .release_sender(id, drop)
                .await
                .map_err(|error| match error {
                    StoreError::NotFound("hold") => {
                        Failure::not_found(format!("the account {address} is not held"))
                    }
                    other => other.into(),
                })?;
            let what = if drop { "dropped" } else { "released" };
            Ok(Answer::done(format!(
                "the account {address} is not held any more; {count} recipients {what}"
            )))
        }
        _ => Err(Failure::invalid("not about sending")),
    }
}

async fn sending(store: &Store, address: &str) -> Result<Answer, Failure> {
    let id = account_id(store, address).await?;
    let sent = store.sent(id).await?;
    let held = sent.held.as_ref();
    Ok(Answer::list(vec![json!({
        "address": address,
        "letters_this_hour": sent.hour.0,
        "recipients_this_hour": sent.hour.1,
        "letters_in_a_day": sent.day.0,
        "recipients_in_a_day": sent.day.1,
        "failed_in_a_day": sent.refused,
        "held_since": held.map(|(at, _)| at.to_string()),
        "held_why": held.map(|(_, why)| why),
        "limits": words(sent.limits),
    })]))
}

fn changed(old: SendLimits, new: Limits) -> SendLimits {
    let change = |old: Option<u32>, new: Option<Limit>| match new {
        None => old,
        Some(Limit::Usual) => None,
        Some(Limit::None) => Some(0),
        Some(Limit::AtMost(most)) => Some(most),
    };
    SendLimits {
        letters_per_hour: change(old.letters_per_hour, new.letters_per_hour),
        letters_per_day: change(old.letters_per_day, new.letters_per_day),
        recipients_per_hour: change(old.recipients_per_hour, new.recipients_per_hour),
        recipients_per_day: change(old.recipients_per_day, new.recipients_per_day),
    }
}

fn words(limits: SendLimits) -> String {
    let word = |name: &str, limit: Option<u32>| match limit {
        None => None,
        Some(0) => Some(format!("{name} without limit")),
        Some(most) => Some(format!("{name} {most}")),
    };
    let found: Vec<String> = [
        word("letters per hour", limits.letters_per_hour),
        word("letters per day", limits.letters_per_day),
        word("recipients per hour", limits.recipients_per_hour),
        word("recipients per day", limits.recipients_per_day),
    ]
    .into_iter()
    .flatten()
    .collect();
    match found.is_empty() {
        true => "as usual".to_owned(),
        false => found.join(", "),
    }
}
