//! What an operator asks about as whom accounts may send.

use serde_json::{Value, json};
use store::{AuthorCheck, SendRight, Store, StoreError};

use super::operate::{Answer, account_id, parse_address, parse_domain};
use super::{CheckAuthors, Failure, Request, Right};

/// Does what is asked.
///
/// # Errors
/// In words for the operator.
pub(super) async fn operate(store: &Store, request: Request) -> Result<Answer, Failure> {
    match request {
        Request::SendRightAdd {
            address,
            right,
            outside,
        } => {
            let id = account_id(store, &address).await?;
            let what = words(&right);
            let right = parse(store, right).await?;
            need_ours(store, &right, outside).await?;
            let added = store.add_send_right(id, right).await;
            added.map_err(|error| match error {
                StoreError::Exists(_) => Failure {
                    kind: super::FailureKind::Exists,
                    text: format!("{address} may send {what} already"),
                },
                other => other.into(),
            })?;
            Ok(Answer::done(format!("{address} may send {what}")))
        }
        Request::SendRightRemove { address, right } => {
            let id = account_id(store, &address).await?;
            let what = words(&right);
            let right = parse(store, right).await?;
            let removed = store.remove_send_right(id, right).await;
            removed.map_err(|error| match error {
                StoreError::NotFound("right") => {
                    Failure::not_found(format!("{address} was not allowed to send {what}"))
                }
                other => other.into(),
            })?;
            Ok(Answer::done(format!(
                "{address} may not send {what} any more"
            )))
        }
        Request::SendRightList { address } => {
            let id = account_id(store, &address).await?;
            let mut found = Vec::new();
            for right in store.send_rights(id).await? {
                found.extend(row(store, &right));
            }
            Ok(Answer::list(found))
        }
        Request::DomainAuthorCheck { domain, check } => {
            let name = parse_domain(&domain)?;
            let (check, word) = match check {
                CheckAuthors::Always => (AuthorCheck::Always, "always"),
                CheckAuthors::NotResent => (AuthorCheck::NotResent, "but for letters sent again"),
                CheckAuthors::Never => (AuthorCheck::Never, "never"),
            };
            store.set_author_check(&name, check).await?;
            Ok(Answer::done(format!(
                "the authors of letters of {name}'s accounts are checked: {word}"
            )))
        }
        _ => Err(Failure::invalid("not about senders")),
    }
}

/// The word of a setting.
#[must_use]
pub(super) const fn check_word(check: AuthorCheck) -> &'static str {
    match check {
        AuthorCheck::Always => "always",
        AuthorCheck::NotResent => "not-resent",
        AuthorCheck::Never => "never",
    }
}

fn words(right: &Right) -> String {
    match right {
        Right::Address(address) => format!("as {address}"),
        Right::Domain(domain) => format!("as any address of {domain}"),
        Right::As(owner) => format!("as {owner}"),
        Right::OnBehalfOf(owner) => format!("on behalf of {owner}"),
    }
}

async fn parse(store: &Store, right: Right) -> Result<SendRight, Failure> {
    Ok(match right {
        Right::Address(address) => SendRight::Address(parse_address(&address)?),
        Right::Domain(domain) => SendRight::Domain(parse_domain(&domain)?),
        Right::As(owner) => SendRight::As(account_id(store, &owner).await?),
        Right::OnBehalfOf(owner) => SendRight::OnBehalfOf(account_id(store, &owner).await?),
    })
}

/// Mail in the name of a domain that is not ours is often a slip, and fails DMARC elsewhere.
async fn need_ours(store: &Store, right: &SendRight, outside: bool) -> Result<(), Failure> {
    let domain = match right {
        SendRight::Address(address) => &address.domain,
        SendRight::Domain(domain) => domain,
        SendRight::As(_) | SendRight::OnBehalfOf(_) => return Ok(()),
    };
    if outside || store.is_ours(domain).await? {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "the domain {domain} is not ours; `--outside` allows it all the same"
    )))
}

/// A right; none for one whose owner is gone.
fn row(store: &Store, right: &SendRight) -> Option<Value> {
    let (kind, what) = match right {
        SendRight::Address(address) => ("identity", address.to_string()),
        SendRight::Domain(domain) => ("domain", format!("*@{domain}")),
        SendRight::As(owner) => ("as", store.sender(*owner).ok()?.0.to_string()),
        SendRight::OnBehalfOf(owner) => ("on-behalf-of", store.sender(*owner).ok()?.0.to_string()),
    };
    Some(json!({ "kind": kind, "sends_as": what }))
}
