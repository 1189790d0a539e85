//! The index on a server by itself: steps, merging, nodes that die in the middle.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::metrics::Metrics;
use base::{MessageId, Secret, Timestamp};
use interop::postgres::{Flushed, Postgres};

use super::*;
use crate::aside::Aside;
use crate::metrics::StoreMetrics;
use crate::search::index::Step;
use crate::search::query::SearchQuery;
use crate::search::segments::{BlockReader, key};
use crate::search::text::Document;
use crate::{PostgresOptions, Wakeup};

const ACCOUNT: AccountId = AccountId(26);

struct Index {
    server: Postgres,
    engine: Engine,
    tables: Tables,
    from: Option<Progress>,
}

impl Index {
    async fn new() -> Self {
        let server = Postgres::start(Flushed::No);
        let options = PostgresOptions {
            url: Secret::new(server.database("mail")),
            connections: 8,
            wakeup: Wakeup::Poll,
            answer_within: PostgresOptions::ANSWER_WITHIN,
        };
        let metrics = Arc::new(StoreMetrics::new(&Metrics::default()));
        let engine = Engine::open_postgres(&options, metrics, Timestamp(0)).await;
        let index = Self {
            server,
            engine: engine.unwrap(),
            tables: Tables::default(),
            from: None,
        };
        assert!(index.lease("red", 0).await);
        index
    }

    async fn lease(&self, node: &str, now: i64) -> bool {
        let lease = TakeLease {
            account: ACCOUNT,
            node: node.to_owned(),
            now,
            until: now + LEASE_MS,
        };
        self.engine.write(lease, Priority::Index).await.unwrap()
    }

    /// The next step, to the next modseq.
    fn step(&self, documents: Vec<Document>) -> Step {
        Step {
            account: ACCOUNT,
            from: self.from,
            to: Progress {
                modseq: self.from.map_or(1, |from| from.modseq + 1),
                scan_after: None,
            },
            cleared: None,
            removed: Vec::new(),
            documents,
        }
    }

    async fn take(&mut self, step: Step) {
        self.from = Some(step.to);
        self.try_take(step).await.unwrap();
    }

    async fn try_take(&self, step: Step) -> Result<(), StoreError> {
        let steps = vec![step];
        self.tables.take(&self.engine, Aside::Threads, steps).await
    }

    async fn merge(&self, node: &str) {
        merge::run(&self.engine, ACCOUNT, node).await.unwrap();
    }

    async fn find(&self, text: &str) -> (Option<i64>, Vec<i64>) {
        let query = SearchQuery::parse(text);
        let page = find(&self.engine, ACCOUNT, &query, MessageId(0), 10_000).await;
        let page = page.unwrap();
        let messages = page.messages.iter().map(|message| message.0).collect();
        (page.progress.map(|progress| progress.modseq), messages)
    }

    fn count(&self, from: &str) -> i64 {
        let count = self
            .server
            .psql("mail", &format!("SELECT count(*) FROM {from}"));
        count.trim().parse().unwrap()
    }

    /// Compares answers with what is living: each message has a word for each of its divisors.
    async fn compare(&self, living: &BTreeSet<i64>) {
        for divisor in 2..12 {
            let expected = living
                .iter()
                .copied()
                .filter(|message| message % divisor == 0);
            let expected: Vec<i64> = expected.collect();
            let found = self.find(&format!("by{divisor}")).await.1;
            assert_eq!(found, expected, "{divisor}");
        }
        let expected: Vec<i64> = living.iter().copied().collect();
        for query in ["\"red fox\"", "re*", "\"red fo\"*", "all", "all fox"] {
            assert_eq!(self.find(query).await.1, expected, "{query}");
        }
        assert_eq!(self.find("\"fox red\"").await.1, [] as [i64; 0]);
    }

    /// All blocks belong to a segment, begin with their keys, and fill no more than a page.
    fn check(&self) {
        let orphans = "search_block b WHERE NOT EXISTS (SELECT 1 FROM search_segment s
            WHERE s.account_id = b.account_id AND s.segment_id = b.segment_id)";
        assert_eq!(self.count(orphans), 0);
        let sql = "SELECT encode(first, 'hex'), encode(data, 'hex') FROM search_block";
        for line in self.server.psql("mail", sql).lines() {
            let (first, data) = line.split_once('|').unwrap();
            let mut reader = BlockReader::new(bytes(data));
            let found = reader.next().unwrap().unwrap();
            assert_eq!(bytes(first), key(reader.term(), found.first()));
        }
        // Nothing was put beside its row.
        let beside = "SELECT pg_relation_size(reltoastrelid) FROM pg_class
            WHERE relname = 'search_block'";
        assert_eq!(self.server.psql("mail", beside).trim(), "0");
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}

fn document(message: i64, words: &str) -> Document {
    let body = words.split(' ').map(|word| format!(" 1a/{word}")).collect();
    let none = String::new;
    Document {
        message: MessageId(message),
        fields: [none(), none(), none(), body, none()],
    }
}

fn with_divisors(message: i64) -> Document {
    let all = (2..12).filter(|divisor| message % divisor == 0);
    let words: Vec<String> = all.map(|divisor| format!("by{divisor}")).collect();
    document(message, &format!("all {} red fox", words.join(" ")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_are_whole() {
    let mut index = Index::new().await;
    assert_eq!(index.find("red").await, (None, vec![]));
    let both = vec![document(2, "red fox"), document(1, "red")];
    index.take(index.step(both)).await;
    assert_eq!(index.find("red").await, (Some(1), vec![1, 2]));
    // From elsewhere: not taken.
    let mut other = index.step(vec![document(3, "red")]);
    other.from = Some(Progress {
        modseq: 1,
        scan_after: Some(7),
    });
    index.try_take(other).await.unwrap();
    let mut other = index.step(vec![document(3, "red")]);
    other.from = None;
    index.try_take(other).await.unwrap();
    assert_eq!(index.find("red").await, (Some(1), vec![1, 2]));
    let bad = index.step(vec![document(4, "red"), document(1 << 40, "red")]);
    assert!(index.try_take(bad).await.is_err());
    assert_eq!(index.find("red").await, (Some(1), vec![1, 2]));
    let mut gone = index.step(vec![document(1, "hen")]);
    gone.removed = vec![MessageId(1), MessageId(2)];
    index.take(gone).await;
    assert_eq!(index.find("red").await, (Some(2), vec![]));
    assert_eq!(index.find("hen").await, (Some(2), vec![1]));
    let mut cleared = index.step(vec![document(3, "hen")]);
    cleared.cleared = Some((0, i64::MAX));
    index.take(cleared).await;
    assert_eq!(index.find("hen").await, (Some(3), vec![3]));
    // Read through once more: nothing is there twice or left over.
    let restart = Restart { account: ACCOUNT };
    index.engine.write(restart, Priority::Index).await.unwrap();
    assert_eq!(index.find("hen").await, (None, vec![3]));
    index.from = None;
    let mut anew = index.step(vec![document(3, "owl")]);
    anew.cleared = Some((0, i64::MAX));
    index.take(anew).await;
    assert_eq!(index.find("hen").await.1, [] as [i64; 0]);
    assert_eq!(index.find("owl").await.1, [3]);
    // The account is not in the directory.
    forget_removed(&index.engine).await.unwrap();
    assert_eq!(index.find("owl").await, (None, vec![]));
    for table in [
        "search_progress",
        "search_segment",
        "search_block",
        "search_dead",
    ] {
        assert_eq!(index.count(table), 0, "{table}");
    }
}

/// Whatever was added and removed in whatever steps and merged meanwhile: each word finds its letters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merging_changes_no_answer() {
    let mut index = Index::new().await;
    let mut living = BTreeSet::new();
    for round in 0..80_i64 {
        let new = round * 5 + 1..round * 5 + 6;
        let mut step = index.step(new.clone().map(with_divisors).collect());
        living.extend(new);
        if round % 3 == 2 {
            // What is removed in a step was there before it.
            let is_gone = |m: &i64| m % 41 == round % 41 && *m <= round * 5;
            step.removed = living
                .iter()
                .copied()
                .filter(is_gone)
                .map(MessageId)
                .collect();
            living.retain(|message| !is_gone(message));
        }
        index.take(step).await;
        if index.tables.begin_merging() {
            lock(&index.tables.crowded).clear();
            index.tables.merges.store(false, Ordering::Release);
            index.merge("red").await;
        }
    }
    assert!(index.count("search_segment") < 40);
    index.compare(&living).await;
    index.check();
    // Most go, and all that is left is merged; the rest goes too.
    for keep in [300, 1_000] {
        let mut step = index.step(Vec::new());
        step.removed = living
            .iter()
            .copied()
            .filter(|m| *m < keep)
            .map(MessageId)
            .collect();
        living.retain(|message| *message >= keep);
        index.take(step).await;
        index.merge("red").await;
        index.compare(&living).await;
    }
    for table in ["search_segment", "search_block", "search_dead"] {
        assert_eq!(index.count(table), 0, "{table}");
    }
    index.take(index.step(vec![document(3, "hen")])).await;
    assert_eq!(index.find("hen").await.1, [3]);
}

/// Segments that are too large for one transaction, and a word whose blocks are fetched in pieces.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_segments_are_built_in_pieces() {
    let mut index = Index::new().await;
    for round in 0..32_i64 {
        let letters = round * 60 + 1..=round * 60 + 60;
        let letter = |message: i64| {
            let own = (0..120).map(|n| format!("w{n}x{message}"));
            let same = ["same"; 30].join(" ");
            document(
                message,
                &format!("{} {same}", own.collect::<Vec<_>>().join(" ")),
            )
        };
        index.take(index.step(letters.map(letter).collect())).await;
    }
    let all: Vec<i64> = (1..=1_920).collect();
    let check = async || {
        for query in ["same", "w*", "\"same same\"", "w7*"] {
            assert_eq!(index.find(query).await.1, all, "{query}");
        }
        assert_eq!(index.find("w17x1077").await.1, [1_077]);
        assert_eq!(index.find("\"w17x1077 w18x1077\"").await.1, [1_077]);
    };
    check().await;
    index.merge("red").await;
    assert_eq!(index.count("search_segment"), 1);
    // More than is written at once.
    assert!(index.count("search_block") > 131);
    check().await;
    index.check();
}

/// What a node leaves behind in the middle of merging is removed by the next, and if it was not dead
/// it changes nothing any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_while_it_merges() {
    let mut index = Index::new().await;
    for message in 1..=40 {
        index.take(index.step(vec![with_divisors(message)])).await;
    }
    let build = |output| merge::Build {
        account: ACCOUNT,
        node: "red".to_owned(),
        output,
        epoch: 40,
        blocks: vec![Block {
            first: key(b"1a/all", 1),
            data: vec![0xff; 100],
        }],
    };
    let engine = &index.engine;
    let output = engine.write(build(None), Priority::Bulk).await.unwrap();
    assert_eq!(output, Some(41));
    let living: BTreeSet<i64> = (1..=40).collect();
    index.compare(&living).await;
    assert!(!index.lease("blue", LEASE_MS - 1).await);
    // Without the lease nothing is merged.
    index.merge("blue").await;
    assert_eq!(index.count("search_segment"), 41);
    assert!(index.lease("blue", LEASE_MS + 1).await);
    index.merge("blue").await;
    assert_eq!(index.count("search_segment WHERE state <> 1"), 0);
    index.check();
    // Red has not noticed.
    let late = engine.write(build(output), Priority::Bulk).await.unwrap();
    assert_eq!(late, None);
    assert_eq!(
        engine.write(build(None), Priority::Bulk).await.unwrap(),
        None
    );
    let exchange = |node: &str| merge::Exchange {
        account: ACCOUNT,
        node: node.to_owned(),
        inputs: (1..=32).collect(),
        letters: 32,
        clears: None,
        output: None,
        epoch: 32,
        blocks: Vec::new(),
    };
    // Nor with the lease, as what it has read is merged already.
    for node in ["red", "blue"] {
        let done = engine.write(exchange(node), Priority::Bulk).await;
        assert!(!done.unwrap(), "{node}");
    }
    index.compare(&living).await;
    index.check();
}

/// An index that is damaged is made anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_block() {
    let mut index = Index::new().await;
    let damage = "UPDATE search_block SET data = decode('00ff', 'hex')";
    for round in 0..2 {
        index.take(index.step(vec![document(1, "red fox")])).await;
        index.server.psql("mail", damage);
        if round == 0 {
            assert_eq!(index.find("red").await, (None, vec![]));
        } else {
            let merged = Err::<(), _>(damaged());
            let mended = mend(&index.engine, ACCOUNT, merged).await;
            assert_eq!(mended, Ok(None));
        }
        assert_eq!(index.count("search_block"), 0);
        index.from = None;
        index.take(index.step(vec![document(1, "red fox")])).await;
        assert_eq!(index.find("red").await, (Some(1), vec![1]));
    }
}
