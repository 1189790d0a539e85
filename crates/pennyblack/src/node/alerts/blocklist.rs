//! Whether an address stands on a blocklist in the DNS (RFC 5782).

use std::net::{IpAddr, Ipv4Addr};

use base::Domain;
use base::ports::{DnsError, RecordType, Records, Resolver};

use super::State;

/// RFC 5782 §5: every list has this address, so that one can see that it lives.
const ALWAYS_LISTED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// RFC 5782 §5: no list has this one; one that does lists everything.
const NEVER_LISTED: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// What a list says of an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Listing {
    /// It is not there.
    No,
    /// It is there; in the words of the list, or its codes.
    Yes(String),
    /// What it says means nothing; why.
    Strange(String),
    /// There is no answer now.
    Unknown,
}

/// Asks a list about an address.
pub(super) async fn ask(resolver: &dyn Resolver, list: &Domain, address: IpAddr) -> Listing {
    let name = name(list, address);
    let found = match resolver.records(&name, RecordType::A).await {
        Ok(Records::A(found)) => found,
        Ok(_) | Err(DnsError::NoName | DnsError::NoRecords) => return Listing::No,
        Err(DnsError::Temporary(_)) => return Listing::Unknown,
    };
    // RFC 5782 §2.3: an answer is an address of 127.0.0.0/8. Lists tell with 127.255.255.0/24 that they
    // do not want to be asked from here; others are those of a resolver that invents answers.
    let codes: Vec<String> = found
        .iter()
        .filter(|code| code.is_loopback() && code.octets()[..3] != [127, 255, 255])
        .map(ToString::to_string)
        .collect();
    if codes.is_empty() {
        let told = found.first().map(ToString::to_string).unwrap_or_default();
        return Listing::Strange(format!(
            "it answers {told}, which says nothing of the address"
        ));
    }
    // RFC 5782 §2.1: a TXT record says why.
    let why = match resolver.records(&name, RecordType::Txt).await {
        Ok(Records::Txt(texts)) => texts.first().map(|text| printable(text)),
        Ok(_) | Err(_) => None,
    };
    Listing::Yes(why.unwrap_or_else(|| codes.join(", ")))
}

/// Whether the list answers as a list must (RFC 5782 §5).
pub(super) async fn state(resolver: &dyn Resolver, list: &Domain) -> State {
    let wrong = |why: String| State::Wrong(format!("the list cannot be asked: {why}"));
    match ask(resolver, list, ALWAYS_LISTED.into()).await {
        Listing::Yes(_) => {}
        Listing::No => {
            return wrong(format!(
                "it does not have {ALWAYS_LISTED}, as every list must"
            ));
        }
        Listing::Strange(why) => return wrong(why),
        Listing::Unknown => return State::Unknown,
    }
    match ask(resolver, list, NEVER_LISTED.into()).await {
        Listing::No => State::Fine,
        Listing::Yes(_) => wrong(format!("it lists {NEVER_LISTED}, and so everything")),
        Listing::Strange(why) => wrong(why),
        Listing::Unknown => State::Unknown,
    }
}

/// RFC 5782 §2.1, §2.4: the bytes, or for IPv6 the half bytes, the other way round.
fn name(list: &Domain, address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.{list}")
        }
        IpAddr::V6(v6) => {
            let halves = v6.octets().into_iter().rev();
            let halves = halves.map(|byte| format!("{:x}.{:x}.", byte & 15, byte >> 4));
            format!("{}{list}", halves.collect::<String>())
        }
    }
}

fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5782 §2.1 and §2.4 have these.
    #[test]
    fn names_of_addresses() {
        let list = Domain::parse("bad.example.com").unwrap();
        let of = |address: &str| name(&list, address.parse().unwrap());
        assert_eq!(of("192.0.2.99"), "99.2.0.192.bad.example.com");
        assert_eq!(
            of("2001:db8:1:2:3:4:567:89ab"),
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bad.example.com"
        );
        assert_eq!(of("::ffff:192.0.2.99"), "99.2.0.192.bad.example.com");
    }
}
