//! SMTP (RFC 5321) as a [`Server`] and as a [`Client`], with SIZE (RFC 1870), PIPELINING (RFC
//! 2920), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), CHUNKING (RFC 3030), STARTTLS (RFC 3207),
//! AUTH (RFC 4954), ENHANCEDSTATUSCODES (RFC 2034) and DSN (RFC 3461).
//!
//! Besides: BINARYMIME (RFC 3030), LIMITS (RFC 9422), PRDR (draft-hall-prdr), REQUIRETLS (RFC 8689),
//! FUTURERELEASE (RFC 4865), DELIVERBY (RFC 2852), MT-PRIORITY (RFC 6710), and LMTP (RFC 2033).
//!
//! Both are engines without I/O: they know no socket, no user and no mailbox. `EXPN`, `TURN` and source routes are answered as RFC 5321 allows, and no more.

pub mod client;
pub mod params;
pub mod path;
pub mod reply;
pub mod server;

pub use client::Client;
pub use params::{Body, DeliverBy, Notify, OriginalRecipient, Ret};
pub use path::Recipient;
pub use reply::{EnhancedCode, Reply};
pub use server::{Config, Event, Offers, Role, Server};
