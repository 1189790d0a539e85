//! Periodic jobs: of all nodes that share a store, one does each.
//!
//! A job is a row with its holder and the end of its lease. Whoever finds it due takes it, keeps it
//! while it works, and says when it is done; a node that dies leaves it to the next once the lease
//! is over. A holder that comes too late changes nothing of the row. What it still writes must do
//! no harm: a job's pieces are written so that two nodes may do them at once.
//!
//! What the jobs do is not known here.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base::Timestamp;

use crate::engine::{Body, Priority, Tx, params};
use crate::shared::Shared;
use crate::{Store, StoreError};

/// How long a hold lasts without being renewed. Longer than any piece of a job and than what
/// nodes' clocks differ.
const LEASE: Duration = Duration::from_secs(60);

/// This node does a job. Dropped before [`JobHold::run`] has ended, the job is free when the lease of
/// a minute is over.
pub struct JobHold {
    store: Store,
    name: &'static str,
    held_until: AtomicI64,
}

impl Store {
    /// Takes a job if it is due: no node holds it, and `period` has passed since it was last done.
    /// A job that was never done is due.
    ///
    /// The usual form, called from time to time on every node, far more often than the period:
    /// `if let Some(hold) = store.hold_job("retention", PERIOD).await? { hold.run(work).await?; }`
    ///
    /// # Errors
    /// Those of reading and writing.
    pub async fn hold_job(
        &self,
        name: &'static str,
        period: Duration,
    ) -> Result<Option<JobHold>, StoreError> {
        let shared = Arc::clone(&self.0.shared);
        let now = shared.now();
        let due = IsDue {
            name,
            period,
            now,
            shared: Arc::clone(&shared),
        };
        // Most of the time it is not due, and reading is cheap.
        if !self.0.engine.read(due).await? {
            return Ok(None);
        }
        let take = Take {
            name,
            period,
            now,
            until: now + LEASE,
            shared,
        };
        let taken = self.0.engine.write(take, Priority::Bulk).await?;
        Ok(taken.then(|| JobHold {
            store: self.clone(),
            name,
            held_until: AtomicI64::new((now + LEASE).millis()),
        }))
    }
}

impl JobHold {
    /// Does the work under the hold, which is renewed meanwhile, and notes that it is done. After an
    /// error the job is due again when the lease is over. `None`: the hold was lost, and the work was
    /// dropped between two of its steps.
    ///
    /// # Errors
    /// Those of the work, and those of writing.
    pub async fn run<T>(
        self,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<Option<T>, StoreError> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                out = &mut work => {
                    let out = out?;
                    let now = self.store.0.shared.now();
                    self.change(now, Some(now)).await?;
                    return Ok(Some(out));
                }
                () = tokio::time::sleep(LEASE / 3) => {
                    if !self.keep().await? {
                        tracing::warn!(job = self.name, "a job was taken over by another node");
                        return Ok(None);
                    }
                }
            }
        }
    }

    async fn keep(&self) -> Result<bool, StoreError> {
        let until = self.store.0.shared.now() + LEASE;
        let kept = self.change(until, None).await?;
        if kept {
            self.held_until.store(until.millis(), Ordering::Relaxed);
        }
        Ok(kept)
    }

    async fn change(
        &self,
        until: Timestamp,
        done_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let body = Change {
            name: self.name,
            held_until: Timestamp(self.held_until.load(Ordering::Relaxed)),
            until,
            done_at,
            shared: Arc::clone(&self.store.0.shared),
        };
        // Behind larger work the hold would run out, and another node would begin the same job.
        self.store.0.engine.write(body, Priority::Urgent).await
    }
}

struct IsDue {
    name: &'static str,
    period: Duration,
    now: Timestamp,
    shared: Arc<Shared>,
}

impl Body for IsDue {
    type Out = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM job WHERE name = $1 AND (done_at > $2
            OR (held_until > $3 AND NOT (node = $4 AND incarnation <> $5)))";
        let values = params![
            self.name,
            self.now - self.period,
            self.now,
            &self.shared.node,
            self.shared.incarnation,
        ];
        Ok(tx.row(sql, values).await?.is_none())
    }
}

/// Of several that find a job due at once, one changes the row: the others' conditions are looked
/// at again after that.
struct Take {
    name: &'static str,
    period: Duration,
    now: Timestamp,
    until: Timestamp,
    shared: Arc<Shared>,
}

impl Body for Take {
    type Out = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        // What this node held before it was started again is free: that process is dead.
        let sql = "INSERT INTO job (name, node, incarnation, held_until, done_at)
            VALUES ($1, $2, $3, $4, 0)
            ON CONFLICT (name) DO UPDATE SET node = $2, incarnation = $3, held_until = $4
            WHERE job.done_at <= $5
                AND (job.held_until <= $6 OR (job.node = $2 AND job.incarnation <> $3))";
        let values = params![
            self.name,
            &self.shared.node,
            self.shared.incarnation,
            self.until,
            self.now - self.period,
            self.now,
        ];
        Ok(tx.execute(sql, values).await? > 0)
    }
}

/// Renews or ends a hold that is still the one that was taken.
struct Change {
    name: &'static str,
    held_until: Timestamp,
    until: Timestamp,
    done_at: Option<Timestamp>,
    shared: Arc<Shared>,
}

impl Body for Change {
    type Out = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let sql = "UPDATE job SET held_until = $1, done_at = coalesce($2, done_at)
            WHERE name = $3 AND node = $4 AND incarnation = $5 AND held_until = $6";
        let values = params![
            self.until,
            self.done_at,
            self.name,
            &self.shared.node,
            self.shared.incarnation,
            self.held_until,
        ];
        Ok(tx.execute(sql, values).await? > 0)
    }
}
