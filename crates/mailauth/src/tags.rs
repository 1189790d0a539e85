//! Lists of `tag=value` as DKIM, ARC and DMARC have them (RFC 6376 §3.2).
//!
//! It splits a list and checks its grammar; what a tag means is the business of who asked.

use std::fmt;
use std::ops::Range;

/// The longest list that is read. A signature with an RSA key of 8,192 bits and a hundred signed
/// fields takes about 4 KB; a key record has at most 64 KB in the DNS, and real ones under 2 KB.
pub const LIST_BYTES_MAX: usize = 16 * 1024;
/// The most tags of a list; RFC 6376 names 14, and DMARC fewer.
pub const TAGS_MAX: usize = 64;

/// Why bytes are not a list of tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TagError {
    /// Longer than [`LIST_BYTES_MAX`].
    TooLong,
    /// More than [`TAGS_MAX`] tags.
    TooMany,
    /// Something stands where `name=value` should.
    Malformed,
    /// RFC 6376 §3.2: a name twice makes the whole list invalid.
    Duplicate,
}

impl fmt::Display for TagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the list of tags is too long",
            Self::TooMany => "there are too many tags",
            Self::Malformed => "a tag is not written as name=value",
            Self::Duplicate => "a tag stands there twice",
        })
    }
}

impl std::error::Error for TagError {}

/// One tag with its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tag<'a> {
    /// `tag-name = ALPHA *ALNUMPUNC`; upper and lower case differ.
    pub name: &'a str,
    /// The value without the white space around it; inside it white space and folding are as
    /// written.
    pub value: &'a str,
    /// Where everything between `=` and the next `;` lies in the bytes given, white space included.
    pub span: Range<usize>,
}

/// A list of tags, in its order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TagList<'a>(Vec<Tag<'a>>);

impl<'a> TagList<'a> {
    /// Reads `tag-list = tag-spec *( ";" tag-spec ) [ ";" ]`. Values may be of UTF-8 (RFC 8616 §4).
    ///
    /// # Errors
    /// The [`TagError`] that says what is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TagError> {
        if bytes.len() > LIST_BYTES_MAX {
            return Err(TagError::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| TagError::Malformed)?;
        let mut tags: Vec<Tag<'a>> = Vec::new();
        let mut start = 0;
        while start < text.len() {
            let end = memchr::memchr(b';', &bytes[start..]).map_or(text.len(), |at| start + at);
            let spec = &text[start..end];
            // The last `;` may end the list; only white space can follow it then.
            if end == text.len() && !tags.is_empty() && is_blank(spec) {
                break;
            }
            let tag = parse_tag(spec, start)?;
            if tags.iter().any(|known| known.name == tag.name) {
                return Err(TagError::Duplicate);
            }
            if tags.len() == TAGS_MAX {
                return Err(TagError::TooMany);
            }
            tags.push(tag);
            start = end + 1;
        }
        if tags.is_empty() {
            return Err(TagError::Malformed);
        }
        Ok(Self(tags))
    }

    /// The value of a tag.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.tag(name).map(|tag| tag.value)
    }

    /// A tag.
    #[must_use]
    pub fn tag(&self, name: &str) -> Option<&Tag<'a>> {
        self.0.iter().find(|tag| tag.name == name)
    }

    /// All tags in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = &Tag<'a>> {
        self.0.iter()
    }
}

/// The items of a value that is a list with colons, without white space around them.
pub fn items(value: &str) -> impl Iterator<Item = &str> {
    value.split(':').map(trim)
}

/// A value without any white space, as base64 is to be read (RFC 6376 §2.10).
#[must_use]
pub fn without_space(value: &str) -> String {
    value.chars().filter(|c| !is_space(*c)).collect()
}

fn parse_tag(spec: &str, start: usize) -> Result<Tag<'_>, TagError> {
    let equals = spec.find('=').ok_or(TagError::Malformed)?;
    let name = trim(&spec[..equals]);
    let mut letters = name.bytes();
    let starts_well = letters.next().is_some_and(|b| b.is_ascii_alphabetic());
    if !starts_well || !letters.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(TagError::Malformed);
    }
    let value = trim(&spec[equals + 1..]);
    if value.chars().any(|c| c.is_control() && !is_space(c)) {
        return Err(TagError::Malformed);
    }
    Ok(Tag {
        name,
        value,
        span: start + equals + 1..start + spec.len(),
    })
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_blank(text: &str) -> bool {
    text.chars().all(is_space)
}

fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(list: &str) -> Result<Vec<(&str, &str)>, TagError> {
        let list = TagList::parse(list.as_bytes())?;
        Ok(list
            .0
            .into_iter()
            .map(|tag| (tag.name, tag.value))
            .collect())
    }

    #[test]
    fn tags_lose_the_space_around_them_only() {
        assert_eq!(
            shown(" a = b c ;\r\n\td= e=f;g=;"),
            Ok(vec![("a", "b c"), ("d", "e=f"), ("g", "")])
        );
        assert_eq!(shown("a=1; \r\n "), Ok(vec![("a", "1")]));
        assert_eq!(shown("a=b\r\n c"), Ok(vec![("a", "b\r\n c")]));
    }

    #[test]
    fn what_the_grammar_has_not_is_refused() {
        for wrong in [
            "", " ", ";", "a", "a=1;;b=2", "1a=2", "a b=1", "=x", "a=\u{1}", "a-b=1",
        ] {
            assert_eq!(shown(wrong), Err(TagError::Malformed), "{wrong:?}");
        }
        assert_eq!(shown("a=1; a=2"), Err(TagError::Duplicate));
        assert_eq!(shown("a=1; A=2"), Ok(vec![("a", "1"), ("A", "2")]));
        assert!(TagList::parse(b"a=\xff").is_err());
    }

    #[test]
    fn limits_at_the_limit_and_beyond() {
        let tags = |count: usize| -> String { (0..count).map(|n| format!("a{n}=;")).collect() };
        assert_eq!(shown(&tags(TAGS_MAX)).map(|list| list.len()), Ok(TAGS_MAX));
        assert_eq!(shown(&tags(TAGS_MAX + 1)), Err(TagError::TooMany));
        let long = format!("a={}", "b".repeat(LIST_BYTES_MAX - 2));
        assert!(shown(&long).is_ok());
        assert_eq!(shown(&format!("{long}b")), Err(TagError::TooLong));
    }

    #[test]
    fn the_span_holds_everything_up_to_the_semicolon() {
        let list = TagList::parse(b"a=1; b= x y ;c=").unwrap();
        assert_eq!(list.tag("b").unwrap().span, 7..12);
        assert_eq!(list.tag("c").unwrap().span, 15..15);
    }
}
