//! Compares the homes of letters' bytes on a long run with deletes: `cargo bench -p pennyblack-store
//! --bench homes -- [rounds=8] [letters=4K] [producers=16] [sizes=5K,50K,mix]`.
//!
//! The homes take turns, round by round, so that what else the machine does meets all of them. In a
//! round letters are delivered while the room of what was deleted in the round before is given back;
//! then seven of ten letters of the round are deleted, and three hours go by. At the end the store is
//! copied as a backup would, whole, and once more after another round, without what is the same.

#![expect(clippy::unwrap_used, reason = "a failure ends the measurement")]
#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

mod world;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base::ports::Clock;
use base::{AccountId, MailboxId, Timestamp, Uid};
use pennyblack_store::{BlobHome, FlagChange, FlagOp, Keywords, Store};
use world::{Times, WallClock, cpu_ms, letter, number, proc_number};

/// Longer than the graces of collector and compactor.
const LONG: Duration = Duration::from_secs(3 * 3_600);
/// Of ten letters so many are deleted.
const DELETED_OF_TEN: u32 = 7;
/// Messages that are deleted with one command.
const DELETED_AT_ONCE: usize = 500;

/// The time of the machine, moved on between rounds.
struct Shifted(AtomicI64);

impl Clock for Shifted {
    fn now(&self) -> Timestamp {
        Timestamp(WallClock.now().0 + self.0.load(Ordering::Relaxed))
    }
}

/// One home under measurement.
struct Contender {
    name: &'static str,
    store: Store,
    bob: AccountId,
    inbox: MailboxId,
    folder: tempfile::TempDir,
    clock: Arc<Shifted>,
    times: Times,
    seconds: f64,
    cpu_ms: f64,
    written: u64,
    /// Bytes on disk after each round.
    grown: Vec<u64>,
}

impl Contender {
    async fn new(name: &'static str, blobs: BlobHome) -> Self {
        let folder = tempfile::tempdir_in(".").unwrap();
        let clock = Arc::new(Shifted(AtomicI64::new(0)));
        let mut options = world::options(folder.path());
        options.blobs = blobs;
        // What is deleted is gone at once.
        let mut limits = base::limits::Limits::clone(&options.limits);
        limits.retention.deleted = Duration::ZERO;
        options.limits = Arc::new(limits);
        options.clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let store = Store::open(options).await.unwrap();
        let bob = world::make_accounts(&store, 1).await[0];
        let inbox = store.mailbox(bob, "INBOX").await.unwrap().unwrap().id;
        Self {
            name,
            store,
            bob,
            inbox,
            folder,
            clock,
            times: Times::default(),
            seconds: 0.0,
            cpu_ms: 0.0,
            written: 0,
            grown: Vec::new(),
        }
    }

    /// Delivers letters with these numbers while room is given back, then deletes most of them.
    async fn round(&mut self, size: Size, range: (u64, u64)) {
        let (cpu, written) = (cpu_ms(), proc_number("io", "write_bytes:"));
        let maintained = {
            let store = self.store.clone();
            tokio::spawn(async move { store.maintain().await.unwrap() })
        };
        self.deliver(size, range).await;
        maintained.await.unwrap();
        // The search index is the same work for all, and must not be done in another's turn.
        self.store.index_now().await.unwrap();
        self.cpu_ms += cpu_ms() - cpu;
        self.written += proc_number("io", "write_bytes:") - written;
        self.delete(range.1 - range.0).await;
        let long = i64::try_from(LONG.as_millis()).unwrap();
        self.clock.0.fetch_add(long, Ordering::Relaxed);
        let files = files_of(&self.data()).into_iter();
        self.grown.push(files.map(|(_, bytes)| bytes).sum());
    }

    async fn deliver(&mut self, size: Size, range: (u64, u64)) {
        let next = Arc::new(AtomicU64::new(range.0));
        let began = Instant::now();
        let mut tasks = Vec::new();
        for _ in 0..number("producers", 16) {
            let (store, next, bob) = (self.store.clone(), Arc::clone(&next), self.bob);
            tasks.push(tokio::spawn(async move {
                let mut confirms = Vec::new();
                let mut times = Times::default();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= range.1 {
                        return times;
                    }
                    let text = letter(number, size.of(number));
                    let delivery = world::delivery(&store, text, bob, &mut confirms).await;
                    let began = Instant::now();
                    let delivered = store.deliver(delivery).await.unwrap();
                    times.add(began);
                    confirms.push(delivered.letter);
                }
            }));
        }
        for task in tasks {
            self.times.extend(task.await.unwrap());
        }
        self.seconds += began.elapsed().as_secs_f64();
    }

    /// Deletes most of the newest letters.
    async fn delete(&self, letters: u64) {
        let next = self.store.mailbox(self.bob, "INBOX").await.unwrap();
        let next = u64::from(next.unwrap().status.uid_next.0);
        let from = Uid(u32::try_from(next - letters).unwrap());
        let rows = self
            .store
            .placements(self.bob, self.inbox, from, usize::MAX)
            .await
            .unwrap();
        let uids: Vec<Uid> = rows
            .iter()
            .map(|row| row.uid)
            .filter(|uid| uid.0 % 10 < DELETED_OF_TEN)
            .collect();
        let delete = FlagChange {
            op: FlagOp::Add,
            keywords: Keywords::default(),
            deleted: true,
            unchanged_since: None,
        };
        for some in uids.chunks(DELETED_AT_ONCE) {
            let set = self.store.set_flags(self.bob, self.inbox, some, &delete);
            set.await.unwrap();
            let expunged = self.store.expunge(self.bob, self.inbox, Some(some));
            expunged.await.unwrap();
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Copies the files that are not in the copy yet, or are the database; gives what was copied.
    fn back_up(&self, known: &mut BTreeMap<PathBuf, u64>) -> (f64, u64) {
        let _kept = self.store.keep_blobs();
        let began = Instant::now();
        let mut copied = 0;
        let to = self.folder.path().join("copy");
        fs::create_dir_all(&to).unwrap();
        for (path, bytes) in files_of(&self.data()) {
            let is_same = path.extension().is_some_and(|extension| extension == "seg")
                && known.get(&path) == Some(&bytes);
            if is_same {
                continue;
            }
            let target = to.join(path.file_name().unwrap());
            copied += fs::copy(&path, &target).unwrap();
            fs::File::open(&target).unwrap().sync_all().unwrap();
            known.insert(path, bytes);
        }
        (began.elapsed().as_secs_f64(), copied)
    }
}

fn files_of(folder: &Path) -> Vec<(PathBuf, u64)> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut files = Vec::new();
    for entry in entries {
        let about = entry.metadata().unwrap();
        if about.is_dir() {
            files.extend(files_of(&entry.path()));
        } else if about.is_file() && !is_index(&entry.path()) {
            files.push((entry.path(), about.len()));
        }
    }
    files
}

/// Whether a file belongs to the search index, which no copy needs.
fn is_index(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| name.starts_with("search.db"))
}

/// The letters of a run.
#[derive(Clone, Copy)]
enum Size {
    All(usize),
    /// As mailboxes have them: most are small, some carry attachments, few carry large ones.
    Mix,
}

impl Size {
    fn read(text: &str) -> Self {
        if text == "mix" {
            return Self::Mix;
        }
        let digits = text.trim_end_matches('K');
        Self::All(digits.parse::<usize>().unwrap() * 1_000)
    }

    fn of(self, number: u64) -> usize {
        match self {
            Self::All(bytes) => bytes,
            Self::Mix => match number % 100 {
                0 => 1_000_000,
                1..=20 => 50_000,
                _ => 5_000,
            },
        }
    }
}

async fn compare(text: &str) {
    let size = Size::read(text);
    let letters = number("letters", 4_000);
    let rounds = number("rounds", 8);
    let segments = |inline_bytes_max| BlobHome::Segments {
        folder: None,
        inline_bytes_max,
    };
    let mut contenders = [
        Contender::new("inline", BlobHome::Inline).await,
        Contender::new("segments", segments(0)).await,
        Contender::new("both", segments(16 * 1024)).await,
    ];
    for round in 0..rounds {
        for contender in &mut contenders {
            contender
                .round(size, (round * letters, (round + 1) * letters))
                .await;
        }
    }
    println!("{text}, {rounds} rounds of {letters} letters");
    for contender in &mut contenders {
        let all = (rounds * letters) as f64;
        let mib = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
        let grown: Vec<String> = contender
            .grown
            .iter()
            .map(|bytes| format!("{:.0}", mib(*bytes)))
            .collect();
        let mut known = BTreeMap::new();
        let (whole, whole_bytes) = contender.back_up(&mut known);
        contender
            .round(size, (rounds * letters, (rounds + 1) * letters))
            .await;
        let (again, again_bytes) = contender.back_up(&mut known);
        println!(
            "  {:<8} {:>6.0}/s, {}, {:.3} ms CPU and {:.1} KiB written a letter; MiB after each \
             round {}; copy of {:.0} MiB {:.2} s, after a round {:.0} MiB {:.2} s",
            contender.name,
            all / contender.seconds,
            contender.times.told(),
            contender.cpu_ms / all,
            contender.written as f64 / all / 1024.0,
            grown.join(" "),
            mib(whole_bytes),
            whole,
            mib(again_bytes),
            again,
        );
        let wrong = contender.store.verify().await.unwrap();
        assert_eq!(wrong, Vec::<String>::new());
        contender.store.close().await.unwrap();
    }
}

fn main() {
    let runtime = world::runtime();
    for text in world::choice("sizes", "5K,50K,mix").split(',') {
        runtime.block_on(compare(text));
    }
}
