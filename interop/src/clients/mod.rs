//! Real mail clients as a person runs them: swaks, msmtp and mutt send, curl, mbsync, mutt and
//! Python's imaplib read. Each runs with a configuration of the test and no other.

pub mod curl;
pub mod imaplib;
pub mod mbsync;
pub mod msmtp;
pub mod mutt;
pub mod swaks;

use std::net::SocketAddr;
use std::time::Duration;

/// No client needs longer for one task of a test, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Not at all.
    None,
    /// After STARTTLS.
    StartTls,
    /// From the first byte.
    Implicit,
}

/// A server as a client's settings describe it.
#[derive(Clone, Debug)]
pub struct Server {
    /// Address and port.
    pub address: SocketAddr,
    /// How the connection is protected. Self-signed certificates are accepted.
    pub tls: Tls,
    /// Login and password, if the client logs in.
    pub login: Option<(String, String)>,
}

impl Server {
    /// A server without TLS, to which nobody logs in.
    #[must_use]
    pub fn open(address: SocketAddr) -> Server {
        Server {
            address,
            tls: Tls::None,
            login: None,
        }
    }

    /// A server to which a user logs in.
    #[must_use]
    pub fn with_login(address: SocketAddr, tls: Tls, user: &str, password: &str) -> Server {
        Server {
            address,
            tls,
            login: Some((user.to_owned(), password.to_owned())),
        }
    }

    /// The login, or two empty texts.
    fn user_and_password(&self) -> (&str, &str) {
        self.login
            .as_ref()
            .map_or(("", ""), |(user, password)| (user, password))
    }
}

/// A letter with LF line ends, as clients that read from files and pipes expect it.
#[must_use]
pub fn with_lf(letter: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(letter.len());
    let mut bytes = letter.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\r' || bytes.peek() != Some(&b'\n') {
            out.push(byte);
        }
    }
    out
}

/// A letter (with LF line ends) without header fields that a client added to its copy.
fn without_fields(letter: &[u8], names: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(letter.len());
    let mut in_header = true;
    for line in letter.split_inclusive(|byte| *byte == b'\n') {
        in_header &= line != b"\n";
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let added = names.iter().any(|added| added.as_bytes() == name);
        if !(in_header && added) {
            out.extend_from_slice(line);
        }
    }
    out
}

/// The contents of all files of a directory in the order of their names.
fn files_in(dir: &std::path::Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
        .iter()
        .filter_map(|path| std::fs::read(path).ok())
        .collect()
}
