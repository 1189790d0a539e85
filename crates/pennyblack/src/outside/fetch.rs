//! Asking other web servers, over the same resolver, connections and certificate checks as mail.
//!
//! One request a connection, HTTP/1.1, always TLS with a certificate that is valid for the host.
//! Redirections are not followed: RFC 8461 §3.3 forbids it, and nothing else here needs it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::ports::{
    BoxFuture, BoxStream, Connector, HttpError, HttpFetch, HttpReply, HttpRequest, Resolver,
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

/// How long one request may take in all (RFC 8461 §3.3 suggests one minute).
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// How long connecting to one address may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// The most addresses of a host that are tried.
const ADDRESSES_MAX: usize = 4;

/// A client for web servers.
pub struct WebClient {
    resolver: Arc<dyn Resolver>,
    connector: Arc<dyn Connector>,
}

impl WebClient {
    /// A client over these.
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolver>, connector: Arc<dyn Connector>) -> Self {
        Self {
            resolver,
            connector,
        }
    }

    async fn ask(&self, request: &HttpRequest<'_>) -> Result<HttpReply, HttpError> {
        let found = self.resolver.addresses(request.host).await;
        let addresses = found.map_err(HttpError::Dns)?;
        let mut failed = HttpError::Failed("the host has no address".to_owned());
        for ip in addresses.into_iter().take(ADDRESSES_MAX) {
            let address = SocketAddr::new(ip, request.port);
            let connecting = self.connector.connect(address, None);
            let stream = match timeout(CONNECT_LIMIT, connecting).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    failed = HttpError::Failed(format!("connecting to {address}: {error}"));
                    continue;
                }
                Err(_) => {
                    failed = HttpError::Failed(format!("{address} does not answer in time"));
                    continue;
                }
            };
            let (stream, _, shown) = self
                .connector
                .show_tls(stream, request.host)
                .await
                .map_err(|error| HttpError::Failed(format!("TLS handshake: {error}")))?;
            return match shown.fault {
                None => talk(stream, request).await,
                Some(fault) => Err(HttpError::Certificate(fault)),
            };
        }
        Err(failed)
    }
}

impl HttpFetch for WebClient {
    fn fetch<'a>(
        &'a self,
        request: HttpRequest<'a>,
    ) -> BoxFuture<'a, Result<HttpReply, HttpError>> {
        Box::pin(async move {
            let late = || HttpError::Failed("no answer in time".to_owned());
            let asked = timeout(TIME_LIMIT, self.ask(&request)).await;
            asked.map_err(|_| late())?
        })
    }
}

/// One request and its answer, on a connection that is ready.
async fn talk(stream: BoxStream, request: &HttpRequest<'_>) -> Result<HttpReply, HttpError> {
    let failed = |error: hyper::Error| HttpError::Failed(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let asking = async {
        let answer = sender
            .send_request(written(request)?)
            .await
            .map_err(failed)?;
        let status = answer.status().as_u16();
        let content_type = answer.headers().get(CONTENT_TYPE);
        let content_type = content_type
            .and_then(|value| value.to_str().ok())
            .map(ToOwned::to_owned);
        let body = Limited::new(answer.into_body(), request.body_bytes_max);
        let body = body.collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                HttpError::TooLong
            } else {
                HttpError::Failed(error.to_string())
            }
        })?;
        Ok(HttpReply {
            status,
            content_type,
            body: body.to_bytes().to_vec(),
        })
    };
    tokio::pin!(connection);
    tokio::pin!(asking);
    tokio::select! {
        biased;
        answer = &mut asking => answer,
        // The connection may end with the answer, which is then still to be read.
        _ = &mut connection => asking.await,
    }
}

fn written(request: &HttpRequest<'_>) -> Result<Request<Full<Bytes>>, HttpError> {
    let host = match request.port {
        443 => request.host.to_string(),
        port => format!("{}:{port}", request.host),
    };
    let (method, media_type, body) = match request.post {
        Some((media_type, body)) => (Method::POST, Some(media_type), Bytes::copy_from_slice(body)),
        None => (Method::GET, None, Bytes::new()),
    };
    let mut builder = Request::builder()
        .method(method)
        .uri(request.path)
        .header(HOST, host)
        .header(USER_AGENT, "Pennyblack");
    if let Some(media_type) = media_type {
        builder = builder.header(CONTENT_TYPE, media_type);
    }
    builder
        .body(Full::new(body))
        .map_err(|error| HttpError::Failed(error.to_string()))
}
