//! What tests and loads against real peers and real clients stand on: letters, small SMTP and IMAP
//! clients, and the peers themselves (Postfix, Exim, OpenSMTPD, Dovecot, OpenDKIM, NSD, S3 servers),
//! each with a configuration of its own in a directory of the test, on loopback addresses of the test.
//!
//! It knows the `pennyblack` program only from outside: its command line, its settings file, its
//! ports. It never touches a system service or its files.
#![expect(
    clippy::expect_used,
    reason = "what a harness cannot do must stop the test with a reason"
)]

pub mod certificates;
pub mod clients;
pub mod corpus;
pub mod dovecot;
pub mod exim;
pub mod flood;
pub mod house;
pub mod imap;
pub mod judges;
pub mod letters;
pub mod node;
pub mod nsd;
pub mod opendkim;
pub mod opensmtpd;
pub mod place;
pub mod postfix;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod s3;
pub mod smtp;
pub mod trace;
pub mod unbound;
pub mod web;
pub mod world;
