//! Sans-I/O protocol engines: bytes in, events and bytes out.
//!
//! No async, no socket, no clock, no randomness: the time and nonces are arguments. Each engine
//! gives the same result whether its input comes whole, byte by byte or split at random.

pub mod imap;
pub mod proxy;
pub mod sasl;
pub mod smtp;
