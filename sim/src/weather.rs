//! The faults while they last: each kind is a task with its own stream of randomness.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::dns::Zones;
use crate::faults::Faults;
use crate::ledger::Ledger;
use crate::net::Net;
use crate::node::{DISK_BYTES, Node};
use crate::outside::{Mood, Outside};
use crate::plan::{self, OUTSIDE};
use crate::random::Random;
use crate::trace::Trace;

/// How long a node waits before it is started again when it could not be.
const START_PAUSE: Duration = Duration::from_secs(5);
/// How often it is tried; a disk is full for a shorter time than that.
const STARTS_MAX: usize = 60;

/// What the faults act upon.
#[derive(Clone)]
pub struct Sky {
    /// The nodes.
    pub nodes: Vec<Arc<Node>>,
    /// The network.
    pub net: Net,
    /// The DNS.
    pub zones: Zones,
    /// The server outside.
    pub outside: Outside,
    /// The log.
    pub trace: Trace,
    /// The books.
    pub ledger: Ledger,
    /// The seed.
    pub seed: u64,
}

impl Sky {
    /// Starts the faults; they end with the set.
    #[must_use]
    pub fn begin(&self, faults: Faults) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        self.net.set_faults(faults);
        // A larger world has more of what happens in one place at a time.
        for number in 0..=self.nodes.len() / 10 {
            if faults.partition {
                let random = self.random(&format!("partition {number}"));
                tasks.spawn(self.clone().partitions(random));
            }
        }
        for number in 0..=self.zones.domains().len() / 50 {
            if faults.dns {
                let random = self.random(&format!("dns {number}"));
                tasks.spawn(self.clone().names(random));
            }
        }
        if faults.storm {
            tasks.spawn(self.clone().storms(self.random("storm")));
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let random = |kind: &str| self.random(&format!("{kind} {number}"));
            if faults.crash {
                tasks.spawn(self.clone().crashes(Arc::clone(node), random("crash")));
            }
            if faults.clock {
                tasks.spawn(self.clone().jumps(Arc::clone(node), random("clock")));
            }
            if faults.disk {
                tasks.spawn(self.clone().full_disks(Arc::clone(node), random("disk")));
            }
            if faults.slow {
                tasks.spawn(self.clone().slow_disks(Arc::clone(node), random("slow")));
            }
        }
        tasks
    }

    /// Ends all faults: the world is calm from now on.
    pub async fn end(&self, mut tasks: JoinSet<()>) {
        tasks.shutdown().await;
        self.trace.note("world", "the faults are over");
        self.net.set_faults(Faults::default());
        self.net.heal();
        self.outside.set_mood(Mood::Kind);
        for domain in self.zones.domains() {
            self.zones.set_silent(&domain, false);
            self.zones.set_moved(&domain, None);
        }
        for node in &self.nodes {
            node.disk.set_capacity(DISK_BYTES);
            self.ledger.disk_is_full(&node.plan.name, false);
            node.slow_down(Duration::ZERO);
            node.clock.set_right();
            if !node.disk.keep_power() {
                node.crash(false).await;
            }
            self.revive(node).await;
        }
    }

    fn random(&self, kind: &str) -> Random {
        Random::of(self.seed, &format!("faults {kind}"))
    }

    fn fault(&self, kind: &'static str, what: impl std::fmt::Display) {
        self.ledger.fault(kind);
        self.trace.note("world", format_args!("fault: {what}"));
    }

    async fn partitions(self, random: Random) {
        let mut places: Vec<_> = self.nodes.iter().map(|node| node.plan.ip()).collect();
        places.push(plan::outside_ip());
        places.push(plan::strangers_ip());
        loop {
            sleep(random.span_ms(10_000, 120_000)).await;
            let one = places[random.index(places.len())];
            let other = places[random.index(places.len())];
            let span = random.span_ms(5_000, 180_000);
            self.net.part(one, other, Instant::now() + span);
            let seconds = span.as_secs();
            self.fault(
                "partition",
                format_args!("{one} and {other} are parted for {seconds} s"),
            );
        }
    }

    async fn names(self, random: Random) {
        let domains = self.zones.domains();
        loop {
            sleep(random.span_ms(10_000, 90_000)).await;
            let domain = &domains[random.index(domains.len())];
            match random.below(3) {
                0 => {
                    self.fault("dns", format_args!("{domain} names another host"));
                    let host = ["nobody.test", "elsewhere.test"][random.index(2)];
                    self.zones.set_moved(domain, Some(host));
                }
                _ => {
                    self.fault("dns", format_args!("SERVFAIL for {domain}"));
                    self.zones.set_silent(domain, true);
                }
            }
            sleep(random.span_ms(5_000, 60_000)).await;
            self.zones.set_silent(domain, false);
            self.zones.set_moved(domain, None);
        }
    }

    async fn storms(self, random: Random) {
        let moods = [
            Mood::Later,
            Mood::Never,
            Mood::Mute,
            Mood::LaterAtEnd,
            Mood::Busy,
        ];
        loop {
            sleep(random.span_ms(10_000, 90_000)).await;
            let mood = moods[random.index(moods.len())];
            self.fault("storm", format_args!("{OUTSIDE} is {mood:?}"));
            self.outside.set_mood(mood);
            sleep(random.span_ms(5_000, 60_000)).await;
            self.outside.set_mood(Mood::Kind);
        }
    }

    async fn crashes(self, node: Arc<Node>, random: Random) {
        loop {
            sleep(random.span_ms(15_000, 240_000)).await;
            match random.below(4) {
                0 => node.stop().await,
                1 => node.crash(random.percent(50)).await,
                // In the middle of work: after so many writes and flushes.
                _ => {
                    let silent = random.percent(50);
                    node.fail_after(1 + random.below(60), silent);
                    let within = random.span_ms(10_000, 60_000);
                    let _ = tokio::time::timeout(within, node.failed.notified()).await;
                    node.crash(silent).await;
                }
            }
            sleep(random.span_ms(500, 60_000)).await;
            self.revive(&node).await;
        }
    }

    /// Starts a node until it runs.
    async fn revive(&self, node: &Node) {
        for _ in 0..STARTS_MAX {
            if node.start().await.is_ok() {
                return;
            }
            if !node.disk.has_power() {
                self.trace
                    .note(&node.plan.name, "the power fails while it starts");
                let random = Random::of(self.seed, "revive");
                node.disk.cut_power(&mut |below| random.below(below));
            }
            sleep(START_PAUSE).await;
        }
        let name = &node.plan.name;
        self.ledger
            .violation(format!("{name} does not start any more"));
    }

    async fn jumps(self, node: Arc<Node>, random: Random) {
        loop {
            sleep(random.span_ms(20_000, 240_000)).await;
            let size_ms = i64::try_from(random.below(match random.below(3) {
                0 => 5_000,
                1 => 90_000,
                _ => 400_000,
            }));
            let size_ms = size_ms.unwrap_or(0);
            let ms = if random.percent(60) {
                size_ms
            } else {
                -size_ms
            };
            self.fault(
                "clock",
                format_args!("the clock of {} jumps by {ms} ms", node.plan.name),
            );
            node.clock.jump(ms);
        }
    }

    async fn full_disks(self, node: Arc<Node>, random: Random) {
        loop {
            sleep(random.span_ms(30_000, 300_000)).await;
            let (used, _) = node.disk.space();
            let name = &node.plan.name;
            self.fault("disk", format_args!("the disk of {name} is nearly full"));
            self.ledger.disk_is_full(name, true);
            node.disk.set_capacity(used + random.below(150_000));
            sleep(random.span_ms(2_000, 90_000)).await;
            node.disk.set_capacity(DISK_BYTES);
            self.ledger.disk_is_full(name, false);
            self.trace.note(name, "the disk has room again");
        }
    }

    async fn slow_disks(self, node: Arc<Node>, random: Random) {
        loop {
            sleep(random.span_ms(30_000, 400_000)).await;
            let name = &node.plan.name;
            let flush = random.span_ms(300, 8_000);
            let ms = flush.as_millis();
            self.fault("slow", format_args!("the disk of {name} takes {ms} ms"));
            self.ledger.disk_is_slow(name, true);
            node.slow_down(flush);
            sleep(random.span_ms(2_000, 60_000)).await;
            node.slow_down(Duration::ZERO);
            self.ledger.disk_is_slow(name, false);
            self.trace.note(name, "the disk is fast again");
        }
    }
}
