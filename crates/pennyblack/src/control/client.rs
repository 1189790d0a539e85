//! The command's side: a running node if there is one, else the store itself.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::metrics::Metrics;
use base::ports::{Clock, Entropy};
use serde_json::Value;
use store::backup::Watcher;
use store::{Store, StoreError, StoreOptions};
use tokio::io::BufReader;
use tokio::net::UnixStream;

use super::operate::Answer;
use super::{Failure, FailureKind, Reply, Request, SocketPath, long, wire};
use crate::outside::{OsEntropy, SystemClock};
use crate::pdf::PdfReader;
use crate::settings::Settings;

/// How long a command waits for a node that holds the store but does not answer yet (it is just
/// starting or stopping).
const NODE_WAIT: Duration = Duration::from_secs(5);

/// Sends a request to the running node; without one, opens the store for it.
///
/// # Errors
/// In words for the operator.
pub async fn request(settings: &Settings, request: Request) -> Result<Answer, Failure> {
    watched(settings, request, Arc::new(|_| {})).await
}

/// The same for a request that takes long, whose progress is told.
///
/// # Errors
/// In words for the operator.
pub async fn watched(
    settings: &Settings,
    request: Request,
    watcher: Watcher,
) -> Result<Answer, Failure> {
    let deadline = tokio::time::Instant::now() + NODE_WAIT;
    loop {
        if let Some(stream) = connect(&settings.data_dir).await? {
            return long::ask(stream, &request, &watcher).await;
        }
        match open(settings, &Metrics::default()).await {
            Ok(store) => {
                let answer = long::run(&store, request, watcher).await;
                store.close().await?;
                return answer;
            }
            Err(StoreError::Locked(_)) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Opens the store of these settings; the domains of the settings are ours from then on.
///
/// # Errors
/// Those of [`Store::open`].
pub async fn open(settings: &Settings, metrics: &Metrics) -> Result<Store, StoreError> {
    open_in(
        settings,
        metrics,
        Arc::new(SystemClock),
        Arc::new(OsEntropy),
    )
    .await
}

/// The same with a clock and randomness of the caller's.
pub(crate) async fn open_in(
    settings: &Settings,
    metrics: &Metrics,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Store, StoreError> {
    let options = StoreOptions {
        clock,
        entropy,
        ..options(settings, metrics)
    };
    let store = Store::open(options).await?;
    for domain in &settings.domains {
        match store.add_domain(domain).await {
            Ok(()) => tracing::info!(%domain, "a domain of the configuration is ours now"),
            Err(StoreError::Exists(_)) => {}
            Err(error) => {
                // The first error is the one to tell.
                let _ = store.close().await;
                return Err(error);
            }
        }
    }
    Ok(store)
}

/// What the store of these settings needs to open.
pub(crate) fn options(settings: &Settings, metrics: &Metrics) -> StoreOptions {
    StoreOptions {
        data_dir: settings.data_dir.clone(),
        key_file: settings.key_file.clone(),
        database: settings.database.clone(),
        blobs: settings.blobs.clone(),
        node: settings.node.clone(),
        synchronous: settings.synchronous,
        limits: settings.limits.clone(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(OsEntropy),
        metrics: metrics.clone(),
        extractor: Some(Arc::new(PdfReader::default())),
    }
}

/// Connects to the node; `None` when none listens.
pub(crate) async fn connect(data_dir: &Path) -> Result<Option<UnixStream>, Failure> {
    let failed = |error: io::Error| Failure {
        kind: FailureKind::Other,
        text: format!("the running node cannot be asked: {error}"),
    };
    let socket = match SocketPath::in_folder(data_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    match UnixStream::connect(socket.path()).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Asks a running node; `keep` says which rows belong to the answer.
pub(super) async fn ask(
    stream: UnixStream,
    request: &Request,
    mut keep: impl FnMut(&Value) -> bool,
) -> Result<Answer, Failure> {
    let broken = |error: io::Error| Failure {
        kind: FailureKind::Transient,
        text: format!("the running node did not answer: {error}"),
    };
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    wire::write_line(&mut writer, request)
        .await
        .map_err(broken)?;
    let mut answer = Answer::default();
    loop {
        match wire::read_line::<Reply, _>(&mut reader)
            .await
            .map_err(broken)?
        {
            Some(Reply::Row(row)) => {
                if keep(&row) {
                    answer.rows.push(row);
                }
            }
            Some(Reply::Done(text)) => {
                answer.done = text;
                return Ok(answer);
            }
            Some(Reply::Failed(failure)) => return Err(failure),
            None => return Err(broken(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}
