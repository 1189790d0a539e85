//! From which of our addresses a connection is made: pools of them, to which domains of senders may be
//! bound, each address with a name of its own for EHLO.
//!
//! The choice is by hash of the destination, so that a destination sees the same address each time:
//! its greylisting and what it thinks of the address hold. An address that is added or taken away
//! changes the choice only for those that come to it or were at it (rendezvous hashing).

use std::collections::BTreeMap;
use std::net::IpAddr;

use base::Domain;

/// The name of the pool of those that name none.
const USUAL: &str = "";

/// One of our addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// It.
    pub address: IpAddr,
    /// What is said in EHLO there (RFC 5321 §4.1.1.1: the name of this host); our host name where
    /// there is none.
    pub hostname: Option<Domain>,
    /// Its pool.
    pub pool: String,
}

impl Source {
    /// Reads `ADDRESS`, `ADDRESS name=HOST`, `ADDRESS pool=POOL` or both.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_ascii_whitespace();
        let address = words.next().unwrap_or_default();
        let address = address
            .parse()
            .map_err(|_| format!("not an address: \"{address}\""))?;
        let mut source = Self {
            address,
            hostname: None,
            pool: USUAL.to_owned(),
        };
        for word in words {
            match word.split_once('=') {
                Some(("name", name)) => {
                    let name = Domain::parse(name).map_err(|error| format!("{name}: {error}"))?;
                    source.hostname = Some(name);
                }
                Some(("pool", pool)) if !pool.is_empty() => source.pool = pool.to_owned(),
                _ => return Err(format!("neither `name=HOST` nor `pool=POOL`: {word}")),
            }
        }
        Ok(source)
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    all: Vec<Source>,
    /// Domains of senders whose letters leave from a pool.
    bound: BTreeMap<Domain, String>,
}

/// From where one connection is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// As the system likes: nothing is said about this family of addresses.
    Any,
    /// From this one.
    From(Source),
    /// Not at all: the sender's pool has no address of this family.
    None,
}

impl Sources {
    /// These addresses, and which domains of senders are bound to which pools.
    ///
    /// # Errors
    /// A text that says what is wrong: a pool without an address.
    pub fn new(all: Vec<Source>, bound: BTreeMap<Domain, String>) -> Result<Self, String> {
        for (domain, pool) in &bound {
            if !all.iter().any(|source| source.pool == *pool) {
                return Err(format!("{domain}: no source is of the pool {pool}"));
            }
        }
        Ok(Self { all, bound })
    }

    /// The source of letters of a sender's domain to a destination, at a server's address.
    #[must_use]
    pub fn choose(&self, sender: Option<&Domain>, destination: &Domain, peer: IpAddr) -> Choice {
        let bound = sender.and_then(|sender| self.bound.get(sender));
        let pool = bound.map_or(USUAL, String::as_str);
        let of_family = self
            .all
            .iter()
            .filter(|source| source.pool == pool && source.address.is_ipv6() == peer.is_ipv6());
        let chosen = of_family.max_by_key(|source| weight(destination, source.address));
        match chosen {
            Some(source) => Choice::From(source.clone()),
            None if bound.is_some() => Choice::None,
            None => Choice::Any,
        }
    }
}

/// FNV-1a and a final mix, so that neighbouring addresses are far from each other. It must stay as it
/// is: another hash would move every destination to another address.
fn weight(destination: &Domain, source: IpAddr) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let text = format!("{destination} {source}");
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn sources(texts: &[&str], bound: &[(&str, &str)]) -> Result<Sources, String> {
        let all = texts.iter().map(|text| Source::parse(text).unwrap());
        let bound = bound
            .iter()
            .map(|(name, pool)| (domain(name), (*pool).to_owned()));
        Sources::new(all.collect(), bound.collect())
    }

    fn chosen(sources: &Sources, sender: &str, destination: &str, peer: &str) -> String {
        let (sender, destination) = (domain(sender), domain(destination));
        match sources.choose(Some(&sender), &destination, peer.parse().unwrap()) {
            Choice::Any => "any".to_owned(),
            Choice::None => "none".to_owned(),
            Choice::From(source) => source.address.to_string(),
        }
    }

    #[test]
    fn sources_are_read() {
        let source = Source::parse("192.0.2.7 pool=bulk name=b.red.test").unwrap();
        assert_eq!(source.address.to_string(), "192.0.2.7");
        assert_eq!(source.hostname, Some(domain("b.red.test")));
        assert_eq!(source.pool, "bulk");
        assert_eq!(Source::parse("2001:db8::1").unwrap().hostname, None);
        let check = |text, error: &str| assert_eq!(Source::parse(text).unwrap_err(), error);
        check("", "not an address: \"\"");
        check("mx.red.test", "not an address: \"mx.red.test\"");
        check(
            "192.0.2.7 bulk",
            "neither `name=HOST` nor `pool=POOL`: bulk",
        );
        check(
            "192.0.2.7 pool=",
            "neither `name=HOST` nor `pool=POOL`: pool=",
        );
        let error = sources(&["192.0.2.1"], &[("a.test", "bulk")]).unwrap_err();
        assert_eq!(error, "a.test: no source is of the pool bulk");
    }

    #[test]
    fn pools_and_families_are_kept_apart() {
        let sources = sources(
            &["192.0.2.1", "2001:db8::1", "192.0.2.9 pool=bulk"],
            &[("news.test", "bulk")],
        )
        .unwrap();
        let check = |sender, peer, expected: &str| {
            assert_eq!(chosen(&sources, sender, "far.test", peer), expected);
        };
        check("red.test", "198.51.100.1", "192.0.2.1");
        check("red.test", "2001:db8:1::1", "2001:db8::1");
        check("news.test", "198.51.100.1", "192.0.2.9");
        check("news.test", "2001:db8:1::1", "none");
        let none = Sources::default();
        assert_eq!(chosen(&none, "red.test", "far.test", "198.51.100.1"), "any");
    }

    #[test]
    fn destinations_are_spread_and_stay_where_they_are() {
        let all = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
        let (four, three) = (
            sources(&all, &[]).unwrap(),
            sources(&all[..3], &[]).unwrap(),
        );
        let mut counts = BTreeMap::new();
        for number in 0..4_000 {
            let destination = format!("d{number}.test");
            let before = chosen(&four, "red.test", &destination, "198.51.100.1");
            let after = chosen(&three, "red.test", &destination, "198.51.100.1");
            if before == all[3] {
                assert_ne!(after, before);
            } else {
                assert_eq!(
                    after, before,
                    "only the lost address loses its destinations"
                );
            }
            *counts.entry(before).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 4);
        assert!(
            counts.values().all(|count| (850..1_150).contains(count)),
            "{counts:?}"
        );
        // The hash must never change.
        assert_eq!(
            weight(&domain("far.test"), all[0].parse().unwrap()),
            WEIGHT_OF_FAR_TEST
        );
    }

    const WEIGHT_OF_FAR_TEST: u64 = 6_390_423_574_217_802_614;
}
