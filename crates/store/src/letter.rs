//! A letter on its way into the store: collected in memory, beyond 256 KiB in a temporary file,
//! and hashed while it comes.
//!
//! It does not parse: [`crate::prepare`] does, once, when the letter is stored.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::blobs::FindBlob;
use crate::{Store, StoreError};

/// Bytes kept in memory while a letter comes in; the rest goes to a file in pieces of this size.
pub(crate) const MEMORY_BYTES_MAX: usize = 256 * 1024;
/// How long a large letter waits for its share of the memory. Longer waiting would hold the
/// sender's connection beyond its patience (RFC 5321 §4.5.3.2.6: 10 minutes).
const MEMORY_WAIT: Duration = Duration::from_secs(60);
/// The unit in which memory for letters is counted.
const UNIT_BYTES: u64 = 1_024;

/// Collects a letter as it arrives.
pub struct Spool {
    folder: PathBuf,
    name: String,
    memory: Arc<Semaphore>,
    hasher: Box<blake3::Hasher>,
    /// Bytes that are not in the file yet.
    tail: Vec<u8>,
    file: Option<File>,
    length: u64,
}

/// A whole letter in memory, with its hash; holds its share of the memory for letters until it is
/// dropped. Cheap to clone.
#[derive(Clone)]
pub struct Letter {
    bytes: Bytes,
    hash: [u8; 32],
    _share: Option<Arc<OwnedSemaphorePermit>>,
}

impl Spool {
    /// Adds bytes.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] or [`StoreError::Io`] of the temporary file. The caller checks the
    /// size limit with [`Self::len`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        self.tail.extend_from_slice(bytes);
        if self.tail.len() > MEMORY_BYTES_MAX {
            self.spill().await?;
        }
        Ok(())
    }

    /// Bytes collected so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing has been collected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends the collecting; waits while too many large letters are in memory.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if they stay there too long; [`StoreError::Io`] of the file.
    pub async fn finish(mut self) -> Result<Letter, StoreError> {
        let hash = *self.hasher.finalize().as_bytes();
        let share = share(&self.memory, self.length).await?;
        let bytes = match self.file.take() {
            None => std::mem::take(&mut self.tail),
            Some(mut file) => {
                file.write_all(&self.tail).await.map_err(io)?;
                file.flush().await.map_err(io)?;
                self.tail = Vec::new();
                file.rewind().await.map_err(io)?;
                let mut bytes = Vec::with_capacity(usize::try_from(self.length).unwrap_or(0));
                file.read_to_end(&mut bytes).await.map_err(io)?;
                bytes
            }
        };
        if bytes.len() as u64 != self.length {
            return Err(StoreError::Io("the temporary file has changed".to_owned()));
        }
        Ok(Letter {
            bytes: bytes.into(),
            hash,
            _share: share,
        })
    }

    async fn spill(&mut self) -> Result<(), StoreError> {
        if self.file.is_none() {
            self.file = Some(self.open().await?);
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.tail).await.map_err(io)?;
            self.tail.clear();
        }
        Ok(())
    }

    /// A file without a name: it is gone when it is closed, also by a crash.
    async fn open(&self) -> Result<File, StoreError> {
        let path = self.folder.join(&self.name);
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .await
            .map_err(io)?;
        tokio::fs::remove_file(&path).await.map_err(io)?;
        Ok(file)
    }
}

impl Letter {
    /// The letter as received.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// BLAKE3 of [`Self::bytes`].
    #[must_use]
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }
}

impl Store {
    /// A new, empty spool.
    #[must_use]
    pub fn spool(&self) -> Spool {
        Spool {
            folder: self.0.spool_dir.clone(),
            name: self.0.shared.next_id().to_string(),
            memory: Arc::clone(&self.0.memory),
            hasher: Box::default(),
            tail: Vec::new(),
            file: None,
            length: 0,
        }
    }

    /// A letter that is in memory already (reports, small APPENDs).
    ///
    /// # Errors
    /// [`StoreError::Busy`] while too many large letters are in memory.
    pub async fn letter(&self, bytes: Bytes) -> Result<Letter, StoreError> {
        let share = share(&self.0.memory, bytes.len() as u64).await?;
        let hash = *blake3::hash(&bytes).as_bytes();
        Ok(Letter {
            bytes,
            hash,
            _share: share,
        })
    }
}

impl Store {
    /// Reads a letter that is stored.
    pub(crate) async fn load_letter(&self, hash: [u8; 32]) -> Result<Letter, StoreError> {
        let gone = StoreError::NotFound("letter");
        let info = self.0.engine.read(FindBlob { hash }).await?.ok_or(gone)?;
        let share = share(&self.0.memory, info.total_bytes).await?;
        let mut bytes = Vec::with_capacity(usize::try_from(info.total_bytes).unwrap_or(0));
        for part in 0.. {
            match self.read_part(hash, part).await? {
                Some(part) => bytes.extend_from_slice(&part),
                None => break,
            }
        }
        if bytes.len() as u64 != info.total_bytes {
            return Err(StoreError::Io("a stored letter is damaged".to_owned()));
        }
        Ok(Letter {
            bytes: bytes.into(),
            hash,
            _share: share,
        })
    }
}

/// Waits for a share of the memory. Letters that fit into a spool's memory need none: they are
/// bounded by the number of connections, and someone who holds a large letter may need small ones.
pub(crate) async fn share(
    memory: &Arc<Semaphore>,
    bytes: u64,
) -> Result<Option<Arc<OwnedSemaphorePermit>>, StoreError> {
    if bytes <= MEMORY_BYTES_MAX as u64 {
        return Ok(None);
    }
    let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
    let waiting = Arc::clone(memory).acquire_many_owned(units);
    match tokio::time::timeout(MEMORY_WAIT, waiting).await {
        Ok(Ok(permit)) => Ok(Some(Arc::new(permit))),
        Ok(Err(_)) => Err(StoreError::Closed),
        Err(_) => Err(StoreError::Busy(
            "too many large letters are in memory".to_owned(),
        )),
    }
}

/// The memory for letters, in units; at least one letter of the largest size fits.
pub(crate) fn memory_for(limits: &base::limits::Limits) -> Arc<Semaphore> {
    let bytes = limits
        .letters_in_memory_bytes_max
        .max(limits.letter_bytes_max.saturating_mul(2));
    let units = usize::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(usize::MAX);
    Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS)))
}

/// What an error of a file means to a verb.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the form that map_err asks for"
)]
pub(crate) fn io(error: std::io::Error) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreError::DiskFull,
        _ => StoreError::Io(error.to_string()),
    }
}
