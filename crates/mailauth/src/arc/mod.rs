//! ARC (RFC 8617): what the servers that a letter passed through say of it, each sealed on top of
//! the one before.
//!
//! A chain is prepared together with the DKIM signatures ([`crate::dkim::Prepared`]) and verified
//! by [`verify`]; [`seal()`] puts a set on top. Whether a sealer is to be believed is not decided here.

mod chain;
mod seal;
mod set;
#[cfg(test)]
#[path = "../../tests/arc/vectors.rs"]
mod vectors;
mod verify;

pub(crate) use chain::Chain;
pub use chain::{ArcFault, INSTANCES_MAX};
pub use seal::{as_told, seal};
pub use verify::{ArcOutcome, ArcResult, verify};
