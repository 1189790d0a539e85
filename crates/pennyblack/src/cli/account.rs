//! `pennyblack account`.

use std::path::PathBuf;

use clap::{ArgGroup, Subcommand};

use super::exit::Exit;
use super::output::{Output, bytes, field};
use super::{
    ListArgs, Operator, app_password, brake, deleted, export, password, senders, sending, usage,
};
use crate::control::{Quota, Request};
use crate::random;
use crate::settings::value;

#[derive(Subcommand)]
pub(super) enum AccountCommand {
    /// Makes an account; prints a random password unless one is given on stdin.
    Add {
        /// Its address; the domain must be ours.
        address: String,
        /// The person's name.
        #[arg(long, default_value = "")]
        name: String,
        /// Mail to postmaster@ and abuse@ of every domain reaches it.
        #[arg(long)]
        admin: bool,
        /// The most its mail may take, such as `5 GB`; `none` for no limit; without this option
        /// what the setting `accounts.quota_bytes` says.
        #[arg(long, value_name = "SIZE", value_parser = quota_bytes)]
        quota: Option<Quota>,
        /// The most messages it may hold; `none` for no limit; without this option what the setting
        /// `accounts.quota_messages` says.
        #[arg(long, value_name = "NUMBER", value_parser = quota_messages)]
        quota_messages: Option<Quota>,
        /// Read the password from the first line of stdin.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Lists accounts.
    List(ListArgs),
    /// Shows one account.
    Show {
        /// Its address.
        address: String,
        /// As a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Tells what accounts take, the largest first, and what the whole store takes.
    Usage {
        /// Only this account, with its mailboxes.
        address: Option<String>,
        /// Sums up the letters as they are stored, too; reads a row for each, and so takes a while.
        #[arg(long, conflicts_with = "address")]
        blobs: bool,
        /// As a JSON array; the last row is that of the whole store.
        #[arg(long)]
        json: bool,
    },
    /// Mail that was deleted and can be recovered.
    #[command(subcommand)]
    Deleted(deleted::DeletedCommand),
    /// Who is kept from logging in after wrong passwords.
    #[command(subcommand)]
    Brake(brake::BrakeCommand),
    /// Passwords of their own for programs.
    #[command(subcommand)]
    AppPassword(app_password::AppPasswordCommand),
    /// Addresses that an account may send as, besides its own and its aliases.
    #[command(subcommand)]
    Identity(senders::IdentityCommand),
    /// Accounts that may send as another one, or on its behalf.
    #[command(subcommand)]
    Delegate(senders::DelegateCommand),
    /// Tells how much an account has sent, and whether it is held.
    Sending {
        /// Its address.
        address: String,
        /// As a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Sets how much an account may send.
    Limit {
        /// Its address.
        address: String,
        #[command(flatten)]
        limits: sending::LimitArgs,
    },
    /// Lets an account go that is held for sending too much, and sends what it has submitted.
    Release {
        /// Its address.
        address: String,
        /// Drop what it has submitted, without reports.
        #[arg(long)]
        drop: bool,
    },
    /// Gives an account another address; aliases follow.
    Rename {
        /// Its address.
        old: String,
        /// The new address.
        new: String,
        /// Keep the old address, as an alias.
        #[arg(long)]
        keep_old: bool,
    },
    /// Closes an account, and removes it with all its mail when `retention.account` is over.
    Remove {
        /// Its address.
        address: String,
        /// Remove it at once; nothing brings it back.
        #[arg(long)]
        now: bool,
    },
    /// Brings an account back that was removed, while that is possible.
    Restore {
        /// Its address.
        address: String,
    },
    /// Sets a new password: a random one that is printed, or the one given on stdin.
    Password {
        /// The account's address.
        address: String,
        /// Read the password from the first line of stdin.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Sets the most that an account's mail may take.
    #[command(group = ArgGroup::new("which").required(true).multiple(true))]
    Quota {
        /// The account's address.
        address: String,
        /// The most bytes, such as `5 GB`; `none` for no limit.
        #[arg(long, value_name = "SIZE", value_parser = quota_bytes, group = "which")]
        bytes: Option<Quota>,
        /// The most messages; `none` for no limit.
        #[arg(long, value_name = "NUMBER", value_parser = quota_messages, group = "which")]
        messages: Option<Quota>,
        /// No limit of either kind.
        #[arg(long, conflicts_with_all = ["bytes", "messages"], group = "which")]
        none: bool,
    },
    /// Writes everything of a person into a zip: all mail with flags and dates, and what is known of
    /// the account.
    Export {
        /// The account's address.
        address: String,
        /// The file to write.
        file: PathBuf,
        /// Prints what was done as JSON, and no bar.
        #[arg(long)]
        json: bool,
    },
    /// Lets an account log in and receive again.
    Enable {
        /// Its address.
        address: String,
    },
    /// Forbids an account to log in and to receive; its mail stays.
    Disable {
        /// Its address.
        address: String,
    },
}

fn quota_bytes(text: &str) -> Result<Quota, String> {
    if text == "none" {
        return Ok(Quota::Lift);
    }
    value::size(text)
        .and_then(|size| u64::try_from(size).ok())
        .map(Quota::AtMost)
        .ok_or_else(|| "a size such as `500 MB` or `5 GB`, or `none`".to_owned())
}

fn quota_messages(text: &str) -> Result<Quota, String> {
    if text == "none" {
        return Ok(Quota::Lift);
    }
    text.parse::<u32>()
        .map(|most| Quota::AtMost(u64::from(most)))
        .map_err(|_| "a whole number such as 100000, or `none`".to_owned())
}

pub(super) fn run(operator: &Operator, command: AccountCommand) -> Result<(), Exit> {
    match command {
        AccountCommand::Add {
            address,
            name,
            admin,
            quota,
            quota_messages,
            password_stdin,
        } => with_password(operator, password_stdin, |password| Request::AccountAdd {
            address,
            name,
            admin,
            quota_bytes: quota.unwrap_or(Quota::Keep),
            quota_messages: quota_messages.unwrap_or(Quota::Keep),
            password: Some(password),
        }),
        AccountCommand::List(ListArgs { json }) => list(operator, json),
        AccountCommand::Show { address, json } => usage::show(operator, address, json),
        AccountCommand::Usage {
            address,
            blobs,
            json,
        } => usage::usage(operator, address, blobs, json),
        AccountCommand::Brake(command) => brake::run(operator, command),
        AccountCommand::AppPassword(command) => app_password::run(operator, command),
        AccountCommand::Identity(command) => senders::identity(operator, command),
        AccountCommand::Delegate(command) => senders::delegate(operator, command),
        AccountCommand::Sending { address, json } => sending::show(operator, address, json),
        AccountCommand::Limit { address, limits } => operator.act(Request::AccountLimit {
            address,
            limits: limits.into(),
        }),
        AccountCommand::Release { address, drop } => {
            operator.act(Request::AccountRelease { address, drop })
        }
        AccountCommand::Deleted(command) => deleted::run(operator, command),
        AccountCommand::Rename { old, new, keep_old } => operator.act(Request::AccountRename {
            address: old,
            new,
            keep_old,
        }),
        AccountCommand::Remove { address, now } => {
            operator.act(Request::AccountRemove { address, now })
        }
        AccountCommand::Restore { address } => operator.act(Request::AccountRestore { address }),
        AccountCommand::Password {
            address,
            password_stdin,
        } => with_password(operator, password_stdin, |password| {
            Request::AccountPassword { address, password }
        }),
        AccountCommand::Quota {
            address,
            bytes,
            messages,
            none,
        } => {
            let otherwise = if none { Quota::Lift } else { Quota::Keep };
            let quotas = [bytes, messages].map(|quota| quota.unwrap_or(otherwise));
            set_quota(operator, address, quotas)
        }
        AccountCommand::Export {
            address,
            file,
            json,
        } => export::account(operator, address, &file, json),
        AccountCommand::Enable { address } => enable(operator, address, true),
        AccountCommand::Disable { address } => enable(operator, address, false),
    }
}

fn set_quota(
    operator: &Operator,
    address: String,
    [quota_bytes, quota_messages]: [Quota; 2],
) -> Result<(), Exit> {
    operator.act(Request::AccountQuota {
        address,
        quota_bytes,
        quota_messages,
    })
}

fn enable(operator: &Operator, address: String, enabled: bool) -> Result<(), Exit> {
    operator.act(Request::AccountEnable { address, enabled })
}

/// Sends a request with a password, and prints the password if it was made here.
fn with_password(
    operator: &Operator,
    from_stdin: bool,
    request: impl FnOnce(String) -> Request,
) -> Result<(), Exit> {
    if from_stdin {
        return operator.act(request(password::from_stdin()?));
    }
    let password = random::password();
    operator.act(request(password.clone()))?;
    Output::default().line(&format!("password: {password}"))
}

fn list(operator: &Operator, json: bool) -> Result<(), Exit> {
    let rows = operator.ask(Request::AccountList)?.rows;
    let mut output = Output::default();
    if json {
        return output.json(&rows);
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                field(row, "address"),
                field(row, "name"),
                field(row, "enabled"),
                field(row, "admin"),
                field(row, "messages"),
                bytes(row, "used_bytes"),
                bytes(row, "quota_bytes"),
                field(row, "quota_messages"),
            ]
        })
        .collect();
    let head = [
        "address",
        "name",
        "enabled",
        "admin",
        "messages",
        "used",
        "quota",
        "messages at most",
    ];
    output.table(&head, &cells)
}
