//! What a node does beside mail for the safety of the way to others: it renews their policies of
//! MTA-STS, writes down what became of TLS, and has it reported once a day.

use std::sync::Arc;
use std::time::Duration;

use base::Domain;
use base::ports::{Clock, Entropy, HttpFetch, Resolver};
use store::{Store, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use transport::sts::Policies;
use transport::tlsrpt::Ledger;
use transport::tlsrpt::send::Sender;

/// How often counts are written, and jobs looked at.
const SPAN: Duration = Duration::from_secs(60);
/// How often policies are looked through.
const RENEWAL: Duration = Duration::from_secs(3_600);
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
    pub hostname: Domain,
    pub from: Domain,
    pub sends: bool,
}

impl Reporter {
    /// Works until the node stops; what was counted is written last.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(SPAN) => {}
            }
            if let Err(error) = self.round().await {
                warn!(%error, "policies and reports about TLS cannot be tended");
            }
        }
        if let Err(error) = self.write_down().await {
            warn!(%error, "what became of TLS was not written");
        }
    }

    async fn round(&self) -> Result<(), StoreError> {
        self.write_down().await?;
        if let Some(hold) = self.store.hold_job("sts-policies", RENEWAL).await? {
            hold.run(self.policies.renew()).await?;
        }
        if let Some(hold) = self.store.hold_job("tls-reports", REPORTS).await? {
            hold.run(self.report()).await?;
        }
        Ok(())
    }

    async fn write_down(&self) -> Result<(), StoreError> {
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
}
