//! The disk: files by name, room, power.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::file::File;
use crate::locks::{FileLocks, Shared};

/// Why the disk does not do it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The power failed after this mount was made.
    Dead,
    /// No room.
    Full,
    /// No such file.
    Missing,
}

/// A disk. Cheap to clone; clones are the same disk.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<State>>);

/// The same without keeping it.
#[derive(Clone)]
pub(crate) struct WeakDisk(Weak<Mutex<State>>);

pub(crate) struct State {
    files: BTreeMap<String, File>,
    /// Removed, but not in the folder on the disk.
    removed: BTreeMap<String, File>,
    capacity_bytes: u64,
    used_bytes: u64,
    /// Changes and flushes so far.
    operations: u64,
    /// The operation after which the power fails.
    last_operation: Option<u64>,
    lies: bool,
    has_power: bool,
    /// The mount that may use it.
    mount: u64,
    temporary: u64,
    random: u64,
    /// Of the mount, by file.
    pub(crate) locks: BTreeMap<String, FileLocks>,
    pub(crate) shared: BTreeMap<String, Shared>,
    /// Shared memory of dead mounts, to which their connections still point.
    buried: Vec<Shared>,
    /// Told when the power fails by [`Disk::fail_after`].
    on_failure: Option<Box<dyn Fn() + Send>>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        write!(
            f,
            "Disk({} of {} bytes)",
            state.used_bytes, state.capacity_bytes
        )
    }
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new(capacity_bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            files: BTreeMap::new(),
            removed: BTreeMap::new(),
            capacity_bytes,
            used_bytes: 0,
            operations: 0,
            last_operation: None,
            lies: false,
            has_power: false,
            mount: 0,
            temporary: 0,
            random: 0,
            locks: BTreeMap::new(),
            shared: BTreeMap::new(),
            buried: Vec::new(),
            on_failure: None,
        })))
    }

    /// A disk of its own with the same files, all of them flushed.
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = Self::new(0);
        let (from, mut to) = (self.lock(), copy.lock());
        to.capacity_bytes = from.capacity_bytes;
        to.files.clone_from(&from.files);
        for file in to.files.values_mut() {
            file.flush();
        }
        to.count();
        drop(to);
        copy
    }

    /// Bytes used and bytes in all.
    #[must_use]
    pub fn space(&self) -> (u64, u64) {
        let state = self.lock();
        (state.used_bytes, state.capacity_bytes)
    }

    /// Makes it larger or smaller; what is there stays.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().capacity_bytes = bytes;
    }

    /// From now on flushes do nothing but say that they did: a deliberate mistake.
    pub fn lie_about_flushes(&self) {
        self.lock().lies = true;
    }

    /// Lets the power fail after so many more changes and flushes, and tells then.
    pub fn fail_after(&self, operations: u64, tell: impl Fn() + Send + 'static) {
        let mut state = self.lock();
        state.last_operation = Some(state.operations + operations);
        state.on_failure = Some(Box::new(tell));
    }

    /// Takes [`Self::fail_after`] back; whether it still has power.
    #[must_use]
    pub fn keep_power(&self) -> bool {
        let mut state = self.lock();
        state.last_operation = None;
        state.on_failure = None;
        state.has_power
    }

    /// Whether it has power.
    #[must_use]
    pub fn has_power(&self) -> bool {
        self.lock().has_power
    }

    /// Changes and flushes so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Takes the power away: what was flushed stays, and any part of the rest. `random(n)` gives a
    /// number below `n`.
    pub fn cut_power(&self, random: &mut dyn FnMut(u64) -> u64) {
        let mut state = self.lock();
        state.has_power = false;
        state.last_operation = None;
        state.on_failure = None;
        let files = std::mem::take(&mut state.files);
        for (name, file) in files {
            if !name.starts_with(TEMPORARY)
                && let Some(left) = file.after_power_cut(random)
            {
                state.files.insert(name, left);
            }
        }
        let removed = std::mem::take(&mut state.removed);
        for (name, file) in removed {
            if random(2) == 0
                && !state.files.contains_key(&name)
                && let Some(left) = file.after_power_cut(random)
            {
                state.files.insert(name, left);
            }
        }
        state.count();
    }

    /// Gives power, for a new mount: its number.
    pub(crate) fn power_on(&self) -> u64 {
        let mut state = self.lock();
        state.has_power = true;
        state.mount += 1;
        state.locks.clear();
        let shared = std::mem::take(&mut state.shared);
        state.buried.extend(shared.into_values());
        state.mount
    }

    pub(crate) fn downgrade(&self) -> WeakDisk {
        WeakDisk(Arc::downgrade(&self.0))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WeakDisk {
    pub(crate) fn upgrade(&self) -> Option<Disk> {
        self.0.upgrade().map(Disk)
    }
}

/// How names of files begin that SQLite gives none.
pub(crate) const TEMPORARY: &str = "temporary-";

impl State {
    /// Whether a mount may still use the disk.
    pub(crate) fn is_live(&self, mount: u64) -> bool {
        self.has_power && self.mount == mount
    }

    fn live(&self, mount: u64) -> Result<(), Fault> {
        if self.is_live(mount) {
            Ok(())
        } else {
            Err(Fault::Dead)
        }
    }

    fn count(&mut self) {
        self.used_bytes = self
            .files
            .values()
            .map(|file| file.bytes().len() as u64)
            .sum();
    }

    /// An operation is done; the power may fail behind it.
    fn done(&mut self) {
        self.operations += 1;
        if self
            .last_operation
            .is_some_and(|last| self.operations >= last)
        {
            self.has_power = false;
            self.last_operation = None;
            if let Some(tell) = self.on_failure.take() {
                tell();
            }
        }
    }

    pub(crate) fn temporary_name(&mut self) -> String {
        self.temporary += 1;
        format!("{TEMPORARY}{}", self.temporary)
    }

    pub(crate) fn open(&mut self, mount: u64, name: &str, create: bool) -> Result<(), Fault> {
        self.live(mount)?;
        if self.files.contains_key(name) {
            return Ok(());
        }
        if !create {
            return Err(Fault::Missing);
        }
        self.files.insert(name.to_owned(), File::default());
        Ok(())
    }

    pub(crate) fn exists(&self, mount: u64, name: &str) -> Result<bool, Fault> {
        self.live(mount)?;
        Ok(self.files.contains_key(name))
    }

    pub(crate) fn bytes(&self, mount: u64, name: &str) -> Result<&[u8], Fault> {
        self.live(mount)?;
        self.files.get(name).map(File::bytes).ok_or(Fault::Missing)
    }

    fn file(&mut self, mount: u64, name: &str) -> Result<&mut File, Fault> {
        self.live(mount)?;
        self.files.get_mut(name).ok_or(Fault::Missing)
    }

    pub(crate) fn write(
        &mut self,
        mount: u64,
        name: &str,
        at: usize,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        let growth = self.file(mount, name)?.growth(at, bytes.len());
        if growth > 0 && self.used_bytes + growth > self.capacity_bytes {
            return Err(Fault::Full);
        }
        self.file(mount, name)?.write(at, bytes);
        self.used_bytes += growth;
        self.done();
        Ok(())
    }

    pub(crate) fn truncate(&mut self, mount: u64, name: &str, length: usize) -> Result<(), Fault> {
        self.file(mount, name)?.truncate(length);
        self.count();
        self.done();
        Ok(())
    }

    pub(crate) fn flush(&mut self, mount: u64, name: &str) -> Result<(), Fault> {
        let lies = self.lies;
        let file = self.file(mount, name)?;
        if !lies && file.flush() {
            // SQLite flushes the folder with the first flush of a new file, and so what was removed
            // from it.
            self.removed.clear();
        }
        self.done();
        Ok(())
    }

    /// Removes a file; with `flush` it is gone for sure.
    pub(crate) fn remove(&mut self, mount: u64, name: &str, flush: bool) -> Result<(), Fault> {
        self.live(mount)?;
        let file = self.files.remove(name).ok_or(Fault::Missing)?;
        if !flush {
            self.removed.insert(name.to_owned(), file);
        }
        self.count();
        self.done();
        Ok(())
    }

    /// Random bytes for SQLite, the same in every run.
    pub(crate) fn random(&mut self) -> u64 {
        // The finishing steps of SplitMix64 on a counter.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
