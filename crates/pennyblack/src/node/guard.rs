//! For protocols that leave it to the listener: the limits on connections, the refusal in the
//! words of the protocol, and TLS from the first byte.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::metrics::{Counter, Family, Labels, Metrics};
use base::ports::{BoxFuture, BoxStream, Clock, TlsAcceptor, TlsInfo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use transport::net::{Crowded, Gate, Permit};

use super::listen::Service;
use crate::settings::Protocol;

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long telling a refused peer may take, with the handshake.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that was let in.
pub(super) struct Arrival {
    /// The client.
    pub peer: SocketAddr,
    /// What TLS agreed on, if it came first.
    pub tls: Option<TlsInfo>,
    /// The place inside; to be kept as long as the connection.
    pub permit: Permit,
}

/// A protocol behind the guard.
pub(super) trait Guarded: Send + Sync + 'static {
    /// Speaks the protocol until the connection ends.
    fn serve(&self, stream: BoxStream, arrival: Arrival) -> BoxFuture<'static, ()>;

    /// What a refused peer hears; complete lines.
    fn refusal(&self, reason: Crowded) -> String;
}

/// The metrics of guarded listeners.
#[derive(Clone)]
pub(super) struct GuardMetrics {
    refused: Family<Labels, Counter>,
    handshakes_failed: Family<Labels, Counter>,
}

impl GuardMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            refused: metrics.counters("connections_refused", "Connections refused, by protocol"),
            handshakes_failed: metrics.counters(
                "tls_handshakes_failed",
                "TLS handshakes that failed, by protocol",
            ),
        }
    }
}

/// The guard before a protocol.
pub(super) struct Guard<G> {
    shared: Arc<Shared<G>>,
}

/// What a guard is made of.
pub(super) struct GuardOptions<G> {
    /// The protocol.
    pub inner: G,
    /// Its name, for the metrics.
    pub protocol: Protocol,
    /// TLS, if it comes from the first byte.
    pub implicit_tls: Option<Arc<dyn TlsAcceptor>>,
    /// The door, shared with all listeners.
    pub gate: Gate,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The metrics, shared with other guards.
    pub metrics: GuardMetrics,
}

struct Shared<G> {
    options: GuardOptions<G>,
    refused: Counter,
    handshakes_failed: Counter,
}

impl<G: Guarded> Guard<G> {
    pub(super) fn new(options: GuardOptions<G>) -> Self {
        let labels: Labels = vec![("protocol", options.protocol.as_str().to_owned())];
        let refused = options.metrics.refused.get_or_create(&labels).clone();
        let handshakes_failed = options
            .metrics
            .handshakes_failed
            .get_or_create(&labels)
            .clone();
        Self {
            shared: Arc::new(Shared {
                options,
                refused,
                handshakes_failed,
            }),
        }
    }
}

impl<G: Guarded> Service for Guard<G> {
    fn serve(&self, stream: BoxStream, peer: SocketAddr) -> BoxFuture<'static, ()> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let options = &shared.options;
            match options.gate.admit(peer.ip(), options.clock.now()) {
                Ok(permit) => shared.admit(stream, peer, permit).await,
                Err(reason) => {
                    shared.refused.inc();
                    tracing::debug!(reason = reason.reason(), "connection refused");
                    // In a flood of refusals the rest is closed without a word.
                    let Some(_place) = options.gate.refusal() else {
                        return;
                    };
                    // A peer that does not listen in time is dropped.
                    let _ = timeout(REFUSAL_TIMEOUT, shared.refuse(stream, reason)).await;
                }
            }
        })
    }
}

impl<G: Guarded> Shared<G> {
    async fn admit(&self, stream: BoxStream, peer: SocketAddr, permit: Permit) {
        match self.secure(stream).await {
            Ok((stream, tls)) => {
                let arrival = Arrival { peer, tls, permit };
                self.options.inner.serve(stream, arrival).await;
            }
            Err(error) => {
                self.handshakes_failed.inc();
                tracing::debug!(%error, "the TLS handshake failed");
            }
        }
    }

    async fn secure(&self, stream: BoxStream) -> io::Result<(BoxStream, Option<TlsInfo>)> {
        match &self.options.implicit_tls {
            None => Ok((stream, None)),
            Some(tls) => {
                let accepting = tls.accept_with_certificate(stream);
                let (stream, info) = timeout(HANDSHAKE_TIMEOUT, accepting).await??;
                Ok((stream, Some(info)))
            }
        }
    }

    /// Tells a refused peer why, and waits until it has read that: closing a socket with unread
    /// bytes in it would throw away what was sent.
    async fn refuse(&self, stream: BoxStream, reason: Crowded) -> io::Result<()> {
        let (mut stream, _) = self.secure(stream).await?;
        stream
            .write_all(self.options.inner.refusal(reason).as_bytes())
            .await?;
        stream.shutdown().await?;
        let mut unread = [0; 512];
        while stream.read(&mut unread).await? > 0 {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base::limits::Limits;

    use super::*;
    use crate::outside::SystemClock;

    struct Hello;

    impl Guarded for Hello {
        fn serve(&self, mut stream: BoxStream, arrival: Arrival) -> BoxFuture<'static, ()> {
            Box::pin(async move {
                let _ = stream.write_all(b"hello\n").await;
                let _ = stream.read(&mut [0]).await;
                drop(arrival);
            })
        }

        fn refusal(&self, reason: Crowded) -> String {
            format!("no: {}\n", reason.reason())
        }
    }

    #[tokio::test]
    async fn a_refused_peer_hears_why() {
        let limits = Limits {
            connections_per_address_max: 1,
            ..Limits::default()
        };
        let guard = Guard::new(GuardOptions {
            inner: Hello,
            protocol: Protocol::Imap,
            implicit_tls: None,
            gate: Gate::new(&limits),
            clock: Arc::new(SystemClock),
            metrics: GuardMetrics::new(&Metrics::default()),
        });
        let peer: SocketAddr = "192.0.2.1:1000".parse().unwrap();
        let (mut first, inside) = tokio::io::duplex(1_024);
        let session = tokio::spawn(guard.serve(Box::new(inside), peer));
        let mut word = [0; 6];
        first.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"hello\n");

        let (mut second, inside) = tokio::io::duplex(1_024);
        let refused = tokio::spawn(guard.serve(Box::new(inside), peer));
        let mut text = String::new();
        second.read_to_string(&mut text).await.unwrap();
        assert!(
            text.starts_with("no: Too many connections from your address"),
            "{text}"
        );
        drop(second);
        refused.await.unwrap();

        drop(first);
        session.await.unwrap();
        let (mut third, inside) = tokio::io::duplex(1_024);
        tokio::spawn(guard.serve(Box::new(inside), peer));
        third.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"hello\n");
    }
}
