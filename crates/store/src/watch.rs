//! Wake-ups: a change of an account, or of the queue, is told to whoever waits in this process.
//! Losing one costs only latency: every waiter also looks by itself from time to time.

use base::AccountId;

use crate::Store;

/// Tells that an account has changed.
pub struct AccountWatch {}

impl AccountWatch {
    /// Waits until the account has changed since the last call. Cancellation safe.
    pub async fn changed(&mut self) {
        todo!()
    }
}

/// Tells that the queue has new work.
pub struct QueueSignal {}

impl QueueSignal {
    /// Waits until the queue may have new work. Cancellation safe.
    pub async fn woken(&mut self) {
        todo!()
    }
}

impl Store {
    /// Watches an account from now on.
    #[must_use]
    pub fn watch(&self, account: AccountId) -> AccountWatch {
        todo!()
    }

    /// Watches the queue from now on.
    #[must_use]
    pub fn queue_signal(&self) -> QueueSignal {
        todo!()
    }
}
