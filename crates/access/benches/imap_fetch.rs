//! FETCH over a session, as clients use it: the page of a message list, the flags of a whole
//! mailbox, and whole letters. Streams are in memory, the store is on disk.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that surprises is worth nothing"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base::limits::Limits;
use base::metrics::Metrics;
use base::ports::{Clock, Entropy};
use base::throttle::LoginThrottle;
use base::{Domain, EmailAddress, Secret, Timestamp};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pennyblack_access::imap::{Entry, ImapContext, ImapOptions, serve};
use store::{BlobHome, Database, NewAccount, Store, StoreOptions, Synchronous};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Letters in the mailbox; each is about 5 KB.
const LETTERS: usize = 10_000;

struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp(i64::try_from(since.as_millis()).unwrap())
    }
}

struct Counter(AtomicU64);

impl Entropy for Counter {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let number = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            chunk.copy_from_slice(&number.to_le_bytes()[..chunk.len()]);
        }
    }
}

async fn open(folder: &TempDir) -> (Store, Arc<ImapContext>) {
    let (clock, entropy) = (Arc::new(RealClock), Arc::new(Counter(AtomicU64::new(7))));
    let (limits, metrics) = (Arc::new(Limits::default()), Metrics::default());
    let store = Store::open(StoreOptions {
        key_file: None,
        data_dir: folder.path().to_owned(),
        database: Database::default(),
        blobs: BlobHome::Inline,
        node: "bench".into(),
        synchronous: Synchronous::Off,
        limits: limits.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        metrics: metrics.clone(),
        extractor: None,
    })
    .await
    .unwrap();
    let domain = Domain::parse("black.test").unwrap();
    store.add_domain(&domain).await.unwrap();
    let account = NewAccount {
        address: EmailAddress::parse("bob@black.test").unwrap(),
        name: "Bob".into(),
        password: Some(Secret::new("secret")),
        quota_bytes: None,
        quota_messages: None,
        admin: false,
    };
    store.add_account(account).await.unwrap();
    let throttle = LoginThrottle::new(&limits);
    let context = ImapContext::new(ImapOptions {
        hostname: domain,
        store: store.clone(),
        limits,
        tls: None,
        clock,
        entropy,
        metrics,
        throttle: Arc::new(throttle),
        scram: true,
        auth_without_tls_on_loopback: true,
    });
    (store, Arc::new(context))
}

fn connect(context: &Arc<ImapContext>) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(256 * 1024);
    let entry = Entry {
        peer: "127.0.0.1:40000".parse().unwrap(),
        tls: None,
        offers_starttls: false,
    };
    let context = context.clone();
    tokio::spawn(async move {
        serve(&context, Box::new(theirs), entry, CancellationToken::new()).await;
    });
    ours
}

/// Sends a command and reads up to its tagged answer; how many bytes came.
async fn command(stream: &mut DuplexStream, text: &str) -> usize {
    stream
        .write_all(format!("tag {text}\r\n").as_bytes())
        .await
        .unwrap();
    let (mut received, mut tail) = (0, Vec::new());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = stream.read(&mut buffer).await.unwrap();
        assert!(length > 0, "the session goes on");
        received += length;
        tail.extend_from_slice(&buffer[..length]);
        let start = tail.len().saturating_sub(2_000);
        tail.drain(..start);
        let is_tagged = |line: &[u8]| line.starts_with(b"tag OK ");
        if tail.ends_with(b"\r\n") && tail.split(|b| *b == b'\n').any(is_tagged) {
            return received;
        }
    }
}

async fn fill(stream: &mut DuplexStream) {
    for number in 0..100 {
        let letter = format!(
            "From: Alice Example <alice{number}@red.test>\r\nTo: Bob <bob@black.test>\r\n\
             Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{number}@red.test>\r\n\
             Subject: Letter number {number} about the matter\r\n\r\n{}",
            format!("{number} pennies make a letter\r\n").repeat(170)
        );
        command(
            stream,
            &format!("APPEND INBOX {{{}+}}\r\n{letter}", letter.len()),
        )
        .await;
    }
    command(stream, "SELECT INBOX").await;
    for _ in 1..LETTERS / 100 {
        command(stream, "COPY 1:100 INBOX").await;
    }
}

fn fetches(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (store, mut stream) = runtime.block_on(async {
        let (store, context) = open(&folder).await;
        let mut stream = connect(&context);
        command(&mut stream, "LOGIN bob@black.test secret").await;
        fill(&mut stream).await;
        (store, stream)
    });
    let mut group = criterion.benchmark_group("imap");
    for (name, messages, text) in [
        ("uid_flags_of_all", LETTERS, "FETCH 1:* (UID FLAGS)"),
        (
            "list_page_of_50",
            50,
            "FETCH 101:150 (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)",
        ),
        (
            "header_fields_of_50",
            50,
            "FETCH 101:150 (UID BODY.PEEK[HEADER.FIELDS (FROM SUBJECT DATE)])",
        ),
        ("letters_50", 50, "FETCH 101:150 BODY.PEEK[]"),
        ("select", LETTERS, "SELECT INBOX"),
        ("noop", 1, "NOOP"),
    ] {
        group.throughput(Throughput::Elements(messages as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(command(&mut stream, text)));
        });
    }
    group.finish();
    runtime.block_on(store.close()).unwrap();
}

criterion_group!(benches, fetches);
criterion_main!(benches);
