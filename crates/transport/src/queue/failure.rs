//! Why a recipient could not be reached: one value for log, journey, queue list and report.

use std::fmt;
use std::net::SocketAddr;

use base::Domain;

/// An enhanced status code (RFC 3463).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u8, pub u16, pub u16);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The server on the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name as the route gave it.
    pub host: Domain,
    /// Its address.
    pub address: SocketAddr,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} [{}]:{}",
            self.host,
            self.address.ip(),
            self.address.port()
        )
    }
}

/// Why a recipient could not be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whether trying again is useless.
    pub permanent: bool,
    /// The enhanced status.
    pub status: Status,
    /// What happened, in words, without status.
    pub text: String,
    /// The reply of the other server (code and text), if it was one.
    pub reply: Option<String>,
    /// The other server, if there was one.
    pub peer: Option<Peer>,
    /// How the connection to it was encrypted, if it came to a letter on it and was.
    pub tls: Option<Box<str>>,
    /// Whether it was not tried, as the address is suppressed.
    pub suppressed: bool,
}

impl Failure {
    /// A failure for good that we found ourselves.
    #[must_use]
    pub fn permanent(status: Status, text: impl Into<String>) -> Self {
        Self {
            permanent: true,
            status,
            text: text.into(),
            reply: None,
            peer: None,
            tls: None,
            suppressed: false,
        }
    }

    /// A failure for now that we found ourselves.
    #[must_use]
    pub fn temporary(status: Status, text: impl Into<String>) -> Self {
        Self {
            permanent: false,
            ..Self::permanent(status, text)
        }
    }

    /// The same, at this server.
    #[must_use]
    pub fn at(mut self, peer: Peer) -> Self {
        self.peer = Some(peer);
        self
    }

    /// RFC 3464 §2.3.6: the reply of the other server, or one in our words.
    #[must_use]
    pub fn diagnostic(&self) -> String {
        match (&self.reply, self.permanent, self.status) {
            (Some(reply), ..) => reply.clone(),
            // RFC 7505 §4.2 and RFC 7504 have a code of their own for it.
            (None, true, status @ Status(5, 1, 10)) => format!("556 {status} {}", self.text),
            (None, true, status) => format!("550 {status} {}", self.text),
            (None, false, status) => format!("451 {status} {}", self.text),
        }
    }
}

/// One line: `mx.test [192.0.2.1]:25 said: 550 5.1.1 no such user (5.1.1)`.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(peer) = &self.peer {
            write!(f, "{peer}: ")?;
        }
        match &self.reply {
            Some(reply) => write!(f, "{}; it said: {reply}", self.text)?,
            None => f.write_str(&self.text)?,
        }
        write!(f, " ({})", self.status)
    }
}
