//! Names of mailboxes.

use crate::StoreError;

/// Bytes of one level.
const LEVEL_BYTES_MAX: usize = 255;
/// Levels of a name.
const LEVELS_MAX: usize = 20;

/// A name that may stand in the store: levels joined by `/`, `INBOX` in capitals.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MailboxName(String);

impl MailboxName {
    /// Reads a name.
    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        let refuse = |why: &str| Err(StoreError::Invalid(format!("mailbox name: {why}")));
        if text.is_empty() {
            return refuse("empty");
        }
        if text.chars().any(char::is_control) {
            return refuse("has control characters");
        }
        if text.split('/').count() > LEVELS_MAX {
            return refuse("more than 20 levels");
        }
        for level in text.split('/') {
            if level.is_empty() {
                return refuse("has an empty level");
            }
            if level.len() > LEVEL_BYTES_MAX {
                return refuse("a level has more than 255 bytes");
            }
        }
        // RFC 9051 §5.1: INBOX in any case is the same; so is the first level of its children.
        let (first, rest) = text
            .split_once('/')
            .map_or((text, ""), |(first, rest)| (first, rest));
        Ok(Self(if first.eq_ignore_ascii_case("inbox") {
            if rest.is_empty() {
                "INBOX".to_owned()
            } else {
                format!("INBOX/{rest}")
            }
        } else {
            text.to_owned()
        }))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_inbox(&self) -> bool {
        self.0 == "INBOX"
    }

    /// The names above it, outermost first.
    pub(crate) fn parents(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(at, _)| &self.0[..at])
    }

    /// Whether another name is below it.
    pub(crate) fn is_above(&self, other: &Self) -> bool {
        other
            .0
            .strip_prefix(&self.0)
            .is_some_and(|rest| rest.starts_with('/'))
    }

    /// The range in which the names below it lie: `/` up to `0`, the next character.
    pub(crate) fn children(&self) -> (String, String) {
        (format!("{}/", self.0), format!("{}0", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let name = MailboxName::parse(text).ok();
        assert_eq!(name.as_ref().map(MailboxName::as_str), expected, "{text}");
    }

    #[test]
    fn names() {
        check("Work/2026", Some("Work/2026"));
        check("inBox", Some("INBOX"));
        check("inbox/a", Some("INBOX/a"));
        check("Inboxes", Some("Inboxes"));
        check("", None);
        check("/a", None);
        check("a//b", None);
        check("a/", None);
        check("a\nb", None);
    }

    #[test]
    fn limits() {
        check(&"a".repeat(255), Some(&"a".repeat(255)));
        check(&"a".repeat(256), None);
        check(&["a"; 20].join("/"), Some(&["a"; 20].join("/")));
        check(&["a"; 21].join("/"), None);
    }

    #[test]
    fn parents_and_children() {
        let name = MailboxName::parse("a/b/c").unwrap();
        assert_eq!(name.parents().collect::<Vec<_>>(), ["a", "a/b"]);
        assert!(MailboxName::parse("a/b").unwrap().is_above(&name));
        assert!(!MailboxName::parse("a/bb").unwrap().is_above(&name));
    }
}
