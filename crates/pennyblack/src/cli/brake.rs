//! `pennyblack account brake`: who is kept from logging in after wrong passwords.

use clap::Subcommand;

use super::exit::Exit;
use super::output::{Output, field};
use super::{ListArgs, Operator};
use crate::control::Request;

#[derive(Subcommand)]
pub(super) enum BrakeCommand {
    /// Lists failed logins by address and login, on the node of this configuration; those that are
    /// kept out first.
    List(ListArgs),
    /// Forgets the failed logins of an address or a login, so that it may try again at once.
    Lift {
        /// An IP address, or a login as it was typed.
        who: String,
    },
}

pub(super) fn run(operator: &Operator, command: BrakeCommand) -> Result<(), Exit> {
    match command {
        BrakeCommand::Lift { who } => operator.act(Request::BrakeLift { who }),
        BrakeCommand::List(ListArgs { json }) => {
            let rows = operator.ask(Request::BrakeList)?.rows;
            let mut output = Output::default();
            if json {
                return output.json(&rows);
            }
            let columns = ["address", "login", "failures", "most", "kept_out", "until"];
            let cells: Vec<Vec<String>> = rows
                .iter()
                .map(|row| columns.iter().map(|column| field(row, column)).collect())
                .collect();
            let head = [
                "address", "login", "failures", "at most", "kept out", "until",
            ];
            output.table(&head, &cells)
        }
    }
}
