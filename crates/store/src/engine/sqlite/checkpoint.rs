//! Moves the log into the database file beside the writer.
//!
//! A checkpoint inside the writer would stall it (up to 400 ms with 50 KB letters), and a log that
//! is never started anew would grow without end: under steady load there is always a frame that is
//! not in the file yet. So this thread copies and syncs nearly everything with PASSIVE, which
//! hinders nobody; when the log is longer than a limit, the writer copies the short rest between two
//! batches, after which its next commit starts the log from the beginning.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use base::metrics::Gauge;
use tokio::time::Instant;

use super::queue::JobQueue;
use super::{Session, wal_path};

/// How often the log is looked at while letters come.
pub(super) const PERIOD: Duration = Duration::from_millis(100);
/// Frames in the log from which on the writer helps: 8 MiB. Under full load the log is about four times
/// as long, which is read in 0.2 s after a crash.
const FRAMES_MAX: i64 = 2_048;
/// An idle log file longer than this is cut.
const IDLE_LOG_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// When the log counts as idle.
const IDLE_AFTER: Duration = Duration::from_secs(2);

const NOTHING: u8 = 0;
const FINISH: u8 = 1;
const TRUNCATE: u8 = 2;

/// What the thread and the writer share.
pub(super) struct Checkpointer {
    log: PathBuf,
    dirty: AtomicBool,
    /// What the writer is asked to do.
    wanted: AtomicU8,
    closed: Mutex<bool>,
    wake: Condvar,
    /// The writer's queue, to wake the writer when it is idle.
    queue: Arc<JobQueue>,
}

/// What earlier looks have found.
pub(super) struct Seen {
    last_work: Instant,
    /// Whether the log was cut since there was work.
    cut: bool,
    /// Whether there is nothing to do before the next commit.
    pub(super) idle: bool,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            last_work: Instant::now(),
            cut: false,
            idle: false,
        }
    }
}

impl Checkpointer {
    pub(super) fn new(database: &Path, queue: Arc<JobQueue>) -> Self {
        Self {
            log: wal_path(database),
            dirty: AtomicBool::new(true),
            wanted: AtomicU8::new(NOTHING),
            closed: Mutex::new(false),
            wake: Condvar::new(),
            queue,
        }
    }

    /// The writer has committed.
    pub(super) fn committed(&self) {
        if !self.dirty.swap(true, Ordering::AcqRel) {
            // The thread may sleep until this moment; it looks at `dirty` under the lock.
            drop(self.closed.lock().unwrap_or_else(PoisonError::into_inner));
            self.wake.notify_all();
        }
    }

    /// Called by the writer between two batches.
    pub(super) fn help(&self, session: &Session) {
        let result = match self.wanted.load(Ordering::Acquire) {
            FINISH => session.checkpoint("PASSIVE").map(|_| ()),
            TRUNCATE => session.truncate_log(),
            _ => return,
        };
        self.wanted.store(NOTHING, Ordering::Release);
        if let Err(error) = result {
            tracing::warn!(%error, "a checkpoint failed");
        }
    }

    pub(super) fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_all();
    }

    /// The thread: runs until closed.
    pub(super) fn run(&self, session: &Session, log_bytes: &Gauge) {
        let mut seen = Seen::default();
        while !self.sleep(seen.idle) {
            let length = std::fs::metadata(&self.log).map_or(0, |file| file.len());
            self.look(session, length, log_bytes, &mut seen);
        }
    }

    /// One look at the log, which is so long.
    pub(super) fn look(&self, session: &Session, length: u64, log_bytes: &Gauge, seen: &mut Seen) {
        seen.idle = false;
        log_bytes.set(i64::try_from(length).unwrap_or(i64::MAX));
        if self.wanted.load(Ordering::Acquire) != NOTHING {
            return;
        }
        if self.dirty.swap(false, Ordering::AcqRel) {
            seen.last_work = Instant::now();
            seen.cut = false;
            self.copy(session);
        } else if seen.cut || length <= IDLE_LOG_BYTES_MAX {
            seen.idle = true;
        } else if seen.last_work.elapsed() > IDLE_AFTER {
            seen.cut = true;
            self.ask(TRUNCATE);
        }
    }

    fn copy(&self, session: &Session) {
        match session.checkpoint("PASSIVE") {
            Ok((frames, _)) if frames > FRAMES_MAX => self.ask(FINISH),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a checkpoint failed"),
        }
    }

    fn ask(&self, work: u8) {
        self.wanted.store(work, Ordering::Release);
        self.queue.nudge();
    }

    /// Sleeps one period, and before that until there is a commit if there is nothing to do; `true`
    /// when closed.
    fn sleep(&self, idle: bool) -> bool {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if idle {
            let nothing = |closed: &mut bool| !*closed && !self.dirty.load(Ordering::Acquire);
            closed = self
                .wake
                .wait_while(closed, nothing)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let (closed, _) = self
            .wake
            .wait_timeout_while(closed, PERIOD, |closed| !*closed)
            .unwrap_or_else(PoisonError::into_inner);
        *closed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A look, once the thread has nothing to do, comes with the next commit and not before.
    #[test]
    fn an_idle_thread_sleeps_until_a_commit() {
        let checkpointer = Arc::new(Checkpointer::new(
            Path::new("mail.db"),
            Arc::new(JobQueue::new(1)),
        ));
        checkpointer.dirty.store(false, Ordering::Release);
        let (looks, looked) = mpsc::channel();
        let shared = Arc::clone(&checkpointer);
        let thread = std::thread::spawn(move || {
            while !shared.sleep(true) {
                shared.dirty.store(false, Ordering::Release);
                looks.send(()).unwrap();
            }
        });
        assert!(looked.recv_timeout(PERIOD * 5).is_err(), "it looked");
        for _ in 0..2 {
            checkpointer.committed();
            assert!(looked.recv_timeout(PERIOD * 50).is_ok(), "it sleeps on");
        }
        assert!(looked.recv_timeout(PERIOD * 5).is_err(), "it looked again");
        checkpointer.close();
        thread.join().unwrap();
    }
}
