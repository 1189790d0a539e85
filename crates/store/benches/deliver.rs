//! How fast letters are delivered, and what one costs: `cargo bench -p pennyblack-store --bench
//! deliver -- [producers=1,16,64,256] [letters=20K] [size=5K] [accounts=1] [preloaded=0]
//! [store=postgres]` and the choices of [`world`].
//!
//! `… -- levels` compares levels of compression instead, and `… -- open=FOLDER` times the opening of
//! what an earlier run left when it was killed.
//!
//! Every letter is distinct, of plausible text, and durable before it is counted.

#![expect(clippy::unwrap_used, reason = "a failure ends the measurement")]
#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

mod world;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use base::AccountId;
use pennyblack_store::Store;
use world::{Place, Times, cpu_ms, letter, number, numbers, options, proc_number};

/// What is delivered, by how many at once.
#[derive(Clone, Copy)]
struct Load {
    producers: u64,
    bytes: usize,
    /// The numbers of the letters.
    range: (u64, u64),
}

/// Delivers letters; gives the seconds it took, and how long each waited.
async fn run(store: &Store, accounts: &[AccountId], load: Load) -> (f64, Times) {
    let next = Arc::new(AtomicU64::new(load.range.0));
    let started = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..load.producers {
        let (store, next, accounts) = (store.clone(), Arc::clone(&next), accounts.to_vec());
        tasks.push(tokio::spawn(async move {
            let mut confirms = Vec::new();
            let mut times = Times::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= load.range.1 {
                    return times;
                }
                let account = accounts[usize::try_from(number).unwrap() % accounts.len()];
                let text = letter(number, load.bytes);
                let delivery = world::delivery(&store, text, account, &mut confirms).await;
                let began = Instant::now();
                let delivered = store.deliver(delivery).await.unwrap();
                times.add(began);
                confirms.push(delivered.letter);
            }
        }));
    }
    let mut times = Times::default();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    (started.elapsed().as_secs_f64(), times)
}

/// Compresses letters at several levels: the size of what is left, and the time of one letter.
fn compare_levels() {
    let letters: Vec<String> = (0..2_000).map(|number| letter(number, 5_000)).collect();
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

/// Measures one load and prints a line.
async fn measure(store: &Store, accounts: &[AccountId], load: Load) {
    let letters = (load.range.1 - load.range.0) as f64;
    // Making the letters is not the store's work.
    let made = cpu_ms();
    let probe = (10_000_000 / load.bytes).clamp(20, 2_000);
    for number in 0..probe {
        std::hint::black_box(letter(number as u64, load.bytes));
    }
    let making = (cpu_ms() - made) / probe as f64;
    let (cpu, written) = (cpu_ms(), proc_number("io", "write_bytes:"));
    let (seconds, mut times) = run(store, accounts, load).await;
    println!(
        "{:>3} producers, {} B: {:.0}/s, {}, {:.3} ms CPU a letter (and {making:.3} for making \
         it), {:.1} KiB written a letter, RSS {} KiB",
        load.producers,
        load.bytes,
        letters / seconds,
        times.told(),
        (cpu_ms() - cpu) / letters - making,
        (proc_number("io", "write_bytes:") - written) as f64 / letters / 1024.0,
        proc_number("status", "VmRSS:"),
    );
}

async fn measure_all(place: &Place) {
    let store = place.open().await;
    let accounts = world::make_accounts(&store, usize::try_from(number("accounts", 1)).unwrap());
    let accounts = accounts.await;
    println!("idle: RSS {} KiB", proc_number("status", "VmRSS:"));
    let (letters, preloaded) = (number("letters", 20_000), number("preloaded", 0));
    let bytes = usize::try_from(number("size", 5_000)).unwrap();
    let mut first = preloaded;
    if preloaded > 0 {
        let load = Load {
            producers: 64,
            bytes,
            range: (0, preloaded),
        };
        let (seconds, _) = run(&store, &accounts, load).await;
        println!("preloaded {preloaded} letters in {seconds:.1} s");
    }
    for producers in numbers("producers", "1,16,64,256") {
        let range = (first, first + letters);
        first = range.1;
        let load = Load {
            producers,
            bytes,
            range,
        };
        measure(&store, &accounts, load).await;
    }
    println!("on disk: {} KiB for {first} letters", place.bytes() / 1024);
    store.close().await.unwrap();
    drop(store);
    let started = Instant::now();
    let store = place.open().await;
    println!(
        "opened again in {:.1} ms",
        started.elapsed().as_secs_f64() * 1e3
    );
    store.close().await.unwrap();
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
    let place = Place::chosen();
    world::runtime().block_on(measure_all(&place));
}
