//! The engine for many machines: PostgreSQL over a pool of connections.
//!
//! Bodies that wait for the same writing connection share a commit (see [`lane`]). When the server
//! says that one collided with another (serialisation, deadlock, two that made the same row), or the
//! connection is lost before COMMIT was sent, it is run again. When the connection is lost while
//! COMMIT is under way, the server is asked what became of the transaction: each notes its number in
//! `commit_mark`.

mod address;
mod answer;
mod apart;
mod failure;
mod lane;
mod pool;
mod schema;
mod session;
mod tables;
mod tls;
mod values;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::Timestamp;
use tokio::time::Instant;

pub(crate) use apart::Apart;
pub(crate) use session::Session;
use session::{Ended, Marked};

use super::{Backend, Body, Priority, Tx};
use crate::metrics::StoreMetrics;
use crate::{PostgresOptions, StoreError};
use failure::Fault;
use lane::{Job, Lanes};
use pool::Pool;

/// How long a body is tried again before its caller is told to come later.
const TRY_FOR: Duration = Duration::from_secs(10);
/// How long the server is asked what became of a transaction.
const ASK_FOR: Duration = Duration::from_secs(10);
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
    /// The transaction failed whatever the body answered, or what became of it is not known.
    Refused(StoreError),
}

/// How the shared transaction of a batch ended.
enum Together {
    /// All are committed.
    Done,
    /// Nothing is stored: whose fault it was shows when each runs alone. With an error, it was the
    /// server's, which did not answer.
    Nothing(Option<StoreError>),
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
            match self.snapshot(&body).await? {
                (Err(_), Some(Fault::Again | Fault::Lost)) if Instant::now() < until => {
                    wait(&mut pause).await;
                }
                (answer, _) => return answer,
            }
        }
    }

    /// Runs a body on a snapshot of its own, once.
    pub(crate) async fn read_once<B: Body>(&self, body: B) -> Result<B::Out, StoreError> {
        self.snapshot(&body).await?.0
    }

    /// Runs a body on a snapshot; also why another run may succeed where this one did not.
    async fn snapshot<B: Body>(
        &self,
        body: &B,
    ) -> Result<(Result<B::Out, StoreError>, Option<Fault>), StoreError> {
        let _turn = self.engine.pool.turn_to_read().await?;
        let mut session = self.engine.pool.take().await?;
        session.begin_snapshot();
        let answer = run(body, &mut session).await;
        let fault = session.fault();
        session.end_snapshot();
        self.engine.pool.give_back(session);
        Ok((answer, fault))
    }

    /// Makes a connection outside the pool.
    pub(crate) async fn apart(&self) -> Result<Apart, StoreError> {
        let (sender, heard) = apart::hearing();
        let (client, line) = self.engine.pool.connect(Some(sender)).await?;
        Apart::new(client, line, heard).await
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
            0 | 1 => Together::Nothing(None),
            _ => self.together(jobs).await,
        };
        // What kept one from being tried in its time keeps those behind it, too.
        let mut down = match &together {
            Together::Nothing(silence) => silence.clone(),
            Together::Done | Together::Unknown(_) => None,
        };
        for job in jobs.drain(..) {
            match (&together, &down) {
                (Together::Done, _) => job.acknowledge(),
                (Together::Unknown(error), _) => job.refuse(error.clone()),
                (Together::Nothing(_), Some(error)) if job.queued_at().elapsed() > TRY_FOR => {
                    job.refuse(StoreError::clone(error));
                }
                (Together::Nothing(_), _) => down = self.alone(job).await,
            }
        }
    }

    async fn together(&self, jobs: &mut [Box<dyn Job>]) -> Together {
        let Ok(mut session) = self.pool.take().await else {
            return Together::Nothing(None);
        };
        let started = Instant::now();
        if !run_all(&mut session, jobs).await {
            session.roll_back();
            let silence = session.silence();
            self.pool.give_back(session);
            return Together::Nothing(silence);
        }
        let ended = session.commit().await;
        self.pool.give_back(session);
        match ended {
            Ended::Committed => {
                self.note(started, jobs.len());
                Together::Done
            }
            Ended::Nothing(_) => Together::Nothing(None),
            Ended::Unknown(marked) => match self.is_committed(marked).await {
                Ok(true) => Together::Done,
                Ok(false) => Together::Nothing(None),
                Err(error) => Together::Unknown(error),
            },
        }
    }

    /// Runs a body in a transaction of its own, again where that may help, and answers it. Gives
    /// the error if it could not be tried to the end.
    async fn alone(&self, mut job: Box<dyn Job>) -> Option<StoreError> {
        let until = job.queued_at() + TRY_FOR;
        let mut pause = PAUSE_FIRST;
        loop {
            let started = Instant::now();
            let error = match self.attempt(job.as_mut()).await {
                Attempt::Done => {
                    self.note(started, 1);
                    job.acknowledge();
                    return None;
                }
                Attempt::Failed => {
                    job.acknowledge();
                    return None;
                }
                Attempt::Refused(error) => {
                    job.refuse(error);
                    return None;
                }
                Attempt::Again(error) => error,
            };
            if Instant::now() >= until {
                job.refuse(error.clone());
                return Some(error);
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
        let ended = match session.begin(&job.accounts(), &[]).await {
            Ok(()) if job.run(&mut session).await => session.commit().await,
            Ok(()) => {
                session.roll_back();
                let fault = session.fault();
                self.pool.give_back(session);
                return match (fault, job.refusal()) {
                    (Some(Fault::Again | Fault::Lost), Some(error)) => Attempt::Again(error),
                    _ => Attempt::Failed,
                };
            }
            Err(error) => Ended::Nothing(error),
        };
        if !matches!(ended, Ended::Committed) {
            session.roll_back();
        }
        let fault = session.fault();
        self.pool.give_back(session);
        match ended {
            Ended::Committed => Attempt::Done,
            Ended::Nothing(error) if fault.is_some() => Attempt::Again(error),
            Ended::Nothing(error) => Attempt::Refused(error),
            Ended::Unknown(marked) => match self.is_committed(marked).await {
                Ok(true) => Attempt::Done,
                Ok(false) => Attempt::Again(StoreError::Io(
                    "the connection to the database was lost".to_owned(),
                )),
                Err(error) => Attempt::Refused(error),
            },
        }
    }

    fn note(&self, started: Instant, bodies: usize) {
        self.metrics.commits.inc();
        self.metrics.batch_size.observe(count(bodies));
        let took = started.elapsed().as_secs_f64();
        self.metrics.commit_seconds.observe(took);
    }

    /// Finds out what became of a transaction whose COMMIT was not answered.
    async fn is_committed(&self, marked: Marked) -> Result<bool, StoreError> {
        let until = Instant::now() + ASK_FOR;
        let mut pause = PAUSE_FIRST;
        loop {
            let answer = match self.pool.take().await {
                Ok(mut session) => {
                    let answer = session.is_committed(marked).await;
                    self.pool.give_back(session);
                    answer
                }
                Err(error) => Err(error),
            };
            match answer {
                Ok(committed) => return Ok(committed),
                Err(error) if Instant::now() >= until => {
                    tracing::error!(?marked, %error, "what became of a commit is not known");
                    return Err(error);
                }
                Err(_) => wait(&mut pause).await,
            }
        }
    }
}

/// Runs bodies one after another in a transaction, each in a savepoint. `false`: nothing of it may
/// be committed.
async fn run_all(session: &mut Session, jobs: &mut [Box<dyn Job>]) -> bool {
    let accounts: BTreeSet<_> = jobs.iter().flat_map(|job| job.accounts()).collect();
    let accounts: Vec<_> = accounts.into_iter().collect();
    let blobs: BTreeSet<_> = jobs.iter().flat_map(|job| job.blobs()).collect();
    let blobs: Vec<_> = match blobs.len() {
        // One alone is not waited for in a ring.
        0 | 1 => Vec::new(),
        _ => blobs.into_iter().collect(),
    };
    if session.begin(&accounts, &blobs).await.is_err() {
        return false;
    }
    for job in jobs {
        session.set_savepoint();
        let succeeded = job.run(session).await;
        if session.fault().is_some() || session.is_broken() {
            return false;
        }
        if succeeded {
            session.release_savepoint();
        } else if session.roll_back_to_savepoint().await.is_err() {
            return false;
        }
    }
    true
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
