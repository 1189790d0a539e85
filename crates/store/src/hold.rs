//! The hold that a backup has on the store: while it lasts, on whichever node, the collector
//! removes no blob. It ends by itself some time after its holder has died.

use std::time::Duration;

use crate::engine::{Body, Priority, Tx, params};
use crate::{Store, StoreError};
use base::Timestamp;

/// How long a hold lasts that nobody renews.
pub(crate) const HOLD: Duration = Duration::from_secs(900);

impl Store {
    /// Takes the hold for a backup.
    pub(crate) async fn take_hold(&self) -> Result<(), StoreError> {
        self.hold(Act::Take).await
    }

    /// Renews it; an error once it was over, even if nobody else has it.
    pub(crate) async fn renew_hold(&self) -> Result<(), StoreError> {
        self.hold(Act::Renew).await
    }

    /// Ends it.
    pub(crate) async fn end_hold(&self) -> Result<(), StoreError> {
        self.hold(Act::End).await
    }

    async fn hold(&self, act: Act) -> Result<(), StoreError> {
        let shared = &self.0.shared;
        let body = Hold {
            act,
            node: shared.node.clone(),
            incarnation: shared.incarnation,
            now: shared.now(),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }
}

#[derive(Clone, Copy)]
enum Act {
    Take,
    Renew,
    End,
}

struct Hold {
    act: Act,
    node: String,
    incarnation: i64,
    now: Timestamp,
}

impl Body for Hold {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let until = self.now + HOLD;
        let changed = match self.act {
            // What this node held before, it holds no more: in one process there is one at a time.
            Act::Take => {
                let sql = "INSERT INTO job (name, node, incarnation, held_until, done_at)
                    VALUES ('backup', $1, $2, $3, 0)
                    ON CONFLICT (name) DO UPDATE SET node = $1, incarnation = $2, held_until = $3
                    WHERE job.held_until < $4 OR job.node = $1";
                tx.execute(sql, params![&self.node, self.incarnation, until, self.now])
                    .await?
            }
            Act::Renew => {
                let sql = "UPDATE job SET held_until = $3
                    WHERE name = 'backup' AND node = $1 AND incarnation = $2
                    AND held_until > $4";
                let values = params![&self.node, self.incarnation, until, self.now];
                tx.execute(sql, values).await?
            }
            Act::End => {
                let sql = "UPDATE job SET held_until = 0, done_at = $3
                    WHERE name = 'backup' AND node = $1 AND incarnation = $2";
                tx.execute(sql, params![&self.node, self.incarnation, self.now])
                    .await?
            }
        };
        if changed > 0 {
            return Ok(());
        }
        let why = match self.act {
            Act::Take => "another backup of this store is under way",
            // The collector may have removed what the snapshot names.
            Act::Renew | Act::End => "the hold of this backup is over: it was not renewed in time",
        };
        Err(StoreError::Busy(why.to_owned()))
    }
}

/// Whether a backup holds the store.
pub(crate) async fn is_held(tx: &mut Tx<'_>, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM job WHERE name = 'backup' AND held_until > $1";
    Ok(tx.row(sql, params![now]).await?.is_some())
}
