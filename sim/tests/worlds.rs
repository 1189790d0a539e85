//! Worlds of many seeds keep their promises; the same seed is the same world; and every deliberate
//! mistake is noticed.

#![expect(clippy::expect_used, reason = "a test")]

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::path::Path;

use pennyblack_sim::faults::Faults;
use pennyblack_sim::mutation::Mutation;
use pennyblack_sim::node::Templates;
use pennyblack_sim::world::{Options, Report, run};

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
    let seed = report.seed;
    let _ = writeln!(
        text,
        "again: cargo run -p pennyblack-sim -- --seed {seed} --trace"
    );
    text
}

/// Runs the worlds of these seeds; each must be clean.
fn keep_their_promises(seeds: RangeInclusive<u64>) {
    let mut templates = Templates::new().expect("a folder for keys");
    let (mut taken, mut count) = (0, 0);
    for seed in seeds {
        let report = world(&seeded(seed), &mut templates);
        assert!(report.is_clean(), "{}", story(&report));
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
        let mut options = Options::default();
        for word in line.split_ascii_whitespace() {
            let (name, value) = word.split_once('=').expect("name=value");
            match name {
                "seed" => options.seed = value.parse().expect("a number"),
                "nodes" => options.nodes = value.parse().expect("a number"),
                "letters" => options.letters = value.parse().expect("a number"),
                "faults" => options.faults = Faults::parse(value).expect("faults"),
                other => panic!("{other}"),
            }
        }
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
        let complaints = &report.books.violations;
        complaints
            .iter()
            .any(|violation| violation.starts_with(complaint))
    })
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
