//! Reads records by their place, through a small number of open files. Every read checks that the
//! record is the one that is asked for and that its bytes are whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::super::home::Place;
use super::file_path;
use super::record::{HEADER_BYTES, Header, Name, Record, STORED_BYTES_MAX};
use crate::StoreError;
use crate::letter::io;

/// Files that are kept open. A file not among them costs one `open`, some microseconds; the limit of
/// files that a process may open is often 1,024, and connections need most of it.
const OPEN_FILES_MAX: usize = 32;

/// Why a record could not be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// There is no such file. It was removed after its records had been moved; the row tells where
    /// to. If the row still names it, the segment is lost.
    Gone,
    /// The record is not what was written; the text names file and place.
    Damaged(StoreError),
    /// The disk failed; the text names file and place.
    Failed(StoreError),
}

/// The open files.
pub(super) struct Reader {
    folder: PathBuf,
    open: Mutex<OpenFiles>,
}

#[derive(Default)]
struct OpenFiles {
    files: BTreeMap<i64, (Arc<File>, u64)>,
    /// Counts the uses; the file whose last use has the lowest number is closed first.
    uses: u64,
}

impl Reader {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            open: Mutex::default(),
        }
    }

    /// Reads the record of a part. Blocks for the disk.
    pub(super) fn read(&self, place: Place, name: &Name) -> Result<Record, ReadError> {
        let file = self.file(place.segment)?;
        let stored_bytes = usize::try_from(place.stored_bytes).unwrap_or(usize::MAX);
        if stored_bytes > STORED_BYTES_MAX {
            return Err(self.damaged(place, "the row has an impossible length"));
        }
        let mut bytes = vec![0; HEADER_BYTES + stored_bytes];
        let at = u64::try_from(place.offset).unwrap_or(u64::MAX);
        file.read_exact_at(&mut bytes, at).map_err(|error| {
            if error.kind() == ErrorKind::UnexpectedEof {
                return self.damaged(place, "the file ends before it");
            }
            ReadError::Failed(self.at(place, io(error)))
        })?;
        let header = Header::read(&bytes)
            .ok_or_else(|| self.damaged(place, "there is no record of a letter"))?;
        if header.name.hash != name.hash || header.name.part != name.part {
            return Err(self.damaged(place, "it is the record of another letter"));
        }
        if header.checksum != place.checksum {
            return Err(self.damaged(place, "its checksum is not that of the row"));
        }
        header
            .with(Bytes::from(bytes).slice(HEADER_BYTES..))
            .ok_or_else(|| self.damaged(place, "its bytes have another checksum"))
    }

    /// Closes a file that is removed.
    pub(super) fn forget(&self, segment: i64) {
        self.lock().files.remove(&segment);
    }

    fn file(&self, segment: i64) -> Result<Arc<File>, ReadError> {
        let mut open = self.lock();
        open.uses += 1;
        let now = open.uses;
        if let Some((file, used)) = open.files.get_mut(&segment) {
            *used = now;
            return Ok(Arc::clone(file));
        }
        let path = file_path(&self.folder, segment);
        let file = match File::open(&path) {
            Ok(file) => Arc::new(file),
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(ReadError::Gone),
            Err(error) => {
                let why = format!("{}: {error}", path.display());
                return Err(ReadError::Failed(StoreError::Io(why)));
            }
        };
        if open.files.len() >= OPEN_FILES_MAX {
            let oldest = open.files.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(number, _)| *number) {
                open.files.remove(&oldest);
            }
        }
        open.files.insert(segment, (Arc::clone(&file), now));
        Ok(file)
    }

    fn damaged(&self, place: Place, why: &str) -> ReadError {
        ReadError::Damaged(self.at(place, StoreError::Damaged(why.to_owned())))
    }

    /// The error with the file and the place that it is about.
    fn at(&self, place: Place, error: StoreError) -> StoreError {
        let at = |why: String| {
            let file = file_path(&self.folder, place.segment);
            format!("{} at {}: {why}", file.display(), place.offset)
        };
        match error {
            StoreError::Io(why) => StoreError::Io(at(why)),
            StoreError::Damaged(why) => StoreError::Damaged(at(why)),
            other => other,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, OpenFiles> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
