//! The mail transfer agent: letters come in by SMTP and submission ([`smtp_in`]), wait in the queue
//! ([`queue`]), find their way ([`route`]) are signed and go out ([`sign`], [`smtp_out`]) or into mailboxes here
//! ([`local`]); the sender hears of what failed ([`dsn`]). What other domains ask of the way to them
//! ([`sts`]) is minded, and what became of it told to them ([`tlsrpt`]), as is what was found of letters
//! in their name ([`dmarc_reports`]).
//!
//! It opens no socket itself: connections, DNS, time and randomness come through
//! [`base::ports`]. It knows no SQL: the store's verbs say what is kept and when.

mod attached;
pub mod auth;
pub mod brake;
mod counts;
pub mod dmarc_reports;
pub mod dsn;
pub mod lists;
pub mod local;
pub mod net;
pub mod queue;
pub mod route;
pub mod settings;
pub mod sign;
pub mod smtp_in;
pub mod smtp_out;
pub mod sts;
#[cfg(test)]
mod testing;
pub mod tlsrpt;

/// The end of a certificate, for who watches that it is renewed in time.
pub use mailauth::dane::certificate_end;
/// Reports that others send about our domains.
pub use mailauth::feedback;
