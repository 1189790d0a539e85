//! `pennyblack-bench`: load for any mail server, and what the server took for it.
//!
//! `smtp` drives one server that is already there. `compare` starts Postfix with Dovecot and
//! Pennyblack side by side and drives them in turn. Only acknowledged letters are counted.
#![expect(
    clippy::print_stdout,
    reason = "a command line program prints its figures"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use pennyblack_bench::{checks, compare, flood, hot, load, report, transfer, usage};

#[derive(Parser)]
#[command(
    name = "pennyblack-bench",
    about = "Load for any mail server, and what it took"
)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Sends letters to one SMTP server and prints the figures.
    Smtp(Smtp),
    /// Starts Postfix with Dovecot and Pennyblack and drives them in turn.
    Compare(Compare),
    /// Fills one mailbox, and prints what a letter costs as it grows, and how long a start takes.
    Hot(Hot),
    /// Moves letters in and out as files, by the command line.
    Transfer(Transfer),
    /// Holds connections open that want nothing, and sends honest letters beside them.
    Flood(FloodCommand),
    /// Sends signed letters to a node that checks them and to one that does not.
    Checks(ChecksCommand),
}

#[derive(Args, Clone)]
struct Load {
    /// Connections at the same time.
    #[arg(long, default_value_t = 16)]
    sessions: u64,
    /// Letters in all.
    #[arg(long, default_value_t = 5_000)]
    letters: u64,
    /// Bytes of each letter, header included.
    #[arg(long, default_value_t = 5_120)]
    size: usize,
    /// Recipients of each letter.
    #[arg(long, default_value_t = 1)]
    recipients: u64,
    /// How many different mailboxes the letters go to.
    #[arg(long, default_value_t = 16)]
    mailboxes: u64,
    /// Letters a second over all sessions; 0 is as fast as the server takes them.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Letters before a connection is closed and a new one opened; 0 is never.
    #[arg(long, default_value_t = 0)]
    per_connection: u64,
    /// Seed of texts and Message-IDs; drawn from the clock when not given.
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Args)]
struct Smtp {
    /// Address and port of the server.
    #[arg(long)]
    to: SocketAddr,
    /// The recipient; `%d` becomes the number of the mailbox.
    #[arg(long, default_value = "user%d@black.test")]
    rcpt: String,
    /// The sender.
    #[arg(long, default_value = "load@red.test")]
    from: String,
    /// Watch these processes and their descendants.
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// Watch all processes with this name and their descendants.
    #[arg(long)]
    pids_of: Vec<String>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    load: Load,
}

/// Which build of ours is measured, and where.
#[derive(Args)]
struct Ours {
    /// The program of ours; the one of the release profile when not given.
    #[arg(long)]
    pennyblack: Option<PathBuf>,
    /// Where the mail is stored: on a disk, not in memory.
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Ours {
    fn pennyblack(&self) -> PathBuf {
        self.pennyblack.clone().unwrap_or_else(beside_this_program)
    }

    fn dir(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(std::env::temp_dir)
    }
}

#[derive(Args)]
struct Compare {
    /// How often each system gets the load.
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    #[command(flatten)]
    ours: Ours,
    /// Run only one of the two.
    #[arg(long)]
    only: Option<compare::Side>,
    /// Print JSON objects instead of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    load: Load,
}

#[derive(Args)]
struct Hot {
    /// How many times the letters are sent.
    #[arg(long, default_value_t = 10)]
    steps: u64,
    #[command(flatten)]
    ours: Ours,
    #[command(flatten)]
    load: Load,
}

#[derive(Args)]
struct Transfer {
    /// Letters.
    #[arg(long, default_value_t = 200_000)]
    letters: u64,
    /// Bytes of each letter, header included.
    #[arg(long, default_value_t = 5_120)]
    size: usize,
    /// Without a node beside the command.
    #[arg(long)]
    alone: bool,
    #[command(flatten)]
    ours: Ours,
}

#[derive(Args)]
struct FloodCommand {
    /// Connections that want nothing: idle, slow, stuck in a letter, stuck in a TLS handshake.
    #[arg(long, default_value_t = 20_000)]
    connections: usize,
    /// Seconds between two bytes of a slow one.
    #[arg(long, default_value_t = 5)]
    drip: u64,
    #[command(flatten)]
    ours: Ours,
    #[command(flatten)]
    load: Load,
}

#[derive(Args)]
struct ChecksCommand {
    /// How often each node gets the load, after once to warm up.
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    /// Domains that send, each with a key and records of its own.
    #[arg(long, default_value_t = 8)]
    domains: usize,
    #[command(flatten)]
    ours: Ours,
    #[command(flatten)]
    load: Load,
}

fn main() -> ExitCode {
    match Command::parse().what {
        What::Compare(command) => compare(&command),
        What::Hot(command) => hot(&command),
        What::Smtp(command) => smtp(&command),
        What::Transfer(command) => move_letters(&command),
        What::Flood(command) => flood(&command),
        What::Checks(command) => checks(&command),
    }
}

fn smtp(command: &Smtp) -> ExitCode {
    let plan = plan(&command.load, command.to, &command.rcpt, &command.from);
    let mut roots = command.pid.clone();
    roots.extend(
        command
            .pids_of
            .iter()
            .flat_map(|name| usage::processes_named(name)),
    );
    let watch = (!roots.is_empty()).then(|| usage::Watch::start(roots));
    let outcome = load::run(&plan);
    let usage = watch.map(usage::Watch::finish);
    let report = report::Report {
        name: command.to.to_string(),
        outcome,
        usage,
        stored: None,
        delivered_within: None,
    };
    println!(
        "{}",
        if command.json {
            report.json(&plan)
        } else {
            report.text()
        }
    );
    if report.outcome.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn compare(command: &Compare) -> ExitCode {
    let settings = compare::Settings {
        plan: plan(&command.load, NOWHERE, "user%d@black.test", "load@red.test"),
        rounds: command.rounds,
        pennyblack: command.ours.pennyblack(),
        dir: command.ours.dir(),
        only: command.only,
    };
    let mut all_well = true;
    compare::run(&settings, |report, plan| {
        println!(
            "{}",
            if command.json {
                report.json(plan)
            } else {
                report.text()
            }
        );
        let outcome = &report.outcome;
        all_well &= outcome.failed == 0 && report.stored == Some(outcome.acknowledged);
    });
    if all_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn hot(command: &Hot) -> ExitCode {
    let settings = hot::Settings {
        plan: plan(&command.load, NOWHERE, "", "load@red.test"),
        steps: command.steps,
        pennyblack: command.ours.pennyblack(),
        dir: command.ours.dir(),
    };
    let mut all_well = true;
    let each = |report: &report::Report, _: &load::Plan| {
        println!("{}", report.text());
        all_well &= report.stored == Some(report.outcome.acknowledged);
    };
    hot::run(&settings, each, |what, start| {
        let (ms, mb) = (
            start.ready_within.as_millis(),
            start.rss_bytes as f64 / 1048576.0,
        );
        println!("start, {what}: ready after {ms} ms, {mb:.1} MB resident when idle");
    });
    if all_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn move_letters(command: &Transfer) -> ExitCode {
    let settings = transfer::Settings {
        letters: command.letters,
        letter_bytes: command.size,
        pennyblack: command.ours.pennyblack(),
        dir: command.ours.dir(),
        beside_node: !command.alone,
    };
    transfer::run(&settings, |run| println!("{}", run.text()));
    ExitCode::SUCCESS
}

fn flood(command: &FloodCommand) -> ExitCode {
    let settings = flood::Settings {
        plan: plan(&command.load, NOWHERE, "", "load@red.test"),
        connections: command.connections,
        drip_every: Duration::from_secs(command.drip.max(1)),
        pennyblack: command.ours.pennyblack(),
        dir: command.ours.dir(),
    };
    let mut failed = 0;
    let toll = flood::run(&settings, |report| {
        failed += report.outcome.failed;
        println!("{}", report.text());
    });
    let [before, with] = toll.rss_bytes;
    let each = with.saturating_sub(before) as f64 / settings.connections.max(1) as f64 / 1024.0;
    println!(
        "flood: {} open at the end, {} opened again; resident {:.1} MB before, {:.1} MB with it, \
         {each:.1} KB a connection",
        toll.open,
        toll.reopened,
        before as f64 / 1_048_576.0,
        with as f64 / 1_048_576.0,
    );
    if failed == 0 && toll.open == settings.connections as u64 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn checks(command: &ChecksCommand) -> ExitCode {
    let settings = checks::Settings {
        plan: plan(&command.load, NOWHERE, "", ""),
        rounds: command.rounds.max(1),
        domains: command.domains,
        pennyblack: command.ours.pennyblack(),
        dir: command.ours.dir(),
    };
    let mut failed = 0;
    let [without, with] = checks::run(&settings, |report| {
        failed += report.outcome.failed;
        println!("{}", report.text());
    });
    println!("CPU per letter: {without:.3} ms unchecked, {with:.3} ms checked");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Stands for the address that each system gives itself.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// `pennyblack` in the directory of this program: the same profile.
fn beside_this_program() -> PathBuf {
    std::env::current_exe()
        .unwrap_or_default()
        .with_file_name("pennyblack")
}

fn plan(load: &Load, to: SocketAddr, recipient: &str, sender: &str) -> load::Plan {
    load::Plan {
        to,
        sessions: load.sessions.max(1),
        letters: load.letters,
        letter_bytes: load.size,
        recipients: load.recipients.max(1),
        recipient: recipient.to_owned(),
        mailboxes: load.mailboxes.max(1),
        sender: sender.to_owned(),
        rate: load.rate,
        letters_per_connection: load.per_connection,
        seed: load.seed.unwrap_or_else(seed_of_now),
        ready: None,
    }
}

/// A seed that differs from run to run, so that no run sends a letter that the server has seen.
fn seed_of_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| since.as_nanos() as u64)
}
