//! Makes a world that broke a promise smaller while it breaks the same one: fewer letters, faults
//! and nodes, a shorter span. What is left is short enough to be read.
//!
//! With the pause between letters kept, fewer letters and a shorter span leave what happens before
//! as it was. Fewer nodes or faults make another world; then its neighbours are tried, too.

use std::time::{Duration, Instant};

use store::StoreError;

use crate::faults::Faults;
use crate::node::Templates;
use crate::options::Options;
use crate::world::{Report, run};

/// Seeds that are tried for each smaller world, its own one first.
const SEEDS: u64 = 3;
/// A shorter world has hardly begun.
const SPAN_MIN: u64 = 20;

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// So many worlds.
    pub runs: u32,
    /// For so long, by the clock of the machine.
    pub time: Duration,
}

/// The smallest world that was found.
#[derive(Clone, Debug)]
pub struct Minimal {
    /// What it is made from.
    pub options: Options,
    /// What became of it.
    pub report: Report,
    /// How many worlds were tried.
    pub runs: u32,
}

/// Looks for a smaller world than this one, which broke a promise.
///
/// # Errors
/// Those of [`run`].
pub fn minimise(
    options: &Options,
    report: &Report,
    templates: &mut Templates,
    effort: Effort,
) -> Result<Minimal, StoreError> {
    let until = Instant::now() + effort.time;
    let complaints = kinds(report);
    let mut best = Minimal {
        // The same world.
        options: Options {
            pause: Some(options.pause_ms()),
            ..options.clone()
        },
        report: report.clone(),
        runs: 0,
    };
    'smaller: loop {
        for candidate in smaller(&best.options) {
            for seed in candidate.seed..candidate.seed + SEEDS {
                if best.runs >= effort.runs || Instant::now() >= until {
                    return Ok(best);
                }
                best.runs += 1;
                let options = Options {
                    seed,
                    ..candidate.clone()
                };
                let report = run(&options, templates)?;
                if kinds(&report).iter().any(|kind| complaints.contains(kind)) {
                    best.options = options;
                    best.report = report;
                    continue 'smaller;
                }
            }
        }
        return Ok(best);
    }
}

/// What is complained about, without numbers and names.
fn kinds(report: &Report) -> Vec<String> {
    let violations = report.books.violations.iter();
    violations
        .map(|violation| {
            let kind = violation.split(':').next().unwrap_or_default();
            kind.chars().filter(|c| !c.is_ascii_digit()).collect()
        })
        .collect()
}

/// Worlds that are a step smaller, the largest steps first.
fn smaller(options: &Options) -> Vec<Options> {
    let mut found = Vec::new();
    let mut add = |change: &dyn Fn(&mut Options)| {
        let mut candidate = options.clone();
        change(&mut candidate);
        if candidate != *options {
            found.push(candidate);
        }
    };
    for (part, of) in [(1, 4), (1, 2), (3, 4)] {
        add(&|smaller| smaller.letters = (options.letters * part / of).max(1));
        add(&|smaller| smaller.span = (options.span * part / of).max(SPAN_MIN.min(options.span)));
    }
    add(&|smaller| smaller.letters = (options.letters - 1).max(1));
    add(&|smaller| smaller.nodes = 1);
    add(&|smaller| smaller.nodes = (options.nodes - 1).max(1));
    add(&|smaller| smaller.senders = 1);
    add(&|smaller| smaller.domains = None);
    add(&|smaller| smaller.empties = false);
    add(&|smaller| smaller.faults = Faults::default());
    for faults in options.faults.without_one() {
        add(&|smaller| smaller.faults = faults);
    }
    found
}

/// How much is in a world: ten seconds count as much as a letter, a node or a kind of fault.
#[must_use]
pub fn size(options: &Options) -> u64 {
    let kinds = options.faults.without_one().len() as u64;
    10 * (options.letters + options.nodes as u64 + kinds) + options.span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_smaller_and_the_last_world_has_none() {
        let mut options = Options::default();
        let mut steps = 0;
        while let Some(next) = smaller(&options).pop() {
            assert!(size(&next) < size(&options), "{next}");
            options = next;
            steps += 1;
        }
        assert!(steps > 10);
        assert_eq!(
            (options.letters, options.nodes, options.span),
            (1, 1, SPAN_MIN)
        );
        assert_eq!(options.faults, Faults::default());
    }
}
