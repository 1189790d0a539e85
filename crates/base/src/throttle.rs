//! Slows down the guessing of passwords: counts failed logins by address and by login name.
//!
//! One table serves all protocols of a node, so that a guesser gains nothing by changing from one to
//! another. It keeps nothing across restarts and locks nobody out for good: after the window the
//! count starts anew. An address that guesses many names, and a name that is guessed from many
//! addresses, are both caught; but failures from elsewhere never lock out an address from which
//! the same login has just succeeded.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::Timestamp;
use crate::limits::Limits;

/// Most entries kept. When it is full the oldest windows go first, so that a flood of made-up names
/// cannot use up memory.
const ENTRIES_MAX: usize = 20_000;

/// One login may fail this many times more often than one address, so that a stranger cannot
/// easily lock a user out by guessing.
const LOGIN_FACTOR: u32 = 10;

/// Longer logins are not of ours; they are counted by their beginning.
const LOGIN_BYTES_MAX: usize = 254;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Key {
    Address(IpAddr),
    Login(String),
    /// A login that succeeded from an address.
    Known(IpAddr, String),
}

#[derive(Clone, Copy, Debug)]
struct Window {
    since: Timestamp,
    failures: u32,
}

/// Counts failed logins. One for all listeners of a node; cheap to ask.
#[derive(Debug)]
pub struct LoginThrottle {
    failures_max: u32,
    window: Duration,
    entries: Mutex<BTreeMap<Key, Window>>,
}

impl LoginThrottle {
    /// Allows `auth_failures_max` failures in `auth_window` for one address, and ten times as many
    /// for one login over all addresses.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            failures_max: limits.auth_failures_max,
            window: limits.auth_window,
            entries: Mutex::new(BTreeMap::new()),
        }
    }

    /// Whether a login may be tried now.
    #[must_use]
    pub fn allows(&self, address: IpAddr, login: &str, now: Timestamp) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = |key: &Key| {
            let window = entries.get(key)?;
            (now.since(window.since) < self.window).then_some(window.failures)
        };
        let name = login_key(login);
        let from_address = failures(&Key::Address(network(address))).unwrap_or(0);
        if from_address >= self.failures_max {
            return false;
        }
        let for_login = failures(&Key::Login(name.clone())).unwrap_or(0);
        for_login < self.failures_max.saturating_mul(LOGIN_FACTOR)
            || failures(&Key::Known(network(address), name)).is_some()
    }

    /// Notes a wrong password or an unknown login.
    pub fn failed(&self, address: IpAddr, login: &str, now: Timestamp) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        for key in [Key::Address(network(address)), Key::Login(login_key(login))] {
            make_room(&mut entries, now, self.window);
            let window = entries.entry(key).or_insert(Window {
                since: now,
                failures: 0,
            });
            if now.since(window.since) >= self.window {
                *window = Window {
                    since: now,
                    failures: 0,
                };
            }
            window.failures = window.failures.saturating_add(1);
        }
    }

    /// Notes a right password.
    pub fn succeeded(&self, address: IpAddr, login: &str, now: Timestamp) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let name = login_key(login);
        make_room(&mut entries, now, self.window);
        let known = Window {
            since: now,
            failures: 0,
        };
        entries.insert(Key::Known(network(address), name), known);
    }
}

/// What counts as one address: an IPv4 address, or the /64 that one IPv6 customer has.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) if v6.is_loopback() => IpAddr::V6(v6),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

fn login_key(login: &str) -> String {
    let mut login = login.to_lowercase();
    login.truncate(login.floor_char_boundary(LOGIN_BYTES_MAX));
    login
}

fn make_room(entries: &mut BTreeMap<Key, Window>, now: Timestamp, window: Duration) {
    if entries.len() < ENTRIES_MAX {
        return;
    }
    entries.retain(|_, entry| now.since(entry.since) < window);
    if entries.len() < ENTRIES_MAX {
        return;
    }
    // All are fresh: the older half goes. Which of equal age does not matter.
    let mut times: Vec<Timestamp> = entries.values().map(|entry| entry.since).collect();
    times.sort_unstable();
    let middle = times[times.len() / 2];
    entries.retain(|_, entry| entry.since > middle);
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(600);
    const NOW: Timestamp = Timestamp(1_000_000);

    fn throttle() -> LoginThrottle {
        LoginThrottle::new(&Limits {
            auth_failures_max: 3,
            auth_window: WINDOW,
            ..Limits::default()
        })
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn an_address_is_slowed_at_the_limit_and_free_after_the_window() {
        let throttle = throttle();
        for failure in 0..3 {
            assert!(throttle.allows(address(1), "a", NOW), "{failure}");
            throttle.failed(address(1), &format!("user{failure}"), NOW);
        }
        assert!(!throttle.allows(address(1), "a", NOW));
        assert!(throttle.allows(address(2), "a", NOW));
        assert!(throttle.allows(address(1), "a", NOW + WINDOW));
    }

    #[test]
    fn a_login_guessed_from_everywhere_stays_open_where_it_is_known() {
        let throttle = throttle();
        let failures = 3 * u8::try_from(LOGIN_FACTOR).unwrap();
        throttle.succeeded(address(9), "Bob", NOW);
        for number in 0..failures {
            assert!(throttle.allows(address(99), "bob", NOW));
            throttle.failed(address(100 + number), "bob", NOW);
        }
        assert!(!throttle.allows(address(99), "bob", NOW));
        assert!(throttle.allows(address(9), "bob", NOW));
        assert!(throttle.allows(address(99), "alice", NOW));
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = throttle();
        for number in 0..30_000_u32 {
            let ip = IpAddr::from(number.to_be_bytes());
            throttle.failed(
                ip,
                &number.to_string(),
                NOW + Duration::from_millis(number.into()),
            );
        }
        assert!(throttle.entries.lock().unwrap().len() <= ENTRIES_MAX);
    }
}
