//! The command's end of a long request: a running node, or the same code on a store that is opened
//! for the occasion.

use std::io;
use std::time::Duration;

use serde::de::DeserializeOwned;
use store::StoreError;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, BufWriter};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::node;
use super::wire::{Ask, FrameReader, FrameWriter, Tell};
use crate::control::{Failure, FailureKind, Request, client, wire};
use crate::settings::Settings;

/// How long a command waits for a node that holds the store but does not answer yet.
const NODE_WAIT: Duration = Duration::from_secs(5);
/// Bytes on their way within this process.
const OWN_BYTES: usize = 512 * 1024;

type Reader = FrameReader<BufReader<Box<dyn AsyncRead + Send + Unpin>>>;
type Writer = FrameWriter<BufWriter<Box<dyn AsyncWrite + Send + Unpin>>>;

/// A connection that speaks frames.
pub struct Link {
    /// What the node says.
    pub from: From,
    /// What the node is told.
    pub to: To,
    /// The node's part, when it runs here.
    own: Option<JoinHandle<Result<(), Failure>>>,
}

/// What the node says.
pub struct From(Reader);

/// What the node is told.
pub struct To(Writer);

impl Link {
    /// Sends an import or an export to the running node; without one, opens the store for it.
    ///
    /// # Errors
    /// In words for the operator.
    pub async fn open(settings: &Settings, request: Request) -> Result<Self, Failure> {
        let deadline = tokio::time::Instant::now() + NODE_WAIT;
        loop {
            if let Some(stream) = client::connect(&settings.data_dir).await? {
                let (reader, mut writer) = stream.into_split();
                wire::write_line(&mut writer, &request)
                    .await
                    .map_err(gone)?;
                return Ok(Self::new(reader, writer, None));
            }
            match client::open(settings, &base::metrics::Metrics::default()).await {
                Ok(store) => return Ok(Self::on(store, request)),
                Err(StoreError::Locked(_)) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Serves a request on a store of this process, and closes it then.
    fn on(store: store::Store, request: Request) -> Self {
        let (ours, theirs) = tokio::io::duplex(OWN_BYTES);
        let (reader, writer) = tokio::io::split(theirs);
        let own = tokio::spawn(async move {
            let never = CancellationToken::new();
            let served = match &request {
                Request::Import(order) => node::import(reader, writer, &store, order, &never).await,
                Request::Export(order) => node::export(reader, writer, &store, order, &never).await,
                _ => Ok(()),
            };
            let closed = store.close().await;
            served.map_err(gone)?;
            Ok(closed?)
        });
        let (reader, writer) = tokio::io::split(ours);
        Self::new(reader, writer, Some(own))
    }

    fn new(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        own: Option<JoinHandle<Result<(), Failure>>>,
    ) -> Self {
        let reader: Box<dyn AsyncRead + Send + Unpin> = Box::new(reader);
        let writer: Box<dyn AsyncWrite + Send + Unpin> = Box::new(writer);
        Self {
            from: From(FrameReader::new(BufReader::with_capacity(
                128 * 1024,
                reader,
            ))),
            to: To(FrameWriter::new(BufWriter::with_capacity(
                128 * 1024,
                writer,
            ))),
            own,
        }
    }

    /// Ends the connection and waits until the store is closed, if it was opened here.
    ///
    /// # Errors
    /// What went wrong while it closed.
    pub async fn close(self) -> Result<(), Failure> {
        let Self { from, to, own } = self;
        drop((from, to));
        match own {
            None => Ok(()),
            Some(own) => own.await.map_err(|error| Failure {
                kind: FailureKind::Other,
                text: format!("bug: the store's part failed: {error}"),
            })?,
        }
    }
}

impl From {
    /// The next thing that the node says.
    ///
    /// # Errors
    /// What the node says has failed, or that it has gone.
    pub async fn next(&mut self) -> Result<Tell, Failure> {
        match self.message().await? {
            Tell::Failed(failure) => Err(failure),
            tell => Ok(tell),
        }
    }

    async fn message<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let message = self.0.message().await.map_err(gone)?;
        message.ok_or_else(|| gone(io::ErrorKind::UnexpectedEof.into()))
    }

    /// The bytes that follow a letter's announcement; what the node says instead, if it cannot give
    /// them.
    ///
    /// # Errors
    /// That the node has gone.
    pub async fn letter(&mut self, bytes: u64) -> Result<Result<Vec<u8>, Tell>, Failure> {
        let mut letter = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0).min(64 << 20));
        while (letter.len() as u64) < bytes {
            match self.0.bytes_or_message::<Tell>().await.map_err(gone)? {
                Ok(chunk) => letter.extend_from_slice(&chunk),
                Err(Tell::Failed(failure)) => return Err(failure),
                Err(tell) => return Ok(Err(tell)),
            }
        }
        Ok(Ok(letter))
    }
}

impl To {
    /// Says something.
    ///
    /// # Errors
    /// That the node has gone.
    pub async fn say(&mut self, ask: &Ask) -> Result<(), Failure> {
        self.0.message(ask).await.map_err(gone)
    }

    /// Sends a letter's bytes.
    ///
    /// # Errors
    /// That the node has gone.
    pub async fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.0.bytes(bytes).await.map_err(gone)
    }

    /// Sends what is waiting to be sent.
    ///
    /// # Errors
    /// That the node has gone.
    pub async fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush().await.map_err(gone)
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the form that map_err asks for"
)]
fn gone(error: io::Error) -> Failure {
    Failure {
        kind: FailureKind::Transient,
        text: format!(
            "the node has gone ({error}); the same command goes on later where this one stopped"
        ),
    }
}
