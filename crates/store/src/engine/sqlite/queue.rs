//! The bounded queue before a thread that runs bodies.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

use super::job::{BodyJob, Job};
use crate::StoreError;
use crate::engine::Body;

/// Who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    /// Deliveries, flags, everything a peer or a person waits for.
    Urgent,
    /// Pieces of larger work.
    Bulk,
    /// Parts of a large letter, stored before the letter itself, for which somebody waits. On
    /// PostgreSQL they are urgent; on SQLite's one writer they would delay all small letters.
    Part,
    /// Steps of the search index, which may take a second each: on PostgreSQL nothing else waits
    /// behind them. SQLite has one writer, and they are pieces of larger work there.
    Index,
}

/// The queue.
pub(super) struct JobQueue {
    waiting: Mutex<Waiting>,
    ready: Condvar,
    /// The same for a task.
    bell: Notify,
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct Waiting {
    urgent: VecDeque<Box<dyn Job>>,
    bulk: VecDeque<Box<dyn Job>>,
    /// Urgent jobs taken since the last bulk job.
    urgent_in_a_row: u32,
    closed: bool,
}

/// What [`JobQueue::take`] found.
pub(super) enum Taken {
    Job(Box<dyn Job>),
    Nothing,
    Closed,
}

/// So many urgent jobs in a row, then one bulk job, lest larger work never ends.
const URGENT_IN_A_ROW_MAX: u32 = 32;

impl JobQueue {
    pub(super) fn new(room: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            ready: Condvar::new(),
            bell: Notify::new(),
            room: Arc::new(Semaphore::new(room)),
        }
    }

    /// Queues a job, waits for room and for its answer.
    pub(super) async fn ask<B: Body>(
        &self,
        job: BodyJob<B>,
        priority: Priority,
    ) -> Result<B::Out, StoreError> {
        let permit = Arc::clone(&self.room)
            .acquire_owned()
            .await
            .map_err(|_| StoreError::Closed)?;
        let (job, answer) = job.with_reply(Some(permit));
        self.push(Box::new(job), priority)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    fn push(&self, job: Box<dyn Job>, priority: Priority) -> Result<(), StoreError> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(StoreError::Closed);
        }
        match priority {
            Priority::Urgent => waiting.urgent.push_back(job),
            Priority::Bulk | Priority::Part | Priority::Index => waiting.bulk.push_back(job),
        }
        drop(waiting);
        self.ready.notify_one();
        self.bell.notify_one();
        Ok(())
    }

    /// Takes the next job, if there is one.
    pub(super) fn try_take(&self) -> Option<Box<dyn Job>> {
        self.lock().next()
    }

    /// Takes the next job; waits for one up to the limit. Closed only once it is empty.
    pub(super) fn take(&self, limit: Duration) -> Taken {
        let mut waiting = self.lock();
        if let Some(job) = waiting.next() {
            return Taken::Job(job);
        }
        if waiting.closed {
            return Taken::Closed;
        }
        let (mut waiting, _) = self
            .ready
            .wait_timeout(waiting, limit)
            .unwrap_or_else(PoisonError::into_inner);
        waiting.next().map_or(Taken::Nothing, Taken::Job)
    }

    /// Whether a job waits, or the queue is closed.
    pub(super) fn has_work(&self) -> bool {
        let waiting = self.lock();
        waiting.closed || !waiting.urgent.is_empty() || !waiting.bulk.is_empty()
    }

    /// Waits until there may be a job, or the queue is closed. For one task.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Refuses new jobs; those that wait are still run.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.room.close();
        self.ready.notify_all();
        self.bell.notify_one();
    }

    /// Wakes the thread.
    pub(super) fn nudge(&self) {
        self.ready.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn next(&mut self) -> Option<Box<dyn Job>> {
        if (self.urgent_in_a_row < URGENT_IN_A_ROW_MAX || self.bulk.is_empty())
            && let Some(job) = self.urgent.pop_front()
        {
            self.urgent_in_a_row = self.urgent_in_a_row.saturating_add(1);
            return Some(job);
        }
        self.urgent_in_a_row = 0;
        self.bulk.pop_front().or_else(|| self.urgent.pop_front())
    }
}
