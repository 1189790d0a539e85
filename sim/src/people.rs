//! Those who send: users at their nodes, and strangers outside, some of whom want to relay.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use crate::client::{Mail, Outcome, send};
use crate::ledger::{Known, Ledger};
use crate::letters;
use crate::net::{Host, Net, Power};
use crate::plan::{self, NodePlan, OUTSIDE, PASSWORD, Plan};
use crate::random::Random;

/// How often a stranger's server tries a letter.
const TRIES_MAX: usize = 12;

/// What those who send have in common.
#[derive(Clone)]
pub struct People {
    /// Who is who.
    pub plan: Arc<Plan>,
    /// The network.
    pub net: Net,
    /// The books.
    pub ledger: Ledger,
    /// The next letter's token.
    pub next: Arc<AtomicU64>,
    /// Letters to be sent in all.
    pub letters: u64,
    /// The longest pause between two letters of a sender.
    pub pause: Duration,
}

impl People {
    /// The next token, while letters are left.
    fn token(&self) -> Option<u64> {
        let token = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        (token <= self.letters).then_some(token)
    }

    async fn pause(&self, random: &Random) {
        let most = u64::try_from(self.pause.as_millis()).unwrap_or(u64::MAX);
        sleep(random.span_ms(most / 10, most)).await;
    }

    /// The users of a node: each letter is sent once, whatever becomes of it.
    pub async fn users(self, node: NodePlan, random: Random) {
        let host = self.net.at(node.users_ip(), Power::default());
        let users = node.senders();
        loop {
            self.pause(&random).await;
            let Some(token) = self.token() else { return };
            let sender = &users[random.index(users.len())];
            let recipients = self.recipients(&random);
            let letter = letters::write(token, sender);
            self.ledger.sending(token, sender);
            let mail = Mail {
                server: node.submission(),
                login: Some((sender, PASSWORD)),
                sender,
                recipients: &recipients,
                letter: &letter,
            };
            match send(&host, &mail).await {
                Outcome::Taken(taken) => self.ledger.known(token, taken, Known::Taken),
                Outcome::Unknown(perhaps) => self.ledger.known(token, perhaps, Known::Nothing),
                Outcome::Refused(_) => self.ledger.known(token, Vec::new(), Known::Refused),
            }
        }
    }

    /// One to three recipients, of whom no two are the same mailbox.
    fn recipients(&self, random: &Random) -> Vec<String> {
        let mut recipients: Vec<String> = Vec::new();
        let mut places = Vec::new();
        for _ in 0..=random.below(3) {
            let node = &self.plan.nodes[random.index(self.plan.nodes.len())];
            let domain = &node.domains[random.index(node.domains.len())];
            let address = match random.below(20) {
                0..10 => format!("user@{domain}"),
                10..12 => node.alias(),
                12 if random.percent(50) => node.lost_alias(),
                12..14 => format!("ghost@{domain}"),
                14..17 => format!("friend{}@{OUTSIDE}", random.below(3)),
                17 => format!("no-one@{OUTSIDE}"),
                18 if random.percent(50) => "x@dead.test".to_owned(),
                18 => "x@nullmx.test".to_owned(),
                _ => "x@nowhere.test".to_owned(),
            };
            let place = self.plan.way(&address).address;
            if !places.contains(&place) {
                places.push(place);
                recipients.push(address);
            }
        }
        recipients
    }

    /// A server outside that sends to nodes: it tries each letter until it knows.
    pub async fn strangers(self, random: Random) {
        let host = self.net.at(plan::strangers_ip(), Power::default());
        loop {
            self.pause(&random).await;
            let Some(token) = self.token() else { return };
            let node = &self.plan.nodes[random.index(self.plan.nodes.len())];
            if random.percent(20) {
                self.relay(&host, node, token).await;
            } else {
                self.letter(&host, node, token, &random).await;
            }
        }
    }

    async fn letter(&self, host: &Host, node: &NodePlan, token: u64, random: &Random) {
        // To some no report can be made, and none is about such a report.
        let sender = match random.below(12) {
            0 => format!("no-one@{OUTSIDE}"),
            1 => "x@dead.test".to_owned(),
            number => format!("stranger{}@{OUTSIDE}", number % 3),
        };
        let address = match random.below(10) {
            0..3 => node.alias(),
            3 => node.lost_alias(),
            _ => {
                let users = node.users();
                users[random.index(users.len())].clone()
            }
        };
        let recipients = vec![address];
        let letter = letters::write(token, &sender);
        self.ledger.sending(token, &sender);
        let mail = Mail {
            server: node.smtp(),
            login: None,
            sender: &sender,
            recipients: &recipients,
            letter: &letter,
        };
        let mut perhaps = Vec::new();
        for _ in 0..TRIES_MAX {
            match send(host, &mail).await {
                Outcome::Taken(taken) => return self.ledger.known(token, taken, Known::Taken),
                Outcome::Refused(false) => break,
                Outcome::Refused(true) => {}
                Outcome::Unknown(recipients) => perhaps = recipients,
            }
            self.ledger.known(token, perhaps.clone(), Known::Nothing);
            sleep(random.span_ms(5_000, 90_000)).await;
        }
        let known = if perhaps.is_empty() {
            Known::Refused
        } else {
            Known::Nothing
        };
        self.ledger.known(token, perhaps, known);
    }

    /// Wants a node to carry a letter for somebody who is not its own.
    async fn relay(&self, host: &Host, node: &NodePlan, token: u64) {
        let sender = format!("spammer@{OUTSIDE}");
        let recipients = vec![format!("victim@{OUTSIDE}")];
        self.ledger.sending(token, &sender);
        let mail = Mail {
            server: node.smtp(),
            login: None,
            sender: &sender,
            recipients: &recipients,
            letter: &letters::write(token, &sender),
        };
        self.ledger.known(token, Vec::new(), Known::Refused);
        if let Outcome::Taken(_) | Outcome::Unknown(_) = send(host, &mail).await {
            let name = &node.name;
            self.ledger
                .violation(format!("{name} relays letter {token} for a stranger"));
        }
    }
}
