//! Accepting connections: the loop of one listener.
//!
//! Each connection becomes a task that runs the listener's [`Service`]; a panic in it ends that
//! connection only. The loop itself never ends before the node stops: running out of file
//! descriptors only makes it pause. Limits on connections are kept by the services, which can tell
//! a refused peer the reason in the words of the protocol.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::metrics::{Counter, Family, Gauge, Labels, Metrics};
use base::ports::{BoxFuture, BoxStream};
use nix::errno::Errno;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::settings::Protocol;

/// Connections that wait to be accepted; the system may cut it (`net.core.somaxconn`).
const BACKLOG: u32 = 4_096;

/// The pause when the system has no file descriptor or memory left, and how often it is logged.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
const EXHAUSTED_LOG_EVERY: Duration = Duration::from_secs(60);

/// What a listener's connections are for.
pub(super) trait Service: Send + Sync + 'static {
    /// Speaks the protocol until the connection ends.
    fn serve(&self, stream: BoxStream, peer: SocketAddr) -> BoxFuture<'static, ()>;
}

/// The metrics of all listeners.
#[derive(Clone)]
pub(super) struct ListenMetrics {
    open: Family<Labels, Gauge>,
    accepted: Family<Labels, Counter>,
    pauses: Counter,
}

impl ListenMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            open: metrics.register(
                "connections_open",
                "Connections open now, by protocol",
                Family::default(),
            ),
            accepted: metrics.counters("connections", "Connections accepted, by protocol"),
            pauses: metrics.counter(
                "accept_pauses",
                "Times no connection could be accepted for want of file descriptors or memory",
            ),
        }
    }
}

/// What the listeners of a node share.
#[derive(Clone)]
pub(super) struct Door {
    /// Their metrics.
    pub metrics: ListenMetrics,
    /// The sessions that are open.
    pub sessions: TaskTracker,
    /// Cancelled when the node stops.
    pub shutdown: CancellationToken,
}

/// Opens a listening socket; one for `[::]` also takes IPv4 unless it is for IPv6 only.
pub(super) fn bind(address: SocketAddr, ipv6_only: bool) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if ipv6_only && address.is_ipv6() {
        SockRef::from(&socket).set_only_v6(true)?;
    }
    // A restarted node must not wait for its old connections to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections until the node stops.
pub(super) async fn accept(
    listener: TcpListener,
    protocol: Protocol,
    service: Arc<dyn Service>,
    door: Door,
) {
    let labels: Labels = vec![("protocol", protocol.as_str().to_owned())];
    let open = door.metrics.open.get_or_create(&labels).clone();
    let accepted = door.metrics.accepted.get_or_create(&labels).clone();
    let entrance = Entrance {
        protocol,
        service,
        open,
        accepted,
        door,
    };
    let mut exhausted_logged: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = entrance.door.shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => entrance.admit(stream, peer),
            Err(error) if is_exhausted(&error) => {
                entrance.door.metrics.pauses.inc();
                if exhausted_logged.is_none_or(|at| at.elapsed() > EXHAUSTED_LOG_EVERY) {
                    tracing::error!(%error, "no more connections can be accepted now");
                    exhausted_logged = Some(Instant::now());
                }
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
            // The peer went away before it was accepted.
            Err(error) => tracing::debug!(%error, "a connection was not accepted"),
        }
    }
}

/// accept(2): the errors that last until something is closed.
fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
    )
}

struct Entrance {
    protocol: Protocol,
    service: Arc<dyn Service>,
    open: Gauge,
    accepted: Counter,
    door: Door,
}

impl Entrance {
    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        // An IPv4 peer on an IPv6 socket is an IPv4 peer.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        // Replies must not wait for an acknowledgement (Nagle); a socket that is closed already
        // fails here and ends at its first read.
        let _ = stream.set_nodelay(true);
        self.accepted.inc();
        let open = OpenGuard::new(self.open.clone(), self.protocol, peer);
        let session = self.service.serve(Box::new(stream), peer);
        let session = async move {
            let _open = open;
            session.await;
        };
        self.door.sessions.spawn(session);
    }
}

/// Counts an open connection for as long as it lives, and says whose it was if it panics.
struct OpenGuard {
    open: Gauge,
    protocol: Protocol,
    peer: SocketAddr,
}

impl OpenGuard {
    fn new(open: Gauge, protocol: Protocol, peer: SocketAddr) -> Self {
        open.inc();
        Self {
            open,
            protocol,
            peer,
        }
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.open.dec();
        if std::thread::panicking() {
            let (protocol, peer) = (self.protocol.as_str(), self.peer);
            tracing::error!(protocol, %peer, "a session panicked; the others go on");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    struct Moody;

    impl Service for Moody {
        fn serve(&self, mut stream: BoxStream, _: SocketAddr) -> BoxFuture<'static, ()> {
            Box::pin(async move {
                let mood = stream.read_u8().await.unwrap();
                assert_ne!(mood, b'x', "a session that goes wrong");
                stream.write_u8(mood).await.unwrap();
            })
        }
    }

    #[tokio::test]
    async fn a_panic_ends_one_session_only() {
        let listener = bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::default();
        let door = Door {
            metrics: ListenMetrics::new(&metrics),
            sessions: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        };
        let shutdown = door.shutdown.clone();
        let task = tokio::spawn(accept(
            listener,
            Protocol::Http,
            Arc::new(Moody),
            door.clone(),
        ));
        let mut calm = TcpStream::connect(address).await.unwrap();
        let mut angry = TcpStream::connect(address).await.unwrap();
        angry.write_u8(b'x').await.unwrap();
        assert!(angry.read_u8().await.is_err());
        calm.write_u8(b'c').await.unwrap();
        assert_eq!(calm.read_u8().await.unwrap(), b'c');
        shutdown.cancel();
        task.await.unwrap();
        door.sessions.close();
        door.sessions.wait().await;
        assert!(
            metrics
                .encode()
                .contains("pennyblack_connections_open{protocol=\"http\"} 0")
        );
    }
}
