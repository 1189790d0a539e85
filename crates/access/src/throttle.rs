//! Slows down the guessing of passwords: counts failed logins by address and by login name.
//!
//! It keeps nothing across restarts and locks nobody out for good: after the window the count
//! starts anew. An address that guesses many names, and a name that is guessed from many
//! addresses, are both caught; but failures from elsewhere never lock out an address from which
//! the same login has just succeeded.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base::Timestamp;

/// Most entries kept. When it is full the oldest windows go first, so that a flood of made-up names
/// cannot use up memory.
const ENTRIES_MAX: usize = 20_000;

/// One login may fail this many times more often than one address, so that a stranger cannot
/// easily lock a user out by guessing. (Incoming SMTP has the same.)
const LOGIN_FACTOR: u32 = 10;

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
    /// Allows `failures_max` failures in `window` for one address, and ten times as many for one
    /// login.
    #[must_use]
    pub fn new(failures_max: u32, window: Duration) -> Self {
        Self {
            failures_max,
            window,
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

/// IPv6 hosts own a whole /64 and would otherwise have as many addresses as they like.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let mask = u128::MAX << 64;
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

fn login_key(login: &str) -> String {
    // Long enough for any address; a longer login exists nowhere.
    login.chars().take(320).collect::<String>().to_lowercase()
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

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn an_address_is_slowed_at_the_limit_and_free_after_the_window() {
        let throttle = LoginThrottle::new(3, WINDOW);
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
        let throttle = LoginThrottle::new(3, WINDOW);
        throttle.succeeded(address(9), "Bob", NOW);
        for last in 100..130 {
            assert!(throttle.allows(address(4), "bob", NOW), "{last}");
            throttle.failed(address(last), "bob", NOW);
        }
        assert!(!throttle.allows(address(4), "bob", NOW));
        assert!(throttle.allows(address(9), "bob", NOW));
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = LoginThrottle::new(3, WINDOW);
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
