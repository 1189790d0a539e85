//! Reading a Maildir.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use base::Timestamp;

use super::read_keywords;
use super::write::received_at;
use crate::control::Failure;
use crate::transfer::flags::Flags;
use crate::transfer::lines;
use crate::transfer::names::{self, Target};
use crate::transfer::source::{
    Incoming, Item, Known, Mark, Progress, Skipped, Steps, at, too_large,
};

/// Folders in folders.
const DEPTH_MAX: usize = 20;

/// Whether a folder is a Maildir.
#[must_use]
pub fn is_maildir(path: &Path) -> bool {
    path.join("cur").is_dir() || path.join("new").is_dir()
}

/// Reads the folders of a Maildir one after the other, each in the order of its files' names.
pub struct Maildir {
    /// Folders that are still to be read, the next one last.
    folders: Vec<Folder>,
    open: Option<OpenFolder>,
    known: Known,
    bytes_max: u64,
    done: u64,
    total: u64,
}

struct Folder {
    path: PathBuf,
    target: Target,
}

struct OpenFolder {
    path: PathBuf,
    source: String,
    target: Arc<Target>,
    keywords: Vec<String>,
    /// Files that are still to be read, the next one last.
    files: Vec<Name>,
}

/// A file's name; it may move from `new` to `cur` and get other flags while we read.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    /// Up to the flags: stays.
    base: String,
    info: String,
    is_new: bool,
}

impl Maildir {
    /// Reads from a folder; all goes below the mailbox `into`, if it is given.
    ///
    /// # Errors
    /// When it is no Maildir or cannot be read.
    pub fn open(
        path: &Path,
        into: Option<&str>,
        known: Known,
        bytes_max: u64,
    ) -> Result<Self, Failure> {
        let path = fs::canonicalize(path).map_err(|error| at(path, error))?;
        if !is_maildir(&path) {
            let text = format!(
                "{} is no Maildir: it holds no cur and no new",
                path.display()
            );
            return Err(Failure::invalid(text));
        }
        let mut folders = Vec::new();
        collect(&path, &mut Vec::new(), into, &mut folders)?;
        folders.reverse();
        let total = folders.iter().map(|folder| count(&folder.path)).sum();
        Ok(Self {
            folders,
            open: None,
            known,
            bytes_max,
            done: 0,
            total,
        })
    }

    fn open_next(&mut self) -> Result<Option<Item>, Failure> {
        let Some(Folder { path, target }) = self.folders.pop() else {
            return Ok(None);
        };
        let mut files = Vec::new();
        for (folder, is_new) in [("new", true), ("cur", false)] {
            list(&path.join(folder), is_new, &mut files)?;
        }
        files.sort_unstable_by(|a, b| b.cmp(a));
        let source: String = format!("maildir:{}", path.display());
        if let Some(position) = self.known.get(&source) {
            let before = files.len();
            // Sorted backwards: what is left to read comes first.
            files.truncate(files.partition_point(|name| name.base > *position));
            self.done += (before - files.len()) as u64;
        }
        let keywords = read_keywords(&path).map_err(|error| at(&path, error))?;
        self.open = Some(OpenFolder {
            path,
            source,
            target: Arc::new(target.clone()),
            keywords,
            files,
        });
        Ok(Some(Item::Mailbox(target)))
    }
}

impl Steps for Maildir {
    fn next(&mut self) -> Result<Option<Item>, Failure> {
        loop {
            let Some(folder) = &mut self.open else {
                return self.open_next();
            };
            let Some(name) = folder.files.pop() else {
                self.open = None;
                continue;
            };
            self.done += 1;
            match folder.read(&name, self.bytes_max) {
                Ok(Some(item)) => return Ok(Some(item)),
                // It has gone: another program works in the same folder.
                Ok(None) => {}
                Err(error) => {
                    return Ok(Some(Item::Skipped(Skipped {
                        name: folder.path.join(&name.base).display().to_string(),
                        reason: error.to_string(),
                    })));
                }
            }
        }
    }

    fn progress(&self) -> Progress {
        Progress {
            done: self.done,
            total: self.total,
        }
    }
}

impl OpenFolder {
    fn read(&self, name: &Name, bytes_max: u64) -> io::Result<Option<Item>> {
        let Some((path, file, info)) = self.find(name)? else {
            return Ok(None);
        };
        let modified = file.metadata()?.modified()?;
        let mut bytes = Vec::new();
        file.take(bytes_max + 1).read_to_end(&mut bytes)?;
        let bytes = if bytes.len() as u64 <= bytes_max {
            lines::from_file(bytes)
        } else {
            bytes
        };
        let shown = path.display().to_string();
        if bytes.len() as u64 > bytes_max {
            let reason = too_large(bytes_max);
            return Ok(Some(Item::Skipped(Skipped {
                name: shown,
                reason,
            })));
        }
        let modified = modified
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| i64::try_from(since.as_millis()).ok())
            .map(Timestamp);
        Ok(Some(Item::Letter(Box::new(Incoming {
            name: shown,
            target: Arc::clone(&self.target),
            flags: Flags::from_maildir(&info, &self.keywords),
            received_at: received_at(&name.base).or_else(|| earlier(modified, date_of(&name.base))),
            bytes: bytes.into(),
            mark: Mark {
                source: self.source.clone(),
                position: name.base.clone(),
            },
        }))))
    }

    /// Opens a file, also if it has been read by its user since it was listed.
    fn find(&self, name: &Name) -> io::Result<Option<(PathBuf, fs::File, String)>> {
        let folder = if name.is_new { "new" } else { "cur" };
        let path = self
            .path
            .join(folder)
            .join(format!("{}{}", name.base, name.info));
        match fs::File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other.map(|file| Some((path, file, name.info.clone()))),
        }
        for entry in fs::read_dir(self.path.join("cur"))? {
            let entry = entry?;
            let found = entry.file_name().to_string_lossy().into_owned();
            if let Some(info) = found.strip_prefix(&name.base)
                && (info.is_empty() || info.starts_with(':'))
            {
                let file = fs::File::open(entry.path())?;
                return Ok(Some((entry.path(), file, info.to_owned())));
            }
        }
        Ok(None)
    }
}

/// The earlier of the file's time and the time in its name: a copy made without times has the time
/// of the copying, and a letter that a client moved here has the time of the moving in its name.
fn earlier(modified: Option<Timestamp>, named: Option<Timestamp>) -> Option<Timestamp> {
    match (modified, named) {
        (Some(modified), Some(named)) if named.secs() < modified.secs() => Some(named),
        (Some(modified), _) => Some(modified),
        (None, named) => named,
    }
}

/// The seconds at the start of a name.
fn date_of(base: &str) -> Option<Timestamp> {
    let digits = base.split('.').next()?;
    // Nine digits: not before 1973, and no counter.
    let secs: i64 = digits.parse().ok().filter(|secs| *secs >= 100_000_000)?;
    Some(Timestamp::from_secs(secs))
}

/// Finds the folders: Maildir++ ones beside `cur` and folders in folders.
fn collect(
    path: &Path,
    levels: &mut Vec<String>,
    into: Option<&str>,
    found: &mut Vec<Folder>,
) -> Result<(), Failure> {
    if is_maildir(path) {
        found.push(Folder {
            path: path.to_owned(),
            target: target_of(levels, into),
        });
    }
    if levels.len() >= DEPTH_MAX {
        return Ok(());
    }
    let mut below = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| at(path, error))? {
        let entry = entry.map_err(|error| at(path, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !matches!(name.as_str(), "cur" | "new" | "tmp") {
            below.push((name, entry.path()));
        }
    }
    below.sort();
    for (name, path) in below {
        let depth = levels.len();
        if name.starts_with('.') {
            // Hidden folders of other programs are none of ours.
            if depth > 0 || !is_maildir(&path) {
                continue;
            }
            levels.extend(names::from_maildir(&name));
        } else {
            levels.push(name);
        }
        collect(&path, levels, into, found)?;
        levels.truncate(depth);
    }
    Ok(())
}

fn target_of(levels: &[String], into: Option<&str>) -> Target {
    match into {
        Some(into) if levels.is_empty() => Target::named(into),
        into => {
            let levels: Vec<&str> = levels.iter().map(String::as_str).collect();
            Target::guess(&levels).below(into)
        }
    }
}

fn list(folder: &Path, is_new: bool, files: &mut Vec<Name>) -> Result<(), Failure> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|error| at(folder, error))?,
    };
    for entry in entries {
        let entry = entry.map_err(|error| at(folder, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let (base, info) = name.split_at(name.find(':').unwrap_or(name.len()));
        files.push(Name {
            base: base.to_owned(),
            info: info.to_owned(),
            is_new,
        });
    }
    Ok(())
}

fn count(folder: &Path) -> u64 {
    let of = |name| fs::read_dir(folder.join(name)).map_or(0, Iterator::count);
    (of("new") + of("cur")) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }

    fn read(root: &Path, known: Known) -> Vec<String> {
        let mut maildir = Maildir::open(root, None, known, 30).unwrap();
        let mut all = Vec::new();
        while let Some(item) = maildir.next().unwrap() {
            all.push(match item {
                Item::Mailbox(target) => format!("[{}]", target.name),
                Item::Letter(letter) => format!(
                    "{} {:?} {} {}",
                    letter.target.name,
                    String::from_utf8(letter.bytes.to_vec()).unwrap(),
                    letter.flags.to_maildir(|_| Some('k')),
                    letter.received_at.unwrap().secs(),
                ),
                Item::Skipped(skipped) => format!("skipped: {}", skipped.reason),
            });
        }
        all
    }

    #[test]
    fn folders_flags_and_dates() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        touch(root, "cur/1700000002.a.host:2,FS", "A: 2\n\nb\n");
        touch(root, "new/1700000001.b.host", "A: 1\n");
        touch(root, "new/1700000003.c.host", &"x".repeat(31));
        touch(
            root,
            ".Sent.Entw&APw-rfe/cur/1700000004.d.host:2,a",
            "A: 3\n",
        );
        touch(root, ".Sent.Entw&APw-rfe/dovecot-keywords", "0 work\n");
        touch(root, "Work/2026/cur/1700000005.e.host:2,", "A: 4\n");
        touch(root, ".hidden/x", "no Maildir");
        assert_eq!(
            read(root, Known::new()),
            [
                "[INBOX]",
                "INBOX \"A: 1\\r\\n\"  1700000001",
                "INBOX \"A: 2\\r\\n\\r\\nb\\r\\n\" FS 1700000002",
                "skipped: larger than 30 bytes, the limit for letters (limits.letter_size)",
                "[Sent/Entw\u{fc}rfe]",
                "Sent/Entw\u{fc}rfe \"A: 3\\r\\n\" k 1700000004",
                "[Work/2026]",
                "Work/2026 \"A: 4\\r\\n\"  1700000005",
            ]
        );
        let root = fs::canonicalize(root).unwrap();
        let source = format!("maildir:{}", root.display());
        let known = Known::from([(source, "1700000002.a.host".to_owned())]);
        assert_eq!(read(&root, known)[1][..7], *"skipped");
    }

    #[test]
    fn the_older_date_is_the_right_one() {
        let at = |secs| Some(Timestamp::from_secs(secs));
        assert_eq!(earlier(at(20), at(10)), at(10));
        assert_eq!(earlier(at(10), at(20)), at(10));
        assert_eq!(
            earlier(Some(Timestamp(10_500)), at(10)),
            Some(Timestamp(10_500))
        );
        assert_eq!(earlier(at(10), None), at(10));
        assert_eq!(date_of("1700000001.M5P6.host"), at(1_700_000_001));
        assert_eq!(date_of("42.host"), None);
    }

    #[test]
    fn what_is_no_maildir() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Maildir::open(folder.path(), None, Known::new(), 10).is_err());
        assert!(Maildir::open(&folder.path().join("x"), None, Known::new(), 10).is_err());
    }
}
