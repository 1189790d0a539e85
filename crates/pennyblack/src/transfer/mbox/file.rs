//! An mbox in a file, as a source that can go on where it stopped.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::read::{Entry, Mbox};
use crate::control::Failure;
use crate::transfer::names::{self, Target};
use crate::transfer::source::{
    Incoming, Item, Known, Mark, Progress, Skipped, Steps, at, too_large,
};

/// Bytes before a position that tell whether the file is still the same.
const CHECKED_BYTES: usize = 1_024;

/// A file with letters.
pub struct MboxFile {
    mbox: Mbox<File>,
    /// A second handle, to read what is before a position.
    file: File,
    path: PathBuf,
    source: String,
    target: Arc<Target>,
    begun: bool,
    bytes_max: u64,
    total: u64,
}

impl MboxFile {
    /// Opens a file, after what earlier imports took.
    ///
    /// # Errors
    /// When it cannot be read, or has changed before the place where the last import stopped.
    pub fn open(
        path: &Path,
        target: Target,
        known: &Known,
        bytes_max: u64,
    ) -> Result<Self, Failure> {
        let path = std::fs::canonicalize(path).map_err(|error| at(path, error))?;
        let failed = |error| at(&path, error);
        let file = File::open(&path).map_err(failed)?;
        let total = file.metadata().map_err(failed)?.len();
        let source: String = format!("mbox:{}", path.display());
        let mut reader = file.try_clone().map_err(failed)?;
        let mut offset = 0;
        if let Some(position) = known.get(&source) {
            offset = checked_offset(&file, position).ok_or_else(|| {
                Failure::invalid(format!(
                    "{} has changed since the last import stopped in it; --again imports it from \
                     its start, and letters that are there already come twice",
                    path.display()
                ))
            })?;
            reader.seek(SeekFrom::Start(offset)).map_err(failed)?;
        }
        Ok(Self {
            mbox: Mbox::new(reader, offset),
            file,
            path,
            source,
            target: Arc::new(target),
            begun: false,
            bytes_max,
            total,
        })
    }
}

impl Steps for MboxFile {
    fn next(&mut self) -> Result<Option<Item>, Failure> {
        if !std::mem::replace(&mut self.begun, true) {
            return Ok(Some(Item::Mailbox((*self.target).clone())));
        }
        let limit = usize::try_from(self.bytes_max).unwrap_or(usize::MAX);
        let entry = self.mbox.next(limit);
        let entry = entry.map_err(|error| at(&self.path, error))?;
        let name = |start: u64| format!("{} at byte {start}", self.path.display());
        Ok(match entry {
            None => None,
            Some(Entry::TooLarge { start, .. }) => Some(Item::Skipped(Skipped {
                name: name(start),
                reason: too_large(self.bytes_max),
            })),
            Some(Entry::Letter(letter)) => Some(Item::Letter(Box::new(Incoming {
                name: name(letter.start),
                target: Arc::clone(&self.target),
                flags: letter.flags,
                received_at: letter.received_at,
                bytes: letter.bytes.into(),
                mark: Mark {
                    source: self.source.clone(),
                    position: position(&self.file, letter.next)
                        .map_err(|error| at(&self.path, error))?,
                },
            }))),
        })
    }

    fn progress(&self) -> Progress {
        Progress {
            done: self.mbox.offset(),
            total: self.total,
        }
    }
}

/// An offset with a digest of what is before it.
fn position(file: &File, offset: u64) -> std::io::Result<String> {
    let before = usize::try_from(offset)
        .unwrap_or(usize::MAX)
        .min(CHECKED_BYTES);
    let mut bytes = vec![0; before];
    file.read_exact_at(&mut bytes, offset - before as u64)?;
    Ok(format!("{offset}:{}", names::digest_of(&bytes)))
}

/// The offset of a position, if the file still is what it was.
fn checked_offset(file: &File, kept: &str) -> Option<u64> {
    let offset = kept.split(':').next()?.parse().ok()?;
    (position(file, offset).ok()? == kept).then_some(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_on_where_it_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mbox");
        let text = |n: u32| format!("From a@b.test Tue Nov 24 07:38:05 2026\nA: {n}\n\nx\n\n");
        std::fs::write(&path, text(1) + &text(2)).unwrap();
        let open = |known: &Known| MboxFile::open(&path, Target::named("a"), known, 1_000);
        let mut known = Known::new();
        let mut first = open(&known).unwrap();
        assert!(matches!(first.next().unwrap(), Some(Item::Mailbox(_))));
        let Some(Item::Letter(letter)) = first.next().unwrap() else {
            panic!("a letter");
        };
        known.insert(letter.mark.source, letter.mark.position);
        let rest = |known: &Known| {
            let mut mbox = open(known).unwrap();
            let mut count = 0;
            while let Some(item) = mbox.next().unwrap() {
                count += u32::from(matches!(item, Item::Letter(_)));
            }
            count
        };
        assert_eq!(rest(&known), 1);
        // It may grow.
        std::fs::write(&path, text(1) + &text(2) + &text(3)).unwrap();
        assert_eq!(rest(&known), 2);
        std::fs::write(&path, text(7) + &text(2)).unwrap();
        assert!(open(&known).is_err_and(|failure| failure.text.contains("--again")));
        std::fs::write(&path, "").unwrap();
        assert!(open(&known).is_err());
    }
}
