//! A compact, versioned binary form of [`Structure`] and [`Envelope`], for the store's cache.
//!
//! One version byte, then numbers as LEB128 varints and texts as `length * 2` and bytes; common
//! texts are `index * 2 + 1` in a fixed table that only ever grows. The bytes are our own, but a
//! damaged disk may hand back anything: decoding checks everything and allocates no more than the
//! input is long.

use std::fmt;

use super::{Content, Envelope, Part, Structure};
use crate::Span;
use crate::header::{Address, AddressList, ContentValue, Group, Mailbox, Param};

/// Raised when the form changes; other versions are refused and the letter is parsed again.
const VERSION: u8 = 1;

/// Each level of a parse is at most two here, as an inner letter and its root are counted.
const DEPTH_MAX: usize = crate::DEPTH_MAX * 2 + 2;

/// Never reorder: stored bytes hold the indices.
const TEXTS: [&str; 40] = [
    "",
    "text",
    "plain",
    "html",
    "charset",
    "utf-8",
    "us-ascii",
    "iso-8859-1",
    "7bit",
    "8bit",
    "quoted-printable",
    "base64",
    "binary",
    "multipart",
    "mixed",
    "alternative",
    "related",
    "boundary",
    "attachment",
    "inline",
    "filename",
    "name",
    "application",
    "octet-stream",
    "pdf",
    "image",
    "png",
    "jpeg",
    "gif",
    "message",
    "rfc822",
    "format",
    "flowed",
    "signed",
    "report",
    "UTF-8",
    "windows-1252",
    "ISO-8859-1",
    "US-ASCII",
    "delsp",
];

/// Why stored bytes are no structure or envelope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// Written by another version: parse the letter again.
    Version(u8),
    /// Cut short, too long, or not what was written.
    Damaged,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(f, "version {version} of a parsed letter is not known")
            }
            Self::Damaged => f.write_str("the bytes of a parsed letter are damaged"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl Structure {
    /// The binary form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        write_structure(self, &mut out);
        out
    }

    /// Reads what [`Structure::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError::Version`], or [`DecodeError::Damaged`] for everything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes)?;
        let structure = reader.structure(0)?;
        reader.end(structure)
    }
}

impl Envelope {
    /// The binary form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        write_envelope(self, &mut out);
        out
    }

    /// Reads what [`Envelope::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError::Version`], or [`DecodeError::Damaged`] for everything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes)?;
        let envelope = reader.envelope()?;
        reader.end(envelope)
    }
}

fn write_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn write_length(length: usize, out: &mut Vec<u8>) {
    write_number(length as u64, out);
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    match TEXTS.iter().position(|known| *known == text) {
        Some(index) => write_length(index * 2 + 1, out),
        None => {
            write_length(text.len() * 2, out);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Absent is 0, present is 1 and the text.
fn write_option(text: Option<&str>, out: &mut Vec<u8>) {
    match text {
        None => out.push(0),
        Some(text) => {
            out.push(1);
            write_text(text, out);
        }
    }
}

fn write_span(span: Span, out: &mut Vec<u8>) {
    write_length(span.range().start, out);
    write_length(span.len(), out);
}

fn write_params(params: &[Param], out: &mut Vec<u8>) {
    write_length(params.len(), out);
    for param in params {
        write_text(&param.name, out);
        write_text(&param.value, out);
    }
}

fn write_structure(structure: &Structure, out: &mut Vec<u8>) {
    write_envelope(&structure.envelope, out);
    write_part(&structure.root, out);
}

fn write_envelope(envelope: &Envelope, out: &mut Vec<u8>) {
    let Envelope {
        date,
        subject,
        from,
        sender,
        reply_to,
        to,
        cc,
        bcc,
        in_reply_to,
        message_id,
        references,
    } = envelope;
    for text in [date, subject, in_reply_to, message_id, references] {
        write_option(text.as_deref(), out);
    }
    for list in [from, sender, reply_to, to, cc, bcc] {
        write_length(list.0.len(), out);
        for address in &list.0 {
            match address {
                Address::Mailbox(mailbox) => {
                    out.push(0);
                    write_mailbox(mailbox, out);
                }
                Address::Group(group) => {
                    out.push(1);
                    write_text(&group.name, out);
                    write_length(group.members.len(), out);
                    for member in &group.members {
                        write_mailbox(member, out);
                    }
                }
            }
        }
    }
}

fn write_mailbox(mailbox: &Mailbox, out: &mut Vec<u8>) {
    write_option(mailbox.name.as_deref(), out);
    write_text(&mailbox.local, out);
    write_text(&mailbox.domain, out);
}

fn write_part(part: &Part, out: &mut Vec<u8>) {
    write_text(&part.content_type, out);
    write_text(&part.subtype, out);
    write_params(&part.params, out);
    write_text(&part.encoding, out);
    for text in [&part.id, &part.description, &part.md5, &part.location] {
        write_option(text.as_deref(), out);
    }
    match &part.disposition {
        None => out.push(0),
        Some(disposition) => {
            out.push(1);
            write_text(&disposition.value, out);
            write_params(&disposition.params, out);
        }
    }
    write_length(part.language.len(), out);
    for tag in &part.language {
        write_text(tag, out);
    }
    write_span(part.header, out);
    write_span(part.body, out);
    write_number(u64::from(part.lines), out);
    match &part.content {
        Content::Leaf => out.push(0),
        Content::Multipart(children) => {
            out.push(1);
            write_length(children.len(), out);
            for child in children {
                write_part(child, out);
            }
        }
        Content::Message(inner) => {
            out.push(2);
            write_structure(inner, out);
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

type Read<T> = Result<T, DecodeError>;

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Read<Self> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => Ok(Self { rest }),
            Some((&version, _)) => Err(DecodeError::Version(version)),
            None => Err(DecodeError::Damaged),
        }
    }

    fn end<T>(&self, value: T) -> Read<T> {
        if self.rest.is_empty() {
            Ok(value)
        } else {
            Err(DecodeError::Damaged)
        }
    }

    fn byte(&mut self) -> Read<u8> {
        let (&byte, rest) = self.rest.split_first().ok_or(DecodeError::Damaged)?;
        self.rest = rest;
        Ok(byte)
    }

    fn number(&mut self) -> Read<u64> {
        let mut number = 0_u64;
        // 9 * 7 bits are more than any length.
        for shift in 0..9 {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << (shift * 7);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(DecodeError::Damaged)
    }

    /// A count of things that each need at least one byte.
    fn count(&mut self) -> Read<usize> {
        let count = usize::try_from(self.number()?).map_err(|_| DecodeError::Damaged)?;
        if count > self.rest.len() {
            return Err(DecodeError::Damaged);
        }
        Ok(count)
    }

    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let count = self.count()?;
        let mut out = Vec::new();
        for _ in 0..count {
            out.push(item(self)?);
        }
        Ok(out)
    }

    fn text(&mut self) -> Read<String> {
        let tag = usize::try_from(self.number()?).map_err(|_| DecodeError::Damaged)?;
        if tag % 2 == 1 {
            let text = TEXTS.get(tag / 2).ok_or(DecodeError::Damaged)?;
            return Ok((*text).to_owned());
        }
        let (text, rest) = self
            .rest
            .split_at_checked(tag / 2)
            .ok_or(DecodeError::Damaged)?;
        self.rest = rest;
        let text = std::str::from_utf8(text).map_err(|_| DecodeError::Damaged)?;
        Ok(text.to_owned())
    }

    fn flag(&mut self) -> Read<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Damaged),
        }
    }

    fn option(&mut self) -> Read<Option<String>> {
        self.flag()?.then(|| self.text()).transpose()
    }

    fn offset(&mut self) -> Read<u32> {
        u32::try_from(self.number()?).map_err(|_| DecodeError::Damaged)
    }

    fn span(&mut self) -> Read<Span> {
        let start = self.offset()?;
        let end = start
            .checked_add(self.offset()?)
            .ok_or(DecodeError::Damaged)?;
        Ok(Span { start, end })
    }

    fn params(&mut self) -> Read<Vec<Param>> {
        self.list(|reader| {
            Ok(Param {
                name: reader.text()?,
                value: reader.text()?,
            })
        })
    }

    fn mailbox(&mut self) -> Read<Mailbox> {
        Ok(Mailbox {
            name: self.option()?,
            local: self.text()?,
            domain: self.text()?,
        })
    }

    fn addresses(&mut self) -> Read<AddressList> {
        let list = self.list(|reader| {
            Ok(if reader.flag()? {
                Address::Group(Group {
                    name: reader.text()?,
                    members: reader.list(Self::mailbox)?,
                })
            } else {
                Address::Mailbox(reader.mailbox()?)
            })
        })?;
        Ok(AddressList(list))
    }

    /// The fields in the order in which [`write_envelope`] writes them.
    fn envelope(&mut self) -> Read<Envelope> {
        Ok(Envelope {
            date: self.option()?,
            subject: self.option()?,
            in_reply_to: self.option()?,
            message_id: self.option()?,
            references: self.option()?,
            from: self.addresses()?,
            sender: self.addresses()?,
            reply_to: self.addresses()?,
            to: self.addresses()?,
            cc: self.addresses()?,
            bcc: self.addresses()?,
        })
    }

    fn structure(&mut self, depth: usize) -> Read<Structure> {
        Ok(Structure {
            envelope: self.envelope()?,
            root: self.part(depth + 1)?,
        })
    }

    fn part(&mut self, depth: usize) -> Read<Part> {
        if depth > DEPTH_MAX {
            return Err(DecodeError::Damaged);
        }
        Ok(Part {
            content_type: self.text()?,
            subtype: self.text()?,
            params: self.params()?,
            encoding: self.text()?,
            id: self.option()?,
            description: self.option()?,
            md5: self.option()?,
            location: self.option()?,
            disposition: self.disposition()?,
            language: self.list(Self::text)?,
            header: self.span()?,
            body: self.span()?,
            lines: self.offset()?,
            content: self.content(depth)?,
        })
    }

    fn disposition(&mut self) -> Read<Option<ContentValue>> {
        if !self.flag()? {
            return Ok(None);
        }
        Ok(Some(ContentValue {
            value: self.text()?,
            params: self.params()?,
        }))
    }

    fn content(&mut self, depth: usize) -> Read<Content> {
        match self.byte()? {
            0 => Ok(Content::Leaf),
            1 => {
                let children = self.list(|reader| reader.part(depth + 1))?;
                if children.is_empty() {
                    return Err(DecodeError::Damaged);
                }
                Ok(Content::Multipart(children))
            }
            2 => Ok(Content::Message(Box::new(self.structure(depth + 1)?))),
            _ => Err(DecodeError::Damaged),
        }
    }
}
