//! crates/message
