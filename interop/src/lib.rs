//! What tests and loads against real peers and real clients stand on: letters, a small SMTP client,
//! and the peers themselves (Postfix, Dovecot, NSD), each with a configuration of its own in a
//! directory of the test, on loopback ports.
//!
//! It knows the `pennyblack` program only from outside: its command line, its settings file, its
//! ports. It never touches a system service or its files.

pub mod letters;
pub mod smtp;
