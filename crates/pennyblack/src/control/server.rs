//! The node's side of the control socket.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::ports::Clock as _;
use base::throttle::LoginThrottle;
use store::Store;
use tokio::io::{AsyncWrite, AsyncWriteExt as _, BufReader, BufWriter};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::operate::{Answer, operate};
use super::{Failure, Reply, Request, SocketPath, brake, long, wire};
use crate::outside::SystemClock;
use crate::transfer::node;

/// Most operators at once; more wait in the backlog.
const SESSIONS_MAX: usize = 16;

/// How long an operator may take to send a request, and to read the whole reply; who stops in
/// between must not keep a place.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const REPLY_TIMEOUT: Duration = Duration::from_secs(120);

/// Listens on the control socket of a data folder. The caller holds the folder's lock, so a
/// socket that is already there belongs to a dead process.
///
/// # Errors
/// Those of the file system.
pub fn bind(data_dir: &Path) -> io::Result<UnixListener> {
    let socket = SocketPath::in_folder(data_dir)?;
    match fs::remove_file(socket.path()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket.path())?;
    fs::set_permissions(socket.path(), fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Removes the socket at the end.
pub fn unbind(data_dir: &Path) {
    if let Ok(socket) = SocketPath::in_folder(data_dir)
        && let Err(error) = fs::remove_file(socket.path())
    {
        tracing::debug!(%error, "the control socket was not removed");
    }
}

/// Answers operators until the node stops; requests that have begun are finished.
pub async fn serve(
    listener: UnixListener,
    store: Store,
    throttle: Arc<LoginThrottle>,
    shutdown: CancellationToken,
) {
    let sessions = TaskTracker::new();
    let places = Arc::new(tokio::sync::Semaphore::new(SESSIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            break;
        };
        let stream = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the control socket takes no connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let store = store.clone();
        let (throttle, ending) = (Arc::clone(&throttle), shutdown.clone());
        sessions.spawn(async move {
            if let Err(error) = session(stream, &store, &throttle, &ending).await {
                tracing::debug!(%error, "an operator's connection ended early");
            }
            drop(place);
        });
    }
    sessions.close();
    sessions.wait().await;
}

async fn session(
    stream: UnixStream,
    store: &Store,
    throttle: &LoginThrottle,
    shutdown: &CancellationToken,
) -> io::Result<()> {
    let (reader, writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut writer = BufWriter::new(writer);
    let request = tokio::time::timeout(REQUEST_TIMEOUT, wire::read_line::<Request, _>(&mut reader));
    let answer = match request.await.map_err(|_| io::ErrorKind::TimedOut)? {
        // Long ones keep time themselves.
        Ok(Some(Request::Import(order))) => {
            return node::import(reader, writer, store, &order, shutdown).await;
        }
        Ok(Some(Request::Export(order))) => {
            return node::export(reader, writer, store, &order, shutdown).await;
        }
        Ok(Some(request)) if long::is_long(&request) => {
            return long::serve(&mut writer, store, request, shutdown).await;
        }
        Ok(Some(request)) => match brake::operate(throttle, &request, SystemClock.now()) {
            Some(answer) => answer,
            None => operate(store, request).await,
        },
        Ok(None) => return Ok(()),
        Err(error) => Err(Failure::invalid(format!(
            "the request is not understood: {error}"
        ))),
    };
    let told = tokio::time::timeout(REPLY_TIMEOUT, tell(&mut writer, answer));
    told.await.map_err(|_| io::ErrorKind::TimedOut)?
}

pub(super) async fn tell<W: AsyncWrite + Unpin>(
    writer: &mut W,
    answer: Result<Answer, Failure>,
) -> io::Result<()> {
    let end = match answer {
        Ok(answer) => {
            for row in answer.rows {
                wire::write_line(writer, &Reply::Row(row)).await?;
            }
            Reply::Done(answer.done)
        }
        Err(failure) => Reply::Failed(failure),
    };
    wire::write_line(writer, &end).await?;
    writer.flush().await
}
