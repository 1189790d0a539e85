//! The writer under bodies that misbehave: each kind among many good ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::Timestamp;
use base::metrics::Metrics;
use tempfile::TempDir;

use super::{Engine, EngineOptions, Priority, Session, Statements};
use crate::engine::{Body, TABLES, TableClass, Tx, params};
use crate::metrics::StoreMetrics;
use crate::{StoreError, Synchronous};

/// Bodies in each trial that do what they should.
const GOOD: i64 = 64;

fn open(folder: &TempDir) -> Arc<Engine> {
    let options = EngineOptions {
        path: folder.path().join("mail.db"),
        synchronous: Synchronous::Full,
        metrics: Arc::new(StoreMetrics::new(&Metrics::default())),
        now: Timestamp(0),
        lock: Arc::new(()),
        simulated: None,
    };
    Arc::new(Engine::open(options).unwrap())
}

/// What a body does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Good,
    /// Answers an error after it has written.
    Refuses,
    Panics,
    /// Waits for something outside the transaction.
    Waits,
    /// Breaks a rule of the schema.
    BreaksRule,
    /// Is not SQL.
    BadSql,
    /// Ends the transaction under the batch.
    RollsBack,
    /// Ends the transaction under the batch, then answers an error.
    RollsBackAndRefuses,
}

/// Writes a row, then acts.
struct Trial {
    number: i64,
    act: Act,
    runs: Arc<AtomicUsize>,
}

impl Body for Trial {
    type Out = i64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<i64, StoreError> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        let sql = "INSERT INTO domain (name, created_at) VALUES ($1, $2)";
        tx.execute(sql, params![&format!("{}.test", self.number), self.number])
            .await?;
        match self.act {
            Act::Good => Ok(self.number),
            Act::Refuses => Err(StoreError::OverQuota),
            Act::Panics => panic!("a bad body"),
            Act::Waits => {
                std::future::pending::<()>().await;
                Ok(0)
            }
            Act::BreaksRule => {
                let sql = "INSERT INTO domain (name, created_at) VALUES (NULL, $1)";
                tx.execute(sql, params![1_i64]).await?;
                Ok(0)
            }
            Act::BadSql => {
                tx.execute("INSERT INTO nowhere VALUES (1)", &[]).await?;
                Ok(0)
            }
            Act::RollsBack => {
                tx.execute("ROLLBACK", &[]).await?;
                Ok(self.number)
            }
            Act::RollsBackAndRefuses => {
                tx.execute("ROLLBACK", &[]).await?;
                Err(StoreError::OverQuota)
            }
        }
    }
}

struct Names;

impl Body for Names {
    type Out = Vec<i64>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<i64>, StoreError> {
        let rows = tx
            .rows("SELECT created_at FROM domain ORDER BY created_at", &[])
            .await?;
        rows.iter().map(|row| row.int(0)).collect()
    }
}

/// Makes the writer wait, so that what comes meanwhile is one batch.
struct Slow;

impl Body for Slow {
    type Out = ();

    async fn run(&self, _: &mut Tx<'_>) -> Result<(), StoreError> {
        std::thread::sleep(std::time::Duration::from_millis(30));
        Ok(())
    }
}

async fn check(act: Act, answers: impl Fn(&StoreError) -> bool) {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(&folder);
    let slow = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move { engine.write(Slow, Priority::Urgent).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for number in 0..=GOOD {
        let bad = number == GOOD / 2;
        let trial = Trial {
            number,
            act: if bad { act } else { Act::Good },
            runs: Arc::clone(&runs),
        };
        let engine = Arc::clone(&engine);
        let task = tokio::spawn(async move { engine.write(trial, Priority::Urgent).await });
        tasks.push((bad, task));
    }
    let mut good = Vec::new();
    for (bad, task) in tasks {
        match task.await.unwrap() {
            Ok(number) if !bad => good.push(number),
            Err(error) if bad => assert!(answers(&error), "{act:?}: {error:?}"),
            answer => panic!("{act:?}: bad {bad}, answer {answer:?}"),
        }
    }
    assert_eq!(engine.read(Names).await.unwrap(), good, "{act:?}");
    assert_eq!(good.len(), usize::try_from(GOOD).unwrap());
    slow.await.unwrap().unwrap();
    // The file says the same after the engine is gone.
    engine.close();
    drop(engine);
    let engine = open(&folder);
    assert_eq!(engine.read(Names).await.unwrap(), good, "{act:?}");
    engine.close();
}

#[tokio::test]
async fn a_bad_body_takes_only_itself_back() {
    check(Act::Refuses, |error| *error == StoreError::OverQuota).await;
    check(Act::Panics, |error| matches!(error, StoreError::Bug(_))).await;
    check(Act::Waits, |error| matches!(error, StoreError::Bug(_))).await;
    check(Act::BreaksRule, |error| matches!(error, StoreError::Bug(_))).await;
    check(Act::BadSql, |error| matches!(error, StoreError::Bug(_))).await;
}

#[tokio::test]
async fn a_transaction_lost_under_a_batch_is_run_again() {
    check(Act::RollsBack, |error| matches!(error, StoreError::Io(_))).await;
    check(Act::RollsBackAndRefuses, |error| {
        *error == StoreError::OverQuota
    })
    .await;
}

/// Fills the file up to a limit, in place of a disk that is full.
struct Limit {
    pages: &'static str,
}

impl Body for Limit {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        tx.rows(self.pages, &[]).await.map(|_| ())
    }
}

struct Fill {
    bytes: Vec<u8>,
}

impl Body for Fill {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "INSERT INTO blob (hash, part, blob_id, coding, plain_bytes, total_bytes, data)
            VALUES ($1, 0, 0, 0, 0, 0, $1)";
        tx.execute(sql, params![self.bytes.as_slice()]).await?;
        Ok(())
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_passes() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(&folder);
    let limit = |pages| engine.write(Limit { pages }, Priority::Urgent);
    limit("PRAGMA max_page_count = 200").await.unwrap();
    let mut stored = 0_u8;
    let error = loop {
        let bytes = vec![stored; 40_000];
        match engine.write(Fill { bytes }, Priority::Urgent).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, StoreError::DiskFull);
    assert!(stored > 2);
    // Small things still fit, and so do large ones once there is room.
    engine
        .write(Limit { pages: "SELECT 1" }, Priority::Urgent)
        .await
        .unwrap();
    limit("PRAGMA max_page_count = 100000").await.unwrap();
    let bytes = vec![stored; 40_000];
    engine
        .write(Fill { bytes }, Priority::Urgent)
        .await
        .unwrap();
    engine.close();
}

#[tokio::test]
async fn free_pages_go_back_to_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(&folder);
    for number in 0..150_u8 {
        let bytes = vec![number; 40_000];
        engine
            .write(Fill { bytes }, Priority::Urgent)
            .await
            .unwrap();
    }
    let pages = "DELETE FROM blob";
    engine
        .write(Limit { pages }, Priority::Urgent)
        .await
        .unwrap();
    engine.close();
    drop(engine);
    let options = EngineOptions {
        path: folder.path().join("mail.db"),
        synchronous: Synchronous::Full,
        metrics: Arc::new(StoreMetrics::new(&Metrics::default())),
        now: Timestamp(0),
        lock: Arc::new(()),
        simulated: None,
    };
    let session = Session::open_writer(&options, &Statements::default()).unwrap();
    let before = session.free_pages().unwrap();
    assert!(before > 1_000, "{before}");
    assert_eq!(session.give_back().unwrap(), 1_000);
    assert_eq!(session.free_pages().unwrap(), before - 1_000);
    while session.give_back().unwrap() > 0 {}
    assert_eq!(session.free_pages().unwrap(), 0);
}

#[tokio::test]
async fn a_closed_engine_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(&folder);
    engine.close();
    assert_eq!(engine.read(Names).await, Err(StoreError::Closed));
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    open(&folder).close();
    let connection = rusqlite::Connection::open(folder.path().join("mail.db")).unwrap();
    connection
        .execute("INSERT INTO schema_version VALUES (99, 0)", [])
        .unwrap();
    drop(connection);
    let options = EngineOptions {
        path: folder.path().join("mail.db"),
        synchronous: Synchronous::Full,
        metrics: Arc::new(StoreMetrics::new(&Metrics::default())),
        now: Timestamp(0),
        lock: Arc::new(()),
        simulated: None,
    };
    let error = Engine::open(options).err();
    assert!(matches!(error, Some(StoreError::Invalid(_))), "{error:?}");
}

/// Every table has a class, and the key of every account table starts with the account.
#[test]
fn tables_and_classes() {
    let folder = tempfile::tempdir().unwrap();
    open(&folder).close();
    let connection = rusqlite::Connection::open(folder.path().join("mail.db")).unwrap();
    let names = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    let tables = names(
        "SELECT name FROM sqlite_master WHERE type = 'table'
            AND name NOT LIKE 'sqlite_%' ORDER BY name",
    );
    // The index of this engine's search lies in a file of its own.
    let classes = TABLES.iter().map(|(name, _)| *name);
    let classes: Vec<&str> = classes
        .filter(|name| !name.starts_with("search_"))
        .collect();
    assert_eq!(tables, classes);
    for (table, class) in TABLES {
        let sql = format!("SELECT name FROM pragma_table_info('{table}') WHERE pk = 1");
        if *class == TableClass::Account && classes.contains(table) {
            assert_eq!(names(&sql), ["account_id"], "{table}");
        }
    }
}
