//! The command line. Every command that touches the store goes through [`crate::control`], so it
//! works beside a running node as well as without one.
//!
//! Exit codes: 0 all well; 1 it did not work; 2 the command line or the configuration is wrong;
//! 3 the thing named does not exist; 4 the thing to be made exists; 5 not now, try again; 6 done,
//! but some letters were skipped.

mod account;
mod alias;
mod app_password;
mod backup;
mod blobs;
mod brake;
mod deleted;
mod demo;
mod dns;
mod domain;
pub mod exit;
mod export;
mod group;
mod imap;
mod import;
mod key;
mod list;
pub mod output;
mod password;
mod progress;
mod queue;
mod reports;
mod senders;
mod sending;
mod serve;
mod store;
mod suppression;
mod usage;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use base::metrics::Metrics;
use clap::{Args, Parser, Subcommand};
use nix::sys::stat::{Mode, umask};

use crate::control::operate::Answer;
use crate::control::{Request, client};
use crate::logs;
use crate::settings::{self, DEFAULT_FILE, LogFormat, Settings};
use exit::Exit;
use output::Output;

/// For scripts; the numbers stay.
const EXIT_CODES: &str = "Exit codes: 0 all well; 1 it did not work; 2 the command line or the \
    configuration is wrong;\n3 the thing named does not exist; 4 the thing to be made exists; \
    5 not now, try again;\n6 done, but some letters were skipped.";

/// A complete e-mail system: one binary, one command.
#[derive(Parser)]
#[command(
    name = "pennyblack",
    version,
    about,
    arg_required_else_help = true,
    after_help = EXIT_CODES
)]
struct Cli {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_FILE)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one node until it is told to stop (SIGTERM or SIGINT).
    Serve,
    /// Runs two nodes with two domains and a private DNS, to look at and to try out.
    Demo(demo::DemoArgs),
    /// Domains whose mail is ours.
    #[command(subcommand)]
    Domain(domain::DomainCommand),
    /// Accounts: whom the mail belongs to.
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Aliases: addresses whose mail goes elsewhere.
    #[command(subcommand)]
    Alias(alias::AliasCommand),
    /// Groups: addresses with members, here and elsewhere.
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Mailing lists.
    #[command(subcommand)]
    List(list::ListCommand),
    /// Keys that sign letters as our domains (DKIM).
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// What the DNS says about our domains.
    #[command(subcommand)]
    Dns(dns::DnsCommand),
    /// Letters that are still to be sent.
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Addresses elsewhere that are not tried, because letters to them failed again and again.
    #[command(subcommand)]
    Suppression(suppression::SuppressionCommand),
    /// Reports of others about our domains (DMARC, TLS).
    #[command(subcommand)]
    Reports(reports::ReportsCommand),
    /// What is wrong with this installation, as far as it knows.
    #[command(subcommand)]
    Alerts(reports::AlertsCommand),
    /// Imports letters: mbox, Maildir, folders and zips, or another server by IMAP.
    Import(import::ImportArgs),
    /// Exports letters: mbox, Maildir, a folder or a zip.
    Export(export::ExportArgs),
    /// Prints all settings with their docs.
    Settings {
        /// As the page docs/settings.md.
        #[arg(long)]
        markdown: bool,
    },
    /// Reads a PDF on stdin: the node runs it as a process of its own.
    #[command(hide = true, name = crate::pdf::COMMAND)]
    PdfText,
    /// Checks that the store is consistent, also while a node runs; repairs it where it can.
    Verify(verify::VerifyArgs),
    /// Makes a restore point in a folder, also while a node runs.
    Backup(backup::BackupArgs),
    /// Restores a backup into an empty store.
    Restore(backup::RestoreArgs),
    /// The store as a whole: moving it, its key, its search index.
    #[command(subcommand)]
    Store(store::StoreCommand),
}

/// How a list is printed.
#[derive(Args)]
struct ListArgs {
    /// As a JSON array.
    #[arg(long)]
    json: bool,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    // Whatever a command makes (the database, the lock, the control socket before its mode is set)
    // is for its owner only, also in a data folder that others may enter.
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return told_by_clap(&error),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            complain(&exit);
            exit.code()
        }
    }
}

fn run(cli: Cli) -> Result<(), Exit> {
    match cli.command {
        Command::Serve => serve::run(&cli.config),
        Command::Demo(args) => demo::run(&args),
        Command::Settings { markdown } => Output::default().text(&if markdown {
            settings::markdown()
        } else {
            settings::markdown::plain()
        }),
        Command::Domain(command) => domain::run(&Operator::new(&cli.config)?, command),
        Command::Account(command) => account::run(&Operator::new(&cli.config)?, command),
        Command::Alias(command) => alias::run(&Operator::new(&cli.config)?, command),
        Command::Group(command) => group::run(&Operator::new(&cli.config)?, command),
        Command::List(command) => list::run(&Operator::new(&cli.config)?, command),
        Command::Key(command) => key::run(&Operator::new(&cli.config)?, command),
        Command::Dns(command) => dns::run(&Operator::new(&cli.config)?, command),
        Command::Queue(command) => queue::run(&Operator::new(&cli.config)?, command),
        Command::Suppression(command) => suppression::run(&Operator::new(&cli.config)?, command),
        Command::Reports(command) => reports::run(&cli.config, command),
        Command::Alerts(command) => reports::run_alerts(&Operator::new(&cli.config)?, command),
        Command::Import(args) => import::run(&Operator::new(&cli.config)?, args),
        Command::Export(args) => export::run(&Operator::new(&cli.config)?, args),
        Command::Verify(args) => verify::run(&Operator::new(&cli.config)?, args),
        Command::Backup(args) => backup::run(&cli.config, args),
        Command::Restore(args) => backup::restore(&Operator::new(&cli.config)?, args),
        Command::Store(command) => store::run(&cli.config, command),
        Command::PdfText => Ok(crate::pdf::run()?),
    }
}

/// One operator with the settings of a node.
struct Operator {
    settings: Settings,
}

impl Operator {
    fn new(config: &std::path::Path) -> Result<Self, Exit> {
        logs::init("warn", LogFormat::Text);
        Ok(Self {
            settings: Settings::load(config)?,
        })
    }

    fn ask(&self, request: Request) -> Result<Answer, Exit> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(runtime.block_on(client::request(&self.settings, request))?)
    }

    /// Asks for something that takes long, with a bar of progress.
    fn watch(&self, request: Request) -> Result<Answer, Exit> {
        let bar = progress::Bar::new();
        let asking = client::watched(&self.settings, request, bar.watcher());
        let answer = serve::runtime()?.block_on(asking);
        bar.end();
        Ok(answer?)
    }

    /// What the store of the settings needs to open.
    fn store_options(&self) -> ::store::StoreOptions {
        client::options(&self.settings, &Metrics::default())
    }

    /// Asks and prints what was done.
    fn act(&self, request: Request) -> Result<(), Exit> {
        let answer = self.ask(request)?;
        Output::default().line(&answer.done)
    }
}

/// A runtime for work that reads, compresses and writes at the same time.
fn large_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
}

/// Help and version go to stdout with code 0, a wrong command line to stderr with code 2.
fn told_by_clap(error: &clap::Error) -> ExitCode {
    // A reader that has gone is no error.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    }
}

/// Says on stderr why the command failed.
fn complain(exit: &Exit) {
    // The exit code still says it.
    remark(&exit.to_string());
}

/// Says something on stderr, where stdout is for other programs.
fn remark(text: &str) {
    use std::io::Write as _;
    // Without a stderr there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "pennyblack: {text}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
