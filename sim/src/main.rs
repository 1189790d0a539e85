//! `sim`: runs worlds by seed, and shows what happened in one that broke a promise.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use pennyblack_sim::minimise::{Effort, minimise};
use pennyblack_sim::node::Templates;
use pennyblack_sim::options::Options;
use pennyblack_sim::world::{Report, run};
use store::StoreError;

/// Worlds that are tried to find a smaller one.
const RUNS_MAX: u32 = 250;

/// Runs whole nodes in a simulated world.
#[derive(Parser, Debug)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// How many seeds, one after the other.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Run new seeds for so many minutes instead.
    #[arg(long)]
    minutes: Option<u64>,
    /// Print the trace of each run.
    #[arg(long)]
    trace: bool,
    /// The most memory that the process may ever have, in MiB; more is a failure, too.
    #[arg(long)]
    memory: Option<u64>,
    /// For how many seconds smaller worlds are looked for that break what one has broken.
    #[arg(long, default_value_t = 120)]
    minimise: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match work(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sim: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs all seeds; whether all were clean.
fn work(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let mut templates = Templates::new()?;
    let begun = Instant::now();
    let limit = arguments
        .minutes
        .map(|minutes| Duration::from_secs(60 * minutes));
    let mut clean = true;
    let mut total = Total::default();
    let first = arguments.options.seed;
    for seed in first.. {
        let over = match limit {
            Some(limit) => begun.elapsed() >= limit,
            None => seed - first >= arguments.seeds,
        };
        if over {
            break;
        }
        let options = Options {
            seed,
            ..arguments.options.clone()
        };
        let report = run(&options, &mut templates)?;
        let many = arguments.seeds > 1 || limit.is_some();
        show(&report, arguments.trace, many);
        total.add(&report);
        if !report.is_clean() {
            clean = false;
            smaller(arguments, &report, &mut templates)?;
        }
    }
    total.show(begun.elapsed());
    if let (Some(most), Some(kib)) = (arguments.memory, peak_memory_kib())
        && kib > most * 1_024
    {
        eprintln!("more than {most} MiB of memory were needed");
        clean = false;
    }
    Ok(clean)
}

/// Looks for a smaller world that breaks the same promise, and tells how to run it.
fn smaller(
    arguments: &Arguments,
    report: &Report,
    templates: &mut Templates,
) -> Result<(), StoreError> {
    let effort = Effort {
        runs: RUNS_MAX,
        time: Duration::from_secs(arguments.minimise),
    };
    if effort.time.is_zero() {
        return Ok(());
    }
    let found = minimise(&report.options, report, templates, effort)?;
    for violation in &found.report.books.violations {
        eprintln!("smaller: {violation}");
    }
    let (command, runs) = (found.options.command(), found.runs);
    eprintln!("smaller, after {runs} worlds: {command} --trace");
    Ok(())
}

fn show(report: &Report, trace: bool, many: bool) {
    if trace || !report.is_clean() {
        eprint!("{}", report.trace);
    }
    if !many || !report.is_clean() {
        eprintln!(
            "seed {}: {} events, hash {}",
            report.options.seed, report.digest.0, report.digest.1
        );
    }
    for violation in &report.books.violations {
        eprintln!("seed {}: {violation}", report.options.seed);
    }
}

/// The sum of all runs.
#[derive(Default)]
struct Total {
    seeds: u64,
    failed: Vec<u64>,
    letters: u64,
    taken: u64,
    stored: u64,
    reported: u64,
    lost: u64,
    explained: u64,
    unexplained: u64,
    virtual_time: Duration,
    faults: std::collections::BTreeMap<&'static str, u64>,
    open_max: u64,
}

impl Total {
    fn add(&mut self, report: &Report) {
        let books = &report.books;
        self.seeds += 1;
        if !report.is_clean() {
            self.failed.push(report.options.seed);
        }
        self.letters += books.letters;
        self.taken += books.taken;
        self.stored += books.stored;
        self.reported += books.reported;
        self.lost += books.lost;
        self.explained += books.explained_duplicates;
        self.unexplained += books.unexplained_duplicates;
        self.virtual_time += report.virtual_time;
        for (kind, count) in &books.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        self.open_max = self.open_max.max(books.open_max);
    }

    fn show(&self, took: Duration) {
        let faults: Vec<String> = self
            .faults
            .iter()
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        eprintln!(
            "{} seeds, {} letters sent, {} taken, {} copies stored, {} failures reported",
            self.seeds, self.letters, self.taken, self.stored, self.reported
        );
        eprintln!(
            "{:.1} virtual hours in {:.1} s; faults: {} ({})",
            self.virtual_time.as_secs_f64() / 3_600.0,
            took.as_secs_f64(),
            self.faults.values().sum::<u64>(),
            faults.join(", ")
        );
        eprintln!(
            "lost {}, unexplained duplicates {}, explained duplicates {}, connections at once {}, memory {}",
            self.lost,
            self.unexplained,
            self.explained,
            self.open_max,
            peak_memory_kib().map_or_else(
                || "unknown".to_owned(),
                |kib| format!("{} MiB", kib / 1_024)
            )
        );
        if !self.failed.is_empty() {
            eprintln!("failed seeds: {:?}", self.failed);
        }
    }
}

/// The most memory that the process had; `None` where the system does not tell.
fn peak_memory_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix("kB")?.trim().parse().ok()
}
