//! A connection outside the pool: the lock that proves which node this is, and the notifications
//! that nodes send each other. It knows neither what is locked nor what is told.
//!
//! Its statements are PostgreSQL's own. None of them touches a table.

use std::time::Duration;

use base::Timestamp;
use tokio::sync::mpsc;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::answer::{Line, Wrong};
use super::failure::failure;
use crate::StoreError;

/// Notifications that wait to be read. Those that find no room are lost, which costs latency only.
const HEARD_MAX: usize = 1_000;
/// The server must notice soon that this machine is gone, or the name stays locked for hours; and
/// no statement here may wait for long.
const SETTINGS: &str = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 5;
    SET tcp_keepalives_count = 3; SET statement_timeout = '10s'; SET synchronous_commit = off;";
/// The server ends a statement here after 10 seconds.
const PATIENCE: Duration = Duration::from_secs(15);
/// `false` with a lock that another session holds. Asked again by its holder it would be taken
/// twice, so that the one who asks must remember.
const LOCK: &str = "SELECT pg_try_advisory_lock($1)";
/// Whether this server process holds the lock. Behind a pooler that lends connections by
/// transaction another process answers than the one that took it.
const HOLDS: &str = "SELECT count(*) FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid() AND objsubid = 1
        AND CAST(classid AS BIGINT) = ((CAST($1 AS BIGINT) >> 32) & 4294967295)
        AND CAST(objid AS BIGINT) = (CAST($1 AS BIGINT) & 4294967295)";
const NOTIFY: &str = "SELECT pg_notify($1, told) FROM unnest(CAST($2 AS TEXT[])) AS told";
const NOW: &str = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";

/// The connection.
pub(crate) struct Apart {
    client: Client,
    line: Line,
    heard: mpsc::Receiver<String>,
}

/// Where a connection puts the notifications that it hears.
pub(super) type Heard = mpsc::Sender<String>;

/// The two ends of what a connection hears.
pub(super) fn hearing() -> (Heard, mpsc::Receiver<String>) {
    mpsc::channel(HEARD_MAX)
}

impl Apart {
    pub(super) async fn new(
        client: Client,
        mut line: Line,
        heard: mpsc::Receiver<String>,
    ) -> Result<Self, StoreError> {
        line.patience = line.patience.min(PATIENCE);
        let apart = Self {
            client,
            line,
            heard,
        };
        apart.run(SETTINGS).await?;
        Ok(apart)
    }

    /// Takes a lock for as long as the connection lives; `false` if another session has it.
    pub(crate) async fn lock(&self, key: i64) -> Result<bool, StoreError> {
        let row = self.line.wait(self.client.query_one(LOCK, &[&key])).await;
        let row = row.map_err(|wrong| failure(&wrong).0)?;
        row.try_get(0).map_err(unfit)
    }

    /// Whether the server process that serves this connection has the lock.
    pub(crate) async fn holds(&self, key: i64) -> Result<bool, StoreError> {
        Ok(self.number(HOLDS, &[&key]).await? > 0)
    }

    /// The database's time.
    pub(crate) async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(Timestamp(self.number(NOW, &[]).await?))
    }

    /// Hears what is told on a channel, a plain word.
    pub(crate) async fn listen(&self, channel: &str) -> Result<(), StoreError> {
        self.run(&format!("LISTEN {channel}")).await
    }

    /// Tells texts of less than 8,000 bytes on a channel.
    pub(crate) async fn notify(&self, channel: &str, texts: &[String]) -> Result<(), StoreError> {
        let params: [&(dyn ToSql + Sync); 2] = [&channel, &texts];
        let told = self.line.wait(self.client.execute(NOTIFY, &params)).await;
        told.map(|_| ()).map_err(|wrong| failure(&wrong).0)
    }

    /// The next text that was told; `None` when the connection is gone. Cancellation safe.
    pub(crate) async fn heard(&mut self) -> Option<String> {
        self.heard.recv().await
    }

    async fn run(&self, sql: &str) -> Result<(), StoreError> {
        let done = self.line.wait(self.client.batch_execute(sql)).await;
        done.map_err(|wrong| failure(&wrong).0)
    }

    async fn number(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<i64, StoreError> {
        let row = self.line.wait(self.client.query_one(sql, params)).await;
        let row = row.map_err(|wrong| failure(&wrong).0)?;
        row.try_get(0).map_err(unfit)
    }
}

fn unfit(error: tokio_postgres::Error) -> StoreError {
    failure(&Wrong::Told(error)).0
}
