//! `pennyblack account`.

use clap::Subcommand;

use super::exit::Exit;
use super::output::{Output, bytes, field};
use super::{ListArgs, Operator, password};
use crate::control::Request;
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
        /// The most its mail may take, such as `5 GB`; `none` for no limit.
        #[arg(long, value_name = "SIZE", value_parser = quota, default_value = "none")]
        quota: Quota,
        /// Read the password from the first line of stdin.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Lists accounts.
    List(ListArgs),
    /// Removes an account and all its mail.
    Remove {
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
    Quota {
        /// The account's address.
        address: String,
        /// Such as `5 GB`; `none` for no limit.
        #[arg(value_parser = quota)]
        quota: Quota,
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

/// A quota in bytes, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota(Option<u64>);

fn quota(text: &str) -> Result<Quota, String> {
    if text == "none" {
        return Ok(Quota(None));
    }
    value::size(text)
        .and_then(|size| u64::try_from(size).ok())
        .map(|size| Quota(Some(size)))
        .ok_or_else(|| "a size such as `500 MB` or `5 GB`, or `none`".to_owned())
}

pub(super) fn run(operator: &Operator, command: AccountCommand) -> Result<(), Exit> {
    match command {
        AccountCommand::Add {
            address,
            name,
            admin,
            quota,
            password_stdin,
        } => with_password(operator, password_stdin, |password| Request::AccountAdd {
            address,
            name,
            admin,
            quota_bytes: quota.0,
            password: Some(password),
        }),
        AccountCommand::List(ListArgs { json }) => list(operator, json),
        AccountCommand::Remove { address } => operator.act(Request::AccountRemove { address }),
        AccountCommand::Password {
            address,
            password_stdin,
        } => with_password(operator, password_stdin, |password| {
            Request::AccountPassword { address, password }
        }),
        AccountCommand::Quota { address, quota } => operator.act(Request::AccountQuota {
            address,
            quota_bytes: quota.0,
        }),
        AccountCommand::Enable { address } => operator.act(Request::AccountEnable {
            address,
            enabled: true,
        }),
        AccountCommand::Disable { address } => operator.act(Request::AccountEnable {
            address,
            enabled: false,
        }),
    }
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
            ]
        })
        .collect();
    let head = [
        "address", "name", "enabled", "admin", "messages", "used", "quota",
    ];
    output.table(&head, &cells)
}
