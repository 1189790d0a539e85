//! The wire of long requests: after the request's line both sides send frames, a kind, a length
//! and that many bytes. Messages are JSON; the bytes of a letter follow the message that announces
//! it. Whoever is slow holds the other up: nothing is collected.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::flags::Flags;
use super::names::Target;
use super::source::{Mark, Skipped};
use crate::control::{Failure, LINE_BYTES_MAX};

/// Bytes of a letter in one frame: a part of a blob.
const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// How long a node waits for a sign of life.
pub const IDLE_MAX: Duration = Duration::from_secs(300);
/// How often a side without news gives a sign of life.
pub const PING_EVERY: Duration = Duration::from_secs(20);

const MESSAGE: u8 = b'M';
const CHUNK: u8 = b'C';

/// What a command sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// A mailbox is to be there.
    Mailbox(Target),
    /// A letter to store; its bytes follow.
    Letter(Box<LetterIn>),
    /// A letter that the source could not give.
    Skipped(Skipped),
    /// The letters of a mailbox are wanted.
    Export(ExportMailbox),
    /// Nothing: still there.
    Ping,
    /// That was all.
    End,
}

/// A letter to store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LetterIn {
    /// Where it is in its source.
    pub name: String,
    /// Where it goes.
    pub target: Target,
    /// Its flags.
    pub flags: Flags,
    /// IMAP INTERNALDATE in milliseconds.
    pub received_at: Option<i64>,
    /// How many bytes follow.
    pub bytes: u64,
    /// How far its source is read then.
    pub mark: Mark,
}

/// Which letters of a mailbox are wanted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExportMailbox {
    /// The mailbox.
    pub name: String,
    /// First and last UIDs of what is there already.
    pub have: Vec<(u32, u32)>,
}

/// What a node sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tell {
    /// An import may begin: how far earlier ones came.
    Ready(Vec<Mark>),
    /// So many letters more are on the disk.
    Stored(u64),
    /// A letter was not taken, or cannot be given.
    Skipped(Skipped),
    /// Of an export: about the account.
    Account(Value),
    /// Of an export: its mailboxes.
    Mailboxes(Vec<MailboxOut>),
    /// A letter; its bytes follow.
    Letter(LetterOut),
    /// No more letters in this mailbox.
    MailboxEnd,
    /// All is done.
    Done,
    /// It failed.
    Failed(Failure),
}

/// A mailbox of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxOut {
    /// Its name, role and whether it is subscribed.
    #[serde(flatten)]
    pub target: Target,
    /// The epoch of its UIDs.
    pub uid_validity: u32,
    /// How many letters it holds.
    pub messages: u32,
}

/// A letter of an export.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LetterOut {
    /// Its UID.
    pub uid: u32,
    /// Its flags.
    pub flags: Flags,
    /// IMAP INTERNALDATE in milliseconds.
    pub received_at: i64,
    /// How many bytes follow.
    pub bytes: u64,
}

/// Sends frames.
pub struct FrameWriter<W>(W);

/// Reads frames.
pub struct FrameReader<R>(R);

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Sends over a stream, which should have a buffer.
    pub const fn new(stream: W) -> Self {
        Self(stream)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// Those of the stream; [`io::ErrorKind::InvalidData`] for one that is too long.
    pub async fn message(&mut self, message: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        if text.len() > LINE_BYTES_MAX {
            return Err(invalid("a message is too long"));
        }
        self.frame(MESSAGE, &text).await
    }

    /// Sends bytes of a letter.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        for chunk in bytes.chunks(CHUNK_BYTES_MAX) {
            self.frame(CHUNK, chunk).await?;
        }
        Ok(())
    }

    /// Sends what is in the buffer.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.0.flush().await
    }

    async fn frame(&mut self, kind: u8, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(|_| invalid("a frame is too long"))?;
        self.0.write_u8(kind).await?;
        self.0.write_u32(length).await?;
        self.0.write_all(bytes).await
    }
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from a stream, which should have a buffer.
    pub const fn new(stream: R) -> Self {
        Self(stream)
    }

    /// The next message; `None` at the end of the stream.
    ///
    /// # Errors
    /// Those of the stream; [`io::ErrorKind::InvalidData`] for anything else than a message.
    pub async fn message<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let kind = match self.0.read_u8().await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        };
        if kind != MESSAGE {
            return Err(invalid("a message was expected"));
        }
        let text = self.rest(LINE_BYTES_MAX).await?;
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| invalid(&error.to_string()))
    }

    /// The next bytes of a letter.
    ///
    /// # Errors
    /// As [`Self::message`].
    pub async fn bytes(&mut self) -> io::Result<Bytes> {
        if self.0.read_u8().await? != CHUNK {
            return Err(invalid("bytes of a letter were expected"));
        }
        self.rest(CHUNK_BYTES_MAX).await.map(Bytes::from)
    }

    /// The next bytes of a letter, or what is said in their place.
    ///
    /// # Errors
    /// As [`Self::message`].
    pub async fn bytes_or_message<T: DeserializeOwned>(&mut self) -> io::Result<Result<Bytes, T>> {
        match self.0.read_u8().await? {
            CHUNK => self
                .rest(CHUNK_BYTES_MAX)
                .await
                .map(|bytes| Ok(bytes.into())),
            MESSAGE => {
                let text = self.rest(LINE_BYTES_MAX).await?;
                serde_json::from_slice(&text)
                    .map(Err)
                    .map_err(|error| invalid(&error.to_string()))
            }
            _ => Err(invalid("bytes of a letter were expected")),
        }
    }

    async fn rest(&mut self, bytes_max: usize) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.0.read_u32().await?).unwrap_or(usize::MAX);
        if length > bytes_max {
            return Err(invalid("a frame is too long"));
        }
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).await?;
        Ok(bytes)
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_and_back() {
        let mut stream = Vec::new();
        let mut writer = FrameWriter::new(&mut stream);
        writer.message(&Ask::Ping).await.unwrap();
        writer.bytes(&vec![7; CHUNK_BYTES_MAX + 1]).await.unwrap();
        writer.message(&Ask::End).await.unwrap();
        let mut reader = FrameReader::new(stream.as_slice());
        assert!(matches!(reader.message().await.unwrap(), Some(Ask::Ping)));
        assert_eq!(reader.bytes().await.unwrap().len(), CHUNK_BYTES_MAX);
        assert_eq!(reader.bytes().await.unwrap(), [7].as_slice());
        assert!(matches!(reader.message().await.unwrap(), Some(Ask::End)));
        assert!(reader.message::<Ask>().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_not_of_this_form() {
        for bytes in [
            &b"C\0\0\0\x01x"[..],
            b"M\xff\xff\xff\xff",
            b"M\0\0\0\x02{}",
            b"M\0\0\0\x09x",
        ] {
            let mut reader = FrameReader::new(bytes);
            assert!(reader.message::<Ask>().await.is_err(), "{bytes:?}");
        }
        assert!(
            FrameReader::new(&b"C\0\x04\0\x01"[..])
                .bytes()
                .await
                .is_err()
        );
    }
}
