//! `pennyblack account app-password`.

use clap::Subcommand;

use super::Operator;
use super::exit::Exit;
use super::output::{Output, field};
use crate::control::{Protocol, Request};

#[derive(Subcommand)]
pub(super) enum AppPasswordCommand {
    /// Makes an app password and prints it; it is shown this once.
    Add {
        /// The account's address.
        account: String,
        /// A name for the program that gets it.
        name: String,
        /// Good for these only, such as `smtp,imap`; for all without this option.
        #[arg(long = "for", value_name = "PROTOCOLS", value_delimiter = ',')]
        protocols: Vec<Protocol>,
    },
    /// Lists them, with when and from where each was last used.
    List {
        /// The account's address.
        account: String,
        /// As a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Takes one back.
    Remove {
        /// The account's address.
        account: String,
        /// Its name.
        name: String,
    },
    /// Lets mail programs log in with app passwords only, not with the account's own password.
    Only {
        /// The account's address.
        account: String,
        /// Let them log in with the account's own password again.
        #[arg(long)]
        off: bool,
    },
}

pub(super) fn run(operator: &Operator, command: AppPasswordCommand) -> Result<(), Exit> {
    match command {
        AppPasswordCommand::Add {
            account,
            name,
            protocols,
        } => {
            let answer = operator.ask(Request::AppPasswordAdd {
                address: account,
                name,
                protocols,
            })?;
            let mut output = Output::default();
            output.line(&answer.done)?;
            for row in &answer.rows {
                output.line(&format!("password: {}", field(row, "password")))?;
            }
            Ok(())
        }
        AppPasswordCommand::List { account, json } => list(operator, account, json),
        AppPasswordCommand::Remove { account, name } => operator.act(Request::AppPasswordRemove {
            address: account,
            name,
        }),
        AppPasswordCommand::Only { account, off } => operator.act(Request::AppPasswordOnly {
            address: account,
            only: !off,
        }),
    }
}

fn list(operator: &Operator, address: String, json: bool) -> Result<(), Exit> {
    let answer = operator.ask(Request::AppPasswordList { address })?;
    let mut output = Output::default();
    if json {
        return output.json(&answer.rows);
    }
    let columns = [
        "name",
        "protocols",
        "created_at",
        "used_at",
        "used_by",
        "used_from",
    ];
    let cells: Vec<Vec<String>> = answer
        .rows
        .iter()
        .map(|row| columns.iter().map(|column| field(row, column)).collect())
        .collect();
    let head = ["name", "good for", "since", "last used", "over", "from"];
    output.table(&head, &cells)?;
    match answer.done.as_str() {
        "" => Ok(()),
        done => output.line(done),
    }
}
