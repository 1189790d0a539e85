//! The door: how many connections may be open, in all and from one address, and how fast new ones
//! may come. Whoever is refused hears why (see `smtp_in`); only in a flood of refusals some are cut
//! off in silence.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use base::Timestamp;
use base::limits::Limits;
use base::throttle::network;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Addresses that are remembered at once. Each costs about 100 bytes.
const ADDRESSES_MAX: usize = 100_000;

/// Refused connections that are told why at once, over all listeners; what comes beyond that is a
/// flood, and is closed without a word so that it does not use up the file descriptors.
const REFUSALS_MAX: usize = 256;

/// The rate of new connections is averaged over this span, so that a short burst gets through.
const RATE_SPAN_S: u32 = 10;

/// Why a connection is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crowded {
    /// As many connections as the server has are open.
    InAll,
    /// As many as one address may have are open.
    FromAddress,
    /// New ones come too fast from this address.
    TooFast,
}

impl Crowded {
    /// In words, for the greeting and the log.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::InAll => "Too many connections to this server; try again later",
            Self::FromAddress => "Too many connections from your address; try again later",
            Self::TooFast => "New connections come too fast from your address; try again later",
        }
    }
}

/// Counts connections. One gate serves all listeners of a node; cheap to clone.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connections_max: usize,
    per_address_max: usize,
    per_second_max: u32,
    addresses_max: usize,
    refusals: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    addresses: BTreeMap<IpAddr, Address>,
}

#[derive(Debug)]
struct Address {
    open: usize,
    /// Connections that may still come at once, in thousandths.
    tokens_milli: u64,
    refilled_at: Timestamp,
}

/// A place inside; dropping it frees the place.
#[derive(Debug)]
pub struct Permit {
    gate: Gate,
    address: IpAddr,
}

impl Gate {
    /// A gate with the limits in force.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self(Arc::new(Inner {
            connections_max: limits.connections_max,
            per_address_max: limits.connections_per_address_max,
            per_second_max: limits.connections_per_second_max,
            addresses_max: ADDRESSES_MAX,
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            state: Mutex::default(),
        }))
    }

    /// Lets a connection in.
    ///
    /// # Errors
    /// [`Crowded`] says which limit is reached.
    pub fn admit(&self, peer: IpAddr, now: Timestamp) -> Result<Permit, Crowded> {
        let inner = &self.0;
        let mut state = inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.open >= inner.connections_max {
            return Err(Crowded::InAll);
        }
        let address = network(peer);
        if !state.addresses.contains_key(&address) && state.addresses.len() >= inner.addresses_max {
            // Those without connections whose bucket is full again are as good as unknown.
            let bucket_max = inner.bucket_max_milli();
            state.addresses.retain(|_, known| {
                inner.refill(known, now);
                known.open > 0 || known.tokens_milli < bucket_max
            });
            if state.addresses.len() >= inner.addresses_max {
                return Err(Crowded::InAll);
            }
        }
        let known = state.addresses.entry(address).or_insert_with(|| Address {
            open: 0,
            tokens_milli: inner.bucket_max_milli(),
            refilled_at: now,
        });
        inner.refill(known, now);
        if known.open >= inner.per_address_max {
            return Err(Crowded::FromAddress);
        }
        if known.tokens_milli < 1_000 {
            return Err(Crowded::TooFast);
        }
        known.tokens_milli -= 1_000;
        known.open += 1;
        state.open += 1;
        Ok(Permit {
            gate: self.clone(),
            address,
        })
    }

    /// A place to tell a refused peer why; `None` when so many are being told that this one must be
    /// closed without a word. To be kept until it has been told.
    #[must_use]
    pub fn refusal(&self) -> Option<OwnedSemaphorePermit> {
        self.0.refusals.clone().try_acquire_owned().ok()
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner).open
    }
}

impl Inner {
    fn bucket_max_milli(&self) -> u64 {
        u64::from(self.per_second_max) * u64::from(RATE_SPAN_S) * 1_000
    }

    fn refill(&self, address: &mut Address, now: Timestamp) {
        let elapsed = now.since(address.refilled_at).as_millis();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        // Per millisecond, `per_second_max` thousandths of a connection.
        let gained = elapsed.saturating_mul(u64::from(self.per_second_max));
        address.tokens_milli = address
            .tokens_milli
            .saturating_add(gained)
            .min(self.bucket_max_milli());
        address.refilled_at = now;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let state = self.gate.0.state.lock();
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.open = state.open.saturating_sub(1);
        if let Some(address) = state.addresses.get_mut(&self.address) {
            address.open = address.open.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(limits: &Limits) -> Gate {
        Gate::new(limits)
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp(1_000_000 + ms)
    }

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn the_limit_per_address_and_one_more() {
        let gate = gate(&Limits {
            connections_per_address_max: 2,
            ..Limits::default()
        });
        let first = gate.admit(A, at(0)).unwrap();
        let _second = gate.admit(A, at(0)).unwrap();
        assert_eq!(gate.admit(A, at(0)).unwrap_err(), Crowded::FromAddress);
        let _other = gate.admit(B, at(0)).unwrap();
        drop(first);
        assert!(gate.admit(A, at(0)).is_ok());
    }

    #[test]
    fn the_limit_in_all_and_one_more() {
        let gate = gate(&Limits {
            connections_max: 1,
            ..Limits::default()
        });
        let only = gate.admit(A, at(0)).unwrap();
        assert_eq!(gate.admit(B, at(0)).unwrap_err(), Crowded::InAll);
        drop(only);
        assert_eq!(gate.open(), 0);
        assert!(gate.admit(B, at(0)).is_ok());
    }

    #[test]
    fn a_burst_gets_through_and_a_flood_does_not() {
        let gate = gate(&Limits {
            connections_per_second_max: 2,
            ..Limits::default()
        });
        for _ in 0..20 {
            drop(gate.admit(A, at(0)).unwrap());
        }
        assert_eq!(gate.admit(A, at(0)).unwrap_err(), Crowded::TooFast);
        assert_eq!(gate.admit(A, at(499)).unwrap_err(), Crowded::TooFast);
        drop(gate.admit(A, at(500)).unwrap());
        assert_eq!(gate.admit(A, at(500)).unwrap_err(), Crowded::TooFast);
    }

    #[test]
    fn the_table_of_addresses_is_bounded() {
        let mut gate = gate(&Limits {
            connections_per_second_max: 1,
            ..Limits::default()
        });
        Arc::get_mut(&mut gate.0).unwrap().addresses_max = 2;
        let first = gate.admit(A, at(0)).unwrap();
        drop(gate.admit(B, at(0)).unwrap());
        let third = IpAddr::from([192, 0, 2, 3]);
        assert_eq!(gate.admit(third, at(0)).unwrap_err(), Crowded::InAll);
        // After a second the bucket of B is full again, so it is forgotten.
        drop(gate.admit(third, at(1_000)).unwrap());
        drop(first);
    }

    #[test]
    fn refusals_at_once_are_bounded() {
        let gate = gate(&Limits::default());
        let mut told: Vec<_> = (0..REFUSALS_MAX).map(|_| gate.refusal().unwrap()).collect();
        assert!(gate.refusal().is_none());
        told.pop();
        assert!(gate.refusal().is_some());
    }

    #[test]
    fn an_ipv6_customer_is_one_address() {
        let one: IpAddr = "2001:db8:1:2:3::4".parse().unwrap();
        let other: IpAddr = "2001:db8:1:2:ffff::1".parse().unwrap();
        assert_eq!(network(one), network(other));
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(network(mapped), A);
    }
}
