//! The keys that sign as our domains, tended while a node runs.

use std::sync::Arc;
use std::time::Duration;

use base::ports::{Clock as _, Resolver};
use store::Store;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::outside::SystemClock;

/// How often the keys are looked at: an announced key signs so long after its record is published.
const SPAN: Duration = Duration::from_secs(15 * 60);

/// Tends the keys at the start, and from time to time until the node stops. Several nodes may do it
/// at once.
pub(super) async fn tend(store: Store, resolver: Arc<dyn Resolver>, shutdown: CancellationToken) {
    loop {
        let tending = transport::sign::tend(&store, resolver.as_ref(), SystemClock.now());
        let tended = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            tended = tending => tended,
        };
        if let Err(error) = tended {
            warn!(%error, "the keys of our domains cannot be tended");
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(SPAN) => {}
        }
    }
}
