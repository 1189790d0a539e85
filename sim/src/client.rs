//! A small SMTP client of our own, for users and strangers. It shares no code with the program, and it
//! knows for each letter what a sender may know: taken, refused, or nothing.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use base::Domain;
use base::ports::{BoxStream, Connector as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::net::Host;
use crate::scram;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const REPLY_TIMEOUT: Duration = Duration::from_secs(120);
/// RFC 5321 §4.5.3.2.6: the end of the letter.
const END_TIMEOUT: Duration = Duration::from_secs(600);

/// A letter to be sent.
pub struct Mail<'a> {
    /// Where to.
    pub server: SocketAddr,
    /// User name and password; with TLS from the first byte.
    pub login: Option<(&'a str, &'a str)>,
    /// The envelope's sender.
    pub sender: &'a str,
    /// The envelope's recipients.
    pub recipients: &'a [String],
    /// The letter, with CRLF.
    pub letter: &'a [u8],
}

/// How it went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Taken for these recipients.
    Taken(Vec<String>),
    /// Refused, for now (`true`) or for good; or the connection died before the letter's end.
    Refused(bool),
    /// The connection died behind the letter's end; it went to these recipients.
    Unknown(Vec<String>),
}

/// Sends a letter.
pub async fn send(host: &Host, mail: &Mail<'_>) -> Outcome {
    let Ok(mut dialog) = Dialog::open(host, mail).await else {
        return Outcome::Refused(true);
    };
    match dialog.letter(mail).await {
        Ok(outcome) => {
            let _ = dialog.ask("QUIT").await;
            outcome
        }
        Err(_) => match dialog.ended.take() {
            Some(recipients) => Outcome::Unknown(recipients),
            None => Outcome::Refused(true),
        },
    }
}

struct Dialog {
    stream: BoxStream,
    read: Vec<u8>,
    /// The last line of the last reply.
    last: String,
    /// Set when the end of the letter goes out: its recipients.
    ended: Option<Vec<String>>,
}

impl Dialog {
    async fn open(host: &Host, mail: &Mail<'_>) -> io::Result<Self> {
        let mut stream = host.connect_within(mail.server, CONNECT_TIMEOUT).await?;
        if mail.login.is_some() {
            let name = Domain::parse("mail.sim.test").map_err(io::Error::other)?;
            let handshake = timeout(REPLY_TIMEOUT, host.start_tls(stream, &name, false));
            (stream, _) = handshake.await??;
        }
        let mut dialog = Self {
            stream,
            read: Vec::new(),
            last: String::new(),
            ended: None,
        };
        dialog.reply(REPLY_TIMEOUT).await?;
        dialog.ask("EHLO client.sim.test").await?;
        if let Some((user, password)) = mail.login {
            dialog.login(user, password).await?;
        }
        Ok(dialog)
    }

    /// By SCRAM (RFC 5802), which costs the server less time than a password.
    async fn login(&mut self, user: &str, password: &str) -> io::Result<()> {
        let first = BASE64.encode(scram::first(user));
        self.ask(&format!("AUTH SCRAM-SHA-256 {first}")).await?;
        let challenge = self.challenge()?;
        let answered = scram::last(user, password, &challenge);
        let (answer, proven) = answered.ok_or_else(|| refused("the server's nonce"))?;
        self.ask(&BASE64.encode(answer)).await?;
        if self.challenge()? != proven {
            return Err(io::Error::other("the server does not know the password"));
        }
        if self.ask("").await? != 235 {
            return Err(refused("the login"));
        }
        Ok(())
    }

    /// What stands in the server's last reply.
    fn challenge(&self) -> io::Result<String> {
        let challenge = self.last.strip_prefix("334 ");
        let challenge = challenge.ok_or_else(|| refused("the login"))?;
        let challenge = BASE64.decode(challenge.trim()).map_err(io::Error::other)?;
        String::from_utf8(challenge).map_err(io::Error::other)
    }

    async fn letter(&mut self, mail: &Mail<'_>) -> io::Result<Outcome> {
        let reply = self.ask(&format!("MAIL FROM:<{}>", mail.sender)).await?;
        if reply != 250 {
            return Ok(Outcome::Refused(reply < 500));
        }
        let (mut taken, mut for_now) = (Vec::new(), false);
        for recipient in mail.recipients {
            let reply = self.ask(&format!("RCPT TO:<{recipient}>")).await?;
            match reply {
                250..=259 => taken.push(recipient.clone()),
                code => for_now |= code < 500,
            }
        }
        if taken.is_empty() {
            return Ok(Outcome::Refused(for_now));
        }
        let reply = self.ask("DATA").await?;
        if reply != 354 {
            return Ok(Outcome::Refused(reply < 500));
        }
        self.stream.write_all(&stuffed(mail.letter)).await?;
        self.ended = Some(taken.clone());
        self.stream.write_all(b".\r\n").await?;
        match self.reply(END_TIMEOUT).await? {
            250 => Ok(Outcome::Taken(taken)),
            code => {
                self.ended = None;
                Ok(Outcome::Refused(code < 500))
            }
        }
    }

    async fn ask(&mut self, command: &str) -> io::Result<u16> {
        self.stream
            .write_all(format!("{command}\r\n").as_bytes())
            .await?;
        self.reply(REPLY_TIMEOUT).await
    }

    /// The code of a whole reply.
    async fn reply(&mut self, limit: Duration) -> io::Result<u16> {
        timeout(limit, async {
            loop {
                if let Some(end) = self.read.windows(2).position(|two| two == b"\r\n") {
                    let line: Vec<u8> = self.read.drain(..end + 2).collect();
                    let code = std::str::from_utf8(line.get(..3).unwrap_or_default());
                    let code = code.ok().and_then(|code| code.parse().ok());
                    let code: u16 = code.ok_or_else(|| io::Error::other("no reply code"))?;
                    if line.get(3) != Some(&b'-') {
                        self.last = String::from_utf8_lossy(&line).into_owned();
                        return Ok(code);
                    }
                    continue;
                }
                let mut buffer = [0; 1_024];
                match self.stream.read(&mut buffer).await? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    count => self.read.extend_from_slice(&buffer[..count]),
                }
            }
        })
        .await?
    }
}

fn refused(what: &str) -> io::Error {
    io::Error::other(format!("{what} was refused"))
}

/// RFC 5321 §4.5.2: a line that begins with a dot gets another.
fn stuffed(letter: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(letter.len() + 16);
    for line in letter.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    out
}
