//! The connections: as many as are allowed, each with its prepared statements.

use std::ffi::OsString;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use tokio_postgres::{AsyncMessage, Client, Connection};

use super::address::{Address, CONNECT_TIMEOUT};
use super::answer::Line;
use super::apart::Heard;
use super::lane::Lanes;
use super::session::Session;
use super::{Statements, failure};
use crate::{PostgresOptions, StoreError};

/// How long a body waits for a connection when all are in use.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The pool.
pub(super) struct Pool {
    address: Address,
    answer_within: Duration,
    idle: Mutex<Vec<Session>>,
    places: Arc<Semaphore>,
    /// Reading takes no connection that a lane needs.
    reading: Semaphore,
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
            answer_within: options.answer_within,
            idle: Mutex::default(),
            places: Arc::new(Semaphore::new(options.connections)),
            reading: Semaphore::new(reading(options.connections)),
            statements,
        })
    }

    /// Waits until one more may read; it takes a connection then, and gives it back before this.
    pub(super) async fn turn_to_read(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        in_time(self.reading.acquire()).await
    }

    /// Takes a connection, or makes one.
    pub(super) async fn take(&self) -> Result<Session, StoreError> {
        let place = in_time(Arc::clone(&self.places).acquire_owned()).await?;
        while let Some(mut session) = self.next_idle() {
            if !session.is_closed() {
                session.hold(place);
                return Ok(session);
            }
        }
        let (client, line) = self.connect(None).await?;
        let mut session = Session::new(client, line, Arc::clone(&self.statements));
        session.hold(place);
        session.prepare_for_use().await?;
        Ok(session)
    }

    /// Makes a connection; what it hears goes to `heard`, which is closed when it ends.
    pub(super) async fn connect(&self, heard: Option<Heard>) -> Result<(Client, Line), StoreError> {
        let Address { config, tls, told } = &self.address;
        // The library's own limit does not hold for TLS and the login.
        let of_one = config.get_connect_timeout().copied();
        let hosts = u32::try_from(config.get_hosts().len()).unwrap_or(1).max(1);
        let limit = of_one.unwrap_or_default().max(CONNECT_TIMEOUT) * hosts;
        let connecting = tokio::time::timeout(limit, config.connect(tls.clone()));
        let Ok(connected) = connecting.await else {
            let text = format!("cannot connect to {told}: the server does not answer");
            return Err(StoreError::Io(text));
        };
        let (client, connection) = connected.map_err(|error| failure::connecting(&error, told))?;
        let line = Line {
            patience: self.answer_within,
            serving: tokio::spawn(serve(connection, heard)).abort_handle(),
        };
        Ok((client, line))
    }

    /// Gives a connection back for the next.
    pub(super) fn give_back(&self, mut session: Session) {
        let place = session.let_go();
        if session.silence().is_some() {
            // Nobody else needs to find out for himself whether the others are silent as well.
            self.lock().clear();
        }
        if !session.is_closed() && !self.places.is_closed() {
            self.lock().push(session);
        }
        drop(place);
    }

    /// Ends all connections.
    pub(super) fn close(&self) {
        self.places.close();
        self.reading.close();
        self.lock().clear();
    }

    fn next_idle(&self) -> Option<Session> {
        self.lock().pop()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many may read at once: two even of the fewest connections, or a backup would stop all
/// other reading.
fn reading(connections: usize) -> usize {
    connections.saturating_sub(Lanes::count(connections)).max(2)
}

async fn in_time<P>(
    permit: impl Future<Output = Result<P, AcquireError>>,
) -> Result<P, StoreError> {
    match tokio::time::timeout(WAIT_MAX, permit).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) => Err(StoreError::Closed),
        Err(_) => {
            let why = "all connections to the database are in use";
            Err(StoreError::Busy(why.to_owned()))
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// However many read, each lane finds a connection.
    #[test]
    fn lanes_find_connections() {
        for connections in 5..=1_000 {
            let writing = Lanes::count(connections);
            assert!(
                writing + reading(connections) <= connections,
                "{connections}"
            );
            assert!(writing >= 3);
        }
        assert_eq!((Lanes::count(16), reading(16)), (10, 6));
    }
}
