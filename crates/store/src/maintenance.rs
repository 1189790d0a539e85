//! Work in the background: blobs that nobody names, old log rows, removals that a crash cut short.
//! Everything goes in small pieces behind the work that somebody waits for.

use std::sync::{Arc, Weak};
use std::time::Duration;

use base::{AccountId, Timestamp};

use crate::deliver::ForgetDeliveries;
use crate::directory::TrimDirectoryChanges;
use crate::engine::{Body, Priority, Tx, params};
use crate::ids::first_id_at;
use crate::open::Inner;
use crate::sending::ForgetSent;
use crate::{Store, StoreError};

/// How often the work is done, by one of the nodes that share the store.
const PERIOD: Duration = Duration::from_secs(600);
/// How often a node looks whether it is due.
const LOOK_SPAN: Duration = Duration::from_secs(60);
/// The first time after opening, when others have more urgent work.
const FIRST_AFTER: Duration = Duration::from_secs(20);
/// How long the change log and journeys reach back.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Rows of an account's change log.
const CHANGES_MAX: i64 = 100_000;
/// Rows that one transaction removes.
const PIECE_ROWS: i64 = 2_000;

impl Store {
    /// Starts the background work; it ends with the last clone of the store.
    pub(crate) fn start_maintenance(&self) {
        let weak = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            let mut wait = FIRST_AFTER;
            loop {
                tokio::time::sleep(wait).await;
                wait = LOOK_SPAN;
                match run(&weak).await {
                    Ok(true) => {}
                    Ok(false) | Err(StoreError::Closed) => return,
                    Err(error) => tracing::warn!(%error, "background work of the store failed"),
                }
            }
        });
    }

    /// Does all background work that is waiting. For tests and for `pennyblack store`. A step that
    /// fails keeps the others from nothing.
    ///
    /// # Errors
    /// The first error of a step, when all have had their turn.
    pub async fn maintain(&self) -> Result<(), StoreError> {
        let now = self.0.shared.now();
        let steps = [
            self.finish_removals().await,
            self.keep_retention(now).await,
            self.collect().await,
            self.remove_orphans_when_due().await,
            self.trim_logs(now).await,
            self.trim_changes(now).await,
            self.compact_segments().await,
        ];
        steps.into_iter().collect()
    }

    async fn trim_logs(&self, now: Timestamp) -> Result<(), StoreError> {
        let engine = &self.0.engine;
        let deliveries = async {
            let body = || engine.write(ForgetDeliveries { now }, Priority::Bulk);
            while body().await? > 0 {}
            Ok(())
        };
        let journeys = async {
            while engine.write(TrimJourneys { now }, Priority::Bulk).await? > 0 {}
            Ok(())
        };
        let sent = async {
            while engine.write(ForgetSent { now }, Priority::Bulk).await? > 0 {}
            Ok(())
        };
        let directory = engine.write(TrimDirectoryChanges, Priority::Bulk);
        let steps = [
            deliveries.await,
            journeys.await,
            sent.await,
            directory.await.map(|_| ()),
            self.trim_suppressions(now).await,
        ];
        steps.into_iter().collect()
    }

    async fn finish_removals(&self) -> Result<(), StoreError> {
        for account in self.0.engine.read(Removing).await? {
            self.remove_rest(account).await?;
        }
        Ok(())
    }

    async fn trim_changes(&self, now: Timestamp) -> Result<(), StoreError> {
        for account in self.0.engine.read(AllAccounts).await? {
            let floor = FindFloor {
                account,
                oldest: now - KEPT_FOR,
            };
            let Some(floor) = self.0.engine.read(floor).await? else {
                continue;
            };
            let body = TrimChanges { account, floor };
            while self.0.engine.write(body, Priority::Bulk).await? > 0 {}
        }
        Ok(())
    }
}

/// One round; `false` when the store is gone.
async fn run(weak: &Weak<Inner>) -> Result<bool, StoreError> {
    let Some(inner) = weak.upgrade() else {
        return Ok(false);
    };
    let store = Store(inner);
    if let Some(hold) = store.hold_job("maintenance", PERIOD).await? {
        hold.run(store.maintain()).await?;
    }
    Ok(true)
}

/// Accounts whose removal has begun.
struct Removing;

impl Body for Removing {
    type Out = Vec<AccountId>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<AccountId>, StoreError> {
        let rows = tx
            .rows("SELECT account_id FROM account WHERE removing = 1", &[])
            .await?;
        rows.iter().map(|row| Ok(AccountId(row.int(0)?))).collect()
    }
}

struct AllAccounts;

impl Body for AllAccounts {
    type Out = Vec<AccountId>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<AccountId>, StoreError> {
        let rows = tx
            .rows("SELECT account_id FROM account WHERE removing = 0", &[])
            .await?;
        rows.iter().map(|row| Ok(AccountId(row.int(0)?))).collect()
    }
}

/// Up to which modseq an account's log is too old or too long.
struct FindFloor {
    account: AccountId,
    oldest: Timestamp,
}

impl Body for FindFloor {
    type Out = Option<i64>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<i64>, StoreError> {
        let by_length = "SELECT modseq FROM change WHERE account_id = $1
            ORDER BY modseq DESC LIMIT 1 OFFSET $2";
        let by_length = tx
            .row(by_length, params![self.account, CHANGES_MAX])
            .await?;
        // Times grow with modseq, so that the first new row ends the old ones.
        let first_new = "SELECT min(modseq) FROM change WHERE account_id = $1 AND at >= $2";
        let first_new = tx
            .one(first_new, params![self.account, self.oldest])
            .await?;
        let first = "SELECT min(modseq), max(modseq) FROM change WHERE account_id = $1";
        let first = tx.one(first, params![self.account]).await?;
        let (Some(oldest), Some(newest)) = (first.maybe_int(0)?, first.maybe_int(1)?) else {
            return Ok(None);
        };
        let by_time = first_new.maybe_int(0)?.map_or(newest, |modseq| modseq - 1);
        let by_length = by_length.map_or(Ok(0), |row| row.int(0))?;
        let floor = by_time.max(by_length);
        Ok((floor >= oldest).then_some(floor))
    }
}

/// Removes log rows up to a modseq, a piece at a time.
#[derive(Clone, Copy)]
struct TrimChanges {
    account: AccountId,
    floor: i64,
}

impl Body for TrimChanges {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        let raise = "UPDATE account SET change_floor = $2
            WHERE account_id = $1 AND change_floor < $2";
        tx.execute(raise, params![self.account, self.floor]).await?;
        let last = "SELECT max(modseq) FROM (SELECT modseq FROM change
            WHERE account_id = $1 AND modseq <= $2 ORDER BY modseq LIMIT $3) limited";
        let last = tx
            .one(last, params![self.account, self.floor, PIECE_ROWS])
            .await?;
        let mut removed = 0;
        if let Some(last) = last.maybe_int(0)? {
            let sql = "DELETE FROM change WHERE account_id = $1 AND modseq <= $2";
            removed += tx.execute(sql, params![self.account, last]).await?;
        }
        let mailboxes = "SELECT mailbox_id FROM mailbox WHERE account_id = $1";
        for row in tx.rows(mailboxes, params![self.account]).await? {
            if removed >= PIECE_ROWS.unsigned_abs() {
                break;
            }
            let mailbox = row.int(0)?;
            let sql = "DELETE FROM expunged WHERE account_id = $1 AND mailbox_id = $2
                AND modseq <= (SELECT max(modseq) FROM (SELECT modseq FROM expunged
                    WHERE account_id = $1 AND mailbox_id = $2 AND modseq <= $3
                    ORDER BY modseq LIMIT $4) limited)";
            let values = params![self.account, mailbox, self.floor, PIECE_ROWS];
            removed += tx.execute(sql, values).await?;
        }
        Ok(removed)
    }
}

/// Removes journeys of long ago; the letter's id tells its age.
struct TrimJourneys {
    now: Timestamp,
}

impl Body for TrimJourneys {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        let sql = "DELETE FROM journey WHERE letter_id < $1 AND letter_id IN
            (SELECT letter_id FROM journey WHERE letter_id < $1 ORDER BY letter_id LIMIT $2)";
        let values = params![first_id_at(self.now - KEPT_FOR), PIECE_ROWS];
        let removed = tx.execute(sql, values).await?;
        let sql = "DELETE FROM letter_name WHERE letter_id IN
            (SELECT letter_id FROM letter_name WHERE letter_id < $1 ORDER BY letter_id LIMIT $2)";
        Ok(removed + tx.execute(sql, values).await?)
    }
}
