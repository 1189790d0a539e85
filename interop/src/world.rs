//! The small world of most tests: a DNS server with the MX records of five domains, and nodes or
//! peers at the addresses that the records name.
//!
//! `red.test` is served at address 1, `black.test` at 2, `postfix.test` at 3, `exim.test` at 5 and
//! `opensmtpd.test` at 6.

use std::net::SocketAddr;
use std::time::Duration;

use crate::clients::{Server, Tls};
use crate::imap;
use crate::node::{self, Node, port};
use crate::nsd::{Nsd, Zone};
use crate::place::Place;
use crate::process::wait_for;
use crate::smtp::{Client, Said, hand_over};

/// Address of the node for `red.test`.
pub const RED: u8 = 1;
/// Address of the node for `black.test`.
pub const BLACK: u8 = 2;
/// Address of Postfix for `postfix.test`.
pub const POSTFIX: u8 = 3;
/// An address at which nothing listens.
pub const NOBODY: u8 = 4;
/// Address of Exim for `exim.test`.
pub const EXIM: u8 = 5;
/// Address of OpenSMTPD for `opensmtpd.test`.
pub const OPENSMTPD: u8 = 6;
/// Address of the DNS server.
const DNS: u8 = 53;

/// Letters arrive within this time, retries included.
pub const ARRIVES_WITHIN: Duration = Duration::from_secs(40);

/// A place with its DNS server.
#[derive(Debug)]
pub struct World {
    /// The place.
    pub place: Place,
    /// The DNS server, at port 53 of an address of its own.
    pub dns: Nsd,
}

impl World {
    /// Makes the place and starts the DNS server.
    #[must_use]
    pub fn new() -> World {
        let place = Place::new();
        let zones = [
            // Names that are not there do not exist, instead of being somebody else's business.
            Zone::new("test"),
            Zone::new("red.test").mx(10, "mx1", place.address(RED)),
            Zone::new("black.test").mx(10, "mx1", place.address(BLACK)),
            // The better host is down: whoever sends must take the second.
            Zone::new("postfix.test")
                .mx(10, "mx1", place.address(NOBODY))
                .mx(20, "mx2", place.address(POSTFIX)),
            Zone::new("exim.test").mx(10, "mx1", place.address(EXIM)),
            Zone::new("opensmtpd.test").mx(10, "mx1", place.address(OPENSMTPD)),
        ];
        let dns = Nsd::start(&place, place.at(DNS, 53), &zones);
        World { place, dns }
    }

    /// The setup of a node at an address, for its domain, with this world's DNS.
    #[must_use]
    pub fn setup(&self, host: u8, domain: &str) -> node::Setup {
        node::Setup {
            dns: Some(self.dns.address),
            // A retry comes while the test still waits for it.
            settings: "queue.retry_first = \"1s\"\nqueue.retry_max = \"2s\"\n".to_owned(),
            ..node::Setup::new(host, domain)
        }
    }

    /// A node with accounts.
    #[must_use]
    pub fn node(&self, host: u8, domain: &str, accounts: &[&str]) -> Node {
        Node::start(&self.place, &self.setup(host, domain), accounts)
    }
}

impl Default for World {
    fn default() -> World {
        World::new()
    }
}

/// The submission server of a node as a user's client knows it.
#[must_use]
pub fn submission(node: &Node, user: &str, tls: Tls) -> Server {
    let port = match tls {
        Tls::None => port::SUBMISSION,
        Tls::StartTls => port::SUBMISSION_STARTTLS,
        Tls::Implicit => port::SUBMISSION_TLS,
    };
    Server::with_login(node.at(port), tls, user, node::PASSWORD)
}

/// The IMAP server of a node as a user's client knows it.
#[must_use]
pub fn reading(node: &Node, user: &str, tls: Tls) -> Server {
    let port = match tls {
        Tls::None => port::IMAP,
        Tls::StartTls => port::IMAP_STARTTLS,
        Tls::Implicit => port::IMAP_TLS,
    };
    Server::with_login(node.at(port), tls, user, node::PASSWORD)
}

/// Waits until an inbox holds this many letters, and gives them.
///
/// # Panics
/// When they do not come in time.
#[must_use]
pub fn wait_for_letters(node: &Node, user: &str, count: usize) -> Vec<Vec<u8>> {
    let log_in = || imap::Client::log_in(node.at(port::IMAP), user, node::PASSWORD);
    let mut connection = log_in().expect("the account can be read");
    let look = || {
        let arrived = connection.count("INBOX").ok()?;
        (arrived >= count as u64)
            .then(|| connection.letters("INBOX").ok())
            .flatten()
    };
    wait_for(&format!("{count} letters to {user}"), ARRIVES_WITHIN, look)
}

/// Waits until a node has nothing left to send.
///
/// # Panics
/// When it still has after the limit.
pub fn wait_for_empty_queue(node: &Node, limit: Duration) {
    wait_for("an empty queue", limit, || {
        (node.queue() == "[]").then_some(())
    });
}

/// Waits for both keys that a domain of the settings gets by itself, and gives their DNS records.
///
/// # Panics
/// When they do not come within the limit.
#[must_use]
pub fn wait_for_key_records(node: &Node, domain: &str, limit: Duration) -> String {
    wait_for(&format!("the keys of {domain}"), limit, || {
        let output = node.command(&["key", "records", domain]);
        let lines = String::from_utf8(output.stdout).expect("text");
        (lines.lines().count() == 2).then_some(lines)
    })
}

/// Submits a letter as a user: parameters of MAIL after a blank, recipients with those of RCPT.
///
/// # Panics
/// When it is not taken.
pub fn submit(node: &Node, user: &str, mail: &str, rcpt: &[&str], letter: &[u8]) {
    let said = Said {
        login: Some(user),
        mail: &format!("<{user}>{mail}"),
        rcpt,
    };
    give(node.at(port::SUBMISSION), said, letter);
}

/// Hands a letter over.
///
/// # Panics
/// When it is not taken.
pub fn give(to: SocketAddr, said: Said<'_>, letter: &[u8]) {
    hand_over(to, said, letter).unwrap_or_else(|failure| panic!("{said:?}: {failure}"));
}

/// Sends a letter to one recipient in a session of its own.
///
/// # Panics
/// When it is not taken.
pub fn send(to: SocketAddr, login: Option<&str>, from: &str, recipient: &str, letter: &str) {
    let mut client = Client::connect(to, Duration::from_secs(60)).expect("the server greets");
    if let Some(user) = login {
        client.log_in(user, node::PASSWORD).expect("the login");
    }
    client
        .send(from, &[recipient.to_owned()], letter.as_bytes())
        .expect("the letter is taken");
    client.quit().expect("goodbye");
}
