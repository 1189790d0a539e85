//! One mailbox that grows: whether a letter costs the same when 100,000 are there already, how long
//! a start takes then, also after SIGKILL, and what memory an idle node holds.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use interop::imap;
use interop::node::{self, Node};
use interop::place::Place;

use crate::load::{self, Plan};
use crate::report::Report;
use crate::usage::{self, Watch};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The load of each step; its `to`, `seed` and recipients are set here.
    pub plan: Plan,
    /// How many steps; the mailbox grows by the plan's letters in each.
    pub steps: u64,
    /// The program.
    pub pennyblack: PathBuf,
    /// Where the mail is stored; a disk, not memory, or the figures mean nothing.
    pub dir: PathBuf,
}

/// What a start took and what an idle node holds.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// From the start of the process to its ready line.
    pub ready_within: Duration,
    /// Resident memory two seconds later, without load.
    pub rss_bytes: u64,
}

const USER: &str = "hot@black.test";

/// Fills the mailbox; `each` hears of every step, `started` of every start.
///
/// # Panics
/// When the node cannot be started, or holds another number of letters than it acknowledged.
pub fn run(
    settings: &Settings,
    mut each: impl FnMut(&Report, &Plan),
    mut started: impl FnMut(&str, Start),
) {
    let place = Place::below(&settings.dir);
    let setup = node::Setup {
        program: Some(settings.pennyblack.clone()),
        settings: crate::compare::UNLIMITED.to_owned(),
        ..node::Setup::new(1, "black.test")
    };
    let mut node = Node::start(&place, &setup, &["hot"]);
    node.stop();
    started("empty", start(&mut node));
    let mut expected = 0;
    for step in 1..=settings.steps {
        let plan = Plan {
            to: node.at(node::port::SMTP),
            seed: settings.plan.seed.wrapping_add(step),
            recipient: USER.to_owned(),
            recipients: 1,
            mailboxes: 1,
            ..settings.plan.clone()
        };
        let watch = Watch::start(vec![node.pid()]);
        let outcome = load::run(&plan);
        let usage = Some(watch.finish());
        let before = expected;
        expected += outcome.acknowledged;
        let stored = count(&node).saturating_sub(before);
        let name = format!("{before} letters there");
        let stored = Some(stored);
        each(
            &Report {
                name,
                outcome,
                usage,
                stored,
                delivered_within: None,
            },
            &plan,
        );
    }
    node.stop();
    started("full, stopped in order", start(&mut node));
    node.kill();
    started("full, after SIGKILL", start(&mut node));
    assert_eq!(count(&node), expected, "letters after SIGKILL");
}

fn start(node: &mut Node) -> Start {
    let from = Instant::now();
    node.serve();
    let ready_within = from.elapsed();
    std::thread::sleep(Duration::from_secs(2));
    Start {
        ready_within,
        rss_bytes: usage::resident(node.pid()),
    }
}

fn count(node: &Node) -> u64 {
    let client = imap::Client::log_in(node.at(node::port::IMAP), USER, node::PASSWORD);
    client
        .and_then(|mut client| client.count("INBOX"))
        .unwrap_or(0)
}
