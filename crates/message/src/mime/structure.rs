//! The types of the tree, and how sections of IMAP name its parts.

use super::Envelope;
use crate::Span;
use crate::body::TransferEncoding;
use crate::header::{ContentValue, Param, decode_words, decoded_param};

/// A letter, or a letter inside of a letter: its envelope and its tree of parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Structure {
    /// What its header says about it.
    pub envelope: Envelope,
    /// The letter as a part: its header is the letter's header, its body the rest.
    pub root: Part,
}

/// One part of the tree. All spans are offsets in the raw bytes of the outermost letter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// The media type in lower case: `text`.
    pub content_type: String,
    /// The media subtype in lower case: `plain`.
    pub subtype: String,
    /// The Content-Type parameters as written; read them with [`Part::param`].
    pub params: Vec<Param>,
    /// Content-ID as written, with angle brackets.
    pub id: Option<String>,
    /// Content-Description, encoded words not decoded.
    pub description: Option<String>,
    /// Content-Transfer-Encoding in lower case; `7bit` when the field is missing.
    pub encoding: String,
    /// Content-MD5.
    pub md5: Option<String>,
    /// Content-Disposition.
    pub disposition: Option<ContentValue>,
    /// Content-Language, in its order.
    pub language: Vec<String>,
    /// Content-Location.
    pub location: Option<String>,
    /// Its header with the empty line that ends it; IMAP `MIME`, and `HEADER` of a letter.
    pub header: Span,
    /// Its body, not decoded, without the line end that belongs to the next boundary. The body
    /// of a message/rfc822 part is the whole inner letter. Its length is IMAP's size in octets.
    pub body: Span,
    /// The lines of the body; a last one without line end counts.
    pub lines: u32,
    /// What is inside.
    pub content: Content,
}

/// What a part holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// Data.
    Leaf,
    /// The parts of a multipart; at least one.
    Multipart(Vec<Part>),
    /// The letter of a message/rfc822 or message/global part.
    Message(Box<Structure>),
}

/// A part's number in IMAP and JMAP: `1.2` is `[1, 2]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PartPath(pub Vec<u32>);

impl std::fmt::Display for PartPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, number) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(".")?;
            }
            write!(f, "{number}")?;
        }
        Ok(())
    }
}

/// What of a part an IMAP section asks for (RFC 9051 §6.4.5.1 `section-text`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Section {
    /// `BODY[]` or `BODY[1.2]`: the whole letter, or the body of a part.
    Whole,
    /// `BODY[HEADER]` or `BODY[1.HEADER]`: the header of the letter, or of a part's inner letter.
    Header,
    /// `BODY[TEXT]` or `BODY[1.TEXT]`: the body of the letter, or of a part's inner letter.
    Text,
    /// `BODY[1.MIME]`: the header of a part.
    Mime,
}

impl Structure {
    /// Where the bytes of an IMAP section lie; `None` when there is no such part, or when the part
    /// has no inner letter and HEADER or TEXT is asked for.
    #[must_use]
    pub fn section(&self, path: &[u32], section: Section) -> Option<Span> {
        let part = self.part(path)?;
        let letter = if path.is_empty() {
            Some(&self.root)
        } else {
            part.message().map(|inner| &inner.root)
        };
        match section {
            Section::Whole if path.is_empty() => Some(Span {
                start: part.header.start,
                end: part.body.end,
            }),
            Section::Whole => Some(part.body),
            Section::Header => letter.map(|root| root.header),
            Section::Text => letter.map(|root| root.body),
            Section::Mime => (!path.is_empty()).then_some(part.header),
        }
    }

    /// The part that an IMAP section number names (RFC 9051 §6.4.5.1): a letter without multipart
    /// has the one part 1; numbers after a message/rfc822 part go into its letter. The empty path
    /// is the letter itself.
    #[must_use]
    pub fn part(&self, path: &[u32]) -> Option<&Part> {
        let mut letter = self;
        let mut numbers = path.iter();
        let Some(&first) = numbers.next() else {
            return Some(&self.root);
        };
        let mut part = letter.numbered(first)?;
        for &number in numbers {
            part = match &part.content {
                Content::Multipart(children) => child(children, number)?,
                Content::Message(inner) => {
                    letter = inner;
                    letter.numbered(number)?
                }
                Content::Leaf => return None,
            };
        }
        Some(part)
    }

    /// The part of this letter with a number of one digit group.
    fn numbered(&self, number: u32) -> Option<&Part> {
        match &self.root.content {
            Content::Multipart(children) => child(children, number),
            Content::Leaf | Content::Message(_) => (number == 1).then_some(&self.root),
        }
    }
}

fn child(children: &[Part], number: u32) -> Option<&Part> {
    children.get(usize::try_from(number).ok()?.checked_sub(1)?)
}

impl Part {
    /// `text/plain`.
    #[must_use]
    pub fn media_type(&self) -> String {
        format!("{}/{}", self.content_type, self.subtype)
    }

    /// Whether it is of this type and subtype (in lower case).
    #[must_use]
    pub fn is(&self, content_type: &str, subtype: &str) -> bool {
        self.content_type == content_type && self.subtype == subtype
    }

    /// A Content-Type parameter, decoded (RFC 2231, encoded words).
    #[must_use]
    pub fn param(&self, name: &str) -> Option<String> {
        decoded_param(&self.params, name)
    }

    /// The charset parameter; empty when there is none.
    #[must_use]
    pub fn charset(&self) -> String {
        self.param("charset").unwrap_or_default()
    }

    /// Whether Content-Disposition says `attachment`.
    #[must_use]
    pub fn is_attachment(&self) -> bool {
        self.disposition
            .as_ref()
            .is_some_and(|d| d.value == "attachment")
    }

    /// The file name: of Content-Disposition, else the `name` of Content-Type. It is a stranger's
    /// text: never use it as a path.
    #[must_use]
    pub fn filename(&self) -> Option<String> {
        self.disposition
            .as_ref()
            .and_then(|d| decoded_param(&d.params, "filename"))
            .or_else(|| self.param("name"))
            .filter(|name| !name.is_empty())
    }

    /// Content-Description for people.
    #[must_use]
    pub fn decoded_description(&self) -> Option<String> {
        let description = self.description.as_deref()?;
        Some(decode_words(description).into_owned())
    }

    /// Content-ID without angle brackets.
    #[must_use]
    pub fn content_id(&self) -> Option<&str> {
        let id = self.id.as_deref()?.trim();
        Some(id.strip_prefix('<').unwrap_or(id))
            .map(|id| id.strip_suffix('>').unwrap_or(id))
            .filter(|id| !id.is_empty())
    }

    /// How the body is encoded.
    #[must_use]
    pub fn transfer_encoding(&self) -> TransferEncoding {
        TransferEncoding::from_name(&self.encoding)
    }

    /// The parts of a multipart; none for others.
    #[must_use]
    pub fn children(&self) -> &[Part] {
        match &self.content {
            Content::Multipart(children) => children,
            Content::Leaf | Content::Message(_) => &[],
        }
    }

    /// The inner letter of a message/rfc822 part.
    #[must_use]
    pub fn message(&self) -> Option<&Structure> {
        match &self.content {
            Content::Message(inner) => Some(inner),
            Content::Leaf | Content::Multipart(_) => None,
        }
    }

    /// This part and all below it, in the order of the letter, with their IMAP numbers. Inner
    /// letters are gone into with [`Walk::IntoMessages`].
    #[must_use]
    pub fn walk(&self, walk: Walk) -> Vec<(PartPath, &Part)> {
        let mut out = Vec::new();
        let mut path = PartPath::default();
        if matches!(self.content, Content::Multipart(_)) {
            out.push((path.clone(), self));
            self.walk_children(&mut path, walk, &mut out);
        } else {
            path.0.push(1);
            self.walk_inside(&mut path, walk, &mut out);
        }
        out
    }

    fn walk_children<'a>(
        &'a self,
        path: &mut PartPath,
        walk: Walk,
        out: &mut Vec<(PartPath, &'a Part)>,
    ) {
        for (number, child) in (1_u32..).zip(self.children()) {
            path.0.push(number);
            child.walk_inside(path, walk, out);
            path.0.pop();
        }
    }

    fn walk_inside<'a>(
        &'a self,
        path: &mut PartPath,
        walk: Walk,
        out: &mut Vec<(PartPath, &'a Part)>,
    ) {
        out.push((path.clone(), self));
        match &self.content {
            Content::Leaf => {}
            Content::Multipart(_) => self.walk_children(path, walk, out),
            Content::Message(inner) => match (walk, &inner.root.content) {
                (Walk::OneLetter, _) => {}
                // A multipart that is an inner letter's root has no number of its own.
                (Walk::IntoMessages, Content::Multipart(_)) => {
                    inner.root.walk_children(path, walk, out);
                }
                (Walk::IntoMessages, Content::Leaf | Content::Message(_)) => {
                    path.0.push(1);
                    inner.root.walk_inside(path, walk, out);
                    path.0.pop();
                }
            },
        }
    }
}

/// How far [`Part::walk`] goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Walk {
    /// Inner letters are one part (JMAP).
    OneLetter,
    /// Inner letters are gone into (IMAP).
    IntoMessages,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    #[test]
    fn sections() {
        let raw =
            b"Subject: outer\nContent-Type: multipart/mixed; boundary=x\n\n--x\nA: b\n\ntext\n\
            --x\nContent-Type: message/rfc822\n\nSubject: inner\n\ninner text\n--x--\n";
        let message = Message::parse(raw);
        let structure = message.structure();
        let check = |path: &[u32], section, expected: Option<&str>| {
            let found = structure.section(path, section).map(|span| span.of(raw));
            assert_eq!(found, expected.map(str::as_bytes), "{path:?} {section:?}");
        };
        check(&[], Section::Whole, std::str::from_utf8(raw).ok());
        check(
            &[],
            Section::Header,
            Some("Subject: outer\nContent-Type: multipart/mixed; boundary=x\n\n"),
        );
        check(&[], Section::Mime, None);
        check(&[1], Section::Whole, Some("text"));
        check(&[1], Section::Mime, Some("A: b\n\n"));
        check(&[1], Section::Header, None);
        check(&[1], Section::Text, None);
        check(&[2], Section::Whole, Some("Subject: inner\n\ninner text"));
        check(
            &[2],
            Section::Mime,
            Some("Content-Type: message/rfc822\n\n"),
        );
        check(&[2], Section::Header, Some("Subject: inner\n\n"));
        check(&[2], Section::Text, Some("inner text"));
        check(&[2, 1], Section::Whole, Some("inner text"));
        check(&[2, 1], Section::Mime, Some("Subject: inner\n\n"));
        for path in [&[0][..], &[3], &[1, 1], &[2, 2], &[2, 1, 1], &[u32::MAX]] {
            check(path, Section::Whole, None);
        }
    }
}
