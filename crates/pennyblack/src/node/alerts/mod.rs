//! Watches what an operator must know of before users do, and tells the administrator: by mail, in the
//! log, in the metrics and by `pennyblack alerts list`.
//!
//! Each thing is told once, again after `alerts.repeat`, and once more when it is over. What was told is in
//! the store, so that a restart tells nothing anew. What concerns one node (disk, certificate, clock,
//! backup, its addresses on blocklists) is looked at by that node, the rest by one of all.

mod blocklist;
mod look;
mod tell;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::metrics::{Family, Gauge, Labels, Metrics};
use base::ports::{Clock, Entropy, Resolver};
use base::{Domain, Timestamp};
use store::{Alert, Store, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::outside::RustlsAcceptor;
use crate::settings::Settings;

pub use look::TimeServer;

/// The most characters of what is told of one thing: it stands in one line of a letter.
const DETAIL_CHARS_MAX: usize = 600;

/// What the node looks at, and by what.
pub(super) struct Watcher {
    pub settings: Arc<Settings>,
    pub store: Store,
    pub resolver: Arc<dyn Resolver>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub tls: Option<Arc<RustlsAcceptor>>,
    pub metrics: AlertMetrics,
}

/// How many things are wrong, by kind.
pub(super) struct AlertMetrics(Family<Labels, Gauge>);

impl AlertMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let help = "Things that are wrong and the administrator is told, by kind";
        Self(metrics.register("alerts", help, Family::default()))
    }

    fn set(&self, alerts: &[Alert]) {
        let mut counts: BTreeMap<&str, i64> = Kind::ALL.map(|kind| (kind.word(), 0)).into();
        for alert in alerts {
            *counts.entry(alert.kind.as_str()).or_default() += 1;
        }
        for (kind, count) in counts {
            let labels: Labels = vec![("kind", kind.to_owned())];
            self.0.get_or_create(&labels).set(count);
        }
    }
}

/// What kind of thing may be wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Backup,
    Blocklist,
    Certificate,
    Clock,
    Disk,
    Dns,
    Queue,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Backup,
        Self::Blocklist,
        Self::Certificate,
        Self::Clock,
        Self::Disk,
        Self::Dns,
        Self::Queue,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Blocklist => "blocklist",
            Self::Certificate => "certificate",
            Self::Clock => "clock",
            Self::Disk => "disk",
            Self::Dns => "dns",
            Self::Queue => "queue",
        }
    }

    /// The next step, for who is told.
    const fn advice(self) -> &'static str {
        match self {
            Self::Backup => {
                "See why the backup does not run; `pennyblack backup FOLDER` makes one now."
            }
            Self::Blocklist => {
                "Find out what was sent (`pennyblack queue list`, the log), stop it, and ask the list to \
                 remove the address."
            }
            Self::Certificate => {
                "Renew the certificate, and send the node SIGHUP: it reads it again."
            }
            Self::Clock => {
                "Set the clock, and see that a time service runs (chrony, systemd-timesyncd)."
            }
            Self::Disk => "Make room, or letters are refused until there is some.",
            Self::Dns => "`pennyblack dns check DOMAIN` shows what should be there.",
            Self::Queue => "`pennyblack queue list` says why letters wait.",
        }
    }
}

/// What was seen of one thing.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Seen {
    kind: Kind,
    /// What it is about.
    subject: String,
    state: State,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    Fine,
    /// In words.
    Wrong(String),
    /// Nobody can say; what was known stays.
    Unknown,
}

/// What the administrator is told of.
#[derive(Clone, PartialEq, Eq, Debug)]
struct News {
    alert: Alert,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    New,
    Still,
    Over,
}

impl Watcher {
    /// Watches until the node stops.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let interval = self.settings.alerts.interval;
        let mut blocklists_at = self.clock.now();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
            let round = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                round = self.round(&mut blocklists_at) => round,
            };
            if let Err(error) = round {
                warn!(%error, "it could not be looked whether all is well");
            }
        }
    }

    async fn round(&self, blocklists_at: &mut Timestamp) -> Result<(), StoreError> {
        let mut seen = self.look_here().await;
        let over = self.left_off(&seen).await?;
        seen.extend(over);
        self.settle(seen).await?;
        let interval = self.settings.alerts.interval;
        if let Some(hold) = self.store.hold_job("alerts-queue", interval).await? {
            let work = async { self.settle(vec![self.look_at_queue().await?]).await };
            hold.run(work).await?;
        }
        let interval = self.settings.alerts.dns_interval;
        if let Some(hold) = self.store.hold_job("alerts-dns", interval).await? {
            let work = async { self.settle(self.look_at_dns().await?).await };
            hold.run(work).await?;
        }
        // Each node has addresses of its own.
        if *blocklists_at <= self.clock.now() {
            *blocklists_at = self.clock.now() + interval;
            self.settle(self.look_on_blocklists().await?).await?;
        }
        self.metrics.set(&self.store.alerts().await?);
        Ok(())
    }

    /// Compares what was seen with what was known, tells what is news, and keeps it. Told before it is
    /// kept: a crash in between tells it twice, not never.
    async fn settle(&self, seen: Vec<Seen>) -> Result<(), StoreError> {
        let known = self.store.alerts().await?;
        let now = self.clock.now();
        let news = news(&seen, &known, now, self.settings.alerts.repeat);
        if news.is_empty() {
            return Ok(());
        }
        for News { alert, what } in &news {
            let (kind, subject, detail) = (&alert.kind, &alert.subject, &alert.detail);
            match what {
                What::New => warn!(kind, subject, detail, "something is wrong"),
                What::Still => warn!(kind, subject, detail, "something is still wrong"),
                What::Over => info!(kind, subject, "something is well again"),
            }
        }
        let told = match self.tell(&news).await {
            Ok(()) => Some(now),
            Err(error) => {
                warn!(%error, "the administrator could not be told");
                None
            }
        };
        for News { mut alert, what } in news {
            match what {
                What::Over => {
                    self.store.forget_alert(&alert.kind, &alert.subject).await?;
                }
                What::New | What::Still => {
                    alert.told_at = told.or(alert.told_at);
                    self.store.keep_alert(alert).await?;
                }
            }
        }
        Ok(())
    }
}

/// What is to be told, of what was seen and what is known.
fn news(seen: &[Seen], known: &[Alert], now: Timestamp, repeat: Duration) -> Vec<News> {
    let mut news = Vec::new();
    for one in seen {
        let before = known
            .iter()
            .find(|alert| alert.kind == one.kind.word() && alert.subject == one.subject);
        match (&one.state, before) {
            (State::Unknown, _) | (State::Fine, None) => {}
            (State::Fine, Some(before)) => news.push(News {
                alert: before.clone(),
                what: What::Over,
            }),
            (State::Wrong(detail), before) => {
                let detail: String = detail.chars().take(DETAIL_CHARS_MAX).collect();
                let due = |at: Timestamp| at + repeat <= now;
                let told_at = before.and_then(|before| before.told_at);
                if told_at.is_some_and(|at| !due(at)) {
                    continue;
                }
                news.push(News {
                    alert: Alert {
                        kind: one.kind.word().to_owned(),
                        subject: one.subject.clone(),
                        detail,
                        since: before.map_or(now, |before| before.since),
                        told_at,
                    },
                    what: if told_at.is_some() {
                        What::Still
                    } else {
                        What::New
                    },
                });
            }
        }
    }
    news
}

/// The domain of ours that tells.
fn domain_of(settings: &Settings) -> &Domain {
    settings.domains.first().unwrap_or(&settings.hostname)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(state: State) -> Vec<Seen> {
        vec![Seen {
            kind: Kind::Disk,
            subject: "mx1".to_owned(),
            state,
        }]
    }

    fn wrong() -> Vec<Seen> {
        seen(State::Wrong("full".to_owned()))
    }

    /// Once, again after the time, and when it is over.
    #[test]
    fn what_is_told_and_when() {
        let repeat = Duration::from_secs(100);
        let at = |secs: i64| Timestamp::from_secs(1_000 + secs);
        let told = |seen: &[Seen], known: &[Alert], secs: i64| {
            let news = news(seen, known, at(secs), repeat);
            news.into_iter().next().map(|news| (news.what, news.alert))
        };
        assert_eq!(told(&seen(State::Fine), &[], 0), None);
        assert_eq!(told(&seen(State::Unknown), &[], 0), None);
        let (what, mut alert) = told(&wrong(), &[], 0).unwrap();
        assert_eq!((what, alert.since, alert.told_at), (What::New, at(0), None));
        // Who could not be told is told as soon as it works.
        let (what, again) = told(&wrong(), &[alert.clone()], 1).unwrap();
        assert_eq!((what, again.since), (What::New, at(0)));
        alert.told_at = Some(at(1));
        let known = [alert];
        assert_eq!(told(&wrong(), &known, 100), None);
        let (what, again) = told(&wrong(), &known, 101).unwrap();
        assert_eq!(
            (what, again.since, again.told_at),
            (What::Still, at(0), Some(at(1)))
        );
        assert_eq!(told(&seen(State::Unknown), &known, 500), None);
        assert_eq!(told(&seen(State::Fine), &known, 2).unwrap().0, What::Over);
        // What is about something else is left alone.
        let mut other = seen(State::Fine);
        other[0].subject = "mx2".to_owned();
        assert_eq!(told(&other, &known, 2), None);
    }
}
