//! The writer: drains waiting bodies, runs each in a savepoint, commits once, then acknowledges all.
//!
//! A body that fails or panics takes only its own savepoint back. When the transaction itself is
//! gone after an error, each body of the batch is run again in a transaction of its own; when
//! COMMIT fails, every body is answered with the error and none is acknowledged.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Session;
use super::checkpoint::Checkpointer;
use super::job::Job;
use super::queue::{JobQueue, Taken};
use crate::StoreError;
use crate::metrics::StoreMetrics;

/// Bodies in one commit.
const BATCH_MAX: usize = 64;
/// Work in one commit: the last one in waits so much longer for its acknowledgement.
const BATCH_TIME_MAX: Duration = Duration::from_millis(10);
/// A body that works longer is logged: it should have been split.
const BODY_TIME_MAX: Duration = Duration::from_millis(20);

/// How long the writer waits for work before it gives pages back.
pub(super) const IDLE_AFTER: Duration = Duration::from_secs(10);

/// The writer with its connection.
pub(super) struct Writer {
    session: Session,
    queue: Arc<JobQueue>,
    checkpointer: Arc<Checkpointer>,
    metrics: Arc<StoreMetrics>,
    /// Whether it has worked since it was idle.
    worked: bool,
}

/// How a batch ended before its commit.
enum Batch {
    /// The transaction is open and holds the work of those that succeeded.
    Open,
    /// The transaction is gone.
    Lost,
}

impl Writer {
    pub(super) fn new(
        session: Session,
        queue: Arc<JobQueue>,
        checkpointer: Arc<Checkpointer>,
        metrics: Arc<StoreMetrics>,
    ) -> Self {
        Self {
            session,
            queue,
            checkpointer,
            metrics,
            worked: true,
        }
    }

    /// The thread: runs until the queue is closed and empty; then moves the log into the file.
    pub(super) fn run(mut self) {
        let mut jobs = Vec::with_capacity(BATCH_MAX);
        while {
            let taken = self.queue.take(IDLE_AFTER);
            self.turn(taken, &mut jobs)
        } {}
        self.finish();
    }

    /// Does one batch, or what is done when there is none; `false` when the queue is closed and
    /// empty.
    pub(super) fn turn(&mut self, taken: Taken, jobs: &mut Vec<Box<dyn Job>>) -> bool {
        match taken {
            Taken::Job(job) => {
                self.batch(job, jobs);
                self.worked = true;
            }
            Taken::Nothing => self.idle(),
            Taken::Closed => return false,
        }
        self.checkpointer.help(&self.session);
        true
    }

    /// Moves the log into the file.
    pub(super) fn finish(&self) {
        if let Err(error) = self.session.truncate_log() {
            // The next start reads it from the log.
            tracing::debug!(%error, "the log could not be moved into the database on closing");
        }
    }

    /// What is done when nobody waits: gives back disk and memory.
    fn idle(&mut self) {
        self.give_back();
        if std::mem::take(&mut self.worked)
            && let Err(error) = self.session.shrink()
        {
            tracing::debug!(%error, "the page cache could not be given back");
        }
    }

    /// Gives pages that are no longer used back to the disk, some at a time, when nobody waits.
    fn give_back(&self) {
        match self.session.give_back() {
            // What was moved stands in the log, which wants to be checkpointed like any other work.
            Ok(given) if given > 0 => self.checkpointer.committed(),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "free pages could not be given back"),
        }
    }

    fn batch(&mut self, first: Box<dyn Job>, jobs: &mut Vec<Box<dyn Job>>) {
        let started = Instant::now();
        if let Err(error) = self.session.control("BEGIN IMMEDIATE") {
            first.refuse(error);
            return;
        }
        match self.run_all(first, jobs, started) {
            Batch::Open => self.commit(jobs),
            Batch::Lost => self.run_each_alone(jobs),
        }
        self.metrics
            .commit_seconds
            .observe(started.elapsed().as_secs_f64());
        self.checkpointer.committed();
    }

    fn run_all(
        &mut self,
        first: Box<dyn Job>,
        jobs: &mut Vec<Box<dyn Job>>,
        started: Instant,
    ) -> Batch {
        let mut next = Some(first);
        while let Some(mut job) = next.take() {
            let lived = self.run_one(job.as_mut());
            jobs.push(job);
            if !lived {
                return Batch::Lost;
            }
            if jobs.len() < BATCH_MAX && started.elapsed() < BATCH_TIME_MAX {
                next = self.queue.try_take();
            }
        }
        Batch::Open
    }

    /// Runs a body in a savepoint; `false` if the transaction is gone.
    fn run_one(&mut self, job: &mut dyn Job) -> bool {
        let started = Instant::now();
        if self.session.control("SAVEPOINT body").is_err() {
            return false;
        }
        let succeeded = job.run(&mut self.session);
        if !self.session.in_transaction() {
            return false;
        }
        let took = started.elapsed();
        if took > BODY_TIME_MAX {
            self.metrics.long_transactions.inc();
            tracing::warn!(ms = took.as_millis(), "a transaction took long");
        }
        let ended = if succeeded {
            self.session.control("RELEASE body")
        } else {
            self.session
                .control("ROLLBACK TO body")
                .and_then(|()| self.session.control("RELEASE body"))
        };
        ended.is_ok() && self.session.in_transaction()
    }

    fn commit(&mut self, jobs: &mut Vec<Box<dyn Job>>) {
        match self.session.control("COMMIT") {
            Ok(()) => {
                self.metrics.commits.inc();
                self.metrics.batch_size.observe(count(jobs.len()));
                for job in jobs.drain(..) {
                    job.acknowledge();
                }
            }
            Err(error) => {
                tracing::error!(%error, transactions = jobs.len(), "a commit failed");
                self.roll_back();
                for job in jobs.drain(..) {
                    job.refuse(transient(&error));
                }
            }
        }
    }

    /// The transaction broke under a batch: whose fault it was shows when each runs alone.
    fn run_each_alone(&mut self, jobs: &mut Vec<Box<dyn Job>>) {
        self.roll_back();
        for mut job in jobs.drain(..) {
            if let Err(error) = self.session.control("BEGIN IMMEDIATE") {
                job.refuse(transient(&error));
                continue;
            }
            let succeeded = job.run(&mut self.session);
            if !succeeded {
                self.roll_back();
                job.acknowledge();
            } else if !self.session.in_transaction() {
                job.refuse(StoreError::Io("the transaction was lost".to_owned()));
            } else if let Err(error) = self.session.control("COMMIT") {
                tracing::error!(%error, "a commit failed");
                self.roll_back();
                job.refuse(transient(&error));
            } else {
                self.metrics.commits.inc();
                job.acknowledge();
            }
        }
    }

    fn roll_back(&self) {
        if self.session.in_transaction()
            && let Err(error) = self.session.control("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
    }
}

/// The answer to those whose commit failed: nothing of theirs is stored, and trying again may help.
fn transient(error: &StoreError) -> StoreError {
    match error {
        StoreError::DiskFull => StoreError::DiskFull,
        StoreError::Busy(why) => StoreError::Busy(why.clone()),
        other => StoreError::Io(format!("the commit failed: {other}")),
    }
}

#[expect(clippy::cast_precision_loss, reason = "at most 64")]
fn count(jobs: usize) -> f64 {
    jobs as f64
}
