//! The little of a zip (APPNOTE 6.3) that documents need: the list of files, stored and deflated
//! ones. The list is walked where it lies and never held: a library's index of a hostile file of
//! 16 MiB would take ten times that. Sizes that the file tells are not believed. No encryption, no
//! files of 4 GiB.

use std::io::Read;

use flate2::bufread::DeflateDecoder;

/// Files that are looked at in a list; documents have some hundred.
const FILES_MAX: usize = 10_000;
/// Where the list begins is told in the last bytes, before a comment of at most 64 KiB.
const END_BYTES: usize = 22;
const COMMENT_BYTES_MAX: usize = 65_535;

/// A zip in memory.
pub(super) struct Zip<'a> {
    data: &'a [u8],
    list: usize,
}

/// A file in it.
pub(super) struct File<'a> {
    pub(super) name: &'a [u8],
    deflated: bool,
    packed: &'a [u8],
}

impl<'a> Zip<'a> {
    /// Finds the list of files.
    pub(super) fn open(data: &'a [u8]) -> Option<Self> {
        let from = data.len().saturating_sub(END_BYTES + COMMENT_BYTES_MAX);
        let at = memchr::memmem::rfind(&data[from..], b"PK\x05\x06")? + from;
        let list = number(data, at + 16, 4)?;
        Some(Self { data, list })
    }

    /// The files, in the order of the list; it ends at the first damage.
    pub(super) fn files(&self) -> impl Iterator<Item = File<'a>> {
        let data = self.data;
        let mut at = self.list;
        let entries = std::iter::from_fn(move || {
            let (file, next) = entry(data, at)?;
            at = next;
            Some(file)
        });
        entries.take(FILES_MAX).flatten()
    }
}

/// The entry of the list at a place, if it can be unpacked, and the place of the next one.
fn entry(data: &[u8], at: usize) -> Option<(Option<File<'_>>, usize)> {
    if data.get(at..at + 4)? != b"PK\x01\x02" {
        return None;
    }
    let name_bytes = number(data, at + 28, 2)?;
    let rest = number(data, at + 30, 2)? + number(data, at + 32, 2)?;
    let name = data.get(at + 46..at + 46 + name_bytes)?;
    Some((file(data, at, name), at + 46 + name_bytes + rest))
}

fn file<'a>(data: &'a [u8], at: usize, name: &'a [u8]) -> Option<File<'a>> {
    let is_encrypted = number(data, at + 8, 2)? & 1 != 0;
    let deflated = match number(data, at + 10, 2)? {
        0 => false,
        8 => true,
        _ => return None,
    };
    let packed_bytes = number(data, at + 20, 4)?;
    let local = number(data, at + 42, 4)?;
    if is_encrypted || data.get(local..local + 4)? != b"PK\x03\x04" {
        return None;
    }
    let start = local + 30 + number(data, local + 26, 2)? + number(data, local + 28, 2)?;
    Some(File {
        name,
        deflated,
        packed: data.get(start..start + packed_bytes)?,
    })
}

impl File<'_> {
    /// Its bytes, at most `bytes_max`; as far as they can be read.
    pub(super) fn unpack(&self, bytes_max: usize) -> Vec<u8> {
        if !self.deflated {
            return self.packed[..self.packed.len().min(bytes_max)].to_vec();
        }
        let mut out = Vec::new();
        let mut reader = DeflateDecoder::new(self.packed).take(bytes_max as u64);
        // What was read before the damage stays.
        let _ = reader.read_to_end(&mut out);
        out
    }
}

/// A little-endian number of at most four bytes.
fn number(data: &[u8], at: usize, bytes: usize) -> Option<usize> {
    let slice = data.get(at..at.checked_add(bytes)?)?;
    let value = slice
        .iter()
        .rev()
        .fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
    usize::try_from(value).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::DeflateEncoder;
    use proptest::prelude::*;

    use super::*;

    /// A zip of deflated files.
    pub(in super::super) fn zip_of(files: &[(&str, &str)]) -> Vec<u8> {
        let (mut out, mut list) = (Vec::new(), Vec::new());
        for (name, text) in files {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text.as_bytes()).unwrap();
            let packed = encoder.finish().unwrap();
            let start = u32::try_from(out.len()).unwrap();
            let mut sizes = vec![0; 12];
            sizes[4..8].copy_from_slice(&u32::try_from(packed.len()).unwrap().to_le_bytes());
            let names = u16::try_from(name.len()).unwrap().to_le_bytes();
            let common = [
                &[20, 0, 0, 0, 8, 0, 0, 0, 0, 0][..],
                &sizes,
                &names,
                &[0, 0],
            ]
            .concat();
            out.extend([b"PK\x03\x04", common.as_slice(), name.as_bytes(), &packed].concat());
            list.extend([b"PK\x01\x02\0\0", common.as_slice(), &[0; 10]].concat());
            list.extend([&start.to_le_bytes()[..], name.as_bytes()].concat());
        }
        let start = u32::try_from(out.len()).unwrap().to_le_bytes();
        out.extend(list);
        out.extend([b"PK\x05\x06", &[0; 12][..], &start, &[0, 0]].concat());
        out
    }

    #[test]
    fn files_are_found() {
        let zip = zip_of(&[("a", "one"), ("b/c", "two")]);
        let zip = Zip::open(&zip).unwrap();
        let files: Vec<_> = zip
            .files()
            .map(|file| (file.name, file.unpack(9)))
            .collect();
        assert_eq!(files[0], (&b"a"[..], b"one".to_vec()));
        assert_eq!(files[1], (&b"b/c"[..], b"two".to_vec()));
        assert_eq!(zip.files().next().unwrap().unpack(2), b"on");
        assert!(Zip::open(b"no zip").is_none());
    }

    proptest! {
        #[test]
        fn damage_never_panics(places in prop::collection::vec((any::<u16>(), any::<u8>()), 1..6)) {
            let mut zip = zip_of(&[("a", "one"), ("word/document.xml", "<w:t>two</w:t>")]);
            for (place, byte) in places {
                let at = usize::from(place) % zip.len();
                zip[at] = byte;
            }
            if let Some(zip) = Zip::open(&zip) {
                for file in zip.files() {
                    prop_assert!(file.unpack(100).len() <= 100);
                }
            }
        }
    }
}
