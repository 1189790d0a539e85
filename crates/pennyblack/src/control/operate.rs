//! Does what a [`Request`] asks, with the store's verbs.

use base::ports::Clock as _;
use base::{AccountId, Domain, EmailAddress, LetterId, Secret};
use serde_json::Value;
use store::{NewAccount, QueueFilter, QuotaChange, Store, StoreError};

use super::{
    Failure, Filter, QueueAct, Quota, Request, addresses, blobs, lists, passwords, people,
    reporting, rows, senders, sending, signing, suppression,
};
use crate::outside::SystemClock;

/// What a request gave: rows, and an end in words.
#[derive(Debug, Default)]
pub struct Answer {
    /// The rows of a list.
    pub rows: Vec<Value>,
    /// What was done, in words; empty for lists.
    pub done: String,
}

impl Answer {
    pub(super) fn list(rows: Vec<Value>) -> Self {
        Self {
            rows,
            done: String::new(),
        }
    }

    pub(super) fn done(text: impl Into<String>) -> Self {
        Self {
            rows: Vec::new(),
            done: text.into(),
        }
    }
}

/// Most letters of one Message-ID whose journeys are shown.
const TRACED_LETTERS_MAX: usize = 20;

/// Does what is asked.
///
/// # Errors
/// In words for the operator.
#[expect(clippy::too_many_lines, reason = "a table: an arm for each request")]
pub async fn operate(store: &Store, request: Request) -> Result<Answer, Failure> {
    match request {
        Request::DomainAdd { .. }
        | Request::DomainRemove { .. }
        | Request::DomainCatchAll { .. }
        | Request::DomainList => domains(store, request).await,
        Request::DkimList { .. }
        | Request::DkimMake { .. }
        | Request::DkimActivate { .. }
        | Request::DkimRemove { .. } => signing::operate(store, request).await,
        Request::AccountAdd { .. } | Request::AccountList => accounts(store, request).await,
        Request::AccountRemove { .. }
        | Request::AccountRestore { .. }
        | Request::AccountRename { .. }
        | Request::AccountShow { .. }
        | Request::AccountUsage { .. }
        | Request::DeletedList { .. }
        | Request::DeletedRecover { .. }
        | Request::DeletedPurge { .. } => people::operate(store, request).await,
        Request::AccountPassword { .. }
        | Request::AccountEnable { .. }
        | Request::AccountQuota { .. } => change_account(store, request).await,
        Request::BrakeList => Ok(Answer::default()),
        Request::BrakeLift { .. } => Err(Failure::not_found(
            "no node runs here, so that nobody is kept out",
        )),
        Request::AccountSending { .. }
        | Request::AccountLimit { .. }
        | Request::DomainLimit { .. }
        | Request::AccountRelease { .. } => sending::operate(store, request).await,
        Request::AppPasswordAdd { .. }
        | Request::AppPasswordList { .. }
        | Request::AppPasswordRemove { .. }
        | Request::AppPasswordOnly { .. } => passwords::operate(store, request).await,
        Request::SendRightAdd { .. }
        | Request::SendRightRemove { .. }
        | Request::SendRightList { .. }
        | Request::DomainAuthorCheck { .. } => senders::operate(store, request).await,
        Request::AliasAdd { .. }
        | Request::AliasRemove { .. }
        | Request::AliasList
        | Request::TargetsRemove { .. }
        | Request::GroupSet { .. }
        | Request::GroupRemove { .. }
        | Request::GroupList => addresses::operate(store, request).await,
        Request::ListAdd { .. }
        | Request::ListSet { .. }
        | Request::ListRemove { .. }
        | Request::ListShow { .. }
        | Request::ListMembers { .. }
        | Request::ListSubscribe { .. }
        | Request::ListUnsubscribe { .. }
        | Request::ListMember { .. }
        | Request::ListHeld { .. }
        | Request::ListDecide { .. } => lists::operate(store, request).await,
        Request::QueueList { filter } => {
            let entries = store.queue_list(&queue_filter(&filter)?).await?;
            Ok(Answer::list(entries.iter().map(rows::queued).collect()))
        }
        Request::QueueTrace { letter } => trace(store, &letter).await,
        Request::QueueAct { act, filter } => queue_act(store, act, &queue_filter(&filter)?).await,
        Request::SuppressionList { .. }
        | Request::SuppressionAdd { .. }
        | Request::SuppressionRemove { .. } => suppression::operate(store, request).await,
        Request::MoveBlobs { progress } => blobs::go_on(store, progress).await,
        Request::KeyRotate { drop_old } => {
            let id = store.rotate_key(drop_old).await?;
            Ok(Answer::done(format!(
                "the secrets are sealed with the new key {id}; copy the key file to the other nodes \
                 of this store and to a safe place"
            )))
        }
        Request::Reindex { account } => reindex(store, account.as_deref()).await,
        Request::Reports(request) => reporting::operate(store, request).await,
        Request::AlertList => reporting::alerts(store).await,
        // These have a wire of their own.
        Request::Import(_)
        | Request::Export(_)
        | Request::Verify { .. }
        | Request::Backup { .. } => Err(Failure::invalid("not a short request")),
    }
}

/// A new password, a new quota, and whether the account may be used.
async fn change_account(store: &Store, request: Request) -> Result<Answer, Failure> {
    match request {
        Request::AccountPassword { address, password } => {
            let id = account_id(store, &address).await?;
            store.set_password(id, &Secret::new(password)).await?;
            Ok(Answer::done(format!(
                "account {address} has a new password"
            )))
        }
        Request::AccountEnable { address, enabled } => {
            let id = account_id(store, &address).await?;
            store.set_enabled(id, enabled).await?;
            let word = if enabled { "enabled" } else { "disabled" };
            Ok(Answer::done(format!("account {address} is {word}")))
        }
        Request::AccountQuota {
            address,
            quota_bytes,
            quota_messages,
        } => {
            let id = account_id(store, &address).await?;
            let (bytes, messages) = (change(quota_bytes), change(quota_messages));
            store.set_quota(id, bytes, messages).await?;
            Ok(Answer::done(format!("account {address} has a new quota")))
        }
        _ => Err(Failure::invalid("no change of an account")),
    }
}

async fn reindex(store: &Store, account: Option<&str>) -> Result<Answer, Failure> {
    let ids = match account {
        Some(address) => vec![account_id(store, address).await?],
        None => {
            let all = store.accounts().await?;
            all.into_iter().map(|account| account.id).collect()
        }
    };
    for id in &ids {
        store.rebuild_search(*id).await?;
    }
    store.index_now().await?;
    Ok(Answer::done(format!(
        "the search index of {} accounts is made anew",
        ids.len()
    )))
}

async fn domains(store: &Store, request: Request) -> Result<Answer, Failure> {
    match request {
        Request::DomainAdd { domain } => {
            let domain = parse_domain(&domain)?;
            store.add_domain(&domain).await?;
            // A node that runs would make them too, a little later.
            let now = SystemClock.now();
            transport::sign::make_keys(store, &domain, &signing::ALL, false, now).await?;
            Ok(Answer::done(format!(
                "domain {domain} is ours; `pennyblack dns check {domain}` tells which DNS records it \
                 needs"
            )))
        }
        Request::DomainRemove { domain } => {
            let domain = parse_domain(&domain)?;
            store.remove_domain(&domain).await?;
            Ok(Answer::done(format!(
                "domain {domain} is not ours any more"
            )))
        }
        Request::DomainCatchAll { domain, targets } => {
            addresses::catch_all(store, &parse_domain(&domain)?, &targets).await
        }
        _ => {
            let aliases = store.aliases().await?;
            let domains = store.domains().await?;
            let row = |info| rows::domain(info, &aliases);
            Ok(Answer::list(domains.iter().map(row).collect()))
        }
    }
}

async fn accounts(store: &Store, request: Request) -> Result<Answer, Failure> {
    let Request::AccountAdd {
        address,
        name,
        admin,
        quota_bytes,
        quota_messages,
        password,
    } = request
    else {
        return Ok(Answer::list(
            store.accounts().await?.iter().map(rows::account).collect(),
        ));
    };
    let address = parse_address(&address)?;
    let limits = store.limits();
    let new = NewAccount {
        address: address.clone(),
        name,
        password: password.map(Secret::new),
        quota_bytes: quota_of_new(quota_bytes, limits.new_account_quota_bytes),
        quota_messages: quota_of_new(quota_messages, limits.new_account_quota_messages),
        admin,
    };
    let domain = &address.domain;
    store
        .add_account(new)
        .await
        .map_err(|error| in_domain(error, domain))?;
    Ok(Answer::done(format!("account {address} is made")))
}

/// A quota as the store changes it.
const fn change(quota: Quota) -> QuotaChange {
    match quota {
        Quota::Keep => QuotaChange::Keep,
        Quota::Lift => QuotaChange::Lift,
        Quota::AtMost(most) => QuotaChange::AtMost(most),
    }
}

/// The quota of a new account; 0 in the settings is no limit.
fn quota_of_new(quota: Quota, usual: u64) -> Option<u64> {
    match quota {
        Quota::Keep => Some(usual).filter(|usual| *usual > 0),
        Quota::Lift => None,
        Quota::AtMost(most) => Some(most),
    }
}

/// Says which domain is missing for a new address, and what to do.
pub(super) fn in_domain(error: StoreError, domain: &Domain) -> Failure {
    match error {
        StoreError::NotFound("domain") => Failure::not_found(format!(
            "the domain {domain} is not ours; `pennyblack domain add {domain}` makes it so"
        )),
        other => other.into(),
    }
}

async fn trace(store: &Store, named: &str) -> Result<Answer, Failure> {
    let letters = match named.parse::<i64>() {
        Ok(id) => vec![LetterId(id)],
        Err(_) => {
            let message_id = named.trim_start_matches('<').trim_end_matches('>');
            store
                .letters_by_message_id(message_id, TRACED_LETTERS_MAX)
                .await?
        }
    };
    let mut steps = Vec::new();
    for letter in letters {
        steps.extend(store.journey(letter).await?.iter().map(rows::step));
    }
    if steps.is_empty() {
        return Err(Failure::not_found(format!(
            "nothing is known of the letter {named}"
        )));
    }
    Ok(Answer::list(steps))
}

async fn queue_act(store: &Store, act: QueueAct, filter: &QueueFilter) -> Result<Answer, Failure> {
    let (count, word) = match act {
        QueueAct::Retry => (store.queue_retry(filter).await?, "due now"),
        QueueAct::Hold => (store.queue_hold(filter).await?, "held"),
        QueueAct::Release => (store.queue_release(filter).await?, "released"),
        QueueAct::Expedite => {
            store.queue_release(filter).await?;
            (store.queue_retry(filter).await?, "released and due now")
        }
        QueueAct::Drop => (store.queue_drop(filter).await?, "dropped"),
    };
    if count == 0 {
        return Err(Failure::not_found("no recipient in the queue matches"));
    }
    Ok(Answer::done(format!("{count} recipients {word}")))
}

pub(crate) async fn account_id(store: &Store, address: &str) -> Result<AccountId, Failure> {
    let parsed = parse_address(address)?;
    store
        .account_by_address(&parsed)
        .await?
        .ok_or_else(|| Failure::not_found(format!("there is no account {address}")))
}

pub(super) fn parse_address(text: &str) -> Result<EmailAddress, Failure> {
    EmailAddress::parse(text).map_err(|error| Failure::invalid(format!("{text}: {error}")))
}

pub(super) fn parse_domain(text: &str) -> Result<Domain, Failure> {
    Domain::parse(text)
        .ok()
        .filter(|domain| domain.literal().is_none())
        .ok_or_else(|| Failure::invalid(format!("{text} is not a domain name")))
}

fn queue_filter(filter: &Filter) -> Result<QueueFilter, Failure> {
    Ok(QueueFilter {
        letter: filter.letter.map(LetterId),
        domain: filter.domain.as_deref().map(parse_domain).transpose()?,
        limit: filter.limit,
    })
}
