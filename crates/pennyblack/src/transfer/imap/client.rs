//! A small IMAP client (RFC 9051, RFC 3501): logs in, sends one command at a time, reads its
//! answers with their literals. Every line and literal has a limit, every wait a time.

use std::io;
use std::time::Duration;

use base::ports::BoxStream;
use base64::Engine as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use super::parse::{Value, literal_bytes, values};

/// Bytes of a line of an answer without its literals. FLAGS and LIST lines are short, answers of
/// FETCH too; a SEARCH is not asked for.
const LINE_BYTES_MAX: usize = 256 * 1024;
/// Literals of one answer, beside the letter.
const LITERALS_MAX: usize = 64;
/// Bytes of a literal that is no letter.
const SMALL_LITERAL_BYTES_MAX: u64 = 64 * 1024;
/// How long the server may take for the next line or piece.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// A connection to a server.
pub(super) struct Client {
    stream: BufReader<BoxStream>,
    tag: u32,
    capabilities: Vec<String>,
    /// Bytes of the largest letter that is kept.
    letter_bytes_max: u64,
}

/// An answer without a tag.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its words.
    pub values: Vec<Value>,
    /// It held a literal over the limit, which was left out.
    pub is_cut: bool,
}

/// How a command failed.
#[derive(Debug)]
pub(super) enum Wrong {
    /// The connection is gone, or says what no server says.
    Broken(io::Error),
    /// The server said NO or BAD.
    Refused(String),
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
            Self::Refused(text) => write!(f, "the server says: {text}"),
        }
    }
}

impl Answer {
    /// Whether the word at a place is this one.
    pub(super) fn is(&self, at: usize, word: &str) -> bool {
        let value = self.values.get(at).and_then(Value::text);
        value.is_some_and(|value| value.eq_ignore_ascii_case(word))
    }
}

impl Client {
    /// Takes over a connection and reads the greeting, unless it was read before TLS.
    pub(super) async fn new(
        stream: BoxStream,
        is_greeted: bool,
        letter_bytes_max: u64,
    ) -> Result<Self, Wrong> {
        let mut client = Self {
            stream: BufReader::with_capacity(64 * 1024, stream),
            tag: 0,
            capabilities: Vec::new(),
            letter_bytes_max,
        };
        if !is_greeted {
            let (text, _, _) = client.line().await?;
            if !text.starts_with(b"* OK") && !text.starts_with(b"* PREAUTH") {
                return Err(Wrong::Refused(shown(&text)));
            }
        }
        Ok(client)
    }

    /// Asks for TLS and gives the connection back for the handshake.
    pub(super) async fn start_tls(mut self) -> Result<BoxStream, Wrong> {
        self.command("STARTTLS").await?;
        // RFC 9051 §11.1: whatever was sent before the handshake must not count.
        if !self.stream.buffer().is_empty() {
            return Err(Wrong::Broken(invalid(
                "the server sends before the handshake",
            )));
        }
        Ok(self.stream.into_inner())
    }

    /// Logs in: by AUTHENTICATE PLAIN where the server has it, else by LOGIN.
    pub(super) async fn log_in(&mut self, user: &str, password: &str) -> Result<(), Wrong> {
        self.read_capabilities().await?;
        if self.has("AUTH=PLAIN") {
            let plain = format!("\0{user}\0{password}");
            let response = base64::engine::general_purpose::STANDARD.encode(plain);
            let tag = self.send("AUTHENTICATE PLAIN").await?;
            self.continuation(&tag).await?;
            self.write(format!("{response}\r\n").as_bytes()).await?;
            self.answers(&tag, |_| {}).await?;
        } else if self.has("LOGINDISABLED") {
            return Err(Wrong::Refused(
                "it takes no password without TLS".to_owned(),
            ));
        } else {
            let command = format!("LOGIN {} {}", quoted(user)?, quoted(password)?);
            self.command(&command).await?;
        }
        self.read_capabilities().await
    }

    async fn read_capabilities(&mut self) -> Result<(), Wrong> {
        let mut words = Vec::new();
        let keep = |answer: Answer| {
            if answer.is(0, "CAPABILITY") {
                words.extend(answer.values.iter().filter_map(Value::text));
            }
        };
        self.command_with("CAPABILITY", keep).await?;
        self.capabilities = words;
        Ok(())
    }

    /// Whether the server has a capability.
    pub(super) fn has(&self, capability: &str) -> bool {
        let mut known = self.capabilities.iter();
        known.any(|known| known.eq_ignore_ascii_case(capability))
    }

    /// Sends a command, and waits for its end; what comes before is not looked at.
    pub(super) async fn command(&mut self, command: &str) -> Result<(), Wrong> {
        self.command_with(command, |_| {}).await
    }

    /// Sends a command, and gives each answer that comes before its end.
    pub(super) async fn command_with(
        &mut self,
        command: &str,
        each: impl FnMut(Answer),
    ) -> Result<(), Wrong> {
        let tag = self.send(command).await?;
        self.answers(&tag, each).await
    }

    /// Sends a command whose answers are then read with [`Self::next`].
    pub(super) async fn send(&mut self, command: &str) -> Result<String, Wrong> {
        self.tag += 1;
        let tag = format!("P{}", self.tag);
        self.write(format!("{tag} {command}\r\n").as_bytes())
            .await?;
        Ok(tag)
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        let stream = self.stream.get_mut();
        let write = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        Ok(in_time(write).await?)
    }

    async fn answers(&mut self, tag: &str, mut each: impl FnMut(Answer)) -> Result<(), Wrong> {
        while let Some(answer) = self.next(tag).await? {
            each(answer);
        }
        Ok(())
    }

    async fn continuation(&mut self, tag: &str) -> Result<(), Wrong> {
        loop {
            let (text, _, _) = self.line().await?;
            if text.starts_with(b"+") {
                return Ok(());
            }
            if let Some(end) = ended(&text, tag) {
                end?;
                return Err(Wrong::Broken(invalid("no continuation")));
            }
        }
    }

    /// The next answer; `None` when the command has ended well.
    pub(super) async fn next(&mut self, tag: &str) -> Result<Option<Answer>, Wrong> {
        loop {
            let (text, literals, is_cut) = self.line().await?;
            if let Some(end) = ended(&text, tag) {
                return end.map(|()| None);
            }
            if text.starts_with(b"* BYE") {
                return Err(Wrong::Broken(io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    shown(&text),
                )));
            }
            // A continuation that nobody asked for, or an empty line: some servers do.
            if let Some(rest) = text.strip_prefix(b"* ") {
                let values = values(rest, literals);
                return Ok(Some(Answer { values, is_cut }));
            }
        }
    }

    /// One answer: its text, in which `{n}` stands for each literal, and the literals.
    async fn line(&mut self) -> Result<(Vec<u8>, Vec<Vec<u8>>, bool), Wrong> {
        let mut text = Vec::new();
        let mut literals = Vec::new();
        let mut is_cut = false;
        loop {
            let start = text.len();
            let room = (LINE_BYTES_MAX - start) as u64;
            let limited = &mut (&mut self.stream).take(room);
            in_time(limited.read_until(b'\n', &mut text)).await?;
            if text.len() == start {
                return Err(Wrong::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
            if text.last() != Some(&b'\n') {
                return Err(Wrong::Broken(invalid("a line is too long or has no end")));
            }
            let end = text.trim_ascii_end().len().max(start);
            text.truncate(end);
            let Some(bytes) = literal_bytes(&text[start..]) else {
                return Ok((text, literals, is_cut));
            };
            if literals.len() >= LITERALS_MAX {
                return Err(Wrong::Broken(invalid("an answer has too many literals")));
            }
            let is_letter = text[start..]
                .windows(4)
                .any(|word| word.eq_ignore_ascii_case(b"BODY"))
                || text[start..]
                    .windows(6)
                    .any(|word| word.eq_ignore_ascii_case(b"RFC822"));
            let limit = if is_letter {
                self.letter_bytes_max
            } else {
                SMALL_LITERAL_BYTES_MAX
            };
            if bytes > limit {
                self.pass_over(bytes).await?;
                literals.push(Vec::new());
                is_cut = true;
            } else {
                literals.push(self.literal(bytes).await?);
            }
        }
    }

    async fn literal(&mut self, bytes: u64) -> Result<Vec<u8>, Wrong> {
        let mut literal = Vec::new();
        // Room only for what comes: a server may announce much and send nothing.
        while (literal.len() as u64) < bytes {
            let piece = (bytes - literal.len() as u64).min(64 * 1024);
            let before = literal.len();
            let limited = &mut (&mut self.stream).take(piece);
            in_time(limited.read_to_end(&mut literal)).await?;
            if literal.len() == before {
                return Err(Wrong::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(literal)
    }

    async fn pass_over(&mut self, mut bytes: u64) -> Result<(), Wrong> {
        while bytes > 0 {
            let there = in_time(self.stream.fill_buf()).await?.len();
            if there == 0 {
                return Err(Wrong::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
            let now = there.min(usize::try_from(bytes).unwrap_or(usize::MAX));
            self.stream.consume(now);
            bytes -= now as u64;
        }
        Ok(())
    }
}

/// The end of a command, if a line is that.
fn ended(text: &[u8], tag: &str) -> Option<Result<(), Wrong>> {
    let rest = text.strip_prefix(tag.as_bytes())?.strip_prefix(b" ")?;
    let is_ok = rest
        .get(..2)
        .is_some_and(|word| word.eq_ignore_ascii_case(b"OK"));
    Some(if is_ok {
        Ok(())
    } else {
        Err(Wrong::Refused(shown(rest)))
    })
}

fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(500)]);
    text.replace(char::is_control, "\u{FFFD}")
}

/// A quoted string (RFC 9051 §4.3).
pub(super) fn quoted(text: &str) -> Result<String, Wrong> {
    if text.contains(['\r', '\n', '\0']) {
        return Err(Wrong::Refused(
            "a name or password has a line end in it".to_owned(),
        ));
    }
    Ok(format!(
        "\"{}\"",
        text.replace('\\', "\\\\").replace('"', "\\\"")
    ))
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let done = tokio::time::timeout(ANSWER_TIMEOUT, work).await;
    done.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the server does not answer"))?
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says this and no more, whatever it is told.
    async fn against(says: Vec<u8>) -> Result<Client, Wrong> {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        tokio::spawn(async move {
            // A client that has gone need not hear the rest.
            let _ = far.write_all(&says).await;
            let _ = far.shutdown().await;
            let _ = tokio::io::copy(&mut far, &mut tokio::io::sink()).await;
        });
        Client::new(Box::new(near), false, 1_000).await
    }

    async fn fetch(says: &str) -> Result<Vec<Answer>, Wrong> {
        let says = format!("* OK hi\r\n{says}").into_bytes();
        let mut client = against(says).await?;
        let mut answers = Vec::new();
        client
            .command_with("X", |answer| answers.push(answer))
            .await?;
        Ok(answers)
    }

    fn is_broken(result: &Result<Vec<Answer>, Wrong>) -> bool {
        matches!(result, Err(Wrong::Broken(_)))
    }

    #[tokio::test]
    async fn answers_in_any_company() {
        let answers = fetch(
            "* 3 EXISTS\r\n+ idling\r\n\r\n* 1 FETCH (BODY[] {6}\r\nA: 1\r\n UID 7)\nP1 ok done\r\n",
        );
        let answers = answers.await.unwrap();
        assert_eq!(answers.len(), 2);
        assert_eq!(
            answers[1].values[2].list()[1],
            Value::Text(b"A: 1\r\n".to_vec())
        );
        let refused = fetch("P1 NO [X] not\u{7} now\r\n").await;
        assert!(matches!(refused, Err(Wrong::Refused(text)) if text.contains("not\u{FFFD} now")));
    }

    #[tokio::test]
    async fn what_is_too_large_is_passed_over_or_ends_the_connection() {
        let letter = format!(
            "* 1 FETCH (BODY[] {{1001}}\r\n{})\r\nP1 OK\r\n",
            "x".repeat(1_001)
        );
        let answers = fetch(&letter).await.unwrap();
        assert!(answers[0].is_cut);
        let whole = letter.replace("1001", "1000").replacen('x', "", 1);
        assert!(!fetch(&whole).await.unwrap()[0].is_cut);
        assert!(is_broken(
            &fetch(&format!("* {}\r\n", "x".repeat(LINE_BYTES_MAX))).await
        ));
        let many = "* X ".to_owned() + &"{0}\r\n ".repeat(LITERALS_MAX + 1);
        assert!(is_broken(&fetch(&many).await));
    }

    #[tokio::test]
    async fn servers_that_go() {
        assert!(is_broken(&fetch("* BYE too busy\r\n").await));
        assert!(is_broken(&fetch("* 1 FETCH (BODY[] {999}\r\nabc").await));
        assert!(is_broken(&fetch("* 1 EX").await));
        assert!(is_broken(&fetch("").await));
        let greeting = against(b"* BYE not today\r\n".to_vec()).await;
        assert!(matches!(greeting, Err(Wrong::Refused(_))));
        assert!(matches!(against(Vec::new()).await, Err(Wrong::Broken(_))));
    }

    #[tokio::test]
    async fn words_before_the_handshake_are_refused() {
        let says = b"* OK hi\r\nP1 OK begin\r\n* CAPABILITY X\r\n".to_vec();
        let client = against(says).await.unwrap();
        assert!(matches!(client.start_tls().await, Err(Wrong::Broken(_))));
    }

    #[test]
    fn quoted_words() {
        assert_eq!(quoted("a\"b\\").unwrap(), "\"a\\\"b\\\\\"");
        assert!(quoted("a\r\nb").is_err());
    }
}
