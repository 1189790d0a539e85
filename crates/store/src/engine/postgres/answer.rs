//! How long an answer of the server is waited for. A server that is well answers, or says itself that
//! a statement took too long; one that hangs says nothing, and its machine may still keep the
//! connection.

use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_postgres::Error;

/// Why there is no answer of use.
#[derive(Debug)]
pub(super) enum Wrong {
    /// The server or the connection says so.
    Told(Error),
    /// Nothing came for so long.
    Silent(Duration),
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

/// The task that moves a connection's bytes, and how long its server may be silent.
pub(super) struct Line {
    pub patience: Duration,
    pub serving: AbortHandle,
}

impl Line {
    /// Waits for an answer. When there is none in time the connection is ended, and whatever else is
    /// waited for on it fails at once: dropped in the usual way it would stay until the answer came.
    pub(super) async fn wait<T>(
        &self,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Wrong> {
        match tokio::time::timeout(self.patience, answer).await {
            Ok(answer) => answer.map_err(Wrong::Told),
            Err(_) => {
                self.serving.abort();
                Err(Wrong::Silent(self.patience))
            }
        }
    }
}
