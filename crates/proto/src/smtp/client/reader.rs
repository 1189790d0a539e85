//! Replies of a peer's server, read from the stream: RFC 5321 §4.2.

use bytes::{Buf, BytesMut};
use memchr::memchr;

use crate::smtp::reply::{EnhancedCode, Reply};

/// RFC 5321 §4.5.3.1.5 has 512; servers with long texts exist.
const LINE_BYTES_MAX: usize = 4_096;
/// EHLO of real servers has up to some 30 lines.
const LINES_MAX: usize = 128;

/// Puts lines together to replies. Holds at most [`LINES_MAX`] lines besides what is not yet read.
#[derive(Debug, Default)]
pub(super) struct ReplyReader {
    input: BytesMut,
    searched: usize,
    code: u16,
    lines: Vec<String>,
}

impl ReplyReader {
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Forgets what was not read.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The next whole reply.
    pub(super) fn next(&mut self) -> Result<Option<Reply>, &'static str> {
        loop {
            let Some(at) = memchr(b'\n', &self.input[self.searched..]) else {
                self.searched = self.input.len();
                if self.searched > LINE_BYTES_MAX {
                    return Err("a reply line is too long");
                }
                return Ok(None);
            };
            let line = self.input.split_to(self.searched + at);
            self.input.advance(1);
            self.searched = 0;
            if line.len() > LINE_BYTES_MAX {
                return Err("a reply line is too long");
            }
            // A lone LF is taken: nothing of ours can be smuggled by a reply.
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            if self.line(line)? {
                return Ok(Some(self.reply()));
            }
        }
    }

    /// Takes a line; whether it was the last of its reply.
    fn line(&mut self, line: &[u8]) -> Result<bool, &'static str> {
        let code = line
            .get(..3)
            .filter(|code| code.iter().all(u8::is_ascii_digit))
            .map(|code| code.iter().fold(0, |n, b| n * 10 + u16::from(b - b'0')))
            .filter(|code| (200..600).contains(code))
            .ok_or("no reply code")?;
        if !self.lines.is_empty() && code != self.code {
            return Err("the codes of a reply's lines differ");
        }
        if self.lines.len() >= LINES_MAX {
            return Err("a reply has too many lines");
        }
        let last = match line.get(3) {
            None | Some(b' ') => true,
            Some(b'-') => false,
            Some(_) => return Err("no space behind the reply code"),
        };
        self.code = code;
        let text = String::from_utf8_lossy(line.get(4..).unwrap_or_default());
        self.lines
            .push(text.replace(|c: char| c.is_control() && c != '\t', "?"));
        Ok(last)
    }

    fn reply(&mut self) -> Reply {
        let mut lines = std::mem::take(&mut self.lines);
        let class = self.code / 100;
        let enhanced = lines
            .first()
            .and_then(|line| EnhancedCode::parse_prefix(line))
            .map(|(code, _)| code)
            .filter(|code| u16::from(code.class) == class);
        if let Some(code) = enhanced {
            // RFC 2034 §4: every line repeats the code.
            for line in &mut lines {
                if let Some((same, rest)) = EnhancedCode::parse_prefix(line)
                    && same == code
                {
                    *line = rest.to_owned();
                }
            }
        }
        Reply {
            code: self.code,
            enhanced,
            text: lines.join("\n").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, &'static str> {
        let mut reader = ReplyReader::default();
        reader.receive(text.as_bytes());
        let mut replies = Vec::new();
        while let Some(reply) = reader.next()? {
            replies.push(reply.to_string());
        }
        Ok(replies)
    }

    #[test]
    fn replies_of_one_and_more_lines() {
        assert_eq!(
            read(
                "250 2.1.0 ok\r\n250-a\r\n250 b\r\n354\r\n220 x\n550-5.1.1 a\r\n550 5.1.1 b\r\n25"
            ),
            Ok(["250 2.1.0 ok", "250 a b", "354", "220 x", "550 5.1.1 a b"]
                .map(String::from)
                .to_vec())
        );
    }

    #[test]
    fn what_is_no_reply() {
        for bad in [
            "hello\r\n",
            "25\r\n",
            "250+x\r\n",
            "250-a\r\n251 b\r\n",
            "199 x\r\n",
            "600 x\r\n",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read(&"250-x\r\n".repeat(LINES_MAX + 1)).is_err());
        assert!(read(&"2".repeat(LINE_BYTES_MAX + 1)).is_err());
    }
}
