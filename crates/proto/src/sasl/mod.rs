//! SASL (RFC 4422): PLAIN (RFC 4616), LOGIN (the widespread draft), SCRAM-SHA-256 (RFC 5802,
//! RFC 7677), as a server and as a client.
//!
//! It knows nothing of the protocol that carries it (SMTP and IMAP put base64 around it), checks no
//! password itself (it asks with [`ServerStep::Verify`] or [`ServerStep::Lookup`]) and draws no
//! nonce. Channel binding (`-PLUS`) is not done here. An authorization identity other than the
//! login is refused.

pub mod client;
mod prepare;
pub mod scram;
pub mod server;

pub use client::{Client, ClientError};
pub use prepare::prepare;
pub use scram::ScramKeys;
pub use server::{Failure, Server, ServerStep};

/// The longest message of an exchange, decoded: the 12,288 octets of RFC 4954 §4 hold 9,216.
pub const MESSAGE_BYTES_MAX: usize = 9_216;

/// A mechanism, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mechanism {
    /// Password never sent, server proves itself too: RFC 5802, RFC 7677.
    ScramSha256,
    /// Password in one message: RFC 4616.
    Plain,
    /// Password in two messages: old clients know nothing better.
    Login,
}

impl Mechanism {
    /// All of them, best first.
    pub const ALL: [Self; 3] = [Self::ScramSha256, Self::Plain, Self::Login];

    /// The registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// The mechanism of that name, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }
}
