//! DATA: RFC 5321 §4.1.1.4, §4.5.2 (transparency), and the defence against smuggled letters: a
//! letter with a bare CR or LF is refused, and only CR LF . CR LF ends it.
//!
//! Text lines have no limit of their own: real letters break the 1,000 octets of RFC 5321
//! §4.5.3.1.6, and the size of the whole letter is limited.

use bytes::Buf;
use memchr::memchr2;

use super::{Event, Letter, Mode, Reply, Server, Step, Waiting};

impl Server {
    pub(super) fn data(&mut self, argument: &str) -> Step {
        let reply = if !argument.is_empty() {
            Reply::syntax("Syntax: DATA")
        } else if let Some(reply) = self.letter_out_of_place() {
            reply
        } else if self.letter.started || self.letter.fault.is_some() {
            // RFC 3030 §2: DATA and BDAT do not mix.
            Reply::bad_sequence("BDAT was used already")
        } else if self.transaction.as_ref().is_some_and(|t| t.binary) {
            Reply::binary_needs_bdat()
        } else {
            return self.ask(Waiting::Data, Event::LetterStart);
        };
        self.refuse_command(reply)
    }

    pub(super) fn letter_out_of_place(&self) -> Option<Reply> {
        match &self.transaction {
            None => Some(Reply::bad_sequence("MAIL and RCPT first")),
            Some(transaction) if transaction.recipients == 0 => {
                Some(Reply::bad_sequence("No valid recipients"))
            }
            Some(_) => None,
        }
    }

    /// The next part of the letter, as long as it lies in the input without a stuffed dot.
    pub(super) fn next_data(&mut self) -> Step {
        if self.letter.line_start && self.input.first() == Some(&b'.') {
            // RFC 5321 §4.5.2: a single dot ends the letter, any other first dot is dropped.
            match self.input.get(1..3) {
                Some(b"\r\n") => {
                    self.input.advance(3);
                    return self.end_data();
                }
                None if matches!(self.input[1..], [] | [b'\r']) => return Step::NeedInput,
                _ => {
                    self.input.advance(1);
                    self.letter.line_start = false;
                }
            }
        }
        let scan = scan(&self.input, self.letter.fault.is_some());
        if scan.bytes > 0 {
            self.letter.line_start = scan.at_line_start;
        }
        if scan.bare {
            // What stands before the bare octet goes with the letter.
            self.input.advance(scan.bytes);
            return self.drop_letter(Reply::bare_line_end_in_letter());
        }
        if scan.bytes == 0 {
            return Step::NeedInput;
        }
        self.take_chunk(scan.bytes)
    }

    /// Gives the next octets of the input to the driver, or drops them with a refused letter.
    pub(super) fn take_chunk(&mut self, bytes: usize) -> Step {
        self.letter.bytes += bytes as u64;
        let max = self.config.letter_bytes_max;
        if self.letter.fault.is_some() {
            self.input.advance(bytes);
            Step::Again
        } else if self.letter.bytes > max {
            self.input.advance(bytes);
            self.drop_letter(Reply::too_large(max))
        } else {
            Step::Event(Event::Chunk(self.input.split_to(bytes).freeze()))
        }
    }

    /// The letter will be refused, with this reply at its end.
    pub(super) fn drop_letter(&mut self, reply: Reply) -> Step {
        self.letter.fault = Some(reply);
        Step::Event(Event::LetterDropped)
    }

    fn end_data(&mut self) -> Step {
        self.mode = Mode::Command;
        self.progress_at = self.now;
        match self.letter.fault.take() {
            None => self.ask(Waiting::LetterEnd, Event::LetterEnd),
            Some(reply) => {
                self.write_for_the_others(&reply);
                self.end_transaction();
                self.refuse_command(reply)
            }
        }
    }
}

/// How far the input goes on without a decision.
struct Scan {
    bytes: usize,
    /// What follows `bytes` is the start of a line.
    at_line_start: bool,
    /// The last of `bytes` is a bare CR or LF.
    bare: bool,
}

/// Scans to the first line that begins with a dot, to the first bare CR or LF (unless `lenient`,
/// when the letter is refused already), or to the end. A CR at the end is left for the next time.
fn scan(input: &[u8], lenient: bool) -> Scan {
    let stop = |bytes, at_line_start, bare| Scan {
        bytes,
        at_line_start,
        bare,
    };
    let mut at = 0;
    // The octet before `at` ended a line.
    let mut line_start = false;
    while let Some(found) = memchr2(b'\r', b'\n', &input[at..]) {
        let end = at + found;
        line_start = false;
        match (input[end], input.get(end + 1)) {
            // What follows is that CR, so it does not matter whether a line starts there.
            (b'\r', None) => return stop(end, false, false),
            (b'\r', Some(b'\n')) => {
                at = end + 2;
                line_start = true;
                if input.get(at) == Some(&b'.') {
                    return stop(at, true, false);
                }
            }
            _ if lenient => at = end + 1,
            _ => return stop(end + 1, false, true),
        }
    }
    stop(input.len(), line_start && at == input.len(), false)
}

impl Letter {
    /// Whether the octets of BDAT keep to CR LF; the state goes on from chunk to chunk.
    pub(super) fn keeps_line_ends(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        if self.after_cr && !rest.is_empty() {
            if rest[0] != b'\n' {
                return false;
            }
            rest = &rest[1..];
            self.after_cr = false;
        }
        while let Some(found) = memchr2(b'\r', b'\n', rest) {
            match (rest[found], rest.get(found + 1)) {
                (b'\r', Some(b'\n')) => rest = &rest[found + 2..],
                (b'\r', None) => {
                    self.after_cr = true;
                    return true;
                }
                _ => return false,
            }
        }
        true
    }
}
