//! Sections of a letter (RFC 9051 §6.4.5.1): where they are, and how they are streamed.
//!
//! Offsets of the cached structure count from the start of the letter as received; what we put
//! before it (`head_bytes`) belongs to its header.

use std::ops::Range;

use base::{AccountId, MessageId};
use message::{Content, Fields, Part, Span, Structure};
use proto::imap::fetch::{Item, PartPath, Partial, Rfc822, Section, SectionText};
use store::{BodyReader, Store};

use super::super::connection::Connection;
use super::super::reply::Failure;
use super::Detail;
use super::binary::{Decoder, Encoding, Measured};

/// How much of a letter is read at once.
const PIECE_BYTES: u64 = 64 * 1024;

/// How much of a header is looked at when fields are picked; as the parser does.
const HEADER_BYTES_MAX: u64 = 1024 * 1024;

/// An item with content, ready to be written.
pub(super) struct Piece {
    /// What stands before the content: `BODY[TEXT]<0>`.
    name: String,
    source: Source,
}

enum Source {
    /// There is no such part.
    Nil,
    /// A number: BINARY.SIZE.
    Number(u64),
    /// Picked header fields.
    Bytes(Vec<u8>),
    /// Bytes of the message, as they are.
    Raw(Range<u64>),
    /// Bytes of the message, to be decoded: `skip` and then `length` of what comes out.
    Decoded {
        raw: Range<u64>,
        encoding: Encoding,
        skip: u64,
        length: u64,
        has_nul: bool,
    },
}

/// Reads one message's sections; opens the message only if something of it is read.
pub(super) struct Sections<'a> {
    store: &'a Store,
    account: AccountId,
    message: MessageId,
    body: Option<BodyReader>,
}

impl<'a> Sections<'a> {
    pub(super) fn new(store: &'a Store, account: AccountId, message: MessageId) -> Self {
        Self {
            store,
            account,
            message,
            body: None,
        }
    }

    async fn body(&mut self) -> Result<&mut BodyReader, Failure> {
        if self.body.is_none() {
            self.body = Some(self.store.body(self.account, self.message).await?);
        }
        self.body.as_mut().ok_or_else(cut_short)
    }

    /// Finds what an item stands for; nothing for items without content.
    pub(super) async fn piece(
        &mut self,
        item: &Item,
        detail: &Detail,
    ) -> Result<Option<Piece>, Failure> {
        let piece = match item {
            Item::Section {
                section, partial, ..
            } => {
                let name = section_name("BODY", section, *partial);
                let source = self.section(section, detail).await?;
                Piece {
                    name,
                    source: source.cut(*partial),
                }
            }
            Item::Rfc822(which) => {
                let (name, text) = match which {
                    Rfc822::Whole => ("RFC822", None),
                    Rfc822::Header => ("RFC822.HEADER", Some(SectionText::Header)),
                    Rfc822::Text => ("RFC822.TEXT", Some(SectionText::Text)),
                };
                let section = Section {
                    part: PartPath::default(),
                    text,
                };
                Piece {
                    name: name.to_owned(),
                    source: self.section(&section, detail).await?,
                }
            }
            Item::Binary { part, partial, .. } => Piece {
                name: part_name("BINARY", part, *partial),
                source: self.decoded(part, detail).await?.cut(*partial),
            },
            Item::BinarySize(part) => {
                let size = match self.decoded(part, detail).await? {
                    Source::Decoded { length, .. } => length,
                    Source::Nil | Source::Number(_) | Source::Bytes(_) | Source::Raw(_) => 0,
                };
                Piece {
                    name: part_name("BINARY.SIZE", part, None),
                    source: Source::Number(size),
                }
            }
            Item::Flags
            | Item::Uid
            | Item::InternalDate
            | Item::Size
            | Item::Envelope
            | Item::Body
            | Item::BodyStructure => return Ok(None),
        };
        // Opened and looked into now, while an error can still be told. What is read here need not
        // be read again; a part that is to be decoded was read to its end already.
        match &piece.source {
            Source::Raw(range) if !range.is_empty() => {
                let first = range.start..range.end.min(range.start + PIECE_BYTES);
                self.body().await?.read(first).await?;
            }
            Source::Raw(_) | Source::Decoded { .. } => {
                self.body().await?;
            }
            Source::Nil | Source::Number(_) | Source::Bytes(_) => {}
        }
        Ok(Some(piece))
    }

    async fn section(&mut self, section: &Section, detail: &Detail) -> Result<Source, Failure> {
        let Some(range) = locate(section, detail) else {
            return Ok(Source::Nil);
        };
        let (names, wanted) = match &section.text {
            Some(SectionText::HeaderFields(names)) => (names, true),
            Some(SectionText::HeaderFieldsNot(names)) => (names, false),
            Some(SectionText::Header | SectionText::Text | SectionText::Mime) | None => {
                return Ok(Source::Raw(range));
            }
        };
        let header = self.read(cap(range)).await?;
        Ok(Source::Bytes(pick_fields(&header, names, wanted)))
    }

    async fn read(&mut self, range: Range<u64>) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let mut rest = range;
        // Nothing to read: the message is not even opened.
        while !rest.is_empty()
            && let Some(piece) = next_piece(self.body().await?, &mut rest).await?
        {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// RFC 3516 §4.2: a part without its transfer encoding.
    async fn decoded(&mut self, path: &PartPath, detail: &Detail) -> Result<Source, Failure> {
        let section = Section {
            part: path.clone(),
            text: None,
        };
        let part = detail.structure.as_ref().and_then(|s| s.part(&path.0));
        let (Some(raw), Some(part)) = (locate(&section, detail), part) else {
            return Ok(Source::Nil);
        };
        // The letter itself, multiparts and embedded letters are told as they are.
        let is_leaf = !path.0.is_empty() && matches!(part.content, Content::Leaf);
        let encoding = if is_leaf {
            Encoding::of(&part.encoding).ok_or(Failure::UnknownEncoding)?
        } else {
            Encoding::Identity
        };
        let measured = self.measure(raw.clone(), encoding).await?;
        Ok(Source::Decoded {
            raw,
            encoding,
            skip: 0,
            length: measured.bytes,
            has_nul: measured.has_nul,
        })
    }

    /// The size of a decoded part must be told before its first byte: it is decoded twice rather
    /// than held.
    async fn measure(&mut self, raw: Range<u64>, encoding: Encoding) -> Result<Measured, Failure> {
        let mut decoder = Decoder::new(encoding);
        let mut measured = Measured::default();
        let mut rest = raw;
        // Nothing to read: the message is not even opened.
        while !rest.is_empty()
            && let Some(piece) = next_piece(self.body().await?, &mut rest).await?
        {
            measured.add(&decoder.push(&piece));
        }
        measured.add(&decoder.finish());
        Ok(measured)
    }

    /// Writes a piece. Errors from here on end the connection: half an answer cannot be taken back.
    pub(super) async fn write(
        &mut self,
        connection: &mut Connection,
        piece: Piece,
    ) -> Result<(), Failure> {
        connection.writer.raw(&piece.name);
        connection.writer.raw(" ");
        match piece.source {
            Source::Nil => connection.writer.raw("NIL"),
            Source::Number(number) => connection.writer.display(number),
            Source::Bytes(bytes) => connection.writer.literal(&bytes),
            Source::Raw(range) => {
                connection.writer.literal_start(range.end - range.start);
                self.stream(connection, range).await?;
            }
            Source::Decoded {
                raw,
                encoding,
                skip,
                length,
                has_nul,
            } => {
                // RFC 3516 §4.2.1: NUL needs a literal8.
                if has_nul {
                    connection.writer.literal8_start(length);
                } else {
                    connection.writer.literal_start(length);
                }
                let window = skip..skip + length;
                self.stream_decoded(connection, raw, encoding, window)
                    .await?;
            }
        }
        Ok(())
    }

    async fn stream(
        &mut self,
        connection: &mut Connection,
        range: Range<u64>,
    ) -> Result<(), Failure> {
        let mut at = range.start;
        while at < range.end {
            let piece = self.piece_at(at, range.end).await?;
            at += piece.len() as u64;
            connection.writer.bytes_char8(&piece);
            connection.flush_if_large().await?;
        }
        Ok(())
    }

    async fn stream_decoded(
        &mut self,
        connection: &mut Connection,
        raw: Range<u64>,
        encoding: Encoding,
        window: Range<u64>,
    ) -> Result<(), Failure> {
        let mut decoder = Decoder::new(encoding);
        let (mut at, mut decoded_at) = (raw.start, 0_u64);
        while decoded_at < window.end {
            let decoded = if at < raw.end {
                let piece = self.piece_at(at, raw.end).await?;
                at += piece.len() as u64;
                decoder.push(&piece)
            } else {
                let rest = decoder.finish();
                if rest.is_empty() {
                    return Err(cut_short());
                }
                rest
            };
            let wanted = intersect(&window, decoded_at, decoded.len());
            connection.writer.bytes_raw(&decoded[wanted]);
            decoded_at += decoded.len() as u64;
            connection.flush_if_large().await?;
        }
        Ok(())
    }

    async fn piece_at(&mut self, at: u64, end: u64) -> Result<bytes::Bytes, Failure> {
        let range = at..end.min(at + PIECE_BYTES);
        let read = self.body().await?.read(range).await;
        let piece = read.map_err(|error| Failure::CutShort(error.to_string()))?;
        if piece.is_empty() {
            return Err(cut_short());
        }
        Ok(piece)
    }
}

/// The next piece of a range, which shrinks by it; `None` at its end or at that of the message.
pub(in super::super) async fn next_piece(
    body: &mut BodyReader,
    rest: &mut Range<u64>,
) -> Result<Option<bytes::Bytes>, Failure> {
    if rest.is_empty() {
        return Ok(None);
    }
    let piece = rest.start..rest.end.min(rest.start + PIECE_BYTES);
    let piece = body.read(piece).await?;
    rest.start += piece.len() as u64;
    Ok((!piece.is_empty()).then_some(piece))
}

/// The letter ended before its size: an announced literal cannot be filled.
fn cut_short() -> Failure {
    Failure::CutShort("a stored letter is shorter than its size".to_owned())
}

/// The part of a decoded block, which starts at `start`, that lies in the window.
fn intersect(window: &Range<u64>, start: u64, length: usize) -> Range<usize> {
    let clamp = |offset: u64| {
        let inside = offset.saturating_sub(start).min(length as u64);
        usize::try_from(inside).unwrap_or(length)
    };
    clamp(window.start)..clamp(window.end)
}

impl Source {
    /// RFC 9051 §6.4.5: a partial beyond the end is cut, one that starts there is empty.
    fn cut(self, partial: Option<Partial>) -> Self {
        let Some(Partial { offset, length }) = partial else {
            return self;
        };
        match self {
            Self::Nil | Self::Number(_) => self,
            Self::Bytes(bytes) => {
                let window = intersect(&(offset..offset.saturating_add(length)), 0, bytes.len());
                Self::Bytes(bytes[window].to_vec())
            }
            Self::Raw(range) => {
                let start = range.start.saturating_add(offset).min(range.end);
                let end = start.saturating_add(length).min(range.end);
                Self::Raw(start..end)
            }
            Self::Decoded {
                raw,
                encoding,
                length: whole,
                has_nul,
                ..
            } => {
                let skip = offset.min(whole);
                Self::Decoded {
                    raw,
                    encoding,
                    skip,
                    length: length.min(whole - skip),
                    has_nul,
                }
            }
        }
    }
}

/// Where a section is in the message (head and letter together); nothing if there is none.
fn locate(section: &Section, detail: &Detail) -> Option<Range<u64>> {
    let head = u64::from(detail.meta.head_bytes);
    let shift = |span: Span| head + u64::from(span.start)..head + u64::from(span.end);
    if section.part.0.is_empty() {
        let whole = 0..detail.meta.size;
        let Some(text) = &section.text else {
            return Some(whole);
        };
        let body = shift(detail.structure.as_ref()?.root.body);
        return match text {
            SectionText::Text => Some(body),
            // The letter's header begins with what we put before it.
            SectionText::Header
            | SectionText::HeaderFields(_)
            | SectionText::HeaderFieldsNot(_) => {
                Some(0..shift(detail.structure.as_ref()?.root.header).end)
            }
            SectionText::Mime => None,
        };
    }
    let part: &Part = detail.structure.as_ref()?.part(&section.part.0)?;
    match &section.text {
        None => Some(shift(part.body)),
        Some(SectionText::Mime) => Some(shift(part.header)),
        // RFC 9051 §6.4.5.1: these are for embedded letters.
        Some(SectionText::Text) => Some(shift(inner(part)?.root.body)),
        Some(
            SectionText::Header | SectionText::HeaderFields(_) | SectionText::HeaderFieldsNot(_),
        ) => Some(shift(inner(part)?.root.header)),
    }
}

fn inner(part: &Part) -> Option<&Structure> {
    part.message()
}

fn cap(range: Range<u64>) -> Range<u64> {
    range.start..range.end.min(range.start + HEADER_BYTES_MAX)
}

/// The fields with (or without) these names, as they stand, and the empty line that ends a header.
fn pick_fields(header: &[u8], names: &[String], wanted: bool) -> Vec<u8> {
    let mut picked = Vec::new();
    for field in Fields::new(header) {
        let is_named = names.iter().any(|name| field.is(name));
        if is_named == wanted {
            picked.extend_from_slice(field.span.of(header));
        }
    }
    picked.extend_from_slice(b"\r\n");
    picked
}

fn section_name(kind: &str, section: &Section, partial: Option<Partial>) -> String {
    let mut inside: Vec<String> = section.part.0.iter().map(u32::to_string).collect();
    if let Some(text) = &section.text {
        let (name, fields) = text.names();
        inside.push(match fields {
            [] => name.to_owned(),
            fields => format!("{name} ({})", fields.join(" ")),
        });
    }
    format!("{kind}[{}]{}", inside.join("."), origin(partial))
}

fn part_name(kind: &str, part: &PartPath, partial: Option<Partial>) -> String {
    let section = Section {
        part: part.clone(),
        text: None,
    };
    section_name(kind, &section, partial)
}

fn origin(partial: Option<Partial>) -> String {
    partial.map_or_else(String::new, |partial| format!("<{}>", partial.offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_picked_as_they_stand() {
        let header = b"From: a\r\nSubject: b\r\n c\r\nTO: d\r\n\r\n";
        let names = ["subject".to_owned(), "to".to_owned()];
        assert_eq!(
            pick_fields(header, &names, true),
            b"Subject: b\r\n c\r\nTO: d\r\n\r\n"
        );
        assert_eq!(pick_fields(header, &names, false), b"From: a\r\n\r\n");
    }

    #[test]
    fn a_window_is_cut_to_its_block() {
        assert_eq!(intersect(&(5..10), 0, 7), 5..7);
        assert_eq!(intersect(&(5..10), 7, 7), 0..3);
        assert_eq!(intersect(&(5..10), 20, 7), 0..0);
    }
}
