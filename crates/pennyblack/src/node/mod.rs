//! A running node: the store, the listeners, the queue's worker, the control socket.
//!
//! [`Node::start`] opens everything and returns when all listeners are bound; [`Node::stop`] ends
//! it in order: no new connections, sessions and transfers finish what they began within a bounded
//! grace, the store closes last. What was acknowledged is on disk in any case.

pub mod http;
pub mod inside;
pub mod signals;

pub mod alerts;
mod guard;
mod holds;
mod imap;
mod keys;
mod listen;
mod lists;
mod proxy;
mod reports;
mod services;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::metrics::Metrics;
use base::ports::TlsAcceptor;
use store::{Store, StoreError};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::control::{client, server};
use crate::outside::{
    CertificateSource, HickoryResolver, OsEntropy, RustlsAcceptor, SystemClock, TcpConnector,
    TlsError,
};
use crate::settings::{Listen, Protocol, Settings, TlsMode};
use inside::{Inside, Outside};
use listen::{Door, ListenMetrics};

/// After the grace, how long tasks may take to notice that they are cut off.
const CUT_OFF: Duration = Duration::from_secs(2);

/// Why a node does not start.
#[derive(Debug)]
pub enum NodeError {
    /// The store does not open.
    Store(StoreError),
    /// There is no certificate.
    Tls(TlsError),
    /// The resolver cannot be set up.
    Dns(String),
    /// A listener cannot be bound.
    Listen(Listen, io::Error),
    /// The control socket cannot be made.
    Control(PathBuf, io::Error),
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
            Self::Dns(why) => write!(
                f,
                "DNS cannot be set up: {why}; the setting `dns.servers` names resolvers"
            ),
            Self::Listen(listen, error) => {
                write!(
                    f,
                    "cannot listen for {} on {}: {error}",
                    listen.protocol.as_str(),
                    listen.address
                )?;
                if error.kind() == io::ErrorKind::PermissionDenied {
                    f.write_str(
                        "; ports below 1024 need root or the capability CAP_NET_BIND_SERVICE",
                    )?;
                }
                Ok(())
            }
            Self::Control(path, error) => {
                write!(
                    f,
                    "the control socket in {} cannot be made: {error}",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for NodeError {}

impl From<StoreError> for NodeError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<TlsError> for NodeError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

/// A node that runs until it is stopped.
pub struct Node {
    ready: Vec<Listen>,
    settings: Arc<Settings>,
    store: Store,
    tls: Option<Arc<RustlsAcceptor>>,
    metrics: Metrics,
    door: Door,
    /// Accept loops, HTTP, control socket, queue.
    tasks: TaskTracker,
}

impl Node {
    /// Starts a node; when it returns, all listeners are bound and everything runs.
    ///
    /// # Errors
    /// What is missing or in the way; nothing of the node is left running then.
    pub async fn start(settings: Arc<Settings>) -> Result<Self, NodeError> {
        let metrics = Metrics::default();
        let store = client::open(&settings, &metrics).await?;
        match Self::start_on(store.clone(), settings, metrics).await {
            Ok(node) => Ok(node),
            Err(error) => {
                // The first error is the one to tell.
                let _ = store.close().await;
                Err(error)
            }
        }
    }

    async fn start_on(
        store: Store,
        settings: Arc<Settings>,
        metrics: Metrics,
    ) -> Result<Self, NodeError> {
        let listeners = bind_all(&settings.listen)?;
        let tls = acceptor(&settings)?;
        let outside = Outside {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            tls: tls.clone().map(|tls| tls as Arc<dyn TlsAcceptor>),
            resolver: Arc::new(HickoryResolver::new(&settings.dns).map_err(NodeError::Dns)?),
            connector: Arc::new(TcpConnector::default()),
        };
        let resolver = Arc::clone(&outside.resolver);
        let watcher = alerts::Watcher {
            settings: Arc::clone(&settings),
            store: store.clone(),
            resolver: Arc::clone(&outside.resolver),
            clock: Arc::clone(&outside.clock),
            entropy: Arc::clone(&outside.entropy),
            tls: tls.clone(),
            metrics: alerts::AlertMetrics::new(&metrics),
        };
        let control = server::bind(&settings.data_dir)
            .map_err(|error| NodeError::Control(settings.data_dir.clone(), error))?;
        let inside = Inside::new(
            store.clone(),
            settings.clone(),
            outside,
            metrics.clone(),
            smtp_addresses(&listeners),
        );
        let door = Door {
            metrics: ListenMetrics::new(&metrics),
            sessions: TaskTracker::new(),
            shutdown: inside.shutdown().clone(),
        };
        let tasks = inside.tasks().clone();
        tasks.spawn(server::serve(
            control,
            store.clone(),
            inside.throttle(),
            door.shutdown.clone(),
        ));
        tasks.spawn(signals::pat_watchdog(door.shutdown.clone()));
        tasks.spawn(keys::tend(store.clone(), resolver, door.shutdown.clone()));
        tasks.spawn(watcher.run(door.shutdown.clone()));
        let telling = holds::tell(store.clone(), settings.clone(), door.shutdown.clone());
        tasks.spawn(telling);
        tasks.spawn(inside.queue());
        tasks.spawn(inside.reports());
        let mut ready = Vec::new();
        for (listener, listen) in listeners {
            ready.push(listen);
            let service = inside.door(listen).service();
            tasks.spawn(listen::accept(
                listener,
                listen.protocol,
                service,
                door.clone(),
            ));
        }
        Ok(Self {
            ready,
            settings,
            store,
            tls,
            metrics,
            door,
            tasks,
        })
    }

    /// The listeners with the addresses that are really bound.
    #[must_use]
    pub fn ready(&self) -> &[Listen] {
        &self.ready
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The metrics.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The settings it runs with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The line that says that all listeners are bound; scripts wait for it.
    #[must_use]
    pub fn ready_line(&self) -> String {
        let listeners: Vec<String> = self
            .ready
            .iter()
            .map(|listen| {
                format!(
                    "{}={}/{}",
                    listen.protocol.as_str(),
                    listen.address,
                    listen.tls.as_str()
                )
            })
            .collect();
        format!(
            "pennyblack ready: {} {}",
            self.settings.hostname,
            listeners.join(" ")
        )
    }

    /// The file of the certificate, if any listener has TLS; for people who want to trust it.
    #[must_use]
    pub fn certificate_file(&self) -> Option<PathBuf> {
        self.tls.as_ref().map(|tls| tls.certificate_file())
    }

    /// Reads the certificate again; on an error the old one stays and the log says why.
    pub fn reload(&self) {
        let Some(tls) = &self.tls else { return };
        match tls.reload() {
            Ok(()) => tracing::info!("the certificate was read again"),
            Err(error) => tracing::error!(%error, "the certificate was not read again"),
        }
    }

    /// Stops: nothing new begins, what has begun may finish within the grace, the store closes.
    pub async fn stop(self) {
        let Self {
            settings,
            store,
            door,
            tasks,
            ..
        } = self;
        door.shutdown.cancel();
        door.sessions.close();
        tasks.close();
        let finished = async {
            door.sessions.wait().await;
            tasks.wait().await;
        };
        let grace = settings.stop_grace.max(settings.queue.stop_grace);
        if tokio::time::timeout(grace, finished).await.is_err() {
            let left = door.sessions.len();
            tracing::warn!(left, "sessions are cut off at the end of the grace");
        }
        server::unbind(&settings.data_dir);
        match tokio::time::timeout(grace + CUT_OFF, store.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the store did not close"),
            Err(_) => tracing::error!("the store did not close in time"),
        }
    }
}

/// Where other servers reach us.
fn smtp_addresses(listeners: &[(TcpListener, Listen)]) -> Vec<SocketAddr> {
    let listening = listeners.iter().map(|(_, listen)| listen);
    listening
        .filter(|listen| listen.protocol == Protocol::Smtp)
        .map(|listen| listen.address)
        .collect()
}

/// Binds all or none; a port 0 becomes the port that the system chose.
fn bind_all(wanted: &[Listen]) -> Result<Vec<(TcpListener, Listen)>, NodeError> {
    let mut listeners = Vec::new();
    for listen in wanted {
        let failed = |error| NodeError::Listen(*listen, error);
        let listener = listen::bind(listen.address, beside_ipv4(listen, wanted)).map_err(failed)?;
        let address: SocketAddr = listener.local_addr().map_err(failed)?;
        listeners.push((listener, Listen { address, ..*listen }));
    }
    Ok(listeners)
}

/// Whether an IPv4 listener has the same port, which a socket for `[::]` would take from it.
fn beside_ipv4(listen: &Listen, wanted: &[Listen]) -> bool {
    let port = listen.address.port();
    port != 0
        && wanted
            .iter()
            .any(|other| other.address.is_ipv4() && other.address.port() == port)
}

/// TLS, if any listener has it.
fn acceptor(settings: &Settings) -> Result<Option<Arc<RustlsAcceptor>>, TlsError> {
    if settings
        .listen
        .iter()
        .all(|listen| listen.tls == TlsMode::None)
    {
        return Ok(None);
    }
    let source = CertificateSource::choose(
        settings.certificate.clone(),
        &settings.hostname,
        &settings.data_dir,
    )?;
    let acceptor = RustlsAcceptor::new(source)?.asking_clients(settings.client_ca.clone())?;
    Ok(Some(Arc::new(acceptor)))
}
