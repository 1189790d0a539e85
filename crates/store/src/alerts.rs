//! What is wrong and the administrator is told: each thing from when it was found until it is over, and
//! when it was told last. A node that starts again, or another one, goes on from there.
//!
//! What is wrong, and when it is told again, is decided by who looks.

use base::Timestamp;

use crate::engine::{Body, Priority, Row, Tx, params};
use crate::{Store, StoreError};

/// Of the oldest recipients in the queue so many are looked at for one that was tried.
const OLDEST_LOOKED_AT: i64 = 10_000;

/// Something that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alert {
    /// What kind of thing: `queue`, `disk`, …
    pub kind: String,
    /// What it is about: a node, an address, a domain.
    pub subject: String,
    /// What is wrong, in words.
    pub detail: String,
    /// Since when.
    pub since: Timestamp,
    /// When the administrator was told last; `None`: not yet.
    pub told_at: Option<Timestamp>,
}

/// How far the queue is behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueState {
    /// Recipients that wait, held or not; counted up to a most.
    pub recipients: u64,
    /// When the oldest letter came that was tried in vain and will be tried again.
    pub oldest_tried: Option<Timestamp>,
}

impl Store {
    /// How far the queue is behind; at most `recipients_max` recipients are counted.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn queue_state(&self, recipients_max: u64) -> Result<QueueState, StoreError> {
        let most = i64::try_from(recipients_max).unwrap_or(i64::MAX);
        self.0.engine.read(ReadQueueState { most }).await
    }

    /// Everything that is wrong, in order.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn alerts(&self) -> Result<Vec<Alert>, StoreError> {
        self.0.engine.read(ReadAlerts).await
    }

    /// Keeps what is known of something that is wrong.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn keep_alert(&self, alert: Alert) -> Result<(), StoreError> {
        self.0.engine.write(KeepAlert(alert), Priority::Bulk).await
    }

    /// Forgets something that is not wrong any more; whether it was known.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn forget_alert(&self, kind: &str, subject: &str) -> Result<bool, StoreError> {
        let body = ForgetAlert {
            kind: kind.to_owned(),
            subject: subject.to_owned(),
        };
        self.0.engine.write(body, Priority::Bulk).await
    }
}

struct ReadQueueState {
    most: i64,
}

impl Body for ReadQueueState {
    type Out = QueueState;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<QueueState, StoreError> {
        let sql = "SELECT count(*) FROM (SELECT letter_id FROM recipient LIMIT $1) counted";
        let recipients = tx.one(sql, params![self.most]).await?.unsigned(0)?;
        // Ids grow with time, so that the oldest are looked at, and no more than a few of them.
        let sql = "SELECT min(letter_id) FROM (SELECT letter_id, held, attempts FROM recipient
                ORDER BY letter_id, recipient_id LIMIT $1) oldest
            WHERE held = 0 AND attempts > 0";
        let oldest = tx.one(sql, params![OLDEST_LOOKED_AT]).await?.maybe_int(0)?;
        let oldest = match oldest {
            Some(letter) => {
                let sql = "SELECT received_at FROM letter WHERE letter_id = $1";
                tx.row(sql, params![letter]).await?
            }
            None => None,
        };
        Ok(QueueState {
            recipients,
            oldest_tried: oldest.map(|row| row.time(0)).transpose()?,
        })
    }
}

struct ReadAlerts;

impl Body for ReadAlerts {
    type Out = Vec<Alert>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let sql = "SELECT kind, subject, detail, since, told_at FROM alert ORDER BY kind, subject";
        let rows = tx.rows(sql, &[]).await?;
        let read = |mut row: Row| {
            Ok(Alert {
                kind: row.text(0)?,
                subject: row.text(1)?,
                detail: row.text(2)?,
                since: row.time(3)?,
                told_at: row.maybe_int(4)?.map(Timestamp),
            })
        };
        rows.into_iter().map(read).collect()
    }
}

struct KeepAlert(Alert);

impl Body for KeepAlert {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let Self(alert) = self;
        let sql = "INSERT INTO alert (kind, subject, detail, since, told_at)
            VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (kind, subject) DO UPDATE SET detail = excluded.detail,
                since = excluded.since, told_at = excluded.told_at";
        let values = params![
            &alert.kind,
            &alert.subject,
            &alert.detail,
            alert.since,
            alert.told_at,
        ];
        tx.execute(sql, values).await?;
        Ok(())
    }
}

struct ForgetAlert {
    kind: String,
    subject: String,
}

impl Body for ForgetAlert {
    type Out = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let sql = "DELETE FROM alert WHERE kind = $1 AND subject = $2";
        let gone = tx.execute(sql, params![&self.kind, &self.subject]).await?;
        Ok(gone > 0)
    }
}
