//! A small blocking IMAP client: enough to count and read letters on any server.
//!
//! It shares no code with the server it is pointed at. It understands literals and tagged answers
//! (RFC 9051 §2.2) and nothing else of the grammar; the real clients of the tests do the rest.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::smtp;

/// A connection that is logged in.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
    tag: u32,
}

/// An untagged answer: its text, each literal replaced by `{n}`, and the literals.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The lines joined, without the leading `* `.
    pub text: String,
    /// The literals in order.
    pub literals: Vec<Vec<u8>>,
}

/// Longer literals than this are an error of the server, not a letter of a test.
const LITERAL_BYTES_MAX: usize = 64 << 20;

impl Client {
    /// Connects without TLS and logs in.
    ///
    /// # Errors
    /// When the connection breaks or the server refuses.
    pub fn log_in(to: SocketAddr, user: &str, password: &str) -> io::Result<Client> {
        let stream = BufReader::new(smtp::open(to, Duration::from_secs(30))?);
        let mut client = Client { stream, tag: 0 };
        client.line()?;
        client.command(&format!("LOGIN \"{user}\" \"{password}\""))?;
        Ok(client)
    }

    /// Sends a command and gives the untagged answers.
    ///
    /// # Errors
    /// When the connection breaks or the answer is not OK.
    pub fn command(&mut self, command: &str) -> io::Result<Vec<Answer>> {
        self.tag += 1;
        let tag = format!("a{}", self.tag);
        self.stream
            .get_mut()
            .write_all(format!("{tag} {command}\r\n").as_bytes())?;
        self.answers(&tag)
    }

    /// Appends a letter to a mailbox; `Ok` means that the server has acknowledged it.
    ///
    /// # Errors
    /// When the connection breaks or the server refuses.
    pub fn append(&mut self, mailbox: &str, letter: &[u8]) -> io::Result<()> {
        self.tag += 1;
        let tag = format!("a{}", self.tag);
        let head = format!("{tag} APPEND {mailbox} {{{}}}\r\n", letter.len());
        self.stream.get_mut().write_all(head.as_bytes())?;
        let go_on = self.line()?;
        if !go_on.starts_with('+') {
            return Err(io::Error::other(go_on));
        }
        self.stream.get_mut().write_all(letter)?;
        self.stream.get_mut().write_all(b"\r\n")?;
        self.answers(&tag).map(drop)
    }

    /// How many letters a mailbox holds.
    ///
    /// # Errors
    /// When the connection breaks or the server refuses.
    pub fn count(&mut self, mailbox: &str) -> io::Result<u64> {
        let answers = self.command(&format!("STATUS {mailbox} (MESSAGES)"))?;
        let number = answers.iter().find_map(|answer| {
            let (_, rest) = answer.text.split_once("MESSAGES ")?;
            rest.trim_end_matches(')')
                .split([' ', ')'])
                .next()?
                .parse()
                .ok()
        });
        number.ok_or_else(|| io::Error::other(format!("no number in {answers:?}")))
    }

    /// All letters of a mailbox, whole, in the order of their UIDs.
    ///
    /// # Errors
    /// When the connection breaks or the server refuses.
    pub fn letters(&mut self, mailbox: &str) -> io::Result<Vec<Vec<u8>>> {
        self.command(&format!("EXAMINE {mailbox}"))?;
        if self.count(mailbox)? == 0 {
            return Ok(Vec::new());
        }
        let answers = self.command("FETCH 1:* (BODY.PEEK[])")?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| answer.literals.into_iter().next())
            .collect())
    }

    /// Begins to idle (RFC 2177): from now on the server tells what changes.
    ///
    /// # Errors
    /// When the connection breaks or the server refuses.
    pub fn idle(&mut self) -> io::Result<()> {
        self.tag += 1;
        let command = format!("a{} IDLE\r\n", self.tag);
        self.stream.get_mut().write_all(command.as_bytes())?;
        let go_on = self.line()?;
        if go_on.starts_with('+') {
            return Ok(());
        }
        Err(io::Error::other(go_on))
    }

    /// While idling: waits until the server says that the mailbox holds this many letters.
    ///
    /// # Errors
    /// When the connection breaks, or nothing is said for 30 seconds.
    pub fn until_there_are(&mut self, letters: u64) -> io::Result<()> {
        let wanted = format!("* {letters} EXISTS");
        while self.line()? != wanted {}
        Ok(())
    }

    /// Ends idling.
    ///
    /// # Errors
    /// When the connection breaks or the server refuses.
    pub fn done(&mut self) -> io::Result<()> {
        self.stream.get_mut().write_all(b"DONE\r\n")?;
        let tag = format!("a{}", self.tag);
        self.answers(&tag).map(drop)
    }

    fn answers(&mut self, tag: &str) -> io::Result<Vec<Answer>> {
        let mut answers = Vec::new();
        loop {
            let mut answer = Answer {
                text: self.line()?,
                literals: Vec::new(),
            };
            while let Some(bytes) = literal_size(&answer.text) {
                let mut literal = vec![0; bytes];
                self.stream.read_exact(&mut literal)?;
                answer.literals.push(literal);
                answer.text.push_str(&self.line()?);
            }
            if let Some(rest) = answer.text.strip_prefix("* ") {
                answer.text = rest.to_owned();
                answers.push(answer);
            } else if let Some(rest) = answer.text.strip_prefix(tag) {
                let fine = rest.trim_start().starts_with("OK");
                return if fine {
                    Ok(answers)
                } else {
                    Err(io::Error::other(answer.text))
                };
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut bytes = Vec::new();
        (&mut self.stream)
            .take(1 << 20)
            .read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&bytes)
            .trim_end_matches(['\r', '\n'])
            .to_owned())
    }
}

/// The size that a literal at the end of the line announces.
fn literal_size(text: &str) -> Option<usize> {
    let (_, size) = text.strip_suffix('}')?.rsplit_once('{')?;
    size.parse().ok().filter(|size| *size <= LITERAL_BYTES_MAX)
}
