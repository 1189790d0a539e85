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

use base::{AccountId, MessageId, Uid};
use pennyblack_store::{FlagChange, FlagOp, Keywords, QueueFilter, Store, StoreError, Synchronous};

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
const CHILD_SEGMENTS: &str = "PENNYBLACK_DURABILITY_SEGMENTS";
/// Longer than every grace.
const LONG: Duration = Duration::from_secs(2 * 3_600);

/// What is recorded.
#[derive(Clone, Copy, Default)]
struct Recording {
    /// Without any sync.
    off: bool,
    /// With every letter in segment files; some are deleted, and the room is given back.
    segments: bool,
    /// Segments are taken to be synced only after their letters were acknowledged.
    late: bool,
}

#[tokio::test]
async fn every_acknowledged_letter_survives_a_power_cut() {
    assert_no_loss(Recording::default()).await;
}

#[tokio::test]
async fn every_letter_in_segments_survives_a_power_cut() {
    assert_no_loss(Recording {
        segments: true,
        ..Recording::default()
    })
    .await;
}

/// The checks of the check: without syncs, or with those of segments behind the commit, it must find
/// that letters are lost.
#[tokio::test]
async fn without_syncs_the_loss_is_found() {
    assert_loss(Recording {
        off: true,
        ..Recording::default()
    })
    .await;
}

#[tokio::test]
async fn with_late_syncs_of_segments_the_loss_is_found() {
    assert_loss(Recording {
        segments: true,
        late: true,
        ..Recording::default()
    })
    .await;
}

async fn assert_no_loss(recording: Recording) {
    let losses = cut_power(recording).await;
    assert!(
        losses.is_empty(),
        "{} losses, first: {}",
        losses.len(),
        losses[0]
    );
}

async fn assert_loss(recording: Recording) {
    let losses = cut_power(recording).await;
    assert!(!losses.is_empty(), "the test cannot see a loss");
}

/// Records a child and cuts its power; gives what was lost or broken.
async fn cut_power(recording: Recording) -> Vec<String> {
    let house = House::sqlite();
    let record = house.path().join("trace");
    run_child(house.path(), &record, recording);
    let text = std::fs::read_to_string(&record).unwrap();
    let mut events = trace::read(&text, &house.path().join("data"));
    assert!(
        events.iter().any(trace::Event::is_write),
        "nothing was recorded"
    );
    // The file is made with syncs in any case; letters must show the difference.
    let is_acknowledged = |event: &trace::Event| matches!(event, trace::Event::Acknowledged(_));
    let first = events.iter().position(is_acknowledged).unwrap();
    assert_eq!(
        events[first..].iter().any(trace::Event::is_sync),
        !recording.off
    );
    assert_eq!(
        events.iter().any(trace::Event::is_sync_of_segment),
        recording.segments
    );
    check_record(&events, &house.path().join("data"));
    if recording.late {
        events = delay_segments(events);
    }
    let mut random = Random(0x5EED_0F90_3E12_7A01);
    let mut losses = Vec::new();
    for _ in 0..CUTS {
        let cut = random.below(events.len()) + 1;
        losses.extend(one_cut(&events[..cut], &mut random).await);
        if (recording.off || recording.late) && !losses.is_empty() {
            break;
        }
    }
    losses
}

/// The same events, with each sync of a segment over only after the next acknowledgements.
fn delay_segments(events: Vec<trace::Event>) -> Vec<trace::Event> {
    let mut delayed = Vec::new();
    let mut waiting = Vec::new();
    let mut acknowledged = 0;
    for event in events {
        if event.is_sync_of_segment() {
            waiting.push(event);
            acknowledged = 0;
            continue;
        }
        acknowledged += usize::from(matches!(event, trace::Event::Acknowledged(_)));
        delayed.push(event);
        if acknowledged == TASKS {
            delayed.append(&mut waiting);
        }
    }
    delayed
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
            trace::Event::Withdrawn(name) => {
                acknowledged.remove(name);
            }
            other => disk.apply(other),
        }
    }
    let house = House::sqlite();
    // Not the time of the child's last ids.
    house.pass(LONG * 100);
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
    let mut options = house.options();
    options.key_file = None;
    let store = Store::open(options).await?;
    let mut names = BTreeSet::new();
    for account in store.accounts().await? {
        let Some(inbox) = store.mailbox(account.id, "INBOX").await? else {
            continue;
        };
        for placement in store
            .placements(account.id, inbox.id, Uid(1), 100_000)
            .await?
        {
            names.insert(name_of(&read(&store, account.id, placement.message).await?));
        }
    }
    for entry in store.queue_list(&QueueFilter::default()).await? {
        let recipients = entry.recipients.iter();
        names.extend(recipients.map(|of| of.address.local.as_str().to_owned()));
    }
    let mut broken = store.verify().await?;
    broken.extend(store.verify_segments(true).await?);
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

fn run_child(folder: &Path, record: &Path, recording: Recording) {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-y", "-xx", "-s", "100000000", "-o"])
        .arg(record)
        .args([
            "-e",
            "trace=openat,mkdir,write,pwrite64,lseek,fsync,fdatasync,ftruncate,unlink,rename,link,linkat",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(CHILD_FOLDER, folder);
    if recording.off {
        command.env(CHILD_OFF, "1");
    }
    if recording.segments {
        command.env(CHILD_SEGMENTS, "1");
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
    let with_segments = std::env::var_os(CHILD_SEGMENTS).is_some();
    let house = Arc::new(if with_segments {
        House::segments()
    } else {
        House::sqlite()
    });
    let options = || {
        let mut options = house.options();
        options.data_dir = Path::new(&folder).join("data");
        // Among the files whose power is cut.
        options.key_file = None;
        // What is deleted is gone at once.
        let mut limits = base::limits::Limits::clone(&options.limits);
        limits.retention.deleted = Duration::ZERO;
        options.limits = Arc::new(limits);
        if std::env::var_os(CHILD_OFF).is_some() {
            options.synchronous = Synchronous::Off;
        }
        options
    };
    let mut store = Store::open(options()).await.unwrap();
    let red = house::domain("red.test");
    store.add_domain(&red).await.unwrap();
    let bob = store
        .add_account(house::person("bob@red.test", true))
        .await
        .unwrap();
    let acknowledgements = trace::Acknowledgements::create(Path::new(&folder));
    let child = Arc::new(Child {
        house: Arc::clone(&house),
        bob,
        acknowledgements,
    });
    Child::store_letters(&child, &store, "t").await;
    if with_segments {
        // Only a file that grows no more is looked at for room, and each opening begins a new one.
        store.close().await.unwrap();
        house.pass(LONG);
        store = Store::open(options()).await.unwrap();
        child.delete_most(&store).await;
        let work = async {
            for _ in 0..3 {
                house.pass(LONG);
                store.maintain().await.unwrap();
            }
        };
        tokio::join!(work, Child::store_letters(&child, &store, "u"));
        let first = Path::new(&folder).join("data/segments/0000000001.seg");
        assert!(!first.exists(), "no room was given back");
    }
    // No orderly end: nothing may depend on it. But a write that the end cuts off is in the file and
    // not in the record: the checkpoint has its time first.
    tokio::time::sleep(Duration::from_secs(2)).await;
    std::process::exit(0);
}

/// What the tasks of the child share.
struct Child {
    house: Arc<House>,
    bob: AccountId,
    acknowledgements: trace::Acknowledgements,
}

impl Child {
    /// Stores letters from many tasks at once.
    async fn store_letters(child: &Arc<Self>, store: &Store, prefix: &str) {
        let mut tasks = Vec::new();
        for task in 0..TASKS {
            let (child, store) = (Arc::clone(child), store.clone());
            let prefix = format!("{prefix}{task}n");
            tasks.push(tokio::spawn(async move {
                for number in 0..LETTERS {
                    if number % 10 == 9 {
                        // The checkpoint catches up, so that the log starts from its beginning.
                        tokio::time::sleep(Duration::from_millis(250)).await;
                    }
                    let name = format!("{prefix}{number}");
                    store_letter(&child.house, &store, child.bob, &name, number % 4 == 3).await;
                    child.acknowledgements.write(&name);
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    }

    /// Deletes four of five messages in the inbox, so that the letters of the others are moved.
    async fn delete_most(&self, store: &Store) {
        let inbox = store.mailbox(self.bob, "INBOX").await.unwrap().unwrap().id;
        let rows = store.placements(self.bob, inbox, Uid(1), 100_000).await;
        let mut uids = Vec::new();
        for (number, row) in rows.unwrap().iter().enumerate() {
            if number % 5 > 0 {
                let name = name_of(&read(store, self.bob, row.message).await.unwrap());
                self.acknowledgements.withdraw(&name);
                uids.push(row.uid);
            }
        }
        let delete = FlagChange {
            op: FlagOp::Add,
            keywords: Keywords::default(),
            deleted: true,
            unchanged_since: None,
        };
        store
            .set_flags(self.bob, inbox, &uids, &delete)
            .await
            .unwrap();
        store.expunge(self.bob, inbox, Some(&uids)).await.unwrap();
    }
}

async fn read(
    store: &Store,
    account: AccountId,
    message: MessageId,
) -> Result<bytes::Bytes, StoreError> {
    let body = store.body(account, message).await?;
    body.read(0..u64::MAX).await
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
