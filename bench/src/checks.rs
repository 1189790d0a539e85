//! What it costs to find out whom letters are from: the same signed letters go to a node that checks
//! them (iprev, SPF, DKIM, DMARC, against a DNS server on this machine) and to one that trusts their
//! sender and checks nothing.

use std::path::PathBuf;
use std::sync::Arc;

use interop::imap;
use interop::judges::Key;
use interop::letters::{Heading, Writer};
use interop::node::{self, Node};
use interop::nsd::{Nsd, Zone};
use interop::place::Place;

use crate::load::{self, Ready};
use crate::report::Report;
use crate::usage::Watch;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The load; its `to`, senders, recipients and letters are set here.
    pub plan: load::Plan,
    /// How often each node gets it.
    pub rounds: u64,
    /// How many domains send, each with a key of its own.
    pub domains: usize,
    /// The program.
    pub pennyblack: PathBuf,
    /// Where the mail is stored; a disk, not memory, or the figures mean nothing.
    pub dir: PathBuf,
}

const USERS: u64 = 16;

/// Different signed letters of each domain; each is sent many times under another first field.
const LETTERS_PER_DOMAIN: usize = 12;

/// Puts the load on both nodes in turn; `each` hears of every run. Gives CPU milliseconds per letter
/// without and with the checks, the mean of all rounds but the first, which warms up.
///
/// # Panics
/// When a node cannot be started, or a checked letter does not pass.
pub fn run(settings: &Settings, mut each: impl FnMut(&Report)) -> [f64; 2] {
    let place = Place::below(&settings.dir);
    let (dns, ready) = world(&place, settings);
    let nodes = [(1, "127.0.0.0/8"), (2, "")].map(|(host, trusted)| {
        let trusted = if trusted.is_empty() {
            "auth.trusted = []\n".to_owned()
        } else {
            format!("auth.trusted = [\"{trusted}\"]\n")
        };
        let setup = node::Setup {
            program: Some(settings.pennyblack.clone()),
            dns: Some(dns.address),
            settings: format!("{}{trusted}", crate::compare::UNLIMITED),
            ..node::Setup::new(host, "black.test")
        };
        let names: Vec<String> = (0..USERS).map(|number| format!("user{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Node::start(&place, &setup, &names)
    });
    let mut sums = [0.0; 2];
    for round in 0..=settings.rounds {
        for (node, (name, sum)) in nodes
            .iter()
            .zip(["unchecked", "checked"].iter().zip(&mut sums))
        {
            let plan = load::Plan {
                to: node.at(node::port::SMTP),
                recipient: "user%d@black.test".to_owned(),
                mailboxes: USERS,
                ready: Some(Arc::clone(&ready)),
                ..settings.plan.clone()
            };
            let watch = Watch::start(vec![node.pid()]);
            let outcome = load::run(&plan);
            let usage = watch.finish();
            if round > 0 {
                *sum += usage.cpu_ms / outcome.acknowledged.max(1) as f64;
            }
            each(&Report {
                name: format!("{name}, round {round}"),
                outcome,
                usage: Some(usage),
                stored: None,
                delivered_within: None,
            });
        }
    }
    all_passed(&nodes[1]);
    sums.map(|sum| sum / settings.rounds.max(1) as f64)
}

/// The DNS server with the records of all domains, and the letters that they signed.
fn world(place: &Place, settings: &Settings) -> (Nsd, Arc<Vec<Ready>>) {
    let writer = Writer::new(settings.plan.seed);
    let mut zones = vec![
        Zone::new("test").record("client A 127.0.0.1"),
        Zone::new("127.in-addr.arpa").record("1.0.0 PTR client.test."),
    ];
    let mut ready = Vec::new();
    for number in 0..settings.domains.max(1) {
        let domain = format!("d{number}.test");
        let dir = place.path(&domain);
        std::fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("{error}"));
        let key = Key::within(&dir, "rsa");
        zones.push(
            Zone::new(&domain)
                .mx(10, "mx", place.address(9))
                .record("@ TXT \"v=spf1 mx ip4:127.0.0.0/8 -all\"")
                .record("_dmarc TXT \"v=DMARC1; p=reject\"")
                .record(&format!("s._domainkey TXT {}", key.record)),
        );
        let sender = format!("load@{domain}");
        for letter in 0..LETTERS_PER_DOMAIN {
            let heading = Heading {
                from: &sender,
                to: "user@black.test",
                number: (number * LETTERS_PER_DOMAIN + letter) as u64,
            };
            // The signature takes about 500 bytes.
            let bytes = settings.plan.letter_bytes.saturating_sub(500);
            let letter = writer.letter(heading, bytes);
            ready.push(Ready {
                sender: sender.clone(),
                letter: key.sign("s", &domain, letter.as_bytes()),
            });
        }
    }
    let dns = Nsd::start(place, place.at(53, 53), &zones);
    (dns, Arc::new(ready))
}

fn all_passed(node: &Node) {
    let client = imap::Client::log_in(
        node.at(node::port::IMAP),
        "user0@black.test",
        node::PASSWORD,
    );
    let letters = client.and_then(|mut client| client.letters("INBOX"));
    let letters = letters.unwrap_or_else(|error| panic!("the letters can be read: {error}"));
    assert!(!letters.is_empty(), "no letter came");
    for letter in &letters {
        let text = String::from_utf8_lossy(letter);
        let head = text.split("\r\n\r\n").next().unwrap_or_default();
        for part in ["spf=pass", "dkim=pass", "dmarc=pass", "iprev=pass"] {
            assert!(head.contains(part), "{part}: {head}");
        }
    }
}
