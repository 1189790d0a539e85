//! How fast letters are delivered, and what one costs: `cargo bench -p pennyblack-store --bench
//! deliver -- [producers] [letters] [accounts] [preloaded]`.
//!
//! `… -- levels` compares levels of compression instead, and `… -- open=FOLDER` times the opening of
//! what an earlier run left when it was killed.
//!
//! Every letter is distinct, about 5 KB of plausible text, and on disk before it is counted.

#![expect(clippy::unwrap_used, reason = "a failure ends the measurement")]
#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base::limits::Limits;
use base::metrics::Metrics;
use base::ports::{Clock, Entropy};
use base::{AccountId, Domain, EmailAddress, Timestamp};
use bytes::Bytes;
use pennyblack_store::{
    BlobHome, Database, Delivery, Keywords, LocalRecipient, NewAccount, Role, Store, StoreOptions,
    Synchronous,
};

struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(0))
    }
}

struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let count = self.0.fetch_add(1, Ordering::Relaxed);
            let hash = blake3::hash(&count.to_le_bytes());
            chunk.copy_from_slice(&hash.as_bytes()[..chunk.len()]);
        }
    }
}

/// Words of mail, in the frequency of language: short ones come often.
const WORDS: &[&str] = &[
    "the",
    "of",
    "and",
    "to",
    "a",
    "in",
    "is",
    "you",
    "that",
    "it",
    "for",
    "was",
    "on",
    "are",
    "with",
    "as",
    "we",
    "be",
    "this",
    "have",
    "from",
    "or",
    "had",
    "by",
    "but",
    "not",
    "what",
    "all",
    "were",
    "when",
    "your",
    "can",
    "said",
    "there",
    "use",
    "an",
    "each",
    "which",
    "she",
    "do",
    "how",
    "their",
    "if",
    "will",
    "up",
    "other",
    "about",
    "out",
    "many",
    "then",
    "them",
    "meeting",
    "tomorrow",
    "invoice",
    "attached",
    "regards",
    "project",
    "schedule",
    "please",
    "deadline",
    "customer",
    "contract",
    "question",
    "holiday",
    "engineer",
    "delivery",
    "purchase",
    "conference",
    "presentation",
    "department",
    "information",
    "unfortunately",
    "appointment",
];

fn letter(number: u64) -> String {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut text = format!(
        "Received: from mail.black.test (mail.black.test [192.0.2.7])\r\n\
         \tby mx.red.test with ESMTPS id {number:x}; Tue, 24 Nov 2026 07:00:00 +0000\r\n\
         DKIM-Signature: v=1; a=rsa-sha256; d=black.test; s=s1; h=from:to:subject;\r\n\
         \tbh={:016x}{:016x}; b={:016x}{:016x}{:016x}{:016x}\r\n\
         From: Carol Smith <carol@black.test>\r\nTo: Bob <bob@red.test>\r\n\
         Subject: Note {number} about the project\r\nDate: Tue, 24 Nov 2026 07:00:00 +0000\r\n\
         Message-ID: <{number}.{:x}@black.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n",
        random(),
        random(),
        random(),
        random(),
        random(),
        random(),
        random()
    );
    let mut column = 0;
    while text.len() < 5_000 {
        let pick = random();
        // The lower of two picks: small numbers come more often.
        let word = (pick % 73).min((pick >> 32) % 73) as usize;
        text.push_str(WORDS[word]);
        column += WORDS[word].len() + 1;
        if column > 70 {
            text.push_str("\r\n");
            column = 0;
        } else {
            text.push(' ');
        }
    }
    text.push_str("\r\n");
    text
}

fn options(folder: &Path) -> StoreOptions {
    StoreOptions {
        data_dir: folder.to_owned(),
        database: Database::default(),
        blobs: BlobHome::Inline,
        node: "bench".to_owned(),
        synchronous: Synchronous::Full,
        limits: Arc::new(Limits::default()),
        clock: Arc::new(WallClock),
        entropy: Arc::new(Counting(AtomicU64::new(7))),
        metrics: Metrics::default(),
    }
}

/// Delivers letters from so many producers; returns the seconds.
async fn run(store: &Store, accounts: &[AccountId], producers: usize, range: (u64, u64)) -> f64 {
    let next = Arc::new(AtomicUsize::new(usize::try_from(range.0).unwrap()));
    let end = usize::try_from(range.1).unwrap();
    let started = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..producers {
        let (store, next, accounts) = (store.clone(), Arc::clone(&next), accounts.to_vec());
        tasks.push(tokio::spawn(async move {
            let mut confirms = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    return;
                }
                let account = accounts[number % accounts.len()];
                let delivery = delivery(&store, number as u64, account, &mut confirms).await;
                let delivered = store.deliver(delivery).await.unwrap();
                confirms.push(delivered.letter);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    started.elapsed().as_secs_f64()
}

async fn delivery(
    store: &Store,
    number: u64,
    account: AccountId,
    confirms: &mut Vec<base::LetterId>,
) -> Delivery {
    let address = EmailAddress::parse("bob@red.test").unwrap();
    let mut spool = store.spool();
    spool.write(letter(number).as_bytes()).await.unwrap();
    Delivery {
        letter: spool.finish().await.unwrap(),
        reverse_path: Some(EmailAddress::parse("carol@black.test").unwrap()),
        envelope: vec![address.clone()],
        local: vec![LocalRecipient {
            account,
            address,
            mailbox: Role::Inbox,
            keywords: Keywords::default(),
            head: Bytes::from_static(
                b"Return-Path: <carol@black.test>\r\nDelivered-To: bob@red.test\r\n\
                  Received: from mail.black.test (mail.black.test [192.0.2.7]) by mx.red.test\r\n\
                  \twith ESMTP id 1; Tue, 24 Nov 2026 07:00:00 +0000\r\n",
            ),
        }],
        forwards: Vec::new(),
        forward_head: Bytes::new(),
        received_at: WallClock.now(),
        expires_at: WallClock.now() + Duration::from_secs(86_400),
        notes: vec![pennyblack_store::Note {
            at: WallClock.now(),
            recipient: None,
            step: pennyblack_store::Step::Received,
            detail: "from mail.black.test [192.0.2.7]:25, TLSv1.3".to_owned(),
        }],
        confirms: std::mem::take(confirms),
    }
}

/// User and system time of this process, in milliseconds.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // The kernel's clock tick is 1/100 s on every Linux there is.
    ticks as f64 * 10.0
}

/// A number from a file of /proc/self, by its label.
fn proc_number(file: &str, label: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/self/{file}")).unwrap();
    let line = text.lines().find(|line| line.starts_with(label)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Compresses letters at several levels: the size of what is left, and the time of one letter.
fn compare_levels() {
    let letters: Vec<String> = (0..2_000).map(letter).collect();
    let plain: usize = letters.iter().map(String::len).sum();
    for level in [-5, -3, -1, 1, 2, 3, 5] {
        let mut compressor = zstd::bulk::Compressor::new(level).unwrap();
        let started = Instant::now();
        let packed = letters
            .iter()
            .map(|text| compressor.compress(text.as_bytes()).unwrap().len());
        let packed: usize = packed.sum();
        println!(
            "zstd {level}: {:.1} % of the size, {:.1} µs a letter",
            packed as f64 * 100.0 / plain as f64,
            started.elapsed().as_secs_f64() * 1e6 / letters.len() as f64
        );
    }
}

/// Opens what an earlier run left, for example one that was killed.
fn time_opening(folder: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let started = Instant::now();
        let store = Store::open(options(folder)).await.unwrap();
        println!("opened in {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
        println!("messages: {}", store.accounts().await.unwrap()[0].messages);
    });
}

async fn make_accounts(store: &Store, accounts: usize) -> Vec<AccountId> {
    let domain = Domain::parse("red.test").unwrap();
    store.add_domain(&domain).await.unwrap();
    let mut ids = Vec::new();
    for number in 0..accounts {
        let new = NewAccount {
            address: EmailAddress::parse(&format!("user{number}@red.test")).unwrap(),
            name: String::new(),
            password: None,
            quota_bytes: None,
            admin: false,
        };
        ids.push(store.add_account(new).await.unwrap());
    }
    ids
}

fn main() {
    if std::env::args().any(|text| text == "levels") {
        return compare_levels();
    }
    if let Some(folder) =
        std::env::args().find_map(|text| text.strip_prefix("open=").map(PathBuf::from))
    {
        return time_opening(&folder);
    }
    let arguments: Vec<usize> = std::env::args()
        .filter_map(|text| text.parse().ok())
        .collect();
    let argument = |at: usize, default| arguments.get(at).copied().unwrap_or(default);
    let (producers, letters) = (argument(0, 16), argument(1, 20_000));
    let (accounts, preloaded) = (argument(2, 1), argument(3, 0));
    let folder = tempfile::tempdir_in(".").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Store::open(options(folder.path())).await.unwrap();
        let ids = make_accounts(&store, accounts).await;
        println!("idle: RSS {} KiB", proc_number("status", "VmRSS:"));
        let preloaded = preloaded as u64;
        if preloaded > 0 {
            let seconds = run(&store, &ids, 64, (0, preloaded)).await;
            println!("preloaded {preloaded} letters in {seconds:.1} s");
        }
        // Making the letters is not the store's work.
        let made = cpu_ms();
        let probe = 2_000;
        for number in 0..probe {
            std::hint::black_box(letter(number));
        }
        let making = (cpu_ms() - made) / probe as f64;
        let (cpu, written) = (cpu_ms(), proc_number("io", "write_bytes:"));
        let range = (preloaded, preloaded + letters as u64);
        let seconds = run(&store, &ids, producers, range).await;
        println!(
            "{producers} producers, {accounts} accounts, {letters} letters: {:.0}/s, {:.3} ms CPU \
             a letter (and {making:.3} for making it), {:.1} KiB written a letter, RSS {} KiB",
            letters as f64 / seconds,
            (cpu_ms() - cpu) / letters as f64 - making,
            (proc_number("io", "write_bytes:") - written) as f64 / letters as f64 / 1024.0,
            proc_number("status", "VmRSS:"),
        );
        let database = std::fs::metadata(folder.path().join("mail.db"))
            .unwrap()
            .len();
        let log = std::fs::metadata(folder.path().join("mail.db-wal"))
            .unwrap()
            .len();
        println!("database {} KiB, log {} KiB", database / 1024, log / 1024);
        store.close().await.unwrap();
        drop(store);
        let started = Instant::now();
        let store = Store::open(options(folder.path())).await.unwrap();
        println!(
            "opened again in {:.1} ms",
            started.elapsed().as_secs_f64() * 1e3
        );
        store.close().await.unwrap();
    });
}
