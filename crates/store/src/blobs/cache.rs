//! The read cache: parts of letters that came from an object store, as files of this machine.
//!
//! It is never the only copy of anything, so nothing here is flushed and every failure only means
//! that a part is not cached. What it gives is checked like what the object store gives. The parts
//! used longest ago go first; after a restart the times of the files say which those are.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use super::objects::ObjectName;
use super::segments::checksum;

/// What the disk gives a file at least: small parts are counted as what they take.
const BLOCK_BYTES: u64 = 4_096;
/// A part never has more: 256 KiB, and compressing does not make it longer.
const PART_BYTES_MAX: u64 = 256 * 1024;
/// Files that are written and have no name yet.
const UNFINISHED: &str = "new";

/// The cache. Cheap to clone; all clones are one cache.
#[derive(Clone)]
pub(crate) struct Cache(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    bytes_max: u64,
    index: Mutex<Index>,
}

/// What is in the folder, by key and by last use.
#[derive(Default)]
struct Index {
    entries: BTreeMap<Key, Entry>,
    by_use: BTreeMap<u64, Key>,
    bytes: u64,
    uses: u64,
}

struct Entry {
    /// As the disk counts.
    bytes: u64,
    used: u64,
}

/// Names a part of an object: 128 bits of a hash over both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u128);

impl Cache {
    /// Opens the cache in a folder of its own, which is made if it is not there; what is in it from
    /// earlier counts. `bytes_max` bounds what its files take of the disk.
    ///
    /// # Errors
    /// Those of the folder. Blocks: it reads the names of all files.
    pub(crate) fn open(folder: PathBuf, bytes_max: u64) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let unfinished = folder.join(UNFINISHED);
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        fs::create_dir(&unfinished)?;
        let mut found = Vec::new();
        for folder in subfolders(&folder)? {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let meta = entry.metadata()?;
                let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                match Key::parse(&entry.file_name().to_string_lossy()) {
                    Some(key) => found.push((used, key, meta.len())),
                    // Not ours, or of another time.
                    None => fs::remove_file(entry.path())?,
                }
            }
        }
        found.sort_unstable();
        let mut index = Index::default();
        for (_, key, length) in found {
            index.insert(key, length);
        }
        let cache = Self(Arc::new(Inner {
            folder,
            bytes_max,
            index: Mutex::new(index),
        }));
        cache.shrink();
        Ok(cache)
    }

    /// Reads a part, if it is here and is what it must be.
    pub(crate) async fn get(&self, name: ObjectName, place: u64, sum: i64) -> Option<Bytes> {
        let key = Key::of(&name, place);
        if !self.lock().touch(key) {
            return None;
        }
        let cache = self.clone();
        let reading = tokio::task::spawn_blocking(move || cache.read(key, sum));
        reading.await.ok()?
    }

    /// Keeps a part. Its bytes must be those that were written.
    pub(crate) async fn put(&self, name: ObjectName, place: u64, bytes: Bytes) {
        let key = Key::of(&name, place);
        let length = bytes.len() as u64;
        if on_disk(length) > self.0.bytes_max || length > PART_BYTES_MAX || self.lock().touch(key) {
            return;
        }
        let cache = self.clone();
        let writing = tokio::task::spawn_blocking(move || {
            match cache.write(key, &bytes) {
                Ok(()) => cache.lock().insert(key, length),
                Err(error) => tracing::debug!(%error, "a part is not cached"),
            }
            cache.shrink();
        });
        // It cannot be cancelled, and a panic in it has been reported.
        let _ = writing.await;
    }

    /// Bytes that the files take of the disk.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    fn read(&self, key: Key, sum: i64) -> Option<Bytes> {
        let path = self.0.path(key);
        let read = || {
            let file = File::open(&path)?;
            let mut bytes = Vec::new();
            (&file).take(PART_BYTES_MAX + 1).read_to_end(&mut bytes)?;
            // So that a restart knows it as used; without this it would only go earlier.
            let _ = file.set_modified(SystemTime::now());
            Ok::<_, io::Error>(bytes)
        };
        match read() {
            Ok(bytes) if checksum(&bytes) == sum => return Some(bytes.into()),
            Ok(_) => tracing::warn!(file = %path.display(), "a damaged file in the cache; it goes"),
            Err(error) => tracing::debug!(%error, "a part is no longer cached"),
        }
        self.lock().remove(key);
        let _ = fs::remove_file(path);
        None
    }

    fn write(&self, key: Key, bytes: &[u8]) -> io::Result<()> {
        let path = self.0.path(key);
        let unfinished = self.0.folder.join(UNFINISHED).join(key.to_string());
        if let Some(folder) = path.parent() {
            match fs::create_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let done = fs::write(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, &path));
        if done.is_err() {
            // The disk may be full: what was begun must not stay.
            let _ = fs::remove_file(&unfinished);
        }
        done
    }

    /// Removes what was used longest ago, until the rest fits.
    fn shrink(&self) {
        let mut gone = Vec::new();
        {
            let mut index = self.lock();
            while index.bytes > self.0.bytes_max {
                let Some((_, key)) = index.by_use.first_key_value() else {
                    break;
                };
                let key = *key;
                index.remove(key);
                gone.push(key);
            }
        }
        for key in gone {
            let _ = fs::remove_file(self.0.path(key));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn path(&self, key: Key) -> PathBuf {
        let name = key.to_string();
        self.folder.join(&name[..2]).join(name)
    }
}

impl Index {
    fn insert(&mut self, key: Key, length: u64) {
        self.remove(key);
        let bytes = on_disk(length);
        self.uses += 1;
        self.bytes += bytes;
        self.by_use.insert(self.uses, key);
        let used = self.uses;
        self.entries.insert(key, Entry { bytes, used });
    }

    fn remove(&mut self, key: Key) {
        if let Some(entry) = self.entries.remove(&key) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }

    /// Notes a use; `false` if there is no such part.
    fn touch(&mut self, key: Key) -> bool {
        let Some(entry) = self.entries.get_mut(&key) else {
            return false;
        };
        self.uses += 1;
        self.by_use.remove(&entry.used);
        entry.used = self.uses;
        self.by_use.insert(self.uses, key);
        true
    }
}

impl Key {
    fn of(name: &ObjectName, place: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&name.hash);
        hasher.update(&name.blob_id.to_le_bytes());
        hasher.update(&name.generation.to_le_bytes());
        hasher.update(&place.to_le_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(u128::from_be_bytes(key))
    }

    fn parse(text: &str) -> Option<Self> {
        let key = Self(u128::from_str_radix(text, 16).ok()?);
        (key.to_string() == text).then_some(key)
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The folders of two digits.
fn subfolders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().len() == 2 && entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

fn on_disk(length: u64) -> u64 {
    length.div_ceil(BLOCK_BYTES).max(1) * BLOCK_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS_4: u64 = 4 * BLOCK_BYTES;

    fn name(number: i64) -> ObjectName {
        ObjectName {
            hash: *blake3::hash(&number.to_le_bytes()).as_bytes(),
            blob_id: number,
            generation: 0,
        }
    }

    fn part(number: i64) -> Bytes {
        Bytes::from(format!("part {number}"))
    }

    async fn put(cache: &Cache, number: i64) {
        cache.put(name(number), 7, part(number)).await;
    }

    async fn has(cache: &Cache, number: i64) -> bool {
        let sum = checksum(&part(number));
        let found = cache.get(name(number), 7, sum).await;
        assert!(found.is_none() || found == Some(part(number)));
        found.is_some()
    }

    /// The files of the cache with their folders.
    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = subfolders(folder)
            .unwrap()
            .iter()
            .flat_map(|folder| fs::read_dir(folder).unwrap())
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files
    }

    #[tokio::test]
    async fn the_longest_unused_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("cache"), BLOCKS_4).unwrap();
        for number in 0..4 {
            put(&cache, number).await;
        }
        assert!(has(&cache, 0).await);
        put(&cache, 4).await;
        assert!(!has(&cache, 1).await);
        assert!(has(&cache, 0).await && has(&cache, 4).await);
        assert_eq!(cache.bytes(), BLOCKS_4);
        assert_eq!(files(&dir.path().join("cache")).len(), 4);
        // Another part of the same object, and another upload of the same letter, are not it.
        let sum = checksum(&part(0));
        assert_eq!(cache.get(name(0), 8, sum).await, None);
        let other = ObjectName {
            blob_id: 9,
            ..name(0)
        };
        assert_eq!(cache.get(other, 7, sum).await, None);
    }

    #[tokio::test]
    async fn a_restart_keeps_what_was_used_last() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("cache");
        let cache = Cache::open(folder.clone(), BLOCKS_4).unwrap();
        for number in 0..4 {
            put(&cache, number).await;
            // The clock of some file systems ticks every 4 ms only.
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert!(has(&cache, 0).await);
        drop(cache);
        // A crash leaves a file without a name; somebody leaves another.
        fs::write(folder.join(UNFINISHED).join("half"), "h").unwrap();
        let some = files(&folder)[0].parent().unwrap().to_owned();
        fs::write(some.join("notes"), "n").unwrap();
        let cache = Cache::open(folder.clone(), 2 * BLOCK_BYTES).unwrap();
        assert!(has(&cache, 0).await && has(&cache, 3).await);
        assert!(!has(&cache, 1).await && !has(&cache, 2).await);
        assert_eq!(files(&folder).len(), 2);
        assert_eq!(fs::read_dir(folder.join(UNFINISHED)).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn damage_is_a_miss() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("cache");
        let cache = Cache::open(folder.clone(), BLOCKS_4).unwrap();
        put(&cache, 1).await;
        fs::write(&files(&folder)[0], "part 2").unwrap();
        assert!(!has(&cache, 1).await);
        assert_eq!((files(&folder).len(), cache.bytes()), (0, 0));
        put(&cache, 1).await;
        fs::remove_file(&files(&folder)[0]).unwrap();
        assert!(!has(&cache, 1).await);
        put(&cache, 1).await;
        assert!(has(&cache, 1).await);
    }

    #[tokio::test]
    async fn a_disk_that_refuses_only_means_no_caching() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("cache");
        let cache = Cache::open(folder.clone(), BLOCKS_4).unwrap();
        // Nothing can be written below a file.
        fs::remove_dir(folder.join(UNFINISHED)).unwrap();
        fs::write(folder.join(UNFINISHED), "").unwrap();
        put(&cache, 1).await;
        assert!(!has(&cache, 1).await);
        assert_eq!(cache.bytes(), 0);
        let none = Cache::open(dir.path().join("none"), 0).unwrap();
        put(&none, 1).await;
        assert!(!has(&none, 1).await);
    }
}
