//! A node of the world: the program's inside on a simulated disk, clock and network; how it starts,
//! stops, and loses its power.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::limits::{Limits, Retention, Sending};
use base::metrics::Metrics;
use base::{Domain, EmailAddress, Secret};
use pennyblack::node::inside::{Inside, Outside};
use pennyblack::settings::{Listen, Settings};
use sim_vfs::{Disk, Mount};
use store::{Database, DiskSpace, NewAccount, SimulatedDisk, Store, StoreError};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock::SimClock;
use crate::dns::Zones;
use crate::ledger::Ledger;
use crate::mutation::Mutation;
use crate::net::{Net, Power};
use crate::plan::{NodePlan, PASSWORD};
use crate::random::Random;
use crate::tls::MarkerTls;
use crate::trace::Trace;

/// The room of a disk, unless a fault takes it.
pub const DISK_BYTES: u64 = 4 << 30;
/// How statements that were changed are counted among the faults.
pub const MISTAKE: &str = "mistake";
/// How long a node that is asked to stop may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// What all nodes of a world share.
#[derive(Clone)]
pub struct Shared {
    /// The network.
    pub net: Net,
    /// The DNS.
    pub zones: Zones,
    /// The log.
    pub trace: Trace,
    /// The books.
    pub ledger: Ledger,
    /// The deliberate mistake.
    pub mutation: Mutation,
    /// Real files: spools (unused by small letters).
    pub folder: PathBuf,
}

/// A node, running or not.
pub struct Node {
    /// Who it is.
    pub plan: NodePlan,
    /// Its disk.
    pub disk: Disk,
    /// Its clock.
    pub clock: SimClock,
    /// Rung when the power fails in the middle of work on the disk.
    pub failed: Arc<Notify>,
    shared: Shared,
    random: Random,
    key_file: PathBuf,
    /// How many milliseconds a flush takes at most; 0 for a disk that is well.
    slow_ms: Arc<AtomicU64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: Option<Running>,
    starts: u64,
}

struct Running {
    inside: Inside,
    power: Power,
    sessions: Sessions,
}

/// The tasks of a node; a panic in one is a violation.
type Sessions = Arc<Mutex<JoinSet<()>>>;

/// The disk as the store sees it.
struct NodeDisk {
    disk: Disk,
    mount: Mount,
    random: Random,
    mutation: Mutation,
    ledger: Ledger,
    slow_ms: Arc<AtomicU64>,
}

impl fmt::Debug for NodeDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.disk.fmt(f)
    }
}

impl SimulatedDisk for NodeDisk {
    fn vfs(&self) -> &str {
        self.mount.name()
    }

    fn space(&self) -> DiskSpace {
        let (used, total_bytes) = self.disk.space();
        DiskSpace {
            free_bytes: total_bytes.saturating_sub(used),
            total_bytes,
        }
    }

    fn flush_time(&self) -> Duration {
        let slow_ms = self.slow_ms.load(Ordering::Relaxed);
        if slow_ms > 0 {
            return self.random.span_ms(slow_ms / 2, slow_ms);
        }
        // A fast disk, and now and then one that is busy.
        match self.random.below(20) {
            0 => self.random.span_ms(20, 400),
            _ => self.random.span_ms(1, 12),
        }
    }

    fn statement<'s>(&self, sql: &'s str) -> Cow<'s, str> {
        let changed = self.mutation.statement(sql);
        if changed != sql {
            self.ledger.fault(MISTAKE);
        }
        changed
    }
}

impl Node {
    /// A node that does not run yet, on a copy of the disk that all worlds begin with.
    #[must_use]
    pub fn new(plan: NodePlan, template: &Template, shared: Shared, random: Random) -> Self {
        let disk = template.disk.copy();
        if shared.mutation == Mutation::FlushLies {
            disk.lie_about_flushes();
        }
        Self {
            clock: SimClock::new(shared.trace.start()),
            disk,
            failed: Arc::default(),
            key_file: template.key_file.clone(),
            plan,
            shared,
            random,
            slow_ms: Arc::default(),
            state: Mutex::default(),
        }
    }

    /// The store of a running node.
    #[must_use]
    pub fn store(&self) -> Option<Store> {
        let state = self.lock();
        state
            .running
            .as_ref()
            .map(|running| running.inside.store().clone())
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.lock().running.is_some()
    }

    /// Starts it, if it does not run.
    ///
    /// # Errors
    /// Those of opening the store; then it does not run.
    pub async fn start(&self) -> Result<(), StoreError> {
        let number = {
            let mut state = self.lock();
            if state.running.is_some() {
                return Ok(());
            }
            state.starts += 1;
            state.starts
        };
        let folder = self
            .shared
            .folder
            .join(&self.plan.name)
            .join(number.to_string());
        let power = Power::default();
        let inside = self.open(&folder, &power).await;
        let (inside, listeners) = match inside {
            Ok(inside) if self.disk.has_power() => inside,
            Ok(_) => return Err(StoreError::Closed),
            Err(error) => {
                self.note(format_args!("does not start: {error}"));
                return Err(error);
            }
        };
        let sessions = Sessions::default();
        lock(&sessions).spawn(inside.queue());
        self.listen(&inside, &listeners, &power, &sessions);
        self.note(format_args!("runs, start {number}"));
        self.lock().running = Some(Running {
            inside,
            power,
            sessions,
        });
        Ok(())
    }

    async fn open(
        &self,
        folder: &Path,
        power: &Power,
    ) -> Result<(Inside, Vec<Listen>), StoreError> {
        let disk = NodeDisk {
            mount: Mount::new(&self.disk),
            disk: self.disk.clone(),
            random: self.random.clone(),
            mutation: self.shared.mutation,
            ledger: self.shared.ledger.clone(),
            slow_ms: Arc::clone(&self.slow_ms),
        };
        let settings = settings(&self.plan, folder, &self.key_file, Arc::new(disk));
        let outside = Outside {
            clock: Arc::new(self.clock.clone()),
            entropy: Arc::new(self.random.clone()),
            tls: Some(Arc::new(MarkerTls)),
            resolver: Arc::new(self.shared.zones.clone()),
            connector: Arc::new(self.shared.net.at(self.plan.ip(), power.clone())),
        };
        let listening = vec![self.plan.smtp()];
        let listeners = settings.listen.clone();
        let settings = Arc::new(settings);
        let inside = Inside::open(settings, outside, Metrics::default(), listening).await?;
        Ok((inside, listeners))
    }

    fn listen(&self, inside: &Inside, listeners: &[Listen], power: &Power, sessions: &Sessions) {
        for listen in listeners {
            let address = listen.address;
            let door = inside.door(*listen);
            let (sessions, ledger, name) = (
                Arc::clone(sessions),
                self.shared.ledger.clone(),
                self.plan.name.clone(),
            );
            let accept = move |stream, peer| {
                let mut sessions = lock(&sessions);
                reap(&mut sessions, &ledger, &name);
                sessions.spawn(door.serve(stream, peer));
            };
            self.shared
                .net
                .listen(address, Arc::new(accept), power.clone());
        }
    }

    /// Lets the power fail after so many more writes and flushes; [`Self::failed`] rings then, and
    /// nothing that it says after that reaches anybody.
    pub fn fail_after(&self, operations: u64, silent: bool) {
        let Some(power) = self
            .lock()
            .running
            .as_ref()
            .map(|running| running.power.clone())
        else {
            return;
        };
        let failed = Arc::clone(&self.failed);
        self.disk.fail_after(operations, move || {
            power.cut(silent);
            failed.notify_one();
        });
    }

    /// Lets each flush of its disk take up to so long; zero ends it.
    pub fn slow_down(&self, flush: Duration) {
        let ms = u64::try_from(flush.as_millis()).unwrap_or(u64::MAX);
        self.slow_ms.store(ms, Ordering::Relaxed);
    }

    /// Takes its power away. What its disk had not flushed is lost in any part.
    pub async fn crash(&self, silent: bool) {
        let Some(running) = self.lock().running.take() else {
            return;
        };
        self.note("fault: the power fails");
        self.shared.ledger.fault("crash");
        self.shared.ledger.stopped(&self.plan.name);
        running.power.cut(silent);
        self.shared.net.silence(self.plan.ip());
        let random = self.random.clone();
        self.disk.cut_power(&mut |below| random.below(below));
        self.end(running).await;
    }

    /// Asks it to stop, as an operator does.
    pub async fn stop(&self) {
        let Some(running) = self.lock().running.take() else {
            return;
        };
        self.note("is asked to stop");
        self.shared.ledger.fault("restart");
        self.shared.net.silence(self.plan.ip());
        running.inside.shutdown().cancel();
        let sessions = std::mem::take(&mut *lock(&running.sessions));
        let ledger = self.shared.ledger.clone();
        let mut sessions = sessions;
        let finished = timeout(STOP_TIMEOUT, async {
            while let Some(ended) = sessions.join_next().await {
                note_panic(ended, &ledger, &self.plan.name);
            }
        });
        if finished.await.is_err() {
            self.note("sessions are cut off");
            self.shared.ledger.stopped(&self.plan.name);
        }
        if let Err(error) = running.inside.store().close().await {
            self.note(format_args!("the store did not close: {error}"));
        }
        running.power.cut(false);
        sessions.shutdown().await;
        drop(running);
        self.note("has stopped");
    }

    async fn end(&self, running: Running) {
        let mut sessions = std::mem::take(&mut *lock(&running.sessions));
        reap(&mut sessions, &self.shared.ledger, &self.plan.name);
        sessions.shutdown().await;
        drop(running);
    }

    /// Tells of tasks that panicked.
    pub fn look_for_panics(&self) {
        if let Some(running) = &self.lock().running {
            reap(
                &mut lock(&running.sessions),
                &self.shared.ledger,
                &self.plan.name,
            );
        }
    }

    fn note(&self, what: impl fmt::Display) {
        self.shared.trace.note(&self.plan.name, what);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reap(sessions: &mut JoinSet<()>, ledger: &Ledger, node: &str) {
    while let Some(ended) = sessions.try_join_next() {
        note_panic(ended, ledger, node);
    }
}

fn note_panic(ended: Result<(), tokio::task::JoinError>, ledger: &Ledger, node: &str) {
    if let Err(error) = ended
        && error.is_panic()
    {
        ledger.violation(format!("{node}: a task panicked: {error}"));
    }
}

/// Settings as an operator writes them, with shorter times: a world lasts an hour, not a week.
fn settings(
    plan: &NodePlan,
    folder: &Path,
    key_file: &Path,
    disk: Arc<dyn SimulatedDisk>,
) -> Settings {
    let text = format!(
        "hostname = \"{}\"\ndata_dir = \"{}\"\ndomains = [{}]\n\
         [store]\nkey_file = \"{}\"\n\
         [queue]\nretry_first = \"20s\"\nretry_max = \"3m\"\nlifetime = \"30m\"\n\
         delay_warning = \"6m\"\nlease = \"60s\"\n\
         [[listen]]\nprotocol = \"smtp\"\naddress = \"{}\"\ntls = \"starttls\"\n\
         [[listen]]\nprotocol = \"submission\"\naddress = \"{}\"\ntls = \"implicit\"\n",
        plan.host,
        folder.display(),
        plan.domains
            .iter()
            .map(|domain| format!("\"{domain}\""))
            .collect::<Vec<_>>()
            .join(","),
        key_file.display(),
        plan.smtp(),
        plan.submission(),
    );
    let parsed = Settings::parse(&text, Path::new("sim.toml"));
    let settings = parsed.unwrap_or_else(|error| panic!("the settings of a node: {error}"));
    Settings {
        database: Database::Simulated(disk),
        blobs: store::BlobHome::Inline,
        limits: Arc::new(Limits {
            // A full disk is met by SQLite itself, not only by the check before DATA.
            free_disk_bytes_min: 0,
            retention: Retention {
                deleted: Duration::ZERO,
                ..Retention::default()
            },
            // Its people send as fast as they can.
            sending: Sending::NONE,
            ..(*settings.limits).clone()
        }),
        ..settings
    }
}

/// A disk with everything that an operator makes before the first letter, for all worlds alike:
/// making passwords costs more than many letters.
#[derive(Clone, Debug)]
pub struct Template {
    disk: Disk,
    key_file: PathBuf,
}

/// Templates of this process, by node and domains.
#[derive(Debug)]
pub struct Templates {
    folder: tempfile::TempDir,
    made: BTreeMap<String, Template>,
}

impl Templates {
    /// None yet.
    ///
    /// # Errors
    /// When no folder can be made for the keys.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            folder: folder()?,
            made: BTreeMap::new(),
        })
    }

    /// The template of a node.
    ///
    /// # Errors
    /// Those of the store.
    pub fn of(&mut self, plan: &NodePlan) -> Result<Template, StoreError> {
        let name = format!("{}-{}-{}", plan.name, plan.domains.join("-"), plan.forward);
        let name = blake3::hash(name.as_bytes()).to_hex()[..16].to_owned();
        if let Some(template) = self.made.get(&name) {
            return Ok(template.clone());
        }
        let folder = self.folder.path().join(&name);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .map_err(|error| StoreError::Io(error.to_string()))?;
        let template = runtime.block_on(make(plan, &folder))?;
        self.made.insert(name, template.clone());
        Ok(template)
    }
}

/// A folder for what a store keeps beside its database (its lock, its key): in memory where the
/// machine has such a place, as each start flushes it.
///
/// # Errors
/// When there is no room for one.
pub fn folder() -> std::io::Result<tempfile::TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}

async fn make(plan: &NodePlan, folder: &Path) -> Result<Template, StoreError> {
    let trace = Trace::new(0);
    let ledger = Ledger::default();
    let random = Random::of(0, &plan.name);
    let shared = Shared {
        net: Net::new(random.clone(), trace.clone(), ledger.clone(), false),
        zones: Zones::new(random.clone()),
        trace,
        ledger,
        mutation: Mutation::None,
        folder: folder.to_owned(),
    };
    let template = Template {
        disk: Disk::new(DISK_BYTES),
        key_file: folder.join("store.key"),
    };
    let node = Node::new(plan.clone(), &template, shared, random);
    node.start().await?;
    let store = node.store().ok_or(StoreError::Closed)?;
    let senders = plan.senders();
    for user in plan.users() {
        let sends = senders.contains(&user);
        let new = NewAccount {
            address: parse(&user),
            name: "A user".to_owned(),
            password: sends.then(|| Secret::new(PASSWORD.as_bytes().to_vec())),
            quota_bytes: None,
            quota_messages: None,
            admin: false,
        };
        store.add_account(new).await?;
    }
    for (alias, target) in plan.aliases() {
        store.add_alias(&parse(&alias), &[parse(&target)]).await?;
    }
    drop(store);
    node.stop().await;
    Ok(Template {
        disk: node.disk.copy(),
        key_file: template.key_file,
    })
}

/// An address of the plan.
///
/// # Panics
/// When it is none: the plan is ours.
#[must_use]
pub fn parse(address: &str) -> EmailAddress {
    EmailAddress::parse(address).unwrap_or_else(|error| panic!("{address}: {error}"))
}

/// A domain of the plan.
///
/// # Panics
/// When it is none: the plan is ours.
#[must_use]
pub fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}
