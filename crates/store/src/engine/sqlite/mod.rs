//! The embedded engine: one SQLite file in WAL mode, one writer thread with group commit, a small
//! pool of reading threads on snapshots, and a thread that checkpoints beside the writer. In a
//! simulation one task does the work of all these threads.

mod checkpoint;
mod inline;
mod job;
mod queue;
mod readers;
mod schema;
mod session;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use base::Timestamp;

pub(crate) use queue::Priority;
pub(crate) use schema::SCHEMA;
pub(crate) use session::{Session, connect, failure};

use super::Body;
use crate::metrics::StoreMetrics;
use crate::{SimulatedDisk, StoreError, Synchronous};
use checkpoint::Checkpointer;
use job::BodyJob;
use queue::JobQueue;

/// Transactions that may wait for the writer; more wait outside, in the order they came.
const WRITES_WAITING_MAX: usize = 1_024;
/// Reads that may wait for a reading thread.
const READS_WAITING_MAX: usize = 1_024;
/// Reading threads: enough to keep the disk busy, few enough to cost little memory.
const READERS_MAX: usize = 4;

/// What the engine needs to open.
pub(crate) struct EngineOptions {
    /// The database file.
    pub path: PathBuf,
    /// How durable a commit is.
    pub synchronous: Synchronous,
    /// Where the figures go.
    pub metrics: Arc<StoreMetrics>,
    /// The time, for the note of a migration.
    pub now: Timestamp,
    /// Held as long as the writer lives, so that no second process opens the file before.
    pub lock: Arc<dyn Send + Sync>,
    /// The disk, in a simulation.
    pub simulated: Option<Arc<dyn SimulatedDisk>>,
}

/// Statements seen, for the test that compares them with the table classes.
pub(crate) type Statements = Arc<Mutex<BTreeSet<&'static str>>>;

/// The running engine.
pub(crate) struct Engine {
    writes: Arc<JobQueue>,
    reads: Arc<JobQueue>,
    checkpointer: Arc<Checkpointer>,
    statements: Statements,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Reads where it is asked, in a simulation.
    reader: Option<inline::Reader>,
}

impl Engine {
    /// Opens the file, brings its schema up to date and starts the threads. Blocks.
    pub(crate) fn open(options: EngineOptions) -> Result<Self, StoreError> {
        let statements = Statements::default();
        let mut session = Session::open_writer(&options, &statements)?;
        schema::migrate(&mut session, options.now)?;
        let writes = Arc::new(JobQueue::new(WRITES_WAITING_MAX));
        let reads = Arc::new(JobQueue::new(READS_WAITING_MAX));
        let checkpointer = Arc::new(Checkpointer::new(&options.path, Arc::clone(&writes)));
        let checkpoint_session = Session::open_checkpointer(&options)?;
        let writer = writer::Writer::new(
            session,
            Arc::clone(&writes),
            Arc::clone(&checkpointer),
            Arc::clone(&options.metrics),
        );
        let mut threads = Vec::new();
        if let Some(disk) = &options.simulated {
            let session = Session::open_reader(&options, &statements)?;
            let task = inline::WriterTask {
                writer,
                writes: Arc::clone(&writes),
                checkpointer: Arc::clone(&checkpointer),
                session: checkpoint_session,
                log_bytes: options.metrics.wal_bytes.clone(),
                disk: Arc::clone(disk),
                lock: options.lock,
            };
            tokio::spawn(task.run());
            return Ok(Self {
                writes,
                reads,
                checkpointer,
                statements,
                threads: Mutex::new(threads),
                reader: Some(inline::Reader::new(session)),
            });
        }
        let readers = std::thread::available_parallelism().map_or(2, usize::from);
        for number in 0..readers.clamp(2, READERS_MAX) {
            let session = Session::open_reader(&options, &statements)?;
            let queue = Arc::clone(&reads);
            threads.push(spawn(&format!("store-read-{number}"), move || {
                readers::run(session, &queue);
            })?);
        }
        let shared = Arc::clone(&checkpointer);
        let gauge = options.metrics.wal_bytes.clone();
        threads.push(spawn("store-checkpoint", move || {
            shared.run(&checkpoint_session, &gauge);
        })?);
        let lock = options.lock;
        threads.push(spawn("store-write", move || {
            writer.run();
            drop(lock);
        })?);
        Ok(Self {
            writes,
            reads,
            checkpointer,
            statements,
            threads: Mutex::new(threads),
            reader: None,
        })
    }

    /// Runs a body in the next group commit; what it answers is on disk. The body runs even if
    /// the caller stops waiting.
    pub(crate) async fn write<B: Body>(
        &self,
        body: B,
        priority: Priority,
    ) -> Result<B::Out, StoreError> {
        self.writes.ask(BodyJob::new(body), priority).await
    }

    /// Runs a body on a snapshot of its own.
    pub(crate) async fn read<B: Body>(&self, body: B) -> Result<B::Out, StoreError> {
        match &self.reader {
            Some(reader) => reader.read(BodyJob::new(body)).await,
            None => self.reads.ask(BodyJob::new(body), Priority::Urgent).await,
        }
    }

    /// Finishes what waits and ends the threads. Blocks.
    pub(crate) fn close(&self) {
        self.stop();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A thread that panicked has nothing left to finish.
            let _ = thread.join();
        }
    }

    /// The statements that were run so far.
    pub(crate) fn statements(&self) -> Vec<&'static str> {
        let seen = self
            .statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        seen.iter().copied().collect()
    }

    fn stop(&self) {
        self.writes.close();
        self.reads.close();
        self.checkpointer.close();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| StoreError::Io(format!("cannot start a thread: {error}")))
}

/// The name of the write-ahead log of a database file.
fn wal_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}
