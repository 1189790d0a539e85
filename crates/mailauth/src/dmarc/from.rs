//! Whose letter it says it is: the domains of the From field (RFC 9989 §5.3.1).

use base::Domain;
use message::Fields;

/// Author domains of one letter that are checked. A letter with more is a trick or a mistake.
pub const AUTHOR_DOMAINS_MAX: usize = 10;
/// Addresses of the From fields that are looked at.
const ADDRESSES_MAX: usize = 200;

/// The author domains of a letter.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Authors {
    /// Each once, in A-labels, in the order of the letter; at most [`AUTHOR_DOMAINS_MAX`].
    pub domains: Vec<String>,
    /// What is wrong with the From field.
    pub fault: Option<AuthorFault>,
}

/// What is wrong with a From field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuthorFault {
    /// There is none, or none with an address.
    Missing,
    /// There are several (RFC 5322 §3.6 allows one).
    SeveralFields,
    /// An address in it has no domain that could be read.
    Unreadable,
    /// It names more domains than are checked.
    TooManyDomains,
}

impl AuthorFault {
    /// In words.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "no author",
            Self::SeveralFields => "several From fields",
            Self::Unreadable => "an author's address cannot be read",
            Self::TooManyDomains => "the authors are of too many domains",
        }
    }
}

impl Authors {
    /// Reads the From fields of a letter. All of them count, and every address in them: a reader's
    /// program may show any of them (RFC 9989 §11.5).
    #[must_use]
    pub fn read(fields: Fields<'_>) -> Self {
        let mut authors = Self::default();
        let mut count = 0;
        for field in fields.named("From") {
            count += 1;
            if count > 1 {
                authors.note(AuthorFault::SeveralFields);
            }
            for (position, mailbox) in field.addresses().mailboxes().enumerate() {
                if position == ADDRESSES_MAX {
                    authors.note(AuthorFault::TooManyDomains);
                    break;
                }
                match host_name(&mailbox.domain) {
                    Some(domain) => authors.add(domain),
                    None => authors.note(AuthorFault::Unreadable),
                }
            }
        }
        if authors.domains.is_empty() {
            authors.note(AuthorFault::Missing);
        }
        authors
    }

    /// The only domain of the only From field; `None` if there is another, or a fault.
    #[must_use]
    pub fn sole(&self) -> Option<&str> {
        match (self.fault, self.domains.as_slice()) {
            (None, [only]) => Some(only),
            _ => None,
        }
    }

    fn add(&mut self, domain: String) {
        if self.domains.contains(&domain) {
            return;
        }
        if self.domains.len() == AUTHOR_DOMAINS_MAX {
            self.note(AuthorFault::TooManyDomains);
        } else {
            self.domains.push(domain);
        }
    }

    /// The worst fault is kept: one that leaves domains unchecked.
    fn note(&mut self, fault: AuthorFault) {
        match (self.fault, fault) {
            (Some(AuthorFault::TooManyDomains), _)
            | (Some(AuthorFault::Unreadable), AuthorFault::SeveralFields) => {}
            _ => self.fault = Some(fault),
        }
    }
}

/// The domain of an address in A-labels; `None` for what is no host name, so that nobody can stand
/// behind it.
fn host_name(text: &str) -> Option<String> {
    let domain = Domain::parse(text.strip_suffix('.').unwrap_or(text)).ok()?;
    let is_name = !domain.as_str().starts_with('[');
    is_name.then(|| domain.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(letter: &str) -> (Vec<String>, Option<AuthorFault>) {
        let authors = Authors::read(Fields::new(letter.as_bytes()));
        (authors.domains, authors.fault)
    }

    #[test]
    fn every_domain_counts_once() {
        let one = "From: \"x@other.test\" <a@Red.Test>, b@red.test\r\n\r\n";
        assert_eq!(read(one), (vec!["red.test".to_owned()], None));
        let group = "From: Us: a@red.test, b@blue.test;\r\n\r\n";
        assert_eq!(read(group).0, ["red.test", "blue.test"]);
        let international = "From: a@b\u{fc}cher.test\r\n\r\n";
        assert_eq!(read(international).0, ["xn--bcher-kva.test"]);
    }

    #[test]
    fn faults_are_named() {
        assert_eq!(read("To: x\r\n\r\n").1, Some(AuthorFault::Missing));
        assert_eq!(read("From: nobody\r\n\r\n").1, Some(AuthorFault::Missing));
        let twice = read("From: a@red.test\r\nFROM : b@blue.test\r\n\r\n");
        assert_eq!(twice.0, ["red.test", "blue.test"]);
        assert_eq!(twice.1, Some(AuthorFault::SeveralFields));
        let half = read("From: a@red.test, b@[nowhere\r\n\r\n");
        assert_eq!(half.0, ["red.test"]);
        assert_eq!(half.1, Some(AuthorFault::Unreadable));
        let odd = read("From: a@red.test, b@bl$ue.test\r\n\r\n");
        assert_eq!(odd.0, ["red.test"]);
        assert_eq!(odd.1, Some(AuthorFault::Unreadable));
        let both = read("From: b@[nowhere\r\nFrom: a@red.test\r\n\r\n");
        assert_eq!(both.1, Some(AuthorFault::Unreadable));
        let two = read("From: <ceo@bank.test> <a@evil.test>\r\n\r\n");
        assert_eq!(two.0, ["bank.test", "evil.test"]);
    }

    #[test]
    fn domains_at_the_limit_and_one_more() {
        let list = |count: usize| {
            let addresses: Vec<_> = (0..count).map(|n| format!("a@n{n}.test")).collect();
            format!("From: {}\r\n\r\n", addresses.join(", "))
        };
        assert_eq!(read(&list(AUTHOR_DOMAINS_MAX)).1, None);
        let more = read(&list(AUTHOR_DOMAINS_MAX + 1));
        assert_eq!(more.0.len(), AUTHOR_DOMAINS_MAX);
        assert_eq!(more.1, Some(AuthorFault::TooManyDomains));
    }
}
