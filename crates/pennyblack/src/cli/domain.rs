//! `pennyblack domain`.

use clap::Subcommand;

use super::exit::Exit;
use super::output::{Output, field};
use super::{ListArgs, Operator};
use crate::control::Request;

#[derive(Subcommand)]
pub(super) enum DomainCommand {
    /// Makes a domain ours.
    Add {
        /// The domain.
        domain: String,
    },
    /// Lists our domains.
    List(ListArgs),
    /// Gives a domain up; refused while accounts or aliases use it.
    Remove {
        /// The domain.
        domain: String,
    },
}

pub(super) fn run(operator: &Operator, command: DomainCommand) -> Result<(), Exit> {
    match command {
        DomainCommand::Add { domain } => operator.act(Request::DomainAdd { domain }),
        DomainCommand::Remove { domain } => operator.act(Request::DomainRemove { domain }),
        DomainCommand::List(ListArgs { json }) => {
            let rows = operator.ask(Request::DomainList)?.rows;
            let mut output = Output::default();
            if json {
                return output.json(&rows);
            }
            let cells: Vec<Vec<String>> = rows
                .iter()
                .map(|row| vec![field(row, "domain"), field(row, "created_at")])
                .collect();
            output.table(&["domain", "since"], &cells)
        }
    }
}
