//! A body that waits to be run, with the one who waits for its answer.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Session;
use crate::StoreError;
use crate::engine::{Backend, Body, Tx};

/// A body of any kind, for the queues.
pub(super) trait Job: Send {
    /// Runs the body in the open transaction. Whether it succeeded; the answer is kept.
    fn run(&mut self, session: &mut Session) -> bool;

    /// Tells the answer of the last run, which is on disk if it succeeded.
    fn acknowledge(self: Box<Self>);

    /// Tells that the transaction failed, whatever the body answered.
    fn refuse(self: Box<Self>, error: StoreError);
}

/// A body with its answer.
pub(super) struct BodyJob<B: Body> {
    body: B,
    answer: Option<Result<B::Out, StoreError>>,
    reply: Option<oneshot::Sender<Result<B::Out, StoreError>>>,
    /// Its share of the room in the queue, until it is answered.
    _permit: Option<OwnedSemaphorePermit>,
}

impl<B: Body> BodyJob<B> {
    pub(super) fn new(body: B) -> Self {
        Self {
            body,
            answer: None,
            reply: None,
            _permit: None,
        }
    }

    /// Makes it ready for a queue.
    pub(super) fn with_reply(
        self,
        permit: Option<OwnedSemaphorePermit>,
    ) -> (Self, oneshot::Receiver<Result<B::Out, StoreError>>) {
        let (reply, answer) = oneshot::channel();
        let job = Self {
            reply: Some(reply),
            _permit: permit,
            ..self
        };
        (job, answer)
    }
}

impl<B: Body> Job for BodyJob<B> {
    fn run(&mut self, session: &mut Session) -> bool {
        // An earlier run counts for nothing, and neither does what its answer may hold.
        self.answer = None;
        let body = &self.body;
        let ran = catch_unwind(AssertUnwindSafe(|| poll_once(body, session)));
        let answer = ran.unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no text");
            Err(StoreError::Bug(format!("a transaction panicked: {text}")))
        });
        let succeeded = answer.is_ok();
        self.answer = Some(answer);
        succeeded
    }

    fn acknowledge(mut self: Box<Self>) {
        let answer = self
            .answer
            .take()
            .unwrap_or_else(|| Err(StoreError::Bug("a transaction was not run".to_owned())));
        if let Ok(out) = &answer {
            let body = &self.body;
            if catch_unwind(AssertUnwindSafe(|| body.committed(out))).is_err() {
                tracing::error!("what follows a commit panicked");
            }
        }
        if let Some(reply) = self.reply.take() {
            // Nobody may wait any more.
            let _ = reply.send(answer);
        }
    }

    fn refuse(mut self: Box<Self>, error: StoreError) {
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(Err(error));
        }
    }
}

/// Runs a body to its end: on this engine no statement waits, so one poll is all it takes.
fn poll_once<B: Body>(body: &B, session: &mut Session) -> Result<B::Out, StoreError> {
    let mut tx = Tx {
        backend: Backend::Sqlite(session),
    };
    let future = pin!(body.run(&mut tx));
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => Err(StoreError::Bug(
            "a transaction waited for something outside itself".to_owned(),
        )),
    }
}
