//! What an operator asks about addresses elsewhere that are not tried.

use std::time::Duration;

use base::ports::Clock as _;
use store::{NewSuppression, Store, SuppressionFilter};

use super::operate::{Answer, parse_address, parse_domain};
use super::{Failure, Request, rows};
use crate::outside::SystemClock;

/// Does what is asked.
///
/// # Errors
/// In words for the operator.
pub(super) async fn operate(store: &Store, request: Request) -> Result<Answer, Failure> {
    match request {
        Request::SuppressionList {
            address,
            sender_domain,
            limit,
        } => {
            let filter = SuppressionFilter {
                address: address.as_deref().map(parse_address).transpose()?,
                sender_domain: sender_domain.as_deref().map(parse_domain).transpose()?,
                limit,
            };
            let found = store.suppressions(&filter).await?;
            Ok(Answer::list(found.iter().map(rows::suppression).collect()))
        }
        Request::SuppressionAdd {
            address,
            sender_domain,
            reason,
            for_ms,
        } => {
            let new = NewSuppression {
                address: parse_address(&address)?,
                sender_domain: sender_domain.as_deref().map(parse_domain).transpose()?,
                reason,
                until: for_ms.map(|ms| SystemClock.now() + Duration::from_millis(ms)),
            };
            store.suppress(new).await?;
            Ok(Answer::done(format!("letters to {address} are not tried")))
        }
        Request::SuppressionRemove {
            address,
            sender_domain,
        } => {
            let parsed = parse_address(&address)?;
            let domain = sender_domain.as_deref().map(parse_domain).transpose()?;
            if store.unsuppress(&parsed, domain.as_ref()).await? == 0 {
                return Err(Failure::not_found(format!(
                    "nothing is known against {address}"
                )));
            }
            Ok(Answer::done(format!(
                "letters to {address} are tried again, and its failures are forgotten"
            )))
        }
        _ => Err(Failure::invalid("not about suppressed addresses")),
    }
}
