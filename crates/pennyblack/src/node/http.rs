//! The HTTP listener: `/healthz` for a watcher, `/metrics` (OpenMetrics) for Prometheus, the policy of
//! MTA-STS for other mail servers, and the links by which people leave mailing lists.
//!
//! `/metrics` answers this machine only, unless the setting `metrics.public` says otherwise.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::IncomingStream;
use base::metrics::Metrics;
use base::ports::{BoxFuture, BoxStream};
use base::{AccountId, Domain};
use store::{Store, StoreError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;
use transport::net::{Crowded, Permit};
use transport::sts::{self, OwnPolicy};

use super::guard::{Arrival, Guarded};
use super::lists;

/// How long a connection may stand without a byte from or to the client, and how long it may last
/// however slowly bytes drip.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(3_600);

/// How long the store may take to answer the watcher.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections on their way to the HTTP server.
const WAITING_MAX: usize = 16;

/// What the pages are made from.
#[derive(Clone)]
pub(super) struct HttpContext {
    pub metrics: Metrics,
    pub metrics_public: bool,
    pub store: Store,
    /// The policy that our domains have.
    pub sts: Option<OwnPolicy>,
}

/// The service of HTTP listeners; gives connections to one HTTP server.
pub(super) struct HttpService {
    connections: mpsc::Sender<Connection>,
}

impl HttpService {
    /// Makes the service and the task that answers until the node stops.
    pub(super) fn new(
        context: HttpContext,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let server = axum::serve(
            Connections(receiver),
            routes(context).into_make_service_with_connect_info::<Peer>(),
        )
        .with_graceful_shutdown(shutdown.cancelled_owned());
        let task = async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the HTTP server ended");
            }
        };
        (
            Self {
                connections: sender,
            },
            task,
        )
    }
}

impl Guarded for HttpService {
    fn serve(&self, stream: BoxStream, arrival: Arrival) -> BoxFuture<'static, ()> {
        let connections = self.connections.clone();
        Box::pin(async move {
            let (closed, ended) = oneshot::channel();
            let connection = Connection {
                stream,
                peer: arrival.peer,
                idle: Box::pin(sleep(IDLE_TIMEOUT)),
                ends: Instant::now() + CONNECTION_TIMEOUT,
                _permit: arrival.permit,
                _closed: closed,
            };
            if connections.send(connection).await.is_ok() {
                // Ends with an error when the connection is dropped, which is what is waited for.
                let _ = ended.await;
            }
        })
    }

    fn refusal(&self, reason: Crowded) -> String {
        let body = format!("{}\n", reason.reason());
        format!(
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 10\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

fn routes(context: HttpContext) -> Router {
    let lists = lists::routes().with_state(context.store.clone());
    Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .route(sts::PATH, get(sts_policy))
        .with_state(context)
        .merge(lists)
}

/// 200 while the store answers; a low disk is told, but the node is alive and readable.
async fn healthz(State(context): State<HttpContext>) -> Response {
    // No account has this number: that it is not found is an answer of the database itself.
    let answer = timeout(STORE_TIMEOUT, context.store.account(AccountId(0))).await;
    match answer {
        Ok(Ok(_) | Err(StoreError::NotFound(_))) if context.store.is_disk_low() => {
            "ok, but the disk is nearly full\n".into_response()
        }
        Ok(Ok(_) | Err(StoreError::NotFound(_))) => "ok\n".into_response(),
        failed => {
            tracing::warn!(?failed, "the store does not answer");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the store does not answer\n",
            )
                .into_response()
        }
    }
}

async fn metrics(
    State(context): State<HttpContext>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
) -> Response {
    if !context.metrics_public && !peer.ip().is_loopback() {
        return (
            StatusCode::FORBIDDEN,
            "only for this machine (metrics.public)\n",
        )
            .into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], context.metrics.encode()).into_response()
}

/// RFC 8461 §3.3: the policy of a domain of ours, to who asks its host `mta-sts`.
async fn sts_policy(State(context): State<HttpContext>, headers: HeaderMap) -> Response {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let name = host.map(|host| host.split_once(':').map_or(host, |(name, _)| name));
    let domain = name
        .and_then(|name| {
            name.get(.."mta-sts.".len())
                .zip(name.get("mta-sts.".len()..))
        })
        .filter(|(label, _)| label.eq_ignore_ascii_case("mta-sts."))
        .and_then(|(_, domain)| Domain::parse(domain).ok());
    let (Some(policy), Some(domain)) = (context.sts, domain) else {
        return (StatusCode::NOT_FOUND, "there is no policy\n").into_response();
    };
    match context.store.is_ours(&domain).await {
        Ok(true) => ([(header::CONTENT_TYPE, "text/plain")], policy.text).into_response(),
        Ok(false) => (StatusCode::NOT_FOUND, "not a domain of ours\n").into_response(),
        Err(error) => {
            tracing::warn!(%error, "the store does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, "try again later\n").into_response()
        }
    }
}

/// The client of a request.
#[derive(Clone, Copy)]
struct Peer(SocketAddr);

impl Connected<IncomingStream<'_, Connections>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// The stream of connections as the HTTP server takes them.
struct Connections(mpsc::Receiver<Connection>);

impl axum::serve::Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.0.recv().await {
            Some(connection) => {
                let peer = connection.peer;
                (connection, peer)
            }
            // No listener is left: the shutdown ends the server.
            None => pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([0, 0, 0, 0], 0)))
    }
}

/// A connection that ends by itself when its client is silent for too long.
struct Connection {
    stream: BoxStream,
    peer: SocketAddr,
    idle: Pin<Box<Sleep>>,
    ends: Instant,
    _permit: Permit,
    _closed: oneshot::Sender<()>,
}

impl Connection {
    /// Whether the transfer goes on: each one moves the end, but not beyond that of the connection.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        transfer: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if transfer.is_ready() {
            let ends = (Instant::now() + IDLE_TIMEOUT).min(self.ends);
            self.idle.as_mut().reset(ends);
            return transfer;
        }
        match self.idle.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.watch(context, read)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use base::limits::Limits;
    use base::ports::Clock as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use transport::net::Gate;

    use super::*;
    use crate::outside::SystemClock;

    fn connection() -> (DuplexStream, Connection) {
        let (client, stream) = duplex(16);
        let peer: SocketAddr = "192.0.2.1:4000".parse().unwrap();
        let permit = Gate::new(&Limits::default()).admit(peer.ip(), SystemClock.now());
        let connection = Connection {
            stream: Box::new(stream),
            peer,
            idle: Box::pin(sleep(IDLE_TIMEOUT)),
            ends: Instant::now() + CONNECTION_TIMEOUT,
            _permit: permit.unwrap(),
            _closed: oneshot::channel().0,
        };
        (client, connection)
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_drips_ends_with_the_connection() {
        let (mut client, mut connection) = connection();
        let started = Instant::now();
        tokio::spawn(async move {
            while client.write_all(b"G").await.is_ok() {
                sleep(IDLE_TIMEOUT - Duration::from_secs(1)).await;
            }
        });
        let mut request = Vec::new();
        let error = connection.read_to_end(&mut request).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() > CONNECTION_TIMEOUT - IDLE_TIMEOUT);
        assert!(started.elapsed() < CONNECTION_TIMEOUT + IDLE_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_left() {
        let (_client, mut connection) = connection();
        let started = Instant::now();
        let error = connection.write_all(&[b'x'; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() < IDLE_TIMEOUT * 2);
    }
}
