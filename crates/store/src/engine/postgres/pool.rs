//! The connections: as many as are allowed, each with its prepared statements.

use std::ffi::OsString;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_postgres::{AsyncMessage, Client, Connection};

use super::address::Address;
use super::apart::Heard;
use super::session::Session;
use super::{Statements, failure};
use crate::{PostgresOptions, StoreError};

/// How long a body waits for a connection when all are in use.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The pool.
pub(super) struct Pool {
    address: Address,
    idle: Mutex<Vec<Session>>,
    places: Arc<Semaphore>,
    statements: Statements,
}

impl Pool {
    pub(super) fn new(
        options: &PostgresOptions,
        statements: Statements,
    ) -> Result<Self, StoreError> {
        let environment = std::env::var_os("PGPASSWORD").map(OsString::into_encoded_bytes);
        let url = options.url.expose_str().unwrap_or_default();
        Ok(Self {
            address: Address::parse(url, environment)?,
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
        let client = self.connect(None).await?;
        let mut session = Session::new(client, Arc::clone(&self.statements));
        session.hold(place);
        session.prepare_for_use().await?;
        Ok(session)
    }

    /// Makes a connection; what it hears goes to `heard`, which is closed when it ends.
    pub(super) async fn connect(&self, heard: Option<Heard>) -> Result<Client, StoreError> {
        let Address { config, tls, told } = &self.address;
        let connected = config.connect(tls.clone()).await;
        let (client, connection) = connected.map_err(|error| failure::connecting(&error, told))?;
        tokio::spawn(serve(connection, heard));
        Ok(client)
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

/// Moves a connection's bytes until it ends.
async fn serve<S, T>(mut connection: Connection<S, T>, heard: Option<Heard>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        match (message, &heard) {
            (Ok(AsyncMessage::Notification(told)), Some(heard)) => {
                // What finds no room is found by the next look.
                let _ = heard.try_send(told.payload().to_owned());
            }
            (Ok(_), _) => {}
            (Err(error), _) => {
                tracing::debug!(%error, "a connection to the database ended");
                return;
            }
        }
    }
}
