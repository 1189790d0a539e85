//! The queue's work: what is planned, how a claim is worked on, and how it ends.

pub mod backoff;
pub mod failure;
pub mod planner;
pub mod settings;
