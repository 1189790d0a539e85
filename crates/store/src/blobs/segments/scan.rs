//! Walks a segment from its beginning, record by record, until the first bytes that are none: what
//! lies behind is a torn tail, or damage.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;

use super::record::{HEADER_BYTES, Header, Record};

/// What a walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Whole records.
    pub records: u64,
    /// Where the good prefix ends.
    pub good_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// Walks a segment and shows each whole record with its place. Holds one record in memory.
///
/// # Errors
/// Those of reading the file; damage is no error, it ends the walk.
pub(crate) fn scan(path: &Path, mut found: impl FnMut(u64, Record)) -> io::Result<Scanned> {
    let file = File::open(path)?;
    let file_bytes = file.metadata()?.len();
    let mut records = 0;
    let mut at = 0;
    while let Some(record) = record_at(&file, at, file_bytes)? {
        let next = at + record.len();
        found(at, record);
        at = next;
        records += 1;
    }
    Ok(Scanned {
        records,
        good_bytes: at,
        file_bytes,
    })
}

/// The record at a place; `None` if there is no whole one.
fn record_at(file: &File, at: u64, file_bytes: u64) -> io::Result<Option<Record>> {
    if file_bytes - at < HEADER_BYTES as u64 {
        return Ok(None);
    }
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, at)?;
    let Some(header) = Header::read(&header) else {
        return Ok(None);
    };
    if file_bytes - at < header.record_bytes() {
        return Ok(None);
    }
    let mut stored = vec![0; header.stored_bytes as usize];
    file.read_exact_at(&mut stored, at + HEADER_BYTES as u64)?;
    Ok(header.with(Bytes::from(stored)))
}
