//! What each listener speaks: the protocols of `transport` and `access`, put behind listeners.

use std::net::SocketAddr;
use std::sync::Arc;

use access::imap::{ImapContext, ImapOptions};
use base::metrics::Metrics;
use base::ports::{
    BoxFuture, BoxStream, Clock, Connector, Entropy, HttpFetch, Resolver, TlsAcceptor,
};
use base::throttle::LoginThrottle;
use proto::smtp::Role;
use store::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use transport::auth::{AuthOptions, Policy};
use transport::dmarc_reports;
use transport::net::Gate;
use transport::queue::{self, QueueContext};
use transport::route::Own;
use transport::smtp_in::{self, Listener, Security, SmtpContext, SmtpOptions};
use transport::sts::Policies;
use transport::tlsrpt::Ledger;

use super::guard::{Guard, GuardMetrics, GuardOptions};
use super::http::{HttpContext, HttpService};
use super::imap::ImapService;
use super::listen::Service;
use super::proxy::Proxied;
use super::reports::Reporter;
use crate::outside::WebClient;
use crate::settings::{Listen, Protocol, Settings, TlsMode};

/// What all services of a node are made from.
pub(super) struct Shared {
    pub settings: Arc<Settings>,
    pub store: Store,
    pub gate: Gate,
    pub throttle: Arc<LoginThrottle>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub tls: Option<Arc<dyn TlsAcceptor>>,
    pub metrics: Metrics,
    pub shutdown: CancellationToken,
    pub resolver: Arc<dyn Resolver>,
    pub connector: Arc<dyn Connector>,
    /// Where mail from other servers comes in.
    pub listening: Vec<SocketAddr>,
}

/// The services of a node.
pub(super) struct Services {
    shared: Shared,
    guard_metrics: GuardMetrics,
    smtp: Arc<SmtpContext>,
    imap: Arc<ImapContext>,
    http: Arc<dyn HttpFetch>,
    policies: Arc<Policies>,
    ledger: Ledger,
    dmarc: Option<dmarc_reports::Ledger>,
}

impl Services {
    pub(super) fn new(shared: Shared) -> Self {
        let (resolver, connector) = (shared.resolver.clone(), shared.connector.clone());
        let http: Arc<dyn HttpFetch> = Arc::new(WebClient::new(resolver.clone(), connector));
        let (store, clock) = (shared.store.clone(), shared.clock.clone());
        let sends = shared.settings.safety.dmarc_reports;
        let dmarc = sends.then(dmarc_reports::Ledger::default);
        Self {
            policies: Arc::new(Policies::new(store, resolver, http.clone(), clock)),
            ledger: Ledger::default(),
            http,
            guard_metrics: GuardMetrics::new(&shared.metrics),
            smtp: Arc::new(SmtpContext::new(smtp_options(&shared, dmarc.clone()))),
            dmarc,
            imap: Arc::new(ImapContext::new(imap_options(&shared))),
            shared,
        }
    }

    /// The queue's worker.
    pub(super) fn queue(&self) -> BoxFuture<'static, ()> {
        let shared = &self.shared;
        let context = QueueContext {
            store: shared.store.clone(),
            resolver: shared.resolver.clone(),
            connector: shared.connector.clone(),
            clock: shared.clock.clone(),
            entropy: shared.entropy.clone(),
            settings: shared.settings.queue.clone(),
            own: Own {
                hostname: shared.settings.hostname.clone(),
                listening: shared.listening.clone(),
            },
            metrics: shared.metrics.clone(),
            policies: Some(self.policies.clone()),
            ledger: self.ledger.clone(),
        };
        Box::pin(queue::run(context, shared.shutdown.clone()))
    }

    /// Policies of MTA-STS, and reports to other domains.
    pub(super) fn reports(&self) -> BoxFuture<'static, ()> {
        let shared = &self.shared;
        let settings = &shared.settings;
        let reporter = Reporter {
            store: shared.store.clone(),
            resolver: shared.resolver.clone(),
            http: self.http.clone(),
            clock: shared.clock.clone(),
            entropy: shared.entropy.clone(),
            policies: self.policies.clone(),
            ledger: self.ledger.clone(),
            dmarc: self.dmarc.clone(),
            hostname: settings.hostname.clone(),
            from: settings
                .domains
                .first()
                .unwrap_or(&settings.hostname)
                .clone(),
            sends: settings.safety.tls_reports,
            keeps: settings.safety.reports_kept,
        };
        Box::pin(reporter.run(shared.shutdown.clone()))
    }

    /// The service of one listener.
    pub(super) fn for_listener(&self, listen: Listen, tasks: &TaskTracker) -> Arc<dyn Service> {
        let service: Arc<dyn Service> = match listen.protocol {
            Protocol::Smtp => self.smtp(Role::Relay, listen),
            Protocol::Submission => self.smtp(Role::Submission, listen),
            Protocol::Lmtp => self.smtp(Role::Lmtp, listen),
            Protocol::Imap => self.imap(listen),
            Protocol::Http => self.http(listen, tasks),
        };
        if listen.proxy {
            return Arc::new(Proxied {
                inner: service,
                trusted: self.shared.settings.proxies.as_slice().into(),
            });
        }
        service
    }

    fn smtp(&self, role: Role, listen: Listen) -> Arc<dyn Service> {
        let security = match listen.tls {
            TlsMode::None => Security::None,
            TlsMode::StartTls => Security::StartTls,
            TlsMode::Implicit => Security::Implicit,
        };
        Arc::new(SmtpService {
            context: self.smtp.clone(),
            listener: Listener { role, security },
            shutdown: self.shared.shutdown.clone(),
        })
    }

    pub(super) fn throttle(&self) -> Arc<LoginThrottle> {
        Arc::clone(&self.shared.throttle)
    }

    fn imap(&self, listen: Listen) -> Arc<dyn Service> {
        let service = ImapService {
            context: self.imap.clone(),
            offers_starttls: listen.tls == TlsMode::StartTls,
            shutdown: self.shared.shutdown.clone(),
        };
        self.guarded(service, listen)
    }

    fn http(&self, listen: Listen, tasks: &TaskTracker) -> Arc<dyn Service> {
        let context = HttpContext {
            metrics: self.shared.metrics.clone(),
            metrics_public: self.shared.settings.metrics_public,
            store: self.shared.store.clone(),
            sts: self.shared.settings.safety.sts.clone(),
        };
        let (service, server) = HttpService::new(context, self.shared.shutdown.clone());
        tasks.spawn(server);
        self.guarded(service, listen)
    }

    fn guarded<G: super::guard::Guarded>(&self, inner: G, listen: Listen) -> Arc<dyn Service> {
        let implicit = listen.tls == TlsMode::Implicit;
        Arc::new(Guard::new(GuardOptions {
            inner,
            protocol: listen.protocol,
            implicit_tls: self.shared.tls.clone().filter(|_| implicit),
            gate: self.shared.gate.clone(),
            clock: self.shared.clock.clone(),
            metrics: self.guard_metrics.clone(),
        }))
    }
}

fn smtp_options(shared: &Shared, dmarc: Option<dmarc_reports::Ledger>) -> SmtpOptions {
    let settings = &shared.settings;
    SmtpOptions {
        hostname: settings.hostname.clone(),
        store: shared.store.clone(),
        limits: settings.limits.clone(),
        gate: shared.gate.clone(),
        throttle: shared.throttle.clone(),
        tls: shared.tls.clone(),
        clock: shared.clock.clone(),
        entropy: shared.entropy.clone(),
        metrics: shared.metrics.clone(),
        queue_lifetime: settings.queue.lifetime,
        scram: settings.scram,
        auth: Arc::new(auth_options(shared, dmarc)),
        auth_without_tls_on_loopback: settings.auth_without_tls_on_loopback,
        tokens: None,
        xclient_trusted: settings.xclient_trusted.clone(),
        backup: settings.backup.clone(),
    }
}

fn auth_options(shared: &Shared, ledger: Option<dmarc_reports::Ledger>) -> AuthOptions {
    let settings = &shared.settings.auth;
    AuthOptions {
        resolver: shared.resolver.clone(),
        dmarc: Policy::parse(&settings.dmarc).unwrap_or(Policy::Reject),
        time_limit: settings.timeout,
        trusted: settings.trusted.clone(),
        names: settings.names.clone(),
        arc_sealers: settings.arc_sealers.clone(),
        ledger,
    }
}

/// SMTP for servers or for users; it keeps the limits on connections itself.
struct SmtpService {
    context: Arc<SmtpContext>,
    listener: Listener,
    shutdown: CancellationToken,
}

impl Service for SmtpService {
    fn serve(&self, stream: BoxStream, peer: SocketAddr) -> BoxFuture<'static, ()> {
        let (context, listener) = (self.context.clone(), self.listener);
        let shutdown = self.shutdown.clone();
        Box::pin(async move {
            smtp_in::serve(&context, stream, peer, listener, shutdown).await;
        })
    }
}

fn imap_options(shared: &Shared) -> ImapOptions {
    let settings = &shared.settings;
    ImapOptions {
        hostname: settings.hostname.clone(),
        store: shared.store.clone(),
        limits: settings.limits.clone(),
        tls: shared.tls.clone(),
        clock: shared.clock.clone(),
        entropy: shared.entropy.clone(),
        metrics: shared.metrics.clone(),
        throttle: shared.throttle.clone(),
        scram: settings.scram,
        auth_without_tls_on_loopback: settings.auth_without_tls_on_loopback,
    }
}
