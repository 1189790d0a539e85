//! What the measurements of the store have in common: letters, accounts, engines to choose from,
//! and figures of this process.
//!
//! Choices are given as `name=value` on the command line: `store=sqlite|postgres`,
//! `home=inline|segments`, `size=5K`, and what each measurement names itself.

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each measurement uses a part"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::limits::Limits;
use base::metrics::Metrics;
use base::ports::{Clock, Entropy};
use base::{AccountId, Domain, EmailAddress, LetterId, Secret, Timestamp};
use bytes::Bytes;
use interop::postgres::{Flushed, Postgres};
use pennyblack_store::{
    BlobHome, Database, Delivery, DsnReturn, Handling, Keywords, LocalRecipient, NewAccount, Note,
    PostgresOptions, Role, Step, Store, StoreOptions, Synchronous, Wakeup,
};

/// The time of the machine.
pub(crate) struct WallClock;

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

/// What a measurement runs on: two threads, whatever the machine has.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// A choice of the command line.
pub(crate) fn choice(name: &str, default: &str) -> String {
    let begin = format!("{name}=");
    let given = std::env::args().find_map(|text| text.strip_prefix(&begin).map(str::to_owned));
    given.unwrap_or_else(|| default.to_owned())
}

/// A number of the command line; `K` and `M` are thousands and millions.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    let text = choice(name, &default.to_string());
    let (digits, unit) = match text.strip_suffix(['K', 'k']) {
        Some(digits) => (digits, 1_000),
        None => match text.strip_suffix('M') {
            Some(digits) => (digits, 1_000_000),
            None => (text.as_str(), 1),
        },
    };
    digits.parse::<u64>().unwrap() * unit
}

/// Numbers of the command line, with commas between them.
pub(crate) fn numbers(name: &str, default: &str) -> Vec<u64> {
    choice(name, default)
        .split(',')
        .map(|text| text.parse().unwrap())
        .collect()
}

/// A letter of about so many bytes, unlike any other.
pub(crate) fn letter(number: u64, bytes: usize) -> String {
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
    while text.len() < bytes {
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

/// Where a store is opened: a folder, and a server where one was chosen.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    database: Database,
    postgres: Option<Postgres>,
}

impl Place {
    /// The place that was chosen on the command line.
    pub(crate) fn chosen() -> Self {
        let postgres = match choice("store", "sqlite").as_str() {
            "sqlite" => None,
            "postgres" => Some(Postgres::start(Flushed::Yes)),
            other => panic!("store={other}: sqlite or postgres"),
        };
        let database = postgres.as_ref().map_or_else(Database::default, |server| {
            Database::Postgres(PostgresOptions {
                url: Secret::new(server.database("mail")),
                connections: usize::try_from(number("connections", 16)).unwrap(),
                wakeup: Wakeup::Notify,
                answer_within: PostgresOptions::ANSWER_WITHIN,
            })
        });
        Self {
            folder: tempfile::tempdir_in(".").unwrap(),
            database,
            postgres,
        }
    }

    /// The folder of the store.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Opens the store.
    pub(crate) async fn open(&self) -> Store {
        let mut options = options(self.path());
        options.database = self.database.clone();
        Store::open(options).await.unwrap()
    }

    /// Bytes on the disk: the folder, or the database on the server and the folder.
    pub(crate) fn bytes(&self) -> u64 {
        let database = self.postgres.as_ref().map_or(0, |server| {
            let sql = "SELECT pg_database_size('mail')";
            server.psql("mail", sql).trim().parse().unwrap()
        });
        database + folder_bytes(self.path())
    }
}

impl Place {
    /// Prints the size of the search index beside that of the mail.
    pub(crate) fn print_sizes(&self) {
        let (index, all) = match &self.postgres {
            Some(server) => {
                let sql = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class
                    WHERE relkind = 'r' AND relname LIKE 'search\\_%'";
                let index: u64 = server.psql("mail", sql).trim().parse().unwrap();
                (index, self.bytes())
            }
            None => {
                let file = self.path().join("data/search.db");
                (std::fs::metadata(file).unwrap().len(), self.bytes())
            }
        };
        let (index, rest) = (index as f64 / 1e6, all.saturating_sub(index) as f64 / 1e6);
        println!("the index takes {index:.0} MB, all else {rest:.0} MB");
    }
}

fn folder_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let sizes = entries.map(|entry| {
        let about = entry.metadata().unwrap();
        if about.is_dir() {
            folder_bytes(&entry.path())
        } else {
            about.len()
        }
    });
    sizes.sum()
}

/// The options of a store in a folder, with the home that was chosen.
pub(crate) fn options(folder: &Path) -> StoreOptions {
    let blobs = match choice("home", "inline").as_str() {
        "inline" => BlobHome::Inline,
        "segments" => BlobHome::Segments {
            folder: None,
            inline_bytes_max: number("inline_max", 0),
        },
        other => panic!("home={other}: inline or segments"),
    };
    StoreOptions {
        key_file: None,
        data_dir: folder.join("data"),
        database: Database::default(),
        blobs,
        node: "bench".to_owned(),
        synchronous: Synchronous::Full,
        limits: Arc::new(Limits::default()),
        clock: Arc::new(WallClock),
        entropy: Arc::new(Counting(AtomicU64::new(7))),
        metrics: Metrics::default(),
        extractor: None,
    }
}

/// A delivery of a letter to one account.
pub(crate) async fn delivery(
    store: &Store,
    letter: String,
    account: AccountId,
    confirms: &mut Vec<LetterId>,
) -> Delivery {
    let address = EmailAddress::parse("bob@red.test").unwrap();
    let mut spool = store.spool();
    spool.write(letter.as_bytes()).await.unwrap();
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
        envelope_id: None,
        dsn_return: DsnReturn::default(),
        needs_utf8: false,
        handling: Handling::default(),
        reports: Vec::new(),
        received_at: WallClock.now(),
        expires_at: WallClock.now() + Duration::from_secs(86_400),
        notes: vec![Note {
            at: WallClock.now(),
            recipient: None,
            step: Step::Received,
            detail: "from mail.black.test [192.0.2.7]:25, TLSv1.3".to_owned(),
        }],
        confirms: std::mem::take(confirms),
    }
}

/// User and system time of this process, in milliseconds.
pub(crate) fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // The kernel's clock tick is 1/100 s on every Linux there is.
    ticks as f64 * 10.0
}

/// A number from a file of /proc/self, by its label.
pub(crate) fn proc_number(file: &str, label: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/self/{file}")).unwrap();
    let line = text.lines().find(|line| line.starts_with(label)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Makes a domain with so many accounts.
pub(crate) async fn make_accounts(store: &Store, accounts: usize) -> Vec<AccountId> {
    let domain = Domain::parse("red.test").unwrap();
    store.add_domain(&domain).await.unwrap();
    let mut ids = Vec::new();
    for number in 0..accounts {
        let new = NewAccount {
            address: EmailAddress::parse(&format!("user{number}@red.test")).unwrap(),
            name: String::new(),
            password: None,
            quota_bytes: None,
            quota_messages: None,
            admin: false,
        };
        ids.push(store.add_account(new).await.unwrap());
    }
    ids
}

/// Milliseconds that something took, many times.
#[derive(Default)]
pub(crate) struct Times(Vec<f64>);

impl Times {
    /// Adds what began then.
    pub(crate) fn add(&mut self, began: std::time::Instant) {
        self.0.push(began.elapsed().as_secs_f64() * 1e3);
    }

    /// Takes in others.
    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The median, the 99th percentile and the longest.
    pub(crate) fn told(&mut self) -> String {
        self.0.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let last = self.0.len().saturating_sub(1);
            self.0
                .get((last as f64 * share).round() as usize)
                .copied()
                .unwrap_or(0.0)
        };
        format!(
            "p50 {:.2} p99 {:.2} max {:.2} ms",
            at(0.5),
            at(0.99),
            at(1.0)
        )
    }
}
