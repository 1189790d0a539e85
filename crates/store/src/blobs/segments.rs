//! Segment files: a home for parts of letters beside the database. A folder of files that only grow,
//! `0000000001.seg` and so on, each a sequence of records with checksums.
//!
//! **Durable before it is named.** An append is answered when its records are flushed; only then does
//! a transaction name their places. A crash in between leaves records that nobody names.
//!
//! **Nothing is written twice to the same place.** A file that was there when the folder was opened is
//! never appended to, so that a torn tail is nothing but dead bytes. The number of a file is never
//! used again, not even when the file is gone: it comes from a counter in the database, which moves
//! before the file is made, and lies above all numbers in the folder.
//!
//! It knows no rows: which records are alive, what is moved and which file goes away is decided by
//! [`super::compaction`].

mod reader;
mod record;
#[cfg(test)]
mod scan;
#[cfg(test)]
mod tests;
mod usage;
mod writer;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use base::Timestamp;
use tokio::sync::{Semaphore, mpsc, oneshot};

pub(crate) use reader::ReadError;
pub(crate) use record::{HEADER_BYTES, Name, Record, checksum};
pub(crate) use usage::{Hold, Pending};
pub(crate) use writer::Appended;

use super::home::Place;
use crate::StoreError;
use crate::letter::io;
use record::STORED_BYTES_MAX;
use usage::Usage;
use writer::{Append, Writer};

/// Bytes from which on a new file is begun. Compaction reads and copies at most one such file to give
/// room back, a backup copies each file once, and 64 MiB make 16 files for each GiB of letters.
const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes that wait for the writer; more wait outside.
const WAITING_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Appends that wait for the writer, as many as transactions wait for theirs.
const WAITING_MAX: usize = 1_024;
/// Bytes that one append of a larger letter writes: small letters wait at most so long for it.
const APPEND_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The unit in which waiting bytes are counted.
const UNIT_BYTES: u64 = 1_024;
/// How file names end.
const EXTENSION: &str = "seg";
/// Digits of a number in a file name, so that names sort as numbers do.
const DIGITS: usize = 10;

/// How segments are written.
#[derive(Clone)]
pub(crate) struct Options {
    /// Bytes from which on a new file is begun.
    pub segment_bytes_max: u64,
    /// Whether appends are flushed; `false` only for the tests of [`crate::Synchronous::Off`].
    pub flushes: bool,
    /// Makes the next flush fail.
    #[cfg(test)]
    pub fail_flush: Arc<std::sync::atomic::AtomicBool>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes_max: SEGMENT_BYTES_MAX,
            flushes: true,
            #[cfg(test)]
            fail_flush: Arc::default(),
        }
    }
}

/// A folder of segments, open. One process has it at a time: the store holds the lock.
pub(crate) struct Segments {
    folder: PathBuf,
    reader: reader::Reader,
    usage: Arc<Usage>,
    room: Arc<Semaphore>,
    queue: Mutex<Option<mpsc::Sender<Append>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A file of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentFile {
    pub number: i64,
    pub bytes: u64,
}

impl Segments {
    /// Opens the folder, which must exist, and starts the writer. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Io`] with the path.
    pub(crate) fn open(folder: PathBuf, options: Options) -> Result<Self, StoreError> {
        let highest = list(&folder)?.last().map_or(0, |file| file.number);
        let usage = Arc::new(Usage::new(highest));
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let writer = Writer::new(folder.clone(), options, Arc::clone(&usage));
        let thread = std::thread::Builder::new()
            .name("store-segments".to_owned())
            .spawn(move || writer.run(waiting))
            .map_err(|error| StoreError::Io(format!("cannot start a thread: {error}")))?;
        let room =
            usize::try_from(WAITING_BYTES_MAX / UNIT_BYTES).unwrap_or(Semaphore::MAX_PERMITS);
        Ok(Self {
            reader: reader::Reader::new(folder.clone()),
            folder,
            usage,
            room: Arc::new(Semaphore::new(room)),
            queue: Mutex::new(Some(queue)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// The number above all known ones, if numbers for new files are wanted. Whoever appends asks
    /// first, and brings some with [`Self::add_numbers`].
    pub(crate) fn wants_numbers(&self) -> Option<i64> {
        self.usage.wants_numbers()
    }

    /// Takes numbers for new files that the counter in the database has given away for good.
    pub(crate) fn add_numbers(&self, numbers: Range<i64>) {
        self.usage.add_numbers(numbers);
    }

    /// Stores records; they are on disk when this answers. The answers are to be kept until the
    /// transaction that names the places is over. If the caller stops waiting, dead bytes are left.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`]; [`StoreError::Io`] with the path; [`StoreError::Busy`] if there is no
    /// number for a new file; [`StoreError::Closed`].
    pub(crate) async fn append(&self, records: Vec<Record>) -> Result<Vec<Appended>, StoreError> {
        let mut appended = Vec::new();
        let (mut together, mut bytes) = (Vec::new(), 0);
        for record in records {
            if record.stored.len() > STORED_BYTES_MAX {
                return Err(StoreError::Bug(
                    "a part is too large for a segment".to_owned(),
                ));
            }
            if bytes + record.len() > APPEND_BYTES_MAX {
                appended.push(
                    self.append_together(std::mem::take(&mut together), bytes)
                        .await?,
                );
                bytes = 0;
            }
            bytes += record.len();
            together.push(record);
        }
        if !together.is_empty() {
            appended.push(self.append_together(together, bytes).await?);
        }
        Ok(appended)
    }

    async fn append_together(
        &self,
        records: Vec<Record>,
        bytes: u64,
    ) -> Result<Appended, StoreError> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let share = Arc::clone(&self.room).acquire_many_owned(units).await;
        let share = share.map_err(|_| StoreError::Closed)?;
        let queue = {
            let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.clone().ok_or(StoreError::Closed)?
        };
        let (reply, answer) = oneshot::channel();
        let append = Append {
            records,
            bytes,
            reply,
            _share: share,
        };
        queue.send(append).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Reads the record at a place, which must be that part of that letter. Blocks for the disk.
    ///
    /// # Errors
    /// [`ReadError::Gone`] if there is no such file: the row is to be looked up again.
    pub(crate) fn read(&self, place: Place, name: &Name) -> Result<Record, ReadError> {
        self.reader.read(place, name)
    }

    /// The files of the folder, by number. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Io`] with the path.
    pub(crate) fn files(&self) -> Result<Vec<SegmentFile>, StoreError> {
        list(&self.folder)
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of a file.
    #[cfg(test)]
    pub(crate) fn path(&self, number: i64) -> PathBuf {
        file_path(&self.folder, number)
    }

    /// Whether a file grows no more.
    pub(crate) fn is_full(&self, number: i64) -> bool {
        self.usage.is_full(number)
    }

    /// Whether neither the writer, nor a transaction that is under way, nor a copy of the store needs
    /// a file. The rows are to be looked at after this answer, not before.
    pub(crate) fn is_free(&self, number: i64) -> bool {
        self.usage.is_free(number)
    }

    /// Since when a file has been found free and without rows, at most since `now`.
    pub(crate) fn unnamed_since(&self, number: i64, now: Timestamp) -> Timestamp {
        self.usage.unnamed_since(number, now)
    }

    /// Notes that a file was found in use.
    pub(crate) fn is_named(&self, number: i64) {
        self.usage.is_named(number);
    }

    /// Whether a number has been in use, whatever the counter in the database says.
    pub(crate) fn knows_number(&self, number: i64) -> bool {
        self.usage.knows_number(number)
    }

    /// Keeps all files until the value is dropped, for a copy of the store.
    pub(crate) fn hold(&self) -> Hold {
        Usage::hold(&self.usage)
    }

    /// Removes a file. Reads that have it open go on; later ones are told that it is gone. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Io`] with the path; a file that is gone already is none.
    pub(crate) fn remove(&self, number: i64) -> Result<(), StoreError> {
        self.reader.forget(number);
        self.usage.is_named(number);
        let path = file_path(&self.folder, number);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(&path, error)),
            _ => Ok(()),
        }
    }

    /// Finishes what waits and ends the writer; later appends answer [`StoreError::Closed`]. Blocks.
    pub(crate) fn close(&self) {
        self.room.close();
        drop(
            self.queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // A thread that panicked has nothing left to finish.
            let _ = thread.join();
        }
    }
}

/// The segments in a folder, by number. Files of other names are not ours and left alone.
pub(crate) fn list(folder: &Path) -> Result<Vec<SegmentFile>, StoreError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| at(folder, error))? {
        let entry = entry.map_err(|error| at(folder, error))?;
        let Some(number) = number_of(&entry.path()) else {
            continue;
        };
        let metadata = entry.metadata().map_err(|error| at(&entry.path(), error))?;
        files.push(SegmentFile {
            number,
            bytes: metadata.len(),
        });
    }
    files.sort_by_key(|file| file.number);
    Ok(files)
}

fn number_of(path: &Path) -> Option<i64> {
    if path.extension()? != EXTENSION {
        return None;
    }
    let stem = path.file_stem()?.to_str()?;
    let is_number = stem.len() >= DIGITS && stem.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| stem.parse().ok()).flatten()
}

/// The path of a segment in a folder.
fn file_path(folder: &Path, number: i64) -> PathBuf {
    folder.join(format!("{number:0DIGITS$}.{EXTENSION}"))
}

/// The error with the path that it is about.
fn at(path: &Path, error: std::io::Error) -> StoreError {
    match io(error) {
        StoreError::Io(why) => StoreError::Io(format!("{}: {why}", path.display())),
        other => other,
    }
}
