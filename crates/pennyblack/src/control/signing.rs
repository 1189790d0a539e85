//! What an operator asks about the keys that sign as domains.

use base::Domain;
use base::ports::Clock as _;
use store::{DkimAlgorithm, Store, StoreError};
use transport::sign::make_keys;

use super::operate::{Answer, in_domain, parse_domain};
use super::{Failure, Request, rows};
use crate::outside::SystemClock;

/// Every kind of key.
pub(super) const ALL: [DkimAlgorithm; 2] = [DkimAlgorithm::Rsa, DkimAlgorithm::Ed25519];

/// Does what is asked.
///
/// # Errors
/// In words for the operator.
pub(super) async fn operate(store: &Store, request: Request) -> Result<Answer, Failure> {
    match request {
        Request::DkimList { domain } => {
            let domain = domain.as_deref().map(parse_domain).transpose()?;
            let keys = store.dkim_keys(domain.as_ref()).await?;
            Ok(Answer::list(keys.iter().map(rows::dkim_key).collect()))
        }
        Request::DkimMake {
            domain,
            algorithm,
            anew,
        } => make(store, &parse_domain(&domain)?, algorithm.as_deref(), anew).await,
        Request::DkimActivate { domain, selector } => {
            let domain = parse_domain(&domain)?;
            let activated = store.activate_dkim_key(&domain, &selector).await;
            activated.map_err(|error| match error {
                StoreError::NotFound(_) => Failure::not_found(format!(
                    "the domain {domain} has no announced key {selector}"
                )),
                other => other.into(),
            })?;
            Ok(Answer::done(format!(
                "{selector} signs for {domain} now; leave the record of the key before it in the DNS \
                 for a week"
            )))
        }
        Request::DkimRemove { domain, selector } => {
            let domain = parse_domain(&domain)?;
            store.remove_dkim_key(&domain, &selector).await?;
            Ok(Answer::done(format!(
                "the key {selector} of {domain} is gone; its record may go, too"
            )))
        }
        _ => Err(Failure::invalid("not about keys of domains")),
    }
}

/// Makes keys; gives the rows of those that were made.
async fn make(
    store: &Store,
    domain: &Domain,
    algorithm: Option<&str>,
    anew: bool,
) -> Result<Answer, Failure> {
    let algorithms = match algorithm {
        None => ALL.to_vec(),
        Some("rsa") => vec![DkimAlgorithm::Rsa],
        Some("ed25519") => vec![DkimAlgorithm::Ed25519],
        Some(other) => {
            return Err(Failure::invalid(format!(
                "{other} is no kind of key; rsa and ed25519 are"
            )));
        }
    };
    let made = make_keys(store, domain, &algorithms, anew, SystemClock.now()).await;
    let made = made.map_err(|error| in_domain(error, domain))?;
    let keys = store.dkim_keys(Some(domain)).await?;
    let new = keys.iter().filter(|key| made.contains(&key.selector));
    Ok(Answer {
        rows: new.map(rows::dkim_key).collect(),
        done: if made.is_empty() {
            format!(
                "the domain {domain} has its keys already; `pennyblack key rotate` makes new ones"
            )
        } else {
            format!("made {}", made.join(", "))
        },
    })
}
