//! A restore point into an empty store, of whichever engine and whichever home of blobs.
//!
//! Everything is checked before the first row is written. Letters that were to be sent when the
//! backup was made are held: since then they may have been sent, and nobody wants to write twice.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::backup::{
    self, BackupFolder, BlobEntry, CARRIED, Fragment, Known, Manifest, Progress, Record,
    TableReader, Use, Watcher, blocking, blocking_task, each_slice, joined,
};
use crate::engine::{Row, SCHEMA};
use crate::intake::{Flow, Queue};
use crate::keys::Keyring;
use crate::{Lost, Store, StoreError, StoreOptions};

/// Pieces between the reader of files and the writer of rows.
const WAITING_MAX: usize = 8;
/// Blobs that the store is asked about at once.
const ASKED: usize = 200;

/// What is to be restored, and how.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// The backup.
    pub folder: PathBuf,
    /// The restore point: its id, the start of it, or a time; the newest when not given.
    pub at: Option<String>,
    /// Send the letters of the queue, instead of holding them.
    pub send_queue: bool,
    /// Give the sealed secrets up when their key is not there.
    pub forget_key: bool,
}

/// What a restore has done.
#[derive(Clone, Debug)]
pub struct RestoreReport {
    /// The restore point.
    pub point: Manifest,
    /// Letters that are held.
    pub held: u64,
    /// Credentials that have lost their keys for SCRAM.
    pub forgotten: u64,
    /// Letters whose bytes are damaged or missing in the backup.
    pub lost: u64,
    /// What the check of the store found at the end; empty when all is well.
    pub findings: Vec<String>,
}

impl Store {
    /// Restores into this store, which must be empty and opened idle.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when the store has data, the key is missing, or the backup is of
    /// another schema; [`StoreError::Io`] when rows or lists of the backup are damaged, before
    /// anything is written. Letters whose bytes are damaged or missing are counted, and their
    /// messages are restored without them.
    pub async fn restore(
        &self,
        options: &RestoreOptions,
        watcher: Watcher,
    ) -> Result<RestoreReport, StoreError> {
        let (path, wanted, watch) = (options.folder.clone(), options.at.clone(), watcher.clone());
        let checked = blocking(move || backup::check(&path, wanted.as_deref(), &watch)).await?;
        let point = checked.point.clone();
        if point.schema != SCHEMA {
            return Err(StoreError::Invalid(format!(
                "the backup has schema {}, this program has {SCHEMA}: restore it with the program \
                 that made it ({}), and let this one open the result",
                point.schema, point.program
            )));
        }
        if let Some(first) = &checked.refusal {
            return Err(StoreError::Io(format!(
                "the restore point {} has {} damages and is not restored; the first: {first}. \
                 Another one may be whole: see `backup list` and `backup verify`",
                point.id, checked.count
            )));
        }
        let key = key_for(&self.0.keys, options, &point)?;
        self.begin_intake("restore").await?;
        if let Some(text) = key {
            self.0.keys.add_text(&text, &options.folder)?;
        }
        self.restore_blobs(options, &point, &watcher).await?;
        self.restore_tables(options, &point, &watcher).await?;
        let forgotten = self.seal_restored(options).await?;
        let queue = if options.send_queue {
            Queue::Sent
        } else {
            Queue::Held
        };
        let held = self.end_intake(queue).await?;
        let findings = self.verify().await?;
        Ok(RestoreReport {
            point,
            held,
            forgotten,
            lost: checked.lost,
            findings,
        })
    }

    /// Opens a store for [`Store::restore`]. The key comes first, as a store that is opened without a
    /// key file makes a key of its own.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when the key of the backup is nowhere; nothing is made then. Those of
    /// [`Store::open_idle`].
    pub async fn open_for_restore(
        options: StoreOptions,
        restore: &RestoreOptions,
    ) -> Result<Self, StoreError> {
        let file = options
            .key_file
            .clone()
            .unwrap_or_else(|| options.data_dir.join("store.key"));
        let wanted = restore.clone();
        let (key, file) = blocking(move || {
            let point =
                BackupFolder::open(&wanted.folder, Use::Read)?.find(wanted.at.as_deref())?;
            let keys = Keyring::load(file.clone(), Arc::clone(&options.entropy))?;
            let text = key_for(&keys, &wanted, &point)?;
            let alone = text.filter(|_| keys.is_empty());
            Ok(((alone, options), file))
        })
        .await?;
        let (text, options) = key;
        if let Some(text) = text {
            if let Some(folder) = file.parent() {
                crate::open::make_folder(folder)?;
            }
            backup::write_whole(&file, text.as_bytes())?;
        }
        Self::open_idle(options, Lost::Nothing).await
    }

    async fn restore_blobs(
        &self,
        options: &RestoreOptions,
        point: &Manifest,
        watcher: &Watcher,
    ) -> Result<(), StoreError> {
        let (to, mut from) = channel(WAITING_MAX);
        let reader = BlobSource {
            store: self.clone(),
            handle: Handle::current(),
            to,
            watcher: watcher.clone(),
            done: 0,
            total: point.blobs,
        };
        let (folder, point) = (options.folder.clone(), point.clone());
        let reading = blocking_task(move || reader.read(&folder, &point));
        let written = self.take_blobs(&mut from).await;
        // Without a taker the reader ends.
        drop(from);
        let read = joined(reading).await;
        written?;
        read
    }

    async fn take_blobs(
        &self,
        from: &mut Receiver<(BlobEntry, Vec<Fragment>)>,
    ) -> Result<(), StoreError> {
        let mut flow = Flow::new(self);
        while let Some((blob, parts)) = from.recv().await {
            flow.blob(&blob, parts).await?;
        }
        flow.finish().await
    }

    async fn restore_tables(
        &self,
        options: &RestoreOptions,
        point: &Manifest,
        watcher: &Watcher,
    ) -> Result<(), StoreError> {
        let (mut done, total) = (0, point.rows());
        for table in CARRIED {
            self.empty_table(table).await?;
            let (to, mut from) = channel::<Vec<Row>>(WAITING_MAX);
            let path = BackupFolder::open(&options.folder, Use::Read)?
                .point_dir(&point.id)
                .join(format!("tables/{table}.zst"));
            let mut reader = TableReader::new(path)?;
            let columns: Arc<[String]> = reader.columns().into();
            let reading = blocking_task(move || {
                while let Some(rows) = reader.next()? {
                    if to.blocking_send(rows).is_err() {
                        break;
                    }
                }
                Ok(())
            });
            let mut flow = Flow::new(self);
            while let Some(rows) = from.recv().await {
                done += rows.len() as u64;
                flow.rows(table, &columns, rows).await?;
                watcher(Progress {
                    step: "rows",
                    done,
                    total,
                });
            }
            joined(reading).await?;
            flow.finish().await?;
            let (there, wanted) = (self.count_rows(table).await?, point.rows_of(table));
            if there != wanted {
                return Err(StoreError::Bug(format!(
                    "\"{table}\" has {there} rows, and {wanted} were to be restored"
                )));
            }
        }
        Ok(())
    }

    /// Seals everything with the key of this store, or gives up what cannot be opened.
    async fn seal_restored(&self, options: &RestoreOptions) -> Result<u64, StoreError> {
        match self.reseal().await {
            Err(StoreError::Invalid(_)) if options.forget_key => {
                let forgotten = crate::keys::forget(&self.0.engine).await?;
                self.reseal().await?;
                Ok(forgotten)
            }
            other => other.map(|()| 0),
        }
    }
}

/// The text of the key file of a backup, if it is needed; an error if it is nowhere.
fn key_for(
    keys: &Keyring,
    options: &RestoreOptions,
    point: &Manifest,
) -> Result<Option<String>, StoreError> {
    let Some(id) = &point.key else {
        return Ok(None);
    };
    if keys.has(id) {
        return Ok(None);
    }
    if point.with_key {
        let path = BackupFolder::open(&options.folder, Use::Read)?
            .point_dir(&point.id)
            .join("store.key");
        let text = std::fs::read_to_string(&path);
        return text.map(Some).map_err(|error| backup::at(&path, error));
    }
    if options.forget_key {
        return Ok(None);
    }
    Err(StoreError::Invalid(format!(
        "the secrets in this backup are sealed with the key {id}, which is not in {}: put the key \
         file of the old node there (if there is one already, add the lines of the old one), or \
         restore with --forget-key (then DKIM keys and the like are made anew, and logins by SCRAM \
         work when a password is set again)",
        keys.path().display()
    )))
}

/// Reads the blobs that the store does not have yet, on a thread of its own.
struct BlobSource {
    store: Store,
    handle: Handle,
    to: Sender<(BlobEntry, Vec<Fragment>)>,
    watcher: Watcher,
    done: u64,
    total: u64,
}

impl BlobSource {
    fn read(mut self, folder: &std::path::Path, point: &Manifest) -> Result<(), StoreError> {
        let folder = BackupFolder::open(folder, Use::Read)?;
        let mut known = Known::open(&folder.blobs_dir())?;
        each_slice(&folder, point, &mut known, |known, records, _| {
            records
                .chunks(ASKED)
                .try_for_each(|chunk| self.chunk(known, chunk))
        })
    }

    fn chunk(&mut self, known: &Known, chunk: &[(Record, BlobEntry)]) -> Result<(), StoreError> {
        let blobs = chunk.iter().map(|(_, blob)| *blob).collect();
        let have = self.handle.block_on(self.store.have_blobs(blobs))?;
        for ((record, blob), have) in chunk.iter().zip(have) {
            self.done += 1;
            if have {
                continue;
            }
            let parts = match known.read_whole(record) {
                Ok((_, parts)) => parts,
                // The check has counted it; the other letters come back.
                Err(error) => {
                    tracing::error!(%error, "a letter in the backup cannot be read");
                    continue;
                }
            };
            if self.to.blocking_send((*blob, parts)).is_err() {
                return Ok(());
            }
        }
        (self.watcher)(Progress {
            step: "letters",
            done: self.done,
            total: self.total,
        });
        Ok(())
    }
}
