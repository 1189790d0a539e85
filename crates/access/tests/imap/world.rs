//! A store with one account, and sessions on it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base::limits::Limits;
use base::metrics::Metrics;
use base::ports::{BoxFuture, BoxStream, Clock, Entropy, TlsAcceptor, TlsInfo};
use base::throttle::LoginThrottle;
use base::{AccountId, Domain, EmailAddress, Secret, Timestamp};
use bytes::Bytes;
use pennyblack_access::imap::{Entry, ImapContext, ImapOptions, serve};
use store::{
    BlobHome, Database, Delivery, DsnReturn, Handling, Keywords, LocalRecipient, NewAccount, Role,
    Store, StoreOptions, Synchronous,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::client::Client;

/// The login and the password of the account.
pub(crate) const LOGIN: &str = "bob@black.test";
pub(crate) const PASSWORD: &str = "secret words";

/// A node without its listeners.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) account: AccountId,
    pub(crate) context: Arc<ImapContext>,
    pub(crate) stop: CancellationToken,
    folder: TempDir,
}

struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp(i64::try_from(since.as_millis()).unwrap())
    }
}

/// Not random at all, which is enough here.
struct Counter(AtomicU64);

impl Entropy for Counter {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let number = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            let mixed = (number ^ (number >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            chunk.copy_from_slice(&mixed.to_le_bytes()[..chunk.len()]);
        }
    }
}

/// TLS without its bytes: what matters here is what the session does before and after.
struct Marker;

impl TlsAcceptor for Marker {
    fn accept(&self, stream: BoxStream) -> BoxFuture<'_, io::Result<(BoxStream, TlsInfo)>> {
        let info = TlsInfo {
            version: "TLSv1.3",
            cipher: "none".into(),
            verified: false,
            binding: Default::default(),
            client_addresses: Vec::new(),
        };
        Box::pin(async move { Ok((stream, info)) })
    }
}

/// The usual limits; the disk that tests run on may be nearly full.
fn roomy() -> Limits {
    Limits {
        free_disk_bytes_min: 0,
        free_disk_percent_min: 0,
        ..Limits::default()
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_limits(roomy()).await
    }

    /// With letters of more than 1,000 bytes in segment files.
    pub(crate) async fn with_segments() -> Self {
        let home = BlobHome::Segments {
            folder: None,
            inline_bytes_max: 1_000,
        };
        Self::with(roomy(), home).await
    }

    pub(crate) async fn with_limits(limits: Limits) -> Self {
        Self::with(limits, BlobHome::Inline).await
    }

    /// Damages all letters in segment files.
    pub(crate) fn damage_segments(&self) {
        let mut damaged = 0;
        for entry in std::fs::read_dir(self.folder.path().join("segments")).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.fill(0);
            std::fs::write(&path, &bytes).unwrap();
            damaged += 1;
        }
        assert!(damaged > 0, "no letter is in a segment file");
    }

    async fn with(limits: Limits, blobs: BlobHome) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, entropy) = (Arc::new(RealClock), Arc::new(Counter(AtomicU64::new(7))));
        let (limits, metrics) = (Arc::new(limits), Metrics::default());
        let store = Store::open(StoreOptions {
            key_file: None,
            data_dir: folder.path().to_owned(),
            database: Database::default(),
            blobs,
            node: "test".into(),
            synchronous: Synchronous::Off,
            limits: limits.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            metrics: metrics.clone(),
            extractor: None,
        })
        .await
        .unwrap();
        store
            .add_domain(&Domain::parse("black.test").unwrap())
            .await
            .unwrap();
        let account = store
            .add_account(NewAccount {
                address: EmailAddress::parse(LOGIN).unwrap(),
                name: "Bob".into(),
                password: Some(Secret::new(PASSWORD)),
                quota_bytes: None,
                quota_messages: None,
                admin: false,
            })
            .await
            .unwrap();
        let throttle = LoginThrottle::new(&limits);
        let context = Arc::new(ImapContext::new(ImapOptions {
            hostname: Domain::parse("mx.black.test").unwrap(),
            store: store.clone(),
            limits,
            tls: Some(Arc::new(Marker)),
            clock,
            entropy,
            metrics,
            throttle: Arc::new(throttle),
            scram: true,
            auth_without_tls_on_loopback: true,
        }));
        Self {
            store,
            account,
            context,
            stop: CancellationToken::new(),
            folder,
        }
    }

    /// A new session from loopback; its greeting is not read yet.
    pub(crate) fn connect(&self) -> Client {
        self.connect_by("127.0.0.1:40000".parse().unwrap(), false)
    }

    pub(crate) fn connect_by(&self, peer: SocketAddr, offers_starttls: bool) -> Client {
        let (ours, theirs) = tokio::io::duplex(16 * 1024);
        let entry = Entry {
            peer,
            tls: None,
            offers_starttls,
        };
        let (context, stop) = (self.context.clone(), self.stop.clone());
        tokio::spawn(async move { serve(&context, Box::new(theirs), entry, stop).await });
        Client::new(ours)
    }

    /// A session that is logged in.
    pub(crate) async fn log_in(&self) -> Client {
        let mut client = self.connect();
        client.line().await;
        client.ok(&format!("LOGIN {LOGIN} \"{PASSWORD}\"")).await;
        client
    }

    /// A session with the INBOX selected.
    pub(crate) async fn select(&self) -> Client {
        let mut client = self.log_in().await;
        client.ok("SELECT INBOX").await;
        client
    }

    /// Stores a letter as SMTP would.
    pub(crate) async fn deliver(&self, letter: &str) {
        let letter = Bytes::from(letter.replace('\n', "\r\n"));
        let letter = self.store.letter(letter).await.unwrap();
        let address = EmailAddress::parse(LOGIN).unwrap();
        let now = RealClock.now();
        self.store
            .deliver(Delivery {
                letter,
                reverse_path: None,
                envelope: vec![address.clone()],
                local: vec![LocalRecipient {
                    account: self.account,
                    address,
                    mailbox: Role::Inbox,
                    keywords: Keywords::default(),
                    head: Bytes::from_static(
                        b"Return-Path: <>\r\nDelivered-To: bob@black.test\r\n",
                    ),
                }],
                forwards: vec![],
                forward_head: Bytes::new(),
                envelope_id: None,
                dsn_return: DsnReturn::default(),
                needs_utf8: false,
                handling: Handling::default(),
                reports: vec![],
                received_at: now,
                expires_at: now,
                notes: vec![],
                confirms: vec![],
            })
            .await
            .unwrap();
    }
}
