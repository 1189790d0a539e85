//! What an operator asks about accounts beyond making them: their names, their end, what they take,
//! and their deleted mail.

use base::{EmailAddress, MessageId, Timestamp};
use serde_json::{Value, json};
use store::{AccountInfo, RemovedCursor, RemovedFilter, Store, StoreError};

use super::operate::{Answer, account_id, in_domain, parse_address};
use super::{Deleted, Failure, Request, rows};

/// Does what is asked.
///
/// # Errors
/// In words for the operator.
pub(super) async fn operate(store: &Store, request: Request) -> Result<Answer, Failure> {
    match request {
        Request::AccountRemove { address, now } => remove(store, &address, now).await,
        Request::AccountRestore { address } => {
            let id = account_id(store, &address).await?;
            store
                .restore_account(id)
                .await
                .map_err(|error| match error {
                    StoreError::NotFound(_) => {
                        Failure::invalid(format!("the account {address} was not removed"))
                    }
                    other => other.into(),
                })?;
            Ok(Answer::done(format!("account {address} is back")))
        }
        Request::AccountRename {
            address,
            new,
            keep_old,
        } => rename(store, &address, &parse_address(&new)?, keep_old).await,
        Request::AccountShow { address } => show(store, &address).await,
        Request::AccountUsage {
            address: Some(address),
            ..
        } => usage_of_one(store, &address).await,
        Request::AccountUsage {
            address: None,
            blobs,
        } => usage_of_all(store, blobs).await,
        Request::DeletedList {
            address,
            which,
            after,
        } => {
            let id = account_id(store, &address).await?;
            let after = after.map(|(removed_at, message)| RemovedCursor {
                removed_at: Timestamp(removed_at),
                message: MessageId(message),
            });
            let page = store.removed(id, &filter(which), after).await?;
            Ok(Answer::list(page.iter().map(rows::removed).collect()))
        }
        Request::DeletedRecover { address, which, to } => {
            let id = account_id(store, &address).await?;
            let count = store.recover(id, &filter(which), to.as_deref()).await?;
            some_of(count)?;
            Ok(Answer::done(format!("{count} messages are back")))
        }
        Request::DeletedPurge { address, which } => {
            let id = account_id(store, &address).await?;
            let count = store.forget_removed(id, &filter(which)).await?;
            some_of(count)?;
            Ok(Answer::done(format!("{count} messages are gone for good")))
        }
        _ => Err(Failure::invalid("not about accounts")),
    }
}

fn some_of(count: u64) -> Result<(), Failure> {
    if count == 0 {
        return Err(Failure::not_found("no deleted message matches"));
    }
    Ok(())
}

fn filter(which: Deleted) -> RemovedFilter {
    RemovedFilter {
        since: which.since_ms.map(Timestamp),
        until: None,
        mailbox: which.mailbox,
        messages: which.messages.into_iter().map(MessageId).collect(),
    }
}

async fn remove(store: &Store, address: &str, now: bool) -> Result<Answer, Failure> {
    let id = account_id(store, address).await?;
    if now || store.limits().retention.account.is_zero() {
        store.remove_account(id).await?;
        return Ok(Answer::done(format!(
            "account {address} is removed with its mail"
        )));
    }
    let at = store.schedule_removal(id).await?;
    Ok(Answer::done(format!(
        "account {address} is closed; it and its mail are removed at {at}; `pennyblack account \
         restore {address}` brings it back until then"
    )))
}

async fn rename(
    store: &Store,
    old: &str,
    new: &EmailAddress,
    keep_old: bool,
) -> Result<Answer, Failure> {
    let id = account_id(store, old).await?;
    store
        .rename_account(id, new, keep_old)
        .await
        .map_err(|error| in_domain(error, &new.domain))?;
    let kept = if keep_old {
        format!("; {old} is an alias now")
    } else {
        String::new()
    };
    Ok(Answer::done(format!("account {old} is {new} now{kept}")))
}

async fn show(store: &Store, address: &str) -> Result<Answer, Failure> {
    let id = account_id(store, address).await?;
    let info = store.account(id).await?;
    let key = info.address.key();
    let aliases = store.aliases().await?;
    let aliases: Vec<String> = aliases
        .iter()
        .filter(|alias| alias.targets.iter().any(|target| target.key() == key))
        .map(|alias| alias.address.to_string())
        .collect();
    let mut row = rows::account(&info);
    row["aliases"] = json!(aliases);
    row["created_at"] = json!(info.created_at.to_string());
    row["mailboxes"] = json!(store.mailboxes(id).await?.len());
    Ok(Answer::list(vec![row]))
}

/// The account, and then its mailboxes by what they take.
async fn usage_of_one(store: &Store, address: &str) -> Result<Answer, Failure> {
    let id = account_id(store, address).await?;
    let mut found = vec![rows::account(&store.account(id).await?)];
    let mut mailboxes = store.mailboxes(id).await?;
    mailboxes.sort_by(|a, b| (b.status.size, &a.name).cmp(&(a.status.size, &b.name)));
    found.extend(mailboxes.iter().map(rows::mailbox));
    Ok(Answer::list(found))
}

/// All accounts by what they take, and then a row for the whole store. All of it is counted when
/// mail changes, except for the bytes of letters.
async fn usage_of_all(store: &Store, blobs: bool) -> Result<Answer, Failure> {
    let mut accounts = store.accounts().await?;
    accounts.sort_by_key(|info| std::cmp::Reverse(info.used_bytes + info.removed_bytes));
    let sum = |of: fn(&AccountInfo) -> u64| accounts.iter().map(of).sum::<u64>();
    let mut whole = json!({
        "address": Value::Null,
        "accounts": accounts.len(),
        "messages": sum(|info| info.messages),
        "used_bytes": sum(|info| info.used_bytes),
        "removed_messages": sum(|info| info.removed_messages),
        "removed_bytes": sum(|info| info.removed_bytes),
        "database_bytes": store.database_bytes().await?,
    });
    if blobs {
        let usage = store.blob_usage().await?;
        whole["letters"] = json!(usage.blobs);
        whole["letter_bytes"] = json!(usage.bytes);
        whole["stored_bytes"] = json!(usage.stored_bytes);
    }
    let mut found: Vec<Value> = accounts.iter().map(rows::account).collect();
    found.push(whole);
    Ok(Answer::list(found))
}
