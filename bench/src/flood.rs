//! Tens of thousands of connections that want nothing: what they take from honest letters, and what
//! memory each of them costs.

use std::path::PathBuf;
use std::time::Duration;

use interop::flood::{Flood, Plan, raise_file_limit};
use interop::node::{self, Node};
use interop::place::Place;

use crate::load;
use crate::report::Report;
use crate::usage::{self, Watch};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The honest letters; `to`, `seed` and recipients are set here.
    pub plan: load::Plan,
    /// Connections of the flood.
    pub connections: usize,
    /// How often the slow ones send a byte.
    pub drip_every: Duration,
    /// The program.
    pub pennyblack: PathBuf,
    /// Where the mail is stored; a disk, not memory, or the figures mean nothing.
    pub dir: PathBuf,
}

/// What the flood took.
#[derive(Clone, Copy, Debug)]
pub struct Toll {
    /// Resident memory before it, and with all connections open.
    pub rss_bytes: [u64; 2],
    /// Connections open at the end.
    pub open: u64,
    /// Connections that the server had closed meanwhile, and that were opened again.
    pub reopened: u64,
}

const USERS: u64 = 16;

/// What else the node and the load have open.
const FILES_BESIDES: usize = 150;

/// Sends the same load to the empty server, to the flooded one and to the empty one again.
///
/// # Panics
/// When the node cannot be started or does not take the flood.
pub fn run(settings: &Settings, mut each: impl FnMut(&Report)) -> Toll {
    // Each of the two processes holds one end of all connections, and some files besides.
    raise_file_limit(settings.connections + FILES_BESIDES);
    let place = Place::below(&settings.dir);
    let setup = node::Setup {
        program: Some(settings.pennyblack.clone()),
        settings: format!(
            "{}limits.connections = 1000000\n",
            crate::compare::UNLIMITED
        ),
        ..node::Setup::new(1, "black.test")
    };
    let names: Vec<String> = (0..USERS).map(|number| format!("user{number}")).collect();
    let accounts: Vec<&str> = names.iter().map(String::as_str).collect();
    let node = Node::start(&place, &setup, &accounts);
    let to = node.at(node::port::SMTP);
    let mut seed = settings.plan.seed;
    let mut load = |name: &str| {
        seed = seed.wrapping_add(1);
        let plan = load::Plan {
            to,
            seed,
            recipient: "user%d@black.test".to_owned(),
            mailboxes: USERS,
            ..settings.plan.clone()
        };
        let watch = Watch::start(vec![node.pid()]);
        let outcome = load::run(&plan);
        let usage = Some(watch.finish());
        each(&Report {
            name: name.to_owned(),
            outcome,
            usage,
            stored: None,
            delivered_within: None,
        });
    };
    load("warming up");
    load("empty");
    let before = usage::resident(node.pid());
    let flood = Flood::start(Plan {
        to,
        connections: settings.connections,
        sources: (10..18).map(|host| place.address(host)).collect(),
        recipient: "user0@black.test".to_owned(),
        drip_every: settings.drip_every,
    });
    let with = usage::resident(node.pid());
    load("flooded");
    let (open, reopened) = (flood.open(), flood.reopened());
    drop(flood);
    load("empty again");
    Toll {
        rss_bytes: [before, with],
        open,
        reopened,
    }
}
