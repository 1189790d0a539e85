//! A server outside, of which nothing is ours: it takes letters, and has moods.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::ports::BoxStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::ledger::Ledger;
use crate::letters;

/// How long it waits for a client.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Beyond that a line is nobody's.
const LETTER_BYTES_MAX: usize = 1 << 20;

/// How it treats letters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mood {
    /// Takes them.
    #[default]
    Kind,
    /// Refuses all recipients for now.
    Later,
    /// Refuses all recipients for good.
    Never,
    /// Takes the letter and closes without a reply.
    Mute,
    /// Refuses the letter for now when it has all of it.
    LaterAtEnd,
    /// Has no time for anybody: says so and closes.
    Busy,
}

/// The server. Clones are the same.
#[derive(Clone)]
pub struct Outside {
    mood: Arc<Mutex<Mood>>,
    ledger: Ledger,
}

impl Outside {
    /// A kind one.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self {
            mood: Arc::default(),
            ledger,
        }
    }

    /// Sets its mood.
    pub fn set_mood(&self, mood: Mood) {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }

    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a connection.
    pub async fn serve(self, stream: BoxStream) {
        let mut session = Session {
            server: self,
            stream,
            read: Vec::new(),
            recipients: Vec::new(),
        };
        // A connection that dies is the client's loss.
        let _ = session.run().await;
    }
}

struct Session {
    server: Outside,
    stream: BoxStream,
    read: Vec<u8>,
    recipients: Vec<String>,
}

impl Session {
    async fn run(&mut self) -> io::Result<()> {
        if self.server.mood() == Mood::Busy {
            return self.say("421 4.3.2 too many of you").await;
        }
        self.say("220 mx.outside.test").await?;
        loop {
            let line = self.until(b"\r\n").await?;
            let line = String::from_utf8_lossy(&line).into_owned();
            match line.split([' ', ':']).next().unwrap_or_default() {
                "EHLO" => {
                    self.say("250-mx.outside.test\r\n250-PIPELINING\r\n250 8BITMIME")
                        .await?
                }
                "MAIL" | "RSET" => {
                    self.recipients.clear();
                    self.say("250 ok").await?;
                }
                "RCPT" => self.rcpt(&line).await?,
                "DATA" if self.recipients.is_empty() => self.say("554 nobody to take it").await?,
                "DATA" => {
                    self.say("354 go").await?;
                    if !self.letter().await? {
                        return Ok(());
                    }
                }
                "QUIT" => return self.say("221 bye").await,
                _ => self.say("250 ok").await?,
            }
        }
    }

    async fn rcpt(&mut self, line: &str) -> io::Result<()> {
        let address = line.split(['<', '>']).nth(1).unwrap_or_default();
        match self.server.mood() {
            Mood::Never => self.say("550 5.7.1 not today, not ever").await,
            Mood::Later | Mood::Busy => self.say("451 4.7.1 later").await,
            Mood::Kind | Mood::Mute | Mood::LaterAtEnd if address.starts_with("no") => {
                self.say("550 5.1.1 no such user").await
            }
            Mood::Kind | Mood::Mute | Mood::LaterAtEnd => {
                self.recipients.push(address.to_owned());
                self.say("250 ok").await
            }
        }
    }

    /// Takes a letter; whether the session goes on.
    async fn letter(&mut self) -> io::Result<bool> {
        let letter = self.until(b"\r\n.\r\n").await?;
        if self.server.mood() == Mood::LaterAtEnd {
            self.say("451 4.3.0 not now").await?;
            return Ok(true);
        }
        let recipients = std::mem::take(&mut self.recipients);
        if let Some(token) = letters::token(&letter) {
            match letters::report(&letter) {
                Some(items) => {
                    for item in items.iter().filter(|item| item.action == "failed") {
                        self.server.ledger.reported(token, &item.recipient);
                    }
                }
                None => {
                    for recipient in &recipients {
                        self.server.ledger.stored(token, recipient);
                    }
                }
            }
        }
        if self.server.mood() == Mood::Mute {
            return Ok(false);
        }
        self.say("250 2.0.0 kept").await?;
        Ok(true)
    }

    async fn say(&mut self, text: &str) -> io::Result<()> {
        self.stream
            .write_all(format!("{text}\r\n").as_bytes())
            .await
    }

    /// Everything before a mark.
    async fn until(&mut self, mark: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self
                .read
                .windows(mark.len())
                .position(|window| window == mark)
            {
                let rest = self.read.split_off(at + mark.len());
                let mut found = std::mem::replace(&mut self.read, rest);
                found.truncate(at);
                return Ok(found);
            }
            if self.read.len() > LETTER_BYTES_MAX {
                return Err(io::Error::other("too much"));
            }
            let mut buffer = [0; 4_096];
            match timeout(IDLE_TIMEOUT, self.stream.read(&mut buffer)).await?? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.read.extend_from_slice(&buffer[..count]),
            }
        }
    }
}
