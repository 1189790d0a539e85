//! The bytes of a record: a header of fixed length, then the part as it is stored.
//!
//! The header names the part whole (hash of the letter, blob, number), so that a segment can be read
//! without the database. Two checksums make a torn or changed record known: one of the header, so
//! that a scanner trusts the length in it, and one of the stored bytes.

use bytes::Bytes;

use crate::prepare::Coding;

/// Bytes of a header.
pub(crate) const HEADER_BYTES: usize = 76;
/// The first bytes of a record.
const MAGIC: [u8; 4] = *b"PBsg";
/// The version of this form.
const VERSION: u8 = 1;
/// Stored bytes of a record: a part has at most 256 KiB before compression and is never stored
/// larger, so that this is four times what can occur. A length above it is not believed.
pub(crate) const STORED_BYTES_MAX: usize = 1024 * 1024;

/// A part that is to be stored, or was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Which part it is.
    pub name: Name,
    /// How it is written.
    pub coding: Coding,
    /// Bytes before compression.
    pub plain_bytes: u32,
    /// The bytes as stored.
    pub stored: Bytes,
}

/// Which part a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    /// BLAKE3 of the letter.
    pub hash: [u8; 32],
    /// The blob's id.
    pub blob_id: i64,
    /// The number of the part in its blob, from 0.
    pub part: u32,
}

/// A header, as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub name: Name,
    pub coding: Coding,
    pub plain_bytes: u32,
    pub stored_bytes: u32,
    pub checksum: i64,
}

impl Record {
    /// Bytes of the whole record in a segment.
    pub(crate) fn len(&self) -> u64 {
        (HEADER_BYTES + self.stored.len()) as u64
    }

    /// Appends the record to `buffer`; gives the checksum of the stored bytes. It must not be larger
    /// than [`STORED_BYTES_MAX`], or nobody will read it.
    pub(super) fn write(&self, buffer: &mut Vec<u8>) -> i64 {
        let stored_bytes = u32::try_from(self.stored.len()).unwrap_or(u32::MAX);
        let checksum = checksum(&self.stored);
        let start = buffer.len();
        buffer.extend_from_slice(&MAGIC);
        buffer.extend_from_slice(&[VERSION, self.coding as u8, 0, 0]);
        buffer.extend_from_slice(&self.name.part.to_le_bytes());
        buffer.extend_from_slice(&stored_bytes.to_le_bytes());
        buffer.extend_from_slice(&self.plain_bytes.to_le_bytes());
        buffer.extend_from_slice(&self.name.blob_id.to_le_bytes());
        buffer.extend_from_slice(&self.name.hash);
        buffer.extend_from_slice(&checksum.to_le_bytes());
        let of_header = self::checksum(&buffer[start..]);
        buffer.extend_from_slice(&of_header.to_le_bytes());
        debug_assert_eq!(buffer.len() - start, HEADER_BYTES);
        buffer.extend_from_slice(&self.stored);
        checksum
    }
}

impl Header {
    /// Reads a header; `None` if these bytes are none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
        let (rest, of_header) = bytes.split_at(HEADER_BYTES - 8);
        if checksum(rest).to_le_bytes() != of_header {
            return None;
        }
        let mut rest = Rest(rest);
        if rest.take()? != MAGIC || rest.take()? != [VERSION] {
            return None;
        }
        let [coding, ..]: [u8; 3] = rest.take()?;
        let coding = Coding::of(i64::from(coding))?;
        let part = u32::from_le_bytes(rest.take()?);
        let stored_bytes = u32::from_le_bytes(rest.take()?);
        let plain_bytes = u32::from_le_bytes(rest.take()?);
        let blob_id = i64::from_le_bytes(rest.take()?);
        let hash = rest.take()?;
        let checksum = i64::from_le_bytes(rest.take()?);
        let is_possible = stored_bytes as usize <= STORED_BYTES_MAX;
        is_possible.then_some(Self {
            name: Name {
                hash,
                blob_id,
                part,
            },
            coding,
            plain_bytes,
            stored_bytes,
            checksum,
        })
    }

    /// Bytes of the whole record.
    #[cfg(test)]
    pub(super) fn record_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.stored_bytes)
    }

    /// The record, if these are its stored bytes.
    pub(super) fn with(self, stored: Bytes) -> Option<Record> {
        let is_whole =
            stored.len() == self.stored_bytes as usize && checksum(&stored) == self.checksum;
        is_whole.then_some(Record {
            name: self.name,
            coding: self.coding,
            plain_bytes: self.plain_bytes,
            stored,
        })
    }
}

/// The checksum of a part: the first 64 bits of the BLAKE3 of its stored bytes. It is in the row as
/// well, whatever home the part has.
pub(crate) fn checksum(stored: &[u8]) -> i64 {
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::hash(stored).as_bytes()[..8]);
    i64::from_le_bytes(first)
}

/// The bytes of a header that were not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }
}
