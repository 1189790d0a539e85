//! Opening and closing: the folder, the node's lock, the schema, the directory, claims left behind.

use std::fs;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use base::limits::Limits;
use base::ports::Entropy;
use nix::fcntl::{Flock, FlockArg};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::aside::Aside;
use crate::auth::Passwords;
use crate::blobs::home::{HomeOptions, Homes};
use crate::confirmed;
use crate::directory::LoadDirectory;
use crate::engine::{Body, Engine, Priority, SqliteOptions, Tx, params};
use crate::ids::IdSource;
use crate::keys::{self, Keyring, open_keys};
use crate::letter::{io, memory_for};
use crate::metrics::StoreMetrics;
use crate::nodes::{self, Entered, Identity, Standing};
use crate::search;
use crate::shared::Shared;
use crate::{
    Database, DiskSpace, SimulatedDisk, Store, StoreError, StoreOptions, Synchronous,
    TextExtractor, Wakeup,
};

/// How long a process that was killed may take to be gone: the system may still be writing for it.
const LOCK_WAIT: Duration = Duration::from_secs(1);
/// How long telling the other nodes that this one stops may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a figure about the disk is taken as true.
const DISK_SPACE_AGE_MAX: Duration = Duration::from_secs(1);

/// What all clones of a store share.
pub(crate) struct Inner {
    pub engine: Engine,
    /// Where blocking work is done.
    pub aside: Aside,
    /// Where the bytes of letters are.
    pub homes: Homes,
    pub shared: Arc<Shared>,
    pub search: search::Index,
    pub extractor: Option<Arc<dyn TextExtractor>>,
    pub passwords: Passwords,
    pub limits: Arc<Limits>,
    pub entropy: Arc<dyn Entropy>,
    /// Held by the backup that is under way.
    pub backing_up: tokio::sync::Mutex<()>,
    /// The keys of the secrets.
    pub keys: Arc<Keyring>,
    pub spool_dir: PathBuf,
    /// Memory for large letters, in KiB.
    pub memory: Arc<Semaphore>,
    data_dir: PathBuf,
    disk: Mutex<Option<(Instant, DiskSpace)>>,
    simulated: Option<Arc<dyn SimulatedDisk>>,
    /// The node's lock until the store is closed, where the engine does not hold it itself.
    held: Mutex<Option<Arc<Flock<fs::File>>>>,
    /// Ends what runs among other nodes.
    running: watch::Sender<bool>,
    /// The node's name with its lock, until what runs among other nodes takes it.
    entered: Mutex<Option<Entered>>,
    /// The lock, for a second store with the same folder.
    lock: Weak<Flock<fs::File>>,
}

impl Store {
    /// Opens (and, where needed, creates or migrates) the store, and takes the node's lock.
    ///
    /// # Errors
    /// When another process holds the folder, the schema is newer than this program, or the disk
    /// refuses.
    pub async fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let wakeup = match &options.database {
            Database::Postgres(postgres) => postgres.wakeup,
            Database::Sqlite { .. } | Database::Simulated(_) => Wakeup::Poll,
        };
        let store = Self::open_idle(options, Lost::Nothing).await?;
        store.refuse_unfinished().await?;
        let separator = store.0.limits.sub_address_separator;
        let directory = store.0.engine.read(LoadDirectory { separator }).await?;
        *store.0.shared.directory_mut() = directory;
        let reclaimed = store
            .0
            .engine
            .write(
                Reclaim {
                    shared: Arc::clone(&store.0.shared),
                },
                Priority::Urgent,
            )
            .await?;
        if reclaimed > 0 {
            tracing::info!(recipients = reclaimed, "took back the work of the last run");
        }
        if let Some(entered) = store.take_entered() {
            nodes::start(&store, entered, wakeup, &store.0.running.subscribe());
        }
        store.start_maintenance();
        store.start_confirming(store.0.running.subscribe());
        search::start(&store);
        Ok(store)
    }

    fn take_entered(&self) -> Option<Entered> {
        let mut entered = self.0.entered.lock();
        entered.as_mut().map_or(None, |entered| entered.take())
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Opens the store for work on it as a whole: nothing runs in the background, and claims stay as
    /// they are.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub async fn open_idle(options: StoreOptions, lost: Lost) -> Result<Self, StoreError> {
        Ok(Self(Arc::new(open(options, lost, None).await?)))
    }

    /// Opens a second store beside this one, also idle; it may have the same folder.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub async fn open_beside(&self, options: StoreOptions) -> Result<Self, StoreError> {
        let same = is_same(&self.0.data_dir, &options.data_dir);
        let lock = if same { self.0.lock.upgrade() } else { None };
        Ok(Self(Arc::new(open(options, Lost::Nothing, lock).await?)))
    }

    /// Finishes what is acknowledged, checkpoints and closes. Later calls answer
    /// [`StoreError::Closed`].
    ///
    /// # Errors
    /// [`StoreError::Bug`] only.
    pub async fn close(&self) -> Result<(), StoreError> {
        confirmed::finish(self).await;
        if self.0.shared.nodes.is_shared() {
            // Without it the others find out by themselves.
            let leaving = tokio::time::timeout(LEAVE_TIMEOUT, nodes::leave(self)).await;
            if !matches!(leaving, Ok(Ok(()) | Err(StoreError::Closed))) {
                tracing::warn!("the other nodes could not be told that this one stops");
            }
        }
        self.0.running.send_replace(true);
        drop(self.take_entered());
        let inner = Arc::clone(&self.0);
        let close = move || {
            inner.search.close();
            inner.homes.close();
            inner.engine.close();
            let lock = inner
                .held
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            drop(lock);
        };
        self.0.aside.run("closing", close).await
    }

    /// Free space of the disk, of the fuller one if letters have a disk of their own; at most one
    /// second old.
    #[must_use]
    pub fn disk_space(&self) -> DiskSpace {
        if let Some(simulated) = &self.0.simulated {
            return simulated.space();
        }
        let mut known = self.0.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, space)) = *known
            && since.elapsed() < DISK_SPACE_AGE_MAX
        {
            return space;
        }
        let space = space_of(&self.0.data_dir);
        let of_letters = self.0.homes.folder().map(space_of);
        let space = match of_letters {
            Some(other) if other.free_bytes < space.free_bytes => other,
            Some(_) | None => space,
        };
        *known = Some((Instant::now(), space));
        space
    }

    /// Whether less than the configured space is free: letters are then refused with 452 while
    /// reading and deleting go on.
    #[must_use]
    pub fn is_disk_low(&self) -> bool {
        let DiskSpace {
            free_bytes,
            total_bytes,
        } = self.disk_space();
        let share = total_bytes / 100 * u64::from(self.0.limits.free_disk_percent_min);
        free_bytes < share.min(self.0.limits.free_disk_bytes_min)
    }

    /// Every statement that has been run so far. For tests that compare statements with the table
    /// classes.
    #[must_use]
    pub fn statements(&self) -> Vec<&'static str> {
        self.0.engine.statements()
    }
}

pub(crate) fn space_of(folder: &Path) -> DiskSpace {
    nix::sys::statvfs::statvfs(folder).map_or(
        // A disk that does not answer is no reason to refuse mail: a write will tell.
        DiskSpace {
            free_bytes: u64::MAX,
            total_bytes: u64::MAX,
        },
        |disk| DiskSpace {
            free_bytes: disk.blocks_available().saturating_mul(disk.fragment_size()),
            total_bytes: disk.blocks().saturating_mul(disk.fragment_size()),
        },
    )
}

/// The folder of a node, locked and cleaned.
struct House {
    data_dir: PathBuf,
    spool_dir: PathBuf,
    lock: Arc<Flock<fs::File>>,
}

/// What an operator has given up, so that a store opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// Nothing.
    Nothing,
    /// The key of the secrets, and with it everything that it sealed.
    Key,
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        // A folder that is not there yet is no other.
        _ => false,
    }
}

async fn open(
    options: StoreOptions,
    lost: Lost,
    held: Option<Arc<Flock<fs::File>>>,
) -> Result<Inner, StoreError> {
    let simulated = match &options.database {
        Database::Simulated(disk) => Some(Arc::clone(disk)),
        Database::Sqlite { .. } | Database::Postgres(_) => None,
    };
    let aside = simulated.as_ref().map_or(Aside::Threads, |_| Aside::Inline);
    let data_dir = options.data_dir.clone();
    let House {
        data_dir,
        spool_dir,
        lock,
    } = blocking(aside, move || enter(data_dir, held)).await?;
    let homes = open_homes(&options, aside, &data_dir).await?;
    let metrics = Arc::new(StoreMetrics::new(&options.metrics));
    let now = options.clock.now();
    let held = Arc::downgrade(&lock);
    let embedded = SqliteOptions {
        path: data_dir.join("mail.db"),
        synchronous: options.synchronous,
        metrics: Arc::clone(&metrics),
        now,
        lock: Arc::clone(&lock) as Arc<dyn Send + Sync>,
        simulated: simulated.clone(),
    };
    let (engine, search) = open_engine(options.database, embedded, &data_dir).await?;
    // The embedded engine's writer holds it to its last commit.
    let lock = matches!(engine, Engine::Postgres(_)).then_some(lock);
    homes.check_folder(&engine).await?;
    homes.greet(&engine).await?;
    let key_file = options
        .key_file
        .unwrap_or_else(|| data_dir.join("store.key"));
    if lost == Lost::Key {
        keys::forget(&engine).await?;
    }
    let keys = open_keys(&engine, key_file, Arc::clone(&options.entropy)).await?;
    let entered = Identity::new(&options.node).enter(&engine, now).await?;
    let (ids, incarnation) = numbers(entered.as_ref(), options.entropy.as_ref());
    let shared = Shared::new(ids, options.clock, metrics, options.node, incarnation);
    if entered.is_some() {
        shared.nodes.set_standing(Standing::Held);
    }
    Ok(Inner {
        engine,
        aside,
        homes,
        shared: Arc::new(shared),
        search,
        extractor: options.extractor,
        passwords: Passwords::new(options.entropy.as_ref(), aside),
        memory: memory_for(&options.limits),
        limits: options.limits,
        entropy: options.entropy,
        backing_up: tokio::sync::Mutex::default(),
        keys,
        spool_dir,
        data_dir,
        disk: Mutex::new(None),
        simulated,
        held: Mutex::new(lock),
        running: watch::Sender::new(false),
        entered: Mutex::new(entered),
        lock: held,
    })
}

/// The engine with its search index.
async fn open_engine(
    database: Database,
    embedded: SqliteOptions,
    data_dir: &Path,
) -> Result<(Engine, search::Index), StoreError> {
    match database {
        Database::Sqlite { path } => {
            let options = SqliteOptions {
                path: path.unwrap_or_else(|| embedded.path.clone()),
                ..embedded
            };
            let folder = data_dir.to_owned();
            let open = move || {
                let engine = Engine::open_sqlite(options)?;
                Ok((engine, search::open_file(&folder, None)?))
            };
            blocking(Aside::Threads, open).await
        }
        // The same names for every folder: the disk is of this store alone.
        Database::Simulated(disk) => {
            let options = SqliteOptions {
                path: "mail.db".into(),
                ..embedded
            };
            let engine = Engine::open_sqlite(options)?;
            Ok((engine, search::open_file(Path::new(""), Some(&disk))?))
        }
        Database::Postgres(postgres) => {
            let engine = Engine::open_postgres(&postgres, embedded.metrics, embedded.now).await?;
            Ok((engine, search::in_database()))
        }
    }
}

async fn open_homes(
    options: &StoreOptions,
    aside: Aside,
    data_dir: &Path,
) -> Result<Homes, StoreError> {
    let (home, data_dir) = (options.blobs.clone(), data_dir.to_owned());
    let is_embedded = !matches!(options.database, Database::Postgres(_));
    let flushes = options.synchronous == Synchronous::Full;
    let entropy = Arc::clone(&options.entropy);
    let open = move || {
        Homes::open(&HomeOptions {
            home: &home,
            data_dir: &data_dir,
            is_embedded,
            flushes,
            entropy,
        })
    };
    blocking(aside, open).await
}

/// Where this start's ids come from, and its incarnation: numbered by the database where nodes
/// share it, else random.
fn numbers(entered: Option<&Entered>, entropy: &dyn Entropy) -> (IdSource, i64) {
    match entered {
        Some(entered) => (IdSource::of_start(entered.incarnation), entered.incarnation),
        None => {
            let source = IdSource::new(entropy.next_u64());
            let incarnation = entropy.next_u64().to_le_bytes();
            (source, i64::from_le_bytes(incarnation))
        }
    }
}

async fn blocking<T: Send + 'static>(
    aside: Aside,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    aside.run("opening", work).await?
}

fn enter(data_dir: PathBuf, held: Option<Arc<Flock<fs::File>>>) -> Result<House, StoreError> {
    make_folder(&data_dir)?;
    let spool_dir = data_dir.join("spool");
    if let Some(lock) = held {
        return Ok(House {
            data_dir,
            spool_dir,
            lock,
        });
    }
    let lock = Arc::new(take_lock(&data_dir)?);
    // Files of a crashed process; open ones have no name.
    match fs::remove_dir_all(&spool_dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    make_folder(&spool_dir)?;
    Ok(House {
        data_dir,
        spool_dir,
        lock,
    })
}

/// Makes a folder that only we may read, and its name durable.
pub(crate) fn make_folder(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt;

    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| at(path, error))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::File::open(parent)
        .and_then(|folder| folder.sync_all())
        .map_err(io)
}

/// An error that an operator can act upon: with the path that it is about.
fn at(path: &Path, error: std::io::Error) -> StoreError {
    match io(error) {
        StoreError::Io(why) => StoreError::Io(format!("{}: {why}", path.display())),
        other => other,
    }
}

/// Takes the lock that says that this folder's node is alive. The system drops it with the process.
fn take_lock(data_dir: &Path) -> Result<Flock<fs::File>, StoreError> {
    let path = data_dir.join("lock");
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| at(&path, error))?;
    let mut attempt = Flock::lock(file, FlockArg::LockExclusiveNonblock);
    let started = Instant::now();
    while let Err((file, _)) = attempt {
        if started.elapsed() > LOCK_WAIT {
            attempt = Err((file, nix::errno::Errno::EWOULDBLOCK));
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
        attempt = Flock::lock(file, FlockArg::LockExclusiveNonblock);
    }
    match attempt {
        Ok(mut lock) => {
            // For people: who holds it.
            lock.set_len(0)
                .and_then(|()| lock.rewind())
                .and_then(|()| writeln!(lock, "{}", std::process::id()))
                .map_err(io)?;
            Ok(lock)
        }
        Err((mut file, _)) => {
            let mut holder = String::new();
            // The holder's number is a courtesy; without it the refusal stands all the same.
            let _ = file.read_to_string(&mut holder);
            Err(StoreError::Locked(format!(
                "the data directory is in use: process {} holds {}",
                holder.trim(),
                path.display()
            )))
        }
    }
}

/// Takes back the claims of this node's earlier runs: it is known to be dead, as we hold its lock.
struct Reclaim {
    shared: Arc<Shared>,
}

impl Body for Reclaim {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        tx.execute(
            "UPDATE recipient SET fence = 0, node = '', incarnation = 0, next_at = $1
             WHERE node = $2 AND fence <> 0",
            params![self.shared.now(), &self.shared.node],
        )
        .await
    }
}
