//! Many nodes on one database: who each is, who is alive, and how they hear of each other's changes.
//!
//! - [`identity`]: the name's lock and the node's row;
//! - [`wire`]: the connection that holds the lock, tells changes and hears them;
//! - [`look`]: what is looked at each second, so that nothing depends on what is told;
//! - [`message`]: what a notification says.
//!
//! With the embedded engine none of it runs. Nothing here is needed for mail to be right: fences,
//! row locks and conditions in the statements see to that. It is needed for mail to be quick.

mod identity;
mod look;
mod message;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{Domain, LetterId, Timestamp};
use tokio::sync::{Notify, watch};

use crate::engine::Priority;
use crate::{Store, StoreError, Wakeup};

pub(crate) use identity::{Entered, Identity};
pub(crate) use message::Told;

/// A node that shows no sign of life for so long counts as dead. What is measured is how long its
/// row has not changed, by our own clock: nodes' clocks need not agree.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(30);
/// Deliveries to be marked as lost that are kept; beyond it, the oldest are not, and count as lost
/// only when this node ends.
const LOST_MAX: usize = 10_000;

/// What a node knows of itself and of the others.
#[derive(Default)]
pub(crate) struct Nodes {
    standing: AtomicU8,
    /// Whether there are others.
    others: AtomicBool,
    peers: Mutex<BTreeMap<String, Peer>>,
    elsewhere: Mutex<BTreeMap<Domain, Elsewhere>>,
    lost: Mutex<BTreeSet<LetterId>>,
    /// Asks [`look`] to read the directory's changes now.
    pub directory: Notify,
}

/// Whether this node may call itself by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// The embedded engine: the lock of the data directory says all.
    Alone,
    /// The name's lock is ours.
    Held,
    /// The connection that held it was lost; it is being taken again.
    Broken,
    /// Another process has it.
    Taken,
}

/// Another node as it was last seen.
struct Peer {
    incarnation: i64,
    seen_at: Timestamp,
    /// When we saw its row change, by our clock.
    changed_at: Timestamp,
}

/// What other nodes have claimed for a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Elsewhere {
    pub nodes: u32,
    pub letters: u32,
}

/// A row of `node`.
#[derive(Clone, Debug)]
pub(crate) struct NodeRow {
    pub name: String,
    pub incarnation: i64,
    pub seen_at: Timestamp,
}

/// Starts what a node does among others; it ends with the store.
pub(crate) fn start(
    store: &Store,
    entered: Entered,
    wakeup: Wakeup,
    running: &watch::Receiver<bool>,
) {
    let weak = Arc::downgrade(&store.0);
    let wire = wire::Wire {
        identity: entered.identity.clone(),
        wakeup,
        shared: Arc::clone(&store.0.shared),
        store: weak.clone(),
        running: running.clone(),
    };
    tokio::spawn(wire.run(entered));
    let look = look::Look {
        wakeup,
        store: weak,
        running: running.clone(),
    };
    tokio::spawn(look.run());
}

/// Takes this node's row away, so that the others need not wait to know that it is gone.
pub(crate) async fn leave(store: &Store) -> Result<(), StoreError> {
    let shared = &store.0.shared;
    let leave = identity::Leave {
        name: shared.node.clone(),
        incarnation: shared.incarnation,
    };
    store.0.engine.write(leave, Priority::Urgent).await
}

impl Nodes {
    pub(crate) fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Acquire) {
            1 => Standing::Held,
            2 => Standing::Broken,
            3 => Standing::Taken,
            _ => Standing::Alone,
        }
    }

    pub(crate) fn set_standing(&self, standing: Standing) {
        let number = match standing {
            Standing::Alone => 0,
            Standing::Held => 1,
            Standing::Broken => 2,
            Standing::Taken => 3,
        };
        self.standing.store(number, Ordering::Release);
    }

    /// Whether other nodes may use the same database.
    pub(crate) fn is_shared(&self) -> bool {
        self.standing() != Standing::Alone
    }

    /// Whether other nodes are known to use it now.
    pub(crate) fn has_others(&self) -> bool {
        self.others.load(Ordering::Relaxed)
    }

    /// Refuses to claim while another process may call itself by our name.
    pub(crate) fn may_claim(&self) -> Result<(), StoreError> {
        match self.standing() {
            Standing::Alone | Standing::Held => Ok(()),
            Standing::Broken => {
                let why = "the connection that proves this node's name is being made again";
                Err(StoreError::Busy(why.to_owned()))
            }
            Standing::Taken => {
                let why = "another process runs under this node's name: no letters are claimed";
                Err(StoreError::Busy(why.to_owned()))
            }
        }
    }

    /// Whether a node is dead as far as a row of its tells: it left, it was started again, or its
    /// row has not changed for [`DEAD_AFTER`].
    pub(crate) fn is_dead(&self, incarnation: i64, row: Option<&NodeRow>, now: Timestamp) -> bool {
        row.is_none_or(|row| row.incarnation != incarnation || self.observe(row, now))
    }

    /// Notes the rows of all other nodes; gives how many are alive.
    fn observe_all(&self, rows: &[NodeRow], now: Timestamp) -> usize {
        self.peers()
            .retain(|name, _| rows.iter().any(|row| row.name == *name));
        let alive = rows.iter().filter(|row| !self.observe(row, now)).count();
        self.others.store(alive > 0, Ordering::Relaxed);
        alive
    }

    /// Notes a row; whether it has been silent for too long. The first time, it has not.
    fn observe(&self, row: &NodeRow, now: Timestamp) -> bool {
        let mut peers = self.peers();
        let peer = peers.entry(row.name.clone()).or_insert(Peer {
            incarnation: row.incarnation,
            seen_at: row.seen_at,
            changed_at: now,
        });
        if (peer.incarnation, peer.seen_at) != (row.incarnation, row.seen_at) {
            (peer.incarnation, peer.seen_at) = (row.incarnation, row.seen_at);
            peer.changed_at = now;
        }
        now.since(peer.changed_at) >= DEAD_AFTER
    }

    /// What others have claimed for a destination, at most a second ago.
    pub(crate) fn elsewhere(&self, domain: &Domain) -> Elsewhere {
        let known = self.elsewhere.lock();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        known.get(domain).copied().unwrap_or_default()
    }

    fn set_elsewhere(&self, all: BTreeMap<Domain, Elsewhere>) {
        *self
            .elsewhere
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// Notes a delivery whose connection ended without a confirmation, for the other nodes.
    pub(crate) fn add_lost(&self, letter: LetterId) {
        let mut lost = self.lost();
        lost.insert(letter);
        if lost.len() > LOST_MAX {
            lost.pop_first();
        }
    }

    fn take_lost(&self) -> BTreeSet<LetterId> {
        std::mem::take(&mut *self.lost())
    }

    fn lost(&self) -> MutexGuard<'_, BTreeSet<LetterId>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<String, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row that changes is alive whatever time it tells; one that does not is dead after a while
    /// of our own.
    #[test]
    fn a_node_is_dead_when_its_row_stays_the_same() {
        let nodes = Nodes::default();
        let row = |incarnation, seen_at| NodeRow {
            name: "blue".to_owned(),
            incarnation,
            seen_at: Timestamp(seen_at),
        };
        let start = Timestamp(1_795_501_553_000);
        let later = start + DEAD_AFTER;
        // Its clock is days behind ours.
        assert!(!nodes.is_dead(7, Some(&row(7, 5)), start));
        assert!(nodes.is_dead(7, Some(&row(7, 5)), later));
        assert!(!nodes.is_dead(7, Some(&row(7, 6)), later));
        assert!(nodes.is_dead(7, Some(&row(8, 6)), later), "started again");
        assert!(nodes.is_dead(7, None, start), "it left");
        assert_eq!(nodes.observe_all(&[row(8, 7)], later), 1);
        assert!(nodes.has_others());
        assert_eq!(nodes.observe_all(&[], later), 0);
        assert!(!nodes.has_others());
    }
}
