//! What tests take from the letter: header fields, addresses, bodies.

use std::borrow::Cow;

use message::body::html_to_text;
use message::header::parse_addresses;
use message::{Content, Part};

use super::tests::Capture;
use super::{Go, Machine};
use crate::matching::{Work, cut};
use crate::program::{AddressPart, AddressTest, BodyTransform, Index, Matcher, Mime, Text};

/// What looking at the name of a field costs, and looking at a part.
pub(super) const FIELD_WORK: usize = 8;
pub(super) const PART_WORK: usize = 32;

/// Addresses of one field that are looked at.
const ADDRESSES_MAX: usize = 1_000;

impl<'a> Machine<'a> {
    /// The places of the fields of this name, those that `:index` chooses.
    pub(super) fn places(&mut self, name: &str, index: Option<Index>) -> Go<Vec<usize>> {
        self.budget
            .work(self.fields.len().saturating_mul(FIELD_WORK))?;
        let named = self.fields.iter().enumerate();
        let places = named.filter(|(_, entry)| entry.name.eq_ignore_ascii_case(name.as_bytes()));
        Ok(chosen(places.map(|(place, _)| place).collect(), index))
    }

    /// The values of the fields of this name, decoded and without white space around.
    pub(super) fn header_values(
        &mut self,
        name: &str,
        index: Option<Index>,
        values: &mut Vec<Cow<'a, str>>,
    ) -> Go<()> {
        for place in self.places(name, index)? {
            let Some(entry) = self.fields.get(place) else {
                continue;
            };
            let value = entry
                .value
                .get(..self.limits.text_bytes_max)
                .unwrap_or(&entry.value);
            self.budget.work(value.len())?;
            values.push(Cow::Owned(message::header::decode_text(value)));
        }
        Ok(())
    }

    /// RFC 5228 §5.5.
    pub(super) fn exists(&mut self, headers: &'a [Text], mime: Option<&'a Mime>) -> Go<bool> {
        for name in self.texts(headers)? {
            let there = match mime {
                None => !self.places(&name, None)?.is_empty(),
                Some(mime) => !self.mime_fields(mime, &name)?.is_empty(),
            };
            if !there {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// RFC 5228 §5.1.
    pub(super) fn address(&mut self, test: &'a AddressTest) -> Go<bool> {
        let (mut values, mut count) = (Vec::new(), 0);
        let separator = self.run.user.detail_separator;
        for name in self.texts(&test.names)? {
            let fields: Vec<Vec<u8>> = match &test.mime {
                Some(mime) => chosen(self.mime_fields(mime, &name)?, test.index),
                None => {
                    let places = self.places(&name, test.index)?;
                    let entries = places.iter().filter_map(|place| self.fields.get(*place));
                    entries.map(|entry| entry.value.to_vec()).collect()
                }
            };
            for value in fields {
                let value = value.get(..self.limits.text_bytes_max).unwrap_or(&value);
                self.budget.work(value.len().saturating_mul(2))?;
                for mailbox in parse_addresses(value, ADDRESSES_MAX).mailboxes() {
                    count += 1;
                    let (local, domain) = (&mailbox.local, &mailbox.domain);
                    if domain.is_empty() {
                        // No address: only its whole can be compared (RFC 5228 §2.7.4).
                        if test.part == AddressPart::All {
                            values.push(Cow::Owned(local.clone()));
                        }
                        continue;
                    }
                    values
                        .extend(address_part(test.part, local, domain, separator).map(Cow::Owned));
                }
            }
        }
        self.matches_counted(&test.matcher, &values, count, Capture::Yes)
    }

    /// RFC 5173 §5. Wildcards give no variables a value (§6).
    pub(super) fn body(&mut self, transform: &'a BodyTransform, matcher: &'a Matcher) -> Go<bool> {
        let (letter, limit) = (self.run.letter, self.limits.body_bytes_max);
        let values: Vec<Cow<'a, str>> = match transform {
            BodyTransform::Raw => {
                let raw = letter.bytes(letter.root().body);
                vec![String::from_utf8_lossy(raw.get(..limit).unwrap_or(raw))]
            }
            BodyTransform::Text => {
                let mut texts = Vec::new();
                for part in descendants(letter.root()) {
                    self.budget.work(PART_WORK)?;
                    if part.content_type == "text" && part.children().is_empty() {
                        texts.push(Cow::Owned(self.part_text(part)?));
                    }
                }
                texts
            }
            BodyTransform::Content(types) => {
                let types = self.texts(types)?;
                let mut texts = Vec::new();
                for part in descendants(letter.root()) {
                    self.budget
                        .work(PART_WORK.saturating_mul(types.len() + 1))?;
                    if types.iter().any(|wanted| is_of_type(part, wanted)) {
                        self.content_values(part, &mut texts)?;
                    }
                }
                texts
            }
        };
        // Each is compared on its own: a letter of many small parts costs as much as one large.
        self.matches(matcher, &values, Capture::No)
    }

    /// What `:content` sees of a part (RFC 5173 §5.2).
    fn content_values(&mut self, part: &'a Part, out: &mut Vec<Cow<'a, str>>) -> Go<()> {
        let letter = self.run.letter;
        match &part.content {
            Content::Leaf => {
                let text = if part.content_type == "text" {
                    self.decoded_text(part)?
                } else {
                    let bytes = letter.decoded(part);
                    self.budget.work(part.body.len())?;
                    let bytes = bytes.get(..self.limits.body_bytes_max).unwrap_or(&bytes);
                    String::from_utf8_lossy(bytes).into_owned()
                };
                out.push(Cow::Owned(text));
            }
            // Of an inner letter the header.
            Content::Message(inner) => {
                out.push(String::from_utf8_lossy(letter.bytes(inner.root.header)));
            }
            // Of a multipart what stands before and behind its parts.
            Content::Multipart(children) => {
                let first = children
                    .first()
                    .map_or(part.body.end, |child| child.header.start);
                let last = children
                    .last()
                    .map_or(part.body.end, |child| child.body.end);
                for (start, end) in [(part.body.start, first), (last, part.body.end)] {
                    let span = message::Span::new(start as usize, end as usize);
                    out.push(String::from_utf8_lossy(letter.bytes(span)));
                }
            }
        }
        for value in out.iter().rev().take(2) {
            self.budget.work(value.len())?;
        }
        Ok(())
    }

    /// A text part for people: HTML without its markup.
    pub(super) fn part_text(&mut self, part: &Part) -> Go<String> {
        let text = self.decoded_text(part)?;
        Ok(if part.subtype == "html" {
            self.budget.work(text.len())?;
            html_to_text(&text, self.limits.body_bytes_max)
        } else {
            text
        })
    }

    fn decoded_text(&mut self, part: &Part) -> Go<String> {
        self.budget.work(part.body.len())?;
        let mut text = self.run.letter.text(part);
        text.truncate(cut(&text, self.limits.body_bytes_max).len());
        Ok(text)
    }
}

/// All of them, or the one that `:index` names.
pub(super) fn chosen<T>(mut all: Vec<T>, index: Option<Index>) -> Vec<T> {
    let Some(Index { number, last }) = index else {
        return all;
    };
    let place = if last {
        all.len().checked_sub(number)
    } else {
        Some(number - 1)
    };
    match place {
        Some(place) if place < all.len() => vec![all.swap_remove(place)],
        Some(_) | None => Vec::new(),
    }
}

/// The part of an address that is compared; a part that is not there matches nothing.
pub(super) fn address_part(
    part: AddressPart,
    local: &str,
    domain: &str,
    separator: Option<char>,
) -> Option<String> {
    let split = separator.and_then(|separator| local.split_once(separator));
    match part {
        AddressPart::All => Some(format!("{local}@{domain}")),
        AddressPart::LocalPart => Some(local.to_owned()),
        AddressPart::Domain => Some(domain.to_owned()),
        // RFC 5233 §4.
        AddressPart::User => Some(split.map_or(local, |(user, _)| user).to_owned()),
        AddressPart::Detail => split.map(|(_, detail)| detail.to_owned()),
    }
}

/// A part and all below it, inner letters too, in the order of the letter.
pub(super) fn descendants(part: &Part) -> Vec<&Part> {
    let mut out = Vec::new();
    let mut open = vec![part];
    while let Some(part) = open.pop() {
        out.push(part);
        match &part.content {
            Content::Leaf => {}
            Content::Multipart(children) => open.extend(children.iter().rev()),
            Content::Message(inner) => open.push(&inner.root),
        }
    }
    out
}

/// RFC 5173 §5.2: `""`, `text`, or `text/plain`; what is no type matches nothing.
fn is_of_type(part: &Part, wanted: &str) -> bool {
    let wanted = wanted.trim();
    match wanted.split_once('/') {
        None if wanted.is_empty() => true,
        None => part.content_type.eq_ignore_ascii_case(wanted),
        Some((kind, subtype)) => {
            part.content_type.eq_ignore_ascii_case(kind)
                && part.subtype.eq_ignore_ascii_case(subtype)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_5233_4_parts_of_addresses() {
        let check = |part, local, expected: Option<&str>| {
            let found = address_part(part, local, "x.test", Some('+'));
            assert_eq!(found.as_deref(), expected, "{local}");
        };
        check(AddressPart::User, "ken+sieve", Some("ken"));
        check(AddressPart::Detail, "ken+sieve", Some("sieve"));
        check(AddressPart::Detail, "ken+", Some(""));
        check(AddressPart::Detail, "ken", None);
        check(AddressPart::User, "ken", Some("ken"));
        check(AddressPart::User, "+x", Some(""));
        check(AddressPart::All, "ken+a+b", Some("ken+a+b@x.test"));
        check(AddressPart::Detail, "ken+a+b", Some("a+b"));
        assert_eq!(address_part(AddressPart::Detail, "ken+a", "x", None), None);
    }

    #[test]
    fn rfc_5260_6_index() {
        let index = |number, last| Some(Index { number, last });
        assert_eq!(chosen(vec![1, 2, 3], None), [1, 2, 3]);
        assert_eq!(chosen(vec![1, 2, 3], index(1, false)), [1]);
        assert_eq!(chosen(vec![1, 2, 3], index(3, true)), [1]);
        assert_eq!(chosen(vec![1, 2, 3], index(4, true)), [0; 0]);
        assert_eq!(chosen(vec![1, 2, 3], index(4, false)), [0; 0]);
    }
}
