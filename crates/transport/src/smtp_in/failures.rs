//! Failed logins, counted by address and by login in memory, so that passwords cannot be tried at
//! will. What is counted is forgotten after the window.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base::Timestamp;
use base::limits::Limits;

use crate::net::network;

/// Addresses and logins that are remembered at once. Each costs about 150 bytes.
const ENTRIES_MAX: usize = 100_000;

/// One login may fail this many times more often than one address, so that a stranger cannot
/// easily lock a user out by guessing.
const LOGIN_FACTOR: u32 = 10;

/// Longer logins are not of ours; they are counted by their beginning.
const LOGIN_BYTES_MAX: usize = 254;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Key {
    Address(IpAddr),
    Login(String),
}

#[derive(Clone, Copy, Debug)]
struct Count {
    failures: u32,
    since: Timestamp,
}

/// The table.
#[derive(Debug)]
pub(super) struct FailedLogins {
    failures_max: u32,
    window: Duration,
    entries_max: usize,
    entries: Mutex<BTreeMap<Key, Count>>,
}

impl FailedLogins {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            failures_max: limits.auth_failures_max,
            window: limits.auth_window,
            entries_max: ENTRIES_MAX,
            entries: Mutex::default(),
        }
    }

    /// Whether this address and login may try now.
    pub(super) fn may_try(&self, peer: IpAddr, login: &str, now: Timestamp) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        keys(peer, login).into_iter().all(|key| {
            let max = self.max(&key);
            entries
                .get(&key)
                .is_none_or(|count| count.failures < max || self.is_over(count, now))
        })
    }

    /// Counts a failure.
    pub(super) fn failed(&self, peer: IpAddr, login: &str, now: Timestamp) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys(peer, login) {
            if entries.len() >= self.entries_max && !entries.contains_key(&key) {
                entries.retain(|_, count| !self.is_over(count, now));
                if entries.len() >= self.entries_max {
                    // Rather forget somebody than grow: the limits of others still hold.
                    entries.pop_first();
                }
            }
            let fresh = Count {
                failures: 0,
                since: now,
            };
            let count = entries.entry(key).or_insert(fresh);
            if self.is_over(count, now) {
                *count = fresh;
            }
            count.failures = count.failures.saturating_add(1);
        }
    }

    fn is_over(&self, count: &Count, now: Timestamp) -> bool {
        now.since(count.since) >= self.window
    }

    fn max(&self, key: &Key) -> u32 {
        match key {
            Key::Address(_) => self.failures_max,
            Key::Login(_) => self.failures_max.saturating_mul(LOGIN_FACTOR),
        }
    }
}

fn keys(peer: IpAddr, login: &str) -> [Key; 2] {
    let mut login = login.to_lowercase();
    login.truncate(login.floor_char_boundary(LOGIN_BYTES_MAX));
    [Key::Address(network(peer)), Key::Login(login)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn table() -> FailedLogins {
        FailedLogins::new(&Limits {
            auth_failures_max: 2,
            auth_window: Duration::from_secs(10),
            ..Limits::default()
        })
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(1_000 + seconds)
    }

    #[test]
    fn an_address_is_shut_out_at_the_limit_until_the_window_is_over() {
        let table = table();
        table.failed(A, "bob", at(0));
        assert!(table.may_try(A, "alice", at(0)));
        table.failed(A, "bob", at(1));
        assert!(!table.may_try(A, "alice", at(9)));
        assert!(table.may_try(A, "alice", at(10)));
    }

    #[test]
    fn a_login_is_shut_out_over_all_addresses() {
        let table = table();
        for n in 0..20_u8 {
            assert!(table.may_try(IpAddr::from([198, 51, 100, n]), "Bob", at(0)));
            table.failed(IpAddr::from([198, 51, 100, n]), "Bob", at(0));
        }
        assert!(!table.may_try(A, "bob", at(1)));
        assert!(table.may_try(A, "alice", at(1)));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut table = table();
        table.entries_max = 4;
        for n in 0..50_u8 {
            table.failed(IpAddr::from([198, 51, 100, n]), &format!("user{n}"), at(0));
        }
        assert!(table.entries.lock().unwrap().len() <= 4);
    }
}
