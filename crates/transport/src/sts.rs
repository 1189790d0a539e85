//! The policies of MTA-STS that other domains have (RFC 8461): found, fetched, kept and renewed.
//!
//! A policy that was fetched once holds for as long as it says, also when it cannot be fetched again
//! or its record is gone from the DNS: that is what a policy protects against (RFC 8461 §2).

mod own;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::ports::{Clock, DnsError, HttpFetch, HttpRequest, Resolver};
use base::{Domain, Timestamp};
use mailauth::sts;
pub use mailauth::sts::{Mode, PATH, Policy};
pub use own::OwnPolicy;
use store::{Store, StoreError, StsPolicy};
use tracing::{info, warn};

/// How long after a failure a policy is not fetched again (RFC 8461 §3.3 wants a limit).
const AFTER_FAILURE: Duration = Duration::from_secs(300);
/// Most domains whose failures are remembered.
const FAILURES_MAX: usize = 1_000;
/// How old a policy may become before it is fetched again, though its id has not changed.
const RENEWED_AFTER_MS: i64 = 86_400_000;
/// The most policies that are renewed in one round.
const RENEWED_MAX: usize = 1_000;
/// The port of HTTPS (RFC 8461 §3.3 names no other).
const HTTPS: u16 = 443;

/// Finds policies. Shared by all transfers of a node.
pub struct Policies {
    store: Store,
    resolver: Arc<dyn Resolver>,
    http: Arc<dyn HttpFetch>,
    clock: Arc<dyn Clock>,
    failed: Mutex<BTreeMap<Domain, Timestamp>>,
}

/// A policy in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What it says.
    pub policy: Policy,
    /// The same as it was fetched.
    pub body: String,
}

impl Policies {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(
        store: Store,
        resolver: Arc<dyn Resolver>,
        http: Arc<dyn HttpFetch>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            store,
            resolver,
            http,
            clock,
            failed: Mutex::default(),
        }
    }

    /// The policy of a domain that is in force now; `None` when it has none, or none could ever be
    /// fetched (RFC 8461 §5: mail goes on as if it had none).
    pub async fn of(&self, domain: &Domain) -> Option<Arc<Applied>> {
        let now = self.clock.now();
        let known = match self.store.sts_policy(domain).await {
            Ok(known) => known.filter(|known| known.expires_at > now),
            Err(error) => {
                warn!(%domain, %error, "the policies that are kept cannot be read");
                None
            }
        };
        let id = self.published(domain).await;
        let fresh = match (&known, id) {
            (Some(known), Some(id)) if known.id == id => None,
            (_, Some(id)) => self.fetch_and_keep(domain, &id, now).await,
            // RFC 8461 §3.1: a record that is gone takes nothing away from a policy that is kept.
            (_, None) => None,
        };
        fresh.or(known).and_then(applied)
    }

    /// The id of the policy that the domain says it has (RFC 8461 §3.1).
    async fn published(&self, domain: &Domain) -> Option<String> {
        let name = Domain::parse(&format!("_mta-sts.{domain}")).ok()?;
        match self.resolver.txt(&name).await {
            Ok(texts) => {
                let texts: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
                sts::policy_id(&texts)
            }
            Err(DnsError::NoRecords | DnsError::NoName | DnsError::Temporary(_)) => None,
        }
    }

    async fn fetch_and_keep(&self, domain: &Domain, id: &str, now: Timestamp) -> Option<StsPolicy> {
        if self.has_failed(domain, now) {
            return None;
        }
        match self.fetch(domain, id, now).await {
            Ok(policy) => {
                info!(%domain, id, "the MTA-STS policy was fetched");
                if let Err(error) = self.store.keep_sts_policy(policy.clone()).await {
                    warn!(%domain, %error, "the MTA-STS policy was not kept");
                }
                Some(policy)
            }
            Err(why) => {
                info!(%domain, why, "the MTA-STS policy cannot be fetched");
                self.remember_failure(domain, now);
                None
            }
        }
    }

    /// RFC 8461 §3.3.
    async fn fetch(&self, domain: &Domain, id: &str, now: Timestamp) -> Result<StsPolicy, String> {
        let host =
            Domain::parse(&format!("mta-sts.{domain}")).map_err(|error| error.to_string())?;
        let request = HttpRequest {
            host: &host,
            port: HTTPS,
            path: PATH,
            post: None,
            body_bytes_max: sts::POLICY_BYTES_MAX,
        };
        let reply = self.http.fetch(request).await;
        let reply = reply.map_err(|error| format!("{host}: {error}"))?;
        // §3.3: redirections are not followed, and anything but 200 is a failure.
        if reply.status != 200 {
            return Err(format!("{host} answered {}", reply.status));
        }
        let media_type = reply.content_type.as_deref().unwrap_or("");
        let media_type = media_type.split(';').next().unwrap_or("").trim();
        if !media_type.eq_ignore_ascii_case("text/plain") {
            return Err(format!("{host}: the policy is not text/plain"));
        }
        let policy = Policy::parse(&reply.body).map_err(|error| format!("{host}: {error}"))?;
        Ok(StsPolicy {
            domain: domain.clone(),
            id: id.to_owned(),
            body: String::from_utf8_lossy(&reply.body).into_owned(),
            fetched_at: now,
            expires_at: now + Duration::from_secs(policy.age_s_max),
        })
    }

    /// Fetches again what is a day old, and forgets what is over; how many were fetched. For a job
    /// that runs from time to time, so that a policy is renewed before its time is over
    /// (RFC 8461 §3.3).
    ///
    /// # Errors
    /// Those of the store.
    pub async fn renew(&self) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let before = Timestamp(now.millis() - RENEWED_AFTER_MS);
        let old = self.store.sts_policies_fetched_before(before, RENEWED_MAX);
        let mut renewed = 0;
        for policy in old.await? {
            let id = self.published(&policy.domain).await;
            let id = id.unwrap_or_else(|| policy.id.clone());
            if self
                .fetch_and_keep(&policy.domain, &id, now)
                .await
                .is_some()
            {
                renewed += 1;
            }
        }
        self.store.remove_expired_sts_policies(now).await?;
        Ok(renewed)
    }

    fn has_failed(&self, domain: &Domain, now: Timestamp) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed
            .get(domain)
            .is_some_and(|at| now >= *at && now.since(*at) < AFTER_FAILURE)
    }

    fn remember_failure(&self, domain: &Domain, now: Timestamp) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() >= FAILURES_MAX {
            failed.retain(|_, at| now >= *at && now.since(*at) < AFTER_FAILURE);
            if failed.len() >= FAILURES_MAX {
                failed.pop_first();
            }
        }
        failed.insert(domain.clone(), now);
    }
}

fn applied(kept: StsPolicy) -> Option<Arc<Applied>> {
    let policy = Policy::parse(kept.body.as_bytes()).ok()?;
    (policy.mode != Mode::None).then(|| {
        Arc::new(Applied {
            policy,
            body: kept.body,
        })
    })
}

#[cfg(test)]
mod tests;
