//! `pennyblack export` and `pennyblack account export`: letters as files.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::Operator;
use super::exit::Exit;
use super::import::tell;
use crate::control::{ExportOrder, Failure};
use crate::transfer::eml::{EmlSink, ZipSink};
use crate::transfer::export;
use crate::transfer::maildir::write::MaildirSink;
use crate::transfer::mbox::folder::MboxSink;
use crate::transfer::report::Report;
use crate::transfer::sink::Sink;

/// Exports letters with their flags, dates and mailboxes, also while the node runs.
#[derive(Args)]
pub(super) struct ExportArgs {
    /// The account's address.
    account: String,
    /// The folder to write to; with `--format zip` the file.
    destination: PathBuf,
    /// As what.
    #[arg(long, value_enum)]
    format: Format,
    /// Only this mailbox and those below it; may be given several times.
    #[arg(long, value_name = "NAME")]
    mailbox: Vec<String>,
    /// Prints what was done as JSON, and no bar.
    #[arg(long)]
    json: bool,
}

/// What can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// An mbox file for each mailbox.
    Mbox,
    /// A Maildir++; given again, only what is missing is added.
    Maildir,
    /// A folder of `.eml` files; given again, only what is missing is added.
    Eml,
    /// A zip of `.eml` files.
    Zip,
}

pub(super) fn run(operator: &Operator, args: ExportArgs) -> Result<(), Exit> {
    let order = ExportOrder {
        account: args.account,
        mailboxes: args.mailbox,
    };
    let (format, path) = (args.format, args.destination);
    write(operator, order, args.json, || open(format, &path))
}

/// Everything of a person, in one file.
pub(super) fn account(
    operator: &Operator,
    address: String,
    file: &Path,
    json: bool,
) -> Result<(), Exit> {
    let order = ExportOrder {
        account: address,
        mailboxes: Vec::new(),
    };
    write(operator, order, json, || open(Format::Zip, file))
}

fn write(
    operator: &Operator,
    order: ExportOrder,
    json: bool,
    open: impl FnOnce() -> Result<Box<dyn Sink>, Failure>,
) -> Result<(), Exit> {
    let work = export::run(&operator.settings, order, Report::new(!json), open);
    let summary = super::large_runtime()?.block_on(work)?;
    tell(&summary, json, "exported")
}

fn open(format: Format, path: &Path) -> Result<Box<dyn Sink>, Failure> {
    Ok(match format {
        Format::Mbox => Box::new(MboxSink::open(path)?),
        Format::Maildir => Box::new(MaildirSink::open(path)?),
        Format::Eml => Box::new(EmlSink::open(path)?),
        Format::Zip => Box::new(ZipSink::open(path)?),
    })
}
