//! What a server took while it was under load: CPU, memory, bytes written, read from `/proc`.
//!
//! A server is a set of root processes and all their descendants. CPU time and written bytes of
//! children that have ended are counted through their parent, to which the kernel adds them when it
//! reaps them, so a server that forks per connection is measured in full.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often memory is looked at: often enough for a peak, seldom enough to cost nothing.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);

/// Linux counts process times in these (USER_HZ is 100 on every architecture we know).
const TICK_MS: f64 = 10.0;

/// What a server took from the start to the end of a measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time.
    pub cpu_ms: f64,
    /// Memory at the start: the sum of proportional set sizes.
    pub pss_bytes_start: u64,
    /// The highest such sum seen.
    pub pss_bytes_peak: u64,
    /// The highest sum of resident set sizes seen (shared pages count once per process).
    pub rss_bytes_peak: u64,
    /// Bytes that reached (or will reach) a disk.
    pub written_bytes: u64,
}

/// A measurement that is running.
#[derive(Debug)]
pub struct Watch {
    roots: Vec<u32>,
    cpu_ms: f64,
    written_bytes: u64,
    stop: Arc<AtomicBool>,
    sampler: JoinHandle<Usage>,
}

impl Watch {
    /// Starts to watch the given processes and their descendants.
    #[must_use]
    pub fn start(roots: Vec<u32>) -> Watch {
        let (cpu_ms, written_bytes) = spent(&roots);
        let stop = Arc::new(AtomicBool::new(false));
        let sampler = {
            let (roots, stop) = (roots.clone(), Arc::clone(&stop));
            std::thread::spawn(move || sample_memory(&roots, &stop))
        };
        Watch {
            roots,
            cpu_ms,
            written_bytes,
            stop,
            sampler,
        }
    }

    /// Ends the measurement.
    #[must_use]
    pub fn finish(self) -> Usage {
        let (cpu_ms, written_bytes) = spent(&self.roots);
        self.stop.store(true, Ordering::Relaxed);
        self.sampler.thread().unpark();
        let memory = self.sampler.join().unwrap_or_default();
        Usage {
            cpu_ms: cpu_ms - self.cpu_ms,
            written_bytes: written_bytes.saturating_sub(self.written_bytes),
            ..memory
        }
    }
}

/// All processes whose command has this name.
#[must_use]
pub fn processes_named(name: &str) -> Vec<u32> {
    let named = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
    };
    all_processes().into_iter().filter(named).collect()
}

/// The most memory that a process has held so far, in bytes; 0 when it has gone.
#[must_use]
pub fn highest_resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes
        .and_then(|text| text.trim().parse::<u64>().ok())
        .unwrap_or(0)
        * 1_024
}

/// Resident memory of a process and its descendants, in bytes.
#[must_use]
pub fn resident(pid: u32) -> u64 {
    memory(&[pid]).1
}

fn sample_memory(roots: &[u32], stop: &AtomicBool) -> Usage {
    let (mut usage, mut first) = (Usage::default(), true);
    while !stop.load(Ordering::Relaxed) {
        let (pss, rss) = memory(roots);
        if first {
            usage.pss_bytes_start = pss;
            first = false;
        }
        usage.pss_bytes_peak = usage.pss_bytes_peak.max(pss);
        usage.rss_bytes_peak = usage.rss_bytes_peak.max(rss);
        std::thread::park_timeout(SAMPLE_EVERY);
    }
    usage
}

/// The sums of proportional and resident set sizes, in bytes.
fn memory(roots: &[u32]) -> (u64, u64) {
    let mut sums = (0, 0);
    for pid in tree(roots) {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        sums.0 += field(&rollup, "Pss:") * 1024;
        sums.1 += field(&rollup, "Rss:") * 1024;
    }
    sums
}

/// CPU milliseconds and written bytes of the trees so far, ended children included.
fn spent(roots: &[u32]) -> (f64, u64) {
    let (mut ticks, mut written) = (0, 0);
    for pid in tree(roots) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        ticks += times(&stat);
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        written += field(&io, "write_bytes:");
    }
    (ticks as f64 * TICK_MS, written)
}

/// utime, stime, cutime and cstime (fields 14 to 17 of `stat`) together, in ticks.
fn times(stat: &str) -> u64 {
    // The command (field 2) may hold spaces and brackets: count from the last bracket.
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields = after.split_whitespace().skip(11).take(4);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum()
}

fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

fn field(text: &str, name: &str) -> u64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn all_processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The roots that live, and all their descendants.
fn tree(roots: &[u32]) -> BTreeSet<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for pid in all_processes() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some(parent) = parent(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut found, mut open) = (BTreeSet::new(), roots.to_vec());
    while let Some(pid) = open.pop() {
        if found.insert(pid) {
            open.extend(children.get(&pid).into_iter().flatten());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_strange_command_name() {
        let stat = "42 (a) b (c) S 7 1 1 0 -1 4 100 200 0 0 10 20 30 40 20 0 1 0 5";
        assert_eq!((times(stat), parent(stat)), (100, Some(7)));
    }

    #[test]
    fn the_work_of_an_ended_child_is_counted() {
        let watch = Watch::start(vec![std::process::id()]);
        let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let status = std::process::Command::new("sh")
            .args(["-c", script])
            .status()
            .unwrap();
        assert!(status.success());
        let usage = watch.finish();
        assert!(usage.cpu_ms >= TICK_MS, "{usage:?}");
        assert!(usage.pss_bytes_peak > 0);
    }
}
