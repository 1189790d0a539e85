//! Comparators (RFC 4790): how two texts are made comparable.

use std::borrow::Cow;
use std::cmp::Ordering;

use unicode_normalization::char::decompose_compatible;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Comparator {
    /// `i;octet`.
    Octet,
    /// `i;ascii-casemap`, the one that is used when none is named.
    #[default]
    AsciiCasemap,
    /// `i;ascii-numeric`: the digits at the start; a text without any is larger than all numbers.
    AsciiNumeric,
    /// `i;unicode-casemap` (RFC 5051).
    UnicodeCasemap,
}

/// A text made comparable.
pub(crate) struct Folded<'a> {
    pub(crate) text: Cow<'a, str>,
    /// For each byte of `text` where its character begins in the original, and the length of the
    /// original; `None` when they are the same.
    offsets: Option<Vec<usize>>,
}

impl Folded<'_> {
    /// The offset in the original.
    pub(crate) fn original(&self, at: usize) -> usize {
        match &self.offsets {
            None => at,
            Some(offsets) => offsets.get(at).copied().unwrap_or(0),
        }
    }

    /// Where the character of the original ends that stands at an offset; `None` at the end.
    pub(crate) fn end_of_character(&self, at: usize) -> Option<usize> {
        let rest = self.text.get(at..)?;
        let mut length = rest.chars().next()?.len_utf8();
        if self.offsets.is_some() {
            // One character may have become several.
            let next = |length: &usize| self.original(at + length) == self.original(at);
            while next(&length) && length < rest.len() {
                length += 1;
            }
        }
        Some(at + length)
    }

    /// Where the character of the original starts that ends at an offset; `None` at the start.
    pub(crate) fn start_of_character(&self, end: usize) -> Option<usize> {
        let before = self.text.get(..end)?;
        let mut start = end - before.chars().next_back()?.len_utf8();
        if self.offsets.is_some() {
            while start > 0 && self.original(start - 1) == self.original(start) {
                start -= 1;
            }
        }
        Some(start)
    }
}

impl Comparator {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "i;octet" => Self::Octet,
            "i;ascii-casemap" => Self::AsciiCasemap,
            "i;ascii-numeric" => Self::AsciiNumeric,
            "i;unicode-casemap" => Self::UnicodeCasemap,
            _ => return None,
        })
    }

    /// Whether it can look for a part of a text (RFC 4790 §9.1.1: numbers have none).
    pub(crate) fn has_substrings(self) -> bool {
        self != Self::AsciiNumeric
    }

    pub(crate) fn fold(self, text: &str) -> Folded<'_> {
        let same = |text| Folded {
            text,
            offsets: None,
        };
        match self {
            Self::Octet => same(Cow::Borrowed(text)),
            Self::AsciiNumeric => same(Cow::Borrowed(number(text))),
            Self::UnicodeCasemap if !text.is_ascii() => fold_unicode(text),
            Self::AsciiCasemap | Self::UnicodeCasemap => {
                if text.bytes().any(|b| b.is_ascii_lowercase()) {
                    same(Cow::Owned(text.to_ascii_uppercase()))
                } else {
                    same(Cow::Borrowed(text))
                }
            }
        }
    }

    /// The order of two folded texts.
    pub(crate) fn order(self, a: &str, b: &str) -> Ordering {
        match self {
            Self::Octet | Self::AsciiCasemap | Self::UnicodeCasemap => a.cmp(b),
            Self::AsciiNumeric => match (a.is_empty(), b.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
            },
        }
    }
}

/// The digits at the start without zeros in front; empty when there are none.
fn number(text: &str) -> &str {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    let digits = &text[..length];
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() && !digits.is_empty() {
        &digits[length - 1..]
    } else {
        significant
    }
}

/// RFC 5051 §2: title case, then compatibility decomposition, of each character by itself. Title
/// case is upper case here, which only differs for letters that decompose to the same.
fn fold_unicode(text: &str) -> Folded<'_> {
    let mut out = String::with_capacity(text.len());
    let mut offsets = Vec::with_capacity(text.len() + 1);
    for (at, c) in text.char_indices() {
        let mut upper = c.to_uppercase();
        // A character without a single counterpart stays (the simple mapping).
        let c = match (upper.next(), upper.next()) {
            (Some(single), None) => single,
            _ => c,
        };
        decompose_compatible(c, |part| out.push(part));
        offsets.resize(out.len(), at);
    }
    offsets.push(text.len());
    Folded {
        text: Cow::Owned(out),
        offsets: Some(offsets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(comparator: Comparator, a: &str, b: &str) -> Ordering {
        comparator.order(&comparator.fold(a).text, &comparator.fold(b).text)
    }

    #[test]
    fn rfc_4790_9_1_numbers() {
        let numeric = |a, b| order(Comparator::AsciiNumeric, a, b);
        assert_eq!(numeric("007", "7 apples"), Ordering::Equal);
        assert_eq!(numeric("10", "9"), Ordering::Greater);
        assert_eq!(
            numeric("apples", "99999999999999999999999"),
            Ordering::Greater
        );
        assert_eq!(numeric("apples", ""), Ordering::Equal);
        assert_eq!(numeric("0", "00"), Ordering::Equal);
        assert_eq!(numeric("-1", "1"), Ordering::Greater);
    }

    #[test]
    fn rfc_4790_9_2_and_9_3() {
        assert_eq!(
            order(Comparator::AsciiCasemap, "Straße", "sTRAße"),
            Ordering::Equal
        );
        assert_eq!(order(Comparator::AsciiCasemap, "É", "é"), Ordering::Less);
        // Between upper and lower case letters lie other signs.
        assert_eq!(order(Comparator::AsciiCasemap, "a", "_"), Ordering::Less);
        assert_eq!(order(Comparator::Octet, "A", "a"), Ordering::Less);
    }

    #[test]
    fn rfc_5051_letters_of_unicode() {
        let same = |a, b| order(Comparator::UnicodeCasemap, a, b) == Ordering::Equal;
        assert!(same("É", "é"));
        assert!(same("e\u{301}", "É"));
        assert!(same("ＡＢＣ", "abc"), "full width");
        assert!(!same("e", "é"));
        let folded = Comparator::UnicodeCasemap.fold("éa");
        assert_eq!(folded.original(folded.text.len()), 3);
        assert_eq!(folded.original(folded.text.find('A').unwrap()), 2);
    }
}
