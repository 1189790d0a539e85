//! Cuts a client's bytes into commands, with literals (RFC 9051 §4.3, RFC 7888).

use bytes::{Buf as _, Bytes, BytesMut};

use super::append::Append;
use super::command::{self, Command};
use super::cursor::Cursor;
use super::error::SyntaxError;
use super::tag::Tag;

/// What a reader takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReaderLimits {
    /// Longest line in bytes.
    pub line_bytes_max: usize,
    /// All literals of a command together, other than the letter of an APPEND.
    pub literal_bytes_max: usize,
    /// The largest letter.
    pub letter_bytes_max: u64,
}

impl Default for ReaderLimits {
    fn default() -> Self {
        Self {
            // RFC 7162 §4 asks for at least 8,192; Dovecot takes 64 KiB.
            line_bytes_max: 64 * 1024,
            literal_bytes_max: 64 * 1024,
            letter_bytes_max: 50 * 1024 * 1024,
        }
    }
}

/// What the client's bytes mean.
#[derive(Debug)]
pub enum Event {
    /// The client waits for `+ …` before it sends a literal.
    Continue,
    /// A whole command.
    Command {
        /// Its tag.
        tag: Tag,
        /// The command.
        command: Command,
    },
    /// An APPEND up to its letter. Answer with [`Reader::accept_letter`] or
    /// [`Reader::refuse_letter`].
    Append {
        /// Its tag.
        tag: Tag,
        /// Its arguments.
        append: Append,
    },
    /// A piece of the letter.
    Chunk(Bytes),
    /// The letter and its command have ended well.
    LetterEnd,
    /// A command, or the end of an APPEND, that cannot be understood. A letter whose chunks came
    /// before is not to be kept.
    Bad {
        /// The tag, if there is one.
        tag: Option<Tag>,
        /// What is wrong.
        error: SyntaxError,
    },
}

/// A line outside of the command grammar: an answer to a SASL challenge, or `DONE`.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// The line without its end.
    Text(Bytes),
    /// A line longer than the limit; its rest is thrown away.
    TooLong,
}

/// Reads commands.
///
/// Call order: [`Reader::receive`] with bytes, then [`Reader::poll`] until it gives nothing. After
/// [`Event::Append`], `poll` gives nothing until [`Reader::accept_letter`] or
/// [`Reader::refuse_letter`] is called. [`Reader::poll_line`] takes the place of `poll` while an
/// AUTHENTICATE or IDLE waits for the client's line. It holds at most what the limits allow plus
/// what one call of `receive` brings; give it no more while it has something to tell.
#[derive(Debug)]
pub struct Reader {
    limits: ReaderLimits,
    utf8: bool,
    input: BytesMut,
    /// How far `input` has been searched for the end of a line.
    searched: usize,
    /// The command so far: lines with their literals.
    command: Vec<u8>,
    literal_bytes: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Waiting for the end of a line.
    Line,
    /// A literal that belongs to the command.
    Literal { left: usize },
    /// The caller decides about a letter.
    Decide {
        literal: Literal,
        tag: Tag,
        in_utf8: bool,
    },
    /// A letter on its way to the caller.
    Letter { left: u64, tag: Tag, in_utf8: bool },
    /// The rest of an APPEND behind its letter.
    LetterTail { tag: Tag, in_utf8: bool },
    /// A literal that nobody wants, then the rest of its command.
    Skip { left: u64 },
    /// The rest of a command that was already answered.
    SkipLine,
    /// The rest of a line that was too long. `tail` is its end so far.
    SkipLongLine { tail: Vec<u8> },
}

/// `literal = "{" number64 ["+"] "}"` at the end of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Literal {
    length: u64,
    /// The client does not wait (RFC 7888).
    is_non_synchronising: bool,
    /// Where its `{` stands in the line.
    start: usize,
}

/// An idle reader keeps no larger buffer: most sessions are idle nearly always.
const IDLE_BYTES_MAX: usize = 4 * 1024;

/// Enough for `{18446744073709551615+}` and a line end.
const LITERAL_TAIL_BYTES: usize = 32;

impl Reader {
    /// A reader at the start of a connection.
    #[must_use]
    pub fn new(limits: ReaderLimits) -> Self {
        Self {
            limits,
            utf8: false,
            input: BytesMut::new(),
            searched: 0,
            command: Vec::new(),
            literal_bytes: 0,
            state: State::Line,
        }
    }

    /// Mailbox names are UTF-8 from now on (ENABLE IMAP4rev2 or UTF8=ACCEPT).
    pub fn use_utf8(&mut self) {
        self.utf8 = true;
    }

    /// Takes bytes of the client.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Throws away what was received and not yet read: RFC 9051 §6.2.1, no command sent before
    /// TLS may be taken as sent within it.
    pub fn discard_input(&mut self) {
        self.input.clear();
        self.searched = 0;
        self.command.clear();
        self.state = State::Line;
    }

    /// Whether a command has begun and not ended; for the choice of time limit.
    #[must_use]
    pub fn is_within_command(&self) -> bool {
        !matches!(self.state, State::Line) || !self.command.is_empty() || !self.input.is_empty()
    }

    /// The next event, or nothing if more bytes are needed.
    pub fn poll(&mut self) -> Option<Event> {
        loop {
            match &mut self.state {
                State::Line => {
                    let event = self.poll_command_line()?;
                    if let Some(event) = event {
                        return Some(event);
                    }
                }
                State::Literal { left } => {
                    let taken = (*left).min(self.input.len());
                    self.command.extend_from_slice(&self.input[..taken]);
                    self.input.advance(taken);
                    *left -= taken;
                    if *left > 0 {
                        return None;
                    }
                    self.state = State::Line;
                }
                State::Decide { .. } => return None,
                State::Letter { left, tag, in_utf8 } => {
                    if *left == 0 {
                        let (tag, in_utf8) = (tag.clone(), *in_utf8);
                        self.state = State::LetterTail { tag, in_utf8 };
                    } else {
                        return self.letter_chunk();
                    }
                }
                State::LetterTail { .. } => return self.poll_letter_tail(),
                State::Skip { left } => {
                    let taken = usize::try_from(*left)
                        .map_or(self.input.len(), |left| left.min(self.input.len()));
                    self.input.advance(taken);
                    *left -= taken as u64;
                    if *left > 0 {
                        return None;
                    }
                    self.state = State::SkipLine;
                }
                State::SkipLine => match self.take_line()? {
                    Line::Text(line) => self.after_answered(literal_at_end(&line)),
                    Line::TooLong => self.skip_long_line(),
                },
                State::SkipLongLine { .. } => self.poll_long_line()?,
            }
        }
    }

    /// The next line outside of the command grammar.
    pub fn poll_line(&mut self) -> Option<Line> {
        if let State::SkipLongLine { .. } = self.state {
            self.poll_long_line()?;
        }
        let line = self.take_line()?;
        if line == Line::TooLong {
            self.skip_long_line();
        }
        Some(line)
    }

    /// Takes the letter that was announced. True if the client waits for `+ …`.
    pub fn accept_letter(&mut self) -> bool {
        let State::Decide {
            literal,
            tag,
            in_utf8,
        } = &self.state
        else {
            return false;
        };
        let waits = !literal.is_non_synchronising;
        self.state = State::Letter {
            left: literal.length,
            tag: tag.clone(),
            in_utf8: *in_utf8,
        };
        waits
    }

    /// Refuses the letter that was announced; the caller answers the command. RFC 7888 §4: the
    /// octets of a literal that the client sends without waiting are read and thrown away.
    pub fn refuse_letter(&mut self) {
        if let State::Decide { literal, .. } = self.state {
            self.after_answered(Some(literal));
        }
    }

    /// Looks for the end of the line. The inner nothing means: go on with the new state.
    #[expect(
        clippy::option_option,
        reason = "outer: bytes needed; inner: no event yet"
    )]
    fn poll_command_line(&mut self) -> Option<Option<Event>> {
        let line = match self.take_line()? {
            Line::Text(line) => line,
            Line::TooLong => {
                let start = self.input.len().min(super::tag::TAG_BYTES_MAX + 1);
                let head = if self.command.is_empty() {
                    &self.input[..start]
                } else {
                    &self.command
                };
                let tag = tag_of(head);
                self.skip_long_line();
                return Some(Some(Event::Bad {
                    tag,
                    error: SyntaxError::LineTooLong,
                }));
            }
        };
        let literal = literal_at_end(&line);
        let line_start = self.command.len();
        self.command.extend_from_slice(&line);
        let Some(literal) = literal else {
            return Some(Some(self.whole_command()));
        };
        if let Some(event) = self.letter_announced(literal, line_start) {
            return Some(Some(event));
        }
        let length = usize::try_from(literal.length).unwrap_or(usize::MAX);
        if length
            > self
                .limits
                .literal_bytes_max
                .saturating_sub(self.literal_bytes)
        {
            let tag = tag_of(&self.command);
            self.after_answered(Some(literal));
            return Some(Some(Event::Bad {
                tag,
                error: SyntaxError::LiteralTooLarge,
            }));
        }
        self.command.extend_from_slice(b"\r\n");
        self.literal_bytes += length;
        self.state = State::Literal { left: length };
        Some((!literal.is_non_synchronising).then_some(Event::Continue))
    }

    fn whole_command(&mut self) -> Event {
        let bytes = std::mem::take(&mut self.command);
        self.literal_bytes = 0;
        parse_command(&bytes, self.utf8)
    }

    /// If the literal is the letter of an APPEND, what to do about it.
    fn letter_announced(&mut self, literal: Literal, line_start: usize) -> Option<Event> {
        let head = &self.command[..line_start + literal.start];
        let mut cursor = Cursor::new(head, self.utf8);
        let (tag, name) = command::read_start(&mut cursor).ok()?;
        if name != "APPEND" || !cursor.take(b' ') {
            return None;
        }
        // A name that is a literal itself: the head is not whole yet.
        if cursor.is_at_end() {
            return None;
        }
        let event = match Append::read_head(&mut cursor, literal.length) {
            Ok(append) if literal.length <= self.limits.letter_bytes_max => {
                self.command.clear();
                self.literal_bytes = 0;
                self.state = State::Decide {
                    literal,
                    tag: tag.clone(),
                    in_utf8: append.in_utf8,
                };
                return Some(Event::Append { tag, append });
            }
            Ok(_) => Event::Bad {
                tag: Some(tag),
                error: SyntaxError::LetterTooLarge,
            },
            Err(error) => Event::Bad {
                tag: Some(tag),
                error,
            },
        };
        self.after_answered(Some(literal));
        Some(event)
    }

    fn letter_chunk(&mut self) -> Option<Event> {
        let State::Letter { left, .. } = &mut self.state else {
            return None;
        };
        let available = self.input.len() as u64;
        let taken = available.min(*left);
        if taken == 0 {
            return None;
        }
        *left -= taken;
        // `taken` is at most the length of the input.
        let chunk = self
            .input
            .split_to(usize::try_from(taken).unwrap_or(0))
            .freeze();
        Some(Event::Chunk(chunk))
    }

    fn poll_letter_tail(&mut self) -> Option<Event> {
        let line = self.take_line()?;
        let State::LetterTail { tag, in_utf8 } = std::mem::replace(&mut self.state, State::Line)
        else {
            return None;
        };
        let error = match &line {
            Line::Text(line) => {
                let rest = if in_utf8 {
                    line.strip_prefix(b")")
                } else {
                    Some(&line[..])
                };
                match rest {
                    Some(b"") => return Some(Event::LetterEnd),
                    Some([b' ', ..]) => SyntaxError::SecondLetter,
                    Some(_) | None => SyntaxError::Expected("the end of the command"),
                }
            }
            Line::TooLong => SyntaxError::LineTooLong,
        };
        match line {
            Line::Text(line) => self.after_answered(literal_at_end(&line)),
            Line::TooLong => self.skip_long_line(),
        }
        Some(Event::Bad {
            tag: Some(tag),
            error,
        })
    }

    /// A command was answered before its end: a literal that the client sends anyway is skipped,
    /// together with what follows on its line.
    fn after_answered(&mut self, literal: Option<Literal>) {
        self.command.clear();
        self.literal_bytes = 0;
        self.state = match literal {
            Some(literal) if literal.is_non_synchronising => State::Skip {
                left: literal.length,
            },
            Some(_) | None => State::Line,
        };
    }

    fn skip_long_line(&mut self) {
        self.command.clear();
        self.literal_bytes = 0;
        self.state = State::SkipLongLine { tail: Vec::new() };
    }

    fn poll_long_line(&mut self) -> Option<()> {
        let State::SkipLongLine { tail } = &mut self.state else {
            return Some(());
        };
        let end = self.input.iter().position(|b| *b == b'\n');
        let taken = end.map_or(self.input.len(), |at| at + 1);
        tail.extend_from_slice(&self.input[..taken]);
        let surplus = tail.len().saturating_sub(LITERAL_TAIL_BYTES);
        tail.drain(..surplus);
        self.input.advance(taken);
        self.searched = 0;
        end?;
        let literal = literal_at_end(without_line_end(tail));
        self.after_answered(literal);
        Some(())
    }

    /// Takes a line without its end. A lone LF ends a line too, for people who type.
    fn take_line(&mut self) -> Option<Line> {
        let found = self.input[self.searched..].iter().position(|b| *b == b'\n');
        let Some(at) = found else {
            if self.input.is_empty() && self.input.capacity() > IDLE_BYTES_MAX {
                self.input = BytesMut::new();
            }
            self.searched = self.input.len();
            let is_too_long = self.input.len() > self.limits.line_bytes_max + 1;
            return is_too_long.then(|| {
                self.searched = 0;
                Line::TooLong
            });
        };
        let end = self.searched + at;
        self.searched = 0;
        if without_line_end(&self.input[..=end]).len() > self.limits.line_bytes_max {
            return Some(Line::TooLong);
        }
        let mut line = self.input.split_to(end + 1).freeze();
        line.truncate(without_line_end(&line).len());
        Some(Line::Text(line))
    }
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn tag_of(head: &[u8]) -> Option<Tag> {
    let end = head.iter().position(|b| *b == b' ')?;
    Tag::parse(&head[..end])
}

/// The literal that a line ends with.
fn literal_at_end(line: &[u8]) -> Option<Literal> {
    let inside = line.strip_suffix(b"}")?;
    let start = inside.iter().rposition(|b| *b == b'{')?;
    let digits = &inside[start + 1..];
    let (digits, is_non_synchronising) = match digits.strip_suffix(b"+") {
        Some(digits) => (digits, true),
        // RFC 7888 §3: LITERAL- is written in the same way.
        None => (digits, false),
    };
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_number)?;
    Some(Literal {
        length: text.parse().unwrap_or(u64::MAX),
        is_non_synchronising,
        start,
    })
}

fn parse_command(bytes: &[u8], utf8: bool) -> Event {
    let tag = tag_of(bytes).or_else(|| Tag::parse(bytes));
    let mut cursor = Cursor::new(bytes, utf8);
    let parsed = command::read_start(&mut cursor).and_then(|(tag, name)| {
        if bytes.contains(&0) {
            return Err(SyntaxError::Nul);
        }
        // An APPEND with its literal never comes here.
        if name == "APPEND" {
            return Err(SyntaxError::Expected("a mailbox name and a literal"));
        }
        Command::read(&mut cursor, &name).map(|command| (tag, command))
    });
    match parsed {
        Ok((tag, command)) => Event::Command { tag, command },
        Err(error) => Event::Bad { tag, error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: ReaderLimits = ReaderLimits {
        line_bytes_max: 100,
        literal_bytes_max: 20,
        letter_bytes_max: 50,
    };

    /// Feeds the pieces, accepting every letter, and tells what came out.
    fn run(pieces: &[&[u8]]) -> Vec<String> {
        let mut reader = Reader::new(LIMITS);
        let mut shown: Vec<String> = Vec::new();
        for piece in pieces {
            reader.receive(piece);
            while let Some(event) = reader.poll() {
                match event {
                    Event::Continue => shown.push("+".into()),
                    Event::Command { tag, command } => shown.push(format!("{tag} {command:?}")),
                    Event::Append { tag, append } => {
                        shown.push(format!("{tag} APPEND {}", append.letter_bytes));
                        if reader.accept_letter() {
                            shown.push("+".into());
                        }
                    }
                    Event::Chunk(bytes) => {
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        match shown.last_mut() {
                            Some(last) if last.starts_with("chunk ") => last.push_str(&text),
                            _ => shown.push(format!("chunk {text}")),
                        }
                    }
                    Event::LetterEnd => shown.push("end".into()),
                    Event::Bad { tag, error } => {
                        shown.push(format!(
                            "{} BAD {error}",
                            tag.as_ref().map_or("*", Tag::as_str)
                        ));
                    }
                }
            }
        }
        shown
    }

    fn check(input: &str, expected: &[&str]) {
        assert_eq!(run(&[input.as_bytes()]), expected);
        let bytes: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
        assert_eq!(run(&bytes), expected, "byte by byte");
    }

    #[test]
    fn lines_and_literals() {
        check("a NOOP\r\nb noop\n", &["a Noop", "b Noop"]);
        check(
            "a SELECT {5}\r\ninbox\r\n",
            &["+", "a Select(MailboxName(\"INBOX\"))"],
        );
        check(
            "a SELECT {5+}\r\ninbox\r\nb NOOP\r\n",
            &["a Select(MailboxName(\"INBOX\"))", "b Noop"],
        );
    }

    #[test]
    fn letters_come_in_chunks() {
        check(
            "a APPEND x {3}\r\nabc\r\nb NOOP\r\n",
            &["a APPEND 3", "+", "chunk abc", "end", "b Noop"],
        );
        check(
            "a APPEND {1+}\r\nx (\\Seen) \" 7-Feb-1994 21:52:25 +0000\" ~{3+}\r\nabc\r\n",
            &["a APPEND 3", "chunk abc", "end"],
        );
        check(
            "a APPEND x UTF8 (~{3+}\r\nabc)\r\n",
            &["a APPEND 3", "chunk abc", "end"],
        );
        check("a APPEND x {0+}\r\n\r\n", &["a APPEND 0", "end"]);
    }

    #[test]
    fn a_bad_append_is_answered_once_and_skipped() {
        check(
            "a APPEND x {51+}\r\n123456789012345678901234567890123456789012345678901\r\nb NOOP\r\n",
            &[
                "a BAD The message is larger than this server takes",
                "b Noop",
            ],
        );
        check(
            "a APPEND x {51}\r\nb NOOP\r\n",
            &[
                "a BAD The message is larger than this server takes",
                "b Noop",
            ],
        );
        check(
            "a APPEND x {1+}\r\na {2+}\r\nbb\r\nb NOOP\r\n",
            &[
                "a APPEND 1",
                "chunk a",
                "a BAD APPEND takes one message",
                "b Noop",
            ],
        );
        check(
            "a APPEND x y {1+}\r\na\r\nb NOOP\r\n",
            &["a BAD Expected a literal", "b Noop"],
        );
        check(
            "a APPEND x\r\n",
            &["a BAD Expected a mailbox name and a literal"],
        );
    }

    #[test]
    fn limits_at_and_beyond() {
        let at = format!("a SELECT {}\r\n", "x".repeat(LIMITS.line_bytes_max - 9));
        assert_eq!(run(&[at.as_bytes()]).len(), 1);
        check(
            &format!(
                "a SELECT x{}\r\nb NOOP\r\n",
                "x".repeat(LIMITS.line_bytes_max - 9)
            ),
            &["a BAD The line is too long", "b Noop"],
        );
        check(
            &format!(
                "a SELECT {}{{3+}}\r\nabc\r\nb NOOP\r\n",
                "x".repeat(LIMITS.line_bytes_max)
            ),
            &["a BAD The line is too long", "b Noop"],
        );
        check(
            "a LOGIN {10+}\r\n1234567890 {11+}\r\n12345678901\r\nb NOOP\r\n",
            &["a BAD The literal is too large for this command", "b Noop"],
        );
        check(
            "a LOGIN {99999999999999999999999}\r\nb NOOP\r\n",
            &["a BAD The literal is too large for this command", "b Noop"],
        );
    }

    #[test]
    fn bad_lines_name_their_tag() {
        check("\r\n", &["* BAD A command starts with a tag and a space"]);
        check("x\r\n", &["x BAD A command starts with a tag and a space"]);
        check("x FOO\r\n", &["x BAD There is no such command"]);
        check(
            "x LOGIN a \"\u{0}\"\r\n",
            &["x BAD A command may not hold a NUL byte"],
        );
    }

    #[test]
    fn lines_outside_of_commands() {
        let mut reader = Reader::new(LIMITS);
        reader.receive(b"do");
        assert_eq!(reader.poll_line(), None);
        reader.receive(b"ne\r\nrest\n");
        assert_eq!(reader.poll_line(), Some(Line::Text("done".into())));
        assert_eq!(reader.poll_line(), Some(Line::Text("rest".into())));
        reader.receive("x".repeat(150).as_bytes());
        assert_eq!(reader.poll_line(), Some(Line::TooLong));
        reader.receive(b"\r\nnext\r\n");
        assert_eq!(reader.poll_line(), Some(Line::Text("next".into())));
    }

    #[test]
    fn what_came_before_tls_is_forgotten() {
        let mut reader = Reader::new(LIMITS);
        reader.receive(b"a STARTTLS\r\nb LOGIN a b\r\n");
        assert!(matches!(reader.poll(), Some(Event::Command { .. })));
        reader.discard_input();
        assert!(reader.poll().is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_split_anywhere_mean_the_same(
            bytes in proptest::collection::vec(prop_oneof![
                any::<u8>().prop_map(|b| vec![b]),
                "(a1|x) (FETCH 1:\\* |STORE 1 |SEARCH |LIST |APPEND x |SELECT |LOGIN )".prop_map(String::into_bytes),
                "[A-Z(){}\\[\\]\"+~&0-9 ]{0,8}".prop_map(String::into_bytes),
                "\\{[0-9]{1,2}\\+?\\}\r\n".prop_map(String::into_bytes),
                Just(b"\r\n".to_vec()),
            ], 0..40),
            cuts in proptest::collection::vec(1usize..9, 1..40),
        ) {
            let input = bytes.concat();
            let whole = run(&[&input]);
            let mut pieces = Vec::new();
            let (mut rest, mut cut) = (&input[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(run(&pieces), whole);
        }
    }
}
