//! One pass over the letter that finds all parts. A line is compared with all open boundaries, so
//! that an outer boundary ends inner parts which were never closed (RFC 2046 §5.1.2).

use memchr::memmem;

use super::{Content, Envelope, Part, Structure};
use crate::header::{ContentValue, Field, Fields, Param, parse_content_value};
use crate::header::{is_empty_line, line_end};
use crate::limits::{DEPTH_MAX, LETTER_BYTES_MAX};
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
        // An empty part between two boundaries lies after the line end that the second one takes.
        let end = end.max(part.inner_end());
        part.body = Span::new(start, end);
        part.lines = count_lines(part.body.of(self.raw));
        match &part.content {
            Content::Leaf if part.content_type == "multipart" => part.become_text(),
            // A letter of which not even a header is there still is a letter.
            Content::Leaf if part.holds_letter() && header_stop.is_some() => {
                self.parts += 1;
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
        let too_much =
            depth >= self.limits.depth_max.min(DEPTH_MAX) || self.parts >= self.limits.parts_max;
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
            // Nothing comes after it: whoever wrote it forgot the last two dashes.
            close: close || next == self.raw.len(),
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
            // Old software wrote no subtype.
            _ if value == "text" => ("text", "plain"),
            _ if matches!(value.as_str(), "application" | "image" | "audio" | "video") => {
                ("application", "octet-stream")
            }
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

    /// Where the last thing inside ends.
    fn inner_end(&self) -> usize {
        match &self.content {
            Content::Leaf => 0,
            Content::Multipart(children) => children.last().map_or(0, |c| c.body.range().end),
            Content::Message(inner) => inner.root.body.range().end,
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Walk;
    use expect_test::{Expect, expect};

    /// Shows each part with its number, type, lines and body.
    fn show(raw: &[u8], limits: &ParseLimits) -> String {
        let structure = parse(raw, limits);
        let mut out = String::new();
        for (path, part) in structure.root.walk(Walk::IntoMessages) {
            let body = String::from_utf8_lossy(part.body.of(raw)).into_owned();
            let body = if matches!(part.content, Content::Leaf) && body.len() < 60 {
                format!("{body:?}")
            } else {
                format!("{} bytes", body.len())
            };
            out += &format!("[{path}] {} {} {body}\n", part.media_type(), part.lines);
            if !path.0.is_empty() {
                assert_eq!(structure.part(&path.0), Some(part));
            }
        }
        out
    }

    fn check(letter: &str, expected: &Expect) {
        let raw = letter.replace('\n', "\r\n");
        expected.assert_eq(&show(raw.as_bytes(), &ParseLimits::default()));
    }

    #[test]
    fn a_plain_letter() {
        check(
            "Subject: x\n\nHello\nworld",
            &expect![[r#"
            [1] text/plain 2 "Hello\r\nworld"
        "#]],
        );
        check(
            "",
            &expect![[r#"
            [1] text/plain 0 ""
        "#]],
        );
        check(
            "\nbody",
            &expect![[r#"
            [1] text/plain 1 "body"
        "#]],
        );
        check(
            "Subject: no body",
            &expect![[r#"
            [1] text/plain 0 ""
        "#]],
        );
    }

    /// RFC 9051 §6.4.5.1: the example of section numbers, shortened.
    #[test]
    fn nested_parts() {
        check(
            "Content-Type: multipart/mixed; boundary=o\n\npreamble\n--o\n\none\n--o\n\
             Content-Type: application/octet-stream\n\ntwo\n--o\n\
             Content-Type: message/rfc822\n\n\
             Subject: inner\nContent-Type: multipart/alternative; boundary=\"i i\"\n\n\
             --i i\nContent-Type: text/plain\n\nplain\n--i i  \n\
             Content-Type: text/html\n\n<p>\n--i i--\nepilogue\n--o\n\
             Content-Type: message/rfc822\n\nSubject: inner 2\n\ntext\n\n--o--\nepilogue\n",
            &expect![[r#"
                [] multipart/mixed 33 366 bytes
                [1] text/plain 1 "one"
                [2] application/octet-stream 1 "two"
                [3] message/rfc822 13 171 bytes
                [3.1] text/plain 1 "plain"
                [3.2] text/html 1 "<p>"
                [4] message/rfc822 3 26 bytes
                [4.1] text/plain 1 "text\r\n"
            "#]],
        );
    }

    /// RFC 2046 §5.1.1: boundaries that are missing, cut or nested wrongly.
    #[test]
    fn broken_multiparts() {
        // Inner boundary never closed; outer one closes it.
        check(
            "Content-Type: multipart/mixed; boundary=o\n\n--o\n\
             Content-Type: multipart/mixed; boundary=i\n\n--i\n\na\n--o\n\nb\n",
            &expect![[r#"
                [] multipart/mixed 9 70 bytes
                [1] multipart/mixed 3 8 bytes
                [1.1] text/plain 1 "a"
                [2] text/plain 1 "b\r\n"
            "#]],
        );
        // No boundary parameter; boundary that never comes; empty parts; no header.
        check(
            "Content-Type: multipart/mixed\n\n--x\n\na\n",
            &expect![[r#"
            [1] text/plain 3 "--x\r\n\r\na\r\n"
        "#]],
        );
        check(
            "Content-Type: multipart/mixed; boundary=x\n\na\n",
            &expect![[r#"
            [1] text/plain 1 "a\r\n"
        "#]],
        );
        check(
            "Content-Type: multipart/mixed; boundary=x\n\n--x\n--x\n\n--x\nno header\n--x\nA: b\n--x\n\
             Content-Type: message/rfc822\n--x--",
            &expect![[r#"
                [] multipart/mixed 10 79 bytes
                [1] text/plain 0 ""
                [2] text/plain 0 ""
                [3] text/plain 1 "no header"
                [4] text/plain 0 ""
                [5] message/rfc822 0 0 bytes
                [5.1] text/plain 0 ""
            "#]],
        );
        // One boundary is the start of the other.
        check(
            "Content-Type: multipart/mixed; boundary=ab\n\n--ab\n\
             Content-Type: multipart/mixed; boundary=abc\n\n--abc\n\na\n--abc--\n--ab\n\nb\n--ab--",
            &expect![[r#"
                [] multipart/mixed 11 91 bytes
                [1] multipart/mixed 4 19 bytes
                [1.1] text/plain 1 "a"
                [2] text/plain 1 "b"
            "#]],
        );
    }

    #[test]
    fn digests_hold_letters() {
        check(
            "Content-Type: multipart/digest; boundary=x\n\n--x\n\nSubject: 1\n\na\n--x--\n",
            &expect![[r#"
                [] multipart/digest 6 31 bytes
                [1] message/rfc822 3 15 bytes
                [1.1] text/plain 1 "a"
            "#]],
        );
    }

    #[test]
    fn the_limits_hold() {
        let limits = ParseLimits {
            depth_max: 1,
            parts_max: 4,
            ..ParseLimits::default()
        };
        let deep = "Content-Type: multipart/mixed; boundary=a\n\n--a\n\
            Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n--a\n\
            Content-Type: message/rfc822\n\nA: b\n\nx\n--a\n\ny\n--a\n\nz\n--a--\n";
        expect![[r#"
            [] multipart/mixed 20 122 bytes
            [1] application/octet-stream 4 "--b\n\nx\n--b--"
            [2] application/octet-stream 3 "A: b\n\nx"
            [3] text/plain 1 "y"
            [4] application/octet-stream 3 "\nz\n--a--\n"
        "#]]
        .assert_eq(&show(deep.as_bytes(), &limits));
        let limits = ParseLimits {
            depth_max: 2,
            parts_max: 100,
            ..ParseLimits::default()
        };
        expect![[r#"
            [] multipart/mixed 20 122 bytes
            [1] multipart/mixed 4 12 bytes
            [1.1] text/plain 1 "x"
            [2] message/rfc822 3 7 bytes
            [2.1] text/plain 1 "x"
            [3] text/plain 1 "y"
            [4] text/plain 1 "z"
        "#]]
        .assert_eq(&show(deep.as_bytes(), &limits));
    }

    #[test]
    fn fields_of_a_part() {
        let raw = b"content-TYPE: image/PNG; name=a\nContent-ID: <x@y>\n\
            Content-Description: =?utf-8?q?=C3=A4?=\nContent-MD5: abc=\n\
            Content-Disposition: Inline; filename=b\nContent-Language: de, en\n\
            Content-Location: http://x/\nContent-Transfer-Encoding: BASE64 (x)\n\
            Content-Type: text/plain\n\nAAAA";
        let part = parse(raw, &ParseLimits::default()).root;
        assert_eq!(part.media_type(), "image/png");
        assert_eq!(part.content_id(), Some("x@y"));
        assert_eq!(part.decoded_description().as_deref(), Some("\u{e4}"));
        assert_eq!(part.md5.as_deref(), Some("abc="));
        assert_eq!(part.filename().as_deref(), Some("b"));
        assert!(!part.is_attachment());
        assert_eq!(part.language, ["de", "en"]);
        assert_eq!(part.location.as_deref(), Some("http://x/"));
        assert_eq!(part.encoding, "base64");
        let none = parse(b"Content-Type: ???\n\n", &ParseLimits::default()).root;
        assert_eq!(none.media_type(), "text/plain");
        assert_eq!(none.charset(), "us-ascii");
    }
}
