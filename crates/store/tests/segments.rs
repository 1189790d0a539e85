//! Letters in segment files, through the store: what goes there, what is given back, what damage is
//! told, and that a process killed at any moment under load loses nothing that it acknowledged.

#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "contract/house.rs"]
#[expect(dead_code, reason = "the contract suite uses more of it")]
mod house;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use base::{AccountId, MailboxId, MessageId, Secret, Uid};
use pennyblack_store::{
    BlobHome, Database, FlagChange, FlagOp, Keywords, PostgresOptions, RemovedFilter, Store,
    StoreError, Wakeup,
};

use house::House;

/// Longer than every grace.
const LONG: Duration = Duration::from_secs(2 * 3_600);
/// Bytes of a letter of these tests.
const LETTER_BYTES: usize = 20_000;

/// A letter that does not compress to less than half.
fn letter(name: &str) -> String {
    let mut text = house::letter(name);
    let mut random = blake3::Hasher::new().update(name.as_bytes()).finalize_xof();
    while text.len() < LETTER_BYTES {
        let mut bytes = [0; 32];
        random.fill(&mut bytes);
        for byte in bytes {
            text.push_str(&format!("{byte:02x}"));
        }
        text.push_str("\r\n");
    }
    text
}

/// A store with bob and his inbox.
struct Room {
    house: House,
    store: Store,
    bob: AccountId,
    inbox: MailboxId,
}

impl Room {
    async fn new(house: House) -> Self {
        let (store, _, bob) = house.with_people().await;
        let inbox = store.mailbox(bob, "INBOX").await.unwrap().unwrap().id;
        Self {
            house,
            store,
            bob,
            inbox,
        }
    }

    async fn reopen(&mut self) {
        self.store.close().await.unwrap();
        // Ids are made of the time.
        self.house.pass(Duration::from_secs(1));
        self.store = self.house.open().await;
    }

    async fn deliver(&self, name: &str) -> MessageId {
        self.deliver_text(&letter(name)).await
    }

    async fn deliver_text(&self, text: &str) -> MessageId {
        let to = [(self.bob, "bob@red.test")];
        let delivery = self.house.delivery(&self.store, text, &to).await;
        let delivered = self.store.deliver(delivery).await.unwrap();
        self.store.confirm(vec![delivered.letter]).await.unwrap();
        delivered.stored[0].message
    }

    async fn read(&self, message: MessageId) -> Result<String, StoreError> {
        let reader = self.store.body(self.bob, message).await?;
        let bytes = reader.read(0..u64::MAX).await?;
        Ok(String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// Removes messages for good.
    async fn remove(&self, messages: &[MessageId]) {
        remove(&self.store, self.bob, self.inbox, messages).await;
    }

    /// Lets all graces pass, and all work of the background be done: letters are collected and others
    /// moved, the empty file is noticed, it is removed.
    async fn settle(&self) {
        for _ in 0..3 {
            self.house.pass(LONG);
            self.store.maintain().await.unwrap();
        }
    }

    /// The segment files, with their lengths.
    fn files(&self) -> BTreeMap<PathBuf, u64> {
        files(&self.house.path().join("data"))
    }

    async fn check(&self) {
        assert_eq!(self.store.verify().await.unwrap(), Vec::<String>::new());
        let deep = self.store.verify_segments(true).await.unwrap();
        assert_eq!(deep, Vec::<String>::new());
    }
}

async fn remove(store: &Store, account: AccountId, inbox: MailboxId, messages: &[MessageId]) {
    let rows = store.placements(account, inbox, Uid(1), 100_000).await;
    let rows = rows.unwrap();
    let gone = rows.iter().filter(|row| messages.contains(&row.message));
    let uids: Vec<Uid> = gone.map(|row| row.uid).collect();
    let delete = FlagChange {
        op: FlagOp::Add,
        keywords: Keywords::default(),
        deleted: true,
        unchanged_since: None,
    };
    store
        .set_flags(account, inbox, &uids, &delete)
        .await
        .unwrap();
    let removed = store.expunge(account, inbox, Some(&uids)).await.unwrap();
    assert_eq!(removed.len(), messages.len());
    // For good, as if the time to recover them were over. Another task may do it first.
    let all = RemovedFilter::default();
    store.forget_removed(account, &all).await.unwrap();
}

fn files(data: &Path) -> BTreeMap<PathBuf, u64> {
    let Ok(entries) = fs::read_dir(data.join("segments")) else {
        return BTreeMap::new();
    };
    let entries = entries.map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.path(), entry.metadata().unwrap().len()))
        .collect()
}

fn segments_above(inline_bytes_max: u64) -> House {
    let mut house = House::sqlite();
    house.blobs = BlobHome::Segments {
        folder: None,
        inline_bytes_max,
    };
    house
}

#[tokio::test]
async fn small_letters_stay_in_the_database_and_equal_ones_are_stored_once() {
    let room = Room::new(segments_above(1_000)).await;
    let small = room.deliver_text(&house::letter("small")).await;
    assert_eq!(room.files().len(), 0);
    let large = room.deliver("large").await;
    let bytes: u64 = room.files().values().sum();
    assert!(bytes > 5_000 && bytes < LETTER_BYTES as u64, "{bytes}");
    room.deliver("large").await;
    assert_eq!(room.files().values().sum::<u64>(), bytes);
    assert!(room.read(small).await.unwrap().contains("this is small"));
    assert!(room.read(large).await.unwrap().ends_with(&letter("large")));
    room.check().await;
    // The letter at the limit stays, one byte more goes.
    let mut text = house::letter("at the limit");
    text.push_str(&"x".repeat(1_000 - text.len()));
    room.deliver_text(&text).await;
    assert_eq!(room.files().values().sum::<u64>(), bytes);
    room.deliver_text(&format!("{text}x")).await;
    assert!(room.files().values().sum::<u64>() > bytes);
}

#[tokio::test]
async fn deleted_letters_give_their_room_back() {
    let mut room = Room::new(segments_above(0)).await;
    let mut messages = Vec::new();
    for number in 0..40 {
        messages.push(room.deliver(&format!("n{number}")).await);
    }
    room.reopen().await;
    let before = room.files();
    let (gone, kept) = messages.split_at(30);
    room.remove(gone).await;
    room.settle().await;
    let after = room.files();
    let (first, last) = (before.values().sum::<u64>(), after.values().sum::<u64>());
    assert!(last * 3 < first, "{first} bytes before, {last} after");
    assert!(after.keys().all(|file| !before.contains_key(file)));
    for (number, message) in (30..).zip(kept) {
        let text = room.read(*message).await.unwrap();
        assert!(text.ends_with(&letter(&format!("n{number}"))));
    }
    room.check().await;
    // Only the segment that grows is left when everything is gone.
    room.remove(kept).await;
    room.settle().await;
    room.reopen().await;
    room.settle().await;
    assert_eq!(room.files().len(), 0);
    room.check().await;
}

#[tokio::test]
async fn a_segment_with_more_life_than_half_is_left_alone() {
    let mut room = Room::new(segments_above(0)).await;
    let mut messages = Vec::new();
    for number in 0..20 {
        messages.push(room.deliver(&format!("n{number}")).await);
    }
    room.reopen().await;
    let before = room.files();
    room.remove(&messages[..8]).await;
    room.settle().await;
    assert_eq!(room.files(), before);
    room.check().await;
}

/// Each start begins a file; those that stay small do not become more and more.
#[tokio::test]
async fn many_small_files_become_one() {
    let mut room = Room::new(segments_above(0)).await;
    let mut messages = Vec::new();
    for number in 0..33 {
        messages.push(room.deliver(&format!("n{number}")).await);
        room.reopen().await;
        if number == 31 {
            room.settle().await;
            assert_eq!(room.files().len(), 32, "so many are no harm");
        }
    }
    room.settle().await;
    assert_eq!(room.files().len(), 1);
    for (number, message) in messages.iter().enumerate() {
        let text = room.read(*message).await.unwrap();
        assert!(text.ends_with(&letter(&format!("n{number}"))));
    }
    room.check().await;
}

#[tokio::test]
async fn a_copy_of_the_store_keeps_its_files() {
    let mut room = Room::new(segments_above(0)).await;
    let messages = [room.deliver("one").await, room.deliver("two").await];
    room.reopen().await;
    let before = room.files();
    let kept = room.store.keep_blobs();
    room.remove(&messages).await;
    room.settle().await;
    assert_eq!(room.files(), before);
    drop(kept);
    room.settle().await;
    assert_eq!(room.files().len(), 0);
}

/// Readers that looked a place up before the record was moved find it all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_goes_on_while_records_are_moved() {
    let mut room = Room::new(segments_above(0)).await;
    let mut messages = Vec::new();
    for number in 0..60 {
        messages.push(room.deliver(&format!("n{number}")).await);
    }
    for round in 0..3 {
        room.reopen().await;
        let half = messages.len() / 2 + 1;
        let gone: Vec<MessageId> = messages.drain(..half).collect();
        room.remove(&gone).await;
        let reading = async {
            for _ in 0..10 {
                for message in &messages {
                    let text = room.read(*message).await.unwrap();
                    let name = text.split("Subject: ").nth(1).unwrap();
                    let name = name.split("\r\n").next().unwrap();
                    assert!(text.ends_with(&letter(name)), "round {round}");
                }
            }
        };
        tokio::join!(room.settle(), reading);
        room.check().await;
    }
}

#[tokio::test]
async fn the_home_may_change() {
    let mut room = Room::new(House::sqlite()).await;
    let inline = room.deliver("inline").await;
    let other = tempfile::tempdir().unwrap();
    let homes = [
        BlobHome::Segments {
            folder: None,
            inline_bytes_max: 0,
        },
        BlobHome::Inline,
    ];
    let mut messages = vec![(inline, "inline")];
    for (home, name) in homes.into_iter().zip(["segments", "inline again"]) {
        room.house.blobs = home;
        room.reopen().await;
        messages.push((room.deliver(name).await, name));
        for (message, name) in &messages {
            assert!(room.read(*message).await.unwrap().ends_with(&letter(name)));
        }
    }
    assert_eq!(room.files().len(), 1);
    room.check().await;
    // A folder that does not hold what rows name is refused.
    room.house.blobs = BlobHome::Segments {
        folder: Some(other.path().to_owned()),
        inline_bytes_max: 0,
    };
    room.store.close().await.unwrap();
    let refused = Store::open(room.house.options()).await.map(|_| ());
    let error = refused.unwrap_err();
    assert!(matches!(error, StoreError::Invalid(_)), "{error}");
    let folder = other.path().display().to_string();
    assert!(error.to_string().contains(&folder), "{error}");
    // One with the file's name opens it, and what is lost is told.
    let path = other.path().join("0000000001.seg");
    fs::write(&path, b"").unwrap();
    room.house.pass(Duration::from_secs(1));
    room.store = room.house.open().await;
    let error = room.read(messages[1].0).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error}");
    assert_eq!(room.store.verify().await.unwrap().len(), 1);
    // With the file itself all is there.
    fs::copy(room.files().keys().next().unwrap(), &path).unwrap();
    room.reopen().await;
    room.check().await;
}

#[tokio::test]
async fn damage_is_told_with_file_and_place() {
    let mut room = Room::new(segments_above(0)).await;
    let mut messages = Vec::new();
    for number in 0..5 {
        messages.push(room.deliver(&format!("n{number}")).await);
    }
    room.reopen().await;
    let (path, length) = room.files().into_iter().next().unwrap();
    let good = fs::read(&path).unwrap();
    let mut bytes = good.clone();
    bytes[usize::try_from(length).unwrap() / 2] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let lines = room.store.verify_segments(true).await.unwrap();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("0000000001.seg at "), "{lines:?}");
    let error = room.read(messages[2]).await.unwrap_err().to_string();
    assert!(error.contains("0000000001.seg at "), "{error}");
    for at in [0, 1, 3, 4] {
        room.read(messages[at]).await.unwrap();
    }
    // A damaged record is not moved, and keeps its file; the others are moved out of it.
    room.remove(&[messages[0], messages[1], messages[3]]).await;
    room.settle().await;
    assert!(path.exists());
    assert!(
        room.read(messages[4])
            .await
            .unwrap()
            .ends_with(&letter("n4"))
    );
    fs::write(&path, &good).unwrap();
    room.check().await;
    room.settle().await;
    assert!(!path.exists(), "what is whole again is moved");
    assert!(
        room.read(messages[2])
            .await
            .unwrap()
            .ends_with(&letter("n2"))
    );
    // A file cut short is seen without reading all.
    room.reopen().await;
    let (path, length) = room.files().into_iter().next().unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(length - 1).unwrap();
    let lines = room.store.verify().await.unwrap();
    assert!(lines[0].contains("the file ends before it"), "{lines:?}");
}

#[tokio::test]
async fn segments_do_not_go_with_postgresql() {
    let house = segments_above(0);
    let mut options = house.options();
    options.database = Database::Postgres(PostgresOptions {
        url: Secret::new("postgres://localhost:1/none"),
        connections: 4,
        wakeup: Wakeup::Poll,
        answer_within: PostgresOptions::ANSWER_WITHIN,
    });
    let error = Store::open(options).await.err().unwrap();
    assert!(matches!(error, StoreError::Invalid(_)));
    assert!(error.to_string().contains("s3://"), "{error}");
}

/// Runs of the child that is killed.
const RUNS: u32 = 6;
const CHILD_FOLDER: &str = "PENNYBLACK_SEGMENTS_FOLDER";
const CHILD_RUN: &str = "PENNYBLACK_SEGMENTS_RUN";

/// Letters come and go, records are moved, files are removed, and the process is killed at some
/// moment of it, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_under_load_loses_nothing() {
    let room = Room::new(segments_above(0)).await;
    room.store.close().await.unwrap();
    let folder = room.house.path().to_owned();
    for run in 1..=RUNS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(CHILD_FOLDER, &folder)
            .env(CHILD_RUN, run.to_string())
            .spawn()
            .unwrap();
        let wait = Duration::from_millis(600 + u64::from(run * 137 % 400));
        tokio::time::sleep(wait).await;
        child.kill().unwrap();
        child.wait().unwrap();
        room.house.pass(LONG * 1_000);
        let store = room.house.open().await;
        let (lost, kept) = compare(&store, &room, &folder).await;
        assert_eq!(lost, Vec::<String>::new(), "run {run}");
        assert!(kept > 0, "run {run}: nothing was stored");
        assert_eq!(store.verify().await.unwrap(), Vec::<String>::new());
        let deep = store.verify_segments(true).await.unwrap();
        assert_eq!(deep, Vec::<String>::new(), "run {run}");
        store.close().await.unwrap();
    }
    let files = files(&folder.join("data"));
    let first = files.keys().next().unwrap();
    assert!(!first.ends_with("0000000001.seg"), "nothing was compacted");
}

/// What was acknowledged, was not given up, and is not there; and how many letters are there.
async fn compare(store: &Store, room: &Room, folder: &Path) -> (Vec<String>, usize) {
    let lines = |file: &str| {
        let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
        // A line without its end was being written when the process was killed.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut expected = lines("acknowledged");
    let gone = lines("gone");
    expected.retain(|name| !gone.contains(name));
    let rows = store
        .placements(room.bob, room.inbox, Uid(1), 100_000)
        .await;
    let mut found = Vec::new();
    for row in rows.unwrap() {
        let reader = store.body(room.bob, row.message).await.unwrap();
        let bytes = reader.read(0..u64::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let name = text.split("Subject: ").nth(1).unwrap();
        let name = name.split("\r\n").next().unwrap().to_owned();
        assert!(text.ends_with(&letter(&name)), "{name} is damaged");
        found.push(name);
    }
    expected.retain(|name| !found.contains(name));
    (expected, found.len())
}

/// The child: not a test by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test above"]
async fn child() {
    let (Some(folder), Ok(run)) = (std::env::var_os(CHILD_FOLDER), std::env::var(CHILD_RUN)) else {
        return;
    };
    let folder = PathBuf::from(folder);
    let house = Arc::new(segments_above(0));
    // The clock of each run goes on after that of the last.
    house.pass(LONG * 1_000 * run.parse().unwrap());
    let mut options = house.options();
    options.data_dir = folder.join("data");
    options.key_file = Some(folder.join("store.key"));
    let store = Store::open(options).await.unwrap();
    let accounts = store.accounts().await.unwrap();
    let of_bob = |account: &&pennyblack_store::AccountInfo| {
        account.address == house::address("bob@red.test")
    };
    let bob = accounts.iter().find(of_bob).unwrap().id;
    let inbox = store.mailbox(bob, "INBOX").await.unwrap().unwrap().id;
    let open = |name: &str| {
        let path = folder.join(name);
        let file = fs::File::options().append(true).create(true).open(path);
        Arc::new(file.unwrap())
    };
    let (acknowledged, gone) = (open("acknowledged"), open("gone"));
    for task in 0..4 {
        let (house, store) = (Arc::clone(&house), store.clone());
        let (acknowledged, gone, run) = (Arc::clone(&acknowledged), Arc::clone(&gone), run.clone());
        tokio::spawn(async move {
            let mut mine = Vec::new();
            for number in 0.. {
                let name = format!("r{run}t{task}n{number}");
                let to = [(bob, "bob@red.test")];
                let delivery = house.delivery(&store, &letter(&name), &to).await;
                let delivered = store.deliver(delivery).await.unwrap();
                (&*acknowledged)
                    .write_all(format!("{name}\n").as_bytes())
                    .unwrap();
                mine.push((delivered.stored[0].message, name));
                // Of eight letters six go again.
                if mine.len() == 8 {
                    let old: Vec<_> = mine.drain(..6).collect();
                    let names: String = old.iter().map(|(_, name)| format!("{name}\n")).collect();
                    (&*gone).write_all(names.as_bytes()).unwrap();
                    let messages: Vec<MessageId> = old.into_iter().map(|(id, _)| id).collect();
                    remove(&store, bob, inbox, &messages).await;
                }
            }
        });
    }
    loop {
        house.pass(LONG);
        store.maintain().await.unwrap();
    }
}
