//! A small blocking SMTP client: enough to drive any server in tests and loads, and to know for
//! each letter whether it was acknowledged.
//!
//! It shares no code with the server it is pointed at, so that a mistake in one does not hide in
//! the other. It follows RFC 5321 and groups MAIL, RCPT and DATA where PIPELINING (RFC 2920) is
//! offered. It does not retry, route or queue.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A reply of the server: its code and its text, lines joined by a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// The text of all lines.
    pub text: String,
}

impl Reply {
    /// Whether the code says that all went well (2xx, or 354 for DATA).
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }
}

/// Why a letter was not acknowledged.
#[derive(Debug)]
pub enum Failure {
    /// The connection broke: where the letter is, nobody can say.
    Broken(io::Error),
    /// The server said no to this command.
    Refused {
        /// The command, or what took its place.
        stage: &'static str,
        /// What the server said.
        reply: Reply,
    },
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Broken(_) => write!(f, "the connection broke"),
            Failure::Refused { stage, reply } => {
                write!(f, "{stage} was answered {} {}", reply.code, reply.text)
            }
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Failure::Broken(cause) => Some(cause),
            Failure::Refused { .. } => None,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(cause: io::Error) -> Failure {
        Failure::Broken(cause)
    }
}

/// One connection to a server.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
    /// The keywords that the server offered after EHLO, in capitals, one a line.
    offered: Vec<String>,
    out: Vec<u8>,
}

impl Client {
    /// Connects, hears the greeting and says EHLO.
    ///
    /// # Errors
    /// When the connection cannot be made, or the server refuses it or EHLO.
    pub fn connect(to: SocketAddr, limit: Duration) -> Result<Client, Failure> {
        let stream = BufReader::new(open(to, limit)?);
        let mut client = Client {
            stream,
            offered: Vec::new(),
            out: Vec::new(),
        };
        let greeting = client.reply()?;
        require("the greeting", greeting)?;
        client.hello()?;
        Ok(client)
    }

    /// Says EHLO and keeps what is offered.
    fn hello(&mut self) -> Result<(), Failure> {
        self.stream.get_mut().write_all(b"EHLO client.test\r\n")?;
        let mut lines = Vec::new();
        let code = self.reply_lines(|line| lines.push(line.to_ascii_uppercase()))?;
        self.offered = lines;
        let text = self.offered.join(" ");
        require("EHLO", Reply { code, text }).map(drop)
    }

    /// Whether the server offered this keyword.
    #[must_use]
    pub fn offers(&self, keyword: &str) -> bool {
        self.offered
            .iter()
            .any(|line| line.split(' ').next() == Some(keyword))
    }

    /// Sends one command line and gives the reply, whatever it is.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn command(&mut self, line: &str) -> Result<Reply, Failure> {
        self.stream
            .get_mut()
            .write_all(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// Hands over one letter. `Ok` means that the server has acknowledged it.
    ///
    /// # Errors
    /// When a command is refused or the connection breaks.
    pub fn send(&mut self, from: &str, to: &[String], letter: &[u8]) -> Result<Reply, Failure> {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        out.extend_from_slice(format!("MAIL FROM:<{from}>\r\n").as_bytes());
        for recipient in to {
            out.extend_from_slice(format!("RCPT TO:<{recipient}>\r\n").as_bytes());
        }
        out.extend_from_slice(b"DATA\r\n");
        let result = if self.offers("PIPELINING") {
            self.envelope_at_once(&out, to.len())
        } else {
            self.envelope_step_by_step(&out)
        };
        out.clear();
        stuff_dots(letter, &mut out);
        let sent = result.and_then(|()| Ok(self.stream.get_mut().write_all(&out)?));
        self.out = out;
        sent?;
        let reply = self.reply()?;
        require("the letter", reply)
    }

    fn envelope_at_once(&mut self, commands: &[u8], recipients: usize) -> Result<(), Failure> {
        self.stream.get_mut().write_all(commands)?;
        let mail = self.reply()?;
        let mut failed = require("MAIL", mail).err();
        for _ in 0..recipients {
            let rcpt = require("RCPT", self.reply()?);
            failed = failed.or_else(|| rcpt.err());
        }
        let data = self.reply()?;
        match (failed, require("DATA", data)) {
            (None, answer) => answer.map(drop),
            (Some(failure), Err(_)) => Err(failure),
            (Some(failure), Ok(_)) => {
                // RFC 2920 §3.1: DATA was accepted though a recipient was not; end it empty.
                self.stream.get_mut().write_all(b".\r\n")?;
                self.reply()?;
                Err(failure)
            }
        }
    }

    fn envelope_step_by_step(&mut self, commands: &[u8]) -> Result<(), Failure> {
        for line in commands.split_inclusive(|byte| *byte == b'\n') {
            self.stream.get_mut().write_all(line)?;
            let reply = self.reply()?;
            require("MAIL, RCPT or DATA", reply)?;
        }
        Ok(())
    }

    /// Logs in with AUTH PLAIN (RFC 4616).
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn log_in(&mut self, user: &str, password: &str) -> Result<(), Failure> {
        let secret = base64(format!("\0{user}\0{password}").as_bytes());
        let reply = self.command(&format!("AUTH PLAIN {secret}"))?;
        require("AUTH", reply).map(drop)
    }

    /// Says QUIT and waits for the answer.
    ///
    /// # Errors
    /// When the connection breaks first.
    pub fn quit(mut self) -> Result<(), Failure> {
        self.command("QUIT").map(drop)
    }

    /// Reads one reply.
    ///
    /// # Errors
    /// When the connection ends or the line is not a reply.
    pub fn reply(&mut self) -> Result<Reply, Failure> {
        let mut text = String::new();
        let code = self.reply_lines(|line| {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(line);
        })?;
        Ok(Reply { code, text })
    }

    fn reply_lines(&mut self, mut each: impl FnMut(&str)) -> Result<u16, Failure> {
        let mut line = String::new();
        loop {
            line.clear();
            // RFC 5321 §4.5.3.1.5 allows 512 bytes a line; more than 8 KiB is no SMTP server.
            (&mut self.stream).take(8192).read_line(&mut line)?;
            if line.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            let wrong = || io::Error::new(io::ErrorKind::InvalidData, line.trim_end());
            let code = line
                .get(..3)
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(wrong)?;
            each(line.get(4..).unwrap_or_default().trim_end());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(code);
            }
        }
    }
}

/// What a client says about one letter before it hands it over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// Whom it logs in as, with the harness's password.
    pub login: Option<&'a str>,
    /// The sender with the parameters of MAIL: `<a@red.test> BODY=8BITMIME`.
    pub mail: &'a str,
    /// The recipients with the parameters of RCPT.
    pub rcpt: &'a [&'a str],
}

/// Connects, hands one letter over, command by command, and says goodbye.
///
/// # Errors
/// When a command is refused or the connection breaks.
pub fn hand_over(to: SocketAddr, said: Said<'_>, letter: &[u8]) -> Result<Reply, Failure> {
    let mut client = Client::connect(to, Duration::from_secs(60))?;
    if let Some(user) = said.login {
        client.log_in(user, crate::node::PASSWORD)?;
    }
    require("MAIL", client.command(&format!("MAIL FROM:{}", said.mail))?)?;
    for rcpt in said.rcpt {
        require("RCPT", client.command(&format!("RCPT TO:{rcpt}"))?)?;
    }
    require("DATA", client.command("DATA")?)?;
    let mut data = Vec::new();
    stuff_dots(letter, &mut data);
    client.stream.get_mut().write_all(&data)?;
    let reply = require("the letter", client.reply()?)?;
    client.quit()?;
    Ok(reply)
}

/// A TCP connection with the same limit on each read and write.
///
/// # Errors
/// When the connection cannot be made in time.
pub fn open(to: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, limit)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    Ok(stream)
}

fn require(stage: &'static str, reply: Reply) -> Result<Reply, Failure> {
    if reply.is_positive() {
        Ok(reply)
    } else {
        Err(Failure::Refused { stage, reply })
    }
}

/// RFC 5321 §4.5.2: a dot at the start of a line is doubled, and a dot alone ends the letter.
pub(crate) fn stuff_dots(letter: &[u8], out: &mut Vec<u8>) {
    for line in letter.split_inclusive(|byte| *byte == b'\n') {
        if line.first() == Some(&b'.') {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    if !letter.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
}

/// Base64 with padding (RFC 4648 §4).
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for place in 0..4 {
            if place <= group.len() {
                text.push(char::from(DIGITS[(bits >> (18 - 6 * place)) as usize & 63]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_doubled_and_the_end_is_marked() {
        let mut out = Vec::new();
        stuff_dots(b"a\r\n.b\r\n..c", &mut out);
        assert_eq!(out, b"a\r\n..b\r\n...c\r\n.\r\n");
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        // RFC 4648 §10.
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
