//! A letter: its raw bytes and the tree over them.

use std::borrow::Cow;

use crate::body::{PREVIEW_CHARS_MAX, charset_to_utf8, html_to_text, preview_of};
use crate::header::{Field, Fields};
use crate::mime::{self, BodyLists, Envelope, Part, Structure, Walk};
use crate::thread::ThreadKeys;
use crate::{ParseLimits, Span};

/// Encoded bytes of a text part that a preview looks at: enough for 256 characters behind a
/// newsletter's style sheet, and a bound for everything else.
const PREVIEW_BODY_BYTES_MAX: usize = 64 * 1024;

/// A parsed letter. Parsing never fails and takes time linear in the letter's length.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    raw: &'a [u8],
    structure: Structure,
}

impl<'a> Message<'a> {
    /// Parses a letter within the default limits.
    #[must_use]
    pub fn parse(raw: &'a [u8]) -> Self {
        Self::parse_with(raw, &ParseLimits::default())
    }

    /// Parses a letter.
    #[must_use]
    pub fn parse_with(raw: &'a [u8], limits: &ParseLimits) -> Self {
        Self {
            raw,
            structure: mime::parse(raw, limits),
        }
    }

    /// A letter that was parsed before. A structure of another letter gives wrong texts, but never
    /// a panic.
    #[must_use]
    pub const fn with_structure(raw: &'a [u8], structure: Structure) -> Self {
        Self { raw, structure }
    }

    /// The raw letter.
    #[must_use]
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The tree and envelope.
    #[must_use]
    pub const fn structure(&self) -> &Structure {
        &self.structure
    }

    /// The tree and envelope, for keeping.
    #[must_use]
    pub fn into_structure(self) -> Structure {
        self.structure
    }

    /// The envelope.
    #[must_use]
    pub const fn envelope(&self) -> &Envelope {
        &self.structure.envelope
    }

    /// The letter as a part.
    #[must_use]
    pub const fn root(&self) -> &Part {
        &self.structure.root
    }

    /// The header with the empty line after it.
    #[must_use]
    pub fn header(&self) -> &'a [u8] {
        self.structure.root.header.of(self.raw)
    }

    /// The fields of the header.
    #[must_use]
    pub fn fields(&self) -> Fields<'a> {
        Fields::new(self.header())
    }

    /// The first field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Field<'a>> {
        self.fields().find(name)
    }

    /// Whether there is a field of this name.
    #[must_use]
    pub fn has_field(&self, name: &str) -> bool {
        self.field(name).is_some()
    }

    /// The part that an IMAP section number names; see [`Structure::part`].
    #[must_use]
    pub fn part(&self, path: &[u32]) -> Option<&Part> {
        self.structure.part(path)
    }

    /// The raw bytes of a span.
    #[must_use]
    pub fn bytes(&self, span: Span) -> &'a [u8] {
        span.of(self.raw)
    }

    /// The body of a part with its transfer encoding decoded.
    #[must_use]
    pub fn decoded(&self, part: &Part) -> Cow<'a, [u8]> {
        part.transfer_encoding().decode(part.body.of(self.raw))
    }

    /// The body of a text part as UTF-8, with its line ends as they are.
    #[must_use]
    pub fn text(&self, part: &Part) -> String {
        text_of(part, part.body.of(self.raw))
    }

    /// What is shown as text, as HTML and as attachments (JMAP).
    #[must_use]
    pub fn body_lists(&self) -> BodyLists<'_> {
        BodyLists::of(&self.structure.root)
    }

    /// All parts that are not multiparts and belong to this letter (not to inner ones).
    #[must_use]
    pub fn leaves(&self) -> Vec<&Part> {
        let mut parts = self.structure.root.walk(Walk::OneLetter);
        parts.retain(|(_, part)| part.children().is_empty());
        parts.into_iter().map(|(_, part)| part).collect()
    }

    /// Whether it has an attachment (JMAP `hasAttachment`): inline pictures of an HTML text do not
    /// count.
    #[must_use]
    pub fn has_attachment(&self) -> bool {
        let lists = self.body_lists();
        lists
            .attachments
            .iter()
            .any(|part| part.is_attachment() || part.content_id().is_none())
    }

    /// The text of the letter for people: its plain text, or its HTML without markup.
    #[must_use]
    pub fn text_body(&self) -> String {
        let mut out = String::new();
        for part in self.body_lists().text {
            if part.content_type != "text" {
                continue;
            }
            if !out.is_empty() && !out.ends_with('\n') {
                out.push('\n');
            }
            out.push_str(&self.plain(part, usize::MAX));
        }
        out
    }

    /// The first words of the letter: at most 256 characters, from the first text part that gives
    /// any.
    #[must_use]
    pub fn preview(&self) -> String {
        let lists = self.body_lists();
        let texts = lists.text.iter().filter(|part| part.content_type == "text");
        // A bound for letters of thousands of empty texts.
        for part in texts.take(4) {
            let preview = preview_of(&self.plain(part, PREVIEW_BODY_BYTES_MAX), PREVIEW_CHARS_MAX);
            if !preview.is_empty() {
                return preview;
            }
        }
        String::new()
    }

    /// What joins letters to threads.
    #[must_use]
    pub fn thread_keys(&self) -> ThreadKeys {
        ThreadKeys::of(&self.structure.envelope)
    }

    /// The number of Received fields: RFC 5321 §6.3 asks to stop a letter that has too many.
    #[must_use]
    pub fn received_count(&self) -> usize {
        self.fields().named("received").count()
    }

    /// Whether a Delivered-To field names this address: the letter was here before.
    #[must_use]
    pub fn was_delivered_to(&self, address: &base::EmailAddress) -> bool {
        self.fields().named("delivered-to").any(|field| {
            let text = field.raw_text();
            base::EmailAddress::parse(text.trim_matches(['<', '>', ' ']))
                .is_ok_and(|other| other.key() == address.key())
        })
    }

    /// The text of a text part without markup, from at most `bytes_max` bytes of its body.
    fn plain(&self, part: &Part, bytes_max: usize) -> String {
        let body = part.body.of(self.raw);
        let text = text_of(part, &body[..body.len().min(bytes_max)]);
        if part.subtype == "html" {
            html_to_text(&text, bytes_max)
        } else {
            text
        }
    }
}

fn text_of(part: &Part, body: &[u8]) -> String {
    let decoded = part.transfer_encoding().decode(body);
    charset_to_utf8(&decoded, &part.charset()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::EmailAddress;

    #[test]
    fn loops_are_seen() {
        let raw = b"Delivered-To: <Bob@Black.TEST>\nreceived: a\nReceived: b\n c\n\nReceived: d\n";
        let message = Message::parse(raw);
        assert_eq!(message.received_count(), 2);
        let delivered = |text| message.was_delivered_to(&EmailAddress::parse(text).unwrap());
        assert!(delivered("bob@black.test"));
        assert!(!delivered("bo@black.test"));
        assert!(message.has_field("DELIVERED-TO"));
        assert!(!message.has_field("Date"));
    }

    #[test]
    fn previews() {
        let check = |raw: &str, expected: &str| {
            assert_eq!(Message::parse(raw.as_bytes()).preview(), expected);
        };
        check("\nHello\n\nworld", "Hello world");
        check(
            "Content-Type: text/html; charset=iso-8859-1\n\
             Content-Transfer-Encoding: quoted-printable\n\n<style>x</style><p>Gr=FC=DFe</p>",
            "Gr\u{fc}\u{df}e",
        );
        check(
            "Content-Type: multipart/mixed; boundary=x\n\n--x\n\n \n--x\n\nsecond\n--x--",
            "second",
        );
        check("Content-Type: image/png\n\nnot text", "");
        let long = Message::parse(&[b"\n", "\u{e4}".repeat(1_000).as_bytes()].concat()).preview();
        assert_eq!(long.chars().count(), PREVIEW_CHARS_MAX);
    }

    #[test]
    fn attachments_are_told_from_pictures_of_the_text() {
        let letter = |fields: &str| {
            format!(
                "Content-Type: multipart/related; boundary=x\n\n--x\nContent-Type: text/html\n\n\
                 a\n--x\nContent-Type: image/png\n{fields}\n\nb\n--x--"
            )
        };
        let has = |fields: &str| Message::parse(letter(fields).as_bytes()).has_attachment();
        assert!(!has("Content-ID: <1>"));
        assert!(has("Content-Disposition: attachment"));
        assert!(has("X: y"));
    }
}
