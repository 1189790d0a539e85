//! Packs: files that bytes of letters are appended to, each with a sorted index.
//!
//! A record is the blob's hash, its length, the number of its parts; for each part its coding, its
//! length before and after compression, and its bytes as the store had them; then the first 64 bits
//! of BLAKE3 over the record. An index is a magic, the number of entries, the entries sorted by hash
//! (hash, offset, length), and the BLAKE3 of all that.
//!
//! A pack counts from the moment when its index is there, which is written last. A pack without
//! one is what a run left that was cut short, and the next run removes it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{at, damaged};
use crate::StoreError;
use crate::prepare::{PART_BYTES, decompress};

/// A pack that is as long is ended: so much work is lost at most when a run is cut short.
const PACK_BYTES_MAX: u64 = 256 << 20;
/// The start of an index.
const MAGIC: &[u8; 8] = b"PBINDEX1";
const HEAD_BYTES: u64 = 16;
const ENTRY_BYTES: usize = 48;
/// The checksum at the end of an index.
const SUM_BYTES: u64 = 32;
/// Entries that are in memory at once, about: 6 MiB.
const SLICE_ENTRIES: u64 = 128 * 1024;

/// One part of a blob as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fragment {
    pub(crate) coding: i64,
    pub(crate) plain_bytes: u32,
    pub(crate) data: Bytes,
}

impl Fragment {
    /// The bytes before compression.
    pub(crate) fn plain(&self) -> Result<Bytes, StoreError> {
        decompress(self.coding, self.plain_bytes as usize, self.data.clone())
    }
}

/// Where a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    pub(crate) pack: u32,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) hash: [u8; 32],
}

/// Appends blobs to packs.
pub(crate) struct PackWriter {
    folder: PathBuf,
    open: Option<OpenPack>,
    next: u32,
    /// Bytes written by this run.
    pub(crate) bytes: u64,
}

struct OpenPack {
    number: u32,
    file: BufWriter<File>,
    offset: u64,
    entries: Vec<([u8; 32], u64, u64)>,
    record: Option<OpenRecord>,
}

struct OpenRecord {
    hash: [u8; 32],
    start: u64,
    parts_left: u32,
    sum: blake3::Hasher,
}

impl PackWriter {
    /// Goes on after the packs that are there.
    pub(crate) fn new(folder: PathBuf) -> Result<Self, StoreError> {
        let next = numbers(&folder)?.last().map_or(1, |last| last + 1);
        Ok(Self {
            folder,
            open: None,
            next,
            bytes: 0,
        })
    }

    /// Begins a blob; its parts follow.
    pub(crate) fn begin(
        &mut self,
        hash: [u8; 32],
        total: u64,
        parts: u32,
    ) -> Result<(), StoreError> {
        if self
            .open
            .as_ref()
            .is_some_and(|pack| pack.offset >= PACK_BYTES_MAX)
        {
            self.seal()?;
        }
        let pack = match &mut self.open {
            Some(pack) => pack,
            None => {
                let number = self.next;
                self.next += 1;
                let path = pack_path(&self.folder, number);
                let file = File::create(&path).map_err(|error| at(&path, error))?;
                self.open.insert(OpenPack {
                    number,
                    file: BufWriter::with_capacity(1 << 20, file),
                    offset: 0,
                    entries: Vec::new(),
                    record: None,
                })
            }
        };
        pack.record = Some(OpenRecord {
            hash,
            start: pack.offset,
            parts_left: parts,
            sum: blake3::Hasher::new(),
        });
        let mut head = hash.to_vec();
        head.extend_from_slice(&total.to_le_bytes());
        head.extend_from_slice(&parts.to_le_bytes());
        self.write(&head)
    }

    /// Writes the next part; the last one ends the record.
    pub(crate) fn part(&mut self, part: &Fragment) -> Result<(), StoreError> {
        let mut head = [0; 9];
        head[0] = part.coding.to_le_bytes()[0];
        head[1..5].copy_from_slice(&part.plain_bytes.to_le_bytes());
        let stored = u32::try_from(part.data.len()).unwrap_or(u32::MAX);
        head[5..].copy_from_slice(&stored.to_le_bytes());
        self.write(&head)?;
        self.write(&part.data)?;
        let Some(pack) = &mut self.open else {
            return Ok(());
        };
        let Some(record) = &mut pack.record else {
            return Ok(());
        };
        record.parts_left = record.parts_left.saturating_sub(1);
        if record.parts_left > 0 {
            return Ok(());
        }
        let sum = record.sum.finalize();
        self.write(&sum.as_bytes()[..8])?;
        if let Some(pack) = &mut self.open
            && let Some(record) = pack.record.take()
        {
            let length = pack.offset - record.start;
            pack.entries.push((record.hash, record.start, length));
        }
        Ok(())
    }

    /// Ends the pack: it is on disk and counts.
    pub(crate) fn seal(&mut self) -> Result<(), StoreError> {
        let Some(pack) = self.open.take() else {
            return Ok(());
        };
        let path = pack_path(&self.folder, pack.number);
        let file = pack
            .file
            .into_inner()
            .map_err(|error| at(&path, error.into_error()))?;
        file.sync_all().map_err(|error| at(&path, error))?;
        write_index(&self.folder, pack.number, pack.entries)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let Some(pack) = &mut self.open else {
            return Err(StoreError::Bug("a part without its pack".to_owned()));
        };
        if let Some(record) = &mut pack.record {
            record.sum.update(bytes);
        }
        let path = pack_path(&self.folder, pack.number);
        pack.file
            .write_all(bytes)
            .map_err(|error| at(&path, error))?;
        pack.offset += bytes.len() as u64;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn write_index(
    folder: &Path,
    number: u32,
    mut entries: Vec<([u8; 32], u64, u64)>,
) -> Result<(), StoreError> {
    entries.sort_unstable();
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&(entries.len() as u64).to_le_bytes());
    for (hash, offset, length) in entries {
        bytes.extend_from_slice(&hash);
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
    }
    let sum = blake3::hash(&bytes);
    bytes.extend_from_slice(sum.as_bytes());
    super::folder::write_whole(&index_path(folder, number), &bytes)
}

/// The packs of a folder, with what is needed to look blobs up in slices of the space of hashes.
pub(crate) struct Known {
    folder: PathBuf,
    packs: Vec<(u32, u64)>,
    slices: u64,
    /// The slice in memory, sorted by hash.
    slice: Option<(u64, Vec<Record>)>,
}

impl Known {
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        let mut packs = Vec::new();
        for number in numbers(folder)? {
            let path = index_path(folder, number);
            packs.push((number, entries_of(&path)?));
        }
        let entries = packs
            .iter()
            .fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        let slices = (entries / SLICE_ENTRIES + 1)
            .next_power_of_two()
            .min(65_536);
        Ok(Self {
            folder: folder.to_owned(),
            packs,
            slices,
            slice: None,
        })
    }

    /// Where a blob is. Quick when hashes are asked in their order.
    pub(crate) fn find(&mut self, hash: &[u8; 32]) -> Result<Option<Record>, StoreError> {
        let wanted = self.slice_of(hash);
        if self
            .slice
            .as_ref()
            .is_none_or(|(number, _)| *number != wanted)
        {
            self.slice = Some((wanted, self.load(wanted)?));
        }
        let records = self
            .slice
            .as_ref()
            .map_or(&[][..], |(_, records)| records.as_slice());
        let found = records.binary_search_by(|record| record.hash.cmp(hash));
        Ok(found.ok().map(|at| records[at]))
    }

    /// The slice of a hash; slices are in the order of hashes.
    pub(crate) fn slice_of(&self, hash: &[u8; 32]) -> u64 {
        u64::from(u16::from_be_bytes([hash[0], hash[1]])) * self.slices / 65_536
    }

    /// The numbers of the packs.
    pub(crate) fn packs(&self) -> impl Iterator<Item = u32> {
        self.packs.iter().map(|(number, _)| *number)
    }

    /// All records of a pack.
    pub(crate) fn records_of(&self, number: u32) -> Result<Vec<Record>, StoreError> {
        let path = index_path(&self.folder, number);
        let bytes = fs::read(&path).map_err(|error| at(&path, error))?;
        let Some((content, sum)) = bytes.split_last_chunk::<32>() else {
            return Err(damaged(&path, "it is too short"));
        };
        if blake3::hash(content).as_bytes() != sum {
            return Err(damaged(&path, "its checksum is wrong"));
        }
        let entries = content.get(HEAD_BYTES as usize..).unwrap_or_default();
        Ok(entries
            .chunks_exact(ENTRY_BYTES)
            .map(|entry| record(number, entry))
            .collect())
    }

    fn load(&self, slice: u64) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        for (number, count) in &self.packs {
            let path = index_path(&self.folder, *number);
            let file = File::open(&path).map_err(|error| at(&path, error))?;
            let first = |slice| {
                self.first_of(&file, *count, slice)
                    .map_err(|error| at(&path, error))
            };
            let (start, end) = (first(slice)?, first(slice + 1)?);
            // Of a damaged index the entries may be in any order. They are no more than the file has,
            // whose length was compared.
            let length = end
                .checked_sub(start)
                .and_then(|count| usize::try_from(count).ok()?.checked_mul(ENTRY_BYTES))
                .ok_or_else(|| damaged(&path, "its entries are not sorted"))?;
            let mut bytes = vec![0; length];
            let read = file.read_exact_at(&mut bytes, HEAD_BYTES + start * ENTRY_BYTES as u64);
            read.map_err(|error| at(&path, error))?;
            records.extend(
                bytes
                    .chunks_exact(ENTRY_BYTES)
                    .map(|entry| record(*number, entry)),
            );
        }
        // A blob that two packs have (a run was cut short while it tidied) is read from the first.
        records.sort_unstable_by_key(|record| (record.hash, record.pack));
        records.dedup_by_key(|record| record.hash);
        Ok(records)
    }

    /// The first entry of an index that is in this slice or a later one.
    fn first_of(&self, file: &File, count: u64, slice: u64) -> std::io::Result<u64> {
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut hash = [0; 32];
            file.read_exact_at(&mut hash, HEAD_BYTES + middle * ENTRY_BYTES as u64)?;
            if self.slice_of(&hash) < slice {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Reads a blob with all its parts; its length before compression.
    pub(crate) fn read_whole(&self, record: &Record) -> Result<(u64, Vec<Fragment>), StoreError> {
        let mut reader = self.read(record)?;
        let mut parts = Vec::new();
        while let Some(part) = reader.next()? {
            parts.push(part);
        }
        Ok((reader.total, parts))
    }

    /// Opens a blob.
    pub(crate) fn read(&self, record: &Record) -> Result<BlobReader, StoreError> {
        let path = pack_path(&self.folder, record.pack);
        let opened = File::open(&path).and_then(|mut file| {
            file.seek(SeekFrom::Start(record.offset))?;
            Ok(file)
        });
        let file = opened.map_err(|error| at(&path, error))?;
        let file = std::io::BufReader::with_capacity(64 * 1024, file);
        BlobReader::new(path, file.take(record.length), record)
    }
}

/// How many entries an index has: what it says of itself, which its length must bear out.
fn entries_of(path: &Path) -> Result<u64, StoreError> {
    let mut file = File::open(path).map_err(|error| at(path, error))?;
    let length = file.metadata().map_err(|error| at(path, error))?.len();
    if length < HEAD_BYTES + SUM_BYTES {
        return Err(damaged(path, "it is too short"));
    }
    let mut head = [0; HEAD_BYTES as usize];
    let read = file.read_exact(&mut head);
    read.map_err(|error| at(path, error))?;
    let (magic, count) = head.split_at(8);
    if magic != MAGIC {
        return Err(damaged(path, "it is no index"));
    }
    let count = read_u64(count);
    let wanted = count
        .checked_mul(ENTRY_BYTES as u64)
        .and_then(|bytes| bytes.checked_add(HEAD_BYTES + SUM_BYTES));
    if wanted != Some(length) {
        return Err(damaged(path, "its length is not that of its entries"));
    }
    Ok(count)
}

fn record(pack: u32, entry: &[u8]) -> Record {
    let mut hash = [0; 32];
    hash.copy_from_slice(&entry[..32]);
    Record {
        pack,
        offset: read_u64(&entry[32..40]),
        length: read_u64(&entry[40..48]),
        hash,
    }
}

fn read_u64(bytes: &[u8]) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(bytes);
    u64::from_le_bytes(number)
}

/// Reads a blob part by part, and compares its checksum and its hash at the end.
pub(crate) struct BlobReader {
    path: PathBuf,
    file: std::io::Take<std::io::BufReader<File>>,
    hash: [u8; 32],
    /// Bytes of the blob.
    pub(crate) total: u64,
    /// Its parts.
    pub(crate) parts: u32,
    left: u32,
    sum: blake3::Hasher,
    content: blake3::Hasher,
}

impl BlobReader {
    fn new(
        path: PathBuf,
        file: std::io::Take<std::io::BufReader<File>>,
        record: &Record,
    ) -> Result<Self, StoreError> {
        let mut reader = Self {
            path,
            file,
            hash: record.hash,
            total: 0,
            parts: 0,
            left: 0,
            sum: blake3::Hasher::new(),
            content: blake3::Hasher::new(),
        };
        let mut head = [0; 44];
        reader.fill(&mut head)?;
        if head[..32] != record.hash {
            return Err(reader.wrong("another blob is where this one should be"));
        }
        reader.total = read_u64(&head[32..40]);
        reader.parts = u32::from_le_bytes([head[40], head[41], head[42], head[43]]);
        reader.left = reader.parts;
        Ok(reader)
    }

    /// The next part; `None` at the end, when all was right.
    pub(crate) fn next(&mut self) -> Result<Option<Fragment>, StoreError> {
        if self.left == 0 {
            self.compare()?;
            return Ok(None);
        }
        let mut head = [0; 9];
        self.fill(&mut head)?;
        let [coding, p0, p1, p2, p3, s0, s1, s2, s3] = head;
        let plain_bytes = u32::from_le_bytes([p0, p1, p2, p3]);
        let stored = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
        if plain_bytes as usize > PART_BYTES || stored > PART_BYTES {
            return Err(self.wrong("a part is too long"));
        }
        let mut data = vec![0; stored];
        self.fill(&mut data)?;
        let data = Bytes::from(data);
        let plain = decompress(i64::from(coding), plain_bytes as usize, data.clone());
        let plain = plain.map_err(|_| self.wrong("a part cannot be unpacked"))?;
        self.content.update(&plain);
        self.left -= 1;
        Ok(Some(Fragment {
            coding: i64::from(coding),
            plain_bytes,
            data,
        }))
    }

    fn compare(&mut self) -> Result<(), StoreError> {
        let sum = self.sum.finalize();
        let mut noted = [0; 8];
        self.fill(&mut noted)?;
        if sum.as_bytes()[..8] != noted || *self.content.finalize().as_bytes() != self.hash {
            return Err(self.wrong("a letter's bytes are not those that were written"));
        }
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), StoreError> {
        let read = self.file.read_exact(bytes);
        read.map_err(|error| damaged(&self.path, &error.to_string()))?;
        self.sum.update(bytes);
        Ok(())
    }

    fn wrong(&self, what: &str) -> StoreError {
        let hash = blake3::Hash::from_bytes(self.hash).to_hex();
        damaged(&self.path, &format!("{what} (blob {hash})"))
    }
}

/// The numbers of the packs that count, in order.
pub(crate) fn numbers(folder: &Path) -> Result<BTreeSet<u32>, StoreError> {
    files(folder, "index")
}

/// Removes what a run left that was cut short.
pub(crate) fn remove_rests(folder: &Path) -> Result<(), StoreError> {
    let whole = numbers(folder)?;
    for number in files(folder, "pack")?.difference(&whole) {
        let path = pack_path(folder, *number);
        fs::remove_file(&path).map_err(|error| at(&path, error))?;
    }
    Ok(())
}

/// Removes a pack; its index goes first, so that it never counts without its bytes.
pub(crate) fn remove(folder: &Path, number: u32) -> Result<(), StoreError> {
    for path in [index_path(folder, number), pack_path(folder, number)] {
        fs::remove_file(&path).map_err(|error| at(&path, error))?;
    }
    Ok(())
}

fn files(folder: &Path, ending: &str) -> Result<BTreeSet<u32>, StoreError> {
    let entries = fs::read_dir(folder).map_err(|error| at(folder, error))?;
    let mut found = BTreeSet::new();
    for entry in entries {
        let path = entry.map_err(|error| at(folder, error))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == ending)
            && let Some(stem) = path.file_stem().and_then(|stem| stem.to_str())
            && let Ok(number) = stem.parse()
        {
            found.insert(number);
        }
    }
    Ok(found)
}

fn pack_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:06}.pack"))
}

fn index_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:06}.index"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_whose_length_is_wrong_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let entries = vec![([1; 32], 0, 60), ([9; 32], 60, 60)];
        write_index(folder.path(), 1, entries).unwrap();
        let path = index_path(folder.path(), 1);
        let whole = fs::read(&path).unwrap();
        let mut known = Known::open(folder.path()).unwrap();
        assert_eq!(known.find(&[9; 32]).unwrap().unwrap().offset, 60);
        let with_count = |count: u64| {
            let mut bytes = whole.clone();
            bytes[8..16].copy_from_slice(&count.to_le_bytes());
            bytes
        };
        let longer = [whole.as_slice(), b"x"].concat();
        let damages = [
            Vec::new(),
            whole[..40].to_vec(),
            whole[..whole.len() - 1].to_vec(),
            longer,
            with_count(1),
            with_count(3),
            with_count(u64::MAX),
            // With these, 48 times the count wraps around to what the file has.
            with_count((1 << 60) + 2),
        ];
        for bytes in damages {
            fs::write(&path, &bytes).unwrap();
            match Known::open(folder.path()) {
                Err(StoreError::Io(why)) => assert!(why.contains("is damaged"), "{why}"),
                Err(other) => panic!("{other}"),
                Ok(_) => panic!("{} bytes were taken for an index", bytes.len()),
            }
        }
    }
}
