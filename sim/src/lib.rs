//! The simulated world: whole nodes of the program on one thread, with a clock that runs when nobody
//! has anything to do, a network in memory, a DNS of a table, and disks that lose what was not
//! flushed. Everything that happens by chance follows from one number, so that every run can be had
//! again.
//!
//! The nodes are the program's own code from the sockets inwards: sessions, queue, planner, routes,
//! the SMTP client, the store and its SQLite. What is simulated is what the ports of the house
//! (`base::ports`) and SQLite's file systems let be put in place: see `docs/simulation.md`, also for
//! what it does not model.

pub mod client;
pub mod clock;
pub mod dns;
pub mod faults;
pub mod ledger;
pub mod letters;
pub mod mailboxes;
pub mod minimise;
pub mod mutation;
pub mod net;
pub mod node;
pub mod options;
pub mod outside;
pub mod people;
pub mod plan;
pub mod random;
pub mod scram;
pub mod tls;
pub mod trace;
pub mod weather;
pub mod world;
