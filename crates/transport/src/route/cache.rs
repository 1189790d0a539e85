//! Routes just found, kept for a short time, so that a burst of letters asks the DNS once. The
//! resolver keeps the records by their own TTL; this saves the work of putting a route together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{Domain, Timestamp};

use super::Route;
use crate::queue::failure::Failure;

/// How long a route is kept: short, because the records' own TTL is not known here.
const KEPT: Duration = Duration::from_secs(60);
/// How long a failure is kept.
const FAILURE_KEPT: Duration = Duration::from_secs(5);
/// Most routes kept.
pub(super) const ROUTES_MAX: usize = 2_000;

type Found = Result<Arc<Route>, Failure>;

#[derive(Default)]
pub(super) struct Cache(Mutex<BTreeMap<Domain, (Timestamp, Found)>>);

impl Cache {
    pub(super) fn find(&self, now: Timestamp, domain: &Domain) -> Option<Found> {
        let routes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept_at, found) = routes.get(domain)?;
        let kept = if found.is_ok() { KEPT } else { FAILURE_KEPT };
        // A clock that was set back makes an entry look new for ever: it counts as old.
        (now >= *kept_at && now.since(*kept_at) < kept).then(|| found.clone())
    }

    pub(super) fn keep(&self, now: Timestamp, domain: &Domain, found: &Found) {
        let mut routes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if routes.len() >= ROUTES_MAX && !routes.contains_key(domain) {
            routes.retain(|_, (kept_at, _)| now >= *kept_at && now.since(*kept_at) < KEPT);
            if routes.len() >= ROUTES_MAX {
                routes.pop_first();
            }
        }
        routes.insert(domain.clone(), (now, found.clone()));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
