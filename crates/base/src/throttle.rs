//! Slows down the guessing of passwords: counts failed logins by address, by login name, and by both.
//!
//! One table serves all protocols and mechanisms of a node, so that a guesser gains nothing by
//! changing from one to another. It keeps nothing across restarts and locks nobody out for good: after
//! the window the count starts anew. An address that guesses many names, and a name that is guessed
//! from many addresses, are both caught. A login that has worked from an address within a day is only
//! kept out of there by its own failures there: neither a stranger who guesses it from elsewhere nor
//! somebody behind the same address translation (NAT) with an old password locks its user out.
//!
//! Whether a login exists makes no difference to any count.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::limits::Limits;
use crate::{Secret, Timestamp};

/// Most entries kept. When it is full the oldest windows go first, so that a flood of made-up names
/// cannot use up memory.
const ENTRIES_MAX: usize = 20_000;

/// One login may fail this many times more often than one address, so that a stranger cannot
/// easily lock a user out by guessing.
const LOGIN_FACTOR: u32 = 10;

/// A wrong password that comes again tells a guesser nothing and is not counted, this many times the
/// failures of an address; from then on it is, as each look costs time.
const REPEATS_FACTOR: u32 = 10;

/// Longer logins are not of ours; they are counted by their beginning.
const LOGIN_BYTES_MAX: usize = 254;

/// How long a login counts as known where it has worked: a program that is turned off at night is
/// known the next morning.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3_600);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Key {
    Address(IpAddr),
    Login(String),
    /// A login from an address.
    Both(IpAddr, String),
    /// A login that succeeded from an address.
    Known(IpAddr, String),
}

#[derive(Clone, Copy, Debug)]
struct Window {
    since: Timestamp,
    failures: u32,
    /// Of a login from an address: the last wrong password, hashed.
    last: Option<u64>,
    /// How often it came again.
    repeats: u32,
}

impl Window {
    const fn new(since: Timestamp) -> Self {
        Self {
            since,
            failures: 0,
            last: None,
            repeats: 0,
        }
    }
}

/// Something that is kept out, or on its way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The address; an IPv6 address stands for its /64.
    pub address: Option<IpAddr>,
    /// The login.
    pub login: Option<String>,
    /// Failures in its window.
    pub failures: u32,
    /// The failures from which on it is kept out.
    pub most: u32,
    /// When its window ends, and the count with it.
    pub until: Timestamp,
}

impl Counted {
    /// Whether logins are refused unseen.
    #[must_use]
    pub const fn is_kept_out(&self) -> bool {
        self.failures >= self.most
    }
}

/// Counts failed logins. One for all listeners of a node; cheap to ask.
pub struct LoginThrottle {
    failures_max: u32,
    window: Duration,
    /// Hashes wrong passwords with a key of this process, so that the table holds none of them.
    hasher: RandomState,
    entries: Mutex<BTreeMap<Key, Window>>,
}

impl fmt::Debug for LoginThrottle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginThrottle").finish_non_exhaustive()
    }
}

impl LoginThrottle {
    /// Allows `auth_failures_max` failures in `auth_window` for one address, as many for one login from
    /// one address, and ten times as many for one login over all addresses.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            failures_max: limits.auth_failures_max,
            window: limits.auth_window,
            hasher: RandomState::new(),
            entries: Mutex::new(BTreeMap::new()),
        }
    }

    /// Whether a login may be tried now. An empty one (a token that names nobody) counts for its
    /// address only.
    #[must_use]
    pub fn allows(&self, address: IpAddr, login: &str, now: Timestamp) -> bool {
        let entries = self.entries();
        let reached = |key: &Key| {
            let window = entries.get(key);
            window.is_some_and(|window| {
                now.since(window.since) < self.span(key) && window.failures >= self.most(key)
            })
        };
        let (address, name) = (network(address), login_key(login));
        if reached(&Key::Both(address, name.clone())) {
            return false;
        }
        let known = Key::Known(address, name.clone());
        let is_known = entries.get(&known);
        if is_known.is_some_and(|window| now.since(window.since) < KNOWN_FOR) {
            return true;
        }
        !reached(&Key::Address(address)) && (name.is_empty() || !reached(&Key::Login(name)))
    }

    /// Notes a wrong password or an unknown login, where the password is known. A phone with an old
    /// password tries the same again and again; its owner behind the same address, who has the new one,
    /// is not kept out by that.
    pub fn failed_with(&self, address: IpAddr, login: &str, password: &Secret, now: Timestamp) {
        let hash = self.hasher.hash_one((login_key(login), password.expose()));
        self.note_failure((address, login), Some(hash), now);
    }

    /// Notes a wrong proof, or whatever else failed without a password that is known.
    pub fn failed(&self, address: IpAddr, login: &str, now: Timestamp) {
        self.note_failure((address, login), None, now);
    }

    fn note_failure(&self, (address, login): (IpAddr, &str), hash: Option<u64>, now: Timestamp) {
        let mut entries = self.entries();
        let (address, name) = (network(address), login_key(login));
        let repeats_max = self.failures_max.saturating_mul(REPEATS_FACTOR);
        if hash.is_some()
            && let Some(window) = entries.get_mut(&Key::Both(address, name.clone()))
            && now.since(window.since) < self.window
            && window.last == hash
            && window.repeats < repeats_max
        {
            window.repeats += 1;
            return;
        }
        let mut keys = vec![Key::Address(address)];
        if !name.is_empty() {
            keys.push(Key::Both(address, name.clone()));
            keys.push(Key::Login(name));
        }
        for key in keys {
            self.make_room(&mut entries, now);
            let fresh = Window::new(now);
            let is_both = matches!(key, Key::Both(..));
            let window = entries.entry(key).or_insert(fresh);
            if now.since(window.since) >= self.window {
                *window = fresh;
            }
            window.failures = window.failures.saturating_add(1);
            if is_both && hash.is_some() && window.last != hash {
                (window.last, window.repeats) = (hash, 0);
            }
        }
    }

    /// Notes a right password.
    pub fn succeeded(&self, address: IpAddr, login: &str, now: Timestamp) {
        let name = login_key(login);
        if name.is_empty() {
            return;
        }
        let mut entries = self.entries();
        self.make_room(&mut entries, now);
        entries.insert(Key::Known(network(address), name), Window::new(now));
    }

    /// What has failures now; what is kept out first, then by address and login.
    #[must_use]
    pub fn counted(&self, now: Timestamp) -> Vec<Counted> {
        let entries = self.entries();
        let mut found: Vec<Counted> = entries
            .iter()
            .filter(|(key, window)| now.since(window.since) < self.span(key))
            .filter_map(|(key, window)| {
                let (address, login) = match key {
                    Key::Address(address) => (Some(*address), None),
                    Key::Login(login) => (None, Some(login.clone())),
                    Key::Both(address, login) => (Some(*address), Some(login.clone())),
                    Key::Known(..) => return None,
                };
                Some(Counted {
                    address,
                    login,
                    failures: window.failures,
                    most: self.most(key),
                    until: window.since + self.window,
                })
            })
            .collect();
        found.sort_by_key(|one| !one.is_kept_out());
        found
    }

    /// Forgets the failures of an address, also with each login, or of a login, also from each
    /// address. Gives how many counts went.
    pub fn lift(&self, address: Option<IpAddr>, login: Option<&str>) -> usize {
        let (address, login) = (address.map(network), login.map(login_key));
        let mut entries = self.entries();
        let before = entries.len();
        entries.retain(|key, _| match key {
            Key::Address(of) => Some(*of) != address,
            Key::Login(of) => Some(of) != login.as_ref(),
            Key::Both(at, of) => Some(*at) != address && Some(of) != login.as_ref(),
            Key::Known(..) => true,
        });
        before - entries.len()
    }

    fn most(&self, key: &Key) -> u32 {
        match key {
            Key::Login(_) => self.failures_max.saturating_mul(LOGIN_FACTOR),
            Key::Address(_) | Key::Both(..) | Key::Known(..) => self.failures_max,
        }
    }

    fn span(&self, key: &Key) -> Duration {
        match key {
            Key::Known(..) => KNOWN_FOR,
            Key::Address(_) | Key::Login(_) | Key::Both(..) => self.window,
        }
    }

    fn make_room(&self, entries: &mut BTreeMap<Key, Window>, now: Timestamp) {
        if entries.len() < ENTRIES_MAX {
            return;
        }
        entries.retain(|key, entry| now.since(entry.since) < self.span(key));
        if entries.len() < ENTRIES_MAX {
            return;
        }
        // All are fresh: the older half goes. Which of equal age does not matter.
        let mut times: Vec<Timestamp> = entries.values().map(|entry| entry.since).collect();
        times.sort_unstable();
        let middle = times[times.len() / 2];
        entries.retain(|_, entry| entry.since > middle);
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Key, Window>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Behind one address are many: an old password of one keeps nobody out who is known there.
    #[test]
    fn a_shared_address_survives() {
        let throttle = throttle();
        throttle.succeeded(address(1), "alice", NOW);
        for _ in 0..3 {
            throttle.failed(address(1), "old", NOW);
        }
        let later = NOW + Duration::from_secs(1);
        assert!(throttle.allows(address(1), "Alice", later));
        assert!(
            !throttle.allows(address(1), "new", later),
            "not known there"
        );
        assert!(!throttle.allows(address(1), "old", later));
        // Known or not, a login has no more tries from one address.
        for _ in 0..3 {
            throttle.failed(address(1), "alice", later);
        }
        assert!(!throttle.allows(address(1), "alice", later));
        assert!(throttle.allows(address(1), "alice", later + WINDOW));
        // After a day it is not known any more.
        let tomorrow = NOW + KNOWN_FOR;
        for _ in 0..3 {
            throttle.failed(address(1), "old", tomorrow);
        }
        assert!(!throttle.allows(address(1), "alice", tomorrow));
    }

    /// A phone and its owner's new computer share an address.
    #[test]
    fn the_same_wrong_password_again_keeps_nobody_out() {
        let throttle = throttle();
        let old = Secret::new(*b"old");
        for _ in 0..10 {
            throttle.failed_with(address(1), "Bob", &old, NOW);
        }
        assert!(throttle.allows(address(1), "bob", NOW));
        assert_eq!(throttle.counted(NOW)[0].failures, 1);
        // Different ones are guesses; and the same of another login is one, too.
        throttle.failed_with(address(1), "alice", &old, NOW);
        throttle.failed_with(address(1), "bob", &Secret::new(*b"guess"), NOW);
        assert!(!throttle.allows(address(1), "bob", NOW));
        // Not without end.
        for _ in 0..40 {
            throttle.failed_with(address(2), "carol", &old, NOW);
        }
        assert!(!throttle.allows(address(2), "carol", NOW));
    }

    /// RFC 7628 §3.1: a token may name nobody.
    #[test]
    fn logins_without_a_name_count_for_their_address() {
        let throttle = throttle();
        for number in 0..100 {
            throttle.failed(address(number), "", NOW);
        }
        assert!(throttle.allows(address(200), "", NOW));
        throttle.failed(address(1), "", NOW);
        throttle.failed(address(1), "", NOW);
        assert!(!throttle.allows(address(1), "", NOW));
    }

    #[test]
    fn what_is_counted_is_seen_and_lifted() {
        let throttle = throttle();
        for _ in 0..3 {
            throttle.failed(address(1), "bob", NOW);
        }
        let counted = throttle.counted(NOW);
        let shown: Vec<_> = counted
            .iter()
            .map(|one| {
                (
                    one.address.is_some(),
                    one.login.is_some(),
                    one.is_kept_out(),
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                (true, false, true),
                (true, true, true),
                (false, true, false)
            ]
        );
        assert_eq!(counted[0].until, NOW + WINDOW);
        assert_eq!(throttle.lift(None, Some("alice")), 0);
        assert_eq!(throttle.lift(Some(address(1)), None), 2);
        assert!(throttle.allows(address(1), "bob", NOW));
        assert_eq!(throttle.lift(None, Some("BOB")), 1);
        assert!(throttle.counted(NOW + WINDOW).is_empty());
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
