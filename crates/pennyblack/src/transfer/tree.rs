//! A folder of letters: `.eml` files and other files that look like letters, mbox files, and
//! sub-folders, which become mailboxes.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use base::Timestamp;

use super::index::{INDEX_BYTES_MAX, INDEX_FILE, Index};
use super::mbox::file::MboxFile;
use super::names::{self, Target};
use super::source::{
    Incoming, Item, Known, Mark, Progress, Skipped, Steps, at, date_in_head, too_large,
};
use super::{flags::Flags, lines};
use crate::control::Failure;

/// Folders in folders.
const DEPTH_MAX: usize = 20;
/// Bytes that tell what a file is.
const LOOKED_AT_BYTES: usize = 256;

/// Reads a folder and what is below it.
pub struct Tree {
    /// Folders that are still to be read, the next one last.
    folders: Vec<(PathBuf, Vec<String>)>,
    open: Option<OpenFolder>,
    mbox: Option<MboxFile>,
    into: Option<String>,
    known: Known,
    bytes_max: u64,
    done: u64,
    total: u64,
}

struct OpenFolder {
    path: PathBuf,
    context: Context,
    source: String,
    /// Files that are still to be read, the next one last.
    files: Vec<String>,
}

/// What is known of the letters of one folder, of the file system or of a zip.
pub(super) struct Context {
    pub levels: Vec<String>,
    pub target: Arc<Target>,
    pub index: Option<Index>,
}

/// What a file most likely is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Letter,
    Mbox,
    /// Of the system, or of ours: not worth a word.
    Ignored,
    /// Neither letter nor mbox.
    Other,
}

impl Tree {
    /// Reads from a folder; its own letters go to `into`, or to a mailbox of the folder's name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(
        path: &Path,
        into: Option<&str>,
        known: Known,
        bytes_max: u64,
    ) -> Result<Self, Failure> {
        let path = fs::canonicalize(path).map_err(|error| at(path, error))?;
        let mut folders = Vec::new();
        let mut total = 0;
        collect(&path, &mut Vec::new(), &mut folders, &mut total)?;
        folders.reverse();
        Ok(Self {
            folders,
            open: None,
            mbox: None,
            into: into.map(str::to_owned),
            known,
            bytes_max,
            done: 0,
            total,
        })
    }

    fn open_next(&mut self) -> Result<Option<Item>, Failure> {
        while let Some((path, levels)) = self.folders.pop() {
            let mut files = list(&path)?;
            let index = read_index(&path)?;
            if files.is_empty() && index.is_none() {
                continue;
            }
            files.sort_unstable_by(|a, b| b.cmp(a));
            let source: String = format!("eml:{}", path.display());
            if let Some(position) = self.known.get(&source) {
                let before = files.len();
                files.retain(|name| name > position || is_mbox_name(name));
                self.done += (before - files.len()) as u64;
            }
            let root = names::stem(&path);
            let context = Context::new(levels, index, self.into.as_deref(), &root);
            // A folder without a list becomes a mailbox with its first letter.
            let is_a_mailbox = context.index.is_some();
            let target = (*context.target).clone();
            self.open = Some(OpenFolder {
                path,
                context,
                source,
                files,
            });
            if is_a_mailbox {
                return Ok(Some(Item::Mailbox(target)));
            }
            break;
        }
        Ok(None)
    }
}

impl Steps for Tree {
    fn next(&mut self) -> Result<Option<Item>, Failure> {
        loop {
            if let Some(mbox) = &mut self.mbox {
                match mbox.next()? {
                    Some(item) => return Ok(Some(item)),
                    None => self.mbox = None,
                }
            }
            let Some(folder) = &mut self.open else {
                match self.open_next()? {
                    Some(item) => return Ok(Some(item)),
                    None if self.open.is_none() => return Ok(None),
                    None => continue,
                }
            };
            let Some(name) = folder.files.pop() else {
                self.open = None;
                continue;
            };
            self.done += 1;
            match folder.read(&name, self.bytes_max) {
                Ok(Found::Item(item)) => return Ok(Some(item)),
                Ok(Found::Mbox) => {
                    let path = folder.path.join(&name);
                    let target = folder.context.mbox_target(&name, self.into.as_deref());
                    self.mbox = Some(MboxFile::open(&path, target, &self.known, self.bytes_max)?);
                }
                Ok(Found::Nothing) => {}
                Err(error) => {
                    return Ok(Some(Item::Skipped(Skipped {
                        name: folder.path.join(&name).display().to_string(),
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

enum Found {
    Item(Item),
    Mbox,
    Nothing,
}

impl OpenFolder {
    fn read(&self, name: &str, bytes_max: u64) -> io::Result<Found> {
        let path = self.path.join(name);
        let mut file = File::open(&path)?;
        let mut bytes = Vec::new();
        file.by_ref()
            .take(LOOKED_AT_BYTES as u64)
            .read_to_end(&mut bytes)?;
        let shown = path.display().to_string();
        match kind_of(name, &bytes) {
            Kind::Ignored => return Ok(Found::Nothing),
            Kind::Mbox => return Ok(Found::Mbox),
            Kind::Other => return Ok(Found::Item(no_letter(shown))),
            Kind::Letter => {}
        }
        let modified = file.metadata()?.modified()?;
        file.take((bytes_max + 1).saturating_sub(bytes.len() as u64))
            .read_to_end(&mut bytes)?;
        let modified = modified
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| i64::try_from(since.as_millis()).ok())
            .map(Timestamp);
        let mark = Mark {
            source: self.source.clone(),
            position: name.to_owned(),
        };
        let item = self
            .context
            .letter(name, shown, bytes, modified, mark, bytes_max);
        Ok(Found::Item(item))
    }
}

impl Context {
    pub(super) fn new(
        levels: Vec<String>,
        index: Option<Index>,
        into: Option<&str>,
        root: &str,
    ) -> Self {
        let target = match &index {
            Some(index) => index.head.mailbox.clone().below(into),
            None => target_of(&levels, into, root),
        };
        Self {
            levels,
            target: Arc::new(target),
            index,
        }
    }

    /// Where the letters of an mbox in this folder go.
    pub(super) fn mbox_target(&self, name: &str, into: Option<&str>) -> Target {
        let mut levels = self.levels.clone();
        levels.push(names::from_file_name(&names::stem(Path::new(name))));
        target_of(&levels, into, "")
    }

    /// The letter of a file.
    pub(super) fn letter(
        &self,
        file: &str,
        name: String,
        bytes: Vec<u8>,
        modified: Option<Timestamp>,
        mark: Mark,
        bytes_max: u64,
    ) -> Item {
        let line = self.index.as_ref().and_then(|index| index.line(file));
        let is_too_large = bytes.len() as u64 > bytes_max;
        let bytes = if is_too_large || line.as_ref().is_some_and(|line| line.raw) {
            bytes
        } else {
            lines::from_file(bytes)
        };
        if bytes.len() as u64 > bytes_max {
            let reason = too_large(bytes_max);
            return Item::Skipped(Skipped { name, reason });
        }
        let (received_at, flags) = match line {
            Some(line) => (Some(line.received_at()), line.flags),
            None => (date_in_head(&bytes).or(modified), Flags::default()),
        };
        Item::Letter(Box::new(Incoming {
            name,
            target: Arc::clone(&self.target),
            flags,
            received_at,
            bytes: bytes.into(),
            mark,
        }))
    }
}

/// A file that is neither letter nor mbox.
pub(super) fn no_letter(name: String) -> Item {
    let reason = "does not look like a letter; give it the ending .eml if it is one".to_owned();
    Item::Skipped(Skipped { name, reason })
}

fn target_of(levels: &[String], into: Option<&str>, root: &str) -> Target {
    let levels: Vec<String> = levels
        .iter()
        .map(|level| names::from_file_name(level))
        .collect();
    let levels: Vec<&str> = levels.iter().map(String::as_str).collect();
    match into {
        Some(into) if levels.is_empty() => Target::named(into),
        None if levels.is_empty() => Target::guess(&[root]),
        into => Target::guess(&levels).below(into),
    }
}

/// What a file is, by its name and its first bytes.
pub(super) fn kind_of(name: &str, start: &[u8]) -> Kind {
    let is_ours = [INDEX_FILE, "account.json", "README.txt"].contains(&name);
    // `.DS_Store`, `._x`, `Thumbs.db`: no user knows of them.
    if name.starts_with('.') || is_ours || name.eq_ignore_ascii_case("thumbs.db") {
        return Kind::Ignored;
    }
    let lower = name.to_ascii_lowercase();
    if lower.ends_with(".eml") {
        return Kind::Letter;
    }
    if is_mbox_name(name) {
        return Kind::Mbox;
    }
    if start.starts_with(b"From ") {
        return Kind::Mbox;
    }
    if looks_like_a_head(start) {
        Kind::Letter
    } else {
        Kind::Other
    }
}

pub(super) fn is_mbox_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    lower.ends_with(".mbox") || lower.ends_with(".mbx")
}

/// RFC 5322 §2.2: `ftext` up to a colon.
fn looks_like_a_head(start: &[u8]) -> bool {
    let colon = start.iter().position(|byte| *byte == b':');
    colon.is_some_and(|colon| {
        (2..=76).contains(&colon)
            && start[..colon]
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    })
}

fn read_index(folder: &Path) -> Result<Option<Index>, Failure> {
    let path = folder.join(INDEX_FILE);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| at(&path, error))?,
    };
    let mut text = Vec::new();
    file.take(INDEX_BYTES_MAX + 1)
        .read_to_end(&mut text)
        .map_err(|error| at(&path, error))?;
    if text.len() as u64 > INDEX_BYTES_MAX {
        return Err(Failure::invalid(format!("{} is too large", path.display())));
    }
    Ok(Index::parse(text))
}

fn collect(
    path: &Path,
    levels: &mut Vec<String>,
    found: &mut Vec<(PathBuf, Vec<String>)>,
    total: &mut u64,
) -> Result<(), Failure> {
    found.push((path.to_owned(), levels.clone()));
    let mut below = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| at(path, error))? {
        let entry = entry.map_err(|error| at(path, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Links to folders could lead anywhere, also back here.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if !name.starts_with('.') && name != "__MACOSX" {
                below.push((name, entry.path()));
            }
        } else {
            *total += 1;
        }
    }
    if levels.len() >= DEPTH_MAX {
        return Ok(());
    }
    below.sort();
    for (name, path) in below {
        levels.push(name);
        collect(&path, levels, found, total)?;
        levels.pop();
    }
    Ok(())
}

/// The names of the files of a folder; those that are no text are shown with replacements, and
/// then not found: they are reported.
fn list(folder: &Path) -> Result<Vec<String>, Failure> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| at(folder, error))? {
        let entry = entry.map_err(|error| at(folder, error))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != INDEX_FILE && !name.starts_with('.') {
            files.push(name);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }

    fn read(root: &Path, into: Option<&str>, known: Known) -> Vec<String> {
        let mut tree = Tree::open(root, into, known, 100).unwrap();
        let mut all = Vec::new();
        while let Some(item) = tree.next().unwrap() {
            all.push(match item {
                Item::Mailbox(target) => format!("[{}]", target.name),
                Item::Letter(letter) => format!(
                    "{} {:?}",
                    letter.target.name,
                    String::from_utf8(letter.bytes.to_vec()).unwrap()
                ),
                Item::Skipped(skipped) => format!("skipped: {}", skipped.reason),
            });
        }
        all
    }

    #[test]
    fn folders_become_mailboxes() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("old mail");
        touch(&root, "1.eml", "A: 1\n");
        touch(&root, "2", "Subject: 2\n");
        touch(&root, "note.txt", "no letter\n");
        touch(&root, ".DS_Store", "x");
        touch(&root, "Work/2026/3.EML", "\u{1}");
        touch(&root, "Work/4.eml", &"x".repeat(101));
        touch(
            &root,
            "Work/a.mbox",
            "From a@b Tue Nov 24 07:38:05 2026\nA: 5\n\n",
        );
        let expected = [
            "old mail \"A: 1\\r\\n\"",
            "old mail \"Subject: 2\\r\\n\"",
            "skipped: does not look like a letter; give it the ending .eml if it is one",
            "skipped: larger than 100 bytes, the limit for letters (limits.letter_size)",
            "[Work/a]",
            "Work/a \"A: 5\\r\\n\"",
            "Work/2026 \"\\u{1}\"",
        ];
        assert_eq!(read(&root, None, Known::new()), expected);
        let below = read(&root, Some("X"), Known::new());
        assert_eq!(below[5], "X/Work/a \"A: 5\\r\\n\"");
        let canonical = fs::canonicalize(&root).unwrap();
        let known = Known::from([(format!("eml:{}", canonical.display()), "1.eml".to_owned())]);
        assert_eq!(read(&root, None, known), expected[1..]);
    }
}
