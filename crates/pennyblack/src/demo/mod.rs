//! The demonstration: two nodes with two domains and a private DNS in one process.

pub mod dns;
