//! What every other crate stands on: ids, addresses, time, secrets, limits, error classes, settings
//! tables, metrics, and the ports to the outside world.
//!
//! It opens no socket and no file, asks no clock and draws no randomness: [`ports`] only declares
//! the traits through which the rest of the system meets the outside.

pub mod address;
pub mod error;
pub mod id;
pub mod limits;
pub mod metrics;
pub mod ports;
pub mod secret;
pub mod settings;
pub mod throttle;
pub mod time;

pub use address::{AddressError, Domain, EmailAddress, LocalPart};
pub use error::Class;
pub use id::{
    AccountId, DomainId, LetterId, MailboxId, MessageId, ModSeq, RecipientId, ThreadId, Uid,
    UidValidity,
};
pub use secret::Secret;
pub use time::Timestamp;
