//! A disk that loses power: what was synced is there, of the rest a random part.

use std::collections::BTreeMap;
use std::path::Path;

use crate::trace::{Event, SEGMENTS, folder_of, is_folder};

/// Disks write sectors whole; a write of several may be torn between them.
const SECTOR: usize = 512;

/// Numbers that look random and repeat from run to run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 20).unwrap() % limit
    }
}

/// The files of the store as the disk has them.
#[derive(Default)]
pub(crate) struct Disk {
    files: BTreeMap<String, FileState>,
    /// Whether the folder of segments is in the data folder on disk.
    has_segments: bool,
    /// Syncs under way: by thread, how much of each file they cover.
    syncs: BTreeMap<(u32, String), Covered>,
}

#[derive(Clone, Default)]
struct FileState {
    /// What is surely there.
    bytes: Vec<u8>,
    /// What the system has taken and may or may not have written.
    pending: Vec<Change>,
    /// Changes that were taken into `bytes` so far.
    applied: usize,
    /// Whether its name is in the folder on disk.
    named: bool,
}

#[derive(Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate(usize),
}

enum Covered {
    /// A file: all changes up to this number.
    File(usize),
    /// The folder: the files that existed.
    Folder(Vec<String>),
}

impl Disk {
    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Created(folder) if is_folder(folder) => {}
            Event::Created(file) => {
                self.files.entry(file.clone()).or_default();
            }
            Event::Written { file, at, bytes } => {
                let at = usize::try_from(*at).unwrap();
                let bytes = bytes.clone();
                self.change(file, Change::Write { at, bytes });
            }
            Event::Truncated { file, length } => {
                self.change(file, Change::Truncate(usize::try_from(*length).unwrap()));
            }
            // A removal that is not on disk yet would only bring back what was there before.
            Event::Removed(file) => {
                self.files.remove(file);
            }
            Event::Renamed { from, to } => {
                if let Some(state) = self.files.remove(from) {
                    let named = false;
                    self.files.insert(to.clone(), FileState { named, ..state });
                }
            }
            Event::Linked { from, to } => {
                if let Some(state) = self.files.get(from) {
                    let named = false;
                    let linked = FileState {
                        named,
                        ..state.clone()
                    };
                    self.files.insert(to.clone(), linked);
                }
            }
            Event::SyncBegan { file, thread } => {
                let covered = if is_folder(file) {
                    let within = self.files.keys().filter(|name| folder_of(name) == file);
                    Covered::Folder(within.cloned().collect())
                } else {
                    let state = self.files.entry(file.clone()).or_default();
                    Covered::File(state.applied + state.pending.len())
                };
                self.syncs.insert((*thread, file.clone()), covered);
            }
            Event::SyncEnded { file, thread } => self.synced(file, *thread),
            Event::Acknowledged(_) | Event::Withdrawn(_) => {}
        }
    }

    fn change(&mut self, file: &str, change: Change) {
        self.files
            .entry(file.to_owned())
            .or_default()
            .pending
            .push(change);
    }

    fn synced(&mut self, file: &str, thread: u32) {
        match self.syncs.remove(&(thread, file.to_owned())) {
            Some(Covered::File(until)) => {
                let state = self.files.entry(file.to_owned()).or_default();
                while state.applied < until && !state.pending.is_empty() {
                    state.pending.remove(0).apply(&mut state.bytes);
                    state.applied += 1;
                }
            }
            Some(Covered::Folder(files)) => {
                self.has_segments |= file.is_empty();
                for file in files {
                    if let Some(state) = self.files.get_mut(&file) {
                        state.named = true;
                    }
                }
            }
            None => {}
        }
    }

    /// The files as the system shows them while the power is on.
    pub(crate) fn with_everything(self) -> BTreeMap<String, Vec<u8>> {
        let files = self.files.into_iter();
        files
            .map(|(name, mut state)| {
                for change in state.pending {
                    change.apply(&mut state.bytes);
                }
                (name, state.bytes)
            })
            .collect()
    }

    /// The power is gone: writes down what is left.
    pub(crate) fn write(self, folder: &Path, random: &mut Random) {
        std::fs::create_dir_all(folder.join(SEGMENTS)).unwrap();
        // How much of what was not synced survives differs from cut to cut: nothing, some, all.
        let survives = [0, 30, 70, 100][random.below(4)];
        for (name, mut state) in self.files {
            let named = state.named && (self.has_segments || folder_of(&name) != SEGMENTS);
            if !named && random.below(100) >= survives {
                continue;
            }
            for change in state.pending {
                if random.below(100) < survives {
                    change.torn(random).apply(&mut state.bytes);
                }
            }
            std::fs::write(folder.join(name), state.bytes).unwrap();
        }
    }
}

impl Change {
    fn apply(self, file: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => {
                let end = at + bytes.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[at..end].copy_from_slice(&bytes);
            }
            Self::Truncate(length) => file.resize(length, 0),
        }
    }

    /// The change, or a part of it.
    fn torn(self, random: &mut Random) -> Self {
        match self {
            Self::Write { at, mut bytes } if random.below(3) == 0 => {
                let sectors = bytes.len().div_ceil(SECTOR);
                bytes.truncate(random.below(sectors + 1) * SECTOR);
                Self::Write { at, bytes }
            }
            whole => whole,
        }
    }
}
