//! The worker on a real store, with scripted servers: letters from their submission to their end.

mod blocked;
mod here;
mod outage;
mod remote;
mod reports;
mod stopping;
mod storms;
mod suppressed;
mod wishes;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base::limits::{Limits, Sending};
use base::{AccountId, Domain, EmailAddress, LetterId, Timestamp, Uid};
use bytes::Bytes;
use store::{
    BlobHome, Database, DsnReturn, Handling, NewAccount, Notify, QueueEntry, QueueFilter,
    QueueRecipient, StoreOptions, Submission, Synchronous,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::testing::{Counting, Line, Net, Table};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs, and can be set forward.
struct OffsetClock {
    started: std::time::Instant,
    offset_ms: AtomicI64,
}

impl Clock for OffsetClock {
    fn now(&self) -> Timestamp {
        let offset = self.offset_ms.load(Ordering::Relaxed);
        Timestamp(1_795_501_553_120 + offset) + self.started.elapsed()
    }
}

/// A node with alice@here.test and bob@here.test, and a network around it.
struct World {
    store: Store,
    net: Arc<Net>,
    clock: Arc<OffsetClock>,
    stop: CancellationToken,
    worker: JoinHandle<()>,
    alice: AccountId,
    bob: AccountId,
    context: QueueContext,
    _folder: tempfile::TempDir,
}

/// Retries soon enough for a test.
fn settings() -> QueueSettings {
    QueueSettings {
        retry_first: Duration::from_millis(200),
        stop_grace: Duration::from_millis(200),
        ..QueueSettings::default()
    }
}

impl World {
    async fn new(records: &str, lines: &[(&str, Vec<Line>)]) -> Self {
        Self::with(records, lines, settings()).await
    }

    async fn with(records: &str, lines: &[(&str, Vec<Line>)], settings: QueueSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(OffsetClock {
            started: std::time::Instant::now(),
            offset_ms: AtomicI64::new(0),
        });
        let entropy = Arc::new(Counting::default());
        let metrics = Metrics::default();
        let store = Store::open(StoreOptions {
            key_file: None,
            data_dir: folder.path().to_owned(),
            database: Database::default(),
            blobs: BlobHome::Inline,
            node: "here".to_owned(),
            synchronous: Synchronous::Off,
            limits: Arc::new(Limits {
                free_disk_bytes_min: 0,
                sending: Sending::NONE,
                ..Limits::default()
            }),
            clock: clock.clone(),
            entropy: entropy.clone(),
            metrics: metrics.clone(),
            extractor: None,
        })
        .await
        .unwrap();
        store.add_domain(&domain("here.test")).await.unwrap();
        let alice = add_account(&store, "alice@here.test").await;
        let bob = add_account(&store, "bob@here.test").await;
        let net = Arc::new(Net::default());
        for (ip, lines) in lines {
            net.add(ip, lines.clone());
        }
        let context = QueueContext {
            store: store.clone(),
            resolver: Arc::new(Table::new(records)),
            connector: net.clone(),
            clock: clock.clone(),
            entropy,
            settings,
            own: Own {
                hostname: domain("mx.here.test"),
                listening: vec!["192.0.2.99:25".parse().unwrap()],
            },
            metrics,
            policies: None,
            ledger: Ledger::default(),
        };
        let stop = CancellationToken::new();
        Self {
            worker: tokio::spawn(run(context.clone(), stop.clone())),
            store,
            net,
            clock,
            stop,
            alice,
            bob,
            context,
            _folder: folder,
        }
    }

    async fn submit(&self, to: &[&str]) -> LetterId {
        let letter = self.letter(to).await;
        self.store.submit(letter).await.unwrap()
    }

    /// A letter of Alice's.
    async fn letter(&self, to: &[&str]) -> Submission {
        let bytes = Bytes::from_static(
            b"From: alice@here.test\r\nSubject: x\r\nMessage-ID: <1@here.test>\r\n\r\nhello\r\n",
        );
        let now = self.clock.now();
        Submission {
            letter: self.store.letter(bytes).await.unwrap(),
            head: Bytes::from_static(b"Received: from laptop by mx.here.test\r\n"),
            account: Some(self.alice),
            reverse_path: Some(address("alice@here.test")),
            recipients: to.iter().map(|to| recipient(to, Notify::DEFAULT)).collect(),
            envelope_id: None,
            dsn_return: DsnReturn::Unasked,
            needs_utf8: false,
            handling: Handling::default(),
            received_at: now,
            hold_until: None,
            expires_at: now + self.context.settings.lifetime,
            sent_copy: None,
            notes: Vec::new(),
        }
    }

    /// Waits until a letter has left the queue.
    async fn gone(&self, letter: LetterId) {
        self.until("the letter is gone", async || {
            self.entry(letter).await.is_none()
        })
        .await;
    }

    /// Waits until every recipient of a letter has been tried so often and waits.
    async fn deferred(&self, letter: LetterId, attempts: u32) -> QueueEntry {
        self.until("the letter is deferred", async || {
            self.entry(letter).await.is_some_and(|entry| {
                entry.recipients.iter().all(|recipient| {
                    recipient.attempts >= attempts
                        && recipient.state == store::QueueRecipientState::Waiting
                })
            })
        })
        .await;
        self.entry(letter).await.unwrap()
    }

    async fn entry(&self, letter: LetterId) -> Option<QueueEntry> {
        let filter = QueueFilter {
            letter: Some(letter),
            ..QueueFilter::default()
        };
        self.store.queue_list(&filter).await.unwrap().pop()
    }

    async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let waiting = async {
            while !condition().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let all = self.store.queue_list(&QueueFilter::default()).await;
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("not within {PATIENCE:?}: {what}; at first the queue was {all:?}");
        }
    }

    /// Sets the clock forward and makes everything due.
    async fn forward(&self, span: Duration) {
        let span = i64::try_from(span.as_millis()).unwrap();
        self.clock.offset_ms.fetch_add(span, Ordering::Relaxed);
        self.store
            .queue_retry(&QueueFilter::default())
            .await
            .unwrap();
    }

    /// The letters in an inbox, with their heads.
    async fn inbox(&self, account: AccountId) -> Vec<String> {
        let inbox = self.store.mailbox(account, "INBOX").await.unwrap().unwrap();
        let placements = self
            .store
            .placements(account, inbox.id, Uid(1), 10_000)
            .await
            .unwrap();
        let mut letters = Vec::new();
        for placement in placements {
            let body = self.store.body(account, placement.message).await.unwrap();
            let bytes = body.read(0..body.size()).await.unwrap();
            letters.push(String::from_utf8(bytes.to_vec()).unwrap());
        }
        letters
    }

    async fn inbox_after(&self, account: AccountId, letters: usize) -> Vec<String> {
        self.until("the letters are in the inbox", async || {
            self.inbox(account).await.len() >= letters
        })
        .await;
        self.inbox(account).await
    }

    /// The journey, a line each, without times.
    async fn journey(&self, letter: LetterId) -> Vec<String> {
        let events = self.store.journey(letter).await.unwrap();
        events
            .into_iter()
            .map(|event| {
                let recipient = event.note.recipient.map_or_else(
                    || "-".to_owned(),
                    |recipient| recipient.local.as_str().to_owned(),
                );
                format!("{:?} {recipient}: {}", event.note.step, event.note.detail)
            })
            .collect()
    }

    async fn end(self) {
        self.stop.cancel();
        self.worker.await.unwrap();
    }
}

async fn add_account(store: &Store, text: &str) -> AccountId {
    let new = NewAccount {
        address: address(text),
        name: String::new(),
        password: None,
        quota_bytes: None,
        quota_messages: None,
        admin: false,
    };
    store.add_account(new).await.unwrap()
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

fn recipient(text: &str, notify: Notify) -> QueueRecipient {
    QueueRecipient {
        address: address(text),
        original: None,
        notify,
    }
}

/// Whether one of the lines starts so and holds this too.
fn has(lines: &[String], start: &str, part: &str) -> bool {
    lines
        .iter()
        .any(|line| line.starts_with(start) && line.contains(part))
}
