//! DKIM signatures (RFC 6376, 8301, 8463, 8616): who has taken responsibility for a letter.
//!
//! Verifying is two steps. [`Prepared::new`] goes over the letter once, whatever signatures it has;
//! [`verify`] asks for the keys and gives a result for each signature. RSA with SHA-256 and Ed25519
//! are known; SHA-1 and RSA keys below 1,024 bits are refused (RFC 8301 §3).
//!
//! Signing is [`sign()`], with the keys of a domain.
//!
//! It does not judge: whether a signature of this domain means anything is for DMARC and filters.

pub(crate) mod body;
pub(crate) mod canon;
pub(crate) mod header;
pub(crate) mod key;
pub(crate) mod prepare;
mod result;
pub(crate) mod sign;
pub(crate) mod signature;
#[cfg(test)]
mod tests;
mod verify;

pub use canon::Canon;
pub use header::{FIELDS_MAX, HEADER_BYTES_MAX};
pub use key::RSA_BITS_MIN;
pub use prepare::{Prepared, SIGNATURES_MAX};
pub use result::{DkimResult, Notes, Outcome, Reason};
pub use sign::{SignError, SigningKey, is_record_of, sign};
pub use signature::{Algorithm, SIGNED_FIELDS_MAX};
pub use verify::verify;
