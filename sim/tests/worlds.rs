//! Worlds of many seeds keep their promises; the same seed is the same world; and every deliberate
//! mistake is noticed.

#![expect(clippy::expect_used, reason = "a test")]

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use pennyblack_sim::faults::Faults;
use pennyblack_sim::minimise::{Effort, minimise, size};
use pennyblack_sim::mutation::Mutation;
use pennyblack_sim::node::{MISTAKE, Templates};
use pennyblack_sim::options::Options;
use pennyblack_sim::world::{Report, run};

/// Seeds in which each deliberate mistake must be noticed at least once.
const SEEDS_PER_MUTATION: u64 = 12;
/// Lines of a trace that are shown of a world that broke a promise.
const LINES_SHOWN: usize = 400;

fn world(options: &Options, templates: &mut Templates) -> Report {
    run(options, templates).expect("a world can be made")
}

fn seeded(seed: u64) -> Options {
    Options {
        seed,
        ..Options::default()
    }
}

/// What went wrong, and the end of what happened.
fn story(report: &Report) -> String {
    let mut text = String::new();
    let lines: Vec<&str> = report.trace.lines().collect();
    for line in &lines[lines.len().saturating_sub(LINES_SHOWN)..] {
        let _ = writeln!(text, "{line}");
    }
    for violation in &report.books.violations {
        let _ = writeln!(text, "{violation}");
    }
    let _ = writeln!(text, "again: {} --trace", report.options.command());
    text
}

/// The same, with a smaller world that breaks the same promise.
fn smaller_story(report: &Report, templates: &mut Templates) -> String {
    let effort = Effort {
        runs: 250,
        time: Duration::from_secs(120),
    };
    let found = minimise(&report.options, report, templates, effort).expect("worlds can be made");
    let command = found.options.command();
    format!("{}smaller: {command} --trace", story(report))
}

/// Runs the worlds of these seeds; each must be clean.
fn keep_their_promises(seeds: RangeInclusive<u64>) {
    let mut templates = Templates::new().expect("a folder for keys");
    let (mut taken, mut count) = (0, 0);
    for seed in seeds {
        let report = world(&seeded(seed), &mut templates);
        if !report.is_clean() {
            panic!("{}", smaller_story(&report, &mut templates));
        }
        taken += report.books.taken;
        count += 1;
    }
    assert!(
        taken > count * 10,
        "worlds in which nothing happens prove nothing: {taken}"
    );
}

/// Two hundred worlds, in parts that run beside each other.
mod worlds {
    macro_rules! worlds {
        ($($name:ident: $seeds:expr;)*) => {
            $(
                #[test]
                fn $name() {
                    super::keep_their_promises($seeds);
                }
            )*
        };
    }

    worlds! {
        from_1: 1..=25;
        from_26: 26..=50;
        from_51: 51..=75;
        from_76: 76..=100;
        from_101: 101..=125;
        from_126: 126..=150;
        from_151: 151..=175;
        from_176: 176..=200;
    }
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in [3, 62, 117, 1_000] {
        // Other templates too: what is made before the world must not be seen in it.
        let mut runs = (0..2).map(|_| {
            let mut templates = Templates::new().expect("a folder for keys");
            world(&seeded(seed), &mut templates)
        });
        let (one, other) = (runs.next().unwrap(), runs.next().unwrap());
        assert!(one.trace.lines().count() > 300, "seed {seed}");
        for (first, second) in one.trace.lines().zip(other.trace.lines()) {
            assert_eq!(first, second, "seed {seed}");
        }
        assert_eq!(one.trace, other.trace, "seed {seed}");
        assert_eq!(one.digest, other.digest, "seed {seed}");
    }
}

#[test]
fn without_faults_every_letter_arrives_once() {
    let options = Options {
        faults: Faults::default(),
        ..seeded(1)
    };
    let mut templates = Templates::new().expect("a folder for keys");
    let report = world(&options, &mut templates);
    assert!(report.is_clean(), "{}", story(&report));
    assert_eq!(report.books.explained_duplicates, 0);
    assert!(report.books.stored > 20 && report.books.reported > 0);
}

/// What was broken once stays mended: a line for each world, as options of the command.
#[test]
fn worlds_that_broke_once_keep_their_promises_now() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let text = std::fs::read_to_string(folder.join("seeds.txt")).expect("the list can be read");
    let mut templates = Templates::new().expect("a folder for keys");
    let mut count = 0;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let options = Options::parse(line).expect("options of the command");
        let report = world(&options, &mut templates);
        assert!(report.is_clean(), "{line}\n{}", story(&report));
        count += 1;
    }
    assert!(count > 0);
}

/// Whether a mistake is noticed, and by which kind of complaint.
fn is_noticed(mutation: Mutation, complaint: &str) -> bool {
    let mut templates = Templates::new().expect("a folder for keys");
    (1..=SEEDS_PER_MUTATION).any(|seed| {
        let options = Options {
            mutation,
            ..seeded(seed)
        };
        let report = world(&options, &mut templates);
        assert_eq!(
            report.books.faults.contains_key(MISTAKE),
            mutation.changes_statements(),
            "the statement that {mutation} changes is another now"
        );
        let complaints = &report.books.violations;
        complaints
            .iter()
            .any(|violation| violation.starts_with(complaint))
    })
}

/// A world with a deliberate mistake is made smaller, and still shows it.
#[test]
fn a_world_that_breaks_a_promise_is_made_smaller() {
    let mut templates = Templates::new().expect("a folder for keys");
    let with_mistake = |seed| Options {
        mutation: Mutation::ReplyBeforeCommit,
        ..seeded(seed)
    };
    let broken = (1..=SEEDS_PER_MUTATION)
        .map(|seed| world(&with_mistake(seed), &mut templates))
        .find(|report| report.books.lost > 0)
        .expect("the mistake is noticed");
    // As many as are needed, however slow the machine is.
    let effort = Effort {
        runs: 24,
        time: Duration::from_secs(3_600),
    };
    let found = minimise(&broken.options, &broken, &mut templates, effort).expect("worlds");
    assert!(
        size(&found.options) < size(&broken.options) / 2,
        "{} of {}",
        found.options,
        broken.options
    );
    // What is printed is enough to see it again.
    let again = Options::parse(&found.options.to_string()).expect("options of the command");
    let again = world(&again, &mut templates);
    assert!(again.books.lost > 0, "{}", found.options);
    assert_eq!(again.digest, found.report.digest);
}

#[test]
fn a_reply_before_the_commit_is_noticed() {
    assert!(is_noticed(Mutation::ReplyBeforeCommit, "lost"));
}

#[test]
fn a_disk_that_lies_is_noticed() {
    assert!(is_noticed(Mutation::FlushLies, "lost"));
}

#[test]
fn a_claim_without_the_lease_is_noticed() {
    assert!(is_noticed(Mutation::NoLease, "unexplained duplicate"));
}

#[test]
fn a_settlement_without_the_fence_is_noticed() {
    assert!(is_noticed(Mutation::NoFence, "reported 2 times"));
}

#[test]
fn a_forgotten_report_is_noticed() {
    assert!(is_noticed(Mutation::NoReport, "lost"));
}
