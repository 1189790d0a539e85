//! The addresses that a mailing list has beside its own: `list-owner`, `list-request`,
//! `list-subscribe`, `list-unsubscribe`, `list-confirm`, `list-moderate` and `list-bounces`. Behind a
//! `+` some carry a tag, whose meaning and proof are not known here.

use base::{EmailAddress, LocalPart};

/// What separates a tag; fixed, as such addresses stand in letters that were sent long ago.
const TAG_SEPARATOR: char = '+';

/// What an address of a list is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListPart {
    /// The list itself: a letter for its members.
    Post,
    /// Its owners, in person.
    Owner,
    /// Words for the program (RFC 2142 §6).
    Request,
    /// Asks to become a member.
    Subscribe,
    /// Asks not to be a member any more.
    Unsubscribe,
    /// Answers a question of ours.
    Confirm,
    /// An owner's word about a held letter.
    Moderate,
    /// Where reports of failure come back.
    Bounces,
}

/// One of the addresses of a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListAddress {
    /// The list's own address.
    pub list: EmailAddress,
    /// Which of its addresses.
    pub part: ListPart,
    /// What stands behind the `+`; empty if nothing does.
    pub tag: String,
}

impl ListPart {
    /// All that have a suffix, with it.
    const SUFFIXES: [(Self, &'static str); 7] = [
        (Self::Owner, "-owner"),
        (Self::Request, "-request"),
        (Self::Subscribe, "-subscribe"),
        (Self::Unsubscribe, "-unsubscribe"),
        (Self::Confirm, "-confirm"),
        (Self::Moderate, "-moderate"),
        (Self::Bounces, "-bounces"),
    ];

    /// What stands behind the list's name; empty for the list itself.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        let known = Self::SUFFIXES.iter().find(|(part, _)| *part == self);
        known.map_or("", |(_, suffix)| suffix)
    }
}

impl ListAddress {
    /// One of a list's addresses.
    #[must_use]
    pub fn new(list: &EmailAddress, part: ListPart, tag: impl Into<String>) -> Self {
        Self {
            list: list.clone(),
            part,
            tag: tag.into(),
        }
    }

    /// What the address would be if a list of the name before the suffix existed; `None` if it has no
    /// suffix of a list.
    pub(crate) fn split(address: &EmailAddress) -> Option<Self> {
        let local = address.local.as_str();
        let (name, tag) = local.split_once(TAG_SEPARATOR).unwrap_or((local, ""));
        ListPart::SUFFIXES.iter().find_map(|(part, suffix)| {
            let at = name.len().checked_sub(suffix.len())?;
            let (list, end) = (name.get(..at)?, name.get(at..)?);
            let list = EmailAddress {
                local: LocalPart::parse(list).ok()?,
                domain: address.domain.clone(),
            };
            end.eq_ignore_ascii_case(suffix)
                .then(|| Self::new(&list, *part, tag))
        })
    }

    /// As an address; `None` if it would be too long.
    #[must_use]
    pub fn to_address(&self) -> Option<EmailAddress> {
        let (local, suffix) = (self.list.local.as_str(), self.part.suffix());
        let text = match self.tag.as_str() {
            "" => format!("{local}{suffix}"),
            tag => format!("{local}{suffix}{TAG_SEPARATOR}{tag}"),
        };
        let local = LocalPart::parse(&text).ok()?;
        EmailAddress::parse(&format!("{local}@{}", self.list.domain)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> EmailAddress {
        EmailAddress::parse(text).unwrap()
    }

    #[test]
    fn there_and_back() {
        for (text, part, tag) in [
            ("dev-owner@red.test", ListPart::Owner, ""),
            ("dev-bounces+1a-xyz@red.test", ListPart::Bounces, "1a-xyz"),
            ("Dev-Unsubscribe@red.test", ListPart::Unsubscribe, ""),
        ] {
            let split = ListAddress::split(&address(text)).unwrap();
            assert_eq!((split.part, split.tag.as_str()), (part, tag), "{text}");
            let back = split.to_address().unwrap().to_string();
            assert!(back.eq_ignore_ascii_case(text), "{back}");
        }
        for text in ["dev@red.test", "-owner@red.test", "dev+x-owner@red.test"] {
            assert_eq!(ListAddress::split(&address(text)), None, "{text}");
        }
    }

    #[test]
    fn a_name_that_leaves_no_room_has_no_such_address() {
        let list = address(&format!("{}@red.test", "a".repeat(60)));
        let owner = ListAddress::new(&list, ListPart::Owner, "");
        assert_eq!(owner.to_address(), None);
    }
}
