//! What verbs and transaction bodies share: ids, the time, the directory in memory, who waits.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use base::ports::Clock;
use base::{AccountId, LetterId, Timestamp};

use crate::confirmed::Confirmed;
use crate::copies::Used;
use crate::directory::Directory;
use crate::ids::IdSource;
use crate::metrics::StoreMetrics;
use crate::nodes::Nodes;
use crate::suppression::Believed;
use crate::watch::Watches;

/// Shared by the store and every body that waits or runs.
pub(crate) struct Shared {
    pub ids: IdSource,
    pub clock: Arc<dyn Clock>,
    pub watches: Arc<Watches>,
    pub metrics: Arc<StoreMetrics>,
    /// This node's name and this start of it, for queue claims.
    pub node: String,
    pub incarnation: i64,
    /// The other nodes.
    pub nodes: Nodes,
    /// Held while the directory's changes are read and taken over, so that they are in order.
    pub catching_up: tokio::sync::Mutex<()>,
    /// Changed only after the commit that changed its rows, on the writer's thread and so in order.
    directory: RwLock<Directory>,
    /// Deliveries whose connections are alive; see [`crate::deliver::Unconfirmed`].
    living: Mutex<BTreeSet<LetterId>>,
    confirmed: Mutex<Confirmed>,
    /// Rung when a confirmation could not be written at once.
    pub confirmed_later: tokio::sync::Notify,
    /// Whether any address is suppressed, as far as is known.
    pub suppressions: Believed,
}

impl Shared {
    pub(crate) fn new(
        ids: IdSource,
        clock: Arc<dyn Clock>,
        metrics: Arc<StoreMetrics>,
        node: String,
        incarnation: i64,
    ) -> Self {
        Self {
            ids,
            clock,
            watches: Arc::default(),
            metrics,
            node,
            incarnation,
            nodes: Nodes::default(),
            catching_up: tokio::sync::Mutex::default(),
            directory: RwLock::default(),
            living: Mutex::default(),
            confirmed: Mutex::default(),
            confirmed_later: tokio::sync::Notify::default(),
            suppressions: Believed::default(),
        }
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The next id of the kind that needs no counter.
    pub(crate) fn next_id(&self) -> i64 {
        self.ids.next(self.now())
    }

    /// The directory, to read.
    pub(crate) fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory, to change after a commit.
    pub(crate) fn directory_mut(&self) -> RwLockWriteGuard<'_, Directory> {
        self.directory
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What follows the commit of a change of an account's mail: what it takes is known, and who
    /// watches it is woken.
    pub(crate) fn takes_now(&self, account: AccountId, used: Used) {
        self.directory_mut()
            .change_account(account, |known| known.used = used);
        self.watches.account_changed(account);
    }

    /// After a commit that changed the directory: the other nodes are told, and this one looks
    /// whether it has missed one of theirs.
    pub(crate) fn directory_changed(&self) {
        if self.nodes.is_shared() {
            self.nodes.directory.notify_one();
            self.watches.bell.ring(|told| told.directory = true);
        }
    }

    /// Notes a delivery whose connection is alive; `false` if it was noted already.
    pub(crate) fn add_living(&self, letter: LetterId) -> bool {
        self.living().insert(letter)
    }

    /// The confirmations of deliveries were written: nobody asks any more whether their connections
    /// are alive.
    pub(crate) fn end_confirmed(&self, letters: &[LetterId]) {
        let mut living = self.living();
        for letter in letters {
            living.remove(letter);
        }
        drop(living);
        self.confirmed().written(letters);
    }

    /// A delivery's connection has ended; it is lost if it was not confirmed before.
    pub(crate) fn end_living(&self, letter: LetterId) {
        let is_lost = self.living().remove(&letter) && !self.is_confirmed(letter, true);
        if is_lost && self.nodes.is_shared() {
            self.nodes.add_lost(letter);
        }
    }

    /// Whether a delivery was confirmed here, though its row may be there still. `is_ours`: the row
    /// names this start of this node.
    pub(crate) fn is_confirmed(&self, letter: LetterId, is_ours: bool) -> bool {
        self.confirmed().has(letter, is_ours)
    }

    /// The confirmations that wait to be written.
    pub(crate) fn confirmed(&self) -> MutexGuard<'_, Confirmed> {
        self.confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a delivery's connection, to this node, is alive.
    pub(crate) fn is_living(&self, letter: LetterId) -> bool {
        self.living().contains(&letter)
    }

    fn living(&self) -> MutexGuard<'_, BTreeSet<LetterId>> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
