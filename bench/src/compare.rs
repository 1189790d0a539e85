//! Postfix with Dovecot and Pennyblack beside each other: the same load on each, in turn, within
//! the same minutes, with the count of stored letters checked against what was acknowledged.
//!
//! Postfix hands to Dovecot by LMTP, Dovecot stores in mdbox and flushes every write, as Pennyblack
//! does before its reply. Each has a configuration of its own below a temporary directory. Letters
//! that Postfix acknowledged but has not yet delivered are waited for, and the rate that counts is
//! that of letters in mailboxes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use interop::dovecot::{self, Dovecot};
use interop::node::{self, Node};
use interop::place::Place;
use interop::postfix::{self, Postfix};
use interop::process::wait_for;
use interop::{imap, smtp};

use crate::load::{self, Plan};
use crate::report::Report;
use crate::usage::Watch;

/// What to compare and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The load; its `to` and `seed` are set for each run.
    pub plan: Plan,
    /// How often each system gets the load.
    pub rounds: u64,
    /// The program of ours.
    pub pennyblack: PathBuf,
    /// Where the mail is stored; a disk, not memory, or the figures mean nothing.
    pub dir: PathBuf,
    /// One side alone, or both.
    pub only: Option<Side>,
}

/// One side of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Side {
    /// Postfix with Dovecot.
    Peers,
    /// Pennyblack.
    Pennyblack,
}

/// The domain of all mailboxes.
const DOMAIN: &str = "black.test";

/// The load comes from one address; the peers have no such limits for this machine.
pub(crate) const UNLIMITED: &str = "limits.connections_per_second = 100000\n\
    limits.connections_per_address = 10000\nlimits.letters_per_session = 1000000\n\
    sending.letters_per_hour = 0\nsending.letters_per_day = 0\n\
    sending.recipients_per_hour = 0\nsending.recipients_per_day = 0\n\
    sending.brake_recipients = 0\nsending.brake_failures = 0\n";

/// Longer than this no system takes to deliver what it acknowledged.
const DRAINED_WITHIN: Duration = Duration::from_secs(300);

/// One system: where its load goes, and how what it stored is counted.
struct System<'a> {
    name: &'static str,
    smtp: SocketAddr,
    imap: SocketAddr,
    password: &'static str,
    /// Whether a mailbox's login is an address or only its local part.
    login: fn(u64) -> String,
    roots: Vec<u32>,
    /// The queue that letters pass after the acknowledgement.
    queue: Option<&'a Postfix>,
}

/// Runs the load on each system in turn; `each` hears of every run as it ends.
///
/// # Panics
/// When a system cannot be started.
pub fn run(settings: &Settings, mut each: impl FnMut(&Report, &Plan)) {
    let place = Place::below(&settings.dir);
    let wanted = |side| settings.only.is_none_or(|only| only == side);
    let peers = wanted(Side::Peers).then(|| start_peers(&place));
    let node = wanted(Side::Pennyblack).then(|| start_node(&place, settings));
    let theirs = peers.as_ref().map(|(postfix, dovecot)| System {
        name: "Postfix + Dovecot",
        smtp: postfix.address,
        imap: dovecot.imap,
        password: dovecot::PASSWORD,
        login: |mailbox| format!("user{mailbox}"),
        roots: vec![postfix.pid(), dovecot.pid()],
        queue: Some(postfix),
    });
    let ours = node.as_ref().map(|node| System {
        name: "Pennyblack",
        smtp: node.at(node::port::SMTP),
        imap: node.at(node::port::IMAP),
        password: node::PASSWORD,
        login: |mailbox| format!("user{mailbox}@{DOMAIN}"),
        roots: vec![node.pid()],
        queue: None,
    });
    for round in 0..settings.rounds {
        for system in theirs.iter().chain(&ours) {
            let seed = settings.plan.seed.wrapping_add(round);
            let plan = Plan {
                to: system.smtp,
                seed,
                ..settings.plan.clone()
            };
            each(&measure(system, &plan), &plan);
        }
    }
}

fn measure(system: &System<'_>, plan: &Plan) -> Report {
    warm_up(system, plan);
    let before = stored(system, plan);
    let watch = Watch::start(system.roots.clone());
    let started = Instant::now();
    let outcome = load::run(plan);
    if let Some(postfix) = system.queue {
        wait_for("an empty queue", DRAINED_WITHIN, || {
            postfix.queue_is_empty().then_some(())
        });
    }
    let delivered_within = started.elapsed();
    // Counting costs the server CPU that is not the load's.
    let usage = Some(watch.finish());
    let stored = Some(stored(system, plan).saturating_sub(before) / plan.recipients);
    let name = system.name.to_owned();
    Report {
        name,
        outcome,
        usage,
        stored,
        delivered_within: Some(delivered_within),
    }
}

/// A few letters to each mailbox, so that no run pays for its making.
fn warm_up(system: &System<'_>, plan: &Plan) {
    let seed = plan.seed.wrapping_mul(0x9E37_79B9).wrapping_add(0x5EED);
    let letters = plan.mailboxes * 2;
    let few = Plan {
        letters,
        recipients: 1,
        rate: 0,
        seed,
        ..plan.clone()
    };
    let before = stored(system, plan);
    let acknowledged = load::run(&few).acknowledged;
    wait_for("the first letters", DRAINED_WITHIN, || {
        (stored(system, plan) >= before + acknowledged).then_some(())
    });
}

/// How many letters all mailboxes hold.
fn stored(system: &System<'_>, plan: &Plan) -> u64 {
    let count = |mailbox| {
        let login = (system.login)(mailbox);
        imap::Client::log_in(system.imap, &login, system.password)?.count("INBOX")
    };
    (0..plan.mailboxes)
        .map(|mailbox| count(mailbox).unwrap_or(0))
        .sum()
}

fn start_peers(place: &Place) -> (Postfix, Dovecot) {
    let dovecot = Dovecot::start(place, place.at(2, 2143));
    let setup = postfix::Setup {
        hostname: format!("mx.{DOMAIN}"),
        domains: vec![DOMAIN.to_owned()],
        transport: Some(format!("lmtp:unix:{}", dovecot.lmtp.display())),
        ..postfix::Setup::default()
    };
    (
        Postfix::start(place, "postfix", place.at(2, 2525), &setup),
        dovecot,
    )
}

fn start_node(place: &Place, settings: &Settings) -> Node {
    let setup = node::Setup {
        program: Some(settings.pennyblack.clone()),
        settings: UNLIMITED.to_owned(),
        ..node::Setup::new(1, DOMAIN)
    };
    let mut node = Node::new(place, &setup);
    node.serve();
    for mailbox in 0..settings.plan.mailboxes {
        node.add_account(&format!("user{mailbox}@{DOMAIN}"));
    }
    // Started again, so that the figures are those of a node in its daily life.
    node.stop();
    let from = Instant::now();
    node.serve();
    eprintln!(
        "Pennyblack was ready {} ms after its start",
        from.elapsed().as_millis()
    );
    let greeted = smtp::Client::connect(node.at(node::port::SMTP), Duration::from_secs(10));
    assert!(
        greeted.is_ok(),
        "Pennyblack is ready but does not greet: {greeted:?}"
    );
    node
}
