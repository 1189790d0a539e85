//! The stream of a session: bytes in with a time limit, responses out under back-pressure.

use std::io;
use std::time::Duration;

use base::metrics::Counter;
use base::ports::BoxStream;
use proto::imap::{Event, Line, Reader, ReaderLimits, Writer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};

use super::reply::Failure;

/// Responses are sent when so much has gathered: large enough for few system calls, small beside
/// the 512 KiB that a connection may hold.
pub(super) const FLUSH_BYTES: usize = 32 * 1024;

/// An idle connection keeps so much to read into; it grows while a client sends much.
const READ_BYTES_MIN: usize = 1024;
const READ_BYTES_MAX: usize = 64 * 1024;

pub(super) struct Connection {
    stream: Option<BoxStream>,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    buffer: Vec<u8>,
    write_timeout: Duration,
    sent_bytes: Counter,
}

impl Connection {
    pub(super) fn new(
        stream: BoxStream,
        limits: ReaderLimits,
        write_timeout: Duration,
        sent_bytes: Counter,
    ) -> Self {
        Self {
            stream: Some(stream),
            reader: Reader::new(limits),
            writer: Writer::default(),
            buffer: vec![0; READ_BYTES_MIN],
            write_timeout,
            sent_bytes,
        }
    }

    /// Reads some bytes and gives them to the reader. Cancellation safe.
    pub(super) async fn fill(&mut self) -> Result<(), Failure> {
        let stream = self.stream.as_mut().ok_or_else(gone)?;
        let length = stream.read(&mut self.buffer).await.map_err(Failure::Io)?;
        if length == 0 {
            return Err(gone());
        }
        self.reader.receive(&self.buffer[..length]);
        if length == self.buffer.len() && length < READ_BYTES_MAX {
            self.buffer.resize(length * 2, 0);
        } else if length < self.buffer.len() / 4 && length <= READ_BYTES_MIN {
            self.buffer.truncate(READ_BYTES_MIN);
            self.buffer.shrink_to_fit();
        }
        Ok(())
    }

    /// The next event, waiting at most `limit` for each piece of input.
    pub(super) async fn event(&mut self, limit: Duration) -> Result<Event, Failure> {
        loop {
            if let Some(event) = self.reader.poll() {
                return Ok(event);
            }
            self.flush().await?;
            timeout(limit, self.fill())
                .await
                .map_err(|_| Failure::TimedOut)??;
        }
    }

    /// The next line outside of the command grammar, which must end before the deadline.
    pub(super) async fn line(&mut self, deadline: Instant) -> Result<Line, Failure> {
        loop {
            if let Some(line) = self.reader.poll_line() {
                return Ok(line);
            }
            self.flush().await?;
            timeout_at(deadline, self.fill())
                .await
                .map_err(|_| Failure::TimedOut)??;
        }
    }

    /// Sends what has gathered, if it is much.
    pub(super) async fn flush_if_large(&mut self) -> Result<(), Failure> {
        if self.writer.len() >= FLUSH_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends what has gathered. A client that takes nothing for too long is given up.
    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        if self.writer.is_empty() {
            return Ok(());
        }
        let stream = self.stream.as_mut().ok_or_else(gone)?;
        let mut rest = self.writer.bytes();
        while !rest.is_empty() {
            let length = timeout(self.write_timeout, stream.write(rest))
                .await
                .map_err(|_| Failure::TimedOut)?
                .map_err(Failure::Io)?;
            if length == 0 {
                return Err(gone());
            }
            rest = &rest[length..];
        }
        timeout(self.write_timeout, stream.flush())
            .await
            .map_err(|_| Failure::TimedOut)?
            .map_err(Failure::Io)?;
        self.sent_bytes.inc_by(self.writer.len() as u64);
        self.writer.clear();
        Ok(())
    }

    /// Takes the stream out for TLS; nothing that was received before counts after.
    pub(super) fn take_stream(&mut self) -> Option<BoxStream> {
        self.reader.discard_input();
        self.stream.take()
    }

    /// Goes on with this stream.
    pub(super) fn set_stream(&mut self, stream: BoxStream) {
        self.stream = Some(stream);
    }

    /// Ends the connection properly, as well as the client lets us.
    pub(super) async fn close(&mut self) {
        let flushed = self.flush().await;
        if let Some(stream) = self.stream.as_mut()
            && flushed.is_ok()
        {
            // A client that has gone already makes no difference.
            let _ = timeout(self.write_timeout, stream.shutdown()).await;
        }
    }
}

fn gone() -> Failure {
    Failure::Io(io::ErrorKind::UnexpectedEof.into())
}
