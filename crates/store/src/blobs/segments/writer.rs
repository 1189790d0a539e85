//! The thread that writes: it drains the appends that wait, writes them with one call, flushes the
//! file once, and then answers all. What it has answered is on disk.
//!
//! After a write that failed the file is cut back to its last whole record. After a flush that
//! failed, or a cut that failed, nobody knows what the disk holds: the file is left as it is, and the
//! next append begins a new one.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::super::home::Place;
use super::record::Record;
use super::usage::{Pending, Usage};
use super::{Options, at, file_path};
use crate::StoreError;

/// Bytes written with one call: at some 500 MB/s the last one waits 16 ms for it.
const BATCH_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// A buffer that grew beyond this is given back when nobody waits.
const BUFFER_KEPT_BYTES: usize = 256 * 1024;

/// Records that are to be written together, and who waits for them.
pub(super) struct Append {
    pub records: Vec<Record>,
    pub bytes: u64,
    pub reply: oneshot::Sender<Result<Appended, StoreError>>,
    /// Its share of the room in the queue.
    pub _share: OwnedSemaphorePermit,
}

/// Where records were put. While this value lives, the segment is not removed: it is to be kept
/// until the transaction that names the places is over.
#[derive(Debug)]
pub(crate) struct Appended {
    /// In the order of the records.
    pub places: Vec<Place>,
    pub pending: Pending,
}

/// The thread's state.
pub(super) struct Writer {
    folder: PathBuf,
    options: Options,
    usage: Arc<Usage>,
    file: Option<Current>,
    buffer: Vec<u8>,
}

/// The segment that grows.
struct Current {
    number: i64,
    file: File,
    /// Where the next record goes: the end of what was written and flushed.
    end: u64,
    /// Whether its name is on disk.
    named: bool,
}

impl Writer {
    pub(super) fn new(folder: PathBuf, options: Options, usage: Arc<Usage>) -> Self {
        Self {
            folder,
            options,
            usage,
            file: None,
            buffer: Vec::new(),
        }
    }

    /// Runs until nobody can append any more.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Append>) {
        let mut batch = Vec::new();
        let mut left = None;
        while let Some(first) = left.take().or_else(|| queue.blocking_recv()) {
            let mut bytes = first.bytes;
            batch.push(first);
            while let Ok(next) = queue.try_recv() {
                if bytes + next.bytes > BATCH_BYTES_MAX {
                    left = Some(next);
                    break;
                }
                bytes += next.bytes;
                batch.push(next);
            }
            self.batch(&mut batch);
            if left.is_none() && queue.is_empty() {
                self.buffer.shrink_to(BUFFER_KEPT_BYTES);
            }
        }
    }

    fn batch(&mut self, batch: &mut Vec<Append>) {
        match self.write(batch) {
            Ok(answers) => {
                for (append, answer) in batch.drain(..).zip(answers) {
                    // Whoever stopped waiting leaves dead bytes.
                    let _ = append.reply.send(Ok(answer));
                }
            }
            Err(error) => {
                tracing::error!(%error, "letters could not be written to a segment");
                for append in batch.drain(..) {
                    let _ = append.reply.send(Err(error.clone()));
                }
            }
        }
    }

    /// Writes and flushes the records of a batch.
    fn write(&mut self, batch: &[Append]) -> Result<Vec<Appended>, StoreError> {
        let bytes: u64 = batch.iter().map(|append| append.bytes).sum();
        let mut current = self.room_for(bytes)?;
        self.buffer.clear();
        let mut answers = Vec::with_capacity(batch.len());
        for append in batch {
            let mut places = Vec::with_capacity(append.records.len());
            for record in &append.records {
                let offset = current.end + self.buffer.len() as u64;
                let checksum = record.write(&mut self.buffer);
                places.push(Place {
                    segment: current.number,
                    offset: i64::try_from(offset).unwrap_or(i64::MAX),
                    stored_bytes: i64::try_from(record.stored.len()).unwrap_or(i64::MAX),
                    checksum,
                });
            }
            let pending = Usage::pending(&self.usage, current.number);
            answers.push(Appended { places, pending });
        }
        let written = current.file.write_all_at(&self.buffer, current.end);
        if let Err(error) = written {
            let path = file_path(&self.folder, current.number);
            if current.file.set_len(current.end).is_ok() {
                self.file = Some(current);
            } else {
                self.usage.set_current(None);
            }
            return Err(at(&path, error));
        }
        if let Err(error) = self.flush(&mut current) {
            // What was flushed before is whole; the rest only takes room, if it can be cut off.
            let _ = current.file.set_len(current.end);
            self.usage.set_current(None);
            return Err(at(&file_path(&self.folder, current.number), error));
        }
        current.end += self.buffer.len() as u64;
        self.file = Some(current);
        Ok(answers)
    }

    fn flush(&self, current: &mut Current) -> io::Result<()> {
        if !self.options.flushes {
            return Ok(());
        }
        #[cfg(test)]
        if self
            .options
            .fail_flush
            .swap(false, std::sync::atomic::Ordering::AcqRel)
        {
            return Err(io::Error::other("the flush fails for a test"));
        }
        current.file.sync_data()?;
        if !current.named {
            File::open(&self.folder)?.sync_all()?;
            current.named = true;
        }
        Ok(())
    }

    /// The segment that takes so many bytes more; a new one if the last is full.
    fn room_for(&mut self, bytes: u64) -> Result<Current, StoreError> {
        if let Some(current) = self.file.take()
            && (current.end == 0 || current.end + bytes <= self.options.segment_bytes_max)
        {
            return Ok(current);
        }
        let number = self
            .usage
            .take_number()
            .ok_or_else(|| StoreError::Busy("no number for a new segment yet".to_owned()))?;
        let path = file_path(&self.folder, number);
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| at(&path, error))?;
        self.usage.set_current(Some(number));
        Ok(Current {
            number,
            file,
            end: 0,
            named: false,
        })
    }
}
