//! Work that would keep a task's thread from other tasks: on a thread beside the runtime, or at
//! once where the store is simulated and nothing may run beside the one thread.

use crate::StoreError;

/// Where such work is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Aside {
    /// On the runtime's threads for blocking work.
    Threads,
    /// Where it is asked for.
    Inline,
}

impl Aside {
    /// Does the work; `what` names it in the error if it panics.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        what: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        match self {
            Self::Inline => Ok(work()),
            Self::Threads => tokio::task::spawn_blocking(work)
                .await
                .map_err(|error| StoreError::Bug(format!("{what} failed: {error}"))),
        }
    }
}
