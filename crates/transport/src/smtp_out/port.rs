//! Is outgoing port 25 blocked? Many providers close it until they are asked, and then every server seems
//! to be away.
//!
//! Pure: it is told of attempts to connect, and by whose address. Servers of several networks that have
//! nothing to do with one another do not fail together; where none answers and none has answered for a
//! while, though the DNS did (else there would be no address to try), it is the way there that is closed.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base::Timestamp;

/// The port that providers block.
const PORT: u16 = 25;
/// Networks whose servers must have failed, and none answered.
const NETWORKS_MIN: usize = 5;
/// How long a failure counts.
const REMEMBERED: Duration = Duration::from_secs(3_600);
/// Networks that are remembered; more say nothing new.
const NETWORKS_MAX: usize = 100;

/// What is said where it seems to be so, behind the failure itself.
pub(super) const HINT: &str = "; outgoing port 25 seems to be blocked, as no server of several networks \
    answers there: ask the provider of this server to open it, or send through a smarthost \
    (outbound.smarthost)";

/// Watches attempts to connect to port 25.
#[derive(Debug, Default)]
pub(super) struct PortWatch {
    /// When a server of a network last failed.
    failed: BTreeMap<Network, Timestamp>,
    blocked: bool,
}

/// Whoever has such a part of the address space: a /16 of IPv4, a /32 of IPv6.
type Network = [u8; 4];

/// Whether the belief has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Blocked,
    Open,
}

impl PortWatch {
    /// A server did not answer at this address.
    pub(super) fn failed(&mut self, now: Timestamp, address: SocketAddr) -> Change {
        if address.port() != PORT {
            return Change::None;
        }
        self.failed
            .retain(|_, at| *at <= now && now.since(*at) < REMEMBERED);
        if self.failed.len() < NETWORKS_MAX {
            self.failed.insert(network(address.ip()), now);
        }
        // Believed until somebody answers: silence for long proves nothing else.
        if !self.blocked && self.failed.len() >= NETWORKS_MIN {
            self.blocked = true;
            return Change::Blocked;
        }
        Change::None
    }

    /// A server answered: the port is open, whatever happened to others.
    pub(super) fn answered(&mut self, address: SocketAddr) -> Change {
        if address.port() != PORT {
            return Change::None;
        }
        self.failed.clear();
        if std::mem::take(&mut self.blocked) {
            Change::Open
        } else {
            Change::None
        }
    }

    /// Whether the port seems to be blocked.
    pub(super) const fn is_blocked(&self) -> bool {
        self.blocked
    }
}

fn network(ip: IpAddr) -> Network {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            // No /32 of IPv6 in use begins with zeros.
            [0, 0, a, b]
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.octets();
            [a, b, c, d]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn minutes(minutes: u64) -> Timestamp {
        Timestamp(0) + Duration::from_secs(minutes * 60)
    }

    #[test]
    fn five_networks_that_fail_together() {
        let mut watch = PortWatch::default();
        for n in 1..5 {
            let address = at(&format!("10.{n}.0.1:25"));
            assert_eq!(watch.failed(minutes(n), address), Change::None);
        }
        // More servers of the same networks, and other ports, tell nothing new.
        for text in ["10.1.9.9:25", "10.1.7.7:25", "10.9.0.1:587"] {
            assert_eq!(watch.failed(minutes(6), at(text)), Change::None, "{text}");
        }
        let sixth = at("[2001:db8::1]:25");
        assert_eq!(watch.failed(minutes(7), sixth), Change::Blocked);
        assert!(watch.is_blocked());
        assert_eq!(watch.failed(minutes(8), sixth), Change::None);
        assert_eq!(watch.answered(at("10.1.0.1:587")), Change::None);
        assert_eq!(watch.answered(at("10.1.0.1:25")), Change::Open);
        assert!(!watch.is_blocked());
    }

    #[test]
    fn one_that_answers_ends_the_suspicion() {
        let mut watch = PortWatch::default();
        for n in 1..5 {
            watch.failed(minutes(0), at(&format!("10.{n}.0.1:25")));
        }
        watch.answered(at("10.200.0.1:25"));
        assert_eq!(watch.failed(minutes(1), at("10.5.0.1:25")), Change::None);
        for n in 1..5 {
            watch.failed(minutes(2), at(&format!("10.{n}.0.1:25")));
        }
        assert!(watch.is_blocked(), "five since the last answer");
        assert_eq!(watch.failed(minutes(70), at("10.1.0.1:25")), Change::None);
        assert!(watch.is_blocked(), "until one answers");
    }

    #[test]
    fn failures_far_apart_are_no_sign() {
        let mut watch = PortWatch::default();
        for n in 1..20 {
            let address = at(&format!("10.{n}.0.1:25"));
            assert_eq!(watch.failed(minutes(n * 20), address), Change::None);
        }
    }
}
