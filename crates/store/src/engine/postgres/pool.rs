//! The connections: as many as are allowed, each with its prepared statements.

use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_postgres::{Config, NoTls};

use super::Statements;
use super::failure::failure;
use super::session::Session;
use crate::{PostgresOptions, StoreError};

/// How long a body waits for a connection when all are in use.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The pool.
pub(super) struct Pool {
    config: Config,
    idle: Mutex<Vec<Session>>,
    places: Arc<Semaphore>,
    statements: Statements,
}

impl Pool {
    pub(super) fn new(
        options: &PostgresOptions,
        statements: Statements,
    ) -> Result<Self, StoreError> {
        let mut config = Config::from_str(options.url.expose_str().unwrap_or_default())
            .map_err(|error| StoreError::Invalid(format!("the database's URL: {error}")))?;
        config.application_name("pennyblack");
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        Ok(Self {
            config,
            idle: Mutex::default(),
            places: Arc::new(Semaphore::new(options.connections)),
            statements,
        })
    }

    /// Takes a connection, or makes one.
    pub(super) async fn take(&self) -> Result<Session, StoreError> {
        let place = Arc::clone(&self.places).acquire_owned();
        let place = match tokio::time::timeout(WAIT_MAX, place).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Err(StoreError::Closed),
            Err(_) => {
                let why = "all connections to the database are in use";
                return Err(StoreError::Busy(why.to_owned()));
            }
        };
        while let Some(mut session) = self.next_idle() {
            if !session.is_closed() {
                session.hold(place);
                return Ok(session);
            }
        }
        let (client, connection) = self
            .config
            .connect(NoTls)
            .await
            .map_err(|error| failure(&error).0)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the database ended");
            }
        });
        let mut session = Session::new(client, Arc::clone(&self.statements));
        session.hold(place);
        session.prepare_for_use().await?;
        Ok(session)
    }

    /// Gives a connection back for the next.
    pub(super) fn give_back(&self, mut session: Session) {
        let place = session.let_go();
        if !session.is_closed() && !self.places.is_closed() {
            self.lock().push(session);
        }
        drop(place);
    }

    /// Ends all connections.
    pub(super) fn close(&self) {
        self.places.close();
        self.lock().clear();
    }

    fn next_idle(&self) -> Option<Session> {
        self.lock().pop()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
