//! Measures a backup beside a store at work: `cargo bench -p pennyblack-store --bench backup --
//! [letters=200K] [accounts=10] [size=5000] [store=sqlite|postgres] [home=inline|segments]`.
//!
//! While the backup runs, letters go on coming in. Told are how long the snapshot of the rows was open
//! and how long the log grew because of it, the whole, a second backup without anything new, and
//! restoring into an empty store of the embedded engine.

#![expect(clippy::unwrap_used, reason = "a failure ends the measurement")]
#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use base::AccountId;
use pennyblack_store::backup::{BackupOptions, Progress, Watcher};
use pennyblack_store::{Lost, RestoreOptions, Store};
use world::{Times, delivery, letter, number, proc_number};

#[tokio::main(flavor = "multi_thread")]
async fn main() {
    let letters = number("letters", 200_000);
    let accounts = usize::try_from(number("accounts", 10)).unwrap();
    let place = world::Place::chosen();
    let store = place.open().await;
    let accounts = Arc::new(world::make_accounts(&store, accounts).await);
    let next = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let producers: Vec<_> = (0..32)
        .map(|_| {
            tokio::spawn(fill(
                store.clone(),
                Arc::clone(&accounts),
                Arc::clone(&next),
                letters,
            ))
        })
        .collect();
    for producer in producers {
        producer.await.unwrap();
    }
    println!(
        "filled: {letters} letters in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    let folder = place.path().join("backup");
    let options = BackupOptions {
        folder: folder.clone(),
        keep: None,
        with_key: true,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(load(
        store.clone(),
        Arc::clone(&accounts),
        Arc::clone(&next),
        Arc::clone(&stop),
    ));
    one(&store, &options, &place, "first").await;
    stop.store(true, Ordering::Relaxed);
    println!("delivering meanwhile: {}", load.await.unwrap().told());
    one(&store, &options, &place, "second").await;
    store.close().await.unwrap();
    restore(folder).await;
    println!(
        "memory: {} MB at most",
        proc_number("status", "VmHWM:") / 1_024
    );
}

/// Delivers letters until there are enough.
async fn fill(store: Store, accounts: Arc<Vec<AccountId>>, next: Arc<AtomicU64>, most: u64) {
    let bytes = usize::try_from(number("size", 5_000)).unwrap();
    let mut confirms = Vec::new();
    loop {
        let count = next.fetch_add(1, Ordering::Relaxed);
        if count >= most {
            return;
        }
        let account = accounts[usize::try_from(count).unwrap() % accounts.len()];
        let delivery = delivery(&store, letter(count, bytes), account, &mut confirms).await;
        let delivered = store.deliver(delivery).await.unwrap();
        confirms.push(delivered.letter);
    }
}

/// Delivers letters one by one, and times each.
async fn load(
    store: Store,
    accounts: Arc<Vec<AccountId>>,
    next: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Times {
    let mut times = Times::default();
    let mut confirms = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let count = next.fetch_add(1, Ordering::Relaxed);
        let delivery = delivery(&store, letter(count, 5_000), accounts[0], &mut confirms).await;
        let began = Instant::now();
        let delivered = store.deliver(delivery).await.unwrap();
        times.add(began);
        confirms.push(delivered.letter);
    }
    times
}

async fn one(store: &Store, options: &BackupOptions, place: &world::Place, name: &str) {
    let rows_ms = Arc::new(AtomicU64::new(0));
    let log_bytes = Arc::new(AtomicU64::new(0));
    let log = place.path().join("data/mail.db-wal");
    let (rows, longest) = (Arc::clone(&rows_ms), Arc::clone(&log_bytes));
    let began = Instant::now();
    let watcher: Watcher = Arc::new(move |progress: Progress| {
        if progress.step == "rows" {
            rows.store(
                u64::try_from(began.elapsed().as_millis()).unwrap(),
                Ordering::Relaxed,
            );
            let now = std::fs::metadata(&log).map_or(0, |about| about.len());
            longest.fetch_max(now, Ordering::Relaxed);
        }
    });
    let report = store.backup(options.clone(), watcher).await.unwrap();
    println!(
        "{name} backup: {:.1} s, of it {:.2} s for the rows; the log had {:.0} MB at most; {} letters \
         new, {:.0} MB",
        began.elapsed().as_secs_f64(),
        rows_ms.load(Ordering::Relaxed) as f64 / 1e3,
        log_bytes.load(Ordering::Relaxed) as f64 / 1e6,
        report.new_blobs,
        report.new_bytes as f64 / 1e6,
    );
}

async fn restore(folder: std::path::PathBuf) {
    let target = tempfile::tempdir_in(".").unwrap();
    let options = RestoreOptions {
        folder,
        at: None,
        send_queue: false,
        forget_key: false,
    };
    let began = Instant::now();
    let store = Store::open_idle(world::options(target.path()), Lost::Nothing)
        .await
        .unwrap();
    let report = store.restore(&options, Arc::new(|_| {})).await.unwrap();
    assert_eq!(report.findings, Vec::<String>::new());
    store.close().await.unwrap();
    println!(
        "restored and verified: {} messages in {:.1} s",
        report.point.messages,
        began.elapsed().as_secs_f64()
    );
}
