//! One pass over the letter that finds all parts. A line is compared with all open boundaries, so
//! that an outer boundary ends inner parts which were never closed (RFC 2046 §5.1.2).

use memchr::memmem;

use super::{Content, Envelope, Part, Structure};
use crate::header::{ContentValue, Field, Fields, Param, parse_content_value};
use crate::header::{is_empty_line, line_end};
use crate::limits::LETTER_BYTES_MAX;
use crate::{ParseLimits, Span};

/// RFC 2046 §5.1.1 allows 70 characters; real ones are longer at times, but never than a line.
const BOUNDARY_BYTES_MAX: usize = 998;

/// The tree of a letter.
pub(crate) fn parse(raw: &[u8], limits: &ParseLimits) -> Structure {
    let raw = &raw[..raw.len().min(LETTER_BYTES_MAX)];
    let mut parser = Parser {
        raw,
        limits,
        boundaries: Vec::new(),
        line_start_dashes: memmem::Finder::new(b"\n--"),
        parts: 0,
    };
    parser.letter(0, 0).0
}

struct Parser<'a> {
    raw: &'a [u8],
    limits: &'a ParseLimits,
    /// The boundaries of all multiparts that are open, outermost first.
    boundaries: Vec<Vec<u8>>,
    line_start_dashes: memmem::Finder<'static>,
    parts: usize,
}

/// Where a body or header ends.
#[derive(Clone, Copy)]
enum Stop {
    /// At the end of the letter.
    End,
    Boundary {
        /// Index in the open boundaries.
        level: usize,
        /// Whether it is the last one of its multipart.
        close: bool,
        /// Where the content before it ends: the line end before a boundary belongs to it.
        content_end: usize,
        /// The start of the next line.
        next: usize,
    },
}

/// What a part is when it does not say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Default {
    /// RFC 2045 §5.2.
    TextPlain,
    /// RFC 2046 §5.1.5: in a multipart/digest.
    Message,
}

impl Parser<'_> {
    /// A letter from its header on.
    fn letter(&mut self, start: usize, depth: usize) -> (Structure, Stop) {
        let (header, stop) = self.header(start, true);
        let (mut part, mut envelope) = (Part::new(header), Envelope::default());
        let mut seen_type = false;
        for field in Fields::with_limits(header.of(self.raw), self.limits) {
            envelope.take(&field, self.limits);
            part.take(&field, self.limits, &mut seen_type);
        }
        part.settle(seen_type, Default::TextPlain);
        let stop = self.body(&mut part, stop, depth);
        (
            Structure {
                envelope,
                root: part,
            },
            stop,
        )
    }

    /// A part of a multipart, from its header on.
    fn part(&mut self, start: usize, depth: usize, default: Default) -> (Part, Stop) {
        let (header, stop) = self.header(start, false);
        let mut part = Part::new(header);
        let mut seen_type = false;
        for field in Fields::with_limits(header.of(self.raw), self.limits) {
            part.take(&field, self.limits, &mut seen_type);
        }
        part.settle(seen_type, default);
        let stop = self.body(&mut part, stop, depth);
        (part, stop)
    }

    /// The header that starts at `start`, with its empty line; and the boundary or end of the
    /// letter that came before an empty line.
    fn header(&self, start: usize, of_letter: bool) -> (Span, Option<Stop>) {
        let mut position = start;
        while let Some(end) = line_end(self.raw, position) {
            let line = &self.raw[position..end];
            if is_empty_line(line) {
                return (Span::new(start, end), None);
            }
            if let Some(stop) = self.boundary_at(position) {
                let content_end = match stop {
                    Stop::Boundary { content_end, .. } => content_end.max(start),
                    Stop::End => position,
                };
                return (Span::new(start, content_end), Some(stop));
            }
            // A part whose text follows its boundary at once has no header.
            if !of_letter && position == start && !looks_like_field(line) {
                return (Span::new(start, start), None);
            }
            position = end;
        }
        (Span::new(start, self.raw.len()), Some(Stop::End))
    }

    /// Finds the body of a part whose header is known, and what is in it.
    fn body(&mut self, part: &mut Part, header_stop: Option<Stop>, depth: usize) -> Stop {
        self.parts += 1;
        let start = part.header.range().end;
        let stop = match header_stop {
            Some(stop) => stop,
            None => self.inside(part, start, depth),
        };
        let end = match stop {
            Stop::End => self.raw.len(),
            Stop::Boundary { content_end, .. } => content_end.max(start),
        };
        part.body = Span::new(start, end);
        part.lines = count_lines(part.body.of(self.raw));
        match &part.content {
            Content::Leaf if part.content_type == "multipart" => part.become_text(),
            // A letter of which not even a header is there still is a letter.
            Content::Leaf if part.holds_letter() && header_stop.is_some() => {
                let root = Part::empty_at(end);
                part.content = Content::Message(Box::new(Structure {
                    envelope: Envelope::default(),
                    root,
                }));
            }
            Content::Leaf | Content::Multipart(_) | Content::Message(_) => {}
        }
        stop
    }

    fn inside(&mut self, part: &mut Part, start: usize, depth: usize) -> Stop {
        let too_much = depth >= self.limits.depth_max || self.parts >= self.limits.parts_max;
        if part.content_type == "multipart" {
            match boundary_of(part) {
                Some(_) if too_much => part.become_opaque(),
                Some(boundary) => {
                    let default = if part.subtype == "digest" {
                        Default::Message
                    } else {
                        Default::TextPlain
                    };
                    let (children, stop) = self.multipart(start, boundary, depth + 1, default);
                    if !children.is_empty() {
                        part.content = Content::Multipart(children);
                    }
                    return stop;
                }
                None => {}
            }
        } else if part.holds_letter() {
            if too_much {
                part.become_opaque();
            } else {
                let (inner, stop) = self.letter(start, depth + 1);
                part.content = Content::Message(Box::new(inner));
                return stop;
            }
        }
        self.scan(start)
    }

    fn multipart(
        &mut self,
        start: usize,
        boundary: Vec<u8>,
        depth: usize,
        default: Default,
    ) -> (Vec<Part>, Stop) {
        let own = self.boundaries.len();
        self.boundaries.push(boundary);
        let mut children = Vec::new();
        // The preamble.
        let mut stop = self.scan(start);
        loop {
            match stop {
                Stop::Boundary {
                    level,
                    close: false,
                    next,
                    ..
                } if level == own => {
                    if self.parts >= self.limits.parts_max {
                        children.push(self.rest_of_letter(next));
                        stop = Stop::End;
                        break;
                    }
                    let (child, child_stop) = self.part(next, depth, default);
                    children.push(child);
                    stop = child_stop;
                }
                Stop::Boundary {
                    level,
                    close: true,
                    next,
                    ..
                } if level == own => {
                    // The epilogue.
                    self.boundaries.truncate(own);
                    stop = self.scan(next);
                    break;
                }
                Stop::Boundary { .. } | Stop::End => break,
            }
        }
        self.boundaries.truncate(own);
        (children, stop)
    }

    /// Beyond the limit of parts: all that is left, as one.
    fn rest_of_letter(&self, start: usize) -> Part {
        let mut part = Part::empty_at(start);
        part.become_opaque();
        part.body = Span::new(start, self.raw.len());
        part.lines = count_lines(part.body.of(self.raw));
        part
    }

    /// The first open boundary at or after a line's start.
    fn scan(&self, from: usize) -> Stop {
        if self.boundaries.is_empty() {
            return Stop::End;
        }
        let mut position = from;
        if let Some(stop) = self.boundary_at(position) {
            return stop;
        }
        while let Some(rest) = self.raw.get(position..) {
            let Some(found) = self.line_start_dashes.find(rest) else {
                break;
            };
            position += found + 1;
            if let Some(stop) = self.boundary_at(position) {
                return stop;
            }
        }
        Stop::End
    }

    /// The boundary that the line at `position` is.
    ///
    /// `delimiter = CRLF "--" boundary`, `close-delimiter = delimiter "--"`, then padding.
    fn boundary_at(&self, position: usize) -> Option<Stop> {
        let text = self.raw.get(position..)?.strip_prefix(b"--")?;
        let next = line_end(self.raw, position)?;
        let text = text[..next - position - 2].trim_ascii_end();
        // The innermost first, as two may be the same.
        let (level, close) = (0..self.boundaries.len()).rev().find_map(|level| {
            match text.strip_prefix(self.boundaries[level].as_slice())? {
                b"" => Some((level, false)),
                b"--" => Some((level, true)),
                _ => None,
            }
        })?;
        let before = &self.raw[..position];
        let content_end = before
            .strip_suffix(b"\r\n")
            .or_else(|| before.strip_suffix(b"\n"))
            .unwrap_or(before)
            .len();
        Some(Stop::Boundary {
            level,
            close,
            content_end,
            next,
        })
    }
}

fn boundary_of(part: &Part) -> Option<Vec<u8>> {
    let boundary = part.param("boundary")?;
    let boundary = boundary.trim_end();
    (1..=BOUNDARY_BYTES_MAX)
        .contains(&boundary.len())
        .then(|| boundary.as_bytes().to_vec())
}

fn looks_like_field(line: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', line) else {
        return false;
    };
    let name = line[..colon].trim_ascii_end();
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

fn count_lines(bytes: &[u8]) -> u32 {
    let whole = memchr::memchr_iter(b'\n', bytes).count();
    let cut = usize::from(bytes.last().is_some_and(|b| *b != b'\n'));
    u32::try_from(whole + cut).unwrap_or(u32::MAX)
}

impl Part {
    fn new(header: Span) -> Self {
        Self {
            content_type: String::new(),
            subtype: String::new(),
            params: Vec::new(),
            id: None,
            description: None,
            encoding: String::new(),
            md5: None,
            disposition: None,
            language: Vec::new(),
            location: None,
            header,
            body: Span::new(header.range().end, header.range().end),
            lines: 0,
            content: Content::Leaf,
        }
    }

    fn empty_at(position: usize) -> Self {
        let mut part = Self::new(Span::new(position, position));
        part.settle(false, Default::TextPlain);
        part
    }

    /// Takes over one field of its header; of each kind the first counts.
    fn take(&mut self, field: &Field<'_>, limits: &ParseLimits, seen_type: &mut bool) {
        let Some(kind) = field.name.get(..8) else {
            return;
        };
        if !kind.eq_ignore_ascii_case(b"content-") {
            return;
        }
        let text = match field.name[8..].to_ascii_lowercase().as_slice() {
            b"type" => {
                if !*seen_type {
                    *seen_type = self.take_type(field, limits);
                }
                return;
            }
            b"transfer-encoding" => {
                if self.encoding.is_empty() {
                    self.encoding = parse_content_value(field.value, 0).value;
                }
                return;
            }
            b"disposition" => {
                if self.disposition.is_none() {
                    self.disposition = Some(parse_content_value(field.value, limits.params_max))
                        .filter(|d| !d.value.is_empty() || !d.params.is_empty());
                }
                return;
            }
            b"language" => {
                if self.language.is_empty() {
                    self.language = languages(&field.raw_text());
                }
                return;
            }
            b"id" => &mut self.id,
            b"description" => &mut self.description,
            b"md5" => &mut self.md5,
            b"location" => &mut self.location,
            _ => return,
        };
        if text.is_none() {
            *text = Some(field.raw_text());
        }
    }

    /// Gives whether the value could be read.
    fn take_type(&mut self, field: &Field<'_>, limits: &ParseLimits) -> bool {
        let ContentValue { value, params } = parse_content_value(field.value, limits.params_max);
        let (content_type, subtype) = match value.split_once('/') {
            Some((content_type, subtype)) if !content_type.is_empty() && !subtype.is_empty() => {
                (content_type, subtype)
            }
            // Old software wrote `text` only.
            _ if value == "text" => ("text", "plain"),
            _ => return false,
        };
        self.content_type = content_type.to_owned();
        self.subtype = subtype.to_owned();
        self.params = params;
        true
    }

    /// Fills in what the header did not say.
    fn settle(&mut self, seen_type: bool, default: Default) {
        if !seen_type {
            match default {
                Default::TextPlain => self.become_text(),
                Default::Message => {
                    self.content_type = "message".to_owned();
                    self.subtype = "rfc822".to_owned();
                }
            }
        }
        if self.encoding.is_empty() {
            // RFC 2045 §6.1.
            self.encoding.push_str("7bit");
        }
    }

    /// RFC 2045 §5.2: `Content-type: text/plain; charset=us-ascii`. A multipart in which no part
    /// is found is shown so, too, as IMAP cannot express an empty one.
    fn become_text(&mut self) {
        self.content_type = "text".to_owned();
        self.subtype = "plain".to_owned();
        self.params = vec![Param {
            name: "charset".to_owned(),
            value: "us-ascii".to_owned(),
        }];
    }

    /// What lies beyond a limit.
    fn become_opaque(&mut self) {
        self.content_type = "application".to_owned();
        self.subtype = "octet-stream".to_owned();
        self.params.clear();
    }

    /// RFC 2046 §5.2.1, RFC 6532 §3.7.
    fn holds_letter(&self) -> bool {
        self.content_type == "message" && matches!(self.subtype.as_str(), "rfc822" | "global")
    }
}

/// RFC 3282: a list of language tags.
fn languages(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|tag| !tag.is_empty())
        .take(100)
        .map(str::to_owned)
        .collect()
}
