//! Commits whose answer does not come: what is acknowledged is there, and nothing is there twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base::{AccountId, Uid};
use interop::postgres::{Flushed, Postgres};
use interop::proxy::Cut;
use pennyblack_store::{Delivered, Store, StoreError};

use crate::house::{House, letter};
use crate::{behind_proxy, is_transient};

/// What a client says to commit.
const COMMIT: &str = "COMMIT\0";
/// What it says before when it delivers; others commit meanwhile.
const LETTER: &str = "Delivered-To: bob@red.test";

async fn deliver(
    house: &House,
    store: &Store,
    account: AccountId,
    name: &str,
) -> Result<Delivered, StoreError> {
    let delivery = house
        .delivery(store, &letter(name), &[(account, "bob@red.test")])
        .await;
    store.deliver(delivery).await
}

/// The subjects in an inbox with how often each is there.
async fn subjects(store: &Store, account: AccountId) -> BTreeMap<String, usize> {
    let inbox = store.mailbox(account, "INBOX").await.unwrap().unwrap().id;
    let rows = store.placements(account, inbox, Uid(1), 100_000);
    let messages: Vec<_> = rows.await.unwrap().iter().map(|row| row.message).collect();
    let mut found = BTreeMap::new();
    for message in messages {
        let body = store.body(account, message).await.unwrap();
        let bytes = body.read(0..u64::MAX).await.unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let subject = text.lines().find_map(|line| line.strip_prefix("Subject: "));
        *found.entry(subject.unwrap().to_owned()).or_insert(0) += 1;
    }
    found
}

/// The answer to COMMIT is lost, or COMMIT itself; alone and in a shared commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_at_commit() {
    let server = Postgres::start(Flushed::No);
    let (proxy, house) = behind_proxy(&server);
    let (store, _, bob) = house.with_people().await;
    let mut cuts = 0;
    for (round, cut) in [Cut::Answer, Cut::Request, Cut::Answer, Cut::Request]
        .into_iter()
        .enumerate()
    {
        for together in [1, 8] {
            proxy.cut_at(LETTER, COMMIT, cut);
            cuts += 1;
            let started = Instant::now();
            let names = (0..together).map(|number| format!("{round}-{together}-{number}"));
            let names: Vec<String> = names.collect();
            let delivering = names.iter().map(|name| deliver(&house, &store, bob, name));
            for delivered in join_all(delivering.collect()).await {
                let delivered = delivered.unwrap();
                assert!(!delivered.repeated);
                store.confirm(vec![delivered.letter]).await.unwrap();
            }
            // A transaction that waits for its lost COMMIT is ended, not waited for: by itself it
            // would end after 30 seconds.
            let took = started.elapsed();
            assert!(took < Duration::from_secs(25), "{cut:?} took {took:?}");
            assert_eq!(proxy.cuts(), cuts);
            let found = subjects(&store, bob).await;
            for name in &names {
                assert_eq!(found.get(name), Some(&1), "{name} after {cut:?}");
            }
        }
    }
    house.finish(store).await;
}

async fn join_all<O>(work: Vec<impl Future<Output = O>>) -> Vec<O> {
    let mut work: Vec<_> = work.into_iter().map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|context| {
        let mut all = true;
        for (one, out) in &mut work {
            if out.is_none() {
                match one.as_mut().poll(context) {
                    std::task::Poll::Ready(ready) => *out = Some(ready),
                    std::task::Poll::Pending => all = false,
                }
            }
        }
        if all {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    work.into_iter().filter_map(|(_, out)| out).collect()
}

/// The server stays out of reach after the cut: the peer is told to come again, and its repetition
/// is known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_that_stays_unknown() {
    let server = Postgres::start(Flushed::No);
    let (proxy, house) = behind_proxy(&server);
    let (store, _, bob) = house.with_people().await;
    proxy.cut_at(LETTER, COMMIT, Cut::Answer);
    proxy.close_with_cut();
    let error = deliver(&house, &store, bob, "x").await.unwrap_err();
    assert!(is_transient(&error), "{error:?}");
    eprintln!("the peer is told: {error}");
    assert_eq!(proxy.cuts(), 1);
    proxy.open();
    assert_eq!(subjects(&store, bob).await.get("x"), Some(&1));
    let delivered = deliver(&house, &store, bob, "x").await.unwrap();
    assert!(delivered.repeated);
    assert_eq!(subjects(&store, bob).await.get("x"), Some(&1));
    house.finish(store).await;
}

/// A connection that is lost before COMMIT costs nothing but another run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_before_commit() {
    let server = Postgres::start(Flushed::No);
    let (proxy, house) = behind_proxy(&server);
    let (store, _, bob) = house.with_people().await;
    for (number, cut) in [Cut::Answer, Cut::Request].into_iter().enumerate() {
        proxy.cut_at("", "BEGIN\0", cut);
        let name = format!("b{number}");
        let delivered = deliver(&house, &store, bob, &name).await.unwrap();
        store.confirm(vec![delivered.letter]).await.unwrap();
        assert_eq!(subjects(&store, bob).await.get(&name), Some(&1));
    }
    assert_eq!(proxy.cuts(), 2);
    house.finish(store).await;
}

/// The server is killed again and again under load; who is told to come again does so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_under_load() {
    let mut server = Postgres::start(Flushed::Yes);
    let house = Arc::new(House::at(&server.database_of_user("mail", "s3cret")));
    let (store, _, bob) = house.with_people().await;
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for task in 0..8 {
        let (store, house, stop) = (store.clone(), Arc::clone(&house), Arc::clone(&stop));
        let acknowledged = Arc::clone(&acknowledged);
        tasks.push(tokio::spawn(async move {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let name = format!("{task}-{number}");
                loop {
                    match deliver(&house, &store, bob, &name).await {
                        Ok(delivered) => {
                            acknowledged.lock().unwrap().push(name);
                            // It may be confirmed later, or forgotten after a day.
                            let _ = store.confirm(vec![delivered.letter]).await;
                            break;
                        }
                        Err(error) => assert!(is_transient(&error), "{error:?}"),
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }));
    }
    for kill in 1..=6 {
        // The next kill comes when some have got through since the last.
        let count = || acknowledged.lock().unwrap().len();
        let started = Instant::now();
        while count() < 12 * kill {
            assert!(started.elapsed() < Duration::from_secs(60), "no letters");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server = tokio::task::spawn_blocking(move || {
            server.kill();
            server.begin();
            server
        })
        .await
        .unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    let found = subjects(&store, bob).await;
    assert_eq!(found.len(), acknowledged.len());
    for name in &acknowledged {
        assert_eq!(found.get(name), Some(&1), "{name}");
    }
    eprintln!("{} letters through six kills", acknowledged.len());
    house.finish(store).await;
    drop(server);
}

/// A house whose store gives a silent server up soon, and a store with bob's account on it.
async fn with_little_patience(mut house: House) -> (House, Store, AccountId) {
    let (store, _, bob) = house.with_people().await;
    store.close().await.unwrap();
    house.answer_within = Duration::from_secs(4);
    let store = house.open().await;
    (house, store, bob)
}

/// A server that takes what it is told and never answers: each verb is told so in time, and works
/// again when the server does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs() {
    let server = Postgres::start(Flushed::No);
    let (proxy, house) = behind_proxy(&server);
    let (house, store, bob) = with_little_patience(house).await;
    proxy.hush();
    let started = Instant::now();
    let reading = store.mailboxes(bob);
    let writing = ["one", "two", "three"].map(|name| store.create_mailbox(bob, name, None));
    let (read, written) = tokio::join!(reading, join_all(writing.into_iter().collect()));
    let mut errors = vec![read.unwrap_err()];
    errors.extend(written.into_iter().map(Result::unwrap_err));
    for error in errors {
        assert!(is_transient(&error), "{error:?}");
        assert!(error.to_string().contains("answer"), "{error}");
    }
    assert!(started.elapsed() < Duration::from_secs(60));
    proxy.open();
    let delivered = deliver(&house, &store, bob, "x").await.unwrap();
    store.confirm(vec![delivered.letter]).await.unwrap();
    assert_eq!(subjects(&store, bob).await.get("x"), Some(&1));
    house.finish(store).await;
}

/// COMMIT is not answered, and the connection stays: on another the server is asked what became of
/// it. Where no connection answers, the peer is told to come again, and its repetition is known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_hangs() {
    let server = Postgres::start(Flushed::No);
    let (proxy, house) = behind_proxy(&server);
    let (house, store, bob) = with_little_patience(house).await;
    proxy.cut_at(LETTER, COMMIT, Cut::Silence);
    let delivered = deliver(&house, &store, bob, "x").await.unwrap();
    assert!(!delivered.repeated);
    store.confirm(vec![delivered.letter]).await.unwrap();
    assert_eq!(proxy.cuts(), 1);
    assert_eq!(subjects(&store, bob).await.get("x"), Some(&1));
    proxy.open();
    proxy.cut_at(LETTER, COMMIT, Cut::Silence);
    proxy.close_with_cut();
    let started = Instant::now();
    let error = deliver(&house, &store, bob, "y").await.unwrap_err();
    assert!(is_transient(&error), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(60));
    assert_eq!(proxy.cuts(), 2);
    proxy.open();
    let again = deliver(&house, &store, bob, "y").await.unwrap();
    assert!(again.repeated);
    assert_eq!(subjects(&store, bob).await.get("y"), Some(&1));
    house.finish(store).await;
}
