//! Lanes: the writing connections, each with a queue before it.
//!
//! A transaction holds its account's row until its commit is flushed, so that bodies of one account
//! would each wait for a flush of all before them. They go to the same lane instead, which runs all
//! that waits in one transaction, each in a savepoint of its own, and commits once. At low load a
//! lane holds one body and costs nothing.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};

use base::AccountId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::session::Session;
use super::{Engine, run};
use crate::StoreError;
use crate::engine::{Body, Priority};

/// Bodies in one commit. A server keeps 64 subtransactions of a transaction at hand.
const BATCH_MAX: usize = 48;
/// Bodies that wait before a lane; more wait outside, in the order they came.
const WAITING_MAX: usize = 256;
/// Lanes at most: more commits at once than this gain nothing on one server.
const LANES_MAX: usize = 8;

/// A body of any kind with the one who waits for its answer.
pub(super) trait Job: Send {
    /// Runs the body in the open transaction. Whether it succeeded; the answer is kept.
    fn run<'a>(
        &'a mut self,
        session: &'a mut Session,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

    /// Whose row the body locks first; batches go in this order.
    fn order(&self) -> i64;

    /// The accounts whose rows it changes, ascending.
    fn accounts(&self) -> Vec<AccountId>;

    /// The blobs that it may store, by a part of their hashes.
    fn blobs(&self) -> Vec<i64>;

    /// Since when it waits.
    fn queued_at(&self) -> Instant;

    /// Why the last run failed, if it did.
    fn refusal(&self) -> Option<StoreError>;

    /// Tells the answer of the last run, which is committed if it succeeded.
    fn acknowledge(self: Box<Self>);

    /// Tells that the transaction failed, whatever the body answered.
    fn refuse(self: Box<Self>, error: StoreError);
}

struct BodyJob<B: Body> {
    body: B,
    answer: Option<Result<B::Out, StoreError>>,
    reply: oneshot::Sender<Result<B::Out, StoreError>>,
    queued_at: Instant,
}

impl<B: Body> Job for BodyJob<B> {
    fn run<'a>(
        &'a mut self,
        session: &'a mut Session,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(async move {
            self.answer = None;
            let answer = caught(run(&self.body, session)).await;
            let succeeded = answer.is_ok();
            self.answer = Some(answer);
            succeeded
        })
    }

    fn order(&self) -> i64 {
        self.body.account().map_or(i64::MAX, |account| account.0)
    }

    fn accounts(&self) -> Vec<AccountId> {
        let accounts: BTreeSet<_> = self.body.accounts().into_iter().collect();
        accounts.into_iter().collect()
    }

    fn blobs(&self) -> Vec<i64> {
        let part =
            |hash: [u8; 32]| i64::from(i32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]));
        self.body.blobs().into_iter().map(part).collect()
    }

    fn queued_at(&self) -> Instant {
        self.queued_at
    }

    fn refusal(&self) -> Option<StoreError> {
        self.answer.as_ref()?.as_ref().err().cloned()
    }

    fn acknowledge(self: Box<Self>) {
        let Self {
            body,
            answer,
            reply,
            queued_at: _,
        } = *self;
        let not_run = || Err(StoreError::Bug("a transaction was not run".to_owned()));
        let answer = answer.unwrap_or_else(not_run);
        if let Ok(out) = &answer
            && catch_unwind(AssertUnwindSafe(|| body.committed(out))).is_err()
        {
            tracing::error!("what follows a commit panicked");
        }
        // Nobody may wait any more.
        let _ = reply.send(answer);
    }

    fn refuse(self: Box<Self>, error: StoreError) {
        let _ = self.reply.send(Err(error));
    }
}

/// Runs a body; a panic takes only its own transaction with it.
async fn caught<O>(body: impl Future<Output = Result<O, StoreError>>) -> Result<O, StoreError> {
    let mut body = pin!(body);
    let polled = poll_fn(|context| {
        catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(context))).unwrap_or_else(|_| {
            let panicked = StoreError::Bug("a transaction panicked".to_owned());
            std::task::Poll::Ready(Err(panicked))
        })
    });
    polled.await
}

/// The lanes of an engine.
pub(super) struct Lanes {
    urgent: Vec<mpsc::Sender<Box<dyn Job>>>,
    bulk: mpsc::Sender<Box<dyn Job>>,
    index: mpsc::Sender<Box<dyn Job>>,
}

impl Lanes {
    /// How many lanes there are with so many connections; each uses one at a time.
    pub(super) fn count(connections: usize) -> usize {
        // Larger work and the search index have a lane each.
        Self::urgent(connections) + 2
    }

    fn urgent(connections: usize) -> usize {
        // The others are for reading; at least two are.
        let most = connections.saturating_sub(4);
        (connections / 2).min(most).clamp(1, LANES_MAX)
    }

    /// Starts the lanes; they end with the last sender.
    pub(super) fn start(engine: &Engine, connections: usize) -> Self {
        let count = Self::urgent(connections);
        Self {
            urgent: (0..count).map(|_| start_one(engine.clone())).collect(),
            bulk: start_one(engine.clone()),
            index: start_one(engine.clone()),
        }
    }

    /// Queues a body and waits for its answer. It runs even if the caller stops waiting.
    pub(super) async fn ask<B: Body>(
        &self,
        body: B,
        priority: Priority,
    ) -> Result<B::Out, StoreError> {
        let (reply, answer) = oneshot::channel();
        let lane = match priority {
            Priority::Urgent | Priority::Part => self.lane(&body),
            Priority::Bulk => &self.bulk,
            Priority::Index => &self.index,
        };
        let job = BodyJob {
            body,
            answer: None,
            reply,
            queued_at: Instant::now(),
        };
        lane.send(Box::new(job))
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// The lane of a body's account; for others the emptiest.
    fn lane(&self, body: &impl Body) -> &mpsc::Sender<Box<dyn Job>> {
        let by_account = body.account().and_then(|account| {
            let count = i64::try_from(self.urgent.len()).unwrap_or(1);
            let at = usize::try_from(account.0.rem_euclid(count)).unwrap_or(0);
            self.urgent.get(at)
        });
        by_account
            .or_else(|| self.urgent.iter().max_by_key(|lane| lane.capacity()))
            .unwrap_or(&self.bulk)
    }
}

fn start_one(engine: Engine) -> mpsc::Sender<Box<dyn Job>> {
    let (sender, mut waiting) = mpsc::channel::<Box<dyn Job>>(WAITING_MAX);
    tokio::spawn(async move {
        let mut jobs = Vec::with_capacity(BATCH_MAX);
        while waiting.recv_many(&mut jobs, BATCH_MAX).await > 0 {
            engine.batch(&mut jobs).await;
        }
    });
    sender
}
