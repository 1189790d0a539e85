//! `pennyblack import imap`.

use clap::{Args, ValueEnum};

use base::Secret;

use super::exit::Exit;
use super::import::{HowArgs, tell};
use super::{Operator, password};
use crate::control::ImportOrder;
use crate::transfer::imap::{Pull, Server, Tls};
use crate::transfer::import;
use crate::transfer::report::Report;

/// The environment variable with the password.
const PASSWORD_VARIABLE: &str = "PENNYBLACK_IMAP_PASSWORD";

/// Pulls all folders of another server, with flags and dates; nothing is changed there. Given again,
/// only what has come since is pulled. The password is read from stdin or from
/// PENNYBLACK_IMAP_PASSWORD.
#[derive(Args)]
pub(super) struct ImapArgs {
    /// The account's address here.
    account: String,
    /// The server's name.
    #[arg(long)]
    host: String,
    /// Its port; 993, or 143 without implicit TLS, when not given.
    #[arg(long)]
    port: Option<u16>,
    /// The user's name there; the account's address when not given.
    #[arg(long)]
    user: Option<String>,
    /// How the connection is protected.
    #[arg(long, value_enum, default_value = "implicit")]
    tls: TlsArg,
    /// Takes any certificate, and sends the password without TLS if `--tls none` says so.
    #[arg(long)]
    insecure: bool,
    /// Only this folder; may be given several times.
    #[arg(long, value_name = "NAME")]
    folder: Vec<String>,
    /// Not this folder; may be given several times.
    #[arg(long, value_name = "NAME")]
    skip_folder: Vec<String>,
    /// Everything goes into this mailbox and below it.
    #[arg(long, value_name = "NAME")]
    mailbox: Option<String>,
    /// Read the password from the first line of stdin.
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TlsArg {
    /// From the first byte.
    Implicit,
    /// After STARTTLS.
    Starttls,
    /// Not at all: only to this machine.
    None,
}

pub(super) fn run(operator: &Operator, args: ImapArgs) -> Result<(), Exit> {
    let password = if args.password_stdin {
        password::from_stdin()?
    } else {
        std::env::var(PASSWORD_VARIABLE).map_err(|_| {
            Exit::Usage(format!(
                "there is no password: give it on stdin with --password-stdin, or in \
                 {PASSWORD_VARIABLE}"
            ))
        })?
    };
    let tls = match args.tls {
        TlsArg::Implicit => Tls::Implicit,
        TlsArg::Starttls => Tls::StartTls,
        TlsArg::None => Tls::None,
    };
    let server = Server {
        host: args.host,
        port: args
            .port
            .unwrap_or(if tls == Tls::Implicit { 993 } else { 143 }),
        tls,
        insecure: args.insecure,
        user: args.user.unwrap_or_else(|| args.account.clone()),
        password: Secret::new(password),
    };
    let order = ImportOrder {
        account: args.account,
        sources: vec![server.source()],
        again: args.how.again,
        over_quota: args.how.over_quota,
    };
    let json = args.how.json;
    let bytes_max = operator.settings.limits.letter_bytes_max;
    let start = |known, intake| {
        let pull = Pull {
            server,
            only: args.folder,
            without: args.skip_folder,
            into: args.mailbox,
            known,
            bytes_max,
        };
        tokio::spawn(pull.run(intake))
    };
    let work = import::run_with(&operator.settings, order, Report::new(!json), start);
    let summary = super::large_runtime()?.block_on(work)?;
    tell(&summary, json, "imported")
}
