//! The keywords of messages. Most messages have none or the same few, so that a set is shared: whoever
//! lists a mailbox of 100,000 messages holds one of each kind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::StoreError;

/// Keywords of one message.
const KEYWORDS_MAX: usize = 100;
/// Bytes of one keyword (RFC 8621 §4.1.1).
const KEYWORD_BYTES_MAX: usize = 255;
/// Bytes of all keywords of one message: whoever opens a mailbox holds them for all its messages.
const KEYWORDS_BYTES_MAX: usize = 1_024;
/// Different sets that a list remembers.
const KINDS_MAX: usize = 64;

/// The keywords of a message in JMAP form (RFC 8621 §4.1.1): `$seen`, `$flagged`, `$answered`,
/// `$draft`, and any other in lower case. `\Deleted` is not one of them: it belongs to a placement.
/// Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Keywords(Option<Arc<BTreeSet<Box<str>>>>);

impl Keywords {
    /// Whether a keyword is among them.
    #[must_use]
    pub fn contains(&self, keyword: &str) -> bool {
        self.0.as_ref().is_some_and(|set| set.contains(keyword))
    }

    /// Whether `$seen` is among them.
    #[must_use]
    pub fn seen(&self) -> bool {
        self.contains("$seen")
    }

    /// The keywords, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|set| set.iter().map(AsRef::as_ref))
    }

    /// Adds a keyword.
    pub fn insert(&mut self, keyword: &str) {
        if !self.contains(keyword) {
            Arc::make_mut(self.0.get_or_insert_default()).insert(keyword.into());
        }
    }

    /// These and those.
    #[must_use]
    pub fn with(&self, others: &Self) -> Self {
        let mut all = self.clone();
        others.iter().for_each(|keyword| all.insert(keyword));
        all
    }

    /// These without those.
    #[must_use]
    pub fn without(&self, others: &Self) -> Self {
        let kept = self.iter().filter(|keyword| !others.contains(keyword));
        kept.collect()
    }

    /// As they are stored: in order, with spaces between them.
    pub(crate) fn stored(&self) -> Result<String, StoreError> {
        if self.iter().count() > KEYWORDS_MAX {
            return Err(StoreError::Invalid(format!(
                "a message has at most {KEYWORDS_MAX} keywords"
            )));
        }
        let mut text = String::new();
        for keyword in self.iter() {
            let fits = (1..=KEYWORD_BYTES_MAX).contains(&keyword.len())
                && keyword.bytes().all(|byte| byte.is_ascii_graphic());
            if !fits {
                return Err(StoreError::Invalid("a keyword is not an atom".to_owned()));
            }
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(keyword);
        }
        if text.len() > KEYWORDS_BYTES_MAX {
            return Err(StoreError::Invalid(format!(
                "the keywords of a message have at most {KEYWORDS_BYTES_MAX} bytes"
            )));
        }
        Ok(text)
    }

    /// From what was stored.
    pub(crate) fn from_stored(text: &str) -> Self {
        text.split_ascii_whitespace().collect()
    }
}

impl<'a> FromIterator<&'a str> for Keywords {
    fn from_iter<I: IntoIterator<Item = &'a str>>(keywords: I) -> Self {
        let set: BTreeSet<Box<str>> = keywords.into_iter().map(Box::from).collect();
        Self((!set.is_empty()).then(|| Arc::new(set)))
    }
}

/// Reads the keywords of many messages, each kind once.
#[derive(Default)]
pub(super) struct Kinds(BTreeMap<Box<str>, Keywords>);

impl Kinds {
    pub(super) fn read(&mut self, text: &str) -> Keywords {
        if text.is_empty() {
            return Keywords::default();
        }
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let keywords = Keywords::from_stored(text);
        if self.0.len() < KINDS_MAX {
            self.0.insert(text.into(), keywords.clone());
        }
        keywords
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_compared_by_what_is_in_them() {
        let mut one: Keywords = ["$seen"].into_iter().collect();
        one.insert("work");
        let other = Keywords::from_stored("work $seen");
        assert_eq!(one, other);
        assert_eq!(one.without(&other), Keywords::default());
        assert_eq!(Keywords::default().with(&one), other);
        assert_eq!(one.stored().unwrap(), "$seen work");
    }

    #[test]
    fn each_kind_is_read_once() {
        let mut kinds = Kinds::default();
        let (first, second) = (kinds.read("$seen a"), kinds.read("$seen a"));
        let (Some(first), Some(second)) = (first.0, second.0) else {
            panic!("no keywords");
        };
        assert!(Arc::ptr_eq(&first, &second));
    }
}
