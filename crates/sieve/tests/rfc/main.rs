//! One file for each RFC, with its own examples where it has some; sections are named.

#![expect(clippy::unwrap_used, reason = "a test")]

mod rfc5228;
mod support;
