//! crates/proto
