//! DANE (RFC 6698, RFC 7671, RFC 7672) against real parts: zones signed by ldns, served by NSD,
//! validated by Unbound; the mail goes to Postfix with a certificate of OpenSSL.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use interop::certificates::Certificate;
use interop::clients::{Server, Tls};
use interop::letters::{Heading, Writer};
use interop::node::{self, Node, port};
use interop::nsd::{Nsd, Signatures, Zone};
use interop::place::Place;
use interop::postfix::{self, Postfix};
use interop::process::wait_for;
use interop::smtp::Client;
use interop::unbound::Unbound;
use interop::world::submission;

const LIMIT: Duration = Duration::from_secs(60);
const ALICE: &str = "alice@red.test";
/// A digest of no key.
const NO_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

struct World {
    _place: Place,
    postfix: Postfix,
    node: Node,
    _unbound: Unbound,
    _nsd: Nsd,
}

/// A zone whose mail goes to Postfix, with a TLSA record.
fn zone(place: &Place, name: &str, tlsa: &str) -> Zone {
    let record = format!("_{}._tcp.mx1 TLSA {tlsa}", port::SMTP);
    Zone::new(name)
        .mx(10, "mx1", place.address(3))
        .record(&record)
}

fn world(postfix_tls: bool) -> World {
    let place = Place::new();
    let authority = Certificate::authority(&place, "authority");
    let certificate = authority.sign(&place, "server", &["mx1.anchor.test"], false);
    let (own, anchor) = (certificate.key_digest(&place), authority.key_digest(&place));
    let mut zones = Vec::new();
    let mut trusted = Vec::new();
    for (name, tlsa, signatures) in [
        ("good.test", format!("3 1 1 {own}"), Signatures::Valid),
        ("anchor.test", format!("2 1 1 {anchor}"), Signatures::Valid),
        ("name.test", format!("2 1 1 {anchor}"), Signatures::Valid),
        ("wrong.test", format!("3 1 1 {NO_KEY}"), Signatures::Valid),
        ("unusable.test", format!("1 1 1 {own}"), Signatures::Valid),
        ("forged.test", format!("3 1 1 {NO_KEY}"), Signatures::Forged),
        ("old.test", format!("3 1 1 {own}"), Signatures::Expired),
    ] {
        let mut zone = zone(&place, name, &tlsa);
        trusted.push((name, Some(zone.sign(&place, signatures))));
        zones.push(zone);
    }
    // Without DNSSEC a TLSA record says nothing, not even a wrong one.
    zones.push(zone(&place, "plain.test", &format!("3 1 1 {NO_KEY}")));
    trusted.push(("plain.test", None));
    zones.push(Zone::new("test"));
    trusted.push(("test", None));
    let nsd = Nsd::start(&place, place.at(54, 53), &zones);
    let unbound = Unbound::start(&place, place.at(53, 53), &nsd, &trusted);
    let setup = postfix::Setup {
        hostname: "mx1.anchor.test".to_owned(),
        domains: zones.iter().map(|zone| zone.name().to_owned()).collect(),
        main: if postfix_tls {
            certificate.for_postfix()
        } else {
            String::new()
        },
        ..postfix::Setup::default()
    };
    let postfix = Postfix::start(&place, "postfix", place.at(3, port::SMTP), &setup);
    let setup = node::Setup {
        dns: Some(unbound.address),
        ..node::Setup::new(1, "red.test")
    };
    let node = Node::start(&place, &setup, &["alice"]);
    World {
        _place: place,
        postfix,
        node,
        _unbound: unbound,
        _nsd: nsd,
    }
}

impl World {
    /// Sends one letter to Bob at each domain.
    fn send(&self, domains: &[&str]) {
        let server: Server = submission(&self.node, ALICE, Tls::None);
        for domain in domains {
            let to = format!("bob@{domain}");
            let heading = Heading {
                from: ALICE,
                to: &to,
                number: 1,
            };
            let letter = Writer::new(1).letter(heading, 500);
            let mut client = Client::connect(server.address, LIMIT).expect("the node greets");
            client.log_in(ALICE, node::PASSWORD).expect("the login");
            client
                .send(ALICE, std::slice::from_ref(&to), letter.as_bytes())
                .expect("the letter is taken");
        }
    }

    /// What the queue says of the letter to a domain, once it says why the letter waits.
    fn waits(&self, domain: &str) -> String {
        wait_for(&format!("why {domain} waits"), LIMIT, || {
            let shown = self.show(domain)?;
            // The status at the end of a reason.
            shown.contains("(4.").then_some(shown)
        })
    }

    /// What `queue list --json` has from this recipient to the next.
    fn show(&self, domain: &str) -> Option<String> {
        let list = self.node.queue();
        let to = format!("bob@{domain}");
        let from = list.find(&to)? + to.len();
        let rest = &list[from..];
        let end = rest.find("bob@").unwrap_or(rest.len());
        Some(rest[..end].to_owned())
    }

    fn is_delivered(&self, domain: &str) -> bool {
        let to = format!("bob@{domain}");
        let letters = self.postfix.delivered();
        letters
            .iter()
            .any(|letter| String::from_utf8_lossy(letter).contains(&to))
    }

    fn arrives(&self, domain: &str) {
        wait_for(&format!("the letter to {domain}"), LIMIT, || {
            self.is_delivered(domain).then_some(())
        });
    }
}

#[test]
fn letters_go_only_to_servers_that_the_dns_names() {
    let world = world(true);
    world.send(&[
        "good.test",
        "anchor.test",
        "name.test",
        "wrong.test",
        "unusable.test",
        "forged.test",
        "old.test",
        "plain.test",
    ]);
    for domain in ["good.test", "anchor.test", "unusable.test", "plain.test"] {
        world.arrives(domain);
    }
    let told = |domain: &str, what: &str| {
        let to = format!("bob@{domain}");
        // The server has a letter before we have written down that it has.
        wait_for(&format!("{what} of {domain}"), LIMIT, || {
            let log = world.node.log();
            let mut lines = log.lines();
            lines
                .any(|line| line.contains(&to) && line.contains(what))
                .then_some(())
        });
    };
    told("good.test", "certificate verified by DANE");
    told("anchor.test", "certificate verified by DANE");
    told("unusable.test", "certificate not verified");
    told("plain.test", "certificate not verified");
    // RFC 7672 §2.1.3: what does not match, and what nobody can be sure of, waits.
    for (domain, why) in [
        ("wrong.test", "no TLSA record names the certificate"),
        ("name.test", "but for other names"),
        ("forged.test", "TLSA records (DANE) cannot be found out"),
        ("old.test", "no answer from the DNS"),
    ] {
        let shown = world.waits(domain);
        assert!(shown.contains(why), "{domain}: {shown}");
        assert!(!world.is_delivered(domain), "{domain}");
    }
}

/// RFC 7672 §2.2: with TLSA records TLS is a must, even if none of them counts.
#[test]
fn a_server_without_tls_gets_no_letter_that_dane_protects() {
    let world = world(false);
    world.send(&["good.test", "unusable.test", "plain.test"]);
    world.arrives("plain.test");
    for domain in ["good.test", "unusable.test"] {
        let shown = world.waits(domain);
        assert!(shown.contains("TLS is required"), "{domain}: {shown}");
        assert!(!world.is_delivered(domain), "{domain}");
    }
}
