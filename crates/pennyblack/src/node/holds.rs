//! Administrators are told of accounts that are held for sending too much, while a node runs.

use std::sync::Arc;
use std::time::Duration;

use base::ports::Clock as _;
use store::Store;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::outside::{OsEntropy, SystemClock};
use crate::settings::Settings;

/// How often it is looked; the look is into memory only.
const SPAN: Duration = Duration::from_secs(5);

/// Tells until the node stops. Several nodes may do it at once.
pub(super) async fn tell(store: Store, settings: Arc<Settings>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(SPAN) => {}
        }
        let now = SystemClock.now();
        let told = transport::brake::tell_of_held(&store, &settings.hostname, &OsEntropy, now);
        if let Err(error) = told.await {
            warn!(%error, "the administrators cannot be told of an account that is held");
        }
    }
}
