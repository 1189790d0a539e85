//! A run: a world is made from a seed, people send, faults come and go, the world calms down, and
//! the books are closed.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use store::{QueueFilter, StoreError, VerifyOptions};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::dns::Zones;
use crate::ledger::{Books, Ledger};
use crate::mailboxes::Watcher;
use crate::mutation::Mutation;
use crate::net::{Net, Power};
use crate::node::{Node, Shared, Template, Templates, folder};
use crate::options::Options;
use crate::outside::{Mood, Outside};
use crate::people::People;
use crate::plan::{self, OUTSIDE, Plan};
use crate::random::Random;
use crate::trace::Trace;
use crate::weather::Sky;

/// How often mailboxes are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(120);
/// How often it is asked whether all queues are empty.
const DRAIN_EVERY: Duration = Duration::from_secs(20);
/// By then all queues must be empty: the lifetime of a letter and that of its report, and the last
/// attempts of both.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(4_800);
/// Lines of a trace that are kept when the whole is not asked for.
const LINES_MAX: usize = 200_000;

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it was made from.
    pub options: Options,
    /// The books.
    pub books: Books,
    /// How long it took by the clock of the world.
    pub virtual_time: Duration,
    /// Events, and a hash of them all.
    pub digest: (u64, String),
    /// The last events.
    pub trace: String,
}

impl Report {
    /// Whether nothing happened that must not.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.books.violations.is_empty()
    }
}

/// Runs a world to its end. The same options give the same report.
///
/// # Errors
/// When the world cannot be made: its temporary folder, its runtime, its empty stores.
pub fn run(options: &Options, templates: &mut Templates) -> Result<Report, StoreError> {
    let plan = Arc::new(Plan::new(
        options.nodes,
        options.domains.unwrap_or(options.nodes),
    ));
    let made: Result<Vec<Template>, StoreError> =
        plan.nodes.iter().map(|node| templates.of(node)).collect();
    let made = made?;
    let io = |error: std::io::Error| StoreError::Io(error.to_string());
    let folder = folder().map_err(io)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(io)?;
    Ok(runtime.block_on(async {
        let world = World::new(options, plan, &made, folder.path());
        world.run().await
    }))
}

struct World {
    options: Options,
    plan: Arc<Plan>,
    sky: Sky,
    watcher: Arc<tokio::sync::Mutex<Watcher>>,
    /// What belongs to no node: sessions of the server outside.
    tasks: Arc<Mutex<JoinSet<()>>>,
}

impl World {
    fn new(
        options: &Options,
        plan: Arc<Plan>,
        templates: &[Template],
        folder: &std::path::Path,
    ) -> Self {
        let random = |part: &str| Random::of(options.seed, part);
        let (trace, ledger) = (Trace::new(LINES_MAX), Ledger::default());
        let early = options.mutation == Mutation::ReplyBeforeCommit;
        let shared = Shared {
            net: Net::new(random("net"), trace.clone(), ledger.clone(), early),
            zones: Zones::new(random("dns")),
            trace: trace.clone(),
            ledger: ledger.clone(),
            mutation: options.mutation,
            folder: folder.to_owned(),
        };
        let nodes = plan.nodes.iter().zip(templates).map(|(node, template)| {
            let random = random(&node.name);
            Arc::new(Node::new(node.clone(), template, shared.clone(), random))
        });
        let nodes = nodes.collect();
        let outside = Outside::new(ledger.clone());
        Self {
            options: options.clone(),
            plan,
            sky: Sky {
                nodes,
                net: shared.net,
                zones: shared.zones,
                outside,
                trace,
                ledger,
                seed: options.seed,
            },
            watcher: Arc::default(),
            tasks: Arc::default(),
        }
    }

    async fn run(self) -> Report {
        let sky = &self.sky;
        let begun = Instant::now();
        let Options { seed, faults, .. } = &self.options;
        sky.trace
            .note("world", format_args!("seed {seed}, faults: {faults}"));
        self.name_everything();
        for node in &sky.nodes {
            if let Err(error) = node.start().await {
                sky.ledger
                    .violation(format!("{} does not start: {error}", node.plan.name));
            }
        }
        let watching = self.watch();
        let faults = sky.begin(self.options.faults);
        let mut people = self.people();
        sleep(self.options.lasting()).await;
        sky.end(faults).await;
        while people.join_next().await.is_some() {}
        self.drain().await;
        drop(watching);
        self.close().await;
        let plan = Arc::clone(&self.plan);
        Report {
            options: self.options.clone(),
            books: sky.ledger.close(&|address| plan.way(address)),
            virtual_time: begun.elapsed(),
            digest: sky.trace.digest(),
            trace: sky.trace.text(),
        }
    }

    fn name_everything(&self) {
        let (net, zones) = (&self.sky.net, &self.sky.zones);
        for node in &self.plan.nodes {
            net.add_name(node.ip(), &node.name);
            net.add_name(node.users_ip(), &format!("users{}", node.number));
            zones.add_host(&node.host, node.ip());
            for domain in &node.domains {
                zones.add_domain(domain, &[&node.host]);
            }
        }
        net.add_name(plan::outside_ip(), "outside");
        net.add_name(plan::strangers_ip(), "strangers");
        net.add_name(plan::nobody_ip(), "nobody");
        zones.add_host("mx.outside.test", plan::outside_ip());
        zones.add_host("nobody.test", plan::nobody_ip());
        zones.add_domain(OUTSIDE, &["mx.outside.test"]);
        zones.add_domain("nullmx.test", &[]);
        zones.add_domain("dead.test", &["nobody.test"]);
        net.add_name(plan::elsewhere_ip(), "elsewhere");
        zones.add_host("elsewhere.test", plan::elsewhere_ip());
        let elsewhere = Outside::new(self.sky.ledger.clone());
        elsewhere.set_mood(Mood::Never);
        self.open_outside(self.sky.outside.clone(), plan::outside_ip());
        self.open_outside(elsewhere, plan::elsewhere_ip());
    }

    fn open_outside(&self, outside: Outside, address: IpAddr) {
        let tasks = Arc::clone(&self.tasks);
        let accept = move |stream, _: SocketAddr| {
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            tasks.spawn(outside.clone().serve(stream));
        };
        let address = SocketAddr::new(address, 25);
        self.sky
            .net
            .listen(address, Arc::new(accept), Power::default());
    }

    fn people(&self) -> JoinSet<()> {
        let options = &self.options;
        let people = People {
            plan: Arc::clone(&self.plan),
            net: self.sky.net.clone(),
            ledger: self.sky.ledger.clone(),
            next: Arc::new(AtomicU64::new(0)),
            letters: options.letters,
            pause: Duration::from_millis(options.pause_ms()),
        };
        let mut tasks = JoinSet::new();
        for number in 0..options.senders {
            for node in &self.plan.nodes {
                let random = Random::of(options.seed, &format!("{} users {number}", node.name));
                tasks.spawn(people.clone().users(node.clone(), random));
            }
            let random = Random::of(options.seed, &format!("strangers {number}"));
            tasks.spawn(people.clone().strangers(random));
        }
        tasks
    }

    /// Looks at the mailboxes of running nodes from time to time.
    fn watch(&self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for node in &self.sky.nodes {
            let (node, watcher) = (Arc::clone(node), Arc::clone(&self.watcher));
            let (ledger, empties) = (self.sky.ledger.clone(), self.options.empties);
            tasks.spawn(async move {
                loop {
                    sleep(LOOK_EVERY).await;
                    node.look_for_panics();
                    let Some(store) = node.store() else { continue };
                    let name = &node.plan.name;
                    let mut watcher = watcher.lock().await;
                    // A node that dies meanwhile is looked at next time.
                    let _ = if empties {
                        watcher.empty(name, &store, &ledger).await
                    } else {
                        watcher.look(name, &store, &ledger).await
                    };
                }
            });
        }
        tasks
    }

    /// Waits until all queues are empty.
    async fn drain(&self) {
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        loop {
            let left = self.queued().await;
            if left.is_empty() {
                self.sky.trace.note("world", "all queues are empty");
                return;
            }
            if Instant::now() >= deadline {
                for line in left {
                    self.sky.ledger.violation(format!("still queued: {line}"));
                }
                return;
            }
            sleep(DRAIN_EVERY).await;
        }
    }

    async fn queued(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for node in &self.sky.nodes {
            let name = &node.plan.name;
            let Some(store) = node.store() else {
                lines.push(format!("{name} does not run"));
                continue;
            };
            match store.queue_list(&QueueFilter::default()).await {
                Ok(entries) => lines.extend(entries.into_iter().map(|entry| {
                    let recipients = entry.recipients;
                    format!("{name}: letter {}: {recipients:?}", entry.letter)
                })),
                Err(error) => lines.push(format!("{name}: {error}")),
            }
        }
        lines
    }

    /// Reads all mailboxes, and checks every store.
    async fn close(&self) {
        let mut watcher = self.watcher.lock().await;
        let whole = VerifyOptions {
            deep: true,
            ..VerifyOptions::default()
        };
        for node in &self.sky.nodes {
            node.look_for_panics();
            let Some(store) = node.store() else { continue };
            let (name, ledger) = (&node.plan.name, &self.sky.ledger);
            let looked = async {
                watcher.look(name, &store, ledger).await?;
                if self.options.empties {
                    watcher.empty(name, &store, ledger).await?;
                }
                watcher.read_all(name, &store, ledger).await?;
                for finding in store.examine(&whole, Arc::new(|_| {})).await? {
                    ledger.violation(format!("{name}: {}", finding.what));
                }
                Ok::<(), StoreError>(())
            };
            if let Err(error) = looked.await {
                ledger.violation(format!("{name} cannot be read: {error}"));
            }
        }
    }
}
