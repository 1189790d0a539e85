//! What a node looks at each second, so that a message that was lost costs no more than that: the
//! other nodes, the directory, the accounts that somebody watches here, the queue.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

use base::{AccountId, LetterId, Timestamp};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::identity::Beat;
use super::{Elsewhere, NodeRow, Standing};
use crate::directory::domain;
use crate::engine::{Body, Priority, Tx, params};
use crate::open::Inner;
use crate::{Store, StoreError, Wakeup};

/// Between two looks.
const LOOK_SPAN: Duration = Duration::from_secs(1);
/// Between two signs of life: several fit into the time after which a node counts as dead.
const BEAT_SPAN: Duration = Duration::from_secs(5);
/// How soon other nodes are told that a delivery's reply was lost.
const LOST_SPAN: Duration = Duration::from_millis(100);
/// Accounts that one statement looks at.
const ACCOUNTS_AT_ONCE: usize = 10_000;
/// Deliveries that one transaction marks.
const MARKED_AT_ONCE: usize = 200;

/// The task that looks.
pub(super) struct Look {
    pub wakeup: Wakeup,
    pub store: Weak<Inner>,
    /// Ends with the store.
    pub running: watch::Receiver<bool>,
}

impl Look {
    /// Runs until the store closes.
    pub(super) async fn run(mut self) {
        let mut look_at = Instant::now();
        let mut lost_at = Instant::now();
        let mut beat_at = Instant::now();
        loop {
            let Some(inner) = self.store.upgrade() else {
                return;
            };
            let store = Store(inner);
            let next = look_at.min(lost_at);
            let now = tokio::select! {
                biased;
                _ = self.running.changed() => return,
                () = store.0.shared.nodes.directory.notified() => None,
                () = sleep_until(next) => Some(Instant::now()),
            };
            let done = match now {
                None => store.catch_up().await,
                Some(now) if now >= look_at => {
                    look_at = now + LOOK_SPAN;
                    let beats = now >= beat_at;
                    if beats {
                        beat_at = now + BEAT_SPAN;
                    }
                    self.look(&store, beats).await
                }
                Some(now) => {
                    lost_at = now + LOST_SPAN;
                    store.mark_lost().await
                }
            };
            match done {
                Ok(()) => {}
                Err(StoreError::Closed) => return,
                Err(error) => tracing::debug!(%error, "the look at the other nodes failed"),
            }
        }
    }

    async fn look(&self, store: &Store, beats: bool) -> Result<(), StoreError> {
        let shared = &store.0.shared;
        let nodes = &shared.nodes;
        if beats && nodes.standing() == Standing::Held {
            let beat = Beat {
                name: shared.node.clone(),
                incarnation: shared.incarnation,
                now: shared.now(),
            };
            store.0.engine.write(beat, Priority::Urgent).await?;
        }
        let mut rows = store.0.engine.read(AllNodes).await?;
        rows.retain(|row| row.name != shared.node);
        let had_others = nodes.has_others();
        let alive = nodes.observe_all(&rows, shared.now());
        shared
            .metrics
            .other_nodes
            .set(i64::try_from(alive).unwrap_or(0));
        let tells = alive > 0 && self.wakeup == Wakeup::Notify;
        shared.watches.bell.set_on(tells);
        store.catch_up().await?;
        if alive > 0 || had_others {
            store.look_at_accounts().await?;
            store.look_at_claims().await?;
            shared.watches.queue_changed_elsewhere();
        }
        Ok(())
    }
}

impl Store {
    /// Wakes those whose accounts have changed since the last look, wherever that was.
    async fn look_at_accounts(&self) -> Result<(), StoreError> {
        let watches = &self.0.shared.watches;
        for some in watches.watched().chunks(ACCOUNTS_AT_ONCE) {
            let body = ModSeqs {
                accounts: some.to_vec(),
            };
            let found = self.0.engine.read(body).await?;
            for account in some {
                // One that is gone has changed once.
                let modseq = found.get(account).copied().unwrap_or(-1);
                watches.looked(AccountId(*account), modseq);
            }
        }
        Ok(())
    }

    async fn look_at_claims(&self) -> Result<(), StoreError> {
        let shared = &self.0.shared;
        let body = ClaimsElsewhere {
            node: shared.node.clone(),
            now: shared.now(),
        };
        let found = self.0.engine.read(body).await?;
        let mut all = BTreeMap::new();
        for (name, elsewhere) in found {
            all.insert(domain(&name)?, elsewhere);
        }
        shared.nodes.set_elsewhere(all);
        Ok(())
    }

    /// Marks deliveries whose connections ended without a confirmation, so that other nodes take
    /// what repeats them for a repetition.
    async fn mark_lost(&self) -> Result<(), StoreError> {
        let shared = &self.0.shared;
        let lost: Vec<i64> = shared.nodes.take_lost().iter().map(|one| one.0).collect();
        for (at, some) in lost.chunks(MARKED_AT_ONCE).enumerate() {
            if let Err(error) = self.mark_some(some).await {
                // Nothing else would ever say so while this node lives.
                for letter in lost.iter().skip(at * MARKED_AT_ONCE) {
                    shared.nodes.add_lost(LetterId(*letter));
                }
                return Err(error);
            }
        }
        Ok(())
    }

    async fn mark_some(&self, some: &[i64]) -> Result<(), StoreError> {
        let shared = &self.0.shared;
        let mut letters = some.to_vec();
        letters.retain(|letter| {
            let letter = LetterId(*letter);
            !shared.is_living(letter) && !shared.is_confirmed(letter, true)
        });
        self.mark(letters, true).await?;
        // One that came again meanwhile, here, is alive whatever was written last.
        let mut again = some.to_vec();
        again.retain(|letter| shared.is_living(LetterId(*letter)));
        self.mark(again, false).await
    }

    async fn mark(&self, letters: Vec<i64>, lost: bool) -> Result<(), StoreError> {
        if letters.is_empty() {
            return Ok(());
        }
        let body = Mark {
            letters,
            lost,
            node: self.0.shared.node.clone(),
            incarnation: self.0.shared.incarnation,
        };
        let written = self.0.engine.write(body, Priority::Urgent).await;
        written.map(|_| ())
    }
}

struct AllNodes;

impl Body for AllNodes {
    type Out = Vec<NodeRow>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<NodeRow>, StoreError> {
        let sql = "SELECT name, incarnation, seen_at FROM node";
        let rows = tx.rows(sql, &[]).await?.into_iter();
        rows.map(|mut row| {
            Ok(NodeRow {
                name: row.text(0)?,
                incarnation: row.int(1)?,
                seen_at: row.time(2)?,
            })
        })
        .collect()
    }
}

/// Across accounts, but of each only its number of changes.
struct ModSeqs {
    accounts: Vec<i64>,
}

impl Body for ModSeqs {
    type Out = BTreeMap<i64, i64>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let sql = "SELECT account_id, modseq FROM account WHERE account_id IN list($1)";
        let rows = tx.rows(sql, params![self.accounts.as_slice()]).await?;
        rows.iter()
            .map(|row| Ok((row.int(0)?, row.int(1)?)))
            .collect()
    }
}

/// What other nodes have in hand, by destination.
struct ClaimsElsewhere {
    node: String,
    now: Timestamp,
}

impl Body for ClaimsElsewhere {
    type Out = Vec<(String, Elsewhere)>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let sql = "SELECT domain, count(DISTINCT node), count(DISTINCT letter_id) FROM recipient
            WHERE fence <> 0 AND node <> $1 AND next_at > $2 GROUP BY domain";
        let rows = tx.rows(sql, params![&self.node, self.now]).await?;
        rows.into_iter()
            .map(|mut row| {
                let elsewhere = Elsewhere {
                    nodes: row.u32(1)?,
                    letters: row.u32(2)?,
                };
                Ok((row.text(0)?, elsewhere))
            })
            .collect()
    }
}

struct Mark {
    letters: Vec<i64>,
    lost: bool,
    node: String,
    incarnation: i64,
}

impl Body for Mark {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        let sql = "UPDATE delivery SET lost = $1
            WHERE letter_id IN list($2) AND node = $3 AND incarnation = $4";
        let letters = self.letters.as_slice();
        let values = params![self.lost, letters, &self.node, self.incarnation];
        tx.execute(sql, values).await
    }
}
