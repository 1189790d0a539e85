//! The disk as a file system of SQLite: the functions of its C interface (`sqlite3_vfs`,
//! `sqlite3_io_methods`, <https://sqlite.org/vfs.html>), each of which hands over to [`Disk`].

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::ffi;

use crate::disk::{Disk, Fault, WeakDisk};
use crate::locks::{self, Held, SHARED_LOCKS};

/// A disk that has power, known to SQLite under a name until this is dropped. Connections may
/// outlive it.
#[derive(Debug)]
pub struct Mount {
    name: String,
    vfs: *mut ffi::sqlite3_vfs,
}

// SAFETY: the pointer is only used to register and unregister, which SQLite does under a lock.
unsafe impl Send for Mount {}
// SAFETY: as above; no method changes what it points to.
unsafe impl Sync for Mount {}

/// What a registered file system points to. It is never freed, as connections may use it as long as
/// they live: some hundred bytes for each start of a node.
struct App {
    disk: WeakDisk,
    mount: u64,
}

/// An open file. SQLite allocates it, and knows only the first field.
#[repr(C)]
struct OpenFile {
    base: ffi::sqlite3_file,
    handle: *mut Handle,
}

struct Handle {
    disk: Disk,
    mount: u64,
    name: String,
    level: c_int,
    held: Held,
    /// Whether it uses the shared memory of the file.
    maps: bool,
    is_temporary: bool,
}

/// Names differ in a process; they are never seen by what is simulated.
static NEXT_NAME: AtomicU64 = AtomicU64::new(1);

/// SQLite's own file system for Unix says the same: a write does not harm its neighbours.
const CHARACTERISTICS: c_int = ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE;
const SECTOR_BYTES: c_int = 4_096;
const NAME_BYTES_MAX: c_int = 256;
/// 2026-01-01 in milliseconds of the Julian day; no statement of ours asks.
const NOW_JULIAN_MS: i64 = 212_634_244_800_000;

impl Mount {
    /// Gives the disk power and registers it. Files of earlier mounts answer errors from now on.
    ///
    /// # Panics
    /// When SQLite refuses the registration, which it does only without memory.
    #[must_use]
    pub fn new(disk: &Disk) -> Self {
        let name = format!("sim-{}", NEXT_NAME.fetch_add(1, Ordering::Relaxed));
        let app = Box::new(App {
            disk: disk.downgrade(),
            mount: disk.power_on(),
        });
        let c_name = CString::new(name.as_str()).unwrap_or_default();
        let vfs = Box::into_raw(Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: size_of::<OpenFile>() as c_int,
            mxPathname: NAME_BYTES_MAX,
            pNext: ptr::null_mut(),
            zName: c_name.into_raw(),
            pAppData: Box::into_raw(app).cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(last_error),
            xCurrentTimeInt64: Some(current_time_int64),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        // SAFETY: the structure is complete and never freed.
        let code = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
        assert_eq!(code, ffi::SQLITE_OK, "a file system is registered");
        Self { name, vfs }
    }

    /// The name that SQLite knows it by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // SAFETY: it was registered by `new`, and open connections keep a pointer to memory that
        // stays.
        unsafe { ffi::sqlite3_vfs_unregister(self.vfs) };
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// The error that SQLite is told.
fn code(fault: Fault, dead: c_int) -> c_int {
    match fault {
        Fault::Dead | Fault::Missing => dead,
        Fault::Full => ffi::SQLITE_FULL,
    }
}

fn answer(done: Result<(), Fault>, dead: c_int) -> c_int {
    done.map_or_else(|fault| code(fault, dead), |()| ffi::SQLITE_OK)
}

/// The disk and the mount of a file system; `None` if the disk is gone.
///
/// # Safety
/// `vfs` is one that [`Mount::new`] made.
unsafe fn app(vfs: *mut ffi::sqlite3_vfs) -> Option<(Disk, u64)> {
    // SAFETY: by the condition; what it points to is never freed.
    let app = unsafe { &*(*vfs).pAppData.cast::<App>() };
    Some((app.disk.upgrade()?, app.mount))
}

/// A name as SQLite gives it.
///
/// # Safety
/// `name` ends with a zero byte.
unsafe fn text(name: *const c_char) -> String {
    // SAFETY: by the condition.
    unsafe { CStr::from_ptr(name) }
        .to_string_lossy()
        .into_owned()
}

/// An open file.
///
/// # Safety
/// `file` was opened by [`open`] with success and is not closed; SQLite uses a file from one thread
/// at a time.
unsafe fn handle<'f>(file: *mut ffi::sqlite3_file) -> &'f mut Handle {
    // SAFETY: by the condition, `open` has put a handle there, which `close` frees.
    unsafe { &mut *(*file.cast::<OpenFile>()).handle }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives `szOsFile` bytes; without methods it does not call `close`.
    unsafe { (*file).pMethods = ptr::null() };
    // SAFETY: SQLite calls it with our file system.
    let Some((disk, mount)) = (unsafe { app(vfs) }) else {
        return ffi::SQLITE_CANTOPEN;
    };
    let name = if name.is_null() {
        disk.lock().temporary_name()
    } else {
        // SAFETY: names of SQLite end with zero.
        unsafe { text(name) }
    };
    let create = flags & ffi::SQLITE_OPEN_CREATE != 0;
    if disk.lock().open(mount, &name, create).is_err() {
        return ffi::SQLITE_CANTOPEN;
    }
    let handle = Box::into_raw(Box::new(Handle {
        disk,
        mount,
        name,
        level: locks::NONE,
        held: Held::default(),
        maps: false,
        is_temporary: flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0,
    }));
    // SAFETY: the memory is ours to fill, and large enough for an `OpenFile`.
    unsafe {
        (*file.cast::<OpenFile>()).handle = handle;
        (*file).pMethods = &raw const METHODS;
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_folder: c_int,
) -> c_int {
    // SAFETY: our file system, and a name that ends with zero.
    let (app, name) = unsafe { (app(vfs), text(name)) };
    let Some((disk, mount)) = app else {
        return ffi::SQLITE_IOERR_DELETE;
    };
    match disk.lock().remove(mount, &name, sync_folder != 0) {
        Err(Fault::Missing) => ffi::SQLITE_IOERR_DELETE_NOENT,
        done => answer(done, ffi::SQLITE_IOERR_DELETE),
    }
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    _flags: c_int,
    found: *mut c_int,
) -> c_int {
    // SAFETY: our file system, and a name that ends with zero.
    let (app, name) = unsafe { (app(vfs), text(name)) };
    let exists = app.map(|(disk, mount)| disk.lock().exists(mount, &name));
    let Some(Ok(exists)) = exists else {
        return ffi::SQLITE_IOERR_ACCESS;
    };
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *found = c_int::from(exists) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: a name that ends with zero.
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if bytes.len() > usize::try_from(room).unwrap_or(0) {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: `out` has `room` bytes, which are enough.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(
    vfs: *mut ffi::sqlite3_vfs,
    count: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: our file system.
    let app = unsafe { app(vfs) };
    // SAFETY: `out` has `count` bytes.
    let out =
        unsafe { slice::from_raw_parts_mut(out.cast::<u8>(), usize::try_from(count).unwrap_or(0)) };
    for piece in out.chunks_mut(8) {
        let random = app.as_ref().map_or(0, |(disk, _)| disk.lock().random());
        piece.copy_from_slice(&random.to_le_bytes()[..piece.len()]);
    }
    count
}

/// Nobody else runs while one waits: waiting would change nothing.
unsafe extern "C" fn sleep(_vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    microseconds
}

unsafe extern "C" fn current_time(_vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *out = NOW_JULIAN_MS as f64 / 86_400_000.0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time_int64(_vfs: *mut ffi::sqlite3_vfs, out: *mut i64) -> c_int {
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *out = NOW_JULIAN_MS };
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(
    _vfs: *mut ffi::sqlite3_vfs,
    _room: c_int,
    _out: *mut c_char,
) -> c_int {
    0
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes an open file once.
    let mut handle = unsafe { Box::from_raw((*file.cast::<OpenFile>()).handle) };
    handle.unmap();
    let level = handle.level;
    handle.lower(level, locks::NONE);
    if handle.is_temporary {
        // A temporary file of a dead mount is gone already.
        let _ = handle.disk.lock().remove(handle.mount, &handle.name, true);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    out: *mut c_void,
    count: c_int,
    at: i64,
) -> c_int {
    // SAFETY: an open file.
    let handle = unsafe { handle(file) };
    // SAFETY: `out` has `count` bytes.
    let out =
        unsafe { slice::from_raw_parts_mut(out.cast::<u8>(), usize::try_from(count).unwrap_or(0)) };
    let state = handle.disk.lock();
    let Ok(bytes) = state.bytes(handle.mount, &handle.name) else {
        return ffi::SQLITE_IOERR_READ;
    };
    let at = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    let found = &bytes[at..bytes.len().min(at + out.len())];
    out[..found.len()].copy_from_slice(found);
    if found.len() == out.len() {
        return ffi::SQLITE_OK;
    }
    out[found.len()..].fill(0);
    ffi::SQLITE_IOERR_SHORT_READ
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    count: c_int,
    at: i64,
) -> c_int {
    // SAFETY: an open file.
    let handle = unsafe { handle(file) };
    // SAFETY: `bytes` has `count` bytes.
    let bytes =
        unsafe { slice::from_raw_parts(bytes.cast::<u8>(), usize::try_from(count).unwrap_or(0)) };
    let at = usize::try_from(at).unwrap_or(0);
    let done = handle
        .disk
        .lock()
        .write(handle.mount, &handle.name, at, bytes);
    answer(done, ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: i64) -> c_int {
    // SAFETY: an open file.
    let handle = unsafe { handle(file) };
    let length = usize::try_from(length).unwrap_or(0);
    let done = handle
        .disk
        .lock()
        .truncate(handle.mount, &handle.name, length);
    answer(done, ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: an open file.
    let handle = unsafe { handle(file) };
    let done = handle.disk.lock().flush(handle.mount, &handle.name);
    answer(done, ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: an open file.
    let handle = unsafe { handle(file) };
    let state = handle.disk.lock();
    let Ok(bytes) = state.bytes(handle.mount, &handle.name) else {
        return ffi::SQLITE_IOERR_FSTAT;
    };
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *out = i64::try_from(bytes.len()).unwrap_or(i64::MAX) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: an open file.
    let handle = unsafe { handle(file) };
    let mut state = handle.disk.lock();
    if !state.is_live(handle.mount) {
        return ffi::SQLITE_IOERR_LOCK;
    }
    let locks = state.locks.entry(handle.name.clone()).or_default();
    handle.level = locks.raise(handle.level, level);
    if handle.level >= level {
        ffi::SQLITE_OK
    } else {
        ffi::SQLITE_BUSY
    }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: an open file.
    let handle = unsafe { handle(file) };
    let from = handle.level;
    handle.lower(from, level);
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: an open file.
    let handle = unsafe { handle(file) };
    let state = handle.disk.lock();
    let reserved = state
        .locks
        .get(&handle.name)
        .is_some_and(locks::FileLocks::is_reserved);
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *out = c_int::from(reserved) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(
    _file: *mut ffi::sqlite3_file,
    _operation: c_int,
    _argument: *mut c_void,
) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_BYTES
}

unsafe extern "C" fn device_characteristics(_file: *mut ffi::sqlite3_file) -> c_int {
    CHARACTERISTICS
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: an open file.
    let handle = unsafe { handle(file) };
    let disk = handle.disk.clone();
    let mut state = disk.lock();
    if !state.is_live(handle.mount) {
        return ffi::SQLITE_IOERR_SHMMAP;
    }
    let shared = state.shared.entry(handle.name.clone()).or_default();
    if !handle.maps {
        handle.maps = true;
        shared.users += 1;
    }
    let (region, bytes) = (
        usize::try_from(region).unwrap_or(0),
        usize::try_from(bytes).unwrap_or(0),
    );
    while extend != 0 && shared.regions.len() <= region {
        shared
            .regions
            .push(vec![0; bytes.div_ceil(8)].into_boxed_slice());
    }
    let place = shared.regions.get_mut(region);
    // SAFETY: SQLite gives a place for the answer. The region stays where it is until the last
    // user has unmapped it; one of a dead mount stays as long as the disk, which each handle holds.
    unsafe { *out = place.map_or(ptr::null_mut(), |place| place.as_mut_ptr().cast()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: an open file.
    let handle = unsafe { handle(file) };
    let disk = handle.disk.clone();
    let mut state = disk.lock();
    if !state.is_live(handle.mount) {
        return ffi::SQLITE_IOERR_SHMLOCK;
    }
    let shared = state.shared.entry(handle.name.clone()).or_default();
    let first = usize::try_from(offset).unwrap_or(0);
    let range = first..(first + usize::try_from(count).unwrap_or(0)).min(SHARED_LOCKS);
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        shared.give(&mut handle.held, range);
        return ffi::SQLITE_OK;
    }
    if shared.take(
        &mut handle.held,
        range,
        flags & ffi::SQLITE_SHM_EXCLUSIVE != 0,
    ) {
        ffi::SQLITE_OK
    } else {
        ffi::SQLITE_BUSY
    }
}

unsafe extern "C" fn shm_barrier(_file: *mut ffi::sqlite3_file) {
    std::sync::atomic::fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _remove: c_int) -> c_int {
    // SAFETY: an open file.
    unsafe { handle(file) }.unmap();
    ffi::SQLITE_OK
}

impl Handle {
    fn lower(&mut self, from: c_int, to: c_int) {
        let mut state = self.disk.lock();
        if state.is_live(self.mount)
            && let Some(locks) = state.locks.get_mut(&self.name)
        {
            locks.lower(from, to);
        }
        self.level = self.level.min(to);
    }

    fn unmap(&mut self) {
        if !std::mem::take(&mut self.maps) {
            return;
        }
        let mut state = self.disk.lock();
        if !state.is_live(self.mount) {
            return;
        }
        let Some(shared) = state.shared.get_mut(&self.name) else {
            return;
        };
        shared.give(&mut self.held, 0..SHARED_LOCKS);
        shared.users -= 1;
        if shared.users == 0 {
            state.shared.remove(&self.name);
        }
    }
}
