//! Wake-ups: a change of an account, or of the queue, is told to whoever waits in this process, and
//! through the bell to the other nodes. Losing one costs only latency: every waiter also looks by
//! itself from time to time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::{AccountId, Domain, Timestamp};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use crate::nodes::Told;
use crate::{Lane, Store};

/// Lanes whose changes are named; with more, only that there were some is told.
const LANES_NAMED_MAX: usize = 1_000;

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
    watches: Arc<Watches>,
}

/// What is known of the queue's changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct QueueNews {
    /// Destinations and lanes that have new work, or whose work was put earlier.
    pub lanes: BTreeSet<(Domain, Lane)>,
    /// Whether others have as well, which are not named.
    pub others: bool,
    /// Whether another node has changed something.
    pub elsewhere: bool,
    /// When the first of what was put off is due.
    pub next_at: Option<Timestamp>,
}

/// All who wait. An account has an entry only while somebody watches it.
pub(crate) struct Watches {
    accounts: Mutex<BTreeMap<AccountId, Watched>>,
    queue: watch::Sender<u64>,
    /// What has changed of it since somebody last took the news.
    news: Mutex<QueueNews>,
    /// Tells other nodes.
    pub bell: Bell,
    /// For the search index.
    pub(crate) touched: Arc<Touched>,
}

/// Accounts that have changed since somebody last took the list: at most all there are.
#[derive(Default)]
pub(crate) struct Touched {
    accounts: Mutex<BTreeSet<AccountId>>,
    pub(crate) any: Notify,
    /// Held for a batch, so that two who bring the index forward do not read the same letters.
    pub(crate) turn: tokio::sync::Mutex<()>,
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

/// An account that somebody watches.
struct Watched {
    sender: watch::Sender<u64>,
    /// Its modseq when it was last looked at; 0 before that.
    modseq: i64,
}

/// What other nodes are to be told. Off, it costs nothing: with the embedded engine, and while no
/// other node is there.
#[derive(Default)]
pub(crate) struct Bell {
    on: AtomicBool,
    told: Mutex<Told>,
    rung: Notify,
}

impl Bell {
    pub(crate) fn set_on(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// Notes what has changed.
    pub(crate) fn ring(&self, change: impl FnOnce(&mut Told)) {
        if self.on.load(Ordering::Relaxed) {
            change(&mut self.lock());
            self.rung.notify_one();
        }
    }

    /// Waits for something to tell, and takes it; not before a time, so that more is told at once.
    /// Cancellation safe.
    pub(crate) async fn rung(&self, not_before: Instant) -> Told {
        loop {
            sleep_until(not_before).await;
            let told = std::mem::take(&mut *self.lock());
            if !told.is_empty() {
                return told;
            }
            self.rung.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Watches {
    fn default() -> Self {
        Self {
            accounts: Mutex::default(),
            queue: watch::Sender::new(0),
            news: Mutex::default(),
            touched: Arc::default(),
            bell: Bell::default(),
        }
    }
}

impl Watches {
    /// Wakes those who watch an account, here and on other nodes.
    pub(crate) fn account_changed(&self, account: AccountId) {
        self.touched.add(account);
        if let Some(watched) = self.lock().get(&account) {
            watched.wake();
        }
        self.bell.ring(|told| told.add_account(account));
    }

    /// Wakes those who watch the queue, here and on other nodes: these lanes have work.
    pub(crate) fn queue_changed(&self, lanes: impl IntoIterator<Item = (Domain, Lane)>) {
        {
            let mut news = self.news();
            for lane in lanes {
                if news.lanes.len() >= LANES_NAMED_MAX {
                    news.others = true;
                    break;
                }
                news.lanes.insert(lane);
            }
        }
        self.wake_queue();
        self.bell.ring(|told| told.queue = true);
    }

    /// Wakes those who watch the queue here: something is due at this time.
    pub(crate) fn queue_later(&self, at: Timestamp) {
        {
            let mut news = self.news();
            news.next_at = Some(news.next_at.map_or(at, |known| known.min(at)));
        }
        self.wake_queue();
    }

    /// As [`Self::queue_changed`], of lanes that nobody can name.
    pub(crate) fn much_of_queue_changed(&self) {
        self.news().others = true;
        self.queue_changed([]);
    }

    /// Wakes those who watch the queue here, as another node may have changed it.
    pub(crate) fn queue_changed_elsewhere(&self) {
        self.news().elsewhere = true;
        self.wake_queue();
    }

    fn wake_queue(&self) {
        self.queue
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn news(&self) -> MutexGuard<'_, QueueNews> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those whom another node's message concerns.
    pub(crate) fn told(&self, told: &Told) {
        if told.queue {
            self.queue_changed_elsewhere();
        }
        let accounts = self.lock();
        if told.all_accounts {
            accounts.values().for_each(Watched::wake);
            return;
        }
        for account in &told.accounts {
            if let Some(watched) = accounts.get(account) {
                watched.wake();
            }
        }
    }

    /// The accounts that somebody watches here.
    pub(crate) fn watched(&self) -> Vec<i64> {
        self.lock().keys().map(|account| account.0).collect()
    }

    /// Takes note of an account's modseq; wakes those who watch it if it is another than before.
    pub(crate) fn looked(&self, account: AccountId, modseq: i64) {
        if let Some(watched) = self.lock().get_mut(&account)
            && watched.modseq != modseq
        {
            watched.modseq = modseq;
            watched.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AccountId, Watched>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    fn wake(&self) {
        self.sender
            .send_modify(|count| *count = count.wrapping_add(1));
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
            .is_some_and(|watched| watched.sender.receiver_count() <= 1)
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

    /// Takes what has changed since the last call.
    #[must_use]
    pub fn news(&self) -> QueueNews {
        std::mem::take(&mut *self.watches.news())
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
            .or_insert_with(|| Watched {
                sender: watch::Sender::new(0),
                modseq: 0,
            })
            .sender
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
            watches,
        }
    }
}
