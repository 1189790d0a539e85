//! crates/access
