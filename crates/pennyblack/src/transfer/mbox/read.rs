//! Reading mbox of any kind, in bounded memory.

use std::io::{self, Read};

use base::Timestamp;
use message::header::parse_date;

use super::MARK;
use crate::transfer::ahead::Ahead;
use crate::transfer::flags::Flags;
use crate::transfer::lines;

/// A longer line is read in pieces of this size; a `From ` line is shorter.
const PIECE_BYTES: usize = 64 * 1024;
/// Bytes of a `From ` line.
const FROM_LINE_BYTES_MAX: usize = 1_000;
/// Bytes behind a body of Content-Length in which the next letter must begin.
const BEHIND_BYTES: usize = 4 + FROM_LINE_BYTES_MAX;

/// Reads letter after letter.
pub struct Mbox<R> {
    input: Ahead<R>,
    started: bool,
}

/// What stands between two `From ` lines.
#[derive(Debug)]
pub enum Entry {
    /// A letter.
    Letter(Box<MboxLetter>),
    /// One that is larger than allowed.
    TooLarge {
        /// Where its `From ` line begins.
        start: u64,
        /// Where the next letter begins.
        next: u64,
    },
}

/// A letter of an mbox.
#[derive(Debug)]
pub struct MboxLetter {
    /// Where its `From ` line begins.
    pub start: u64,
    /// Where the next letter begins.
    pub next: u64,
    /// The letter as the store keeps it.
    pub bytes: Vec<u8>,
    /// Its flags.
    pub flags: Flags,
    /// When it was received, if the file says so.
    pub received_at: Option<Timestamp>,
}

impl<R: Read> Mbox<R> {
    /// Reads from a reader that stands at `offset` of the file: its start, or where a letter
    /// begins.
    pub fn new(reader: R, offset: u64) -> Self {
        Self {
            input: Ahead::new(reader, offset),
            started: false,
        }
    }

    /// The number of the next byte.
    pub const fn offset(&self) -> u64 {
        self.input.offset()
    }

    /// Reads and forgets bytes.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn skip(&mut self, bytes: u64) -> io::Result<()> {
        self.input.skip(bytes)
    }

    /// The next letter of at most `bytes_max`; `None` at the end.
    ///
    /// # Errors
    /// Those of the reader; [`io::ErrorKind::InvalidData`] if the file does not begin like an mbox.
    pub fn next(&mut self, bytes_max: usize) -> io::Result<Option<Entry>> {
        if !self.started {
            self.skip_blank_lines()?;
            self.started = true;
        }
        let start = self.input.offset();
        let Some(from_line) = self.take_from_line()? else {
            return Ok(None);
        };
        let mut letter = Collected::new(bytes_max);
        let content_length = self.head(&mut letter)?;
        if !self.counted_body(&mut letter, content_length)? {
            self.body(&mut letter)?;
        }
        let next = self.input.offset();
        Ok(Some(match letter.finish(&from_line) {
            Some((bytes, flags, received_at)) if bytes.len() <= bytes_max => {
                Entry::Letter(Box::new(MboxLetter {
                    start,
                    next,
                    bytes,
                    flags,
                    received_at,
                }))
            }
            _ => Entry::TooLarge { start, next },
        }))
    }

    /// A byte order mark and empty lines before the first letter.
    fn skip_blank_lines(&mut self) -> io::Result<()> {
        if self.input.look(3)?.starts_with(b"\xef\xbb\xbf") {
            self.input.pass(3);
        }
        while matches!(self.input.look(1)?.first(), Some(b'\r' | b'\n')) {
            self.input.pass(1);
        }
        Ok(())
    }

    fn take_from_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.peek_line()?;
        if line.is_empty() {
            return Ok(None);
        }
        if !line.starts_with(b"From ") {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "this is no mbox: it does not begin with a line `From …`",
            ));
        }
        let line = line.to_vec();
        self.input.pass(line.len());
        Ok(Some(line))
    }

    /// The next line, or the next piece of a long one.
    fn peek_line(&mut self) -> io::Result<&[u8]> {
        let ahead = self.input.look(PIECE_BYTES)?;
        let ahead = &ahead[..ahead.len().min(PIECE_BYTES)];
        let end = memchr::memchr(b'\n', ahead).map_or(ahead.len(), |end| end + 1);
        Ok(&ahead[..end])
    }

    /// Reads the head with its empty line; gives the Content-Length that it names.
    fn head(&mut self, letter: &mut Collected) -> io::Result<Option<usize>> {
        let mut content_length = None;
        let mut at_line_start = true;
        loop {
            let line = self.peek_line()?;
            if line.is_empty() {
                return Ok(None);
            }
            let whole = line.last() == Some(&b'\n');
            let ends_head = at_line_start && is_blank(line);
            if at_line_start && let Some(length) = content_length_of(line) {
                content_length = Some(length);
            }
            let length = line.len();
            letter.head_line(line, at_line_start);
            self.input.pass(length);
            at_line_start = whole;
            if ends_head {
                letter.end_head();
                return Ok(content_length);
            }
        }
    }

    /// Reads a body by its Content-Length, if the next letter or the end stands right behind it.
    fn counted_body(
        &mut self,
        letter: &mut Collected,
        content_length: Option<usize>,
    ) -> io::Result<bool> {
        let Some(length) = content_length.filter(|length| *length <= letter.bytes_max) else {
            return Ok(false);
        };
        if letter.is_ours {
            return Ok(false);
        }
        let ahead = self.input.look(length + BEHIND_BYTES)?;
        let Some(behind) = ahead.get(length..) else {
            return Ok(false);
        };
        let blank = behind
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        let line = &behind[blank..];
        let line = &line[..memchr::memchr(b'\n', line).map_or(line.len(), |end| end + 1)];
        if !line.is_empty() && !is_from_line(line) {
            return Ok(false);
        }
        // mboxcl2 quotes nothing: a line that would have been quoted shows it.
        let body = &ahead[..length];
        let is_quoted = !has_bare_from(body);
        letter.counted(body, is_quoted);
        self.input.pass(length + blank);
        Ok(true)
    }

    /// Reads a body up to the next `From ` line behind an empty one, or to the end.
    fn body(&mut self, letter: &mut Collected) -> io::Result<()> {
        // The empty line that ended the head counts: a letter may have no body at all.
        let mut after_blank = letter.head_ended;
        let mut at_line_start = true;
        loop {
            let line = self.peek_line()?;
            if line.is_empty() || (at_line_start && after_blank && is_from_line(line)) {
                return Ok(());
            }
            let length = line.len();
            let whole = line.last() == Some(&b'\n');
            after_blank = at_line_start && is_blank(line);
            letter.body_line(line, at_line_start);
            self.input.pass(length);
            at_line_start = whole;
        }
    }
}

/// A letter while it is read.
struct Collected {
    bytes_max: usize,
    bytes: Vec<u8>,
    too_large: bool,
    flags: Flags,
    /// Whether no line of the head has come yet.
    is_first: bool,
    /// Whether the letter begins with our mark.
    is_ours: bool,
    /// Lines of the head behind the mark that are ours.
    own_lines: usize,
    /// Whether the field that is being read is left out.
    leaves_out: bool,
    at: Option<Timestamp>,
    open: bool,
    raw: bool,
    head_ended: bool,
    counted: bool,
}

impl Collected {
    fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: Vec::new(),
            too_large: false,
            flags: Flags::default(),
            is_first: true,
            is_ours: false,
            own_lines: 0,
            leaves_out: false,
            at: None,
            open: false,
            raw: false,
            head_ended: false,
            counted: false,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        // Room for the line that separates letters.
        if self.bytes.len() + bytes.len() > self.bytes_max + 2 {
            self.too_large = true;
            self.bytes = Vec::new();
        }
        if !self.too_large {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn head_line(&mut self, line: &[u8], at_line_start: bool) {
        if !at_line_start {
            if !self.leaves_out {
                self.push(line);
            }
            return;
        }
        if std::mem::take(&mut self.is_first) && self.take_mark(line) {
            self.leaves_out = true;
            return;
        }
        if self.is_ours {
            let is_own = self.own_lines > 0;
            self.own_lines = self.own_lines.saturating_sub(1);
            self.leaves_out = is_own;
            if is_own {
                self.take_field(line);
                return;
            }
        } else if line.starts_with(b" ") || line.starts_with(b"\t") {
            if self.leaves_out {
                // Keywords may go over several lines.
                let value = String::from_utf8_lossy(line).into_owned();
                self.flags.take_mbox_field(b"X-Keywords", &value);
                return;
            }
        } else {
            self.leaves_out = self.take_field(line);
            if self.leaves_out {
                return;
            }
        }
        self.push(unquoted(line));
    }

    /// Reads our mark: `X-Pennyblack: v=1; lines=2; at=1795501553120; open; raw`.
    fn take_mark(&mut self, line: &[u8]) -> bool {
        let Some(text) = std::str::from_utf8(line)
            .ok()
            .and_then(|text| text.strip_prefix(MARK)?.strip_prefix(": v=1;"))
        else {
            return false;
        };
        for word in text.split(';').map(str::trim) {
            match word.split_once('=') {
                Some(("lines", count)) => self.own_lines = count.parse().unwrap_or(0),
                Some(("at", at)) => self.at = at.parse().ok().map(Timestamp),
                None if word == "open" => self.open = true,
                None if word == "raw" => self.raw = true,
                Some(_) | None => {}
            }
        }
        self.is_ours = true;
        true
    }

    fn take_field(&mut self, line: &[u8]) -> bool {
        let Some(colon) = memchr::memchr(b':', line) else {
            return false;
        };
        let value = String::from_utf8_lossy(&line[colon + 1..]).into_owned();
        self.flags
            .take_mbox_field(line[..colon].trim_ascii(), &value)
    }

    fn end_head(&mut self) {
        self.head_ended = true;
    }

    fn body_line(&mut self, line: &[u8], at_line_start: bool) {
        self.push(if at_line_start { unquoted(line) } else { line });
    }

    fn counted(&mut self, body: &[u8], is_quoted: bool) {
        self.counted = true;
        if !is_quoted {
            self.push(body);
            return;
        }
        for line in body.split_inclusive(|byte| *byte == b'\n') {
            self.push(unquoted(line));
        }
    }

    /// The letter with its flags and date; `None` if it is too large.
    fn finish(mut self, from_line: &[u8]) -> Option<(Vec<u8>, Flags, Option<Timestamp>)> {
        if self.too_large {
            return None;
        }
        if self.is_ours {
            // The empty line before the next letter, and the line end that the letter did not have.
            for _ in 0..1 + u8::from(self.open) {
                self.bytes.pop_if(|byte| *byte == b'\n');
            }
        } else if !self.counted {
            take_line_end(&mut self.bytes);
        }
        let bytes = if self.raw {
            self.bytes
        } else {
            lines::from_file(self.bytes)
        };
        Some((bytes, self.flags, self.at.or_else(|| date_of(from_line))))
    }
}

/// Removes a line end; of what remains, an empty line must have been before it: at the end of a
/// file the empty line is often missing, and then the letter's last line keeps its end.
fn take_line_end(bytes: &mut Vec<u8>) {
    let is_blank = |bytes: &[u8]| bytes.is_empty() || bytes.ends_with(b"\n");
    if let Some(rest) = bytes.strip_suffix(b"\r\n").filter(|rest| is_blank(rest)) {
        let length = rest.len();
        bytes.truncate(length);
    } else if let Some(rest) = bytes.strip_suffix(b"\n").filter(|rest| is_blank(rest)) {
        let length = rest.len();
        bytes.truncate(length);
    }
}

fn is_blank(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r\n")
}

/// A line without one `>`, if it is a quoted `From ` line.
fn unquoted(line: &[u8]) -> &[u8] {
    let quotes = line.iter().take_while(|byte| **byte == b'>').count();
    if quotes > 0 && line[quotes..].starts_with(b"From ") {
        &line[1..]
    } else {
        line
    }
}

/// Whether a line begins a letter: `From `, a time and a year.
fn is_from_line(line: &[u8]) -> bool {
    if !line.starts_with(b"From ") || line.len() > FROM_LINE_BYTES_MAX {
        return false;
    }
    let words = || line.split(|byte| byte.is_ascii_whitespace()).skip(1);
    let is_time =
        |word: &[u8]| matches!(word, [_, b':', ..] | [_, _, b':', ..]) && word[0].is_ascii_digit();
    let is_year = |word: &[u8]| word.len() == 4 && word.iter().all(u8::is_ascii_digit);
    words().any(is_time) && words().any(is_year)
}

fn has_bare_from(body: &[u8]) -> bool {
    let mut lines = body.split(|byte| *byte == b'\n');
    lines.any(|line| line.starts_with(b"From "))
}

fn content_length_of(line: &[u8]) -> Option<usize> {
    let colon = memchr::memchr(b':', line)?;
    let is_it = line[..colon].eq_ignore_ascii_case(b"content-length");
    let value = std::str::from_utf8(&line[colon + 1..]).ok()?;
    is_it.then(|| value.trim().parse().ok()).flatten()
}

/// The date of a `From ` line: what follows the sender.
fn date_of(from_line: &[u8]) -> Option<Timestamp> {
    let text = String::from_utf8_lossy(from_line);
    let rest = text.strip_prefix("From ")?.trim_start();
    let (_, date) = rest.split_once(char::is_whitespace)?;
    parse_date(date).map(|date| date.timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str) -> Vec<(String, String)> {
        let mut mbox = Mbox::new(file.as_bytes(), 0);
        let mut all = Vec::new();
        while let Some(entry) = mbox.next(1_000).unwrap() {
            all.push(match entry {
                Entry::Letter(letter) => (
                    String::from_utf8(letter.bytes).unwrap(),
                    letter
                        .received_at
                        .map_or_else(|| "-".to_owned(), |at| at.to_string()),
                ),
                Entry::TooLarge { start, next } => {
                    (format!("too large {start}-{next}"), String::new())
                }
            });
        }
        all
    }

    fn letters(file: &str) -> Vec<String> {
        read(file).into_iter().map(|(letter, _)| letter).collect()
    }

    const FROM: &str = "From a@b.test Tue Nov 24 07:38:05 2026\n";

    #[test]
    fn what_other_programs_write() {
        let file = format!("{FROM}A: 1\n\n>From x\n>>From y\n\nFrom now on\n\n{FROM}B: 2\n\nb\n");
        assert_eq!(
            letters(&file),
            [
                "A: 1\r\n\r\nFrom x\r\n>From y\r\n\r\nFrom now on\r\n",
                "B: 2\r\n\r\nb\r\n"
            ]
        );
        let crlf = file.replace('\n', "\r\n");
        assert_eq!(letters(&crlf), letters(&file));
        assert_eq!(letters(&format!("\u{feff}\n\n{file}")), letters(&file));
    }

    #[test]
    fn dates_of_from_lines() {
        for (line, expected) in [
            (
                "From a@b Tue Nov 24 07:38:05 2026",
                "2026-11-24T07:38:05.000Z",
            ),
            (
                "From - Tue Nov 24 07:38:05 2026",
                "2026-11-24T07:38:05.000Z",
            ),
            (
                "From 17@xxx Tue Nov 24 07:38:05 +0100 2026",
                "2026-11-24T06:38:05.000Z",
            ),
            (
                "From a@b Tue Nov 24 07:38:05 EST 2026",
                "2026-11-24T12:38:05.000Z",
            ),
            ("From a@b", "-"),
        ] {
            assert_eq!(
                read(&format!("{line}\nA: 1\n\nx\n"))[0].1,
                expected,
                "{line}"
            );
        }
    }

    #[test]
    fn flags_are_no_part_of_the_letter() {
        let file = format!(
            "{FROM}A: 1\nStatus: RO\nX-Status: A\nX-Keywords: one\n two\nX-UID: 7\nB: 2\n\nStatus: x\n"
        );
        let mut mbox = Mbox::new(file.as_bytes(), 0);
        let Some(Entry::Letter(letter)) = mbox.next(1_000).unwrap() else {
            panic!("a letter");
        };
        assert_eq!(letter.bytes, b"A: 1\r\nB: 2\r\n\r\nStatus: x\r\n");
        let keywords: Vec<_> = letter.flags.keywords.iter().map(String::as_str).collect();
        assert_eq!(keywords, ["$answered", "$seen", "one", "two"]);
    }

    #[test]
    fn a_content_length_that_is_true_counts() {
        let body = format!("one\n\n{FROM}two\n");
        let file = format!(
            "{FROM}Content-Length: {}\n\n{body}\n{FROM}B: 2\n\nb\n",
            body.len()
        );
        assert_eq!(
            letters(&file)[0],
            format!("\r\n{}", body.replace('\n', "\r\n"))
        );
        assert_eq!(letters(&file).len(), 2);
        let wrong = file.replace("Content-Length: ", "Content-Length: 1");
        assert_eq!(letters(&wrong).len(), 3);
    }

    #[test]
    fn at_the_limit_and_beyond() {
        // The letter has CRLF where the file has LF.
        let head = "A: 1\n\n";
        let body = |bytes: usize| format!("{FROM}{head}{}\n\n{FROM}B: 2\n\nb\n", "x".repeat(bytes));
        assert_eq!(letters(&body(990))[0].len(), 1_000);
        assert!(letters(&body(991))[0].starts_with("too large 0-"));
        assert_eq!(letters(&body(991))[1], "B: 2\r\n\r\nb\r\n");
        assert!(letters(&body(100_000))[0].starts_with("too large 0-"));
    }

    #[test]
    fn what_is_no_mbox() {
        let error = Mbox::new(&b"Subject: x\n\n"[..], 0).next(100).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(Mbox::new(&b""[..], 0).next(100).unwrap().is_none());
    }
}
