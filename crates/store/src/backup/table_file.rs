//! A table in a file: one zstd stream of frames. A frame is a kind (1 columns, 2 rows, 0 end), a
//! number of rows and a length (both 32 bits, little-endian), and that many bytes: names with a line
//! end each, or rows as [`Batch`] writes them.
//!
//! The checksum in the manifest is BLAKE3 over the file as it lies on the disk.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::{at, damaged};
use crate::StoreError;
use crate::engine::{Batch, Row};

const COLUMNS: u8 = 1;
const ROWS: u8 = 2;
const END: u8 = 0;
/// Measured on the rows of letters: level 3 takes a third more room than level 9 in a sixth of the
/// time.
const ZSTD_LEVEL: i32 = 3;
/// The largest frame: a batch and one largest row.
const FRAME_BYTES_MAX: usize = 80 << 20;

/// Writes a table.
pub(crate) struct TableWriter {
    path: PathBuf,
    encoder: zstd::Encoder<'static, Hashing<File>>,
    rows: u64,
}

/// What was written.
pub(crate) struct Written {
    pub(crate) rows: u64,
    pub(crate) checksum: String,
}

impl TableWriter {
    /// Makes the file.
    pub(crate) fn new(path: PathBuf, columns: &[String]) -> Result<Self, StoreError> {
        let file = File::create(&path).map_err(|error| at(&path, error))?;
        let encoder = zstd::Encoder::new(Hashing::new(file), ZSTD_LEVEL);
        let encoder = encoder.map_err(|error| at(&path, error))?;
        let mut writer = Self {
            path,
            encoder,
            rows: 0,
        };
        let names: String = columns.iter().map(|name| format!("{name}\n")).collect();
        writer.frame(COLUMNS, 0, names.as_bytes())?;
        Ok(writer)
    }

    /// Writes rows.
    pub(crate) fn put(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.rows += u64::from(batch.rows);
        self.frame(ROWS, batch.rows, &batch.bytes)
    }

    /// Ends the file; it is on disk then.
    pub(crate) fn finish(mut self) -> Result<Written, StoreError> {
        self.frame(END, 0, &[])?;
        let path = self.path;
        let file = self.encoder.finish().map_err(|error| at(&path, error))?;
        let (file, checksum) = file.finish();
        file.sync_all().map_err(|error| at(&path, error))?;
        Ok(Written {
            rows: self.rows,
            checksum,
        })
    }

    fn frame(&mut self, kind: u8, rows: u32, bytes: &[u8]) -> Result<(), StoreError> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut head = [kind; 9];
        head[1..5].copy_from_slice(&rows.to_le_bytes());
        head[5..].copy_from_slice(&length.to_le_bytes());
        let written = self.encoder.write_all(&head);
        let written = written.and_then(|()| self.encoder.write_all(bytes));
        written.map_err(|error| at(&self.path, error))
    }
}

/// Reads a table, a batch at a time.
pub(crate) struct TableReader {
    path: PathBuf,
    decoder: zstd::Decoder<'static, BufReader<File>>,
    columns: Vec<String>,
}

impl TableReader {
    /// Opens the file.
    pub(crate) fn new(path: PathBuf) -> Result<Self, StoreError> {
        let file = File::open(&path).map_err(|error| at(&path, error))?;
        let decoder = zstd::Decoder::new(file).map_err(|error| at(&path, error))?;
        let mut reader = Self {
            path,
            decoder,
            columns: Vec::new(),
        };
        match reader.frame()? {
            (COLUMNS, batch) => {
                let names = String::from_utf8(batch.bytes);
                let names = names.map_err(|_| damaged(&reader.path, "its columns"))?;
                reader.columns = names.lines().map(str::to_owned).collect();
                let is_name = |name: &String| {
                    name.chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
                        && !name.is_empty()
                };
                if !reader.columns.iter().all(is_name) {
                    return Err(damaged(&reader.path, "its columns"));
                }
                Ok(reader)
            }
            _ => Err(damaged(&reader.path, "it has no columns")),
        }
    }

    /// The names of its columns.
    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The next rows; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Row>>, StoreError> {
        match self.frame()? {
            (ROWS, batch) => batch.read(self.columns.len()).map(Some),
            (END, _) => Ok(None),
            _ => Err(damaged(&self.path, "an unknown frame")),
        }
    }

    fn frame(&mut self) -> Result<(u8, Batch), StoreError> {
        let mut head = [0; 9];
        let read = self.decoder.read_exact(&mut head);
        read.map_err(|error| at(&self.path, error))?;
        let [kind, r0, r1, r2, r3, l0, l1, l2, l3] = head;
        let rows = u32::from_le_bytes([r0, r1, r2, r3]);
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(damaged(&self.path, "a frame is too long"));
        }
        let mut bytes = vec![0; length];
        let read = self.decoder.read_exact(&mut bytes);
        read.map_err(|error| at(&self.path, error))?;
        Ok((kind, Batch { rows, bytes }))
    }
}

/// The checksum of a file.
pub(crate) fn checksum(path: &Path) -> Result<String, StoreError> {
    let mut file = File::open(path).map_err(|error| at(path, error))?;
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut file, &mut hasher).map_err(|error| at(path, error))?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Hashes what it writes.
struct Hashing<W> {
    writer: W,
    hasher: blake3::Hasher,
}

impl<W> Hashing<W> {
    fn new(writer: W) -> Self {
        Self {
            writer,
            hasher: blake3::Hasher::new(),
        }
    }

    fn finish(self) -> (W, String) {
        (self.writer, self.hasher.finalize().to_hex().to_string())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.writer.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
