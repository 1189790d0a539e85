//! What `strace` recorded, as events on the store's files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file into which the child writes a name when a letter is acknowledged.
const ACKNOWLEDGEMENTS: &str = "acknowledged";
/// The folder in the data folder whose files count as well.
pub(crate) const SEGMENTS: &str = "segments";
/// What stands before a name in [`ACKNOWLEDGEMENTS`] that is about to be deleted.
const WITHDRAWN: char = '-';

/// One thing that happened to a file of the store, in the order in which it was over. Names are
/// relative to the data folder.
#[derive(Debug)]
pub(crate) enum Event {
    /// A file or folder was made.
    Created(String),
    /// Bytes were handed to the system.
    Written {
        file: String,
        at: u64,
        bytes: Vec<u8>,
    },
    /// The length was changed.
    Truncated { file: String, length: u64 },
    /// A file was removed.
    Removed(String),
    /// A file has another name.
    Renamed { from: String, to: String },
    /// A file has a second name.
    Linked { from: String, to: String },
    /// A sync of a file or of a folder (the data folder has an empty name) began.
    SyncBegan { file: String, thread: u32 },
    /// It succeeded: everything that was over when it began is on disk.
    SyncEnded { file: String, thread: u32 },
    /// A letter was acknowledged.
    Acknowledged(String),
    /// Somebody is about to delete a letter.
    Withdrawn(String),
}

impl Event {
    pub(crate) fn is_write(&self) -> bool {
        matches!(self, Self::Written { .. })
    }

    pub(crate) fn is_sync(&self) -> bool {
        matches!(self, Self::SyncEnded { file, .. } if !is_folder(file))
    }

    /// Whether the bytes of a segment are on disk with this.
    pub(crate) fn is_sync_of_segment(&self) -> bool {
        matches!(self, Self::SyncEnded { file, .. } if folder_of(file) == SEGMENTS)
    }
}

/// Whether a name is that of a folder.
pub(crate) fn is_folder(name: &str) -> bool {
    name.is_empty() || name == SEGMENTS
}

/// The name of the folder in which a file is.
pub(crate) fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Where the child writes what was acknowledged.
pub(crate) struct Acknowledgements(File);

impl Acknowledgements {
    pub(crate) fn create(folder: &Path) -> Self {
        Self(File::create(folder.join(ACKNOWLEDGEMENTS)).unwrap())
    }

    pub(crate) fn write(&self, name: &str) {
        // One write call is one event of the record.
        (&self.0).write_all(name.as_bytes()).unwrap();
    }

    /// Says that a letter may be missing from now on.
    pub(crate) fn withdraw(&self, name: &str) {
        self.write(&format!("{WITHDRAWN}{name}"));
    }
}

/// Reads a record. `data` is the folder whose files count.
pub(crate) fn read(text: &str, data: &Path) -> Vec<Event> {
    let mut reader = Reader {
        data: data.to_owned(),
        positions: BTreeMap::new(),
        unfinished: BTreeMap::new(),
        events: Vec::new(),
    };
    for line in text.lines() {
        reader.line(line);
    }
    reader.events
}

struct Reader {
    data: PathBuf,
    /// File positions, for `lseek` with `write`, by descriptor and path.
    positions: BTreeMap<String, u64>,
    /// The beginnings of calls that were interrupted by other threads' lines.
    unfinished: BTreeMap<u32, String>,
    events: Vec<Event>,
}

impl Reader {
    fn line(&mut self, line: &str) {
        let Some((thread, rest)) = line.split_once(' ') else {
            return;
        };
        let Ok(thread) = thread.parse() else {
            return;
        };
        let rest = rest.trim_start();
        if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            self.begins(thread, begun);
            self.unfinished.insert(thread, begun.to_owned());
        } else if rest.starts_with("<... ") {
            let Some((_, end)) = rest.split_once(" resumed>") else {
                return;
            };
            if let Some(begun) = self.unfinished.remove(&thread) {
                self.ends(thread, &format!("{begun}{end}"));
            }
        } else {
            self.begins(thread, rest);
            self.ends(thread, rest);
        }
    }

    /// A call begins: only for syncs does the moment matter.
    fn begins(&mut self, thread: u32, call: &str) {
        if let Some(file) = self.synced(call) {
            self.events.push(Event::SyncBegan { file, thread });
        }
    }

    /// A call is over; only those that succeeded did anything.
    fn ends(&mut self, thread: u32, call: &str) {
        // Between the closing bracket and the result may stand blanks that align it.
        let Some((call, result)) = call.rsplit_once(" = ") else {
            return;
        };
        let Some(call) = call.trim_end().strip_suffix(')') else {
            return;
        };
        let result = result.split([' ', '<']).next().unwrap_or_default();
        let Ok(result) = result.parse::<u64>() else {
            return;
        };
        if let Some(file) = self.synced(call) {
            self.events.push(Event::SyncEnded { file, thread });
            return;
        }
        let Some((call_name, arguments)) = call.split_once('(') else {
            return;
        };
        match call_name {
            "write" | "pwrite64" => self.written(call_name, arguments, result),
            "lseek" => {
                let descriptor = arguments.split(',').next().unwrap_or_default();
                self.positions.insert(descriptor.to_owned(), result);
            }
            "ftruncate" => {
                let (descriptor, length) = arguments.split_once(", ").unwrap();
                if let Some(file) = self.file_of(descriptor) {
                    let length = length.parse().unwrap();
                    self.events.push(Event::Truncated { file, length });
                }
            }
            "mkdir" => {
                let path = unescape(arguments.split('"').nth(1).unwrap_or_default());
                if Path::new(std::str::from_utf8(&path).unwrap()) == self.data.join(SEGMENTS) {
                    self.events.push(Event::Created(SEGMENTS.to_owned()));
                }
            }
            "openat" if arguments.contains("O_CREAT") => {
                let path = arguments.split('"').nth(1).unwrap_or_default();
                if let Some(file) = self.name_of(&unescape(path)) {
                    self.events.push(Event::Created(file));
                }
            }
            "rename" | "link" | "linkat" => {
                let mut names = arguments.split('"').skip(1).step_by(2);
                let mut name = || self.name_of(&unescape(names.next().unwrap_or_default()));
                if let (Some(from), Some(to)) = (name(), name()) {
                    self.events.push(match call_name {
                        "rename" => Event::Renamed { from, to },
                        _ => Event::Linked { from, to },
                    });
                }
            }
            "unlink" => {
                let path = arguments.split('"').nth(1).unwrap_or_default();
                if let Some(file) = self.name_of(&unescape(path)) {
                    self.events.push(Event::Removed(file));
                }
            }
            _ => {}
        }
    }

    fn written(&mut self, name: &str, arguments: &str, result: u64) {
        let mut parts = arguments.split('"');
        let descriptor = parts.next().unwrap_or_default().trim_end_matches(", ");
        let bytes = unescape(parts.next().unwrap_or_default());
        let rest = parts.next().unwrap_or_default();
        assert!(!rest.starts_with("..."), "strace cut a write");
        let written = usize::try_from(result).unwrap();
        let bytes = bytes[..written].to_vec();
        if path_of(descriptor).is_some_and(|path| path.ends_with(ACKNOWLEDGEMENTS)) {
            let name = String::from_utf8(bytes).unwrap();
            self.events.push(match name.strip_prefix(WITHDRAWN) {
                Some(name) => Event::Withdrawn(name.to_owned()),
                None => Event::Acknowledged(name),
            });
            return;
        }
        let Some(file) = self.file_of(descriptor) else {
            return;
        };
        let at = if name == "pwrite64" {
            rest.rsplit(", ").next().unwrap().parse().unwrap()
        } else {
            let position = self.positions.entry(descriptor.to_owned()).or_default();
            let at = *position;
            *position += result;
            at
        };
        self.events.push(Event::Written { file, at, bytes });
    }

    /// The file or folder that a sync call names.
    fn synced(&self, call: &str) -> Option<String> {
        let arguments = call
            .strip_prefix("fdatasync(")
            .or_else(|| call.strip_prefix("fsync("))?;
        let path = path_of(arguments)?;
        if path == self.data {
            return Some(String::new());
        }
        if path == self.data.join(SEGMENTS) {
            return Some(SEGMENTS.to_owned());
        }
        self.name_of(path.as_os_str().as_encoded_bytes())
    }

    fn file_of(&self, descriptor: &str) -> Option<String> {
        self.name_of(path_of(descriptor)?.as_os_str().as_encoded_bytes())
    }

    /// The name of a database file, segment or key in the data folder; its other files do not matter
    /// after a cut.
    fn name_of(&self, path: &[u8]) -> Option<String> {
        let path = std::str::from_utf8(path).ok()?;
        let name = Path::new(path).strip_prefix(&self.data).ok()?.to_str()?;
        let is_database = name.starts_with("mail.db") && !name.ends_with("-shm");
        let is_key = name.starts_with("store.");
        let counts = is_database || is_key || folder_of(name) == SEGMENTS;
        counts.then(|| name.to_owned())
    }
}

/// The path that `strace -y` shows behind a descriptor: `9</path>`.
fn path_of(descriptor: &str) -> Option<PathBuf> {
    let (_, path) = descriptor.split_once('<')?;
    let path = path.rsplit_once('>').map_or(path, |(path, _)| path);
    Some(PathBuf::from(String::from_utf8(unescape(path)).ok()?))
}

/// Text with `\xNN` as bytes.
fn unescape(text: &str) -> Vec<u8> {
    let text = text.as_bytes();
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with(b"\\x") && text.len() >= at + 4 {
            let digits = std::str::from_utf8(&text[at + 2..at + 4]).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            at += 4;
        } else {
            bytes.push(text[at]);
            at += 1;
        }
    }
    bytes
}
