//! The connections to other servers: how many to one address, and those that wait for a letter.
//!
//! A waiting connection does not count against the address: whoever takes a place there takes the
//! waiting connection first, so that there are never more connections than places.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::Timestamp;
use tokio::sync::Semaphore;

use super::session::Session;
use crate::queue::failure::Peer;
use crate::route::Wanted;

/// Addresses whose places are counted before those that nobody uses are forgotten.
const ADDRESSES_MAX: usize = 1_000;

pub(super) struct Pool {
    per_address_max: usize,
    idle_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By our address and theirs.
    slots: BTreeMap<(Option<IpAddr>, SocketAddr), Arc<Semaphore>>,
    idle: BTreeMap<SocketAddr, Vec<(Timestamp, Session)>>,
    idle_count: usize,
}

impl Pool {
    pub(super) fn new(per_address_max: usize, idle_max: usize) -> Self {
        Self {
            per_address_max: per_address_max.max(1),
            idle_max,
            inner: Mutex::default(),
        }
    }

    /// The places of an address for connections of this kind: each of our own addresses has as many.
    pub(super) fn slot(&self, address: SocketAddr, wanted: &Wanted) -> Arc<Semaphore> {
        let from = wanted.source.as_ref().map(|source| source.address);
        let mut inner = self.lock();
        if inner.slots.len() >= ADDRESSES_MAX {
            inner.slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        let slot = inner
            .slots
            .entry((from, address))
            .or_insert_with(|| Arc::new(Semaphore::new(self.per_address_max)));
        Arc::clone(slot)
    }

    /// A waiting connection to this server, if there is one and a place for it.
    pub(super) fn take(&self, peer: &Peer, wanted: &Wanted) -> Option<Session> {
        let permit = self.slot(peer.address, wanted).try_acquire_owned().ok()?;
        let mut inner = self.lock();
        let waiting = inner.idle.get_mut(&peer.address)?;
        let found = waiting
            .iter()
            .rposition(|(_, session)| session.serves(peer, wanted))?;
        let (_, mut session) = waiting.remove(found);
        if waiting.is_empty() {
            inner.idle.remove(&peer.address);
        }
        inner.idle_count -= 1;
        session.permit = Some(permit);
        Some(session)
    }

    /// Whether a connection to this server waits.
    pub(super) fn has_for(&self, peer: &Peer, wanted: &Wanted) -> bool {
        let inner = self.lock();
        inner.idle.get(&peer.address).is_some_and(|waiting| {
            waiting
                .iter()
                .any(|(_, session)| session.serves(peer, wanted))
        })
    }

    /// Keeps a connection for the next letter. With too many waiting it is dropped.
    pub(super) fn keep(&self, now: Timestamp, mut session: Session) {
        session.permit = None;
        let mut inner = self.lock();
        if inner.idle_count < self.idle_max {
            inner.idle_count += 1;
            let address = session.peer.address;
            inner.idle.entry(address).or_default().push((now, session));
        }
    }

    /// Takes those out that have waited for so long.
    pub(super) fn take_idle(&self, now: Timestamp, span: Duration) -> Vec<Session> {
        let mut inner = self.lock();
        let mut taken = Vec::new();
        for waiting in inner.idle.values_mut() {
            taken.extend(
                waiting
                    .extract_if(.., |(since, _)| now.since(*since) >= span)
                    .map(|(_, session)| session),
            );
        }
        inner.idle.retain(|_, waiting| !waiting.is_empty());
        inner.idle_count -= taken.len();
        taken
    }

    pub(super) fn has_idle(&self) -> bool {
        self.lock().idle_count > 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
