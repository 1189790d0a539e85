//! Keys: made new, and those of a domain kept ready for use.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::Ed25519KeyPair;
use base::{Domain, Secret, Timestamp};
use mailauth::dkim::{Algorithm, SigningKey};
use store::{DkimAlgorithm, DkimKey, NewDkimKey, Store, StoreError};
use tracing::warn;

/// The bits of new RSA keys: RFC 8301 §3.2 asks for 2,048, and larger ones do not fit into the answers
/// that every resolver passes on.
pub const RSA_BITS: usize = 2_048;
/// How long keys are used without asking the store: so long a retired key may still sign.
const KEPT: Duration = Duration::from_secs(30);
/// Domains whose keys are kept ready.
const DOMAINS_KEPT: usize = 1_000;

/// The keys of domains, ready for use.
pub(super) struct Keys {
    store: Store,
    ready: Mutex<BTreeMap<Domain, Ready>>,
}

/// Keys, and when they were read.
type Ready = (Timestamp, Arc<Vec<SigningKey>>);

impl Keys {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            ready: Mutex::default(),
        }
    }

    /// The keys that sign as a domain; one that cannot be read is left out.
    pub(super) async fn of(
        &self,
        domain: &Domain,
        now: Timestamp,
    ) -> Result<Arc<Vec<SigningKey>>, StoreError> {
        if let Some(keys) = self.kept(domain, now) {
            return Ok(keys);
        }
        let stored = self.store.signing_keys(domain).await?;
        let keys = stored.iter().filter_map(|key| readable(domain, key));
        let keys = Arc::new(keys.collect::<Vec<_>>());
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.len() >= DOMAINS_KEPT {
            ready.clear();
        }
        ready.insert(domain.clone(), (now, Arc::clone(&keys)));
        Ok(keys)
    }

    fn kept(&self, domain: &Domain, now: Timestamp) -> Option<Arc<Vec<SigningKey>>> {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, keys) = ready.get(domain)?;
        // A clock that was set back makes them old, too.
        let is_fresh = now >= *since && now.since(*since) < KEPT;
        is_fresh.then(|| Arc::clone(keys))
    }
}

fn readable(domain: &Domain, key: &DkimKey) -> Option<SigningKey> {
    let algorithm = match key.algorithm {
        DkimAlgorithm::Rsa => Algorithm::RsaSha256,
        DkimAlgorithm::Ed25519 => Algorithm::Ed25519Sha256,
    };
    let pkcs8 = key.private_key.expose();
    let read = SigningKey::from_pkcs8(domain.clone(), &key.selector, algorithm, pkcs8);
    read.inspect_err(|error| warn!(%domain, selector = key.selector, %error, "a key is left out"))
        .ok()
}

/// A selector that tells when it was made and what it is for: `rsa-20261125`. `taken` are those that
/// the domain has; a second one of a day gets a letter.
#[must_use]
pub fn new_selector(algorithm: DkimAlgorithm, now: Timestamp, taken: &[String]) -> String {
    let kind = match algorithm {
        DkimAlgorithm::Rsa => "rsa",
        DkimAlgorithm::Ed25519 => "ed",
    };
    let date = now.civil();
    let first = format!("{kind}-{:04}{:02}{:02}", date.year, date.month, date.day);
    let mut candidates = std::iter::once(first.clone())
        .chain(('b'..='z').map(|letter| format!("{first}{letter}")))
        .chain((2..).map(|number| format!("{first}-{number}")));
    let free = candidates.find(|candidate| !taken.contains(candidate));
    free.unwrap_or(first)
}

/// Makes a key for each algorithm that a domain has none of, or of every algorithm given with
/// `anew`, and keeps them. Gives the selectors. Takes up to a second of a core for an RSA key.
///
/// # Errors
/// [`StoreError::NotFound`] for a domain that is not ours; [`StoreError::Invalid`] for too many keys.
pub async fn make_keys(
    store: &Store,
    domain: &Domain,
    algorithms: &[DkimAlgorithm],
    anew: bool,
    now: Timestamp,
) -> Result<Vec<String>, StoreError> {
    let known = store.dkim_keys(Some(domain)).await?;
    let mut taken: Vec<String> = known.iter().map(|key| key.selector.clone()).collect();
    let mut made = Vec::new();
    for algorithm in algorithms {
        let is_there = known.iter().any(|key| {
            key.algorithm == *algorithm && !matches!(key.state, store::DkimState::Retired(_))
        });
        if is_there && !anew {
            continue;
        }
        let selector = new_selector(*algorithm, now, &taken);
        taken.push(selector.clone());
        let (domain, algorithm) = (domain.clone(), *algorithm);
        let making = tokio::task::spawn_blocking(move || make(domain, selector, algorithm)).await;
        made.push(making.map_err(|_| StoreError::Closed)??);
    }
    let selectors = made.iter().map(|key| key.selector.clone()).collect();
    if !made.is_empty() {
        store.add_dkim_keys(made).await?;
    }
    Ok(selectors)
}

/// Makes a key. The library has its own randomness for that, the system's.
fn make(
    domain: Domain,
    selector: String,
    algorithm: DkimAlgorithm,
) -> Result<NewDkimKey, StoreError> {
    let failed = |_| StoreError::Bug("a DKIM key cannot be made".to_owned());
    let (pkcs8, kind) = match algorithm {
        DkimAlgorithm::Rsa => {
            let pair = rsa::KeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
            let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
            (Secret::new(pkcs8.as_ref()), Algorithm::RsaSha256)
        }
        DkimAlgorithm::Ed25519 => {
            let pair = Ed25519KeyPair::generate().map_err(failed)?;
            let pkcs8 = pair.to_pkcs8().map_err(failed)?;
            (Secret::new(pkcs8.as_ref()), Algorithm::Ed25519Sha256)
        }
    };
    let key = SigningKey::from_pkcs8(domain.clone(), &selector, kind, pkcs8.expose());
    let record = key.and_then(|key| key.record());
    Ok(NewDkimKey {
        domain,
        selector,
        algorithm,
        private_key: pkcs8,
        record: record.map_err(|error| StoreError::Invalid(error.to_string()))?,
    })
}
