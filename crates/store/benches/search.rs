//! How fast letters are found, and how fast the index grows: `cargo bench -p pennyblack-store
//! --bench search -- [messages=100K] [accounts=1] [size=5K] [producers=16] [rounds=50]
//! [rebuild=1]` and the
//! choices of [`world`].
//!
//! Letters are delivered as fast as they can be while the index follows; then queries are timed, each
//! giving the ids of all letters it finds.

#![expect(clippy::unwrap_used, reason = "a failure ends the measurement")]
#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base::{AccountId, MessageId};
use pennyblack_store::{SearchQuery, Store};
use world::{Place, Times, cpu_ms, number, proc_number};

/// Different words of all letters together; the n-th is n times rarer than the first.
const VOCABULARY: f64 = 300_000.0;

/// A letter whose words come as often as those of a language do.
fn letter(number: u64, bytes: usize) -> String {
    let mut text = world::letter(number, 900);
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let share = (state >> 11) as f64 / (1_u64 << 53) as f64;
        text.push_str(&word(VOCABULARY.powf(share) as u64));
        text.push_str(if state & 15 == 0 { "\r\n" } else { " " });
    }
    text.push_str("\r\n");
    text
}

/// The word of a rank: frequent ones are short.
fn word(rank: u64) -> String {
    let mut rest = rank + 20;
    let mut word = String::new();
    while rest > 0 {
        word.push(char::from(b"etaoinsrhldcumfpgwyb"[(rest % 20) as usize]));
        rest /= 20;
    }
    word
}

async fn fill(store: &Store, accounts: &[AccountId], messages: u64) {
    let bytes = usize::try_from(number("size", 5_000)).unwrap();
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for _ in 0..number("producers", 16) {
        let (store, next, accounts) = (store.clone(), Arc::clone(&next), accounts.to_vec());
        tasks.push(tokio::spawn(async move {
            let mut confirms = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= messages {
                    return;
                }
                let account = accounts[usize::try_from(number).unwrap() % accounts.len()];
                let text = letter(number, bytes);
                let delivery = world::delivery(&store, text, account, &mut confirms).await;
                confirms.push(store.deliver(delivery).await.unwrap().letter);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

async fn measure(store: &Store, account: AccountId, name: &str, query: &str, rounds: u64) {
    let query = SearchQuery::parse(query);
    let mut times = Times::default();
    let mut found = 0;
    for round in 0..=rounds {
        let began = Instant::now();
        let all = store.search(account, &query, MessageId(0), usize::MAX);
        found = all.await.unwrap().len();
        if round > 0 {
            times.add(began);
        }
    }
    println!("{name:<34} {found:>7} letters, {}", times.told());
}

async fn run() {
    let place = Place::chosen();
    let store = place.open().await;
    let accounts = usize::try_from(number("accounts", 1)).unwrap();
    let accounts = world::make_accounts(&store, accounts).await;
    let messages = number("messages", 100_000);
    let (began, cpu) = (Instant::now(), cpu_ms());
    fill(&store, &accounts, messages).await;
    let filled = began.elapsed();
    println!(
        "delivered {messages} letters in {:.1} s: {:.0}/s, the index beside it",
        filled.as_secs_f64(),
        messages as f64 / filled.as_secs_f64()
    );
    store.index_now().await.unwrap();
    let lag = began.elapsed() - filled;
    println!(
        "the index caught up {:.2} s after the last",
        lag.as_secs_f64()
    );
    println!(
        "{:.3} ms of CPU a letter, all together",
        (cpu_ms() - cpu) / messages as f64
    );
    if number("rebuild", 1) != 0 {
        let began = Instant::now();
        for account in &accounts {
            store.rebuild_search(*account).await.unwrap();
        }
        store.index_now().await.unwrap();
        let took = began.elapsed().as_secs_f64();
        println!(
            "made anew in {took:.1} s: {:.0} letters/s",
            messages as f64 / took
        );
    }
    place.print_sizes();
    let rounds = number("rounds", 50);
    let account = accounts[0];
    let measure = async |name: &str, query: &str| {
        measure(&store, account, name, query, rounds).await;
    };
    measure("a word of one letter", "subject:77000").await;
    measure("a rare word", &word(40_000)).await;
    measure(
        "two rare words",
        &format!("{} {}", word(3_000), word(4_000)),
    )
    .await;
    measure("a rare beginning", &format!("{}*", word(200_000))).await;
    measure("a phrase", "\"note 77000 about the project\"").await;
    measure("a word of every letter", "project").await;
    measure("a frequent word", &word(30)).await;
    measure(
        "frequent words",
        &format!("{} {} project", word(30), word(50)),
    )
    .await;
    measure("a frequent beginning", "pr*").await;
    println!("{} MB resident", proc_number("status", "VmRSS:") / 1_024);
    store.close().await.unwrap();
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run());
    runtime.shutdown_timeout(Duration::from_secs(1));
}
