//! SASL (RFC 4422): PLAIN (RFC 4616), LOGIN (the widespread draft), SCRAM-SHA-256 and SCRAM-SHA-1
//! (RFC 5802, RFC 7677), also with channel binding (`-PLUS`; RFC 5929, RFC 9266), as a server and as
//! a client (which binds to `tls-exporter`); as a server also EXTERNAL
//! (RFC 4422 appendix A), OAUTHBEARER (RFC 7628) and XOAUTH2 (its predecessor by Google).
//!
//! It knows nothing of the protocol that carries it (SMTP and IMAP put base64 around it), checks no
//! password or token itself (it asks with [`ServerStep::Verify`], [`ServerStep::Lookup`],
//! [`ServerStep::Token`] or [`ServerStep::External`]) and draws no nonce. An authorization identity
//! other than the login is refused.

pub mod client;
mod oauth;
mod prepare;
pub mod scram;
pub mod server;

pub use client::{Client, ClientError};
pub use prepare::prepare;
pub use scram::{Algorithm, ScramKeys};
pub use server::{Binding, Failure, Server, ServerStep};

/// The longest message of an exchange, decoded: the 12,288 octets of RFC 4954 §4 hold 9,216.
pub const MESSAGE_BYTES_MAX: usize = 9_216;

/// A mechanism, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mechanism {
    /// SCRAM-SHA-256 bound to the TLS connection, so that nobody can sit in between.
    ScramSha256Plus,
    /// Password never sent, server proves itself too: RFC 5802, RFC 7677.
    ScramSha256,
    /// The same with SHA-1, bound to the TLS connection.
    ScramSha1Plus,
    /// The same with SHA-1, which many clients have: RFC 5802.
    ScramSha1,
    /// What the connection proved already, by the client's certificate: RFC 4422 appendix A.
    External,
    /// An access token instead of a password: RFC 7628.
    OAuthBearer,
    /// The same as Google had it first.
    XOAuth2,
    /// Password in one message: RFC 4616.
    Plain,
    /// Password in two messages: old clients know nothing better.
    Login,
}

impl Mechanism {
    /// All of them, best first.
    pub const ALL: [Self; 9] = [
        Self::ScramSha256Plus,
        Self::ScramSha256,
        Self::ScramSha1Plus,
        Self::ScramSha1,
        Self::External,
        Self::OAuthBearer,
        Self::XOAuth2,
        Self::Plain,
        Self::Login,
    ];

    /// The registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha1Plus => "SCRAM-SHA-1-PLUS",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::External => "EXTERNAL",
            Self::OAuthBearer => "OAUTHBEARER",
            Self::XOAuth2 => "XOAUTH2",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// What a server needs besides passwords to offer it.
    #[must_use]
    pub const fn needs(self) -> Needs {
        match self {
            Self::Plain | Self::Login => Needs::Nothing,
            Self::ScramSha256 | Self::ScramSha1 => Needs::Keys,
            Self::ScramSha256Plus | Self::ScramSha1Plus => Needs::KeysAndBinding,
            Self::External => Needs::Certificate,
            Self::OAuthBearer | Self::XOAuth2 => Needs::Tokens,
        }
    }

    /// Whether [`Client`] has it: one with a password. One with channel binding needs a connection
    /// that has something to bind to.
    #[must_use]
    pub const fn is_for_clients(self) -> bool {
        !matches!(self.needs(), Needs::Certificate | Needs::Tokens)
    }

    /// The mechanism of that name, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }
}

/// What a server needs to offer a mechanism.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// Passwords can be checked, which is always so.
    Nothing,
    /// SCRAM keys are kept.
    Keys,
    /// SCRAM keys are kept, and the connection has something to bind to.
    KeysAndBinding,
    /// The client has shown a certificate that names somebody.
    Certificate,
    /// Somebody checks tokens.
    Tokens,
}
