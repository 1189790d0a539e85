//! What is remembered of addresses for a while: that nobody answered there, that TLS broke there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base::Timestamp;

/// How long an address that did not answer is tried last. A whole address family that leads nowhere
/// costs one time-out in this span.
const SILENCE_REMEMBERED: Duration = Duration::from_secs(600);
/// How long a server whose TLS broke gets letters in clear without trying TLS again.
const BROKEN_TLS_REMEMBERED: Duration = Duration::from_secs(3_600);
/// Most addresses remembered of each kind.
const ADDRESSES_MAX: usize = 1_000;

#[derive(Default)]
pub(super) struct Memory {
    silent: Mutex<BTreeMap<SocketAddr, Timestamp>>,
    broken_tls: Mutex<BTreeMap<SocketAddr, Timestamp>>,
}

impl Memory {
    pub(super) fn is_silent(&self, now: Timestamp, address: SocketAddr) -> bool {
        is_known(&self.silent, now, address, SILENCE_REMEMBERED)
    }

    pub(super) fn remember_silence(&self, now: Timestamp, address: SocketAddr) {
        remember(&self.silent, now, address, SILENCE_REMEMBERED);
    }

    pub(super) fn forget_silence(&self, address: SocketAddr) {
        let mut known = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&address);
    }

    pub(super) fn breaks_tls(&self, now: Timestamp, address: SocketAddr) -> bool {
        is_known(&self.broken_tls, now, address, BROKEN_TLS_REMEMBERED)
    }

    pub(super) fn remember_broken_tls(&self, now: Timestamp, address: SocketAddr) {
        remember(&self.broken_tls, now, address, BROKEN_TLS_REMEMBERED);
    }
}

type Known = Mutex<BTreeMap<SocketAddr, Timestamp>>;

fn is_known(known: &Known, now: Timestamp, address: SocketAddr, span: Duration) -> bool {
    let known = known.lock().unwrap_or_else(PoisonError::into_inner);
    known
        .get(&address)
        .is_some_and(|since| now.since(*since) < span)
}

fn remember(known: &Known, now: Timestamp, address: SocketAddr, span: Duration) {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() >= ADDRESSES_MAX {
        known.retain(|_, since| now.since(*since) < span);
        if known.len() >= ADDRESSES_MAX {
            known.pop_first();
        }
    }
    known.insert(address, now);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_in_time_and_is_bounded() {
        let memory = Memory::default();
        let at = |n: u16| SocketAddr::from(([192, 0, 2, 1], n));
        let start = Timestamp(0);
        memory.remember_silence(start, at(1));
        assert!(memory.is_silent(start, at(1)));
        assert!(!memory.breaks_tls(start, at(1)));
        assert!(!memory.is_silent(start + SILENCE_REMEMBERED, at(1)));
        memory.forget_silence(at(1));
        assert!(!memory.is_silent(start, at(1)));
        for n in 0..2_000 {
            memory.remember_broken_tls(start, at(n));
        }
        assert_eq!(memory.broken_tls.lock().unwrap().len(), ADDRESSES_MAX);
        assert!(memory.breaks_tls(start, at(1_999)));
    }
}
