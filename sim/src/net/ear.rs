//! Listens to a connection as the server sees it: which letter was read to its end, and whether the
//! client has read the reply. Only a letter whose reply was not read may rightly come twice.

use std::collections::VecDeque;

use crate::ledger::Carried;

/// How a letter names itself: the header field in which its token stands.
pub const TOKEN_FIELD: &str = "X-Sim: ";
/// The marks of [`crate::tls`] are neither commands nor replies.
const TLS_MARK: &str = "*tls";
const TLS_AGREED: &str = "*tls agreed*";
/// Of a longer line only the beginning is looked at.
const LINE_BYTES_MAX: usize = 1_000;

/// What the server reads next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Commands,
    /// DATA was read, but not answered.
    Data,
    Letter,
    /// A piece of a letter, of so many bytes more.
    Chunk {
        left: usize,
        last: bool,
    },
}

/// What was heard.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Heard {
    /// A command of the client.
    Command(String),
    /// A reply of the server.
    Reply(String),
    /// A letter was read to its end by the server.
    LetterEnd(Option<Carried>),
    /// A report was refused for good, for this recipient.
    ReportRefused(String),
}

/// What the server has not answered yet.
#[derive(Debug)]
enum Asked {
    /// A recipient; whose it is, if it is a report.
    Recipient(Option<String>),
    /// The end of a letter.
    Letter,
    Other,
}

/// The observer of one connection.
#[derive(Debug)]
pub(super) struct Ear {
    mode: Mode,
    line: Vec<u8>,
    reply: Vec<u8>,
    null_sender: bool,
    /// Recipients of the letter that the server has not refused.
    recipients: usize,
    asked: VecDeque<Asked>,
    token: Option<u64>,
    /// The letter that waits for its reply.
    waiting: Option<Carried>,
    /// Bytes that the server has said, and of them the client has read.
    said_bytes: u64,
    read_bytes: u64,
    /// Up to where the client must have read to know the reply.
    reply_end: Option<u64>,
}

impl Default for Ear {
    fn default() -> Self {
        Self {
            mode: Mode::Commands,
            line: Vec::new(),
            reply: Vec::new(),
            null_sender: false,
            recipients: 0,
            // The greeting.
            asked: VecDeque::from([Asked::Other]),
            token: None,
            waiting: None,
            said_bytes: 0,
            read_bytes: 0,
            reply_end: None,
        }
    }
}

impl Ear {
    /// The server has read this.
    pub(super) fn heard(&mut self, bytes: &[u8], heard: &mut Vec<Heard>) {
        for byte in bytes {
            if self.line.len() < LINE_BYTES_MAX || *byte == b'\n' {
                self.line.push(*byte);
            }
            let chunk_ends = self.chunk_byte();
            if *byte == b'\n' || chunk_ends.is_some() {
                let line = std::mem::take(&mut self.line);
                let line = String::from_utf8_lossy(&line);
                self.line(line.trim_end(), heard);
            }
            match chunk_ends {
                Some(true) => self.letter_end(heard),
                Some(false) => {
                    self.mode = Mode::Commands;
                    self.asked.push_back(Asked::Other);
                }
                None => {}
            }
        }
    }

    /// Counts a byte of a chunk (RFC 3030); whether it is the last of its chunk, and that of the
    /// letter.
    fn chunk_byte(&mut self) -> Option<bool> {
        let Mode::Chunk { left, last } = &mut self.mode else {
            return None;
        };
        *left -= 1;
        (*left == 0).then_some(*last)
    }

    fn line(&mut self, line: &str, heard: &mut Vec<Heard>) {
        match self.mode {
            Mode::Letter if line == "." => self.letter_end(heard),
            Mode::Letter | Mode::Chunk { .. } => {
                if self.token.is_none()
                    && let Some(token) = line.strip_prefix(TOKEN_FIELD)
                {
                    self.token = token.parse().ok();
                }
            }
            Mode::Commands | Mode::Data => self.command(line, heard),
        }
    }

    fn command(&mut self, line: &str, heard: &mut Vec<Heard>) {
        heard.push(Heard::Command(line.to_owned()));
        // DATA was refused, or the client would not send commands.
        self.mode = Mode::Commands;
        if line.starts_with(TLS_MARK) {
            return;
        }
        if line.starts_with("MAIL FROM:") {
            self.null_sender = line.starts_with("MAIL FROM:<>");
            self.token = None;
            self.recipients = 0;
        }
        if let Some(chunk) = line.strip_prefix("BDAT ") {
            let mut words = chunk.split(' ');
            let left = words
                .next()
                .and_then(|bytes| bytes.parse().ok())
                .unwrap_or(0);
            let last = words.next() == Some("LAST");
            match (left, last) {
                (0, true) => self.letter_end(heard),
                (0, false) => self.asked.push_back(Asked::Other),
                (left, last) => self.mode = Mode::Chunk { left, last },
            }
            return;
        }
        let recipient = line.strip_prefix("RCPT TO:<");
        self.asked
            .push_back(recipient.map_or(Asked::Other, |recipient| {
                let address = recipient.split_once('>').map(|(address, _)| address);
                let report_to = address.filter(|_| self.null_sender);
                Asked::Recipient(report_to.map(str::to_owned))
            }));
        if line == "DATA" {
            self.mode = Mode::Data;
        }
    }

    fn letter_end(&mut self, heard: &mut Vec<Heard>) {
        self.mode = Mode::Commands;
        let is_report = self.null_sender;
        let token = self.token.take();
        let carried = token.map(|token| Carried { token, is_report });
        self.waiting = carried;
        self.reply_end = None;
        self.asked.push_back(Asked::Letter);
        heard.push(Heard::LetterEnd(carried));
    }

    /// The server has said this.
    pub(super) fn said(&mut self, bytes: &[u8], heard: &mut Vec<Heard>) {
        for byte in bytes {
            self.said_bytes += 1;
            if self.reply.len() < LINE_BYTES_MAX || *byte == b'\n' {
                self.reply.push(*byte);
            }
            if *byte == b'\n' {
                let reply = std::mem::take(&mut self.reply);
                let reply = String::from_utf8_lossy(&reply).trim_end().to_owned();
                self.replied(&reply, heard);
                heard.push(Heard::Reply(reply));
            }
        }
    }

    fn replied(&mut self, reply: &str, heard: &mut Vec<Heard>) {
        let reply = reply.strip_prefix(TLS_AGREED).unwrap_or(reply);
        if reply.as_bytes().get(3) == Some(&b'-') {
            return;
        }
        match self.asked.pop_front() {
            Some(Asked::Recipient(Some(sender))) if reply.starts_with('5') => {
                heard.push(Heard::ReportRefused(sender));
            }
            Some(Asked::Recipient(_)) => self.recipients += usize::from(reply.starts_with('2')),
            // PRDR: a reply for each recipient, and then one for the letter.
            Some(Asked::Letter) if reply.starts_with("353") => {
                self.asked.push_front(Asked::Letter);
                for _ in 0..self.recipients {
                    self.asked.push_front(Asked::Other);
                }
            }
            Some(Asked::Letter) if reply.starts_with('2') => {
                self.reply_end = Some(self.said_bytes);
            }
            Some(Asked::Letter) => self.waiting = None,
            Some(Asked::Other) | None => {}
        }
        if self.mode == Mode::Data && reply.starts_with("354") {
            self.mode = Mode::Letter;
            self.token = None;
        }
    }

    /// The client has read so many bytes; a letter whose reply it knows now.
    pub(super) fn read(&mut self, bytes: usize) -> Option<Carried> {
        self.read_bytes += bytes as u64;
        let known = self.reply_end.is_some_and(|end| end <= self.read_bytes);
        if known { self.waiting.take() } else { None }
    }

    /// The connection is over: a letter that the server has read, and whose reply the client does
    /// not know.
    pub(super) fn end(&mut self) -> Option<Carried> {
        self.waiting.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIALOG: &[u8] = b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n";
    const LETTER: &[u8] = b"X-Sim: 7\r\n\r\nhello\r\n.\r\n";

    fn letter_end() -> Ear {
        let (mut ear, mut heard) = (Ear::default(), Vec::new());
        ear.said(b"220 hi\r\n", &mut heard);
        ear.heard(DIALOG, &mut heard);
        ear.said(b"250 ok\r\n250 ok\r\n354 go\r\n", &mut heard);
        ear.read(8 + 24);
        ear.heard(LETTER, &mut heard);
        let carried = Carried {
            token: 7,
            is_report: false,
        };
        assert_eq!(heard.last(), Some(&Heard::LetterEnd(Some(carried))));
        ear
    }

    #[test]
    fn a_letter_whose_reply_was_not_read_is_told() {
        let mut ear = letter_end();
        ear.said(b"250 kept\r\n", &mut Vec::new());
        assert!(ear.read(9).is_none());
        assert_eq!(ear.end().map(|carried| carried.token), Some(7));
    }

    #[test]
    fn a_letter_whose_reply_was_read_is_not() {
        let mut ear = letter_end();
        ear.said(b"250 kept\r\n", &mut Vec::new());
        assert!(ear.read(10).is_some());
        assert!(ear.end().is_none());
    }

    #[test]
    fn chunks_are_letters_too() {
        let (mut ear, mut heard) = (Ear::default(), Vec::new());
        ear.said(b"220 hi\r\n", &mut heard);
        // All of it is read before anything is answered.
        ear.heard(
            b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\n",
            &mut heard,
        );
        ear.heard(
            b"BDAT 12\r\nX-Sim: 8\r\n\r\nBDAT 3 LAST\r\n.\r\nQUIT\r\n",
            &mut heard,
        );
        let ends = heard
            .iter()
            .filter(|heard| matches!(heard, Heard::LetterEnd(Some(_))));
        assert_eq!(ends.count(), 1);
        ear.read(8);
        ear.said(b"250 ok\r\n250 ok\r\n250 got 12\r\n", &mut heard);
        assert!(ear.read(16 + 12).is_none());
        ear.said(b"250 kept\r\n", &mut heard);
        assert_eq!(ear.read(10).map(|carried| carried.token), Some(8));
    }

    #[test]
    fn replies_for_each_recipient_are_not_that_for_the_letter() {
        let (mut ear, mut heard) = (Ear::default(), Vec::new());
        ear.said(b"220 hi\r\n", &mut heard);
        ear.heard(
            b"MAIL FROM:<a@x.test> PRDR\r\nRCPT TO:<b@y.test>\r\nRCPT TO:<c@y.test>\r\n",
            &mut heard,
        );
        ear.said(b"250 ok\r\n250 ok\r\n250 ok\r\n", &mut heard);
        ear.heard(b"BDAT 12 LAST\r\nX-Sim: 8\r\n\r\n", &mut heard);
        ear.said(b"353 each\r\n250 b\r\n452 c\r\n", &mut heard);
        assert!(ear.read(8 + 24 + 10 + 7 + 7).is_none());
        assert!(ear.waiting.is_some(), "the letter may have been taken");
        ear.said(b"250 kept\r\n", &mut heard);
        assert_eq!(ear.read(10).map(|carried| carried.token), Some(8));
    }

    #[test]
    fn a_report_that_is_refused_is_told() {
        let (mut ear, mut heard) = (Ear::default(), Vec::new());
        ear.said(b"*tls agreed*220 hi\r\n", &mut heard);
        ear.heard(b"*tls hello*\nEHLO x\r\n", &mut heard);
        ear.said(b"250-hi\r\n250 ok\r\n", &mut heard);
        ear.heard(
            b"MAIL FROM:<>\r\nRCPT TO:<a@x.test> NOTIFY=NEVER\r\nDATA\r\n",
            &mut heard,
        );
        heard.clear();
        ear.said(b"250 ok\r\n550 no\r\n503 no\r\n", &mut heard);
        assert!(heard.contains(&Heard::ReportRefused("a@x.test".to_owned())));
        assert_eq!(heard.len(), 4);
    }

    #[test]
    fn a_letter_that_was_refused_is_not() {
        let mut ear = letter_end();
        ear.said(b"452 full\r\n", &mut Vec::new());
        assert!(ear.end().is_none());
    }
}
