//! Tending keys: every domain has some, an announced one signs once its record is in the DNS, and a
//! retired one goes after a grace.

use std::time::Duration;

use base::ports::{DnsError, Resolver};
use base::{Domain, Timestamp};
use mailauth::dkim::is_record_of;
use store::{DkimAlgorithm, DkimKeyInfo, DkimState, Store, StoreError};
use tracing::info;

use super::keys::make_keys;

/// How long a retired key is kept, so that its record stays in the DNS: letters are verified when
/// they arrive, and queues keep them five days.
pub const GRACE: Duration = Duration::from_secs(7 * 86_400);

/// What the DNS says about a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Published {
    /// Its record is there.
    Yes,
    /// Another record is there.
    Other(String),
    /// No record is there.
    No,
    /// The DNS did not answer.
    Unknown(String),
}

/// The name of a key's record (RFC 6376 §3.6.2.1).
#[must_use]
pub fn record_name(key: &DkimKeyInfo) -> String {
    format!("{}._domainkey.{}", key.selector, key.domain)
}

/// Looks a key's record up, by its name.
pub async fn is_published(resolver: &dyn Resolver, name: &str, record: &str) -> Published {
    let Ok(name) = Domain::parse(name) else {
        return Published::No;
    };
    match resolver.txt(&name).await {
        Ok(texts) => {
            if texts
                .iter()
                .any(|text| is_record_of(text.as_bytes(), record))
            {
                return Published::Yes;
            }
            texts
                .into_iter()
                .next()
                .map_or(Published::No, Published::Other)
        }
        Err(DnsError::NoName | DnsError::NoRecords) => Published::No,
        Err(DnsError::Temporary(why)) => Published::Unknown(why),
    }
}

/// Does what is due for all keys. Safe to do on several nodes at once.
///
/// # Errors
/// Those of the store.
pub async fn tend(
    store: &Store,
    resolver: &dyn Resolver,
    now: Timestamp,
) -> Result<(), StoreError> {
    for domain in store.domains().await? {
        let both = [DkimAlgorithm::Rsa, DkimAlgorithm::Ed25519];
        let made = make_keys(store, &domain.domain, &both, false, now).await;
        match made {
            Ok(made) if made.is_empty() => {}
            Ok(made) => info!(domain = %domain.domain, selectors = made.join(", "),
                "the domain signs with new keys; `pennyblack key records` prints what the DNS needs"),
            // It was removed meanwhile.
            Err(StoreError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    for key in store.dkim_keys(None).await? {
        let name = record_name(&key);
        if key.state == DkimState::Announced
            && is_published(resolver, &name, &key.record).await == Published::Yes
        {
            match store.activate_dkim_key(&key.domain, &key.selector).await {
                Ok(()) => {
                    info!(domain = %key.domain, selector = key.selector, "an announced key signs now");
                }
                Err(StoreError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    store.remove_retired_dkim_keys(now - GRACE).await?;
    Ok(())
}
