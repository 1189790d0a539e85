//! Looking for texts in a letter: headers and text parts are decoded piece by piece, so that a
//! large letter is never held whole.

use std::cell::OnceCell;
use std::ops::Range;

use base::AccountId;
use message::body::{charset_to_utf8, html_to_text};
use message::{Content, Fields, Part, Span, Walk};
use store::{BodyReader, Store};

use super::super::fetch::{Decoder, Detail, Encoding, next_piece};
use super::super::reply::Failure;
use super::facts::Scanned;
use super::program::{Place, Program};

/// Decoded text is searched in windows of this size.
const WINDOW_BYTES: usize = 256 * 1024;

/// How much of a header is looked at, as the parser does.
const HEADER_BYTES_MAX: u64 = 1024 * 1024;

/// Reads a letter for all needles of a search.
pub(super) async fn scan(
    store: &Store,
    account: AccountId,
    detail: &Detail,
    program: &Program,
) -> Result<Scanned, Failure> {
    let mut scanner = Scanner {
        body: store.body(account, detail.meta.id).await?,
        head_bytes: u64::from(detail.meta.head_bytes),
        program,
        scanned: Scanned {
            in_body: vec![false; program.needles.len()],
            in_header: vec![false; program.needles.len()],
        },
    };
    let Some(structure) = &detail.structure else {
        return Ok(scanner.scanned);
    };
    scanner.header(structure.root.header).await?;
    // What the full-text search has told need not be read for.
    let needles = program.needles.iter();
    let wants = |place: Place| {
        let mut open = needles.clone().filter(|needle| needle.query.is_none());
        open.any(|needle| needle.place == place)
    };
    if wants(Place::Body) || wants(Place::Text) {
        for (_, part) in structure.root.walk(Walk::IntoMessages) {
            if wants(Place::Text) {
                scanner.part_header(part).await?;
            }
            if part.content_type == "text" && part.content == Content::Leaf {
                scanner.text_part(part).await?;
            }
        }
    }
    Ok(scanner.scanned)
}

struct Scanner<'a> {
    body: BodyReader,
    head_bytes: u64,
    program: &'a Program,
    scanned: Scanned,
}

impl Scanner<'_> {
    fn shift(&self, span: Span) -> Range<u64> {
        self.head_bytes + u64::from(span.start)..self.head_bytes + u64::from(span.end)
    }

    /// The letter's own header, which begins with what we put before it.
    async fn header(&mut self, span: Span) -> Result<(), Failure> {
        let end = self.shift(span).end.min(HEADER_BYTES_MAX);
        let header = self.read(0..end).await?;
        for field in Fields::new(&header) {
            let name = String::from_utf8_lossy(field.name).to_lowercase();
            let whole = format!("{name}: {}", field.text().to_lowercase());
            let text = &whole[name.len() + 2..];
            for (index, needle) in self.program.needles.iter().enumerate() {
                let found = match &needle.place {
                    Place::Body => continue,
                    Place::Field(name) => field.is(name) && text.contains(&needle.text),
                    Place::Text => whole.contains(&needle.text),
                };
                self.scanned.in_header[index] |= found;
            }
        }
        Ok(())
    }

    /// The MIME header of a part, for TEXT.
    async fn part_header(&mut self, part: &Part) -> Result<(), Failure> {
        let range = self.shift(part.header);
        let end = range.end.min(range.start + HEADER_BYTES_MAX);
        let header = self.read(range.start..end).await?;
        for field in Fields::new(&header) {
            let text = field.text().to_lowercase();
            for (index, needle) in self.program.needles.iter().enumerate() {
                if needle.place == Place::Text {
                    self.scanned.in_header[index] |= text.contains(&needle.text);
                }
            }
        }
        Ok(())
    }

    async fn read(&mut self, range: Range<u64>) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let mut rest = range;
        while let Some(piece) = next_piece(&mut self.body, &mut rest).await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    async fn text_part(&mut self, part: &Part) -> Result<(), Failure> {
        // An unknown encoding is searched as it is.
        let encoding = Encoding::of(&part.encoding).unwrap_or(Encoding::Identity);
        let mut decoder = Decoder::new(encoding);
        let mut window = Vec::new();
        let mut rest = self.shift(part.body);
        while let Some(piece) = next_piece(&mut self.body, &mut rest).await? {
            window.extend(decoder.push(&piece));
            if window.len() >= WINDOW_BYTES {
                self.search_window(part, &window);
                let kept = window.len().min(self.overlap());
                window.drain(..window.len() - kept);
            }
        }
        window.extend(decoder.finish());
        self.search_window(part, &window);
        Ok(())
    }

    /// What is searched again with the next window: a needle may lie across. A letter of the text
    /// takes at most four bytes in any charset that is used, but for escapes between them.
    fn overlap(&self) -> usize {
        let longest = self.program.needles.iter().map(|needle| needle.text.len());
        longest.max().unwrap_or(0) * 4 + 64
    }

    fn search_window(&mut self, part: &Part, window: &[u8]) {
        let text = charset_to_utf8(window, &part.charset());
        let text = if part.subtype == "html" {
            html_to_text(&text, WINDOW_BYTES * 4).to_lowercase()
        } else {
            text.to_lowercase()
        };
        let text = Lines::new(&text);
        for (index, needle) in self.program.needles.iter().enumerate() {
            if matches!(needle.place, Place::Body | Place::Text) && !self.scanned.in_body[index] {
                self.scanned.in_body[index] = text.contains(&needle.text);
            }
        }
    }
}

/// A text in which line ends count as the spaces that they stand for.
struct Lines<'a> {
    text: &'a str,
    /// The text in one line; made when it is first asked for, and once for all needles.
    joined: OnceCell<String>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            joined: OnceCell::new(),
        }
    }

    fn contains(&self, needle: &str) -> bool {
        if self.text.contains(needle) {
            return true;
        }
        let join = || self.text.split_whitespace().collect::<Vec<_>>().join(" ");
        needle.contains(' ') && self.joined.get_or_init(join).contains(needle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_end_is_a_space() {
        assert!(Lines::new("one\r\ntwo").contains("one two"));
        assert!(!Lines::new("onetwo").contains("one two"));
    }
}
