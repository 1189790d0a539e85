//! A store takes in another one: rows of whole tables and blobs, from a backup or from a store that
//! moves. Only into a store without data, which is marked until all is in it; a marked store is not
//! served, and taking in can be begun again: blobs that are there stay, rows are put in anew.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::backup::{BlobEntry, CARRIED, Fragment};
use crate::blobs::{condemn, store_blob};
use crate::engine::{Body, Priority, Row, Tx, params};
use crate::prepare::{Coding, Part, Prepared};
use crate::verify::AccountIds;
use crate::{Store, StoreError};
use base::{AccountId, Timestamp};

/// Rows that one transaction puts in.
const PIECE_ROWS: usize = 200;
/// Transactions under way at once: they share commits on SQLite, and connections on PostgreSQL.
const AT_ONCE: usize = 12;
/// Bytes of small blobs that one transaction puts in.
const PIECE_BYTES: usize = 256 * 1024;
/// A node that was seen within this time is taken for alive.
const ALIVE_MS: i64 = 60_000;
/// Tables that a store has rows in before anybody has used it.
const NEVER_EMPTY: &[&str] = &["server_secret", "sequence", "domain", "dkim_key"];

/// What becomes of letters that are still to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Queue {
    /// They wait until an operator releases them.
    Held,
    /// They are sent.
    Sent,
}

impl Store {
    /// Refuses a store into which another one was not taken in whole.
    pub(crate) async fn refuse_unfinished(&self) -> Result<(), StoreError> {
        match self.0.engine.read(Unfinished).await? {
            None => Ok(()),
            Some(what) => Err(StoreError::Invalid(format!(
                "a {what} into this store did not finish: run it again, it goes on where it stopped"
            ))),
        }
    }

    /// Begins to take in: the store must be empty, or an earlier attempt has marked it.
    pub(crate) async fn begin_intake(&self, what: &'static str) -> Result<(), StoreError> {
        let now = self.0.shared.now();
        let own = self.0.shared.node.clone();
        if let Some(node) = self.0.engine.read(AliveNode { now, own }).await? {
            return Err(StoreError::Busy(format!(
                "the node {node} works on this store: stop it first"
            )));
        }
        if self.0.engine.read(Unfinished).await?.is_none() {
            for table in CARRIED.iter().chain(&["blob"]) {
                let count = self.0.engine.read(Count { table }).await?;
                if count > 0 && !NEVER_EMPTY.contains(table) {
                    return Err(StoreError::Invalid(format!(
                        "the store has data already ({count} rows in \"{table}\"): a {what} goes \
                         only into an empty one"
                    )));
                }
            }
        }
        let body = Mark { what: Some(what) };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// Empties a table before its rows are put in.
    pub(crate) async fn empty_table(&self, table: &'static str) -> Result<(), StoreError> {
        self.0.engine.write(Empty { table }, Priority::Bulk).await
    }

    /// How many rows a table has.
    pub(crate) async fn count_rows(&self, table: &'static str) -> Result<u64, StoreError> {
        self.0.engine.read(Count { table }).await
    }

    /// Which of some blobs are there, whole and under the same id.
    pub(crate) async fn have_blobs(&self, blobs: Vec<BlobEntry>) -> Result<Vec<bool>, StoreError> {
        self.0.engine.read(Have { blobs }).await
    }

    /// Ends: the queue is free of claims and held if so wanted, blobs that nobody names are
    /// condemned, the mark goes. Gives the number of letters held.
    pub(crate) async fn end_intake(&self, queue: Queue) -> Result<u64, StoreError> {
        let held = self
            .0
            .engine
            .write(FreeQueue { queue }, Priority::Urgent)
            .await?;
        self.condemn_unnamed().await?;
        // An index that lay there is of other messages with the same ids.
        for account in self.0.engine.read(AccountIds).await? {
            self.rebuild_search(AccountId(account)).await?;
        }
        self.0
            .engine
            .write(Mark { what: None }, Priority::Urgent)
            .await?;
        Ok(held)
    }

    /// Condemns the blobs that nobody names.
    pub(crate) async fn condemn_unnamed(&self) -> Result<u64, StoreError> {
        let now = self.0.shared.now();
        let mut condemned = 0;
        let mut after = Some(Vec::new());
        while let Some(hash) = after {
            let body = CondemnUnnamed { after: hash, now };
            let (last, count) = self.0.engine.write(body, Priority::Bulk).await?;
            condemned += count;
            after = last;
        }
        Ok(condemned)
    }
}

/// Puts rows and blobs in, several transactions at once.
pub(crate) struct Flow {
    store: Store,
    tasks: JoinSet<Result<(), StoreError>>,
    small: Vec<Prepared>,
    small_bytes: usize,
}

impl Flow {
    pub(crate) fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            tasks: JoinSet::new(),
            small: Vec::new(),
            small_bytes: 0,
        }
    }

    /// Puts rows into a table.
    pub(crate) async fn rows(
        &mut self,
        table: &'static str,
        columns: &Arc<[String]>,
        mut rows: Vec<Row>,
    ) -> Result<(), StoreError> {
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(PIECE_ROWS));
            let body = PutRows {
                table,
                columns: Arc::clone(columns),
                rows,
            };
            let store = self.store.clone();
            self.start(async move { store.0.engine.write(body, Priority::Bulk).await })
                .await?;
            rows = rest;
        }
        Ok(())
    }

    /// Puts a blob with all its parts.
    pub(crate) async fn blob(
        &mut self,
        blob: &BlobEntry,
        parts: Vec<Fragment>,
    ) -> Result<(), StoreError> {
        let prepared = prepared(blob, parts)?;
        self.small_bytes += prepared
            .parts
            .iter()
            .map(|part| part.data.len())
            .sum::<usize>();
        self.small.push(prepared);
        if self.small_bytes >= PIECE_BYTES || self.small.len() >= PIECE_ROWS {
            self.flush_blobs().await?;
        }
        Ok(())
    }

    /// Waits until all is on disk.
    pub(crate) async fn finish(&mut self) -> Result<(), StoreError> {
        self.flush_blobs().await?;
        while let Some(done) = self.tasks.join_next().await {
            ended(done)?;
        }
        Ok(())
    }

    async fn flush_blobs(&mut self) -> Result<(), StoreError> {
        self.small_bytes = 0;
        let blobs = std::mem::take(&mut self.small);
        if blobs.is_empty() {
            return Ok(());
        }
        let store = self.store.clone();
        self.start(async move {
            // What is there stays until all that replaces it is durable.
            let mut away = Vec::with_capacity(blobs.len());
            for blob in blobs {
                away.push(store.put_outside(blob).await?);
            }
            let body = ReplaceBlobs { blobs: away };
            store.0.engine.write(body, Priority::Bulk).await
        })
        .await
    }

    async fn start(
        &mut self,
        work: impl Future<Output = Result<(), StoreError>> + Send + 'static,
    ) -> Result<(), StoreError> {
        while self.tasks.len() >= AT_ONCE {
            if let Some(done) = self.tasks.join_next().await {
                ended(done)?;
            }
        }
        self.tasks.spawn(work);
        Ok(())
    }
}

fn ended(done: Result<Result<(), StoreError>, tokio::task::JoinError>) -> Result<(), StoreError> {
    done.map_err(|error| StoreError::Bug(format!("taking in failed: {error}")))?
}

/// A blob in the form in which letters are stored.
fn prepared(blob: &BlobEntry, fragments: Vec<Fragment>) -> Result<Prepared, StoreError> {
    let parts = fragments.into_iter().map(|fragment| {
        Ok(Part {
            plain_bytes: fragment.plain_bytes,
            coding: Coding::of(fragment.coding)
                .ok_or_else(|| StoreError::Io("a part of a letter is damaged".to_owned()))?,
            data: fragment.data,
            place: None,
        })
    });
    Ok(Prepared {
        hash: blob.hash,
        blob_id: blob.blob_id,
        bytes: blob.total_bytes,
        parts: parts.collect::<Result<_, StoreError>>()?,
        ..Prepared::default()
    })
}

struct Unfinished;

impl Body for Unfinished {
    type Out = Option<String>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<String>, StoreError> {
        let sql = "SELECT node FROM job WHERE name = 'intake' AND held_until > 0";
        tx.row(sql, &[])
            .await?
            .map(|mut row| row.text(0))
            .transpose()
    }
}

struct AliveNode {
    now: Timestamp,
    own: String,
}

impl Body for AliveNode {
    type Out = Option<String>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<String>, StoreError> {
        let sql = "SELECT name FROM node WHERE seen_at > $1 AND name <> $2";
        let values = params![self.now.millis() - ALIVE_MS, &self.own];
        tx.row(sql, values)
            .await?
            .map(|mut row| row.text(0))
            .transpose()
    }
}

/// Marks the store as not whole, or takes the mark away.
struct Mark {
    what: Option<&'static str>,
}

impl Body for Mark {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        tx.execute("DELETE FROM job WHERE name = 'intake'", &[])
            .await?;
        if let Some(what) = self.what {
            let sql = "INSERT INTO job (name, node, incarnation, held_until, done_at)
                VALUES ('intake', $1, 0, $2, 0)";
            tx.execute(sql, params![what, i64::MAX]).await?;
        }
        Ok(())
    }
}

struct Count {
    table: &'static str,
}

impl Body for Count {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        tx.count(self.table).await
    }
}

struct Empty {
    table: &'static str,
}

impl Body for Empty {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        tx.empty(self.table).await
    }
}

struct PutRows {
    table: &'static str,
    columns: Arc<[String]>,
    rows: Vec<Row>,
}

impl Body for PutRows {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        tx.copy_in(self.table, &self.columns, &self.rows).await
    }
}

struct Have {
    blobs: Vec<BlobEntry>,
}

impl Body for Have {
    type Out = Vec<bool>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<bool>, StoreError> {
        let sql = "SELECT count(*) FROM blob WHERE hash = $1 AND blob_id = $2";
        let mut have = Vec::with_capacity(self.blobs.len());
        for blob in &self.blobs {
            let parts = tx
                .one(sql, params![&blob.hash, blob.blob_id])
                .await?
                .unsigned(0)?;
            have.push(parts == u64::from(blob.parts()));
        }
        Ok(have)
    }
}

/// Puts blobs in the place of what an earlier attempt left of them, or of what is damaged. All parts
/// of a large letter go together, which takes longer than other transactions may: nobody may find
/// the old ones gone and the new ones not there.
struct ReplaceBlobs {
    blobs: Vec<Prepared>,
}

impl Body for ReplaceBlobs {
    type Out = ();

    fn blobs(&self) -> Vec<[u8; 32]> {
        self.blobs.iter().map(|blob| blob.hash).collect()
    }

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        for blob in &self.blobs {
            tx.execute("DELETE FROM blob WHERE hash = $1", params![&blob.hash])
                .await?;
            store_blob(tx, blob).await?;
        }
        Ok(())
    }
}

/// Frees the queue of claims of nodes that are not there, of all letters at once: nobody else works
/// on the store.
struct FreeQueue {
    queue: Queue,
}

impl Body for FreeQueue {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        let sql = "UPDATE recipient SET fence = 0, node = '', incarnation = 0 WHERE fence <> 0";
        tx.execute(sql, &[]).await?;
        match self.queue {
            Queue::Sent => Ok(0),
            Queue::Held => {
                tx.execute("UPDATE recipient SET held = 1 WHERE held = 0", &[])
                    .await?;
                let sql = "SELECT count(*) FROM letter";
                tx.one(sql, &[]).await?.unsigned(0)
            }
        }
    }
}

/// Condemns the blobs of a page that nobody names. Gives the last hash and how many they are.
struct CondemnUnnamed {
    after: Vec<u8>,
    now: Timestamp,
}

impl Body for CondemnUnnamed {
    type Out = (Option<Vec<u8>>, u64);

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        // Like the collector, this asks across accounts.
        let sql = "SELECT b.hash FROM blob b WHERE b.part = 0 AND b.hash > $1
            AND NOT EXISTS (SELECT 1 FROM message m WHERE m.blob_id = b.blob_id)
            AND NOT EXISTS (SELECT 1 FROM letter l WHERE l.blob_id = b.blob_id)
            AND NOT EXISTS (SELECT 1 FROM condemned c WHERE c.hash = b.hash)
            ORDER BY b.hash LIMIT 200";
        let mut last = None;
        let mut count = 0;
        for mut row in tx.rows(sql, params![self.after.as_slice()]).await? {
            let hash = row.hash(0)?;
            condemn(tx, &hash, self.now).await?;
            last = Some(hash.to_vec());
            count += 1;
        }
        Ok((last, count))
    }
}
