//! What is acknowledged is on disk.
//!
//! A child process delivers and submits letters under `strace`, which records every write and every
//! sync of the store's files, and the moment each letter was acknowledged. Then the power goes out,
//! many times, at random moments of that record: a write that a successful sync has covered is on
//! disk, of the others a random part is, whole or torn. The store must open on what is left, hold
//! every letter acknowledged until then, and find all its invariants kept. `kill -9` would prove
//! none of this, as it leaves the system's memory of the files intact.

#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "contract/house.rs"]
#[expect(dead_code, reason = "the contract suite uses more of it")]
mod house;
#[path = "durability/replay.rs"]
mod replay;
#[path = "durability/trace.rs"]
mod trace;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use base::{AccountId, Uid};
use pennyblack_store::{QueueFilter, Store, StoreError, Synchronous};

use house::{House, letter};
use replay::{Disk, Random};

/// Power cuts per recording.
const CUTS: usize = 60;
/// Tasks of the child, and letters of each.
const TASKS: usize = 8;
const LETTERS: usize = 40;
/// Tells the child where to work; its presence makes the test binary the child.
const CHILD_FOLDER: &str = "PENNYBLACK_DURABILITY_FOLDER";
const CHILD_OFF: &str = "PENNYBLACK_DURABILITY_OFF";

#[tokio::test]
async fn every_acknowledged_letter_survives_a_power_cut() {
    let losses = cut_power(false).await;
    assert!(
        losses.is_empty(),
        "{} losses, first: {}",
        losses.len(),
        losses[0]
    );
}

/// The check of the check: without syncs it must find that letters are lost.
#[tokio::test]
async fn without_syncs_the_loss_is_found() {
    let losses = cut_power(true).await;
    assert!(!losses.is_empty(), "the test cannot see a loss");
}

/// Records a child and cuts its power; gives what was lost or broken.
async fn cut_power(synchronous_off: bool) -> Vec<String> {
    let house = House::sqlite();
    let record = house.path().join("trace");
    run_child(house.path(), &record, synchronous_off);
    let text = std::fs::read_to_string(&record).unwrap();
    let events = trace::read(&text, &house.path().join("data"));
    assert!(
        events.iter().any(trace::Event::is_write),
        "nothing was recorded"
    );
    // The file is made with syncs in any case; letters must show the difference.
    let is_acknowledged = |event: &trace::Event| matches!(event, trace::Event::Acknowledged(_));
    let first = events.iter().position(is_acknowledged).unwrap();
    assert_eq!(
        events[first..].iter().any(trace::Event::is_sync),
        !synchronous_off
    );
    check_record(&events, &house.path().join("data"));
    let mut random = Random(0x5EED_0F90_3E12_7A01);
    let mut losses = Vec::new();
    for _ in 0..CUTS {
        let cut = random.below(events.len()) + 1;
        losses.extend(one_cut(&events[..cut], &mut random).await);
        if synchronous_off && !losses.is_empty() {
            break;
        }
    }
    losses
}

/// The record must be whole: everything in it together is what the files hold now.
fn check_record(events: &[trace::Event], data: &Path) {
    let mut disk = Disk::default();
    for event in events {
        disk.apply(event);
    }
    for (name, bytes) in disk.with_everything() {
        let there = std::fs::read(data.join(&name)).unwrap();
        assert!(there == bytes, "the record of {name} is not whole");
    }
}

/// One power cut; gives what is lost or broken.
async fn one_cut(events: &[trace::Event], random: &mut Random) -> Vec<String> {
    let mut disk = Disk::default();
    let mut acknowledged = BTreeSet::new();
    for event in events {
        match event {
            trace::Event::Acknowledged(name) => {
                acknowledged.insert(name.clone());
            }
            other => disk.apply(other),
        }
    }
    let house = House::sqlite();
    disk.write(&house.path().join("data"), random);
    let place = format!("cut after {} events", events.len());
    match found(&house).await {
        Err(error) if acknowledged.is_empty() && !matches!(error, StoreError::Io(_)) => Vec::new(),
        Err(error) => vec![format!("{place}: the store does not open: {error}")],
        Ok((names, broken)) => {
            let lost = acknowledged.difference(&names);
            let lost = lost.map(|name| format!("{place}: {name} is lost"));
            lost.chain(broken.into_iter().map(|line| format!("{place}: {line}")))
                .collect()
        }
    }
}

/// The names of the letters that the store holds, and what breaks its invariants.
async fn found(house: &House) -> Result<(BTreeSet<String>, Vec<String>), StoreError> {
    let store = Store::open(house.options()).await?;
    let mut names = BTreeSet::new();
    for account in store.accounts().await? {
        let Some(inbox) = store.mailbox(account.id, "INBOX").await? else {
            continue;
        };
        for placement in store
            .placements(account.id, inbox.id, Uid(1), 100_000)
            .await?
        {
            let body = store.body(account.id, placement.message).await?;
            let bytes = body.read(0..u64::MAX).await?;
            names.insert(name_of(&bytes));
        }
    }
    for entry in store.queue_list(&QueueFilter::default()).await? {
        let recipients = entry.recipients.iter();
        names.extend(recipients.map(|of| of.address.local.as_str().to_owned()));
    }
    let broken = store.verify().await?;
    store.close().await?;
    Ok((names, broken))
}

/// The name of a letter, if it is whole.
fn name_of(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let subject = text.split("Subject: ").nth(1).unwrap_or_default();
    let name = subject.split("\r\n").next().unwrap_or_default();
    if text.ends_with(&letter(name)) {
        name.to_owned()
    } else {
        "damaged".to_owned()
    }
}

fn run_child(folder: &Path, record: &Path, synchronous_off: bool) {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-y", "-xx", "-s", "100000000", "-o"])
        .arg(record)
        .args([
            "-e",
            "trace=openat,write,pwrite64,lseek,fsync,fdatasync,ftruncate,unlink,rename",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(CHILD_FOLDER, folder);
    if synchronous_off {
        command.env(CHILD_OFF, "1");
    }
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("this test needs strace: {error}"));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The child: not a test by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the tests of this file"]
async fn child() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else {
        return;
    };
    let house = Arc::new(House::sqlite());
    let mut options = house.options();
    options.data_dir = Path::new(&folder).join("data");
    if std::env::var_os(CHILD_OFF).is_some() {
        options.synchronous = Synchronous::Off;
    }
    let store = Store::open(options).await.unwrap();
    let red = house::domain("red.test");
    store.add_domain(&red).await.unwrap();
    let bob = store
        .add_account(house::person("bob@red.test", true))
        .await
        .unwrap();
    let acknowledgements = Arc::new(trace::Acknowledgements::create(Path::new(&folder)));
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let (house, store) = (Arc::clone(&house), store.clone());
        let acknowledgements = Arc::clone(&acknowledgements);
        tasks.push(tokio::spawn(async move {
            for number in 0..LETTERS {
                if number % 10 == 9 {
                    // The checkpoint catches up, so that the log starts from its beginning.
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
                let name = format!("t{task}n{number}");
                store_letter(&house, &store, bob, &name, number % 4 == 3).await;
                acknowledgements.write(&name);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    // No orderly end: nothing may depend on it.
    std::process::exit(0);
}

async fn store_letter(house: &House, store: &Store, bob: AccountId, name: &str, submit: bool) {
    if submit {
        let to = format!("{name}@black.test");
        let submission = house.submission(store, &letter(name), bob, &[&to]).await;
        store.submit(submission).await.unwrap();
    } else {
        let delivery = house
            .delivery(store, &letter(name), &[(bob, "bob@red.test")])
            .await;
        store.deliver(delivery).await.unwrap();
    }
}
