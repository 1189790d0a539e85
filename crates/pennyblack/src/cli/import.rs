//! `pennyblack import`: letters from files and from other servers.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::exit::Exit;
use super::imap::ImapArgs;
use super::output::Output;
use super::{Operator, imap};
use crate::control::{Failure, ImportOrder};
use crate::transfer::archive::Archive;
use crate::transfer::maildir::read::{Maildir, is_maildir};
use crate::transfer::mbox::file::MboxFile;
use crate::transfer::names::{self, Target};
use crate::transfer::report::{Report, Summary};
use crate::transfer::source::{Known, Source};
use crate::transfer::tree::Tree;
use crate::transfer::{import, source};

/// Imports letters with their flags, dates and mailboxes, also while the node runs. An import that
/// was cut off goes on where it stopped when the same command is given again.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct ImportArgs {
    #[command(subcommand)]
    from: Option<From>,
    /// The account's address.
    #[arg(required = true)]
    account: Option<String>,
    /// An mbox file, a Maildir, a folder of letters, or a zip of them.
    #[arg(required = true)]
    source: Option<PathBuf>,
    /// What the source is; looked at when not given.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Everything goes into this mailbox, sub-folders into mailboxes below it.
    #[arg(long, value_name = "NAME")]
    mailbox: Option<String>,
    #[command(flatten)]
    how: HowArgs,
}

/// How any import is done.
#[derive(Args)]
pub(super) struct HowArgs {
    /// Begins anew, also what earlier imports took: those letters come twice.
    #[arg(long)]
    pub(super) again: bool,
    /// Lets letters go over the account's quota.
    #[arg(long)]
    pub(super) over_quota: bool,
    /// Prints what was done as JSON, and no bar.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Subcommand)]
enum From {
    /// Pulls all mailboxes of another server by IMAP.
    Imap(Box<ImapArgs>),
}

/// What can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Many letters in one file.
    Mbox,
    /// A folder with `cur` and `new`.
    Maildir,
    /// A folder of `.eml` or mbox files, or one letter.
    Eml,
    /// A zip of `.eml` or mbox files.
    Zip,
}

pub(super) fn run(operator: &Operator, args: ImportArgs) -> Result<(), Exit> {
    if let Some(From::Imap(args)) = args.from {
        return imap::run(operator, *args);
    }
    let (Some(account), Some(source)) = (args.account, args.source) else {
        return Err(Exit::Usage("an account and a source are needed".to_owned()));
    };
    let path = std::fs::canonicalize(&source).map_err(|error| unreadable(&source, error))?;
    let format = match args.format {
        Some(format) => format,
        None => detect(&path)?,
    };
    let order = ImportOrder {
        account,
        sources: sources(format, &path),
        again: args.how.again,
        over_quota: args.how.over_quota,
    };
    let json = args.how.json;
    let bytes_max = operator.settings.limits.letter_bytes_max;
    let mailbox = args.mailbox;
    let open = move |known| open(format, &path, mailbox.as_deref(), known, bytes_max);
    let work = import::run(&operator.settings, order, Report::new(!json), open);
    let summary = super::large_runtime()?.block_on(work)?;
    tell(&summary, json, "imported")
}

/// Prints what was done; letters that were skipped make an exit code of their own.
pub(super) fn tell(summary: &Summary, json: bool, done: &str) -> Result<(), Exit> {
    let text = if json {
        summary.json().to_string()
    } else {
        summary.text(done)
    };
    Output::default().line(&text)?;
    match summary.skipped {
        0 => Ok(()),
        skipped => Err(Exit::Skipped(format!("{skipped} letters were skipped"))),
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> Exit {
    source::at(path, error).into()
}

/// What a source is.
fn detect(path: &Path) -> Result<Format, Exit> {
    if path.is_dir() {
        let is_maildir = is_maildir(path);
        return Ok(if is_maildir {
            Format::Maildir
        } else {
            Format::Eml
        });
    }
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(64).read_to_end(&mut start))
        .map_err(|error| unreadable(path, error))?;
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start);
    let name = path.to_string_lossy().to_ascii_lowercase();
    Ok(if start.starts_with(b"PK") {
        Format::Zip
    } else if name.ends_with(".eml") {
        Format::Eml
    } else if text.trim_ascii_start().starts_with(b"From ") || start.is_empty() {
        Format::Mbox
    } else {
        return Err(Exit::Usage(format!(
            "{} is neither an mbox nor a zip nor a folder; --format says what it is",
            path.display()
        )));
    })
}

/// How the marks of a source begin.
fn sources(format: Format, path: &Path) -> Vec<String> {
    let of = |kind: &str| format!("{kind}:{}", path.display());
    match format {
        Format::Mbox => vec![of("mbox")],
        Format::Maildir => vec![of("maildir")],
        Format::Eml => vec![of("eml"), of("mbox")],
        Format::Zip => vec![of("zip")],
    }
}

fn open(
    format: Format,
    path: &Path,
    mailbox: Option<&str>,
    known: Known,
    bytes_max: u64,
) -> Result<Box<dyn Source>, Failure> {
    Ok(match format {
        Format::Mbox => {
            let named = || Target::guess(&[&names::stem(path)]);
            let target = mailbox.map_or_else(named, Target::named);
            Box::new(MboxFile::open(path, target, &known, bytes_max)?)
        }
        Format::Maildir => Box::new(Maildir::open(path, mailbox, known, bytes_max)?),
        Format::Eml => Box::new(Tree::open(path, mailbox, known, bytes_max)?),
        Format::Zip => Box::new(Archive::open(path, mailbox, &known, bytes_max)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_source_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            detect(&path).ok()
        };
        assert_eq!(file("a", "PK\u{3}\u{4}"), Some(Format::Zip));
        assert_eq!(file("b", "\nFrom x"), Some(Format::Mbox));
        assert_eq!(file("c.EML", "From x"), Some(Format::Eml));
        assert_eq!(file("d", "no"), None);
        assert_eq!(file("empty.mbox", ""), Some(Format::Mbox));
        assert_eq!(detect(folder.path()).ok(), Some(Format::Eml));
        std::fs::create_dir(folder.path().join("cur")).unwrap();
        assert_eq!(detect(folder.path()).ok(), Some(Format::Maildir));
        assert!(detect(&folder.path().join("none")).is_err());
    }
}
