//! The inside of a node: its store and its services over an outside world that is given to it.
//!
//! The program stands it on the machine, with sockets and listeners before it; the simulation on
//! streams, clock, names and disk of its own. It opens no socket and asks no time itself.

use std::net::SocketAddr;
use std::sync::Arc;

use base::metrics::Metrics;
use base::ports::{BoxFuture, BoxStream, Clock, Connector, Entropy, Resolver, TlsAcceptor};
use base::throttle::LoginThrottle;
use store::{Store, StoreError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use transport::net::Gate;

use super::services::{Services, Shared};
use crate::control::client;
use crate::settings::{Listen, Settings};

/// The outside world of a node.
#[derive(Clone)]
pub struct Outside {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// TLS for those who connect.
    pub tls: Option<Arc<dyn TlsAcceptor>>,
    /// DNS.
    pub resolver: Arc<dyn Resolver>,
    /// Connections to others.
    pub connector: Arc<dyn Connector>,
}

/// Store and services.
pub struct Inside {
    store: Store,
    services: Services,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

/// What the connections of one listener are served by. Cheap to clone.
#[derive(Clone)]
pub struct Door(Arc<dyn super::listen::Service>);

impl Inside {
    /// Opens the store of these settings and makes the services; `listening` are the addresses where
    /// mail from other servers comes in. Nothing runs yet but the store.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub async fn open(
        settings: Arc<Settings>,
        outside: Outside,
        metrics: Metrics,
        listening: Vec<SocketAddr>,
    ) -> Result<Self, StoreError> {
        let (clock, entropy) = (Arc::clone(&outside.clock), Arc::clone(&outside.entropy));
        let store = client::open_in(&settings, &metrics, clock, entropy).await?;
        Ok(Self::new(store, settings, outside, metrics, listening))
    }

    /// The services over a store that is open.
    pub(super) fn new(
        store: Store,
        settings: Arc<Settings>,
        outside: Outside,
        metrics: Metrics,
        listening: Vec<SocketAddr>,
    ) -> Self {
        let shutdown = CancellationToken::new();
        let services = Services::new(Shared {
            store: store.clone(),
            gate: Gate::new(&settings.limits),
            throttle: Arc::new(LoginThrottle::new(&settings.limits)),
            clock: outside.clock,
            entropy: outside.entropy,
            tls: outside.tls,
            metrics,
            shutdown: shutdown.clone(),
            resolver: outside.resolver,
            connector: outside.connector,
            listening,
            settings,
        });
        Self {
            store,
            services,
            shutdown,
            tasks: TaskTracker::new(),
        }
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Cancelled when the node stops.
    #[must_use]
    pub const fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// What the listeners have started beside their sessions.
    pub(super) const fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// The brake on failed logins.
    pub(super) fn throttle(&self) -> Arc<LoginThrottle> {
        self.services.throttle()
    }

    /// The queue's worker; it works until the node stops.
    #[must_use]
    pub fn queue(&self) -> BoxFuture<'static, ()> {
        self.services.queue()
    }

    /// What is done beside mail: policies and reports about TLS; it goes on until the node stops.
    #[must_use]
    pub fn reports(&self) -> BoxFuture<'static, ()> {
        self.services.reports()
    }

    /// What the connections to a listener are served by.
    #[must_use]
    pub fn door(&self, listen: Listen) -> Door {
        Door(self.services.for_listener(listen, &self.tasks))
    }
}

impl Door {
    /// Speaks the listener's protocol until the connection ends.
    pub fn serve(&self, stream: BoxStream, peer: SocketAddr) -> BoxFuture<'static, ()> {
        self.0.serve(stream, peer)
    }

    /// For the listeners of the program.
    pub(super) fn service(&self) -> Arc<dyn super::listen::Service> {
        Arc::clone(&self.0)
    }
}
