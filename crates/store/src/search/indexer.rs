//! The background work of the index: whatever changed in an account is read and put into it, in
//! batches of several accounts, one batch after another, on one thread beside those that serve
//! people. Nobody waits for it.
//!
//! It keeps nothing that a crash could lose: how far it has come is stored with what it stores.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use base::{AccountId, MessageId};
use message::search::SearchText;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::Instant;

use super::TextExtractor;
use super::index::{Progress, Step};
use super::text::{Document, Raw};
use super::work::{Look, Work, WorkKind};
use crate::aside::Aside;
use crate::engine::Engine;
use crate::open::Inner;
use crate::watch::Touched;
use crate::{BodyReader, Store, StoreError, Structured};

/// How often what belongs to removed accounts is looked for.
const FORGET_EVERY: Duration = Duration::from_secs(600);
/// Letters of a batch: the more share one piece of the index, the less is merged later.
const BATCH_LETTERS: usize = 1_000;
/// Bytes of letters of a batch. While one is written the next is read.
const BATCH_BYTES: usize = 6 * 1024 * 1024;
/// Batches that follow one another before the next look at what has changed.
const BURST_BATCHES: usize = 8;
/// Letters that are looked up at once.
const PAGE_LETTERS: usize = 200;
/// Letters that are read at once: an object store answers each after many milliseconds.
const READS_AT_ONCE: usize = 4;
/// The pause after an error, longer after each.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Below this much of free disk the index waits, whatever margin is set for letters: more than a
/// batch and its log take.
const SPARE_BYTES: u64 = 64 * 1024 * 1024;
/// How long it waits before it looks at the disk again.
const DISK_PAUSE: Duration = Duration::from_secs(5);
/// How often a damaged letter is read in vain before the index goes on without its text.
const READ_ATTEMPTS: u32 = 5;

/// Starts the work; it ends with the store. Changes gather for so long before they are looked at.
pub(super) fn start(store: Weak<Inner>, touched: Arc<Touched>, gather: Duration) {
    tokio::spawn(async move {
        let mut indexer = Indexer::default();
        let mut times = Times::now();
        let mut pause = PAUSE_FIRST;
        loop {
            if indexer.waiting.is_empty() {
                let woken = tokio::time::timeout_at(times.look, touched.any.notified()).await;
                if woken.is_ok() {
                    tokio::time::sleep(gather).await;
                }
            }
            let Some(inner) = store.upgrade() else { return };
            let store = Store(inner);
            if is_short_of_disk(&store) {
                drop(store);
                tokio::time::sleep(DISK_PAUSE).await;
                continue;
            }
            let work = Round {
                indexer,
                store,
                touched: Arc::clone(&touched),
                times,
            };
            let done = match work.run().await {
                Ok((round, done)) => {
                    (indexer, times) = (round.indexer, round.times);
                    done
                }
                // The program is ending.
                Err(error) if error.is_cancelled() => return,
                Err(error) => {
                    (indexer, times) = (Indexer::default(), Times::now());
                    Err(StoreError::Bug(format!("the search index failed: {error}")))
                }
            };
            match done {
                Ok(()) => pause = PAUSE_FIRST,
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "the search index could not go on");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    });
}

/// Whether the index must leave what is free on the disk to letters; what is not in the index is
/// found by reading.
fn is_short_of_disk(store: &Store) -> bool {
    let is_here = matches!(store.0.engine, Engine::Sqlite(_));
    is_here && (store.is_disk_low() || store.disk_space().free_bytes < SPARE_BYTES)
}

/// Brings the index up to what is committed now.
pub(super) async fn catch_up(store: &Store) -> Result<(), StoreError> {
    let mut indexer = Indexer {
        is_thorough: true,
        ..Indexer::default()
    };
    indexer.waiting = lagging(store).await?;
    while !indexer.waiting.is_empty() {
        indexer.burst(store).await?;
    }
    Ok(())
}

async fn lagging(store: &Store) -> Result<BTreeSet<AccountId>, StoreError> {
    let inner = &store.0;
    let found = inner.search.lagging(&inner.engine).await?;
    Ok(found.into_iter().collect())
}

/// Merges what steps have left, on a thread of its own, if nobody does.
fn merge_soon(store: &Store) {
    if !store.0.search.begin_merging() {
        return;
    }
    let store = store.clone();
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let inner = &store.0;
        runtime.block_on(inner.search.merge(&inner.engine, &inner.shared));
    });
}

/// A round, with all that it needs.
struct Round {
    indexer: Indexer,
    store: Store,
    touched: Arc<Touched>,
    times: Times,
}

impl Round {
    /// Does it on a thread of its own: among the tasks of those that serve people, each of its many
    /// steps would wait for all of them.
    async fn run(mut self) -> Result<(Self, Result<(), StoreError>), JoinError> {
        if self.store.0.aside == Aside::Inline {
            let done = self.take().await;
            return Ok((self, done));
        }
        let runtime = tokio::runtime::Handle::current();
        let work = move || {
            let done = runtime.block_on(self.take());
            (self, done)
        };
        tokio::task::spawn_blocking(work).await
    }

    async fn take(&mut self) -> Result<(), StoreError> {
        let Self {
            indexer,
            store,
            touched,
            times,
        } = self;
        indexer.round(store, touched, times).await
    }
}

/// When what is done from time to time is next done.
struct Times {
    look: Instant,
    forget: Instant,
}

impl Times {
    fn now() -> Self {
        let now = Instant::now();
        Self {
            look: now,
            forget: now,
        }
    }
}

#[derive(Default)]
struct Indexer {
    /// Accounts that may have changed.
    waiting: BTreeSet<AccountId>,
    /// The account looked at last: the next in order follows, so that each has its turn.
    last: i64,
    /// How often each letter was found damaged.
    unreadable: BTreeMap<(AccountId, MessageId), u32>,
    /// Whether accounts wait until a look finds nothing, whoever else is at work on them.
    is_thorough: bool,
}

/// What is read at once and written at once.
#[derive(Default)]
struct Batch {
    tasks: Vec<Task>,
    /// The accounts that it is about.
    taken: Vec<AccountId>,
}

/// What is done for one account in a batch.
struct Task {
    account: AccountId,
    from: Option<Progress>,
    work: Work,
    letters: Vec<Raw>,
}

impl Indexer {
    async fn round(
        &mut self,
        store: &Store,
        touched: &Touched,
        times: &mut Times,
    ) -> Result<(), StoreError> {
        let inner = &store.0;
        self.waiting.extend(touched.take());
        if times.forget <= Instant::now() {
            times.forget = Instant::now() + FORGET_EVERY;
            inner.search.forget_removed(&inner.engine).await?;
        }
        if times.look <= Instant::now() {
            times.look = Instant::now() + inner.search.look_every();
            self.waiting.extend(lagging(store).await?);
        }
        self.burst(store).await
    }

    /// Does a few batches, reading the next while one is written. What is left to do waits, and
    /// what failed too.
    async fn burst(&mut self, store: &Store) -> Result<(), StoreError> {
        let _turn = store.0.shared.watches.touched.turn.lock().await;
        // What is being written is not in the index yet, and the next batch starts there.
        let mut ahead = BTreeMap::new();
        let mut writing = Writing::default();
        for _ in 0..BURST_BATCHES {
            let mut batch = Batch::default();
            let gathered = self.gather(store, &ahead, &mut batch).await;
            let made = match gathered {
                Ok(()) => make(store, batch.tasks).await,
                Err(error) => Err(error),
            };
            let written = writing.finish().await;
            if written.is_err() || self.is_thorough {
                self.waiting.append(&mut writing.accounts);
            }
            let steps = match (written, made) {
                (Ok(()), Ok(steps)) => steps,
                (Err(error), _) | (Ok(()), Err(error)) => {
                    self.waiting.extend(batch.taken);
                    return Err(error);
                }
            };
            if steps.is_empty() {
                break;
            }
            ahead.extend(steps.iter().map(|step| (step.account, step.to)));
            writing = Writing::start(store, steps);
        }
        let written = writing.finish().await;
        if written.is_err() || self.is_thorough {
            self.waiting.append(&mut writing.accounts);
        }
        merge_soon(store);
        written
    }

    /// Reads letters until there are enough for a batch, or no account waits.
    async fn gather(
        &mut self,
        store: &Store,
        ahead: &BTreeMap<AccountId, Progress>,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let inner = &store.0;
        let (mut letters, mut bytes) = (0, 0);
        let mut unfinished = Vec::new();
        while letters < BATCH_LETTERS
            && bytes < BATCH_BYTES
            && let Some(account) = self.next_account()
        {
            // Whatever fails below, it is looked at again.
            batch.taken.push(account);
            let held_elsewhere = !self.is_thorough
                && !inner
                    .search
                    .lease(&inner.engine, account, inner.shared.as_ref())
                    .await?;
            if held_elsewhere {
                continue;
            }
            let progress = match ahead.get(&account) {
                Some(progress) => Some(*progress),
                None => inner.search.progress(&inner.engine, account).await?,
            };
            let look = Look { account, progress };
            let Some(work) = inner.engine.read(look).await? else {
                continue;
            };
            let room = BATCH_BYTES.saturating_sub(bytes);
            let (work, read) = self.read_letters(store, account, work, room).await?;
            letters += read.len();
            bytes += read.iter().map(Raw::bytes).sum::<usize>();
            if work.to.modseq < work.modseq || work.to.scan_after.is_some() {
                unfinished.push(account);
            }
            batch.tasks.push(Task {
                account,
                from: progress,
                work,
                letters: read,
            });
        }
        self.waiting.extend(unfinished);
        Ok(())
    }

    fn next_account(&mut self) -> Option<AccountId> {
        let above = AccountId(self.last.saturating_add(1));
        let next = self.waiting.range(above..).next();
        let account = *next.or_else(|| self.waiting.first())?;
        self.waiting.remove(&account);
        self.last = account.0;
        Some(account)
    }

    /// Reads the letters of a piece of work, until they take more than `room` bytes; the rest is
    /// cut off from the work. What one change has made is read as a whole.
    async fn read_letters(
        &mut self,
        store: &Store,
        account: AccountId,
        mut work: Work,
        room: usize,
    ) -> Result<(Work, Vec<Raw>), StoreError> {
        let mut letters = Vec::with_capacity(work.created.len());
        let (mut bytes, mut read) = (0, 0);
        let ids = work.created.clone();
        for page in ids.chunks(PAGE_LETTERS) {
            let rows = store.structured(account, page).await?;
            let rows = rows.into_iter().map(|row| (row.meta.id, row));
            let mut rows: BTreeMap<MessageId, Structured> = rows.collect();
            let mut bodies = store.bodies(account, page.to_vec()).await?;
            for few in page.chunks(READS_AT_ONCE * 8) {
                read += few.len();
                let few = few
                    .iter()
                    .filter_map(|id| rows.remove(id).zip(bodies.remove(id)));
                for raw in self.read_page(account, few.collect()).await? {
                    bytes += raw.bytes();
                    letters.push(raw);
                }
                if bytes > room && work.cut(read) {
                    let kept: BTreeSet<MessageId> = work.created.iter().copied().collect();
                    letters.retain(|raw: &Raw| kept.contains(&raw.message));
                    return Ok((work, letters));
                }
            }
        }
        Ok((work, letters))
    }

    async fn read_page(
        &mut self,
        account: AccountId,
        rows: Vec<(Structured, Result<BodyReader, StoreError>)>,
    ) -> Result<Vec<Raw>, StoreError> {
        let mut letters = Vec::with_capacity(rows.len());
        let mut reading = JoinSet::new();
        let mut rows = rows.into_iter();
        loop {
            while reading.len() < READS_AT_ONCE
                && let Some((row, opened)) = rows.next()
            {
                if opened.as_ref().is_ok_and(BodyReader::is_read) {
                    let read = Raw::of(opened, &row).await;
                    letters.extend(self.read_or_not(account, &row, read)?);
                    continue;
                }
                reading.spawn(async move {
                    let read = Raw::of(opened, &row).await;
                    (row, read)
                });
            }
            let Some(joined) = reading.join_next().await else {
                return Ok(letters);
            };
            let (row, read) = joined.map_err(|error| {
                if error.is_cancelled() {
                    // The program is ending.
                    StoreError::Closed
                } else {
                    StoreError::Bug(format!("reading a letter panicked: {error}"))
                }
            })?;
            letters.extend(self.read_or_not(account, &row, read)?);
        }
    }

    /// A letter that is damaged holds the index up for a while only. Where letters cannot be read now,
    /// as in an outage of the object store, the index waits: without their text it would have to be
    /// made anew.
    fn read_or_not(
        &mut self,
        account: AccountId,
        row: &Structured,
        read: Result<Option<Raw>, StoreError>,
    ) -> Result<Option<Raw>, StoreError> {
        let error = match read {
            Ok(raw) => return Ok(raw),
            Err(error @ StoreError::Damaged(_)) => error,
            Err(error) => return Err(error),
        };
        let message = row.meta.id;
        let attempts = self.unreadable.entry((account, message)).or_default();
        *attempts += 1;
        if *attempts < READ_ATTEMPTS {
            return Err(error);
        }
        self.unreadable.remove(&(account, message));
        tracing::warn!(account = account.0, message = message.0, %error,
            "a letter cannot be read: it is found by its subject and addresses only");
        Ok(Raw::without_bytes(row))
    }
}

/// Makes the tokens.
async fn make(store: &Store, tasks: Vec<Task>) -> Result<Vec<Step>, StoreError> {
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    let extractor = store.0.extractor.clone();
    let making = move || -> Vec<Step> {
        let steps = tasks.into_iter();
        steps.map(|task| step(task, extractor.as_ref())).collect()
    };
    store.0.aside.run("reading texts", making).await
}

/// Steps that are being written, and the accounts that they are about.
#[derive(Default)]
struct Writing {
    accounts: BTreeSet<AccountId>,
    task: Option<JoinHandle<Result<(), StoreError>>>,
}

impl Writing {
    fn start(store: &Store, steps: Vec<Step>) -> Self {
        let accounts = steps.iter().map(|step| step.account).collect();
        let store = store.clone();
        let task = tokio::spawn(async move {
            {
                let inner = &store.0;
                inner.search.take(&inner.engine, inner.aside, steps).await
            }
        });
        Self {
            accounts,
            task: Some(task),
        }
    }

    /// Waits for the end.
    async fn finish(&mut self) -> Result<(), StoreError> {
        let Some(task) = self.task.take() else {
            return Ok(());
        };
        task.await.map_err(|error| {
            if error.is_cancelled() {
                // The program is ending.
                StoreError::Closed
            } else {
                StoreError::Bug(format!("writing the search index panicked: {error}"))
            }
        })?
    }
}

fn step(task: Task, extractor: Option<&Arc<dyn TextExtractor>>) -> Step {
    let account = task.account;
    let documents = task.letters.iter().map(|raw| {
        let made = catch_unwind(AssertUnwindSafe(|| raw.document(account, extractor)));
        made.unwrap_or_else(|_| {
            // One letter must not hold up all others for ever.
            tracing::error!(
                account = account.0,
                message = raw.message.0,
                "a text panicked"
            );
            Document::new(account, raw.message, &SearchText::default())
        })
    });
    Step {
        account,
        from: task.from,
        to: task.work.to,
        cleared: match task.work.kind {
            WorkKind::Mailboxes(after, through) => Some((after, through)),
            WorkKind::Log => None,
        },
        documents: documents.collect(),
        removed: task.work.destroyed,
    }
}

#[cfg(test)]
mod tests {
    use base::{ThreadId, Timestamp};
    use bytes::Bytes;
    use message::Message;

    use super::*;
    use crate::MessageMeta;

    fn row() -> Structured {
        let letter = Bytes::from_static(b"Subject: x\r\n\r\ntext\r\n");
        Structured {
            meta: MessageMeta {
                id: MessageId(1),
                thread: ThreadId(1),
                received_at: Timestamp(0),
                size: 20,
                head_bytes: 0,
                letter: None,
            },
            head: Bytes::new(),
            envelope: Bytes::new(),
            structure: Message::parse(&letter).into_structure().encode().into(),
            preview: String::new(),
        }
    }

    /// Letters that went into the index without their text in an outage would never be found by it.
    #[test]
    fn an_outage_holds_the_index_up_and_damage_only_for_a_while() {
        let mut indexer = Indexer::default();
        let mut read = |error: &StoreError| {
            let read = indexer.read_or_not(AccountId(1), &row(), Err(error.clone()));
            read.map(|raw| raw.is_some())
        };
        let outage = StoreError::Io("no answer".to_owned());
        for _ in 0..100 {
            assert_eq!(read(&outage), Err(outage.clone()));
        }
        let damage = StoreError::Damaged("a bit is wrong".to_owned());
        for _ in 1..READ_ATTEMPTS {
            assert_eq!(read(&damage), Err(damage.clone()));
        }
        assert_eq!(read(&damage), Ok(true));
    }
}
