//! Wake-ups: a change of an account, or of the queue, is told to whoever waits in this process.
//! Losing one costs only latency: every waiter also looks by itself from time to time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::AccountId;
use tokio::sync::{Notify, watch};

use crate::Store;

/// Tells that an account has changed.
pub struct AccountWatch {
    account: AccountId,
    receiver: watch::Receiver<u64>,
    watches: Arc<Watches>,
}

/// Tells that the queue has new work.
pub struct QueueSignal {
    receiver: watch::Receiver<u64>,
    /// Keeps the sender alive, so that waiting never ends early.
    _watches: Arc<Watches>,
}

/// All who wait. An account has an entry only while somebody watches it.
pub(crate) struct Watches {
    accounts: Mutex<BTreeMap<AccountId, watch::Sender<u64>>>,
    queue: watch::Sender<u64>,
    /// For the search index.
    pub(crate) touched: Arc<Touched>,
}

/// Accounts that have changed since somebody last took the list: at most all there are.
#[derive(Default)]
pub(crate) struct Touched {
    accounts: Mutex<BTreeSet<AccountId>>,
    pub(crate) any: Notify,
}

impl Touched {
    /// Notes an account.
    pub(crate) fn add(&self, account: AccountId) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.insert(account) {
            drop(accounts);
            self.any.notify_one();
        }
    }

    /// Takes the list.
    pub(crate) fn take(&self) -> BTreeSet<AccountId> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut accounts)
    }
}

impl Default for Watches {
    fn default() -> Self {
        Self {
            accounts: Mutex::default(),
            queue: watch::Sender::new(0),
            touched: Arc::default(),
        }
    }
}

impl Watches {
    /// Wakes those who watch an account.
    pub(crate) fn account_changed(&self, account: AccountId) {
        self.touched.add(account);
        if let Some(sender) = self.lock().get(&account) {
            sender.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Wakes those who watch the queue.
    pub(crate) fn queue_changed(&self) {
        self.queue
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AccountId, watch::Sender<u64>>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AccountWatch {
    /// Waits until the account has changed since the last call. Cancellation safe.
    pub async fn changed(&mut self) {
        // The sender lives as long as this watch, so that there is no error.
        let _ = self.receiver.changed().await;
    }
}

impl Drop for AccountWatch {
    fn drop(&mut self) {
        let mut accounts = self.watches.lock();
        // This receiver is still counted.
        if accounts
            .get(&self.account)
            .is_some_and(|sender| sender.receiver_count() <= 1)
        {
            accounts.remove(&self.account);
        }
    }
}

impl QueueSignal {
    /// Waits until the queue may have new work. Cancellation safe.
    pub async fn woken(&mut self) {
        // The sender lives as long as this signal, so that there is no error.
        let _ = self.receiver.changed().await;
    }
}

impl Store {
    /// Watches an account from now on.
    #[must_use]
    pub fn watch(&self, account: AccountId) -> AccountWatch {
        let watches = Arc::clone(&self.0.shared.watches);
        let receiver = watches
            .lock()
            .entry(account)
            .or_insert_with(|| watch::Sender::new(0))
            .subscribe();
        AccountWatch {
            account,
            receiver,
            watches,
        }
    }

    /// Watches the queue from now on.
    #[must_use]
    pub fn queue_signal(&self) -> QueueSignal {
        let watches = Arc::clone(&self.0.shared.watches);
        QueueSignal {
            receiver: watches.queue.subscribe(),
            _watches: watches,
        }
    }
}
