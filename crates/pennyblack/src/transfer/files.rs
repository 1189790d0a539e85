//! Files that are never there by half: written beside their place and renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use base::Timestamp;

use super::source::at;
use crate::control::{Failure, FailureKind};

/// Makes a file for its owner only; one that is there is emptied.
pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// Writes a whole file with the time of a letter, first at `beside`.
pub(super) fn write(
    path: &Path,
    beside: &Path,
    bytes: &[u8],
    time: Timestamp,
) -> Result<(), Failure> {
    let write = || {
        let mut file = create(beside)?;
        file.write_all(bytes)?;
        if let Ok(millis) = u64::try_from(time.millis()) {
            file.set_modified(UNIX_EPOCH + Duration::from_millis(millis))?;
        }
        fs::rename(beside, path)
    };
    write().map_err(|error| at(path, error))
}

/// A file that takes its name when it is finished.
pub(super) struct Unfinished {
    pub(super) path: PathBuf,
    beside: PathBuf,
}

impl Unfinished {
    /// Begins a file; one that is there is not overwritten.
    pub(super) fn begin(path: &Path) -> Result<(Self, File), Failure> {
        if path.exists() {
            return Err(Failure {
                kind: FailureKind::Exists,
                text: format!("{} is there already", path.display()),
            });
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let beside = path.with_file_name(name);
        let file = create(&beside).map_err(|error| at(&beside, error))?;
        let unfinished = Self {
            path: path.to_owned(),
            beside,
        };
        Ok((unfinished, file))
    }

    /// Puts the file on the disk under its name.
    pub(super) fn finish(self, file: &File) -> Result<(), Failure> {
        file.sync_all()
            .and_then(|()| fs::rename(&self.beside, &self.path))
            .and_then(|()| sync_folder(&self.path))
            .map_err(|error| at(&self.path, error))
    }
}

/// Makes the names in a file's folder durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// Makes all files of the disk that holds a folder durable: far quicker than one by one.
pub(super) fn sync_disk(folder: &Path) -> Result<(), Failure> {
    let sync = || -> io::Result<()> {
        let folder = File::open(folder)?;
        nix::unistd::syncfs(&folder).map_err(io::Error::from)
    };
    sync().map_err(|error| at(folder, error))
}

/// Makes a folder with its parents, for its owner only.
pub(super) fn make_folder(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| at(path, error))
}
