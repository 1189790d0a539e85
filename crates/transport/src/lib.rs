//! crates/transport
pub mod queue;
pub mod route;
