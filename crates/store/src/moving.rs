//! A whole store into another one: SQLite to PostgreSQL and back, with whatever homes of blobs.
//!
//! Both are opened idle, so that nothing changes meanwhile; the source is only read. Cut short and
//! run again, blobs that have arrived are not copied again. At the end the tables are counted on
//! both sides and the target is verified.

use std::sync::Arc;

use tokio::sync::mpsc::{Receiver, channel};

use crate::backup::{BlobEntry, CARRIED, CopyOut, Fragment, Progress, Watcher};
use crate::engine::Piece;
use crate::intake::{Flow, Queue};
use crate::{Store, StoreError};

/// Pieces between the reader of rows and their writer.
const WAITING_MAX: usize = 8;

/// What a move has done.
#[derive(Clone, Debug)]
pub struct MoveReport {
    /// Rows carried.
    pub rows: u64,
    /// Blobs of the source.
    pub blobs: u64,
    /// Blobs that were copied by this run.
    pub copied: u64,
    /// Blobs whose bytes the source has lost, by hash.
    pub lost: Vec<String>,
    /// What the check of the target found at the end; empty when all is well.
    pub findings: Vec<String>,
}

impl Store {
    /// Copies all of this store into another one, which must be empty. Both were opened idle.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when the target has data or not the key of the source's secrets;
    /// those of reading and writing. Run again, it goes on.
    pub async fn move_into(
        &self,
        target: &Self,
        watcher: Watcher,
    ) -> Result<MoveReport, StoreError> {
        let id = self.key_id();
        if !target.0.keys.has(&id) {
            return Err(StoreError::Invalid(format!(
                "the secrets of the source are sealed with the key {id}, which is not in {}: copy \
                 {} there first",
                target.0.keys.path().display(),
                self.0.keys.path().display()
            )));
        }
        self.refuse_unfinished().await?;
        target.begin_intake("move").await?;
        let (blobs, copied, lost) = self.move_blobs(target, &watcher).await?;
        let rows = self.move_rows(target, &watcher).await?;
        target.reseal().await?;
        target.end_intake(Queue::Sent).await?;
        let findings = target.verify().await?;
        Ok(MoveReport {
            rows,
            blobs,
            copied,
            lost,
            findings,
        })
    }

    async fn move_blobs(
        &self,
        target: &Self,
        watcher: &Watcher,
    ) -> Result<(u64, u64, Vec<String>), StoreError> {
        let total = self.count_rows("blob").await?;
        let (mut done, mut copied, mut lost) = (0, 0, Vec::new());
        let mut flow = Flow::new(target);
        let mut after = None;
        loop {
            let page = self.list_blobs(after).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.hash);
            done += page.len() as u64;
            let have = target.have_blobs(page.clone()).await?;
            let missing = page.into_iter().zip(have).filter(|(_, have)| !have);
            for (blob, _) in missing {
                match self.all_parts(&blob).await? {
                    Some(parts) => {
                        flow.blob(&blob, parts).await?;
                        copied += 1;
                    }
                    None => {
                        lost.push(blake3::Hash::from_bytes(blob.hash).to_hex().to_string());
                    }
                }
            }
            watcher(Progress {
                step: "letters",
                done,
                total,
            });
        }
        flow.finish().await?;
        Ok((done, copied, lost))
    }

    /// The parts of a blob, if they are all there and are what its hash says.
    pub(crate) async fn all_parts(
        &self,
        blob: &BlobEntry,
    ) -> Result<Option<Vec<Fragment>>, StoreError> {
        let mut parts = Vec::new();
        let mut content = blake3::Hasher::new();
        for number in 0..blob.parts() {
            let Some(part) = self.read_fragment(blob.hash, number).await? else {
                return Ok(None);
            };
            match part.plain() {
                Ok(plain) => content.update(&plain),
                Err(_) => return Ok(None),
            };
            parts.push(part);
        }
        Ok((*content.finalize().as_bytes() == blob.hash).then_some(parts))
    }

    async fn move_rows(&self, target: &Self, watcher: &Watcher) -> Result<u64, StoreError> {
        let (to, from) = channel(WAITING_MAX);
        let source = self.clone();
        let reading = tokio::spawn(async move { source.0.engine.read_once(CopyOut { to }).await });
        let written = take_rows(target, from, watcher).await;
        let read = reading
            .await
            .map_err(|error| StoreError::Bug(error.to_string()))?;
        let rows = written?;
        read?;
        for table in CARRIED {
            let (ours, theirs) = (
                self.count_rows(table).await?,
                target.count_rows(table).await?,
            );
            if ours != theirs {
                return Err(StoreError::Bug(format!(
                    "\"{table}\" has {ours} rows in the source and {theirs} in the target"
                )));
            }
        }
        Ok(rows)
    }
}

async fn take_rows(
    target: &Store,
    mut from: Receiver<Piece>,
    watcher: &Watcher,
) -> Result<u64, StoreError> {
    let mut flow = Flow::new(target);
    let mut open: Option<(&'static str, Arc<[String]>)> = None;
    let mut done = 0;
    while let Some(piece) = from.recv().await {
        match piece {
            Piece::Table { name, columns } => {
                flow.finish().await?;
                target.empty_table(name).await?;
                open = Some((name, columns.into()));
            }
            Piece::Rows(batch) => {
                let Some((table, columns)) = &open else {
                    continue;
                };
                done += u64::from(batch.rows);
                flow.rows(table, columns, batch.read(columns.len())?)
                    .await?;
                watcher(Progress {
                    step: "rows",
                    done,
                    total: 0,
                });
            }
            Piece::End => open = None,
        }
    }
    flow.finish().await?;
    Ok(done)
}
