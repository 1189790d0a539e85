//! The settings of mail authentication, in the form that `transport` wants.

use std::time::Duration;

use base::Domain;
use transport::auth::Network;

use super::Typing;

/// How letters from outside are checked.
#[derive(Clone, Debug)]
pub struct AuthSettings {
    /// The most that is done because of DMARC: `reject`, `quarantine` or `none`.
    pub dmarc: String,
    /// How long the end of a letter may wait for the DNS.
    pub timeout: Duration,
    /// Peers that are not checked.
    pub trusted: Vec<Network>,
    /// Our other names in Authentication-Results fields.
    pub names: Vec<String>,
    /// Forwarders that are believed.
    pub arc_sealers: Vec<Domain>,
}

impl Typing<'_> {
    pub(super) fn auth(&mut self) -> AuthSettings {
        AuthSettings {
            dmarc: self.text("auth.dmarc"),
            timeout: self.span("auth.timeout"),
            trusted: self.parsed("auth.trusted", "a network", Network::parse),
            names: self.list("auth.names"),
            arc_sealers: self.parsed("auth.arc_sealers", "a domain", |text| {
                Domain::parse(text).ok()
            }),
        }
    }

    pub(super) fn parsed<T>(
        &mut self,
        name: &str,
        what: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let mut values = Vec::new();
        for text in self.list(name) {
            match parse(&text) {
                Some(value) => values.push(value),
                None => self.mistake(name, format!("`{name}`: not {what}: \"{text}\"")),
            }
        }
        values
    }
}
