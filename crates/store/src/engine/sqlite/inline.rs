//! The engine of a simulated store: the work of the threads, in the same order and by the same code,
//! on the tasks of one thread.
//!
//! Time passes before a commit, as a flush takes its time, and what waits then shares the commit.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::metrics::Gauge;
use tokio::time::{Instant, sleep, timeout_at};

use super::Session;
use super::checkpoint::{Checkpointer, PERIOD, Seen};
use super::job::BodyJob;
use super::queue::{JobQueue, Taken};
use super::readers::read;
use super::writer::{IDLE_AFTER, Writer};
use crate::engine::Body;
use crate::{SimulatedDisk, StoreError};

/// The connection that reads, in place of the reading threads.
pub(super) struct Reader(Mutex<Session>);

impl Reader {
    pub(super) fn new(session: Session) -> Self {
        Self(Mutex::new(session))
    }

    /// Runs a body on a snapshot of its own. Others may run before it, as they may with threads.
    pub(super) async fn read<B: Body>(&self, job: BodyJob<B>) -> Result<B::Out, StoreError> {
        tokio::task::yield_now().await;
        let (job, answer) = job.with_reply(None);
        read(
            &mut self.0.lock().unwrap_or_else(PoisonError::into_inner),
            Box::new(job),
        );
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

/// The task that writes and checkpoints.
pub(super) struct WriterTask {
    pub writer: Writer,
    pub writes: Arc<JobQueue>,
    pub checkpointer: Arc<Checkpointer>,
    pub session: Session,
    pub log_bytes: Gauge,
    pub disk: Arc<dyn SimulatedDisk>,
    pub lock: Arc<dyn Send + Sync>,
}

/// Why the task woke up.
enum Wake {
    Work,
    Look,
    Idle,
}

impl WriterTask {
    /// Runs until the queue is closed and empty; then moves the log into the file.
    pub(super) async fn run(mut self) {
        let mut jobs = Vec::new();
        let mut seen = Seen::default();
        let mut look_at = Instant::now() + PERIOD;
        let mut idle_at = Some(Instant::now() + IDLE_AFTER);
        loop {
            let look = (!seen.idle).then_some(look_at);
            let goes_on = match wake(&self.writes, look, idle_at).await {
                Wake::Look => {
                    // How long the log is on a disk nobody asks: it is cut when the store closes.
                    self.checkpointer
                        .look(&self.session, 0, &self.log_bytes, &mut seen);
                    look_at = Instant::now() + PERIOD;
                    true
                }
                Wake::Idle => {
                    idle_at = None;
                    self.writer.turn(Taken::Nothing, &mut jobs)
                }
                Wake::Work => {
                    sleep(self.disk.flush_time()).await;
                    idle_at = Some(Instant::now() + IDLE_AFTER);
                    seen.idle = false;
                    let taken = self.writes.take(Duration::ZERO);
                    self.writer.turn(taken, &mut jobs)
                }
            };
            if !goes_on {
                break;
            }
        }
        self.writer.finish();
        drop(self.lock);
    }
}

/// Waits for work, or until the log is to be looked at, or until the writer counts as idle.
async fn wake(writes: &JobQueue, look: Option<Instant>, idle: Option<Instant>) -> Wake {
    let next = match (look, idle) {
        (Some(look), Some(idle)) if look > idle => Some((idle, Wake::Idle)),
        (Some(look), _) => Some((look, Wake::Look)),
        (None, Some(idle)) => Some((idle, Wake::Idle)),
        (None, None) => None,
    };
    // The bell may still ring for work that is done already.
    let work = async {
        while !writes.has_work() {
            writes.rung().await;
        }
    };
    match next {
        Some((until, wake)) => match timeout_at(until, work).await {
            Ok(()) => Wake::Work,
            Err(_) => wake,
        },
        None => {
            work.await;
            Wake::Work
        }
    }
}
