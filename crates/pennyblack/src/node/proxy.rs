//! The PROXY protocol before a listener: reads whose connection a proxy passes on, and serves it as
//! if its client had connected itself. Only proxies of trusted networks are believed; who is not one
//! of them is served as itself, and its bytes are not looked at.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base::ports::{BoxFuture, BoxStream};
use bytes::{Buf, BytesMut};
use proto::proxy;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use transport::auth::Network;

use super::listen::Service;

/// How long a proxy may take for its header: it sends it at once.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// A service behind proxies.
pub(super) struct Proxied {
    /// What serves the clients.
    pub inner: Arc<dyn Service>,
    /// Where the proxies are.
    pub trusted: Arc<[Network]>,
}

impl Service for Proxied {
    fn serve(&self, stream: BoxStream, peer: SocketAddr) -> BoxFuture<'static, ()> {
        if !self
            .trusted
            .iter()
            .any(|network| network.contains(peer.ip()))
        {
            return self.inner.serve(stream, peer);
        }
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            match timeout(HEADER_TIMEOUT, read_header(stream)).await {
                Ok(Ok((stream, source))) => inner.serve(stream, source.unwrap_or(peer)).await,
                Ok(Err(error)) => tracing::info!(%peer, %error, "no PROXY header; closed"),
                Err(_) => tracing::info!(%peer, "no PROXY header in time; closed"),
            }
        })
    }
}

/// The stream behind its header, and whose it is.
async fn read_header(mut stream: BoxStream) -> io::Result<(BoxStream, Option<SocketAddr>)> {
    let mut input = BytesMut::with_capacity(512);
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // The parser gives up before so many bytes are there.
        match proxy::parse(&input) {
            Ok(Some(header)) => {
                input.advance(header.bytes);
                let stream = Begun { input, stream };
                return Ok((Box::new(stream), header.source));
            }
            Ok(None) => {}
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}

/// A stream of which some bytes were read already.
struct Begun {
    input: BytesMut,
    stream: BoxStream,
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.input.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.input.len().min(buffer.remaining());
        buffer.put_slice(&self.input.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Begun {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
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
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// Says who the client is, and what came.
    struct Echo;

    impl Service for Echo {
        fn serve(&self, mut stream: BoxStream, peer: SocketAddr) -> BoxFuture<'static, ()> {
            Box::pin(async move {
                let mut input = vec![0; 4];
                stream.read_exact(&mut input).await.unwrap();
                let text = format!("{peer} {}", String::from_utf8_lossy(&input));
                stream.write_all(text.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            })
        }
    }

    async fn said(peer: &str, pieces: &[&[u8]]) -> String {
        let service = Proxied {
            inner: Arc::new(Echo),
            trusted: Arc::new([Network::parse("192.0.2.0/24").unwrap()]),
        };
        let (mut ours, theirs) = tokio::io::duplex(64);
        let task = tokio::spawn(service.serve(Box::new(theirs), peer.parse().unwrap()));
        for piece in pieces {
            // Who is turned away has closed already.
            if ours.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let mut answer = String::new();
        let _ = ours.read_to_string(&mut answer).await;
        task.await.unwrap();
        answer
    }

    const HEADER: &[u8] = b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 25\r\n";

    #[tokio::test]
    async fn a_trusted_proxy_is_believed() {
        let whole = [HEADER, b"NOOP"].concat();
        assert_eq!(
            said("192.0.2.1:1", &[&whole]).await,
            "198.51.100.7:4711 NOOP"
        );
        let cut = [&HEADER[..10], &HEADER[10..], b"NO", b"OP"];
        assert_eq!(said("192.0.2.1:1", &cut).await, "198.51.100.7:4711 NOOP");
        let unknown = [b"PROXY UNKNOWN\r\nNOOP".as_slice()];
        assert_eq!(said("192.0.2.1:1", &unknown).await, "192.0.2.1:1 NOOP");
    }

    #[tokio::test]
    async fn nobody_else_is_and_a_proxy_must_say_it() {
        assert_eq!(said("203.0.113.1:1", &[HEADER]).await, "203.0.113.1:1 PROX");
        assert_eq!(said("192.0.2.1:1", &[b"NOOP"]).await, "");
    }
}
