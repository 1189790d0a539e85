//! One run of a backup.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use super::pack::PackWriter;
use super::point::FORMAT;
use super::table_file::TableWriter;
use super::{
    BackupFolder, BlobEntry, CARRIED, Fragment, Known, Manifest, Progress, TableEntry, Use,
    Watcher, prune,
};
use crate::engine::{Batch, Body, Piece, Tx};
use crate::prepare::{PART_BYTES, decompress};
use crate::{Store, StoreError};

/// How often the hold is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(60);
/// Pieces that wait between the reader and the file: 256 KiB each.
const WAITING_MAX: usize = 8;
/// Rows of the list of blobs that are written at once.
const LIST_ROWS: u32 = 1_000;

/// What a backup is to do.
#[derive(Clone, Debug)]
pub struct BackupOptions {
    /// The folder; made if it is not there.
    pub folder: PathBuf,
    /// How many restore points stay; older ones are removed. `None`: all.
    pub keep: Option<usize>,
    /// Whether the key of the secrets goes into the backup.
    pub with_key: bool,
}

/// What a backup has done.
#[derive(Clone, Debug)]
pub struct BackupReport {
    /// The new restore point.
    pub point: Manifest,
    /// Blobs that no pack had.
    pub new_blobs: u64,
    /// Bytes that the packs have grown by.
    pub new_bytes: u64,
    /// Restore points removed.
    pub removed: Vec<String>,
}

impl Store {
    /// Makes a restore point in a folder, beside whatever else the store does. The folder is opened
    /// by this process.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while another backup of the store or in the folder is under way; those
    /// of reading the store and of the folder. Earlier restore points stay as they were.
    pub async fn backup(
        &self,
        options: BackupOptions,
        watcher: Watcher,
    ) -> Result<BackupReport, StoreError> {
        let path = options.folder.clone();
        // Its lock lasts as long as any thread works in it, also when nobody waits for the backup any
        // more.
        let folder = blocking(move || BackupFolder::open(&path, Use::Write)).await?;
        let folder = Arc::new(folder);
        let Ok(_alone) = self.0.backing_up.try_lock() else {
            let why = "another backup of this store is under way";
            return Err(StoreError::Busy(why.to_owned()));
        };
        self.take_hold().await?;
        let _kept = self.keep_blobs();
        let run = Run {
            store: self,
            watcher,
        };
        let outcome = self.renewing(run.work(folder, &options)).await;
        if let Err(error) = self.end_hold().await {
            tracing::warn!(%error, "the hold of a backup ends later");
        }
        outcome
    }
}

impl Store {
    /// Does the work of a backup, and renews the hold meanwhile.
    async fn renewing<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                out = &mut work => return out,
                () = tokio::time::sleep(RENEW_EVERY) => self.renew_hold().await?,
            }
        }
    }
}

struct Run<'s> {
    store: &'s Store,
    watcher: Watcher,
}

impl Run<'_> {
    async fn work(
        self,
        folder: Arc<BackupFolder>,
        options: &BackupOptions,
    ) -> Result<BackupReport, StoreError> {
        let now = self.store.0.shared.now();
        let id = id_at(now);
        let part = folder.begin(&id)?;
        let tables = self.tables(&folder, &part).await?;
        let messages = rows_of(&tables, "message");
        let blobs = self.blobs(&folder, &part, messages).await?;
        let keys = &self.store.0.keys;
        let key_file = options.with_key.then(|| keys.text()).transpose()?;
        let point = Manifest {
            format: FORMAT,
            schema: crate::engine::SCHEMA,
            id,
            taken_at: now.millis(),
            taken: now.to_string(),
            node: self.store.0.shared.node.clone(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            accounts: rows_of(&tables, "account"),
            messages,
            blobs: blobs.count,
            blob_bytes: blobs.total_bytes,
            blob_list: blobs.list,
            tables,
            lost: blobs.lost,
            key: Some(keys.current_id()),
            with_key: options.with_key,
        };
        let keep = options.keep;
        let (point, removed) = blocking(move || {
            if let Some(text) = key_file {
                super::folder::write_whole(&part.join("store.key"), text.as_bytes())?;
            }
            folder.finish(&point)?;
            let removed = match keep {
                Some(keep) => prune::prune(&folder, keep)?,
                None => Vec::new(),
            };
            Ok((point, removed))
        })
        .await?;
        Ok(BackupReport {
            point,
            new_blobs: blobs.new_count,
            new_bytes: blobs.new_bytes,
            removed,
        })
    }

    /// Writes all tables from one snapshot.
    async fn tables(
        &self,
        held: &Arc<BackupFolder>,
        part: &Path,
    ) -> Result<Vec<TableEntry>, StoreError> {
        let (to, from) = channel(WAITING_MAX);
        let folder = part.join("tables");
        let watcher = self.watcher.clone();
        let held = Arc::clone(held);
        let writing = blocking_task(move || {
            let written = write_tables(from, &folder, &watcher);
            drop(held);
            written
        });
        let read = self.store.0.engine.read_once(CopyOut { to }).await;
        // What the file says is the cause; that nobody took the rows is what followed.
        let written = joined(writing).await?;
        read?;
        Ok(written)
    }

    /// Appends the blobs that no pack has.
    async fn blobs(
        &self,
        held: &Arc<BackupFolder>,
        part: &Path,
        total: u64,
    ) -> Result<BlobsWritten, StoreError> {
        let packs = held.blobs_dir();
        let (to, from) = channel(WAITING_MAX);
        let list = part.join("blobs.zst");
        let writer_packs = packs.clone();
        let held = Arc::clone(held);
        let writing = blocking_task(move || {
            let written = write_blobs(from, writer_packs, list);
            drop(held);
            written
        });
        let read = self.read_blobs(&packs, to, total).await;
        let written = joined(writing).await?;
        read?;
        Ok(written)
    }

    async fn read_blobs(
        &self,
        packs: &Path,
        to: Sender<Item>,
        total: u64,
    ) -> Result<(), StoreError> {
        let packs = packs.to_owned();
        let mut known = blocking(move || Known::open(&packs)).await?;
        let mut after = None;
        let mut done = 0;
        loop {
            let page = self.store.list_blobs(after).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.hash);
            done += page.len() as u64;
            let (back, page, missing) = blocking(move || {
                let mut missing = Vec::new();
                let mut there = Vec::new();
                for blob in page {
                    let list = if known.find(&blob.hash)?.is_some() {
                        &mut there
                    } else {
                        &mut missing
                    };
                    list.push(blob);
                }
                Ok((known, there, missing))
            })
            .await?;
            known = back;
            send(&to, Item::There(page)).await?;
            self.copy(&missing, &to).await?;
            (self.watcher)(Progress {
                step: "letters",
                done,
                total: total.max(done),
            });
        }
    }

    async fn copy(&self, blobs: &[BlobEntry], to: &Sender<Item>) -> Result<(), StoreError> {
        let mut rest = blobs;
        while let Some(first) = rest.first() {
            if first.parts() > 1 {
                self.copy_large(first, to).await?;
                rest = &rest[1..];
                continue;
            }
            let small = rest.iter().take_while(|blob| blob.parts() == 1).count();
            let found = self.store.read_small(&rest[..small]).await?;
            let count = found.len();
            for (blob, fragment) in rest.iter().zip(found) {
                send(to, Item::Begin(*blob)).await?;
                if let Some(fragment) = fragment {
                    send(to, Item::Part(fragment)).await?;
                }
            }
            rest = &rest[count..];
        }
        Ok(())
    }

    async fn copy_large(&self, blob: &BlobEntry, to: &Sender<Item>) -> Result<(), StoreError> {
        send(to, Item::Begin(*blob)).await?;
        for part in 0..blob.parts() {
            match self.store.read_fragment(blob.hash, part).await? {
                Some(fragment) => send(to, Item::Part(fragment)).await?,
                None => break,
            }
        }
        Ok(())
    }
}

/// Gives all tables that a backup holds, from one snapshot.
pub(crate) struct CopyOut {
    pub(crate) to: Sender<Piece>,
}

impl Body for CopyOut {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        for table in CARRIED {
            tx.copy_out(table, &self.to).await?;
        }
        Ok(())
    }
}

fn write_tables(
    mut from: Receiver<Piece>,
    folder: &Path,
    watcher: &Watcher,
) -> Result<Vec<TableEntry>, StoreError> {
    let mut written = Vec::new();
    let mut open: Option<(&'static str, TableWriter)> = None;
    let mut done = 0;
    while let Some(piece) = from.blocking_recv() {
        match piece {
            Piece::Table { name, columns } => {
                let path = folder.join(format!("{name}.zst"));
                open = Some((name, TableWriter::new(path, &columns)?));
            }
            Piece::Rows(batch) => {
                done += u64::from(batch.rows);
                if let Some((_, writer)) = &mut open {
                    writer.put(&batch)?;
                }
                watcher(Progress {
                    step: "rows",
                    done,
                    total: 0,
                });
            }
            Piece::End => {
                if let Some((name, writer)) = open.take() {
                    let file = writer.finish()?;
                    let name = name.to_owned();
                    written.push(TableEntry {
                        name,
                        rows: file.rows,
                        checksum: file.checksum,
                    });
                }
            }
        }
    }
    Ok(written)
}

/// What the reader of blobs tells the writer.
enum Item {
    /// These are in a pack.
    There(Vec<BlobEntry>),
    /// A blob begins.
    Begin(BlobEntry),
    /// Its next part.
    Part(Fragment),
}

struct BlobsWritten {
    count: u64,
    total_bytes: u64,
    list: String,
    lost: Vec<String>,
    new_count: u64,
    new_bytes: u64,
}

/// A blob of which parts come.
struct Coming {
    blob: BlobEntry,
    parts: u32,
    content: blake3::Hasher,
    broken: bool,
}

struct BlobFile {
    packs: PackWriter,
    list: TableWriter,
    batch: Batch,
    coming: Option<Coming>,
    written: BlobsWritten,
}

fn write_blobs(
    mut from: Receiver<Item>,
    packs: PathBuf,
    list: PathBuf,
) -> Result<BlobsWritten, StoreError> {
    let mut file = BlobFile {
        packs: PackWriter::new(packs)?,
        list: TableWriter::new(list, &BlobEntry::columns())?,
        batch: Batch::default(),
        coming: None,
        written: BlobsWritten {
            count: 0,
            total_bytes: 0,
            list: String::new(),
            lost: Vec::new(),
            new_count: 0,
            new_bytes: 0,
        },
    };
    while let Some(item) = from.blocking_recv() {
        match item {
            Item::There(blobs) => {
                file.end_blob()?;
                for blob in blobs {
                    file.note(&blob)?;
                }
            }
            Item::Begin(blob) => file.begin(blob)?,
            Item::Part(fragment) => file.part(&fragment)?,
        }
    }
    file.finish()
}

impl BlobFile {
    fn begin(&mut self, blob: BlobEntry) -> Result<(), StoreError> {
        self.end_blob()?;
        self.packs
            .begin(blob.hash, blob.total_bytes, blob.parts())?;
        self.coming = Some(Coming {
            blob,
            parts: 0,
            content: blake3::Hasher::new(),
            broken: false,
        });
        Ok(())
    }

    fn part(&mut self, part: &Fragment) -> Result<(), StoreError> {
        let Some(coming) = &mut self.coming else {
            return Ok(());
        };
        let plain_bytes = part.plain_bytes as usize;
        match decompress(part.coding, plain_bytes, part.data.clone()) {
            Ok(plain) if plain.len() <= PART_BYTES => {
                coming.content.update(&plain);
            }
            _ => coming.broken = true,
        }
        coming.parts += 1;
        let last = coming.parts == coming.blob.parts();
        if last && (coming.broken || *coming.content.finalize().as_bytes() != coming.blob.hash) {
            // Not ended, and so not in the index.
            coming.broken = true;
            return Ok(());
        }
        self.packs.part(part)
    }

    fn end_blob(&mut self) -> Result<(), StoreError> {
        let Some(coming) = self.coming.take() else {
            return Ok(());
        };
        if coming.broken || coming.parts != coming.blob.parts() {
            let hash = blake3::Hash::from_bytes(coming.blob.hash).to_hex();
            self.written.lost.push(hash.to_string());
            return Ok(());
        }
        self.written.new_count += 1;
        self.note(&coming.blob)
    }

    fn note(&mut self, blob: &BlobEntry) -> Result<(), StoreError> {
        self.written.count += 1;
        self.written.total_bytes += blob.total_bytes;
        self.batch.push(&blob.row());
        if self.batch.rows >= LIST_ROWS {
            self.list.put(&std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<BlobsWritten, StoreError> {
        self.end_blob()?;
        self.packs.seal()?;
        self.list.put(&self.batch)?;
        self.written.list = self.list.finish()?.checksum;
        self.written.new_bytes = self.packs.bytes;
        Ok(self.written)
    }
}

async fn send(to: &Sender<Item>, item: Item) -> Result<(), StoreError> {
    to.send(item)
        .await
        .map_err(|_| StoreError::Io("the backup is not written any more".to_owned()))
}

fn rows_of(tables: &[TableEntry], name: &str) -> u64 {
    tables
        .iter()
        .find(|table| table.name == name)
        .map_or(0, |table| table.rows)
}

/// The name of a restore point: its time without signs that a file name should not have.
fn id_at(now: Timestamp) -> String {
    now.to_string()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect()
}

pub(crate) fn blocking_task<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> JoinHandle<Result<T, StoreError>> {
    tokio::task::spawn_blocking(work)
}

pub(crate) async fn joined<T>(task: JoinHandle<Result<T, StoreError>>) -> Result<T, StoreError> {
    task.await
        .map_err(|error| StoreError::Bug(format!("a backup failed: {error}")))?
}

/// Work on files, on a thread for it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    joined(blocking_task(work)).await
}
