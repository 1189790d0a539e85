//! The index of either engine, behind the same few verbs: how far it has come with an account, a
//! step forward, and the messages that a query finds.

use std::collections::BTreeSet;
use std::time::Duration;

use base::{AccountId, MessageId};

use super::file::IndexFile;
use super::postgres::{self, Tables};
use super::query::{SearchQuery, Term};
use super::text::Document;
use crate::StoreError;
use crate::aside::Aside;
use crate::engine::{Body, Engine, Priority, Tx};
use crate::shared::Shared;

/// How far the index has come with an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Progress {
    /// Changes of the log up to this modseq are in the index.
    pub modseq: i64,
    /// While the messages that were there at that modseq are being read through: those with higher
    /// ids are missing.
    pub scan_after: Option<i64>,
}

impl Progress {
    /// Where an account of which nothing is known begins, at its modseq.
    pub(crate) const fn start(modseq: i64) -> Self {
        Self {
            modseq,
            scan_after: Some(0),
        }
    }
}

/// A step of the index with an account. It is taken whole or not at all.
pub(crate) struct Step {
    pub account: AccountId,
    /// What it starts from; if the index is elsewhere by now, it is not taken.
    pub from: Option<Progress>,
    pub to: Progress,
    /// Ids above the first and up to the second are removed first.
    pub cleared: Option<(i64, i64)>,
    /// Messages that are gone.
    pub removed: Vec<MessageId>,
    /// Messages that are new, or new again.
    pub documents: Vec<Document>,
}

/// What one look into the index has found.
pub(crate) struct Page {
    /// How far it had come.
    pub progress: Option<Progress>,
    /// Ascending.
    pub messages: Vec<MessageId>,
}

/// The index.
pub(crate) enum Index {
    /// A file of its own beside the database.
    Sqlite(IndexFile),
    /// Tables of the database.
    Postgres(Tables),
}

impl Index {
    /// How far it has come.
    pub(crate) async fn progress(
        &self,
        engine: &Engine,
        account: AccountId,
    ) -> Result<Option<Progress>, StoreError> {
        match self {
            Self::Sqlite(file) => file.progress(account).await,
            Self::Postgres(_) => engine.read(postgres::ReadProgress { account }).await,
        }
    }

    /// Whether this node may go on with the account now: another may be at it.
    pub(crate) async fn lease(
        &self,
        engine: &Engine,
        account: AccountId,
        shared: &Shared,
    ) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(true),
            Self::Postgres(tables) => tables.lease(engine, account, shared).await,
        }
    }

    /// Accounts that have changed since the index came to them.
    pub(crate) async fn lagging(&self, engine: &Engine) -> Result<Vec<AccountId>, StoreError> {
        match self {
            Self::Sqlite(file) => {
                let known = file.all_progress().await?;
                let mut accounts = engine.read(AccountModseqs).await?;
                accounts.retain(|(account, modseq)| {
                    let done = Progress {
                        modseq: *modseq,
                        scan_after: None,
                    };
                    known.get(account) != Some(&done)
                });
                Ok(accounts.into_iter().map(|(account, _)| account).collect())
            }
            Self::Postgres(_) => engine.read(postgres::Lagging).await,
        }
    }

    /// How often that is asked: of a file no other process changes anything.
    pub(crate) const fn look_every(&self) -> Duration {
        match self {
            Self::Sqlite(_) => Duration::from_secs(600),
            Self::Postgres(_) => Duration::from_secs(15),
        }
    }

    /// How long changes gather before they are looked at: many letters then share a step. Letters that
    /// come at full speed into many accounts are few of each; a server keeps each step's letters of
    /// an account by themselves until they are merged.
    pub(crate) const fn gather(&self) -> Duration {
        match self {
            Self::Sqlite(_) => Duration::from_millis(100),
            Self::Postgres(_) => Duration::from_millis(500),
        }
    }

    /// Whether the caller must call [`Index::merge`]: a file sees to that itself.
    pub(crate) fn begin_merging(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(tables) => tables.begin_merging(),
        }
    }

    /// Merges what steps have left.
    pub(crate) async fn merge(&self, engine: &Engine, shared: &Shared) {
        if let Self::Postgres(tables) = self {
            tables.merge(engine, shared).await;
        }
    }

    /// Takes steps. A step that starts elsewhere than where the index is does nothing.
    pub(crate) async fn take(
        &self,
        engine: &Engine,
        aside: Aside,
        steps: Vec<Step>,
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(file) => file.take(steps).await,
            Self::Postgres(tables) => tables.take(engine, aside, steps).await,
        }
    }

    /// The messages of an account that a query finds, with ids above `after`, at most `limit`.
    pub(crate) async fn find(
        &self,
        engine: &Engine,
        account: AccountId,
        query: &SearchQuery,
        after: MessageId,
        limit: usize,
    ) -> Result<Page, StoreError> {
        match self {
            Self::Sqlite(file) => file.find(account, query, after, limit).await,
            Self::Postgres(_) => postgres::find(engine, account, query, after, limit).await,
        }
    }

    /// Begins anew with an account; what is there stays until it is replaced.
    pub(crate) async fn restart(
        &self,
        engine: &Engine,
        account: AccountId,
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(file) => file.restart(account).await,
            Self::Postgres(_) => {
                let restart = postgres::Restart { account };
                engine.write(restart, Priority::Index).await
            }
        }
    }

    /// Removes what belongs to accounts that are no more.
    pub(crate) async fn forget_removed(&self, engine: &Engine) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(file) => {
                // In this order: an account that is made meanwhile is not taken for removed.
                let known = file.all_progress().await?;
                let accounts = engine.read(AccountModseqs).await?;
                let mut removed: BTreeSet<AccountId> = known.into_keys().collect();
                for (account, _) in accounts {
                    removed.remove(&account);
                }
                for account in removed {
                    file.forget(account).await?;
                }
                Ok(())
            }
            Self::Postgres(_) => postgres::forget_removed(engine).await,
        }
    }

    /// Ends it. Blocks.
    pub(crate) fn close(&self) {
        match self {
            Self::Sqlite(file) => file.close(),
            Self::Postgres(_) => {}
        }
    }
}

/// How far each account has come. The index belongs to no account: it asks across them.
struct AccountModseqs;

impl Body for AccountModseqs {
    type Out = Vec<(AccountId, i64)>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let sql = "SELECT account_id, modseq FROM account WHERE removing = 0";
        let rows = tx.rows(sql, &[]).await?;
        rows.iter()
            .map(|row| Ok((AccountId(row.int(0)?), row.int(1)?)))
            .collect()
    }
}

/// What stands before each token of an account, so that its words are keys of their own: no query
/// ever touches another's, and the beginning of a word is looked up among this account's words only.
pub(crate) fn token_prefix(account: AccountId) -> String {
    format!("{:x}/", account.0)
}

/// A term's tokens as they stand in the index.
pub(crate) fn keys<'t>(account: AccountId, term: &'t Term) -> impl Iterator<Item = String> + 't {
    let prefix = token_prefix(account);
    term.tokens
        .iter()
        .map(move |token| format!("{prefix}{token}"))
}
