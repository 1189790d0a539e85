//! The folder of a backup: its lock, its restore points, files that are written whole.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::point::Manifest;
use super::{at, damaged, pack};
use crate::StoreError;

/// What a folder is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// To read what is there. A run may go on meanwhile.
    Read,
    /// To write; made if it is not there.
    Write,
}

/// An open backup.
pub(crate) struct BackupFolder {
    path: PathBuf,
    _lock: Option<Flock<File>>,
}

impl BackupFolder {
    pub(crate) fn open(path: &Path, purpose: Use) -> Result<Self, StoreError> {
        let folder = Self {
            path: path.to_owned(),
            _lock: None,
        };
        match purpose {
            Use::Read if folder.points_dir().is_dir() => Ok(folder),
            Use::Read => Err(StoreError::Invalid(format!(
                "{} is no backup of this program",
                path.display()
            ))),
            Use::Write => folder.prepare(),
        }
    }

    fn prepare(mut self) -> Result<Self, StoreError> {
        if let Ok(mut entries) = fs::read_dir(&self.path)
            && entries.next().is_some()
            && !self.points_dir().is_dir()
        {
            return Err(StoreError::Invalid(format!(
                "{} has other files in it and is no backup of this program: choose an empty folder",
                self.path.display()
            )));
        }
        for folder in [&self.path, &self.points_dir(), &self.blobs_dir()] {
            make(folder)?;
        }
        let path = self.path.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path);
        let file = file.map_err(|error| at(&path, error))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => self._lock = Some(lock),
            Err(_) => {
                let why = format!("another run works on the backup {}", self.path.display());
                return Err(StoreError::Busy(why));
            }
        }
        self.remove_rests()?;
        Ok(self)
    }

    /// Removes what runs left that were cut short.
    fn remove_rests(&self) -> Result<(), StoreError> {
        for name in self.names()? {
            if is_unfinished(&name) {
                let path = self.points_dir().join(name);
                fs::remove_dir_all(&path).map_err(|error| at(&path, error))?;
            }
        }
        pack::remove_rests(&self.blobs_dir())
    }

    pub(crate) fn blobs_dir(&self) -> PathBuf {
        self.path.join("blobs")
    }

    fn points_dir(&self) -> PathBuf {
        self.path.join("points")
    }

    /// The folder of a point.
    pub(crate) fn point_dir(&self, id: &str) -> PathBuf {
        self.points_dir().join(id)
    }

    /// Begins a point: a folder that does not count yet.
    pub(crate) fn begin(&self, id: &str) -> Result<PathBuf, StoreError> {
        if self.point_dir(id).exists() {
            return Err(StoreError::Exists("restore point"));
        }
        let path = self.points_dir().join(format!("{id}.part"));
        make(&path.join("tables"))?;
        Ok(path)
    }

    /// Makes a point count, at once and for good.
    pub(crate) fn finish(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let path = self.points_dir().join(format!("{}.part", manifest.id));
        let text = serde_json::to_vec_pretty(manifest);
        let text = text.map_err(|error| StoreError::Bug(error.to_string()))?;
        write_whole(&path.join("manifest.json"), &text)?;
        sync(&path.join("tables"))?;
        sync(&path)?;
        let target = self.point_dir(&manifest.id);
        fs::rename(&path, &target).map_err(|error| at(&target, error))?;
        sync(&self.points_dir())
    }

    /// The points, oldest first.
    pub(crate) fn points(&self) -> Result<Vec<Manifest>, StoreError> {
        let names = self
            .names()?
            .into_iter()
            .filter(|name| !is_unfinished(name));
        let mut points: Vec<Manifest> = names
            .map(|name| {
                let path = self.points_dir().join(name).join("manifest.json");
                let bytes = fs::read(&path).map_err(|error| at(&path, error))?;
                Manifest::parse(&path, &bytes)
            })
            .collect::<Result<_, _>>()?;
        points.sort_by(|a, b| (a.taken_at, &a.id).cmp(&(b.taken_at, &b.id)));
        Ok(points)
    }

    /// A point: by its id or the start of it; or the newest that is not later than a time
    /// (`2026-11-25` or `2026-11-25T13:30:00Z`); or the newest.
    pub(crate) fn find(&self, wanted: Option<&str>) -> Result<Manifest, StoreError> {
        let points = self.points()?;
        let found = match wanted {
            None => points.into_iter().next_back(),
            Some(wanted) if points.iter().any(|point| point.id == wanted) => {
                points.into_iter().find(|point| point.id == wanted)
            }
            // Times for people sort as texts, and what is longer comes later.
            Some(time) if time.contains('-') => points
                .into_iter()
                .rev()
                .find(|point| point.taken.as_str() <= time || point.taken.starts_with(time)),
            Some(start) => points
                .into_iter()
                .rev()
                .find(|point| point.id.starts_with(start)),
        };
        found.ok_or(StoreError::NotFound(
            "restore point; `backup list` shows those that are there",
        ))
    }

    /// Removes a point.
    pub(crate) fn remove(&self, id: &str) -> Result<(), StoreError> {
        let (path, going) = (
            self.point_dir(id),
            self.points_dir().join(format!("{id}.part")),
        );
        fs::rename(&path, &going).map_err(|error| at(&path, error))?;
        sync(&self.points_dir())?;
        fs::remove_dir_all(&going).map_err(|error| at(&going, error))
    }

    fn names(&self) -> Result<Vec<String>, StoreError> {
        let path = self.points_dir();
        let entries = fs::read_dir(&path).map_err(|error| at(&path, error))?;
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(|error| at(&path, error))?.file_name();
            match name.into_string() {
                Ok(name) => names.push(name),
                Err(_) => return Err(damaged(&path, "a name that is not ours")),
            }
        }
        names.sort();
        Ok(names)
    }
}

fn is_unfinished(name: &str) -> bool {
    name.ends_with(".part")
}

fn make(path: &Path) -> Result<(), StoreError> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|error| at(path, error))
}

/// Makes the names in a folder durable.
pub(crate) fn sync(folder: &Path) -> Result<(), StoreError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| at(folder, error))
}

/// Writes a file that is there whole or not at all, for its owner only.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let written = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&new, path));
    written.map_err(|error| at(path, error))?;
    match path.parent() {
        Some(parent) => sync(parent),
        None => Ok(()),
    }
}
