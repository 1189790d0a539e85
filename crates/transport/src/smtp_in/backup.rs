//! Domains that are another server's and whose mail we take while that server is away (RFC 5321 §5.1:
//! we are a mail exchanger of higher number). What is taken is relayed by the DNS, to exchangers better
//! than us and to nobody else; that is `route`'s part.

use std::collections::BTreeSet;
use std::time::Duration;

use base::{Domain, EmailAddress};

/// The domains, and who is there.
#[derive(Clone, Debug, Default)]
pub struct BackupMx {
    domains: BTreeSet<Domain>,
    /// Recipients by their keys; a domain without any has no list.
    recipients: BTreeSet<String>,
    listed: BTreeSet<Domain>,
    /// How long a letter is tried.
    pub lifetime: Duration,
}

/// Whether a recipient is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backup {
    /// The domain is none of these.
    NotOurs,
    /// There is a list, and the recipient is not on it.
    Unknown,
    /// It is.
    Taken,
}

impl BackupMx {
    /// With the lines of a list of recipients, one address in each; empty lines and those that begin
    /// with `#` are nothing.
    ///
    /// # Errors
    /// The line that is no address of one of the domains.
    pub fn new(
        domains: impl IntoIterator<Item = Domain>,
        list: &str,
        lifetime: Duration,
    ) -> Result<Self, String> {
        let mut backup = Self {
            domains: domains.into_iter().collect(),
            lifetime,
            ..Self::default()
        };
        for line in list.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let address = EmailAddress::parse(line).map_err(|error| format!("{line}: {error}"))?;
            if !backup.domains.contains(&address.domain) {
                return Err(format!("{line}: not in one of the domains"));
            }
            backup.recipients.insert(address.key());
            backup.listed.insert(address.domain);
        }
        Ok(backup)
    }

    /// The domains.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.domains.iter()
    }

    /// Whether this is a domain whose mail is kept for another server.
    #[must_use]
    pub fn has(&self, domain: &Domain) -> bool {
        self.domains.contains(domain)
    }

    /// Whether a recipient is taken: also with a sub-address, where there is a separator.
    pub(super) fn takes(&self, address: &EmailAddress, separator: Option<char>) -> Backup {
        if !self.has(&address.domain) {
            return Backup::NotOurs;
        }
        let plain = separator.and_then(|separator| address.without_tag(separator));
        let mut names = [Some(address), plain.as_ref()].into_iter().flatten();
        if !self.listed.contains(&address.domain)
            || names.any(|name| self.recipients.contains(&name.key()))
        {
            Backup::Taken
        } else {
            Backup::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_with_and_without_a_list() {
        let domains = ["red.test", "black.test"].map(|text| Domain::parse(text).unwrap());
        let list = "# us\n\n Bob@red.test \n";
        let backup = BackupMx::new(domains.clone(), list, Duration::ZERO).unwrap();
        for (text, expected) in [
            ("bob@red.test", Backup::Taken),
            ("bob+x@red.test", Backup::Taken),
            ("alice@red.test", Backup::Unknown),
            ("anybody@black.test", Backup::Taken),
            ("bob@blue.test", Backup::NotOurs),
        ] {
            let address = EmailAddress::parse(text).unwrap();
            assert_eq!(backup.takes(&address, Some('+')), expected, "{text}");
        }
        for wrong in ["bob", "bob@blue.test"] {
            assert!(BackupMx::new(domains.clone(), wrong, Duration::ZERO).is_err());
        }
    }
}
