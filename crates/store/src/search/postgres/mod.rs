//! The index in PostgreSQL: segments ([`super::segments`]) of each account by itself, as rows of
//! blocks, so that an account's index is on its account's machine.
//!
//! One node at a time works on an account; its lease spares double work and is no lock. What must hold
//! is held by the account's row of `search_progress`: it is locked by each transaction that changes
//! which segments there are, and it gives their numbers. So a number is also an epoch: what is marked
//! as gone is gone from the segments up to the last number given.

mod find;
mod merge;
mod remove;
mod take;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base::AccountId;

use super::index::Progress;
use super::segments::{Block, Shape, damaged};
use crate::StoreError;
use crate::engine::{Body, Engine, Priority, Tx, params};
use crate::shared::Shared;

pub(super) use find::find;
use remove::forget;
pub(super) use remove::forget_removed;

/// How long a node may work on an account before others take it for dead, in milliseconds.
const LEASE_MS: i64 = 30_000;
/// Leases that are remembered before those that are over are looked for.
const LEASES_MAX: usize = 4_096;
/// Accounts that one look finds; the rest comes with the next.
const LAGGING_MAX: i64 = 10_000;
/// The server uses the room of rows that were removed again only after some time: segments are merged
/// seldom and many at once. A search looks into each by one step of an index.
const SHAPE: Shape = Shape {
    fan_in: 32,
    level_bits: 5,
};

/// What this node knows of the index; nothing of it must be right.
#[derive(Default)]
pub(crate) struct Tables {
    /// Until when it has leases.
    leases: Mutex<BTreeMap<AccountId, i64>>,
    /// Accounts in which there may be something to merge or to tidy up.
    crowded: Mutex<BTreeSet<AccountId>>,
    /// Whether somebody merges.
    merges: AtomicBool,
}

impl Tables {
    /// Takes or renews this node's right to work on an account. Two nodes at once do no harm: a step is
    /// taken only from where it started, and merging makes sure of its right.
    pub(super) async fn lease(
        &self,
        engine: &Engine,
        account: AccountId,
        shared: &Shared,
    ) -> Result<bool, StoreError> {
        let now = shared.now().millis();
        let fresh = |until: &i64| *until > now + LEASE_MS / 2;
        if lock(&self.leases).get(&account).is_some_and(fresh) {
            return Ok(true);
        }
        let until = now + LEASE_MS;
        let body = TakeLease {
            account,
            node: shared.node.clone(),
            now,
            until,
        };
        let taken = engine.write(body, Priority::Index).await?;
        let mut leases = lock(&self.leases);
        if leases.len() >= LEASES_MAX {
            leases.retain(|_, until| *until > now);
        }
        if taken {
            leases.insert(account, until);
        } else {
            leases.remove(&account);
        }
        Ok(taken)
    }

    /// Notes accounts in which there may be something to merge.
    fn note_crowded(&self, accounts: Vec<AccountId>) {
        lock(&self.crowded).extend(accounts);
    }

    /// Whether there may be something to merge, and nobody is at it: the caller then must be.
    pub(super) fn begin_merging(&self) -> bool {
        !lock(&self.crowded).is_empty() && !self.merges.swap(true, Ordering::AcqRel)
    }

    /// Merges what was noted, one account after the other. An account that fails is left until it
    /// changes again.
    pub(super) async fn merge(&self, engine: &Engine, shared: &Shared) {
        loop {
            let next = lock(&self.crowded).pop_first();
            let Some(account) = next else { break };
            let merged = match self.lease(engine, account, shared).await {
                Ok(true) => {
                    let merged = merge::run(engine, account, &shared.node).await;
                    mend(engine, account, merged).await.map(drop)
                }
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            };
            match merged {
                Ok(()) => {}
                Err(StoreError::Closed) => break,
                Err(error) => {
                    tracing::warn!(account = account.0, %error, "the search index could not be merged");
                }
            }
        }
        self.merges.store(false, Ordering::Release);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what is there of an account if it is damaged: it is then made anew, and its letters are read
/// meanwhile. Nothing is the answer in that case.
async fn mend<T>(
    engine: &Engine,
    account: AccountId,
    answer: Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    match answer {
        Err(error) if error == damaged() => {
            tracing::warn!(
                account = account.0,
                "the search index is damaged and made anew"
            );
            forget(engine, account).await?;
            Ok(None)
        }
        answer => answer.map(Some),
    }
}

struct TakeLease {
    account: AccountId,
    node: String,
    now: i64,
    until: i64,
}

impl Body for TakeLease {
    type Out = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        // modseq -1: nothing is in the index yet.
        let sql = "INSERT INTO search_progress (account_id, modseq, scan_after, segments, again,
                node, held_until)
            VALUES ($1, -1, NULL, 0, 0, $2, $3)
            ON CONFLICT (account_id) DO UPDATE SET node = $2, held_until = $3
            WHERE search_progress.node = $2 OR search_progress.held_until < $4";
        let values = params![self.account, &self.node, self.until, self.now];
        Ok(tx.execute(sql, values).await? > 0)
    }
}

/// How far the index has come with an account.
pub(super) struct ReadProgress {
    pub account: AccountId,
}

impl Body for ReadProgress {
    type Out = Option<Progress>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<Progress>, StoreError> {
        progress(tx, self.account).await
    }
}

async fn progress(tx: &mut Tx<'_>, account: AccountId) -> Result<Option<Progress>, StoreError> {
    let sql = "SELECT modseq, scan_after FROM search_progress
        WHERE account_id = $1 AND modseq >= 0";
    let row = tx.row(sql, params![account]).await?;
    row.map(|row| {
        Ok(Progress {
            modseq: row.int(0)?,
            scan_after: row.maybe_int(1)?,
        })
    })
    .transpose()
}

/// Begins anew with an account; what is there stays until it is replaced.
pub(super) struct Restart {
    pub account: AccountId,
}

impl Body for Restart {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "UPDATE search_progress SET modseq = -1, scan_after = NULL, again = 1
            WHERE account_id = $1";
        tx.execute(sql, params![self.account]).await?;
        Ok(())
    }
}

/// Accounts that the index lags behind, whichever node has changed them. It belongs to no account:
/// it asks across them.
pub(super) struct Lagging;

impl Body for Lagging {
    type Out = Vec<AccountId>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<AccountId>, StoreError> {
        let sql = "SELECT a.account_id FROM account a WHERE a.removing = 0 AND NOT EXISTS
                (SELECT 1 FROM search_progress p WHERE p.account_id = a.account_id
                    AND p.modseq = a.modseq AND p.scan_after IS NULL)
            LIMIT $1";
        let rows = tx.rows(sql, params![LAGGING_MAX]).await?;
        rows.iter().map(|row| Ok(AccountId(row.int(0)?))).collect()
    }
}

/// Adds a segment with its first blocks.
async fn add_segment(
    tx: &mut Tx<'_>,
    account: AccountId,
    segment: &NewSegment,
    blocks: &[Block],
) -> Result<(), StoreError> {
    let sql = "INSERT INTO search_segment (account_id, segment_id, epoch, letters, state)
        VALUES ($1, $2, $3, $4, $5)";
    let values = params![
        account,
        segment.id,
        segment.epoch,
        segment.letters,
        segment.state
    ];
    tx.send(sql, values).await?;
    add_blocks(tx, account, segment.id, blocks).await
}

/// A segment that is added.
struct NewSegment {
    id: i64,
    epoch: i64,
    letters: i64,
    state: i64,
}

async fn add_blocks(
    tx: &mut Tx<'_>,
    account: AccountId,
    segment: i64,
    blocks: &[Block],
) -> Result<(), StoreError> {
    for block in blocks {
        let sql = "INSERT INTO search_block (account_id, segment_id, first, data)
            VALUES ($1, $2, $3, $4)";
        let values = params![
            account,
            segment,
            block.first.as_slice(),
            block.data.as_slice()
        ];
        tx.send(sql, values).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
