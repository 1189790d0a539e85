//! Who a node is: a name that one process at a time may have, and a number for each start.
//!
//! The proof is a lock on the database that lives as long as a connection, and that connection as
//! long as the process. The row in `node` tells the others.

use std::time::{Duration, Instant};

use base::Timestamp;

use crate::StoreError;
use crate::engine::{Apart, Body, Engine, Priority, Tx, params};

/// How long the server may take to see that a killed process is gone.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Between two attempts.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// A node's name with its lock.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub name: String,
    key: i64,
}

/// A node that has its name.
pub(crate) struct Entered {
    pub identity: Identity,
    /// The connection that holds the lock.
    pub apart: Apart,
    /// The number of this start: higher than all before it on this database.
    pub incarnation: i64,
}

impl Identity {
    pub(crate) fn new(name: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"pennyblack node ");
        hasher.update(name.as_bytes());
        let mut key = [0; 8];
        hasher.finalize_xof().fill(&mut key);
        Self {
            name: name.to_owned(),
            key: i64::from_le_bytes(key),
        }
    }

    /// Takes the name; `None` with the embedded engine.
    pub(crate) async fn enter(
        self,
        engine: &Engine,
        now: Timestamp,
    ) -> Result<Option<Entered>, StoreError> {
        let Some(apart) = engine.apart().await? else {
            return Ok(None);
        };
        let started = Instant::now();
        while !self.take(&apart).await? {
            if started.elapsed() > LOCK_WAIT {
                return Err(self.refused());
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
        let enter = Enter {
            name: self.name.clone(),
            now,
        };
        let incarnation = engine.write(enter, Priority::Urgent).await?;
        Ok(Some(Entered {
            identity: self,
            apart,
            incarnation,
        }))
    }

    /// Takes the lock once; `false` if another process has it.
    pub(crate) async fn take(&self, apart: &Apart) -> Result<bool, StoreError> {
        if !apart.lock(self.key).await? {
            return Ok(false);
        }
        if apart.holds(self.key).await? {
            return Ok(true);
        }
        Err(StoreError::Invalid(
            "the database is reached through a pooler that lends connections by transaction; \
             a node needs them by session"
                .to_owned(),
        ))
    }

    fn refused(&self) -> StoreError {
        StoreError::Locked(format!(
            "another process runs on this database as node {}; each needs a name of its own, \
             which the setting `node` gives",
            self.name
        ))
    }
}

/// Writes the node's row and numbers this start.
struct Enter {
    name: String,
    now: Timestamp,
}

impl Body for Enter {
    type Out = i64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<i64, StoreError> {
        let sql = "INSERT INTO sequence (name, next) VALUES ('incarnation', 2)
            ON CONFLICT (name) DO UPDATE SET next = sequence.next + 1 RETURNING next - 1";
        let incarnation = tx.one(sql, &[]).await?.int(0)?;
        let sql = "INSERT INTO node (name, incarnation, started_at, seen_at)
            VALUES ($1, $2, $3, $3) ON CONFLICT (name) DO UPDATE
            SET incarnation = $2, started_at = $3, seen_at = $3";
        tx.execute(sql, params![&self.name, incarnation, self.now])
            .await?;
        Ok(incarnation)
    }
}

/// Says that the node lives.
pub(super) struct Beat {
    pub name: String,
    pub incarnation: i64,
    pub now: Timestamp,
}

impl Body for Beat {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        // Another process may have had the name, and with it the row, for a while.
        let sql = "INSERT INTO node (name, incarnation, started_at, seen_at)
            VALUES ($1, $2, $3, $3) ON CONFLICT (name) DO UPDATE
            SET incarnation = $2, seen_at = $3";
        let values = params![&self.name, self.incarnation, self.now];
        tx.execute(sql, values).await
    }
}

/// Takes the node's row away: it has stopped, and nothing of it is in work.
pub(super) struct Leave {
    pub name: String,
    pub incarnation: i64,
}

impl Body for Leave {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "DELETE FROM node WHERE name = $1 AND incarnation = $2";
        tx.execute(sql, params![&self.name, self.incarnation])
            .await?;
        Ok(())
    }
}
