//! crates/transport
