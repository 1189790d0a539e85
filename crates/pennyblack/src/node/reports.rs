//! What a node does beside mail for other domains: it renews their policies of MTA-STS, writes down
//! what became of TLS and what was found of letters in their name, and has both reported once a day.
//! Mailing lists are tended here, too.

use std::sync::Arc;
use std::time::Duration;

use base::Domain;
use base::ports::{Clock, Entropy, HttpFetch, Resolver};
use store::{Store, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use transport::dmarc_reports::{self, send as dmarc_send};
use transport::sts::Policies;
use transport::tlsrpt::Ledger;
use transport::tlsrpt::send::Sender;

/// How often counts are written, and jobs looked at.
const SPAN: Duration = Duration::from_secs(60);
/// How long after the start the first time is: a node that is started once a day has its turn, too.
const START: Duration = Duration::from_secs(5);
/// How often it is looked for reports of others that are too old.
const DAY: Duration = Duration::from_secs(86_400);
/// How often policies are looked through.
const RENEWAL: Duration = Duration::from_secs(3_600);
/// How often mailing lists are tended.
const LISTS: Duration = Duration::from_secs(3_600);
/// How often it is looked for reports of days that are over. Each hour, so that not all the world
/// sends at midnight (RFC 8460 §4.1), and a report that could not be sent has another chance.
const REPORTS: Duration = Duration::from_secs(3_600);

/// Who does it.
pub(super) struct Reporter {
    pub store: Store,
    pub resolver: Arc<dyn Resolver>,
    pub http: Arc<dyn HttpFetch>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub policies: Arc<Policies>,
    pub ledger: Ledger,
    /// None: nobody gets reports of DMARC.
    pub dmarc: Option<dmarc_reports::Ledger>,
    pub hostname: Domain,
    pub from: Domain,
    pub sends: bool,
    /// How long reports of others are kept.
    pub keeps: Duration,
}

impl Reporter {
    /// Works until the node stops; what was counted is written last.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let mut wait = START;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(std::mem::replace(&mut wait, SPAN)) => {}
            }
            if let Err(error) = self.round().await {
                warn!(%error, "policies and reports to others cannot be tended");
            }
        }
        if let Err(error) = self.write_down().await {
            warn!(%error, "what is to be reported to others was not written");
        }
    }

    async fn round(&self) -> Result<(), StoreError> {
        self.write_down().await?;
        if let Some(hold) = self.store.hold_job("lists", LISTS).await? {
            hold.run(self.store.tend_lists()).await?;
        }
        if let Some(hold) = self.store.hold_job("sts-policies", RENEWAL).await? {
            hold.run(self.policies.renew()).await?;
        }
        if let Some(hold) = self.store.hold_job("tls-reports", REPORTS).await? {
            hold.run(self.report()).await?;
        }
        if let Some(hold) = self.store.hold_job("reports-kept", DAY).await? {
            let before = self.clock.now() - self.keeps;
            hold.run(self.store.forget_reports_before(before)).await?;
        }
        if self.dmarc.is_some()
            && let Some(hold) = self.store.hold_job("dmarc-reports", REPORTS).await?
        {
            hold.run(self.report_dmarc()).await?;
        }
        Ok(())
    }

    async fn write_down(&self) -> Result<(), StoreError> {
        let tls = self.write_down_tls().await;
        if let Some(ledger) = &self.dmarc
            && let Err((left, error)) = self.store.count_dmarc_outcomes(ledger.take()).await
        {
            ledger.give_back(left);
            return Err(error);
        }
        tls
    }

    async fn write_down_tls(&self) -> Result<(), StoreError> {
        let outcomes = self.ledger.take();
        // Counts that nobody will be told are not kept.
        if outcomes.is_empty() || !self.sends {
            return Ok(());
        }
        let written = self.store.count_tls_outcomes(outcomes.clone()).await;
        if written.is_err() {
            self.ledger.give_back(outcomes);
        }
        written
    }

    async fn report(&self) -> Result<usize, StoreError> {
        if !self.sends {
            return Ok(0);
        }
        let sender = Sender {
            store: &self.store,
            resolver: self.resolver.as_ref(),
            http: self.http.as_ref(),
            entropy: self.entropy.as_ref(),
            hostname: &self.hostname,
            from: &self.from,
            now: self.clock.now(),
        };
        sender.send_all().await
    }

    async fn report_dmarc(&self) -> Result<usize, StoreError> {
        let sender = dmarc_send::Sender {
            store: &self.store,
            resolver: Arc::clone(&self.resolver),
            hostname: &self.hostname,
            from: &self.from,
            now: self.clock.now(),
        };
        sender.send_all().await
    }
}
