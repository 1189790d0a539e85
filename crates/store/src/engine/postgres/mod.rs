//! The engine for many machines: PostgreSQL over a pool of connections.
//!
//! Bodies that wait for the same writing connection share a commit (see [`lane`]). When the server
//! says that one collided with another (serialisation, deadlock, two that made the same row), or the
//! connection is lost before COMMIT was sent, it is run again. When the connection is lost while
//! COMMIT is under way, the server is asked what became of the transaction.

mod failure;
mod lane;
mod pool;
mod schema;
mod session;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::Timestamp;
use tokio::time::Instant;

pub(crate) use session::Session;

use super::{Backend, Body, Priority, Tx};
use crate::metrics::StoreMetrics;
use crate::{PostgresOptions, StoreError};
use failure::Fault;
use lane::{Job, Lanes};
use pool::Pool;

/// How long a body is tried again before its caller is told to come later.
const TRY_FOR: Duration = Duration::from_secs(10);
/// The first pause before another try; each next one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(2);
/// The longest pause before another try.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Statements seen, for the test that compares them with the table classes.
pub(super) type Statements = Arc<Mutex<BTreeSet<&'static str>>>;

/// The running engine.
pub(crate) struct Postgres {
    engine: Engine,
    lanes: Lanes,
}

/// What runs bodies. Cheap to clone.
#[derive(Clone)]
struct Engine {
    pool: Arc<Pool>,
    statements: Statements,
    metrics: Arc<StoreMetrics>,
}

/// How one transaction ended.
enum Attempt {
    /// It is committed.
    Done,
    /// The body refused or failed; its answer tells.
    Failed,
    /// Nothing is stored, and another run may succeed.
    Again(StoreError),
    /// COMMIT was sent and no answer came; the transaction's id.
    Unknown(i64),
    /// It could not begin, and trying again does not help.
    Refused(StoreError),
}

/// How the shared transaction of a batch ended.
enum Together {
    /// All are committed.
    Done,
    /// Nothing is stored: whose fault it was shows when each runs alone.
    Nothing,
    /// Whether they are stored is not known.
    Unknown(StoreError),
}

impl Postgres {
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
        let engine = Engine {
            pool,
            statements,
            metrics,
        };
        Ok(Self {
            lanes: Lanes::start(&engine, options.connections),
            engine,
        })
    }

    /// Runs a body in a transaction; what it answers is committed. The body runs even if the caller
    /// stops waiting.
    pub(crate) async fn write<B: Body>(
        &self,
        body: B,
        priority: Priority,
    ) -> Result<B::Out, StoreError> {
        self.lanes.ask(body, priority).await
    }

    /// Runs a body on a snapshot of its own.
    pub(crate) async fn read<B: Body>(&self, body: B) -> Result<B::Out, StoreError> {
        let until = Instant::now() + TRY_FOR;
        let mut pause = PAUSE_FIRST;
        loop {
            let mut session = self.engine.pool.take().await?;
            session.begin_snapshot();
            let answer = run(&body, &mut session).await;
            let fault = session.take_fault();
            session.end_snapshot();
            self.engine.pool.give_back(session);
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
        self.engine.pool.close();
    }

    /// The statements that were run so far.
    pub(crate) fn statements(&self) -> Vec<&'static str> {
        let seen = self
            .engine
            .statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        seen.iter().copied().collect()
    }
}

impl Engine {
    /// Runs bodies in one transaction, each in a savepoint, and answers them all.
    async fn batch(&self, jobs: &mut Vec<Box<dyn Job>>) {
        jobs.sort_by_key(|job| job.order());
        let together = match jobs.len() {
            0 | 1 => Together::Nothing,
            _ => self.together(jobs).await,
        };
        for job in jobs.drain(..) {
            match &together {
                Together::Done => job.acknowledge(),
                Together::Nothing => self.alone(job).await,
                Together::Unknown(error) => job.refuse(error.clone()),
            }
        }
    }

    async fn together(&self, jobs: &mut [Box<dyn Job>]) -> Together {
        let Ok(mut session) = self.pool.take().await else {
            return Together::Nothing;
        };
        let started = Instant::now();
        session.begin();
        for job in jobs.iter_mut() {
            session.set_savepoint();
            let succeeded = job.run(&mut session).await;
            if session.has_fault() {
                session.roll_back();
                self.pool.give_back(session);
                return Together::Nothing;
            }
            if succeeded {
                session.release_savepoint();
            } else {
                session.roll_back_to_savepoint();
            }
        }
        match self.end(session).await {
            Attempt::Done => {
                self.note(started, jobs.len());
                Together::Done
            }
            Attempt::Unknown(transaction) => {
                let until = Instant::now() + TRY_FOR;
                match self.is_committed(transaction, until).await {
                    Ok(true) => Together::Done,
                    Ok(false) => Together::Nothing,
                    Err(error) => Together::Unknown(error),
                }
            }
            Attempt::Failed | Attempt::Again(_) | Attempt::Refused(_) => Together::Nothing,
        }
    }

    /// Runs a body in a transaction of its own, again where that may help, and answers it.
    async fn alone(&self, mut job: Box<dyn Job>) {
        let until = Instant::now() + TRY_FOR;
        let mut pause = PAUSE_FIRST;
        loop {
            let started = Instant::now();
            let error = match self.attempt(job.as_mut()).await {
                Attempt::Done => {
                    self.note(started, 1);
                    return job.acknowledge();
                }
                Attempt::Failed => return job.acknowledge(),
                Attempt::Refused(error) => return job.refuse(error),
                Attempt::Again(error) => error,
                Attempt::Unknown(transaction) => {
                    match self.is_committed(transaction, until).await {
                        Ok(true) => return job.acknowledge(),
                        Ok(false) => {
                            StoreError::Io("the connection to the database was lost".into())
                        }
                        Err(error) => return job.refuse(error),
                    }
                }
            };
            if Instant::now() >= until {
                return job.refuse(error);
            }
            wait(&mut pause).await;
        }
    }

    async fn attempt(&self, job: &mut dyn Job) -> Attempt {
        let mut session = match self.pool.take().await {
            Ok(session) => session,
            Err(error @ (StoreError::Busy(_) | StoreError::Io(_))) => return Attempt::Again(error),
            Err(error) => return Attempt::Refused(error),
        };
        session.begin();
        if job.run(&mut session).await {
            return self.end(session).await;
        }
        let fault = session.take_fault();
        session.roll_back();
        self.pool.give_back(session);
        match fault {
            Some(Fault::Again | Fault::Lost) => {
                Attempt::Again(StoreError::Busy("transactions collided".to_owned()))
            }
            None => Attempt::Failed,
        }
    }

    /// Commits and gives the connection back.
    async fn end(&self, mut session: Session) -> Attempt {
        let ended = session.commit().await;
        let fault = session.take_fault();
        let transaction = session.transaction();
        if ended.is_err() {
            session.roll_back();
        }
        self.pool.give_back(session);
        match (ended, fault, transaction) {
            (Ok(()), _, _) => Attempt::Done,
            (Err(_), Some(Fault::Lost), Some(transaction)) => Attempt::Unknown(transaction),
            (Err(error), _, _) => Attempt::Again(error),
        }
    }

    fn note(&self, started: Instant, bodies: usize) {
        self.metrics.commits.inc();
        self.metrics.batch_size.observe(count(bodies));
        let took = started.elapsed().as_secs_f64();
        self.metrics.commit_seconds.observe(took);
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

#[expect(clippy::cast_precision_loss, reason = "at most a batch")]
fn count(bodies: usize) -> f64 {
    bodies as f64
}
