//! The ARC vectors of the authors of RFC 8617 (`tests/vectors`, with their licence).

#![expect(
    clippy::expect_used,
    reason = "a helper of tests: what fails here fails the test"
)]

mod validation;
mod vectors;
