//! The engine for many machines: PostgreSQL over a pool of connections.
//!
//! A body runs in a transaction of its own. When the server says that it collided with another
//! (serialisation, deadlock, two that made the same row), or the connection is lost before COMMIT
//! was sent, it is run again. When the connection is lost while COMMIT is under way, the server is
//! asked what became of the transaction.

mod failure;
mod pool;
mod schema;
mod session;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::Timestamp;
use tokio::time::Instant;

pub(crate) use session::Session;

use super::{Backend, Body, Tx};
use crate::metrics::StoreMetrics;
use crate::{PostgresOptions, StoreError};
use failure::Fault;
use pool::Pool;

/// How long a body is tried again before its caller is told to come later.
const TRY_FOR: Duration = Duration::from_secs(10);
/// The first pause before another try; each next one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(2);
/// The longest pause before another try.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Statements seen, for the test that compares them with the table classes.
pub(super) type Statements = Arc<Mutex<BTreeSet<&'static str>>>;

/// The running engine. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Engine {
    pool: Arc<Pool>,
    statements: Statements,
    metrics: Arc<StoreMetrics>,
}

/// How one run of a body ended.
enum Attempt<O> {
    Done(O),
    Failed(StoreError),
    /// Nothing is stored, and another run may succeed.
    Again(StoreError),
    /// COMMIT was sent and no answer came; the transaction's id.
    Unknown(O, i64),
}

impl Engine {
    /// Connects, brings the schema up to date.
    pub(crate) async fn open(
        options: &PostgresOptions,
        metrics: Arc<StoreMetrics>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let statements = Statements::default();
        let pool = Arc::new(Pool::new(options, Arc::clone(&statements))?);
        let mut first = pool.take().await?;
        schema::migrate(&mut first, now).await?;
        pool.give_back(first);
        Ok(Self {
            pool,
            statements,
            metrics,
        })
    }

    /// Runs a body in a transaction; what it answers is committed. The body runs even if the caller
    /// stops waiting.
    pub(crate) async fn write<B: Body>(&self, body: B) -> Result<B::Out, StoreError> {
        let engine = self.clone();
        let running = tokio::spawn(async move {
            let out = engine.commit(&body).await?;
            body.committed(&out);
            Ok(out)
        });
        running
            .await
            .map_err(|error| StoreError::Bug(format!("a transaction panicked: {error}")))?
    }

    /// Runs a body on a snapshot of its own.
    pub(crate) async fn read<B: Body>(&self, body: B) -> Result<B::Out, StoreError> {
        let until = Instant::now() + TRY_FOR;
        let mut pause = PAUSE_FIRST;
        loop {
            let mut session = self.pool.take().await?;
            session.begin_snapshot();
            let answer = run(&body, &mut session).await;
            let fault = session.take_fault();
            session.end_snapshot();
            self.pool.give_back(session);
            match (answer, fault) {
                (Err(_), Some(Fault::Again | Fault::Lost)) if Instant::now() < until => {
                    wait(&mut pause).await;
                }
                (answer, _) => return answer,
            }
        }
    }

    /// Ends all connections; later calls answer [`StoreError::Closed`].
    pub(crate) fn close(&self) {
        self.pool.close();
    }

    /// The statements that were run so far.
    pub(crate) fn statements(&self) -> Vec<&'static str> {
        let seen = self
            .statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        seen.iter().copied().collect()
    }

    async fn commit<B: Body>(&self, body: &B) -> Result<B::Out, StoreError> {
        let until = Instant::now() + TRY_FOR;
        let mut pause = PAUSE_FIRST;
        loop {
            let started = Instant::now();
            let error = match self.attempt(body).await {
                Attempt::Done(out) => {
                    let took = started.elapsed().as_secs_f64();
                    self.metrics.commits.inc();
                    self.metrics.commit_seconds.observe(took);
                    return Ok(out);
                }
                Attempt::Failed(error) => return Err(error),
                Attempt::Again(error) => error,
                Attempt::Unknown(out, transaction) => {
                    if self.is_committed(transaction, until).await? {
                        return Ok(out);
                    }
                    StoreError::Io("the connection to the database was lost".to_owned())
                }
            };
            if Instant::now() >= until {
                return Err(error);
            }
            wait(&mut pause).await;
        }
    }

    async fn attempt<B: Body>(&self, body: &B) -> Attempt<B::Out> {
        let mut session = match self.pool.take().await {
            Ok(session) => session,
            Err(error @ StoreError::Busy(_)) => return Attempt::Again(error),
            Err(error) => return Attempt::Failed(error),
        };
        session.begin();
        let answer = run(body, &mut session).await;
        let out = match answer {
            Ok(out) => out,
            Err(error) => {
                let fault = session.take_fault();
                session.roll_back();
                self.pool.give_back(session);
                return match fault {
                    Some(Fault::Again | Fault::Lost) => Attempt::Again(error),
                    None => Attempt::Failed(error),
                };
            }
        };
        let ended = session.commit().await;
        let fault = session.take_fault();
        let transaction = session.transaction();
        self.pool.give_back(session);
        match (ended, fault, transaction) {
            (Ok(()), _, _) => Attempt::Done(out),
            (Err(_), Some(Fault::Lost), Some(transaction)) => Attempt::Unknown(out, transaction),
            (Err(error), Some(_), _) => Attempt::Again(error),
            (Err(error), None, _) => Attempt::Failed(error),
        }
    }

    /// Asks what became of a transaction whose COMMIT was not answered.
    async fn is_committed(&self, transaction: i64, until: Instant) -> Result<bool, StoreError> {
        let mut pause = PAUSE_FIRST;
        loop {
            let error = match self.pool.take().await {
                Ok(mut session) => {
                    let status = session.status_of(transaction).await;
                    self.pool.give_back(session);
                    match status.as_ref().map(String::as_str) {
                        Ok("committed") => return Ok(true),
                        Ok("aborted") => return Ok(false),
                        // It is still being committed, or the server is starting.
                        Ok(_) => StoreError::Busy("a commit is under way".to_owned()),
                        Err(error) => error.clone(),
                    }
                }
                Err(error) => error,
            };
            if Instant::now() >= until {
                tracing::error!(transaction, %error, "what became of a commit is not known");
                return Err(error);
            }
            wait(&mut pause).await;
        }
    }
}

async fn run<B: Body>(body: &B, session: &mut Session) -> Result<B::Out, StoreError> {
    let mut tx = Tx {
        backend: Backend::Postgres(session),
    };
    body.run(&mut tx).await
}

async fn wait(pause: &mut Duration) {
    tokio::time::sleep(*pause).await;
    *pause = (*pause * 2).min(PAUSE_MAX);
}
